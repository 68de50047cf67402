//! The account and the differ over every case that makes a payload or finds no change: they agree.

use std::fs;

use anyhow::{Context, Result, ensure};
use xsplice_tests::case::{self, BASE};
use xsplice_tests::{compiler, tools};

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
        let given = case.description.arguments.iter().map(String::as_str);
        let further = ["-n", "account"].into_iter().chain(given);
        let run = tools::build_payload(scratch.path(), "out", further)?;
        if run.status == Some(case.description.expect.status) {
            accounted += 1;
        } else {
            wrong.push(format!("{}: {:?} {}", case.name, run.status, run.stderr));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(accounted > 0, "no case was accounted for");
    Ok(())
}

#[test]
fn code_of_the_base_that_no_object_of_the_tree_holds_is_refused() -> Result<()> {
    const LINE: &str = "gcc -O2 -ffunction-sections -fdata-sections -fno-pic -mno-red-zone";
    const OTHER: &str = "int not_given(int x) { return x * 5; }\n";
    let scratch = tempfile::tempdir()?;
    let linked = scratch.path().join("linked");
    let write = |tree: &str, name: &str, text: &str| -> Result<()> {
        let sources = scratch.path().join("source");
        fs::create_dir_all(&sources)?;
        fs::create_dir_all(scratch.path().join(tree))?;
        fs::write(sources.join(format!("{name}.c")), text)?;
        let object = scratch.path().join(tree).join(format!("{name}.o"));
        compiler::compile(&sources, &format!("{name}.c"), &object, LINE)
    };
    for tree in ["linked", "original", "patched"] {
        let step = if tree == "patched" { 2 } else { 1 };
        write(
            tree,
            "f",
            &format!("int f(int x) {{ return x * 77 + {step}; }}\n"),
        )?;
    }
    write("linked", "g", OTHER)?;
    compiler::link(
        &linked,
        &scratch.path().join(BASE),
        "-Ttext-segment=0x400000",
    )?;
    let build = |wanted: i32| -> Result<String> {
        let run = tools::build_payload(scratch.path(), "out", ["--json", "-"])?;
        ensure!(
            run.status == Some(wanted),
            "{:?} {}",
            run.status,
            run.stderr
        );
        Ok(run.stdout)
    };
    let refused: serde_json::Value = serde_json::from_str(&build(2)?)?;
    let refusals = refused["refusals"].as_array().context("a list")?;
    let named: Vec<_> = refusals
        .iter()
        .map(|one| (&one["code"], &one["symbol"]))
        .collect();
    ensure!(named.len() == 1, "{refused}");
    ensure!(
        named[0].0 == "not-accounted" && named[0].1 == "not_given",
        "{refused}"
    );
    // The same with the object given.
    for tree in ["original", "patched"] {
        write(tree, "g", OTHER)?;
    }
    build(0)?;
    Ok(())
}
