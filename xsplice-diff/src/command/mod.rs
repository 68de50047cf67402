//! The command `xsplice-diff`: reads two objects, prints what differs, writes the extract.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser};
use xsplice_abi::Profile;
use xsplice_abi::profile::{self, Abi};
use xsplice_console::json;
use xsplice_console::output::{self, Given, check_writable, is_standard_output, write_file};
use xsplice_console::process::{answer_failure, answer_usage};
use xsplice_console::terminal::complain;
use xsplice_console::{ExitStatus, MappedFile};

use crate::diff_objects;
use crate::html::{self, Callers, Findings, RefusalText};
use crate::layouts;
use crate::options::{Options, Stamps};
use crate::read::error::Side;
use crate::report::build_stamps::build_stamps;
use crate::report::object_diff::{ObjectDiff, Verdict, layout_summary};
use crate::report::ripple::ripple;
use crate::report::written::write_diff;
use crate::tell::explain;
use crate::tell::referrers::Sought;
use crate::tell::text::{self, Detail};
use report::{ObjectReport, Pair};

/// The author of the JSON documents.
const TOOL: json::Tool = json::Tool::new("xsplice-diff");

/// Errors of the command.
const NO_OUTPUT: &str = "the result cannot be printed";

/// Compares two builds of one object, and extracts what changed.
///
/// Each function that differs is named with the reasons for it. With -o, what changed is written
/// as an ELF file for `xsplice-link link`: the new code and all that it needs, and the original
/// code, to be found again in the image that runs. `xsplice-build` does this for whole trees.
#[derive(Debug, Parser)]
#[command(name = "xsplice-diff", version, max_term_width = 100)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
struct Arguments {
    /// Which loader the payload is for that the extract goes into
    ///
    /// xsplice: the bundled runtime. xsplice-v1: the design as merged into Xen in 2016. livepatch:
    /// Xen 4.14 to today.
    #[arg(long, value_name = "ABI", default_value = profile::XSPLICE.name, value_parser = abi())]
    abi: Abi,
    /// Accept what would be refused: WHAT:NAME, such as `data:limit`, or `line-numbers`
    ///
    /// Say it of what you have dealt with: by a hook, a shadow variable, or because it was done
    /// when the system booted. It is recorded in the extract. Each refusal says the words that
    /// accept it.
    #[arg(long, value_name = "WHAT", value_parser = crate::verdict::accept::accept_value)]
    accept: Vec<String>,

    /// Also replace functions that differ in nothing but the date or time of the build
    #[arg(long)]
    with_stamps: bool,
    /// Write the extract here
    ///
    /// Nothing is written when nothing changed or anything is refused.
    #[arg(short, long, value_name = "EXTRACT")]
    output: Option<PathBuf>,
    /// Write the report as JSON; `-` is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Write the report as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show for each function why it changed: chain of reasons, source line, disassembly
    #[arg(long)]
    explain: bool,
    /// Also list what was ignored
    #[arg(short, long)]
    verbose: bool,
    /// The object as shipped
    original: PathBuf,
    /// The object with the change
    patched: PathBuf,
}

const AFTER_HELP: &str = "\
Exit status: 0 something changed and fits a payload; 1 could not run; 2 refused; 3 no functional \
change.";

const AFTER_LONG_HELP: &str = "\
Examples:
  xsplice-diff --explain old/f.o new/f.o
          Why each function differs, with the code of both.
  xsplice-diff -o f.extract old/f.o new/f.o
  xsplice-link link --base xen-syms -o fix.xsplice f.extract
          A payload by hand.

Exit status:
  0  something changed or is new, and fits a payload. A new function that nothing in this object
     uses is 0 here, for another object may use it; xsplice-build, which sees them all, then says 3
  1  could not run
  2  refused: every reason is listed
  3  no functional change";

/// Reads `--abi`, in every command that has it.
pub fn abi() -> impl TypedValueParser<Value = Abi> {
    PossibleValuesParser::new(profile::ALL.map(|profile| profile.name))
        .try_map(|name| name.parse::<Abi>())
}

/// The command line, for manual pages and completions.
#[must_use]
pub fn definition() -> clap::Command {
    Arguments::command()
}

/// Runs the command on the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let status = match Arguments::try_parse() {
        Ok(arguments) => match run(&arguments) {
            Ok(verdict) => status(verdict),
            Err(error) => answer_failure("xsplice-diff", error.as_ref()),
        },
        Err(usage) => answer_usage(&usage),
    };
    status.into()
}

