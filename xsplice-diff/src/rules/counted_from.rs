//! Refuses code that counts from one variable to another that is elsewhere in the base.
//!
//! Where variables share a section, compilers for AArch64 take the address of one of them and count
//! from it to the others (GCC's `-fsection-anchors`, clang's `-mglobal-merge`). The relocation
//! names the first alone; the others are told by numbers in the code, which no loader changes. Such
//! code is right as long as all that it reaches stands in the base where it stands in the patched
//! object, counted from the first. Code that is equal in both builds is looked at too: another
//! variable may stand where the same number leads.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use crate::compare::comparer::Comparer;
use crate::debug_info::call_sites::Maker;
use crate::machine::addresses::Taken;
use crate::machine::counted::{Counted, Reached, has_anchors};
use crate::machine::{Flow, Instruction, walk};
use crate::read::items::{ItemId, ItemKind};
use crate::read::labels::Labels;
use crate::read::object::SectionId;
use crate::read::side::Build;
use crate::rules::calls::Calls;
use crate::rules::handed_out::{goes_on_elsewhere, is_relocated};
use crate::rules::left_in_register::LeftInRegister;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// More steps than this are not followed from one address.
const STEPS_MAX: usize = 1 << 14;
/// Largest variable, in bytes, that is taken for a scalar, which nobody indexes.
const SCALAR_BYTES: u64 = 8;

/// Looks at every address of a variable that code takes.
pub(crate) fn check(comparer: &mut Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let patched = comparer.patched;
    if !has_anchors(patched.object.machine) {
        return;
    }
    let mut moved = Moved::default();
    let labels = OnceCell::new();
    let calls = Calls::new(patched);
    let left = LeftInRegister::new(patched);
    let mut found = Vec::new();
    patched.each_reference(|source, index, target| {
        let is_code = patched.items.item(source).kind == ItemKind::Function;
        let Some(anchor) = target.item().filter(|_| is_code) else {
            return;
        };
        let section = patched.items.item(anchor).section;
        if !moved.is_moved(comparer, section) {
            return;
        }
        let Ok(meant) = u64::try_from(target.meant()) else {
            return;
        };
        let start = patched.items.item(anchor).offset.saturating_add(meant);
        let labels = labels.get_or_init(|| Labels::new(patched));
        // Such code runs on in the base, and what it counts to is there.
        if moved.is_identical(comparer, section) && is_equal(comparer, source) {
            return;
        }
        for reached in reached(patched, (labels, &calls, &left), source, index) {
            if let Some(other) = apart(comparer, (anchor, start), reached) {
                found.push((source, index, anchor, other));
                return;
            }
        }
    });
    for (source, index, anchor, other) in found {
        let offset = patched.object.relocations[index].offset;
        let other = match other {
            Some(other) => patched.shown(other),
            None => "something behind it".to_owned(),
        };
        verdicts.refuse(
            RefusalCode::AmbiguousTarget,
            Place::of(patched, source).at(offset),
            &format!(
                "takes the address of {} and counts from there to {other}, which in the base is \
                 not as far from it; build both trees with -fdata-sections, or with \
                 -fno-section-anchors (clang: -mno-global-merge)",
                patched.shown(anchor),
            ),
        );
    }
}

/// What is known of sections.
#[derive(Default)]
struct Moved {
    /// Whether something is at another place than its counterpart.
    moved: BTreeMap<SectionId, bool>,
    /// Whether the original has the section too, as it is.
    identical: BTreeMap<SectionId, bool>,
}

impl Moved {
    fn is_identical(&mut self, comparer: &Comparer<'_, '_>, section: SectionId) -> bool {
        let known = self.identical.entry(section);
        *known.or_insert_with(|| is_identical(comparer, section))
    }

    fn is_moved(&mut self, comparer: &mut Comparer<'_, '_>, section: SectionId) -> bool {
        if let Some(known) = self.moved.get(&section) {
            return *known;
        }
        let patched = comparer.patched;
        let held = patched.object.section(section);
        let items: Vec<ItemId> = patched.items.of_section(section).collect();
        // What the linker merges is taken one by one, and copied so.
        let counts = items.len() > 1 && !held.is_executable() && !held.is_mergeable();
        let is_moved = counts && items.iter().any(|item| !stays(comparer, *item));
        self.moved.insert(section, is_moved);
        is_moved
    }
}

