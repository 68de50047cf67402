//! Every refusal of the linker beside the payload that is just within the rule.

use crate::support::hand::{self, A, AX, NOBITS, RETURN_ONE, STB_GLOBAL, STB_LOCAL, STT_FUNC, WA};
use crate::support::{KERNEL, Tree};
use xsplice_abi::Profile;
use xsplice_abi::profile::{LIVEPATCH, XSPLICE, XSPLICE_V1};
use xsplice_diff::Extract;
use xsplice_diff::extract::SectionIndex;
use xsplice_link::Base;
use xsplice_link::LinkError;
use xsplice_link::LinkOptions;
use xsplice_link::Payload;
use xsplice_link::RefusalCode;
use xsplice_link::link;
use xsplice_link::options::{BaseProof, References};
use xsplice_link::verify::{Against, NamedFile, verify};

const SOURCE: &str = "
    static int state = 7;
    int counter;
    static __attribute__((noinline, noclone)) int helper(int x) { return x * 3 + state; }
    int first(int x) { counter += x; return helper(x) + 1; }
    int second(int x) { state = x; return helper(x) + 2; }
";
const TWIN: &str = "
    static __attribute__((noinline, noclone)) int helper(int x) { return x * 5 + 1; }
    int third(int x) { return helper(x) + 4; }
";

fn image() -> Vec<u8> {
    Tree::compile(
        &[
            ("a.c", SOURCE),
            ("x/a.c", TWIN),
            ("b.c", "int lonely(int x) { return x / 3; }"),
        ],
        KERNEL,
    )
    .link()
}

fn linked(base: &Base<'_>, extracts: &[Extract<'_>]) -> Result<Payload, LinkError> {
    let abi = extracts.first().map_or(&XSPLICE, |extract| extract.abi);
    link(base, extracts, &LinkOptions::new("fix", abi))
}

#[track_caller]
fn codes(result: Result<Payload, LinkError>) -> Vec<RefusalCode> {
    match result.expect_err("it must be refused") {
        LinkError::Refused(refusals) => refusals.0.iter().map(|refusal| refusal.code).collect(),
        other => panic!("{other}"),
    }
}

/// `first`, replaced by code that refers to one symbol by a relocation of this type.
fn referring<'data>(
    base: &Base<'data>,
    abi: &'static Profile,
    kind: u32,
    symbol: impl FnOnce(&mut Extract<'_>) -> xsplice_diff::extract::SymbolIndex,
) -> Extract<'data> {
    let code = [0xe8, 0, 0, 0, 0, 0x90, 0x90, 0x90, 0x90, 0xc3];
    let mut extract = hand::replacing(base, "first", &code, abi);
    let symbol = symbol(&mut extract);
    hand::relocate(&mut extract, SectionIndex(0), 1, kind, symbol, -4);
    extract
}

#[test]
fn a_symbol_that_nobody_has_is_refused_and_one_of_the_base_or_of_another_extract_taken() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let missing = referring(&base, &XSPLICE, 2, |extract| {
        hand::undefined(extract, "nobody")
    });
    assert_eq!(
        codes(linked(&base, std::slice::from_ref(&missing))),
        [RefusalCode::UnresolvedSymbol]
    );
    let present = referring(&base, &XSPLICE, 2, |extract| {
        hand::undefined(extract, "second")
    });
    linked(&base, &[present]).unwrap();
    let mut other = hand::empty("b.o", &XSPLICE);
    let section = hand::section(&mut other, ".text.nobody", AX, RETURN_ONE);
    hand::defined(&mut other, "nobody", STB_GLOBAL, STT_FUNC, section);
    linked(&base, &[missing, other]).unwrap();
}

#[test]
fn an_ambiguous_local_is_refused_with_its_candidates() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let ambiguous = referring(&base, &XSPLICE, 2, |extract| {
        hand::in_base(extract, Some("a.c"), "helper")
    });
    let error = linked(&base, &[ambiguous]).unwrap_err().to_string();
    let addresses: Vec<_> = base
        .symbols()
        .iter()
        .filter(|symbol| symbol.name == "helper")
        .map(|symbol| format!("{:#x}", symbol.address))
        .collect();
    assert_eq!(addresses.len(), 2, "the fixture has two files called a.c");
    assert!(
        addresses.iter().all(|address| error.contains(address)),
        "{error}"
    );
    assert!(
        error.starts_with("a.o:.text.first+0x1 (a.c#helper): "),
        "{error}"
    );
    let unique = referring(&base, &XSPLICE, 2, |extract| {
        hand::in_base(extract, Some("a.c"), "state")
    });
    linked(&base, &[unique]).unwrap();
}

