//! What stands in a function's own section is the function's, and where a function stands matters.

use xsplice_diff::ObjectDiff;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::{Reason, RefusalCode};

use crate::compiler::{KERNEL, assemble, changed, compile, compilers, diff, reasons, refused};

/// A trap behind the function, as Xen's `reset_stack_and_jump` has it.
const TRAP: &str = "
    int g(int);
    __attribute__((noinline)) int f(int x)
    {
        asm volatile (\"cmp $0xff, %0; ja 1f; .subsection 1; 1: EXTRA ud2; .subsection 0\"
                      :: \"r\" (x));
        return g(x * VALUE) + 1;
    }";

fn trap(value: u32, extra: &str) -> String {
    TRAP.replace("VALUE", &value.to_string())
        .replace("EXTRA", extra)
}

/// Size of the extract's section of a name, its alignment, and offset and size of its symbol.
fn placed(diff: &ObjectDiff<'_>, function: &str) -> (u64, u64, u64, u64) {
    use xsplice_diff::extract::Place;

    let extract = diff.extract.as_ref().expect("something is included");
    let symbol = extract
        .symbols
        .iter()
        .find(|symbol| symbol.name == function)
        .expect("the function is included");
    let Place::Section { section, value } = symbol.place else {
        panic!("{function} is not included: {symbol:?}");
    };
    let section = &extract.sections[section.0];
    (section.size, section.alignment, value, symbol.size)
}

#[test]
fn code_behind_the_symbol_belongs_to_it() {
    for compiler in compilers() {
        let build = |value, extra| compile(compiler, KERNEL, &trap(value, extra));
        let original = build(100, "");
        for patched in [build(300, ""), build(100, "nop;")] {
            let diff = diff(&original, &patched);
            assert_eq!(changed(&diff), ["f"], "{compiler}: {diff:#?}");
            assert_eq!(refused(&diff), [], "{compiler}: {diff:#?}");
            let (section, _, start, size) = placed(&diff, "f");
            assert!(
                start + size < section,
                "the trap is included, behind {size}"
            );
            let record = &diff.extract.as_ref().unwrap().records[0];
            assert!(record.old_size < record.original.bytes.len() as u64);
            assert_eq!(record.old_size, record.original.named_size);
        }
    }
}

/// A label there, as Xen's `UNLIKELY_START` leaves one for the debugger, begins nothing else.
#[test]
fn a_local_label_behind_the_symbol_changes_nothing() {
    let build = |value| compile("gcc", KERNEL, &trap(value, "file.o.unlikely:"));
    let (original, patched) = (build(100), build(300));
    let diff = diff(&original, &patched);
    assert_eq!(
        (changed(&diff), refused(&diff)),
        (vec!["f"], vec![]),
        "{diff:#?}"
    );
}

/// The nearest that is another matter: two functions share the section, so nothing tells whose the
/// code behind both is.
#[test]
fn in_a_shared_section_code_without_a_symbol_is_refused() {
    let build = |value| {
        let one = trap(value, "");
        let other = trap(7, "").replace("int f(", "int other(");
        compile("gcc", &["-O2", "-fno-pic"], &format!("{one}{other}"))
    };
    let (original, patched) = (build(100), build(300));
    let diff = diff(&original, &patched);
    assert_eq!(refused(&diff), [RefusalCode::ShortJump], "{diff:#?}");
}

/// Bug frames and exception entries about the code behind the symbol are the function's.
#[test]
fn entries_about_code_behind_the_symbol_travel() {
    let source = |value: u32, fixup: u32| {
        format!(
            "
    .section .text.f, \"ax\", @progbits
    .globl f
    .type f, @function
f:  cmp $0xff, %edi
    ja 1f
    imul ${value}, %edi, %eax
    ret
    .size f, . - f
    .subsection 1
1:  ud2
2:  mov (%rdi), %eax
3:  ret
    .section .bug_frames.2, \"a\", @progbits
    .long 1b - .
    .long .Lname - .
    .section .fixup, \"ax\", @progbits
4:  mov ${fixup}, %eax
    jmp 3b
    .section .ex_table, \"a\", @progbits
    .long 2b - .
    .long 4b - .
    .section .rodata.str1.1, \"aMS\", @progbits, 1
.Lname: .string \"file.c\"
"
        )
    };
    let original = assemble(&source(100, 1));
    for patched in [assemble(&source(300, 1)), assemble(&source(100, 2))] {
        let diff = diff(&original, &patched);
        assert_eq!(
            (changed(&diff), refused(&diff)),
            (vec!["f"], vec![]),
            "{diff:#?}"
        );
        let extract = diff.extract.as_ref().unwrap();
        for table in [".bug_frames.2", ".ex_table"] {
            let section = extract.sections.iter().find(|one| one.name == table);
            assert_eq!(section.map(|one| one.size), Some(8), "{table}");
        }
    }
}

/// Bytes behind the symbol in its own section are compared even where they only fill a gap: a trap
/// behind a return stops speculation.
#[test]
fn a_trap_behind_the_end_is_compared() {
    let source = |behind: &str| {
        format!(
            "
    .section .text.f, \"ax\", @progbits
    .globl f
    .type f, @function
f:  mov %edi, %eax
    add $12345, %eax
    ret
    .size f, . - f
    {behind}
"
        )
    };
    let (original, patched) = (assemble(&source("")), assemble(&source("int3")));
    let diff = diff(&original, &patched);
    assert_eq!(
        (changed(&diff), refused(&diff)),
        (vec!["f"], vec![]),
        "{diff:#?}"
    );
    assert_eq!(placed(&diff, "f").0, 9);
}

/// A thunk that moves to the other half of a cache line.
fn thunk(before: &str) -> Vec<u8> {
    assemble(&format!(
        "
    .section .text.thunk, \"ax\", @progbits
    {before}
    .globl thunk
    .type thunk, @function
    .balign 16
thunk:
    push %rax
    lea 1(%rdi), %rax
    jmp *%rax
    .size thunk, . - thunk
"
    ))
}

#[test]
fn placement_is_a_change_and_is_kept() {
    let original = thunk("");
    let patched = thunk(".balign 64; .fill 32, 1, 0xcc");
    let diff = diff(&original, &patched);
    assert_eq!(
        (changed(&diff), refused(&diff)),
        (vec!["thunk"], vec![]),
        "{diff:#?}"
    );
    assert!(
        matches!(reasons(&diff, "thunk"), [Reason::PlacementDiffers { .. }]),
        "{diff:#?}"
    );
    let (_, alignment, start, _) = placed(&diff, "thunk");
    assert_eq!((alignment, start), (64, 32));
}

#[test]
fn a_stricter_alignment_alone_is_a_change_and_a_laxer_one_is_none() {
    let (lax, strict) = (thunk(""), thunk(".balign 32"));
    let patched = diff(&lax, &strict);
    assert_eq!(
        (changed(&patched), refused(&patched)),
        (vec!["thunk"], vec![])
    );
    assert_eq!(placed(&patched, "thunk").1, 32);
    assert_eq!(diff(&strict, &lax).verdict(), Verdict::Unchanged);
}

/// A function with an alignment inside, in a section that it shares.
#[test]
fn a_copy_of_a_function_keeps_its_distance_from_a_multiple_of_the_alignment() {
    let source = |fix: &str| {
        assemble(&format!(
            "
    .section .text.entry, \"ax\", @progbits
    .globl other
    .type other, @function
    .balign 16
other:
    xor %eax, %eax
    ret
    .size other, . - other
    .globl loops
    .type loops, @function
    .balign 16
loops:
    call 1f
    jmp 5f
    int3
    .balign 64
    {fix}
1:  call 2f
.Lr1:
    ret
    int3
2:  ret
5:  xor %eax, %eax
    ret
    .size loops, . - loops
"
        ))
    };
    let original = source("");
    let patched = source(".skip 32 - (.Lr1 - 1f), 0xcc");
    let diff = diff(&original, &patched);
    assert_eq!(
        (changed(&diff), refused(&diff)),
        (vec!["loops"], vec![]),
        "{diff:#?}"
    );
    let (_, alignment, start, _) = placed(&diff, "loops");
    assert_eq!((alignment, start), (64, 16));
}

/// In a shared section, neighbours that grow move what stands behind them.
#[test]
fn a_neighbour_that_grows_changes_no_placement() {
    let source = |steps: usize, align: u32| {
        let function = |name: &str, body: &str| {
            format!(
                ".globl {name}\n.type {name}, @function\n.balign 16\n{name}: {body}\nret\n\
                 .size {name}, . - {name}\n"
            )
        };
        let grown = "add $12345, %eax\n".repeat(steps);
        let aligned = format!(
            ".balign {align}\n{}",
            function("aligned", "mov $1, %eax; add $777, %eax")
        );
        assemble(&format!(
            ".text\n{}{}{aligned}{}",
            function("first", &grown),
            function("second", "mov $2, %eax; add $888, %eax"),
            function("last", "mov $3, %eax; add $999, %eax"),
        ))
    };
    let original = source(3, 64);
    for steps in [1, 4, 9, 17, 40] {
        let patched = source(steps, 64);
        let diff = diff(&original, &patched);
        assert_eq!(changed(&diff), ["first"], "{steps}: {diff:#?}");
    }
    // And one that asks for more.
    let patched = source(3, 256);
    let diff = diff(&original, &patched);
    assert_eq!(changed(&diff), ["aligned"], "{diff:#?}");
    assert_eq!(placed(&diff, "aligned").1, 256);
}

/// Compilers align what they think is cold to nothing, and by default to 16 bytes.
#[test]
fn hot_or_cold_is_no_change() {
    for compiler in compilers() {
        let build = |attribute: &str| {
            let source =
                format!("int g(int); {attribute} int f(int x) {{ return g(x * 100) + g(x); }}");
            compile(compiler, KERNEL, &source)
        };
        let (cold, plain) = (
            build("__attribute__((section(\".text.unlikely.f\")))"),
            build(""),
        );
        for (original, patched) in [(&cold, &plain), (&plain, &cold)] {
            let diff = diff(original, patched);
            assert_eq!(diff.verdict(), Verdict::Unchanged, "{compiler}: {diff:#?}");
        }
    }
}
