//! Hunks of patches followed through objects that the local compiler makes, each fate beside one
//! that must come out otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const F: &str = r#"#include "limits.h"
#include "inline.h"

/* a comment */
static int table[3] = {
    1,
    2,
    3,
};

int other(int x);
int g(int x)
{
    return other(x) + LIMIT;
}

int f(int x)
{
    int sum = table[x & 1];

    sum += climb(x);
    return other(sum +
                 1);
}

int boot(int x);
__attribute__((section(".init.text"))) int boot(int x)
{
    return other(x) + 40;
}

void report(const char *text, int line);
void check(int x)
{
    if (x > 4)
        report("check", __LINE__);
}
"#;

const G: &str = r#"#include "inline.h"
int counter = 1;
int other(int x)
{
    return climb(x) ? counter : 5;
}
void report(const char *text, int line);
void report(const char *text, int line)
{
    counter += line + text[0];
}
"#;

const INLINE: &str = r#"static inline int climb(int x)
{
    int sum = 0;
    for (int i = 0; i < x; i++)
        sum += i * x;
    return sum;
}
"#;

const MAKEFILE: &str = "\
OBJS := core/f.o core/g.o
CFLAGS := -O2 $(G) -ffunction-sections -fdata-sections -Iinclude -MMD -fno-pic -mcmodel=kernel \
	-fcf-protection=none -fno-ipa-icf -ffile-prefix-map=$(CURDIR)=.
image: $(OBJS)
	ld -static -nostdlib --build-id=sha1 -e 0 -Ttext-segment=0xffffffff81000000 \\
		-z noexecstack -o $@ $(OBJS)
%.o: %.c
	$(CC) $(CFLAGS) -c $< -o $@
-include $(OBJS:.o=.d)
";

/// What is done between the two builds besides editing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Again,
    Forgotten,
}

pub(crate) struct Trees {
    folder: TempDir,
    flags: &'static str,
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program is installed");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Trees {
    pub(crate) fn new(flags: &'static str) -> Trees {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let trees = Trees { folder, flags };
        let source = trees.path("a");
        for (name, text) in [
            ("core/f.c", F),
            ("core/g.c", G),
            ("include/inline.h", INLINE),
            ("include/limits.h", "#define LIMIT 4\n"),
            ("tools/t.c", "int t;\n"),
            ("Makefile", MAKEFILE),
        ] {
            let path = source.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        trees.make("a");
        trees
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn make(&self, tree: &str) {
        run(Command::new("make")
            .arg("-s")
            .arg(format!("G={}", self.flags))
            .current_dir(self.path(tree)));
    }

    /// Replaces text in copies of the files, makes the patch of it, builds, and runs the tool.
    pub(crate) fn edit(
        &self,
        edits: &[(&str, &str, &str)],
        build: Build,
        further: &[&str],
    ) -> (i32, Value) {
        let _ = fs::remove_dir_all(self.path("b"));
        run(Command::new("cp")
            .args(["-a", "a", "b"])
            .current_dir(self.folder.path()));
        for (file, from, to) in edits {
            let path = self.path("b").join(file);
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(from), "{file} holds no {from:?}");
            fs::write(&path, text.replacen(from, to, 1)).expect("a file");
        }
        let diff = Command::new("diff")
            .args(["-ruN", "-x*.o", "-x*.d", "-ximage", "a", "b"])
            .current_dir(self.folder.path())
            .output()
            .expect("diff is installed");
        fs::write(self.path("fix.patch"), diff.stdout).expect("a file");
        if build == Build::Again {
            self.make("b");
        }
        self.tool(further)
    }

    /// The exit status of a run that writes no report.
    fn fails(&self, further: &[&str]) -> Option<i32> {
        let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
            .args(["--orig", "a", "--patched", "b", "--patch", "fix.patch"])
            .args(["-o", "out.xsplice"])
            .args(further)
            .current_dir(self.folder.path())
            .output()
            .expect("the tool runs");
        output.status.code()
    }

    pub(crate) fn tool(&self, further: &[&str]) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
            .args(["--orig", "a", "--patched", "b", "--patch", "fix.patch"])
            .args(["-o", "out.xsplice", "--json", "-"])
            .args(further)
            .current_dir(self.folder.path())
            .output()
            .expect("the tool runs");
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().expect("an exit status"), report)
    }
}

