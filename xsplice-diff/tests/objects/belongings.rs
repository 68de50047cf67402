//! What belongs to a function although it stands elsewhere, and what runs only while the base
//! boots.

use xsplice_diff::ObjectDiff;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::RefusalCode;

use crate::compiler::{assemble, changed, diff, refused};

fn function(scope: &str, name: &str, code: &str) -> String {
    format!(
        ".section .text.{name}, \"ax\", @progbits\n{scope} {name}\n.type {name}, @function\n\
         {name}: {code}\nret\n.size {name}, .-{name}\n"
    )
}

/// How many bytes the extract has of sections of a name.
fn bytes_of(found: &ObjectDiff<'_>, name: &str) -> u64 {
    let extract = found.extract.as_ref().expect("something is included");
    let sections = extract.sections.iter().filter(|one| one.name == name);
    sections.map(|one| one.size).sum()
}

/// `f` leaves for code elsewhere without any table that says so.
fn aside(number: u32, fixup: u32) -> Vec<u8> {
    let f = function(
        ".globl",
        "f",
        &format!("cmp ${number}, %edi; ja 3f; mov $9, %eax\n2: nop"),
    );
    assemble(&format!(
        "{f}.section .fixup, \"ax\"\n3: mov ${fixup}, %eax\njmp 2b\n\
         4: mov $5, %eax\nret\n"
    ))
}

#[test]
fn code_that_a_function_jumps_to_is_a_part_of_it() {
    let before = aside(7, 14);
    let after = aside(7, 22);
    let found = diff(&before, &after);
    assert_eq!(
        (changed(&found), refused(&found)),
        (vec!["f"], vec![]),
        "{found:#?}"
    );
    let after = aside(8, 14);
    let found = diff(&before, &after);
    assert_eq!(
        (changed(&found), refused(&found)),
        (vec!["f"], vec![]),
        "{found:#?}"
    );
    assert!(bytes_of(&found, ".fixup") >= 10);
    assert_eq!(diff(&before, &before).verdict(), Verdict::Unchanged);
}

/// The fix-up of `f` runs into what that of `g` jumps to.
fn shared_tail(number: u32, tail: u32) -> Vec<u8> {
    let guarded = |name: &str, number: u32, fixup: &str| {
        let code = format!("mov ${number}, %ecx\n1: mov (%rdi), %eax\n2: nop");
        format!(
            "{}.section .fixup, \"ax\"\n{fixup}\n\
             .section .ex_table, \"a\"\n.long 1b-., 3b-.\n",
            function(".globl", name, &code)
        )
    };
    let g = guarded("g", 5, "3: mov $14, %ebx\njmp .Ltail");
    let f = guarded(
        "f",
        number,
        &format!("3: mov $15, %ebx\n.Ltail: mov ${tail}, %eax\njmp 2b"),
    );
    assemble(&(g + &f))
}

