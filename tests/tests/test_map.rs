//! The map of the tests, `tests/README.md`, has a line for every file, and every file of tests is
//! part of a program: with `autotests` off, one that nobody names would never run. Every crate says
//! in a README what it is for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xsplice_tests::workspace;

/// Crates that name their programs of tests, and the folders of these.
const CRATES: [&str; 5] = [
    "xsplice-link",
    "xsplice-build",
    "runtime",
    "runtime/ctl",
    "tests",
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names in a folder, folders with `/` behind them.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a plain name");
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder { name + "/" } else { name }
        })
        .collect()
}

/// What the first cells of the table behind `heading` name.
fn mapped<'page>(page: &'page str, heading: &str) -> BTreeSet<&'page str> {
    let (_, chapter) = page.split_once(heading).expect("a chapter");
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').step_by(2))
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_map_has_a_line_for_every_file_and_no_other() {
    let root = workspace().join("tests");
    let page = read(&root.join("README.md"));
    for (heading, folder) in [("\n## Tests\n", "tests"), ("\n## What they share\n", "src")] {
        let there = names(&root.join(folder));
        let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
        assert_eq!(mapped(&page, heading), there, "{folder}");
    }
}

#[test]
fn every_file_of_tests_is_part_of_a_program() {
    for name in CRATES {
        let root = workspace().join(name);
        let (manifest, main) = (
            read(&root.join("Cargo.toml")),
            read(&root.join("tests/main.rs")),
        );
        let mut count = 0;
        for file in names(&root.join("tests")) {
            let Some(module) = file.strip_suffix(".rs").filter(|one| *one != "main") else {
                continue;
            };
            count += 1;
            let is_module = main.lines().any(|line| line == format!("mod {module};"));
            let is_program = manifest.contains(&format!("[[test]]\nname = \"{module}\"\n"));
            assert!(
                is_module != is_program,
                "{name}/tests/{file}: in one program, and in one alone"
            );
        }
        assert!(count > 2, "{name}: {count} files");
    }
}

#[test]
fn every_crate_has_a_readme() {
    let manifest = read(&workspace().join("Cargo.toml"));
    let (_, members) = manifest.split_once("members = [").expect("members");
    let members = members.split(']').next().unwrap_or_default();
    for member in members.split('"').skip(1).step_by(2) {
        let readme = workspace().join(member).join("README.md");
        assert!(readme.is_file(), "{member}: no README.md");
    }
}
