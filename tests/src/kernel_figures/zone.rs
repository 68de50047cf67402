//! Guest instructions between where NMIs are masked and where they are unmasked again.
//!
//! The emulator counts them (`-icount`), so that the figure is the same on every host and whatever
//! its load. One CPU: its rendezvous is a fixed part, and the difference between few records and
//! many is the work of the records.

use anyhow::{Context, Result};
use std::fmt;
use xsplice_ctl::calls::ActionKind;

use super::many::{CHANGED, FUNCTIONS, Many};
use super::{act, upload};
use crate::kernel::{Kernel, values};

/// Most instructions that a record may cost, in virtual time.
const BUDGET: u64 = 40;
/// How often each is counted. The least counts: an interrupt may fall between the masking of NMIs
/// and that of interrupts.
const ROUNDS: usize = 5;

/// What was counted.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    rows: Vec<Row>,
}

/// Instructions for one number of records.
#[derive(Clone, Copy, Debug)]
struct Row {
    records: usize,
    apply: u64,
    revert: u64,
}

impl Zone {
    /// Counts, on a kernel whose time passes by instructions.
    pub(super) fn count(kernel: &Kernel, many: &Many) -> Result<Zone> {
        let mut rows = Vec::new();
        for records in CHANGED {
            let name = format!("many{records}");
            upload(kernel, &name, many.payload(records)?)?;
            let (mut applies, mut reverts) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                for (kind, counted) in [
                    (ActionKind::Apply, &mut applies),
                    (ActionKind::Revert, &mut reverts),
                ] {
                    act(kernel, kind, &name)?;
                    let zone = values(&kernel.test("zone")?)?;
                    counted.push(*zone.get("ticks").context("no ticks")?);
                }
            }
            act(kernel, ActionKind::Unload, &name)?;
            rows.push(Row {
                records,
                apply: applies.into_iter().min().context("counted")?,
                revert: reverts.into_iter().min().context("counted")?,
            });
        }
        Ok(Zone { rows })
    }

    /// What one record costs beyond the rendezvous, rounded up: one record against all.
    fn per_record(&self, of: fn(&Row) -> u64) -> u64 {
        let at = |records| {
            let row = self.rows.iter().find(|row| row.records == records);
            row.map_or(0, of)
        };
        let more = (FUNCTIONS - 1) as u64;
        at(FUNCTIONS).saturating_sub(at(1)).div_ceil(more)
    }

    /// Whether a record costs no more than it may.
    pub(super) fn is_within_budget(&self) -> bool {
        [|row: &Row| row.apply, |row: &Row| row.revert]
            .into_iter()
            .all(|of| self.per_record(of) <= BUDGET)
    }

    /// What `records` records take to apply at an instruction a nanosecond, in microseconds.
    pub(super) fn microseconds(&self, records: usize) -> u64 {
        let row = self.rows.iter().find(|row| row.records == records);
        row.map_or(0, |row| row.apply.div_ceil(1000))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "Guest instructions inside the quiescent zone (1 CPU, counted by the emulator)"
        )?;
        writeln!(out, "  records     apply    revert")?;
        for row in &self.rows {
            writeln!(
                out,
                "  {:>7} {:>9} {:>9}",
                row.records, row.apply, row.revert
            )?;
        }
        let (apply, revert) = (
            self.per_record(|row| row.apply),
            self.per_record(|row| row.revert),
        );
        let verdict = if self.is_within_budget() {
            "kept"
        } else {
            "BROKEN"
        };
        writeln!(
            out,
            "  a record costs {apply} to apply and {revert} to revert; the budget of {BUDGET} is {verdict}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{BUDGET, Row, Zone};

    fn zone(apply: u64) -> Zone {
        let row = |records, apply| Row {
            records,
            apply,
            revert: 100,
        };
        Zone {
            rows: vec![row(1, 1000), row(100, 0), row(1000, apply)],
        }
    }

    #[test]
    fn the_budget_is_for_what_999_records_cost_more_than_one() {
        let kept = zone(1000 + 999 * BUDGET);
        assert_eq!(kept.per_record(|row| row.apply), BUDGET);
        assert!(kept.is_within_budget());
        assert!(!zone(1001 + 999 * BUDGET).is_within_budget());
    }
}
