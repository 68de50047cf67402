//! What the peers get wrong, and what would be worst: each case with its negative twin.

use crate::compiler::{
    FLAG_SETS, KERNEL, assemble, changed, compile, compilers, data, diff, diff_with, include_flag,
    new, readelf, reasons, refused, with_a_byte_appended,
};
use xsplice_diff::extract::Place;
use xsplice_diff::options::Options;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::{Reason, RefusalCode};

const BODY: &str = r#"
extern int ext(int); extern int printk(const char *, ...);
static int state; int shared[4] = {1, 2, 3, 4};
static __attribute__((noinline)) int helper(int x) { return ext(x) * 3; }
int caller(int x) { static int cnt; cnt++; return helper(x) + cnt; }
int f(int x) {
    INSERT
    state += x; printk("hello %d\n", x);
    switch (x) { case 1: return 3; case 2: return ext(9); case 3: return ext(11) + 1;
                 case 4: return ext(3); case 5: return ext(77); case 6: return ext(8); }
    return helper(x) + shared[x & 3];
}
int g(int x) { printk("bye %d\n", x); return state; }
int (*pointer)(int) = f;
"#;

fn body(insert: &str) -> String {
    BODY.replace("INSERT", insert)
}

#[test]
fn an_object_is_the_same_as_itself() {
    for compiler in compilers() {
        for flags in FLAG_SETS {
            let object = compile(compiler, flags, &body(""));
            let same = diff(&object, &object);
            assert_eq!(same.verdict(), Verdict::Unchanged);
            let appended = with_a_byte_appended(&object);
            let same = diff(&object, &appended);
            assert_eq!(
                same.verdict(),
                Verdict::Unchanged,
                "{compiler} {flags:?} {same:#?}"
            );
        }
    }
}

#[test]
fn one_changed_function_is_the_only_one_whatever_the_flags() {
    for compiler in compilers() {
        for flags in FLAG_SETS {
            let original = compile(compiler, flags, &body(""));
            let patched = compile(compiler, flags, &body("if (x == 70) return ext(5);"));
            let diff = diff(&original, &patched);
            assert_eq!(refused(&diff), [], "{compiler} {flags:?} {diff:#?}");
            assert_eq!(changed(&diff), ["f"], "{compiler} {flags:?} {diff:#?}");
            assert_eq!(new(&diff), [""; 0], "{compiler} {flags:?}");
            let extract = diff.extract.as_ref().expect("f is included");
            assert_eq!(extract.records.len(), 1);
            assert!(
                extract.records[0].address_taken,
                "pointer holds its address"
            );
        }
    }
}

#[test]
fn the_extract_is_the_same_every_time() {
    let original = compile("gcc", KERNEL, &body(""));
    let patched = compile(
        "gcc",
        KERNEL,
        &body("static int cnt; cnt += x; if (cnt > 9) return 1;"),
    );
    let write = || xsplice_diff::report::written::write_diff(&diff(&original, &patched));
    assert_eq!(write(), write());
}

#[test]
fn a_changed_initial_value_alone_is_refused() {
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, "int d = 1; int f(void) { return d + 1; }");
        let after = compile(compiler, KERNEL, "int d = 2; int f(void) { return d + 1; }");
        let diff = diff(&before, &after);
        assert_eq!(refused(&diff), [RefusalCode::ChangedData]);
        let accepted = diff_with(
            &before,
            &after,
            &Options {
                accept: vec!["data:d".to_owned()],
                ..Options::default()
            },
        );
        assert_eq!(accepted.verdict(), Verdict::Unchanged);
        assert_eq!(accepted.accepted.len(), 1);
        let other = diff_with(
            &before,
            &after,
            &Options {
                accept: vec!["data:e".to_owned()],
                ..Options::default()
            },
        );
        assert_eq!(refused(&other), [RefusalCode::ChangedData]);
    }
}

#[test]
fn a_grown_variable_is_refused_and_a_new_one_is_not() {
    let before = compile("gcc", KERNEL, "int b[2]; int f(int x) { return b[x] + 4; }");
    let grown = compile("gcc", KERNEL, "int b[3]; int f(int x) { return b[x] + 4; }");
    assert_eq!(refused(&diff(&before, &grown)), [RefusalCode::ChangedBss]);
    let added = compile(
        "gcc",
        KERNEL,
        "int b[2]; int c[9]; int f(int x) { return b[x] + c[x] + 4; }",
    );
    let diff = diff(&before, &added);
    assert_eq!(refused(&diff), []);
    assert_eq!(data(&diff), ["c"]);
    assert_eq!(changed(&diff), ["f"]);
}

