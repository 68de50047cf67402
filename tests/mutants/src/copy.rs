//! A copy of the workspace with all switches in it, built.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::change::{Change, Changer};
use crate::explained;

const SWITCH: &str = include_str!("switch.rs");
const CALL: &str = "mutant_switch::";
/// Changes that do not compile, as lines of the list of those that are explained.
const EXCLUDED: &str = "excluded.tsv";
/// Each build finds what the one before could not come to; there are never more than a few.
const BUILDS_MAX: usize = 40;

/// The copy.
#[derive(Debug)]
pub struct Copy {
    workspace: PathBuf,
    folder: PathBuf,
    files: Vec<String>,
}

/// A program of tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// The folder in which cargo runs it.
    pub folder: PathBuf,
    /// Package and target, for a person.
    pub name: String,
    /// Where the commands are.
    pub commands: PathBuf,
}

impl Copy {
    /// Copies all files that the version control knows, or would take, into `folder`; those below
    /// the paths of `changed` will have switches, in the order of those paths.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn make(workspace: &Path, folder: &Path, changed: &[String]) -> Result<Copy> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(workspace)
            .output()
            .context("git")?;
        ensure!(listed.status.success(), "git cannot list the files");
        let listed = String::from_utf8(listed.stdout)?;
        let mut files = Vec::new();
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (workspace.join(name), folder.join(name));
            if !from.is_file() {
                continue;
            }
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            let bytes = fs::read(&from).with_context(|| name.to_owned())?;
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                // As it was: cargo need not look again.
            } else {
                fs::copy(&from, &to).with_context(|| name.to_owned())?;
            }
            let is_test = name.ends_with("/tests.rs");
            if !is_test && Path::new(name).extension() == Some(OsStr::new("rs")) {
                let place = changed
                    .iter()
                    .position(|prefix| name.starts_with(prefix.as_str()));
                files.extend(place.map(|place| (place, name.to_owned())));
            }
        }
        ensure!(!files.is_empty(), "nothing begins with {changed:?}");
        files.sort();
        Ok(Copy {
            workspace: workspace.to_owned(),
            folder: folder.to_owned(),
            files: files.into_iter().map(|(_, name)| name).collect(),
        })
    }

    /// Builds tests with every switch that compiles, and says which switches and programs those
    /// are; `tests` is what `cargo test` is told, `commands` whether the tests call the commands of
    /// the workspace.
    ///
    /// # Errors
    /// When the copy does not build for another reason than a change.
    pub fn build(&self, commands: bool, tests: &[String]) -> Result<(Vec<Change>, Vec<Program>)> {
        let mut excluded = self.excluded_before()?;
        for _ in 0..BUILDS_MAX {
            let changes = self.write(&excluded)?;
            let mut found = Vec::new();
            if commands {
                let all = ["build", "--workspace", "--exclude", "xsplice-testkernel"];
                found = errors(&self.cargo(all.into_iter().chain(["--keep-going"]))?);
            }
            let mut programs = Vec::new();
            if found.is_empty() {
                let words = tests.iter().map(String::as_str);
                let told = self.cargo(["test", "--no-run"].into_iter().chain(words))?;
                found = errors(&told);
                // A compiler that was killed says nothing of it.
                ensure!(
                    !found.is_empty() || is_finished(&told),
                    "cargo did not build all tests"
                );
                programs = programs_of(&told)?;
            }
            if found.is_empty() {
                self.note_excluded(&changes, &excluded)?;
                let kept = changes
                    .into_iter()
                    .filter(|change| !excluded.contains(&change.number));
                return Ok((kept.collect(), programs));
            }
            let before = excluded.len();
            for error in &found {
                excluded.extend(self.blamed(error));
            }
            eprintln!("{} changes do not compile", excluded.len());
            if excluded.len() == before {
                bail!("the copy does not build: {}", found[0].text);
            }
        }
        bail!("after {BUILDS_MAX} builds there are still changes that do not compile")
    }

    /// The changes that did not compile in the last run on this copy: each costs a build to find.
    fn excluded_before(&self) -> Result<HashSet<u32>> {
        let path = self.folder.join(EXCLUDED);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(HashSet::new());
        };
        let known: HashSet<&str> = text.lines().collect();
        let none = HashSet::new();
        let mut changer = Changer::new(&none);
        for name in &self.files {
            let text = fs::read_to_string(self.workspace.join(name))?;
            changer.change(name, &text).with_context(|| name.clone())?;
        }
        let changes = changer.into_changes();
        let keys = explained::keys(&changes);
        let is_known = |key| known.contains(explained::line(key).as_str());
        let excluded = changes.iter().zip(&keys).filter(|(_, key)| is_known(key));
        Ok(excluded.map(|(change, _)| change.number).collect())
    }

    fn note_excluded(&self, changes: &[Change], excluded: &HashSet<u32>) -> Result<()> {
        let keys = explained::keys(changes);
        let all = changes.iter().zip(&keys);
        let lines = all
            .filter(|(change, _)| excluded.contains(&change.number))
            .map(|(_, key)| explained::line(key) + "\n");
        Ok(fs::write(
            self.folder.join(EXCLUDED),
            lines.collect::<String>(),
        )?)
    }

    /// Writes the files with switches.
    fn write(&self, excluded: &HashSet<u32>) -> Result<Vec<Change>> {
        let mut changer = Changer::new(excluded);
        let mut crates = HashSet::new();
        for name in &self.files {
            let text = fs::read_to_string(self.workspace.join(name))?;
            let changed = changer.change(name, &text).with_context(|| name.clone())?;
            self.replace(name, &changed)?;
            if let Some((of, _)) = name.split_once("/src/") {
                crates.insert(of.to_owned());
            }
        }
        for of in crates {
            let root = format!("{of}/src/lib.rs");
            let from = match self.files.contains(&root) {
                true => self.folder.join(&root),
                false => self.workspace.join(&root),
            };
            let text = fs::read_to_string(&from)?;
            self.replace(&root, &(text.split(SWITCH).collect::<String>() + SWITCH))?;
        }
        Ok(changer.into_changes())
    }

    /// Writes a file of the copy, unless it holds this already.
    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        fs::write(&path, text).with_context(|| name.to_owned())
    }

    fn cargo<'w>(&self, words: impl Iterator<Item = &'w str>) -> Result<Vec<Value>> {
        let output = Command::new("cargo")
            .args(words)
            .args(["--message-format", "json"])
            .env("RUSTFLAGS", "--cap-lints allow")
            // Every test runs often, and calls the commands.
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            // What a build that was stopped leaves behind would spoil the next.
            .env("CARGO_INCREMENTAL", "0")
            .current_dir(&self.folder)
            .stderr(Stdio::null())
            .output()
            .context("cargo")?;
        let told = String::from_utf8(output.stdout)?;
        ensure!(!told.is_empty(), "cargo does not take these words");
        told.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    /// The changes on the lines of an error, or else on the nearest before them.
    fn blamed(&self, error: &Trouble) -> Vec<u32> {
        let mut blamed = Vec::new();
        for (file, first, last) in &error.places {
            let Ok(text) = fs::read_to_string(self.folder.join(file)) else {
                continue;
            };
            let lines: Vec<&str> = text.lines().collect();
            let within = |first: usize, last: usize| -> Vec<u32> {
                let last = last.min(lines.len());
                lines[first.min(last)..last]
                    .iter()
                    .flat_map(|line| numbers(line))
                    .collect()
            };
            let mut found = within(first.saturating_sub(1), *last);
            let mut wider = 1;
            while found.is_empty() && wider < 30 {
                found = within(first.saturating_sub(1 + wider), *last + wider);
                wider += 1;
            }
            blamed.extend(found);
        }
        blamed
    }
}

