//! Machines and payloads that the checks share.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use xsplice_abi::Errno;
use xsplice_ctl::calls::{ActionKind, State};
use xsplice_tests::kernel::{Kernel, number};
use xsplice_tests::qemu::{End, Machine, Pace, Running};
use xsplice_tests::shell::{Echo, Line, Shell};
use xsplice_tests::tools;
use xsplice_tests::trees::{Expected, Trees};

/// How long a machine lives, before the factor.
const MACHINE_LIMIT: Duration = Duration::from_secs(900);
/// How long the kernel has to boot, and every CPU to show that it goes on. 64 CPUs on two take
/// their time.
pub(crate) const CPU_LIMIT: Duration = Duration::from_secs(60);

/// `true`: the kernel is built with debug assertions, which check each lock (`make kernel-debug`).
const ASSERTIONS_VARIABLE: &str = "CARGO_PROFILE_KERNEL_DEBUG_ASSERTIONS";
/// What such a kernel says when it boots.
const ASSERTIONS_ARE_ON: &str = "debug assertions are on";

/// How often a revert is asked for while CPUs do not come in time.
const REVERTS: u32 = 20;

/// Tries a claim on the machine with so many CPUs.
pub(crate) type CheckFunction = fn(&mut Bench, u32) -> Result<()>;

/// What the checks share.
#[derive(Default)]
pub(crate) struct Bench {
    built: Option<Built>,
    machines: BTreeMap<u32, Running>,
    /// How long machines live, when not [`MACHINE_LIMIT`].
    limit: Option<Duration>,
}

struct Built {
    trees: Trees,
    original: Expected,
    payloads: BTreeMap<String, Payload>,
    /// Removed with everything in it at the end.
    folder: TempDir,
}

/// A payload, and what the kernel says when it is in effect.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub expected: Expected,
    /// Where the patched source is.
    pub source: PathBuf,
}

/// Which payload a check wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name.
    pub name: &'static str,
    /// Its patch in fixtures/target/patches.
    pub patch: &'static str,
    /// What it is stacked on.
    pub below: Option<&'static Wanted>,
}

pub(crate) const HELLO: Wanted = Wanted {
    name: "hello",
    patch: "hello-world",
    below: None,
};
pub(crate) const BYE: Wanted = Wanted {
    name: "bye",
    patch: "bye-world",
    below: Some(&HELLO),
};
pub(crate) const HOT: Wanted = Wanted {
    name: "hot",
    patch: "hot-function",
    below: None,
};
pub(crate) const HOT_AGAIN: Wanted = Wanted {
    name: "hot2",
    patch: "hot-function-2",
    below: Some(&HOT),
};
pub(crate) const REPLACE: Wanted = Wanted {
    name: "replace",
    patch: "replace-world",
    below: None,
};
/// With a writable variable of its own.
pub(crate) const STATE: Wanted = Wanted {
    name: "state",
    patch: "new-static",
    below: None,
};

impl Bench {
    /// Runs a check on the machine with `cpus` CPUs, from a clean kernel to a clean kernel.
    pub(crate) fn run(&mut self, cpus: u32, check: CheckFunction) -> Result<()> {
        // Machines of other checks are over: their CPUs would take the host's time from this one's.
        self.machines.retain(|others, _| *others == cpus);
        let result = self
            .clean(cpus)
            .and_then(|()| check(self, cpus))
            .and_then(|()| self.clean(cpus));
        result.map_err(|error| match self.machines.remove(&cpus) {
            Some(mut running) => {
                let end = match running.try_end() {
                    Ok(Some(end)) => end.to_string(),
                    _ => "the kernel was still running".to_owned(),
                };
                error.context(format!("{end}; {}", running.log_tail()))
            }
            None => error,
        })
    }

    /// The machine with `cpus` CPUs, booted now if it is not running.
    pub(crate) fn kernel(&mut self, cpus: u32) -> Result<Kernel> {
        let ended = match self.machines.get_mut(&cpus) {
            Some(running) => running.try_end()?.is_some(),
            None => true,
        };
        if ended {
            self.boot(cpus, None)?;
        }
        let running = self.machines.get(&cpus).context("just booted")?;
        Ok(Kernel {
            socket: running.machine().control_path(),
        })
    }

    /// A fresh machine with `cpus` CPUs in place of the one that runs, which trusts the holder of a
    /// certificate alone.
    pub(crate) fn kernel_that_trusts(&mut self, cpus: u32, certificate: &Path) -> Result<Kernel> {
        self.stop(cpus);
        self.boot(cpus, Some(certificate.to_owned()))?;
        self.kernel(cpus)
    }

