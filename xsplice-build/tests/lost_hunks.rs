//! Hunks that are in no payload, or must not go with it, where debug information does not say so,
//! each beside the nearest that is carried.

use std::fs;

use crate::hunks::{Build, Trees, codes, fates};

#[test]
fn without_debug_information_a_hunk_of_a_changed_object_is_not_proven() {
    let trees = Trees::new("-g0");
    let edits = [("core/g.c", ": 5;", ": 6;")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!(
        (status, fates(&report)),
        (0, vec!["not-provable".to_owned()])
    );
}

/// A half-built patch, or the patch of another fix: nothing of one hunk is in the patched tree.
#[test]
fn a_statement_whose_only_object_is_equal_is_lost() {
    let trees = Trees::new("-g0");
    let fix = ("core/g.c", ": 5;", ": 6;");
    trees.edit(&[fix], Build::Again, &[]);
    let other = |statement: &str| {
        format!(
            "--- a/core/f.c\n+++ b/core/f.c\n@@ -18,3 +18,4 @@\n     int sum = table[x & 1];\n \n\
             +    {statement}\n     sum += climb(x);\n"
        )
    };
    let own = fs::read_to_string(trees.path("fix.patch")).expect("the patch");
    for (statement, wanted) in [
        ("sum += 2;", (2, vec!["hunk-not-in-payload"])),
        ("/* sums */", (0, vec![])),
    ] {
        let patch = format!("{own}{}", other(statement));
        fs::write(trees.path("fix.patch"), patch).expect("a file");
        let (status, report) = trees.tool(&[]);
        assert_eq!((status, codes(&report)), wanted, "{statement}: {report:#}");
    }
    let patch = format!("{own}{}", other("sum += 2;"));
    fs::write(trees.path("fix.patch"), patch).expect("a file");
    let (status, report) = trees.tool(&["--accept", "hunk:core/f.c"]);
    assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
}

/// What was allocated before the patch has no room for the member.
#[test]
fn a_member_needs_debug_information() {
    let state = "struct state {\n    int sum;\n};\nint use(struct state *state);\n\
                 int use(struct state *state) { return state->sum * 5; }\n";
    for flags in ["-g0", "-g"] {
        let trees = Trees::new(flags);
        let g = fs::read_to_string(trees.path("a/core/g.c")).expect("a file");
        fs::write(trees.path("a/core/g.c"), format!("{g}{state}")).expect("a file");
        trees.make("a");
        let edits = [
            (
                "core/g.c",
                "    int sum;\n};",
                "    int sum;\n    int last;\n};",
            ),
            (
                "core/g.c",
                "return state->sum * 5;",
                "return state->sum * 5 + state->last;",
            ),
        ];
        let (status, report) = trees.edit(&edits, Build::Again, &[]);
        assert_eq!(
            (status, codes(&report)),
            (2, vec!["changed-layout"]),
            "{flags}: {report:#}"
        );
        // A statement is none.
        let edits = [(
            "core/g.c",
            "return state->sum * 5;",
            "return state->sum * 6;",
        )];
        let (status, report) = trees.edit(&edits, Build::Again, &[]);
        assert_eq!((status, codes(&report)), (0, vec![]), "{flags}: {report:#}");
    }
}

/// A function holds code of two functions of a header, and of nothing between them.
#[test]
fn a_line_between_two_inline_functions_is_in_none_of_their_users() {
    let trees = Trees::new("-g");
    let inline = |name: &str| {
        format!(
            "static inline int {name}(int x)\n{{\n    int sum = x;\n    while (sum & 8)\n        \
             sum = sum * 3 + x;\n    return sum;\n}}\n"
        )
    };
    let header = format!(
        "{}static inline void empty(int *x)\n{{\n#ifdef DEBUG\n    *x = 1;\n#endif\n}}\n{}",
        inline("climb"),
        inline("fall")
    );
    fs::write(trees.path("a/include/inline.h"), header).expect("a file");
    let f = fs::read_to_string(trees.path("a/core/f.c")).expect("a file");
    let f = f.replace("sum += climb(x);", "sum += climb(x) + fall(x);");
    fs::write(trees.path("a/core/f.c"), f).expect("a file");
    trees.make("a");
    let edits = [
        (
            "include/inline.h",
            "void empty(int *x)",
            "void empty(int *x, int y)",
        ),
        ("core/g.c", ": 5;", ": 6;"),
    ];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
    assert!(
        fates(&report).contains(&"payload other".to_owned()),
        "{report:#}"
    );
}

/// What a function declares for itself does not end it.
#[test]
fn a_statement_above_a_declaration_in_its_function_is_in_that() {
    let trees = Trees::new("-g");
    let f = fs::read_to_string(trees.path("a/core/f.c")).expect("a file");
    let f = f.replace(
        "    sum += climb(x);\n",
        "    sum += climb(x);\n#ifdef DEBUG\n    sum += 2;\n#endif\n    \
         extern int declared(int);\n    \
         sum += (int)sizeof(declared(1));\n    extern int far;\n    \
         sum += (int)sizeof(far);\n",
    );
    fs::write(trees.path("a/core/f.c"), f).expect("a file");
    trees.make("a");
    let edits = [
        ("core/f.c", "sum += 2;", "sum += 3;"),
        ("core/g.c", ": 5;", ": 6;"),
    ];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    let wanted = (2, vec!["hunk-not-in-payload"]);
    assert_eq!((status, codes(&report)), wanted, "{report:#}");
}

/// A name for a type between a function and what is inlined into it stands in none of them.
#[test]
fn a_name_for_a_type_leads_to_nothing_and_the_statement_beside_it_is_carried() {
    let trees = Trees::new("-g");
    let f = fs::read_to_string(trees.path("a/core/f.c")).expect("a file");
    let f = f.replace(
        "int other(int x);\n",
        "int other(int x);\nstatic inline int helper(int x)\n{\n    return other(x) * 3;\n}\n\n\n\n\
         typedef unsigned int word;\n\n\n\nstatic word state;\nint user(int x);\nint user(int x)\n\
         {\n    state = x;\n    return helper(x) + 1;\n}\n",
    );
    fs::write(trees.path("a/core/f.c"), f).expect("a file");
    trees.make("a");
    let typedef = ("core/f.c", "typedef unsigned int", "typedef signed int");
    let edits = [typedef, ("core/f.c", " 1);", " 2);")];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
    let wanted = ["no-code", "payload f"].map(str::to_owned);
    assert_eq!(fates(&report), wanted, "{report:#}");
    // Beside a statement of the inline function, whose user changes by that.
    let edits = [
        typedef,
        ("core/f.c", "return other(x) * 3", "return other(x) * 5"),
    ];
    let (status, report) = trees.edit(&edits, Build::Again, &[]);
    assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
    assert!(
        fates(&report).contains(&"payload user".to_owned()),
        "{report:#}"
    );
}
