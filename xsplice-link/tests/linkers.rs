//! The proof holds for bases of every linker that builds are made with, with whatever it merges,
//! relaxes, folds and collects; and a tree that differs in one thing is noticed in each of them.

use std::process::Command;

use crate::support::{ENDBR, KERNEL, PIC, Tree};
use xsplice_link::Base;
use xsplice_link::proof::{TreeProof, prove_object};

/// A linker and its options.
type Line = (&'static str, &'static [&'static str]);

/// As images link that move themselves at boot.
const PIE: &[&str] = &["-pie", "--no-dynamic-linker"];
/// Links the objects into one first, and that one into the image.
const IN_STEPS: &[&str] = &["-r"];
/// All but `unused`.
const COLLECTED: &[&str] = &[
    "-O2",
    "--gc-sections",
    "-u",
    "first",
    "-u",
    "second",
    "-u",
    "third",
    "-u",
    "fourth",
    "-u",
    "pointer_to",
    "-u",
    "compare",
];

const LINES: &[Line] = &[
    ("ld.bfd", &[]),
    ("ld.bfd", COLLECTED),
    ("ld.bfd", &["--no-relax"]),
    ("ld.bfd", IN_STEPS),
    ("ld.gold", &[]),
    ("ld.gold", COLLECTED),
    ("ld.lld", &[]),
    ("ld.lld", COLLECTED),
];
/// What links code that moves itself; it may not call what is not there, even if it never would.
const MOVING_LINES: &[Line] = &[("ld.bfd", PIE), ("ld.lld", PIE)];

const FIRST: &str = r#"
    extern int printk(const char *format, ...);
    extern int absent(int) __attribute__((weak));
    extern int shared, table[];
    int counter, level = 3;
    static int hidden = 5, other_hidden = 6;
    static const char *const names[] = { "alpha", "a tail", "tail" };
    static int (*const calls[])(int);
    __attribute__((noinline, noclone)) static int helper(int x) { return x * 3 + level; }
    __attribute__((noinline, noclone)) static int helped(int x) { return x * 5 - level; }
    static int (*const calls[])(int) = { helper, helped };
    int first(int x)
    {
        counter += x;
        printk("first %d with a tail\n", x);
        if ( absent )
            x += absent(x);
        return helper(x) + shared + table[3];
    }
    int second(int x)
    {
        printk("a tail\n");
        printk(names[x & 1]);
        hidden += x;
        return calls[x & 1](x) * hidden - other_hidden;
    }
    double third(double x) { return x * 1.25 + 3.5; }
    int fourth(int x)
    {
        switch ( x )
        {
        case 0: return helper(1); case 1: return helped(2); case 2: return helper(3) + 1;
        case 3: return helped(4) + 2; case 4: return helper(5) * 7; case 5: return counter;
        default: return -1;
        }
    }
    int (*pointer_to(int x))(int) { return x ? helper : helped; }
    int unused(int x) { return x * 11; }
    int compare(int (*f)(int)) { return f == helper ? 1 : &counter == &shared; }
"#;
const SECOND: &str = r#"
    int shared = 7, table[8] = { 1, 2, 3, 4 };
    static int hidden = 55;
    char ring[64];
    int printk(const char *format, ...) { ring[0] = *format; return ring[1] + hidden; }
    __attribute__((weak)) int overridden(int x) { return x; }
"#;

fn tree(first: &str, second: &str, flags: &[&str]) -> Tree {
    Tree::compile(&[("a.c", first), ("b.c", second)], flags)
}

fn linked(tree: &Tree, line: &Line) -> Vec<u8> {
    let (linker, options) = *line;
    if options == IN_STEPS {
        return tree.link_in_steps();
    }
    let mut all = vec!["--build-id=sha1"];
    all.extend(options);
    tree.link_by(linker, &all)
}

fn exists(linker: &str) -> bool {
    Command::new(linker).arg("--version").output().is_ok()
}

fn prove(base: &Base<'_>, tree: &Tree) -> TreeProof {
    let mut proof = TreeProof::default();
    for (path, bytes) in &tree.objects {
        let items = xsplice_diff::originals(path, bytes).unwrap();
        proof.add(prove_object(base, path, &items));
    }
    proof
}

#[test]
fn every_linker_s_base_is_proven_and_a_tree_that_differs_in_one_thing_noticed() {
    let changes: &[(&str, &str, &str)] = &[
        ("a string", "with a tail", "with a Tail"),
        ("a string in a table", "\"alpha\"", "\"alphA\""),
        ("a constant", "1.25", "1.75"),
        ("a number", "x * 3 + level", "x * 9 + level"),
        (
            "a callee",
            "case 0: return helper(1)",
            "case 0: return helped(1)",
        ),
        (
            "a variable",
            "* hidden - other_hidden",
            "* other_hidden - hidden",
        ),
        ("an element", "table[3]", "table[4]"),
        (
            "a table's entries",
            "{ helper, helped };",
            "{ helped, helper };",
        ),
        ("a pointer", "x ? helper : helped", "x ? helped : helper"),
    ];
    let moving = FIRST.replace("x += absent(x)", "x += 1");
    for (flags, lines, source) in [
        (PIC, LINES, FIRST),
        (KERNEL, LINES, FIRST),
        (ENDBR, LINES, FIRST),
        (PIC, MOVING_LINES, moving.as_str()),
    ] {
        let original = tree(source, SECOND, flags);
        let others: Vec<_> = changes
            .iter()
            .map(|(what, old, new)| {
                let changed = source.replacen(old, new, 1);
                assert_ne!(changed, source, "{what}");
                (*what, tree(&changed, SECOND, flags))
            })
            .collect();
        for line in lines.iter().filter(|line| exists(line.0)) {
            let image = linked(&original, line);
            let base = Base::parse("image", &image).unwrap();
            let own = prove(&base, &original);
            assert_eq!(own.failed, [], "{flags:?} {line:?}");
            assert_eq!(own.failed_constants, [], "{flags:?} {line:?}");
            assert!(own.proven >= 8, "{flags:?} {line:?}: {own:?}");
            for (what, other) in &others {
                let proof = prove(&base, other);
                assert!(
                    !(proof.failed.is_empty() && proof.failed_constants.is_empty()),
                    "{flags:?} {line:?}: {what} is not noticed: {proof:?}"
                );
            }
        }
    }
}
