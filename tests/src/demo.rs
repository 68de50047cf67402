//! What the project is about, shown on a running kernel.
//!
//! Everything is made in this run by commands that are printed as a reader would type them: two
//! builds, the payloads between them, the boot, hello world of the 2016 patch series, a function
//! that all CPUs call replaced twenty times under load, payloads stacked and replaced. Whatever is
//! compared with the kernel's answer comes out of the patched C sources, compiled for the host: the
//! kernel could not say it without having been patched. The first thing that is not so ends the
//! run.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernel::{Kernel, number};
use crate::qemu::{Machine, Pace, Running};
use crate::shell::{Echo, Line, Shell};
use crate::trees::{Expected, Trees};

/// How long the demo's machine may live, before the factor.
const DEMO_LIMIT: Duration = Duration::from_secs(300);
/// How long a kernel that is left running lives.
const KERNEL_LIMIT: Duration = Duration::from_secs(3600);
/// How long the kernel has to boot, and every CPU to show that it goes on.
const CPU_LIMIT: Duration = Duration::from_secs(60);
/// Emulated CPUs take turns on the few real ones, so the default of 30 ms is too short.
const TIMEOUT: &str = "--timeout 4s";

/// What to show it on.
#[derive(Clone, Debug)]
pub struct Demo {
    /// How many CPUs the kernel has.
    pub cpus: u32,
    /// How often the hot function is replaced and reverted.
    pub rounds: u32,
    /// The certificate of whoever must have signed payloads; for a kernel that is left running.
    pub certificate: Option<PathBuf>,
    /// Where everything goes, from the root of the workspace.
    pub out: PathBuf,
    /// Where the commands are, from there too.
    pub tools: PathBuf,
}

/// One of the demo's payloads.
struct Patch {
    /// Name of the payload.
    name: &'static str,
    /// Name of the patch in fixtures/target/patches.
    patch: &'static str,
    /// The payload that it is applied on top of.
    below: Option<&'static str>,
}

const HELLO: &str = "hello_world";
const HOT: &str = "hot_function";
const HOT_AGAIN: &str = "hot_function_2";
const REPLACE: &str = "replace_world";

const PATCHES: [Patch; 4] = [
    Patch {
        name: HELLO,
        patch: "hello-world",
        below: None,
    },
    Patch {
        name: HOT,
        patch: "hot-function",
        below: None,
    },
    Patch {
        name: HOT_AGAIN,
        patch: "hot-function-2",
        below: Some(HOT),
    },
    Patch {
        name: REPLACE,
        patch: "replace-world",
        below: None,
    },
];

/// A payload, and what the kernel must say when it is in effect.
struct Payload {
    name: &'static str,
    path: PathBuf,
    expected: Expected,
}

/// What was built.
struct Built {
    trees: Trees,
    original: Expected,
    payloads: Vec<Payload>,
}

impl Built {
    fn payload(&self, name: &str) -> Result<&Payload> {
        self.payloads
            .iter()
            .find(|payload| payload.name == name)
            .with_context(|| format!("no payload {name}"))
    }
}

impl Demo {
    /// Shows all of it.
    ///
    /// # Errors
    /// At the first thing that is not as it should be; the end of the kernel's log is shown then.
    pub fn run(&self) -> Result<()> {
        let built = self.build()?;
        let machine = self.machine(&built, DEMO_LIMIT);
        let running = self.boot(&machine)?;
        let shown = self.show(&built, &machine);
        if shown.is_err() {
            eprint!("{}", running.log_tail());
        }
        shown
    }

    /// Builds the same, boots, and leaves the kernel running.
    ///
    /// # Errors
    /// When something cannot be built or does not boot.
    pub fn leave_kernel_running(&self) -> Result<()> {
        let built = self.build()?;
        let machine = self.machine(&built, KERNEL_LIMIT);
        let running = self.boot(&machine)?;
        let ctl = self.tools.join("xsplice-ctl");
        println!();
        println!("The kernel is running. Its control channel, its unprivileged port, its log:");
        println!("  {}", machine.control_path().display());
        println!("  {}", machine.guest_path().display());
        println!("  {}", machine.log_path().display());
        println!("Try:");
        println!(
            "  export XSPLICE_SOCKET={}",
            machine.control_path().display()
        );
        println!("  {} info", ctl.display());
        let hello = built.payload(HELLO)?;
        println!(
            "  {} load {TIMEOUT} {}",
            ctl.display(),
            hello.path.display()
        );
        println!("  {} revert {TIMEOUT} {HELLO}", ctl.display());
        println!(
            "The other payloads lie beside it; each but {HOT_AGAIN} is made for the bare kernel."
        );
        println!(
            "It ends by itself after an hour, or by: kill {}",
            running.leave()
        );
        Ok(())
    }

