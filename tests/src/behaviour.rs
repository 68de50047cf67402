//! One program in two versions, and what its functions answer: the patched build must answer as
//! the original does once the payload is applied. Each folder of `fixtures/behaviour` is one.
//!
//! A folder holds `original/` and `patched/` with sources, or a `make.sh` that makes both trees,
//! `base` and `reference`; `behaviour.json` says how they are compiled and linked and what is
//! called. Nothing that the tools print is compared: only what the code does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::case::{self, BASE};
use crate::host_platform::HostPlatform;
use crate::live::Image;
use crate::operator::{Act, act, upload};
use crate::{compiler, tools, workspace};

/// Image linked from the patched tree.
const REFERENCE: &str = "reference";
const LINK_SCRIPT: &str = "link.ld";
const MAKE_SCRIPT: &str = "make.sh";
const TEXT_AT: &str = "0x10000000";

/// A function's name and its two arguments.
pub type Call = (String, i64, i64);

/// `behaviour.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// What is claimed, one sentence.
    pub claim: String,
    /// The compiler line; empty where `make.sh` compiles.
    #[serde(default)]
    pub compile: String,
    /// Lines of files that are compiled in another way.
    #[serde(default)]
    pub compile_files: BTreeMap<String, String>,
    /// The linker.
    #[serde(default = "default_linker")]
    pub linker: String,
    /// Further words for it.
    #[serde(default)]
    pub link: String,
    /// Further arguments of `xsplice-build`.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Called before the payload is applied, so that there is state.
    #[serde(default)]
    pub before: Vec<Call>,
    /// Called with the payload applied, in this order.
    pub calls: Vec<Call>,
    /// What must come out, as [`Outcome`] is printed; without it, anything that is not wrong.
    #[serde(default)]
    pub outcome: Option<String>,
    /// Whether a refusal is the right answer. Otherwise it is one that is safe, and nothing more.
    #[serde(default)]
    pub refusal_is_right: bool,
}

fn default_linker() -> String {
    "ld".to_owned()
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A payload, and each call is answered as in the patched build.
    Right,
    /// No payload because nothing changed, and the two builds answer alike.
    Unchanged,
    /// Refused, for these reasons.
    Refused(Vec<String>),
    /// A payload, and a call is answered in another way.
    WrongPayload(String),
    /// No payload because nothing changed, and a call is answered in another way.
    SilentMiss(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Right => out.write_str("right"),
            Outcome::Unchanged => out.write_str("unchanged"),
            Outcome::Refused(codes) => write!(out, "refused: {}", codes.join(", ")),
            Outcome::WrongPayload(what) => write!(out, "WRONG PAYLOAD: {what}"),
            Outcome::SilentMiss(what) => write!(out, "SILENT MISS: {what}"),
        }
    }
}

