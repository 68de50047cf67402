//! Static locals, which compilers number: which is which is told by who uses them, never guessed.

use crate::compiler::{FLAG_SETS, KERNEL, changed, compile, compilers, data, diff, refused};
use xsplice_diff::extract::Place;
use xsplice_diff::verdict::kinds::RefusalCode;

#[test]
fn a_new_static_local_is_new_and_the_old_one_of_its_name_stays() {
    let source = |insert: &str| {
        format!(
            "extern int ext(int); \
             int f(int x) {{ {insert} return ext(x); }} \
             int g(int x) {{ static int cnt; cnt += x; return ext(cnt); }}"
        )
    };
    for compiler in compilers() {
        for flags in FLAG_SETS {
            let before = compile(compiler, flags, &source(""));
            let after = compile(
                compiler,
                flags,
                &source("static int cnt; cnt += 2; if (cnt > x) return ext(cnt);"),
            );
            let diff = diff(&before, &after);
            assert_eq!(refused(&diff), [], "{compiler} {flags:?} {diff:#?}");
            assert_eq!(changed(&diff), ["f"], "{compiler} {flags:?} {diff:#?}");
            assert_eq!(diff.data.len(), 1, "{compiler} {flags:?} {diff:#?}");
        }
    }
}

#[test]
fn a_renumbered_static_local_keeps_its_state_in_the_base() {
    let source = |first: &str| {
        format!(
            "extern int ext(int); \
             int f(int x) {{ {first} return ext(x); }} \
             int g(int x) {{ static int cnt; cnt += x; return ext(cnt + 1 SUFFIX); }}"
        )
    };
    let before = compile("gcc", KERNEL, &source("").replace("SUFFIX", ""));
    let after = compile(
        "gcc",
        KERNEL,
        &source("static int cnt; cnt += 2; if (cnt > x) return ext(cnt);").replace("SUFFIX", "+ 4"),
    );
    let diff = diff(&before, &after);
    assert_eq!(changed(&diff), ["f", "g"]);
    let extract = diff.extract.as_ref().expect("f and g travel");
    let base: Vec<&str> = extract
        .symbols
        .iter()
        .filter(|symbol| symbol.place == Place::Base && symbol.name.starts_with("cnt"))
        .map(|symbol| symbol.name.as_str())
        .collect();
    assert_eq!(
        base,
        ["cnt.0"],
        "g's counter, by the name that the base knows"
    );
    assert_eq!(data(&diff).len(), 1, "f's counter alone is new");
}

#[test]
fn two_alike_static_locals_where_one_was_are_not_guessed() {
    let source = |second: &str| {
        format!(
            "extern int ext(int); \
             int f(int x) {{ \
                 if (x) {{ static int cnt; ext(cnt++); }} \
                 {second} return ext(x); }}"
        )
    };
    let before = compile("gcc", KERNEL, &source(""));
    let after = compile(
        "gcc",
        KERNEL,
        &source("if (x > 3) { static int cnt; ext(cnt--); }"),
    );
    let diff = diff(&before, &after);
    assert!(
        refused(&diff).contains(&RefusalCode::AmbiguousStaticLocal),
        "{diff:#?}"
    );
}

#[test]
fn a_removed_static_local_is_reported_and_no_obstacle() {
    let before = compile(
        "gcc",
        KERNEL,
        "extern int ext(int); int f(int x) { static int cnt; cnt += x; return ext(cnt); }",
    );
    let after = compile(
        "gcc",
        KERNEL,
        "extern int ext(int); int f(int x) { return ext(x); }",
    );
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), []);
    assert_eq!(changed(&diff), ["f"]);
    assert!(
        diff.ignored.iter().any(|ignored| ignored.name == "cnt.0"),
        "{diff:#?}"
    );
}
