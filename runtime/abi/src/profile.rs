//! The payload ABIs. A profile is data: every rule that differs between loaders is a field here,
//! and the writer, the checks and the loader read it.

use crate::hook::HookKind;
use crate::machine::RelocationType;
use crate::machine::x86_64::{ABS32S, ABS64, MACHINE, NONE, PC32, PC64, PLT32};
use crate::record::{
    LIVEPATCH_VERSION, LivepatchRecord, XSPLICE_V1_VERSION, XspliceRecord, XspliceV1Record,
};

/// Where a profile's records keep what follows the shared head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// All zero.
    Zero,
    /// A version byte at offset 32, then zero.
    Version(u8),
    /// A version byte at offset 32, an expectation at 72.
    VersionAndExpect(u8),
}

/// What a zero in `new_addr` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroNewAddr {
    /// Refused.
    Refused,
    /// `new_size` bytes of the old function become NOPs.
    Nop,
}

/// What the loader asks of `new_size` when there is a new function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSize {
    /// So many bytes from `new_addr` on lie in the payload's code.
    InCode,
    /// Nothing; Xen only reads it of records that make NOPs.
    Unread,
}

/// What a zero in `old_addr` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroOldAddr {
    /// Refused.
    Refused,
    /// The loader looks the record's name up.
    LookUp,
}

/// Where the expectation of a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectations {
    /// Nowhere.
    None,
    /// In `.xsplice.expect`, one 32-byte entry a record.
    OwnSection,
    /// In the record.
    InRecord,
}

/// How many payloads a build-id note of the base is demanded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseNote {
    /// `PREFIXxen_depends` is mandatory.
    Mandatory,
    /// The profile has no such section.
    Absent,
}

/// Sizes of special-section entries in bytes, as this profile's loader reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntrySizes {
    /// `.bug_frames.0` to `.bug_frames.2`.
    pub bug_frame: u64,
    /// `.bug_frames.3` (assertions): two more words.
    pub bug_frame_assert: u64,
    /// `.ex_table`.
    pub exception: u64,
    /// `.altinstructions`.
    pub alternative: u64,
    /// `.alt_call_sites`.
    pub alternative_call: u64,
}

/// One payload ABI and the loader that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Value of `--abi` and of `abi=` in `.modinfo`.
    pub name: &'static str,
    /// Prefix of the profile's own sections, with both dots.
    pub prefix: &'static str,
    /// Size of a record in bytes.
    pub record_bytes: usize,
    /// The loader's C structure of a record, for comparing sizes by debug information.
    pub record_structure: &'static str,
    /// What follows the shared head of a record.
    pub tail: Tail,
    /// Meaning of `new_addr` 0.
    pub zero_new_addr: ZeroNewAddr,
    /// What `new_size` must be.
    pub new_size: NewSize,
    /// Meaning of `old_addr` 0.
    pub zero_old_addr: ZeroOldAddr,
    /// Where expectations go.
    pub expectations: Expectations,
    /// Whether the base's build-id note is demanded.
    pub base_note: BaseNote,
    /// Hooks that the loader knows.
    pub hooks: &'static [HookKind],
    /// Whether `PREFIXwords` is known.
    pub words: Words,
    /// Relocation types that the loader takes.
    pub relocations: &'static [RelocationType],
    /// Sizes of special-section entries.
    pub entries: EntrySizes,
    /// Payload regions lie at most this far from the base's text, in bytes, so that 32-bit
    /// PC-relative fields reach.
    pub window_bytes: u64,
}

/// Whether in-place data words are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `PREFIXwords` is applied and undone with the functions.
    Known,
    /// The section means nothing to the loader and is refused.
    Unknown,
}

const ENTRIES: EntrySizes = EntrySizes {
    bug_frame: 8,
    bug_frame_assert: 16,
    exception: 8,
    alternative: 14,
    alternative_call: 4,
};

const WINDOW_BYTES: u64 = MACHINE.window_bytes;

/// The default: taken by the bundled runtime.
pub const XSPLICE: Profile = Profile {
    name: "xsplice",
    prefix: ".xsplice.",
    record_bytes: size_of::<XspliceRecord>(),
    record_structure: "xsplice_patch_func",
    tail: Tail::Zero,
    zero_new_addr: ZeroNewAddr::Refused,
    new_size: NewSize::InCode,
    zero_old_addr: ZeroOldAddr::Refused,
    expectations: Expectations::OwnSection,
    base_note: BaseNote::Mandatory,
    hooks: &HookKind::ALL,
    words: Words::Known,
    relocations: &[NONE, ABS64, PC32, PLT32, ABS32S, PC64],
    entries: ENTRIES,
    window_bytes: WINDOW_BYTES,
};

/// The design as merged in 2016.
pub const XSPLICE_V1: Profile = Profile {
    name: "xsplice-v1",
    prefix: ".xsplice.",
    record_bytes: size_of::<XspliceV1Record>(),
    record_structure: "xsplice_patch_func",
    tail: Tail::Version(XSPLICE_V1_VERSION),
    zero_new_addr: ZeroNewAddr::Refused,
    new_size: NewSize::InCode,
    zero_old_addr: ZeroOldAddr::LookUp,
    expectations: Expectations::None,
    base_note: BaseNote::Absent,
    hooks: &[HookKind::Load, HookKind::Unload],
    words: Words::Unknown,
    relocations: &[NONE, ABS64, PC32, PLT32],
    entries: ENTRIES,
    window_bytes: WINDOW_BYTES,
};

/// Xen 4.17 to today.
pub const LIVEPATCH: Profile = Profile {
    name: "livepatch",
    prefix: ".livepatch.",
    record_bytes: size_of::<LivepatchRecord>(),
    record_structure: "livepatch_func",
    tail: Tail::VersionAndExpect(LIVEPATCH_VERSION),
    zero_new_addr: ZeroNewAddr::Nop,
    new_size: NewSize::Unread,
    zero_old_addr: ZeroOldAddr::LookUp,
    expectations: Expectations::InRecord,
    base_note: BaseNote::Mandatory,
    hooks: &HookKind::ALL,
    words: Words::Unknown,
    relocations: &[NONE, ABS64, PC32, PLT32],
    entries: ENTRIES,
    window_bytes: WINDOW_BYTES,
};

/// Every profile, the default first.
pub const ALL: [&Profile; 3] = [&XSPLICE, &XSPLICE_V1, &LIVEPATCH];

impl Profile {
    /// The profile that `--abi NAME` names.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Profile> {
        ALL.into_iter().find(|profile| profile.name == name)
    }

    /// The relocation type with this psABI number, if this profile's loader takes it.
    #[must_use]
    pub fn relocation(&self, number: u32) -> Option<&'static RelocationType> {
        self.relocations.iter().find(|kind| kind.number == number)
    }
}
