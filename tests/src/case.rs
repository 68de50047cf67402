//! The cases of `fixtures/cases`: one folder holds the source, the fix, both builds' objects, the
//! linked base and what the tools must say about them.
//!
//! `case.json` holds what a person claims and no command rewrites; `run.md` holds the tools' whole
//! output, and `XSPLICE_BLESS=1` rewrites that alone. A wrong answer can
//! therefore not be blessed away: the claim would still fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::second_machine::Aarch64;

/// What `case.json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What the case shows, as a sentence.
    pub claim: String,
    /// Numbers of the rules of `docs/rules.md` that the case holds.
    pub rules: Vec<String>,
    /// The compiler and its flags, as on a command line.
    pub build: String,
    /// Objects that are compiled by another line, by path.
    #[serde(default)]
    pub objects: BTreeMap<String, String>,
    /// The line for the patched tree, where it is not the same.
    #[serde(default)]
    pub patched_build: Option<String>,
    /// Whether FILE symbols carry the directory, as Xen's build makes them.
    #[serde(default)]
    pub file_symbols: FileSymbols,
    /// The case for which the opposite comes out, or something else: every case has one, or is
    /// one, and a case that shows that something is refused, or is no change, has one of its own.
    #[serde(default)]
    pub twin: Option<String>,
    /// Flags of the linker that makes the base; absent when the case ends at the differ.
    #[serde(default)]
    pub link: Option<String>,
    /// Why the claim does not hold yet; the tests of such a case are ignored unless asked for.
    #[serde(default)]
    pub pending: Option<String>,
    /// Why one object by itself tells less than the tree; then the commands are not run one by one.
    #[serde(default)]
    pub needs_tree: Option<String>,
    /// Further arguments of the command.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// What must come out.
    pub expect: Expect,
    /// Text that `readelf -aW` prints for a committed object (blanks squeezed), by the object's
    /// path inside the case; with `!` in front, text that it must not print; `line: FILE LINE` is
    /// text of its line table.
    pub premise: BTreeMap<String, Vec<String>>,
    /// Other compiler lines for which the same must come out, apart from the premise: whole
    /// lines, or the name of a set of them, and flags that each gets besides (see [`lines`]).
    #[serde(default)]
    pub matrix: Vec<String>,
    /// What is not the same on AArch64, or why the case has no counterpart there.
    #[serde(default)]
    pub aarch64: Option<Aarch64>,
}

/// The compiler lines that an entry of a matrix stands for: itself, or those of the set that its
/// first word names, each with the flags behind it.
///
/// # Errors
/// When a set has no such name.
pub fn lines(entry: &str) -> Result<Vec<String>> {
    const SECTIONS: &str = "-ffunction-sections -fdata-sections";
    const PIC: &str = "-fpic -fvisibility=hidden -mno-red-zone";
    const KERNEL: &str = "-mcmodel=kernel -fno-pic -fno-pie -mno-red-zone";
    let Some(set) = entry.strip_prefix('@') else {
        return Ok(vec![entry.to_owned()]);
    };
    let (set, flags) = set.split_once(' ').unwrap_or((set, ""));
    let mut lines = Vec::new();
    for compiler in ["gcc", "clang"] {
        let optimised = [
            format!("{compiler} -O2 {PIC} {SECTIONS} -fcf-protection=full"),
            format!("{compiler} -O1 {KERNEL} {SECTIONS} -fcf-protection=none"),
            format!("{compiler} -O3 {KERNEL} -g"),
            format!("{compiler} -Os {PIC} {SECTIONS} -g -fno-jump-tables"),
        ];
        let plain = [
            format!("{compiler} -O0 {PIC} {SECTIONS}"),
            format!("{compiler} -O0 {KERNEL} -g"),
        ];
        let debug = [
            format!("{compiler} -O0 {PIC} {SECTIONS} -g"),
            format!("{compiler} -O2 {PIC} {SECTIONS} -g"),
            format!("{compiler} -O2 {KERNEL} -gdwarf-4"),
        ];
        // Another level, another model of addresses, another compiler: few lines that differ much.
        let spread = match compiler {
            "gcc" => [&optimised[1], &optimised[3]],
            _ => [&optimised[0], &plain[1]],
        };
        match set {
            "any" => lines.extend(optimised.into_iter().chain(plain)),
            "spread" => lines.extend(spread.into_iter().cloned()),
            "optimised" => lines.extend(optimised),
            "debug" => lines.extend(debug),
            _ => bail!("{entry}: no such set of compiler lines"),
        }
    }
    if !flags.is_empty() {
        for line in &mut lines {
            line.push(' ');
            line.push_str(flags);
        }
    }
    Ok(lines)
}

/// What names FILE symbols get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSymbols {
    /// The file's own name, as compilers write it.
    #[default]
    Bare,
    /// The path inside the tree, as Xen's build writes it with objcopy.
    WithDirectories,
}