const COLD: &str = r#"
extern int ext(int) __attribute__((cold)); extern int other(int);
int f(int x) {
    int y = other(x HOT);
    if (__builtin_expect(y < 0, 0)) { ext(COLDNESS); other(3); ext(y + 2); }
    return other(y);
}
"#;

fn cold(hot: &str, coldness: &str) -> Vec<u8> {
    let source = COLD.replace("HOT", hot).replace("COLDNESS", coldness);
    let object = compile("gcc", KERNEL, &source);
    assert!(readelf("-sW", &object).contains("f.cold"), "gcc splits f");
    object
}

#[test]
fn a_change_in_the_cold_part_alone_replaces_the_function() {
    let (before, after) = (cold("", "10"), cold("", "11"));
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), []);
    assert_eq!(changed(&diff), ["f"]);
    assert!(
        reasons(&diff, "f").iter().any(
            |reason| matches!(reason, Reason::ColdPartDiffers { name, .. } if name == "f.cold")
        )
    );
    let extract = diff.extract.as_ref().expect("f is included");
    assert_eq!(extract.records.len(), 1, "the cold part needs no record");
    assert!(
        extract
            .symbols
            .iter()
            .any(|symbol| symbol.name == "f.cold" && matches!(symbol.place, Place::Section { .. }))
    );
}

#[test]
fn hot_and_cold_changed_together_are_one_function() {
    let (before, after) = (cold("", "10"), cold("+ 5", "11"));
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), []);
    assert_eq!(changed(&diff), ["f"]);
    let (before, same) = (cold("+ 5", "11"), cold("+ 5", "11"));
    assert_eq!(
        crate::compiler::diff(&before, &with_a_byte_appended(&same)).verdict(),
        Verdict::Unchanged
    );
}

#[test]
fn boot_code_that_changed_beside_a_function_is_refused() {
    let source = |boot: &str, run: &str| {
        format!(
            "extern int ext(int); \
             __attribute__((section(\".init.text\"))) void setup(void) {{ ext({boot}); }} \
             int f(int x) {{ return ext(x) + {run}; }}"
        )
    };
    let before = compile("gcc", KERNEL, &source("1", "1"));
    let both = compile("gcc", KERNEL, &source("2", "2"));
    let diff = diff(&before, &both);
    assert_eq!(refused(&diff), [RefusalCode::ChangedInit]);
    assert_eq!(changed(&diff), ["f"]);
    let only_f = compile("gcc", KERNEL, &source("1", "2"));
    assert_eq!(refused(&crate::compiler::diff(&before, &only_f)), []);
}

#[test]
fn a_string_counts_by_what_it_says_however_it_is_referred_to() {
    let source = |text: &str| {
        format!(
            "extern void log_it(const char *); \
             void f(void) {{ log_it(\"{text}\"); }} void g(void) {{ log_it(\"kept\"); }}"
        )
    };
    for compiler in compilers() {
        for flags in FLAG_SETS {
            let before = compile(compiler, flags, &source("a string that is long"));
            let after = compile(compiler, flags, &source("A string that is long"));
            let diff = diff(&before, &after);
            assert_eq!(refused(&diff), [], "{compiler} {flags:?}");
            assert_eq!(changed(&diff), ["f"], "{compiler} {flags:?} {diff:#?}");
            assert!(
                reasons(&diff, "f").iter().any(|reason| matches!(
                    reason,
                    Reason::StringDiffers { old, new, .. }
                        if old == "a string that is long" && new == "A string that is long"
                )),
                "{compiler} {flags:?} {diff:#?}"
            );
        }
    }
}

