//! From two trees that gcc built to a payload that verify has nothing against, and back to the
//! base for the proof.

mod support;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use support::{ENDBR, Fix, KERNEL, PIC, Tree, readelf};
use xsplice_abi::profile::{self, LIVEPATCH, XSPLICE};
use xsplice_link::Base;
use xsplice_link::LinkError;
use xsplice_link::LinkOptions;
use xsplice_link::RefusalCode;
use xsplice_link::inspect::{Inspection, inspect};
use xsplice_link::proof::{TreeProof, prove_object};
use xsplice_link::verify::{Against, NamedFile, Verification, verify};

const COMMON_SYMBOLS: &str = "
    int counter;
    int level = 3;
    extern int printk(const char *format, ...);
    static __attribute__((noinline, noclone)) int helper(int x) { return x * 3 + level; }
    int first(int x) { counter += x; printk(\"first %d\\n\", x); return helper(x) + 1; }
    int second(int x) { printk(\"second\\n\"); return helper(x) + 2; }
";
const COMMON_PATCHED: &str = "
    int counter;
    int level = 3;
    extern int printk(const char *format, ...);
    static __attribute__((noinline, noclone)) int helper(int x) { return x * 3 + level; }
    int first(int x) { counter += x; printk(\"first, fixed %d\\n\", x); return helper(x) + 10; }
    int second(int x) { printk(\"second\\n\"); return helper(x) + 2; }
";
const PRINTK: &str = "
    char ring[64];
    int printk(const char *format, ...) { ring[0] = *format; return ring[1]; }
";

fn fix(flags: &[&str]) -> Fix {
    Fix::build(
        &[("common/a.c", COMMON_SYMBOLS), ("printk.c", PRINTK)],
        &[("common/a.c", COMMON_PATCHED)],
        flags,
    )
}

fn verified(fix: &Fix, payload: &[u8]) -> Verification {
    verify(
        NamedFile {
            path: "payload",
            bytes: payload,
        },
        Against {
            base: &fix.base(),
            stack: &[],
            deny: &[],
            signer: None,
        },
    )
    .unwrap()
}

fn inspected(payload: &[u8]) -> Inspection {
    inspect("payload", payload).unwrap()
}

#[test]
fn one_changed_function_makes_one_record_in_every_profile_and_code_model() {
    for flags in [PIC, KERNEL, ENDBR] {
        let fix = fix(flags);
        for abi in profile::ALL {
            if flags != PIC && abi.name != XSPLICE.name {
                // The kernel's code model needs 32S, which only the default takes.
                continue;
            }
            let payload = fix.payload(abi);
            readelf(&payload.bytes);
            let report = verified(&fix, &payload.bytes);
            assert!(report.passed(), "{flags:?} {}: {report}", abi.name);
            let inspection = inspected(&payload.bytes);
            assert_eq!(inspection.records.len(), 1, "{inspection}");
            assert_eq!(inspection.records[0].name.as_deref(), Some("first"));
            assert!(
                inspection.undefined.contains(&"a.c#helper".to_owned()),
                "{inspection}"
            );
            assert!(
                inspection.undefined.contains(&"printk".to_owned()),
                "{inspection}"
            );
        }
    }
}

#[test]
fn the_kernel_s_code_model_is_refused_by_name_where_the_loader_does_not_take_it() {
    let fix = fix(KERNEL);
    let error = fix
        .link(&LinkOptions::new("fix", &LIVEPATCH))
        .err()
        .unwrap();
    let LinkError::Refused(refusals) = &error else {
        panic!("{error}")
    };
    assert!(
        refusals
            .0
            .iter()
            .all(|one| one.code == RefusalCode::UnknownRelocation),
        "{error}"
    );
    assert!(error.to_string().contains("R_X86_64_32S"), "{error}");
}

/// Instructions of the payload's `.text`.
fn code(payload: &[u8]) -> Vec<Instruction> {
    let elf = goblin::elf::Elf::parse(payload).unwrap();
    let text = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".text"))
        .unwrap();
    let range = text.file_range().unwrap();
    Decoder::new(64, &payload[range], DecoderOptions::NONE)
        .iter()
        .collect()
}

#[test]
fn accesses_through_the_got_become_direct_ones() {
    let fix = fix(PIC);
    let types = support::relocation_types(fix.patched.object("common/a.o"));
    let has_got = types.contains(&goblin::elf::reloc::R_X86_64_REX_GOTPCRELX);
    assert!(has_got, "the fixture goes through the GOT");
    let payload = fix.payload(&LIVEPATCH).bytes;
    let inspection = inspected(&payload);
    assert!(
        inspection
            .relocations
            .iter()
            .all(|(name, _)| !name.contains("GOT")),
        "{inspection}"
    );
    assert!(
        inspection
            .sections
            .iter()
            .all(|section| section.name != ".got")
    );
    let instructions = code(&payload);
    assert!(
        instructions
            .iter()
            .any(|one| one.code() == Code::Lea_r64_m && one.is_ip_rel_memory_operand())
    );
    assert!(instructions.iter().all(|one| one.code() != Code::INVALID));
}

#[test]
fn an_access_that_cannot_be_relaxed_gets_one_read_only_slot() {
    // A comparison with the address itself; gas gives cmp a relaxable relocation, but only for an
    // immediate that a payload's loader could not fill.
    let original = "
        extern int counter;
        int first(void *p) { int r; asm(\"cmp counter@GOTPCREL(%%rip), %1; sete %b0\" : \"=a\"(r) : \"r\"(p) : \"cc\"); return r & 1; }
    ";
    let patched = "
        extern int counter;
        int first(void *p) { int r; asm(\"cmp counter@GOTPCREL(%%rip), %1; setne %b0; cmp counter@GOTPCREL(%%rip), %1\" : \"=a\"(r) : \"r\"(p) : \"cc\"); return r & 1; }
    ";
    let fix = Fix::build(
        &[("a.c", original), ("b.c", "int counter;")],
        &[("a.c", patched)],
        PIC,
    );
    let payload = fix.payload(&LIVEPATCH).bytes;
    let inspection = inspected(&payload);
    let slots: Vec<_> = inspection
        .sections
        .iter()
        .filter(|section| section.name == ".got")
        .collect();
    assert_eq!(slots.len(), 1, "{inspection}");
    assert_eq!((slots[0].size, slots[0].region), (8, "ro"));
    let report = verified(&fix, &payload);
    assert!(report.passed(), "{report}");
}

#[test]
fn two_objects_are_linked_together_and_call_each_other_s_new_functions() {
    let fix = Fix::build(
        &[
            ("a.c", "int first(int x) { return x / 3 + 1; }"),
            ("b.c", "int second(int x) { return x / 3 + 2; }"),
        ],
        &[
            (
                "a.c",
                "int fresh(int); int first(int x) { return fresh(x) + 1; }",
            ),
            ("b.c", "int second(int x) { return x / 3 + 3; }"),
            (
                "c.c",
                "int fresh(int x) { static int calls; return x + ++calls; }",
            ),
        ],
        KERNEL,
    );
    let payload = fix.payload(&XSPLICE).bytes;
    let inspection = inspected(&payload);
    assert_eq!(inspection.records.len(), 2, "{inspection}");
    assert_eq!(inspection.undefined, Vec::<String>::new(), "{inspection}");
    assert!(
        inspection
            .symbols
            .iter()
            .any(|symbol| symbol.name == "fix:fresh")
    );
    let report = verified(&fix, &payload);
    assert!(report.passed(), "{report}");
    let outlook = report.outlook.unwrap();
    assert_eq!(
        outlook.writable.len(),
        1,
        "the new static variable: {outlook}"
    );
}

#[test]
fn the_whole_original_tree_is_proven_and_a_foreign_one_noticed() {
    for flags in [PIC, KERNEL, ENDBR] {
        let fix = fix(flags);
        let base = fix.base();
        let prove = |tree: &Tree| {
            let mut proof = TreeProof::default();
            for (path, bytes) in &tree.objects {
                let items = xsplice_diff::originals(path, bytes).unwrap();
                proof.add(prove_object(&base, path, &items));
            }
            proof
        };
        let own = prove(&fix.original);
        assert_eq!(own.failed, [], "{flags:?}");
        assert!(own.proven >= 4, "{own:?}");
        assert_eq!(own.percent_proven(), 100);
        assert!(own.deviations.content >= 2, "strings are followed: {own:?}");
        if flags == PIC {
            assert!(
                own.deviations.relaxed >= 2,
                "the linker relaxed GOT accesses: {own:?}"
            );
        }
        let patched = prove(&fix.patched);
        assert_eq!(patched.failed.len(), 1, "{patched:?}");
        assert_eq!(patched.failed[0].1.name, "first");
        let foreign = Tree::compile(&[("printk.c", "int elsewhere(int x) { return x; }")], flags);
        assert_eq!(prove(&foreign).unlinked, ["printk.o"]);
        let other = [(
            "printk.c",
            "int printk(const char *format) { return *format; }",
        )];
        let superseded = prove(&Tree::compile(&other, flags));
        assert_eq!(superseded.superseded, ["printk.o"]);
        assert_eq!(superseded.objects, 0);
    }
}

#[test]
fn a_base_of_another_build_is_refused_with_what_that_suggests() {
    let fix = fix(KERNEL);
    let extracts = fix.extracts(&XSPLICE);
    let suggestion = |sources: &[(&str, &str)], flags: &[&str]| {
        let image = Tree::compile(sources, flags).link();
        let base = Base::parse("other", &image).unwrap();
        let error = xsplice_link::link(&base, &extracts, &LinkOptions::new("fix", &XSPLICE));
        match error.expect_err("the base is another build") {
            LinkError::Refused(refusals) => {
                let first = &refusals.0[0];
                (first.code, first.problem.clone())
            }
            other => panic!("{other}"),
        }
    };
    let sources = |common| [("common/a.c", common), ("printk.c", PRINTK)];
    // Only a string.
    let other = COMMON_SYMBOLS.replace("first %d", "First %d");
    let (code, message) = suggestion(&sources(&other), KERNEL);
    assert_eq!(code, RefusalCode::ProofFailed, "{message}");
    assert!(message.contains("another source"), "{message}");
    // Only a constant.
    let other = COMMON_SYMBOLS.replace("helper(x) + 1;", "helper(x) + 7;");
    let (code, message) = suggestion(&sources(&other), KERNEL);
    assert_eq!(code, RefusalCode::ProofFailed, "{message}");
    assert!(message.contains("another constant"), "{message}");
    // The same code, but another callee.
    let other = COMMON_SYMBOLS.replace("printk", "printx");
    let printx = PRINTK.replace("printk", "printx");
    let other = [("common/a.c", other.as_str()), ("printk.c", &printx)];
    let (code, message) = suggestion(&other, KERNEL);
    assert_eq!(code, RefusalCode::ProofFailed, "{message}");
    let names = ["printk, which the base does not have", "printx"];
    assert!(names.iter().all(|name| message.contains(name)), "{message}");
    // Other flags.
    let (code, message) = suggestion(&sources(COMMON_SYMBOLS), ENDBR);
    assert_eq!(code, RefusalCode::RecordMismatch, "{message}");
}

#[test]
fn the_same_payload_comes_from_another_folder_and_another_order() {
    let (one, two) = (fix(PIC), fix(PIC));
    let payload = one.payload(&XSPLICE).bytes;
    assert_eq!(payload, two.payload(&XSPLICE).bytes);
    let mut extracts = one.extracts(&XSPLICE);
    extracts.reverse();
    let options = LinkOptions::new("fix", &XSPLICE);
    assert_eq!(
        payload,
        xsplice_link::link(&one.base(), &extracts, &options)
            .unwrap()
            .bytes
    );
}
