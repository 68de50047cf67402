//! Objects that linkers merged from others are known by what they hold, and by nothing less.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, LittleEndian};
use xsplice_diff::merged::{Candidate, Standing, find, find_in_both};

const A: &str = r#"
void say(const char *text);
int g(int x);
int shared_common;
static int state = 3;
static int counter;
const unsigned long long table[] = { 1, 2, 3 };
static const double half = 0.5;
int fa(int x) { say("hello"); say("of a alone"); counter++; return g(x) + shared_common + state++; }
__attribute__((weak)) int w(int x) { return x + 1; }
int call_a(int x) { return w(x) + 1; }
__attribute__((noinline)) static int step(int x) { say("step"); return x * 9 + state + counter++; }
int ua(int x) { return step(x) + (int)(x * half) + 1; }
__attribute__((section(".table"))) int (*const entry_a)(int) = ua;
"#;

const HEAD: &str = "
    .globl start
    .type start, @function
start: call fa
    jmp fb
    .size start, . - start
local: ret
    .section .table, \"a\"
    .quad local
";

/// Two objects like each other in almost all, one without a FILE symbol, and what stands alone.
struct Tree {
    folder: tempfile::TempDir,
}

#[track_caller]
fn run(program: &str, arguments: &[&str], folder: &Path) {
    xsplice_test_objects::run(Command::new(program).args(arguments).current_dir(folder));
}

impl Tree {
    fn new(compiler: &str, flags: &[&str]) -> Tree {
        let tree = Tree {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let b = A
            .replace("fa(", "fb(")
            .replace("of a alone", "of b, and longer")
            .replace("call_a", "call_b")
            .replace("ua", "ub")
            .replace("entry_a", "entry_b")
            .replace("table[]", "table_b[]")
            .replace("int shared_common", "extern int shared_common")
            .replace(
                "__attribute__((weak)) int w(int x) { return x + 1; }",
                "int w(int x) { return x + 2; }",
            );
        let alone = "int alone(int x) { return x * 5; }";
        for (name, source) in [("a", A), ("b", &b), ("alone", alone)] {
            tree.compile(compiler, flags, name, source);
        }
        std::fs::write(tree.path("head.s"), HEAD).expect("a source");
        run("as", &["head.s", "-o", "head.o"], tree.folder.path());
        tree
    }

    fn compile(&self, compiler: &str, flags: &[&str], name: &str, source: &str) {
        std::fs::write(self.path("source.c"), source).expect("a source");
        let object = format!("{name}.o");
        let mut arguments = flags.to_vec();
        arguments.extend(["-c", "source.c", "-o", &object]);
        run(compiler, &arguments, self.folder.path());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn link(&self, linker: &str, objects: &[&str], output: &str) {
        let (program, flags) = linker.split_once(' ').expect("a linker and its flags");
        let mut arguments: Vec<&str> = flags.split(' ').collect();
        arguments.extend_from_slice(objects);
        arguments.extend(["-o", output]);
        run(program, &arguments, self.folder.path());
    }

    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder");
        let paths = files.map(|file| file.expect("a file").path());
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "o"))
            .map(|path| {
                let name = path.file_name().expect("a name").to_string_lossy();
                (name.into_owned(), std::fs::read(&path).expect("an object"))
            })
            .collect()
    }

    fn merged(&self) -> BTreeMap<String, Vec<String>> {
        merged(&self.objects(), &[])
    }
}

fn candidates<'o>(objects: &'o BTreeMap<String, Vec<u8>>, left_out: &[&str]) -> Vec<Candidate<'o>> {
    objects
        .iter()
        .map(|(name, bytes)| Candidate {
            name,
            bytes,
            standing: if left_out.contains(&name.as_str()) {
                Standing::LeftOut
            } else {
                Standing::Compared
            },
        })
        .collect()
}

fn merged(objects: &BTreeMap<String, Vec<u8>>, left_out: &[&str]) -> BTreeMap<String, Vec<String>> {
    let candidates = candidates(objects, left_out);
    let name = |index: usize| candidates[index].name.to_owned();
    let found = find(&candidates);
    let twice = [found.clone(), found.clone()];
    assert_eq!(find_in_both(&candidates, &candidates), twice);
    found
        .into_iter()
        .map(|(object, members)| {
            let parts = members.parts.into_iter();
            (name(object), parts.map(name).collect())
        })
        .collect()
}

