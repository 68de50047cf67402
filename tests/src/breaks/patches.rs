//! Breaks of records and of what they expect.

use xsplice_abi::errno::Errno;
use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::profile::{Expectations, NewSize, Tail, ZeroName, ZeroOldAddr};
use xsplice_abi::record::{ExpectEntry, offset};
use xsplice_abi::section;
use xsplice_link::verify::CheckKind::{
    Expectations as Expected, LoaderRules, RecordCode, RecordRoom, RecordTarget, TrialLoad,
};

use super::{Break, Unseen, broken};
use crate::edit::{Edit, header, rela};

const INVAL: Errno = Errno::EINVAL;
const OPNOTSUPP: Errno = Errno::EOPNOTSUPP;

const SHT_NOBITS: u8 = 8;
/// `SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR`.
const WRITABLE_CODE: u8 = 7;
/// `R_X86_64_NONE`.
const NONE: u8 = 0;
/// Offset of the expectation's length and flags in a record of the `livepatch` profile.
const LIVEPATCH_EXPECT: usize = 72;

fn funcs(e: &Edit) -> Option<usize> {
    e.section(&e.own(section::FUNCS))
}

/// Changes the first record.
fn record(e: &mut Edit, at: usize, bytes: &[u8]) -> Option<()> {
    e.put_content(funcs(e)?, at, bytes)
}

/// Changes the relocation of a field of the first record.
fn field(e: &mut Edit, at: usize, part: usize, bytes: &[u8]) -> Option<()> {
    let place = e.relocation_at(funcs(e)?, u64::try_from(at).ok()?)?;
    e.put_relocation(place, part, bytes)
}