#[test]
fn a_static_callee_changes_without_its_callers() {
    let source = |n: &str| {
        format!(
            "extern int ext(int); \
             static __attribute__((noinline)) int callee(int x) {{ return ext(x + {n}) * 2; }} \
             int caller(int x) {{ return callee(x) + callee(x + 1); }}"
        )
    };
    for compiler in compilers() {
        for flags in FLAG_SETS {
            let before = compile(compiler, flags, &source("1"));
            let after = compile(compiler, flags, &source("2"));
            let diff = diff(&before, &after);
            assert_eq!(changed(&diff), ["callee"], "{compiler} {flags:?} {diff:#?}");
            assert_eq!(refused(&diff), []);
        }
    }
}

fn tables(private: &str, shared: &str) -> String {
    format!(
        "extern int ext(int); \
         static const int own[5] = {{1, 2, 3, {private}, 9}}; \
         static const int both[5] = {{5, 6, 7, {shared}, 9}}; \
         int f(int x) {{ return ext(own[x & 3] + both[x & 1]); }} \
         int g(int x) {{ return ext(both[x & 3]); }} \
         int h(int x) {{ return ext(x); }}"
    )
}

#[test]
fn a_private_constant_table_is_part_of_its_function_and_a_shared_one_is_not() {
    for compiler in compilers() {
        let before = compile(compiler, KERNEL, &tables("4", "8"));
        let private = compile(compiler, KERNEL, &tables("40", "8"));
        let one = diff(&before, &private);
        assert_eq!(refused(&one), [], "{compiler} {one:#?}");
        assert_eq!(changed(&one), ["f"], "{compiler}");
        assert!(
            reasons(&one, "f").iter().any(
                |reason| matches!(reason, Reason::ConstantDiffers { at: 12, name, .. } if name == "own")
            ),
            "{one:#?}"
        );
        let shared = compile(compiler, KERNEL, &tables("4", "80"));
        assert_eq!(
            refused(&diff(&before, &shared)),
            [RefusalCode::ChangedRodata],
            "{compiler}"
        );
    }
}

#[test]
fn more_sections_than_sixteen_bits_count_are_compared() {
    const FUNCTIONS: usize = 66_000;
    let source = |odd: Option<usize>| {
        let mut text = String::new();
        for i in 0..FUNCTIONS {
            let value = if Some(i) == odd { 99 } else { 1 };
            text.push_str(&format!(
                ".section .text.f{i},\"ax\",@progbits\n.globl f{i}\n.type f{i}, @function\n\
                 f{i}: movl ${value}, %eax\nnop\nret\n.size f{i}, .-f{i}\n"
            ));
        }
        text
    };
    let before = assemble(&source(None));
    let after = assemble(&source(Some(65_900)));
    assert!(
        readelf("-hW", &before).contains("(66"),
        "the header counts past 16 bits"
    );
    let diff = diff(&before, &after);
    assert_eq!(changed(&diff), ["f65900"]);
}

#[test]
fn relocations_belong_to_the_section_that_their_header_names() {
    // The name of a relocation section is for people: nothing may be found by it.
    let source = |callee: &str| {
        format!(
            "int one(int); int two(int);\n\
             int f(int x) {{ return {callee}(x) + 1; }}\n"
        )
    };
    let renamed = |source: &str| {
        let mut object = compile("gcc", KERNEL, source);
        let name = b".rela.text.f";
        let at = object
            .windows(name.len())
            .position(|window| window == name)
            .expect("the section has this name");
        object[at..at + name.len()].copy_from_slice(b".back.text.f");
        object
    };
    let before = renamed(&source("one"));
    assert!(!readelf("-SW", &before).contains(".rela.text.f"));
    let after = renamed(&source("two"));
    assert_eq!(changed(&diff(&before, &after)), ["f"]);
    let same = with_a_byte_appended(&before);
    assert!(changed(&diff(&before, &same)).is_empty());
}

#[test]
fn assembler_functions_with_sizes_are_replaced_and_those_without_are_refused() {
    let source = |size: &str, n: &str| {
        format!(
            ".text\n.globl a\n.type a, @function\na: movl ${n}, %eax\nnopl (%rax)\nret\n{size}\n\
             .globl b\n.type b, @function\nb: movl $7, %eax\ncall a\nret\n.size b, .-b\n"
        )
    };
    let with = ".size a, .-a";
    let diff_of = |size: &str| {
        let before = assemble(&source(size, "1"));
        let after = assemble(&source(size, "2"));
        let diff = diff(&before, &after);
        (changed(&diff).join(","), refused(&diff))
    };
    assert_eq!(diff_of(with), ("a".to_owned(), vec![]));
    assert_eq!(
        diff_of(""),
        (String::new(), vec![RefusalCode::ChangedAssembly])
    );
}

