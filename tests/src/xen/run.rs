//! The whole proof from an empty cache to the table.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use super::archive::{self, Archive};
use super::build::{Builder, DebugInfo, Tree};
use super::change::{CHANGES, Change, Verdict};
use super::guest::{self, Boot, End, Machine};
use super::initramfs::Initramfs;
use super::life::{Made, life};
use super::payload::{self, Said, Stacking, Tools};
use super::process::run_quiet;
use super::scenario::{Placed, Retry, Scenario};
use super::script::{self, Outcome, StepId};
use super::stacks::Stacks;
use super::table::{Row, Table};
use super::{faults, in_tree};

/// What a boot may take before the first step, and each step, in seconds, before `--factor`.
const BOOT_SECONDS: u64 = 240;
const STEP_SECONDS: u64 = 3;
/// The three changes that the scenarios with several payloads are made of.
const STACKED: [&str; 3] = ["minor-version", "string-only", "alternatives"];
/// The programs and libraries of the stock packages that dom0 gets.
const STOCK_PROGRAMS: [&str; 1] = ["xen-livepatch"];
const LIBRARY_FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Proves the tools on a real Xen: builds it twice, boots it in QEMU and patches it while it runs.
#[derive(Debug, Parser)]
#[command(name = "xen", max_term_width = 100)]
pub struct Arguments {
    /// Where everything that is fetched and built is kept
    #[arg(long, default_value = "out/xen", value_name = "DIR")]
    pub cache: PathBuf,

    /// Where the commands under test are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    pub tools: Option<PathBuf>,

    /// The Debian archive to fetch from [default: the one this system uses]
    #[arg(long, value_name = "URI")]
    pub mirror: Option<String>,

    /// Compilers to run at once [default: one a core]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,

    /// Multiplies every time limit of the guest, for slow machines
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub factor: u32,

    /// QEMU's accelerator
    #[arg(long, default_value = "tcg")]
    pub accelerator: String,

    /// QEMU's CPU model
    #[arg(long, default_value = "max,-smap")]
    pub cpu: String,

    /// CPUs of the guest
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub cpus: u32,

    /// Run only the scenarios whose names hold this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// Runs everything; `Ok(true)` when every row is as expected.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the package is inside the workspace")?;
    fs::create_dir_all(arguments.cache.join("log"))
        .with_context(|| format!("cannot make {}", arguments.cache.display()))?;
    let cache = fs::canonicalize(&arguments.cache).context("cannot find the cache folder")?;
    let jobs = match arguments.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let tools_folder = match &arguments.tools {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()
            .context("cannot tell where this program is")?
            .parent()
            .context("a program is in a folder")?
            .to_owned(),
    };
    let tools = Tools::new(&tools_folder, jobs)?;
    archive::ensure_programs()?;
    let archive = archive::fetch(&cache, arguments.mirror.as_deref())?;

    let proof = Proof {
        fixtures: root.join("fixtures/xen"),
        payloads: cache.join("payloads"),
        tools,
        builder: Builder::new(&cache, &archive.source, jobs),
        archive,
        cache,
        machine: Machine {
            accelerator: arguments.accelerator.clone(),
            cpu: arguments.cpu.clone(),
            cpus: arguments.cpus,
            memory_mib: 1024,
        },
        factor: arguments.factor,
        only: arguments.only.clone(),
    };
    let mut table = Table::default();
    proof.run(&mut table)?;
    println!("\n{}", table.render());
    let disk = run_quiet(Command::new("du").arg("-sh").arg(&proof.cache)).unwrap_or_default();
    println!(
        "{} s; {} of disk in {}",
        started.elapsed().as_secs(),
        disk.split_whitespace().next().unwrap_or("?"),
        proof.cache.display()
    );
    Ok(table.differences() == 0)
}

#[derive(Debug)]
struct Proof {
    fixtures: PathBuf,
    cache: PathBuf,
    payloads: PathBuf,
    tools: Tools,
    builder: Builder,
    archive: Archive,
    machine: Machine,
    factor: u32,
    only: Option<String>,
}

