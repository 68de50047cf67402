//! What a payload looks like on disk: to readelf, to goblin, to the loader's rules.

mod support;

use goblin::elf::Elf;
use support::complete;
use support::hand::{self, A, AX, RETURN_ONE, STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_OBJECT, WA};
use support::{ENDBR, KERNEL, Tree, readelf};
use xsplice_abi::Profile;
use xsplice_abi::profile::{self, LIVEPATCH, XSPLICE, XSPLICE_V1};
use xsplice_diff::Extract;
use xsplice_diff::extract::SectionIndex;
use xsplice_link::Base;
use xsplice_link::BuildId;
use xsplice_link::LinkOptions;
use xsplice_link::inspect::inspect;
use xsplice_link::link;
use xsplice_link::options::{Below, References, StacksOn};
use xsplice_link::verify::{Against, CheckKind, NamedFile, Verification, verify};

const SOURCE: &str = "
    static int state = 7;
    int counter;
    static __attribute__((noinline, noclone)) int helper(int x) { return x * 3 + state; }
    int first(int x) { counter += x; return helper(x) + 1; }
    int second(int x) { state = x; return helper(x) + 2; }
    int third(int x) { return helper(x) / 3; }
";

fn image() -> Vec<u8> {
    Tree::compile(&[("a.c", SOURCE)], KERNEL).link()
}

fn linked(base: &Base<'_>, extracts: &[Extract<'_>]) -> Vec<u8> {
    link(base, extracts, &LinkOptions::new("fix", extracts[0].abi))
        .unwrap()
        .bytes
}

fn verified(base: &Base<'_>, payload: &[u8]) -> Verification {
    verify(
        NamedFile {
            path: "payload",
            bytes: payload,
        },
        Against {
            base,
            stack: &[],
            deny: &[],
            signer: None,
        },
    )
    .unwrap()
}

/// A payload with code, constants, data, hooks, a call into the base and an access to its data.
fn rich<'data>(base: &Base<'data>, abi: &'static Profile) -> Vec<Extract<'data>> {
    // call second; mov counter(%rip),%eax; ret
    let code = [0xe8, 0, 0, 0, 0, 0x8b, 0x05, 0, 0, 0, 0, 0xc3];
    let mut a = hand::replacing(base, "first", &code, abi);
    let second = hand::undefined(&mut a, "second");
    let state = hand::in_base(&mut a, Some("a.c"), "state");
    hand::relocate(&mut a, SectionIndex(0), 1, 4, second, -4);
    hand::relocate(&mut a, SectionIndex(0), 7, 2, state, -4);
    let hook_code = hand::section(&mut a, ".text.hook", AX, RETURN_ONE);
    let hook = hand::defined(&mut a, "hook", STB_LOCAL, STT_FUNC, hook_code);
    let hooks = hand::section(&mut a, &format!("{}hooks.load", abi.prefix), WA, &[0; 8]);
    hand::relocate(&mut a, hooks, 0, 1, hook, 0);

    let mut b = hand::empty("b.o", abi);
    hand::replace(&mut b, base, "a.c#helper", RETURN_ONE);
    let data = hand::section(&mut b, ".data.fresh", WA, &[1, 2, 3, 4]);
    hand::defined(&mut b, "fresh", STB_LOCAL, STT_OBJECT, data);
    hand::section(&mut b, ".rodata.str1.1", A | 0x30, b"text\0");
    hand::section(&mut b, ".eh_frame", A, &[9; 8]);
    vec![a, b]
}

#[test]
fn every_profile_writes_a_payload_that_readelf_and_verify_have_nothing_against() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    for abi in profile::ALL {
        let payload = linked(&base, &rich(&base, abi));
        let page = readelf(&payload);
        assert!(!page.contains(".eh_frame"), "{page}");
        let id = base.build_id().to_string();
        let ids = page.matches(&id).count();
        let notes = if abi.name == XSPLICE_V1.name { 1 } else { 2 };
        assert_eq!(
            ids, notes,
            "depends, and where the profile has it xen_depends: {page}"
        );
        let report = verified(&base, &payload);
        assert!(report.passed(), "{}: {report}", abi.name);
    }
}

