//! Compares every pair of items and sorts what differs: functions to replace, constants that go
//! with them, differences that no payload can carry, differences that do not matter.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::build_stamp;
use crate::compare::comparer::Comparer;
use crate::compare::constants;
use crate::compare::constructors::only_called_at_start;
use crate::compare::line_numbers::{self, Difference, LineTables};
use crate::compare::placement;
use crate::compare::reserved_space;
use crate::compare::special_entries::SpecialEntries;
use crate::compare::type_hash;
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::padding::{self, is_padding};
use crate::read::section_class::SectionClass;
use crate::read::side::is_content;
use crate::verdict::kinds::{ACCEPTED_LINE_NUMBERS, Ignored, Reason, RefusalCode};
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Functions to replace, by their items of the patched object.
    pub functions: BTreeMap<ItemId, Vec<Reason>>,
    /// Where each of them differs first: in itself, or in an out-of-line part. Offsets are in
    /// bytes from the start of that item.
    pub first: BTreeMap<ItemId, (ItemId, u64)>,
    /// Constants of the patched object that differ and are included as copies.
    pub constants: BTreeSet<ItemId>,
    /// Constants without identity that are the same in both builds, by their items of the patched
    /// object: the base has them, and their address may mean something there.
    pub unchanged: BTreeMap<ItemId, ItemId>,
    /// Differences that do not matter.
    pub ignored: Vec<Ignored>,
}

/// Compares all items; refusals go to `verdicts`.
pub(crate) fn find_changes(
    object: &str,
    comparer: &mut Comparer<'_, '_>,
    original_entries: &SpecialEntries,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) -> Changes {
    let mut search = Search {
        entries: (original_entries, patched_entries),
        changes: Changes::default(),
        at_boot: BTreeMap::new(),
        labels: BTreeMap::new(),
        noise: Vec::new(),
        lines: Lines::default(),
    };
    for item in comparer.patched.items.ids() {
        search.item(comparer, item, verdicts);
    }
    lost_parts(comparer, &mut search.changes);
    constants::take_label_tables(comparer, &mut search.changes);
    search.changes.unchanged = constants::unchanged(comparer, &search.changes);
    search.placements(comparer, verdicts);
    search.order_reasons();
    search.ignore_noise(object, comparer);
    if verdicts.leaves_out_stamps() {
        for changed in [&mut search.changes.functions, &mut search.at_boot] {
            let left_out = build_stamp::leave_out(object, comparer.patched, changed);
            search.changes.ignored.extend(left_out);
        }
    }
    search.refuse_boot_code(comparer, verdicts);
    let mut changes = search.changes;
    removed_items(object, comparer, &mut changes, verdicts);
    changes
}

/// What is known while one item after the other is compared.
struct Search<'entries> {
    /// Of the original and of the patched object.
    entries: (&'entries SpecialEntries, &'entries SpecialEntries),
    changes: Changes,
    /// Functions that run at boot alone, and how they differ.
    at_boot: BTreeMap<ItemId, Vec<Reason>>,
    /// For each function the labels of its parts that differ.
    labels: BTreeMap<ItemId, Vec<Option<Reason>>>,
    /// Items that differ in what does not matter, the functions they are part of, and the proof.
    noise: Vec<(ItemId, ItemId, String)>,
    lines: Lines,
}