#[test]
fn entry_labels_and_falling_through_are_refused() {
    let entry = |n: &str| {
        assemble(&format!(
            ".text\n.globl a\n.type a, @function\na: movl ${n}, %eax\n.globl inner\ninner:\n\
             nopl (%rax)\nret\n.size a, .-a\n"
        ))
    };
    let (before, after) = (entry("1"), entry("2"));
    assert_eq!(
        refused(&diff(&before, &after)),
        [RefusalCode::InteriorEntry]
    );
    let through = |n: &str| {
        assemble(&format!(
            ".file \"case.S\"\n.text\n.globl a\n.type a, @function\na: movl ${n}, %eax\n\
             movl $5, %ecx\n.size a, .-a\n.globl b\n.type b, @function\nb: ret\n.size b, .-b\n"
        ))
    };
    let (before, after) = (through("1"), through("2"));
    assert_eq!(refused(&diff(&before, &after)), [RefusalCode::FallsThrough]);
}

#[test]
fn a_function_smaller_than_the_jump_is_refused() {
    let source =
        |n: &str| format!("int f(void) {{ return {n}; }} int g(int x) {{ return x * {n}; }}");
    let flags = [KERNEL, &["-fcf-protection=none"]].concat();
    let before =
        assemble(".text\n.globl f\n.type f, @function\nf: xorl %eax, %eax\nret\n.size f, .-f\n");
    let after =
        assemble(".text\n.globl f\n.type f, @function\nf: xorl %ecx, %ecx\nret\n.size f, .-f\n");
    assert_eq!(
        refused(&diff(&before, &after)),
        [RefusalCode::FunctionTooSmall]
    );
    let before = compile("gcc", &flags, &source("30"));
    let after = compile("gcc", &flags, &source("31"));
    let diff = diff(&before, &after);
    assert_eq!(changed(&diff), ["f", "g"]);
    assert!(!refused(&diff).is_empty() || diff.extract.is_some());
}

#[test]
fn an_entry_of_a_linker_set_is_refused_and_the_same_elsewhere_is_new_data() {
    let source = |section: &str, more: &str| {
        format!(
            "typedef int (*call)(void); int f(void) {{ return 0x1234; }} \
             {more} __attribute__((used, section(\"{section}\"))) call one = f;"
        )
    };
    let new_entry =
        |section: &str| format!("__attribute__((used, section(\"{section}\"))) call two = f;");
    for (section, codes) in [
        (".initcall1.init", vec![RefusalCode::ChangedLinkerSet]),
        ("my_calls", vec![RefusalCode::ChangedLinkerSet]),
        // The name of a section for this variable alone; any other may be that of a table.
        (".data.two", vec![]),
        (".data.calls", vec![RefusalCode::ChangedLinkerSet]),
    ] {
        let before = compile("gcc", KERNEL, &source(section, ""));
        let after = compile("gcc", KERNEL, &source(section, &new_entry(section)));
        assert_eq!(refused(&diff(&before, &after)), codes, "{section}");
    }
}

#[test]
fn acknowledgements_and_hooks_in_the_source_are_found() {
    let include = include_flag();
    let flags = [KERNEL, &[include.as_str()]].concat();
    let before = compile(
        "gcc",
        &flags,
        "int limit = 16; int f(int x) { return x * limit; }",
    );
    let after = compile(
        "gcc",
        &flags,
        "#include \"xsplice.h\"\nint limit = 4; int f(int x) { return x * limit; }\n\
         static void fix(void) { limit = 4; }\nXSPLICE_LOAD_HOOK(fix);\nXSPLICE_ACCEPT(data, limit);\n",
    );
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), []);
    assert_eq!(diff.accepted[0].what, "data:limit");
    assert_eq!(new(&diff), ["fix"]);
    assert_eq!(
        reasons(&diff, "fix"),
        [Reason::Hook {
            section: ".xsplice.hooks.load".to_owned()
        }]
    );
    let extract = diff.extract.as_ref().expect("the hook is included");
    assert!(
        extract
            .sections
            .iter()
            .any(|section| section.name == ".xsplice.hooks.load")
    );
    assert_eq!(extract.records, []);
    let foreign = Options {
        abi: &xsplice_abi::profile::LIVEPATCH,
        ..Options::default()
    };
    let refusals = refused(&diff_with(&before, &after, &foreign));
    assert!(
        refusals.contains(&RefusalCode::MalformedHook),
        "{refusals:?}"
    );
}