#[test]
fn relocations_are_those_of_the_profile() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    const ABS32S: u32 = 11;
    const ABS32: u32 = 10;
    let with = |abi, kind| {
        linked(
            &base,
            &[referring(&base, abi, kind, |extract| {
                hand::undefined(extract, "counter")
            })],
        )
    };
    with(&XSPLICE, ABS32S).unwrap();
    for (abi, kind) in [
        (&LIVEPATCH, ABS32S),
        (&XSPLICE_V1, ABS32S),
        (&XSPLICE, ABS32),
    ] {
        let error = with(abi, kind).unwrap_err().to_string();
        assert!(
            error.contains(abi.name) && error.contains("R_X86_64_32"),
            "{error}"
        );
    }
    assert_eq!(
        codes(with(&LIVEPATCH, ABS32S)),
        [RefusalCode::UnknownRelocation]
    );
}

#[test]
fn the_old_function_must_be_the_base_s_in_name_kind_size_and_bytes() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let good = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
    linked(&base, std::slice::from_ref(&good)).unwrap();

    let mut renamed = good.clone();
    renamed.records[0].name = "premiere".to_owned();
    assert_eq!(
        codes(linked(&base, &[renamed])),
        [RefusalCode::UnresolvedSymbol]
    );

    let mut resized = good.clone();
    resized.records[0].old_size += 1;
    assert_eq!(
        codes(linked(&base, &[resized])),
        [RefusalCode::RecordMismatch]
    );

    let mut data = good.clone();
    data.records[0].name = "counter".to_owned();
    assert_eq!(codes(linked(&base, &[data])), [RefusalCode::RecordMismatch]);

    let mut stale = good.clone();
    stale.records[0].original.bytes.to_mut()[3] ^= 1;
    assert_eq!(
        codes(linked(&base, std::slice::from_ref(&stale))),
        [RefusalCode::ProofFailed]
    );
    let mut options = LinkOptions::new("fix", &XSPLICE);
    options.proof = BaseProof::Skipped;
    let unproven = link(&base, &[stale], &options).unwrap();
    let inspection = xsplice_link::inspect::inspect("p", &unproven.bytes).unwrap();
    let recorded = ("base-proof".to_owned(), "skipped".to_owned());
    assert!(inspection.metadata.contains(&recorded));
}

#[test]
fn one_function_cannot_be_replaced_twice() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let one = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
    let mut two = hand::replacing(&base, "second", RETURN_ONE, &XSPLICE);
    two.object = "b.o".to_owned();
    linked(&base, &[one.clone(), two]).unwrap();
    let mut again = one.clone();
    again.object = "b.o".to_owned();
    assert_eq!(
        codes(linked(&base, &[one, again])),
        [RefusalCode::SharedAddress]
    );
}

#[test]
fn sections_that_no_loader_takes_are_refused() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |name: &str, flags| {
        let mut extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
        hand::section(&mut extract, name, flags, &[0; 8]);
        linked(&base, &[extract])
    };
    with(".rodata.new", A).unwrap();
    with(".data.new", WA).unwrap();
    assert_eq!(
        codes(with(".text.both", 7)),
        [RefusalCode::UnloadableSection]
    );
    assert_eq!(
        codes(with(".tbss", 0x403)),
        [RefusalCode::UnloadableSection]
    );
    assert_eq!(
        codes(with(".init.text", AX)),
        [RefusalCode::UnloadableSection]
    );
    assert_eq!(
        codes(with("__jump_table", A)),
        [RefusalCode::ForeignSection]
    );
    assert_eq!(
        codes(with(".livepatch.funcs", WA)),
        [RefusalCode::ForeignSection]
    );
    assert_eq!(
        codes(with(".xsplice.funcs", WA)),
        [RefusalCode::ForeignSection]
    );
}

