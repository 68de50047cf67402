//! Compares every pair of items and sorts what differs: functions to replace, constants that go
//! with them, differences that no payload can carry, differences that do not matter.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::build_stamp;
use crate::compare::comparer::Comparer;
use crate::compare::constructors::only_called_at_start;
use crate::compare::line_numbers::{self, Difference, LineTables};
use crate::compare::reserved_space;
use crate::compare::special_entries::SpecialEntries;
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
pub struct Changes {
    /// Functions to replace, by their items of the patched object.
    pub functions: BTreeMap<ItemId, Vec<Reason>>,
    /// Where each of them differs first: in itself, or in an out-of-line part. Offsets are in
    /// bytes from the start of that item.
    pub first: BTreeMap<ItemId, (ItemId, u64)>,
    /// Constants of the patched object that differ and travel as copies.
    pub constants: BTreeSet<ItemId>,
    /// What does not matter.
    pub ignored: Vec<Ignored>,
}

/// Compares everything; what cannot be patched goes to `verdicts`.
pub fn find_changes(
    object: &str,
    comparer: &mut Comparer<'_, '_>,
    original_entries: &SpecialEntries,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) -> Changes {
    let mut changes = Changes::default();
    let patched = comparer.patched;
    let mut at_boot: BTreeMap<ItemId, Vec<Reason>> = BTreeMap::new();
    let mut lines = Lines { tables: None };
    let mut noise = Vec::new();
    let mut labels: BTreeMap<ItemId, Vec<Option<Reason>>> = BTreeMap::new();
    for item in patched.items.ids() {
        let kind = patched.items.item(item).kind;
        let class = patched.items.class(item);
        // Special sections are compared entry by entry, with the functions that own them.
        let elsewhere = matches!(class, SectionClass::Hook | SectionClass::Special(_));
        if elsewhere || is_content(patched, item) {
            continue;
        }
        // Entries are compared with the functions that own them, and those without one below.
        if matches!(class, SectionClass::Special(_)) {
            continue;
        }
        let Some(twin) = comparer.correlation.original(item) else {
            new_item(comparer, item, verdicts);
            continue;
        };
        match kind {
            ItemKind::Function
                if names::is_padding(patched.name(item))
                    && is_padding(patched, item)
                    && is_padding(comparer.original, twin) => {}
            ItemKind::Function if names::is_type_hash(patched.name(item)) => {
                if !comparer.differences(twin, item).is_empty() {
                    verdicts.refuse(
                        RefusalCode::SymbolKindChanged,
                        Place::of(patched, item),
                        "the type that indirect callers check changed; keep the function's \
                         prototype and give the new one another name",
                    );
                }
            }
            ItemKind::Function => {
                let mut reasons = comparer.differences(twin, item);
                let root = comparer.correlation.patched_root(item);
                let mut label = None;
                if matches!(reasons.as_slice(), [Reason::BytesDiffer { .. }, ..]) {
                    match lines.judge(comparer, twin, item, verdicts) {
                        Judgement::Noise(why) => {
                            noise.push((item, root, why));
                            reasons.clear();
                        }
                        Judgement::Label(one) => label = Some(one),
                        Judgement::Nothing => {}
                    }
                }
                let offset = first_offset(&reasons);
                if root == item && reasons.is_empty() {
                    reasons.extend(comparer.entry_differences(
                        twin,
                        original_entries,
                        item,
                        patched_entries,
                    ));
                } else if root != item && !reasons.is_empty() {
                    let name = patched.shown(item);
                    reasons = vec![Reason::ColdPartDiffers { name, reasons }];
                }
                if !reasons.is_empty() {
                    labels.entry(root).or_default().push(label);
                    if root == item {
                        changes.first.insert(root, (item, offset));
                    } else {
                        changes.first.entry(root).or_insert((item, offset));
                    }
                    let changed = if class == SectionClass::Init {
                        &mut at_boot
                    } else {
                        &mut changes.functions
                    };
                    changed.entry(root).or_default().extend(reasons);
                }
            }
            ItemKind::Label => label(
                comparer,
                twin,
                item,
                original_entries,
                patched_entries,
                verdicts,
            ),
            _ => datum(comparer, twin, item, &mut changes, verdicts),
        }
    }
    lost_parts(comparer, &mut changes);
    for (root, reasons) in &mut changes.functions {
        // What is the function's own comes before what is its parts'.
        reasons.sort_by_key(|reason| matches!(reason, Reason::ColdPartDiffers { .. }));
        reasons.extend(labels.remove(root).and_then(label_of_all));
        reasons.extend(build_stamp::label(reasons));
    }
    for (item, root, why) in noise {
        if !changes.functions.contains_key(&root) && !at_boot.contains_key(&root) {
            changes.ignored.push(Ignored {
                object: object.to_owned(),
                name: patched.shown(item),
                why,
            });
        }
    }
    if !changes.functions.is_empty() {
        for item in only_called_at_start(patched) {
            if let Some(reasons) = changes.functions.remove(&item) {
                at_boot.insert(item, reasons);
            }
        }
    }
    for (item, reasons) in at_boot {
        verdicts.refuse_acceptable(
            RefusalCode::ChangedInit,
            Place::of(patched, item).plus(first_offset(&reasons)),
            "code that only runs at boot changed, and the boot is over; do its work in a hook",
        );
    }
    removed_items(object, comparer, &mut changes, verdicts);
    changes
}