#[test]
fn goblin_sees_what_a_loader_demands() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    for abi in profile::ALL {
        let payload = linked(&base, &rich(&base, abi));
        let elf = Elf::parse(&payload).unwrap();
        assert_eq!(elf.header.e_type, goblin::elf::header::ET_REL);
        assert_eq!(elf.header.e_phnum, 0);
        let name = |header: &goblin::elf::SectionHeader| {
            elf.shdr_strtab.get_at(header.sh_name).unwrap().to_owned()
        };
        for header in elf.section_headers.iter().skip(1) {
            let name = name(header);
            assert!(header.sh_offset >= 64, "{name}");
            assert_ne!(header.sh_size, 0, "{name} is empty");
            assert!(header.sh_addralign.is_power_of_two(), "{name}");
            assert!(!(header.is_writable() && header.is_executable()), "{name}");
            let is_table = [".symtab", ".strtab", ".shstrtab"].contains(&name.as_str())
                || name.starts_with(".rela");
            assert!(header.is_alloc() || is_table, "{name} does not belong here");
        }
        let funcs = elf
            .section_headers
            .iter()
            .find(|header| name(header) == format!("{}funcs", abi.prefix))
            .unwrap();
        assert_eq!(funcs.sh_size, 2 * abi.record_bytes as u64);
        let of_funcs = elf
            .shdr_relocs
            .iter()
            .find(|(index, _)| name(&elf.section_headers[*index]).ends_with("funcs"))
            .map(|(_, relocations)| relocations.to_vec())
            .unwrap();
        assert_eq!(of_funcs.len(), 4, "two a record");
        assert!(
            of_funcs
                .iter()
                .all(|one| one.r_type == goblin::elf::reloc::R_X86_64_64)
        );
    }
}

#[test]
fn nothing_undefined_is_left_that_no_relocation_uses() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let mut extracts = rich(&base, &XSPLICE);
    hand::undefined(&mut extracts[0], "third");
    hand::in_base(&mut extracts[0], None, "counter");
    let inspection = inspect("p", &linked(&base, &extracts)).unwrap();
    assert_eq!(inspection.undefined, ["second", "a.c#state"]);
}

#[test]
fn what_is_defined_carries_no_name_of_the_base() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let inspection = inspect("p", &linked(&base, &rich(&base, &XSPLICE))).unwrap();
    let names: Vec<_> = inspection
        .symbols
        .iter()
        .map(|symbol| symbol.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "fix:first",
            "fix:a.c#hook",
            "fix:a.c#helper",
            "fix:a.c#fresh"
        ]
    );
    assert_eq!(inspection.exports, Vec::<String>::new());
    let records: Vec<_> = inspection
        .records
        .iter()
        .map(|one| one.name.clone())
        .collect();
    assert_eq!(
        records,
        [Some("first".to_owned()), Some("a.c#helper".to_owned())]
    );
}

#[test]
fn the_order_of_the_inputs_does_not_matter() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let extracts = rich(&base, &XSPLICE);
    let mut reversed = extracts.clone();
    reversed.reverse();
    let payload = linked(&base, &extracts);
    assert_eq!(payload, linked(&base, &reversed));
    let renamed = link(&base, &extracts, &LinkOptions::new("other", &XSPLICE)).unwrap();
    assert_ne!(payload, renamed.bytes);
    assert_ne!(
        inspect("p", &payload).unwrap().build_id,
        Some(renamed.build_id.to_string())
    );
}

#[test]
fn references_to_a_replaced_function_go_to_the_base_so_that_the_jump_is_taken() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let mut a = hand::replacing(&base, "second", &[0xe9, 0, 0, 0, 0], &XSPLICE);
    let helper = hand::in_base(&mut a, Some("a.c"), "helper");
    hand::relocate(&mut a, SectionIndex(0), 1, 4, helper, -4);
    hand::replace(&mut a, &base, "a.c#helper", RETURN_ONE);
    let inspection = inspect("p", &linked(&base, &[a])).unwrap();
    assert_eq!(inspection.undefined, ["a.c#helper"]);
}

