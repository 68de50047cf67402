//! `--src`: makes both builds from one source tree and a patch.
//!
//! Both builds run in copies, one after the other in the same folder, which is renamed when a
//! build is done: so `__FILE__` and debug information are the same, whatever the build does with
//! its own path, and a folder by the name of a finished build is always a finished build. The
//! patched build starts from a copy of the original one with its times, so that `make` builds
//! again what the patch touches and nothing else.

pub(crate) mod patch_file;

pub(crate) mod apply;
pub(crate) mod copy;
pub(crate) mod fingerprint;
pub(crate) mod interrupt;
pub(crate) mod kept_lines;
pub(crate) mod make;
pub(crate) mod place;
mod safe_places;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::arguments::Arguments;
use crate::command::progress::Visibility;
use crate::command::voice::{tell, visibility};
use crate::source::patch_file::PatchFile;
use copy::copy_tree;
use fingerprint::{Fingerprint, listing};
use interrupt::Interrupt;
use make::Build;

/// Names in the work folder.
const TREE: &str = "tree";
const ORIGINAL: &str = "original";
const PATCHED: &str = "patched";
pub(crate) const FINGERPRINT: &str = "original.fingerprint";
const LOCK: &str = "lock";
/// Names of the builds' logs, without `.log`.
pub(crate) const LOGS: [&str; 2] = [ORIGINAL, PATCHED];

/// What is wrong with the patch and not with the machine.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It does not apply to the source.
    #[error("{0}")]
    NotApplicable(String),
    /// The source does not build.
    #[error("{message}\nall of it: {}", log.display())]
    NotBuilt {
        /// How the command ended, and its last lines.
        message: String,
        /// Where all that it said is.
        log: PathBuf,
    },
}

impl Fault {
    /// An error of the trial; one of the system stays what it is.
    fn not_applicable(error: anyhow::Error) -> anyhow::Error {
        if error.chain().any(|cause| cause.is::<std::io::Error>()) {
            return error;
        }
        Fault::NotApplicable(format!("{error:#}")).into()
    }
}

/// What to build, and from what.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The source without the patch.
    pub source: PathBuf,
    /// The command that builds it, for `sh`.
    pub command: String,
    /// Where the copies live.
    pub work: PathBuf,
    /// The build that runs, when the user has it.
    pub original: Option<PathBuf>,
    /// What becomes of the numbers of lines behind a hunk.
    pub lines: Lines,
}

/// What becomes of the numbers of lines behind a hunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// They stay as they were.
    Kept,
    /// They are those of the patched source.
    Moved,
}

/// Two builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// The tree without the patch.
    pub original: PathBuf,
    /// The tree with the patch.
    pub patched: PathBuf,
}

impl Request {
    /// What the command line asks for; `None` without `--src`.
    ///
    /// # Errors
    ///
    /// A source that is no folder.
    pub(crate) fn of(arguments: &Arguments, name: &str) -> Result<Option<Request>> {
        let (Some(source), Some(command)) = (&arguments.src, &arguments.make) else {
            return Ok(None);
        };
        if !source.is_dir() {
            bail!(
                "--src {}: not a folder; give the source that the running system was built from",
                source.display()
            );
        }
        let work = arguments.work.clone();
        let work = work.unwrap_or_else(|| PathBuf::from(format!("{name}.work")));
        Ok(Some(Request {
            source: absolute(source)?,
            command: command.clone(),
            work,
            original: arguments.given_orig.clone(),
            lines: match arguments.move_lines {
                true => Lines::Moved,
                false => Lines::Kept,
            },
        }))
    }
}

