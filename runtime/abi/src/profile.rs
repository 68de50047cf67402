//! The payload ABIs. A profile is data: every rule that differs between loaders is a field here,
//! and the writer, the checks and the loader read it.

use core::fmt;
use core::str::FromStr;

use crate::hook::{HookKind, HookOrder};
use crate::machine::x86_64::{ABS32S, ABS64, NONE, PC32, PC64, PLT32};
use crate::machine::{Architecture, Machine, RelocationType, aarch64};
pub use crate::record::Tail;
use crate::record::{
    LIVEPATCH_VERSION, LivepatchRecord, XSPLICE_V1_VERSION, XspliceRecord, XspliceV1Record, offset,
};
use crate::tables::EntrySizes;

/// What a zero in `new_addr` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroNewAddr {
    /// Refused.
    Refused,
    /// `new_size` bytes of the old function become NOPs.
    Nop,
}

/// What the loader requires of `new_size` when there is a new function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSize {
    /// This many bytes from `new_addr` on must lie in the payload's code.
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

/// What a zero in `name` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroName {
    /// Refused.
    Refused,
    /// Nothing, where `old_addr` has the address: the loader reads the name only to look it up.
    WithAddress,
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

/// Whether payloads must have a build-id note of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseNote {
    /// `PREFIXxen_depends` is mandatory.
    Mandatory,
    /// The profile has no such section.
    Absent,
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
    /// Meaning of `name` 0.
    pub zero_name: ZeroName,
    /// Where expectations go.
    pub expectations: Expectations,
    /// Whether the base's build-id note is demanded.
    pub base_note: BaseNote,
    /// Hooks that the loader knows.
    pub hooks: &'static [HookKind],
    /// When load and unload hooks run.
    pub hook_order: HookOrder,
    /// Whether `PREFIXwords` is known.
    pub words: Words,
    /// Relocation types that the loader takes, by machine.
    pub relocations: Relocations,
}

/// Relocation types that a loader takes; none for machines that it does not run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocations {
    /// Of x86-64.
    pub x86_64: &'static [RelocationType],
    /// Of AArch64.
    pub aarch64: &'static [RelocationType],
}

/// Whether in-place data words are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `PREFIXwords` is applied and undone with the functions.
    Known,
    /// The section means nothing to the loader and is refused.
    Unknown,
}

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
    zero_name: ZeroName::Refused,
    expectations: Expectations::OwnSection,
    base_note: BaseNote::Mandatory,
    hooks: &[
        HookKind::Load,
        HookKind::Unload,
        HookKind::PreApply,
        HookKind::Apply,
        HookKind::PostApply,
        HookKind::PreRevert,
        HookKind::Revert,
        HookKind::PostRevert,
    ],
    hook_order: HookOrder::WhileReplaced,
    words: Words::Known,
    relocations: Relocations {
        x86_64: &[NONE, ABS64, PC32, PLT32, ABS32S, PC64],
        aarch64: aarch64::TAKEN_BY_XEN,
    },
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
    zero_name: ZeroName::Refused,
    expectations: Expectations::None,
    base_note: BaseNote::Absent,
    hooks: &[HookKind::Load, HookKind::Unload],
    hook_order: HookOrder::WhileReplaced,
    words: Words::Unknown,
    relocations: Relocations {
        x86_64: &[NONE, ABS64, PC32, PLT32],
        // That design was merged before Xen on Arm could be patched.
        aarch64: &[],
    },
};

/// Xen 4.14 to today.
pub const LIVEPATCH: Profile = Profile {
    name: "livepatch",
    prefix: ".livepatch.",
    record_bytes: size_of::<LivepatchRecord>(),
    record_structure: "livepatch_func",
    tail: Tail::VersionAndExpect(LIVEPATCH_VERSION),
    zero_new_addr: ZeroNewAddr::Nop,
    new_size: NewSize::Unread,
    zero_old_addr: ZeroOldAddr::LookUp,
    zero_name: ZeroName::WithAddress,
    expectations: Expectations::InRecord,
    base_note: BaseNote::Mandatory,
    hooks: &[
        HookKind::Load,
        HookKind::Unload,
        HookKind::PreApply,
        HookKind::Apply,
        HookKind::PostApply,
        HookKind::PreRevert,
        HookKind::Revert,
        HookKind::PostRevert,
    ],
    hook_order: HookOrder::WhileNotReplaced,
    words: Words::Unknown,
    relocations: Relocations {
        x86_64: &[NONE, ABS64, PC32, PLT32],
        aarch64: aarch64::TAKEN_BY_XEN,
    },
};

