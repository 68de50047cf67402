use super::{ChangedLine, Side, parse};

const PLAIN: &str = "--- a/x.c\n+++ b/x.c\n@@ -3,3 +3,3 @@ f()\n a\n-b\n+c\n d\n";

fn problem(text: &str) -> String {
    parse("p", text.as_bytes())
        .expect_err("malformed")
        .to_string()
}

#[test]
fn lines_have_their_numbers_in_both_files() {
    let patch = parse("p", PLAIN.as_bytes()).expect("a patch");
    let [file] = patch.files.as_slice() else {
        panic!("one file: {patch:?}");
    };
    assert_eq!(file.shown(), "x.c");
    let hunk = &file.hunks[0];
    assert_eq!((hunk.patch_line, hunk.old_start, hunk.new_start), (3, 3, 3));
    let line = |side, number, text: &str| ChangedLine {
        side,
        number,
        place: number,
        text: text.to_owned(),
    };
    assert_eq!(
        hunk.changes,
        [line(Side::Old, 4, "b"), line(Side::New, 4, "c")]
    );
}

#[test]
fn mails_are_read_and_their_words_are_not_taken_for_hunks() {
    let mail = format!(
        "From 1 Mon\nSubject: x\n\n- one\n+ two\n---\n x.c | 2 +-\n\ndiff --git a/x.c b/x.c\n\
         index 1..2 100644\n{PLAIN}-- \n2.39.2\n\n"
    );
    let patch = parse("p", mail.as_bytes()).expect("a patch");
    assert_eq!(patch.files[0].hunks[0].patch_line, 13);
}

#[test]
fn files_that_are_made_and_taken_away_have_one_name() {
    let text = "--- /dev/null\n+++ b/n.c\n@@ -0,0 +1,2 @@\n+a\n+b\n--- a/o.c\n+++ /dev/null\n@@ -1 \
                +0,0 @@\n-a\n";
    let patch = parse("p", text.as_bytes()).expect("a patch");
    assert_eq!(patch.files[0].paths(), (None, Some("n.c")));
    assert_eq!(patch.files[0].hunks[0].changes[1].number, 2);
    assert_eq!(patch.files[1].paths(), (Some("o.c"), None));
    assert_eq!(patch.files[1].hunks[0].changes[0].number, 1);
}

#[test]
fn prefixes_of_git_and_of_two_folders_are_dropped_and_others_kept() {
    let paths = |old: &str, new: &str| {
        let text = format!("--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n");
        let patch = parse("p", text.as_bytes()).expect("a patch");
        patch.files[0].shown().to_owned()
    };
    assert_eq!(paths("a/core/x.c", "b/core/x.c"), "core/x.c");
    assert_eq!(paths("xen.orig/core/x.c", "xen/core/x.c"), "core/x.c");
    assert_eq!(paths("core/x.c", "core/x.c"), "core/x.c");
    assert_eq!(paths("core/x.c\t2026-01-01", "core/x.c\t2026"), "core/x.c");
}

#[test]
fn text_that_is_no_utf_8_and_carriage_returns_are_taken() {
    let text = b"--- a/x.c\r\n+++ b/x.c\r\n@@ -1 +1 @@\r\n-\xe9\r\n+b\r\n";
    let patch = parse("p", text).expect("a patch");
    assert_eq!(patch.files[0].hunks[0].changes[1].text, "b");
}

#[test]
fn a_malformed_patch_names_its_line() {
    let cut = PLAIN.replace("@@ -3,3 +3,3 @@", "@@ -3,9 +3,9 @@");
    assert!(problem(&cut).starts_with("p:3: the hunk's lines"), "{cut}");
    let second = format!("{PLAIN}{}", cut.replace("x.c", "y.c"));
    assert!(
        problem(&second).starts_with("p:10: "),
        "{}",
        problem(&second)
    );
    let huge = PLAIN.replace("-3,3", "-99999999999999999999,3");
    assert!(problem(&huge).starts_with("p:3: "), "{}", problem(&huge));
    assert!(problem("").starts_with("p:1: holds no hunk"));
    assert!(problem("hello\n").starts_with("p:1: holds no hunk"));
    assert!(problem("*** a\n--- b\n***************\n").starts_with("p:1: holds no hunk"));
}

#[test]
fn no_hunk_is_lost_without_a_word() {
    let orphan = format!("{PLAIN}junk\n@@ -30,1 +30,1 @@\n-a\n+b\n");
    assert!(
        problem(&orphan).starts_with("p:9: this hunk belongs to no file"),
        "{}",
        problem(&orphan)
    );
    let short = PLAIN.replace("@@ -3,3 +3,3 @@", "@@ -3,1 +3,1 @@");
    assert!(problem(&short).starts_with("p:5: the hunk has more lines"));
    let binary = format!("{PLAIN}diff --git a/x b/x\nBinary files a/x and b/x differ\n");
    assert!(problem(&binary).starts_with("p:9: a binary change"));
}

/// Whether the only hunk of a patch, with this behind its `@@`, changes a member.
fn changes_member(heading: &str, before: &str, added: &str, behind: &str) -> bool {
    let text =
        format!("--- a/x.h\n+++ b/x.h\n@@ -3,2 +3,3 @@{heading}\n {before}\n+{added}\n {behind}\n");
    let patch = parse("p", text.as_bytes()).expect("a patch");
    patch.files[0].hunks[0].changes_member
}

#[test]
fn a_member_is_told_from_a_statement() {
    let type_ends = |added: &str| changes_member("", "    int a;", added, "};");
    assert!(type_ends("    spinlock_t lock;"));
    assert!(type_ends("\tDECLARE_BITMAP(flags, 7); /* of each */"));
    assert!(changes_member(
        "",
        "    int a;",
        "    int b;",
        "} __packed;"
    ));
    assert!(changes_member(
        " struct domain",
        "    int a;",
        "    int b;",
        "    int c;"
    ));
    assert!(changes_member(
        "",
        "typedef struct {",
        "    int b;",
        "    int c;"
    ));
    // The nearest that are none.
    assert!(!type_ends("    7,"));
    assert!(!type_ends("    /* int b; */"));
    assert!(!changes_member("", "    a = 1;", "    b = 2;", "}"));
    assert!(!changes_member(
        " void f(struct s *s)",
        "    a = 1;",
        "    b = 2;",
        "    c = 3;"
    ));
    assert!(!changes_member(
        " struct s *f(void)",
        "    a = 1;",
        "    b = 2;",
        "    c = 3;"
    ));
    assert!(!changes_member(
        " struct domain",
        "    int a;",
        "extern int b;",
        "    int c;"
    ));
    assert!(!changes_member(
        "",
        "    do {",
        "    b = 2;",
        "} while (a);"
    ));
}
