//! The golden cases: every folder of `fixtures/cases` through the real commands.
//!
//! Each case is a test of its own name, and each compiler line of its matrix one more. A case
//! checks, in this order: that its objects still show what it is about (the premise); the claim
//! that a person wrote into `case.json`; the committed output; and, of a payload, what every
//! payload must hold. The matrix compiles the same source by another line and checks the claim.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use goblin::elf::Elf;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use xsplice_abi::machine::Machine;
use xsplice_abi::record::offset;
use xsplice_abi::{note, section};
use xsplice_tests::case::{self, BASE, Case, Expect, Side};
use xsplice_tests::compiler;
use xsplice_tests::golden::{self, Page};
use xsplice_tests::identity::judge::against_itself;
use xsplice_tests::listing;
use xsplice_tests::second_machine::{self, Counterpart};
use xsplice_tests::tools::{self, Run};

/// Name of the payload that a run writes.
const PAYLOAD: &str = "out.xsplice";

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for case in case::all()? {
        let pending = case.description.pending.is_some();
        for word in &case.description.matrix {
            for line in case::lines(word)? {
                let case = case.clone();
                let name = format!("{} [{line}]", case.name);
                trials.push(
                    Trial::test(name, move || {
                        in_matrix_or_open(&case, &line).map_err(failed)
                    })
                    .with_kind("matrix")
                    .with_ignored_flag(pending),
                );
            }
        }
        let kind = if pending { "pending" } else { "" };
        if let Counterpart::Case(counterpart) = second_machine::of(&case)? {
            let name = format!("{} (aarch64)", case.name);
            let trial = Trial::test(name, move || committed(&counterpart).map_err(failed));
            trials.push(trial.with_kind(kind).with_ignored_flag(pending));
        }
        let name = case.name.clone();
        let trial = Trial::test(name, move || committed(&case).map_err(failed));
        trials.push(trial.with_kind(kind).with_ignored_flag(pending));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// Lines of compilers with which a case does not come out as claimed yet: clang places the code
/// behind a symbol otherwise. Each leaves the list as soon as it is right.
const OPEN: [(&str, &str); 1] = [(
    "code-behind-the-symbol",
    "clang -O0 -mcmodel=kernel -fno-pic -fno-pie -mno-red-zone -g",
)];

/// A case as it is committed.
fn committed(case: &Case) -> Result<()> {
    premise(case)?;
    let scratch = tempfile::tempdir()?;
    case.lay_out(scratch.path())?;
    let text = run(case, scratch.path(), &[])?;
    let payload = fs::read(scratch.path().join(PAYLOAD)).ok();
    let report = run(case, scratch.path(), &["--json", "-"])?;
    let listed = payload.as_deref().map(listing::listing).transpose()?;
    claim(&case.description.expect, &report, listed.as_deref())?;

    let page = Page {
        command: command(case)?.join(" "),
        status: text
            .status
            .map_or("signal".to_owned(), |status| status.to_string()),
        stdout: text.stdout,
        stderr: text.stderr,
        report: normalised(&report.stdout)?,
        payload: listed,
    };
    golden::compare(&case.built.join(golden::PAGE), &page.render(&case.name)?)?;

    if let Some(payload) = payload {
        well_formed(
            &scratch.path().join(PAYLOAD),
            &payload,
            &scratch.path().join(BASE),
        )?;
        repeatable(case, &payload)?;
        same_in_steps(case, scratch.path(), &payload)?;
    }
    same_as_itself(scratch.path())
}

/// Whatever a case shows, an object that did not change is no functional change.
fn same_as_itself(folder: &Path) -> Result<()> {
    for side in Side::BOTH {
        let tree = folder.join(side.folder());
        let wrong = against_itself(&tree, &case::files(&tree)?, 1)?;
        ensure!(wrong.is_empty(), "{}: {wrong:?}", side.folder());
    }
    Ok(())
}

/// A case compiled by another line, as claimed, or a line of [`OPEN`] that is open still.
fn in_matrix_or_open(case: &Case, line: &str) -> Result<()> {
    let result = in_matrix(case, line);
    if !OPEN.contains(&(case.name.as_str(), line)) {
        return result;
    }
    ensure!(result.is_err(), "this comes out right: take it from OPEN");
    Ok(())
}

/// A case compiled by another line: the claim must hold there too.
fn in_matrix(case: &Case, line: &str) -> Result<()> {
    let compiler = line.split_whitespace().next().unwrap_or_default();
    ensure!(compiler::exists(compiler), "{compiler} is not installed");
    let scratch = tempfile::tempdir()?;
    compiler::build_line(case, scratch.path(), line)?;
    let report = run(case, scratch.path(), &["--json", "-"])?;
    let payload = fs::read(scratch.path().join(PAYLOAD)).ok();
    let listed = payload.as_deref().map(listing::listing).transpose()?;
    claim(&case.description.expect, &report, listed.as_deref())?;
    if let Some(payload) = payload {
        well_formed(
            &scratch.path().join(PAYLOAD),
            &payload,
            &scratch.path().join(BASE),
        )?;
    }
    Ok(())
}

/// Runs the command that the case is for: the whole way when it has a base, else the differ.
fn run(case: &Case, folder: &Path, further: &[&str]) -> Result<Run> {
    let command = command(case)?;
    let words = command.iter().map(String::as_str);
    tools::run(
        &command[0],
        words.skip(1).chain(further.iter().copied()),
        folder,
    )
}

/// The command and its arguments.
fn command(case: &Case) -> Result<Vec<String>> {
    let arguments = case.description.arguments.iter().map(String::as_str);
    if case.description.link.is_some() {
        let fixed = "xsplice-build --orig original --patched patched --base".split(' ');
        let named = [BASE, "-o", PAYLOAD, "-n", &case.name];
        let words = fixed.chain(named).chain(arguments);
        return Ok(words.map(str::to_owned).collect());
    }
    let objects = case::files(&case.built.join(Side::Patched.folder()))?;
    let [object] = objects.as_slice() else {
        bail!("{}: a case without a base has one object", case.name);
    };
    let pair = [format!("original/{object}"), format!("patched/{object}")];
    let pair = pair.iter().map(String::as_str);
    let words = std::iter::once("xsplice-diff").chain(arguments).chain(pair);
    Ok(words.map(str::to_owned).collect())
}

/// The committed objects still hold what the case is about.
fn premise(case: &Case) -> Result<()> {
    for (object, texts) in &case.description.premise {
        let path = case.built.join(object);
        let mut listing = tools::readelf(&path)?;
        if texts.iter().any(|text| text.starts_with(tools::LINE)) {
            listing.push_str(&tools::source_lines(&path)?);
        }
        case::contains(&listing, texts).with_context(|| {
            format!("{object}: the compiler did not emit what the case is about")
        })?;
    }
    Ok(())
}

/// What a person claims about the case.
fn claim(expect: &Expect, run: &Run, payload: Option<&str>) -> Result<()> {
    let told = || format!("exit {:?}\n{}{}", run.status, run.stdout, run.stderr);
    ensure!(
        run.status == Some(expect.status),
        "claimed exit {}: {}",
        expect.status,
        told()
    );
    ensure!(
        payload.is_some() == (expect.status == 0 && payload_expected(run)),
        "a payload is written on exit 0 and never else: {}",
        told()
    );
    let report: Value = serde_json::from_str(&run.stdout)
        .with_context(|| format!("with --json -, stdout is not JSON alone: {}", told()))?;
    let functions = entries(&report, "functions")?;
    let mut by_status: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for function in functions {
        by_status
            .entry(text(function, "status")?)
            .or_default()
            .push(text(function, "name")?);
        ensure!(
            !entries(function, "reasons")?.is_empty(),
            "a function without a reason: {function}"
        );
    }
    for (status, claimed) in [("changed", &expect.changed), ("new", &expect.new)] {
        let Some(claimed) = claimed else { continue };
        let mut found = by_status.remove(status).unwrap_or_default();
        found.sort_unstable();
        ensure!(
            found == *claimed,
            "claimed {status} {claimed:?}, found {found:?}: {}",
            told()
        );
    }
    for (name, kinds) in &expect.reasons {
        let reasons: Vec<&str> = functions
            .iter()
            .filter(|function| function["name"] == name.as_str())
            .flat_map(|function| function["reasons"].as_array().into_iter().flatten())
            .filter_map(|reason| reason["kind"].as_str())
            .collect();
        for kind in kinds {
            ensure!(
                kind.split('|').any(|kind| reasons.contains(&kind)),
                "{name}: no reason {kind} among {reasons:?}"
            );
        }
    }
    for name in &expect.ignored {
        ensure!(
            entries(&report, "ignored")?
                .iter()
                .any(|ignored| ignored["name"] == name.as_str()),
            "{name} is not reported as ignored: {}",
            told()
        );
    }
    for refusal in entries(&report, "refusals")? {
        ensure!(
            text(refusal, "message")?.contains(';'),
            "a message says what would make it right, behind a semicolon: {refusal}"
        );
    }
    let refusals = case::refusals(&report)?;
    if !expect.refusals.is_empty() || expect.status != 2 {
        ensure!(
            refusals == expect.refusals,
            "claimed refusals {:?}, found {refusals:?}: {}",
            expect.refusals,
            told()
        );
    } else {
        ensure!(!refusals.is_empty(), "exit 2 without a refusal: {}", told());
    }
    case::contains(&run.stderr, &expect.says)?;
    if let Some(payload) = payload {
        case::contains(payload, &expect.payload).context("the payload")?;
    }
    Ok(())
}

/// The differ alone writes none.
fn payload_expected(run: &Run) -> bool {
    serde_json::from_str::<Value>(&run.stdout).is_ok_and(|report| !report["payload"].is_null())
}

fn entries<'report>(value: &'report Value, key: &str) -> Result<&'report Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("no list {key:?} in {value}"))
}

