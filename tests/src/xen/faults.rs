//! Looks for faults of the tools in the trees themselves: every object against itself must come
//! out as "no functional change", and so must two trees with the same content.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::build::Tree;
use super::in_tree;
use super::payload::{Said, Stacking, Tools};
use super::process::output_of;
use super::table::{Row, Table};

const NO_CHANGE: i32 = 3;
/// How many objects a bad line names.
const NAMED_OBJECTS: usize = 5;

/// Adds the rows of all checks to `table`. `later` is the same source, built at another time.
pub fn check(
    tools: &Tools,
    [original, later]: [&Tree; 2],
    folder: &Path,
    table: &mut Table,
) -> Result<()> {
    table.add(objects_against_themselves(tools, original)?);
    table.add(tree_against_itself(tools, original, folder)?);
    table.add(tree_of_another_time(tools, original, later, folder)?);
    for payload in in_tree::payloads(original)? {
        table.add(inspected(tools, &payload)?);
    }
    Ok(())
}

fn objects_against_themselves(tools: &Tools, original: &Tree) -> Result<Row> {
    let objects = objects(&original.directory)?;
    let mut bad = Vec::new();
    for object in &objects {
        let mut command = tools.command("xsplice-diff");
        let result = output_of(command.args(["--abi", "livepatch"]).arg(object).arg(object))?;
        if result.status.code() != Some(NO_CHANGE) {
            let name = object.strip_prefix(&original.directory).unwrap_or(object);
            let said = String::from_utf8_lossy(&result.stderr);
            let said = said.lines().next().unwrap_or_default().to_owned();
            bad.push(format!("{} ({}; {said})", name.display(), result.status));
        }
    }
    let seen = if bad.is_empty() {
        Ok(format!("{} objects", objects.len()))
    } else {
        let named = bad
            .iter()
            .take(NAMED_OBJECTS)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        Err(format!("{} of {}: {named}", bad.len(), objects.len()))
    };
    Ok(Row {
        name: "every object against itself".to_owned(),
        expected: "no functional change".to_owned(),
        seen,
    })
}

fn tree_against_itself(tools: &Tools, original: &Tree, folder: &Path) -> Result<Row> {
    let output = folder.join("itself.livepatch");
    let said = tools.build("itself", original, original, &output, &Stacking::default())?;
    Ok(Row {
        name: "the tree against itself".to_owned(),
        expected: "no functional change".to_owned(),
        seen: match said {
            Said::NoChange => Ok("no functional change".to_owned()),
            other => Err(super::payload::describe(&other)),
        },
    })
}

/// What differs between two builds of one source is their dates, which are no change.
fn tree_of_another_time(
    tools: &Tools,
    original: &Tree,
    later: &Tree,
    folder: &Path,
) -> Result<Row> {
    let output = folder.join("later.livepatch");
    let said = tools.build("later", original, later, &output, &Stacking::default())?;
    let description = super::payload::describe(&said);
    Ok(Row {
        name: "the tree against one of another time".to_owned(),
        expected: "no change: dates and times are left out".to_owned(),
        seen: match said {
            Said::NoChange => Ok(description),
            _ => Err(description),
        },
    })
}

fn inspected(tools: &Tools, payload: &Path) -> Result<Row> {
    let name = payload
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let result = output_of(tools.command("xsplice-link").arg("inspect").arg(payload))?;
    let text = String::from_utf8_lossy(&result.stdout);
    let lines = text.lines().count();
    let seen = if result.status.success() && lines > 0 {
        Ok(format!("{lines} lines"))
    } else {
        let why = String::from_utf8_lossy(&result.stderr)
            .trim()
            .replace('\n', " / ");
        Err(format!("{}: {why}", result.status))
    };
    Ok(Row {
        name: format!("inspect {name}"),
        expected: "read".to_owned(),
        seen,
    })
}

/// Every relocatable object of a build that one source was compiled to.
fn objects(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.context("cannot list a folder")?;
            let path = entry.path();
            if entry
                .file_type()
                .context("cannot tell a file's kind")?
                .is_dir()
            {
                // Programs of the build machine.
                if !path.ends_with("tools") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "o")
                && !["built_in.o", "prelink.o"]
                    .iter()
                    .any(|merged| path.ends_with(merged))
                && is_relocatable_x86_64(&path)?
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The first bytes of an ELF64 x86-64 relocatable object; boot code of 32 bits and the EFI build's
/// COFF object carry the same ending.
fn is_relocatable_x86_64(path: &Path) -> Result<bool> {
    const CLASS_64: u8 = 2;
    const RELOCATABLE: [u8; 2] = [1, 0];
    const X86_64: [u8; 2] = [62, 0];
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.starts_with(b"\x7fELF")
        && bytes.get(4) == Some(&CLASS_64)
        && bytes.get(16..18) == Some(&RELOCATABLE)
        && bytes.get(18..20) == Some(&X86_64))
}