#[test]
fn a_table_of_broken_entries_is_refused() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |bytes: usize| {
        let mut extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
        let table = hand::section(&mut extract, ".ex_table", A, &vec![0; bytes]);
        let symbol = extract.records[0].symbol;
        for offset in (0..bytes as u64 / 4 * 4).step_by(4) {
            hand::relocate(&mut extract, table, offset, 2, symbol, 0);
        }
        linked(&base, &[extract])
    };
    with(16).unwrap();
    assert_eq!(codes(with(12)), [RefusalCode::BrokenTable]);
}

#[test]
fn hooks_are_as_many_as_the_profile_allows() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |abi: &'static Profile, kind: &str, count: usize| {
        let mut extract = hand::empty("a.o", abi);
        let code = hand::section(&mut extract, ".text.hook", AX, RETURN_ONE);
        let symbol = hand::defined(&mut extract, "hook", STB_LOCAL, STT_FUNC, code);
        let name = format!("{}hooks.{kind}", abi.prefix);
        let hooks = hand::section(&mut extract, &name, WA, &vec![0; count * 8]);
        for index in 0..count as u64 {
            hand::relocate(&mut extract, hooks, index * 8, 1, symbol, 0);
        }
        linked(&base, &[extract])
    };
    // Hooks alone make a payload.
    let alone = with(&XSPLICE, "load", 3).unwrap();
    assert!(alone.records.is_empty());
    with(&LIVEPATCH, "preapply", 1).unwrap();
    with(&XSPLICE_V1, "unload", 1).unwrap();
    assert_eq!(codes(with(&XSPLICE, "apply", 2)), [RefusalCode::BadHook]);
    assert_eq!(codes(with(&XSPLICE_V1, "apply", 1)), [RefusalCode::BadHook]);
    assert_eq!(codes(with(&XSPLICE, "often", 1)), [RefusalCode::BadHook]);
    let two = |object: &str| {
        let mut extract = hand::empty(object, &XSPLICE);
        let code = hand::section(&mut extract, ".text.hook", AX, RETURN_ONE);
        let symbol = hand::defined(&mut extract, "hook", STB_LOCAL, STT_FUNC, code);
        let hooks = hand::section(&mut extract, ".xsplice.hooks.revert", A, &[0; 8]);
        hand::relocate(&mut extract, hooks, 0, 1, symbol, 0);
        extract
    };
    linked(&base, &[two("a.o")]).unwrap();
    assert_eq!(
        codes(linked(&base, &[two("a.o"), two("b.o")])),
        [RefusalCode::BadHook]
    );
}

#[test]
fn nothing_to_patch_is_refused() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    assert_eq!(codes(linked(&base, &[])), [RefusalCode::Nothing]);
    assert_eq!(
        codes(linked(&base, &[hand::empty("a.o", &XSPLICE)])),
        [RefusalCode::Nothing]
    );
}

#[test]
fn globals_that_clash_are_refused() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |object: &str, name: &str, binding| {
        let mut extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
        object.clone_into(&mut extract.object);
        if object != "a.o" {
            extract = hand::empty(object, &XSPLICE);
        }
        let code = hand::section(&mut extract, ".text.fresh", AX, RETURN_ONE);
        hand::defined(&mut extract, name, binding, STT_FUNC, code);
        extract
    };
    let fresh = |object| with(object, "fresh", STB_GLOBAL);
    linked(&base, &[fresh("a.o")]).unwrap();
    let clash = [RefusalCode::DuplicateSymbol];
    assert_eq!(codes(linked(&base, &[fresh("a.o"), fresh("b.o")])), clash);
    assert_eq!(
        codes(linked(&base, &[with("a.o", "third", STB_GLOBAL)])),
        clash
    );
    // What is local can have any name: it gets another in the payload.
    linked(
        &base,
        &[
            with("a.o", "third", STB_LOCAL),
            with("b.o", "third", STB_LOCAL),
        ],
    )
    .unwrap();
    assert_eq!(
        codes(linked(&base, &[fresh("a.o"), fresh("a.o")]))[0],
        clash[0]
    );
}

