//! Changes one number in each function of a built Xen in turn, and counts what is refused, by code.
//!
//! A change of source shows few of the ways in which functions can be entangled with what stands
//! around them. Here every function has its turn: one immediate of one instruction of its object is
//! another, nothing else, and the object is compared, linked against the image and verified. What
//! cannot be patched even so, nobody can patch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use xsplice_abi::profile;
use xsplice_diff::machine::{self, FieldPlace, Instruction};
use xsplice_diff::read::object::{ElfObject, SectionId, Symbol, SymbolPlace};
use xsplice_diff::read::section_class::is_of_boot;
use xsplice_diff::{Options, diff_objects};
use xsplice_link::base::{Lookup, QualifiedName};
use xsplice_link::verify::{self, Against, NamedFile};
use xsplice_link::{Base, LinkError, LinkOptions, link};

/// More refused functions than this share of all are a failure.
const REFUSED_PERCENT_MAX: usize = 2;
/// What `ld -r` makes of other objects, in Xen's build.
const MERGED: [&str; 3] = ["prelink", "built_in", "built-in"];

/// Changes one number in each function of a built Xen in turn, and counts what is refused.
#[derive(Debug, Parser)]
#[command(name = "xen-each", max_term_width = 100)]
pub struct Arguments {
    /// A finished build tree with its xen-syms
    #[arg(default_value = "out/xen/trees/original", value_name = "DIR")]
    pub tree: PathBuf,

    /// Only objects whose path holds this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// What became of a function's change.
#[derive(Debug, Default)]
struct Counts {
    /// Functions that have no number to change.
    unchangeable: usize,
    patched: usize,
    /// By code, with what was said of each.
    refused: BTreeMap<String, Vec<String>>,
    /// Answers that are wrong.
    wrong: Vec<String>,
}

impl Counts {
    fn refusals(&self) -> usize {
        self.refused.values().map(Vec::len).sum()
    }

    fn all(&self) -> usize {
        self.patched + self.refusals() + self.wrong.len()
    }
}

/// Runs it; `Ok(true)` when no answer is wrong and few functions are refused.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let image = arguments.tree.join("xen-syms");
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    let base = Base::parse(&image.display().to_string(), &bytes)?;
    let mut objects = Vec::new();
    find(&arguments.tree, &mut objects)?;
    objects.sort();
    let (mut running, mut boot) = (Counts::default(), Counts::default());
    let mut unsized_code = 0;
    for path in objects {
        let name = path
            .strip_prefix(&arguments.tree)
            .unwrap_or(&path)
            .display()
            .to_string();
        let is_wanted = arguments
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only));
        if is_wanted {
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            unsized_code += each(&name, &bytes, &base, &mut running, &mut boot);
        }
    }
    print!("{}", shown("functions", &running));
    // Each of these is refused for the same reason, so only what is said beside it is news.
    boot.refused.retain(|code, _| code != "changed-init");
    print!(
        "{}",
        shown(
            "other answers about functions that run at boot alone",
            &boot
        )
    );
    println!("{unsized_code} assembler symbols without a size were not tried");
    ensure!(running.all() > 0, "no function was found");
    let is_rare = running.refusals() * 100 < running.all() * REFUSED_PERCENT_MAX;
    Ok(is_rare && running.wrong.is_empty() && boot.wrong.is_empty())
}

fn find(folder: &Path, objects: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry.context("cannot list a folder")?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            find(&path, objects)?;
        } else if path.extension().is_some_and(|end| end == "o") {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !MERGED.iter().any(|merged| name.starts_with(merged)) {
                objects.push(path);
            }
        }
    }
    Ok(())
}

/// Tries each function of one object that the image holds. Returns how many symbols of code have no
/// size.
fn each(
    name: &str,
    original: &[u8],
    base: &Base<'_>,
    running: &mut Counts,
    boot: &mut Counts,
) -> usize {
    // What is no object of this machine is not linked into the image.
    let Ok(object) = ElfObject::parse(name, original) else {
        return 0;
    };
    let mut unsized_code = 0;
    let mut seen = BTreeSet::new();
    for symbol in &object.symbols {
        let SymbolPlace::Section(id) = symbol.place else {
            continue;
        };
        let section = object.section(id);
        let is_code = section.is_executable() && section.is_allocated();
        let is_named = !symbol.is_section() && !symbol.name.is_empty();
        if !is_code || !is_named || !is_linked(symbol, base) || !seen.insert((id, symbol.value)) {
            continue;
        }
        if symbol.size == 0 {
            unsized_code += 1;
            continue;
        }
        let counts = match is_of_boot(section.name) {
            true => &mut *boot,
            false => &mut *running,
        };
        let Some(patched) = another_number(&object, id, symbol, original) else {
            counts.unchangeable += 1;
            continue;
        };
        let place = format!("{name}: {}", symbol.name);
        match answer(name, symbol.name, original, &patched, base) {
            Ok(()) => counts.patched += 1,
            Err(Failure::Wrong(what)) => counts.wrong.push(format!("{place}: {what}")),
            Err(Failure::Refused { code, message }) => {
                let said = counts.refused.entry(code).or_default();
                said.push(format!("{place}: {message}"));
            }
        }
    }
    unsized_code
}

