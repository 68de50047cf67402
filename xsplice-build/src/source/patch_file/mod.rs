//! Reads a source patch: which lines of which files it removes and adds.
//!
//! `diffy` parses unified diffs. Like GNU patch it stops at text that it does not know, which would
//! silently lose a hunk. So this module checks every line of the file: lines outside of hunks must
//! not look like a part of one.

mod members;

use std::path::Path;

use diffy::patch_set::{FileOperation, ParseOptions, PatchSet};
use thiserror::Error;

/// A patch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchFile {
    /// Its path, for messages.
    pub path: String,
    /// Files that it changes, in its order.
    pub files: Vec<FileChange>,
}

/// What a patch does to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The file before, as the patch writes it; `None` when the patch makes the file.
    pub old: Option<String>,
    /// The file after, as the patch writes it; `None` when the patch takes the file away.
    pub new: Option<String>,
    /// Its hunks, in order; never empty.
    pub hunks: Vec<Hunk>,
}

/// A hunk: a range of changed lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Line of the patch with the `@@`, from 1.
    pub patch_line: usize,
    /// First line in the file before, from 1.
    pub old_start: u64,
    /// How many lines of the file before.
    pub old_lines: u64,
    /// First line in the file after, from 1.
    pub new_start: u64,
    /// How many lines of the file after.
    pub new_lines: u64,
    /// The lines that it changes.
    pub changes: Vec<ChangedLine>,
    /// Whether the lines behind it keep their numbers although it may add or take away some.
    pub keeps_lines: bool,
    /// Whether it adds, takes away or changes what looks like a member of a structure or union.
    pub changes_member: bool,
}

/// Which build a line is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The file before.
    Old,
    /// The file after.
    New,
}

/// A removed or added line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedLine {
    /// Taken away or put in.
    pub side: Side,
    /// Its number in its file, from 1.
    pub number: u64,
    /// Number of a line where it stands: its own, or, where lines keep their numbers and another
    /// has the same, that of a line beside it.
    pub place: u64,
    /// The line itself; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Why a patch cannot be read.
#[derive(Debug, Error)]
pub(crate) enum PatchError {
    /// Not there, or not allowed.
    #[error("{path}: cannot read the patch: {source}")]
    Unreadable {
        /// The patch.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not a unified diff.
    #[error("{path}:{line}: {problem}")]
    Malformed {
        /// The patch.
        path: String,
        /// Line of the patch, from 1.
        line: usize,
        /// What is wrong, and what would make it right.
        problem: String,
    },
}

impl FileChange {
    /// The file's path without what `diff` and git put in front, after the change where it exists
    /// then.
    #[must_use]
    pub fn shown(&self) -> &str {
        let (old, new) = self.paths();
        new.or(old).unwrap_or_default()
    }

    /// Paths before and after, without the `a/` and `b/` of git, or the names of the two folders
    /// that were compared.
    #[must_use]
    pub fn paths(&self) -> (Option<&str>, Option<&str>) {
        let (old, new) = (self.old.as_deref(), self.new.as_deref());
        let stripped = |path: Option<&'_ str>| -> bool {
            path.is_none_or(|path| path.starts_with("a/") || path.starts_with("b/"))
        };
        let rest = |path: &'_ str| path.split_once('/').map(|(_, rest)| rest.to_owned());
        let are_two_folders = match (old, new) {
            (Some(old), Some(new)) => old != new && rest(old).is_some() && rest(old) == rest(new),
            _ => false,
        };
        if (stripped(old) && stripped(new)) || are_two_folders {
            let tail = |path| -> Option<&str> {
                let path: &str = path?;
                Some(path.split_once('/').map_or(path, |(_, rest)| rest))
            };
            (tail(old), tail(new))
        } else {
            (old, new)
        }
    }
}

impl Hunk {
    /// By how many lines it moves the lines behind it.
    #[must_use]
    pub(crate) fn moves_lines(&self) -> bool {
        self.old_lines != self.new_lines && !self.keeps_lines
    }

