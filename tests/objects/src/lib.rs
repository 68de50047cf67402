//! Objects for the tests of every crate: compiled when a test runs, so that it is about what real
//! compilers emit, read by `readelf`, which is nobody's own reader, and spoiled in every way that
//! [`mutate`] knows. [`shop`] has several builds of one program.

#![forbid(unsafe_code)]

pub mod mutate;
pub mod shop;

use std::path::Path;
use std::process::Command;

/// Runs a command that must succeed, and returns its standard output.
///
/// # Panics
/// When it cannot be started, fails, or prints what is not text.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program can be started");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("a program prints text")
}

/// Compiles or assembles `source`, a path below `folder`, into the object of the same name with
/// `.o` for its ending; as a build would, from inside the folder.
///
/// # Panics
/// When the compiler complains.
#[track_caller]
pub fn compile(folder: &Path, compiler: &str, flags: &[&str], source: &str) -> Vec<u8> {
    let object = Path::new(source).with_extension("o");
    run(Command::new(compiler)
        .args(flags)
        .args(["-c", source, "-o"])
        .arg(&object)
        .current_dir(folder));
    std::fs::read(folder.join(object)).expect("the compiler wrote an object")
}

/// What `readelf` says about a file. What it cannot read without a word is malformed.
///
/// # Errors
/// What it said, when it fails or warns.
pub fn readelf(flags: &str, file: &Path) -> Result<String, String> {
    let mut command = Command::new("readelf");
    command.arg(flags).arg(file).env("LC_ALL", "C");
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !complaints.is_empty() || text.contains("Warning:") {
        return Err(format!(
            "{command:?}: {}\n{complaints}{text}",
            output.status
        ));
    }
    Ok(text)
}

/// The same of bytes that no file holds yet.
///
/// # Panics
/// When readelf fails or warns.
#[must_use]
#[track_caller]
pub fn readelf_of(flags: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).expect("a file can be written");
    readelf(flags, &path).unwrap_or_else(|complaint| panic!("{complaint}"))
}
