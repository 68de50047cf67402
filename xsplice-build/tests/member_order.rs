//! Archives whose members stand in another order in the patched tree.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use xsplice_test_objects::run;

use crate::support::Trees;

/// Sources of the members `a.o`, `b.o` and `c.o`.
type Members = [&'static str; 3];

const F: &str = "int f(int x) { return x * 100 + 1; }";
const WEAK: Members = [
    "__attribute__((weak)) int which(int x) { return x * 3; }",
    "__attribute__((weak)) int which(int x) { return x * 5; }",
    "int other(int x) { return x * 7; }",
];
const ENTRIES: Members = [
    "static const int e __attribute__((section(\"set\"), used)) = 1;",
    "static const int e __attribute__((section(\"set\"), used)) = 2;",
    "int other(int x) { return x * 7; }",
];
const STARTED: Members = [
    "int a; __attribute__((constructor)) static void start(void) { a = 1; }",
    "int b; __attribute__((constructor)) static void start(void) { b = 2; }",
    "int other(int x) { return x * 7; }",
];
/// Each has variables of its own; the first two have tables by which they jump.
const APART: Members = [
    "static int own; int a(int x) { return own += x * 3; }
     int switched_a(int x, int y) {
         switch (x) {
         case 0: return y * 7; case 1: return y ^ 9; case 2: return y / 5;
         case 3: return y + 11; case 4: return y << 3; case 5: return y % 13;
         }
         return 0;
     }",
    "static int own; int b(int x) { return own += x * 5; }
     int switched_b(int x, int y) {
         switch (x) {
         case 0: return y / 9; case 1: return y + 9; case 2: return y * 5;
         case 3: return y % 11; case 4: return y >> 3; case 5: return y ^ 13;
         }
         return 0;
     }",
    "const int table[2] = {1, 2}; const char *text(void) { return \"text\"; }",
];

fn tree(root: &Path, members: &Members, order: &str) {
    fs::create_dir_all(root).unwrap();
    let flags = "-O2 -ffunction-sections -fdata-sections -fno-pic -fcf-protection=none";
    let flags: Vec<&str> = flags.split(' ').collect();
    let sources = ["a.c", "b.c", "c.c"].into_iter().zip(*members);
    for (name, source) in sources.chain([("f.c", F)]) {
        fs::write(root.join(name), source).unwrap();
        xsplice_test_objects::compile(root, "gcc", &flags, name);
    }
    let objects: Vec<String> = order.chars().map(|one| format!("{one}.o")).collect();
    let ar = |command: &str| {
        let mut ar = Command::new("ar");
        ar.args([command, "lib.a"]).args(&objects);
        run(ar.current_dir(root));
    };
    ar("crs");
    for object in &objects {
        fs::remove_file(root.join(object)).unwrap();
    }
}

/// Exit status and refusals for two orders of the members of an archive.
fn outcome(members: &Members, orders: (&str, &str)) -> (i32, Vec<String>) {
    let trees = Trees::new();
    tree(&trees.path("orig"), members, orders.0);
    tree(&trees.path("patched"), members, orders.1);
    run(Command::new("ld")
        .args(["-Ttext-segment=0x400000", "-e", "f", "--build-id=sha1"])
        .args(["-o", "base", "f.o", "--whole-archive", "lib.a"])
        .current_dir(trees.path("orig")));
    let (status, report) = trees.build(&[]);
    let refusals = report["refusals"].as_array().cloned().unwrap_or_default();
    let code = |one: &Value| one["code"].as_str().unwrap_or_default().to_owned();
    (status, refusals.iter().map(code).collect())
}

#[test]
fn members_in_another_order_are_refused_where_the_order_counts() {
    for (what, members) in [("weak", &WEAK), ("table", &ENTRIES), ("start", &STARTED)] {
        let (status, codes) = outcome(members, ("abc", "bac"));
        assert_eq!(status, 2, "{what}");
        assert!(
            codes.contains(&"order-differs".to_owned()),
            "{what}: {codes:?}"
        );
        // The two stand as they stood.
        for order in ["abc", "cab", "acb"] {
            let (status, codes) = outcome(members, ("abc", order));
            assert!(
                !codes.contains(&"order-differs".to_owned()),
                "{what}, {order}"
            );
            assert!([2, 3].contains(&status));
        }
    }
}

#[test]
fn members_that_have_nothing_in_common_may_stand_in_any_order() {
    for order in ["abc", "bca", "cba"] {
        assert_eq!(outcome(&APART, ("abc", order)), (3, Vec::new()), "{order}");
    }
}
