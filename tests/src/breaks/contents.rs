//! Breaks of hooks and special sections.

use xsplice_abi::errno::Errno;
use xsplice_abi::section::ALTINSTR_REPLACEMENT;
use xsplice_abi::tables::{Alternative, BugFrame, CallSite, ExceptionEntry};
use xsplice_link::verify::CheckKind::{Branches, Hooks, LoaderRules, Sites, Tables, TrialLoad};

use super::{Break, Unseen, broken};
use crate::edit::{Edit, header, rela};

const INVAL: Errno = Errno::EINVAL;

const SHT_NOBITS: u8 = 8;
const POINTER_BYTES: u8 = 8;
/// An addend that leads out of any section.
const FAR: [u8; 3] = [0, 0, 1];
/// Offset of the length of the replacement in an entry of `.altinstructions`.
const REPLACEMENT_BYTES_AT: usize = 11;

/// `jmp` to 126 bytes before itself.
const SHORT_JUMP_FAR_BACK: [u8; 2] = [0xeb, 0x80];
/// What an alternative of nothing leaves for the boot code to fill.
const NOPS: [[u8; 3]; 2] = [[0x90, 0x90, 0x90], [0x0f, 0x1f, 0x00]];

/// The first hook section.
fn hook(e: &Edit) -> Option<usize> {
    let (_, section) = e.hooks().into_iter().next()?;
    Some(section)
}

/// The first hook section of a kind that has one pointer.
fn single(e: &Edit) -> Option<usize> {
    let (_, section) = e
        .hooks()
        .into_iter()
        .find(|(kind, _)| kind != "load" && kind != "unload")?;
    Some(section)
}

/// Changes the relocation of a field of a table.
fn field(e: &mut Edit, table: usize, at: u64, part: usize, bytes: &[u8]) -> Option<()> {
    let place = e.relocation_at(table, at)?;
    e.put_relocation(place, part, bytes)
}

pub(super) const HOOKS: &[Break] = &[
    broken(
        "a hook outside the code",
        |e| field(e, hook(e)?, 0, rela::ADDEND, &FAR),
        Hooks,
        INVAL,
    ),
    broken(
        "a hook that is a number",
        |e| field(e, hook(e)?, 0, rela::KIND, &[0]),
        Hooks,
        INVAL,
    ),
    broken(
        "a hook section with nothing in it",
        |e| e.put_header(hook(e)?, header::SIZE, &[0; 8]),
        Hooks,
        INVAL,
    ),
    broken(
        "half a hook",
        |e| e.put_header(hook(e)?, header::SIZE, &[POINTER_BYTES / 2]),
        Hooks,
        INVAL,
    ),
    broken(
        "two pointers in a single hook",
        |e| e.put_header(single(e)?, header::SIZE, &[2 * POINTER_BYTES]),
        Hooks,
        INVAL,
    ),
    broken(
        "zeroes for hooks",
        |e| e.put_header(hook(e)?, header::KIND, &[SHT_NOBITS]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a hook that nobody knows",
        |e| {
            let (kind, _) = e.hooks().into_iter().next()?;
            let strange = "x".repeat(kind.len());
            e.rename(
                &e.own(&format!("hooks.{kind}")),
                &e.own(&format!("hooks.{strange}")),
            )
        },
        LoaderRules,
        Errno::EOPNOTSUPP,
    ),
];

fn shorter(e: &mut Edit, table: usize) -> Option<()> {
    let size = u32::try_from(e.size(table) - 1).ok()?;
    e.put_header(table, header::SIZE, &size.to_le_bytes())
}

fn bug_frames(e: &Edit) -> Option<usize> {
    (0..4).find_map(|kind| e.section(&format!("{}{kind}", BugFrame::SECTIONS)))
}

pub(super) const TABLES: &[Break] = &[
    broken(
        "half an exception entry",
        |e| shorter(e, e.section(ExceptionEntry::SECTION)?),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an exception outside the code",
        |e| {
            field(
                e,
                e.section(ExceptionEntry::SECTION)?,
                0,
                rela::ADDEND,
                &FAR,
            )
        },
        Tables,
        INVAL,
    ),
    broken(
        "an exception that resumes outside the code",
        |e| {
            field(
                e,
                e.section(ExceptionEntry::SECTION)?,
                4,
                rela::ADDEND,
                &FAR,
            )
        },
        Tables,
        INVAL,
    ),
    broken(
        "half a bug frame",
        |e| shorter(e, bug_frames(e)?),
        LoaderRules,
        INVAL,
    ),
    broken(
        "a bug frame outside the code",
        |e| field(e, bug_frames(e)?, 0, rela::ADDEND, &FAR),
        TrialLoad,
        INVAL,
    ),
    broken(
        "half an alternative",
        |e| shorter(e, e.section(Alternative::SECTION)?),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an alternative outside the code",
        |e| field(e, e.section(Alternative::SECTION)?, 0, rela::ADDEND, &FAR),
        Tables,
        INVAL,
    ),
    broken(
        "an alternative by code outside the replacements",
        |e| {
            let table = e.section(Alternative::SECTION)?;
            (*e.content(table)?.get(REPLACEMENT_BYTES_AT)? > 0).then_some(())?;
            field(e, table, 4, rela::ADDEND, &FAR)
        },
        Tables,
        INVAL,
    ),
    broken(
        "an alternative longer than its place",
        |e| {
            e.put_content(
                e.section(Alternative::SECTION)?,
                REPLACEMENT_BYTES_AT,
                &[0xff],
            )
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "half an alternative call",
        |e| shorter(e, e.section(CallSite::SECTION)?),
        LoaderRules,
        INVAL,
    ),
    broken(
        "an alternative call outside the code",
        |e| field(e, e.section(CallSite::SECTION)?, 0, rela::ADDEND, &FAR),
        Tables,
        INVAL,
    ),
    broken(
        "an alternative call that is no call",
        |e| {
            let table = e.section(CallSite::SECTION)?;
            let place = e.relocation_at(table, 0)?;
            let addend = e.addend(place)?;
            e.put_relocation(place, rela::ADDEND, &(addend + 1).to_le_bytes())
        },
        TrialLoad,
        INVAL,
    ),
];

pub(super) const UNSEEN: &[Unseen] = &[
    Unseen {
        name: "a jump out of its section",
        change: |e| {
            // A place of these would not be what it is for.
            let is_free =
                e.section(CallSite::SECTION).is_none() && e.section(Alternative::SECTION).is_none();
            is_free.then_some(())?;
            let code = e.code()?;
            let is_number = |at| e.relocation_at(code, at).is_none();
            is_number(0).then_some(())?;
            is_number(1).then_some(())?;
            e.put_content(code, 0, &SHORT_JUMP_FAR_BACK)
        },
        check: Branches,
    },
    Unseen {
        name: "an alternative without its entry",
        change: |e| {
            let table = e.section(Alternative::SECTION)?;
            let (code, at) = e.leads_to(e.relocation_at(table, 0)?)?;
            let place = e.content(code)?.get(at..)?;
            NOPS.iter()
                .any(|nops| place.starts_with(nops))
                .then_some(())?;
            e.rename(Alternative::SECTION, &Alternative::SECTION.to_uppercase())?;
            e.rename(ALTINSTR_REPLACEMENT, &ALTINSTR_REPLACEMENT.to_uppercase())
        },
        check: Sites,
    },
];