#[test]
fn extracts_of_another_abi_are_refused() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let extract = hand::replacing(&base, "first", RETURN_ONE, &LIVEPATCH);
    let refused = link(
        &base,
        std::slice::from_ref(&extract),
        &LinkOptions::new("fix", &XSPLICE),
    );
    assert_eq!(codes(refused), [RefusalCode::AbiMismatch]);
    link(&base, &[extract], &LinkOptions::new("fix", &LIVEPATCH)).unwrap();
}

#[test]
fn a_payload_larger_than_the_loader_takes_is_refused() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let with = |bytes: usize, kind: u32| {
        let mut extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
        let name = if kind == NOBITS {
            ".bss.big"
        } else {
            ".rodata.big"
        };
        let flags = if kind == NOBITS { WA } else { A };
        let section = hand::section(&mut extract, name, flags, &[]);
        let section = &mut extract.sections[section.0];
        section.kind = kind;
        section.size = bytes as u64;
        if kind != NOBITS {
            section.data = vec![1; bytes].into();
        }
        linked(&base, &[extract])
    };
    const LIMIT: usize = xsplice_abi::limits::PAYLOAD_BYTES_MAX;
    with(LIMIT - 8192, 1).unwrap();
    with(LIMIT, NOBITS).unwrap();
    assert_eq!(codes(with(LIMIT, 1)), [RefusalCode::TooLarge]);
    assert_eq!(codes(with(LIMIT + 1, NOBITS)), [RefusalCode::TooLarge]);
}

#[test]
fn prelinking_needs_an_image_that_runs_where_it_was_linked() {
    let tree = Tree::compile(&[("a.c", SOURCE)], &["-fpie", "-fcf-protection=none"]);
    let mut options = LinkOptions::new("fix", &XSPLICE);
    options.references = References::Prelinked;
    for (kind, expected) in [
        ("-no-pie", None),
        ("-pie", Some(RefusalCode::NotPrelinkable)),
    ] {
        // ld makes a position-independent image with an address of its own an ordinary one.
        let image = tree.link_anywhere(&["--build-id=sha1", kind]);
        let base = Base::parse("image", &image).unwrap();
        let extract = referring(&base, &XSPLICE, 2, |extract| {
            hand::undefined(extract, "second")
        });
        let result = link(&base, &[extract], &options);
        match expected {
            None => {
                let inspection =
                    xsplice_link::inspect::inspect("p", &result.unwrap().bytes).unwrap();
                assert_eq!(inspection.undefined, Vec::<String>::new());
            }
            Some(code) => {
                assert_eq!(codes(result), [code]);
                // By name it works: the loader knows where the image runs.
                let extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
                let payload = linked(&base, &[extract]).unwrap();
                let inspection = xsplice_link::inspect::inspect("p", &payload.bytes).unwrap();
                assert_eq!(inspection.records[0].old, "first");
                let file = NamedFile {
                    path: "payload",
                    bytes: &payload.bytes,
                };
                let against = Against {
                    base: &base,
                    stack: &[],
                    deny: &[],
                    signer: None,
                };
                let report = verify(file, against).unwrap();
                assert!(report.passed(), "{report}");
            }
        }
    }
}

#[test]
fn an_extract_that_contradicts_itself_is_refused_and_does_no_harm() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let malformed = [RefusalCode::MalformedExtract];
    let good = referring(&base, &XSPLICE, 2, |extract| {
        hand::undefined(extract, "second")
    });
    let mut outside = good.clone();
    outside.sections[0].relocations[0].offset = u64::MAX;
    assert_eq!(codes(linked(&base, &[outside])), malformed);
    let mut unknown = good.clone();
    unknown.sections[0].relocations[0].symbol = xsplice_diff::extract::SymbolIndex(99);
    assert_eq!(codes(linked(&base, &[unknown])), malformed);
    let mut short = good.clone();
    short.sections[0].size += 1;
    assert!(codes(linked(&base, &[short])).contains(&RefusalCode::MalformedExtract));
    let mut skewed = good;
    skewed.sections[0].alignment = 3;
    assert!(codes(linked(&base, &[skewed])).contains(&RefusalCode::UnloadableSection));
}

