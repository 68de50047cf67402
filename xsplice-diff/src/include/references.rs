//! What is asked of a reference that included code makes: to what stays in the base, to what may be
//! one of the base's, to symbols of other objects.

use object::elf;

use crate::include::reach::Includer;
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::{Relocation, SymbolPlace};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::rules::begun_references;
use crate::rules::boundary;
use crate::rules::kept_alignment;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;

impl Includer<'_, '_, '_> {
    /// Refuses an item that may be one of the original's under another name or number.
    pub(super) fn check_ambiguous(&mut self, wanted: ItemId) {
        let comparer = self.comparer;
        let patched = comparer.patched;
        let Some(candidates) = self.ambiguous.get(&wanted) else {
            return;
        };
        let names: Vec<String> = candidates
            .iter()
            .map(|candidate| comparer.original.shown(*candidate))
            .collect();
        let names = names.join(", ");
        let what = if patched.items.item(wanted).kind == ItemKind::Function {
            format!(
                "cannot tell whether this function is new or one of the original's ({names}), to \
                 which pointers may be stored; give it a name of its own"
            )
        } else {
            format!(
                "cannot tell whether this variable is new or one of the original's ({names}), \
                 whose value it would lose; give it a name of its own if it is new, or keep its \
                 name and place if it is not"
            )
        };
        let code = RefusalCode::AmbiguousStaticLocal;
        if self.seen_refusals.insert((code, wanted)) {
            let place = Place::of(patched, wanted);
            self.verdicts.refuse_acceptable(code, place, &what);
        }
    }

    pub(super) fn check_base(
        &mut self,
        item: ItemId,
        relocation: &Relocation,
        target: Target,
        counterpart: ItemId,
    ) {
        let comparer = self.comparer;
        let Some(wanted) = target.item() else { return };
        let root = comparer.correlation.patched_root(wanted);
        if self.patched().items.item(wanted).kind == ItemKind::Function
            && target.meant() != 0
            && self.changes.functions.contains_key(&root)
        {
            let what = format!(
                "refers into the interior of {}, which is replaced; refer to its start",
                comparer.original.shown(counterpart)
            );
            self.refuse_at(RefusalCode::InteriorReference, item, relocation, &what);
        }
    }

    /// Checks a reference to an item that stays in the base.
    pub(super) fn check_kept(
        &mut self,
        item: ItemId,
        source: ItemId,
        index: usize,
        wanted: ItemId,
        counterpart: ItemId,
    ) {
        let comparer = self.comparer;
        let (original, patched) = (comparer.original, comparer.patched);
        if let Some(problem) =
            kept_alignment::misaligned(comparer, item, index, wanted, counterpart)
        {
            self.refuse(RefusalCode::ChangedData, wanted, &problem);
        }
        let is_begun = || begun_references::is_begun(comparer, source, counterpart);
        let runs_later = patched.items.class(source) != SectionClass::Init;
        if begun_references::is_of_boot(comparer, counterpart) && runs_later && is_begun() {
            let code = RefusalCode::ChangedInit;
            if self.seen_refusals.insert((code, wanted)) {
                let problem = format!(
                    "{} uses it now and did not before, and its memory is given back after the \
                     boot; use something that stays",
                    patched.shown(source)
                );
                let place = Place::of(patched, wanted);
                self.verdicts.refuse_acceptable(code, place, &problem);
            }
        }
        let is_pointer = patched.items.item(wanted).kind == ItemKind::Function
            && patched.targets[index].meant() == 0
            && !patched.is_call(item, index);
        if is_pointer && begun_references::is_sealed(original, counterpart) && is_begun() {
            self.refuse(
                RefusalCode::InteriorReference,
                wanted,
                "included code takes the function's address and did not before, and the boot took \
                 away the mark that indirect branches need at its entry; call it directly, or give \
                 what is called by pointer another name",
            );
        }
    }

    /// Tells of a pointer that leads to the new copy of a function and not to the base's.
    pub(super) fn note_new_entry(
        &mut self,
        item: ItemId,
        source: ItemId,
        wanted: ItemId,
        index: usize,
    ) {
        let comparer = self.comparer;
        let patched = comparer.patched;
        let Some(counterpart) = comparer.correlation.original(wanted) else {
            return;
        };
        let is_pointer = patched.targets[index].meant() == 0 && !patched.is_call(item, index);
        if is_pointer && begun_references::is_newly_marked(comparer, counterpart, wanted) {
            self.verdicts.note(
                patched.shown(wanted),
                format!(
                    "{} takes its address, which is that of the new copy: the entry in the base is \
                     not marked for indirect branches",
                    patched.shown(source)
                ),
            );
        }
    }

    /// Takes note of a symbol of another object that `source` did not refer to before.
    pub(super) fn note_begun(&mut self, source: ItemId, target: Target) {
        let Target::Symbol { symbol, .. } = target else {
            return;
        };
        let name = self.comparer.patched.object.symbol(symbol).name;
        if !begun_references::named_before(self.comparer, source, name) {
            let by = self.comparer.patched.shown(source);
            let begun = &mut self.inclusion.begun;
            begun.entry(name.to_owned()).or_insert(by);
        }
    }

    /// Checks a reference relative to a section, which may mean either of two neighbours.
    pub(super) fn check_boundary(&mut self, item: ItemId, index: usize) {
        let Some(problem) = boundary::ambiguous(self.comparer, item, index) else {
            return;
        };
        let relocation = self.comparer.patched.object.relocations[index];
        self.refuse_at(RefusalCode::AmbiguousTarget, item, &relocation, &problem);
    }

    pub(super) fn check_symbol(&mut self, item: ItemId, relocation: &Relocation) {
        let symbol = self.comparer.patched.object.symbol(relocation.symbol);
        if symbol.kind == elf::STT_TLS.0 {
            self.refuse_at(
                RefusalCode::ThreadLocal,
                item,
                relocation,
                "refers to thread-local storage; use an ordinary variable",
            );
        }
        if symbol.place == SymbolPlace::Undefined && symbol.name.is_empty() {
            self.refuse_at(
                RefusalCode::UnnamedTarget,
                item,
                relocation,
                "refers to no symbol at all; rebuild the object",
            );
        }
    }

    pub(super) fn refuse_at(
        &mut self,
        code: RefusalCode,
        item: ItemId,
        relocation: &Relocation,
        what: &str,
    ) {
        let patched = self.comparer.patched;
        let mut place = Place::of(patched, item);
        place.offset = Some(relocation.offset);
        self.verdicts.refuse(code, place, what);
    }
}
