//! Refuses changed constants whose address the base handed out before.
//!
//! A constant that one function alone uses is part of it, and goes into the payload with it. But
//! where that function stores the address, passes it or gives it back, as with operations that are
//! registered once, the base still reads the old contents by it. Where it writes there, it is no
//! constant, whatever its section is called, and a copy does not hold what was written. Only
//! reading from there is harmless. A pointer to it that lies in a table of constants, or in a slot
//! of the GOT, is followed through what code reads from there. Strings and what the compiler makes
//! of a function's own name or of a `switch` have no identity: whoever got one of those got its
//! text.

use std::collections::{BTreeMap, BTreeSet};

use xsplice_abi::machine::Kind;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::debug_info::call_sites::Maker;
use crate::machine::addresses::{Held, Loaded, Since, Taken};
use crate::machine::{Flow, Instruction, walk};
use crate::read::items::{ItemId, ItemKind};
use crate::read::labels::Labels;
use crate::read::names;
use crate::read::object::Relocation;
use crate::read::side::{Build, is_content};
use crate::rules::calls::Calls;
use crate::rules::kept_for_calls::KeptForCalls;
use crate::rules::left_in_register::LeftInRegister;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Pointers that lead to pointers are followed this far.
const HOPS_MAX: usize = 4;
/// More steps than this are not followed in one function.
const STEPS_MAX: usize = 1 << 16;

/// Looks at every constant that differs and goes into the payload as a copy.
pub(crate) fn check(comparer: &mut Comparer<'_, '_>, changes: &Changes, verdicts: &mut Verdicts) {
    if changes.functions.is_empty() {
        return;
    }
    let mut changed: Vec<(ItemId, ItemId)> = Vec::new();
    for constant in &changes.constants {
        if let Some(old) = comparer.correlation.original(*constant)
            && comparer.content_difference(old, *constant).is_some()
        {
            changed.push((old, *constant));
        }
    }
    changed.extend(changed_contents(comparer));
    let handed_out = handed_out(comparer.original, changed.iter().map(|(old, _)| *old));
    for (old, new) in changed {
        if let Some(by) = handed_out.get(&old).copied() {
            verdicts.refuse_acceptable(
                RefusalCode::ChangedRodata,
                Place::of(comparer.patched, new),
                &format!(
                    "a constant changed whose address {} stores, passes, compares, gives back or \
                     writes by; what got it before reads the old contents, and what was written \
                     there is in the old one: give the changed one another name and use that, or \
                     change it from a hook",
                    comparer.original.shown(by)
                ),
            );
        }
    }
}

/// Named constants without identity that are not the same in both builds, with one of their name.
fn changed_contents(comparer: &mut Comparer<'_, '_>) -> Vec<(ItemId, ItemId)> {
    let (original, patched) = (comparer.original, comparer.patched);
    let correlation = comparer.correlation;
    let is_one = |build: &Build<'_>, item: ItemId| {
        build.items.item(item).kind == ItemKind::Datum
            && is_content(build, item)
            && !names::is_of_compilers(build.name(item))
    };
    let mut of_name: BTreeMap<&str, Vec<ItemId>> = BTreeMap::new();
    for item in patched.items.ids().filter(|item| is_one(patched, *item)) {
        let name = names::given(patched.name(item));
        of_name.entry(name).or_default().push(item);
    }
    let same: Vec<(ItemId, ItemId)> = correlation
        .same_constant
        .iter()
        .map(|(p, o)| (*o, *p))
        .collect();
    let (mut same_olds, mut same_news) = (BTreeSet::new(), BTreeSet::new());
    for (o, p) in same {
        if comparer.content_difference(o, p).is_none() {
            same_olds.insert(o);
            same_news.insert(p);
        }
    }
    let mut changed = Vec::new();
    for item in original.items.ids().filter(|item| is_one(original, *item)) {
        if same_olds.contains(&item) {
            continue;
        }
        let name = names::given(original.name(item));
        let other = of_name
            .get(name)
            .into_iter()
            .flatten()
            .find(|other| !same_news.contains(*other));
        if let Some(other) = other {
            changed.push((item, *other));
        }
    }
    changed
}

