//! Boots the guest as often as it takes to run every scenario, and judges what each did.
//!
//! All scenarios share one boot. A scenario that kills its guest is judged by that, and the ones
//! behind it get another boot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::archive::Archive;
use super::beside::Beside;
use super::guest::{self, Boot, End, Machine, Session};
use super::initramfs::Initramfs;
use super::platform::Platform;
use super::process::run_quiet;
use super::scenario::{Placed, Scenario};
use super::script::{self, Event, Outcome, RETRIES, Reader, StepId};
use super::table::{Row, Table};

/// What a boot may take before the first step, and each step, in seconds, before `--factor`.
const BOOT_SECONDS: u64 = 240;
const STEP_SECONDS: u64 = 3;
/// The programs and libraries of the stock packages that dom0 gets.
const STOCK_PROGRAMS: [&str; 1] = ["xen-livepatch"];
const LIBRARY_FOLDERS: [&str; 2] = ["usr/lib", "lib"];
/// What dom0 gets of busybox.
const APPLETS: [&str; 11] = [
    "sh", "mount", "insmod", "cat", "sed", "grep", "cut", "dd", "printf", "sleep", "poweroff",
];
/// A crashed guest must be gone this long after the line that says so.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// What every boot has in common.
#[derive(Debug)]
pub struct Boots<'a> {
    /// Where logs and the root file system go.
    pub cache: &'a Path,
    /// The source of the program that issues single hypercalls.
    pub probe: PathBuf,
    /// dom0's kernel and user space.
    pub archive: &'a Archive,
    /// What it all runs on.
    pub platform: &'static Platform,
    /// The image of Xen that boots.
    pub xen: PathBuf,
    /// How QEMU is run.
    pub machine: &'a Machine,
    /// Multiplies the time limits.
    pub factor: u32,
}

/// One boot: how it ended, and what each step did.
struct Booted {
    session: Session,
    outcomes: BTreeMap<StepId, Outcome>,
}

impl Boots<'_> {
    /// Boots until every scenario has been run or has killed its guest.
    pub fn all(
        &self,
        mut pending: Vec<Scenario>,
        beside: &mut Beside,
        table: &mut Table,
    ) -> Result<()> {
        println!(
            "== exit status 2 (busy) of the stock tool is repeated up to {RETRIES} times a step"
        );
        let mut boots = 0;
        while !pending.is_empty() {
            boots += 1;
            let booted = self.boot(&format!("boot-{boots}"), &pending)?;
            let reached = booted.outcomes.keys().map(|id| id.scenario + 1).max();
            let consumed = match &booted.session.end {
                End::PoweredOff => pending.len(),
                // The scenario in which the guest died has been run; the ones behind it have not.
                _ => reached.unwrap_or(0).clamp(1, pending.len()),
            };
            for (index, scenario) in pending.drain(..consumed).enumerate() {
                table.add(row(index, &scenario, &booted.outcomes, &booted.session.end));
                beside.compare(index, &scenario, &booted.outcomes, table);
            }
        }
        Ok(())
    }

    /// Boots for a scenario that crashes the hypervisor by its last step: the guest must be killed
    /// at once.
    pub fn crash(&self, scenario: Scenario, table: &mut Table) -> Result<()> {
        let scenarios = [scenario];
        let name = scenarios[0].name.replace(' ', "-");
        let booted = self.boot(&format!("boot-{name}"), &scenarios)?;
        let [scenario] = scenarios;
        let last = StepId {
            scenario: 0,
            step: scenario.steps.len().saturating_sub(1),
        };
        let died_there = booted
            .outcomes
            .get(&last)
            .is_some_and(|outcome| outcome.status.is_none());
        let seen = match booted.session.end {
            End::Crashed { sign, killed_after } if died_there && killed_after <= KILLED_WITHIN => {
                let sign = sign.trim_start_matches("(XEN) ").trim_matches(['*', ' ']);
                Ok(format!(
                    "{sign}, killed after {:.1} s",
                    killed_after.as_secs_f64()
                ))
            }
            end if died_there => Err(format!("{end:?}")),
            end => Err(format!("did not crash in its last step: {end:?}")),
        };
        table.add(Row {
            name: scenario.name,
            expected: scenario.expected,
            seen,
        });
        Ok(())
    }

    fn boot(&self, name: &str, scenarios: &[Scenario]) -> Result<Booted> {
        println!("== {name}: {} scenarios", scenarios.len());
        let log = self.cache.join("log").join(format!("{name}.log"));
        let steps: usize = scenarios.iter().map(|scenario| scenario.steps.len()).sum();
        let initramfs = self.cache.join("initramfs");
        fs::write(&initramfs, self.initramfs(scenarios)?).context("cannot write the initramfs")?;
        let seconds = BOOT_SECONDS + STEP_SECONDS * u64::try_from(steps).unwrap_or(u64::MAX);
        let mut reader = Reader::default();
        let session = guest::boot(
            self.machine,
            &Boot {
                kind: self.platform.machine,
                xen: &self.xen,
                kernel: &self.archive.kernel,
                initramfs: &initramfs,
                log: log.clone(),
                time_limit: Duration::from_secs(seconds) * self.factor,
            },
            &mut |line| {
                if let Some(event) = reader.line(line) {
                    tell(event, scenarios);
                }
            },
        )?;
        println!("   {} s, {:?}", session.elapsed.as_secs(), session.end);
        ensure!(
            session.lines.iter().any(|line| line.contains("@@BOOT")),
            "dom0 did not come up: {:?}; {}",
            session.end,
            log.display()
        );
        Ok(Booted {
            session,
            outcomes: reader.finish(),
        })
    }

    fn initramfs(&self, scenarios: &[Scenario]) -> Result<Vec<u8>> {
        let mut archive = Initramfs::default();
        for folder in ["proc", "sys", "dev", "tmp"] {
            archive.directory(folder)?;
        }
        let packages = &self.archive.root;
        archive.file_from("bin/busybox", &packages.join("bin/busybox"))?;
        for applet in APPLETS {
            archive.link(&format!("bin/{applet}"), "busybox")?;
        }
        for program in STOCK_PROGRAMS {
            let stock = packages
                .join(self.platform.release.stock_tools)
                .join(program);
            archive.file_from(&format!("bin/{program}"), &stock)?;
        }
        self.libraries(&mut archive)?;
        archive.file_from("bin/probe", &self.probe()?)?;
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

    fn probe(&self) -> Result<PathBuf> {
        let probe = self.cache.join("probe");
        run_quiet(
            Command::new(self.platform.compiler)
                .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
                .arg(&probe)
                .arg(&self.probe),
        )?;
        Ok(probe)
    }

    /// The libraries of the stock packages, and the C library that the probe's compiler may have
    /// linked against too.
    fn libraries(&self, archive: &mut Initramfs) -> Result<()> {
        let machine = self.platform.libraries;
        for folder in LIBRARY_FOLDERS {
            let folder = self.archive.root.join(folder).join(machine);
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let entry = entry.context("cannot list the libraries")?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // Programs ask for `libNAME.so.VERSION`, which is a link to the full version.
                if name.contains(".so.") && entry.path().is_file() {
                    archive.file_from(&format!("lib/{machine}/{name}"), &entry.path())?;
                }
            }
        }
        let loader = self.platform.loader;
        if self.platform.has_own_libc {
            return archive.file_from(loader, &in_root(&self.archive.root, loader)?);
        }
        let libc = format!("lib/{machine}/libc.so.6");
        archive.file_from(&libc, &Path::new("/").join(&libc))?;
        archive.file_from(loader, &Path::new("/").join(loader))
    }
}