impl Proof {
    fn wanted(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    fn run(&self, table: &mut Table) -> Result<()> {
        fs::create_dir_all(&self.payloads).context("cannot make the payloads' folder")?;
        let original = self.builder.original(DebugInfo::Absent)?;
        let original_g = self.builder.original(DebugInfo::Present)?;
        println!("== {} changes", CHANGES.len());
        let mut trees: HashMap<&'static str, Tree> = HashMap::new();
        let mut made = Vec::new();
        for change in CHANGES {
            let patch = self
                .fixtures
                .join("changes")
                .join(format!("{}.patch", change.name));
            let (name, before) = match change.debug_info {
                DebugInfo::Absent => (change.name.to_owned(), &original),
                DebugInfo::Present => (format!("{}-g", change.name), &original_g),
            };
            let tree = self
                .builder
                .changed(&name, &patch, before, change.debug_info)?;
            if self.wanted(&name) {
                made.extend(self.verdict(&name, change, before, &tree, table)?);
            }
            if change.debug_info == DebugInfo::Absent {
                trees.insert(change.name, tree);
            }
        }
        let loadable: Vec<&'static Change> = made.iter().map(|made: &Made| made.change).collect();
        let stacks = Stacks {
            tools: &self.tools,
            original: &original,
            folder: &self.payloads,
            trees: &trees,
        };
        let mut scenarios = Vec::new();
        for made in &made {
            let foretold = self.tools.foretell(&original.symbols(), &[], &made.path)?;
            scenarios.push(life(made, &foretold));
        }
        let stacked = STACKED.map(|name| CHANGES.iter().find(|change| change.name == name));
        if let [Some(lower), Some(upper), Some(alone)] = stacked {
            match stacks.scenarios([lower, upper, alone]) {
                Ok(more) => scenarios.extend(more),
                Err(error) => table.add(unmade("stacking", &error)),
            }
        }
        match stacks.all_at_once(&loadable) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => table.add(unmade("all-at-once", &error)),
        }
        match in_tree::scenarios(&self.tools, &original) {
            Ok(more) => scenarios.extend(more),
            Err(error) => table.add(unmade("in-tree payloads", &error)),
        }
        scenarios.retain(|scenario| self.wanted(&scenario.name));
        self.boot_all(&original, scenarios, table)?;
        if self.only.is_none() {
            println!("== the tools on the whole tree");
            faults::check(&self.tools, &original, &self.payloads, table)?;
        }
        Ok(())
    }

    /// Makes a change's payload and judges what the tool said; the payload if there is one.
    fn verdict(
        &self,
        name: &str,
        change: &'static Change,
        original: &Tree,
        patched: &Tree,
        table: &mut Table,
    ) -> Result<Option<Made>> {
        let path = self.payloads.join(format!("{name}.livepatch"));
        let said = self
            .tools
            .build(name, original, patched, &path, &Stacking::default())?;
        let seen = payload::judge(change, &said).map(|()| payload::describe(&said));
        table.add(Row {
            name: format!("build {name}"),
            expected: payload::expected(change),
            seen,
        });
        let loadable = matches!(change.verdict, Verdict::Payload(_));
        Ok((loadable && matches!(said, Said::Payload(_))).then_some(Made { change, path }))
    }

    /// Boots until every scenario has been run or has killed its guest.
    fn boot_all(
        &self,
        original: &Tree,
        mut pending: Vec<Scenario>,
        table: &mut Table,
    ) -> Result<()> {
        let probe = self.cache.join("probe");
        run_quiet(
            Command::new("gcc")
                .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
                .arg(&probe)
                .arg(self.fixtures.join("probe.c")),
        )?;
        let mut boots = 0;
        while !pending.is_empty() {
            boots += 1;
            println!("== boot {boots}: {} scenarios", pending.len());
            let log = self.cache.join("log").join(format!("boot-{boots}.log"));
            let scenarios: Vec<&Scenario> = pending.iter().collect();
            let steps: usize = scenarios.iter().map(|scenario| scenario.steps.len()).sum();
            let initramfs = self.cache.join("initramfs");
            fs::write(&initramfs, self.initramfs(&probe, &scenarios)?)
                .context("cannot write the initramfs")?;
            let seconds = BOOT_SECONDS + STEP_SECONDS * u64::try_from(steps).unwrap_or(u64::MAX);
            let session = guest::boot(
                &self.machine,
                &Boot {
                    xen: &original.image(),
                    kernel: &self.archive.kernel,
                    initramfs: &initramfs,
                    log: log.clone(),
                    time_limit: Duration::from_secs(seconds) * self.factor,
                },
            )?;
            println!("   {} s, {:?}", session.elapsed.as_secs(), session.end);
            ensure!(
                session.lines.iter().any(|line| line.contains("@@BOOT")),
                "dom0 did not come up: {:?}; {}",
                session.end,
                log.display()
            );
            let outcomes = script::read(session.lines.iter().map(String::as_str));
            let reached = outcomes.keys().map(|id| id.scenario + 1).max().unwrap_or(0);
            let consumed = match &session.end {
                End::PoweredOff => pending.len(),
                // The scenario in which the guest died has been run; the ones behind it have not.
                _ => reached.clamp(1, pending.len()),
            };
            for (index, scenario) in pending.drain(..consumed).enumerate() {
                table.add(row(index, &scenario, &outcomes, &session.end));
            }
        }
        Ok(())
    }

