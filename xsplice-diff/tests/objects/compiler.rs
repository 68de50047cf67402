//! Compiles small sources at test time, so that every case is about what real compilers emit.

use std::path::Path;
use std::process::Command;

use xsplice_diff::options::Options;
use xsplice_diff::report::object_diff::{ObjectDiff, Verdict};
use xsplice_diff::verdict::kinds::{Reason, RefusalCode, Status};
use xsplice_test_objects::readelf_of;

/// Flags of a hypervisor build: one section an item, no PIC, kernel addresses.
pub(crate) const KERNEL: &[&str] = &[
    "-O2",
    "-fno-pic",
    "-mcmodel=kernel",
    "-ffunction-sections",
    "-fdata-sections",
];

/// Every set of flags that the rules must hold under.
pub(crate) const FLAG_SETS: &[&[&str]] = &[
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
pub(crate) fn compilers() -> Vec<&'static str> {
    ["gcc", "clang"]
        .into_iter()
        .filter(|compiler| {
            *compiler == "gcc" || Command::new(compiler).arg("--version").output().is_ok()
        })
        .collect()
}

/// Compiles C.
pub(crate) fn compile(compiler: &str, flags: &[&str], source: &str) -> Vec<u8> {
    build(compiler, flags, source, "case.c")
}

/// Assembles.
pub(crate) fn assemble(source: &str) -> Vec<u8> {
    build("gcc", &[], source, "case.S")
}

/// Assembles for AArch64.
pub(crate) fn assemble_arm64(source: &str) -> Vec<u8> {
    build("aarch64-linux-gnu-gcc", &[], source, "case.S")
}

fn build(compiler: &str, flags: &[&str], source: &str, name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join(name), source).expect("the source can be written");
    xsplice_test_objects::compile(folder.path(), compiler, flags, name)
}

/// The folder of `xsplice.h`.
pub(crate) fn include_flag() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/include");
    format!("-I{}", folder.display())
}

/// Compares with default options.
pub(crate) fn diff<'data>(original: &'data [u8], patched: &'data [u8]) -> ObjectDiff<'data> {
    diff_with(original, patched, &Options::default())
}

/// Compares, and checks what holds for every diff.
pub(crate) fn diff_with<'data>(
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
        let _ = readelf_of("-aW", &bytes);
        let read = xsplice_diff::extract::read(&bytes).expect("what was written can be read");
        assert_eq!(Some(&read), diff.extract.as_ref());
    }
    diff
}

/// Names of changed functions.
pub(crate) fn changed<'d>(diff: &'d ObjectDiff<'_>) -> Vec<&'d str> {
    with_status(diff, Status::Changed)
}

/// Names of new functions.
pub(crate) fn new<'d>(diff: &'d ObjectDiff<'_>) -> Vec<&'d str> {
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
pub(crate) fn data<'d>(diff: &'d ObjectDiff<'_>) -> Vec<&'d str> {
    diff.data.iter().map(|datum| datum.name.as_str()).collect()
}

/// Codes of refusals.
pub(crate) fn refused(diff: &ObjectDiff<'_>) -> Vec<RefusalCode> {
    diff.refusals.iter().map(|refusal| refusal.code).collect()
}

/// Reasons of one function.
pub(crate) fn reasons<'d>(diff: &'d ObjectDiff<'_>, name: &str) -> &'d [Reason] {
    diff.functions
        .iter()
        .find(|function| function.name == name)
        .map_or(&[], |function| &function.reasons)
}

/// The object with one byte behind its end, so that nothing is skipped for being equal.
pub(crate) fn with_a_byte_appended(object: &[u8]) -> Vec<u8> {
    let mut bytes = object.to_vec();
    bytes.push(0);
    bytes
}