/// Whether the original has the only section of this name with the same bytes, references and
/// items.
fn is_identical(comparer: &Comparer<'_, '_>, section: SectionId) -> bool {
    let (original, patched) = (comparer.original, comparer.patched);
    let held = patched.object.section(section);
    let only = |build: &Build<'_>| {
        let mut all = build.object.sections();
        let named = all.by_ref().find(|(_, one)| one.name == held.name)?.0;
        all.all(|(_, one)| one.name != held.name).then_some(named)
    };
    let (Some(before), Some(_)) = (only(original), only(patched)) else {
        return false;
    };
    let old = original.object.section(before);
    let relocations = |build: &Build<'_>, id| {
        let all = build.object.relocations_of(id).to_vec();
        let object = &build.object;
        let named = all.into_iter().map(|one| {
            let symbol = object.symbol(one.symbol);
            let name = (symbol.name.to_owned(), symbol.value, symbol.is_section());
            (one.offset, one.kind, one.addend, name)
        });
        named.collect::<Vec<_>>()
    };
    let items = |build: &Build<'_>, id| {
        let all = build.items.of_section(id);
        let described = all.map(|item| {
            let place = build.items.item(item);
            (place.offset, place.size, build.name(item).to_owned())
        });
        described.collect::<Vec<_>>()
    };
    (old.size, old.data, old.is_nobits()) == (held.size, held.data, held.is_nobits())
        && relocations(original, before) == relocations(patched, section)
        && items(original, before) == items(patched, section)
}

/// Whether a function is as in the original.
fn is_equal(comparer: &mut Comparer<'_, '_>, function: ItemId) -> bool {
    let before = comparer.correlation.original(function);
    before.is_some_and(|before| comparer.differences(before, function).is_empty())
}

/// Whether the base has an item where the patched object has it, counted from the section's start,
/// and the payload refers to that.
fn stays(comparer: &mut Comparer<'_, '_>, item: ItemId) -> bool {
    let patched = comparer.patched;
    let (place, original) = (patched.items.item(item), comparer.original);
    if place.kind == ItemKind::Gap && patched.bytes(item).iter().all(|byte| *byte == 0) {
        return true;
    }
    let Some(counterpart) = comparer.correlation.original(item) else {
        return false;
    };
    let before = original.items.item(counterpart);
    let is_there = before.offset == place.offset
        && original.section_name(counterpart) == patched.section_name(item);
    is_there
        && (patched.object.section(place.section).is_writable()
            || comparer.content_difference(counterpart, item).is_none())
}

/// What an address leads to that is not as far from the anchor in the base; `None` inside: cannot
/// be told. `start` is the place in the section that the address means.
fn apart(
    comparer: &mut Comparer<'_, '_>,
    (anchor, start): (ItemId, u64),
    reached: Reached,
) -> Option<Option<ItemId>> {
    let patched = comparer.patched;
    let own = *patched.items.item(anchor);
    let Reached::Place(distance) = reached else {
        return Some(None);
    };
    let place = start.checked_add_signed(distance.bytes);
    let is_within = place.is_some_and(|place| (own.offset..own.end()).contains(&place));
    if is_within {
        // An index may count from one before the start, or belong to what is behind.
        let is_plain =
            !distance.is_indexed || (place == Some(own.offset) && own.size > SCALAR_BYTES);
        return match is_plain {
            true => None,
            false => Some(None),
        };
    }
    if distance.is_indexed {
        return Some(None);
    }
    // Outside of the section that is the first or last of it.
    let Some(other) = place.and_then(|place| patched.items.at(own.section, place)) else {
        return Some(None);
    };
    let keeps = stays_by(comparer, anchor, other);
    (!keeps).then_some(Some(other))
}

/// Whether two items are as far apart as their counterparts, and both are what the base has.
fn stays_by(comparer: &mut Comparer<'_, '_>, one: ItemId, other: ItemId) -> bool {
    let (original, patched) = (comparer.original, comparer.patched);
    let mut places = Vec::new();
    for item in [one, other] {
        let Some(counterpart) = comparer.correlation.original(item) else {
            return false;
        };
        let (old, new) = (original.items.item(counterpart), patched.items.item(item));
        let is_writable = patched.object.section(new.section).is_writable();
        if !is_writable && comparer.content_difference(counterpart, item).is_some() {
            return false;
        }
        places.push((old.section, i128::from(new.offset) - i128::from(old.offset)));
    }
    places[0] == places[1]
}

/// What code reaches by the address that the relocation `index` of a function puts into a register.
fn reached(
    build: &Build<'_>,
    (labels, calls, left): (&Labels, &Calls<'_, '_>, &LeftInRegister<'_, '_>),
    source: ItemId,
    index: usize,
) -> Vec<Reached> {
    let machine = build.object.machine;
    let place = build.items.item(source);
    let field = build.object.relocations[index].offset;
    let code: Vec<Instruction<'_>> = walk(machine, build.bytes(source), place.offset).collect();
    let behind = code.partition_point(|one| one.end <= field);
    let Some(first) = code.get(behind) else {
        return vec![Reached::Anywhere];
    };
    let kind = build.object.relocations[index].kind;
    let taken = match machine.goes_through_slot(kind) {
        true => first.takes_from_slot(field),
        false => first.begins_address(field),
    };
    let register = match taken {
        Taken::Nowhere => return Vec::new(),
        Taken::Out => return vec![Reached::Anywhere],
        Taken::Into(register) => register,
    };
    let walker = Walker {
        build,
        labels,
        calls,
        left,
        source,
        code: &code,
    };
    let mut guesses = Vec::new();
    let begun = vec![(behind + 1, Counted::new(register))];
    let mut all = walker.follow(begun, Certainty::Known, &mut guesses);
    // Where a jump by a table of distances leads is not known, so all of the function is a guess:
    // an address that is still in a register may be used there.
    for counted in std::mem::take(&mut guesses) {
        let begun = (0..code.len()).map(|at| (at, counted.clone())).collect();
        all.extend(walker.follow(begun, Certainty::Guessed, &mut guesses));
    }
    all
}

