//! What a reference points at, where nothing but the target tells that something changed.

use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::{Reason, RefusalCode};

use crate::compiler::{assemble, changed, data, diff, reasons, refused};

/// A function of these instructions in a section of its own.
fn function(name: &str, code: &str) -> String {
    format!(
        ".section .text.{name}, \"ax\", @progbits\n.globl {name}\n.type {name}, @function\n\
         {name}:\n{code}\nret\n.size {name}, .-{name}\n"
    )
}

/// A function that takes an address, beside what else the object holds.
fn takes(target: &str, rest: &str) -> Vec<u8> {
    let f = function("f", &format!("lea {target}(%rip), %rax\nnop; nop"));
    assemble(&format!("{f}{rest}"))
}

/// A variable of eight bytes with a symbol of this scope.
fn variable(scope: &str, name: &str) -> String {
    format!(
        ".section .data.{name}, \"aw\", @progbits\n{scope} {name}\n.type {name}, @object\n\
         {name}: .asciz \"content\"\n.size {name}, 8\n"
    )
}

#[test]
fn a_symbol_of_another_object_may_come_to_be_defined_here_and_go_again() {
    let outside = takes("state", "");
    let here = takes("state", &variable(".globl", "state"));
    for (before, after) in [(&outside, &here), (&here, &outside)] {
        let found = diff(before, after);
        assert_eq!(changed(&found), Vec::<&str>::new(), "{found:#?}");
    }
    // Another place in it, another name, or one that other objects do not mean.
    for other in [
        takes("state+4", &variable(".globl", "state")),
        takes("stale", &variable(".globl", "stale")),
        takes("state", &variable(".local", "state")),
    ] {
        for (before, after) in [(&outside, &other), (&other, &outside)] {
            let found = diff(before, after);
            assert_eq!(changed(&found), ["f"], "{found:#?}");
            let kinds = reasons(&found, "f");
            assert!(matches!(kinds, [Reason::TargetDiffers { .. }]), "{kinds:?}");
        }
    }
}

#[test]
fn content_that_nobody_named_is_no_variable_with_the_same_bytes() {
    let literal = "\n.section .rodata.str1.1, \"aMS\", @progbits, 1\n.LC0: .asciz \"content\"\n";
    let anonymous = takes(".LC0", literal);
    let named = takes("state", &variable(".globl", "state"));
    for (before, after) in [(&anonymous, &named), (&named, &anonymous)] {
        let found = diff(before, after);
        assert_eq!(changed(&found), ["f"], "{found:#?}");
    }
}

#[test]
fn another_place_in_the_same_constant_is_another_target() {
    let constant = "\n.section .rodata.cst16, \"aM\", @progbits, 16\n.LC0: .quad 5, 5\n";
    let (first, second) = (takes(".LC0", constant), takes(".LC0+8", constant));
    for (before, after) in [(&first, &second), (&second, &first)] {
        let found = diff(before, after);
        assert_eq!(changed(&found), ["f"], "{found:#?}");
    }
    assert_eq!(diff(&first, &first).verdict(), Verdict::Unchanged);
}

/// `second` stands behind `helper` and a function that grows, so that the assembler fills the field
/// of its call with another distance; what it does else is a number.
fn behind_a_neighbour(grown: &str, number: u32) -> Vec<u8> {
    assemble(&format!(
        ".text\n.type helper, @function\nhelper: mov $1, %ecx\nret\n.size helper, .-helper\n\
         .globl grown\n.type grown, @function\ngrown: {grown}\nret\n.size grown, .-grown\n\
         .globl second\n.type second, @function\nsecond: nop; nop; call helper\nnop\n\
         mov ${number}, %eax\ncall helper\nadd ${number}, %eax\nret\n.size second, .-second\n"
    ))
}

#[test]
fn bytes_behind_a_field_that_the_assembler_filled_are_compared() {
    let grown = "mov $5, %eax; add $12345, %eax";
    let longer = "mov $6, %eax; add $12345, %eax; add $54321, %eax";
    let before = behind_a_neighbour(grown, 7);
    let moved = behind_a_neighbour(longer, 7);
    let found = diff(&before, &moved);
    assert_eq!(changed(&found), ["grown"], "{found:#?}");
    for after in [behind_a_neighbour(longer, 8), behind_a_neighbour(grown, 8)] {
        let found = diff(&before, &after);
        assert!(changed(&found).contains(&"second"), "{found:#?}");
        let kinds = reasons(&found, "second");
        assert!(
            matches!(kinds, [Reason::BytesDiffer { offset: 9 }]),
            "behind nop, nop, call, nop, and the code of mov: {kinds:?}"
        );
    }
}

/// Two tables that lead to each other and to a variable; `f` uses one, `g` the other.
fn circle(first: u32, second: u32) -> Vec<u8> {
    let table = |name: &str, other: &str, value: u32| {
        format!(
            ".section .data.rel.ro.local, \"aw\", @progbits\n.align 8\n\
             .type {name}.1, @object\n{name}.1: .quad {other}.2, {value}\n.size {name}.1, 16\n\
             .type {name}.2, @object\n{name}.2: .quad {other}.1, 1\n.size {name}.2, 16\n"
        )
    };
    let (f, g) = (
        function("f", "lea a.1(%rip), %rax"),
        function("g", "lea b.1(%rip), %rax"),
    );
    let h = function("h", "lea a.2(%rip), %rax");
    let tables = table("a", "b", first) + &table("b", "a", second);
    assemble(&(f + &g + &h + &tables))
}