const SECTIONS: &[&str] = &[
    "-O2",
    "-g",
    "-ffunction-sections",
    "-fdata-sections",
    "-fcommon",
];
const PLAIN: &[&str] = &["-O2", "-fcommon", "-fno-asynchronous-unwind-tables"];

/// The linkers that this machine has, with flags that make objects.
fn linkers() -> Vec<&'static str> {
    let all = [
        "ld -r",
        "ld -r -O2",
        "ld -r -d",
        "ld -r -X",
        "ld -r --unique",
        "ld -r --sort-section=name --sort-common",
        "ld -r --force-group-allocation",
        "ld -r --build-id=sha1",
        "ld.gold -r",
        "ld.lld -r",
        "ld.lld -r -O2",
    ];
    let has = |line: &&str| {
        let program = line.split(' ').next().unwrap_or_default();
        program == "ld" || Command::new(program).arg("--version").output().is_ok()
    };
    all.into_iter().filter(has).collect()
}

/// What is known of one tree counts for the other only where all of it is loaded alike.
#[test]
fn what_differs_between_two_trees_is_looked_at_in_both() {
    let tree = Tree::new("gcc", SECTIONS);
    tree.link("ld -r", &["head.o", "a.o"], "some.o");
    tree.link("ld -r", &["some.o", "b.o"], "built_in.o");
    let one = tree.objects();
    let is_spoiled = |name: &str| {
        let mut other = one.clone();
        let bytes = other.get_mut(name).expect("an object");
        let text = b"of a alone";
        let at = bytes.windows(text.len()).position(|found| found == text);
        bytes[at.expect("a string of the source")] ^= 1;
        let (one, other) = (candidates(&one, &[]), candidates(&other, &[]));
        let found = [find(&one), find(&other)];
        assert_eq!(find_in_both(&one, &other), found, "{name}");
        let [before, after] = found;
        assert_eq!(
            find_in_both(&other, &one),
            [after.clone(), before.clone()],
            "{name}"
        );
        (before.len(), after.len())
    };
    assert_eq!(is_spoiled("built_in.o"), (2, 1));
    // What holds something else than the part that was spoiled is no longer merged, and is itself a
    // part of the larger one.
    assert_eq!(is_spoiled("a.o"), (2, 1));
    // A part that is merged itself: the larger one was made of `a.o`.
    assert_eq!(is_spoiled("some.o"), (2, 1));
}

#[test]
fn whatever_merges_objects_the_merged_ones_are_known() {
    for (compiler, flags) in [("gcc", SECTIONS), ("gcc", PLAIN), ("clang", SECTIONS)] {
        if Command::new(compiler).arg("--version").output().is_err() {
            continue;
        }
        let tree = Tree::new(compiler, flags);
        assert_eq!(tree.merged(), BTreeMap::new());
        for linker in linkers() {
            tree.link(linker, &["head.o", "a.o", "b.o"], "built_in.o");
            tree.link(linker, &["built_in.o", "alone.o"], "prelink.o");
            let found = tree.merged();
            let parts = |of: &[&str]| of.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let expected = BTreeMap::from([
                ("built_in.o".to_owned(), parts(&["a.o", "b.o", "head.o"])),
                (
                    "prelink.o".to_owned(),
                    parts(&["a.o", "alone.o", "b.o", "head.o"]),
                ),
            ]);
            assert_eq!(found, expected, "{compiler} {flags:?}, {linker}");
        }
    }
}

#[test]
fn parts_may_have_one_file_name_and_no_global_names() {
    let tree = Tree::new("gcc", SECTIONS);
    let quiet =
        "static int seen; __attribute__((used)) static void setup(void) { seen += NUMBER; }";
    tree.compile("gcc", SECTIONS, "one", &quiet.replace("NUMBER", "1"));
    tree.compile("gcc", SECTIONS, "two", &quiet.replace("NUMBER", "200000"));
    for linker in linkers() {
        tree.link(linker, &["one.o", "two.o"], "quiet.o");
        let found = tree.merged();
        let all: Vec<&String> = found.keys().collect();
        assert_eq!(all, ["quiet.o"], "{linker}");
        assert_eq!(found["quiet.o"], ["one.o", "two.o"], "{linker}");
    }
}