fn text<'report>(value: &'report Value, key: &str) -> Result<&'report str> {
    value[key]
        .as_str()
        .with_context(|| format!("no text {key:?} in {value}"))
}

/// The report without what a release changes.
fn normalised(report: &str) -> Result<String> {
    let mut report: Value = serde_json::from_str(report)?;
    if let Some(version) = report.get_mut("version") {
        *version = Value::from("VERSION");
    }
    Ok(format!("{}\n", serde_json::to_string_pretty(&report)?))
}

/// What every payload of a 64-bit record ABI must be, whoever wrote it: `readelf` has nothing to
/// complain of, records are whole and relocated as documented, the notes name the base.
fn well_formed(path: &Path, payload: &[u8], base: &Path) -> Result<()> {
    tools::readelf(path)?;
    let elf = Elf::parse(payload)?;
    let machine = Machine::of(elf.header.e_machine).context("no known machine")?;
    let profile = listing::profile(&elf).context("no section with a profile's prefix")?;
    let funcs = format!("{}{}", profile.prefix, section::FUNCS);
    if let Some(records) = listing::section_bytes(&elf, payload, &funcs) {
        ensure!(!records.is_empty(), "{funcs} is empty");
        ensure!(
            records.len() % profile.record_bytes == 0,
            "{funcs}: {} bytes",
            records.len()
        );
        let relocations = listing::relocations_of(&elf, &funcs);
        for (index, record) in records.chunks(profile.record_bytes).enumerate() {
            let start = index * profile.record_bytes;
            for field in [offset::NAME, offset::NEW_ADDR] {
                let at: Vec<_> = relocations
                    .iter()
                    .filter(|relocation| usize::try_from(relocation.r_offset) == Ok(start + field))
                    .collect();
                ensure!(
                    matches!(at.as_slice(), [one] if one.r_type == machine.word.number),
                    "{funcs}+{:#x}: not one {}",
                    start + field,
                    machine.word.name
                );
            }
            ensure!(
                record[offset::OLD_ADDR..offset::OLD_ADDR + 8] != [0; 8],
                "record {index} has no old address"
            );
        }
        ensure!(
            relocations.len() == 2 * (records.len() / profile.record_bytes),
            "{funcs}: {} relocations",
            relocations.len()
        );
    }
    let base = fs::read(base)?;
    let base_elf = Elf::parse(&base)?;
    let running = listing::section_bytes(&base_elf, &base, section::BUILD_ID)
        .context("the base has no build-id")?;
    let running = note::build_id(running).context("the base's build-id is no note")?;
    for name in [section::DEPENDS, section::XEN_DEPENDS] {
        let name = format!("{}{name}", profile.prefix);
        let Some(note) = listing::section_bytes(&elf, payload, &name) else {
            continue;
        };
        ensure!(
            note::build_id(note) == Some(running),
            "{name} is not the base's build-id"
        );
        ensure!(note.len() == 36, "{name} has {} bytes", note.len());
    }
    ensure!(
        listing::section_bytes(
            &elf,
            payload,
            &format!("{}{}", profile.prefix, section::DEPENDS)
        )
        .is_some(),
        "no note says what the payload depends on"
    );
    Ok(())
}

