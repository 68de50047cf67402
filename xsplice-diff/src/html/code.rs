//! The code of a function and of its out-of-line parts: old and new side by side, or the new code
//! alone.

use std::fmt::{self, Write};

use crate::tell::disassembly::{Line, Row, listing, side_by_side};

use super::changes::Function;
use super::text::{Text, count, grouped};

/// Rows around a difference that are shown; longer runs of equal rows are folded.
const CONTEXT_ROWS: usize = 4;
/// Fewer equal rows than this are not worth folding.
const FOLD_ROWS_MIN: usize = 4;

/// The new code of a new function is shown unfolded up to here, in instructions.
const NEW_SHOWN_MAX: usize = 24;

/// How many rows of a comparison differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Differing {
    rows: usize,
    of: usize,
}

impl fmt::Display for Differing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {}", grouped(self.rows), grouped(self.of))
    }
}

/// Shows the code; how much of it differs, where old and new code stand side by side.
pub(super) fn comparison(out: &mut String, function: &Function<'_>) -> Option<Differing> {
    let new = function.new.as_ref()?;
    let mut differing = None;
    match &function.old {
        Some(old) => {
            let label = format!("{}-code", function.anchor);
            let _ = write!(out, "<h4 id=\"{label}\">Code</h4>");
            let (old, new) = (listing(old), listing(new));
            let rows = side_by_side(&old, &new);
            differing = lines_facing(out, &label, [&old, &new], rows.as_deref());
        }
        None => alone(out, &listing(new)),
    }
    for (index, part) in function.parts.iter().enumerate() {
        let (old, new) = (listing(&part.old), listing(&part.new));
        let rows = side_by_side(&old, &new);
        let is_alike = |rows: &Vec<Row>| rows.iter().all(|row| matches!(row, Row::Same(..)));
        if rows.as_ref().is_some_and(is_alike) {
            continue;
        }
        let what = match (old.is_empty(), new.is_empty()) {
            (true, _) => ", which is new",
            (_, true) => ", which is gone",
            _ => "",
        };
        let label = format!("{}-part-{}", function.anchor, index + 1);
        let _ = write!(
            out,
            "<h4 id=\"{label}\">Out of line: <code>{}</code>{what}</h4>",
            Text(part.name)
        );
        differing = add(
            differing,
            lines_facing(out, &label, [&old, &new], rows.as_deref()),
        );
    }
    differing
}

fn add(sum: Option<Differing>, further: Option<Differing>) -> Option<Differing> {
    let (Some(sum), Some(further)) = (sum, further) else {
        return sum.or(further);
    };
    Some(Differing {
        rows: sum.rows + further.rows,
        of: sum.of + further.of,
    })
}

/// `label` is the id of the heading.
fn lines_facing(
    out: &mut String,
    label: &str,
    sides: [&[Line]; 2],
    rows: Option<&[Row]>,
) -> Option<Differing> {
    let Some(rows) = rows else {
        out.push_str(
            "<p>Too long to lay side by side; use <code>objdump -dr</code> on both objects.</p>",
        );
        return None;
    };
    Some(both(out, label, sides, rows))
}

fn alone(out: &mut String, lines: &[Line]) {
    let open = if lines.len() <= NEW_SHOWN_MAX {
        " open"
    } else {
        ""
    };
    let _ = write!(
        out,
        "<details{open}><summary>Code: {}</summary><div class=\"code single\">",
        count(lines.len(), "instruction")
    );
    for line in lines {
        out.push_str("<div class=\"row\">");
        cell(out, "new", "", Some(line));
        out.push_str("</div>");
    }
    out.push_str("</div></details>");
}

fn both(out: &mut String, label: &str, [old, new]: [&[Line]; 2], rows: &[Row]) -> Differing {
    let differing = rows.iter().filter(|row| !matches!(row, Row::Same(..)));
    let differing = Differing {
        rows: differing.count(),
        of: rows.len(),
    };
    let _ = write!(
        out,
        "<p class=\"caption\">{} of {} differ</p>\
         <div class=\"code\" role=\"group\" aria-labelledby=\"{label}\">\
         <div class=\"row head\"><div>original</div><div>patched</div></div>",
        grouped(differing.rows),
        count(rows.len(), "row")
    );
    let shown = shown(rows);
    let mut index = 0;
    while index < rows.len() {
        let run = shown[index..]
            .iter()
            .take_while(|one| **one == shown[index])
            .count();
        if !shown[index] && run >= FOLD_ROWS_MIN {
            let _ = write!(
                out,
                "<details class=\"fold\"><summary>{} alike</summary>",
                count(run, "instruction")
            );
        }
        for row in &rows[index..index + run] {
            one_row(out, old, new, *row);
        }
        if !shown[index] && run >= FOLD_ROWS_MIN {
            out.push_str("</details>");
        }
        index += run;
    }
    out.push_str("</div>");
    differing
}

/// Which rows are near a difference.
fn shown(rows: &[Row]) -> Vec<bool> {
    let mut shown = vec![false; rows.len()];
    for (index, row) in rows.iter().enumerate() {
        if !matches!(row, Row::Same(..)) {
            let end = (index + CONTEXT_ROWS + 1).min(rows.len());
            shown[index.saturating_sub(CONTEXT_ROWS)..end].fill(true);
        }
    }
    shown
}

fn one_row(out: &mut String, old: &[Line], new: &[Line], row: Row) {
    let (class, left, right) = match row {
        Row::Same(i, j) => ("same", Some(&old[i]), Some(&new[j])),
        Row::Changed(i, j) => ("differs", Some(&old[i]), Some(&new[j])),
        Row::Removed(i) => ("differs", Some(&old[i]), None),
        Row::Added(j) => ("differs", None, Some(&new[j])),
    };
    // What colours say to the eye, roles say to a screen reader.
    let roles = match row {
        Row::Same(..) => ["", ""],
        Row::Changed(..) | Row::Removed(..) | Row::Added(..) => {
            [" role=\"deletion\"", " role=\"insertion\""]
        }
    };
    let _ = write!(out, "<div class=\"row {class}\">");
    cell(out, "old", roles[0], left);
    cell(out, "new", roles[1], right);
    out.push_str("</div>");
}

fn cell(out: &mut String, side: &str, role: &str, line: Option<&Line>) {
    let Some(line) = line else {
        let _ = write!(out, "<div class=\"cell {side} empty\"></div>");
        return;
    };
    let (mnemonic, operands) = match line.text.split_once(' ') {
        Some((mnemonic, operands)) => (mnemonic, operands.trim_start()),
        None => (line.text.as_str(), ""),
    };
    let _ = write!(
        out,
        "<div class=\"cell {side}\"{role}><span class=\"at\">{:x}</span><span \
         class=\"op\"><b>{}</b> {}</span></div>",
        line.offset,
        Text(mnemonic),
        Text(operands)
    );
}

#[cfg(test)]
mod tests {
    use crate::tell::disassembly::Row;

    use super::shown;

    #[test]
    fn rows_far_from_a_difference_are_folded() {
        let mut rows: Vec<Row> = (0..30).map(|i| Row::Same(i, i)).collect();
        rows[20] = Row::Changed(20, 20);
        let shown = shown(&rows);
        assert!(!shown[15] && shown[16] && shown[20] && shown[24] && !shown[25]);
    }

    #[test]
    fn nothing_is_shown_of_equal_code() {
        assert_eq!(shown(&[Row::Same(0, 0), Row::Same(1, 1)]), [false, false]);
    }
}
