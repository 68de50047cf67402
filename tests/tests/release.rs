//! What a release promises: one version in one place, and a README that works as it stands.

use std::fs;
use std::process::Command;

use xsplice_tests::case;
use xsplice_tests::tools::{self, limited};
use xsplice_tests::workspace;

/// The version, from the one place where it stands.
fn version() -> String {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let (_, package) = manifest.split_once("[workspace.package]\n").unwrap();
    let lines = package.lines().take_while(|line| !line.starts_with('['));
    let mut versions = lines.filter_map(|line| line.strip_prefix("version = \""));
    versions.next().unwrap().trim_end_matches('"').to_owned()
}

#[test]
fn the_version_stands_in_one_place() {
    let version = version();
    let mut crates = 0;
    let folders = [
        "runtime",
        "tests",
        "xsplice-account",
        "xsplice-build",
        "xsplice-console",
    ];
    for folder in folders.into_iter().chain(["xsplice-diff", "xsplice-link"]) {
        for file in case::files(&workspace().join(folder)).unwrap() {
            if file.rsplit('/').next() != Some("Cargo.toml") {
                continue;
            }
            let path = format!("{folder}/{file}");
            let text = fs::read_to_string(workspace().join(&path)).unwrap();
            let (_, package) = text.split_once("[package]\n").unwrap();
            let package = package.split("\n[").next().unwrap();
            assert!(package.contains("version.workspace = true"), "{path}");
            assert!(!package.contains("\nversion = "), "{path}");
            crates += 1;
        }
    }
    assert!(crates >= 12, "{crates}");
    // Whoever makes the package looks for its date there.
    let changes = fs::read_to_string(workspace().join("CHANGELOG.md")).unwrap();
    let heading = format!("## {version} - ");
    assert!(
        changes.lines().any(|line| line.starts_with(&heading)),
        "{heading}"
    );
    for command in tools::COMMANDS.into_iter().chain(["xsplice-store"]) {
        let run = limited(Command::new(tools::folder().join(command)).arg("--version")).unwrap();
        assert_eq!(run.stdout, format!("{command} {version}\n"));
    }
}

#[test]
fn the_readme_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = Command::new(workspace().join("packaging/try-readme.sh"));
    script.arg(tools::folder()).arg(folder.path().join("tried"));
    let run = limited(script.env_remove("MAKEFLAGS")).unwrap();
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.ends_with("== done\n"), "{run:?}");
}
