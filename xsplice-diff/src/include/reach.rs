//! What must be included: changed functions, and everything new or private that they refer to.
//!
//! A reference to an item that both builds have is resolved to the base. Only items that the base
//! lacks, and content without identity, are included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::compare::changes::Changes;
use crate::compare::comparer::{Comparer, shown_target};
use crate::compare::inclusion::Inclusion;
use crate::compare::pieces::is_piece;
use crate::compare::special_entries::SpecialEntries;
use crate::read::items::{ItemId, ItemKind};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::read::side::is_content;
use crate::read::special_sections::runs_in_place;
use crate::rules::begun_references;
use crate::rules::fall_through;
use crate::rules::replaceable;
use crate::verdict::kinds::{Reason, RefusalCode};
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Where a reference of an included item leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To an included item.
    Included(ItemId),
    /// To an item of the original, in the running image.
    Base(ItemId),
    /// To a symbol that is defined in no section of this object.
    Symbol,
    /// To a place without a name.
    Unnamed,
}

/// Where the reference leads that item `source` (of the patched object) makes to `target`.
#[must_use]
pub(crate) fn destination(
    comparer: &Comparer<'_, '_>,
    changes: &Changes,
    source: Option<ItemId>,
    relocation_is_call: impl FnOnce() -> bool,
    target: Target,
) -> Destination {
    let Some(item) = target.item() else {
        return match target {
            Target::Symbol { .. } => Destination::Symbol,
            _ => Destination::Unnamed,
        };
    };
    let patched = comparer.patched;
    let correlation = comparer.correlation;
    if is_content(patched, item) || changes.constants.contains(&item) {
        return Destination::Included(item);
    }
    let Some(counterpart) = correlation.original(item) else {
        return Destination::Included(item);
    };
    let is_function = patched.items.item(item).kind == ItemKind::Function;
    let root = correlation.patched_root(item);
    if is_function && changes.functions.contains_key(&root) {
        let inside = source.is_some_and(|source| source == root);
        let is_interior = target.meant() != 0 || item != root;
        let is_call = relocation_is_call();
        // A function's own address is that of the base's function, so that pointers keep their
        // identity. Its calls of itself and jumps within it stay in the payload.
        if inside && (is_interior || is_call) {
            return Destination::Included(item);
        }
        // A pointer to an entry that indirect branches may not go to is worth nothing.
        if !is_interior
            && !is_call
            && begun_references::is_newly_marked(comparer, counterpart, item)
        {
            return Destination::Included(item);
        }
    }
    if comparer.original.symbol(counterpart).is_some() {
        Destination::Base(counterpart)
    } else {
        Destination::Unnamed
    }
}

/// Finds what must be included; refusals go to `verdicts`.
pub(crate) fn include(
    comparer: &Comparer<'_, '_>,
    changes: &Changes,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) -> Inclusion {
    let mut includer = Includer {
        comparer,
        changes,
        patched_entries,
        verdicts,
        inclusion: Inclusion::default(),
        queue: VecDeque::new(),
        ambiguous: comparer
            .correlation
            .ambiguous
            .iter()
            .map(|(item, candidates)| (*item, candidates.as_slice()))
            .collect(),
        seen_refusals: BTreeSet::new(),
    };
    includer.seed();
    while let Some(item) = includer.queue.pop_front() {
        includer.follow(item);
    }
    includer.bind_neighbours();
    let inclusion = includer.inclusion;
    fall_through::check_pieces(comparer.patched, &inclusion, verdicts);
    fall_through::check_functions(comparer.patched, &inclusion, verdicts);
    replaceable::check(comparer, changes, verdicts);
    inclusion
}

pub(super) struct Includer<'c, 'a, 'data> {
    pub(super) comparer: &'c Comparer<'a, 'data>,
    pub(super) changes: &'c Changes,
    patched_entries: &'c SpecialEntries,
    pub(super) verdicts: &'c mut Verdicts,
    pub(super) inclusion: Inclusion,
    queue: VecDeque<ItemId>,
    /// Variables that may or may not be new, with their candidates.
    pub(super) ambiguous: BTreeMap<ItemId, &'c [ItemId]>,
    pub(super) seen_refusals: BTreeSet<(RefusalCode, ItemId)>,
}