#[test]
fn a_part_that_holds_nothing_leaves_its_name_alone() {
    let tree = Tree::new("gcc", SECTIONS);
    // What some builds make of an empty file, for a folder without objects.
    let nothing = ["-c", "-x", "c", "/dev/null", "-o", "nothing.o"];
    run("gcc", &nothing, tree.folder.path());
    tree.link("ld -r", &["a.o", "nothing.o", "b.o"], "built_in.o");
    let parts = vec!["a.o".to_owned(), "b.o".to_owned()];
    let expected = BTreeMap::from([("built_in.o".to_owned(), parts)]);
    assert_eq!(tree.merged(), expected);
    // A name that no object has was a part's that is not here.
    std::fs::remove_file(tree.path("nothing.o")).expect("a file");
    assert_eq!(tree.merged(), BTreeMap::new());
}

#[test]
fn of_equal_objects_one_is_compared() {
    let tree = Tree::new("gcc", SECTIONS);
    let mut objects = tree.objects();
    objects.insert("Copy.o".to_owned(), objects["alone.o"].clone());
    assert_eq!(
        merged(&objects, &[]),
        BTreeMap::from([("alone.o".to_owned(), vec!["Copy.o".to_owned()])]),
        "neither is called like its source"
    );
    for (left_out, copy, part) in [
        ("Copy.o", "Copy.o", "alone.o"),
        ("alone.o", "alone.o", "Copy.o"),
    ] {
        assert_eq!(
            merged(&objects, &[left_out]),
            BTreeMap::from([(copy.to_owned(), vec![part.to_owned()])])
        );
    }
    // Merged from one alone: the compiled one is called like its source.
    let tree = Tree::new("gcc", SECTIONS);
    tree.link("ld -r", &["alone.o"], "all.o");
    let mut objects = tree.objects();
    let bytes = objects.remove("alone.o").expect("an object");
    objects.insert("source.o".to_owned(), bytes);
    assert_eq!(
        merged(&objects, &[]),
        BTreeMap::from([("all.o".to_owned(), vec!["source.o".to_owned()])])
    );
}

#[test]
fn an_equal_object_of_another_file_is_none() {
    let tree = Tree::new("gcc", SECTIONS);
    std::fs::write(tree.path("other.c"), "int alone(int x) { return x * 5; }").expect("a source");
    let arguments = [SECTIONS, &["-c", "other.c", "-o", "other.o"]].concat();
    run("gcc", &arguments, tree.folder.path());
    assert_eq!(tree.merged(), BTreeMap::new());
}

#[test]
fn what_holds_something_of_its_own_is_compared() {
    let tree = Tree::new("gcc", SECTIONS);
    for own in [
        ".text; .globl w; own: nop",
        ".section .rodata.own, \"a\"; .quad 7",
        ".section .table, \"a\"; .quad ua",
        ".bss; .skip 64",
        ".globl fa_alias; fa_alias = 5",
        // Nearly what linkers make anew.
        ".section .note.mine, \"a\", @note; .long 4, 4, 1; .asciz \"own\"; .long 7",
        ".section .eh_frame_own, \"a\"; .quad 7",
    ] {
        std::fs::write(tree.path("own.s"), format!("{own}\n")).expect("a source");
        run("as", &["own.s", "-o", "own.obj"], tree.folder.path());
        tree.link("ld -r", &["head.o", "a.o", "b.o", "own.obj"], "built_in.o");
        assert_eq!(tree.merged(), BTreeMap::new(), "{own}");
    }
    // A part that is not in the tree, and the name of a function that got another one.
    let objects = tree.path("alone.o");
    tree.link("ld -r", &["head.o", "a.o", "b.o", "alone.o"], "built_in.o");
    assert_eq!(tree.merged().len(), 1, "the premise");
    let redefine = ["--redefine-sym", "call_a=call_c", "built_in.o"];
    run("objcopy", &redefine, tree.folder.path());
    assert_eq!(tree.merged(), BTreeMap::new());
    tree.link("ld -r", &["head.o", "a.o", "b.o", "alone.o"], "built_in.o");
    std::fs::remove_file(objects).expect("a file");
    assert_eq!(tree.merged(), BTreeMap::new());
}

