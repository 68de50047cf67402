//! Gives the lines behind each hunk the numbers that they had, by `#line`.
//!
//! A patch that adds a line moves all that follow, and with them `__LINE__` in every function of
//! the file, in assertions, log calls and bug frames. In trees that were built elsewhere these
//! differences have to be told from the fix; here, where the patched source is a copy of ours, they
//! need not come about. Where the build has line tables they are proven, and nothing is put in.
//! Added lines have the numbers that they would have without the hunks before.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use walkdir::WalkDir;
use xsplice_diff::debug_info::source_lines::{LineInformation, source_lines};

use super::apply::{Offsets, cut};
use super::safe_places::{Directive, Line, read};
use crate::source::patch_file::{FileChange, PatchFile, Side};

/// How the names of sources end that the C preprocessor reads, and nothing but compilers of C.
const ENDINGS: [&str; 7] = ["c", "h", "cc", "cpp", "cxx", "hh", "hpp"];

/// Whether objects of a build have line tables. Then each number of a line is proven, and the hunks
/// are followed by the numbers that lines really have.
pub(super) fn are_told(build: &Path) -> bool {
    let files = WalkDir::new(build).into_iter().flatten();
    files
        .filter(|file| file.file_type().is_file())
        .filter(|file| file.path().extension().is_some_and(|ending| ending == "o"))
        .any(|file| {
            let read = fs::read(file.path()).ok();
            read.is_some_and(|bytes| {
                source_lines("", &bytes, &[], |_| false).is_ok_and(|lines| {
                    matches!(
                        lines.information,
                        LineInformation::Present | LineInformation::Compressed
                    )
                })
            })
        })
}

/// Puts `#line` into the copy at `tree`, to which `patch` was applied, and renumbers the lines of
/// the patch accordingly.
///
/// # Errors
///
/// A file of the copy that cannot be read or written.
pub(super) fn keep(tree: &Path, patch: &mut PatchFile, level: usize) -> Result<()> {
    for file in &mut patch.files {
        let (Some(_), Some(new)) = (&file.old, &file.new) else {
            continue;
        };
        let ending = new.rsplit_once('.').map_or("", |(_, ending)| ending);
        let name = cut(new, level).filter(|_| ENDINGS.contains(&ending));
        let Some(path) = name
            .map(|name| tree.join(name))
            .filter(|path| path.is_file())
        else {
            continue;
        };
        let failed = || format!("{}: the copy cannot be changed", path.display());
        let text = fs::read(&path).with_context(failed)?;
        if let Some(kept) = kept(&text, &runs(file)) {
            fs::write(&path, kept.text).with_context(failed)?;
            renumber(file, &kept.numbers);
        }
    }
    Ok(())
}

/// What a patch takes away and adds at one place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Its first line in the file after, from 1.
    start: u64,
    /// The first line behind it in the file after.
    end: u64,
    /// What that line's number was.
    end_before: u64,
}

/// The runs of a file, in order.
fn runs(file: &FileChange) -> Vec<Run> {
    let mut runs = Vec::new();
    for hunk in &file.hunks {
        let (mut before, mut after) = (hunk.old_start, hunk.new_start);
        let mut run: Option<Run> = None;
        for change in &hunk.changes {
            let next = match change.side {
                Side::Old => &mut before,
                Side::New => &mut after,
            };
            let context = change.number.saturating_sub(*next);
            before += context;
            after += context;
            if context > 0 {
                runs.extend(run.take());
            }
            let start = run.map_or(after, |run| run.start);
            match change.side {
                Side::Old => before += 1,
                Side::New => after += 1,
            }
            run = Some(Run {
                start,
                end: after,
                end_before: before,
            });
        }
        runs.extend(run);
    }
    runs
}

/// A file whose lines keep their numbers.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    text: Vec<u8>,
    /// Of each line of the file without the directives: the number that compilers see, and that of
    /// a line beside it which the patch leaves where it is.
    numbers: Vec<(u64, u64)>,
}

/// By how much the numbers behind a directive differ from those of the file; `None` where that
/// depends on what the configuration leaves out.
type Shift = Option<i64>;

/// The groups of one `#if`.
struct Groups {
    /// Before the `#if`.
    outside: Shift,
    /// At the end of each group so far.
    ends: Vec<Shift>,
    has_else: bool,
}

/// `None` where no line moves.
fn kept(text: &[u8], runs: &[Run]) -> Option<Kept> {
    let mut kept = Kept {
        text: Vec::new(),
        numbers: Vec::new(),
    };
    let mut has_directives = false;
    let mut given: Shift = Some(0);
    let mut open: Vec<Groups> = Vec::new();
    let mut number = 0;
    for line in read(text) {
        number += 1;
        let last = runs.iter().rfind(|run| run.end <= number);
        let is_within = runs
            .iter()
            .any(|run| (run.start + 1..run.end).contains(&number));
        let wanted = last.map_or(0, |run| difference(run.end, run.end_before));
        let is_due = given != Some(wanted) && !is_within;
        if is_due && line.is_safe {
            has_directives = true;
            given = Some(wanted);
            let told = number.saturating_add_signed(-wanted);
            kept.text.extend(format!("#line {told}\n").into_bytes());
        }
        let told = number.saturating_add_signed(-given.unwrap_or(wanted));
        let own = runs
            .iter()
            .find(|run| (run.start..run.end).contains(&number));
        let place = own.map_or(told, |run| {
            told.min(run.end_before.saturating_sub(1).max(1))
        });
        kept.numbers.push((told, place));
        kept.text.extend(line.bytes);
        follow(&line, &mut given, &mut open);
    }
    has_directives.then_some(kept)
}

