//! Fetches the source of a project and builds it in two folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::project::{Project, Recipe};
use crate::case;
use crate::xen::archive::{PrivateApt, fetch_source, remove};
use crate::xen::platform::MachineKind;
use crate::xen::process::{run_logged, run_quiet};

/// The two folders of a project's builds. Their names have one length, so that the one path can
/// be put in the place of the other inside an object.
pub const PLACES: [&str; 2] = ["first", "other"];

/// What builds call objects; `.lo` are those for shared use.
const ENDS: [&str; 2] = [".o", ".lo"];
/// Start of an ELF file, its class and byte order (64 bits, little-endian).
const ELF_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
/// Where the kind of an ELF file is written, and the kind of an object.
const KIND_AT: usize = 16;
const RELOCATABLE: u8 = 1;

/// Where sources and builds are kept.
#[derive(Debug)]
pub struct Builder {
    cache: PathBuf,
    jobs: usize,
}

impl Builder {
    /// A builder with everything below `cache`, which runs as many compilers as `jobs`.
    #[must_use]
    pub fn new(cache: &Path, jobs: usize) -> Builder {
        Builder {
            cache: cache.to_owned(),
            jobs,
        }
    }

    fn source(&self, project: &Project) -> PathBuf {
        self.cache.join("source").join(project.package)
    }

    /// Fetches those of `projects` that are not in the cache.
    ///
    /// # Errors
    /// When apt cannot fetch one, or it cannot be unpacked.
    pub fn fetch(&self, projects: &[Project], mirror: Option<&str>) -> Result<()> {
        let missing: Vec<&Project> = projects
            .iter()
            .filter(|project| self.version(project).is_err())
            .collect();
        if missing.is_empty() {
            println!("== sources: in the cache");
            return Ok(());
        }
        println!("== sources: fetching through apt");
        let apt = PrivateApt::set_up(&self.cache, mirror, MachineKind::X86_64.platform())?;
        apt.update(&self.cache.join("log"))?;
        fs::create_dir_all(self.cache.join("source")).context("cannot make the sources' folder")?;
        for project in missing {
            let source = self.source(project);
            remove(&source)?;
            let version =
                fetch_source(&apt, &self.cache, project.package, project.version, &source)?;
            fs::write(self.stamp(project), &version).context("cannot stamp the source")?;
            println!("   {} {version}", project.package);
        }
        Ok(())
    }

    fn stamp(&self, project: &Project) -> PathBuf {
        let name = format!("{}.version", project.package);
        self.cache.join("source").join(name)
    }

    /// The version of a project that was fetched.
    ///
    /// # Errors
    /// When none was.
    pub fn version(&self, project: &Project) -> Result<String> {
        let stamp = self.stamp(project);
        fs::read_to_string(&stamp).with_context(|| format!("{}: not read", stamp.display()))
    }

    /// The folder of one build of `project`.
    #[must_use]
    pub fn tree(&self, project: &Project, place: &str) -> PathBuf {
        self.cache.join("trees").join(project.package).join(place)
    }

    /// Builds `project` in `place`, or finds that it has been.
    ///
    /// # Errors
    /// When its build fails.
    pub fn build(&self, project: &Project, place: &str) -> Result<()> {
        let tree = self.tree(project, place);
        let finished = tree.with_extension("complete");
        let recipe = format!("{} {:?}", self.version(project)?, project.recipe);
        let what = format!("{} ({place})", project.package);
        if fs::read_to_string(&finished).is_ok_and(|done| done == recipe) {
            println!("== {what}: in the cache");
            return Ok(());
        }
        println!("== {what}: building");
        let started = Instant::now();
        remove(&tree)?;
        fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
        run_quiet(
            Command::new("cp")
                .arg("-a")
                .arg(self.source(project))
                .arg(tree.join("source")),
        )?;
        match project.recipe {
            Recipe::Lines(lines) => {
                for (number, line) in lines.iter().enumerate() {
                    let log = format!("{}-{place}-{number}.log", project.package);
                    self.shell(&what, line, &tree, &log)?;
                }
            }
            Recipe::Matrix { folder, sets } => self.compile(&tree, folder, sets)?,
        }
        println!("   {what}: {} s", started.elapsed().as_secs());
        fs::write(&finished, recipe).context("cannot stamp the build")
    }