/// The numbers of the switches on a line, or the number that is a line of its own in a call.
fn numbers(line: &str) -> Vec<u32> {
    let in_calls = line.split(CALL).skip(1).filter_map(|rest| {
        let (_, behind) = rest.split_once('(')?;
        behind.split("u32").next()
    });
    let alone = line.trim().strip_suffix("u32,");
    let digits = in_calls.chain(alone);
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

/// An error of the compiler.
#[derive(Debug)]
struct Trouble {
    text: String,
    /// Files with first and last line, from 1 on.
    places: Vec<(String, usize, usize)>,
}

fn is_finished(told: &[Value]) -> bool {
    let mut finished = told
        .iter()
        .filter(|line| line["reason"] == "build-finished");
    finished.any(|line| line["success"] == true)
}

fn errors(told: &[Value]) -> Vec<Trouble> {
    let mut found = Vec::new();
    for line in told {
        let message = &line["message"];
        if line["reason"] != "compiler-message" || message["level"] != "error" {
            continue;
        }
        let mut places = Vec::new();
        let spans = message["spans"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for span in spans.iter().filter(|span| span["is_primary"] == true) {
            let number = |key: &str| usize::try_from(span[key].as_u64().unwrap_or(0)).unwrap_or(0);
            let file = span["file_name"].as_str().unwrap_or_default().to_owned();
            places.push((file, number("line_start"), number("line_end")));
        }
        // "aborting due to ..." has no place.
        if !places.is_empty() {
            let text = message["rendered"].as_str().unwrap_or_default().to_owned();
            found.push(Trouble { text, places });
        }
    }
    found
}

/// The folder above the one that a program of tests is in.
fn folder_of_commands(program: &str) -> Result<PathBuf> {
    let folder = Path::new(program).ancestors().nth(2);
    Ok(folder
        .context("a program of tests is below a folder")?
        .to_owned())
}

fn programs_of(told: &[Value]) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in told {
        let (Some(path), true) = (line["executable"].as_str(), line["profile"]["test"] == true)
        else {
            continue;
        };
        let manifest = line["manifest_path"]
            .as_str()
            .context("a package has a manifest")?;
        let folder = Path::new(manifest)
            .parent()
            .context("a manifest is in a folder")?;
        let of = folder.file_name().unwrap_or_default().to_string_lossy();
        let target = line["target"]["name"].as_str().unwrap_or_default();
        programs.push(Program {
            path: PathBuf::from(path),
            folder: folder.to_owned(),
            name: format!("{of}/{target}"),
            commands: folder_of_commands(path)?,
        });
    }
    programs.sort();
    programs.dedup();
    Ok(programs)
}