/// Of some items those whose address somebody hands out, each with the first that does.
fn handed_out(build: &Build<'_>, items: impl Iterator<Item = ItemId>) -> BTreeMap<ItemId, ItemId> {
    let wanted: BTreeSet<ItemId> = items.collect();
    let mut by = BTreeMap::new();
    if wanted.is_empty() {
        return by;
    }
    let labels = Labels::new(build);
    let left = LeftInRegister::new(build);
    let calls = Calls::new(build);
    let callees = Callees {
        labels: &labels,
        left: &left,
        calls: &calls,
    };
    let leading = leading_to(build, &wanted, &mut by);
    build.each_reference(|source, index, target| {
        let is_code = build.items.item(source).kind == ItemKind::Function;
        let Some(leads) = target
            .item()
            .filter(|_| is_code)
            .and_then(|item| leading.get(&item))
        else {
            return;
        };
        for (item, hops) in leads {
            if !by.contains_key(item) && hands_out(build, &callees, (source, index), *hops) {
                by.insert(*item, source);
            }
        }
    });
    by
}

/// The constants by which one comes to the `wanted` items, with the item and how many pointers are
/// to be read on the way: none for the item itself. What leads there in a form that no code is
/// followed through is said to hand it out.
fn leading_to(
    build: &Build<'_>,
    wanted: &BTreeSet<ItemId>,
    by: &mut BTreeMap<ItemId, ItemId>,
) -> BTreeMap<ItemId, BTreeSet<(ItemId, usize)>> {
    let machine = build.object.machine;
    let mut pointers: BTreeMap<ItemId, Vec<(ItemId, u32)>> = BTreeMap::new();
    build.each_reference(|source, index, target| {
        let is_code = build.items.item(source).kind == ItemKind::Function;
        if let Some(item) = target.item().filter(|_| !is_code)
            && build.items.class(source).is_constant()
        {
            let kind = build.object.relocations[index].kind;
            pointers.entry(item).or_default().push((source, kind));
        }
    });
    let mut leading: BTreeMap<ItemId, BTreeSet<(ItemId, usize)>> = BTreeMap::new();
    let mut open: Vec<(ItemId, ItemId, usize)> = Vec::new();
    open.extend(wanted.iter().map(|item| (*item, *item, 0)));
    while let Some((place, item, hops)) = open.pop() {
        if !leading.entry(place).or_default().insert((item, hops)) {
            continue;
        }
        for (source, kind) in pointers.get(&place).into_iter().flatten() {
            if *kind == machine.word.number && hops < HOPS_MAX {
                open.push((*source, item, hops + 1));
            } else {
                by.entry(item).or_insert(*source);
            }
        }
    }
    leading
}

/// What is asked about the code that a function calls or jumps to.
struct Callees<'run, 'data> {
    labels: &'run Labels,
    left: &'run LeftInRegister<'run, 'data>,
    calls: &'run Calls<'run, 'data>,
}

