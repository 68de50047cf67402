//! Objects that a build leaves in an archive alone are compared like those that lie in the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use xsplice_test_objects::run;

const F: &str = "int h(int); int f(int x) { return h(x) * 100 + 1; }";
const H: &str = "static int last; int h(int x) { last += x; return last * 300; }";

/// Whether an object stays beside the archive that was made from it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Yes,
    No,
}

fn compile(root: &Path, name: &str, source: &str) {
    fs::write(root.join(name), source).unwrap();
    let flags = "-O2 -ffunction-sections -fdata-sections -fno-pic -fcf-protection=none";
    let flags: Vec<&str> = flags.split(' ').collect();
    xsplice_test_objects::compile(root, "gcc", &flags, name);
}

/// A tree with `f.o`, and `lib.a` with `h.o` in it.
fn tree(root: &Path, h: &str, beside: Beside, ar: &[&str]) {
    fs::create_dir_all(root).unwrap();
    compile(root, "f.c", F);
    compile(root, "h.c", h);
    run(Command::new("ar")
        .args(ar)
        .args(["lib.a", "h.o"])
        .current_dir(root));
    if beside == Beside::No {
        fs::remove_file(root.join("h.o")).unwrap();
    }
}

fn link(root: &Path) {
    run(Command::new("ld")
        .args(["-Ttext-segment=0x400000", "-e", "f", "--build-id=sha1"])
        .args(["-o", "base", "f.o", "lib.a"])
        .current_dir(root));
}

fn trees(beside: Beside, ar: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let changed = H.replace("300", "700");
    tree(&folder.path().join("a"), H, beside, ar);
    link(&folder.path().join("a"));
    tree(&folder.path().join("b"), &changed, beside, ar);
    folder
}

/// Exit status, and all that was said.
fn tool(folder: &TempDir, further: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
        .args(["--orig", "a", "--patched", "b", "-o", "fix.xsplice"])
        .args(further)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let status = output.status.code().unwrap();
    (status, String::from_utf8(said).unwrap())
}

fn payload(folder: &TempDir) -> PathBuf {
    folder.path().join("fix.xsplice")
}

#[test]
fn a_change_that_only_an_archive_shows_is_in_the_payload() {
    let folder = trees(Beside::No, &["rcs"]);
    let (status, said) = tool(&folder, &[]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("\nlib.a(h.o)\n  changed  h  "), "{said}");
    assert!(said.contains("holds 2 functions of 2 objects"), "{said}");
    assert!(payload(&folder).exists());
}

#[test]
fn a_tree_of_an_archive_alone_is_one() {
    let folder = trees(Beside::No, &["rcs"]);
    for tree in ["a", "b"] {
        fs::remove_file(folder.path().join(tree).join("f.o")).unwrap();
    }
    // The base holds what was removed, too.
    let (status, said) = tool(&folder, &["--no-account"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("\nlib.a(h.o)\n  changed  h  "), "{said}");
}

#[test]
fn a_member_that_lies_beside_its_archive_is_compared_once() {
    for ar in ["rcs", "rcsT"] {
        let folder = trees(Beside::Yes, &[ar]);
        let (status, said) = tool(&folder, &[]);
        assert_eq!(status, 0, "{ar}: {said}");
        assert!(said.contains("\nh.o\n  changed  h  "), "{ar}: {said}");
        assert!(!said.contains("lib.a("), "{ar}: {said}");
        // Left out by name, it is not brought back by the archive.
        fs::remove_file(payload(&folder)).unwrap();
        let (status, said) = tool(&folder, &["--ignore-object", "h.o"]);
        assert_eq!(status, 3, "{ar}: {said}");
    }
}

#[test]
fn members_of_one_name_are_told_apart() {
    let folder = trees(Beside::Yes, &["rcs"]);
    for (tree, step) in [("a", 300), ("b", 900)] {
        let root = folder.path().join(tree);
        let source = format!("static int sum; int k(int x) {{ sum += x; return sum * {step}; }}");
        fs::create_dir(root.join("sub")).unwrap();
        compile(&root, "sub/h.c", &source);
        fs::remove_file(root.join("lib.a")).unwrap();
        run(Command::new("ar")
            .args(["qcs", "lib.a", "h.o", "sub/h.o"])
            .current_dir(&root));
        fs::remove_file(root.join("h.o")).unwrap();
        fs::remove_file(root.join("sub/h.o")).unwrap();
    }
    run(Command::new("ld")
        .args(["-Ttext-segment=0x400000", "-e", "f", "-u", "k"])
        .args(["--build-id=sha1", "-o", "base", "f.o", "lib.a"])
        .current_dir(folder.path().join("a")));
    let (status, said) = tool(&folder, &[]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("\nlib.a(h.o)\n  changed  h  "), "{said}");
    assert!(said.contains("\nlib.a(h.o:2)\n  changed  k  "), "{said}");
}

#[test]
fn a_damaged_archive_is_named_and_nothing_is_written() {
    let folder = trees(Beside::No, &["rcs"]);
    let path = folder.path().join("b/lib.a");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 20, bytes.len() / 2, bytes.len() - 40] {
        fs::write(&path, &bytes[..length]).unwrap();
        let (status, said) = tool(&folder, &[]);
        assert_eq!(status, 1, "{length}: {said}");
        assert!(said.contains("lib.a"), "{length}: {said}");
        assert!(!payload(&folder).exists());
    }
}

#[test]
fn an_archive_that_is_left_out_by_name_is_not_looked_at() {
    let folder = trees(Beside::No, &["rcs"]);
    let (status, said) = tool(&folder, &["--ignore-object", "lib.a", "--no-account"]);
    assert_eq!(status, 3, "{said}");
}