fn word(e: &Edit, at: usize) -> Option<u32> {
    let bytes = e.content(funcs(e)?)?.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

pub(super) const RECORDS: &[Break] = &[
    broken(
        "records of a broken size",
        |e| {
            let size = u32::try_from(e.size(funcs(e)?) + 1).ok()?;
            e.put_header(funcs(e)?, header::SIZE, &size.to_le_bytes())
        },
        LoaderRules,
        INVAL,
    ),
    broken(
        "no records in their section",
        |e| e.put_header(funcs(e)?, header::SIZE, &[0; 8]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "zeroes for records",
        |e| e.put_header(funcs(e)?, header::KIND, &[SHT_NOBITS]),
        LoaderRules,
        INVAL,
    ),
    broken(
        "records that are code",
        |e| e.put_header(funcs(e)?, header::FLAGS, &[WRITABLE_CODE]),
        LoaderRules,
        OPNOTSUPP,
    ),
    broken(
        "no old address",
        |e| {
            (e.profile.zero_old_addr == ZeroOldAddr::Refused).then_some(())?;
            record(e, offset::OLD_ADDR, &[0; 8])
        },
        RecordTarget,
        INVAL,
    ),
    broken(
        "an old address that is to be looked up by a name that nobody has",
        |e| {
            (e.profile.zero_old_addr == ZeroOldAddr::LookUp).then_some(())?;
            record(e, offset::OLD_ADDR, &[0; 8])?;
            let strings = e.section(&e.own(section::STRINGS))?;
            e.put_content(strings, 0, b"~")
        },
        RecordTarget,
        Errno::ENOENT,
    ),
    broken(
        "an old address outside the base",
        |e| record(e, offset::OLD_ADDR, &[0x11; 8]),
        RecordTarget,
        INVAL,
    ),
    broken(
        "no old size",
        |e| record(e, offset::OLD_SIZE, &[0; 4]),
        TrialLoad,
        INVAL,
    ),
    broken(
        "an old size below the jump's",
        |e| record(e, offset::OLD_SIZE, &[4, 0, 0, 0]),
        RecordRoom,
        INVAL,
    ),
    broken(
        "an old size beyond the base",
        |e| record(e, offset::OLD_SIZE, &[0xff; 4]),
        TrialLoad,
        INVAL,
    ),
    broken(
        "no new size",
        |e| record(e, offset::NEW_SIZE, &[0; 4]),
        RecordCode,
        INVAL,
    ),
    broken(
        "a new size beyond the code",
        |e| {
            (e.profile.new_size == NewSize::InCode).then_some(())?;
            record(e, offset::NEW_SIZE, &[0xff; 3])
        },
        RecordCode,
        INVAL,
    ),
    broken(
        "a new address outside the code",
        |e| field(e, offset::NEW_ADDR, rela::ADDEND, &[0, 0, 1]),
        RecordCode,
        INVAL,
    ),
    broken(
        "a new address that is data",
        |e| {
            let (target, _) = e
                .symbols()
                .find(|(_, one)| one.section != 0 && !e.is_code(one.section))?;
            let target = u32::try_from(target).ok()?.to_le_bytes();
            field(e, offset::NEW_ADDR, rela::SYMBOL, &target)
        },
        RecordCode,
        INVAL,
    ),
    broken(
        "no name",
        |e| {
            // Where it may be missing, the address says which function is meant.
            (e.profile.zero_name == ZeroName::Refused).then_some(())?;
            field(e, offset::NAME, rela::KIND, &[NONE])
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "a name outside the payload",
        |e| field(e, offset::NAME, rela::ADDEND, &[0xff, 0xff, 0]),
        TrialLoad,
        INVAL,
    ),
    broken(
        "an empty name",
        |e| {
            let strings = e.section(&e.own(section::STRINGS))?;
            e.put_content(strings, 0, &[0])
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "one function twice",
        |e| {
            let old = e
                .content(funcs(e)?)?
                .get(offset::OLD_ADDR..offset::OLD_ADDR + 8)?;
            let old = old.to_vec();
            record(e, e.profile.record_bytes + offset::OLD_ADDR, &old)
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "bytes of the patcher",
        |e| {
            let at = match e.profile.tail {
                Tail::Zero => offset::TAIL,
                Tail::Version(_) | Tail::VersionAndExpect(_) => offset::TAIL + 1,
            };
            record(e, at, &[1])
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "another version",
        |e| {
            (e.profile.tail != Tail::Zero).then_some(())?;
            record(e, offset::TAIL, &[9])
        },
        TrialLoad,
        OPNOTSUPP,
    ),
];

/// Where the first record's expectation stands: section, offset of its length, and how the length
/// is written there.
fn expectation(e: &Edit) -> Option<(usize, usize, u8)> {
    match e.profile.expectations {
        Expectations::OwnSection => Some((e.section(&e.own(section::EXPECT))?, 0, 0)),
        Expectations::InRecord => Some((funcs(e)?, LIVEPATCH_EXPECT, 1)),
        _ => None,
    }
}

/// The expectation's length in bytes.
fn length(e: &Edit) -> Option<u8> {
    let (section, at, shift) = expectation(e)?;
    Some(e.content(section)?.get(at)? >> shift)
}

/// Writes a length, and whether the expectation counts, where that is written too.
fn put_length(e: &mut Edit, bytes: u8) -> Option<()> {
    let (section, at, shift) = expectation(e)?;
    e.put_content(section, at, &[(bytes << shift) | shift])
}

pub(super) const EXPECTATIONS: &[Break] = &[
    broken(
        "other bytes expected",
        |e| {
            (length(e)? > 0).then_some(())?;
            let (section, at, _) = expectation(e)?;
            let byte = *e.content(section)?.get(at + 1)?;
            e.put_content(section, at + 1, &[byte ^ 1])
        },
        Expected,
        INVAL,
    ),
    broken(
        "garbage behind the expected bytes",
        |e| {
            let (section, at, _) = expectation(e)?;
            let expected = e.content(section)?.get(at + 1..)?;
            let expected = expected.get(..usize::from(length(e)?))?;
            let last = expected.iter().rposition(|byte| *byte != 0)?;
            (last > 0).then_some(())?;
            put_length(e, u8::try_from(last).ok()?)
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "garbage in an expectation of nothing",
        |e| {
            (length(e)? > 0).then_some(())?;
            let (section, at, _) = expectation(e)?;
            e.put_content(section, at, &[0])
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "more bytes expected than an expectation holds",
        |e| {
            (e.profile.expectations == Expectations::OwnSection).then_some(())?;
            put_length(e, u8::try_from(EXPECT_BYTES_MAX).ok()? + 1)
        },
        TrialLoad,
        Errno::EOVERFLOW,
    ),
    broken(
        "more bytes expected than the function has",
        |e| {
            let longer = u8::try_from(word(e, offset::OLD_SIZE)? + 1).ok()?;
            (usize::from(longer) <= EXPECT_BYTES_MAX && length(e)? > 0).then_some(())?;
            put_length(e, longer)
        },
        Expected,
        Errno::ERANGE,
    ),
    broken(
        "reserved bits of an expectation",
        |e| {
            (e.profile.expectations == Expectations::InRecord).then_some(())?;
            record(e, LIVEPATCH_EXPECT, &[0xc0])
        },
        TrialLoad,
        INVAL,
    ),
    broken(
        "an expectation too many",
        |e| {
            (e.profile.expectations == Expectations::OwnSection).then_some(())?;
            let (expect, ..) = expectation(e)?;
            let size = u32::try_from(e.size(expect) + size_of::<ExpectEntry>()).ok()?;
            e.put_header(expect, header::SIZE, &size.to_le_bytes())
        },
        TrialLoad,
        INVAL,
    ),
];

pub(super) const UNSEEN: &[Unseen] = &[
    Unseen {
        name: "a record with the name of nothing",
        change: |e| {
            let strings = e.section(&e.own(section::STRINGS))?;
            e.put_content(strings, 0, b"~")
        },
        check: RecordTarget,
    },
    Unseen {
        name: "an old size that the function does not have",
        change: |e| {
            // One less, where there is room for the jump and the expectation.
            let less = word(e, offset::OLD_SIZE)?.checked_sub(1)?;
            let needed = usize::from(length(e).unwrap_or(0)).max(9);
            (usize::try_from(less).ok()? >= needed).then_some(())?;
            record(e, offset::OLD_SIZE, &less.to_le_bytes())
        },
        check: RecordTarget,
    },
    Unseen {
        name: "a new size that the function does not have",
        change: |e| {
            (word(e, offset::NEW_SIZE)? > 1).then_some(())?;
            record(e, offset::NEW_SIZE, &1_u32.to_le_bytes())
        },
        check: RecordCode,
    },
    Unseen {
        name: "a new address inside the function",
        change: |e| {
            let less = word(e, offset::NEW_SIZE)?.checked_sub(1)?;
            (less > 0).then_some(())?;
            record(e, offset::NEW_SIZE, &less.to_le_bytes())?;
            let at = u64::try_from(offset::NEW_ADDR).ok()?;
            let place = e.relocation_at(funcs(e)?, at)?;
            let addend = e.addend(place)? + 1;
            e.put_relocation(place, rela::ADDEND, &addend.to_le_bytes())
        },
        check: RecordCode,
    },
];