impl Search<'_> {
    /// Compares one item of the patched object with its counterpart.
    fn item(&mut self, comparer: &mut Comparer<'_, '_>, item: ItemId, verdicts: &mut Verdicts) {
        let patched = comparer.patched;
        let class = patched.items.class(item);
        // Special sections are compared entry by entry: with the functions that own them, and
        // those without one by a rule of their own.
        let elsewhere = matches!(class, SectionClass::Hook | SectionClass::Special(_));
        if elsewhere || is_content(patched, item) {
            return;
        }
        let Some(counterpart) = comparer.correlation.original(item) else {
            new_item(comparer, item, verdicts);
            return;
        };
        match patched.items.item(item).kind {
            ItemKind::Function
                if names::is_padding_name(patched.name(item))
                    && is_padding(patched, item)
                    && is_padding(comparer.original, counterpart) => {}
            ItemKind::Function if patched.is_type_hash(item) => {
                type_hash::check(comparer, counterpart, item, verdicts);
            }
            ItemKind::Function => self.function(comparer, counterpart, item, verdicts),
            ItemKind::Label => label(
                comparer,
                counterpart,
                item,
                self.entries.0,
                self.entries.1,
                verdicts,
            ),
            _ => datum(comparer, counterpart, item, &mut self.changes, verdicts),
        }
    }

    /// Compares a function, or a part of one that lies elsewhere.
    fn function(
        &mut self,
        comparer: &mut Comparer<'_, '_>,
        counterpart: ItemId,
        item: ItemId,
        verdicts: &Verdicts,
    ) {
        let patched = comparer.patched;
        let root = comparer.correlation.patched_root(item);
        let mut reasons = comparer.differences(counterpart, item);
        let mut label = None;
        if matches!(reasons.as_slice(), [Reason::BytesDiffer { .. }, ..]) {
            match self.lines.judge(comparer, counterpart, item, verdicts) {
                Judgement::Noise(why) => {
                    self.noise.push((item, root, why));
                    reasons.clear();
                }
                Judgement::Label(one) => label = Some(one),
                Judgement::Nothing => {}
            }
        }
        reasons.extend(placement::difference(comparer, counterpart, item));
        let offset = first_offset(&reasons);
        if root == item && reasons.is_empty() {
            let (original_entries, patched_entries) = self.entries;
            reasons.extend(comparer.entry_differences(
                counterpart,
                original_entries,
                item,
                patched_entries,
            ));
        } else if root != item && !reasons.is_empty() {
            let name = patched.shown(item);
            reasons = vec![Reason::ColdPartDiffers { name, reasons }];
        }
        if reasons.is_empty() {
            return;
        }
        self.labels.entry(root).or_default().push(label);
        if root == item {
            self.changes.first.insert(root, (item, offset));
        } else {
            self.changes.first.entry(root).or_insert((item, offset));
        }
        let changed = if patched.items.class(item) == SectionClass::Init {
            &mut self.at_boot
        } else {
            &mut self.changes.functions
        };
        changed.entry(root).or_default().extend(reasons);
    }

    /// Adds functions that nothing but the alignment of their section is about.
    fn placements(&mut self, comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
        let correlation = comparer.correlation;
        let differs = |item| {
            let root = correlation.patched_root(item);
            self.changes.functions.contains_key(&root)
                || self.at_boot.contains_key(&root)
                || correlation.original(item).is_none()
        };
        for (item, reason) in placement::aligned_more(comparer, differs) {
            let patched = comparer.patched;
            if patched.items.item(item).kind == ItemKind::Label {
                refuse_label(comparer, item, &[reason], verdicts);
                continue;
            }
            let root = correlation.patched_root(item);
            let reason = if root == item {
                reason
            } else {
                Reason::ColdPartDiffers {
                    name: patched.shown(item),
                    reasons: vec![reason],
                }
            };
            let changed = match patched.items.class(item) {
                SectionClass::Init => &mut self.at_boot,
                _ => &mut self.changes.functions,
            };
            changed.entry(root).or_default().push(reason);
        }
    }

    /// Puts what is a function's own before what is its parts', and the labels last.
    fn order_reasons(&mut self) {
        for (root, reasons) in &mut self.changes.functions {
            reasons.sort_by_key(|reason| matches!(reason, Reason::ColdPartDiffers { .. }));
            reasons.extend(self.labels.remove(root).and_then(label_of_all));
            reasons.extend(build_stamp::label(reasons));
        }
    }

    /// Ignores what does not matter in functions that are the same otherwise.
    fn ignore_noise(&mut self, object: &str, comparer: &Comparer<'_, '_>) {
        for (item, root, why) in std::mem::take(&mut self.noise) {
            if !self.changes.functions.contains_key(&root) && !self.at_boot.contains_key(&root) {
                self.changes.ignored.push(Ignored {
                    object: object.to_owned(),
                    name: comparer.patched.shown(item),
                    why,
                });
            }
        }
    }

    /// Refuses changes of code that runs at boot alone.
    fn refuse_boot_code(&mut self, comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
        let patched = comparer.patched;
        if !self.changes.functions.is_empty() {
            for item in only_called_at_start(patched) {
                if let Some(reasons) = self.changes.functions.remove(&item) {
                    self.at_boot.insert(item, reasons);
                }
            }
        }
        for (item, reasons) in &self.at_boot {
            verdicts.refuse_acceptable(
                RefusalCode::ChangedInit,
                Place::of(patched, *item).plus(first_offset(reasons)),
                "code that only runs at boot changed, and the boot is over; do its work in a hook",
            );
        }
    }
}

