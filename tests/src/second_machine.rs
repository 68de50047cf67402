//! The counterpart of a case on AArch64: the same source, fix and claims, compiled by a cross
//! compiler, with committed objects below the case's `aarch64/`.
//!
//! Every case in C has one, unless it is about a feature that the machine lacks; then
//! `case.json` says so. What reads differently on that machine is translated here: the flags of
//! compilers, and relocation types in claims about payloads. A claim that another code for the
//! same source makes untrue is said anew in `case.json`, under `aarch64`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::case::{self, Case, Expect};

/// The folder inside a case.
pub const FOLDER: &str = "aarch64";

/// What each line gets: what Xen's build for this machine passes, and no more.
const GCC: &str = "aarch64-linux-gnu-gcc";
const CLANG: &str = "clang --target=aarch64-linux-gnu";
const FIXED: &str = "-fno-pic -fno-pie -mgeneral-regs-only -mno-outline-atomics";
/// On at -O2 on x86-64 alone.
const COLD_PARTS: &str = "-freorder-blocks-and-partition";
/// Flags that say something of x86-64 alone, or of addresses, which are [`FIXED`] here.
const LEFT_OUT: [&str; 8] = [
    "-mno-red-zone",
    "-mcmodel=kernel",
    "-fcf-protection=none",
    "-fpic",
    "-fpie",
    "-fno-pic",
    "-fno-pie",
    "-fno-plt",
];
/// Claims of x86-64's listings name relocation types of it.
const TYPE: &str = "R_X86_64_";
/// The type of a pointer, and what it is here.
const WORD: &str = "64";
const WORD_HERE: &str = "R_AARCH64_ABS64";
/// What such a relocation counts from the end of its field, and what it counts here.
const FIELD_END: &str = "-0x4";
const FIELD_START: &str = "+0x0";
/// Digits of a claim about the bytes of an instruction.
const CODE_DIGITS: usize = 10;
/// Sections by the model of addresses, and the alignment of strings.
const SECTIONS: [(&str, &str); 4] = [
    (".data.rel.ro.local", ".rodata"),
    (".data.rel.ro", ".rodata"),
    (".data.rel.local", ".data"),
    (".str1.1", ".str1.8"),
];

/// What `case.json` says of this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Aarch64 {
    /// There is no counterpart.
    Without {
        /// Why.
        without: String,
    },
    /// There is one, of which something else is said.
    Otherwise(Box<Otherwise>),
}

/// What replaces the case's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otherwise {
    /// Why it is not the same on this machine.
    pub why: String,
    /// The compiler and its flags.
    #[serde(default)]
    pub build: Option<String>,
    /// The line for the patched tree.
    #[serde(default)]
    pub patched_build: Option<String>,
    /// What must come out.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// What the objects must show.
    #[serde(default)]
    pub premise: Option<BTreeMap<String, Vec<String>>>,
}

/// The counterpart of a case, or why it has none.
#[derive(Clone, Debug)]
pub enum Counterpart {
    /// The same case on the other machine.
    Case(Box<Case>),
    /// The reason.
    None(String),
}

/// The counterpart of a case.
///
/// # Errors
/// When its sources cannot be read, or `case.json` says why there is none of a case that nobody
/// expects one of.
pub fn of(case: &Case) -> Result<Counterpart> {
    let said = case.description.aarch64.as_ref();
    if holds_assembler(&case.folder)? {
        ensure!(
            said.is_none(),
            "{}: assembler has no counterpart, so nothing is to be said of it",
            case.name
        );
        return Ok(Counterpart::None(
            "its assembler is that of x86-64".to_owned(),
        ));
    }
    let otherwise = match said {
        Some(Aarch64::Without { without }) => return Ok(Counterpart::None(without.clone())),
        Some(Aarch64::Otherwise(otherwise)) => Some(otherwise.as_ref()),
        None => None,
    };
    let mut description = case.description.clone();
    for line in [&mut description.build]
        .into_iter()
        .chain(&mut description.patched_build)
        .chain(description.objects.values_mut())
    {
        *line = translated(line);
    }
    description.matrix.clear();
    let expect = &mut description.expect;
    for claims in [&mut expect.payload, &mut expect.refusals] {
        *claims = claims.iter().filter_map(|one| listed(one)).collect();
    }
    for premise in description.premise.values_mut() {
        *premise = premise.iter().filter_map(|one| listed(one)).collect();
    }
    if let Some(otherwise) = otherwise {
        if let Some(line) = &otherwise.build {
            description.build.clone_from(line);
        }
        if let Some(line) = &otherwise.patched_build {
            description.patched_build = Some(line.clone());
        }
        if let Some(expect) = &otherwise.expect {
            description.expect.clone_from(expect);
        }
        if let Some(premise) = &otherwise.premise {
            description.premise.clone_from(premise);
        }
    }
    Ok(Counterpart::Case(Box::new(Case {
        name: case.name.clone(),
        folder: case.folder.clone(),
        built: case.folder.join(FOLDER),
        description,
    })))
}

