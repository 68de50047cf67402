//! The whole proof from an empty cache to the table.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;

use super::archive::{self, Archive};
use super::beside::Beside;
use super::boots::Boots;
use super::build::{Builder, DebugInfo, Tree};
use super::change::{Change, Course, Verdict};
use super::configuration::{self, Configuration};
use super::guest::Machine;
use super::life::{Made, life};
use super::payload::{self, Said, Stacking, Tools};
use super::platform::{MachineKind, Platform};
use super::process::run_quiet;
use super::prophecy::foretell;
use super::release::ReleaseKind;
use super::scenario::Scenario;
use super::stacks::Stacks;
use super::table::{Row, Table};
use super::traps::Traps;
use super::{faults, in_tree, one_line, second_look};
use crate::limit::FACTOR_VARIABLE;

/// The change that can take part in no replace.
const VETOING: &str = "veto-hooks";

/// Proves the tools on a real Xen: builds it twice, boots it in QEMU and patches it while it runs.
#[derive(Debug, Parser)]
#[command(name = "xen", max_term_width = 100)]
pub struct Arguments {
    /// What Xen runs on
    #[arg(long, default_value = "x86-64")]
    pub machine: MachineKind,

    /// Which Xen: Debian 12's on both machines, or on x86-64 that of Debian 11
    #[arg(long, default_value = "4.17")]
    pub release: ReleaseKind,

    /// Where everything that is fetched and built is kept [default: out/xen, out/xen-4.14,
    /// out/xen-arm64]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,

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
    #[arg(long, env = FACTOR_VARIABLE, default_value_t = 1, value_name = "N")]
    pub factor: u32,

    /// QEMU's accelerator
    #[arg(long, default_value = "tcg")]
    pub accelerator: String,

    /// QEMU's CPU model [default: max,-smap on x86-64, cortex-a57 on arm64]
    #[arg(long)]
    pub cpu: Option<String>,

    /// CPUs of the guest
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub cpus: u32,

    /// Build nothing but the original, and load Xen's own test payloads alone
    #[arg(long)]
    pub in_tree: bool,

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
    let platform = arguments.machine.with(arguments.release);
    let platform = platform.context("that release is run on x86-64 alone")?;
    let cache = match &arguments.cache {
        Some(cache) => cache.clone(),
        None => PathBuf::from(platform.cache),
    };
    fs::create_dir_all(cache.join("log"))
        .with_context(|| format!("cannot make {}", cache.display()))?;
    let cache = fs::canonicalize(&cache).context("cannot find the cache folder")?;
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
    archive::ensure_programs(platform)?;
    let mirror = arguments.mirror.as_deref();
    let archive = archive::fetch(&cache, mirror, platform)?;
    if platform.release.compiler.is_some() && !is_root()? {
        bail!("only root may build this release, for its compiler is in another system's folder");
    }
    let compiler = platform.release.compiler;
    let compiler = compiler.map(|suite| archive::build_root(&cache, mirror, suite));

    let proof = Proof {
        fixtures: root.join("fixtures/xen"),
        payloads: cache.join("payloads"),
        tools,
        builder: Builder::new(
            &cache,
            &archive.source,
            &root.join("runtime/include/xsplice.h"),
            platform,
            compiler.transpose()?,
            jobs,
        ),
        archive,
        cache,
        mirror: arguments.mirror.clone(),
        platform,
        machine: Machine {
            accelerator: arguments.accelerator.clone(),
            cpu: match &arguments.cpu {
                Some(cpu) => cpu.clone(),
                None => platform.cpu.to_owned(),
            },
            cpus: arguments.cpus,
            memory_mib: 1024,
        },
        factor: arguments.factor,
        only: arguments.only.clone(),
        extent: if arguments.in_tree {
            Extent::InTree
        } else {
            Extent::Everything
        },
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
    mirror: Option<String>,
    platform: &'static Platform,
    machine: Machine,
    factor: u32,
    only: Option<String>,
    extent: Extent,
}

/// What is built and loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All changes, and what Xen has.
    Everything,
    /// What Xen has.
    InTree,
}

