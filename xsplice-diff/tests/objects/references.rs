//! References that included code makes to what stays in the base: whether they can be right there.

use xsplice_diff::ObjectDiff;
use xsplice_diff::extract::{Place, Symbol};
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::RefusalCode;

use crate::compiler::{assemble, changed, diff, new, refused};

/// A function of these instructions in a section.
fn in_section(section: &str, name: &str, code: &str) -> String {
    format!(
        ".section {section}, \"ax\", @progbits\n.globl {name}\n.type {name}, @function\n\
         {name}:\n{code}\nret\n.size {name}, .-{name}\n"
    )
}

fn function(name: &str, code: &str) -> String {
    in_section(&format!(".text.{name}"), name, code)
}

/// What is refused when this code becomes that, beside what else the object holds.
fn codes(before: &str, after: &str, rest: &str) -> Vec<RefusalCode> {
    let before = assemble(&(function("f", before) + rest));
    let after = assemble(&(function("f", after) + rest));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f"], "{found:#?}");
    refused(&found)
}

const PLAIN: &str = "mov $1, %eax; add $12345, %eax";

#[test]
fn memory_of_the_boot_is_used_by_who_used_it_before() {
    let boot = ".section .init.data, \"aw\"\n.globl boot\n.type boot, @object\nboot: .quad 1\n\
                .size boot, 8\n.section .data.kept, \"aw\"\n.globl kept\n.type kept, @object\n\
                kept: .quad 1\n.size kept, 8\n";
    let uses = "mov boot(%rip), %eax; add $12345, %eax";
    let still = "mov boot(%rip), %eax; add $12346, %eax";
    assert_eq!(codes(PLAIN, uses, boot), [RefusalCode::ChangedInit]);
    assert_eq!(codes(uses, still, boot), []);
    assert_eq!(
        codes("mov kept(%rip), %eax", uses, boot),
        [RefusalCode::ChangedInit]
    );
    assert_eq!(
        codes(PLAIN, "mov kept(%rip), %eax; add $12345, %eax", boot),
        []
    );
    // A new function, of which nothing was there before, by way of a changed one.
    let before = assemble(&(function("f", PLAIN) + boot));
    let after = function("f", "call fresh; add $12345, %eax") + &function("fresh", uses) + boot;
    let after = assemble(&after);
    let found = diff(&before, &after);
    assert_eq!(refused(&found), [RefusalCode::ChangedInit], "{found:#?}");
    // What is new there is not given to what runs later either.
    let fresh = in_section(".init.text", "fresh", "mov $9, %eax");
    let after = assemble(&(function("f", "call fresh; add $12345, %eax") + &fresh + boot));
    let found = diff(&before, &after);
    assert_eq!(refused(&found), [RefusalCode::ChangedInit], "{found:#?}");
}

#[test]
fn a_function_whose_mark_the_boot_takes_away_is_called_and_not_pointed_at() {
    let with = |seals: &str| {
        let callee = function("callee", "endbr64; mov $7, %eax");
        let other = function("other", "endbr64; mov $8, %eax");
        format!("{callee}{other}.section {seals}, \"a\"\n.long callee-.\n")
    };
    let sealed = with(".ibt_endbr_seal");
    let points = "lea callee(%rip), %rax; add $12345, %eax";
    let still = "lea callee(%rip), %rax; add $12346, %eax";
    let interior = RefusalCode::InteriorReference;
    assert_eq!(codes(PLAIN, points, &sealed), [interior]);
    assert_eq!(codes(points, still, &sealed), []);
    assert_eq!(codes(PLAIN, "call callee; add $12345, %eax", &sealed), []);
    assert_eq!(
        codes(PLAIN, "lea other(%rip), %rax; add $12345, %eax", &sealed),
        []
    );
    assert_eq!(codes(PLAIN, points, &with(".rodata.list")), []);
}

/// A variable at this offset of a section that is aligned to 16 bytes, and who reads it.
fn vector(offset: u32, code: &str) -> Vec<u8> {
    assemble(&format!(
        "{}.data\n.balign 16\n.globl filler\n.type filler, @object\nfiller: .skip {offset}\n\
         .size filler, {offset}\n.globl vec\n.type vec, @object\nvec: .skip 48, 1\n\
         .size vec, 48\n.globl last\n.type last, @object\nlast: .quad 1\n.size last, 8\n",
        function("f", code)
    ))
}

#[test]
fn an_aligned_access_needs_the_place_that_the_base_gave() {
    let data = RefusalCode::ChangedData;
    let misaligned = |before: u32, after: u32, code: &str| {
        let (old, new) = (vector(before, "mov vec(%rip), %eax"), vector(after, code));
        let found = diff(&old, &new);
        let told = found.refusals.iter();
        told.filter(|one| one.code == data && one.problem.contains("a multiple of 16"))
            .count()
    };
    let aligned = "movaps vec(%rip), %xmm0";
    assert_eq!(misaligned(8, 16, aligned), 1);
    assert_eq!(misaligned(24, 32, aligned), 1);
    // It stands as it stood, the instruction does not mind, or it faults in any case.
    assert_eq!(misaligned(16, 32, aligned), 0);
    assert_eq!(misaligned(8, 16, "movups vec(%rip), %xmm0"), 0);
    assert_eq!(misaligned(16, 8, aligned), 0);
    assert_eq!(misaligned(8, 12, aligned), 0);
    // Another place in it.
    assert_eq!(misaligned(8, 16, "movaps vec+8(%rip), %xmm0"), 0);
    assert_eq!(misaligned(16, 8, "movaps vec+8(%rip), %xmm0"), 1);
    assert_eq!(misaligned(8, 16, "movaps vec+16(%rip), %xmm0"), 1);
}

#[test]
fn the_interior_of_a_function_that_is_replaced_is_nobody_elses() {
    let both = |number: u32, target: &str| {
        let code = format!("lea {target}(%rip), %rax; add ${number}, %eax");
        let g = function("g", &format!("mov ${number}, %eax; add $12345, %eax"));
        assemble(&(function("f", &code) + &g))
    };
    for (target, wanted) in [("g", &[][..]), ("g+5", &[RefusalCode::InteriorReference])] {
        let (before, after) = (both(7, "g"), both(8, target));
        let found = diff(&before, &after);
        assert_eq!(
            (changed(&found), refused(&found)),
            (vec!["f", "g"], wanted.to_vec())
        );
    }
    // One that stays has the same interior.
    let one = |number: u32, target: &str| {
        let code = format!("lea {target}(%rip), %rax; add ${number}, %eax");
        assemble(&(function("f", &code) + &function("g", PLAIN)))
    };
    let (before, after) = (one(7, "g"), one(8, "g+5"));
    let found = diff(&before, &after);
    assert_eq!((changed(&found), refused(&found)), (vec!["f"], vec![]));
}

/// The symbol that the first field of `f`'s new code refers to.
fn first_target<'e>(found: &'e ObjectDiff<'_>) -> &'e Symbol {
    let extract = found.extract.as_ref().expect("f is included");
    let section = extract.sections.iter().find(|one| one.name == ".text.f");
    let field = &section.expect("it has a section").relocations[0];
    &extract.symbols[field.symbol.0]
}

#[test]
fn a_pointer_leads_to_the_base_unless_only_the_new_entry_is_marked() {
    let both = |number: u32, entry: &str, code: &str| {
        let g = function(
            "g",
            &format!("{entry}; mov ${number}, %eax; add $12345, %eax"),
        );
        assemble(&(function("f", &format!("{code}; add ${number}, %ecx")) + &g))
    };
    let (pointer, call) = ("lea g(%rip), %rax", "call g");
    for (code, before, after, is_new) in [
        (pointer, "nop", "endbr64", true),
        (pointer, "nop", "nop", false),
        (pointer, "endbr64", "endbr64", false),
        (pointer, "endbr64", "nop", false),
        (call, "nop", "endbr64", false),
    ] {
        let (old, new) = (both(7, before, code), both(8, after, code));
        let found = diff(&old, &new);
        assert_eq!((changed(&found), refused(&found)), (vec!["f", "g"], vec![]));
        let place = first_target(&found).place;
        assert_eq!(
            matches!(place, Place::Section { .. }),
            is_new,
            "{code}: {place:?}"
        );
        assert_eq!(place == Place::Base, !is_new, "{code} {before} {after}");
        assert_eq!(found.notes.len(), usize::from(is_new), "{:?}", found.notes);
    }
}

#[test]
fn a_function_calls_itself_in_the_payload_and_hands_out_the_bases_address() {
    let recursive =
        |number: u32, code: &str| assemble(&function("f", &format!("{code}; mov ${number}, %eax")));
    for (code, is_included) in [
        ("call f", true),
        ("jmp f", true),
        ("lea f(%rip), %rax", false),
        ("lea f+3(%rip), %rax", true),
    ] {
        let (before, after) = (recursive(7, code), recursive(8, code));
        let found = diff(&before, &after);
        assert_eq!(
            (changed(&found), refused(&found)),
            (vec!["f"], vec![]),
            "{code}"
        );
        let extract = found.extract.as_ref().unwrap();
        let fields = extract.sections.iter().flat_map(|one| &one.relocations);
        let places = fields.map(|field| extract.symbols[field.symbol.0].place);
        for place in places {
            assert_eq!(
                matches!(place, Place::Section { .. }),
                is_included,
                "{code}"
            );
        }
    }
}

#[test]
fn a_symbol_that_was_not_referred_to_before_is_named_with_who_does() {
    let (before, after) = ("call one; add $12345, %eax", "call one; call two; call two");
    let old = assemble(&function("f", before));
    let new = assemble(&function("f", after));
    let found = diff(&old, &new);
    let begun: Vec<_> = found.evidence.begun.iter().collect();
    assert_eq!(begun, [(&"two".to_owned(), &"f".to_owned())]);
}

#[test]
fn what_is_new_for_other_objects_is_included_and_what_is_not_needed_is_left_out() {
    let before = assemble(&function("f", PLAIN));
    let local = ".section .text.idle, \"ax\"\n.type idle, @function\nidle: mov $3, %eax\nret\n\
                 .size idle, .-idle\n";
    let after = assemble(&(function("f", PLAIN) + &function("fresh", PLAIN) + local));
    let found = diff(&before, &after);
    assert_eq!((changed(&found), new(&found)), (vec![], vec!["fresh"]));
    let after = assemble(&(function("f", PLAIN) + local));
    assert_eq!(diff(&before, &after).verdict(), Verdict::Unchanged);
}

/// A reference without a symbol.
#[test]
fn a_reference_to_no_symbol_is_refused() {
    let with = |number: u32| {
        let code = format!("mov ${number}, %eax; .reloc ., R_X86_64_PC32, 4; .long 0; nop");
        assemble(&function("f", &code))
    };
    let (before, after) = (with(7), with(8));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f"]);
    assert!(!refused(&found).is_empty(), "{found:#?}");
}
