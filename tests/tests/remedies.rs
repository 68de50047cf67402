//! What a message tells to do can be done, and it helps: every remedy that a machine can carry out
//! is followed here from its message to a payload.
//!
//! The messages are found in the sources: each place that names an option stands in [`PLACES`],
//! with the walk that follows it (`remedy_walks.rs`) or the reason why there is none. A new message
//! that names an option fails until it is listed. `remedies_of_cases.rs` follows the refusals of
//! the cases.

use std::collections::BTreeSet;
use std::fs;

use xsplice_tests::case;
use xsplice_tests::workspace;

use crate::remedy_walks as walks;

/// What a place of the sources that names an option is.
enum Place {
    /// A message that tells to use it; this follows it.
    Walk(fn()),
    /// A refusal, which some case shows: `remedies_of_cases.rs` follows it.
    Case,
    /// The option is at fault, or is the context of a message.
    Fault,
    /// No message, but the command line of a program that is run, or that is shown.
    Line,
    /// It takes a running system; a test of the operator's tool does it.
    System,
}

use Place::{Case as OfCase, Fault, Line, System, Walk};

/// Every place of the sources that names an option: file, option, what it is.
// One line a place, however long.
#[rustfmt::skip]
const PLACES: [(&str, &str, Place); 88] = [
    ("runtime/ctl/src/error.rs", "name", System),
    ("runtime/ctl/src/error.rs", "socket", System),
    ("runtime/ctl/src/error.rs", "wait", System),
    ("xsplice-account/src/tell.rs", "patched-base", Walk(walks::image_of_the_patched_tree)),
    ("xsplice-build/src/budget.rs", "explain", Walk(walks::what_a_limit_says)),
    ("xsplice-build/src/budget.rs", "max-bytes", OfCase),
    ("xsplice-build/src/budget.rs", "max-functions", OfCase),
    ("xsplice-build/src/hunks/fate.rs", "ignore-object", Walk(walks::object_that_a_hunk_is_in)),
    ("xsplice-build/src/hunks/mod.rs", "accept", Walk(walks::hunk_without_code)),
    ("xsplice-build/src/hunks/mod.rs", "with-stamps", Walk(walks::date_in_a_patch)),
    ("xsplice-build/src/inputs/base.rs", "base", Walk(walks::no_image_and_two)),
    ("xsplice-build/src/inputs/name.rs", "name", Walk(walks::name_of_the_payload)),
    ("xsplice-build/src/inputs/pair.rs", "ignore-object", Fault),
    ("xsplice-build/src/many/below.rs", "depends", Walk(walks::payload_below)),
    ("xsplice-build/src/many/index.rs", "store", Walk(walks::results_to_join)),
    ("xsplice-build/src/many/plan.rs", "only", Fault),
    ("xsplice-build/src/many/plan.rs", "patch", Fault),
    ("xsplice-build/src/many/plan.rs", "patch-for", Walk(walks::patch_for_some_builds)),
    ("xsplice-build/src/many/plan.rs", "store", Fault),
    ("xsplice-build/src/payload.rs", "base", Line),
    ("xsplice-build/src/payload.rs", "depends", Fault),
    ("xsplice-build/src/payload.rs", "stack", Line),
    ("xsplice-build/src/payload.rs", "xen-depends", Fault),
    ("xsplice-build/src/run/prove.rs", "base", Walk(walks::swapped_trees)),
    ("xsplice-build/src/run/prove.rs", "ignore-object", OfCase),
    ("xsplice-build/src/run/prove.rs", "orig", Walk(walks::swapped_trees)),
    ("xsplice-build/src/run/prove.rs", "patched", Walk(walks::swapped_trees)),
    ("xsplice-build/src/run/read.rs", "base", Fault),
    ("xsplice-build/src/run/read.rs", "deny", Fault),
    ("xsplice-build/src/run/read.rs", "depends", Fault),
    ("xsplice-build/src/run/read.rs", "html", Fault),
    ("xsplice-build/src/run/read.rs", "json", Fault),
    ("xsplice-build/src/run/read.rs", "orig", Fault),
    ("xsplice-build/src/run/read.rs", "output", Fault),
    ("xsplice-build/src/run/read.rs", "patch", Fault),
    ("xsplice-build/src/run/read.rs", "patched", Fault),
    ("xsplice-build/src/run/read.rs", "patched-base", Fault),
    ("xsplice-build/src/run/read.rs", "provenance", Fault),
    ("xsplice-build/src/run/read.rs", "sbom", Fault),
    ("xsplice-build/src/run/read.rs", "xen-depends", Fault),
    ("xsplice-build/src/run/read.rs", "ignore-object", Walk(walks::object_of_another_kind)),
    ("xsplice-build/src/run/store.rs", "base", Line),
    ("xsplice-build/src/run/store.rs", "dry-run", Line),
    ("xsplice-build/src/run/store.rs", "orig", Line),
    ("xsplice-build/src/run/store.rs", "patched", Line),
    ("xsplice-build/src/source/apply.rs", "batch", Line),
    ("xsplice-build/src/source/apply.rs", "dry-run", Line),
    ("xsplice-build/src/source/apply.rs", "forward", Line),
    ("xsplice-build/src/source/apply.rs", "fuzz", Line),
    ("xsplice-build/src/source/apply.rs", "no-backup-if-mismatch", Line),
    ("xsplice-build/src/source/apply.rs", "reject-file", Line),
    ("xsplice-build/src/source/fingerprint.rs", "version", Line),
    ("xsplice-build/src/source/mod.rs", "src", Fault),
    ("xsplice-build/src/source/mod.rs", "work", Walk(walks::work_folder_in_use)),
    ("xsplice-build/src/store/add.rs", "name", Fault),
    ("xsplice-build/src/store/add.rs", "objects", Fault),
    ("xsplice-build/src/store/find.rs", "name", Walk(walks::name_of_a_build)),
    ("xsplice-build/src/store/mod.rs", "store", Walk(walks::no_store)),
    ("xsplice-build/src/store/unpack.rs", "no-same-owner", Line),
    ("xsplice-build/src/store/unpack.rs", "source", Fault),
    ("xsplice-build/src/tell/refusals.rs", "explain-code", Walk(walks::meaning_of_a_code)),
    ("xsplice-build/src/tell/refusals.rs", "html", Walk(walks::reasons_that_are_counted)),
    ("xsplice-build/src/tell/refusals.rs", "json", Walk(walks::reasons_that_are_counted)),
    ("xsplice-build/src/tell/story.rs", "base", Walk(walks::base_that_runs)),
    ("xsplice-build/src/tell/story.rs", "ignore-object", Fault),
    ("xsplice-build/src/tell/story.rs", "orig", Walk(walks::base_that_runs)),
    ("xsplice-build/src/tell/story.rs", "accept", Walk(walks::lines_without_proof)),
    ("xsplice-build/src/tell/story.rs", "src", Walk(walks::lines_without_proof)),
    ("xsplice-diff/src/debug_info/toolchain.rs", "param", Line),
    ("xsplice-diff/src/diff.rs", "ignore-object", Walk(walks::object_of_another_kind)),
    ("xsplice-diff/src/include/reach.rs", "abi", OfCase),
    // Only an extract that was changed by hand has such an ABI.
    ("xsplice-diff/src/read/error.rs", "abi", Fault),
    ("xsplice-diff/src/report/build_stamps.rs", "with-stamps", Walk(walks::build_stamps)),
    ("xsplice-diff/src/report/judge.rs", "accept", OfCase),
    ("xsplice-diff/src/tell/code_page.rs", "explain-code", Walk(walks::meaning_of_a_code)),
    ("xsplice-diff/src/verdict/accept.rs", "accept", Walk(walks::word_that_matches_nothing)),
    ("xsplice-link/src/error.rs", "base", Walk(walks::payload_of_another_image)),
    ("xsplice-link/src/error.rs", "build-id", Walk(walks::image_without_a_build_id)),
    ("xsplice-link/src/error.rs", "name", Walk(walks::name_of_the_payload)),
    ("xsplice-link/src/error.rs", "orig", Walk(walks::payload_of_another_image)),
    ("xsplice-link/src/link.rs", "abi", Walk(walks::extract_for_another_abi)),
    ("xsplice-link/src/link.rs", "ignore-object", Walk(walks::two_functions_at_one_address)),
    ("xsplice-link/src/link.rs", "prelink", Walk(walks::image_that_is_moved)),
    ("xsplice-link/src/merge/classify.rs", "abi", OfCase),
    ("xsplice-link/src/resolve/mod.rs", "prelink", Walk(walks::long_name_in_the_base)),
    ("xsplice-link/src/verify/mod.rs", "cert", Walk(walks::who_signed)),
    ("xsplice-link/src/verify/provenance.rs", "cert", Walk(walks::who_signed)),
    ("xsplice-link/src/verify/records.rs", "deny", Walk(walks::deny_list)),
];