    /// First line of the file after that lies behind the hunk.
    #[must_use]
    pub(crate) fn new_end(&self) -> u64 {
        self.new_start.saturating_add(self.new_lines)
    }
}

/// Reads the patch at `path`.
///
/// # Errors
///
/// A file that cannot be read or is no unified diff.
pub(crate) fn read(path: &Path) -> Result<PatchFile, PatchError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| PatchError::Unreadable {
        path: shown.clone(),
        source,
    })?;
    parse(&shown, &bytes)
}

/// Reads a patch that is in memory; `path` is for messages.
///
/// # Errors
///
/// [`PatchError::Malformed`] with the line at fault.
pub(crate) fn parse(path: &str, bytes: &[u8]) -> Result<PatchFile, PatchError> {
    let lines = Lines::new(bytes);
    let malformed = |line: usize, problem: &str| PatchError::Malformed {
        path: path.to_owned(),
        line,
        problem: problem.to_owned(),
    };
    let mut files = Vec::new();
    let mut in_hunk = vec![false; lines.starts.len()];
    let mut end = 0;
    for patch in PatchSet::parse_bytes(bytes, ParseOptions::unidiff()) {
        let patch = match patch {
            Ok(patch) => patch,
            Err(error) => {
                let (line, problem) = lines.locate(&error.to_string(), end);
                return Err(malformed(line, &problem));
            }
        };
        let Some(text) = patch.patch().as_text() else {
            continue;
        };
        let mut hunks = Vec::new();
        for hunk in text.hunks() {
            let Some((first, last)) = lines.extent(hunk.lines()) else {
                continue;
            };
            end = last + 1;
            in_hunk[first - 1..end].fill(true);
            hunks.push(read_hunk(hunk, first));
        }
        if hunks.is_empty() {
            continue;
        }
        let name = |path: &[u8]| Some(String::from_utf8_lossy(path).into_owned());
        let (old, new) = match patch.operation() {
            FileOperation::Create(new) => (None, name(new)),
            FileOperation::Delete(old) => (name(old), None),
            FileOperation::Modify { original, modified } => (name(original), name(modified)),
            FileOperation::Rename { from, to } | FileOperation::Copy { from, to } => {
                (name(from), name(to))
            }
        };
        files.push(FileChange { old, new, hunks });
    }
    if let Some((line, problem)) = lines.lost(&in_hunk) {
        return Err(malformed(line, problem));
    }
    if files.is_empty() {
        let problem = "holds no hunk; give a unified diff, as `diff -u` and `git diff` write it";
        return Err(malformed(1, problem));
    }
    Ok(PatchFile {
        path: path.to_owned(),
        files,
    })
}

fn read_hunk(hunk: &diffy::Hunk<'_, [u8]>, first_line: usize) -> Hunk {
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let (old, new) = (hunk.old_range(), hunk.new_range());
    // A range without lines names the line before it.
    let start = |range: diffy::HunkRange| number(range.start() + usize::from(range.is_empty()));
    let (old_start, new_start) = (start(old), start(new));
    let (mut old_number, mut new_number) = (old_start, new_start);
    let mut changes = Vec::new();
    for line in hunk.lines() {
        let (side, number, text) = match line {
            diffy::Line::Context(_) => {
                old_number += 1;
                new_number += 1;
                continue;
            }
            diffy::Line::Delete(text) => (Side::Old, &mut old_number, text),
            diffy::Line::Insert(text) => (Side::New, &mut new_number, text),
        };
        changes.push(ChangedLine {
            side,
            number: *number,
            place: *number,
            text: String::from_utf8_lossy(text)
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
        });
        *number += 1;
    }
    Hunk {
        patch_line: first_line,
        old_start,
        old_lines: number(old.len()),
        new_start,
        new_lines: number(new.len()),
        changes,
        keeps_lines: false,
        changes_member: members::changes_member(hunk),
    }
}