    fn shell(&self, what: &str, line: &str, tree: &Path, log: &str) -> Result<()> {
        run_logged(
            what,
            Command::new("sh")
                .args(["-ec", line])
                .current_dir(tree)
                .env("JOBS", self.jobs.to_string())
                .env("LC_ALL", "C")
                // The shell's own, or the folder would be this program's.
                .env("PWD", tree)
                // Whoever runs this under `make` must not have its flags seen by other makefiles.
                .env_remove("MAKEFLAGS")
                .env_remove("MFLAGS")
                .env_remove("MAKELEVEL")
                .env_remove("CFLAGS"),
            &self.cache.join("log").join(log),
        )
    }

    /// Compiles every C file by every line; the objects of one line share a folder.
    fn compile(&self, tree: &Path, folder: &str, sets: &[&str]) -> Result<()> {
        let sources: Vec<String> = case::files(&tree.join("source").join(folder))?
            .into_iter()
            .filter(|file| file.ends_with(".c"))
            .collect();
        ensure!(!sources.is_empty(), "{folder}: holds no C file");
        let mut work = Vec::new();
        let mut folders = 0_usize;
        for set in sets {
            for line in case::lines(set)? {
                let objects = tree.join("objects").join(folders.to_string());
                folders += 1;
                fs::create_dir_all(&objects)?;
                fs::write(objects.join("line"), &line)?;
                for source in &sources {
                    let object = objects.join(source.replace('/', "_")).with_extension("o");
                    work.push((line.clone(), format!("source/{folder}/{source}"), object));
                }
            }
        }
        in_parallel(self.jobs, &work, |(line, source, object)| {
            run_quiet(
                Command::new("sh")
                    .args(["-c", &format!("{line} -c \"$0\" -o \"$1\"")])
                    .arg(source)
                    .arg(object)
                    .current_dir(tree),
            )?;
            Ok(())
        })?;
        Ok(())
    }

    /// The objects that a build made, as paths inside its tree, in order.
    ///
    /// # Errors
    /// When the tree cannot be read, or holds none.
    pub fn objects(&self, project: &Project, place: &str) -> Result<Vec<String>> {
        let tree = self.tree(project, place);
        let mut objects = Vec::new();
        for path in case::files(&tree)? {
            if ENDS.iter().any(|end| path.ends_with(end)) && is_object(&tree.join(&path))? {
                objects.push(path);
            }
        }
        ensure!(!objects.is_empty(), "{}: no object", tree.display());
        Ok(objects)
    }
}

/// Whether a file is a relocatable 64-bit ELF file: builds name other things `.o` too.
fn is_object(path: &Path) -> Result<bool> {
    let bytes = fs::read(path).with_context(|| format!("{}: not read", path.display()))?;
    Ok(bytes.starts_with(ELF_64_LITTLE) && bytes.get(KIND_AT) == Some(&RELOCATABLE))
}

/// Calls `one` for each of `work` on as many threads as `jobs`; results in the order of the work.
///
/// # Errors
/// The first that a call returns.
pub fn in_parallel<T: Sync, R: Send>(
    jobs: usize,
    work: &[T],
    one: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = Mutex::new(0_usize);
    let results: Mutex<Vec<Option<Result<R>>>> = Mutex::new(work.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().expect("no thread panics with it");
                        *next += 1;
                        *next - 1
                    };
                    let Some(item) = work.get(index) else { break };
                    let result = one(item);
                    results.lock().expect("no thread panics with it")[index] = Some(result);
                }
            });
        }
    });
    results
        .into_inner()
        .expect("no thread panics with it")
        .into_iter()
        .map(|result| result.expect("each was taken by a thread"))
        .collect()
}