/// What is known behind a line that may begin or end a group.
fn follow(line: &Line<'_>, given: &mut Shift, open: &mut Vec<Groups>) {
    match line.directive {
        Directive::If => open.push(Groups {
            outside: *given,
            ends: Vec::new(),
            has_else: false,
        }),
        Directive::Elif | Directive::Else => {
            if let Some(groups) = open.last_mut() {
                groups.ends.push(*given);
                groups.has_else |= line.directive == Directive::Else;
                *given = groups.outside;
            }
        }
        Directive::Endif => {
            if let Some(mut groups) = open.pop() {
                // Without #else all groups may be left out.
                if !groups.has_else {
                    groups.ends.push(groups.outside);
                }
                let are_equal = groups.ends.iter().all(|end| end == given);
                *given = given.filter(|_| are_equal);
            }
        }
        Directive::Other | Directive::None => {}
    }
}

fn difference(after: u64, before: u64) -> i64 {
    // Files have fewer lines than that.
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    signed(after).saturating_sub(signed(before))
}

/// Gives the lines of a patch the numbers that compilers see.
fn renumber(file: &mut FileChange, numbers: &[(u64, u64)]) {
    let told = |number: u64| {
        let index = number
            .checked_sub(1)
            .and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| numbers.get(index)).copied()
    };
    for hunk in &mut file.hunks {
        for change in hunk.changes.iter_mut().filter(|one| one.side == Side::New) {
            if let Some((number, place)) = told(change.number) {
                (change.number, change.place) = (number, place);
            }
        }
        hunk.keeps_lines = true;
    }
}

/// Moves the hunks to where the trial says that they were put in.
pub(super) fn moved(patch: &PatchFile, offsets: &Offsets) -> PatchFile {
    let mut patch = patch.clone();
    super::apply::shift(&mut patch, offsets);
    patch
}

#[cfg(test)]
mod tests {
    use super::{kept, renumber, runs};
    use crate::source::patch_file::{Side, parse};

    /// The patched text with its directives; the number and the place of each added line.
    fn keep(hunks: &str, patched: &str) -> (String, Vec<(u64, u64)>) {
        let patch = format!("--- a/f.c\n+++ b/f.c\n{hunks}");
        let mut patch = parse("fix.patch", patch.as_bytes()).expect("a patch");
        let file = &mut patch.files[0];
        let kept = kept(patched.as_bytes(), &runs(file)).expect("lines move");
        renumber(file, &kept.numbers);
        let changes = file.hunks.iter().flat_map(|hunk| &hunk.changes);
        let added = changes.filter(|change| change.side == Side::New);
        (
            String::from_utf8(kept.text).expect("text"),
            added.map(|line| (line.number, line.place)).collect(),
        )
    }

    #[test]
    fn lines_behind_each_run_have_the_numbers_that_they_had() {
        let hunks = "@@ -1,4 +1,5 @@\n a;\n+x;\n b;\n-c;\n-d;\n+y;\n+z;\n\
                     @@ -6,3 +7,2 @@\n f;\n-g;\n h;\n";
        let (text, added) = keep(hunks, "a;\nx;\nb;\ny;\nz;\ne;\nf;\nh;\n");
        assert_eq!(text, "a;\nx;\n#line 2\nb;\ny;\nz;\ne;\nf;\n#line 8\nh;\n");
        assert_eq!(added, [(2, 1), (3, 3), (4, 4)]);
    }

    #[test]
    fn a_directive_waits_until_no_parenthesis_is_open() {
        let hunks = "@@ -1,3 +1,4 @@\n f(a,\n+  x,\n   b);\n c;\n";
        let (text, added) = keep(hunks, "f(a,\n  x,\n  b);\nc;\n");
        assert_eq!(text, "f(a,\n  x,\n  b);\n#line 3\nc;\n");
        assert_eq!(added, [(2, 1)]);
    }

    #[test]
    fn what_the_configuration_may_leave_out_is_followed_by_another_directive() {
        let hunks = "@@ -1,3 +1,4 @@\n #ifdef A\n+x;\n #endif\n c;\n";
        let (text, _) = keep(hunks, "#ifdef A\nx;\n#endif\nc;\n");
        assert_eq!(text, "#ifdef A\nx;\n#line 2\n#endif\n#line 3\nc;\n");
        let hunks = "@@ -1,5 +1,6 @@\n #ifdef A\n+x;\n #else\n y;\n #endif\n c;\n";
        let (text, _) = keep(hunks, "#ifdef A\nx;\n#else\ny;\n#endif\nc;\n");
        assert_eq!(
            text,
            "#ifdef A\nx;\n#line 2\n#else\n#line 3\ny;\n#endif\nc;\n"
        );
    }

    #[test]
    fn lines_that_do_not_move_need_no_directive() {
        let patch = "--- a/f.c\n+++ b/f.c\n@@ -1,2 +1,2 @@\n a;\n-b;\n+c;\n";
        let patch = parse("fix.patch", patch.as_bytes()).expect("a patch");
        assert_eq!(kept(b"a;\nc;\n", &runs(&patch.files[0])), None);
    }
}