impl Proof {
    fn wanted(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    fn patch(&self, name: &str) -> PathBuf {
        let changes = self.fixtures.join("changes");
        let file = format!("{name}.patch");
        let own = self.platform.own_patches;
        let own = own.map(|folder| changes.join(folder).join(&file));
        own.filter(|own| own.is_file())
            .unwrap_or_else(|| changes.join(&file))
    }

    fn run(&self, table: &mut Table) -> Result<()> {
        fs::create_dir_all(&self.payloads).context("cannot make the payloads' folder")?;
        let original = self.builder.original(DebugInfo::Absent)?;
        if self.extent == Extent::InTree {
            return self.in_tree(&original, table);
        }
        let original_g = self.builder.original(DebugInfo::Present)?;
        let changes = self.platform.changes;
        println!("== {} changes", changes.len());
        for (name, reason) in self.platform.left_out {
            println!("   left out: {name}: {reason}");
        }
        let mut trees: HashMap<&'static str, Tree> = HashMap::new();
        let mut made = Vec::new();
        for change in changes {
            let patch = self.patch(change.name);
            let (name, before) = match change.debug_info {
                DebugInfo::Absent => (change.name.to_owned(), &original),
                DebugInfo::Present => (format!("{}-g", change.name), &original_g),
            };
            let tree = self
                .builder
                .changed(&name, &patch, before, change.debug_info)?;
            let judged = self
                .wanted(&name)
                .then(|| self.verdict(&name, change, before, &tree, table));
            let payload = judged.transpose()?.flatten();
            // What boots is the original without debug information.
            made.extend(payload.filter(|_| change.debug_info == DebugInfo::Absent));
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
            let prophecy = foretell(&self.tools, &original.symbols(), &[], &made.path)?;
            scenarios.push(life(made, &prophecy));
        }
        let named = |name: &str| changes.iter().find(|change| change.name == name);
        if let ([Some(lower), Some(upper), Some(alone)], Some(vetoing)) =
            (self.platform.stacked.map(named), named(VETOING))
        {
            match stacks.scenarios([lower, upper, alone], vetoing) {
                Ok(more) => scenarios.extend(more),
                Err(error) => table.add(unmade("stacking", &error)),
            }
            match stacks.signed(lower) {
                Ok(scenario) => scenarios.push(scenario),
                Err(error) => table.add(unmade("signed", &error)),
            }
        }
        match stacks.all_at_once(&loadable) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => table.add(unmade("all-at-once", &error)),
        }
        match in_tree::scenarios(&self.tools, &original, self.platform) {
            Ok(more) => scenarios.extend(more),
            Err(error) => table.add(unmade("in-tree payloads", &error)),
        }
        if self.platform.has_traps {
            scenarios.extend(self.traps(&original).quiet()?);
        }
        scenarios.retain(|scenario| self.wanted(&scenario.name));
        let boots = self.boots(&original);
        self.boot(&boots, scenarios, &original, table)?;
        for crash in self.crashes(&original)? {
            boots.crash(crash, table)?;
        }
        for configuration in self.platform.configurations {
            self.configured(configuration, table)?;
        }
        if self.only.is_none() {
            println!("== the tools on the whole tree");
            let later = self.builder.later(&original)?;
            faults::check(&self.tools, [&original, &later], &self.payloads, table)?;
            let Some(edits) = self.platform.edits else {
                return Ok(());
            };
            let patch = self.patch(edits.patch);
            let patched =
                self.builder
                    .changed(edits.patch, &patch, &original, DebugInfo::Absent)?;
            let trees = [&original, &patched];
            one_line::check(&self.tools, edits, trees, &self.payloads, table)?;
        }
        Ok(())
    }