#[test]
fn calls_of_a_replaced_function_go_to_the_base_and_its_own_recursion_stays() {
    let source = |n: &str| {
        format!(
            "extern int ext(int (*)(int)); \
             int f(int x) {{ if (x > {n}) return f(x - 3) * 2 + ext(f); return x; }} \
             int g(int x) {{ return f(x) + f(x + {n}); }}"
        )
    };
    let before = compile(
        "gcc",
        &["-O1", "-fno-pic", "-mcmodel=kernel"],
        &source("10"),
    );
    let after = compile(
        "gcc",
        &["-O1", "-fno-pic", "-mcmodel=kernel"],
        &source("11"),
    );
    let diff = diff(&before, &after);
    assert_eq!(changed(&diff), ["f", "g"]);
    let extract = diff.extract.as_ref().expect("f and g are included");
    let places: Vec<Place> = extract
        .symbols
        .iter()
        .filter(|symbol| symbol.name == "f")
        .map(|symbol| symbol.place)
        .collect();
    assert_eq!(places.len(), 2, "f itself and the base's f: {places:?}");
    assert!(places.contains(&Place::Base));
}

#[test]
fn bytes_that_are_no_object_are_named_not_compared() {
    let object = compile("gcc", KERNEL, "int f(void) { return 1; }");
    for (bytes, expected) in [
        (&b"text"[..], "is not an ELF file"),
        (&object[..200], "damaged"),
    ] {
        let error = xsplice_diff::diff_objects("case.o", &object, bytes, &Options::default())
            .expect_err("that is no object");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.side, xsplice_diff::read::error::Side::Patched);
    }
}

/// Two functions with an exception-table entry each; the code that their entries lead to stands in
/// one section, as Xen's and Linux's inline assembly puts it there.
fn with_fixups(inserted: &str) -> Vec<u8> {
    let function = |name: &str, inserted: &str| {
        format!(
            ".section .text.{name},\"ax\",@progbits\n.globl {name}\n.type {name}, @function\n\
             {name}:\nnopl 0(%rax)\n{inserted}\n1: movl (%rdi), %eax\n2: ret\n\
             .size {name}, .-{name}\n\
             .section .fixup,\"ax\",@progbits\n3: movl $-14, %eax\njmp 2b\n\
             .section .ex_table,\"a\",@progbits\n.long 1b - .\n.long 3b - .\n"
        )
    };
    assemble(
        &[
            function("a", inserted),
            function("b", ""),
            function("c", inserted),
        ]
        .concat(),
    )
}

#[test]
fn functions_with_out_of_line_code_in_one_section_are_replaced_one_by_one() {
    let (before, after) = (with_fixups(""), with_fixups("xorl %ecx, %ecx"));
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), [], "{diff:#?}");
    assert_eq!(changed(&diff), ["a", "c"]);
    let extract = diff.extract.as_ref().expect("two functions are included");
    let bytes = |name: &str| -> u64 {
        let sections = extract.sections.iter();
        sections
            .filter(|section| section.name == name)
            .map(|section| section.size)
            .sum()
    };
    // `movl $imm32, %eax` and a jump of 32 bits each; the one of `b` stays.
    assert_eq!(bytes(".fixup"), 2 * (5 + 5), "{extract:#?}");
    assert_eq!(bytes(".ex_table"), 2 * 8);
}

#[test]
fn out_of_line_code_that_changed_replaces_its_function_alone() {
    let before = with_fixups("");
    let mut after = before.clone();
    let place = before
        .windows(5)
        .position(|bytes| bytes == [0xb8, 0xf2, 0xff, 0xff, 0xff])
        .expect("the fixup of a loads -14");
    after[place + 1] = 0xf3;
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), [], "{diff:#?}");
    assert_eq!(changed(&diff), ["a"]);
}
