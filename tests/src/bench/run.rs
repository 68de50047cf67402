//! The order in which things are measured, and the budget of each.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use xsplice_build::command::progress::{Progress, Visibility};
use xsplice_build::compare::compare;
use xsplice_build::inputs;
use xsplice_build::inputs::pair::pair;
use xsplice_diff::Options;

use super::budget::{Quantity, Row, table};
use super::debug_trees::DebugPair;
use super::sampling::{Costs, Measured, interleave};
use super::shapes::{GROWTH, MANY_SECTIONS, ObjectPair, SHAPES, SHARED_TABLE};
use super::trees::TreePair;
use super::{debug_trees, many_functions, page, xen_like};
use crate::browser::{self, Browser};
use crate::limit::scaled;
use crate::workspace;

/// Whole run over two trees with one function changed: proof and verify included.
const BUILD_BUDGET: Duration = Duration::from_millis(80);
/// Pairing, reading and comparing the same two trees.
const DIFF_BUDGET: Duration = Duration::from_millis(30);
/// User time of comparing two trees no object of which can be skipped.
const ALL_DIFFERENT_BUDGET: Duration = Duration::from_millis(250);
/// User time of comparing two objects of the larger number of functions.
const FUNCTIONS_BUDGET: Duration = Duration::from_millis(300);
/// How many times as long an object of [`GROWTH`] times the size may take.
const GROWTH_BUDGET: f64 = 4.6;
/// The same for objects that are large in one respect. Four times as much leaves the caches, and a
/// loop within a loop would be sixteen-fold.
const SHAPE_GROWTH_BUDGET: f64 = 6.0;
/// What comparing two trees may take of memory besides their own size.
const MEMORY_BUDGET_BYTES: u64 = 32 << 20;
/// Functions of the smaller object; the larger has [`GROWTH`] times as many.
const FUNCTIONS: usize = 10_000;

/// Exit statuses of the build tools that mean that they came to the end: a payload, a refusal, no
/// change.
const WORKED: &[i32] = &[0, 2, 3];
const MADE: &[i32] = &[0];
/// `diff` ends with 1 when it finds differences, as it must here, and with 2 when a link dangles
/// besides, as some of Xen's build do.
const DIFFERS: &[i32] = &[1, 2];

/// Measures the tools against their budgets of time and memory.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Arguments {
    /// Where generated inputs are kept from run to run
    #[arg(long, default_value = "out/bench")]
    folder: PathBuf,
    /// Where `make xen` leaves its trees; measured when they are there
    #[arg(long, default_value = "out/xen")]
    xen: PathBuf,
    /// How often the runs over trees are repeated
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How often the runs over single objects are repeated
    #[arg(long, default_value_t = 5)]
    object_rounds: usize,
    /// Only compare these two trees; this is what is measured as the diff part
    #[arg(long, num_args = 2, value_names = ["ORIGINAL", "PATCHED"], hide = true)]
    compare: Option<Vec<PathBuf>>,
}

/// Measures everything and prints the tables; whether all budgets were kept.
///
/// # Errors
/// When an input cannot be made, or a command fails.
pub fn run(arguments: &Arguments) -> Result<bool> {
    if let Some([original, patched]) = arguments.compare.as_deref() {
        return compare_trees(original, patched).map(|()| true);
    }
    ensure!(
        arguments.rounds > 0 && arguments.object_rounds > 0,
        "at least one round is needed"
    );
    let bench = Bench::new(arguments)?;
    let mut rows = Vec::new();
    println!("making what is measured in {}", bench.folder.display());
    let generated = xen_like::make(&bench.folder.join("xen-like"))?;
    let xen = TreePair::of_xen(&bench.xen)
        .map(|trees| trees.compiled_alone(&bench.folder.join("xen-compiled")))
        .transpose()?;
    if xen.is_none() {
        println!(
            "no trees of the real Xen in {}; `make xen` makes them",
            bench.xen.display()
        );
    }
    for pair in [Some(generated), xen].into_iter().flatten() {
        rows.extend(bench.trees(&pair)?);
    }
    let mut with_debug = debug_trees::make(&bench.folder.join("debug-trees"))?;
    with_debug.extend(debug_trees::of_xen(&bench.xen));
    for pair in with_debug {
        rows.extend(bench.debug_trees(&pair)?);
    }
    rows.extend(bench.functions()?);
    rows.extend(bench.shapes()?);
    rows.extend(bench.proofs()?);
    rows.extend(bench.page()?);
    let broken = rows.iter().filter(|row| row.is_broken()).count();
    println!();
    match broken {
        0 => println!("every budget was kept"),
        _ => println!(
            "{broken} of {} budgets were broken; on a slow or busy machine, FACTOR=N multiplies \
             those of time",
            rows.iter().filter(|row| row.budget.is_some()).count()
        ),
    }
    Ok(broken == 0)
}

