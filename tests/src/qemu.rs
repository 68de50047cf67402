//! Runs a kernel in QEMU: a typed command line, a hard limit, and the log when it goes wrong.
//!
//! An emulator that hangs must not hang the tests, and one whose parent was killed must not stay
//! behind. So it runs under coreutils' `timeout` in a process group of its own, which is ended when
//! [`Running`] is dropped.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::limit::scaled;

/// How long QEMU has to open its sockets.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How much of the log a failure shows.
const LOG_LINES: usize = 50;
/// After the limit, `timeout` first asks and then, after this long, kills.
const KILL_AFTER: &str = "--kill-after=5s";

/// How its time passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// With the host's clock, each CPU on a thread of its own.
    #[default]
    Free,
    /// By counted instructions (`-icount shift=0`): one is a nanosecond and a tick of the
    /// time-stamp counter, all CPUs take turns, and what is measured does not depend on the host.
    Counted,
}

/// A machine to boot.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel image, which is also its own module: its loader reads symbols from it.
    pub kernel: PathBuf,
    /// Number of CPUs.
    pub cpus: u32,
    /// Options for the kernel; see runtime/testkernel/README.md.
    pub options: String,
    /// The certificate, in PEM form, of whoever must have signed payloads; `None`: signatures are
    /// not looked at.
    pub certificate: Option<PathBuf>,
    /// How its time passes.
    pub pace: Pace,
    /// The whole run is killed after this, times the machine's factor.
    pub limit: Duration,
    /// Where sockets and log go. Paths of sockets are limited to about 100 bytes.
    pub folder: PathBuf,
}

impl Machine {
    /// The command that boots it, `timeout` in front.
    ///
    /// # Errors
    /// When the environment's factor is none.
    pub fn command(&self) -> Result<Command> {
        let seconds = scaled(self.limit)?.as_secs();
        let mut command = Command::new("timeout");
        command.args([KILL_AFTER, &format!("{seconds}s"), "qemu-system-x86_64"]);
        command.args(self.arguments());
        Ok(command)
    }

    fn arguments(&self) -> Vec<OsString> {
        let word = |text: &str| OsString::from(text);
        let with_path = |text: &str, path: &Path, rest: &str| {
            let mut word = OsString::from(text);
            word.push(path);
            word.push(rest);
            word
        };
        let cpus = self.cpus.to_string();
        let mut arguments = Vec::new();
        for text in [
            // No ACPI and no PCI, PVH boot straight into the kernel; software CPUs, because those
            // run everywhere.
            "-M",
            "microvm,auto-kernel-cmdline=off",
            "-cpu",
            "max",
            "-smp",
            &cpus,
            "-m",
            "256M",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-append",
            &self.options,
            "-device",
            "isa-debugcon,iobase=0xe9,chardev=log",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
            "-global",
            "virtio-mmio.force-legacy=false",
            // Ports, not consoles: QEMU drops what a console says when the host reads slowly.
            "-device",
            "virtio-serial-device",
            "-device",
            "virtserialport,nr=1,chardev=control",
            "-device",
            "virtserialport,nr=2,chardev=guest",
        ] {
            arguments.push(word(text));
        }
        arguments.extend(match self.pace {
            Pace::Free => vec![word("-accel"), word("tcg,thread=multi")],
            Pace::Counted => vec![
                word("-accel"),
                word("tcg,thread=single"),
                word("-icount"),
                word("shift=0,sleep=off"),
            ],
        });
        if let Some(certificate) = &self.certificate {
            arguments.push(word("-fw_cfg"));
            arguments.push(with_path(
                "name=opt/xsplice/certificate,file=",
                certificate,
                "",
            ));
        }
        let socket = |id: &str, path: &Path| {
            with_path(
                &format!("socket,id={id},path="),
                path,
                ",server=on,wait=off",
            )
        };
        arguments.extend([
            word("-kernel"),
            self.kernel.clone().into(),
            word("-initrd"),
            self.kernel.clone().into(),
            word("-chardev"),
            with_path("file,id=log,path=", &self.log_path(), ""),
            word("-chardev"),
            socket("control", &self.control_path()),
            word("-chardev"),
            socket("guest", &self.guest_path()),
        ]);
        arguments
    }

