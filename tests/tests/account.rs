//! The account and the differ over every case that makes a payload or finds no change: they agree.

use anyhow::{Result, ensure};
use xsplice_tests::case::{self, BASE};
use xsplice_tests::tools;

/// Cases in which the two still disagree, and what each is about. A case that no longer does must
/// be taken off, so that the list only gets shorter.
const DISAGREE: [(&str, &str); DISAGREEMENTS] = [
    (
        "assembler-padding",
        "the section asks for more alignment, and the base's place does not have it",
    ),
    (
        "data-alignment-of-a-new-neighbour",
        "which item of a shared section asks for the new alignment is not known",
    ),
    (
        "end-of-array-neighbour-kept",
        "which item of a shared section asks for the new alignment is not known",
    ),
    (
        "fixup-tail-with-entry-changed",
        "an entry whose owner is code without a name is not followed to the function that has it",
    ),
    (
        "ignored-object",
        "what --ignore-object leaves out is in the base",
    ),
    (
        "room-behind-alignment",
        "which item of a shared section asks for the new alignment is not known",
    ),
    (
        "stale-constant",
        "the base does not hold a constant as the original build has it",
    ),
    (
        "writable-became-read-only",
        "a variable that became constant keeps what was written to it",
    ),
];
const DISAGREEMENTS: usize = 8;

#[test]
fn account_and_differ_agree_over_all_cases() -> Result<()> {
    let mut wrong = Vec::new();
    let mut accounted = 0;
    for case in case::all()? {
        let is_open = matches!(case.description.expect.status, 0 | 3);
        if case.description.link.is_none() || !is_open || case.description.pending.is_some() {
            continue;
        }
        let scratch = tempfile::tempdir()?;
        case.lay_out(scratch.path())?;
        let fixed = [
            "--orig",
            "original",
            "--patched",
            "patched",
            "--base",
            BASE,
            "-o",
            "out",
        ];
        let fixed = fixed.into_iter().chain(["-n", "account", "--account"]);
        let given = case.description.arguments.iter().map(String::as_str);
        let run = tools::run("xsplice-build", fixed.chain(given), scratch.path())?;
        let agrees = run.status == Some(case.description.expect.status);
        let is_listed = DISAGREE.iter().any(|(name, _)| *name == case.name);
        if agrees == is_listed {
            wrong.push(format!("{}: {:?} {}", case.name, run.status, run.stderr));
        }
        accounted += usize::from(agrees);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(
        accounted > DISAGREE.len(),
        "only {accounted} cases were accounted for"
    );
    Ok(())
}