    /// The changes of a configuration, on a Xen that is built so.
    fn configured(&self, configuration: &Configuration, table: &mut Table) -> Result<()> {
        let named = |name: &str| self.platform.changes.iter().find(|one| one.name == name);
        let wanted: Vec<_> = configuration
            .changes
            .iter()
            .filter(|(name, _)| self.wanted(&format!("{} {name}", configuration.name)))
            .filter_map(|(name, functions)| Some((named(name)?, *functions)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        println!("== {}", configuration.about);
        if configuration.suite.is_some() && !is_root()? {
            println!("   left out: only root may build in another system's folder");
            return Ok(());
        }
        let cache = self.cache.join("configurations").join(configuration.name);
        let payloads = cache.join("payloads");
        for folder in [&cache.join("log"), &payloads] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let root = configuration
            .suite
            .map(|suite| archive::build_root(&self.cache, self.mirror.as_deref(), suite))
            .transpose()?;
        let builder = self.builder.configured(&cache, configuration, root);
        let original = builder.original(DebugInfo::Absent)?;
        let mut scenarios = Vec::new();
        for (change, functions) in wanted {
            let (name, patch) = (change.name, self.patch(change.name));
            let tree = builder.changed(name, &patch, &original, DebugInfo::Absent)?;
            let path = payloads.join(format!("{name}.livepatch"));
            let stacking = Stacking::default();
            let said = self.tools.build(name, &original, &tree, &path, &stacking)?;
            table.add(configuration::row(configuration, change, functions, &said));
            if matches!(said, Said::Payload(_)) {
                let prophecy = foretell(&self.tools, &original.symbols(), &[], &path)?;
                let course = if configuration.once_only.contains(&name) {
                    Course::OnceOnly
                } else {
                    change.course
                };
                let made = Made {
                    change,
                    course,
                    path,
                };
                let mut scenario = life(&made, &prophecy);
                scenario.name = format!("{} with {}", scenario.name, configuration.about);
                scenarios.push(scenario);
            }
        }
        let mut boots = self.boots(&original);
        boots.cache = &cache;
        let mut beside = Beside::run(&original.symbols(), &scenarios)?;
        boots.all(scenarios, &mut beside, table)
    }

    /// Xen's own test payloads alone.
    fn in_tree(&self, original: &Tree, table: &mut Table) -> Result<()> {
        let mut scenarios = in_tree::scenarios(&self.tools, original, self.platform)?;
        if self.platform.has_traps {
            scenarios.extend(self.traps(original).quiet()?);
        }
        scenarios.retain(|scenario| self.wanted(&scenario.name));
        let boots = self.boots(original);
        self.boot(&boots, scenarios, original, table)?;
        for crash in self.crashes(original)? {
            boots.crash(crash, table)?;
        }
        Ok(())
    }

    fn traps<'a>(&'a self, original: &'a Tree) -> Traps<'a> {
        Traps {
            tools: &self.tools,
            original,
            sources: self.fixtures.join("traps"),
            folder: self.payloads.join("traps"),
        }
    }

    /// The scenarios that end with the hypervisor, each for a guest of its own.
    fn crashes(&self, original: &Tree) -> Result<Vec<Scenario>> {
        let mut crashes = Vec::new();
        if self.platform.dies_of_nop {
            crashes.push(in_tree::crash(&self.tools, original, self.platform));
        }
        if self.platform.has_traps {
            crashes.extend(self.traps(original).stopping()?);
        }
        crashes.retain(|crash| self.wanted(&crash.name));
        Ok(crashes)
    }

    fn boots(&self, original: &Tree) -> Boots<'_> {
        Boots {
            cache: &self.cache,
            probe: self.fixtures.join("probe.c"),
            archive: &self.archive,
            platform: self.platform,
            xen: original.image(),
            machine: &self.machine,
            factor: self.factor,
        }
    }

    /// Runs the scenarios on the bundled loader and in the booted Xen.
    fn boot(
        &self,
        boots: &Boots<'_>,
        scenarios: Vec<Scenario>,
        original: &Tree,
        table: &mut Table,
    ) -> Result<()> {
        println!("== the same on the bundled loader");
        let mut beside = Beside::run(&original.symbols(), &scenarios)?;
        boots.all(scenarios, &mut beside, table)?;
        let page = self.cache.join("beside.md");
        fs::write(&page, beside.page()).with_context(|| page.display().to_string())?;
        println!("   side by side, step by step: {}", page.display());
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
        if matches!(said, Said::Payload(_)) {
            table.add(second_look::row(name, &path, &original.symbols())?);
        }
        let loadable = matches!(change.verdict, Verdict::Payload(_));
        let course = change.course;
        Ok(
            (loadable && matches!(said, Said::Payload(_))).then_some(Made {
                change,
                course,
                path,
            }),
        )
    }
}

fn is_root() -> Result<bool> {
    Ok(run_quiet(Command::new("id").arg("-u"))?.trim() == "0")
}

fn unmade(name: &str, error: &anyhow::Error) -> Row {
    Row {
        name: name.to_owned(),
        expected: "payloads made and judged".to_owned(),
        seen: Err(format!("{error:#}")),
    }
}