/// Whether the address that the relocation `index` of a function puts into a register, or wherever
/// else, leaves it, or a pointer that is read from there by way of so many others.
fn hands_out(
    build: &Build<'_>,
    callees: &Callees<'_, '_>,
    (source, index): (ItemId, usize),
    hops: usize,
) -> bool {
    let (labels, left, calls) = (callees.labels, callees.left, callees.calls);
    let machine = build.object.machine;
    let place = build.items.item(source);
    let Relocation {
        offset: field,
        kind,
        ..
    } = build.object.relocations[index];
    // The slot holds the address, so that one pointer more is read.
    let hops = hops + usize::from(machine.goes_through_slot(kind));
    let code: Vec<Instruction<'_>> = walk(machine, build.bytes(source), place.offset).collect();
    let at = |offset: u64| code.binary_search_by_key(&offset, |one| one.start).ok();
    let mut kept = KeptForCalls::new(build, labels, (source, &code));
    let passing = Passing {
        build,
        left,
        source,
        code: &code,
    };
    let behind = code.partition_point(|one| one.end <= field);
    let Some(first) = code.get(behind) else {
        return true;
    };
    let Some(mut open) = begin(build, first, index, (behind + 1, hops)) else {
        return true;
    };
    let mut known: Vec<Vec<Held>> = vec![vec![Held::default(); code.len()]; hops + 1];
    for _ in 0..STEPS_MAX {
        let Some((next, held, hops)) = open.pop() else {
            return kept.is_for_calls();
        };
        let Some(instruction) = code.get(next) else {
            // It runs on into other code.
            return true;
        };
        if held.is_empty() || !known[hops][next].join(&held) {
            continue;
        }
        let mut held = known[hops][next].clone();
        let Some(read) = read_on(instruction.loads_by(&held), (next + 1, hops)) else {
            return true;
        };
        open.extend(read);
        if instruction.writes(&held) || instruction.carries(&mut held) {
            return true;
        }
        if instruction.flow == Flow::Return && is_given_back(left, source, instruction, &held) {
            return true;
        }
        let target = instruction
            .lead
            .filter(|lead| lead.is_branch)
            .and_then(|lead| at(lead.to))
            .filter(|_| !is_relocated(build, source, instruction));
        match instruction.flow {
            Flow::Return | Flow::Stop => {}
            Flow::Next | Flow::Elsewhere => open.push((next + 1, held, hops)),
            Flow::Call | Flow::IndirectCall => {
                if passing.is_passed(&held, next) || passing.is_passed_aside(&held, next, &mut kept)
                {
                    return true;
                }
                let is_of_assembler = left.maker(source, instruction) == Maker::Assembler;
                held.after_call(machine, |one| {
                    calls.may_keep((source, is_of_assembler), instruction, one)
                });
                open.push((next + 1, held, hops));
            }
            Flow::Jump | Flow::ConditionalJump => {
                match target {
                    Some(target) => open.push((target, held.clone(), hops)),
                    None if passing.leaves_by_jump(&held, next) => return true,
                    None => {}
                }
                if instruction.flow == Flow::ConditionalJump {
                    open.push((next + 1, held, hops));
                }
            }
            // To a function, which gets what stands where arguments do, or to a label here.
            Flow::IndirectJump => match labels.of_all(build, source, &code) {
                Some(targets) if !passing.is_passed(&held, next) => {
                    let all = targets.into_iter();
                    open.extend(all.map(|target| (target, held.clone(), hops)));
                }
                _ => return true,
            },
        }
    }
    true
}

/// What calls and jumps of a function pass on.
struct Passing<'run, 'data> {
    build: &'run Build<'data>,
    left: &'run LeftInRegister<'run, 'data>,
    source: ItemId,
    code: &'run [Instruction<'run>],
}

impl Passing<'_, '_> {
    /// Whether the callee at an index gets a held address by a register of arguments. One by which
    /// something was read is left in its register, perhaps on purpose.
    fn is_passed(&self, held: &Held, at: usize) -> bool {
        let machine = self.build.object.machine;
        let is_looked_at = |register| {
            self.left
                .may_be_argument((self.source, self.code, at), register)
        };
        held.is_argument(machine) || held.used_arguments(machine).any(is_looked_at)
    }

    /// Whether it gets one by another register, by which only assembler passes anything.
    fn is_passed_aside(&self, held: &Held, at: usize, kept: &mut KeptForCalls<'_, '_>) -> bool {
        let call = &self.code[at];
        let maker = self.left.maker(self.source, call);
        let mut others = held.others(self.build.object.machine);
        others.any(|(register, since)| {
            let looks = self.left.looks_at_other(self.source, call, register);
            kept.passes((at, maker), (register, since), looks)
        })
    }

