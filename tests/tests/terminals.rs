//! How the commands print: for a reader that goes away, for a narrow terminal, and for a pipe.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use xsplice_tests::case::{BASE, Case};
use xsplice_tests::{tools, workspace};

/// The two trees and the base of a case that is refused, for it has the longest lines.
fn refused_case() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    Case::read(&workspace().join("fixtures/cases/changed-data"))
        .unwrap()
        .lay_out(scratch.path())
        .unwrap();
    scratch
}

const ARGUMENTS: [&str; 6] = ["--orig", "original", "--patched", "patched", "--base", BASE];

fn command(folder: &Path) -> Command {
    let mut command = Command::new(tools::folder().join("xsplice-build"));
    command.args(ARGUMENTS).current_dir(folder);
    command
}

/// The command on a terminal of so many columns, which `script` makes.
fn on_a_terminal(folder: &Path, columns: u16, environment: &[(&str, &str)]) -> Output {
    let program = tools::folder().join("xsplice-build");
    let line = format!(
        "stty rows 24 cols {columns}; exec {} {}",
        program.display(),
        ARGUMENTS.join(" ")
    );
    Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("script of util-linux")
}

/// What is seen of a text with colours.
fn seen(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let mut seen = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        seen.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    seen + rest
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    for case in ["changed-data", "one-function"] {
        let scratch = tempfile::tempdir().unwrap();
        let case = Case::read(&workspace().join("fixtures/cases").join(case)).unwrap();
        case.lay_out(scratch.path()).unwrap();
        let whole = command(scratch.path()).output().unwrap();
        let mut child = command(scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut messages = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut messages).unwrap();
        assert_eq!(child.wait().unwrap().code(), whole.status.code());
        assert_eq!(messages, String::from_utf8_lossy(&whole.stderr));
    }
}

#[test]
fn a_narrow_terminal_gets_whole_words_and_a_pipe_gets_whole_lines() {
    let scratch = refused_case();
    let narrow = on_a_terminal(scratch.path(), 60, &[]);
    let text = seen(&narrow.stdout);
    assert!(text.contains("refused"), "{text}");
    assert!(
        !text.contains("comparing"),
        "progress of short work: {text}"
    );
    let too_long: Vec<&str> = text
        .lines()
        .filter(|line| line.chars().count() > 60 && line.trim().contains(' '))
        .collect();
    assert!(too_long.is_empty(), "{too_long:#?}");

    let piped = command(scratch.path()).output().unwrap();
    let piped = String::from_utf8_lossy(&piped.stderr).into_owned();
    assert!(
        piped.lines().any(|line| line.chars().count() > 60),
        "the premise: {piped}"
    );
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    assert!(
        words(&text).ends_with(&words(&piped)),
        "the same words on both: {text}\n{piped}"
    );
    assert_eq!(narrow.status.code(), Some(2));
}

#[test]
fn a_terminal_gets_colour_unless_it_is_told_not_to() {
    let scratch = refused_case();
    let coloured = on_a_terminal(scratch.path(), 100, &[]);
    assert!(coloured.stdout.contains(&0x1b), "no colour on a terminal");
    let plain = on_a_terminal(scratch.path(), 100, &[("NO_COLOR", "1")]);
    assert!(!plain.stdout.contains(&0x1b), "colour in spite of NO_COLOR");
    let piped = command(scratch.path()).output().unwrap();
    assert!(!piped.stdout.contains(&0x1b) && !piped.stderr.contains(&0x1b));
}
