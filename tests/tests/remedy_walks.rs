//! One walk a remedy: the message comes, what it tells to do is done, and there is a payload.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use xsplice_test_objects::shop::{self, FIX, adding};
use xsplice_tests::case::Case;
use xsplice_tests::tools::{self, Run, limited};
use xsplice_tests::workspace;

/// A folder that holds the objects of a case and its base.
fn laid_out(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::read(&workspace().join("fixtures/cases").join(name)).unwrap();
    case.lay_out(folder.path()).unwrap();
    folder
}

/// Runs a command line, whose words are parted by single blanks.
fn run(line: &str, folder: &Path) -> Run {
    let (command, arguments) = line.split_once(' ').unwrap();
    tools::run(command, arguments.split(' '), folder).unwrap()
}

/// Runs a line that must fail, or be refused, with a message that has all of `said`.
#[track_caller]
fn told(line: &str, folder: &Path, said: &[&str]) -> String {
    let run = run(line, folder);
    let text = format!("{}{}", run.stdout, run.stderr);
    assert_ne!(run.status, Some(0), "{line}\n{text}");
    for said in said {
        assert!(text.contains(said), "{line}\n{said}\n{text}");
    }
    text
}

/// Runs a line that must succeed; what it said.
#[track_caller]
fn done(line: &str, folder: &Path) -> String {
    let run = run(line, folder);
    let text = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.status, Some(0), "{line}\n{text}");
    text
}

fn shell(script: &str, folder: &Path) {
    let run = limited(Command::new("sh").args(["-ec", script]).current_dir(folder)).unwrap();
    assert_eq!(run.status, Some(0), "{script}\n{run:?}");
}

/// The whole way over the objects of a case.
const BUILD: &str = "xsplice-build --orig original --patched patched --base base -n x -o x.xsplice";

pub(crate) fn image_of_the_patched_tree() {
    let folder = laid_out("string-only");
    shell(
        "cp base original/image && mv base elsewhere && cp original/image patched/other && \
         printf 'int own = 1;' > own.c && gcc -c -o patched/own.o own.c && \
         ld -static -nostdlib --build-id=sha1 -e 0 -o patched/other patched/*.o",
        folder.path(),
    );
    // The image has what no object of this tree has.
    shell("cp patched/own.o . && rm patched/own.o", folder.path());
    let line = "xsplice-build --orig original --patched patched -n x -o x.xsplice";
    told(line, folder.path(), &["--patched-base"]);
    shell(
        "ld -static -nostdlib --build-id=sha1 -e 0 -Ttext-segment=0x400000 -o linked patched/*.o",
        folder.path(),
    );
    done(&format!("{line} --patched-base linked"), folder.path());
}

pub(crate) fn what_a_limit_says() {
    let folder = laid_out("budget-functions");
    let line = format!("{BUILD} --max-functions 1");
    told(&line, folder.path(), &["--max-functions", "--explain"]);
    let text = told(&format!("{line} --explain"), folder.path(), &[]);
    assert!(text.contains("the code differs from"), "{text}");
    done(&format!("{BUILD} --max-functions 9"), folder.path());
}

pub(crate) fn swapped_trees() {
    let folder = laid_out("string-only");
    let swapped = "xsplice-build --orig patched --patched original --base base -n x";
    told(swapped, folder.path(), &["swap the two"]);
    done(BUILD, folder.path());
}

pub(crate) fn reasons_that_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let compile = "gcc -O1 -fdata-sections -fno-toplevel-reorder -fcf-protection=none -c";
    shell(
        &format!(
            "mkdir original patched
             for i in $(seq 101 114); do echo \"int v$i = 1;\"; done > f.c
             {compile} -o original/f.o f.c && sed -i 's/= 1/= 2/' f.c
             {compile} -o patched/f.o f.c"
        ),
        folder.path(),
    );
    let line = "xsplice-build --orig original --patched patched -n x";
    let counted = ["and 2 more, which -v, --json and --html name", "(v112)"];
    let text = told(line, folder.path(), &counted);
    assert!(!text.contains("(v114)"), "{text}");
    told(&format!("{line} -v"), folder.path(), &["(v114)"]);
    told(&format!("{line} --json a --html b"), folder.path(), &[]);
    shell("grep -q '(v114)' a && grep -q '(v114)' b", folder.path());
}

