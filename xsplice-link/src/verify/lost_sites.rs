//! Finds alternatives of a base function whose table entries are missing for its replacement.
//!
//! A fix may remove an alternative from a function. Then its place is removed too: in compiled code
//! the place is a run of NOPs, which the boot code fills. Where the new function has fewer entries
//! than the base's and more runs of NOPs that no entry names, an entry was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use xsplice_abi::tables::Alternative;
use xsplice_diff::machine::{Filler, Flow, Machine, walk};
use xsplice_runtime::read::view::SectionId;

use super::sites::{alternative, entries};
use super::tables::points_at;
use super::{Lines, Subject};
use crate::facts::{RecordFacts, Value};

/// Least alignment for which compilers insert NOPs.
const ALIGNED_BYTES: u64 = 8;

/// Checks every function that is replaced. Returns notes on functions that have fewer alternatives
/// than in the base without having lost one.
pub(super) fn check(subject: &Subject<'_, '_, '_>, lines: &mut Lines<'_>) -> Vec<String> {
    let base = subject.base;
    let mut told = Vec::new();
    let sites = new_sites(subject);
    for record in &subject.facts.records {
        let Some(old) = subject.facts.old_address(record, base) else {
            continue;
        };
        let old = old..old.saturating_add(record.old_size.into());
        let before: Vec<Range<u64>> = sites_in(base.boot_patched(), &old, |site| &site.range)
            .filter(|site| site.table == Alternative::SECTION)
            .map(|site| site.range.clone())
            .collect();
        let Some((section, new)) = new_function(record).filter(|_| !before.is_empty()) else {
            continue;
        };
        let after = sites.get(&section).map_or(&[][..], Vec::as_slice);
        let after: Vec<Range<u64>> = sites_in(after, &new, |site| site).cloned().collect();
        if after.len() >= before.len() {
            continue;
        }
        let old_code = base.bytes_at(old.start, record.old_size.into());
        let new_code = subject.facts.view.section(section).and_then(|section| {
            let start = usize::try_from(new.start).ok()?;
            section.data.get(start..usize::try_from(new.end).ok()?)
        });
        let (Some(old_code), Some(new_code)) = (old_code, new_code) else {
            continue;
        };
        let name = record.name.unwrap_or_default();
        let old_runs = Runs::new(base.machine(), old_code, old.start, &before);
        let new_runs = Runs::new(base.machine(), new_code, new.start, &after);
        if let Some(at) = new_runs.lost(&old_runs) {
            lines.fail_unseen(format!(
                "{name}+{:#x}: NOPs that the base's has for an alternative have no entry of \
                 {} here",
                at.wrapping_sub(new.start),
                Alternative::SECTION
            ));
        } else {
            told.push(format!(
                "{name} has {} of its {} alternatives in the base",
                after.len(),
                before.len()
            ));
        }
    }
    told
}

/// Those of some sites, in order of their starts, that begin in a range.
fn sites_in<'site, S>(
    sites: &'site [S],
    within: &Range<u64>,
    range: impl Fn(&S) -> &Range<u64>,
) -> impl Iterator<Item = &'site S> {
    let from = sites.partition_point(|site| range(site).start < within.start);
    let to = sites.partition_point(|site| range(site).start < within.end);
    sites.get(from..to).unwrap_or_default().iter()
}

/// Where a record's new function lies.
fn new_function(record: &RecordFacts<'_>) -> Option<(SectionId, Range<u64>)> {
    match record.new {
        Value::Payload { section, offset } => {
            Some((section, offset..offset.checked_add(record.new_size.into())?))
        }
        _ => None,
    }
}

/// The places of the payload's alternatives, by section and in order.
fn new_sites(subject: &Subject<'_, '_, '_>) -> BTreeMap<SectionId, Vec<Range<u64>>> {
    let mut sites: BTreeMap<SectionId, Vec<Range<u64>>> = BTreeMap::new();
    for (table, start) in entries(subject, Alternative::SECTION) {
        if let Some((section, at)) = points_at(subject, table.section, start) {
            let end = at.saturating_add(
                alternative(subject, table, start).map_or(0, |entry| entry.place_bytes().into()),
            );
            sites.entry(section).or_default().push(at..end);
        }
    }
    for sites in sites.values_mut() {
        sites.sort_unstable_by_key(|site| site.start);
    }
    sites
}

