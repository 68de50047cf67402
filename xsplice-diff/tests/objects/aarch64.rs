//! Objects of AArch64 as gcc and clang make them, at every level, with and without branch
//! protection, outlined atomics and a section for each item: one changed function is the only one.

use std::process::Command;

use crate::compiler::{changed, compile, diff, new, refused};
use xsplice_diff::report::object_diff::Verdict;

/// Calls, a static local, a switch that has a table at some levels, texts, an atomic, numbers that
/// take several instructions, and a pointer to the changed function.
const BODY: &str = r#"
extern int ext(int); extern int printk(const char *, ...);
static int state; int shared[4] = {1, 2, 3, 4};
static long users;
static __attribute__((noinline)) int helper(int x) { return ext(x) * 3; }
int caller(int x) { static int cnt; cnt++; return helper(x) + cnt; }
int f(int x) {
    INSERT
    state += x; printk("hello %d\n", x);
    switch (x) { case 1: return 3; case 2: return ext(9); case 3: return ext(11) + 1;
                 case 4: return ext(3); case 5: return ext(77); case 6: return ext(8); }
    return helper(x) + shared[x & 3];
}
long counted(long x) { return __atomic_add_fetch(&users, x, __ATOMIC_SEQ_CST); }
unsigned long wide(void) { return 0x123456789abcdefUL ^ (unsigned long)state; }
int many(int x) {
    switch (x) { case 0: return ext(1); case 1: return helper(2); case 2: return ext(5) + 1;
                 case 3: return ext(7); case 4: printk("four"); return 4; case 5: return state;
                 case 6: return ext(6) - 1; case 7: return caller(9); case 8: return 12;
                 case 9: return ext(x) + 2; case 10: return ext(3) * 5; case 11: return 0; }
    return -1;
}
int g(int x) { printk("bye %d\n", x); return state; }
int (*pointer)(int) = f;
"#;

/// The compilers, with what makes them compile for this machine.
const COMPILERS: [(&str, &[&str]); 2] = [
    ("aarch64-linux-gnu-gcc", &[]),
    ("clang", &["--target=aarch64-linux-gnu"]),
];

const LEVELS: [&str; 5] = ["-O0", "-O1", "-O2", "-O3", "-Os"];

/// One of each is taken with every level.
const FORMS: [&[&str]; 6] = [
    &[
        "-mno-outline-atomics",
        "-ffunction-sections",
        "-fdata-sections",
    ],
    &["-mno-outline-atomics"],
    &["-moutline-atomics", "-mbranch-protection=standard"],
    &[
        "-mno-outline-atomics",
        "-mbranch-protection=standard",
        "-ffunction-sections",
    ],
    &["-moutline-atomics", "-mbranch-protection=none", "-g"],
    &["-mno-outline-atomics", "-mgeneral-regs-only", "-fno-common"],
];

fn body(insert: &str) -> String {
    BODY.replace("INSERT", insert)
}

/// Every compiler line that this machine can run.
fn lines() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut lines = Vec::new();
    for (compiler, target) in COMPILERS {
        if Command::new(compiler).arg("--version").output().is_err() {
            continue;
        }
        for level in LEVELS {
            for form in FORMS {
                let fixed: &[&str] = &["-fno-pic", "-fno-pie", level];
                lines.push((compiler, [target, fixed, form].concat()));
            }
        }
    }
    assert!(!lines.is_empty(), "no compiler for AArch64");
    lines
}

#[test]
fn one_changed_function_is_the_only_one_on_aarch64_too() {
    let mut wrong = Vec::new();
    for (compiler, flags) in lines() {
        let original = compile(compiler, &flags, &body(""));
        let patched = compile(compiler, &flags, &body("if (x == 70) return ext(5);"));
        let difference = diff(&original, &patched);
        let machine = difference.extract.as_ref().map(|extract| extract.machine);
        let told = refused(&difference);
        assert_eq!(
            machine.map(|one| one.name),
            Some("AArch64"),
            "{compiler} {flags:?} {told:?}"
        );
        let found = (refused(&difference), changed(&difference), new(&difference));
        if found != (vec![], vec!["f"], vec![]) {
            wrong.push(format!("{compiler} {flags:?}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn equal_sources_differ_in_nothing_on_aarch64_too() {
    for (compiler, flags) in lines() {
        let object = compile(compiler, &flags, &body(""));
        let moved = compile(compiler, &flags, &format!("/* a comment */{}", body("")));
        let difference = diff(&object, &moved);
        let verdict = difference.verdict();
        assert_eq!(
            verdict,
            Verdict::Unchanged,
            "{compiler} {flags:?} {:?}",
            refused(&difference)
        );
    }
}