impl Includer<'_, '_, '_> {
    pub(super) fn patched(&self) -> &Build<'_> {
        self.comparer.patched
    }

    fn seed(&mut self) {
        let comparer = self.comparer;
        let patched = comparer.patched;
        let correlation = comparer.correlation;
        for root in self.changes.functions.keys() {
            self.add(*root, None);
        }
        for item in patched.items.ids() {
            let class = patched.items.class(item);
            let is_hook = matches!(class, SectionClass::Hook | SectionClass::ForeignHook);
            if is_hook && self.changes.functions.is_empty() && self.is_same_hook(item) {
                continue;
            }
            match class {
                SectionClass::Hook => {
                    self.add(item, None);
                    continue;
                }
                SectionClass::ForeignHook => {
                    self.refuse(
                        RefusalCode::MalformedHook,
                        item,
                        "the hook is for another ABI than the one asked for; compile the \
                         patched tree for this one (xsplice.h), or give the other one's name \
                         with --abi",
                    );
                    continue;
                }
                _ => {}
            }
            if let Some(parent) = correlation.patched_parent[item.index()]
                && self
                    .changes
                    .functions
                    .contains_key(&correlation.patched_root(parent))
            {
                self.add(item, None);
                continue;
            }
            let is_new_global = correlation.original(item).is_none()
                && !is_content(patched, item)
                && patched
                    .symbol(item)
                    .is_some_and(|symbol| !symbol.is_local())
                && matches!(
                    class,
                    SectionClass::Code
                        | SectionClass::Data
                        | SectionClass::Rodata
                        | SectionClass::Bss
                );
            if is_new_global {
                self.check_ambiguous(item);
                let is_function = patched.items.item(item).kind == ItemKind::Function;
                self.add(item, Some(Reason::NewGlobal).filter(|_| is_function));
            }
        }
    }

    /// Whether the original has the hook too, for the same function.
    fn is_same_hook(&self, item: ItemId) -> bool {
        let comparer = self.comparer;
        let (original, patched) = (comparer.original, comparer.patched);
        let Some(counterpart) = comparer.correlation.original(item) else {
            return false;
        };
        let old: Vec<_> = original
            .relocations(counterpart)
            .map(|(_, target)| (target.item(), target.meant()))
            .collect();
        let new: Vec<_> = patched
            .relocations(item)
            .map(|(_, target)| {
                let function = target.item();
                let before = function.and_then(|function| comparer.correlation.original(function));
                (before, target.meant())
            })
            .collect();
        old == new && old.iter().all(|(function, _)| function.is_some())
    }

    fn add(&mut self, item: ItemId, reason: Option<Reason>) {
        let entry = self.inclusion.items.entry(item);
        if let std::collections::btree_map::Entry::Vacant(vacant) = entry {
            vacant.insert(reason);
            self.queue.push_back(item);
        }
    }

    pub(super) fn refuse(&mut self, code: RefusalCode, item: ItemId, problem: &str) {
        if self.seen_refusals.insert((code, item)) {
            let place = Place::of(self.comparer.patched, item);
            self.verdicts.refuse(code, place, problem);
        }
    }

    /// Follows the references of an included item.
    fn follow(&mut self, item: ItemId) {
        let comparer = self.comparer;
        let patched = comparer.patched;
        let root = comparer.correlation.patched_root(item);
        let source = self.inclusion.source(comparer, item);
        let end = patched.items.item(item).end();
        for index in patched.relocation_range(item) {
            self.follow_reference(item, source, index, end);
        }
        if root != item {
            return;
        }
        let entries = self.patched_entries;
        self.follow_on(item, source);
        for entry in entries.of(item).iter().chain(entries.about(item)) {
            self.inclusion.entries.push(*entry);
            let end = entry.offset + entry.size;
            for index in entry.relocation_range(patched) {
                self.follow_reference(item, source, index, end);
            }
        }
        // The out-of-line parts of a new function are included with it.
        for &part in self.comparer.correlation.patched_parts(item) {
            self.add(part, None);
        }
    }

    /// Includes what a piece of special code falls through into, unless a table leads to that code
    /// itself.
    fn follow_on(&mut self, item: ItemId, source: ItemId) {
        let (patched, entries) = (self.comparer.patched, self.patched_entries);
        let Some(next) = entries.runs_into(patched, item) else {
            return;
        };
        if is_piece(patched, next) && !entries.is_entered(next) {
            self.inclusion.owners.entry(next).or_insert(source);
            self.add(next, None);
        }
    }

    /// Pieces of special code that fall through into each other stay neighbours.
    fn bind_neighbours(&mut self) {
        let (patched, entries) = (self.comparer.patched, self.patched_entries);
        let inclusion = &self.inclusion;
        let neighbours: Vec<(ItemId, ItemId)> = inclusion
            .items
            .keys()
            .filter_map(|item| Some((*item, entries.runs_into(patched, *item)?)))
            .filter(|(_, next)| is_piece(patched, *next) && inclusion.holds(*next))
            .collect();
        self.inclusion.bound.extend(neighbours);
    }

    /// Follows one reference of an included item, which ends at `end` in its section.
    fn follow_reference(&mut self, item: ItemId, source: ItemId, index: usize, end: u64) {
        let comparer = self.comparer;
        let patched = comparer.patched;
        let relocation = &patched.object.relocations[index];
        let target = patched.targets[index];
        let section = patched.items.item(item).section;
        let machine = patched.object.machine;
        let field_bytes = machine.field_bytes(relocation.kind);
        if end < relocation.offset.saturating_add(field_bytes) {
            self.refuse_at(
                RefusalCode::UnknownRelocation,
                item,
                relocation,
                "the relocated field reaches beyond what is included; rebuild the object",
            );
            return;
        }
        let is_short =
            !machine.is_carried(relocation.kind) && patched.is_filled(section, relocation.offset);
        let piece = target.item().filter(|wanted| is_piece(patched, *wanted));
        let is_copied = is_piece(patched, item) && !runs_in_place(patched.section_name(item));
        if is_copied && patched.is_filled(section, relocation.offset) {
            let what = format!(
                "replacement code leads to {} without a relocation, and is copied to another \
                 place; give what it leads to a global symbol in a section of functions",
                shown_target(patched, target)
            );
            self.refuse_at(RefusalCode::UnnamedTarget, item, relocation, &what);
            return;
        }
        if let Some(wanted) = piece.filter(|_| is_short && is_piece(patched, item)) {
            self.inclusion.bound.insert((item, wanted));
        } else if is_short {
            let within_family = target
                .item()
                .is_some_and(|wanted| comparer.correlation.patched_root(wanted) == source);
            let distance = if within_family {
                " at the same distance"
            } else {
                ""
            };
            let remedy = if is_piece(patched, item) {
                "remove the symbol of its target, so that it is included too"
            } else {
                "what runs was built so: keep the compiler of the fix from jumping there (a \
                 statement behind a tail call makes it a call), and build the next release with \
                 -ffunction-sections"
            };
            let what = format!(
                "a short jump leads to {}, which is not included{distance}; {remedy}",
                shown_target(patched, target)
            );
            self.refuse_at(RefusalCode::ShortJump, item, relocation, &what);
            return;
        }
        if !machine.is_carried(relocation.kind) && !is_short {
            let what = format!(
                "{} is a relocation that no payload can carry; build without thread-local \
                 storage, dynamic linking and large code models",
                machine.type_name(relocation.kind)
            );
            self.refuse_at(RefusalCode::UnknownRelocation, item, relocation, &what);
            return;
        }
        let is_call = || patched.is_call(item, index);
        match destination(comparer, self.changes, Some(source), is_call, target) {
            Destination::Included(wanted) => {
                self.note_new_entry(item, source, wanted, index);
                if is_content(patched, wanted) || self.changes.constants.contains(&wanted) {
                    self.inclusion.owners.entry(wanted).or_insert(source);
                }
                if !self.inclusion.holds(wanted) {
                    self.admit(wanted, item);
                }
                self.check_boundary(item, index);
            }
            Destination::Base(counterpart) => {
                self.check_base(item, relocation, target, counterpart);
                if let Some(wanted) = target.item() {
                    self.check_kept(item, source, index, wanted, counterpart);
                }
                self.check_boundary(item, index);
            }
            Destination::Symbol => {
                self.check_symbol(item, relocation);
                self.note_begun(source, target);
            }
            Destination::Unnamed => {
                let what = format!(
                    "refers to {}, which has no name in the base, and what runs stays so: let the \
                     fix reach it through something that has a name, or bring its own copy",
                    shown_target(patched, target)
                );
                self.refuse_at(RefusalCode::UnnamedTarget, item, relocation, &what);
            }
        }
    }

    /// Includes an item that the base does not have, if such an item can be new.
    fn admit(&mut self, wanted: ItemId, by: ItemId) {
        let comparer = self.comparer;
        let patched = comparer.patched;
        self.check_ambiguous(wanted);
        match patched.items.class(wanted) {
            SectionClass::Init => {
                self.refuse(
                    RefusalCode::ChangedInit,
                    wanted,
                    "included code or data refers to something new that is gone after the boot; \
                     remove its __init",
                );
            }
            SectionClass::Special(_) => {
                self.refuse(
                    RefusalCode::UnnamedTarget,
                    wanted,
                    "included code or data refers into a special section, whose entries move; \
                     refer to the code instead",
                );
            }
            _ => {}
        }
        let reason = if patched.items.class(by) == SectionClass::Hook {
            let section = patched.section_name(by).to_owned();
            Reason::Hook { section }
        } else {
            let by = patched.shown(by);
            Reason::PulledIn { by }
        };
        self.add(wanted, Some(reason));
    }
}