/// The runs of NOPs of one function, by what they are: those at the places of alternatives, and
/// where others begin.
struct Runs<'code> {
    of_sites: BTreeSet<&'code [u8]>,
    others: BTreeMap<&'code [u8], Vec<u64>>,
}

impl<'code> Runs<'code> {
    fn new(machine: &Machine, code: &'code [u8], start: u64, sites: &[Range<u64>]) -> Runs<'code> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut targets = BTreeSet::new();
        let mut has_table = false;
        for instruction in walk(machine, code, start) {
            match instruction.flow {
                Flow::ConditionalJump | Flow::Jump => {
                    targets.extend(instruction.lead.map(|lead| lead.to));
                }
                Flow::IndirectJump => has_table = true,
                _ => {}
            }
            if instruction.filler != Some(Filler::Nop) {
                continue;
            }
            match found.last_mut() {
                Some(run) if run.end == instruction.start => run.end = instruction.end,
                _ => found.push(instruction.start..instruction.end),
            }
        }
        let mut runs = Runs {
            of_sites: BTreeSet::new(),
            others: BTreeMap::new(),
        };
        for run in found {
            let bytes = usize::try_from(run.start - start)
                .ok()
                .zip(usize::try_from(run.end - start).ok())
                .and_then(|(from, to)| code.get(from..to));
            let Some(bytes) = bytes else { continue };
            let overlaps = |site: &Range<u64>| site.start < run.end && run.start < site.end;
            // Jump targets may be aligned with NOPs. Targets of jump tables are not known here.
            let aligns =
                run.end.is_multiple_of(ALIGNED_BYTES) && (has_table || targets.contains(&run.end));
            if sites.iter().any(overlaps) {
                runs.of_sites.insert(bytes);
            } else if !aligns {
                runs.others.entry(bytes).or_default().push(run.start);
            }
        }
        runs
    }

    /// Where a run begins that an alternative of the old function had, and that has none here.
    fn lost(&self, old: &Runs<'_>) -> Option<u64> {
        old.of_sites.iter().find_map(|bytes| {
            let now = self.others.get(bytes).map_or(&[][..], Vec::as_slice);
            let before = old.others.get(bytes).map_or(0, Vec::len);
            now.get(before).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use xsplice_abi::machine::OF_RUNTIME;

    use super::Runs;

    /// The place of a three-byte instruction, `imul $100,%edi,%eax`, `ret`.
    const CODE: [u8; 7] = [0x0f, 0x1f, 0x00, 0x6b, 0xc7, 0x64, 0xc3];
    const PLACE: Range<u64> = 0..3;

    fn lost(code: &[u8], sites: &[Range<u64>]) -> Option<u64> {
        let old = Runs::new(OF_RUNTIME, &CODE, 0, std::slice::from_ref(&PLACE));
        Runs::new(OF_RUNTIME, code, 0, sites).lost(&old)
    }

    #[test]
    fn nops_without_their_entry_are_lost() {
        assert_eq!(lost(&CODE, &[]), Some(0));
        assert_eq!(lost(&CODE, std::slice::from_ref(&PLACE)), None);
    }

    #[test]
    fn an_alternative_that_went_with_its_nops_is_not_lost() {
        assert_eq!(lost(&CODE[3..], &[]), None);
    }

    #[test]
    fn nops_before_a_loop_are_not_lost() {
        // nop; test %edi,%edi; jmp 5; nopl (%rax); 8: dec %edi; jnz 8; ret
        let code = [
            0x90, 0x85, 0xff, 0xeb, 0x00, 0x0f, 0x1f, 0x00, 0xff, 0xcf, 0x75, 0xfc, 0xc3,
        ];
        assert_eq!(lost(&code, &[]), None);
    }
}