    /// Machines that are booted from now on live so long.
    pub(crate) fn keep_machines_for(&mut self, limit: Duration) {
        self.limit = Some(limit);
    }

    /// Ends the machine with `cpus` CPUs.
    pub(crate) fn stop(&mut self, cpus: u32) {
        self.machines.remove(&cpus);
    }

    fn boot(&mut self, cpus: u32, certificate: Option<PathBuf>) -> Result<()> {
        let limit = self.limit.unwrap_or(MACHINE_LIMIT);
        let built = self.built()?;
        let machine = Machine {
            kernel: built.trees.kernel(),
            cpus,
            options: "exit_after_ms=0".to_owned(),
            certificate,
            pace: Pace::Free,
            limit,
            folder: built.folder.path().join(format!("machine{cpus}")),
        };
        let kernel = Kernel {
            socket: machine.control_path(),
        };
        self.machines.insert(cpus, machine.boot()?);
        let wants_assertions = env::var_os(ASSERTIONS_VARIABLE).is_some_and(|set| set == "true");
        let up = |info: &BTreeMap<_, _>| number(info, "cpus").ok() == Some(u64::from(cpus));
        kernel.wait_until("boot", CPU_LIMIT, up)?;
        let has_assertions = self.log(cpus)?.contains(ASSERTIONS_ARE_ON);
        ensure!(
            has_assertions == wants_assertions,
            "{ASSERTIONS_VARIABLE} and the kernel do not agree: is it another build?"
        );
        Ok(())
    }

    /// The kernel's ELF file.
    pub(crate) fn image(&mut self) -> Result<Vec<u8>> {
        Ok(fs::read(self.built()?.trees.kernel())?)
    }

    /// The same machine, by its unprivileged port.
    pub(crate) fn guest(&mut self, cpus: u32) -> Result<Kernel> {
        self.kernel(cpus)?;
        let running = self.machines.get(&cpus).context("just booted")?;
        Ok(Kernel {
            socket: running.machine().guest_path(),
        })
    }

    /// Process id of the group that runs the machine with `cpus` CPUs.
    pub(crate) fn process(&mut self, cpus: u32) -> Result<u32> {
        self.kernel(cpus)?;
        Ok(self.machines.get(&cpus).context("just booted")?.process())
    }

    /// The log of the machine with `cpus` CPUs, so far.
    pub(crate) fn log(&mut self, cpus: u32) -> Result<String> {
        self.kernel(cpus)?;
        self.machines.get(&cpus).context("just booted")?.log()
    }

    /// Waits for the machine with `cpus` CPUs to end by itself, and gives its whole log.
    pub(crate) fn end(&mut self, cpus: u32) -> Result<String> {
        let mut running = self.machines.remove(&cpus).context("it was running")?;
        let end = running.wait()?;
        let log = running.log()?;
        ensure!(end == End::Fault, "{end}: {log}");
        Ok(log)
    }

    /// What the kernel says unpatched.
    pub(crate) fn original(&mut self) -> Result<Expected> {
        Ok(self.built()?.original.clone())
    }

    /// A payload, built now if it has not been.
    pub(crate) fn payload(&mut self, wanted: &Wanted) -> Result<Payload> {
        if let Some(below) = wanted.below {
            self.payload(below)?;
        }
        let built = self.built()?;
        if let Some(payload) = built.payloads.get(wanted.name) {
            return Ok(payload.clone());
        }
        let (source, tree) = built.trees.build_patched(wanted.patch)?;
        let below = wanted.below.map(|below| built.path_of(below.name));
        let path = built.trees.payload(wanted.name, &tree, below.as_deref())?;
        let payload = Payload {
            name: wanted.name,
            bytes: fs::read(path)?,
            expected: built.trees.expected(&source)?,
            source,
        };
        built
            .payloads
            .insert(wanted.name.to_owned(), payload.clone());
        Ok(payload)
    }

    /// A payload for another kernel, whose original tree is not the one that is running.
    pub(crate) fn foreign_payload(&mut self) -> Result<Vec<u8>> {
        let built = self.built()?;
        let foreign = Trees {
            out: built.folder.path().join("foreign"),
            ..built.trees.clone()
        };
        if !foreign.out.exists() {
            let (_, other) = built.trees.build_patched(HELLO.patch)?;
            fs::create_dir_all(&foreign.out)?;
            let copy = Line::new("cp").arg("-r").arg(other).arg(foreign.original());
            built.trees.shell.run(&copy)?;
        }
        let path = foreign.payload("foreign", &built.trees.original(), None)?;
        Ok(fs::read(path)?)
    }