    fn initramfs(&self, probe: &Path, scenarios: &[&Scenario]) -> Result<Vec<u8>> {
        let mut archive = Initramfs::default();
        for folder in ["proc", "sys", "dev", "tmp"] {
            archive.directory(folder)?;
        }
        let packages = &self.archive.root;
        archive.file_from("bin/busybox", &packages.join("bin/busybox"))?;
        for applet in [
            "sh", "mount", "insmod", "cat", "sed", "grep", "cut", "dd", "printf", "sleep",
            "poweroff",
        ] {
            archive.link(&format!("bin/{applet}"), "busybox")?;
        }
        for program in STOCK_PROGRAMS {
            let stock = packages.join("usr/lib/xen-4.17/bin").join(program);
            archive.file_from(&format!("bin/{program}"), &stock)?;
        }
        self.libraries(&mut archive)?;
        archive.file_from("bin/probe", probe)?;
        let mut modules = Vec::new();
        for module in &self.archive.modules {
            let name = module
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            archive.file_from(&name, module)?;
            modules.push(name);
        }
        archive.file("init", script::init(&modules).as_bytes())?;
        archive.file("test.sh", script::write(scenarios).as_bytes())?;
        let mut placed: Vec<&Placed> = scenarios
            .iter()
            .flat_map(|scenario| &scenario.payloads)
            .collect();
        placed.sort_by(|left, right| left.name.cmp(&right.name));
        placed.dedup_by(|left, right| left.name == right.name);
        for payload in placed {
            archive.file_from(&format!("p/{}", payload.name), &payload.path)?;
        }
        archive.finish()
    }

    /// The libraries of the stock packages, and the C library of this system.
    fn libraries(&self, archive: &mut Initramfs) -> Result<()> {
        for folder in LIBRARY_FOLDERS {
            let folder = self.archive.root.join(folder);
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let entry = entry.context("cannot list the libraries")?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // Programs ask for `libNAME.so.VERSION`, which is a link to the full version.
                if name.contains(".so.") && entry.path().is_file() {
                    archive.file_from(&format!("lib/x86_64-linux-gnu/{name}"), &entry.path())?;
                }
            }
        }
        archive.file_from(
            "lib/x86_64-linux-gnu/libc.so.6",
            Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
        )?;
        archive.file_from(
            "lib64/ld-linux-x86-64.so.2",
            Path::new("/lib64/ld-linux-x86-64.so.2"),
        )
    }
}

fn unmade(name: &str, error: &anyhow::Error) -> Row {
    Row {
        name: name.to_owned(),
        expected: "payloads made and judged".to_owned(),
        seen: Err(format!("{error:#}")),
    }
}

/// Judges a scenario: its first step that is not as expected, or how often it was repeated.
fn row(
    index: usize,
    scenario: &Scenario,
    outcomes: &std::collections::BTreeMap<StepId, Outcome>,
    end: &End,
) -> Row {
    let mut retries = 0;
    let mut wrong = None;
    for (step_index, step) in scenario.steps.iter().enumerate() {
        let outcome = outcomes.get(&StepId {
            scenario: index,
            step: step_index,
        });
        if let Some(outcome) = outcome
            && step.retry == Retry::WhenBusy
            && outcome.retries > 0
        {
            println!(
                "   {}: {}: the stock tool said \"try again\" {} times",
                scenario.name, step.what, outcome.retries
            );
            retries += outcome.retries;
        }
        if let Err(what) = step.judge(outcome) {
            let end = match end {
                End::PoweredOff => String::new(),
                other => format!(" [{other:?}]"),
            };
            wrong = Some(format!(
                "step {} of {}, {}: {what}{end}",
                step_index + 1,
                scenario.steps.len(),
                step.what
            ));
            break;
        }
    }
    let seen = match wrong {
        Some(what) => Err(what),
        None if retries == 0 => Ok(format!("{} steps", scenario.steps.len())),
        None => Ok(format!(
            "{} steps, {retries} repeated while busy",
            scenario.steps.len()
        )),
    };
    Row {
        name: scenario.name.clone(),
        expected: scenario.expected.clone(),
        seen,
    }
}
