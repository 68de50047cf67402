//! `xsplice-mutants`: changes what decides, one place at a time, and sees a test fail.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use clap::Parser;
use xsplice_mutants::copy::Copy;
use xsplice_mutants::explained;
use xsplice_mutants::trials::{Fate, Trials};

/// Changes what decides, one place at a time, and sees a test fail.
///
/// Exit status 1 when a change is left over that the list does not explain.
#[derive(Debug, Parser)]
struct Arguments {
    /// Paths of what is changed, from the workspace's folder on, in this order; files that begin
    /// with one.
    #[arg(long = "change", required = true)]
    changed: Vec<String>,
    /// Whether the tests call the commands of the workspace.
    #[arg(long)]
    commands: bool,
    /// Tests whose names have this in them are not run.
    #[arg(long)]
    skip: Vec<String>,
    /// List of changes that no test can catch.
    #[arg(long)]
    explained: Option<PathBuf>,
    /// Folder of the copy that is changed.
    #[arg(long, default_value = "target/mutants")]
    copy: PathBuf,
    /// File with what became of each change.
    #[arg(long, default_value = "out/mutants.tsv")]
    out: PathBuf,
    /// After how many tests that pass a change is put off, for a run with --again.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    most: usize,
    /// Leaves out the changes that were caught, or did not end, in such a file of an earlier run.
    #[arg(long)]
    again: Option<PathBuf>,
    /// Which part of the changes is made: 0/4 is every fourth.
    #[arg(long, default_value = "0/1")]
    shard: String,
    /// How many tests run at a time.
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// What `cargo test` is told of which tests to build.
    #[arg(last = true, required = true)]
    tests: Vec<String>,
}

/// What is written of changes.
const CAUGHT: &str = "caught by";
const NEVER_ENDS: &str = "never ends:";
const LEFT_OVER: &str = "left over";
const PUT_OFF: &str = "put off";
const UNREACHED: &str = "makes no difference in any test";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (part, parts) = shard(&arguments.shard)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = fs::canonicalize(workspace)?;
    fs::create_dir_all(&arguments.copy)?;
    let copy = fs::canonicalize(&arguments.copy)?;
    let copy = Copy::make(&workspace, &copy, &arguments.changed)?;
    let (changes, programs) = copy.build(arguments.commands, &arguments.tests)?;
    eprintln!("{} changes compile", changes.len());
    let is_wanted = |name: &str| {
        !arguments
            .skip
            .iter()
            .any(|word| name.contains(word.as_str()))
    };
    let trials = Trials::find(&programs, arguments.jobs, is_wanted)?;
    eprintln!("{} tests", trials.count());

    let keys = explained::keys(&changes);
    let done = match &arguments.again {
        Some(path) => done_in(path)?,
        None => HashSet::new(),
    };
    let (changes, keys): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .zip(keys)
        .filter(|(_, key)| !done.contains(&explained::line(key)))
        .enumerate()
        .filter(|(index, _)| index % parts == part)
        .map(|(_, both)| both)
        .unzip();
    if let Some(parent) = arguments.out.parent() {
        fs::create_dir_all(parent)?;
    }
    let out = Mutex::new(fs::File::create(&arguments.out)?);
    let lines: HashMap<u32, String> = changes
        .iter()
        .zip(&keys)
        .map(|(change, key)| (change.number, explained::line(key)))
        .collect();
    let (jobs, most) = (arguments.jobs, arguments.most);
    let fates = trials.fates(&changes, jobs, most, |change, fate| {
        let told = match fate {
            Fate::Caught(by) => format!("{CAUGHT} {by}"),
            Fate::NeverEnds(by) => format!("{NEVER_ENDS} {by}"),
            Fate::LeftOver => LEFT_OVER.to_owned(),
            Fate::PutOff(after) => format!("{PUT_OFF} after {after} tests"),
            Fate::Unreached => UNREACHED.to_owned(),
        };
        let mut out = out.lock().expect("no thread panics with it");
        // What cannot be written is printed in the end all the same.
        let _ = writeln!(out, "{}{told}", lines[&change.number]);
    });

    let known = match &arguments.explained {
        Some(path) => {
            explained::read(&fs::read_to_string(path).with_context(|| path.display().to_string())?)
        }
        None => Default::default(),
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut open = 0;
    for ((change, key), fate) in changes.iter().zip(&keys).zip(&fates) {
        let word = match fate {
            Fate::Caught(_) => "caught",
            Fate::NeverEnds(_) => "never end",
            _ if known.contains_key(key) => "explained",
            Fate::LeftOver => LEFT_OVER,
            Fate::PutOff(_) => PUT_OFF,
            Fate::Unreached => UNREACHED,
        };
        *counts.entry(word).or_default() += 1;
        if matches!(word, LEFT_OVER | PUT_OFF | UNREACHED) {
            open += 1;
            println!("{word}: {}:{}:{}", change.file, change.line, change.column);
            println!("{}", explained::line(key));
        }
    }
    println!("{} changes: {counts:?}", changes.len());
    Ok(ExitCode::from(u8::from(open > 0)))
}

/// The lines of an earlier run for what a test failed with, without what became of them.
fn done_in(path: &Path) -> Result<HashSet<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let done = text.lines().filter_map(|line| {
        let told = line.rsplit('\t').next()?;
        let is_done = told.starts_with(CAUGHT) || told.starts_with(NEVER_ENDS);
        is_done.then(|| line[..line.len() - told.len()].to_owned())
    });
    Ok(done.collect())
}

fn shard(text: &str) -> Result<(usize, usize)> {
    let parts = text
        .split_once('/')
        .and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match parts {
        Some((part, parts)) if part < parts => Ok((part, parts)),
        _ => bail!("--shard is I/N with I below N, and not {text}"),
    }
}