/// Exit status of a verdict.
fn status(verdict: Verdict) -> ExitStatus {
    match verdict {
        Verdict::Changed => ExitStatus::Done,
        Verdict::Refused => ExitStatus::Refused,
        Verdict::Unchanged => ExitStatus::Unchanged,
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let abi = arguments.abi.0;
    let options = Options {
        abi,
        accept: arguments.accept.clone(),
        stamps: match arguments.with_stamps {
            true => Stamps::Included,
            false => Stamps::LeftOut,
        },
    };
    let outputs = [&arguments.output, &arguments.json, &arguments.html];
    for path in outputs
        .into_iter()
        .flatten()
        .filter(|path| !is_standard_output(path))
    {
        check_writable(path).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    check_apart(arguments)?;
    let original = read(&arguments.original)?;
    let patched = read(&arguments.patched)?;
    let name = arguments
        .patched
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let diff = diff_objects(&name, &original, &patched, &options).map_err(|error| {
        // The message names the files as the caller did.
        let path = match error.side {
            Side::Original => &arguments.original,
            Side::Patched => &arguments.patched,
        };
        error.naming(
            path.display().to_string(),
            arguments.original.display().to_string(),
        )
    })?;
    if let Some(path) = &arguments.output
        && let Some(bytes) = write_diff(&diff)
    {
        write(path, &bytes)?;
    }
    let mut human = String::new();
    let detail = if arguments.verbose {
        Detail::Everything
    } else {
        Detail::Changes
    };
    text::render(&diff, detail, &mut human);
    let whole = std::slice::from_ref(&diff);
    for note in ripple(whole).into_iter().chain(build_stamps(whole)) {
        human.push_str(&format!("\n{note}\n"));
    }
    let one = std::slice::from_ref(&diff);
    human.push_str(&layout_summary(one, &layouts::merge(&diff.layouts.changes)));
    if arguments.explain {
        human.push_str(&explain::explain(&diff));
    }
    let refusals = text::refusals(&diff);
    json::tell(arguments.json.as_deref(), &human).context(NO_OUTPUT)?;
    if let Some(path) = &arguments.json {
        json::write(path, TOOL, &json_report(arguments, &diff))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    if let Some(path) = &arguments.html {
        let page = page(arguments, abi, &diff, &original, &patched)?;
        write(path, page.as_bytes())?;
    }
    if !refusals.is_empty() {
        complain(&refusals).context(NO_OUTPUT)?;
    }
    Ok(diff.verdict())
}

/// No output may be an input.
fn check_apart(arguments: &Arguments) -> anyhow::Result<()> {
    let outputs = [
        Given::by("--output", arguments.output.as_ref()),
        Given::by("--json", arguments.json.as_ref()),
        Given::by("--html", arguments.html.as_ref()),
    ];
    let inputs = [
        Given::by("ORIGINAL", Some(&arguments.original)),
        Given::by("PATCHED", Some(&arguments.patched)),
    ];
    let outputs: Vec<_> = outputs.into_iter().flatten().collect();
    let inputs: Vec<_> = inputs.into_iter().flatten().collect();
    output::check_apart(&outputs, &inputs)
        .map_err(|(path, why)| anyhow!("{}: cannot be written: {why}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<MappedFile> {
    MappedFile::open(path).with_context(|| {
        format!(
            "{}: cannot be read; name a readable object file",
            path.display()
        )
    })
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

/// The report as one page.
fn page(
    arguments: &Arguments,
    abi: &'static Profile,
    diff: &ObjectDiff<'_>,
    original: &[u8],
    patched: &[u8],
) -> anyhow::Result<String> {
    let diffs = std::slice::from_ref(diff);
    let mut sought = Sought::new(diffs);
    sought.add_names(&diff.object, patched, abi)?;
    let found = sought.look(&diff.object, patched, abi)?;
    let callers = Callers {
        of: sought.gather([found]),
        from: "the relocations of the patched object; other objects were not looked at".to_owned(),
    };
    let refusals = diff.refusals.iter().map(|refusal| RefusalText {
        code: html::word(refusal.code),
        message: refusal.message(),
    });
    let layouts = layouts::merge(&diff.layouts.changes);
    Ok(html::object::render(&html::object::Page {
        abi,
        diff,
        findings: Findings::new(diffs, &layouts, refusals.collect(), &callers),
        original: html::object::File {
            path: &arguments.original.display().to_string(),
            bytes: original,
        },
        patched: html::object::File {
            path: &arguments.patched.display().to_string(),
            bytes: patched,
        },
    }))
}

/// The report in JSON.
fn json_report<'a>(arguments: &Arguments, diff: &'a ObjectDiff<'_>) -> ObjectReport<'a> {
    let inputs = Pair {
        original: arguments.original.display().to_string(),
        patched: arguments.patched.display().to_string(),
    };
    ObjectReport::new(inputs, diff)
}
