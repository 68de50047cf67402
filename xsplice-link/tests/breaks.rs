//! A payload is broken in one place at a time; `verify` must name each break with the error number
//! that the loader returns for it, and have nothing against the unbroken one.

mod support;

use support::complete::{image, payload, verified};
use support::edit::{Edit, header, rela, symbol};
use xsplice_abi::errno::Errno;
use xsplice_abi::profile::{LIVEPATCH, XSPLICE};
use xsplice_abi::record;
use xsplice_link::Base;
use xsplice_link::verify::CheckKind;

/// One break: its name, what is changed, a check that must fail, and with which number.
type Break = (&'static str, fn(&mut Edit), CheckKind, Errno);

const NOEXEC: Errno = Errno::ENOEXEC;
const INVAL: Errno = Errno::EINVAL;
const OPNOTSUPP: Errno = Errno::EOPNOTSUPP;

/// Bytes of the default profile's record.
const RECORD: usize = 64;

const FILE: &[Break] = &[
    ("class", |e| e.put(4, &[1]), CheckKind::Readable, NOEXEC),
    (
        "byte order",
        |e| e.put(5, &[2]),
        CheckKind::Readable,
        NOEXEC,
    ),
    ("magic", |e| e.put(0, &[0]), CheckKind::Readable, NOEXEC),
    (
        "file type",
        |e| e.put(16, &[2]),
        CheckKind::LoaderRules,
        NOEXEC,
    ),
    (
        "machine",
        |e| e.put(18, &[183]),
        CheckKind::LoaderRules,
        NOEXEC,
    ),
    (
        "version",
        |e| e.put(20, &[2]),
        CheckKind::LoaderRules,
        NOEXEC,
    ),
    ("os abi", |e| e.put(7, &[3]), CheckKind::LoaderRules, NOEXEC),
    (
        "abi version",
        |e| e.put(8, &[1]),
        CheckKind::LoaderRules,
        NOEXEC,
    ),
    (
        "program headers",
        |e| e.put(56, &[1]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "section headers outside",
        |e| e.put(40, &[0xff; 4]),
        CheckKind::Readable,
        INVAL,
    ),
    (
        "name table",
        |e| e.put(62, &[1, 0]),
        CheckKind::Readable,
        INVAL,
    ),
    (
        "cut",
        |e| e.bytes.truncate(e.bytes.len() - 1),
        CheckKind::Readable,
        INVAL,
    ),
    (
        "cut to the header",
        |e| e.bytes.truncate(64),
        CheckKind::Readable,
        INVAL,
    ),
];

const SECTIONS: &[Break] = &[
    (
        "writable text",
        |e| e.put_header(e.section(".text"), header::FLAGS, &[7]),
        CheckKind::LoaderRules,
        OPNOTSUPP,
    ),
    (
        "zero alignment",
        |e| e.put_header(e.section(".text"), header::ALIGNMENT, &[0]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "odd alignment",
        |e| e.put_header(e.section(".text"), header::ALIGNMENT, &[3]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "contents outside",
        |e| e.put_header(e.section(".text"), header::OFFSET, &[0xff; 4]),
        CheckKind::Readable,
        INVAL,
    ),
    (
        "contents in the header",
        |e| e.put_header(e.section(".data"), header::OFFSET, &[8, 0]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "no depends",
        |e| e.rename(".shstrtab", ".xsplice.depends", ".xsplice.depend5"),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "broken records",
        |e| e.put_header(e.section("funcs"), header::SIZE, &[65]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "empty records",
        |e| e.put_header(e.section("funcs"), header::SIZE, &[0]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "broken table",
        |e| e.put_header(e.section(".ex_table"), header::SIZE, &[7]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "zeroes for records",
        |e| e.put_header(e.section("funcs"), header::KIND, &[8]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "two pointers in a single hook",
        |e| e.put_header(e.section("hooks.preapply"), header::SIZE, &[16]),
        CheckKind::Hooks,
        INVAL,
    ),
    (
        "unterminated metadata",
        |e| {
            let end = e.content(".modinfo").len() - 1;
            e.put_content(".modinfo", end, b"x");
        },
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "unknown abi",
        |e| e.put_content(".modinfo", 4, b"ysplice"),
        CheckKind::LoaderRules,
        OPNOTSUPP,
    ),
];

const NOTES: &[Break] = &[
    (
        "own note",
        |e| e.put_content(".note.gnu.build-id", 12, b"X"),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "another base",
        |e| {
            let byte = e.content("xen_depends")[20] ^ 1;
            e.put_content("xen_depends", 20, &[byte]);
        },
        CheckKind::BaseId,
        INVAL,
    ),
    (
        "another stack",
        |e| {
            let byte = e.content(".xsplice.depends")[20] ^ 1;
            e.put_content(".xsplice.depends", 20, &[byte]);
        },
        CheckKind::Depends,
        INVAL,
    ),
];

const SYMBOLS: &[Break] = &[
    (
        "unknown symbol",
        |e| e.rename(".strtab", "second", "sec0nd"),
        CheckKind::UndefinedSymbols,
        Errno::ENOENT,
    ),
    (
        "common symbol",
        |e| e.put_symbol(e.symbol("second"), symbol::SECTION, &[0xf2, 0xff]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "symbol nowhere",
        |e| e.put_symbol(e.symbol("fix:a.c#fresh"), symbol::SECTION, &[200, 0]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "symbol beyond its section",
        |e| e.put_symbol(e.symbol("fix:a.c#fresh"), symbol::VALUE, &[0xff; 4]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "name outside",
        |e| e.put_symbol(e.symbol("second"), symbol::NAME, &[0xff; 4]),
        CheckKind::Readable,
        INVAL,
    ),
    (
        "name of the base",
        |e| e.rename(".strtab", "fix:a.c#hook", "a.c#state\0\0\0"),
        CheckKind::NameClashes,
        Errno::EEXIST,
    ),
];

const RELOCATIONS: &[Break] = &[
    (
        "unknown type",
        |e| e.put_relocation(".text", 0, rela::KIND, &[9]),
        CheckKind::LoaderRules,
        OPNOTSUPP,
    ),
    (
        "no symbol",
        |e| e.put_relocation(".text", 0, rela::SYMBOL, &[0; 4]),
        CheckKind::LoaderRules,
        OPNOTSUPP,
    ),
    (
        "symbol outside",
        |e| e.put_relocation(".text", 0, rela::SYMBOL, &[0xff; 4]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "field outside",
        |e| e.put_relocation(".text", 0, rela::OFFSET, &[0xff; 4]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "overflow",
        |e| e.put_relocation(".text", 0, rela::ADDEND, &[0, 0, 0, 0, 1, 0, 0, 0]),
        CheckKind::TrialLoad,
        Errno::EOVERFLOW,
    ),
    (
        "without addends",
        |e| e.put_header(e.relocations_of(".text"), header::KIND, &[9]),
        CheckKind::LoaderRules,
        OPNOTSUPP,
    ),
    (
        "of no section",
        |e| e.put_header(e.relocations_of(".text"), header::INFO, &[99]),
        CheckKind::LoaderRules,
        INVAL,
    ),
    (
        "of another table",
        |e| e.put_header(e.relocations_of(".text"), header::LINK, &[1]),
        CheckKind::LoaderRules,
        INVAL,
    ),
];

const RECORDS: &[Break] = &[
    (
        "old address moved",
        |e| {
            e.put_content(
                "funcs",
                record::offset::OLD_ADDR,
                &[e.content("funcs")[16] ^ 1],
            );
        },
        CheckKind::RecordTarget,
        INVAL,
    ),
    (
        "old address zero",
        |e| e.put_content("funcs", record::offset::OLD_ADDR, &[0; 8]),
        CheckKind::RecordTarget,
        INVAL,
    ),
    (
        "old address outside",
        |e| e.put_content("funcs", record::offset::OLD_ADDR, &[0x11; 8]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "old size zero",
        |e| e.put_content("funcs", record::offset::OLD_SIZE, &[0; 4]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "old size small",
        |e| e.put_content("funcs", record::offset::OLD_SIZE, &[4, 0, 0, 0]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "old size other",
        |e| {
            e.put_content(
                "funcs",
                record::offset::OLD_SIZE,
                &[e.content("funcs")[28] + 1],
            );
        },
        CheckKind::RecordTarget,
        INVAL,
    ),
    (
        "new size zero",
        |e| e.put_content("funcs", record::offset::NEW_SIZE, &[0; 4]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "new size beyond",
        |e| e.put_content("funcs", record::offset::NEW_SIZE, &[0xff; 3]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "new size other",
        |e| e.put_content("funcs", record::offset::NEW_SIZE, &[1]),
        CheckKind::RecordCode,
        INVAL,
    ),
    (
        "patcher's bytes",
        |e| e.put_content("funcs", record::offset::TAIL, &[1]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "same function twice",
        |e| {
            let old = e.content("funcs")[16..24].to_vec();
            e.put_content("funcs", RECORD + 16, &old);
        },
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "no name",
        |e| e.put_relocation("funcs", 0, rela::ADDEND, &[0xff, 0xff, 0]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "name of another function",
        |e| e.put_content(".xsplice.strings", 0, b"sirst"),
        CheckKind::RecordTarget,
        Errno::ENOENT,
    ),
    (
        "new address outside",
        |e| e.put_relocation("funcs", 1, rela::ADDEND, &[0, 0, 1]),
        CheckKind::TrialLoad,
        INVAL,
    ),
];

const EXPECTATIONS: &[Break] = &[
    (
        "other bytes",
        |e| e.put_content("expect", 1, &[e.content("expect")[1] ^ 1]),
        CheckKind::Expectations,
        INVAL,
    ),
    (
        "too long",
        |e| e.put_content("expect", 0, &[32]),
        CheckKind::TrialLoad,
        Errno::EOVERFLOW,
    ),
    (
        "garbage behind",
        |e| {
            e.put_content("expect", 0, &[1]);
        },
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "too few",
        |e| e.put_header(e.section("expect"), header::SIZE, &[32]),
        CheckKind::TrialLoad,
        INVAL,
    ),
];

const TABLES: &[Break] = &[
    (
        "hook outside",
        |e| e.put_relocation("hooks.load", 0, rela::ADDEND, &[0, 0, 1]),
        CheckKind::Hooks,
        INVAL,
    ),
    (
        "exception outside",
        |e| e.put_relocation(".ex_table", 0, rela::ADDEND, &[0, 0, 1]),
        CheckKind::Tables,
        INVAL,
    ),
    (
        "resume outside",
        |e| e.put_relocation(".ex_table", 1, rela::ADDEND, &[0, 0, 1]),
        CheckKind::TrialLoad,
        INVAL,
    ),
    (
        "bug outside",
        |e| e.put_relocation(".bug_frames.1", 0, rela::ADDEND, &[0, 0, 1]),
        CheckKind::TrialLoad,
        INVAL,
    ),
];

#[test]
fn every_break_is_named_with_the_loader_s_error_number() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let whole = payload(&base, &XSPLICE);
    let report = verified(&base, &whole);
    assert!(report.passed(), "{report}");
    assert!(verified(&base, &Edit::new(&whole).stamp()).passed());

    let all = [
        FILE,
        SECTIONS,
        NOTES,
        SYMBOLS,
        RELOCATIONS,
        RECORDS,
        EXPECTATIONS,
        TABLES,
    ];
    let mut missed = Vec::new();
    let mut count = 0;
    for (name, change, kind, errno) in all.into_iter().flatten() {
        count += 1;
        let mut edit = Edit::new(&whole);
        change(&mut edit);
        assert_ne!(edit.bytes, whole, "{name} changes nothing");
        let report = verified(&base, &edit.stamp());
        let is_named = report
            .failures()
            .any(|check| check.check == *kind && check.errno == Some(errno.code()));
        if !is_named {
            missed.push(format!("{name}: expected {kind:?} {errno}, got:\n{report}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(count >= 40, "{count}");
}

#[test]
fn a_change_of_any_byte_of_the_content_is_noticed_by_the_build_id() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let whole = payload(&base, &XSPLICE);
    // Who does not say that our linker wrote the file need not have hashed it as we do; against
    // forgery there are signatures.
    let says_so = b"tool=xsplice-link ";
    let tool = whole
        .windows(says_so.len())
        .position(|text| text == says_so)
        .unwrap();
    for at in (0..whole.len()).step_by(37) {
        if (tool..tool + says_so.len()).contains(&at) {
            continue;
        }
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(!verified(&base, &changed).passed(), "byte {at:#x}");
    }
}

#[test]
fn the_livepatch_record_s_own_fields_are_judged() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let whole = payload(&base, &LIVEPATCH);
    let report = verified(&base, &whole);
    assert!(report.passed(), "{report}");
    let breaks: [(&str, usize, u8, Errno); 4] = [
        ("version", 32, 1, OPNOTSUPP),
        ("padding", 33, 1, INVAL),
        ("reserved bits", 72, 0xff, INVAL),
        ("expected byte", 73, 0xff, INVAL),
    ];
    for (name, at, value, errno) in breaks {
        let mut edit = Edit::new(&whole);
        edit.put_content("funcs", at, &[value]);
        let report = verified(&base, &edit.stamp());
        assert!(
            report
                .failures()
                .any(|check| check.errno == Some(errno.code())),
            "{name}: {report}"
        );
    }
    // Garbage in an expectation that is not enabled.
    let mut edit = Edit::new(&whole);
    edit.put_content("funcs", 72, &[0]);
    assert!(!verified(&base, &edit.stamp()).passed());
}