/// Where messages are written.
const SOURCES: [&str; 6] = [
    "runtime/ctl/src",
    "xsplice-account/src",
    "xsplice-build/src",
    "xsplice-console/src",
    "xsplice-diff/src",
    "xsplice-link/src",
];

/// What defines the options.
const COMMAND_LINES: [&str; 4] = [
    "runtime/ctl/src/arguments.rs",
    "xsplice-build/src/command/",
    "xsplice-diff/src/command/",
    "xsplice-link/src/command/",
];

/// Options that a line of source names.
fn options_in(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("--") {
        let is_begin = !before.ends_with(|last: char| last.is_alphanumeric() || last == '-');
        let end = behind.find(|one: char| !(one.is_ascii_lowercase() || one == '-'));
        let name = behind[..end.unwrap_or(behind.len())].trim_end_matches('-');
        if is_begin && name.len() > 1 {
            found.push(name.to_owned());
        }
        rest = behind;
    }
    found
}

/// Every place of the sources that names an option, but for those that define one.
fn places() -> BTreeSet<(String, String)> {
    let root = workspace();
    let mut found = BTreeSet::new();
    for folder in SOURCES {
        for file in case::files(&root.join(folder)).unwrap() {
            let path = format!("{folder}/{file}");
            let is_command_line = COMMAND_LINES.iter().any(|begin| path.starts_with(begin));
            if !path.ends_with(".rs") || path.ends_with("/tests.rs") || is_command_line {
                continue;
            }
            let text = fs::read_to_string(root.join(&path)).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = text.lines().map(str::trim_start);
            for line in lines.filter(|line| !line.starts_with("//")) {
                let options = options_in(line).into_iter();
                found.extend(options.map(|option| (path.clone(), option)));
            }
        }
    }
    found
}

#[test]
fn every_message_that_names_an_option_is_listed() {
    let listed: BTreeSet<_> = PLACES
        .iter()
        .map(|(file, option, _)| ((*file).to_owned(), (*option).to_owned()))
        .collect();
    assert_eq!(listed.len(), PLACES.len(), "each place once");
    let found = places();
    let missing: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in PLACES: {missing:?}; in PLACES, and no longer in the sources: {gone:?}"
    );
}

#[test]
fn each_remedy_that_a_message_gives_works() {
    let mut walks: Vec<(&str, fn())> = Vec::new();
    for (file, option, place) in &PLACES {
        if let Walk(walk) = place
            && !walks
                .iter()
                .any(|(_, known)| std::ptr::fn_addr_eq(*known, *walk))
        {
            walks.push((file, *walk));
            // A failure is found by the last line.
            println!("{file}: --{option}");
            walk();
        }
    }
    assert!(walks.len() > 15, "{}", walks.len());
}
