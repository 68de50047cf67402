//! No bytes make a reader panic, hang, or use more memory than a small multiple of its input: a
//! minute of mutations over the committed cases, and every mutation that once did.
//! `XSPLICE_FUZZ_SECONDS` and `XSPLICE_FUZZ_SEED` say how long and where to begin.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use xsplice_tests::fuzz::feed::feed;
use xsplice_tests::fuzz::guard::{Fault, Guard, MEMORY_CONSTANT_BYTES};
use xsplice_tests::fuzz::{self, Input, Limit, Target, kept};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn guard() -> Guard {
    Guard::new(std::env::temp_dir().join("xsplice-hang"))
}

/// The allocator counts for the whole process, so the tests of this file are one.
#[test]
fn no_mutation_makes_a_room_panic_or_hang_or_greedy() {
    the_guard_notices_what_it_is_there_for();
    mutations_that_were_found_once_are_harmless_now();
    a_minute_of_mutations_finds_nothing();
}

fn the_guard_notices_what_it_is_there_for() {
    assert!(Guard::counts_memory());
    let guard = guard();
    let input = Input::default();
    let about = || "the guard itself".to_owned();
    assert!(guard.watch(&about, &input, || ()).is_ok());
    let fault = guard.watch(&about, &input, || panic!("on purpose"));
    assert!(
        matches!(&fault, Err(Fault::Panic { message, .. }) if message == "on purpose"),
        "{fault:?}"
    );
    let fault = guard.watch(&about, &input, || {
        std::hint::black_box(vec![1_u8; MEMORY_CONSTANT_BYTES + 1]);
    });
    assert!(matches!(fault, Err(Fault::Greedy(_))), "{fault:?}");
}

fn mutations_that_were_found_once_are_harmless_now() {
    let (guard, signer) = (guard(), fuzz::signer().unwrap());
    for kept in kept::all().unwrap() {
        let about = || kept.name.clone();
        let verdict = guard.watch(&about, &kept.input, || {
            feed(kept.target, &kept.input, &signer);
        });
        assert!(verdict.is_ok(), "{}: {}", kept.name, verdict.unwrap_err());
    }
}

fn a_minute_of_mutations_finds_nothing() {
    let setting = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let limit = Limit {
        time: Duration::from_secs(setting("XSPLICE_FUZZ_SECONDS").unwrap_or(60)),
        runs: u64::MAX,
    };
    let seeds = fuzz::seeds().unwrap();
    let first = setting("XSPLICE_FUZZ_SEED").unwrap_or(1);
    let outcome = fuzz::run(&Target::ALL, &seeds, first, limit, &guard()).unwrap();
    let told: Vec<String> = outcome
        .findings
        .iter()
        .map(|one| {
            let target = one.target.name();
            format!("{target} of {}, seed {}: {}", one.case, one.seed, one.fault)
        })
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    for (target, runs) in Target::ALL.iter().zip(&outcome.runs) {
        assert!(
            *runs > 10,
            "only {runs} runs of {}: nothing shown",
            target.name()
        );
    }
}