/// What a closer look at a function that differs says.
enum Judgement {
    /// It does not matter; the proof.
    Noise(String),
    /// A label beside the other reasons.
    Label(Reason),
    /// Nothing.
    Nothing,
}

/// Line tables, read when a function first needs them.
struct Lines {
    tables: Option<LineTables>,
}

impl Lines {
    fn judge(
        &mut self,
        comparer: &mut Comparer<'_, '_>,
        o: ItemId,
        p: ItemId,
        verdicts: &Verdicts,
    ) -> Judgement {
        let (original, patched) = (comparer.original, comparer.patched);
        let tables = self
            .tables
            .get_or_insert_with(|| LineTables::new(original, patched));
        let kind = line_numbers::classify(original, o, patched, p, tables);
        let mut relocations_agree = || !comparer.relocations_differ(o, p);
        match kind {
            Difference::ProvenLineNumbers if relocations_agree() => Judgement::Noise(
                "differs in line numbers alone; the line tables of both objects prove every one"
                    .to_owned(),
            ),
            Difference::LineNumbersOrValues if relocations_agree() => {
                Judgement::Label(Reason::LooksLikeLineNumbers)
            }
            Difference::LooksLikeLineNumbers(shifts) if relocations_agree() => {
                if verdicts
                    .acknowledgements()
                    .accepts_line_numbers(patched.name(p))
                {
                    let shifts: Vec<String> = shifts.iter().map(ToString::to_string).collect();
                    Judgement::Noise(format!(
                        "{ACCEPTED_LINE_NUMBERS} as such: {}",
                        shifts.join(", ")
                    ))
                } else {
                    Judgement::Label(Reason::LooksLikeLineNumbers)
                }
            }
            Difference::Displacements => Judgement::Label(Reason::LayoutOnly { types: Vec::new() }),
            Difference::ProvenLineNumbers
            | Difference::LooksLikeLineNumbers(_)
            | Difference::LineNumbersOrValues
            | Difference::Other => Judgement::Nothing,
        }
    }
}

/// A label speaks of a whole function: every part of it that differs must have it.
fn label_of_all(labels: Vec<Option<Reason>>) -> Option<Reason> {
    let mut labels = labels.into_iter();
    let first = labels.next()??;
    labels
        .all(|label| label.as_ref() == Some(&first))
        .then_some(first)
}

/// Where the first of some differences lies, in bytes from the start of the function.
#[must_use]
pub fn first_offset(reasons: &[Reason]) -> u64 {
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

/// Items without a twin that would be wrong to leave out silently.
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
            "new per-CPU data has no room in the areas of the running CPUs; use a shadow \
             variable or an array by CPU number",
        ),
        SectionClass::ThreadLocal => (
            RefusalCode::ThreadLocal,
            "thread-local storage cannot be added to a running image; use an ordinary variable",
        ),
        SectionClass::Code | SectionClass::Data | SectionClass::Bss if kind == ItemKind::Gap => (
            RefusalCode::ChangedSection,
            "contents that no symbol stands for are new; give them a symbol with a size",
        ),
        _ => return,
    };
    verdicts.refuse_acceptable(code, Place::of(patched, item), problem);
}

fn label(
    comparer: &mut Comparer<'_, '_>,
    twin: ItemId,
    item: ItemId,
    original_entries: &SpecialEntries,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) {
    let mut reasons = comparer.differences(twin, item);
    reasons.extend(comparer.entry_differences(twin, original_entries, item, patched_entries));
    if reasons.is_empty() {
        return;
    }
    let patched = comparer.patched;
    let place = Place::of(patched, item).plus(first_offset(&reasons));
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
            "assembler code changed whose extent no symbol tells; mark it with .type NAME, \
             @function and .size NAME, .-NAME in both trees, or deal with the change in a hook",
        );
    }
}

fn datum(
    comparer: &mut Comparer<'_, '_>,
    twin: ItemId,
    item: ItemId,
    changes: &mut Changes,
    verdicts: &mut Verdicts,
) {
    let reasons = comparer.differences(twin, item);
    if reasons.is_empty() {
        return;
    }
    let patched = comparer.patched;
    if comparer.is_private_constant(twin, item) {
        changes.constants.insert(item);
        return;
    }
    let kind = patched.items.item(item).kind;
    let resized = reasons
        .iter()
        .any(|reason| matches!(reason, Reason::SizeDiffers { .. }));
    let is_room =
        kind == ItemKind::Gap && is_padding(patched, item) && is_padding(comparer.original, twin);
    if is_room && reserved_space::is_same_room(comparer, twin, item) {
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
            "code that no symbol stands for changed; give it a symbol with .type and .size in \
             both trees",
        ),
        _ if is_room => (
            RefusalCode::ChangedSection,
            "room that no symbol stands for has another size, and the base keeps what it has; \
             leave it, and give the new room a name and a size of its own",
        ),
        _ if kind == ItemKind::Gap => (
            RefusalCode::ChangedSection,
            "contents that no symbol stands for changed; change them from a hook",
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

/// A function that lost or gained its out-of-line part differs itself; this makes sure of it.
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
                if matches!(class, SectionClass::Code | SectionClass::Data) {
                    verdicts.refuse_acceptable(
                        RefusalCode::ChangedSection,
                        Place::of(original, item),
                        "contents that no symbol stands for are gone or changed; give them a \
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
                    || names::is_padding(original.name(item))
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
