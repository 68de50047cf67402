//! Payloads with random changes to the parts that matter: headers, tables, notes, records. None
//! may make `inspect` or `verify` panic, run away or accept what the loader's own code refuses.
//!
//! `XSPLICE_MUTATION_SECONDS` sets the time for the test that looks for it; a failure prints the
//! seed of the change.

use std::time::{Duration, Instant};

use crate::support::hand::{self, A, AX, RETURN_ONE, STB_LOCAL, STT_FUNC, WA};
use crate::support::{KERNEL, Tree};
use xsplice_abi::Profile;
use xsplice_abi::profile;
use xsplice_diff::extract::SectionIndex;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::inspect::inspect;
use xsplice_link::link;
use xsplice_link::verify::{Against, NamedFile, verify};
use xsplice_test_objects::mutate::{Choices, mutate};

const SECONDS_DEFAULT: u64 = 3;
/// No payload of a few KiB may keep the tools busy for longer.
const SLOWEST: Duration = Duration::from_secs(2);

const SOURCE: &str = "
    static int state = 7;
    int first(int x) { return x / 3 + state++; }
    int second(int x) { return x / 5; }
";

fn payload(base: &Base<'_>, abi: &'static Profile) -> Vec<u8> {
    let mut a = hand::replacing(base, "first", &[0xe8, 0, 0, 0, 0, 0xc3], abi);
    let second = hand::undefined(&mut a, "second");
    hand::relocate(&mut a, SectionIndex(0), 1, 4, second, -4);
    let code = hand::section(&mut a, ".text.hook", AX, RETURN_ONE);
    let hook = hand::defined(&mut a, "hook", STB_LOCAL, STT_FUNC, code);
    let hooks = hand::section(&mut a, &format!("{}hooks.load", abi.prefix), WA, &[0; 8]);
    hand::relocate(&mut a, hooks, 0, 1, hook, 0);
    let table = hand::section(&mut a, ".ex_table", A, &[0; 8]);
    hand::relocate(&mut a, table, 0, 2, hook, 0);
    hand::relocate(&mut a, table, 4, 2, hook, 5);
    let replacement = hand::section(&mut a, ".altinstr_replacement", AX, &[0x90, 0x90]);
    let replacement = hand::defined(&mut a, "", STB_LOCAL, STT_FUNC, replacement);
    let alternatives = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 0, 0];
    let alternatives = hand::section(&mut a, ".altinstructions", A, &alternatives);
    hand::relocate(&mut a, alternatives, 0, 2, hook, 0);
    hand::relocate(&mut a, alternatives, 4, 2, replacement, 0);
    link(base, &[a], &LinkOptions::new("fix", abi))
        .unwrap()
        .bytes
}

#[test]
fn no_change_makes_inspect_or_verify_panic_or_run_away() {
    let image = Tree::compile(&[("a.c", SOURCE)], KERNEL).link();
    let base = Base::parse("image", &image).unwrap();
    let payloads: Vec<_> = profile::ALL.iter().map(|abi| payload(&base, abi)).collect();
    let below = payloads[0].clone();
    let seconds = std::env::var("XSPLICE_MUTATION_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS_DEFAULT);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = 0_u64;
    let (mut readable, mut accepted) = (0_u64, 0_u64);
    while Instant::now() < end {
        for whole in &payloads {
            seed += 1;
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut Choices::new(seed));
            let start = Instant::now();
            let seen = std::panic::catch_unwind(|| {
                let page = inspect("payload", &bytes).map(|inspection| inspection.to_string());
                let stack = [NamedFile {
                    path: "below",
                    bytes: &below,
                }];
                let file = NamedFile {
                    path: "payload",
                    bytes: &bytes,
                };
                for stack in [&stack[..0], &stack[..]] {
                    let against = Against {
                        base: &base,
                        stack,
                        deny: &[],
                        signer: None,
                    };
                    let report = verify(file, against).unwrap();
                    let _ = report.to_string();
                    if stack.is_empty() && report.passed() && bytes != *whole {
                        return (page.is_ok(), true);
                    }
                }
                (page.is_ok(), false)
            });
            let (is_readable, is_accepted) = seen.unwrap_or_else(|_| panic!("seed {seed}"));
            readable += u64::from(is_readable);
            accepted += u64::from(is_accepted);
            assert!(
                start.elapsed() < SLOWEST,
                "seed {seed} took {:?}",
                start.elapsed()
            );
        }
    }
    assert!(seed > 100, "{seed} changes in {seconds} s");
    assert!(
        readable > seed / 4,
        "the changes must not all be nonsense: {readable} of {seed}"
    );
    // The build-id is the content's hash; only a change of the line that says so passes.
    assert!(
        accepted <= seed / 50,
        "{accepted} of {seed} changes were accepted"
    );
}
