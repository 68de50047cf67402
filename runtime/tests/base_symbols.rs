//! The symbol table of a base that a real compiler and linker made.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::edit::{Edited, symbol};
use crate::support::{A, Extra, Maker};
use object::{Object as _, ObjectSection as _};
use xsplice_runtime::read::symbols::{Lookup, SymbolKind, Symbols, SymbolsError};

/// Places of symbols: an address, COMMON, and a reserved number.
const SHN_ABS: u64 = 0xfff1;
const SHN_COMMON: u64 = 0xfff2;
const SHN_RESERVED: u64 = 0xff05;
/// The kind of a symbol that stands for its section.
const OF_SECTION: u64 = 3;

/// A file with a symbol `label` and one without a name.
fn edited() -> Edited {
    let mut maker = Maker::new(1);
    maker.labels.push(("label", "new", 4));
    maker.sections.push(Extra::new(".rodata.x", A, &[1]));
    Edited::of(&maker)
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .status()
        .expect("gcc is installed (the README names it)");
    assert!(status.success(), "{program} {arguments:?}");
}

fn linked(strip: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path();
    for (file, text) in [
        (
            "a.c",
            "static int twin(int x) { return x * 3; } int a(int x) { return twin(x); }",
        ),
        (
            "b.c",
            "static int twin(int x) { return x * 5; } int b(int x) { return twin(x); }",
        ),
    ] {
        fs::write(path.join(file), text).expect("the source can be written");
    }
    let mut arguments = vec!["-O1", "-fno-inline", "-nostdlib", "-static", "-Wl,-e,a"];
    arguments.extend(["a.c", "b.c", "-o", "base"]);
    arguments.extend(strip);
    run("gcc", &arguments, path);
    fs::read(path.join("base")).expect("the linker wrote the base")
}

#[test]
fn locals_of_one_name_are_told_apart_by_their_file() {
    let file = linked(&[]);
    let symbols = Symbols::from_elf(&file).expect("the base has symbols");
    let address = |name: &str| match symbols.lookup(name) {
        Lookup::Found(symbol) => {
            assert_eq!(symbol.kind, SymbolKind::Function, "{name}");
            assert!(symbol.size > 0, "{name}");
            symbol.address
        }
        other => panic!("{name}: {other:?}"),
    };
    assert_ne!(address("a.c#twin"), address("b.c#twin"));
    assert_ne!(address("a"), address("b"));
    assert_eq!(symbols.lookup("twin"), Lookup::Missing);
    assert_eq!(symbols.lookup("c.c#twin"), Lookup::Missing);
    let inside = symbols
        .function_at(address("a.c#twin") + 1)
        .expect("it is code");
    assert_eq!(inside.to_string(), "a.c#twin");
}

#[test]
fn a_stripped_base_is_refused() {
    let file = linked(&["-s"]);
    assert_eq!(Symbols::from_elf(&file).map(drop), Err(SymbolsError::None));
    assert!(matches!(
        Symbols::from_elf(&file[..100]),
        Err(SymbolsError::Elf(_))
    ));
}

#[test]
fn a_name_that_does_not_end_is_refused() {
    let mut file = linked(&[]);
    let names = object::File::parse(file.as_slice()).unwrap();
    let names = names.section_by_name(".strtab").unwrap().file_range();
    let (start, bytes) = names.unwrap();
    let last = usize::try_from(start + bytes - 1).unwrap();
    assert_eq!(file[last], 0);
    file[last] = b'x';
    assert!(matches!(
        Symbols::from_elf(&file),
        Err(SymbolsError::Elf(_))
    ));
}

/// Neither what the base does not define nor what stands for a section is a name of its.
#[test]
fn only_symbols_with_a_name_and_an_address_are_names() {
    let is_found = |place: u64, info: u64| {
        let mut file = edited();
        file.in_symbol("label", &symbol::SECTION, place);
        file.in_symbol("label", &symbol::INFO, info);
        let symbols = Symbols::from_elf(&file.0).expect("the base has symbols");
        symbols.lookup("label") != Lookup::Missing
    };
    let global = 0x10;
    let text = edited().index(".text.new") as u64;
    for place in [text, SHN_ABS] {
        assert!(is_found(place, global), "{place:#x}");
        assert!(!is_found(place, global | OF_SECTION), "{place:#x}");
    }
    for place in [0, SHN_RESERVED, SHN_COMMON] {
        assert!(!is_found(place, global), "{place:#x}");
    }
    let file = edited();
    let symbols = Symbols::from_elf(&file.0).expect("the base has symbols");
    assert_eq!(symbols.lookup("f0"), Lookup::Missing, "it is undefined");
    assert_eq!(symbols.lookup(""), Lookup::Missing);
}

/// A base is believed: its names go into no log that somebody else reads.
#[test]
fn names_of_a_base_may_be_odd_and_lie_in_their_table() {
    let mut file = edited();
    let names = file.contents(".strtab");
    let at = file.0[names.clone()]
        .windows(6)
        .position(|text| text == b"label\0");
    let at = names.start + at.unwrap();
    file.0[at + 1] = 1;
    let symbols = Symbols::from_elf(&file.0).expect("the base has symbols");
    assert!(matches!(symbols.lookup("a.c#l\u{1}bel"), Lookup::Missing));
    assert!(matches!(symbols.lookup("l\u{1}bel"), Lookup::Found(_)));

    for beyond in [0, 1] {
        let mut file = edited();
        file.in_symbol("label", &symbol::NAME, (names.len() + beyond) as u64);
        let found = Symbols::from_elf(&file.0).map(drop);
        assert!(matches!(found, Err(SymbolsError::Elf(_))), "{beyond}");
    }
}