    /// Whether a jump out of this code takes one along: to another part of the function, which goes
    /// on with any register, or to another function, by a call that does not come back here. By
    /// registers that are no arguments no compiler passes anything.
    fn leaves_by_jump(&self, held: &Held, at: usize) -> bool {
        let (left, source, jump) = (self.left, self.source, &self.code[at]);
        if goes_on_elsewhere(self.build, source, jump) {
            let goes_on = |one| left.may_go_on_with(source, jump, one);
            return held.is_fresh() || held.registers().any(goes_on);
        }
        self.is_passed(held, at) || (held.is_fresh() && left.maker(source, jump) != Maker::Compiler)
    }
}

/// Where code is followed from: its next instruction, what is held there, and how many pointers
/// are still to be read by that.
type Open = (usize, Held, usize);

/// What is to be followed behind the instruction that has an address in the field of the relocation
/// `index`; `None` where that hands it out. What is written to is no constant.
fn begin(
    build: &Build<'_>,
    first: &Instruction<'_>,
    index: usize,
    (next, hops): (usize, usize),
) -> Option<Vec<Open>> {
    let Relocation {
        offset: field,
        kind,
        ..
    } = build.object.relocations[index];
    let is_slot = build.object.machine.goes_through_slot(kind);
    if is_of_slot_in_parts(build, kind) || (!is_slot && first.writes_there(field)) {
        return None;
    }
    match first.takes(field) {
        Taken::Nowhere => read_on(first.loads_at(field), (next, hops)),
        Taken::Out => None,
        Taken::Into(register) => Some(vec![(next, Held::new(register), hops)]),
    }
}

/// What is to be followed behind an instruction that reads where pointers are; `None` where they
/// are handed out. Where nothing is left to be read but contents, nothing is.
fn read_on(loaded: Loaded, (next, hops): (usize, usize)) -> Option<Vec<Open>> {
    let Some(fewer) = hops.checked_sub(1) else {
        return Some(Vec::new());
    };
    match loaded {
        Loaded::Nothing => Some(Vec::new()),
        Loaded::Out => None,
        Loaded::Into(registers) => {
            let all = registers.into_iter().map(Held::new);
            Some(all.map(|held| (next, held, fewer)).collect())
        }
    }
}

/// Whether a field is one of those that tell together where a slot of the GOT is, which is not
/// followed, or something else that payloads do not have.
fn is_of_slot_in_parts(build: &Build<'_>, kind: u32) -> bool {
    let known = build.object.machine.relocation(kind);
    known.is_none_or(|known| known.field.kind == Kind::Other)
}

/// Whether a return hands out an address. No compiler leaves one where nobody looks; assembler
/// gives back by any register.
fn is_given_back(
    left: &LeftInRegister<'_, '_>,
    source: ItemId,
    instruction: &Instruction<'_>,
    held: &Held,
) -> bool {
    let [first, second] = instruction.gives_back(held);
    let is_result = match first {
        Some(Since::Fresh | Since::Call) => true,
        Some(Since::Used) => left.may_be_result(source),
        None => false,
    };
    is_result
        || second.is_some_and(|since| left.may_be_second(source, since))
        || held.is_fresh()
        || (!held.is_empty() && left.is_assembler(source))
}

/// Whether a branch leads to another part of its own function, which goes on with what is in any
/// register: a cold part, or from there back.
pub(super) fn goes_on_elsewhere(
    build: &Build<'_>,
    source: ItemId,
    instruction: &Instruction<'_>,
) -> bool {
    let range = instruction.start..instruction.end;
    let mut all = build.relocations(source);
    all.any(|(relocation, target)| {
        let is_cold = |item| names::cold_parent(build.name(item)).is_some();
        let is_part = target.item().is_some_and(is_cold) || target.meant() != 0;
        range.contains(&relocation.offset) && is_part
    })
}

/// Whether a relocation fills a field of an instruction: then it leads out of the function.
pub(super) fn is_relocated(
    build: &Build<'_>,
    source: ItemId,
    instruction: &Instruction<'_>,
) -> bool {
    build
        .relocations(source)
        .any(|(relocation, _)| (instruction.start..instruction.end).contains(&relocation.offset))
}