#[test]
fn prelinking_writes_the_base_s_addresses_and_leaves_nothing_to_look_up() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let mut options = LinkOptions::new("fix", &XSPLICE);
    options.references = References::Prelinked;
    let payload = link(&base, &rich(&base, &XSPLICE), &options).unwrap();
    let elf = Elf::parse(&payload.bytes).unwrap();
    let absolute: Vec<_> = elf
        .syms
        .iter()
        .filter(|symbol| symbol.st_shndx == 0xfff1)
        .map(|symbol| (elf.strtab.get_at(symbol.st_name).unwrap(), symbol.st_value))
        .collect();
    let address = |name| {
        base.lookup(xsplice_link::base::QualifiedName::parse(name))
            .found()
            .unwrap()
            .address
    };
    assert_eq!(
        absolute,
        [
            ("second", address("second")),
            ("a.c#state", address("a.c#state"))
        ]
    );
    assert_eq!(
        inspect("p", &payload.bytes).unwrap().undefined,
        Vec::<String>::new()
    );
    readelf(&payload.bytes);
    let report = verified(&base, &payload.bytes);
    assert!(report.passed(), "{report}");
}

#[test]
fn equal_constants_are_kept_once_and_equal_data_twice() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |flags| {
        let mut extracts = Vec::new();
        for object in ["a.o", "b.o"] {
            let mut extract = if object == "a.o" {
                hand::replacing(&base, "first", RETURN_ONE, &XSPLICE)
            } else {
                hand::empty(object, &XSPLICE)
            };
            hand::section(&mut extract, ".rodata.str1.1", flags, b"the same words\0");
            extracts.push(extract);
        }
        let payload = linked(&base, &extracts);
        payload
            .windows(14)
            .filter(|text| text == b"the same words")
            .count()
    };
    assert_eq!(with(A | 0x30), 1, "SHF_MERGE gives identity up");
    assert_eq!(with(A), 2);
}

#[test]
fn exports_keep_their_name_and_are_found_by_a_payload_above() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let mut below = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
    let code = hand::section(&mut below, ".text.fresh", AX, RETURN_ONE);
    hand::defined(&mut below, "fresh", STB_GLOBAL, STT_FUNC, code);
    let mut options = LinkOptions::new("below", &XSPLICE);
    options.exports.push("fresh".to_owned());
    let below = link(&base, &[below], &options).unwrap();
    assert_eq!(inspect("p", &below.bytes).unwrap().exports, ["fresh"]);

    let mut above = hand::replacing(&base, "second", &[0xe9, 0, 0, 0, 0], &XSPLICE);
    let fresh = hand::undefined(&mut above, "fresh");
    hand::relocate(&mut above, SectionIndex(0), 1, 4, fresh, -4);
    let mut options = LinkOptions::new("above", &XSPLICE);
    let known = Below::of_payload("below", &below.bytes, &base, base.build_id())
        .unwrap()
        .unwrap();
    options.stacks_on = StacksOn::Payload(known);
    let above_payload = link(&base, std::slice::from_ref(&above), &options).unwrap();
    assert_eq!(above_payload.depends, below.build_id);
    let stack = [NamedFile {
        path: "below",
        bytes: &below.bytes,
    }];
    let against = Against {
        base: &base,
        stack: &stack,
        deny: &[],
        signer: None,
    };
    let file = NamedFile {
        path: "above",
        bytes: &above_payload.bytes,
    };
    let report = verify(file, against).unwrap();
    assert!(report.passed(), "{report}");
    // Without the payload below the symbol is nobody's, and the dependency not met.
    assert!(!verified(&base, &above_payload.bytes).passed());
    options.stacks_on = StacksOn::Base;
    assert!(link(&base, &[above], &options).is_err());
}

