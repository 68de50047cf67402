//! Which symbols of a payload are names: for payloads that come later, and for faults.

use crate::support::edit::{Edited, section, symbol};
use crate::support::uploads::{changed, refused, taken};
use crate::support::{A, Caller as _, Extra, Maker, R64, Record, TEXT, Target, jump_at, runtime};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_UNLOAD};

/// Loaded, and equal strings may be merged.
const MERGED: u64 = A | 0x30;
/// Kinds of local symbols: without one, and of a section.
const NO_KIND: u64 = 0;
const OF_SECTION: u64 = 3;

/// A payload with a label at the start of a section of its own, which has no size.
fn labelled(label: &'static str, flags: u64) -> Vec<u8> {
    let mut file = Edited::of(&changed(|maker| {
        maker.labels.push((label, "new", 0));
        maker.sections.push(Extra::new(".rodata.x", A, b"text\0"));
    }));
    let index = file.index(".rodata.x");
    file.in_section_number(index, &section::FLAGS, flags);
    file.in_symbol(label, &symbol::SECTION, index as u64);
    file.0
}

/// Whether a payload that comes later may refer to the name.
#[track_caller]
fn is_found(file: &[u8], name: &'static str) -> bool {
    let runtime = runtime();
    assert_eq!(runtime.upload("one", file), 0);
    let user = |number| {
        let mut user = Maker::new(number);
        let table = Extra::new(".rodata.x", A, &[0; 8]).relocated(0, R64, name, 0);
        user.sections.push(table);
        user.write()
    };
    match runtime.upload("user", &user(2)) {
        0 => true,
        errno => {
            assert_eq!(errno, Errno::ENOENT.negated());
            false
        }
    }
}

#[test]
fn labels_of_merged_strings_are_no_names_and_other_data_is() {
    assert!(!is_found(&labelled(".LC0", MERGED), ".LC0"));
    assert!(is_found(&labelled(".LC0", A), ".LC0"));
    assert!(is_found(&labelled("text", MERGED), "text"));
    // Data without a size, of no kind that a symbol may have.
    let mut data = Edited(labelled("text", A));
    data.in_symbol("text", &symbol::INFO, NO_KIND);
    assert!(is_found(&data.0, "text"));
}

#[test]
fn a_symbol_that_stands_for_its_section_is_no_name() {
    let mut file = Edited(labelled("text", A));
    assert!(is_found(&file.0, "text"));
    file.in_symbol("text", &symbol::INFO, OF_SECTION);
    assert!(!is_found(&file.0, "text"));
}

#[test]
fn a_function_without_a_size_is_a_name_and_a_label_in_code_is_none() {
    let with = |name| changed(|maker| maker.labels.push((name, "new", 4))).write();
    assert!(is_found(&with("entry"), "entry"));
    assert!(!is_found(&with("<label"), "<label"));
}

#[test]
fn new_names_are_found_in_whatever_order_they_come() {
    let file = changed(|maker| {
        let labels = [("zeta", 2), ("beta", 4), ("eta", 6), ("alpha", 8)];
        maker.labels = labels.map(|(name, at)| (name, "new", at)).to_vec();
    });
    for name in ["alpha", "beta", "eta", "zeta"] {
        assert!(is_found(&file.write(), name), "{name}");
    }
}

/// Locals stand before globals in a symbol table, wherever they are.
#[test]
fn an_address_is_named_by_the_nearest_symbol_whatever_their_order() {
    let runtime = runtime();
    let file = changed(|maker| {
        for name in ["aaa", "bbb"] {
            maker.functions.insert(name, vec![0xc3; 16]);
        }
        maker.globals.extend(["aaa"]);
    });
    assert_eq!(runtime.upload("one", &file.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let new = jump_at(&runtime, TEXT).unwrap();
    for (at, name) in [(new - 32, "aaa"), (new - 16, "bbb"), (new, "new")] {
        let mut text = String::new();
        runtime.describe(at + 3, &mut text).unwrap();
        assert_eq!(text, format!("one:{name}+0x3/0x10"));
    }
}

#[test]
fn the_function_that_replaces_is_known_without_kind_or_size() {
    let runtime = runtime();
    assert_eq!(runtime.payload_symbols(), 0);
    let mut file = Edited::of(&Maker::new(1));
    file.in_symbol("new", &symbol::INFO, NO_KIND);
    file.in_symbol("new", &symbol::SIZE, 0);
    assert_eq!(runtime.upload("one", &file.0), 0);
    assert_eq!(runtime.payload_symbols(), 1);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let mut text = String::new();
    let new = jump_at(&runtime, TEXT).unwrap();
    runtime.describe(new, &mut text).unwrap();
    assert_eq!(text, "one:new+0x0/0x0");
    let mut more = Maker::new(2);
    more.labels.push(("entry", "new", 4));
    assert_eq!(runtime.upload("two", &more.write()), 0);
    assert_eq!(runtime.payload_symbols(), 3);
    assert_eq!(runtime.schedule("two", ACTION_UNLOAD, 0), 0);
    assert_eq!(runtime.payload_symbols(), 1);
}

/// Functions that are named as those of the base which they replace.
#[test]
fn functions_are_replaced_under_their_own_names_in_any_order() {
    let names = ["f0", "f1", "f3"];
    let old = [TEXT, TEXT + 0x20, TEXT + 0x60];
    let replacing = |numbers: &[usize]| {
        changed(|maker| {
            maker.functions = names.map(|name| (name, vec![0xc3; 16])).into();
            let records = numbers.iter().map(|number| Record {
                new: Target::New(names[*number]),
                old: Target::Number(old[*number]),
                ..Record::replacing(names[*number])
            });
            maker.records = records.collect();
        })
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        taken(&replacing(&order));
    }
    // One that replaces nothing has a name that is taken.
    refused(&replacing(&[0, 1]).write(), Errno::EEXIST, "(f3)");
}
