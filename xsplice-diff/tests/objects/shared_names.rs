//! What the names of an object mean to other objects, where no item of it differs.

use xsplice_diff::verdict::kinds::RefusalCode;

use crate::compiler::{assemble, changed, diff, refused};

const FUNCTIONS: &str = "
    .text
    .type one, @function
one: mov $1, %eax
    ret
    .size one, .-one
    .type two, @function
two: mov $2, %eax
    ret
    .size two, .-two
    .data
    .balign 8
    .type table, @object
table: .quad 1, 2, 3, 4
    .size table, 32
    .type other, @object
other: .quad 5, 6
    .size other, 16
";

fn with(names: &str) -> Vec<u8> {
    assemble(&format!("{FUNCTIONS}{names}"))
}

#[test]
fn a_name_means_what_it_meant() {
    let is_refused = |before: &str, after: &str| {
        let (before, after) = (with(before), with(after));
        let found = diff(&before, &after);
        // A name may also make of two variables one that grew.
        let data = [RefusalCode::DefinitionChanged, RefusalCode::ChangedData];
        let codes = refused(&found);
        assert!(codes.iter().all(|code| data.contains(code)), "{codes:?}");
        !codes.is_empty()
    };
    let alias = |name: &str, value: &str| {
        format!(".globl {name}\n.set {name}, {value}\n.type {name}, @notype\n.size {name}, 0\n")
    };
    for (before, after, wanted) in [
        ("one", "one", false),
        ("one", "two", true),
        ("table", "other", true),
        ("table", "table+8", true),
        ("table+8", "table+8", false),
        ("table+8", "table+16", true),
        ("table+8", "other", true),
        // The end of a table, and the end of what is behind it.
        ("table+32", "table+32", false),
        ("other+16", "other+16", false),
        ("other+16", "table", true),
        ("one+5", "one", true),
        // A number.
        ("0x1000", "0x1000", false),
        ("0x1000", "0x1001", true),
        ("0x1000", "table", true),
        ("table", "0x1000", true),
    ] {
        let told = is_refused(&alias("name", before), &alias("name", after));
        assert_eq!(told, wanted, "{before} {after}");
    }
}

#[test]
fn a_name_behind_a_table_that_grows_is_its_end() {
    let grown = |count: u32, end: &str| {
        let values = vec!["7"; count as usize].join(", ");
        assemble(&format!(
            ".section .rodata.t, \"a\"\n.balign 8\n.type t, @object\nt: .quad {values}\n\
             .size t, {}\n.globl name\n.set name, {end}\n.type name, @notype\n.size name, 0\n\
             .section .text.f, \"ax\"\n.globl f\n.type f, @function\nf: mov t(%rip), %eax\nret\n\
             .size f, .-f\n",
            count * 8
        ))
    };
    let codes = |before: (u32, &str), after: (u32, &str)| {
        let (before, after) = (grown(before.0, before.1), grown(after.0, after.1));
        let found = diff(&before, &after);
        assert_eq!(changed(&found), ["f"]);
        refused(&found).contains(&RefusalCode::DefinitionChanged)
    };
    assert!(!codes((2, "t+16"), (3, "t+24")), "both are its end");
    assert!(codes((2, "t+8"), (3, "t+24")), "only the new one is");
    assert!(codes((2, "t+16"), (3, "t+8")), "only the old one is");
    assert!(!codes((2, "t+8"), (3, "t+8")), "the same place inside");
}

#[test]
fn what_an_object_needs_defines_and_has_in_memory_of_the_boot_is_listed() {
    let object = assemble(
        ".text\n.globl defined\n.type defined, @function\ndefined: call needed\ncall maybe\n\
         ret\n.weak maybe\n.weak weakly\nweakly: ret\nlocal: ret\n\
         .section .init.text, \"ax\"\n.globl begun\nbegun: ret\ninside: ret\n\
         .section .init.data, \"aw\"\n.globl first\nfirst: .long 1\n\
         .globl number\nnumber = 5\n.comm shared, 8, 8\n",
    );
    let names = xsplice_diff::shared_names("case.o", &object).expect("it is an object");
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    let leaked = |names: &[&str]| {
        let own = names.iter().map(|name| &*(*name).to_owned().leak());
        sorted(own.collect())
    };
    assert_eq!(leaked(&names.weak), ["maybe", "weakly"]);
    assert_eq!(leaked(&names.needed), ["needed"]);
    assert_eq!(
        leaked(&names.defined),
        ["begun", "defined", "first", "number", "shared", "weakly"]
    );
    assert_eq!(leaked(&names.at_boot), ["begun", "first"]);
}

#[test]
fn a_function_that_the_boot_chooses_stays_one() {
    let function = |kind: &str| {
        assemble(&format!(
            ".text\n.globl pick\n.type pick, @{kind}\npick: lea 1f(%rip), %rax\nret\n1: nop\n\
             .size pick, .-pick\n"
        ))
    };
    let (plain, chosen) = (function("function"), function("gnu_indirect_function"));
    for (before, after) in [(&plain, &chosen), (&chosen, &plain)] {
        let codes = refused(&diff(before, after));
        assert!(codes.contains(&RefusalCode::SymbolKindChanged), "{codes:?}");
    }
    assert_eq!(refused(&diff(&chosen, &chosen)), []);
}
