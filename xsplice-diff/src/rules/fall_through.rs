//! Refuses code that falls through into the code behind it: in a payload, other code follows.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use crate::compare::comparer::Comparer;
use crate::compare::inclusion::Inclusion;
use crate::read::items::ItemId;
use crate::read::names;
use crate::read::object::SectionId;
use crate::read::side::Build;
use crate::read::special_sections::runs_in_place;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Only assembler code may fall through. Code without a FILE symbol is taken for assembler code:
/// gas does not write one by itself.
pub fn check_function(comparer: &Comparer<'_, '_>, counterpart: ItemId, verdicts: &mut Verdicts) {
    let original = comparer.original;
    let from_assembler = original
        .symbol(counterpart)
        .and_then(|symbol| symbol.file.or(original.object.only_file))
        .is_none_or(|file| {
            [".S", ".s", ".asm", ".o"]
                .iter()
                .any(|suffix| file.ends_with(suffix))
        });
    if !from_assembler || names::is_padding(original.name(counterpart)) {
        return;
    }
    let item = original.items.item(counterpart);
    let at_end = item.end() >= original.object.section(item.section).size;
    if let Some(last) = running_on(original, counterpart)
        && !at_end
    {
        verdicts.refuse(
            RefusalCode::FallsThrough,
            Place::of(original, counterpart).plus(last.ip()),
            "the changed function falls through into the code behind it; end it with a jump",
        );
    }
}

/// Checks included pieces of special code. A piece may fall through into the next when that one is
/// included right behind it.
pub fn check_pieces(patched: &Build<'_>, inclusion: &Inclusion, verdicts: &mut Verdicts) {
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
                Place::of(patched, *item).plus(last.ip()),
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

/// The last instruction of an item that is no padding, if execution continues behind it. Its
/// instruction pointer counts from the item's start.
fn running_on(build: &Build<'_>, item: ItemId) -> Option<Instruction> {
    let mut decoder = Decoder::new(64, build.bytes(item), DecoderOptions::NONE);
    let mut last = Instruction::default();
    let mut next = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut next);
        if !matches!(next.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) {
            last = next;
        }
    }
    let goes_on = matches!(
        last.flow_control(),
        FlowControl::Next | FlowControl::ConditionalBranch
    );
    (goes_on && last.mnemonic() != Mnemonic::Hlt).then_some(last)
}