/// The claim in a form that can be checked. What is absent is not claimed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Exit status.
    pub status: i32,
    /// All functions with status `changed`, sorted.
    #[serde(default)]
    pub changed: Option<Vec<String>>,
    /// All functions with status `new`, sorted.
    #[serde(default)]
    pub new: Option<Vec<String>>,
    /// Functions and the kinds of reasons that must be among theirs; `A|B` is one of the two, for
    /// what compilers do differently.
    #[serde(default)]
    pub reasons: BTreeMap<String, Vec<String>>,
    /// Names that must be reported as ignored.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// All refusals as `code symbol` (`code section` without a symbol), sorted.
    #[serde(default)]
    pub refusals: Vec<String>,
    /// Text that the payload's listing must contain, or, with `!` in front, must not.
    #[serde(default)]
    pub payload: Vec<String>,
    /// Text that standard error must contain, or, with `!` in front, must not.
    #[serde(default)]
    pub says: Vec<String>,
    /// ABIs for which something else comes out than for the default one: their refusals, in the
    /// form of `refusals`, or none and the payload that `payload` is about.
    #[serde(default)]
    pub abis: BTreeMap<String, Vec<String>>,
}

/// A folder of `fixtures/cases`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder with its sources.
    pub folder: PathBuf,
    /// The folder with its objects, its base and its page.
    pub built: PathBuf,
    /// Its `case.json`.
    pub description: Description,
}

/// Which of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The build that was shipped.
    Original,
    /// The build with the fix.
    Patched,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Original, Side::Patched];

    /// Name of the folder that holds this build's objects.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Side::Original => "original",
            Side::Patched => "patched",
        }
    }
}

/// Name of the linked base inside a case.
pub const BASE: &str = "base";

/// Functions that may not be patched, for the cases that name the list in their arguments.
const DENY_LIST: &str = "deny.list";

impl Case {
    /// Reads one case.
    ///
    /// # Errors
    /// When `case.json` is missing or not as described here.
    pub fn read(folder: &Path) -> Result<Case> {
        let path = folder.join("case.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("{}: not read", path.display()))?;
        let description = serde_json::from_str(&text)
            .with_context(|| format!("{}: not a case", path.display()))?;
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .with_context(|| format!("{}: not a case's name", folder.display()))?;
        Ok(Case {
            name: name.to_owned(),
            folder: folder.to_path_buf(),
            built: folder.to_path_buf(),
            description,
        })
    }

    /// The compiler line for the object at `object` of `side`.
    #[must_use]
    pub fn line(&self, side: Side, object: &str) -> &str {
        if let Some(line) = self.description.objects.get(object) {
            return line;
        }
        match (side, &self.description.patched_build) {
            (Side::Patched, Some(line)) => line,
            _ => &self.description.build,
        }
    }

    /// Copies the committed objects and the base to `target`, as a user would have them.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn lay_out(&self, target: &Path) -> Result<()> {
        for side in Side::BOTH {
            copy_tree(&self.built.join(side.folder()), &target.join(side.folder()))?;
        }
        if self.description.link.is_some() {
            fs::copy(self.built.join(BASE), target.join(BASE))
                .with_context(|| format!("{}: no base; run refresh-cases", self.name))?;
        }
        let denied = self.folder.join(DENY_LIST);
        if denied.exists() {
            fs::copy(&denied, target.join(DENY_LIST))
                .with_context(|| format!("{}: not copied", denied.display()))?;
        }
        Ok(())
    }
}

/// Whether `text` holds what is wanted of it; with `!` in front, what it must not hold.
///
/// # Errors
/// When it does not.
pub fn contains(text: &str, wanted: &[String]) -> Result<()> {
    for wanted in wanted {
        match wanted.strip_prefix('!') {
            Some(unwanted) => ensure!(!text.contains(unwanted), "holds {unwanted:?}\n{text}"),
            None => ensure!(
                text.contains(wanted.as_str()),
                "does not hold {wanted:?}\n{text}"
            ),
        }
    }
    Ok(())
}

/// The refusals of a report as `code symbol` (`code section` without a symbol), sorted.
///
/// # Errors
/// When the report has no list of them, or one without a code.
pub fn refusals(report: &Value) -> Result<Vec<String>> {
    let list = report["refusals"].as_array();
    let mut refusals = Vec::new();
    for refusal in list.with_context(|| format!("no refusals in {report}"))? {
        let code = refusal["code"].as_str();
        let place = refusal["symbol"].as_str().or(refusal["section"].as_str());
        refusals.push(format!(
            "{} {}",
            code.with_context(|| format!("no code in {refusal}"))?,
            place.unwrap_or("-")
        ));
    }
    refusals.sort();
    Ok(refusals)
}

/// All cases, by name.
///
/// # Errors
/// When a folder is no case, or when there is none.
pub fn all() -> Result<Vec<Case>> {
    let root = crate::workspace().join("fixtures/cases");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&root).with_context(|| format!("{}: not read", root.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            cases.push(Case::read(&path)?);
        }
    }
    ensure!(!cases.is_empty(), "{}: holds no case", root.display());
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(cases)
}

/// Copies the files below `from` to `to`.
///
/// # Errors
/// When one cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{}: not made", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{}: not read", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("{}: not copied", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Paths of the files below `root`, relative to it, sorted, with `/` between folders.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(root: &Path) -> Result<Vec<String>> {
    fn walk(root: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
        for entry in fs::read_dir(root).with_context(|| format!("{}: not read", root.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .with_context(|| format!("{}: not a plain name", entry.path().display()))?;
            if entry.file_type()?.is_dir() {
                walk(&entry.path(), &format!("{prefix}{name}/"), found)?;
            } else {
                found.push(format!("{prefix}{name}"));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    found.sort();
    Ok(found)
}