/// All cases and their counterparts.
///
/// # Errors
/// When one cannot be read.
pub fn with_counterparts() -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for case in case::all()? {
        if let Counterpart::Case(counterpart) = of(&case)? {
            all.push(*counterpart);
        }
        all.push(case);
    }
    Ok(all)
}

/// Whether a compiler line is one for this machine.
#[must_use]
pub fn compiles_for_it(line: &str) -> bool {
    line.starts_with(GCC) || line.starts_with(CLANG)
}

/// A compiler line of x86-64 for this machine.
fn translated(line: &str) -> String {
    let mut words = line.split_whitespace();
    let (compiler, further) = match words.next() {
        Some("clang") => (CLANG, FIXED.to_owned()),
        _ => (GCC, format!("{COLD_PARTS} {FIXED}")),
    };
    let kept = words.filter(|word| !LEFT_OUT.contains(word));
    let mut line: Vec<&str> = vec![compiler];
    line.extend(kept);
    line.push(&further);
    line.join(" ")
}

/// A claim about a listing, without the type of a relocation; `None` of one that is about nothing
/// else, or about instructions.
fn listed(claim: &str) -> Option<String> {
    let (negation, text) = match claim.strip_prefix('!') {
        Some(text) => ("!", text),
        None => ("", claim),
    };
    let is_code = text.len() >= CODE_DIGITS && text.bytes().all(|one| one.is_ascii_hexdigit());
    let is_data = text.starts_with('0') || text.ends_with("00000000");
    if is_code && !is_data {
        return None;
    }
    let mut text = match text.strip_prefix(TYPE) {
        Some(rest) => match rest.split_once(' ')? {
            (WORD, target) => format!("{WORD_HERE} {target}"),
            (_, target) => format!(" {target}"),
        },
        None => text.to_owned(),
    };
    if let Some(target) = text.strip_suffix(FIELD_END) {
        text = format!("{target}{FIELD_START}");
    }
    for (here, there) in SECTIONS {
        text = text.replace(here, there);
    }
    Some(format!("{negation}{text}"))
}

/// Whether sources or fix of a case hold assembler.
fn holds_assembler(folder: &Path) -> Result<bool> {
    let sources = folder.join("source");
    let mut paths: Vec<_> = case::files(&sources)?
        .iter()
        .map(|file| sources.join(file))
        .collect();
    paths.extend(["fix.patch", "base.patch"].map(|name| folder.join(name)));
    for path in paths.iter().filter(|path| path.exists()) {
        let is_assembler = path
            .extension()
            .is_some_and(|end| ["s", "S"].iter().any(|one| end == *one));
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut words = text.split(|one: char| !(one.is_ascii_alphanumeric() || one == '_'));
        if is_assembler || words.any(|word| word == "asm" || word == "__asm__") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{COLD_PARTS, FIXED, GCC, listed, translated};

    #[test]
    fn lines_and_claims_are_said_in_the_words_of_the_machine() {
        assert_eq!(
            translated("gcc -O2 -fpic -mno-red-zone -g"),
            format!("{GCC} -O2 -g {COLD_PARTS} {FIXED}")
        );
        assert!(translated("clang -O1").starts_with("clang --target=aarch64-linux-gnu -O1"));
        assert_eq!(
            listed("!R_X86_64_PC32 f.c#old-0x4").as_deref(),
            Some("! f.c#old+0x0")
        );
        assert_eq!(listed("R_X86_64_PC32"), None);
        assert_eq!(listed("FUNC g ").as_deref(), Some("FUNC g "));
    }
}
