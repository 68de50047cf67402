//! What Xen's loader on AArch64 takes although the hypervisor then stops or runs something else:
//! each is found in a payload that somebody made by hand, and the nearest that is none is not.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_link::Base;
use xsplice_link::verify::{Against, CheckKind, NamedFile, Verdict, Verification, verify};

/// An image with the function that all the payloads replace.
const IMAGE: &str = r#"
        .text
        .globl xen_minor_version, other_function
        .type xen_minor_version, %function
xen_minor_version:
        mov w0, #17
        ret
        .size xen_minor_version, . - xen_minor_version
        .type other_function, %function
other_function:
        ret
        .size other_function, . - other_function
        .section .rodata, "a"
        .globl file_name
        .type file_name, %object
file_name: .asciz "common/version.c"
        .size file_name, . - file_name
"#;

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).output();
    let output = output.expect("the cross compiler is installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

/// The image, and payloads for it.
struct Lab {
    folder: TempDir,
    image: Vec<u8>,
}

impl Lab {
    fn new() -> Lab {
        let folder = TempDir::new().expect("room for temporary files");
        let at = folder.path();
        fs::write(at.join("image.S"), IMAGE).expect("a folder of our own");
        run(
            "aarch64-linux-gnu-gcc",
            &["-c", "image.S", "-o", "image.o"],
            at,
        );
        let link = "-static -nostdlib --build-id=sha1 -Ttext=0x200000 -e 0 -o image image.o";
        let link: Vec<&str> = link.split(' ').collect();
        run("aarch64-linux-gnu-ld", &link, at);
        let id = [
            "-O",
            "binary",
            "--only-section=.note.gnu.build-id",
            "image",
            "id",
        ];
        run("aarch64-linux-gnu-objcopy", &id, at);
        let image = fs::read(at.join("image")).expect("ld wrote it");
        Lab { folder, image }
    }

    /// The payload of a source, with a few words of it replaced.
    fn payload(&self, name: &str, (from, to): (&str, &str)) -> Vec<u8> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/xen/traps");
        let at = self.folder.path();
        let source = fs::read_to_string(fixtures.join(format!("{name}.S"))).expect("a fixture");
        assert!(source.contains(from), "{name}: {from}");
        fs::write(at.join("payload.S"), source.replace(from, to)).expect("a folder of our own");
        fs::copy(fixtures.join("payload.h"), at.join("payload.h")).expect("a folder of our own");
        let id = format!("-DBASE_ID=\"{}\"", at.join("id").display());
        let address = format!("-DOLD={:#x}", 0x20_0000);
        let defines = [&*id, &*address, "-DOLD_SIZE=8", "-DALWAYS=4"];
        let compile = [&["-c", "payload.S", "-o", "payload.o"][..], &defines].concat();
        run("aarch64-linux-gnu-gcc", &compile, at);
        let link = ["-EL", "-r", "--build-id=sha1", "-o", "payload", "payload.o"];
        run("aarch64-linux-gnu-ld", &link, at);
        fs::read(at.join("payload")).expect("ld wrote it")
    }

    fn verified(&self, payload: &[u8], stack: &[&[u8]]) -> Verification {
        let base = Base::parse("image", &self.image).expect("an image");
        let named = |bytes| NamedFile {
            path: "payload",
            bytes,
        };
        let stack: Vec<NamedFile<'_>> = stack.iter().map(|bytes| named(*bytes)).collect();
        let against = Against {
            base: &base,
            stack: &stack,
            deny: &[],
            signer: None,
        };
        verify(named(payload), against).expect("a stack that can be read")
    }
}

fn traps(report: &Verification) -> Vec<&str> {
    let failed = report
        .checks
        .iter()
        .filter(|check| check.check == CheckKind::Traps && check.verdict == Verdict::Fail);
    failed.map(|check| check.message.as_str()).collect()
}

#[test]
fn each_trap_is_found_and_the_nearest_that_is_none_is_not() {
    let lab = Lab::new();
    let same = ("xen_minor_version", "xen_minor_version");
    for (name, nearest) in [
        ("far-test-branch", ("0x10004 - 12", "0x4004 - 12")),
        ("misaligned-load", ("numbers + 4", "numbers + 8")),
        ("replacement-lengths", (".byte   8, 4", ".byte   4, 4")),
        (
            "replacement-branch",
            ("b       taken", "b       other_function"),
        ),
        ("warning", ("7b - 6b", "file_name - 6b")),
    ] {
        let report = lab.verified(&lab.payload(name, same), &[]);
        assert_eq!(traps(&report).len(), 1, "{name}: {report}");
        assert!(report.loader.is_taken(), "{name}: {report}");
        let report = lab.verified(&lab.payload(name, nearest), &[]);
        assert_eq!(traps(&report), [""; 0], "{name}: {report}");
        assert!(report.loader.is_taken(), "{name}: {report}");
    }
}

#[test]
fn a_file_name_that_is_nowhere_in_the_image_is_a_trap_too() {
    let lab = Lab::new();
    let behind = lab.payload("warning", ("7b - 6b", "file_name + 0x4000000 - 6b"));
    let report = lab.verified(&behind, &[]);
    assert_eq!(traps(&report).len(), 1, "{report}");
    let inside = lab.payload("warning", ("7b - 6b", "file_name + 7 - 6b"));
    let report = lab.verified(&inside, &[]);
    assert_eq!(traps(&report), [""; 0], "{report}");
}

#[test]
fn what_the_loader_notices_is_no_trap() {
    let lab = Lab::new();
    // Beyond the range that the loader checks.
    let far = lab.payload("far-test-branch", ("0x10004 - 12", "0x110004 - 12"));
    let report = lab.verified(&far, &[]);
    assert_eq!(traps(&report), [""; 0], "{report}");
    assert!(!report.loader.is_taken(), "{report}");
}

#[test]
fn a_function_of_a_payload_below_cannot_be_patched_on_this_machine() {
    let lab = Lab::new();
    let same = ("lower_minor", "lower_minor");
    let lower = lab.payload("lower", same);
    let upper = lab.payload("on-a-payload", same);
    let report = lab.verified(&lower, &[]);
    assert_eq!(traps(&report), [""; 0], "{report}");
    let report = lab.verified(&upper, &[&lower]);
    assert_eq!(traps(&report).len(), 1, "{report}");
    // What replaces a function itself is not found by its name.
    let replacing = ("lower_minor, 0", "lower, 0");
    let report = lab.verified(&lab.payload("on-a-payload", replacing), &[&lower]);
    assert_eq!(traps(&report), [""; 0], "{report}");
    // Without the payload below, the name leads nowhere, and the loader says so.
    let report = lab.verified(&upper, &[]);
    assert_eq!(traps(&report), [""; 0], "{report}");
    assert!(!report.loader.is_taken(), "{report}");
}

#[test]
fn a_record_needs_no_name_where_it_has_an_address() {
    let lab = Lab::new();
    let nameless = lab.payload("lower", ("record  lower", "unnamed lower"));
    let report = lab.verified(&nameless, &[]);
    assert!(report.loader.is_taken(), "{report}");
    assert_eq!(report.failures().count(), 0, "{report}");
    let elsewhere = lab.payload("lower", ("xen_minor_version, OLD,", "nothing, OLD+4,"));
    let report = lab.verified(&elsewhere, &[]);
    assert!(report.failures().count() > 0, "{report}");
}
