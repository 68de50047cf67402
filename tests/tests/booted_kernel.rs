//! The runtime in a kernel that is running, at 2 and 4 CPUs, all of them busy in patched code.
//!
//! Machines are booted once and shared, one check after the other; each check begins and ends with
//! no payload loaded, and a check that fails costs its machine. With XSPLICE_KERNEL_MANY set, the
//! large machines and the long runs are done instead (`make kernel-many`).

mod booted;

use anyhow::{Context, Result};
use booted::bench::{Bench, CheckFunction};
use booted::{
    actions, attacks, clients, code, contents, denied, rounds, signatures, stops, uploads,
};
use libtest_mimic::{Arguments, Failed, Trial};
use std::env;
use std::sync::{Arc, Mutex};

/// A claim and the check of it.
type Check = (&'static str, CheckFunction);

/// Set: the large machines and the long runs.
const MANY_VARIABLE: &str = "XSPLICE_KERNEL_MANY";

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    // The machines are shared, and two of them at once would only take turns.
    arguments.test_threads = Some(1);
    let bench = Arc::new(Mutex::new(Bench::default()));
    let mut trials = Vec::new();
    for (cpus, checks) in plan() {
        for (claim, check) in checks {
            let bench = Arc::clone(&bench);
            trials.push(Trial::test(format!("{cpus} CPUs: {claim}"), move || {
                let mut bench = bench.lock().map_err(|_| "another check panicked")?;
                bench
                    .run(cpus, *check)
                    .map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Before the exit, which drops nothing: machines must not stay behind.
    drop(Arc::into_inner(bench).context("a check still holds the machines")?);
    conclusion.exit();
}

/// Which checks run on how many CPUs.
fn plan() -> Vec<(u32, Vec<&'static Check>)> {
    let short: Vec<&Check> = [
        actions::CHECKS,
        contents::CHECKS,
        uploads::CHECKS,
        denied::CHECKS,
        code::CHECKS,
        attacks::CHECKS,
        clients::SHORT,
        stops::SHORT,
        rounds::SHORT,
    ]
    .into_iter()
    .flatten()
    .collect();
    if env::var_os(MANY_VARIABLE).is_some() {
        vec![
            (2, clients::LONG.iter().collect()),
            (
                4,
                clients::LONG
                    .iter()
                    .chain(stops::LONG)
                    .chain(rounds::LONG)
                    .collect(),
            ),
            (16, rounds::FEW.iter().collect()),
            (64, rounds::FEW.iter().collect()),
        ]
    } else {
        vec![
            // What ends the run of a kernel once, and last.
            (
                2,
                short
                    .iter()
                    .copied()
                    .chain(signatures::CHECKS)
                    .chain(code::FAULTS)
                    .collect(),
            ),
            (4, short.into_iter().chain(rounds::MEDIUM).collect()),
        ]
    }
}