/// Every folder of `fixtures/behaviour`, by name.
///
/// # Errors
/// When they cannot be listed.
pub fn all() -> Result<Vec<PathBuf>> {
    let folder = workspace().join("fixtures/behaviour");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.join("behaviour.json").exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

impl Behaviour {
    /// Reads the description in `folder`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(folder: &Path) -> Result<Behaviour> {
        let path = folder.join("behaviour.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Builds both versions, makes the payload and asks.
    ///
    /// Wrong code may end the process: run it in one of its own.
    ///
    /// # Errors
    /// When something cannot be built or run.
    pub fn judge(&self, folder: &Path, further: &[String]) -> Result<Outcome> {
        let folder = &fs::canonicalize(folder)?;
        let scratch = tempfile::tempdir()?;
        let at = scratch.path();
        self.build(folder, at)?;
        let base = Image::read(&at.join(BASE))?;
        let wanted = self.wanted(&at.join(REFERENCE))?;
        let given = self.arguments.iter().chain(further).map(String::as_str);
        let run =
            tools::build_payload(at, "out.xsplice", ["--json", "-"].into_iter().chain(given))?;
        match run.status {
            Some(0) => {
                let payload = fs::read(at.join("out.xsplice"))?;
                let runtime = base.boot()?;
                answers(runtime.platform(), &base, &self.before)?;
                let log = || runtime.platform().log_lines();
                upload(&runtime, "fix", &payload)
                    .map_err(|rc| anyhow::anyhow!("upload: {rc}: {:?}", log()))?;
                act(&runtime, "fix", Act::Apply)
                    .map_err(|rc| anyhow::anyhow!("apply: {rc}: {:?}", log()))?;
                let found = answers(runtime.platform(), &base, &self.calls)?;
                Ok(difference(&self.calls, &found, wanted.as_deref())
                    .map_or(Outcome::Right, Outcome::WrongPayload))
            }
            Some(3) => {
                let platform = base.map()?;
                answers(&platform, &base, &self.before)?;
                let found = answers(&platform, &base, &self.calls)?;
                Ok(difference(&self.calls, &found, wanted.as_deref())
                    .map_or(Outcome::Unchanged, Outcome::SilentMiss))
            }
            Some(2) => {
                let report: serde_json::Value = serde_json::from_str(&run.stdout)?;
                let refusals = report["refusals"].as_array();
                let refusals = refusals.context("a refusal has reasons")?.iter();
                let mut codes: Vec<String> = refusals
                    .filter_map(|refusal| refusal["code"].as_str().map(str::to_owned))
                    .collect();
                codes.sort();
                codes.dedup();
                ensure!(
                    !codes.is_empty(),
                    "a refusal without a reason: {}",
                    run.stdout
                );
                Ok(Outcome::Refused(codes))
            }
            _ => bail!("{run:?}"),
        }
    }

    /// What the patched build answers; `None` when it does not link, so that nothing is right but
    /// a refusal.
    fn wanted(&self, image: &Path) -> Result<Option<Vec<i64>>> {
        if !image.exists() {
            return Ok(None);
        }
        let reference = Image::read(image)?;
        let platform = reference.map()?;
        answers(&platform, &reference, &self.before)?;
        Ok(Some(answers(&platform, &reference, &self.calls)?))
    }

    /// Makes `original/`, `patched/`, the base and the reference below `at`.
    fn build(&self, folder: &Path, at: &Path) -> Result<()> {
        let script = folder.join(MAKE_SCRIPT);
        if script.exists() {
            let mut shell = Command::new("sh");
            let made = shell.arg("-e").arg(&script).current_dir(at).output()?;
            ensure!(
                made.status.success(),
                "{MAKE_SCRIPT}: {}",
                String::from_utf8_lossy(&made.stderr)
            );
            return Ok(());
        }
        for (tree, image) in [("original", BASE), ("patched", REFERENCE)] {
            // Both builds name their sources alike.
            let source = at.join("source");
            if source.exists() {
                fs::remove_dir_all(&source)?;
            }
            case::copy_tree(&folder.join(tree), &source)?;
            for name in case::files(&source)? {
                let Some((stem, "c" | "S" | "s")) = name.rsplit_once('.') else {
                    continue;
                };
                let object = at.join(tree).join(format!("{stem}.o"));
                fs::create_dir_all(object.parent().context("an object lies in a folder")?)?;
                let line = self.compile_files.get(&name).unwrap_or(&self.compile);
                compiler::compile(&source, &name, &object, line)?;
            }
            let linked = self.link(folder, &at.join(tree), &at.join(image));
            if image == BASE {
                linked?;
            }
        }
        for name in ["fix.patch"] {
            if folder.join(name).exists() {
                fs::copy(folder.join(name), at.join(name))?;
            }
        }
        Ok(())
    }

    fn link(&self, folder: &Path, tree: &Path, image: &Path) -> Result<()> {
        let mut linker = Command::new(&self.linker);
        linker.args(["-static", "-nostdlib", "--build-id=sha1", "-e", "0"]);
        let text = if self.linker.contains("lld") {
            "--image-base"
        } else {
            "-Ttext-segment"
        };
        linker.arg(format!("{text}={TEXT_AT}"));
        linker.args(["-z", "noexecstack"]);
        let script = folder.join(LINK_SCRIPT);
        if script.exists() {
            linker.arg("-T").arg(script);
        }
        let linked = linker
            .args(self.link.split_whitespace())
            .arg("-o")
            .arg(image)
            .args(case::files(tree)?)
            .current_dir(tree)
            .output()
            .with_context(|| self.linker.clone())?;
        ensure!(
            linked.status.success(),
            "{}: {}",
            self.linker,
            String::from_utf8_lossy(&linked.stderr)
        );
        Ok(())
    }
}

/// What each call answers, one after the other.
fn answers(platform: &HostPlatform, image: &Image, calls: &[Call]) -> Result<Vec<i64>> {
    calls
        .iter()
        .map(|(name, first, second)| {
            let address = image.address(name)?;
            // SAFETY: the functions take two integers, return one, and touch nothing but their
            // own data; this thread alone patches. Wrong code ends this process and no other.
            Ok(unsafe { platform.call(address, *first, *second) })
        })
        .collect()
}

fn difference(calls: &[Call], found: &[i64], wanted: Option<&[i64]>) -> Option<String> {
    let Some(wanted) = wanted else {
        return Some("the patched tree does not link".to_owned());
    };
    calls
        .iter()
        .zip(found)
        .zip(wanted)
        .find(|((_, found), wanted)| found != wanted)
        .map(|(((name, first, second), found), wanted)| {
            format!("{name}({first}, {second}) is {found:#x}, in the patched build {wanted:#x}")
        })
}
