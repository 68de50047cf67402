//! The symbol table of a base that a real compiler and linker made.

use std::fs;
use std::path::Path;
use std::process::Command;

use object::{Object as _, ObjectSection as _};
use xsplice_runtime::read::symbols::{Lookup, SymbolKind, Symbols, SymbolsError};

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