/// Changes a copy of the bytes and asks again.
fn is_known(objects: &BTreeMap<String, Vec<u8>>, change: impl FnOnce(&mut [u8])) -> bool {
    let mut objects = objects.clone();
    let bytes = objects.get_mut("built_in.o").expect("the merged object");
    change(bytes);
    merged(&objects, &[]).contains_key("built_in.o")
}

/// The displacements of long NOPs, which stand between sections alone in what these sources give.
fn nop_operands(object: &Path) -> BTreeSet<String> {
    let output = Command::new("objdump").arg("-dw").arg(object).output();
    let text = String::from_utf8(output.expect("objdump").stdout).expect("text");
    let mut found = BTreeSet::new();
    let mut section = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Disassembly of section ") {
            section = name.trim_end_matches(':');
        }
        let Some((at, rest)) = line.split_once(":\t") else {
            continue;
        };
        let Ok(at) = usize::from_str_radix(at.trim(), 16) else {
            continue;
        };
        if let Some((bytes, _)) = rest.split_once("\tnop").or(rest.split_once("\tcs nop")) {
            let length = bytes.split_whitespace().count();
            found.extend((1..length).map(|byte| format!("{section}+{:#x}", at + byte)));
        }
    }
    found
}

#[test]
fn no_byte_relocation_or_symbol_may_be_another() {
    const ENDIAN: LittleEndian = LittleEndian;
    for linker in ["ld -r", "ld.lld -r"] {
        if !linkers().contains(&linker) {
            continue;
        }
        let tree = Tree::new("gcc", SECTIONS);
        tree.link(linker, &["head.o", "a.o", "b.o"], "built_in.o");
        std::fs::remove_file(tree.path("alone.o")).expect("a file");
        let objects = tree.objects();
        assert!(is_known(&objects, |_| ()), "the premise");

        let bytes = &objects["built_in.o"][..];
        let header = elf::FileHeader64::<LittleEndian>::parse(bytes).expect("an object");
        assert!(header.is_little_endian(), "{:?}", Endianness::Little);
        let table = header.sections(ENDIAN, bytes).expect("sections");
        let name = |section: &elf::SectionHeader64<LittleEndian>| {
            let name = table.section_name(ENDIAN, section).expect("a name");
            String::from_utf8_lossy(name).into_owned()
        };
        let is_asked = |section: &elf::SectionHeader64<LittleEndian>| {
            let is_loaded = section.sh_flags(ENDIAN).0 & elf::SHF_ALLOC.0 != 0;
            is_loaded && ![".eh_frame", ".note.gnu.property"].contains(&name(section).as_str())
        };
        let nops = nop_operands(&tree.path("built_in.o"));
        let mut asked = 0;
        let mut wrong = BTreeSet::new();
        for section in table.iter() {
            let start = usize::try_from(section.sh_offset(ENDIAN)).expect("an offset");
            let size = usize::try_from(section.sh_size(ENDIAN)).expect("a size");
            let kind = section.sh_type(ENDIAN);
            if is_asked(section) && kind == elf::SHT_PROGBITS {
                for at in start..start + size {
                    asked += 1;
                    if is_known(&objects, |bytes| bytes[at] ^= 0xff) {
                        wrong.insert(format!("{}+{:#x}", name(section), at - start));
                    }
                }
            }
            let target = object::SectionIndex(section.sh_info(ENDIAN) as usize);
            let is_of_asked = || table.section(target).is_ok_and(is_asked);
            if kind == elf::SHT_RELA && is_of_asked() {
                // A field of 24 bytes: offset, type, symbol, addend.
                for at in (start..start + size).step_by(24) {
                    for (field, change) in [(0, 1), (8, 3), (12, 1), (12, 2), (16, 1)] {
                        asked += 1;
                        if is_known(&objects, |bytes| bytes[at + field] ^= change) {
                            wrong.insert(format!("{}+{:#x} {field}", name(section), at - start));
                        }
                    }
                }
            }
        }
        let symbols = table
            .symbols(ENDIAN, bytes, elf::SHT_SYMTAB)
            .expect("symbols");
        let start = usize::try_from(
            table
                .section(symbols.section())
                .expect("a section")
                .sh_offset(ENDIAN),
        )
        .expect("an offset");
        for (index, symbol) in symbols.enumerate() {
            let name = symbols.symbol_name(ENDIAN, symbol).expect("a name");
            let place = symbol.st_shndx(ENDIAN);
            let is_named = !name.is_empty() && !name.starts_with(b".L");
            let is_file = symbol.st_type() == elf::STT_FILE;
            if !is_named || is_file || place == elf::SHN_UNDEF {
                continue;
            }
            // An entry of 24 bytes: type and binding at 4, value at 8, size at 16.
            let at = start + index.0 * 24;
            // A function becomes an object, anything else nothing; a local one may lose its name.
            let kind = if symbol.st_type() == elf::STT_FUNC {
                3
            } else {
                1
            };
            let is_local = symbol.st_bind() == elf::STB_LOCAL;
            let other_name = if is_local { (4, kind) } else { (0, 1) };
            for (field, change) in [other_name, (4, kind), (4, 0x20), (8, 1), (16, 1)] {
                asked += 1;
                if is_known(&objects, |bytes| bytes[at + field] ^= change) {
                    wrong.insert(format!("{} {field}", String::from_utf8_lossy(name)));
                }
            }
        }
        // A NOP between two sections that does nothing in another way.
        wrong.retain(|place| !nops.contains(place));
        assert!(asked > 500, "{linker}: {asked}");
        assert_eq!(wrong, BTreeSet::new(), "{linker}, of {asked}");
    }
}

