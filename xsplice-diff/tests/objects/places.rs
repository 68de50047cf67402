//! Where things stand: sections that something may walk, alignments, contents without a name.

use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::{Reason, RefusalCode};

use crate::compiler::{KERNEL, assemble, changed, compile, diff, reasons, refused};

/// Compares what two sources in assembler become, in both directions.
fn both_ways(one: &str, other: &str) -> [Vec<RefusalCode>; 2] {
    let (one, other) = (assemble(one), assemble(other));
    [refused(&diff(&one, &other)), refused(&diff(&other, &one))]
}

/// A section header, what it declares, and a variable or function in it.
fn in_section(section: &str, name: &str, kind: &str) -> String {
    let code = match kind {
        "function" => "mov $12345, %eax\nret\nnop",
        _ => ".quad 5",
    };
    let (bits, align) = match section {
        ".bss" => ("nobits", 8),
        _ => ("progbits", 8),
    };
    let flags = match (kind, section) {
        ("function", _) => "ax",
        (_, ".tdata") => "awT",
        _ => "aw",
    };
    format!(
        ".section {section}, \"{flags}\", @{bits}\n.balign {align}\n.globl {name}\n\
         .type {name}, @{kind}\n{name}: {code}\n.size {name}, . - {name}\n"
    )
}

#[test]
fn what_moves_into_a_section_that_may_be_walked_or_out_of_it_is_refused() {
    let set = RefusalCode::ChangedLinkerSet;
    for (kind, usual, unusual) in [
        ("function", ".text", "walked.text"),
        ("function", ".text.it", ".copied"),
        ("object", ".data", ".data.walked"),
        ("object", ".data.it", ".table"),
    ] {
        let there = in_section(usual, "it", kind);
        let moved = in_section(unusual, "it", kind);
        let found = both_ways(&there, &moved);
        assert_eq!(found, [vec![set], vec![set]], "{kind} {usual} {unusual}");
    }
    // From one of the usual places to another: nobody minds.
    for (kind, one, other) in [
        ("function", ".text", ".text.unlikely.it"),
        ("object", ".data", ".data.it"),
        ("object", ".data.it", ".data.read_mostly"),
    ] {
        let found = both_ways(&in_section(one, "it", kind), &in_section(other, "it", kind));
        assert_eq!(found, [vec![], vec![]], "{kind} {one} {other}");
    }
    // Into memory of the boot: what runs stays; the other way its memory was given back.
    let (one, other) = (
        assemble(&in_section(".text", "it", "function")),
        assemble(&in_section(".init.text", "it", "function")),
    );
    assert_eq!(refused(&diff(&one, &other)), []);
}

#[test]
fn what_kind_of_memory_a_variable_is_in_stays() {
    let plain = in_section(".data", "it", "object");
    for (section, code) in [
        (".data.percpu", RefusalCode::ChangedPerCpu),
        (".tdata", RefusalCode::ThreadLocal),
        ("walked_set", RefusalCode::ChangedLinkerSet),
    ] {
        let found = both_ways(&plain, &in_section(section, "it", "object"));
        for codes in found {
            assert!(codes.contains(&code), "{section}: {codes:?}");
        }
    }
}

/// Two variables in one section: the first stands on this alignment, and the second behind it.
fn aligned(first: u32, between: &str, second: u32) -> String {
    let variable = |name: &str, align: u32| {
        format!(
            ".balign {align}\n.globl {name}\n.type {name}, @object\n{name}: .quad 1\n\
             .size {name}, 8\n"
        )
    };
    format!(
        ".data\n{}{between}{}",
        variable("first", first),
        variable("second", second)
    )
}

#[test]
fn a_section_of_several_variables_that_is_aligned_more_is_so_for_one_of_them() {
    let data = RefusalCode::ChangedData;
    let codes = |before: &str, after: &str| {
        let (before, after) = (assemble(before), assemble(after));
        let found = diff(&before, &after);
        let places = found.refusals.iter();
        let named = places.filter_map(|one| one.place.symbol.clone());
        (refused(&found), named.collect::<Vec<_>>())
    };
    let before = aligned(8, "", 8);
    // The second came to stand on a multiple; the first did so before.
    let found = codes(&before, &aligned(8, "", 64));
    assert_eq!(found, (vec![data], vec!["second".to_owned()]));
    let found = codes(&before, &aligned(64, "", 8));
    assert_eq!(found, (vec![data], vec!["first".to_owned()]));
    // A new variable there explains it, one that stands elsewhere does not.
    let new = |align: u32| {
        format!(
            ".balign {align}\n.type new, @object\nnew: .quad 1\n.size new, 8\n.balign 8\n\
             .quad 0\n"
        )
    };
    let explained = aligned(8, &new(64), 8).replace(".quad 0\n", "");
    assert_eq!(codes(&before, &explained).0, []);
    let elsewhere = aligned(64, &new(8), 8).replace(".quad 0\n", "");
    assert_eq!(codes(&before, &elsewhere).0, [data]);
    // Less is no matter.
    assert_eq!(codes(&aligned(64, "", 8), &before).0, []);
}