/// The diff part of `xsplice-build`, by the functions that it is made of.
fn compare_trees(original: &Path, patched: &Path) -> Result<()> {
    let pairs = pair(original, patched, &[])?;
    let inputs = inputs::open_all(pairs.pairs)?;
    let progress = Progress::start("comparing", inputs.len(), Visibility::Hidden);
    let merged = xsplice_build::compare::merged::find(&inputs, &[]);
    let comparison = compare(&inputs, &merged, &Options::default(), &progress)
        .map_err(|errors| anyhow::anyhow!("{} objects cannot be read", errors.len()))?;
    println!(
        "{} equal, {} differ",
        comparison.equal,
        comparison.diffs.len()
    );
    Ok(())
}

struct Bench {
    folder: PathBuf,
    xen: PathBuf,
    rounds: usize,
    object_rounds: usize,
    /// Folder of the built commands, this one among them.
    tools: PathBuf,
}

impl Bench {
    fn new(arguments: &Arguments) -> Result<Bench> {
        let own = env::current_exe()?;
        let tools = own.parent().context("a program lies in a folder")?;
        for tool in ["xsplice-build", "xsplice-diff"] {
            ensure!(
                tools.join(tool).is_file(),
                "{}: not built; `make bench` builds it",
                tools.join(tool).display()
            );
        }
        let root = workspace();
        Ok(Bench {
            folder: root.join(&arguments.folder),
            xen: root.join(&arguments.xen),
            rounds: arguments.rounds,
            object_rounds: arguments.object_rounds,
            tools: tools.to_owned(),
        })
    }

    fn build_command(&self, pair: &TreePair) -> Command {
        let mut command = Command::new(self.tools.join("xsplice-build"));
        command
            .arg("--orig")
            .arg(&pair.original)
            .arg("--patched")
            .arg(&pair.patched)
            .arg("--base")
            .arg(pair.base())
            .args(["--name", "bench", "-o"])
            .arg(self.folder.join("bench.xsplice"));
        command
    }

    fn compare_command(&self, pair: &TreePair) -> Command {
        let mut command = Command::new(self.tools.join("bench"));
        command
            .arg("--compare")
            .arg(&pair.original)
            .arg(&pair.patched);
        command
    }

    fn diff_command(&self, pair: &ObjectPair) -> Command {
        let mut command = Command::new(self.tools.join("xsplice-diff"));
        command.arg(&pair.original).arg(&pair.patched);
        command
    }