#[test]
fn a_function_that_the_linker_folded_with_another_file_s_is_refused_and_an_alias_not() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let address = |name| {
        let name = xsplice_link::base::QualifiedName::parse(name);
        base.lookup(name).found().unwrap().address
    };
    // What an identical-code-folding linker leaves: two symbols at one address. The other file's
    // local is moved onto the function by hand.
    let fold = |onto: u64| {
        let mut folded = image.clone();
        let elf = goblin::elf::Elf::parse(&image).unwrap();
        let table = elf
            .section_headers
            .iter()
            .find(|header| header.sh_type == goblin::elf::section_header::SHT_SYMTAB)
            .unwrap();
        let name = |symbol: &goblin::elf::Sym| elf.strtab.get_at(symbol.st_name);
        let named = elf
            .syms
            .iter()
            .enumerate()
            .filter(|(_, one)| name(one) == Some("helper"));
        let (index, _) = named.last().unwrap();
        let at = usize::try_from(table.sh_offset).unwrap() + index * 24 + 8;
        folded[at..at + 8].copy_from_slice(&onto.to_le_bytes());
        folded
    };
    let folded = fold(address("first"));
    let folded = Base::parse("image", &folded).unwrap();
    let refused = linked(
        &folded,
        &[hand::replacing(&folded, "first", RETURN_ONE, &XSPLICE)],
    );
    assert_eq!(codes(refused), [RefusalCode::SharedAddress]);
    linked(
        &folded,
        &[hand::replacing(&folded, "second", RETURN_ONE, &XSPLICE)],
    )
    .unwrap();

    let source =
        "int first(int x) { return x / 3; } int other(int) __attribute__((alias(\"first\")));";
    let aliased = Tree::compile(&[("a.c", source)], KERNEL).link();
    let aliased = Base::parse("image", &aliased).unwrap();
    let mut extract = hand::replacing(&aliased, "first", RETURN_ONE, &XSPLICE);
    // Of the same object, and so of the same function on purpose.
    extract.records[0].aliases = vec![("other".to_owned(), None)];
    linked(&aliased, &[extract]).unwrap();
    let unnamed = hand::replacing(&aliased, "first", RETURN_ONE, &XSPLICE);
    assert_eq!(
        codes(linked(&aliased, &[unnamed])),
        [RefusalCode::SharedAddress]
    );
}

#[test]
fn a_base_whose_debug_information_has_records_of_another_size_is_refused() {
    let with = |pad: &str, flags: &[&str]| {
        let source = format!(
            "struct livepatch_func {{ const char *name; void *new_addr, *old_addr;
                unsigned new_size, old_size; unsigned char version; char pad[{pad}]; }};
             struct livepatch_func func; int first(int x) {{ return x / 3 + func.version; }}"
        );
        let image = Tree::compile(&[("a.c", &source)], flags).link();
        let base = Base::parse("image", &image).unwrap();
        let bytes = base.structure_bytes("livepatch_func");
        let extract = hand::replacing(&base, "first", RETURN_ONE, &LIVEPATCH);
        (bytes, linked(&base, &[extract]))
    };
    let debug = [KERNEL, &["-g"]].concat();
    let (bytes, result) = with("71", &debug);
    assert_eq!(bytes, Some(104));
    result.unwrap();
    let (bytes, result) = with("31", &debug);
    assert_eq!(bytes, Some(64));
    assert_eq!(codes(result), [RefusalCode::RecordSize]);
    // Without debug information nothing is known.
    let (bytes, result) = with("31", KERNEL);
    assert_eq!(bytes, None);
    result.unwrap();
}

#[test]
fn a_name_that_symbols_cannot_carry_is_an_error() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
    let long = "x".repeat(127);
    for (name, is_good) in [
        ("fix-1.2+3_a", true),
        (long.as_str(), true),
        (&"x".repeat(128), false),
        ("", false),
        ("a b", false),
        ("a#b", false),
        ("a\0b", false),
    ] {
        let result = link(
            &base,
            std::slice::from_ref(&extract),
            &LinkOptions::new(name, &XSPLICE),
        );
        match result {
            Ok(payload) => {
                assert!(is_good, "{name:?}");
                let inspection = xsplice_link::inspect::inspect("p", &payload.bytes).unwrap();
                assert!(
                    inspection
                        .symbols
                        .iter()
                        .all(|symbol| symbol.name.len() <= 127)
                );
            }
            Err(error) => {
                assert!(
                    !is_good && matches!(error, LinkError::BadName { .. }),
                    "{error}"
                );
            }
        }
    }
}
