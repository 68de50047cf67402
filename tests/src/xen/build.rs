//! Builds Xen: the original once, and each change as an incremental build on top of it.
//!
//! The objects of two builds can only be compared when both were made in the same folder by the
//! same compiler with the same stamps: file names are in the code (`__FILE__`), in the symbols of
//! assembler files, and the build's date in the banner. So there is one place where anything is
//! ever built (`work`), and the results are moved away from it afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::archive::remove;
use super::configuration::Configuration;
use super::platform::Platform;
use super::process::{run_logged, run_quiet};
use super::release::{Objects, Release};

/// What Xen would otherwise take from the machine.
const PLACE: [(&str, &str); 3] = [
    ("XEN_BUILD_HOST", "host"),
    ("XEN_WHOAMI", "user"),
    ("XEN_DOMAIN", "localdomain"),
];

/// The folder in which everything is built.
const WORK: &str = "work";

/// What Xen would otherwise take from the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The time of the original and of all changes.
    Original,
    /// Some other.
    Later,
}

impl Time {
    fn stamps(self) -> [(&'static str, &'static str); 2] {
        let (date, time) = match self {
            Time::Original => ("Thu Jan 1 00:00:00 UTC 2026", "00:00:00"),
            Time::Later => ("Fri Jul 31 17:45:12 CEST 2026", "17:45:12"),
        };
        [("XEN_BUILD_DATE", date), ("XEN_BUILD_TIME", time)]
    }
}

/// Whether a build carries DWARF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugInfo {
    /// As Debian configures it: none.
    Absent,
    /// With `-g` added to the compiler's flags.
    Present,
}

/// The one place where Xen is built, and where the results are kept.
#[derive(Debug)]
pub struct Builder {
    cache: PathBuf,
    source: PathBuf,
    /// `xsplice.h`, which changes may include as `xen/xsplice.h`.
    header: PathBuf,
    options: &'static [&'static str],
    make: Vec<(&'static str, &'static str)>,
    /// The folder that is the root of everything that a build calls, where that is not the
    /// system's own.
    root: Option<PathBuf>,
    release: &'static Release,
    /// What a finished build was made from.
    stamp: String,
    jobs: usize,
}

/// One finished build tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The folder with the objects, `xen` and `xen-syms`.
    pub directory: PathBuf,
}

impl Tree {
    /// The linked image with its symbols.
    pub fn symbols(&self) -> PathBuf {
        self.directory.join("xen-syms")
    }

    /// The image that boots.
    pub fn image(&self) -> PathBuf {
        self.directory.join("xen")
    }
}

impl Builder {
    /// A builder of `source`, with `header` among its include files and its results below `cache`.
    /// What it calls is in the system, or in the folder `root`.
    pub fn new(
        cache: &Path,
        source: &Path,
        header: &Path,
        platform: &'static Platform,
        root: Option<PathBuf>,
        jobs: usize,
    ) -> Self {
        Self {
            options: platform.options,
            make: platform.make.to_vec(),
            root,
            release: platform.release,
            stamp: platform.release.version.to_owned(),
            cache: cache.to_owned(),
            source: source.to_owned(),
            header: header.to_owned(),
            jobs,
        }
    }

    /// A builder of the same source otherwise configured, with its results below `cache`. What it
    /// calls is in the system, or in the folder `root`.
    pub fn configured(
        &self,
        cache: &Path,
        configuration: &Configuration,
        root: Option<PathBuf>,
    ) -> Self {
        let make: Vec<_> = self
            .make
            .iter()
            .chain(configuration.make)
            .copied()
            .collect();
        Self {
            options: configuration.options,
            release: self.release,
            stamp: format!(
                "{} {:?} {make:?}",
                self.release.version, configuration.options
            ),
            make,
            root,
            cache: cache.to_owned(),
            source: self.source.clone(),
            header: self.header.clone(),
            jobs: self.jobs,
        }
    }