/// A file of a root folder. It may be a link that counts from the root.
fn in_root(root: &Path, name: &str) -> Result<PathBuf> {
    let path = root.join(name);
    match fs::read_link(&path) {
        Ok(target) if target.is_absolute() => {
            let target = target.strip_prefix("/").context("an absolute path")?;
            Ok(root.join(target))
        }
        _ => Ok(path),
    }
}

/// Prints each scenario as it starts, and each repetition.
fn tell(event: Event, scenarios: &[Scenario]) {
    match event {
        Event::Starts(id) if id.step == 0 => {
            if let Some(scenario) = scenarios.get(id.scenario) {
                println!(
                    "   {}/{} {}",
                    id.scenario + 1,
                    scenarios.len(),
                    scenario.name
                );
            }
        }
        Event::Starts(_) => {}
        Event::Retry { id, attempt } => {
            let step = scenarios
                .get(id.scenario)
                .and_then(|scenario| scenario.steps.get(id.step));
            let what = step.map_or("?", |step| step.what.as_str());
            println!("   busy: {what}, retry {attempt} of {RETRIES}");
        }
    }
}

/// Judges a scenario: its first step that is not as expected, or how often it was repeated.
fn row(index: usize, scenario: &Scenario, outcomes: &BTreeMap<StepId, Outcome>, end: &End) -> Row {
    let mut retries = 0;
    let mut compared = 0;
    let mut wrong = None;
    for (step_index, step) in scenario.steps.iter().enumerate() {
        let outcome = outcomes.get(&StepId {
            scenario: index,
            step: step_index,
        });
        retries += outcome.map_or(0, |outcome| outcome.retries);
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
        compared += usize::from(step.foretold.is_some());
    }
    let seen = match wrong {
        Some(what) => Err(what),
        None => {
            let mut text = format!(
                "{} steps, {compared} as verify foretold",
                scenario.steps.len()
            );
            if retries > 0 {
                let _ = write!(text, ", {retries} retries while busy");
            }
            Ok(text)
        }
    };
    Row {
        name: scenario.name.clone(),
        expected: scenario.expected.clone(),
        seen,
    }
}