/// The lines of a patch.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Offset of each.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Lines<'a> {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Lines {
            bytes,
            starts: starts.filter(|start| *start < bytes.len()).collect(),
        }
    }

    /// The line, counted from 0, without its end.
    fn text(&self, index: usize) -> &'a [u8] {
        let start = self.starts[index];
        let end = self.starts.get(index + 1).copied();
        let line = &self.bytes[start..end.unwrap_or(self.bytes.len())];
        line.trim_ascii_end()
    }

    fn index_of(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }

    /// Index of a hunk's header and of its last line, counted from 1 and from 0.
    fn extent(&self, lines: &[diffy::Line<'_, [u8]>]) -> Option<(usize, usize)> {
        // The parser returns slices of the input, so their offsets are known.
        let index = |line: &diffy::Line<'_, [u8]>| {
            let (diffy::Line::Context(text)
            | diffy::Line::Delete(text)
            | diffy::Line::Insert(text)) = line;
            let offset = text.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr());
            offset.map(|offset| self.index_of(offset))
        };
        let header = index(lines.first()?)?;
        let mut last = index(lines.last()?)?;
        while last + 1 < self.starts.len() && self.text(last + 1).starts_with(b"\\") {
            last += 1;
        }
        Some((header.max(1), last))
    }

    /// A line that looks like a part of a hunk and is in none, counted from 1.
    fn lost(&self, in_hunk: &[bool]) -> Option<(usize, &'static str)> {
        let mut follows_hunk = false;
        for (index, is_inside) in in_hunk.iter().enumerate() {
            if *is_inside {
                follows_hunk = true;
                continue;
            }
            let line = self.text(index);
            if line.starts_with(b"@@ -") {
                let problem = "this hunk belongs to no file: `---` and `+++` lines must stand \
                               before it, and nothing foreign between it and the hunk before";
                return Some((index + 1, problem));
            }
            let is_binary = line == b"GIT binary patch"
                || line.starts_with(b"Binary files ") && line.ends_with(b" differ");
            if is_binary {
                let problem =
                    "a binary change has no source lines to follow; cut it out of the patch";
                return Some((index + 1, problem));
            }
            let is_header = [&b"--- "[..], b"+++ "]
                .iter()
                .any(|header| line.starts_with(header));
            let is_signature = line == b"--";
            let has_mark = matches!(line.first(), Some(b'+' | b'-'));
            if follows_hunk && has_mark && !is_header && !is_signature {
                let problem =
                    "the hunk has more lines than its `@@` line says; make the patch anew";
                return Some((index + 1, problem));
            }
            follows_hunk = false;
        }
        None
    }

    /// The line, counted from 1, and the problem in a message of the parser, which tells offsets
    /// from the beginning of the file's part; that part begins behind line `after`.
    fn locate(&self, message: &str, after: usize) -> (usize, String) {
        let is_header = |index: &usize| {
            let line = self.text(*index);
            line.starts_with(b"--- ") || line.starts_with(b"+++ ")
        };
        let first = (after..self.starts.len()).find(is_header).unwrap_or(0);
        let offset = message
            .rsplit_once("at byte ")
            .and_then(|(_, rest)| rest.split(':').next()?.trim().parse::<usize>().ok());
        let start = self.starts.get(first).copied().unwrap_or(0);
        let line = offset
            .and_then(|offset| start.checked_add(offset))
            .map_or(first, |offset| self.index_of(offset));
        let problem = message.rsplit_once(": ").map_or(message, |(_, last)| last);
        let problem = match problem {
            "no valid patches found" => {
                "holds no hunk; give a unified diff, as `diff -u` and `git diff` write it"
            }
            "hunk header does not match hunk" => {
                "the hunk's lines are not as many as its `@@` line says; make the patch anew"
            }
            other => other,
        };
        (line + 1, problem.to_owned())
    }
}

#[cfg(test)]
mod tests;