    fn work(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.join(WORK),
            None => self.cache.join(WORK),
        }
    }

    /// The folder that the objects are built in.
    fn objects(&self) -> PathBuf {
        let work = self.work();
        match self.release.objects {
            Objects::Beside => work.join("build"),
            Objects::Among => work.join("source/xen"),
        }
    }

    fn tree(&self, name: &str) -> Tree {
        Tree {
            directory: self.cache.join("trees").join(name),
        }
    }

    /// The build of the unchanged source, with Xen's own test payloads.
    pub fn original(&self, debug_info: DebugInfo) -> Result<Tree> {
        let name = match debug_info {
            DebugInfo::Absent => "original",
            DebugInfo::Present => "original-g",
        };
        let tree = self.tree(name);
        if self.is_done(&tree, &self.stamp) {
            println!("== {name}: in the cache");
            return Ok(tree);
        }
        println!("== {name}: building");
        let started = Instant::now();
        self.start_over(None)?;
        if !self.options.is_empty() {
            let mut options = self.options.join("\n");
            options.push('\n');
            fs::write(self.objects().join(".config"), options).context("cannot write .config")?;
        }
        let config = format!("{name}-config");
        self.make(&config, &["olddefconfig"], debug_info, Time::Original)?;
        self.make(name, &[], debug_info, Time::Original)?;
        if debug_info == DebugInfo::Absent {
            self.make("tests", &["tests"], debug_info, Time::Original)?;
        }
        self.keep(&tree, &self.stamp)?;
        println!("   {name}: {} s", started.elapsed().as_secs());
        Ok(tree)
    }

    /// The build of the source with `patch` applied, made from `original`.
    pub fn changed(
        &self,
        name: &str,
        patch: &Path,
        original: &Tree,
        debug_info: DebugInfo,
    ) -> Result<Tree> {
        let tree = self.tree(name);
        let read = |file: &Path| {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        };
        let mut text = read(patch)?;
        if text.contains("xsplice.h") {
            text += &read(&self.header)?;
        }
        if self.is_done(&tree, &text) {
            return Ok(tree);
        }
        let started = Instant::now();
        self.start_over(Some(original))?;
        self.apply(patch)?;
        self.make(name, &[], debug_info, Time::Original)?;
        self.keep(&tree, &text)?;
        println!("   {name}: built in {} s", started.elapsed().as_secs());
        Ok(tree)
    }

    /// The build of the unchanged source at another time.
    pub fn later(&self, original: &Tree) -> Result<Tree> {
        let name = "later";
        let tree = self.tree(name);
        if self.is_done(&tree, self.release.version) {
            return Ok(tree);
        }
        let started = Instant::now();
        self.start_over(Some(original))?;
        self.make(name, &[], DebugInfo::Absent, Time::Later)?;
        self.keep(&tree, self.release.version)?;
        println!("   {name}: built in {} s", started.elapsed().as_secs());
        Ok(tree)
    }

    fn is_done(&self, tree: &Tree, stamp: &str) -> bool {
        fs::read_to_string(tree.directory.join(".xsplice-stamp")).is_ok_and(|text| text == stamp)
    }

    /// Puts pristine source, and the original's objects if given, where things are built.
    fn start_over(&self, original: Option<&Tree>) -> Result<()> {
        let work = self.work();
        remove(&work)?;
        fs::create_dir_all(&work).context("cannot make the work folder")?;
        copy(&self.source, &work.join("source"))?;
        let objects = self.objects();
        match (original, self.release.objects) {
            (Some(tree), Objects::Beside) => copy(&tree.directory, &objects)?,
            // Such a tree holds the sources too.
            (Some(tree), Objects::Among) => {
                remove(&objects)?;
                copy(&tree.directory, &objects)?;
            }
            (None, _) => {
                fs::create_dir_all(&objects).context("cannot make the build folder")?;
            }
        }
        let header = work.join("source/xen/include/xen/xsplice.h");
        fs::copy(&self.header, &header).with_context(|| self.header.display().to_string())?;
        Ok(())
    }

    fn apply(&self, patch: &Path) -> Result<()> {
        let patch =
            fs::canonicalize(patch).with_context(|| format!("cannot find {}", patch.display()))?;
        // No fuzz and no backups: an edit that does not fit exactly is another edit.
        run_quiet(
            Command::new("patch")
                .args(["-p1", "--fuzz=0", "--no-backup-if-mismatch", "-i"])
                .arg(&patch)
                .current_dir(self.work().join("source")),
        )?;
        Ok(())
    }

    fn make(&self, log: &str, targets: &[&str], debug_info: DebugInfo, time: Time) -> Result<()> {
        let work = self.work();
        // What is built is inside the root, and named as it is there.
        let (mut command, work) = match &self.root {
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg("make");
                (command, Path::new("/").join(WORK))
            }
            None => {
                let work = fs::canonicalize(&work).context("cannot find the work folder")?;
                (Command::new("make"), work)
            }
        };
        command
            .arg("-C")
            .arg(work.join("source/xen"))
            .arg(format!("-j{}", self.jobs))
            .args(self.release.make)
            .args(targets)
            .envs(PLACE)
            .envs(time.stamps())
            .envs(self.make.iter().copied())
            // Whoever runs this under `make` must not have its flags seen by Xen's makefiles.
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .env_remove("MAKELEVEL")
            .env_remove("CFLAGS")
            .env("LC_ALL", "C");
        if self.release.objects == Objects::Beside {
            command.arg(format!("O={}", work.join("build").display()));
        }
        if debug_info == DebugInfo::Present {
            command.env("EXTRA_CFLAGS_XEN_CORE", "-g");
        }
        run_logged(
            &format!("make {log}"),
            &mut command,
            &self.cache.join("log").join(format!("make-{log}.log")),
        )
    }

    /// Moves the finished build away from the place where it was made.
    fn keep(&self, tree: &Tree, stamp: &str) -> Result<()> {
        let build = self.objects();
        ensure!(
            build.join("xen-syms").is_file(),
            "{}: make left no xen-syms",
            build.display()
        );
        remove(&tree.directory)?;
        if let Some(parent) = tree.directory.parent() {
            fs::create_dir_all(parent).context("cannot make the trees' folder")?;
        }
        fs::rename(&build, &tree.directory).context("cannot move the build")?;
        // The link back to the source tree would dangle or, worse, lead to another change's source.
        fs::remove_file(tree.directory.join("source")).ok();
        fs::write(tree.directory.join(".xsplice-stamp"), stamp).context("cannot stamp the build")
    }
}

/// Copies a tree with its times, which `make` goes by.
fn copy(from: &Path, to: &Path) -> Result<()> {
    run_quiet(Command::new("cp").arg("-a").arg(from).arg(to))?;
    Ok(())
}
