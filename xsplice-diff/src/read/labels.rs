//! Places inside functions whose address something has: where an indirect jump may go on within
//! its own function, as those of `switch` and of computed `goto` do.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::{self, Instruction};
use crate::read::items::ItemId;
use crate::read::names;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;

/// The places, by function, as offsets in its section.
#[derive(Debug)]
pub(crate) struct Labels {
    of_function: BTreeMap<ItemId, BTreeSet<u64>>,
    /// Functions whose cold parts have such places.
    with_cold: BTreeSet<String>,
}

impl Labels {
    /// Collects what the relocations of an object lead to.
    pub(crate) fn new(build: &Build<'_>) -> Labels {
        let mut of_function: BTreeMap<ItemId, BTreeSet<u64>> = BTreeMap::new();
        let mut with_cold = BTreeSet::new();
        build.each_reference(|source, index, target| {
            let Some(function) = target.item() else {
                return;
            };
            // Entries of tables lead to code that runs after a fault, not after a jump.
            let is_table = matches!(
                build.items.class(source),
                SectionClass::Special(_) | SectionClass::Ignored(_)
            );
            let code = build.items.item(function);
            if is_table || !build.object.section(code.section).is_executable() {
                return;
            }
            let relocation = &build.object.relocations[index];
            let (from, machine) = (build.items.item(source), build.object.machine);
            let is_data = !build.object.section(from.section).is_executable();
            // A table of distances counts from its own start, and its relocations from the field.
            let ahead = match is_data && machine.is_relative(relocation.kind) {
                true => relocation.offset.saturating_sub(from.offset),
                false => 0,
            };
            let place = i128::from(code.offset) + i128::from(target.meant()) - i128::from(ahead);
            let Ok(place) = u64::try_from(place) else {
                return;
            };
            if let Some(owner) = build.items.at(code.section, place)
                && build.items.item(owner).offset < place
            {
                of_function.entry(owner).or_default().insert(place);
                with_cold.extend(names::cold_parent(build.name(owner)).map(str::to_owned));
            }
        });
        Labels {
            of_function,
            with_cold,
        }
    }

    /// The instructions of a function that an indirect jump in it may lead to; all of them where it
    /// counts from a label by a table of distances. `None`: it may lead to another part of it.
    pub(crate) fn of_all(
        &self,
        build: &Build<'_>,
        function: ItemId,
        code: &[Instruction<'_>],
    ) -> Option<Vec<usize>> {
        let known = self.of(build, function, code);
        let is_within = self.is_within(build, function);
        known.or_else(|| is_within.then(|| (0..code.len()).collect()))
    }

    /// Whether an indirect jump of a function stays in it, wherever that leads: nothing but places
    /// of the function itself is told by distances.
    pub(crate) fn is_within(&self, build: &Build<'_>, function: ItemId) -> bool {
        !self.with_cold.contains(build.name(function))
            && machine::counts_from_labels(build.object.machine)
    }

    /// The instructions of a function at which an indirect jump of it may go on; `None` when they
    /// are not known: one of the places that seem to be meant is no instruction, or in other code.
    pub(crate) fn of(
        &self,
        build: &Build<'_>,
        function: ItemId,
        code: &[Instruction<'_>],
    ) -> Option<Vec<usize>> {
        if self.with_cold.contains(build.name(function)) {
            return None;
        }
        let named = self.of_function.get(&function).into_iter().flatten();
        // Addresses that the code takes without a relocation.
        let relocated: BTreeSet<u64> = build
            .relocations(function)
            .map(|(relocation, _)| relocation.offset)
            .collect();
        let taken = code.iter().filter_map(|one| one.lead);
        let taken = taken
            .filter(|lead| !lead.is_branch && !relocated.contains(&lead.field.offset))
            .map(|lead| lead.to);
        let is_inside = |place: &u64| {
            let range = code.first().zip(code.last());
            range.is_some_and(|(first, last)| first.start < *place && *place < last.end)
        };
        let taken: Vec<u64> = taken.filter(is_inside).collect();
        if !taken.is_empty() && machine::counts_from_labels(build.object.machine) {
            return None;
        }
        let places: BTreeSet<u64> = named.copied().filter(is_inside).chain(taken).collect();
        let at = |place: u64| code.binary_search_by_key(&place, |one| one.start).ok();
        places.into_iter().map(at).collect()
    }
}