/// The same bytes for another number of threads, directory, environment and order of the files on
/// disk.
fn repeatable(case: &Case, payload: &[u8]) -> Result<()> {
    for jobs in ["1", "4"] {
        let scratch = tempfile::Builder::new()
            .prefix("another ötherwise")
            .tempdir()?;
        case.lay_out(scratch.path())?;
        let further = ["-j", jobs].map(String::from);
        let arguments: Vec<String> = [
            "--orig",
            "./original",
            "--patched",
            "patched/../patched",
            "--base",
            BASE,
            "-o",
            "elsewhere",
            "-n",
            &case.name,
        ]
        .into_iter()
        .map(String::from)
        .chain(case.description.arguments.iter().cloned())
        .chain(further)
        .collect();
        let run = tools::run_with("xsplice-build", &arguments, scratch.path(), |process| {
            process
                .env("TZ", "Pacific/Chatham")
                .env("LANG", "tr_TR.UTF-8")
                .env("USER", "another")
                .env("SOURCE_DATE_EPOCH", "1");
        })?;
        ensure!(run.status == Some(0), "-j {jobs}: {run:?}");
        ensure!(
            fs::read(scratch.path().join("elsewhere"))? == payload,
            "-j {jobs} in another folder writes other bytes"
        );
    }
    Ok(())
}

