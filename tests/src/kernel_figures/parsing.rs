//! How long the loader reads and checks a file that is made to take long: guest time of the call,
//! at an instruction a nanosecond, one mebibyte against two.

use anyhow::{Context, Result, ensure};
use std::fmt;
use xsplice_abi::limits::PAYLOAD_BYTES_MAX;
use xsplice_abi::{Errno, profile};
use xsplice_ctl::calls::ActionKind;

use super::act;
use super::many::Many;
use crate::edit::{Edit, NewNames};
use crate::kernel::{Kernel, values};

/// Most guest time that the largest file may take, in nanoseconds.
const BUDGET_NS: u64 = 1_000_000_000;
/// Most that twice as large a file may take as a multiple, in percent: near-linear.
const GROWTH_PERCENT: u64 = 260;
/// What a file has besides what makes it large.
const REST_BYTES: usize = 512;

/// A way to make a payload large.
type Enlarge = fn(&mut Edit, usize) -> Option<()>;

/// What files are large in.
const SHAPES: [(&str, Enlarge); 3] = [
    ("symbols, each with a name of its own", |edit, bytes| {
        edit.append_symbols(bytes, NewNames::Own)
    }),
    (
        "symbols that share one name of half the size",
        |edit, bytes| edit.append_symbols(bytes, NewNames::OneLong),
    ),
    ("relocations", Edit::append_relocations),
];

/// Guest time of each shape, half as large and as large as a file may be.
#[derive(Clone, Debug)]
pub(super) struct Parsing {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    what: &'static str,
    /// What UPLOAD said of the larger one.
    answer: Result<(), Errno>,
    half_ns: u64,
    whole_ns: u64,
}

impl Row {
    fn is_within_budget(&self) -> bool {
        // Not by the percentage that is shown, which is rounded down.
        let allowed = self.half_ns.saturating_mul(GROWTH_PERCENT);
        self.whole_ns <= BUDGET_NS && self.whole_ns.saturating_mul(100) <= allowed
    }

    fn growth_percent(&self) -> u64 {
        self.whole_ns.saturating_mul(100) / self.half_ns.max(1)
    }
}

impl Parsing {
    /// Counts, on a kernel whose time passes by instructions.
    pub(super) fn count(kernel: &Kernel, many: &Many) -> Result<Parsing> {
        let mut rows = Vec::new();
        for (what, enlarge) in SHAPES {
            let timed = |bytes: usize| timed(kernel, many, enlarge, bytes).context(what);
            let (_, half_ns) = timed(PAYLOAD_BYTES_MAX / 2)?;
            let (answer, whole_ns) = timed(PAYLOAD_BYTES_MAX)?;
            rows.push(Row {
                what,
                answer,
                half_ns,
                whole_ns,
            });
        }
        Ok(Parsing { rows })
    }

    /// Whether no file takes longer than it may.
    pub(super) fn is_within_budget(&self) -> bool {
        self.rows.iter().all(Row::is_within_budget)
    }
}

/// What UPLOAD says of a file of `bytes` bytes, and how long it takes to say so.
fn timed(
    kernel: &Kernel,
    many: &Many,
    enlarge: Enlarge,
    bytes: usize,
) -> Result<(Result<(), Errno>, u64)> {
    let name = "large";
    let mut edit = Edit::new(many.payload(1)?, &profile::XSPLICE);
    let more = bytes
        .checked_sub(edit.bytes.len() + REST_BYTES)
        .context("the payload is large already")?;
    enlarge(&mut edit, more).context("it cannot be enlarged")?;
    let file = edit.stamp();
    ensure!(
        file.len() <= bytes && file.len() > bytes / 10 * 9,
        "{} bytes, not {bytes}",
        file.len()
    );
    let answer = kernel.upload(name, &file)?;
    let took = values(&kernel.test("call")?)?;
    let took = *took.get("ns").context("no time")?;
    if answer.is_ok() {
        act(kernel, ActionKind::Unload, name)?;
    }
    Ok((answer, took))
}

impl fmt::Display for Parsing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "Guest time of an upload that is made to take long (1 CPU, counted by the emulator)"
        )?;
        writeln!(
            out,
            "  {:<46} {:>9} {:>9} {:>7}  answer",
            "2 MiB of", "1 MiB", "2 MiB", "growth"
        )?;
        for row in &self.rows {
            let answer = match row.answer {
                Ok(()) => "taken".to_owned(),
                Err(errno) => errno.to_string(),
            };
            let verdict = if row.is_within_budget() {
                "kept"
            } else {
                "BROKEN"
            };
            writeln!(
                out,
                "  {:<46} {:>6} us {:>6} us {:>3}.{:02}-fold  {answer}; the budget is {verdict}",
                row.what,
                row.half_ns / 1000,
                row.whole_ns / 1000,
                row.growth_percent() / 100,
                row.growth_percent() % 100
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BUDGET_NS, Row};

    #[test]
    fn a_file_may_take_so_long_and_twice_the_bytes_about_twice_the_time() {
        let row = |half_ns, whole_ns| Row {
            what: "x",
            answer: Ok(()),
            half_ns,
            whole_ns,
        };
        assert!(row(BUDGET_NS / 2, BUDGET_NS).is_within_budget());
        assert!(!row(BUDGET_NS / 2, BUDGET_NS + 1).is_within_budget());
        assert!(!row(1000, 2601).is_within_budget(), "more than linear");
    }
}
