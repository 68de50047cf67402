//! What depends on instructions is read from instructions: from their operands, never from the
//! bytes that happen to stand before a field. And two machines are never mixed.

use object::elf;
use xsplice_diff::extract::{Extract, Place, Relocation};
use xsplice_diff::options::Options;
use xsplice_diff::report::object_diff::ObjectDiff;
use xsplice_diff::verdict::kinds::RefusalCode;
use xsplice_diff::{diff_objects, take_whole};

use crate::compiler::{KERNEL, changed, compile, diff, refused};

/// Relocations of an extract that lead to the function of this name, with where it lives.
fn leading_to<'e>(extract: &'e Extract<'_>, name: &str) -> Vec<(&'e Relocation, Place)> {
    let all = extract.sections.iter().flat_map(|one| &one.relocations);
    all.filter_map(|one| {
        let symbol = &extract.symbols[one.symbol.0];
        (symbol.name == name).then_some((one, symbol.place))
    })
    .collect()
}

#[test]
fn an_address_that_is_stored_is_no_call_whatever_stands_before_it() {
    // At -O0 the addresses go to the frame, one of them to -0x18(%rbp): the displacement is the
    // opcode of a call. The recursive call beside them stays in the new function.
    let source = |n: u32| {
        format!(
            "typedef long (*fp)(long, long); fp saved;
             long f(long a, long b) {{
                 volatile long x = a; fp p = f, q = f, s = f; volatile fp t = f;
                 if (!saved) saved = p;
                 if (a > 5) return f(a - 1, b);
                 return (p == saved) + (q == saved) + (s == saved) + (t == saved) + x + {n}; }}"
        )
    };
    let flags = ["-O0", "-fno-pie", "-mcmodel=kernel", "-fcf-protection=none"];
    for sections in ["-ffunction-sections", "-fno-function-sections"] {
        let flags = [&flags[..], &[sections]].concat();
        let (original, patched) = (
            compile("gcc", &flags, &source(1)),
            compile("gcc", &flags, &source(2)),
        );
        let diff = diff(&original, &patched);
        assert_eq!(refused(&diff), [], "{sections}");
        let extract = diff.extract.as_ref().expect("there is a payload");
        let (stored, called): (Vec<_>, Vec<_>) = leading_to(extract, "f")
            .into_iter()
            .partition(|(one, _)| one.kind == elf::R_X86_64_32S.0);
        assert!(stored.len() >= 4, "{stored:?}");
        assert!(stored.iter().all(|(_, place)| *place == Place::Base));
        let stays = |place: &Place| matches!(place, Place::Section { .. });
        assert!(!called.is_empty() && called.iter().all(|(_, place)| stays(place)));
    }
}

/// Variables of one section in the order of the source.
fn in_order(source: &str) -> Vec<u8> {
    let flags = [
        "-O2",
        "-fno-pic",
        "-fno-pie",
        "-mcmodel=kernel",
        "-mno-sse",
        "-ffunction-sections",
        "-fcf-protection=none",
        "-fno-toplevel-reorder",
    ];
    compile("gcc", &flags, source)
}

fn ambiguous(original: &str, patched: &str) -> bool {
    let (original, patched) = (in_order(original), in_order(patched));
    let diff = diff(&original, &patched);
    assert!(changed(&diff).contains(&"f"), "{diff:#?}");
    let codes = refused(&diff);
    assert!(
        codes
            .iter()
            .all(|code| *code == RefusalCode::AmbiguousTarget),
        "{codes:?}"
    );
    !codes.is_empty()
}

#[test]
fn the_end_of_an_array_on_the_stack_is_an_address_and_no_index() {
    let source = |fresh: &str, used: &str| {
        format!(
            "struct it {{ long *p, *e; }}; static long ar[6] = {{1, 2, 3, 4, 5, 6}}; {fresh}
             static long after = 9;
             static __attribute__((noinline)) long walk(struct it *i, long k) {{
                 long r = 0; for (long *q = i->p; q != i->e; q++) r = r * k + *q; return r; }}
             long f(long a, long b) {{
                 struct it i = {{ar, ar + 6}}; long r = walk(&i, a); after += b; {used}
                 return r + after; }}
             long g(long a, long b) {{ return after * a + ar[b & 3]; }}"
        )
    };
    let original = source("", "");
    let between = source("static long fresh = 3;", "fresh += a; r += fresh;");
    assert!(ambiguous(&original, &between));
    // Nothing moved.
    assert!(!ambiguous(&original, &source("", "r += a;")));
}