/// Fate of each hunk, with the functions that it leads to.
pub(crate) fn fates(report: &Value) -> Vec<String> {
    let hunks = report["hunks"].as_array().expect("hunks are reported");
    let tell = |hunk: &Value| {
        let names: Vec<&str> = hunk["functions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["name"].as_str())
            .collect();
        format!(
            "{} {}",
            hunk["fate"].as_str().unwrap_or("?"),
            names.join(" ")
        )
        .trim_end()
        .to_owned()
    };
    hunks.iter().map(tell).collect()
}

pub(crate) fn codes(report: &Value) -> Vec<&str> {
    let refusals = report["refusals"].as_array().expect("refusals");
    refusals
        .iter()
        .filter_map(|refusal| refusal["code"].as_str())
        .collect()
}

#[test]
fn code_is_followed_to_its_function_and_comments_to_nothing() {
    let trees = Trees::new("-g");
    let (status, report) = trees.edit(&[("core/f.c", " 1);", " 2);")], Build::Again, &[]);
    assert_eq!((status, fates(&report)), (0, vec!["payload f".to_owned()]));

    let edits = [("core/f.c", "a comment", "another")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, fates(&report)), (3, vec!["no-code".to_owned()]));

    let edits = [("core/f.c", "+ LIMIT;", "+ LIMIT; /* why */")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, fates(&report)), (3, vec!["no-code".to_owned()]));
}