/// Two objects, of which a patch changes both.
fn two_objects() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let compile = "gcc -O0 -g -ffunction-sections -fdata-sections -fcf-protection=none -fno-pic";
    shell(
        &format!(
            "mkdir original patched
             printf 'int f(int x)\\n{{\\n    return x * 3;\\n}}\\n' > f.c
             printf 'int g(int x)\\n{{\\n    return x * 5;\\n}}\\n' > g.c
             for name in f g; do {compile} -c $name.c -o original/$name.o; done
             ld -static -nostdlib --build-id=sha1 -e 0 -o base original/*.o
             mkdir a b && cp f.c g.c a && sed -i 's/3/7/' f.c && sed -i 's/5/9/' g.c && cp f.c g.c b
             diff -u a b > fix.patch || true
             for name in f g; do {compile} -c $name.c -o patched/$name.o; done"
        ),
        folder.path(),
    );
    folder
}

pub(crate) fn object_that_a_hunk_is_in() {
    let folder = two_objects();
    let line = format!("{BUILD} --patch fix.patch");
    let text = done(&format!("{line} --ignore-object g.o"), folder.path());
    assert!(
        text.contains("was left out (--ignore-object); compare it"),
        "{text}"
    );
    let text = done(&line, folder.path());
    assert!(text.contains("2 hunks in payload"), "{text}");
}

pub(crate) fn hunk_without_code() {
    let folder = two_objects();
    // The patch says that a line changes of which both builds have the same code.
    shell(
        "cp original/g.o patched/g.o && touch -r patched/f.o patched/g.o",
        folder.path(),
    );
    let line = format!("{BUILD} --patch fix.patch");
    let text = told(&line, folder.path(), &["accept it with --accept hunk:"]);
    let (_, value) = text.split_once("--accept ").unwrap();
    let value = value.split_whitespace().next().unwrap();
    let text = done(&format!("{line} --accept {value}"), folder.path());
    assert!(text.contains("1 hunk in payload, 1 accepted"), "{text}");
}

pub(crate) fn date_in_a_patch() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = workspace().join("fixtures/behaviour/date-that-the-patch-writes");
    let at = fixture.display();
    shell(
        &format!(
            "cp -r {at}/original {at}/patched {at}/fix.patch . && \
             for tree in original patched; do (cd $tree && gcc -O2 -g -fpie -ffunction-sections \
                 -fdata-sections -fcf-protection=none -fno-asynchronous-unwind-tables -c *.c); \
             done && ld -static -nostdlib --build-id=sha1 -e 0 -o base original/*.o"
        ),
        folder.path(),
    );
    let line = format!("{BUILD} --patch fix.patch");
    told(&line, folder.path(), &["--with-stamps"]);
    done(&format!("{line} --with-stamps"), folder.path());
}

/// A fix that moves the line of another function, without debug information.
const MOVES_A_LINE: &str = "--- a/core/f.c
+++ b/core/f.c
@@ -4,3 +4,4 @@
-    return other(x) + 1;
+    x = other(x);
+    return x + 2;
 }
 int other(int x)
";

pub(crate) fn lines_without_proof() {
    let said = "looks like line numbers only, which is not proven";
    let folder = tempfile::tempdir().unwrap();
    shop::make(folder.path(), "one", "");
    shell(
        &format!(
            "echo 'void warn(int line); int noted(int x) {{ if (x) warn(__LINE__); return x; }}' \
                 >> one/core/f.c && \
             echo 'void warn(int line) {{ (void)line; }}' >> one/core/g.c && \
             sed -i 's/ -g / /' one/Makefile && printf '%s' '{MOVES_A_LINE}' > moves.patch && \
             cp -a one original && cp -a one patched && \
             patch -s -d patched -p1 < moves.patch && \
             unset MAKEFLAGS && make -s -C original && make -s -C patched && cp original/image base"
        ),
        folder.path(),
    );
    assert!(done(BUILD, folder.path()).contains(said));
    let text = done(&format!("{BUILD} --accept line-numbers"), folder.path());
    assert!(!text.contains(said), "{text}");
    let line = "xsplice-build --src one --patch moves.patch --make make -n moves";
    let text = done(line, folder.path());
    assert!(!text.contains(said), "{text}");
}

pub(crate) fn no_image_and_two() {
    let folder = laid_out("string-only");
    let line = "xsplice-build --orig original --patched patched -n x -o x.xsplice";
    told(
        line,
        folder.path(),
        &["name the image that runs with --base"],
    );
    done(&format!("{line} --base base"), folder.path());
    shell("cp base original/one; cp base original/two", folder.path());
    told(
        line,
        folder.path(),
        &["name the one that runs with --base", "original/two"],
    );
    done(&format!("{line} --base original/two"), folder.path());
}

pub(crate) fn name_of_the_payload() {
    let folder = laid_out("string-only");
    let line = "xsplice-build --orig original --base base -o x.xsplice";
    let nameless = format!("{line} --patched /");
    told(&nameless, folder.path(), &["give one with --name"]);
    done(
        &format!("{line} --patched patched --name mine"),
        folder.path(),
    );

    done(
        "xsplice-diff -o x.extract original/f.o patched/f.o",
        folder.path(),
    );
    let line = "xsplice-link link --base base -o x.xsplice x.extract";
    told(
        &format!("{line} --name a/b"),
        folder.path(),
        &["give --name"],
    );
    done(&format!("{line} --name mine"), folder.path());
}

pub(crate) fn object_of_another_kind() {
    let folder = laid_out("string-only");
    shell(
        "printf 'int a;' > a.c && gcc -m32 -c -o original/a.o a.c && \
         printf 'int a = 1;' > a.c && gcc -m32 -c -o patched/a.o a.c",
        folder.path(),
    );
    told(BUILD, folder.path(), &["--ignore-object 'a.o'"]);
    done(&format!("{BUILD} --ignore-object a.o"), folder.path());
    // On one side it is of another kind; that stops the run and not the payload alone.
    shell("cp original/f.o original/a.o", folder.path());
    told(
        BUILD,
        folder.path(),
        &["leave it out with --ignore-object 'a.o'"],
    );
    done(&format!("{BUILD} --ignore-object a.o"), folder.path());
}

/// A store of one build and a fix.
fn store(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fix.patch"), FIX).unwrap();
    shop::make(folder.path(), name, "");
    let built = format!("{name}.built");
    let added = tools::run("xsplice-store", adding(name, &built), folder.path()).unwrap();
    assert_eq!(added.status, Some(0), "{added:?}");
    folder
}

pub(crate) fn payload_below() {
    let folder = store("one");
    fs::create_dir(folder.path().join("below")).unwrap();
    let above = "xsplice-build --store store --patch fix.patch -n above -o above --depends below";
    told(
        above,
        folder.path(),
        &["holds no result for this build; make that one first"],
    );
    done(
        "xsplice-build --store store --patch fix.patch -o below",
        folder.path(),
    );
    done(above, folder.path());
}

pub(crate) fn results_to_join() {
    let folder = store("one");
    fs::create_dir(folder.path().join("results")).unwrap();
    let join = "xsplice-store merge -o joined results";
    told(
        join,
        folder.path(),
        &["holds no results of `xsplice-build --store`"],
    );
    done(
        "xsplice-build --store store --patch fix.patch -o results",
        folder.path(),
    );
    done(join, folder.path());
}

pub(crate) fn patch_for_some_builds() {
    let folder = store("one");
    let line = "xsplice-build --store store --patch fix.patch -o results --patch-for";
    told(
        &format!("{line} one"),
        folder.path(),
        &["write PATTERN=FILE"],
    );
    done(&format!("{line} o*=fix.patch"), folder.path());
}

pub(crate) fn work_folder_in_use() {
    let folder = store("one");
    fs::create_dir(folder.path().join("w")).unwrap();
    let mut other = Command::new("flock")
        .args(["--no-fork", "w/lock", "sleep", "60"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let line = "xsplice-build --src one --patch fix.patch --make make --work";
    let is_held = || {
        let mut tried = Command::new("flock");
        tried.args(["--nonblock", "w/lock", "true"]);
        let tried = tried.current_dir(folder.path()).status().unwrap();
        !tried.success()
    };
    while !is_held() {
        std::thread::yield_now();
    }
    told(
        &format!("{line} w"),
        folder.path(),
        &["name another with --work"],
    );
    done(&format!("{line} v"), folder.path());
    other.kill().unwrap();
    other.wait().unwrap();
}

pub(crate) fn name_of_a_build() {
    let folder = store("one");
    shop::make(folder.path(), "two", "-DTABLE");
    let add = "xsplice-store add --store store --source two --objects two.built --make make --name";
    told(
        &format!("{add} one"),
        folder.path(),
        &["give another --name"],
    );
    done(&format!("{add} two"), folder.path());
}

pub(crate) fn no_store() {
    let folder = store("one");
    let line = "xsplice-build --store elsewhere --patch fix.patch";
    told(
        line,
        folder.path(),
        &["`xsplice-store add --store elsewhere` makes one"],
    );
    let add = "xsplice-store add --store elsewhere --source one --objects one.built --make make";
    done(&format!("{add} --name one"), folder.path());
    done(line, folder.path());
}

pub(crate) fn base_that_runs() {
    // Of an equal pair of trees without an image there is no account.
    let folder = laid_out("comment-only");
    let line = "xsplice-build --orig original --patched patched -n x";
    let text = told(
        line,
        folder.path(),
        &["name the image that runs with --base"],
    );
    assert!(text.contains("account: not made"), "{text}");
    let text = told(
        &format!("{line} --base base"),
        folder.path(),
        &["account: of the patched"],
    );
    assert!(!text.contains("not made"), "{text}");

    // What was just built is not what runs; the message says how to name that.
    let folder = store("one");
    let line = "xsplice-build --src one --patch fix.patch --make make -n fix";
    let text = done(line, folder.path());
    assert!(
        text.contains("give its image with --base and its objects with --orig"),
        "{text}"
    );
    let text = done(
        &format!("{line} --base one.built/image --orig one.built"),
        folder.path(),
    );
    assert!(!text.contains("the image that was just built"), "{text}");
}

pub(crate) fn meaning_of_a_code() {
    let folder = laid_out("data-only");
    let text = told(BUILD, folder.path(), &["what a code means: "]);
    let (_, line) = text.split_once("what a code means: ").unwrap();
    done(line.lines().next().unwrap(), folder.path());
    let misspelt = "xsplice-build --explain-code changed-date";
    told(
        misspelt,
        folder.path(),
        &["did you mean changed-data?", "--explain-code list"],
    );
    let list = done("xsplice-build --explain-code list", folder.path());
    assert!(
        list.contains("changed-data") && list.contains("One page each: "),
        "{list}"
    );
    let nonsense = "xsplice-build --explain-code zzzzzzzzzzzzzzzzzzzz";
    told(
        nonsense,
        folder.path(),
        &["--explain-code list names them all"],
    );
    done("xsplice-build --explain-code changed-data", folder.path());
}

pub(crate) fn build_stamps() {
    let folder = laid_out("build-stamp-and-version");
    let text = done(BUILD, folder.path());
    assert!(text.contains("--with-stamps replaces them"), "{text}");
    let text = done(&format!("{BUILD} --with-stamps"), folder.path());
    assert!(!text.contains("left out:"), "{text}");
}

pub(crate) fn word_that_matches_nothing() {
    let folder = laid_out("data-accepted");
    let line = format!("{BUILD} --accept data:limti");
    let text = told(
        &line,
        folder.path(),
        &["the nearest that can be accepted is "],
    );
    let (_, nearest) = text
        .split_once("the nearest that can be accepted is ")
        .unwrap();
    let nearest = nearest.split_whitespace().next().unwrap();
    let run = run(&format!("{BUILD} --accept {nearest}"), folder.path());
    // What no hook sets makes no payload, and is no change either.
    assert!(matches!(run.status, Some(0 | 3)), "{run:?}");
}

pub(crate) fn payload_of_another_image() {
    let folder = laid_out("string-only");
    shell("sed 's/4\\.17/4.16/' base > other", folder.path());
    let second = store("one");
    let make = "xsplice-build --src one --patch fix.patch --make make -n below -o below.xsplice";
    done(make, second.path());
    let below = second.path().join("below.xsplice");
    let line = format!("{BUILD} --depends {}", below.display());
    told(
        &line,
        folder.path(),
        &["--orig and --base of the same build"],
    );
    // Both for the image that runs.
    done(
        "xsplice-build --orig original --patched patched --base base -n below -o below.xsplice",
        folder.path(),
    );
    done(&format!("{BUILD} --depends below.xsplice"), folder.path());
}

pub(crate) fn image_without_a_build_id() {
    let folder = laid_out("string-only");
    let link = "ld -static -nostdlib -e 0 -Ttext-segment=0x400000 original/*.o -o base";
    shell(&format!("{link} --build-id=none"), folder.path());
    let text = told(BUILD, folder.path(), &["link it with --build-id=sha1"]);
    let option = text
        .split_whitespace()
        .find(|word| word.starts_with("--build-id"));
    let option = option.unwrap();
    shell(
        &format!("{link} --build-id=0x{}", "1f".repeat(80)),
        folder.path(),
    );
    told(BUILD, folder.path(), &["link it with --build-id=sha1"]);
    shell(&format!("{link} {option}"), folder.path());
    done(BUILD, folder.path());
}

pub(crate) fn extract_for_another_abi() {
    let folder = laid_out("string-only");
    let diff = "xsplice-diff -o x.extract original/f.o patched/f.o --abi";
    done(&format!("{diff} livepatch"), folder.path());
    let link = "xsplice-link link --base base -o x.xsplice -n x x.extract --abi";
    told(
        &format!("{link} xsplice"),
        folder.path(),
        &["was made for --abi livepatch"],
    );
    done(&format!("{link} livepatch"), folder.path());
    done(&format!("{diff} xsplice"), folder.path());
    done(&format!("{link} xsplice"), folder.path());
}

pub(crate) fn two_functions_at_one_address() {
    let folder = laid_out("string-only");
    // A partial link that the tree holds beside one of its parts alone: it is not recognised.
    shell(
        "for tree in original patched; do
             ld -r -o $tree/built_in.o $tree/f.o $tree/say.o
             rm $tree/say.o
         done",
        folder.path(),
    );
    told(
        BUILD,
        folder.path(),
        &["is at the same address", "--ignore-object"],
    );
    done(
        &format!("{BUILD} --ignore-object built_in.o"),
        folder.path(),
    );
}

pub(crate) fn long_name_in_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let compile = "gcc -O0 -ffunction-sections -fdata-sections -fcf-protection=none -fno-pic -c";
    let name = "n".repeat(140);
    shell(
        &format!(
            "mkdir original patched
             echo 'int {name}(int x); int f(int x) {{ return {name}(x) + 1; }}' > f.c
             echo 'int {name}(int x) {{ return x * 3; }}' > g.c
             for name in f g; do {compile} $name.c -o original/$name.o; done
             ld -static -nostdlib --build-id=sha1 -e 0 -o base original/*.o
             sed -i 's/+ 1/+ 2/' f.c
             for name in f g; do {compile} $name.c -o patched/$name.o; done"
        ),
        folder.path(),
    );
    told(BUILD, folder.path(), &["link with --prelink"]);
    done(&format!("{BUILD} --prelink"), folder.path());
}

pub(crate) fn image_that_is_moved() {
    let folder = laid_out("string-only");
    let link = "ld -pie --no-dynamic-linker -nostdlib --build-id=sha1 -e 0 -o base original/*.o";
    shell(link, folder.path());
    let line = format!("{BUILD} --prelink");
    told(&line, folder.path(), &["link without --prelink"]);
    done(BUILD, folder.path());
}

pub(crate) fn who_signed() {
    let folder = laid_out("string-only");
    done(&format!("{BUILD} --provenance p.json"), folder.path());
    shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout key.pem -out cert.pem \
         2> log",
        folder.path(),
    );
    done(
        "xsplice-link sign --key key.pem --cert cert.pem --provenance p.json -o s x.xsplice",
        folder.path(),
    );
    let verify = "xsplice-link verify --base base --provenance p.json s";
    let text = done(verify, folder.path());
    assert!(text.contains("only --cert can tell;") || text.contains("only --cert can tell\n"));
    assert!(text.contains("only --cert can tell by whom"), "{text}");
    let text = done(&format!("{verify} --cert cert.pem"), folder.path());
    assert!(!text.contains("can tell"), "{text}");
}

pub(crate) fn deny_list() {
    let folder = laid_out("string-only");
    done(BUILD, folder.path());
    let verify = "xsplice-link verify --base base x.xsplice";
    let run = run(&format!("{verify} --json v.json"), folder.path());
    assert_eq!(run.status, Some(0), "{run:?}");
    let text = fs::read_to_string(folder.path().join("v.json")).unwrap();
    assert!(text.contains("no deny list was given (--deny)"), "{text}");
    fs::write(folder.path().join("deny"), "g\n").unwrap();
    let text = done(&format!("{verify} --deny deny"), folder.path());
    assert!(text.contains("deny list names"), "{text}");
}