/// Whether the code comes to an instruction with these registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Known,
    /// It may or may not. Most instructions do not see these registers, so that those that are no
    /// use of an address tell nothing.
    Guessed,
}

/// Follows counted registers through one function.
struct Walker<'w, 'data> {
    build: &'w Build<'data>,
    labels: &'w Labels,
    calls: &'w Calls<'w, 'data>,
    left: &'w LeftInRegister<'w, 'data>,
    source: ItemId,
    code: &'w [Instruction<'w>],
}

impl Walker<'_, '_> {
    /// What is reached from these instructions on, with these registers; and with what registers
    /// the code jumps to where nobody knows.
    fn follow(
        &self,
        mut open: Vec<(usize, Counted)>,
        certainty: Certainty,
        guesses: &mut Vec<Counted>,
    ) -> Vec<Reached> {
        let Walker {
            build,
            labels,
            calls,
            left,
            source,
            code,
        } = *self;
        let machine = build.object.machine;
        let at = |offset: u64| code.binary_search_by_key(&offset, |one| one.start).ok();
        let mut known: Vec<Counted> = vec![Counted::default(); code.len()];
        let mut all = Vec::new();
        let mut is_table = false;
        let is_told = |one: &Reached| certainty == Certainty::Known || *one != Reached::Anywhere;
        for _ in 0..STEPS_MAX {
            let Some((next, counted)) = open.pop() else {
                return all;
            };
            let Some(instruction) = code.get(next) else {
                continue;
            };
            if counted.is_empty() || !known[next].join(&counted) {
                continue;
            }
            let mut counted = known[next].clone();
            let mut reached = instruction.counts(&mut counted);
            if reached.contains(&Reached::SOMEWHERE_BEHIND) && self.is_switch(next) {
                is_table = true;
                reached.retain(|one| *one != Reached::SOMEWHERE_BEHIND);
            }
            all.extend(reached.into_iter().filter(is_told));
            let target = instruction
                .lead
                .filter(|lead| lead.is_branch)
                .and_then(|lead| at(lead.to))
                .filter(|_| !is_relocated(build, source, instruction));
            match instruction.flow {
                Flow::Return => {}
                // Behind the trap of a warning the code goes on.
                Flow::Next | Flow::Elsewhere | Flow::Stop => open.push((next + 1, counted)),
                Flow::Call | Flow::IndirectCall => {
                    let is_of_assembler = left.maker(source, instruction) == Maker::Assembler;
                    counted.after_call(machine, |one| {
                        calls.may_keep((source, is_of_assembler), instruction, one)
                    });
                    open.push((next + 1, counted));
                }
                Flow::Jump | Flow::ConditionalJump => {
                    match target {
                        Some(target) => open.push((target, counted.clone())),
                        None if counted.is_known()
                            && goes_on_elsewhere(build, source, instruction) =>
                        {
                            all.push(Reached::Anywhere);
                        }
                        // A call that does not come back here.
                        None => {}
                    }
                    if instruction.flow == Flow::ConditionalJump {
                        open.push((next + 1, counted));
                    }
                }
                Flow::IndirectJump if !counted.is_known() => {}
                Flow::IndirectJump => match labels.of(build, source, code) {
                    Some(targets) => {
                        open.extend(targets.into_iter().map(|target| (target, counted.clone())));
                    }
                    // Nothing but the jump has a use for the table.
                    None if is_table => {}
                    None if labels.is_within(build, source) => guesses.push(counted),
                    None => all.push(Reached::Anywhere),
                },
            }
        }
        all.push(Reached::Anywhere);
        all
    }

    /// Whether the instruction `at` reads a distance of a `switch` from its table: behind it comes
    /// the jump, and around it a label of the function is taken. Such a table begins where its
    /// address says, and a bound was checked before.
    fn is_switch(&self, at: usize) -> bool {
        const BEFORE: usize = 4;
        const BEHIND: usize = 3;
        let behind = self.code.get(at + 1..).unwrap_or_default();
        let jump = behind
            .iter()
            .take(BEHIND)
            .position(|one| one.flow != Flow::Next);
        let Some(jump) = jump.filter(|&jump| behind[jump].flow == Flow::IndirectJump) else {
            return false;
        };
        let around = &self.code[at.saturating_sub(BEFORE)..at + 1 + jump];
        around.iter().any(|one| {
            one.lead.is_some_and(|lead| !lead.is_branch)
                && !is_relocated(self.build, self.source, one)
        })
    }
}
