//! Breaks of the ELF header, of sections and of notes.

use xsplice_abi::errno::Errno;
use xsplice_abi::section;
use xsplice_link::verify::CheckKind::{BaseId, BuildId, Depends, LoaderRules, Readable, TrialLoad};

use super::{Break, broken};
use crate::edit::{Edit, ID_AT, file, header};

const NOEXEC: Errno = Errno::ENOEXEC;
const INVAL: Errno = Errno::EINVAL;
const OPNOTSUPP: Errno = Errno::EOPNOTSUPP;

const SHT_PROGBITS: u8 = 1;
const SHT_SYMTAB: u8 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOBITS: u8 = 8;
/// `SHF_WRITE | SHF_ALLOC`.
const WRITABLE: u8 = 3;
/// `SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR`.
const WRITABLE_CODE: u8 = 7;
/// Bytes of `Elf64_Shdr`, one too few.
const SHORT_HEADER: u8 = 63;
/// Length of the notes that our linker writes.
const NOTE_TYPE_AT: usize = 8;
const NOTE_LENGTH_AT: usize = 4;
const NOTE_NAME_AT: usize = 12;

pub(super) const FILE: &[Break] = &[
    broken("magic", |e| e.put(0, &[0]), Readable, NOEXEC),
    broken("class", |e| e.put(file::CLASS, &[1]), Readable, NOEXEC),
    broken(
        "byte order",
        |e| e.put(file::BYTE_ORDER, &[2]),
        Readable,
        NOEXEC,
    ),
    broken(
        "file type",
        |e| e.put(file::KIND, &[2]),
        LoaderRules,
        NOEXEC,
    ),
    broken(
        "machine",
        |e| e.put(file::MACHINE, &[183]),
        LoaderRules,
        NOEXEC,
    ),
    broken(
        "version",
        |e| e.put(file::VERSION, &[2]),
        LoaderRules,
        NOEXEC,
    ),
    broken("OS ABI", |e| e.put(file::OS_ABI, &[3]), LoaderRules, NOEXEC),
    broken(
        "ABI version",
        |e| e.put(file::ABI_VERSION, &[1]),
        LoaderRules,
        NOEXEC,
    ),
    broken(
        "program headers",
        |e| e.put(file::SEGMENTS, &[1]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "section headers outside the file",
        |e| e.put(file::SECTION_OFFSET, &[0xff; 4]),
        Readable,
        INVAL,
    ),
    broken(
        "section headers of another size",
        |e| e.put(file::SECTION_BYTES, &[SHORT_HEADER]),
        Readable,
        INVAL,
    ),
    broken(
        "no section headers",
        |e| e.put(file::SECTIONS, &[0, 0]),
        Readable,
        INVAL,
    ),
    broken(
        "more section headers than there are",
        |e| e.put(file::SECTIONS, &[0, 4]),
        Readable,
        INVAL,
    ),
    broken(
        "no name table",
        |e| e.put(file::NAME_SECTION, &[1, 0]),
        Readable,
        INVAL,
    ),
    broken(
        "cut by a byte",
        |e| {
            e.bytes.truncate(e.bytes.len() - 1);
            Some(())
        },
        Readable,
        INVAL,
    ),
    broken(
        "cut to the header",
        |e| {
            e.bytes.truncate(64);
            Some(())
        },
        Readable,
        INVAL,
    ),
    broken(
        "longer than a loader takes",
        |e| {
            e.bytes
                .resize(xsplice_abi::limits::PAYLOAD_BYTES_MAX + 1, 0);
            Some(())
        },
        xsplice_link::verify::CheckKind::Size,
        INVAL,
    ),
];

pub(super) const SECTIONS: &[Break] = &[
    broken(
        "writable code",
        |e| e.put_header(e.code()?, header::FLAGS, &[WRITABLE_CODE]),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "zero alignment",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::ALIGNMENT, &[0]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an alignment of three",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::ALIGNMENT, &[3]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an alignment that no page has",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::ALIGNMENT, &[0, 0x20]),
        TrialLoad,
        INVAL,
    ),
    broken(
        "an address that is not aligned",
        |e| e.put_header(e.aligned()?, header::ADDRESS, &[1]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "contents outside the file",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::OFFSET, &[0xff; 4]),
        Readable,
        INVAL,
    ),
    broken(
        "contents inside the header",
        |e| e.put_header(e.section(section::MODINFO)?, header::OFFSET, &[8, 0, 0, 0]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "more zeroes than a loader takes",
        |e| {
            let metadata = e.section(section::MODINFO)?;
            e.put_header(metadata, header::KIND, &[SHT_NOBITS])?;
            e.put_header(metadata, header::SIZE, &[1, 0, 0x20])
        },
        LoaderRules,
        INVAL,
    ),
    broken(
        "a section's name outside the table",
        |e| e.put_header(e.section(section::MODINFO)?, header::NAME, &[0xff; 4]),
        Readable,
        INVAL,
    ),
    broken(
        "a name table without NUL",
        |e| {
            let strings = e.of_kind(SHT_STRTAB)?;
            e.put_content(strings, 0, b"x")
        },
        Readable,
        INVAL,
    ),
    broken(
        "no symbol table",
        |e| e.put_header(e.section(".symtab")?, header::KIND, &[SHT_PROGBITS]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "two symbol tables",
        |e| {
            let strings = e.section(".shstrtab")?;
            e.put_header(strings, header::KIND, &[SHT_SYMTAB])
        },
        Readable,
        INVAL,
    ),
    broken(
        "symbols of another size",
        |e| e.put_header(e.section(".symtab")?, header::ENTRY_BYTES, &[16]),
        Readable,
        INVAL,
    ),
    broken(
        "relocations of another size",
        |e| e.put_header(e.any_relocations()?, header::ENTRY_BYTES, &[16]),
        Readable,
        INVAL,
    ),
    broken(
        "one section twice",
        |e| {
            let depends = e.section(&e.own(section::DEPENDS))?;
            e.put_name_of(e.section(section::MODINFO)?, depends)
        },
        LoaderRules,
        INVAL,
    ),
    broken(
        "a section of the prefix that nobody knows",
        |e| e.rename(&e.own(section::STRINGS), &e.own("strange")),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "sections of two prefixes",
        |e| {
            let other = match e.profile.prefix {
                ".livepatch." => ".xsplice.strings12",
                _ => ".livepatch.funcs",
            };
            e.rename(&e.own(section::STRINGS), other)
        },
        LoaderRules,
        INVAL,
    ),
    broken(
        "unterminated metadata",
        |e| {
            let metadata = e.section(section::MODINFO)?;
            e.put_content(metadata, e.size(metadata) - 1, b"x")
        },
        LoaderRules,
        INVAL,
    ),
    broken(
        "an ABI that nobody knows",
        |e| e.put_content(e.section(section::MODINFO)?, 4, b"y"),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "an ABI of the other prefix",
        |e| {
            let other: &[u8] = match e.profile.prefix {
                ".livepatch." => b"xsplice\0",
                _ => b"livepatch\0",
            };
            e.put_content(e.section(section::MODINFO)?, 4, other)
        },
        LoaderRules,
        INVAL,
    ),
];

/// Changes the note in the section called `name`.
fn note(e: &mut Edit, name: &str, at: usize, bytes: &[u8]) -> Option<()> {
    let note = e.section(name)?;
    e.put_content(note, at, bytes)
}

/// Changes a bit of the id in the section called `name`.
fn other_id(e: &mut Edit, name: &str) -> Option<()> {
    let byte = *e.content(e.section(name)?)?.get(ID_AT + 4)?;
    note(e, name, ID_AT + 4, &[byte ^ 1])
}

pub(super) const NOTES: &[Break] = &[
    broken(
        "an own note of another name",
        |e| note(e, section::BUILD_ID, NOTE_NAME_AT, b"X"),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an own note of another type",
        |e| note(e, section::BUILD_ID, NOTE_TYPE_AT, &[1]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an own note longer than its section",
        |e| note(e, section::BUILD_ID, NOTE_LENGTH_AT, &[0xff]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "no own note",
        |e| e.rename(section::BUILD_ID, ".note.gnu.bu1ld-id"),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an own note that is written",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::FLAGS, &[WRITABLE]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an own note that is not loaded",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::FLAGS, &[0]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an empty own note",
        |e| e.put_header(e.section(section::BUILD_ID)?, header::SIZE, &[0]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "no note of what it stacks on",
        |e| e.rename(&e.own(section::DEPENDS), &e.own("depend5")),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a broken note of what it stacks on",
        |e| note(e, &e.own(section::DEPENDS), NOTE_TYPE_AT, &[9]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a note of what it stacks on that is written",
        |e| {
            e.put_header(
                e.section(&e.own(section::DEPENDS))?,
                header::FLAGS,
                &[WRITABLE],
            )
        },
        LoaderRules,
        INVAL,
    ),
    broken(
        "stacked on something else",
        |e| other_id(e, &e.own(section::DEPENDS)),
        Depends,
        INVAL,
    ),
    broken(
        "no note of the base",
        |e| e.rename(&e.own(section::XEN_DEPENDS), &e.own("xen_depend5")),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a broken note of the base",
        |e| note(e, &e.own(section::XEN_DEPENDS), NOTE_NAME_AT, b"X"),
        LoaderRules,
        INVAL,
    ),
    broken(
        "made for another base",
        |e| other_id(e, &e.own(section::XEN_DEPENDS)),
        BaseId,
        INVAL,
    ),
    broken(
        "the base's build-id",
        |e| {
            // Stacked on the base alone, it depends on the base's id.
            let id = e.content(e.section(&e.own(section::DEPENDS))?)?[ID_AT..].to_vec();
            e.put_own_id(&id)
        },
        BuildId,
        Errno::EEXIST,
    ),
];