#[test]
fn an_index_that_counts_from_a_letter_is_told_by_what_it_was_before() {
    let source = |fresh: &str, used: &str, read: &str| {
        format!(
            "static long first[60] = {{1, 2, 3}}; {fresh}
             static long tab[10] = {{10, 11, 12, 13, 14, 15, 16, 17, 18, 19}};
             long g(long a, long b) {{ first[a & 31] += b; return first[0] + first[59]; }}
             long f(long a, long b) {{ {used} return {read} + b; }}
             long h(long a, long b) {{ tab[a & 7] = b; return tab[0]; }}"
        )
    };
    let fresh = "static long fresh[20] = {3};";
    let used = "fresh[0] += b; fresh[7] = a;";
    // What is read lies in `first`, and means `tab`, which moved.
    let letter = "tab[a - '0']";
    let original = source("", "", letter);
    assert!(ambiguous(&original, &source(fresh, used, letter)));
    assert!(!ambiguous(&original, &source("", "a += 2;", letter)));
    // A new one of the kind, of which nothing tells what it means.
    let plain = source("", "", "a");
    assert!(ambiguous(&plain, &source(fresh, used, letter)));
    // What is read lies in `first`, and means `first`, as it did before.
    let own = "first[a + 3]";
    let original = source("", "", own);
    assert!(!ambiguous(&original, &source(fresh, used, own)));
}

/// The same object, said to be for another machine.
fn for_machine(object: &[u8], e_machine: u16) -> Vec<u8> {
    const E_MACHINE_AT: usize = 18;
    let mut object = object.to_vec();
    object[E_MACHINE_AT..E_MACHINE_AT + 2].copy_from_slice(&e_machine.to_le_bytes());
    object
}

#[test]
fn two_machines_in_one_run_are_an_error_that_names_both_files_and_both_machines() {
    let one = compile("gcc", KERNEL, "int f(int x) { return x / 7 + 1; }");
    let two = compile("gcc", KERNEL, "int f(int x) { return x / 7 + 2; }");
    let arm = for_machine(&two, elf::EM_AARCH64.0);
    fn error(original: &[u8], patched: &[u8]) -> String {
        let diff: Result<ObjectDiff<'_>, _> =
            diff_objects("f.o", original, patched, &Options::default());
        let error = diff.expect_err("they are for two machines");
        assert!(error.is_foreign());
        error
            .naming("b/f.o".to_owned(), "a/f.o".to_owned())
            .to_string()
    }
    assert_eq!(
        error(&one, &arm),
        "b/f.o: is for AArch64 (183), and its original a/f.o for x86-64 (62); build both for one \
         machine"
    );
    assert_eq!(
        error(&arm, &one),
        "b/f.o: is for x86-64 (62), and its original a/f.o for AArch64 (183); build both for one \
         machine"
    );
    // Both for one that is not known.
    assert_eq!(
        error(&for_machine(&one, 9999), &for_machine(&two, 9999)),
        "b/f.o: is for machine 9999, not x86-64 (62) or AArch64 (183); build both trees for it"
    );
    assert_eq!(refused(&diff(&one, &two)), []);
}

#[test]
fn a_new_object_for_an_unknown_machine_is_named_with_it() {
    let object = compile("gcc", KERNEL, "int f(int x) { return x / 7 + 1; }");
    let other = for_machine(&object, elf::EM_RISCV.0);
    let error = take_whole("new.o", &other, &Options::default()).expect_err("it is not known");
    let text = error.to_string();
    assert!(text.starts_with("new.o: is for RISC-V (243)"), "{text}");
}