#[test]
fn expectations_are_the_base_s_bytes_but_for_endbr64_and_what_is_replaced_below() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let expected = |base: &Base<'_>, abi, stacks_on| {
        let mut options = LinkOptions::new("fix", abi);
        options.stacks_on = stacks_on;
        let extract = hand::replacing(base, "first", RETURN_ONE, abi);
        let payload = link(base, &[extract], &options).unwrap();
        inspect("p", &payload.bytes).unwrap().records[0]
            .expect
            .clone()
    };
    let first = xsplice_link::base::QualifiedName::parse("first");
    let old = base.lookup(first).found().unwrap();
    let bytes = base.bytes_at(old.address, old.size_bytes).unwrap();
    let length = bytes.len().min(31);
    let hex: String = bytes[..length]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(expected(&base, &XSPLICE, StacksOn::Base), hex);
    assert_eq!(expected(&base, &LIVEPATCH, StacksOn::Base), hex);
    assert_eq!(expected(&base, &XSPLICE_V1, StacksOn::Base), "");
    let id = BuildId::from_hex("00112233").unwrap();
    assert_eq!(expected(&base, &XSPLICE, StacksOn::Id(id.clone())), "");
    let below = |start| {
        StacksOn::Payload(Below {
            build_id: id.clone(),
            replaced: std::iter::once(start..start + 5).collect(),
            exports: Vec::new(),
        })
    };
    assert_eq!(expected(&base, &XSPLICE, below(old.address)), "");
    assert_eq!(
        expected(&base, &XSPLICE, below(old.address + old.size_bytes)),
        hex
    );

    let guarded = Tree::compile(&[("a.c", SOURCE)], ENDBR).link();
    let guarded = Base::parse("image", &guarded).unwrap();
    let old = guarded.lookup(first).found().unwrap();
    let start = guarded.bytes_at(old.address, 4).unwrap();
    assert_eq!(start, [0xf3, 0x0f, 0x1e, 0xfa], "the fixture has endbr64");
    assert_eq!(expected(&guarded, &XSPLICE, StacksOn::Base), "");
}

#[test]
fn an_id_of_another_length_makes_a_note_of_that_length() {
    let image = Tree::compile(&[("a.c", SOURCE)], KERNEL).link_with(&["--build-id=md5"]);
    let base = Base::parse("image", &image).unwrap();
    let payload = linked(&base, &rich(&base, &XSPLICE));
    let inspection = inspect("p", &payload).unwrap();
    assert_eq!(inspection.depends.unwrap().len(), 32);
    assert_eq!(inspection.build_id.unwrap().len(), 40);
    readelf(&payload);
    let report = verified(&base, &payload);
    assert!(report.passed(), "{report}");
}

/// `payload` with a section called otherwise; the new name is not longer.
fn renamed(payload: &[u8], from: &str, to: &str) -> Vec<u8> {
    let from = [from.as_bytes(), &[0]].concat();
    let at = payload.windows(from.len()).position(|bytes| bytes == from);
    let at = at.expect("the payload has such a section");
    let mut renamed = payload.to_vec();
    renamed[at..at + from.len()].fill(0);
    renamed[at..at + to.len()].copy_from_slice(to.as_bytes());
    renamed
}

#[test]
fn a_table_that_nobody_was_taught_is_told_as_unknown_and_never_as_another() {
    let image = complete::image();
    let base = Base::parse("image", &image).unwrap();
    let whole = complete::payload(&base, &XSPLICE);
    let failed_tables = |payload: &[u8]| -> Vec<String> {
        let report = complete::verified(&base, payload);
        let failures = report
            .failures()
            .filter(|check| check.check == CheckKind::Tables);
        failures.map(|check| check.message.clone()).collect()
    };
    // The twin: a table that is known.
    let page = inspect("payload", &whole).unwrap();
    assert_eq!(page.unknown_tables, []);
    assert!(page.to_string().contains("warning at line"), "{page}");
    assert_eq!(failed_tables(&whole), Vec::<String>::new());

    for (known, unknown) in [
        (".bug_frames.1", ".bug_frames.9"),
        (".bug_frames.1", ".bug_frames."),
        (".bug_frames.1", "__bug_table"),
        (".bug_frames.1", ".call_sites"),
        (".bug_frames.1", ".smp_locks"),
    ] {
        let payload = renamed(&whole, known, unknown);
        let page = inspect("payload", &payload).unwrap();
        let names: Vec<_> = page
            .tables
            .iter()
            .map(|table| table.name.as_str())
            .collect();
        assert_eq!(names, [".ex_table"], "{unknown}");
        let [table] = &page.unknown_tables[..] else {
            panic!("{unknown}: {page}");
        };
        assert_eq!((table.name.as_str(), table.size), (unknown, 8));
        let text = page.to_string();
        assert!(
            text.contains("unknown: 8 bytes that no loader walks"),
            "{text}"
        );
        assert!(!text.contains("warning at line"), "{text}");
        assert!(!text.contains("alternative call"), "{text}");
        let failed = failed_tables(&payload);
        let said = format!("{unknown}: no loader walks this table, so what it says has no effect");
        assert_eq!(failed, [said]);
    }
}
