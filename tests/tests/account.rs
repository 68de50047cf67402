//! The account and the differ over every case that makes a payload or finds no change: they agree.
//! And the payload's half of it, which `verify` makes of a payload and the patched objects.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOBITS};
use xsplice_link::Base;
use xsplice_link::verify::{Check, Verdict, objects};
use xsplice_tests::case::{self, BASE, Case};
use xsplice_tests::second_machine;
use xsplice_tests::{compiler, tools};

#[test]
fn account_and_differ_agree_over_all_cases() -> Result<()> {
    let mut wrong = Vec::new();
    let mut accounted = 0;
    for case in second_machine::with_counterparts()? {
        let is_open = matches!(case.description.expect.status, 0 | 3);
        if case.description.link.is_none() || !is_open || case.description.pending.is_some() {
            continue;
        }
        let scratch = tempfile::tempdir()?;
        case.lay_out(scratch.path())?;
        let given = case.description.arguments.iter().map(String::as_str);
        let further = ["-n", "account"].into_iter().chain(given);
        let run = tools::build_payload(scratch.path(), "out", further)?;
        if run.status != Some(case.description.expect.status) {
            let built = case.built.display();
            wrong.push(format!("{built}: {:?} {}", run.status, run.stderr));
            continue;
        }
        accounted += 1;
        if run.status == Some(0) {
            let payload = fs::read(scratch.path().join("out"))?;
            let failed = failures(&held_against(scratch.path(), &payload)?);
            if !failed.is_empty() {
                wrong.push(format!("{}: {}", case.name, failed.join("; ")));
            }
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

/// What `verify` says of a payload when it is given the patched objects.
fn held_against(scratch: &Path, payload: &[u8]) -> Result<Vec<Check>> {
    let base = fs::read(scratch.join(BASE))?;
    let base = Base::parse(BASE, &base)?;
    let tree = scratch.join("patched");
    let names = case::files(&tree)?.into_iter();
    let objects = names
        .filter(|name| name.ends_with(".o"))
        .map(|name| Ok((fs::read(tree.join(&name))?, name)))
        .collect::<Result<Vec<_>>>()?;
    let objects = objects
        .iter()
        .map(|(bytes, name)| (name.as_str(), &bytes[..]));
    Ok(objects::check(payload, &base, objects.collect()))
}

fn failures(checks: &[Check]) -> Vec<String> {
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail);
    failed.map(|check| check.message.clone()).collect()
}

/// Lays a case out and makes its payload.
fn payload_of(name: &str) -> Result<(tempfile::TempDir, Vec<u8>)> {
    let case: Case = case::all()?
        .into_iter()
        .find(|case| case.name == name)
        .context("a case")?;
    let scratch = tempfile::tempdir()?;
    case.lay_out(scratch.path())?;
    let run = tools::build_payload(scratch.path(), "out", ["-n", "half"])?;
    ensure!(run.status == Some(0), "{}", run.stderr);
    let payload = fs::read(scratch.path().join("out"))?;
    Ok((scratch, payload))
}

/// Offsets in the file of the bytes that the objects determine: of sections that are loaded and
/// not the linker's own, without the fields that the loader fills in.
fn determined(payload: &[u8]) -> Result<Vec<usize>> {
    let elf = Elf::parse(payload)?;
    let mut found = Vec::new();
    for (index, section) in elf.section_headers.iter().enumerate() {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap_or_default();
        let is_made = [".xsplice.", ".note", ".modinfo"]
            .iter()
            .any(|made| name.starts_with(made));
        let is_loaded = section.sh_flags & u64::from(SHF_ALLOC) != 0;
        if !is_loaded || section.sh_type == SHT_NOBITS || is_made {
            continue;
        }
        let filled: Vec<u64> = elf
            .shdr_relocs
            .iter()
            .filter(|(of, _)| elf.section_headers[*of].sh_info as usize == index)
            .flat_map(|(_, relocations)| relocations.iter().map(|one| one.r_offset))
            .collect();
        // Fields of four bytes: what is behind one of eight is not asked for either.
        let is_filled = |at: u64| filled.iter().any(|start| (*start..start + 8).contains(&at));
        let own = (0..section.sh_size).filter(|at| !is_filled(*at));
        found.extend(own.map(|at| usize::try_from(section.sh_offset + at).expect("in memory")));
    }
    Ok(found)
}

#[test]
fn a_payload_with_any_other_byte_is_not_what_the_objects_hold() -> Result<()> {
    for name in [
        "alternative-travels",
        "new-table-of-functions",
        "rodata-private-table",
    ] {
        let (scratch, payload) = payload_of(name)?;
        let offsets = determined(&payload)?;
        ensure!(!offsets.is_empty(), "{name}: nothing is determined");
        ensure!(
            failures(&held_against(scratch.path(), &payload)?).is_empty(),
            "{name}"
        );
        for offset in offsets {
            let mut other = payload.clone();
            other[offset] ^= 0x10;
            let failed = failures(&held_against(scratch.path(), &other)?);
            ensure!(!failed.is_empty(), "{name}: byte {offset:#x} is another");
        }
    }
    Ok(())
}

#[test]
fn a_payload_is_not_held_by_the_original_objects() -> Result<()> {
    let (scratch, payload) = payload_of("one-function")?;
    ensure!(failures(&held_against(scratch.path(), &payload)?).is_empty());
    fs::remove_dir_all(scratch.path().join("patched"))?;
    case::copy_tree(
        &scratch.path().join("original"),
        &scratch.path().join("patched"),
    )?;
    let failed = failures(&held_against(scratch.path(), &payload)?);
    ensure!(
        failed
            .iter()
            .any(|one| one.contains("is not as the objects have it")),
        "{failed:?}"
    );
    Ok(())
}