#[test]
fn a_line_that_was_taken_away_leads_to_the_function_it_was_in() {
    let trees = Trees::new("-g");
    let edits = [("core/f.c", "    sum += climb(x);\n", "")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(status, 0);
    assert!(
        fates(&report)[0].starts_with("payload") && fates(&report)[0].contains('f'),
        "{report:#}"
    );
}

#[test]
fn an_inline_function_is_followed_into_every_object_that_has_it() {
    let trees = Trees::new("-g");
    let edits = [("include/inline.h", "i * x", "i * x + 1")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(status, 0);
    assert_eq!(fates(&report), ["payload f other"]);
}

#[test]
fn a_header_of_macros_is_known_by_the_dependency_lists() {
    let trees = Trees::new("-g");
    let edits = [("include/limits.h", "LIMIT 4", "LIMIT 5")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    let fate = |fate: &str| vec![fate.to_owned()];
    assert_eq!((status, fates(&report)), (0, fate("not-provable")));

    for comment in [
        " // bytes",
        " /* bytes,\n * not bits */",
        "\n/*\n * a\n * b\n */",
    ] {
        let comment = format!("LIMIT 4{comment}");
        let edits = [("include/limits.h", "LIMIT 4", comment.as_str())];
        let (status, report) = trees.edit(&edits, Build::Again, &[]);
        assert_eq!((status, fates(&report)), (3, fate("no-code")), "{comment}");
    }
    // Code behind the comment is code.
    let edits = [("include/limits.h", "LIMIT 4", "LIMIT 4 /* a\n b */ + 0")];
    let (status, report) = trees.edit(&edits, Build::Forgotten, &[]);
    assert_eq!((status, codes(&report)), (2, vec!["hunk-not-built"]));
}

#[test]
fn a_macro_that_no_object_was_built_with_is_noticed() {
    for (file, old, new) in [
        ("include/limits.h", "LIMIT 4", "LIMIT 5"),
        (
            "include/inline.h",
            "static inline",
            "#define UNUSED 1\nstatic inline",
        ),
        (
            "core/g.c",
            "int counter = 1;",
            "#define UNUSED\nint counter = 1;",
        ),
    ] {
        let trees = Trees::new("-g");
        let (status, report) = trees.edit(&[(file, old, new)], Build::Forgotten, &[]);
        assert_eq!(
            (status, codes(&report)),
            (2, vec!["hunk-not-built"]),
            "{file}"
        );
    }
}

#[test]
fn a_statement_that_the_configuration_leaves_out_is_not_in_the_payload() {
    const LEFT_OUT: &str = "    sum += climb(x);\n#ifdef CONFIG_FOO\n    sum &= 0xff;\n#endif\n";
    let trees = Trees::new("-g");
    let path = trees.path("a/core/f.c");
    let with = F.replace("    sum += climb(x);\n", LEFT_OUT);
    fs::write(&path, with).expect("a source");
    trees.make("a");
    let left_out = ("core/f.c", "sum &= 0xff;", "sum &= 0xfff;");
    let (status, report) = trees.edit(&[left_out], Build::Again, &[]);
    assert_eq!((status, codes(&report)), (2, vec!["hunk-not-in-payload"]));
    let elsewhere = ("core/f.c", "other(x) + 40", "other(x) + 40 + x");
    let (status, report) = trees.edit(&[left_out, elsewhere], Build::Again, &[]);
    assert_eq!(status, 2);
    assert!(
        fates(&report).contains(&"refused f".to_owned()),
        "{report:#}"
    );

    // What stands beside it and is compiled, is.
    let compiled = ("core/f.c", "sum += climb(x);", "sum += climb(x) + 1;");
    let (status, report) = trees.edit(&[compiled], Build::Again, &[]);
    assert_eq!((status, fates(&report)), (0, vec!["payload f".to_owned()]));
}

#[test]
fn data_leads_to_the_differs_refusal_and_to_what_was_accepted() {
    let trees = Trees::new("-g");
    let edits = [("core/g.c", "counter = 1", "counter = 2")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (2, vec!["changed-data"]));
    assert_eq!(fates(&report), ["refused counter"]);

    let (status, report) = trees.tool(&["--accept", "data:counter"]);
    assert_eq!(
        (status, fates(&report)),
        (3, vec!["accepted counter".to_owned()])
    );

    // Nothing writes to this table, so the compiler makes it a constant of the one function.
    let edits = [("core/f.c", "    2,\n", "    7,\n")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(
        (status, fates(&report)),
        (0, vec!["payload table".to_owned()])
    );
}

#[test]
fn hooks_and_accept_marks_in_the_source_are_followed_too() {
    let trees = Trees::new("-g");
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/include/xsplice.h");
    let hooked = format!(
        "#include \"{header}\"\nint counter = 2;\nXSPLICE_ACCEPT(data, counter);\n\
         static void raise(void)\n{{\n    counter = 2;\n}}\nXSPLICE_LOAD_HOOK(raise);"
    );
    let edits = [("core/g.c", "int counter = 1;", hooked.as_str())];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
    let fates = fates(&report);
    assert!(
        fates[0].starts_with("payload ") && fates[0].contains("raise"),
        "{fates:?}"
    );
}

#[test]
fn init_code_leads_to_its_refusal_and_to_what_was_accepted() {
    let trees = Trees::new("-g");
    let edits = [("core/f.c", "+ 40", "+ 41")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(
        (status, fates(&report)),
        (2, vec!["refused boot".to_owned()])
    );
    assert_eq!(codes(&report), ["changed-init"]);

    let (status, report) = trees.tool(&["--accept", "init:boot"]);
    assert_eq!(
        (status, fates(&report)),
        (3, vec!["accepted boot".to_owned()])
    );
}

#[test]
fn a_change_without_effect_is_refused_and_can_be_accepted() {
    let trees = Trees::new("-g");
    let edits = [
        ("core/f.c", "other(x) + LIMIT", "LIMIT + other(x)"),
        ("core/g.c", ": 5;", ": 6;"),
    ];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (2, vec!["hunk-not-in-payload"]));
    assert_eq!(fates(&report), ["refused g", "payload other"]);

    for elsewhere in ["hunk:core/f.c:99", "hunk:c*/g.c", "data:*"] {
        assert_eq!(
            trees.fails(&["--accept", elsewhere]),
            Some(1),
            "{elsewhere}"
        );
    }
    let (status, _) = trees.tool(&["--accept", "hunk:c*/?.c"]);
    assert_eq!(status, 0);
    let (status, report) = trees.tool(&["--accept", "hunk:core/f.c:14"]);
    assert_eq!((status, fates(&report)[0].as_str()), (0, "accepted g"));
    let payload = fs::read(trees.path("out.xsplice")).expect("a payload");
    let recorded = b"accepted=hunk:core/f.c:14";
    assert!(
        payload
            .windows(recorded.len())
            .any(|window| window == recorded),
        "the payload records what was accepted"
    );
}

#[test]
fn a_tree_that_was_not_built_again_is_noticed() {
    let trees = Trees::new("-g");
    let edits = [
        ("core/g.c", ": 5;", ": 6;"),
        (
            "core/f.c",
            "    sum += climb(x);\n",
            "    sum += climb(x);\n    sum++;\n",
        ),
    ];
    let (status, report) = trees.edit(&edits, Build::Forgotten, &[]);
    assert_eq!(status, 2);
    assert_eq!(codes(&report), ["hunk-not-built", "hunk-not-in-payload"]);

    trees.make("b");
    let (status, report) = trees.tool(&[]);
    assert_eq!((status, fates(&report).len()), (0, 2), "{report:#}");
}

#[test]
fn a_path_that_two_sources_end_in_is_refused_and_a_whole_one_is_followed() {
    let trees = Trees::new("-g");
    let twice = MAKEFILE.replace("core/g.o", "core/g.o alt/g.o");
    fs::write(trees.path("a/Makefile"), twice).expect("a file");
    fs::create_dir_all(trees.path("a/alt")).expect("a folder");
    fs::write(
        trees.path("a/alt/g.c"),
        "int alt(int x) { return x * 9; }\n",
    )
    .expect("a file");
    trees.make("a");
    let edits = [("core/g.c", ": 5;", ": 6;")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(
        (status, fates(&report)),
        (0, vec!["payload other".to_owned()])
    );

    let patch = fs::read_to_string(trees.path("fix.patch")).expect("the patch");
    let short = patch
        .replace("a/core/g.c", "a/g.c")
        .replace("b/core/g.c", "b/g.c");
    fs::write(trees.path("fix.patch"), short).expect("a file");
    let (status, report) = trees.tool(&[]);
    assert_eq!((status, codes(&report)), (2, vec!["hunk-ambiguous"]));
}

#[test]
fn a_file_that_is_in_no_object_is_refused_and_documentation_is_not() {
    let trees = Trees::new("-g");
    let edits = [
        ("core/g.c", ": 5;", ": 6;"),
        ("tools/t.c", "int t;", "int t = 1;"),
    ];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (2, vec!["hunk-not-compiled"]));
    let (status, report) = trees.tool(&["--accept", "hunk:tools/t.c"]);
    assert_eq!((status, fates(&report)[1].as_str()), (0, "accepted"));

    let edits = [("core/g.c", ": 5;", ": 6;"), ("README.md", "", "Hello\n")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(status, 0);
    assert_eq!(fates(&report), ["no-code", "payload other"]);
}

/// Some objects of every build have no line table; those that are equal have nothing of a change.
#[test]
fn objects_without_line_tables_matter_only_where_they_differ() {
    let trees = Trees::new("-g");
    let write = |name: &str, text: &str| fs::write(trees.path("a").join(name), text);
    let assembly = "#include \"limits.h\"\nh: mov $LIMIT, %eax\nret\n";
    write("core/h.S", &assembly.replace("LIMIT,", "4,")).expect("a file");
    let makefile = MAKEFILE.replace("core/g.o\n", "core/g.o core/h.o\n");
    let rule = "core/h.o: core/h.S include/limits.h\n\t$(CC) -Iinclude -c $< -o $@\n-include";
    write("Makefile", &makefile.replace("-include", rule)).expect("a file");
    trees.make("a");
    let edits = [("include/limits.h", "LIMIT 4", "LIMIT 5")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    let why = report["hunks"][0]["why"].as_str().unwrap_or("");
    assert_eq!(status, 0, "{report:#}");
    assert!(why.ends_with("may read it: g"), "{why}");

    // One that differs may have been changed by it.
    write("core/h.S", assembly).expect("a file");
    trees.make("a");
    let (_, report) = trees.edit(&edits, Build::Again, &[]);
    let why = report["hunks"][0]["why"].as_str().unwrap_or("");
    assert!(why.contains("no line table of core/h.o"), "{why}");
}

#[test]
fn what_is_left_out_by_name_proves_nothing() {
    let trees = Trees::new("-g");
    let edits = [
        ("core/g.c", ": 5;", ": 6;"),
        ("core/f.c", "+ LIMIT", "- LIMIT"),
    ];
    let (status, report) = trees.edit(&edits, Build::Again, &["--ignore-object", "core/g.o"]);
    assert_eq!(status, 0, "{report}");
    assert_eq!(fates(&report), ["payload g", "not-provable other"]);
    let left_out = &report["hunks"][1]["left_out"];
    assert_eq!(left_out, &serde_json::json!(["core/g.o"]), "{report:#}");

    // Code of one line in both: what is compared is in the payload, and that is not all.
    let edits = [("include/inline.h", "sum += i * x", "sum += i * (x + 1)")];
    let (status, report) = trees.edit(&edits, Build::Again, &["--ignore-object", "core/g.o"]);
    assert_eq!(status, 0, "{report}");
    let fates = fates(&report);
    assert!(fates[0].starts_with("not-provable f"), "{report:#}");
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(status, 0, "{report:#}");
}

#[test]
fn a_merged_object_that_is_left_out_hides_no_hunk() {
    let trees = Trees::new("-g");
    let edits = [
        ("core/f.c", "+ LIMIT", "- LIMIT"),
        ("core/g.c", ": 5;", ": 6;"),
    ];
    trees.edit(&edits, Build::Again, &[]);
    for tree in ["a", "b"] {
        run(Command::new("ld")
            .args(["-r", "-o", "core/built_in.o", "core/f.o", "core/g.o"])
            .current_dir(trees.path(tree)));
    }
    // The second hunk was not built.
    fs::copy(trees.path("a/core/g.o"), trees.path("b/core/g.o")).expect("an object");
    for ignored in [&[][..], &["--ignore-object", "core/built_in.o"]] {
        let (status, report) = trees.tool(ignored);
        assert_eq!(status, 2, "{ignored:?}: {report:#}");
        assert_eq!(report["refusals"][0]["code"], "hunk-not-in-payload");
    }
}

#[test]
fn lines_that_only_moved_are_followed_by_older_debug_formats_too() {
    let trees = Trees::new("-gdwarf-4");
    let edits = [(
        "core/f.c",
        "int other(int x);\n",
        "int other(int x);\nint unused;\n",
    )];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert!(matches!(status, 0 | 3), "{report:#}");
    let edits = [("core/f.c", " 1);", " 2);")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, fates(&report)), (0, vec!["payload f".to_owned()]));
}

#[test]
fn a_malformed_patch_cannot_run() {
    let trees = Trees::new("-g");
    trees.edit(&[("core/g.c", ": 5;", ": 6;")], Build::Again, &[]);
    fs::write(
        trees.path("bad.patch"),
        "--- a/x.c\n+++ b/x.c\n@@ -1,9 +1,9 @@\n-a\n+b\n",
    )
    .expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
        .args(["--orig", "a", "--patched", "b", "--patch", "bad.patch"])
        .current_dir(trees.folder.path())
        .output()
        .expect("the tool runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("bad.patch:3: "), "{told}");
    assert!(!Path::new("bad.xsplice").exists());
}