    fn build(&self) -> Result<Built> {
        let trees = Trees {
            shell: Shell::at_root(Echo::Shown),
            out: self.out.clone(),
            tools: self.tools.clone(),
        };
        heading("The tree that is running, and the trees with a fix each");
        trees.build_original()?;
        let mut sources = Vec::new();
        for patch in &PATCHES {
            sources.push(trees.build_patched(patch.patch)?);
        }

        heading(
            "The payloads: what differs between the two builds, linked against the running kernel",
        );
        let mut payloads: Vec<Payload> = Vec::new();
        for (patch, (source, tree)) in PATCHES.iter().zip(&sources) {
            let below = payloads
                .iter()
                .find(|payload| Some(payload.name) == patch.below)
                .map(|payload| payload.path.clone());
            payloads.push(Payload {
                name: patch.name,
                path: trees.payload(patch.name, tree, below.as_deref())?,
                expected: quiet(&trees).expected(source)?,
            });
        }
        let mut hashes = Line::new("sha256sum").arg(trees.kernel());
        for payload in &payloads {
            hashes = hashes.arg(&payload.path);
        }
        trees.shell.run(&hashes)?;
        Ok(Built {
            original: quiet(&trees).expected(Path::new("fixtures/target"))?,
            trees,
            payloads,
        })
    }

    fn machine(&self, built: &Built, limit: Duration) -> Machine {
        Machine {
            kernel: built.trees.kernel(),
            cpus: self.cpus,
            options: "exit_after_ms=0".to_owned(),
            certificate: self.certificate.clone(),
            pace: Pace::Free,
            limit,
            folder: self.out.clone(),
        }
    }

    fn boot(&self, machine: &Machine) -> Result<Running> {
        heading(&format!(
            "A kernel with {} CPUs, all of them busy in that code",
            self.cpus
        ));
        let command = machine.command()?;
        let mut line = Line::new(command.get_program());
        for argument in command.get_args() {
            line = line.arg(argument);
        }
        println!("$ {} &", line.text());
        let running = machine.boot()?;
        let kernel = Kernel {
            socket: machine.control_path(),
        };
        let up = kernel.wait_until("boot", CPU_LIMIT, |info| {
            number(info, "cpus").ok() == Some(u64::from(self.cpus))
        });
        if up.is_err() {
            eprint!("{}", running.log_tail());
        }
        up?;
        Ok(running)
    }

    fn show(&self, built: &Built, machine: &Machine) -> Result<()> {
        let mut shell = built.trees.shell.clone();
        shell.export("XSPLICE_SOCKET", &machine.control_path());
        let stage = Stage {
            shell,
            ctl: self.tools.join("xsplice-ctl").display().to_string(),
            kernel: Kernel {
                socket: machine.control_path(),
            },
        };
        stage.hello_world(built)?;
        let calls = stage.under_load(built, self.rounds)?;
        stage.stack_and_replace(built)?;
        let wrong = number(&stage.kernel.info()?, "wrong")?;
        ensure!(wrong == 0, "{wrong} wrong results");

        heading("Shown");
        let expected = |name: &str| built.payload(name).map(|payload| &payload.expected);
        println!(
            "On {} busy CPUs: {:?} became {:?} and {:?} again without a reboot; a function that all \
             of them call was replaced and reverted {} times during {calls} checked calls with {wrong} \
             wrong results; a second payload was stacked on the first, and a third replaced both.",
            self.cpus,
            built.original.extra_version,
            expected(HELLO)?.extra_version,
            built.original.extra_version,
            self.rounds,
        );
        Ok(())
    }
}

/// A booted kernel, and the shell in front of it.
struct Stage {
    shell: Shell,
    ctl: String,
    kernel: Kernel,
}

impl Stage {
    /// Runs the tool with `arguments` and shows both.
    fn ctl(&self, arguments: &str) -> Result<String> {
        self.shell
            .run(&Line::script(&format!("{} {arguments}", self.ctl)))
    }

    /// Shows the extra version; it must be `wanted`.
    fn extra_version(&self, wanted: &str) -> Result<()> {
        let shown = self.ctl("info | grep extra")?;
        let value = shown.split_once(": ").map(|(_, value)| value.trim_end());
        ensure!(
            value == Some(wanted),
            "expected {wanted:?}, as the C source has it"
        );
        Ok(())
    }

    fn hello_world(&self, built: &Built) -> Result<()> {
        heading("Hello world");
        let hello = built.payload(HELLO)?;
        ensure!(
            hello.expected.extra_version != built.original.extra_version,
            "the patch changes nothing"
        );
        self.ctl("info")?;
        self.extra_version(&built.original.extra_version)?;
        self.ctl(&format!("load {TIMEOUT} {}", hello.path.display()))?;
        self.ctl("list")?;
        self.extra_version(&hello.expected.extra_version)?;
        self.ctl(&format!("revert {TIMEOUT} {HELLO}"))?;
        self.ctl(&format!("unload {HELLO}"))?;
        self.extra_version(&built.original.extra_version)?;
        self.ctl("list")?;
        Ok(())
    }