    /// Socket of the privileged port.
    #[must_use]
    pub fn control_path(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// Socket of the unprivileged port.
    #[must_use]
    pub fn guest_path(&self) -> PathBuf {
        self.folder.join("guest.sock")
    }

    /// What the kernel logs.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("kernel.log")
    }

    /// What QEMU itself complains about.
    fn complaints_path(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }

    /// Starts QEMU and waits for its sockets; the kernel may still be booting.
    ///
    /// # Errors
    /// When QEMU cannot be started or ends at once, with what it said.
    pub fn boot(&self) -> Result<Running> {
        fs::create_dir_all(&self.folder)?;
        for path in [self.control_path(), self.guest_path(), self.log_path()] {
            if path.exists() {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        let complaints = self.complaints_path();
        let child = self
            .command()?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&complaints)?)
            .process_group(0)
            .spawn()
            .context("cannot start QEMU; install coreutils and qemu-system-x86")?;
        let mut running = Running {
            child,
            machine: self.clone(),
            end: None,
        };
        let deadline = Instant::now() + scaled(START_LIMIT)?;
        while !(self.control_path().exists() && self.guest_path().exists()) {
            if let Some(end) = running.try_end()? {
                bail!("QEMU: {end}: {}", fs::read_to_string(&complaints)?);
            }
            ensure!(Instant::now() < deadline, "QEMU did not open its sockets");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The kernel reached the end that it was told to.
    Done,
    /// A fault or a bug frame ended it.
    Fault,
    /// It panicked.
    Panic,
    /// It found a machine that it cannot boot on.
    CannotBoot,
    /// The limit was reached.
    TimedOut,
    /// QEMU ended in another way.
    Other(ExitStatus),
}

impl End {
    /// Reads the exit status of `timeout` around QEMU: isa-debug-exit makes `value << 1 | 1` of
    /// what the kernel writes (runtime/testkernel/src/exit.rs), 124 and 137 are those of `timeout`.
    fn of(status: ExitStatus) -> End {
        match status.code() {
            Some(33) => End::Done,
            Some(35) => End::Fault,
            Some(37) => End::Panic,
            Some(39) => End::CannotBoot,
            Some(124 | 137) => End::TimedOut,
            _ => End::Other(status),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Done => out.write_str("the kernel is done"),
            End::Fault => out.write_str("the kernel faulted"),
            End::Panic => out.write_str("the kernel panicked"),
            End::CannotBoot => out.write_str("the kernel cannot boot here"),
            End::TimedOut => out.write_str("the time limit was reached"),
            End::Other(status) => write!(out, "ended with {status}"),
        }
    }
}

/// A machine that runs. Dropping it ends it, and shows its log if the test is failing.
#[derive(Debug)]
pub struct Running {
    child: Child,
    machine: Machine,
    end: Option<End>,
}

impl Running {
    /// What was booted.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Process id of the group that runs it.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn try_end(&mut self) -> Result<Option<End>> {
        if self.end.is_none() {
            self.end = self.child.try_wait()?.map(End::of);
        }
        Ok(self.end)
    }

    /// Waits for it to end by itself, or by its limit.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn wait(&mut self) -> Result<End> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let end = End::of(self.child.wait()?);
        self.end = Some(end);
        Ok(end)
    }

    /// The whole log so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.machine.log_path();
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last 50 lines of the log and all that QEMU said, for failures.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        let complaints = fs::read_to_string(self.machine.complaints_path()).unwrap_or_default();
        format!(
            "last lines of the kernel's log:\n{}\n{complaints}",
            tail.join("\n")
        )
    }

    /// Leaves it running, until its limit; gives its process id.
    #[must_use]
    pub fn leave(mut self) -> u32 {
        // A machine that has ended, as far as the drop is concerned.
        self.end.get_or_insert(End::Done);
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprint!("{}", self.log_tail());
        }
        if self.end.is_none() {
            // `timeout` passes it on, waits for QEMU, and kills it if it must; so when it has
            // ended, nothing is left. Where it is gone already, that is as good.
            let group = Pid::from_child(&self.child);
            let _ = kill_process(group, Signal::TERM);
            let _ = self.child.wait();
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
