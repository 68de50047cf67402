//! The map of the sources in DESIGN.md is complete: a newcomer finds every folder in it, once, and
//! whatever it names is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn design() -> Result<String> {
    std::fs::read_to_string(root().join("DESIGN.md")).context("DESIGN.md")
}

#[test]
fn the_map_names_every_folder_of_sources_once() -> Result<()> {
    let text = design()?;
    let named: Vec<&str> = text.lines().filter_map(row).collect();
    ensure!(!named.is_empty(), "DESIGN.md has no map");
    let mut distinct = BTreeSet::new();
    let again: Vec<&str> = named
        .into_iter()
        .filter(|folder| !distinct.insert(*folder))
        .collect();
    ensure!(again.is_empty(), "named twice: {again:?}");
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(root())? {
        let name = entry?.file_name();
        if root().join(&name).join("Cargo.toml").is_file() {
            folders(&root(), Path::new(&name), &mut there)?;
        }
    }
    let missing: Vec<&String> = there
        .iter()
        .filter(|folder| !distinct.contains(folder.as_str()))
        .collect();
    ensure!(missing.is_empty(), "not in the map: {missing:?}");
    Ok(())
}

#[test]
fn what_the_design_names_is_there() -> Result<()> {
    let text = design()?;
    let absent: Vec<&str> = code_spans(&text)
        .filter(|span| is_path(span) && !root().join(span).exists())
        .collect();
    ensure!(absent.is_empty(), "not there: {absent:?}");
    Ok(())
}

#[test]
fn rows_and_paths_are_recognised() {
    assert_eq!(row("| `tests/src/` | harness |"), Some("tests/src/"));
    assert_eq!(row("| **`tests/`** | **tests** |"), None);
    assert_eq!(row("| `gimli` | line tables |"), None);
    assert_eq!(row("see `tests/src/`"), None);
    let spans: Vec<&str> = code_spans("a `b/c` d `e`").collect();
    assert_eq!(spans, ["b/c", "e"]);
    assert!(is_path("tests/tests/circles.rs") && is_path("runtime/"));
    assert!(!is_path("#[cfg(test)] a/b") && !is_path("gimli"));
}

/// The folder that a row of the map is about. Bold rows are headings: they name a whole crate.
fn row(line: &str) -> Option<&str> {
    let (folder, _) = line.strip_prefix("| `")?.split_once("` |")?;
    folder.ends_with('/').then_some(folder)
}

/// What stands between backquotes.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_path(span: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    span.contains('/') && span.chars().all(is_part)
}

/// Adds the folders below `folder`, itself included, that hold Rust files of a program. What tests
/// of one crate share among themselves (`tests` beside `src`) is described by the crate.
fn folders(root: &Path, folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    let here = root.join(folder);
    for entry in std::fs::read_dir(&here).with_context(|| here.display().to_string())? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            folders(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && (folder.starts_with("tests") || folder.iter().any(|part| part == "src"))
        {
            found.insert(format!("{}/", folder.display()));
        }
    }
    Ok(())
}
