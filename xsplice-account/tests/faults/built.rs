//! Builds of small programs, and the account of two of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_account::{Account, Given, Inputs, account};

pub(crate) type Sources<'source> = &'source [(&'source str, &'source str)];

const FLAGS: [&str; 7] = [
    "-O1",
    "-g",
    "-fpie",
    "-ffunction-sections",
    "-fdata-sections",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
];

fn run(command: &mut Command) {
    let output = command.output().expect("gcc and ld are installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

fn compile(folder: &Path, sources: Sources<'_>) -> Vec<(String, Vec<u8>)> {
    fs::create_dir_all(folder).expect("a folder of our own");
    let mut objects = Vec::new();
    for (name, source) in sources {
        let path = folder.join(name);
        fs::write(&path, source).expect("a folder of our own");
        let mut gcc = Command::new("gcc");
        gcc.args(FLAGS)
            .args(["-fno-toplevel-reorder", "-c", name, "-o"]);
        let object = format!("{name}.o");
        run(gcc.arg(&object).current_dir(folder));
        let bytes = fs::read(folder.join(&object)).expect("gcc wrote it");
        objects.push((object, bytes));
    }
    objects
}

/// The image that is linked from sources in their order.
fn link(folder: &Path, sources: Sources<'_>) -> Vec<u8> {
    let objects = compile(folder, sources);
    let mut ld = Command::new("ld");
    ld.args(["-static", "-nostdlib", "--build-id=sha1", "-e", "0", "-o"]);
    ld.arg("image").args(objects.iter().map(|(name, _)| name));
    run(ld.current_dir(folder));
    fs::read(folder.join("image")).expect("ld wrote it")
}

/// The account of two builds where no payload was made. The base is linked from `linked`.
pub(crate) fn without_payload(
    linked: Sources<'_>,
    original: Sources<'_>,
    patched: Sources<'_>,
) -> Account {
    looked_at(linked, original, patched, None, &[])
}

/// The same, where the image of the patched build is linked from `image`.
pub(crate) fn without_payload_but_image(
    linked: Sources<'_>,
    original: Sources<'_>,
    patched: Sources<'_>,
    image: Sources<'_>,
) -> Account {
    looked_at(linked, original, patched, Some(image), &[])
}

/// The account of two builds with their images, where the author accepted what has these names.
pub(crate) fn accepting(original: Sources<'_>, patched: Sources<'_>, accepted: &[&str]) -> Account {
    looked_at(original, original, patched, Some(patched), accepted)
}

fn looked_at(
    linked: Sources<'_>,
    original: Sources<'_>,
    patched: Sources<'_>,
    image: Option<Sources<'_>>,
    accepted: &[&str],
) -> Account {
    let scratch = TempDir::new().expect("room for temporary files");
    let at = |name: &str| scratch.path().join(name);
    let base = link(&at("linked"), linked);
    let original = compile(&at("original"), original);
    let patched = compile(&at("patched"), patched);
    let borrowed =
        |objects: &'_ [(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> { objects.to_vec() };
    let (original, patched) = (borrowed(&original), borrowed(&patched));
    let image = image.map(|sources| link(&at("image"), sources));
    let inputs = Inputs {
        base: &base,
        original: original
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect(),
        patched: patched
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect(),
        patched_image: image.as_deref(),
        given: Given::Tree,
        left_out: Vec::new(),
        payload: None,
        accepted: accepted.iter().map(|name| (*name).to_owned()).collect(),
    };
    account(&inputs).expect("well-formed inputs")
}

/// The account of two builds, the base linked from the original one.
pub(crate) fn of(original: Sources<'_>, patched: Sources<'_>) -> Account {
    without_payload(original, original, patched)
}

pub(crate) fn names(account: &Account) -> Vec<&str> {
    let missing = &account.after.missing;
    missing
        .iter()
        .map(|missing| missing.item.as_str())
        .collect()
}