/// Functions in one section that is aligned to so many bytes, with what stands before each.
fn functions(section: &str, align: u32, all: &[(&str, &str)]) -> String {
    let mut text = format!(".section {section}, \"ax\", @progbits\n.balign {align}\n");
    for (name, code) in all {
        text += &format!(
            ".balign 16\n.globl {name}\n.type {name}, @function\n{name}: {code}\nret\n\
             .size {name}, .-{name}\n"
        );
    }
    text
}

const PLAIN: [(&str, &str); 2] = [
    ("first", "mov $12345, %eax; add $777, %eax"),
    ("second", "mov $54321, %eax; add $999, %eax"),
];

#[test]
fn a_section_that_is_aligned_more_for_no_other_reason_moves_those_on_its_alignment() {
    let before = assemble(&functions(".text", 16, &PLAIN));
    let after = assemble(&functions(".text", 64, &PLAIN));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["first"], "{found:#?}");
    let kinds = reasons(&found, "first");
    assert!(
        matches!(kinds, [Reason::PlacementDiffers { .. }]),
        "{kinds:?}"
    );
    assert_eq!(diff(&after, &before).verdict(), Verdict::Unchanged);
    // As compilers do it anyway.
    let less = assemble(&functions(".text", 8, &PLAIN).replace(".balign 16", ".balign 8"));
    assert_eq!(diff(&less, &before).verdict(), Verdict::Unchanged);

    // One that changes, or is new, may be what asks for it.
    let mut other = PLAIN;
    other[1].1 = "mov $54321, %eax; add $998, %eax";
    let after = assemble(&functions(".text", 64, &other));
    assert_eq!(changed(&diff(&before, &after)), ["second"]);
    let more = [PLAIN[0], PLAIN[1], ("third", "mov $11111, %eax")];
    let after = assemble(&functions(".text", 64, &more));
    assert_eq!(changed(&diff(&before, &after)), Vec::<&str>::new());
    // One that stands where only that alignment brings it is the one.
    let asking = functions(".text", 64, &PLAIN).replacen(
        ".balign 16\n.globl second",
        ".balign 64\n.globl second",
        1,
    );
    let after = assemble(&asking);
    assert_eq!(changed(&diff(&before, &after)), ["second"]);
}