/// Whether the image has the function, by its name, file and size: of two definitions in a library
/// the linker takes one.
fn is_linked(symbol: &Symbol<'_>, base: &Base<'_>) -> bool {
    let name = QualifiedName {
        file: symbol.file.filter(|_| symbol.is_local()),
        name: symbol.name,
    };
    match base.lookup(name) {
        Lookup::Found(found) => found.size_bytes == symbol.size,
        Lookup::Ambiguous(_) => true,
        Lookup::Absent => false,
    }
}

/// The object with another number in one instruction of a function.
fn another_number(
    object: &ElfObject<'_>,
    id: SectionId,
    function: &Symbol<'_>,
    original: &[u8],
) -> Option<Vec<u8>> {
    let section = object.section(id);
    let at = |offset: u64| usize::try_from(offset).ok();
    let range = at(function.value)?..at(function.value + function.size)?;
    let bytes = section.data.get(range)?;
    let relocations = object.relocations_of(id).iter();
    let relocated: BTreeSet<u64> = relocations.map(|one| one.offset).collect();
    let fields = |of: fn(&Instruction<'_>) -> Option<FieldPlace>| {
        machine::walk(object.machine, bytes, function.value)
            .filter(|one| one.is_valid && one.lead.is_none() && one.filler.is_none())
            .filter_map(move |one| of(&one))
            .find(|field| !relocated.contains(&field.offset))
    };
    // Without a number of its own: the offset of a member.
    let field = fields(|one| one.immediate).or_else(|| fields(|one| one.displacement))?;
    let start = section.data.as_ptr().addr() - original.as_ptr().addr();
    let mut patched = original.to_vec();
    *patched.get_mut(start + at(field.offset)?)? ^= 1;
    Some(patched)
}

/// Why a change is in no payload.
enum Failure {
    /// The first of the refusals.
    Refused { code: String, message: String },
    /// Something else than a refusal.
    Wrong(String),
}

/// Compares, links and verifies.
fn answer(
    object: &str,
    function: &str,
    original: &[u8],
    patched: &[u8],
    base: &Base<'_>,
) -> Result<(), Failure> {
    let options = Options {
        abi: &profile::LIVEPATCH,
        ..Options::default()
    };
    let wrong = |what: &dyn std::fmt::Display| Failure::Wrong(what.to_string());
    let diff = diff_objects(object, original, patched, &options).map_err(|error| wrong(&error))?;
    if let Some(refusal) = diff.refusals.first() {
        return Err(refused(&refusal.code, refusal.message()));
    }
    let root = function.split(".cold").next().unwrap_or(function);
    let is_it = |name: &str| name == function || name == root;
    let names: Vec<&str> = diff.functions.iter().map(|one| one.name.as_str()).collect();
    if !names.iter().any(|name| is_it(name)) {
        return Err(Failure::Wrong(format!("{names:?} are replaced")));
    }
    let Some(extract) = &diff.extract else {
        return Err(Failure::Wrong("nothing is extracted".to_owned()));
    };
    let options = LinkOptions::new("each", &profile::LIVEPATCH);
    let payload = match link(base, std::slice::from_ref(extract), &options) {
        Ok(payload) => payload,
        Err(LinkError::Refused(refusals)) => {
            return Err(match refusals.0.first() {
                Some(refusal) => refused(&refusal.code, refusal.message()),
                None => Failure::Wrong("refused for no reason".to_owned()),
            });
        }
        Err(error) => return Err(wrong(&error)),
    };
    let file = NamedFile {
        path: "each.livepatch",
        bytes: &payload.bytes,
    };
    let against = Against {
        base,
        stack: &[],
        deny: &[],
        signer: None,
    };
    let verified = verify::verify(file, against).map_err(|error| wrong(&error))?;
    match verified.failures().next() {
        None => Ok(()),
        Some(check) => Err(Failure::Wrong(format!("verify: {}", check.message))),
    }
}

fn refused(code: &impl serde::Serialize, message: String) -> Failure {
    let value = serde_json::to_value(code).unwrap_or_default();
    Failure::Refused {
        code: value.as_str().unwrap_or("?").to_owned(),
        message,
    }
}

/// The counts and what was said, as text.
fn shown(what: &str, counts: &Counts) -> String {
    let mut text = String::new();
    let all = counts.all();
    let refused = counts.refusals();
    // Per mille, in whole numbers.
    let share = (refused * 1000).checked_div(all).unwrap_or(0);
    let _ = writeln!(
        text,
        "{all} {what}: {} patched, {refused} refused ({}.{} %), {} wrong; {} more have no number",
        counts.patched,
        share / 10,
        share % 10,
        counts.wrong.len(),
        counts.unchangeable
    );
    for (code, said) in &counts.refused {
        let _ = writeln!(text, "  {code}: {}", said.len());
        for one in said {
            let _ = writeln!(text, "    {one}");
        }
    }
    for one in &counts.wrong {
        let _ = writeln!(text, "  wrong: {one}");
    }
    text
}
