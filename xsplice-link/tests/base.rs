//! What the linker learns of a base image, and which files it does not take for one.

use crate::support::{KERNEL, Tree, hand};
use xsplice_abi::machine::aarch64::MACHINE;
use xsplice_abi::profile::XSPLICE;
use xsplice_diff::Extract;
use xsplice_link::Base;
use xsplice_link::LinkError;
use xsplice_link::LinkOptions;
use xsplice_link::base::{Lookup, QualifiedName, Scope, SymbolKind};
use xsplice_link::link;

const FIRST: &str = "
    static __attribute__((noinline, noclone)) int twice(int x) { return x * 2 + 1; }
    static int state = 7;
    int shared_counter;
    int first(int x) { state += x; shared_counter++; return twice(x) + state; }
    int first_alias(int x) __attribute__((alias(\"first\")));
";
const SECOND: &str = "
    static __attribute__((noinline, noclone)) int twice(int x) { return x * 4 + 3; }
    int second(int x) { return twice(x); }
";

fn tree() -> Tree {
    Tree::compile(
        &[("a.c", FIRST), ("b.c", SECOND), ("other/a.c", SECOND_AGAIN)],
        KERNEL,
    )
}

const SECOND_AGAIN: &str = "
    static __attribute__((noinline, noclone)) int twice(int x) { return x * 8 + 5; }
    int third(int x) { return twice(x); }
";

fn name(text: &str) -> QualifiedName<'_> {
    QualifiedName::parse(text)
}

#[test]
fn globals_are_known_by_their_bare_name_and_locals_by_file_and_name() {
    let image = tree().link();
    let base = Base::parse("image", &image).unwrap();
    let first = base.lookup(name("first")).found().unwrap();
    assert_eq!(
        (first.kind, first.scope),
        (SymbolKind::Function, Scope::Global)
    );
    assert_ne!(first.size_bytes, 0);
    let local = base.lookup(name("b.c#twice")).found().unwrap();
    assert_eq!((local.name, local.scope), ("twice", Scope::Local));
    let data = base.lookup(name("a.c#state")).found().unwrap();
    assert_eq!((data.kind, data.size_bytes), (SymbolKind::Data, 4));
    assert_eq!(
        base.bytes_at(data.address, 4),
        Some(&7_u32.to_le_bytes()[..])
    );
    assert!(matches!(base.lookup(name("twice")), Lookup::Absent));
    assert!(matches!(base.lookup(name("b.c#first")), Lookup::Absent));
}

#[test]
fn a_name_of_two_addresses_is_ambiguous_and_shows_both() {
    let image = tree().link();
    let base = Base::parse("image", &image).unwrap();
    // gcc names the FILE symbol after the last part of the path, so both are a.c.
    let Lookup::Ambiguous(candidates) = base.lookup(name("a.c#twice")) else {
        panic!("two files called a.c define it");
    };
    assert_eq!(candidates.len(), 2);
    assert_ne!(candidates[0].address, candidates[1].address);
}

#[test]
fn aliases_are_two_names_of_one_address() {
    let image = tree().link();
    let base = Base::parse("image", &image).unwrap();
    let address = base.lookup(name("first")).found().unwrap().address;
    let names: Vec<_> = base.symbols_at(address).map(|symbol| symbol.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"first_alias"));
    let (_, distance) = base.describe(address + 1).unwrap();
    assert_eq!(distance, 1);
}

#[test]
fn zero_initialised_data_has_an_address_and_no_bytes() {
    let image = tree().link();
    let base = Base::parse("image", &image).unwrap();
    let counter = base.lookup(name("shared_counter")).found().unwrap();
    assert!(base.section_at(counter.address).is_some());
    assert_eq!(base.bytes_at(counter.address, 4), None);
    assert_eq!(base.bytes_at(0, 1), None);
    assert_eq!(base.bytes_at(u64::MAX, 1), None);
    let first = base.lookup(name("first")).found().unwrap();
    assert_eq!(base.bytes_at(first.address, u64::MAX), None);
}

#[test]
fn a_base_without_build_id_is_refused_and_one_with_an_id_of_another_length_taken() {
    let tree = tree();
    let error = Base::parse("image", &tree.link_with(&["--build-id=none"])).unwrap_err();
    assert!(matches!(error, LinkError::NoBuildId { .. }));
    assert!(error.to_string().contains("--build-id=sha1"), "{error}");
    let image = tree.link_with(&["--build-id=md5"]);
    let base = Base::parse("image", &image).unwrap();
    assert_eq!(base.build_id().as_bytes().len(), 16);
}

#[test]
fn a_base_without_symbols_is_refused() {
    let image = tree().link_with(&["--build-id=sha1", "--strip-all"]);
    let error = Base::parse("image", &image).unwrap_err();
    assert!(matches!(error, LinkError::NoSymbols { .. }));
    assert!(error.to_string().starts_with("image: "), "{error}");
}

#[test]
fn an_object_a_foreign_file_and_a_cut_image_are_refused() {
    let tree = tree();
    let object = Base::parse("a.o", tree.object("a.o")).unwrap_err();
    assert!(matches!(object, LinkError::NotABase { .. }), "{object}");
    for bytes in [&b""[..], b"\x7fELF", b"MZ and so on and so on"] {
        let error = Base::parse("x", bytes).unwrap_err();
        assert!(matches!(error, LinkError::NotElf { .. }), "{error}");
    }
    let mut foreign = tree.link();
    foreign[18] = UNKNOWN;
    let error = Base::parse("arm", &foreign).unwrap_err();
    assert!(matches!(error, LinkError::NotABase { .. }), "{error}");
    let image = tree.link();
    for length in (0..image.len()).step_by(97) {
        assert!(Base::parse("cut", &image[..length]).is_err(), "{length}");
    }
}

/// The `e_machine` of a machine that payloads are not made for: RISC-V.
const UNKNOWN: u8 = 243;

#[test]
fn an_extract_for_another_machine_than_the_base_is_an_error_that_names_both() {
    let image = tree().link();
    let base = Base::parse("xen-syms", &image).expect("it can be read");
    let own = hand::empty("own.o", &XSPLICE);
    let foreign = Extract {
        machine: &MACHINE,
        ..hand::empty("foreign.o", &XSPLICE)
    };
    let options = LinkOptions::new("fix", &XSPLICE);
    let error = link(&base, &[own.clone(), foreign], &options).expect_err("two machines");
    assert_eq!(
        error.to_string(),
        "xen-syms: is for x86-64 (62), and foreign.o for AArch64 (183); a payload is made of an \
         image and of objects for one machine"
    );
    // Of one machine they are linked, and nothing is found in them.
    let error = link(&base, &[own], &options).expect_err("it is empty");
    assert!(matches!(error, LinkError::Refused(_)), "{error}");
}

#[test]
fn a_base_for_another_machine_is_an_error_that_names_it() {
    const E_MACHINE_AT: usize = 18;
    let mut image = tree().link();
    image[E_MACHINE_AT..E_MACHINE_AT + 2].copy_from_slice(&u16::from(UNKNOWN).to_le_bytes());
    let error = Base::parse("xen-syms", &image).expect_err("it is not known");
    let text = error.to_string();
    assert!(
        text.starts_with("xen-syms: is an ELF file for RISC-V (243)"),
        "{text}"
    );
}