/// The arguments, with the trees that were built in place of the source.
///
/// # Errors
///
/// As for [`build`].
pub(crate) fn arguments_for(
    arguments: &Arguments,
    request: &Request,
    patch: &mut PatchFile,
) -> Result<Arguments> {
    let say = |text: &str| tell(arguments, text);
    let trees = build(request, patch, visibility(arguments), &say)?;
    say("\n");
    Ok(Arguments {
        orig: trees.original,
        patched: trees.patched,
        ..arguments.clone()
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("{}: cannot read", path.display()))
}

/// Builds both trees. `patch` gets the line numbers at which its hunks were really put in.
///
/// # Errors
///
/// A patch that does not apply, a build that fails, a work folder that is in use, or an
/// interruption: nothing half-made is left.
pub(crate) fn build(
    request: &Request,
    patch: &mut PatchFile,
    visibility: Visibility,
    tell: &dyn Fn(&str),
) -> Result<Built> {
    let level = apply::strip_level(patch, &request.source).map_err(Fault::not_applicable)?;
    let patch_path = absolute(Path::new(&patch.path))?;
    let trial = apply::Trial {
        patch,
        path: &patch_path,
        level,
    };
    // The patch is tried before anything is built, because most errors show here.
    let offsets = trial
        .check(&request.source)
        .map_err(Fault::not_applicable)?;

    let work = Work::open(&request.work)?;
    let before = listing(&request.source, &work.folder)?;
    let building = work.interrupt.building();
    let mut moved = kept_lines::moved(trial.patch, &offsets);
    let built = work.build_both(request, &trial, &mut moved, &before, visibility, tell);
    // An unfinished build is removed in every case.
    let swept = remove(&work.path(TREE));
    drop(building);
    let original = built?;
    swept?;
    if listing(&request.source, &work.folder)?.digest != before.digest {
        bail!(
            "{}: the build changed files of the source itself, so that neither copy can be \
             trusted; its command or its configuration names that folder by an absolute path",
            request.source.display()
        );
    }
    *patch = moved;
    apply::strip(patch, level);
    let patched = place::facing(&original, &request.work.join(PATCHED))?;
    Ok(Built { original, patched })
}

/// Builds the source as it is, without a patch; where the build is.
///
/// # Errors
///
/// As for [`build`], but for the patch.
pub(crate) fn build_unpatched(
    request: &Request,
    visibility: Visibility,
    tell: &dyn Fn(&str),
) -> Result<PathBuf> {
    let work = Work::open(&request.work)?;
    let listed = listing(&request.source, &work.folder)?;
    let building = work.interrupt.building();
    let built = work.build_original(request, &listed, visibility, tell);
    let swept = remove(&work.path(TREE));
    drop(building);
    built?;
    swept?;
    Ok(request.work.join(ORIGINAL))
}

/// The folder that holds the copies.
struct Work {
    folder: PathBuf,
    interrupt: Interrupt,
    /// Closing it unlocks.
    _lock: fs::File,
}

impl Work {
    /// Makes the folder, which nobody else may use meanwhile.
    fn open(folder: &Path) -> Result<Work> {
        fs::create_dir_all(folder)
            .with_context(|| format!("--work {}: cannot be made", folder.display()))?;
        let lock = fs::File::create(folder.join(LOCK));
        let lock = lock.context("the work folder is not writable")?;
        if lock.try_lock().is_err() {
            bail!(
                "{}: another run works in this folder; name another with --work",
                folder.display()
            );
        }
        Ok(Work {
            folder: absolute(folder)?,
            interrupt: Interrupt::install()?,
            _lock: lock,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the folder of the original build. `moved` is the patch as it was put in; it gets the
    /// numbers of lines that the compiler sees.
    fn build_both(
        &self,
        request: &Request,
        trial: &apply::Trial<'_>,
        moved: &mut PatchFile,
        listed: &fingerprint::Listing,
        visibility: Visibility,
        tell: &dyn Fn(&str),
    ) -> Result<PathBuf> {
        let tree = self.path(TREE);
        remove(&tree)?;
        let original = self.path(ORIGINAL);
        if request.original.is_none() {
            self.build_original(request, listed, visibility, tell)?;
        }
        let patched = self.path(PATCHED);
        remove(&patched)?;
        let from = match &request.original {
            Some(_) => &request.source,
            None => &original,
        };
        copy_tree(from, &tree, &self.folder, &self.interrupt)?;
        trial.apply(&tree)?;
        let unpatched = request.original.as_ref().unwrap_or(&original);
        if request.lines == Lines::Kept && !kept_lines::are_told(unpatched) {
            kept_lines::keep(&tree, moved, trial.level)?;
        }
        self.step(request, listed, PATCHED)
            .run(&self.interrupt, visibility, tell)?;
        rename(&tree, &patched)?;
        Ok(match &request.original {
            Some(given) => given.clone(),
            None => request.work.join(ORIGINAL),
        })
    }

    /// Makes the build without the patch, unless it is there already.
    fn build_original(
        &self,
        request: &Request,
        listed: &fingerprint::Listing,
        visibility: Visibility,
        tell: &dyn Fn(&str),
    ) -> Result<()> {
        let (tree, original) = (self.path(TREE), self.path(ORIGINAL));
        let fingerprint = Fingerprint::of(&request.source, &self.folder, &request.command, listed)?;
        let known = fs::read_to_string(self.path(FINGERPRINT)).ok();
        if original.is_dir() && known.as_deref() == Some(fingerprint.text()) {
            tell(&format!(
                "original: {} is of this source, command and environment; used again\n",
                request.work.join(ORIGINAL).display()
            ));
            return Ok(());
        }
        remove(&tree)?;
        copy_tree(&request.source, &tree, &self.folder, &self.interrupt)?;
        self.step(request, listed, ORIGINAL)
            .run(&self.interrupt, visibility, tell)?;
        // The new build succeeded, so the previous one is replaced. Its fingerprint is removed
        // first: a folder without one is never reused.
        let _ = fs::remove_file(self.path(FINGERPRINT));
        remove(&original)?;
        rename(&tree, &original)?;
        fs::write(self.path(FINGERPRINT), fingerprint.text())
            .context("the work folder is not writable")
    }

    /// One run of the build command.
    fn step<'a>(
        &self,
        request: &'a Request,
        listed: &fingerprint::Listing,
        name: &'static str,
    ) -> Build<'a> {
        Build {
            name,
            command: &request.command,
            folder: self.path(TREE),
            log: self.path(&format!("{name}.log")),
            source_date_seconds: listed.newest_seconds,
        }
    }
}

fn remove(tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree)
            .with_context(|| format!("{}: cannot be removed", tree.display()))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("{}: cannot be renamed", from.display()))
}