/// What a closer comparison of a function that differs shows.
enum Judgement {
    /// The difference does not matter; the proof.
    Noise(String),
    /// A label beside the other reasons.
    Label(Reason),
    /// Nothing.
    Nothing,
}

/// Line tables of both builds.
#[derive(Default)]
struct Lines {
    tables: LineTables,
}

impl Lines {
    fn judge(
        &self,
        comparer: &mut Comparer<'_, '_>,
        o: ItemId,
        p: ItemId,
        verdicts: &Verdicts,
    ) -> Judgement {
        let (original, patched) = (comparer.original, comparer.patched);
        let kind = line_numbers::classify(original, o, patched, p, &self.tables);
        let mut relocations_agree = || !comparer.relocations_differ(o, p);
        match kind {
            Difference::ProvenLineNumbers(shifts) if relocations_agree() => {
                Judgement::Noise(format!(
                    "differs in line numbers alone; the line tables of both objects prove every \
                     one: {}",
                    line_numbers::said(&shifts)
                ))
            }
            Difference::LineNumbersOrValues if relocations_agree() => {
                Judgement::Label(Reason::LooksLikeLineNumbers)
            }
            Difference::LooksLikeLineNumbers(shifts) if relocations_agree() => {
                if verdicts.accept_list().accepts_line_numbers(patched.name(p)) {
                    Judgement::Noise(format!(
                        "{ACCEPTED_LINE_NUMBERS} as such: {}",
                        line_numbers::said(&shifts)
                    ))
                } else {
                    Judgement::Label(Reason::LooksLikeLineNumbers)
                }
            }
            Difference::Displacements => Judgement::Label(Reason::LayoutOnly { types: Vec::new() }),
            Difference::ProvenLineNumbers(_)
            | Difference::LooksLikeLineNumbers(_)
            | Difference::LineNumbersOrValues
            | Difference::Other => Judgement::Nothing,
        }
    }
}

/// A label is about the whole function: it must hold for every part that differs.
fn label_of_all(labels: Vec<Option<Reason>>) -> Option<Reason> {
    let mut labels = labels.into_iter();
    let first = labels.next()??;
    labels
        .all(|label| label.as_ref() == Some(&first))
        .then_some(first)
}

/// Where the first of some differences lies, in bytes from the start of the function.
#[must_use]
pub(crate) fn first_offset(reasons: &[Reason]) -> u64 {
    reasons
        .iter()
        .find_map(|reason| match reason {
            Reason::BytesDiffer { offset }
            | Reason::TargetDiffers { offset, .. }
            | Reason::StringDiffers { offset, .. }
            | Reason::ConstantDiffers { offset, .. }
            | Reason::RelocationDiffers { offset, .. } => Some(*offset),
            _ => None,
        })
        .unwrap_or(0)
}