    fn built(&mut self) -> Result<&mut Built> {
        if self.built.is_none() {
            let folder = tempfile::tempdir()?;
            let trees = Trees {
                shell: Shell::at_root(Echo::Silent),
                out: folder.path().to_owned(),
                tools: tools::folder().to_owned(),
            };
            trees.build_original()?;
            self.built = Some(Built {
                original: trees.expected("fixtures/target".as_ref())?,
                trees,
                payloads: BTreeMap::new(),
                folder,
            });
        }
        self.built.as_mut().context("just built")
    }

    /// Leaves no payload behind and sees that nothing went wrong so far.
    fn clean(&mut self, cpus: u32) -> Result<()> {
        let original = self.original()?;
        let kernel = self.kernel(cpus)?;
        unload_all(&kernel)?;
        let info = kernel.info()?;
        ensure!(
            info.get("extra") == Some(&original.extra_version),
            "{info:?}"
        );
        let wrong = number(&info, "wrong")?;
        ensure!(wrong == 0, "{wrong} wrong results on the CPUs");
        kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
        Ok(())
    }
}

impl Built {
    fn path_of(&self, name: &str) -> PathBuf {
        self.trees.out.join(format!("{name}.xsplice"))
    }
}

/// Reverts whatever is on top until nothing is in effect, then unloads everything.
pub(crate) fn unload_all(kernel: &Kernel) -> Result<()> {
    loop {
        let applied: Vec<String> = in_state(kernel, State::Applied)?;
        if applied.is_empty() {
            break;
        }
        let mut reverted = false;
        // From the top, where a revert is not refused; the list is in the order of the uploads.
        for name in applied.iter().rev() {
            reverted |= revert_from_top(kernel, name)?;
        }
        ensure!(reverted, "none of {applied:?} can be reverted");
    }
    for name in in_state(kernel, State::Checked)? {
        if let Err(errno) = kernel.persist(ActionKind::Unload, &name)? {
            bail!("unload {name}: {errno}");
        }
    }
    let left = kernel.list()?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Reverts `name` if it is on top. -EBUSY says that it is not, or that a CPU did not come in time:
/// the first is told by the status, which no action has touched then.
fn revert_from_top(kernel: &Kernel, name: &str) -> Result<bool> {
    for _ in 0..REVERTS {
        if kernel.act(ActionKind::Revert, name)?.is_ok() {
            return Ok(true);
        }
        let rc = kernel.get(name)?.map(|status| status.rc);
        if rc != Some(Errno::EBUSY.negated()) {
            return Ok(false);
        }
    }
    Ok(false)
}

fn in_state(kernel: &Kernel, state: State) -> Result<Vec<String>> {
    let entries = kernel.states()?.into_iter();
    Ok(entries
        .filter(|(_, found)| *found == state)
        .map(|(name, _)| name)
        .collect())
}

impl Payload {
    /// Uploads it; it must be taken.
    pub(crate) fn upload(&self, kernel: &Kernel) -> Result<()> {
        match kernel.upload(self.name, &self.bytes)? {
            Ok(()) => Ok(()),
            Err(errno) => bail!("upload {}: {errno}", self.name),
        }
    }

    /// Carries out an action; it must succeed, if not at once because a CPU came too late.
    pub(crate) fn act(&self, kernel: &Kernel, kind: ActionKind) -> Result<()> {
        match kernel.persist(kind, self.name)? {
            Ok(_) => Ok(()),
            Err(errno) => bail!("{kind} {}: {errno}", self.name),
        }
    }

    /// Carries out an action; it must be refused with `wanted`, and nothing may change.
    pub(crate) fn refused(&self, kernel: &Kernel, kind: ActionKind, wanted: Errno) -> Result<()> {
        let before = kernel.states()?;
        let answer = kernel.act(kind, self.name)?;
        ensure!(
            answer == Err(wanted),
            "{kind} {}: expected {wanted}, got {answer:?}",
            self.name
        );
        let after = kernel.states()?;
        ensure!(
            before == after,
            "{kind} {}: {before:?} became {after:?}",
            self.name
        );
        Ok(())
    }
}