    /// Returns how many checked calls the CPUs made meanwhile.
    fn under_load(&self, built: &Built, rounds: u32) -> Result<u64> {
        heading(&format!(
            "A function that every CPU calls all the time, {rounds} times, with timers and NMIs"
        ));
        let hot = built.payload(HOT)?;
        let (old, new) = (built.original.hot, hot.expected.hot);
        ensure!(old != new, "the patch changes nothing");
        println!("# compiled for this host, the C sources give {old:#x} before and {new:#x} after");
        self.ctl("test nmi on")?;
        let before = self.kernel.info()?;
        self.kernel.wait_for_all_cpus(old, CPU_LIMIT)?;
        self.ctl(&format!("upload {HOT} {}", hot.path.display()))?;
        let apply = format!("apply {TIMEOUT} {HOT}");
        let revert = format!("revert {TIMEOUT} {HOT}");
        self.ctl(&apply)?;
        self.kernel.wait_for_all_cpus(new, CPU_LIMIT)?;
        self.ctl("test stats")?;
        self.ctl(&revert)?;
        self.kernel.wait_for_all_cpus(old, CPU_LIMIT)?;
        self.ctl("test stats")?;
        println!(
            "# and {} times the same; what every CPU got, and how many calls all made so far:",
            rounds - 1
        );
        for round in 2..=rounds {
            let quiet = Stage {
                shell: silent(&self.shell),
                ctl: self.ctl.clone(),
                kernel: self.kernel.clone(),
            };
            quiet.ctl(&apply)?;
            self.kernel.wait_for_all_cpus(new, CPU_LIMIT)?;
            quiet.ctl(&revert)?;
            self.kernel.wait_for_all_cpus(old, CPU_LIMIT)?;
            let info = self.kernel.info()?;
            let (calls, wrong) = (number(&info, "calls")?, number(&info, "wrong")?);
            println!(
                "# round {round:>2}: {new:#010x}, then {old:#010x}; {calls:>11} calls, {wrong} wrong"
            );
            ensure!(wrong == 0, "{wrong} wrong results");
        }
        self.ctl("test nmi off")?;
        let after = self.kernel.info()?;
        ensure!(
            number(&after, "nmis")? > number(&before, "nmis")?,
            "no NMI came"
        );
        self.ctl(&format!("unload {HOT}"))?;
        Ok(number(&after, "calls")? - number(&before, "calls")?)
    }

    fn stack_and_replace(&self, built: &Built) -> Result<()> {
        heading("A second payload on top of the first, then one in place of both");
        let [hot, again, replace] = [
            built.payload(HOT)?,
            built.payload(HOT_AGAIN)?,
            built.payload(REPLACE)?,
        ];
        for payload in [hot, again] {
            self.ctl(&format!("load {TIMEOUT} {}", payload.path.display()))?;
            self.kernel
                .wait_for_all_cpus(payload.expected.hot, CPU_LIMIT)?;
            println!("# every CPU now gets {:#x}", payload.expected.hot);
        }
        self.ctl("list")?;
        println!("# the lower one cannot be taken out from under the upper one:");
        let below = Line::script(&format!("{} revert {TIMEOUT} {HOT}", self.ctl));
        let refused = self.shell.try_run(&below)?;
        ensure!(
            refused.status == Some(2) && refused.err.contains("-EBUSY"),
            "expected -EBUSY and exit status 2"
        );
        self.ctl(&format!("upload {REPLACE} {}", replace.path.display()))?;
        self.ctl(&format!("replace {TIMEOUT} {REPLACE}"))?;
        self.ctl("list")?;
        self.extra_version(&replace.expected.extra_version)?;
        self.kernel
            .wait_for_all_cpus(replace.expected.hot, CPU_LIMIT)?;
        println!("# and every CPU gets {:#x} again", replace.expected.hot);
        self.ctl(&format!("revert {TIMEOUT} {REPLACE}"))?;
        self.extra_version(&built.original.extra_version)?;
        for name in [HOT, HOT_AGAIN, REPLACE] {
            self.ctl(&format!("unload {name}"))?;
        }
        Ok(())
    }
}

fn heading(text: &str) {
    println!("\n== {text}");
}

fn silent(shell: &Shell) -> Shell {
    Shell {
        echo: Echo::Silent,
        ..shell.clone()
    }
}

fn quiet(trees: &Trees) -> Trees {
    Trees {
        shell: silent(&trees.shell),
        ..trees.clone()
    }
}

/// Empties the folder of an earlier run, so that nothing of it can be shown.
///
/// # Errors
/// When it cannot be removed.
pub fn clear(out: &Path) -> Result<()> {
    let path = crate::workspace().join(out);
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
