//! No bytes make a reader panic or hang: a while of mutations over the committed cases.
//! `XSPLICE_FUZZ_SECONDS` and `XSPLICE_FUZZ_SEED` say how long and where to begin.

use std::time::Duration;

use xsplice_tests::fuzz::{self, Target};

#[test]
fn no_mutation_makes_a_room_panic_or_hang() {
    let setting = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seconds = Duration::from_secs(setting("XSPLICE_FUZZ_SECONDS").unwrap_or(10));
    let seeds = fuzz::seeds().unwrap();
    let (runs, findings) = fuzz::run(
        &Target::ALL,
        &seeds,
        setting("XSPLICE_FUZZ_SEED").unwrap_or(1),
        seconds,
    )
    .unwrap();
    assert!(findings.is_empty(), "{runs} runs found {findings:#?}");
    assert!(runs > 100, "only {runs} runs: the test shows nothing");
}