/// The evidence that a payload gives of its profile.
#[derive(Clone, Copy, Debug)]
pub struct Signs<'data> {
    /// The first allocated section with the prefix of [`XSPLICE`], by name.
    pub xsplice_section: Option<&'data str>,
    /// The first allocated section with the prefix of [`LIVEPATCH`], by name.
    pub livepatch_section: Option<&'data str>,
    /// The value of the first `abi=` of `.modinfo`.
    pub claimed: Option<&'data str>,
    /// The contents of the records' section with the prefix of [`XSPLICE`].
    pub records: Option<&'data [u8]>,
    /// Whether there is a note of the base with the prefix of [`XSPLICE`].
    pub has_base_note: bool,
}

/// Why a payload has no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoProfile<'data> {
    /// It has sections of two prefixes; this is the first of [`XSPLICE`]'s.
    PrefixesMixed(&'data str),
    /// `abi=` names none.
    Unknown,
    /// `abi=` names one with another prefix.
    OfOtherPrefix,
}

impl<'data> Signs<'data> {
    /// The profile of a payload.
    ///
    /// `abi=` decides. Older payloads lack that key; they are told apart by the version byte of the
    /// first record or, without records, by the note of the base.
    ///
    /// # Errors
    /// Sections of both prefixes, or an `abi=` that contradicts them.
    pub fn profile(&self) -> Result<&'static Profile, NoProfile<'data>> {
        let prefix = match (self.xsplice_section, self.livepatch_section) {
            (Some(name), Some(_)) => return Err(NoProfile::PrefixesMixed(name)),
            (None, Some(_)) => LIVEPATCH.prefix,
            (_, None) => XSPLICE.prefix,
        };
        if let Some(name) = self.claimed {
            let profile = Profile::by_name(name).ok_or(NoProfile::Unknown)?;
            return if profile.prefix == prefix {
                Ok(profile)
            } else {
                Err(NoProfile::OfOtherPrefix)
            };
        }
        Ok(self.looks_like())
    }

    /// The profile that a payload looks like, without regard to `abi=`.
    fn looks_like(&self) -> &'static Profile {
        if self.xsplice_section.is_none() && self.livepatch_section.is_some() {
            return &LIVEPATCH;
        }
        let is_v1 = match self.records {
            Some(records) => records.get(offset::TAIL) == Some(&XSPLICE_V1_VERSION),
            None => !self.has_base_note,
        };
        if is_v1 { &XSPLICE_V1 } else { &XSPLICE }
    }

    /// The profile to display a payload by, whether or not its loader takes it: the one that it
    /// claims, if that exists, otherwise the one that it looks like.
    #[must_use]
    pub fn nearest_profile(&self) -> &'static Profile {
        self.profile().unwrap_or_else(|_| {
            let claimed = self.claimed.and_then(Profile::by_name);
            claimed.unwrap_or_else(|| self.looks_like())
        })
    }
}

/// No profile has the name that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAbi;

impl fmt::Display for UnknownAbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ABIs are ")?;
        for (index, known) in ALL.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", known.name)?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownAbi {}

/// The value of `--abi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi(pub &'static Profile);

impl FromStr for Abi {
    type Err = UnknownAbi;

    fn from_str(name: &str) -> Result<Abi, UnknownAbi> {
        Profile::by_name(name).map(Abi).ok_or(UnknownAbi)
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// Every profile, the default first.
pub const ALL: [&Profile; 3] = [&XSPLICE, &XSPLICE_V1, &LIVEPATCH];

impl Profile {
    /// The profile that `--abi NAME` names.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Profile> {
        ALL.into_iter().find(|profile| profile.name == name)
    }

    /// Relocation types that this profile's loader takes on a machine.
    #[must_use]
    pub const fn relocations(&self, machine: &Machine) -> &'static [RelocationType] {
        match machine.architecture {
            Architecture::X86_64 => self.relocations.x86_64,
            Architecture::AArch64 => self.relocations.aarch64,
        }
    }

    /// The relocation type with this psABI number, if this profile's loader takes it.
    #[must_use]
    pub fn relocation(&self, machine: &Machine, number: u32) -> Option<&'static RelocationType> {
        let mut taken = self.relocations(machine).iter();
        taken.find(|kind| kind.number == number)
    }

    /// How special-section entries are laid out for this profile's loader.
    #[must_use]
    pub const fn entries(&self, machine: &Machine) -> EntrySizes {
        EntrySizes::of(machine)
    }
}
