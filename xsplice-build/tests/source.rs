//! From a source tree and a patch to a payload in one command, with a real `make`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SOURCE: &str = r#"int other(int x);
const char *where(void);
const char *where(void)
{
    return __FILE__;
}

int f(int x)
{
    return other(x) + 1;
}
int other(int x)
{
    return x * 3;
}
"#;

/// `__FILE__` and the folder of the debug information are absolute here on purpose.
const MAKEFILE: &str = "\
image: core/f.o core/g.o
	ld -static -nostdlib --build-id=sha1 -e 0 -Ttext-segment=0xffffffff81000000 \\
		-z noexecstack -o $@ $^
%.o: %.c
	$(CC) -O2 -g -ffunction-sections -fdata-sections -fno-pic -mcmodel=kernel -MMD \\
		-c $(CURDIR)/$< -o $@
";

const PATCH: &str = r"--- a/core/f.c
+++ b/core/f.c
@@ -7,7 +7,7 @@
 
 int f(int x)
 {
-    return other(x) + 1;
+    return other(x) + 2;
 }
 int other(int x)
 {
";

struct Place {
    folder: TempDir,
}

struct Told {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        place.write("src/core/f.c", SOURCE);
        place.write("src/core/g.c", "int g;\n");
        place.write("src/Makefile", MAKEFILE);
        place.write("fix.patch", PATCH);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn command(&self, make: &str, further: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xsplice-build"));
        command
            .args(["--src", "src", "--patch", "fix.patch", "--make", make])
            .args(further)
            .stdin(Stdio::null())
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, make: &str, further: &[&str]) -> Told {
        let output = self.command(make, further).output().expect("the tool runs");
        Told {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Names of the files of the source.
    fn source(&self) -> Vec<String> {
        let mut names: Vec<String> = walk(&self.path("src"));
        names.sort();
        names
    }
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            names.extend(walk(&path));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}

#[test]
fn a_source_and_a_patch_become_a_payload_and_the_source_stays_as_it_is() {
    let place = Place::new();
    let before = place.source();
    let told = place.run("make -j2", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(place.path("fix.xsplice").exists());
    assert!(
        told.out.contains("in payload  core/f.c:7  f"),
        "{}",
        told.out
    );
    assert!(
        told.out
            .contains("It fits only a system that runs fix.work/original/image"),
        "{}",
        told.out
    );
    // One object only: paths are the same in both builds, though the build writes them out.
    assert!(
        told.out.contains("2 objects: 1 equal, 1 differ"),
        "{}",
        told.out
    );
    assert!(!told.out.contains("where"), "{}", told.out);
    assert_eq!(place.source(), before);
    let source = fs::read_to_string(place.path("src/core/f.c")).expect("the source");
    assert_eq!(source, SOURCE);
    assert!(!place.path("fix.work/tree").exists());
}

#[test]
fn the_original_build_is_used_again_until_something_differs() {
    const AGAIN: &str = "used again";
    let place = Place::new();
    assert!(!place.run("make", &[]).out.contains(AGAIN));
    let payload = fs::read(place.path("fix.xsplice")).expect("a payload");
    assert!(place.run("make", &[]).out.contains(AGAIN));
    let again = fs::read(place.path("fix.xsplice")).expect("a payload");
    assert_eq!(payload, again, "the same bytes from the same inputs");

    assert!(
        !place.run("make -s", &[]).out.contains(AGAIN),
        "the command"
    );
    place.write("src/core/g.c", "int g = 1;\n");
    assert!(!place.run("make -s", &[]).out.contains(AGAIN), "the source");
    let output = place
        .command("make -s", &[])
        .env("CFLAGS", "-O1")
        .output()
        .expect("the tool runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!out.contains(AGAIN), "the environment");
}

#[test]
fn a_build_that_fails_shows_its_last_lines_and_leaves_no_half() {
    let place = Place::new();
    let told = place.run("echo so far; echo no further >&2; exit 7", &[]);
    assert_eq!(told.status, Some(1));
    assert!(
        told.err.contains("the original source does not build")
            && told.err.contains("ended with 7"),
        "{}",
        told.err
    );
    assert!(told.err.contains("  no further\n"), "{}", told.err);
    for name in ["tree", "original", "patched", "original.fingerprint"] {
        assert!(!place.path("fix.work").join(name).exists(), "{name}");
    }
    let log = fs::read_to_string(place.path("fix.work/original.log")).expect("the log");
    assert_eq!(log, "so far\nno further\n");

    // A patch that breaks the build leaves the original for the next try.
    place.write("fix.patch", &PATCH.replace("+ 2;", "+ ;"));
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(1));
    assert!(
        told.err.contains("the patched source does not build"),
        "{}",
        told.err
    );
    assert!(place.path("fix.work/original/image").exists());
    assert!(!place.path("fix.work/patched").exists());
}

#[test]
fn a_patch_that_does_not_fit_is_told_before_anything_is_built() {
    let place = Place::new();
    let never = "touch built";
    let check = |patch: &str, said: &str| {
        place.write("fix.patch", patch);
        let told = place.run(never, &[]);
        assert_eq!(told.status, Some(1), "{}", told.out);
        assert!(told.err.contains(said), "{said}: {}", told.err);
        assert!(!place.path("fix.work").exists());
    };
    check(
        &PATCH.replace("-    return other(x) + 1", "-    return other(x) + 9"),
        "fix.patch:3: hunk 1 of core/f.c does not fit",
    );
    check(
        &PATCH.replace("core/f.c", "core/missing.c"),
        "core/missing.c is not in ",
    );
    let reversed = PATCH
        .replace("-    return other(x) + 1", "-    return other(x) + 2")
        .replace("+    return other(x) + 2", "+    return other(x) + 1");
    check(&reversed, "already");
    check(&PATCH.replace("-7,7", "-7,9"), "fix.patch:3: ");
}

#[test]
fn an_option_that_names_what_is_no_payload_is_told_before_anything_is_built() {
    let place = Place::new();
    place.write("note.txt", "no ELF file");
    for (option, file) in [
        ("--depends", "gone.xsplice"),
        ("--depends", "note.txt"),
        ("--xen-depends", "note.txt"),
        ("--base", "note.txt"),
        ("--deny", "gone.list"),
    ] {
        let told = place.run("touch built", &[option, file]);
        assert_eq!(told.status, Some(1), "{}", told.err);
        assert!(told.err.contains(file), "{}", told.err);
        assert!(!place.path("fix.work").exists(), "{option} {file}");
    }
    // What the builds themselves make is not there yet.
    let told = place.run("make", &["--base", "./fix.work/original/image"]);
    assert_eq!(told.status, Some(0), "{}", told.err);
}

/// Without debug information nothing proves that a number is that of a line.
#[test]
fn lines_behind_a_hunk_do_not_move() {
    let place = Place::new();
    let source = format!("{SOURCE}int line(void)\n{{\n    return __LINE__;\n}}\n");
    place.write("src/core/f.c", &source);
    place.write("src/Makefile", &MAKEFILE.replace(" -g ", " "));
    let longer = PATCH
        .replace("-7,7 +7,7", "-7,7 +7,8")
        .replace("+    return", "+    x++;\n+    return");
    place.write("fix.patch", &longer);
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(told.out.contains("replaces 1 function,"), "{}", told.out);
    let patched = fs::read_to_string(place.path("fix.work/patched/core/f.c")).expect("the copy");
    assert!(patched.contains("+ 2;\n#line 11\n}"), "{patched}");

    let told = place.run("make", &["--move-lines"]);
    assert!(told.out.contains("replaces 2 functions,"), "{}", told.out);
}

/// An added line may have the number of one behind it.
#[test]
fn hunks_are_followed_where_lines_do_not_move() {
    let place = Place::new();
    let longer = PATCH.replace("-7,7 +7,7", "-7,7 +7,11").replace(
        "+    return",
        "+    x++;\n+    if (x == 7)\n+        x = other(9);\n+    x--;\n+    return",
    );
    place.write("fix.patch", &longer);
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(
        told.out.contains("in payload  core/f.c:7  f\n"),
        "{}",
        told.out
    );
    // What the configuration leaves out is no less told.
    let nothing = longer
        .replace("+    x++;", "+#if 0")
        .replace("+    x--;", "+#endif");
    place.write("fix.patch", &nothing.replace("+ 2;", "+ 1;"));
    let told = place.run("make", &[]);
    assert_ne!(told.status, Some(0), "{}{}", told.out, told.err);
}

#[test]
fn a_patch_that_fits_elsewhere_is_followed_to_where_it_was_put_in() {
    let place = Place::new();
    place.write("src/core/f.c", &format!("/* new */\n/* lines */\n{SOURCE}"));
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(
        told.out.contains("in payload  core/f.c:9  f"),
        "{}",
        told.out
    );
}

#[test]
fn a_file_that_the_patch_makes_need_not_be_there() {
    let place = Place::new();
    let include = SOURCE.replace("int other(int x);\n", "#include \"new.h\"\n");
    place.write("src.new/core/f.c", &include);
    place.write("src.new/core/g.c", "int g;\n");
    place.write("src.new/Makefile", MAKEFILE);
    let new = "int other(int x);\nstatic inline int one(int x) { return other(x) + 1; }\n";
    place.write("src.new/core/new.h", new);
    place.write(
        "src.new/core/f.c",
        &include.replace("return other(x) + 1", "return one(x) + 1"),
    );
    let diff = Command::new("diff")
        .args(["-ruN", "src", "src.new"])
        .current_dir(place.folder.path())
        .output()
        .expect("diff is installed");
    fs::write(place.path("fix.patch"), diff.stdout).expect("a file");
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(told.out.contains("2 hunks in payload"), "{}", told.out);
    assert!(!place.path("src/core/new.h").exists());
}

#[test]
fn a_build_that_writes_into_the_source_is_noticed() {
    let place = Place::new();
    let source = place.path("src");
    let make = format!("make && touch {}/core/new.h", source.display());
    let told = place.run(&make, &[]);
    assert_eq!(told.status, Some(1), "{}", told.out);
    assert!(
        told.err.contains("changed files of the source itself"),
        "{}",
        told.err
    );
}

#[test]
fn the_original_and_the_base_that_are_given_are_used() {
    let place = Place::new();
    assert_eq!(place.run("make", &[]).status, Some(0));
    fs::rename(place.path("fix.work/original"), place.path("shipped")).expect("renamed");
    let told = place.run("make", &["--orig", "shipped", "--base", "shipped/image"]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(!told.out.contains("original: make"), "{}", told.out);
    assert!(!told.out.contains("It fits only"), "{}", told.out);
    assert!(!place.path("fix.work/original").exists());
}

#[test]
fn a_work_folder_inside_the_source_is_not_copied_into_itself() {
    let place = Place::new();
    let told = place.run("make", &["--work", "src/work"]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    let told = place.run("make", &["--work", "src/work"]);
    assert!(told.out.contains("used again"), "{}", told.out);
    assert!(!place.path("src/work/original/work").exists());
    // Nor is it into that of another run.
    let told = place.run("make", &["--work", "src/other"]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(!place.path("src/other/original/work").exists());
}

/// Waits until `condition` holds.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_alive(pid: &str) -> bool {
    // A process that ended and was not waited for by its new parent yet is no longer alive.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn an_interruption_ends_the_build_and_sweeps_up() {
    let place = Place::new();
    let pid_file = place.path("pid");
    let make = format!("sleep 300 & echo $! > {}; wait", pid_file.display());
    let mut child: Child = place
        .command(&make, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the tool runs");
    let read = || fs::read_to_string(&pid_file).unwrap_or_default();
    wait_for("the build starts", || read().ends_with('\n'));
    let sleeper = read().trim().to_owned();
    assert!(is_alive(&sleeper));
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    wait_for("the build's processes end", || !is_alive(&sleeper));
    assert!(!place.path("fix.work/tree").exists());
    assert!(!place.path("fix.work/original").exists());
}

#[test]
fn a_patch_with_another_depth_of_folders_is_followed_to_the_file_it_changed() {
    let place = Place::new();
    place.write(
        "fix.patch",
        &PATCH.replace("core/f.c", "linux/src/core/f.c"),
    );
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(
        told.out.contains("in payload  core/f.c:7  f"),
        "{}",
        told.out
    );
}

#[test]
fn a_build_that_fails_leaves_the_image_that_a_payload_was_made_for() {
    let place = Place::new();
    assert_eq!(place.run("make", &[]).status, Some(0));
    let image = fs::read(place.path("fix.work/original/image")).expect("the base");
    assert_eq!(place.run("no-such-command", &[]).status, Some(1));
    let kept = fs::read(place.path("fix.work/original/image")).expect("the base");
    assert!(kept == image, "the base is another");
    let told = place.run("make", &[]);
    assert_eq!(told.status, Some(0), "{}{}", told.out, told.err);
    assert!(told.out.contains("used again"), "{}", told.out);
}
