//! The runner itself: machines end when they should and how they say, and never stay behind.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use goblin::elf::{Elf, Sym};
use xsplice_tests::kernel::Kernel;
use xsplice_tests::qemu::{End, Machine, Pace};
use xsplice_tests::shell::{Echo, Shell};
use xsplice_tests::trees::Trees;

/// A kernel that all tests here boot.
fn kernel() -> PathBuf {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees {
            shell: Shell::at_root(Echo::Silent),
            out: folder.path().to_owned(),
            tools: PathBuf::new(),
        };
        trees.build_original().unwrap();
        let kernel = trees.kernel();
        (folder, kernel)
    });
    built.1.clone()
}

fn machine(folder: &tempfile::TempDir, options: &str, limit: Duration) -> Machine {
    Machine {
        kernel: kernel(),
        cpus: 2,
        options: options.to_owned(),
        certificate: None,
        pace: Pace::Free,
        limit,
        folder: folder.path().to_owned(),
    }
}

#[test]
fn a_kernel_that_is_done_says_so_and_has_counted_no_wrong_result() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = machine(&folder, "exit_after_ms=500", Duration::from_secs(60))
        .boot()
        .unwrap();
    assert_eq!(running.wait().unwrap(), End::Done, "{}", running.log_tail());
    let log = running.log().unwrap();
    assert!(log.contains("wrong=0"), "{log}");
}

/// It must not fall back to trusting everybody.
#[test]
fn a_kernel_that_should_trust_what_is_no_certificate_does_not_boot() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("cert.pem");
    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let mut machine = machine(&folder, "exit_after_ms=500", Duration::from_secs(60));
    machine.certificate = Some(certificate);
    let mut running = machine.boot().unwrap();
    let end = running.wait().unwrap();
    assert_eq!(end, End::CannotBoot, "{}", running.log_tail());
    let log = running.log().unwrap();
    let says = "cannot boot: the certificate is no X.509 certificate in PEM form";
    assert!(log.contains(says), "{log}");
}

#[test]
fn a_machine_is_killed_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let mut running = machine(&folder, "exit_after_ms=0", Duration::from_secs(1))
        .boot()
        .unwrap();
    assert_eq!(running.wait().unwrap(), End::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_machine_that_is_dropped_does_not_stay_behind() {
    let folder = tempfile::tempdir().unwrap();
    let running = machine(&folder, "exit_after_ms=0", Duration::from_secs(60))
        .boot()
        .unwrap();
    let control = running.machine().control_path();
    assert!(std::os::unix::net::UnixStream::connect(&control).is_ok());
    drop(running);
    assert!(std::os::unix::net::UnixStream::connect(&control).is_err());
}

#[test]
fn what_qemu_says_about_a_kernel_it_cannot_load_is_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(&folder, "", Duration::from_secs(60));
    machine.kernel = "/nonexistent/kernel".into();
    let error = match machine.boot() {
        // It opens its sockets before it looks for the kernel.
        Ok(mut running) => {
            assert!(matches!(running.wait().unwrap(), End::Other(_)));
            running.log_tail()
        }
        Err(error) => error.to_string(),
    };
    assert!(error.contains("/nonexistent/kernel"), "{error}");
}

/// Boots, gives one of the kernel's own commands that is meant to end the run, and waits for that.
fn end_of(command: &str) -> (End, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut running = machine(&folder, "exit_after_ms=0", Duration::from_secs(60))
        .boot()
        .unwrap();
    let kernel = Kernel {
        socket: running.machine().control_path(),
    };
    // There is no answer to it: the machine ends, and the channel with it.
    assert!(kernel.test(command).is_err(), "{command} was answered");
    (running.wait().unwrap(), running.log().unwrap())
}

#[test]
fn pages_are_not_written_and_executed_and_a_fault_shows_where_it_was() {
    let image = fs::read(kernel()).unwrap();
    let elf = Elf::parse(&image).unwrap();
    let address = |name: &str| {
        let named = |symbol: &Sym| elf.strtab.get_at(symbol.st_name) == Some(name);
        let symbol = elf.syms.iter().find(named).expect(name);
        format!("{:#x}", symbol.st_value)
    };
    // The page fault's error: bit 0 protected, bit 1 write, bit 4 instruction fetch.
    for (command, error) in [
        (format!("write {}", address("hot_mix")), "error 0x3 "),
        (format!("execute {}", address("tickets")), "error 0x11 "),
        ("crash".to_owned(), "error 0x0 "),
    ] {
        let (end, log) = end_of(&command);
        assert_eq!(end, End::Fault, "{command}: {log}");
        assert!(log.contains("fatal: vector 14"), "{command}: {log}");
        assert!(log.contains(error), "{command}: {log}");
        assert!(log.contains("cr2="), "{command}: no registers: {log}");
    }
    // The same command ends well where nothing is wrong.
    assert_eq!(end_of("exit 16").0, End::Done);
}