#[test]
fn tables_that_lead_to_each_other_are_compared_to_the_end() {
    let before = circle(1, 1);
    let same = crate::compiler::with_a_byte_appended(&before);
    assert_eq!(diff(&before, &same).verdict(), Verdict::Unchanged);
    // a.1 leads to b.2, that to a.1; b.1 leads to a.2, that to b.1.
    for (after, wanted) in [(circle(2, 1), &["f"][..]), (circle(1, 2), &["g", "h"])] {
        let found = diff(&before, &after);
        assert_eq!(changed(&found), wanted, "{found:#?}");
    }
}

/// Nameless constants in front of a named one, which alignment keeps apart.
fn constants(value: &str, alignment: u32) -> Vec<u8> {
    let f = function(
        "f",
        ".byte 0x48, 0x8d, 0x05\n.reloc ., R_X86_64_PC32, .LC0-4\n.long 0",
    );
    let g = function("g", "lea table(%rip), %rax");
    assemble(&format!(
        "{f}{g}\n.section .rodata, \"a\", @progbits\n.LC0: {value}\n.balign {alignment}\n\
         .globl table\n.type table, @object\ntable: .long 6, 7\n.size table, 8\n"
    ))
}

#[test]
fn what_alignment_leaves_behind_a_constant_is_no_part_of_it() {
    let before = constants(".long 5", 8);
    for after in [constants(".long 5", 32), constants(".long 5", 4)] {
        for (before, after) in [(&before, &after), (&after, &before)] {
            let found = diff(before, after);
            assert_eq!(changed(&found), Vec::<&str>::new(), "{found:#?}");
        }
    }
    for after in [
        constants(".long 5, 9", 32),
        constants(".long 5, 0, 0, 9", 8),
        constants(".long 4", 32),
    ] {
        for (before, after) in [(&before, &after), (&after, &before)] {
            let found = diff(before, after);
            assert_eq!(changed(&found), ["f"], "{found:#?}");
        }
    }
}

/// Two constants without a symbol, which two functions read.
fn neighbours(code: &str, data: &str) -> Vec<u8> {
    let (f, g) = (function("f", code), function("g", "mov .Ltwo(%rip), %eax"));
    let data = format!(".section .rodata, \"a\", @progbits\n.balign 16\n.Lone: .quad 65\n{data}");
    assemble(&(f + &g + &data))
}

#[test]
fn what_fills_up_in_front_of_a_neighbour_counts_where_it_may_be_read() {
    for (code, wanted) in [
        ("mov .Lone(%rip), %rax", &[][..]),
        ("movups .Lone(%rip), %xmm0", &["f", "g"]),
        ("fldt .Lone(%rip)", &["f", "g"]),
        ("bt %ecx, .Lone(%rip)", &["f", "g"]),
        ("bt $3, .Lone(%rip)", &[]),
        ("mov 4+.Lone(%rip), %rax", &["f", "g"]),
        ("mov 4+.Lone(%rip), %eax", &[]),
        // Text ends where it ends.
        ("lea .Lone(%rip), %rax", &[]),
        ("lea 1+.Lone(%rip), %rax", &["f"]),
    ] {
        // What one reads at once is one constant, which both use.
        let before = neighbours(code, ".Ltwo: .quad 5");
        let after = neighbours(code, ".balign 16\n.Ltwo: .quad 5");
        for (before, after) in [(&before, &after), (&after, &before)] {
            let found = diff(before, after);
            assert_eq!(changed(&found), wanted, "{code}: {found:#?}");
        }
    }
}

/// A table of labels of `f`, which `f` jumps by, and maybe somebody else.
fn labels(number: u32, table: &str, other: &str) -> Vec<u8> {
    let f = function(
        "f",
        &format!(
            "mov ${number}, %eax\nlea {table}(%rip), %rdx\njmp *(%rdx,%rdi,8)\n\
             .La: add $1, %eax\n.Lb: add $2, %eax"
        ),
    );
    assemble(&format!(
        "{f}{other}\n.section .data.rel.ro.local.{table}, \"aw\", @progbits\n.align 8\n\
         .type {table}, @object\n{table}: .quad .La, .Lb\n.size {table}, 16\n"
    ))
}

#[test]
fn a_table_of_labels_goes_with_its_function_and_with_nobody_else() {
    let (before, after) = (labels(1, "table", ""), labels(2, "table", ""));
    let found = diff(&before, &after);
    assert_eq!(refused(&found), [], "{found:#?}");
    assert_eq!((changed(&found), data(&found)), (vec!["f"], vec!["table"]));
    // Somebody else uses it: what it holds would lead to the old code.
    let other = function("g", "lea table(%rip), %rax");
    let (before, after) = (labels(1, "table", &other), labels(2, "table", &other));
    let found = diff(&before, &after);
    assert!(
        refused(&found).contains(&RefusalCode::InteriorReference),
        "{found:#?}"
    );
    // A function that stays keeps its table.
    let other = |number| function("g", &format!("mov ${number}, %eax"));
    let (before, after) = (labels(1, "table", &other(3)), labels(1, "table", &other(4)));
    let found = diff(&before, &after);
    assert_eq!((changed(&found), data(&found)), (vec!["g"], vec![]));
    assert_eq!(refused(&found), []);
}
