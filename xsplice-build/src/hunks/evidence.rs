//! Gathers what the objects of both trees tell about the files of a patch.

use rayon::prelude::*;
use xsplice_diff::debug_info::source_lines::{CompiledFile, LineInformation, source_lines};

use super::Trees;
use super::paths::{is_compiled, last_name, matching, matching_from};
use crate::inputs::Input;
use crate::source::patch_file::{FileChange, PatchFile, Side};

/// One object's view of a source file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The object.
    pub object: String,
    /// Which build.
    pub side: Side,
    /// What it tells.
    pub file: CompiledFile,
}

/// What all objects tell about one file of the patch.
#[derive(Debug)]
pub(super) struct Sources<'e> {
    /// Objects that were compiled from it.
    pub found: Vec<&'e Source>,
    /// The candidates, where the patch may mean several sources; otherwise empty.
    pub ambiguous: Vec<&'e str>,
    /// Objects without line tables, which may have been compiled from it.
    pub silent: Vec<&'e str>,
    /// Whether other objects of the trees have line tables.
    pub tables: Tables,
}

/// How many objects of the trees have line tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// None: the trees were built without `-g`.
    None,
    /// Some. A build never gives them to all: some are assembled, some are of its own tools.
    Some,
}

/// What all objects tell about all files of the patch.
#[derive(Debug)]
pub(super) struct Evidence {
    sources: Vec<Source>,
    silent: Vec<Silent>,
    tables: Tables,
}

/// An object without line tables.
#[derive(Debug)]
struct Silent {
    object: String,
    /// Source files by its FILE symbols.
    files: Vec<String>,
}

/// Reads every object of both trees except the merged ones.
pub(super) fn gather(patch: &PatchFile, trees: &Trees<'_>) -> Evidence {
    let found: Vec<(Vec<Source>, Option<Silent>)> = trees
        .inputs
        .par_iter()
        .chain(trees.left_out.par_iter())
        .filter(|input| !trees.merged.parts.contains_key(&input.name))
        .map(|input| ask(patch, input))
        .collect();
    let are_all_silent = found.iter().all(|(_, silent)| silent.is_some());
    let mut evidence = Evidence {
        sources: Vec::new(),
        silent: Vec::new(),
        tables: match are_all_silent {
            true => Tables::None,
            false => Tables::Some,
        },
    };
    for (sources, silent) in found {
        evidence.sources.extend(sources);
        evidence.silent.extend(silent);
    }
    evidence
}

fn ask(patch: &PatchFile, input: &Input) -> (Vec<Source>, Option<Silent>) {
    // Both builds of one that is equal tell the same.
    if input.is_equal() {
        let files = || [Side::Old, Side::New].map(|side| (side, patch));
        let is_wanted = |path: &str| {
            files()
                .iter()
                .any(|(side, patch)| names(patch, *side, path))
        };
        let (found, silent) = told(patch, input, input.original(), is_wanted);
        let mut sources = Vec::new();
        for side in [Side::Old, Side::New] {
            let of_side = found.iter().filter(|file| names(patch, side, &file.path));
            sources.extend(of_side.map(|file| Source {
                object: input.name.clone(),
                side,
                file: file.clone(),
            }));
        }
        return (sources, silent);
    }
    let mut sources = Vec::new();
    let mut silent = None;
    for (side, bytes) in [(Side::Old, input.original()), (Side::New, input.patched())] {
        let (found, without) = told(patch, input, bytes, |path| names(patch, side, path));
        silent = without.or(silent);
        sources.extend(found.into_iter().map(|file| Source {
            object: input.name.clone(),
            side,
            file,
        }));
    }
    (sources, silent)
}

/// Whether a file of the patch may be the one at `path` in one of the builds.
fn names(patch: &PatchFile, side: Side, path: &str) -> bool {
    patch
        .files
        .iter()
        .any(|file| path_of(file, side).is_some_and(|wanted| matching(wanted, path).is_some()))
}

/// What one build of an object tells.
fn told(
    patch: &PatchFile,
    input: &Input,
    bytes: Option<&[u8]>,
    is_wanted: impl Fn(&str) -> bool,
) -> (Vec<CompiledFile>, Option<Silent>) {
    let Some(bytes) = bytes else {
        return (Vec::new(), None);
    };
    let files = patch.files.iter();
    let last: Vec<&str> = files
        .flat_map(|file| <[_; 2]>::from(file.paths()))
        .flatten()
        .filter_map(last_name)
        .collect();
    // Unreadable objects are handled elsewhere: the differ reported those that differ, and the
    // proof lists the others.
    let Ok(lines) = source_lines(&input.name, bytes, &last, is_wanted) else {
        return (Vec::new(), None);
    };
    let silent = match lines.information {
        LineInformation::Missing | LineInformation::Compressed => {
            let files = xsplice_diff::source_files(&input.name, bytes)
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect();
            Some(Silent {
                object: input.name.clone(),
                files,
            })
        }
        LineInformation::Present | LineInformation::Needless => None,
    };
    (lines.files, silent)
}

/// The file's path in one of the builds.
fn path_of(file: &FileChange, side: Side) -> Option<&str> {
    let (old, new) = file.paths();
    match side {
        Side::Old => old,
        Side::New => new,
    }
}

impl Evidence {
    /// What is known about one file of the patch.
    #[must_use]
    pub(crate) fn sources_of<'e>(&'e self, file: &FileChange) -> Sources<'e> {
        let mut found = Vec::new();
        let mut ambiguous = Vec::new();
        for side in [Side::Old, Side::New] {
            let Some(wanted) = path_of(file, side) else {
                continue;
            };
            let scored: Vec<(usize, &Source)> = self
                .sources
                .iter()
                .filter(|source| source.side == side)
                .filter_map(|source| {
                    let score = matching_from(wanted, &source.file.path, &source.object)?;
                    Some((score, source))
                })
                .collect();
            let best = scored.iter().map(|(score, _)| *score).max();
            let own: Vec<&Source> = scored
                .into_iter()
                .filter(|(score, _)| Some(*score) == best)
                .map(|(_, source)| source)
                .collect();
            let mut paths: Vec<&str> = own.iter().map(|source| source.file.path.as_str()).collect();
            paths.sort_unstable();
            paths.dedup();
            if paths.len() > 1 {
                ambiguous = paths;
            }
            found.extend(own);
        }
        Sources {
            found,
            ambiguous,
            silent: self.silent_about(file.shown()),
            tables: self.tables,
        }
    }

    /// Objects without line tables that may have been compiled from a file.
    fn silent_about(&self, file: &str) -> Vec<&str> {
        let name = file.rsplit('/').next().unwrap_or(file);
        // Compilers name the C file in a symbol; an assembler often does, and `#include` does not.
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        let is_main = is_compiled(name);
        let is_assembler = matches!(end, "S" | "s" | "asm");
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        // Without the symbol it was assembled, unless the symbol was stripped.
        let is_named_like_it = |object: &str| {
            let last = object.rsplit('/').next().unwrap_or(object);
            last.split('.').next() == Some(stem)
        };
        let may_hold = |silent: &&Silent| {
            !is_main
                || ((silent.files.is_empty() || is_assembler) && is_named_like_it(&silent.object))
                || silent
                    .files
                    .iter()
                    .any(|path| path.rsplit('/').next() == Some(name))
        };
        self.silent
            .iter()
            .filter(may_hold)
            .map(|silent| silent.object.as_str())
            .collect()
    }
}
