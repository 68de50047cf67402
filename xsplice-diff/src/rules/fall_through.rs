//! Refuses code that falls through into the code behind it: in a payload, other code follows.

use object::elf;

use crate::compare::inclusion::Inclusion;
use crate::debug_info::debug_sections::address;
use crate::debug_info::types::read::TypeSections;
use crate::machine::ending::{Ending, ending_of};
use crate::machine::walk;
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::SectionId;
use crate::read::side::Build;
use crate::read::special_sections::runs_in_place;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Checks included functions, whoever wrote them: assembler files and assembler within C fall
/// through as they please. What a compiler made ends without leaving only where the source says
/// that nobody comes there; that a compiler made it is known from its debug information.
pub(crate) fn check_functions(patched: &Build<'_>, inclusion: &Inclusion, verdicts: &mut Verdicts) {
    let mut types: Option<Option<TypeSections>> = None;
    for item in inclusion.items.keys() {
        let is_function = matches!(
            patched.items.item(*item).kind,
            ItemKind::Function | ItemKind::Label
        );
        // Data among code has a refusal of its own.
        let is_data = patched
            .symbol(*item)
            .is_some_and(|symbol| symbol.kind == elf::STT_OBJECT.0);
        if !is_function || is_data || patched.is_lead(*item) {
            continue;
        }
        let Some(last) = running_on(patched, *item) else {
            continue;
        };
        let sections = types.get_or_insert_with(|| TypeSections::new(&patched.object));
        if !is_from_assembler(patched, *item) && is_described(patched, *item, sections.as_ref()) {
            continue;
        }
        verdicts.refuse(
            RefusalCode::FallsThrough,
            Place::of(patched, *item).plus(last),
            "the function falls through into the code behind it, which is another in a payload; \
             end it with a jump, or, where a compiler knows that nobody comes there, build both \
             trees with -g",
        );
    }
}

/// Whether debug information has a function that begins where the item does.
fn is_described(build: &Build<'_>, item: ItemId, sections: Option<&TypeSections>) -> bool {
    let place = build.items.item(item);
    let types = sections.and_then(TypeSections::read);
    types
        .zip(address(place.section, place.offset))
        .is_some_and(|(types, address)| types.function_at(address).is_some())
}

/// Whether an item comes from an assembler file. Code without a FILE symbol is taken for such: gas
/// does not write one by itself.
fn is_from_assembler(build: &Build<'_>, item: ItemId) -> bool {
    build
        .symbol(item)
        .and_then(|symbol| symbol.file.or(build.object.only_file))
        .is_none_or(|file| {
            [".S", ".s", ".asm", ".o"]
                .iter()
                .any(|suffix| file.ends_with(suffix))
        })
}

/// Checks included pieces of special code. A piece may fall through into the next when that one is
/// included right behind it.
pub(crate) fn check_pieces(patched: &Build<'_>, inclusion: &Inclusion, verdicts: &mut Verdicts) {
    for item in inclusion.items.keys() {
        if !runs_in_place(patched.section_name(*item)) {
            continue;
        }
        let Some(last) = running_on(patched, *item) else {
            continue;
        };
        let (section, end) = (
            patched.items.item(*item).section,
            patched.items.item(*item).end(),
        );
        let joined =
            next(patched, section, end).is_some_and(|next| inclusion.keep_distance(*item, next));
        if !joined {
            verdicts.refuse(
                RefusalCode::FallsThrough,
                Place::of(patched, *item).plus(last),
                "included fixup code falls through into the code behind it, which is not \
                 included; end it with a jump",
            );
        }
    }
}

/// The item that begins where another ends.
fn next(build: &Build<'_>, section: SectionId, end: u64) -> Option<ItemId> {
    let next = build.items.at(section, end)?;
    (build.items.item(next).offset == end).then_some(next)
}

/// Where the last instruction of an item begins that is no padding, counted from the item's start,
/// if the processor certainly goes on behind it: a call there is taken for one that never returns.
fn running_on(build: &Build<'_>, item: ItemId) -> Option<u64> {
    let code = walk(build.object.machine, build.bytes(item), 0);
    let (ending, last) = ending_of(code);
    (ending == Ending::GoesOn).then_some(last)
}
