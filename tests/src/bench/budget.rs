//! What may be used at most, and the table that says whether it was kept.

use std::fmt::Write as _;
use std::time::Duration;

/// Something that is measured and has a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// Wall or user time.
    Time(Duration),
    /// Memory.
    Bytes(u64),
    /// How many times as long something takes that is larger.
    Growth(f64),
}

impl Quantity {
    fn shown(self) -> String {
        const MEBIBYTE: f64 = 1024.0 * 1024.0;
        match self {
            Quantity::Time(time) => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
            // Precision does not matter for a table.
            Quantity::Bytes(bytes) => format!("{:.1} MiB", bytes_as_f64(bytes) / MEBIBYTE),
            Quantity::Growth(factor) => format!("{factor:.2}-fold"),
        }
    }

    /// Whether this stays within `budget`; two of different kinds have nothing to do with each
    /// other, and the budget counts as broken.
    fn is_within(self, budget: Quantity) -> bool {
        match (self, budget) {
            (Quantity::Time(one), Quantity::Time(other)) => one <= other,
            (Quantity::Bytes(one), Quantity::Bytes(other)) => one <= other,
            (Quantity::Growth(one), Quantity::Growth(other)) => one <= other,
            _ => false,
        }
    }
}

fn bytes_as_f64(bytes: u64) -> f64 {
    // Whole kibibytes of any file of this machine fit into 32 bits.
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it used.
    pub measured: Quantity,
    /// What it may use; without one, the figure is there to be read.
    pub budget: Option<Quantity>,
    /// The same in terms of something that everybody can measure.
    pub ratio: String,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.budget {
            None => "-",
            Some(budget) if self.measured.is_within(budget) => "kept",
            Some(_) => "BROKEN",
        }
    }

    /// Whether the budget was broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.budget
            .is_some_and(|budget| !self.measured.is_within(budget))
    }
}

/// The rows under a headline, in columns.
#[must_use]
pub fn table(headline: &str, rows: &[Row]) -> String {
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            [
                row.what.clone(),
                row.measured.shown(),
                row.budget.map_or_else(|| "-".to_owned(), Quantity::shown),
                row.ratio.clone(),
                row.verdict().to_owned(),
            ]
        })
        .collect();
    let titles = ["what", "measured", "budget", "ratio", "verdict"].map(str::to_owned);
    let mut widths = [0; 5];
    for line in cells.iter().chain([&titles]) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = format!("\n{headline}\n");
    for [what, measured, budget, ratio, verdict] in [&titles].into_iter().chain(&cells) {
        let [a, b, c, d, _] = widths;
        writeln!(
            out,
            "  {what:a$}  {measured:>b$}  {budget:>c$}  {ratio:>d$}  {verdict}"
        )
        .expect("a String takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Quantity, Row, table};

    fn row(measured: Quantity, budget: Option<Quantity>) -> Row {
        Row {
            what: "it".to_owned(),
            measured,
            budget,
            ratio: String::new(),
        }
    }

    #[test]
    fn a_budget_is_kept_up_to_its_own_value_and_broken_beyond() {
        let ms = |ms| Quantity::Time(Duration::from_millis(ms));
        assert!(!row(ms(80), Some(ms(80))).is_broken());
        assert!(row(ms(81), Some(ms(80))).is_broken());
        assert!(!row(ms(81), None).is_broken());
        assert!(row(Quantity::Growth(4.7), Some(Quantity::Growth(4.6))).is_broken());
        assert!(row(Quantity::Bytes(1), Some(ms(1))).is_broken());
    }

    #[test]
    fn the_table_shows_units_and_verdicts_in_columns() {
        let ms = |ms| Quantity::Time(Duration::from_millis(ms));
        let shown = table(
            "trees",
            &[
                row(ms(7), Some(ms(80))),
                row(Quantity::Bytes(3 << 20), Some(Quantity::Bytes(1 << 20))),
            ],
        );
        assert!(shown.contains("7.0 ms  80.0 ms"), "{shown}");
        assert!(shown.contains("3.0 MiB  1.0 MiB"), "{shown}");
        assert!(
            shown.contains("kept") && shown.contains("BROKEN"),
            "{shown}"
        );
    }
}