#[test]
fn code_that_a_fixup_runs_into_goes_with_it() {
    let before = shared_tail(7, 1);
    let after = shared_tail(8, 1);
    let found = diff(&before, &after);
    assert_eq!(
        (changed(&found), refused(&found)),
        (vec!["f"], vec![]),
        "{found:#?}"
    );
    assert_eq!(
        bytes_of(&found, ".fixup"),
        5 + 5 + 5,
        "two numbers and a jump"
    );
    // Whoever comes by the tail has changed with it.
    let after = shared_tail(7, 2);
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f", "g"], "{found:#?}");
}

/// A function in the list of those that the boot calls, and who else refers to it.
fn called_at_start(scope: &str, own: &str, number: u32, other: &str) -> Vec<u8> {
    let once = function(scope, "once", &format!("mov ${number}, %eax\nnop\n{own}"));
    assemble(&format!(
        "{once}{other}.section .init_array, \"aw\", @init_array\n.quad once\n\
         .data\n.globl some\n.type some, @object\nsome: .quad 1\n.size some, 8\n"
    ))
}

#[test]
fn what_only_the_boot_calls_is_not_replaced() {
    let caller = function(".globl", "caller", "call once");
    let pointer = ".data\n.globl pointer\n.type pointer, @object\npointer: .quad once\n\
                   .size pointer, 8\n";
    for (scope, own, other, is_at_boot) in [
        (".local", "", "", true),
        (".local", "call once", "", true),
        (".local", "", caller.as_str(), false),
        (".local", "", pointer, false),
        (".globl", "", "", false),
    ] {
        let before = called_at_start(scope, own, 7, other);
        let after = called_at_start(scope, own, 8, other);
        let found = diff(&before, &after);
        let wanted: &[RefusalCode] = match is_at_boot {
            true => &[RefusalCode::ChangedInit],
            false => &[],
        };
        assert_eq!(refused(&found), wanted, "{scope} {own} {other}");
    }
}

#[test]
fn a_record_says_whether_something_points_at_the_function() {
    let with = |number: u32, others: &[&str]| {
        let code: String = others.iter().map(|one| format!("{one}\n")).collect();
        let f = function(".globl", "f", &format!("mov ${number}, %eax; nop"));
        assemble(&(f + &function(".globl", "g", &code)))
    };
    let (call, pointer) = ("call f", "lea f(%rip), %rax");
    for (others, wanted) in [
        (&[call][..], false),
        (&[call, call], false),
        (&[pointer], true),
        (&[pointer, call], true),
        (&[call, pointer], true),
        (&["lea f+5(%rip), %rax"], false),
    ] {
        let (before, after) = (with(7, others), with(8, others));
        let found = diff(&before, &after);
        assert_eq!(changed(&found), ["f"], "{found:#?}");
        if let Some(extract) = &found.extract {
            assert_eq!(extract.records[0].address_taken, wanted, "{others:?}");
        } else {
            assert_eq!(refused(&found), [RefusalCode::InteriorReference]);
        }
    }
}

/// Two variables of one section with zeros between them.
fn apart(zeros: u32, between: &str) -> Vec<u8> {
    assemble(&format!(
        ".data\n.balign 16\n.globl one\n.type one, @object\none: .long 1\n.size one, 4\n\
         .skip {zeros}\n{between}.globl two\n.type two, @object\ntwo: .quad 2\n.size two, 8\n"
    ))
}

#[test]
fn zeros_between_the_same_two_neighbours_are_as_many_as_before() {
    let before = apart(4, "");
    let refusal = [RefusalCode::ChangedSection];
    for (after, wanted) in [
        (apart(4, ""), [&[][..], &[]]),
        (apart(12, ""), [&refusal, &refusal]),
        // What was there on purpose and is not needed any more is in nobody's way.
        (apart(28, ""), [&refusal, &[]]),
    ] {
        let found = [diff(&before, &after), diff(&after, &before)];
        assert_eq!(found.each_ref().map(refused), wanted);
    }
    // What is new there has its own alignment.
    let new = ".globl new\n.type new, @object\nnew: .quad 3\n.size new, 8\n";
    let after = apart(12, new);
    assert_eq!(refused(&diff(&before, &after)), []);
}

/// A variable of these bytes.
fn variable(section: &str, contents: &str) -> Vec<u8> {
    assemble(&format!(
        ".section {section}, \"aw\"\n.globl stamp\n.type stamp, @object\nstamp: {contents}\n\
         .size stamp, .-stamp\n.globl other\n.type other, @object\nother: .quad 1\n.size other, 8\n"
    ))
}

#[test]
fn a_variable_that_holds_a_stamp_and_nothing_else_is_left_out() {
    let is_left_out = |before: &str, after: &str| {
        let (before, after) = (variable(".data", before), variable(".data", after));
        let found = diff(&before, &after);
        match found.verdict() {
            Verdict::Unchanged => {
                assert_eq!(found.ignored.len(), 1, "{found:#?}");
                true
            }
            _ => {
                assert_eq!(refused(&found), [RefusalCode::ChangedData]);
                false
            }
        }
    };
    let (old, new) = ("2026-01-01 10:31:07", "2026-02-02 11:32:08");
    let text = |text: &str, rest: &str| format!(".ascii \"{text}\"; {rest}");
    for (rest, wanted) in [
        (".byte 0", true),
        (".byte 0, 0, 0, 0, 0", true),
        (".byte 0, 0, 1, 0", false),
        ("", false),
        (".byte 0; .balign 8; .quad other", false),
    ] {
        assert_eq!(
            is_left_out(&text(old, rest), &text(new, rest)),
            wanted,
            "{rest}"
        );
    }
    let rest = ".byte 0";
    assert!(!is_left_out(
        &text(old, rest),
        &text("2026-01-01 10:31:xx", rest)
    ));
    assert!(!is_left_out(&text("4.17", rest), &text("4.18", rest)));
    let one = text(old, rest);
    let also = text(new, ".byte 0, 0, 0, 7");
    assert!(!is_left_out(&one, &also));
}
