//! Payloads made by hand, each with one thing that Xen's loader on AArch64 takes although the
//! hypervisor then runs something else or stops: they show what `verify` protects from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;

use super::build::Tree;
use super::life::{act, upload};
use super::payload::Tools;
use super::process::run_quiet;
use super::prophecy::{Prophecy, foretell};
use super::scenario::{Placed, Scenario, Step, Text};

/// The function that all of them replace.
const REPLACED: &str = "xen_minor_version";
/// How dom0 calls it.
const MINOR: &str = "cat /sys/hypervisor/version/minor";
/// What the unpatched function returns, what the sources of the payloads mean to return, and what
/// comes out instead.
const UNPATCHED: &str = "17";
const MEANT: &str = "77";
const WRONG: &str = "66";
/// A CPU feature that Xen always sets on this machine: `LIVEPATCH_FEATURE`.
const ALWAYS: u32 = 4;
/// The payload below `on-a-payload`.
const LOWER: &str = "lower";

/// Those that run something else.
const QUIET: [&str; 2] = ["far-test-branch", "misaligned-load"];

/// Those that stop the hypervisor.
const STOPPING: [(&str, Stops); 4] = [
    ("replacement-lengths", Stops::Uploaded),
    ("replacement-branch", Stops::Uploaded),
    ("warning", Stops::Called),
    ("on-a-payload", Stops::AppliedOnLower),
];

/// When the hypervisor stops.
#[derive(Clone, Copy, Debug)]
enum Stops {
    Uploaded,
    Called,
    AppliedOnLower,
}

/// Makes the payloads for one build.
#[derive(Debug)]
pub struct Traps<'a> {
    /// The tools under test.
    pub tools: &'a Tools,
    /// The original build.
    pub original: &'a Tree,
    /// Their sources.
    pub sources: PathBuf,
    /// Where they go.
    pub folder: PathBuf,
}

impl Traps<'_> {
    /// The scenarios after which the hypervisor goes on.
    ///
    /// # Errors
    /// When a payload cannot be made, or `verify` does not find its trap.
    pub fn quiet(&self) -> Result<Vec<Scenario>> {
        let scenario = |name: &'static str| {
            let payload = self.make(name)?;
            let prophecy = self.found(name, &[], &payload)?;
            let sees = |words: &str| {
                let look = Step::new(format!("minor version {words}"), MINOR);
                look.says(Text::Output(words.to_owned()))
            };
            Ok(Scenario {
                name: format!("trap {name}"),
                expected: format!("verify finds it; loaded, gives {WRONG} instead of {MEANT}"),
                payloads: vec![placed(name, &payload)],
                steps: vec![
                    upload(name).foretold(&prophecy.upload()),
                    act("apply", name).foretold(&prophecy.apply()),
                    sees(WRONG),
                    act("revert", name),
                    sees(UNPATCHED),
                ],
            })
        };
        QUIET.into_iter().map(scenario).collect()
    }

    /// The scenarios whose last step stops the hypervisor.
    ///
    /// # Errors
    /// As [`Traps::quiet`].
    pub fn stopping(&self) -> Result<Vec<Scenario>> {
        let scenario = |(name, stops): (&'static str, Stops)| {
            let payload = self.make(name)?;
            let lower = self.make(LOWER)?;
            let mut payloads = vec![placed(name, &payload)];
            let mut steps = Vec::new();
            let apply = format!("xen-livepatch apply {name}");
            let (when, last) = match stops {
                Stops::Uploaded => {
                    self.found(name, &[], &payload)?;
                    ("uploaded", upload(name))
                }
                Stops::Called => {
                    self.found(name, &[], &payload)?;
                    steps.extend([upload(name), act("apply", name)]);
                    ("called", Step::new("call", MINOR))
                }
                Stops::AppliedOnLower => {
                    self.found(name, &[&lower], &payload)?;
                    payloads.push(placed(LOWER, &lower));
                    steps.extend([upload(LOWER), act("apply", LOWER), upload(name)]);
                    // The stock tool's own wish for another try must not hide the end.
                    let apply = format!("for n in 1 2 3 4 5 6 7 8 9; do {apply} --nodeps; done");
                    ("applied", Step::new("apply", apply))
                }
            };
            steps.push(last);
            Ok(Scenario {
                name: format!("trap {name}"),
                expected: format!("verify finds it; stops this Xen when it is {when}"),
                payloads,
                steps,
            })
        };
        STOPPING.into_iter().map(scenario).collect()
    }

    /// What `verify` says of a payload, which must name its trap.
    fn found(&self, name: &str, stack: &[&Path], payload: &Path) -> Result<Prophecy> {
        let prophecy = foretell(self.tools, &self.original.symbols(), stack, payload)?;
        ensure!(
            prophecy.fails("traps"),
            "{name}: verify does not find the trap: {prophecy:?}"
        );
        Ok(prophecy)
    }

    fn make(&self, name: &str) -> Result<PathBuf> {
        let folder = &self.folder;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let symbols = self.original.symbols();
        let id = folder.join("build-id.note");
        run_quiet(
            Command::new("aarch64-linux-gnu-objcopy")
                .args(["-O", "binary", "--only-section=.note.gnu.build-id"])
                .args([&symbols, &id]),
        )?;
        let (address, size) = function(&symbols)?;
        let object = folder.join(format!("{name}.o"));
        run_quiet(
            Command::new("aarch64-linux-gnu-gcc")
                .arg("-c")
                .arg(format!("-DBASE_ID=\"{}\"", id.display()))
                .arg(format!("-DOLD={address:#x}"))
                .arg(format!("-DOLD_SIZE={size}"))
                .arg(format!("-DALWAYS={ALWAYS}"))
                .arg(self.sources.join(format!("{name}.S")))
                .arg("-o")
                .arg(&object),
        )?;
        let payload = folder.join(format!("{name}.livepatch"));
        run_quiet(
            Command::new("aarch64-linux-gnu-ld")
                .args(["-EL", "-r", "--build-id=sha1", "-o"])
                .args([&payload, &object]),
        )?;
        Ok(payload)
    }
}

fn placed(name: &str, path: &Path) -> Placed {
    Placed {
        name: name.to_owned(),
        path: path.to_owned(),
    }
}

/// Address and size of the function that is replaced.
fn function(symbols: &Path) -> Result<(u64, u64)> {
    let bytes = fs::read(symbols).with_context(|| symbols.display().to_string())?;
    let elf = Elf::parse(&bytes).with_context(|| symbols.display().to_string())?;
    let mut all = elf.syms.iter();
    let found = all.find(|symbol| elf.strtab.get_at(symbol.st_name) == Some(REPLACED));
    let symbol = found.with_context(|| format!("{}: no {REPLACED}", symbols.display()))?;
    Ok((symbol.st_value, symbol.st_size))
}
