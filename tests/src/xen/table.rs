//! The table at the end: what was expected, what was seen, and whether that is the same.

use std::fmt::Write as _;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The scenario.
    pub name: String,
    /// What was expected of it.
    pub expected: String,
    /// What was seen; an error when it differs.
    pub seen: Result<String, String>,
}

/// All lines.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a line and prints it as progress if it is a bad one.
    pub fn add(&mut self, row: Row) {
        if let Err(seen) = &row.seen {
            println!("!! {}: expected {}; seen: {seen}", row.name, row.expected);
        }
        self.rows.push(row);
    }

    /// How many lines are not as expected.
    pub fn differences(&self) -> usize {
        self.rows.iter().filter(|row| row.seen.is_err()).count()
    }

    /// The table as text.
    pub fn render(&self) -> String {
        let width = |of: fn(&Row) -> &str| {
            self.rows
                .iter()
                .map(|row| of(row).chars().count())
                .max()
                .unwrap_or(0)
        };
        let names = width(|row| &row.name);
        let expectations = width(|row| &row.expected).min(EXPECTED_COLUMNS);
        let mut text = String::new();
        let _ = writeln!(
            text,
            "   {:names$}  {:expectations$}  seen",
            "scenario", "expected"
        );
        for row in &self.rows {
            let (mark, seen) = match &row.seen {
                Ok(seen) => ("ok", seen),
                Err(seen) => ("!!", seen),
            };
            let expected = cut(&row.expected);
            let _ = writeln!(
                text,
                "{mark} {:names$}  {expected:expectations$}  {seen}",
                row.name
            );
        }
        let differences = self.differences();
        let _ = writeln!(
            text,
            "{} rows, {differences} not as expected",
            self.rows.len()
        );
        text
    }
}

/// The widest the column of expectations gets.
const EXPECTED_COLUMNS: usize = 70;

fn cut(text: &str) -> String {
    if text.chars().count() <= EXPECTED_COLUMNS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(EXPECTED_COLUMNS - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::{Row, Table};

    #[test]
    fn a_difference_is_counted_and_marked() {
        let row = |seen| Row {
            name: "a".to_owned(),
            expected: "b".to_owned(),
            seen,
        };
        let mut table = Table::default();
        table.add(row(Ok("b".to_owned())));
        assert_eq!(table.differences(), 0);
        table.add(row(Err("c".to_owned())));
        assert_eq!(table.differences(), 1);
        assert!(table.render().contains("!! a"), "{}", table.render());
    }
}