/// New items that must not be left out silently.
fn new_item(comparer: &Comparer<'_, '_>, item: ItemId, verdicts: &mut Verdicts) {
    let patched = comparer.patched;
    let kind = patched.items.item(item).kind;
    if padding::is_left_by_alignment(patched, item) {
        return;
    }
    let (code, problem) = match patched.items.class(item) {
        SectionClass::LinkerSet => (
            RefusalCode::ChangedLinkerSet,
            "a table that the base walks has a new entry, which it will not find; register it \
             from a hook",
        ),
        SectionClass::PerCpu => (
            RefusalCode::NewPerCpu,
            "new per-CPU data does not fit into the areas of the running CPUs; use a shadow \
             variable or an array by CPU number",
        ),
        SectionClass::ThreadLocal => (
            RefusalCode::ThreadLocal,
            "thread-local storage cannot be added to a running image; use an ordinary variable",
        ),
        SectionClass::Code | SectionClass::Data | SectionClass::Bss | SectionClass::Rodata
            if kind == ItemKind::Gap =>
        {
            (
                RefusalCode::ChangedSection,
                "new contents have no symbol; give them one with a size",
            )
        }
        _ => return,
    };
    verdicts.refuse_acceptable(code, Place::of(patched, item), problem);
}

fn label(
    comparer: &mut Comparer<'_, '_>,
    counterpart: ItemId,
    item: ItemId,
    original_entries: &SpecialEntries,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) {
    let mut reasons = comparer.differences(counterpart, item);
    reasons.extend(comparer.entry_differences(
        counterpart,
        original_entries,
        item,
        patched_entries,
    ));
    reasons.extend(placement::difference(comparer, counterpart, item));
    if !reasons.is_empty() {
        refuse_label(comparer, item, &reasons, verdicts);
    }
}

fn refuse_label(
    comparer: &Comparer<'_, '_>,
    item: ItemId,
    reasons: &[Reason],
    verdicts: &mut Verdicts,
) {
    let patched = comparer.patched;
    let place = Place::of(patched, item).plus(first_offset(reasons));
    if patched.items.class(item) == SectionClass::Init {
        verdicts.refuse_acceptable(
            RefusalCode::ChangedInit,
            place,
            "code that only runs at boot changed, and the boot is over; do its work in a hook",
        );
    } else {
        verdicts.refuse_acceptable(
            RefusalCode::ChangedAssembly,
            place,
            "assembler code without a sized symbol changed; mark it with .type NAME, \
             @function and .size NAME, .-NAME in both trees, or deal with the change in a hook",
        );
    }
}

fn datum(
    comparer: &mut Comparer<'_, '_>,
    counterpart: ItemId,
    item: ItemId,
    changes: &mut Changes,
    verdicts: &mut Verdicts,
) {
    let reasons = comparer.differences(counterpart, item);
    if reasons.is_empty() {
        return;
    }
    let patched = comparer.patched;
    if verdicts.leaves_out_stamps() {
        let stamp = build_stamp::leave_out_text(verdicts.object(), comparer, counterpart, item);
        if let Some(ignored) = stamp {
            changes.ignored.push(ignored);
            return;
        }
    }
    if comparer.is_private_constant(counterpart, item) {
        changes.constants.insert(item);
        return;
    }
    let kind = patched.items.item(item).kind;
    let resized = reasons
        .iter()
        .any(|reason| matches!(reason, Reason::SizeDiffers { .. }));
    let is_room = kind == ItemKind::Gap
        && is_padding(patched, item)
        && is_padding(comparer.original, counterpart);
    if is_room && reserved_space::is_same_room(comparer, counterpart, item) {
        return;
    }
    let (code, problem) = match patched.items.class(item) {
        SectionClass::Init => (
            RefusalCode::ChangedInit,
            "data that is only read at boot changed, and the boot is over; do its work in a hook",
        ),
        SectionClass::PerCpu => (
            RefusalCode::ChangedPerCpu,
            "existing per-CPU data changed; the areas of the running CPUs keep what they hold: \
             set the new values from a hook",
        ),
        SectionClass::LinkerSet => (
            RefusalCode::ChangedLinkerSet,
            "an entry of a table that the base walks changed; change the base's entry from a hook",
        ),
        SectionClass::ThreadLocal => (
            RefusalCode::ThreadLocal,
            "existing thread-local storage changed; set the new values from a hook",
        ),
        SectionClass::Code => (
            RefusalCode::ChangedAssembly,
            "code without a symbol changed; give it a symbol with .type and .size in \
             both trees",
        ),
        _ if is_room => (
            RefusalCode::ChangedSection,
            "reserved space without a symbol has another size, and the base keeps its own; \
             leave it as it is, and give the new space a symbol with a size",
        ),
        _ if kind == ItemKind::Gap => (
            RefusalCode::ChangedSection,
            "contents without a symbol changed; change them from a hook",
        ),
        SectionClass::Bss if resized => (
            RefusalCode::ChangedBss,
            "the size of an existing variable changed; keep it and add a shadow variable for \
             what is new",
        ),
        SectionClass::Rodata => (
            RefusalCode::ChangedRodata,
            "an existing constant changed that more than one function (or another object) may \
             use; give the changed one a new name in the functions that need it, or change it \
             from a hook",
        ),
        _ if resized => (
            RefusalCode::ChangedData,
            "the size of an existing variable changed; keep it and add a shadow variable for \
             what is new",
        ),
        _ => (
            RefusalCode::ChangedData,
            "the initial value of an existing variable changed; set the new value from a hook",
        ),
    };
    verdicts.refuse_acceptable(
        code,
        Place::of(patched, item).plus(first_offset(&reasons)),
        problem,
    );
}