/// Assembler without FILE symbols, whose replacements are equal and tell nothing of their order.
#[test]
fn equal_sections_stand_where_tables_lead() {
    let function = |name: &str, replacements: &str| {
        format!(
            "    .globl {name}
                 .type {name}, %function
             {name}: .rept {replacements}
                 .long 0
                 .endr
                 .size {name}, . - {name}
                 .section .altinstr_replacement, \"ax\"
                 .set number, 0
             places: .rept {replacements}
                 .quad 0x1122334455667788
                 .endr
                 .section .altinstructions, \"a\"
                 .rept {replacements}
                 .long {name} + 4 * number - .
                 .long places + 8 * number - .
                 .set number, number + 1
                 .endr
            "
        )
    };
    for machine in ["", "aarch64-linux-gnu-"] {
        let assembler = format!("{machine}as");
        if Command::new(&assembler).arg("--version").output().is_err() {
            continue;
        }
        let tree = Tree {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for (name, replacements) in [("one", "1"), ("two", "3"), ("three", "2"), ("four", "1")] {
            let mut source = function(name, replacements).replace("places", &format!(".L{name}"));
            // One refers to its function: the others stand where their tables tell all the same.
            if name == "three" {
                source.push_str(".section .altinstr_replacement\n.quad three\n");
            }
            std::fs::write(tree.path("source.s"), source).expect("a source");
            let object = format!("{name}.o");
            let arguments = ["source.s", "-o", &object];
            run(&assembler, &arguments, tree.folder.path());
        }
        assert_eq!(tree.merged(), BTreeMap::new());
        for order in [
            ["one.o", "two.o", "three.o", "four.o"],
            ["two.o", "four.o", "one.o", "three.o"],
            ["three.o", "one.o", "four.o", "two.o"],
        ] {
            tree.link(&format!("{machine}ld -r"), &order, "built_in.o");
            let mut parts = order.map(str::to_owned).to_vec();
            parts.sort();
            let expected = BTreeMap::from([("built_in.o".to_owned(), parts)]);
            assert_eq!(tree.merged(), expected, "{machine} {order:?}");
        }
        // A replacement that none of them has.
        let mut objects = tree.objects();
        let bytes = objects.get_mut("built_in.o").expect("an object");
        let place = 0x1122_3344_5566_7788_u64.to_le_bytes();
        let at = bytes.windows(8).position(|found| found == place);
        bytes[at.expect("a replacement")] ^= 1;
        assert_eq!(merged(&objects, &[]), BTreeMap::new());
    }
}
