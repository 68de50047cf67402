//! A constant that changes is part of the one function that uses it, unless its address leaves that
//! function: also in the very register by which the function read from it.

use xsplice_diff::read::object::{ElfObject, SymbolPlace};
use xsplice_diff::verdict::kinds::RefusalCode;

use crate::compiler::{compile, diff, refused};

const BEGIN: &str = "
    int calls; int sink(int); void keep(const int *); void (*hook)(const int *);
    static const int other[4] = { 1, 2, 3, 9 };";

const FLAGS: [&str; 6] = [
    "-O2",
    "-fpie",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
    "-fcf-protection=none",
];

fn build(debug: &str, code: &str, last: u32) -> Vec<u8> {
    let source = format!("{BEGIN}\nstatic const int tab[4] = {{ 1, 2, 3, {last} }};\n{code}");
    let flags = [&FLAGS[..], &[debug]].concat();
    compile("gcc", &flags, &source)
}

/// How many fields of the object lead to the constant.
fn references(object: &[u8]) -> usize {
    let elf = ElfObject::parse("case.o", object).expect("gcc wrote it");
    let is_tab = |place| match place {
        SymbolPlace::Section(id) => elf.section(id).name == ".rodata.tab",
        _ => false,
    };
    let all = elf.relocations.iter();
    all.filter(|one| is_tab(elf.symbol(one.symbol).place))
        .count()
}

fn refusals(debug: &str, code: &str) -> Vec<RefusalCode> {
    let (original, patched) = (build(debug, code, 4), build(debug, code, 5));
    assert_eq!(references(&original), 1, "one register has it: {code}");
    refused(&diff(&original, &patched))
}

#[test]
fn an_address_by_which_code_read_may_still_be_given_back_passed_chosen_or_compared() {
    for code in [
        "const int *f(int i) { calls += tab[i & 3]; return tab; }",
        "void f(int i) { calls += tab[i & 3]; keep(tab); }",
        "void f(int i) { calls += tab[i & 3]; hook(tab); }",
        "__attribute__((noipa)) static void own(int a, const int *p) { calls -= a; keep(p); }
         void f(int i) { calls += tab[i & 3]; own(i, tab); }",
        "const int *f(int i, int k) { calls += tab[k & 3]; return i ? tab : other; }",
        "int f(int i, const int *p) { calls += tab[i & 3]; return p == tab; }",
        // What runs instead of a weak function is for the link to say.
        "__attribute__((weak)) void seen(const int *p) { }
         void f(int i) { calls += tab[i & 3]; seen(tab); }",
        // In a register that the compiler knows the callee to keep.
        "__attribute__((noinline)) static int leaf(int x) { return x * x + 7; }
         const int *f(int i, int *o) { const int *p = &tab[i & 3]; *o = leaf(*p); return p; }",
        "__attribute__((noinline)) static int leaf(int x) { return x * x + 7; }
         __attribute__((noinline)) static int two(int x) { return leaf(x + 1) * 3; }
         const int *f(int i, int *o) { const int *p = &tab[i & 3]; *o = two(*p); return p; }",
    ] {
        for debug in ["-g0", "-g"] {
            let found = refusals(debug, code);
            assert_eq!(found, [RefusalCode::ChangedRodata], "{debug} {code}");
        }
    }
}

#[test]
fn what_code_only_read_by_stays_in_its_register_and_is_no_argument() {
    for code in [
        "void f(int i) { calls += tab[i & 3]; }",
        "long f(int i) { calls += tab[i & 3]; return i; }",
        "int f(int i) { return sink(tab[i & 3]) + 1; }",
        "int f(int i) { return sink(tab[i & 3]); }",
        "__attribute__((noinline)) static int own(int a) { calls += a; return a * 3; }
         int f(int i) { return own(tab[i & 3]) + 1; }",
        "__attribute__((noinline)) static int leaf(int x) { return x * x + 7; }
         long f(int i, int *o) { *o = leaf(tab[i & 3]); return *o + i; }",
        "__attribute__((weak)) int seen(int a) { return a; }
         int f(int i) { return seen(tab[i & 3]) + 1; }",
        "struct pair { long a; double b; };
         struct pair f(int i) { return (struct pair){ tab[i & 3], 2.5 }; }",
        "int f(int i) { int all = 0; while (i--) all += tab[i & 3] * sink(i); return all; }",
    ] {
        assert_eq!(refusals("-g", code), [], "{code}");
    }
}

#[test]
fn the_second_register_of_a_result_is_known_by_debug_information() {
    let pair = |first: &str, second: &str| {
        format!(
            "struct pair {{ long a; const int *p; }};
             struct pair f(int i) {{ return (struct pair){{ {first}, {second} }}; }}"
        )
    };
    let (read, named) = (pair("tab[i & 3]", "tab"), pair("i", "tab + 1"));
    let single = "int f(int i) { return tab[i & 3]; }";
    for (code, debug, is_out) in [
        (&*read, "-g", true),
        (&named, "-g", true),
        (&named, "-g0", true),
        (single, "-g", false),
        (single, "-g0", false),
    ] {
        let found = refusals(debug, code);
        assert_eq!(!found.is_empty(), is_out, "{debug} {code}: {found:?}");
    }
}

#[test]
fn a_table_of_functions_is_not_passed_to_those_in_it() {
    let source = |last: &str| {
        format!(
            "__attribute__((noinline)) static int one(int x) {{ return x * 3; }}
             __attribute__((noinline)) static int two(int x) {{ return x * 5; }}
             static int (*const tab[3])(int) = {{ one, two, {last} }};
             int f(int i, int x) {{ return tab[i](x); }}"
        )
    };
    let [original, patched] = ["one", "two"].map(|last| compile("gcc", &FLAGS, &source(last)));
    assert_eq!(refused(&diff(&original, &patched)), []);
}
