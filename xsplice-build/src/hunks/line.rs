//! Which functions and data one changed line leads to, and what became of these.

use std::collections::HashSet;
use std::ops::Range;

use xsplice_diff::debug_info::source_lines::{Declaration, DeclarationKind};

use super::evidence::{Source, Sources};
use super::outcome::{Outcome, is_code};
use super::wording::is_statement;
use super::{HunkItem, Outcomes};
use crate::source::patch_file::{ChangedLine, Side};

/// The items that one line leads to.
pub(super) struct LineFate {
    /// What came from the line itself.
    pub(super) own: Vec<(HunkItem, Outcome)>,
    /// The function or datum whose source contains it, where nothing came from the line itself.
    pub(super) around: Vec<(HunkItem, Outcome)>,
    /// The functions with code both above it and on it or below it, where it may be a statement.
    pub(super) within: Vec<(HunkItem, Outcome)>,
    /// What came from the line, or may have, in objects that were left out by name.
    pub(super) left_out: Vec<HunkItem>,
    pub(super) number: u64,
    pub(super) side: Side,
}

/// What came from one line that the patch removes or adds.
pub(super) fn line_fate(
    line: &ChangedLine,
    sources: &Sources<'_>,
    outcomes: &Outcomes<'_>,
) -> LineFate {
    let mut fate = LineFate {
        own: Vec::new(),
        around: Vec::new(),
        within: Vec::new(),
        left_out: Vec::new(),
        number: line.number,
        side: line.side,
    };
    for source in sources.found.iter().filter(|one| one.side == line.side) {
        let item = |name: &str| HunkItem {
            object: source.object.clone(),
            name: name.to_owned(),
        };
        let outcome = |name: &str| (item(name), outcomes.of(&source.object, line.side, name));
        let others = others(source, line, sources);
        let rows = || {
            let rows = source.file.code.iter();
            rows.filter(|row| row.line == line.number && !others.contains(row.item.as_str()))
        };
        let code = rows().filter(|row| is_code(row));
        let data = source
            .file
            .declarations
            .iter()
            .filter(|declared| declared.line == line.number && is_datum(declared));
        let names = code
            .map(|row| row.item.as_str())
            .chain(data.flat_map(|declared| declared.items.iter().map(String::as_str)));
        if outcomes.is_left_out(&source.object) {
            fate.left_out.extend(names.map(item));
            if is_statement(&line.text) {
                fate.left_out.extend(within(source, line.place).map(item));
            }
            continue;
        }
        fate.own.extend(names.map(outcome));
        let around = rows()
            .map(|row| row.item.as_str())
            .chain(enclosing(source, line.place));
        fate.around.extend(around.map(outcome));
        if is_statement(&line.text) && !declares_alone(source, line) {
            fate.within.extend(within(source, line.place).map(outcome));
        }
    }
    fate
}

/// Items that have code of another line of the same number: where lines keep their numbers, an
/// added line may have that of a line behind it, which both builds have.
fn others<'s>(source: &'s Source, line: &ChangedLine, sources: &Sources<'s>) -> HashSet<&'s str> {
    if line.number == line.place {
        return HashSet::new();
    }
    let before = sources
        .found
        .iter()
        .filter(|one| one.side == Side::Old && one.object == source.object);
    let rows = before.flat_map(|one| &one.file.code);
    let mut items: HashSet<&str> = rows
        .filter(|row| row.line == line.number)
        .map(|row| row.item.as_str())
        .collect();
    for own in enclosing(source, line.place) {
        items.remove(own);
    }
    items
}

/// Whether a function holds the declaration.
fn is_local(declared: &Declaration) -> bool {
    matches!(
        declared.kind,
        DeclarationKind::LocalDatum | DeclarationKind::Automatic
    )
}

/// Whether a line declares variables of a function, without values.
fn declares_alone(source: &Source, line: &ChangedLine) -> bool {
    let declares = |declared: &Declaration| {
        declared.kind == DeclarationKind::Automatic && declared.line == line.number
    };
    !line.text.contains(['=', '(']) && source.file.declarations.iter().any(declares)
}

fn is_datum(declared: &Declaration) -> bool {
    matches!(
        declared.kind,
        DeclarationKind::Datum | DeclarationKind::LocalDatum
    )
}

/// Where a line stands among what is declared at file scope.
struct Standing<'s> {
    /// The last declaration at the line or above it.
    above: Option<&'s Declaration>,
    /// The line of the first one below it.
    below: u64,
}

impl Standing<'_> {
    fn of(source: &Source, line: u64) -> Standing<'_> {
        let of_file = || {
            let all = source.file.declarations.iter();
            all.filter(|declared| !is_local(declared))
        };
        Standing {
            above: of_file().rfind(|declared| declared.line <= line),
            below: of_file()
                .map(|declared| declared.line)
                .find(|declared| *declared > line)
                .unwrap_or(u64::MAX),
        }
    }

    /// The lines of the function that the line may be in. In a header that function may not be the
    /// line's own, and what it was inlined into may have code of others below.
    fn function(&self) -> Range<u64> {
        match self.above {
            Some(declared) if declared.kind == DeclarationKind::Function => {
                declared.line..self.below
            }
            _ => 0..0,
        }
    }
}

/// The functions with lines of code both before and after a line, in what may be one function of
/// the source.
fn within(source: &Source, line: u64) -> impl Iterator<Item = &str> {
    let extent = Standing::of(source, line).function();
    let rows = || {
        let all = source.file.code.iter();
        all.filter(|row| extent.contains(&row.line) && is_code(row))
    };
    let above: HashSet<&str> = rows()
        .filter(|row| row.line <= line)
        .map(|row| row.item.as_str())
        .collect();
    let mut names: Vec<&str> = rows()
        .filter(|row| row.line >= line && above.contains(row.item.as_str()))
        .map(|row| row.item.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

/// The function or datum whose source contains a line: the last that is declared above it. A
/// function may have been inlined into others.
fn enclosing(source: &Source, line: u64) -> impl Iterator<Item = &str> {
    let standing = Standing::of(source, line);
    let extent = standing.function();
    let inside = source
        .file
        .code
        .iter()
        .filter(move |row| extent.contains(&row.line))
        .map(|row| row.item.as_str());
    let held = standing.above.into_iter();
    let held = held.flat_map(|declared| &declared.items);
    inside.chain(held.map(String::as_str))
}