#[test]
fn code_of_the_boot_and_code_without_a_size_that_must_stand_elsewhere_is_refused() {
    let boot = |align| functions(".init.text", align, &PLAIN);
    let (before, after) = (assemble(&boot(16)), assemble(&boot(64)));
    assert_eq!(refused(&diff(&before, &after)), [RefusalCode::ChangedInit]);
    let unsized_code = |section: &str, align| {
        functions(section, align, &PLAIN)
            .lines()
            .filter(|line| !line.starts_with(".size") && !line.starts_with(".type"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    for (section, code) in [
        (".text", RefusalCode::ChangedAssembly),
        (".init.text", RefusalCode::ChangedInit),
    ] {
        let before = assemble(&unsized_code(section, 16));
        let own = unsized_code(section, 16).replacen(
            ".balign 16\n.globl second",
            ".balign 64\n.globl second",
            1,
        );
        for other in [
            unsized_code(section, 64),
            unsized_code(section, 16).replace("12345", "12346"),
            own,
        ] {
            let after = assemble(&other);
            let found = refused(&diff(&before, &after));
            assert!(!found.is_empty(), "{section}: {other}");
            assert!(found.iter().all(|one| *one == code), "{section}: {found:?}");
        }
    }
}

/// Code without a size that has an entry in a table.
fn guarded(fixup: u32) -> Vec<u8> {
    assemble(&format!(
        ".text\n.globl entry\nentry: mov (%rdi), %eax\n1: mov (%rax), %eax\n2: ret\n\
         .section .fixup, \"ax\"\n3: mov ${fixup}, %eax\njmp 2b\n\
         .section .ex_table, \"a\"\n.long 1b-., 3b-.\n"
    ))
}

#[test]
fn an_entry_of_code_without_a_size_is_the_codes() {
    let (before, after) = (guarded(14), guarded(22));
    let found = diff(&before, &after);
    assert_eq!(
        refused(&found),
        [RefusalCode::ChangedAssembly],
        "{found:#?}"
    );
}

/// A variable, bytes without a name, and a variable behind them.
fn nameless(section: &str, flags: &str, contents: &str) -> String {
    let variable = |name: &str| {
        format!(".globl {name}\n.type {name}, @object\n{name}: .quad 1\n.size {name}, 8\n")
    };
    format!(
        ".section {section}, \"{flags}\", @progbits\n.balign 8\n{}{contents}\n{}",
        variable("before"),
        variable("behind")
    )
}

#[test]
fn contents_without_a_name_that_come_or_go_are_refused() {
    for (section, flags) in [(".data", "aw"), (".rodata", "a"), (".text", "ax")] {
        let without = nameless(section, flags, "");
        let with = nameless(section, flags, ".quad 7, 8");
        for codes in both_ways(&without, &with) {
            assert_eq!(codes, [RefusalCode::ChangedSection], "{section}");
        }
    }
}

/// A note with a reference.
fn note(field: &str) -> String {
    format!(
        ".text\n.globl start\nstart: ret\nnop\nother: ret\n.globl third\nthird: ret\n\
         .section .note.Kernel, \"a\", @note\n.long 4, 8, 1\n.asciz \"Krn\"\n{field}\n"
    )
}

#[test]
fn what_a_note_about_the_image_leads_to_is_a_part_of_it() {
    let before = note(".quad start");
    for field in [
        ".quad third",
        ".quad start+1",
        ".quad other",
        ".quad 0\n.quad start",
    ] {
        let found = both_ways(&before, &note(field));
        let section = vec![RefusalCode::ChangedSection];
        assert_eq!(found, [section.clone(), section], "{field}");
    }
    assert_eq!(both_ways(&before, &before), [vec![], vec![]]);
}

/// A name that was a variable and is a function now, or the other way round.
#[test]
fn a_name_that_others_share_stays_a_variable_or_a_function() {
    let (datum, code) = (
        in_section(".data", "it", "object"),
        in_section(".text", "it", "function"),
    );
    for codes in both_ways(&datum, &code) {
        assert_eq!(codes, [RefusalCode::SymbolKindChanged]);
    }
    let local = |text: &str| text.replace(".globl it\n", "");
    let kinds = RefusalCode::SymbolKindChanged;
    for codes in both_ways(&local(&datum), &local(&code)) {
        assert!(!codes.contains(&kinds), "nobody else means it: {codes:?}");
    }
    for codes in both_ways(&datum, &local(&code)) {
        assert!(!codes.contains(&kinds), "{codes:?}");
    }
}

#[test]
fn where_a_compiler_says_that_nobody_comes_code_may_end() {
    let source = |number: u32| {
        format!(
            "void stop(int); void f(int x) {{ stop(x * {number}); asm volatile (\"cld\"); \
             __builtin_unreachable(); }}"
        )
    };
    let described = [KERNEL, &["-g"]].concat();
    for (flags, wanted) in [
        (described.as_slice(), &[][..]),
        (KERNEL, &[RefusalCode::FallsThrough]),
    ] {
        let before = compile("gcc", flags, &source(77));
        let after = compile("gcc", flags, &source(78));
        let found = diff(&before, &after);
        assert_eq!(
            (changed(&found), refused(&found)),
            (vec!["f"], wanted.to_vec())
        );
    }
    // An assembler that describes lines knows nothing of the kind.
    let code = |number: u32| {
        format!(
            ".section .text.f, \"ax\", @progbits\n.globl f\n.type f, @function\n\
             f: cmp ${number}, %edi\nja 1f\nret\n1: mov %edi, %eax\nadd ${number}, %eax\n\
             .size f, .-f\n"
        )
    };
    let (before, after) = (assemble(&code(77)), assemble(&code(78)));
    let found = diff(&before, &after);
    assert_eq!(refused(&found), [RefusalCode::FallsThrough]);
}

#[test]
fn a_value_that_changes_is_refused_by_what_its_section_is_for() {
    for (section, code) in [
        (".data", RefusalCode::ChangedData),
        (".data.percpu", RefusalCode::ChangedPerCpu),
        (".tdata", RefusalCode::ThreadLocal),
        (".init.data", RefusalCode::ChangedInit),
        ("walked_set", RefusalCode::ChangedLinkerSet),
        (".initcall1.init", RefusalCode::ChangedLinkerSet),
    ] {
        let before = in_section(section, "it", "object");
        let after = before.replace(".quad 5", ".quad 6");
        assert_eq!(
            both_ways(&before, &after),
            [vec![code], vec![code]],
            "{section}"
        );
    }
}

/// A constant that one function reads.
fn constant(section: &str, symbol: &str, value: u32) -> Vec<u8> {
    assemble(&format!(
        ".section .text.f, \"ax\"\n.globl f\n.type f, @function\nf: mov table(%rip), %eax\n\
         ret\n.size f, .-f\n.section {section}\n.balign 8\n{symbol}\ntable: .quad {value}, 2\n\
         .size table, 16\n"
    ))
}

#[test]
fn only_a_constant_that_nobody_else_can_mean_or_find_is_a_functions_own() {
    let own = ".type table, @object";
    for (section, symbol, is_own) in [
        (".rodata, \"a\"", own, true),
        (".rodata.table, \"a\"", own, true),
        // By its name, by a walk, or since it may be written.
        (
            ".rodata, \"a\"",
            ".globl table\n.type table, @object",
            false,
        ),
        (".rodata.walked, \"a\"", own, false),
        (".table, \"a\"", own, false),
        (".data, \"aw\"", own, false),
    ] {
        let (before, after) = (constant(section, symbol, 1), constant(section, symbol, 7));
        let found = diff(&before, &after);
        let wanted: &[&str] = if is_own { &["f"] } else { &[] };
        assert_eq!(changed(&found), wanted, "{section} {symbol}: {found:#?}");
        assert_eq!(refused(&found).is_empty(), is_own, "{section} {symbol}");
    }
}

/// A function with what compilers put in front of it for those that patch entries.
fn prefixed(name: &str, prefix: &str) -> Vec<u8> {
    assemble(&format!(
        ".section .text.f, \"ax\"\n.type {name}, @function\n{name}: {prefix}\n\
         .size {name}, .-{name}\n.globl f\n.type f, @function\nf: mov $12345, %eax\nret\n\
         .size f, .-f\n"
    ))
}

#[test]
fn space_in_front_of_an_entry_is_no_code_and_code_there_is() {
    let (pfx, other) = ("__pfx_f", "entry_f");
    let found = |name: &str, before: &str, after: &str| {
        let (before, after) = (prefixed(name, before), prefixed(name, after));
        diff(&before, &after).verdict() == Verdict::Unchanged
    };
    assert!(found(pfx, ".nops 16, 8", ".nops 16, 4"));
    assert!(!found(other, ".nops 16, 8", "mov $1, %eax; .nops 11, 8"));
    for (before, after) in [
        (".nops 11, 8; mov $1, %eax", ".nops 11, 8; mov $2, %eax"),
        (".nops 16, 8", ".nops 11, 8; mov $2, %eax"),
        (".nops 11, 8; mov $1, %eax", ".nops 16, 8"),
    ] {
        assert!(!found(pfx, before, after), "{before} {after}");
    }
}

#[test]
fn a_function_that_compilers_moved_is_aligned_by_what_they_think_of_it() {
    let placed = |section: &str, before: &str| {
        assemble(&format!(
            ".section {section}, \"ax\"\n{before}\n.globl f\n.type f, @function\n\
             f: mov $12345, %eax\nret\n.size f, .-f\n"
        ))
    };
    let cold = placed(".text.unlikely.f", "");
    for (section, before, wanted) in [
        (".text.f", ".balign 16", &[][..]),
        (".text.f", ".balign 8", &[]),
        (".text.f", ".balign 32", &["f"]),
        (".text.f", ".balign 16; .nops 8, 8", &["f"]),
        // It did not move: what it asks for, its author does.
        (".text.unlikely.f", ".balign 16", &["f"]),
    ] {
        let after = placed(section, before);
        assert_eq!(changed(&diff(&cold, &after)), wanted, "{section} {before}");
    }
}
