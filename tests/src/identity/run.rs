//! The whole proof from an empty cache to the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use super::build::{Builder, PLACES};
use super::judge::{Difference, Pair, against_itself, against_other};
use super::project::{PROJECTS, Project};
use crate::xen::process::run_quiet;
use crate::xen::table::{Row, Table};

/// Programs that every build and the comparison call, each with its Debian package.
const PROGRAMS: [&str; 9] = [
    "gcc=gcc",
    "ld=binutils",
    "objcopy=binutils",
    "make=make",
    "perl=perl",
    "tar=tar",
    "xz=xz-utils",
    "dpkg-source=dpkg-dev",
    "apt-get=apt",
];
/// How many wrong objects of a project are printed in full.
const SHOWN: usize = 10;

/// Proves on the objects of real projects that what is the same comes out as the same.
#[derive(Debug, Parser)]
#[command(name = "identity", max_term_width = 100)]
pub struct Arguments {
    /// Where everything that is fetched and built is kept
    #[arg(long, default_value = "out/identity", value_name = "DIR")]
    pub cache: PathBuf,

    /// The Debian archive to fetch from [default: the one this system uses]
    #[arg(long, value_name = "URI")]
    pub mirror: Option<String>,

    /// Compilers and comparisons to run at once [default: one a core]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,

    /// Only the projects whose names hold this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// Runs everything; `Ok(true)` when every row is as expected.
///
/// # Errors
/// When something cannot be fetched, built or run.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    fs::create_dir_all(arguments.cache.join("log"))
        .with_context(|| format!("cannot make {}", arguments.cache.display()))?;
    let cache = fs::canonicalize(&arguments.cache).context("cannot find the cache folder")?;
    let jobs = match arguments.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let only = arguments.only.as_deref().unwrap_or_default();
    let projects: Vec<Project> = PROJECTS
        .into_iter()
        .filter(|project| project.package.contains(only))
        .collect();
    ensure!(
        !projects.is_empty(),
        "--only {only}: no project is called so"
    );
    ensure_programs(&projects)?;

    let builder = Builder::new(&cache, jobs);
    builder.fetch(&projects, arguments.mirror.as_deref())?;
    // All first builds before any second one: the times lie apart.
    for place in PLACES {
        for project in &projects {
            builder.build(project, place)?;
        }
    }
    let mut table = Table::default();
    for project in &projects {
        println!("== {}: comparing", project.package);
        compare(&builder, project, jobs, &mut table)?;
    }
    println!("\n{}", table.render());
    let disk = run_quiet(Command::new("du").arg("-sh").arg(&cache)).unwrap_or_default();
    println!(
        "{} s; {} of disk in {}",
        started.elapsed().as_secs(),
        disk.split_whitespace().next().unwrap_or("?"),
        cache.display()
    );
    Ok(table.differences() == 0)
}

fn ensure_programs(projects: &[Project]) -> Result<()> {
    let script = crate::workspace().join("tests/ensure-packages.sh");
    let status = Command::new(&script)
        .args(PROGRAMS)
        .args(projects.iter().flat_map(|project| project.programs))
        .status()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        status.success(),
        "programs that the builds call are missing"
    );
    Ok(())
}

fn compare(builder: &Builder, project: &Project, jobs: usize, table: &mut Table) -> Result<()> {
    let title = format!("{} {}", project.package, builder.version(project)?);
    println!("   {}", project.character);
    let [first, second] = PLACES.map(|place| builder.tree(project, place));
    let objects = builder.objects(project, PLACES[0])?;
    let others = builder.objects(project, PLACES[1])?;

    let wrong = against_itself(&first, &objects, jobs)?;
    for text in wrong.iter().take(SHOWN) {
        println!("!! {text}");
    }
    table.add(Row {
        name: format!("{title}: each against itself"),
        expected: format!("{} objects, no functional change", objects.len()),
        seen: if wrong.is_empty() {
            Ok("so".to_owned())
        } else {
            Err(format!("{} are not", wrong.len()))
        },
    });

    table.add(Row {
        name: format!("{title}: two builds"),
        expected: "the same objects".to_owned(),
        seen: if objects == others {
            Ok("so".to_owned())
        } else {
            Err(format!("{} and {} objects", objects.len(), others.len()))
        },
    });
    let pairs = against_other(&first, &second, &objects, jobs)?;
    let count = |wanted: Difference| {
        pairs
            .iter()
            .filter(|pair| pair.difference == wanted)
            .count()
    };
    println!(
        "   {} pairs: {} equal, {} differ in debug information, {} differ further",
        pairs.len(),
        count(Difference::Equal),
        count(Difference::DebugInformation),
        count(Difference::Real)
    );
    let mut apart = 0;
    for pair in &pairs {
        match (pair.difference == Difference::Real, pair.says.is_empty()) {
            (true, false) | (false, true) => continue,
            (true, true) => println!("!! {}: binutils differ, we are silent", pair.object),
            (false, false) => println!("!! {}: binutils are silent", pair.object),
        }
        apart += 1;
    }
    table.add(Row {
        name: format!("{title}: two builds"),
        expected: "reported is what binutils find".to_owned(),
        seen: if apart == 0 {
            Ok("so".to_owned())
        } else {
            Err(format!("not for {apart} objects"))
        },
    });
    let by_path = pairs
        .iter()
        .filter(|pair| !pair.says.is_empty() && pair.says != pair.beside_path)
        .count();
    if by_path > 0 {
        println!("   {by_path} objects hold the path of their tree, and differ by it");
    }
    named(&title, project, &pairs, table);
    Ok(())
}

/// One row for each difference of two builds that the path does not explain: known ones with their
/// cause, and those that are not.
fn named(title: &str, project: &Project, pairs: &[Pair], table: &mut Table) {
    let mut unknown: BTreeSet<(&str, &str)> = pairs
        .iter()
        .flat_map(|pair| {
            pair.beside_path
                .iter()
                .map(|says| (pair.object.as_str(), says.as_str()))
        })
        .collect();
    for known in project.known {
        let found = unknown.remove(&(known.object, known.says));
        table.add(Row {
            name: format!("{title}: {}", known.object),
            expected: known.says.to_owned(),
            seen: if found {
                Ok(known.because.to_owned())
            } else {
                Err("not reported".to_owned())
            },
        });
    }
    for (object, says) in &unknown {
        let report = pairs.iter().find(|pair| pair.object == *object);
        table.add(Row {
            name: format!("{title}: {object}"),
            expected: "nothing".to_owned(),
            seen: Err(format!(
                "{says}\n{}",
                report.map_or("", |pair| pair.report.as_str())
            )),
        });
    }
}
