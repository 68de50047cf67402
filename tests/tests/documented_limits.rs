//! Help texts and documents that say a limit in words say the one that the loader enforces.

use std::fs;

use xsplice_abi::limits::{
    EXPECT_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SECTIONS_MAX, SYMBOL_NAME_BYTES_MAX,
    TIMEOUT_DEFAULT_NS,
};
use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::note::BUILD_ID_BYTES_MAX;
use xsplice_abi::profile;
use xsplice_tests::workspace;

/// What stands where.
fn texts() -> Vec<(&'static str, String)> {
    let milliseconds = TIMEOUT_DEFAULT_NS / 1_000_000;
    let mebibytes = PAYLOAD_BYTES_MAX >> 20;
    // The NUL at the end is nobody's business.
    let name = NAME_BYTES_MAX - 1;
    let sections = format!("{},{:03}", SECTIONS_MAX / 1000, SECTIONS_MAX % 1000);
    let window = OF_RUNTIME.window_bytes >> 30;
    vec![
        (
            "runtime/ctl/src/arguments.rs",
            format!("the kernel's default of {milliseconds} ms"),
        ),
        (
            "runtime/abi/src/hypercall.rs",
            format!("0 is the default of {milliseconds} ms"),
        ),
        (
            "docs/rolling-out.md",
            format!("({milliseconds} ms by default)"),
        ),
        (
            "runtime/ctl/src/arguments.rs",
            format!("Its name from now on, up to {name} bytes"),
        ),
        (
            "runtime/ctl/src/calls.rs",
            format!("a name of 1 to {name} bytes"),
        ),
        (
            "xsplice-build/src/command/arguments.rs",
            format!("list: 1 to {name} letters"),
        ),
        (
            "xsplice-link/src/error.rs",
            format!("name has 1 to {name} letters"),
        ),
        (
            "xsplice-link/src/error.rs",
            format!("loaders take 1 to {BUILD_ID_BYTES_MAX}"),
        ),
        (
            "docs/payload-format.md",
            format!("sections, has at most {mebibytes} MiB"),
        ),
        (
            "docs/payload-format.md",
            format!("fewer than {sections} sections"),
        ),
        (
            "docs/payload-format.md",
            format!("payload names have at most {name} bytes"),
        ),
        (
            "docs/payload-format.md",
            format!("an expectation at most {EXPECT_BYTES_MAX}"),
        ),
        (
            "docs/refusals.md",
            format!("than a loader takes ({mebibytes} MiB)"),
        ),
        (
            "docs/refusals.md",
            format!("names of at most {SYMBOL_NAME_BYTES_MAX} bytes"),
        ),
        ("docs/verify.md", format!("not more than {mebibytes} MiB")),
        (
            "docs/patch-author-guide.md",
            format!("bytes of at most {PAYLOAD_BYTES_MAX}"),
        ),
        (
            "docs/verify.md",
            format!("bytes of at most {PAYLOAD_BYTES_MAX}"),
        ),
        (
            "docs/verify.md",
            format!("within the window of 0x{:x} bytes", window << 30),
        ),
    ]
}

#[test]
fn limits_in_words_are_those_that_are_enforced() {
    for (file, text) in texts() {
        let content = fs::read_to_string(workspace().join(file)).unwrap();
        let words: Vec<&str> = content
            .split_whitespace()
            .filter(|word| !matches!(*word, "///" | "//!" | "//"))
            .collect();
        assert!(
            words.join(" ").contains(&text),
            "{file} does not say {text:?}"
        );
    }
}

#[test]
fn every_place_that_says_how_long_a_stop_may_last_is_held_to_it() {
    let said = format!("{} ms", TIMEOUT_DEFAULT_NS / 1_000_000);
    let known: Vec<_> = texts()
        .into_iter()
        .filter(|(_, text)| text.contains(&said))
        .collect();
    // Figures of benchmarks are measured, not promised.
    for file in [
        "README.md",
        "docs/patch-author-guide.md",
        "docs/rolling-out.md",
        "docs/payload-format.md",
        "docs/rendezvous.md",
        "docs/verify.md",
        "runtime/abi/src/hypercall.rs",
        "runtime/ctl/src/arguments.rs",
        "xsplice-build/src/command/arguments.rs",
    ] {
        let content = fs::read_to_string(workspace().join(file)).unwrap();
        let expected = known.iter().filter(|(known, _)| *known == file).count();
        assert_eq!(content.matches(&said).count(), expected, "{file}");
    }
}

#[test]
fn the_help_names_every_abi() {
    let help = fs::read_to_string(workspace().join("xsplice-build/src/command/arguments.rs"));
    let help = help.unwrap();
    for abi in profile::ALL {
        assert!(help.contains(&format!("{}:", abi.name)), "{}", abi.name);
    }
}
