//! Boots Xen with dom0 in QEMU and watches its serial line.
//!
//! The watcher exists because a hypervisor that took a bad payload does not stop by itself: a
//! double fault prints for ever. The guest is killed at the first line that says so, and at its
//! time limit.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::platform::MachineKind;

/// What a crashed hypervisor prints.
const DEATH: [&str; 4] = [
    "Panic on CPU",
    "DOUBLE FAULT",
    "Unexpected Trap",
    "Kernel panic - not syncing",
];
/// What is still read after the first sign of death, for the log: so many lines, for so long.
const LAST_WORDS: usize = 40;
/// See [`LAST_WORDS`].
const LAST_WORDS_FOR: Duration = Duration::from_secs(1);
/// How often the guest's uptime is printed while nothing else is.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

/// How QEMU is run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// QEMU's accelerator: `tcg` works everywhere.
    pub accelerator: String,
    /// The CPU model.
    pub cpu: String,
    /// How many CPUs: with two or more the loader's rendezvous is real.
    pub cpus: u32,
    /// The guest's memory in MiB.
    pub memory_mib: u32,
}

/// What to boot.
#[derive(Debug)]
pub struct Boot<'a> {
    /// What it runs on.
    pub kind: MachineKind,
    /// The image of Xen that boots.
    pub xen: &'a Path,
    /// The dom0 kernel.
    pub kernel: &'a Path,
    /// The dom0 root file system.
    pub initramfs: &'a Path,
    /// Where the stamped console goes.
    pub log: PathBuf,
    /// When the guest is killed.
    pub time_limit: Duration,
}

/// How a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// dom0 powered off.
    PoweredOff,
    /// The hypervisor or dom0 crashed.
    Crashed {
        /// The line that says so.
        sign: String,
        /// How long after that line the guest was killed.
        killed_after: Duration,
    },
    /// The time limit was reached.
    OutOfTime(Duration),
    /// QEMU stopped without dom0 having said it was done.
    Stopped,
}

/// The console of one boot and how it ended.
#[derive(Debug)]
pub struct Session {
    /// Everything that came over the serial line.
    pub lines: Vec<String>,
    /// How it ended.
    pub end: End,
    /// How long it took.
    pub elapsed: Duration,
}

/// The first sign that the guest has crashed.
struct Death {
    sign: String,
    at: Instant,
    line: usize,
}

impl Death {
    /// Whether its last words have been heard.
    fn is_over(&self, lines: usize) -> bool {
        lines > self.line + LAST_WORDS || self.at.elapsed() >= LAST_WORDS_FOR
    }

    fn end(&self) -> End {
        End::Crashed {
            sign: self.sign.clone(),
            killed_after: self.at.elapsed(),
        }
    }
}

/// Kills QEMU on every way out.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The command line of dom0's kernel.
const KERNEL_LINE: &str = "console=hvc0 panic=1 quiet";
/// What Xen is told on every machine.
const XEN_LINE: &str = "dom0_mem=512M dom0_max_vcpus=2 loglvl=all guest_loglvl=all";
/// Where QEMU's loader puts dom0 on AArch64: memory begins at 0x40000000, and the kernel's image
/// has less than 64 MiB.
const ARM64_KERNEL_AT: &str = "0x49000000";
/// See [`ARM64_KERNEL_AT`].
const ARM64_INITRAMFS_AT: &str = "0x4d000000";

/// A path in QEMU's lists, where a comma separates and a doubled one is a comma.
fn listed(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The virtual machine that is started.
fn qemu(machine: &Machine, boot: &Boot) -> Command {
    let mut command = match boot.kind {
        MachineKind::X86_64 => pc(boot),
        MachineKind::Arm64 => virt(boot),
    };
    command
        .args(["-accel", &machine.accelerator, "-cpu", &machine.cpu])
        .args([
            "-smp",
            &machine.cpus.to_string(),
            "-m",
            &machine.memory_mib.to_string(),
        ])
        .args(["-display", "none", "-nodefaults", "-no-reboot"])
        .args(["-serial", "stdio", "-serial", "null", "-monitor", "none"])
        .arg("-kernel")
        .arg(boot.xen);
    command
}

/// A PC with its multiboot modules. Its second serial port only lends its scratch register.
fn pc(boot: &Boot) -> Command {
    let (kernel, initramfs) = (listed(boot.kernel), listed(boot.initramfs));
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-machine", "q35", "-vga", "none", "-append"])
        .arg(format!("console=com1 com1=115200,8n1 {XEN_LINE}"))
        .args(["-initrd", &format!("{kernel} {KERNEL_LINE},{initramfs}")]);
    command
}

/// QEMU's own AArch64 machine. Its loader tells Xen of dom0 in the device tree.
fn virt(boot: &Boot) -> Command {
    let (kernel, initramfs) = (listed(boot.kernel), listed(boot.initramfs));
    let mut command = Command::new("qemu-system-aarch64");
    command
        .args(["-M", "virt,virtualization=on,gic-version=3", "-append"])
        .arg(format!("console=dtuart dtuart=/pl011@9000000 {XEN_LINE}"))
        .args([
            "-device",
            &format!("guest-loader,addr={ARM64_KERNEL_AT},kernel={kernel},bootargs={KERNEL_LINE}"),
            "-device",
            &format!("guest-loader,addr={ARM64_INITRAMFS_AT},initrd={initramfs}"),
        ]);
    command
}

/// Boots and returns when the guest has ended, one way or another. `watch` sees every line as it
/// comes.
pub fn boot(machine: &Machine, boot: &Boot, watch: &mut dyn FnMut(&str)) -> Result<Session> {
    let started = Instant::now();
    let mut log =
        File::create(&boot.log).with_context(|| format!("cannot write {}", boot.log.display()))?;
    let mut command = qemu(machine, boot);
    writeln!(log, "{command:?}").context("cannot write the guest's log")?;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().context("cannot share the guest's log")?)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let mut guest = Guest(child);
    let console = guest
        .0
        .stdout
        .take()
        .context("the guest's console was asked for")?;
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut lines: Vec<String> = Vec::new();
    let mut spoken = Instant::now();
    let mut death: Option<Death> = None;
    let end = loop {
        let elapsed = started.elapsed();
        if let Some(death) = &death
            && death.is_over(lines.len())
        {
            break death.end();
        }
        if elapsed >= boot.time_limit {
            break End::OutOfTime(boot.time_limit);
        }
        if spoken.elapsed() >= PROGRESS_EVERY {
            spoken = Instant::now();
            println!("   guest: {} s, {} lines", elapsed.as_secs(), lines.len());
        }
        let longest = match &death {
            Some(_) => LAST_WORDS_FOR,
            None => PROGRESS_EVERY,
        };
        let wait = longest.min(boot.time_limit.saturating_sub(elapsed));
        match receiver.recv_timeout(wait) {
            Ok(line) => {
                writeln!(log, "{:8.3} {line}", elapsed.as_secs_f64())
                    .context("cannot write the guest's log")?;
                watch(&line);
                if death.is_none() && DEATH.iter().any(|sign| line.contains(sign)) {
                    death = Some(Death {
                        sign: line.clone(),
                        at: Instant::now(),
                        line: lines.len(),
                    });
                }
                lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                break match &death {
                    Some(death) => death.end(),
                    None if lines.iter().any(|line| line.contains("@@DONE")) => End::PoweredOff,
                    None => End::Stopped,
                };
            }
        }
    };
    drop(guest);
    drop(receiver);
    reader.join().ok();
    Ok(Session {
        lines,
        end,
        elapsed: started.elapsed(),
    })
}