/// Marks a function as changed when it lost or gained an out-of-line part.
fn lost_parts(comparer: &Comparer<'_, '_>, changes: &mut Changes) {
    let correlation = comparer.correlation;
    for item in comparer.patched.items.ids() {
        if correlation.patched_parent[item.index()].is_some()
            && correlation.original(item).is_none()
        {
            let root = correlation.patched_root(item);
            if correlation.original(root).is_some() {
                let name = comparer.patched.shown(item);
                changes
                    .functions
                    .entry(root)
                    .or_default()
                    .push(Reason::ColdPartDiffers {
                        name,
                        reasons: Vec::new(),
                    });
            }
        }
    }
}

/// Items that only the original has.
fn removed_items(
    object: &str,
    comparer: &Comparer<'_, '_>,
    changes: &mut Changes,
    verdicts: &mut Verdicts,
) {
    let original = comparer.original;
    for item in original.items.ids() {
        if comparer.correlation.patched(item).is_some() || is_content(original, item) {
            continue;
        }
        let kind = original.items.item(item).kind;
        let class = original.items.class(item);
        if padding::is_left_by_alignment(original, item) {
            continue;
        }
        let why = match (class, kind) {
            (SectionClass::LinkerSet, _) => {
                verdicts.refuse_acceptable(
                    RefusalCode::ChangedLinkerSet,
                    Place::of(original, item),
                    "a table that the base walks lost an entry, which stays there; undo its \
                     effect in a hook",
                );
                continue;
            }
            (_, ItemKind::Gap) if !is_padding(original, item) => {
                if matches!(
                    class,
                    SectionClass::Code | SectionClass::Data | SectionClass::Rodata
                ) {
                    verdicts.refuse_acceptable(
                        RefusalCode::ChangedSection,
                        Place::of(original, item),
                        "contents without a symbol are gone or changed; give them a \
                         symbol with a size",
                    );
                }
                continue;
            }
            (SectionClass::Hook | SectionClass::ForeignHook | SectionClass::Special(_), _) => {
                continue;
            }
            (SectionClass::Init, _) => "removed, and only used at boot",
            (_, ItemKind::Function | ItemKind::Label) => {
                if comparer.correlation.original_parent[item.index()].is_some()
                    || names::is_padding_name(original.name(item))
                {
                    continue;
                }
                "removed; what referred to it was compared by itself"
            }
            _ => "removed; the base keeps it, with what it holds",
        };
        changes.ignored.push(Ignored {
            object: object.to_owned(),
            name: original.shown(item),
            why: why.to_owned(),
        });
    }
}