    /// Two trees that differ in one function; and the same with every object different in bytes.
    fn trees(&self, pair: &TreePair) -> Result<Vec<Row>> {
        let different = pair.all_different(&self.folder.join("all-different").join(&pair.name))?;
        let mut build = Measured::new(self.build_command(pair), MADE);
        let without = |further: &[&str]| {
            let mut command = self.build_command(pair);
            command.args(further);
            Measured::new(command, MADE)
        };
        let mut no_account = without(&["--no-account"]);
        let mut no_proof = without(&["--no-account", "--no-base-proof"]);
        let mut diff = Measured::new(self.compare_command(pair), MADE);
        let mut slow = Measured::new(self.compare_command(&different), MADE);
        let mut reference = Command::new("diff");
        reference.arg("-rq").arg(&pair.original).arg(&pair.patched);
        let mut reference = Measured::new(reference, DIFFERS);
        interleave(
            &mut [
                &mut reference,
                &mut build,
                &mut no_account,
                &mut no_proof,
                &mut diff,
                &mut slow,
            ],
            self.rounds,
        )?;
        let beside = |time: Duration| {
            let factor = time.as_secs_f64() / reference.costs().wall().as_secs_f64();
            format!("{factor:.1} x diff -rq")
        };
        let time = |what: &str, measured: Duration, budget: Option<Duration>| -> Result<Row> {
            Ok(Row {
                what: what.to_owned(),
                measured: Quantity::Time(measured),
                budget: budget.map(scaled).transpose()?.map(Quantity::Time),
                ratio: beside(measured),
            })
        };
        let extent = pair.extent()?;
        let memory = |what: &str, costs: Costs<'_>, budget: Option<u64>| {
            let share = costs.peak_bytes() * 100 / extent.bytes.max(1);
            Row {
                what: what.to_owned(),
                measured: Quantity::Bytes(costs.peak_bytes()),
                budget: budget.map(Quantity::Bytes),
                ratio: format!("{share} % of the trees"),
            }
        };
        // What a step costs is what a run without it saves.
        let saved = |with: &Measured, without: &Measured| {
            with.costs().cpu().saturating_sub(without.costs().cpu())
        };
        let account = saved(&build, &no_account);
        let proof = saved(&no_account, &no_proof);
        let budget_bytes = Some(extent.bytes + MEMORY_BUDGET_BYTES);
        let rows = vec![
            time("diff -rq, wall", reference.costs().wall(), None)?,
            time(
                "xsplice-build, wall",
                build.costs().wall(),
                Some(BUILD_BUDGET),
            )?,
            time("xsplice-build, user and system", build.costs().cpu(), None)?,
            time("base proof, user and system", proof, None)?,
            time("account, user and system", account, Some(proof))?,
            time("diff part, wall", diff.costs().wall(), Some(DIFF_BUDGET))?,
            time("diff part, user and system", diff.costs().cpu(), None)?,
            time(
                "diff part, all objects different, wall",
                slow.costs().wall(),
                None,
            )?,
            time(
                "diff part, all objects different, user",
                slow.costs().user(),
                Some(ALL_DIFFERENT_BUDGET),
            )?,
            memory("diff part, peak memory", diff.costs(), budget_bytes),
            memory(
                "diff part, all objects different, peak memory",
                slow.costs(),
                budget_bytes,
            ),
            memory("xsplice-build, peak memory", build.costs(), None),
        ];
        let headline = format!(
            "{}: {} objects a tree, {} bytes of objects in both, median of {} runs each, in turn",
            pair.name, extent.objects, extent.bytes, self.rounds
        );
        print!("{}", table(&headline, &rows));
        Ok(rows)
    }

    /// A whole run as a release engineer starts it, over trees with debug information.
    fn debug_trees(&self, pair: &DebugPair) -> Result<Vec<Row>> {
        let mut command = self.build_command(&pair.trees);
        command.arg("--patch").arg(&pair.patch);
        let mut build = Measured::new(command, WORKED);
        interleave(&mut [&mut build], self.object_rounds)?;
        let costs = build.costs();
        let extent = pair.trees.extent()?;
        let share = costs.peak_bytes() * 100 / extent.bytes.max(1);
        let rows = vec![
            Row {
                what: "xsplice-build --patch, user".to_owned(),
                measured: Quantity::Time(costs.user()),
                budget: Some(Quantity::Time(scaled(pair.allowed.user)?)),
                ratio: String::new(),
            },
            Row {
                what: "xsplice-build --patch, wall".to_owned(),
                measured: Quantity::Time(costs.wall()),
                budget: None,
                ratio: String::new(),
            },
            Row {
                what: "xsplice-build --patch, peak memory".to_owned(),
                measured: Quantity::Bytes(costs.peak_bytes()),
                budget: Some(Quantity::Bytes(pair.allowed.peak_bytes)),
                ratio: format!("{share} % of the trees"),
            },
        ];
        let headline = format!(
            "{}: {} objects a tree, merged ones among them, {} bytes of objects in both, median of \
             {}",
            pair.trees.name, extent.objects, extent.bytes, self.object_rounds
        );
        print!("{}", table(&headline, &rows));
        Ok(rows)
    }

    /// One object of many functions, as the peers were measured.
    fn functions(&self) -> Result<Vec<Row>> {
        let folder = self.folder.join("objects");
        let small = many_functions::make(&folder, FUNCTIONS)?;
        let large = many_functions::make(&folder, FUNCTIONS * GROWTH)?;
        let (before, after) = self.grow(self.diff_command(&small), self.diff_command(&large))?;
        let mut rows = vec![growth_row(
            "xsplice-diff, user and system",
            (&before, &after),
            GROWTH_BUDGET,
        )];
        rows.push(Row {
            what: format!("xsplice-diff, user, {} functions", FUNCTIONS * GROWTH),
            measured: Quantity::Time(after.costs().user()),
            budget: Some(Quantity::Time(scaled(FUNCTIONS_BUDGET)?)),
            ratio: String::new(),
        });
        rows.push(Row {
            what: format!(
                "xsplice-diff, peak memory, {} functions",
                FUNCTIONS * GROWTH
            ),
            measured: Quantity::Bytes(after.costs().peak_bytes()),
            budget: None,
            ratio: String::new(),
        });
        let headline = format!(
            "one object of {FUNCTIONS} and of {} functions, median of {}",
            FUNCTIONS * GROWTH,
            self.object_rounds
        );
        print!("{}", table(&headline, &rows));
        Ok(rows)
    }

    /// Objects that are large in one respect each.
    fn shapes(&self) -> Result<Vec<Row>> {
        let folder = self.folder.join("objects");
        let mut rows = Vec::new();
        for shape in SHAPES {
            let small = shape.make(&folder, shape.count)?;
            let large = shape.make(&folder, shape.count * GROWTH)?;
            let (before, after) =
                self.grow(self.diff_command(&small), self.diff_command(&large))?;
            let what = format!("{} -> {} {}", shape.count, shape.count * GROWTH, shape.name);
            rows.push(growth_row(&what, (&before, &after), SHAPE_GROWTH_BUDGET));
        }
        let headline = format!(
            "one object that is large in one respect, xsplice-diff, user and system, median of {}",
            self.object_rounds
        );
        print!("{}", table(&headline, &rows));
        Ok(rows)
    }

    /// Whole runs over trees of one large object: its functions are proven one by one against a
    /// base of many symbols.
    fn proofs(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for shape in [MANY_SECTIONS, SHARED_TABLE] {
            let tree = |count: usize| -> Result<TreePair> {
                let object = shape.make(&self.folder.join("objects"), count)?;
                let name = format!("{}-{count}", shape.name.replace(' ', "-"));
                TreePair::of_object(&name, &object, &self.folder.join("trees"))
            };
            let (small, large) = (tree(shape.count)?, tree(shape.count * GROWTH)?);
            let (before, after) =
                self.grow(self.build_command(&small), self.build_command(&large))?;
            let what = format!("{} -> {} {}", shape.count, shape.count * GROWTH, shape.name);
            rows.push(growth_row(&what, (&before, &after), SHAPE_GROWTH_BUDGET));
        }
        let headline = format!(
            "a tree of one large object and its base, xsplice-build, user and system, median of {}",
            self.object_rounds
        );
        print!("{}", table(&headline, &rows));
        Ok(rows)
    }

    /// A report of many functions, in a browser.
    fn page(&self) -> Result<Vec<Row>> {
        let Some(program) = browser::program() else {
            println!("no Chromium here, so that no page was opened");
            return Ok(Vec::new());
        };
        let folder = self.folder.join("page");
        page::make(&folder, page::FUNCTIONS)?;
        let mut build = Command::new(self.tools.join("xsplice-build"));
        let arguments = page::ARGUMENTS.split_whitespace();
        build.args(arguments).arg("--quiet").current_dir(&folder);
        ensure!(build.status()?.success(), "{build:?} failed");
        let path = folder.join("page.html");
        let bytes = path.metadata()?.len();
        let mut browser = Browser::start(&program)?;
        let rows = vec![Row {
            what: format!("a page of {} functions, until it is shown", page::FUNCTIONS),
            measured: Quantity::Time(page::least(&mut browser, &path, self.object_rounds)?),
            budget: Some(Quantity::Time(scaled(page::LIMIT)?)),
            ratio: format!("{} KiB", bytes / 1024),
        }];
        let headline = format!(
            "the report in a browser, the least of {}",
            self.object_rounds
        );
        print!("{}", table(&headline, &rows));
        Ok(rows)
    }

    fn grow(&self, small: Command, large: Command) -> Result<(Measured, Measured)> {
        let mut small = Measured::new(small, WORKED);
        let mut large = Measured::new(large, WORKED);
        interleave(&mut [&mut small, &mut large], self.object_rounds)?;
        Ok((small, large))
    }
}

fn growth_row(what: &str, (small, large): (&Measured, &Measured), budget: f64) -> Row {
    let (before, after) = (small.costs().cpu(), large.costs().cpu());
    let growth = after.as_secs_f64() / before.as_secs_f64().max(f64::EPSILON);
    Row {
        what: what.to_owned(),
        measured: Quantity::Growth(growth),
        budget: Some(Quantity::Growth(budget)),
        ratio: format!(
            "{:.0} -> {:.0} ms",
            before.as_secs_f64() * 1000.0,
            after.as_secs_f64() * 1000.0
        ),
    }
}
