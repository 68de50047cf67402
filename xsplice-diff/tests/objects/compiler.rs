//! Compiles small sources at test time, so that every case is about what real compilers emit.

use std::path::Path;
use std::process::Command;

use xsplice_diff::options::Options;
use xsplice_diff::report::object_diff::{ObjectDiff, Verdict};
use xsplice_diff::verdict::kinds::{Reason, RefusalCode, Status};

/// Flags of a hypervisor build: one section an item, no PIC, kernel addresses.
pub const KERNEL: &[&str] = &[
    "-O2",
    "-fno-pic",
    "-mcmodel=kernel",
    "-ffunction-sections",
    "-fdata-sections",
];

/// Every set of flags that the rules must hold under.
pub const FLAG_SETS: &[&[&str]] = &[
    KERNEL,
    &["-O0", "-fpic"],
    &["-O1"],
    &["-O2", "-fpic"],
    &["-O3", "-fno-pic", "-mcmodel=kernel"],
    &["-Os", "-fcf-protection", "-ffunction-sections"],
    &[
        "-O2",
        "-g",
        "-fno-pic",
        "-mcmodel=kernel",
        "-fno-jump-tables",
    ],
];

/// The compilers that this machine has; gcc is always one.
pub fn compilers() -> Vec<&'static str> {
    ["gcc", "clang"]
        .into_iter()
        .filter(|compiler| {
            *compiler == "gcc" || Command::new(compiler).arg("--version").output().is_ok()
        })
        .collect()
}

/// Compiles C.
pub fn compile(compiler: &str, flags: &[&str], source: &str) -> Vec<u8> {
    build(compiler, flags, source, "case.c")
}

/// Assembles.
pub fn assemble(source: &str) -> Vec<u8> {
    build("gcc", &[], source, "case.S")
}

fn build(compiler: &str, flags: &[&str], source: &str, name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join(name);
    std::fs::write(&path, source).expect("the source can be written");
    let object = folder.path().join("case.o");
    run(Command::new(compiler)
        .args(flags)
        .args(["-c", name, "-o"])
        .arg(&object)
        .current_dir(folder.path()));
    std::fs::read(&object).expect("the compiler wrote an object")
}

fn run(command: &mut Command) {
    let output = command.output().expect("the tool can be run");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What `readelf` says about an object.
pub fn readelf(flags: &str, object: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("case.o");
    std::fs::write(&path, object).expect("the object can be written");
    let output = Command::new("readelf")
        .arg(flags)
        .arg(&path)
        .output()
        .expect("readelf can be run");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The folder of `xsplice.h`.
pub fn include_flag() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/include");
    format!("-I{}", folder.display())
}

/// Compares with default options.
pub fn diff<'data>(original: &'data [u8], patched: &'data [u8]) -> ObjectDiff<'data> {
    diff_with(original, patched, &Options::default())
}

/// Compares, and checks what holds for every diff.
pub fn diff_with<'data>(
    original: &'data [u8],
    patched: &'data [u8],
    options: &Options,
) -> ObjectDiff<'data> {
    let diff = xsplice_diff::diff_objects("case.o", original, patched, options)
        .expect("compilers write well-formed objects");
    assert!(
        diff.functions
            .iter()
            .all(|function| !function.reasons.is_empty()),
        "every function has a reason: {diff:#?}"
    );
    if diff.verdict() == Verdict::Changed {
        let bytes =
            xsplice_diff::report::written::write_diff(&diff).expect("something was extracted");
        let complaints = readelf("-aW", &bytes);
        assert!(!complaints.contains("arning"), "{complaints}");
        let read = xsplice_diff::extract::read(&bytes).expect("what was written can be read");
        assert_eq!(Some(&read), diff.extract.as_ref());
    }
    diff
}

/// Names of changed functions.
pub fn changed<'d>(diff: &'d ObjectDiff<'_>) -> Vec<&'d str> {
    with_status(diff, Status::Changed)
}

/// Names of new functions.
pub fn new<'d>(diff: &'d ObjectDiff<'_>) -> Vec<&'d str> {
    with_status(diff, Status::New)
}

fn with_status<'d>(diff: &'d ObjectDiff<'_>, status: Status) -> Vec<&'d str> {
    diff.functions
        .iter()
        .filter(|function| function.status == status)
        .map(|function| function.name.as_str())
        .collect()
}

/// Names of data that is included.
pub fn data<'d>(diff: &'d ObjectDiff<'_>) -> Vec<&'d str> {
    diff.data.iter().map(|datum| datum.name.as_str()).collect()
}

/// Codes of refusals.
pub fn refused(diff: &ObjectDiff<'_>) -> Vec<RefusalCode> {
    diff.refusals.iter().map(|refusal| refusal.code).collect()
}

/// Reasons of one function.
pub fn reasons<'d>(diff: &'d ObjectDiff<'_>, name: &str) -> &'d [Reason] {
    diff.functions
        .iter()
        .find(|function| function.name == name)
        .map_or(&[], |function| &function.reasons)
}

/// The object with one byte behind its end, so that nothing is skipped for being equal.
pub fn with_a_byte_appended(object: &[u8]) -> Vec<u8> {
    let mut bytes = object.to_vec();
    bytes.push(0);
    bytes
}