/// The two commands one after the other write what the driver writes in one process; this also
/// shows that an extract loses nothing on its way through a file.
fn same_in_steps(case: &Case, folder: &Path, payload: &[u8]) -> Result<()> {
    let driver_alone = |argument: &String| {
        argument.starts_with("--ignore-object") || argument.starts_with("--max-")
    };
    let needs_tree = case.description.needs_tree.is_some();
    if needs_tree || case.description.arguments.iter().any(driver_alone) {
        return Ok(());
    }
    let mut extracts = Vec::new();
    let originals = case::files(&folder.join(Side::Original.folder()))?;
    for object in case::files(&folder.join(Side::Patched.folder()))? {
        if !originals.contains(&object) {
            return Ok(());
        }
        let extract = format!("{}.extract", object.replace('/', "_"));
        let mut arguments = case.description.arguments.clone();
        arguments.extend(["-o".to_owned(), extract.clone()]);
        arguments.extend(["original", "patched"].map(|side| format!("{side}/{object}")));
        let run = tools::run("xsplice-diff", &arguments, folder)?;
        match run.status {
            Some(0) => {
                tools::readelf(&folder.join(&extract)).context("the extract")?;
                extracts.push(extract);
            }
            Some(3) => ensure!(
                !folder.join(&extract).exists(),
                "an extract without a change"
            ),
            _ => bail!("{object}: the differ alone says {run:?}"),
        }
    }
    let mut arguments: Vec<&str> = vec!["link", "--base", BASE, "-o", "stepwise", "-n", &case.name];
    arguments.extend(extracts.iter().map(String::as_str));
    let run = tools::run("xsplice-link", &arguments, folder)?;
    ensure!(run.status == Some(0), "the linker alone says {run:?}");
    let stepwise = fs::read(folder.join("stepwise"))?;
    if stepwise != payload {
        let (ours, theirs) = (listing::listing(payload)?, listing::listing(&stepwise)?);
        let diff = similar::TextDiff::from_lines(&ours, &theirs);
        bail!(
            "the two commands write other bytes than the driver:\n{}",
            diff.unified_diff()
        );
    }
    Ok(())
}
