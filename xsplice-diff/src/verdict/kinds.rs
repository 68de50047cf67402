//! The vocabulary of all rules: reasons why something is included, and codes of refusals.
//!
//! Reasons and refusals are closed enums: every kind is documented, and nothing is reported that is
//! not one of them. They are separate from the result that holds them, so that a rule does not
//! depend on the reports.

use serde::{Deserialize, Serialize};

use crate::verdict::refusal::Refusal;

/// Whether an item replaces one of the base or is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The original has it too.
    Changed,
    /// Only the patched object has it.
    New,
}

/// A difference that the author accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The object that holds it.
    pub object: String,
    /// What was accepted: `WHAT:NAME` or `WHAT`.
    pub what: String,
    /// The symbol that it is about, where there is one.
    #[serde(skip)]
    pub symbol: Option<String>,
    /// The refusal that it settles.
    pub code: RefusalCode,
    /// The refusal's message, had it not been accepted.
    pub message: String,
}

impl Accepted {
    /// The refusal's message, had `what` not been accepted.
    #[must_use]
    pub fn new(refusal: &Refusal, what: String, symbol: Option<String>) -> Accepted {
        Accepted {
            object: refusal.object.clone(),
            what,
            symbol,
            code: refusal.code,
            message: refusal.message(),
        }
    }
}

/// Why a function is included. Offsets are in bytes from the start of the function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// The code's first difference.
    BytesDiffer {
        /// Offset in the patched function.
        offset: u64,
    },
    /// The code is longer or shorter and the same up to the end of the shorter.
    SizeDiffers {
        /// In bytes.
        old: u64,
        /// In bytes.
        new: u64,
    },
    /// A relocation refers to something else.
    TargetDiffers {
        /// Offset of the field.
        offset: u64,
        /// What it referred to.
        old: String,
        /// What it refers to.
        new: String,
    },
    /// Only one of the two functions has a relocation here, or they are of different types.
    RelocationDiffers {
        /// Offset of the field.
        offset: u64,
        /// The original's type and target, or "none".
        old: String,
        /// The patched one's type and target, or "none".
        new: String,
    },
    /// A string that the function refers to reads differently.
    StringDiffers {
        /// Offset of the field.
        offset: u64,
        /// The old text.
        old: String,
        /// The new text.
        new: String,
    },
    /// A constant or table that belongs to the function (a jump table, a switch's values, a
    /// `static const` that nothing else uses) holds other values.
    ConstantDiffers {
        /// Offset of the field that refers to it.
        offset: u64,
        /// The constant's name, or its place.
        name: String,
        /// Where the contents differ first, in bytes from its start.
        at: u64,
    },
    /// The function's out-of-line part differs.
    ColdPartDiffers {
        /// Name of the part.
        name: String,
        /// What differs in it; offsets are from the start of the part. Empty for a part that came
        /// or went.
        reasons: Vec<Reason>,
    },
    /// Entries of a special section that belong to the function differ.
    SpecialEntryDiffers {
        /// The section.
        section: String,
        /// What differs.
        detail: String,
    },
    /// The patched build asks for another alignment, or another distance behind a multiple of it.
    PlacementDiffers {
        /// Where the base's stands.
        old: String,
        /// Where it must stand.
        new: String,
    },
    /// The original object has no such function, and something included refers to it.
    PulledIn {
        /// Who refers to it.
        by: String,
    },
    /// The original object has no such function, and other objects may refer to it.
    NewGlobal,
    /// The original tree has no such object.
    NewObject,
    /// A hook section refers to it.
    Hook {
        /// The section.
        section: String,
    },
    /// Looks as if nothing but line numbers differed, but there is no debug information to prove
    /// it. A label beside the other reasons.
    LooksLikeLineNumbers,
    /// Differs in dates, times and build numbers alone, which every build writes anew. A label
    /// beside the other reasons.
    LooksLikeBuildStamp,
    /// Differs in displacements of memory operands alone: a structure's layout changed. A label
    /// beside the other reasons.
    LayoutOnly {
        /// Types whose layout differs, by debug information; empty without.
        types: Vec<String>,
    },
}

/// Kinds of refusals.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize
)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The initial value or size of existing writable data changed.
    ChangedData,
    /// The size of existing zero-initialised data changed.
    ChangedBss,
    /// Existing read-only data that more than one function uses, or that other objects may use,
    /// changed.
    ChangedRodata,
    /// Code or data that only ran or was only read at boot changed.
    ChangedInit,
    /// Existing per-CPU data changed.
    ChangedPerCpu,
    /// New per-CPU data: the areas of the CPUs are already laid out.
    NewPerCpu,
    /// Entries of a table that the base walks between two symbols changed.
    ChangedLinkerSet,
    /// A section that has no symbols, or only symbols without sizes, changed.
    ChangedSection,
    /// Assembler code without a sized symbol changed.
    ChangedAssembly,
    /// A common symbol is new or changed.
    CommonSymbol,
    /// Thread-local storage changed or is new.
    ThreadLocal,
    /// The original function is too small for the jump to its replacement.
    FunctionTooSmall,
    /// A changed function has an entry label in its interior.
    InteriorEntry,
    /// A changed function falls through into the code behind it.
    FallsThrough,
    /// Something outside refers into the interior of a changed function.
    InteriorReference,
    /// Which variable of the original a static local is cannot be told.
    AmbiguousStaticLocal,
    /// Included code jumps to a neighbour by a field too short for their distance in a payload.
    ShortJump,
    /// Included code or data has a relocation of an unknown type, or of one that the profile's
    /// loader does not take.
    UnknownRelocation,
    /// Included code or data refers to a place of the base that has no name.
    UnnamedTarget,
    /// A special section cannot be cut into entries.
    MalformedSpecialSection,
    /// A hook section is malformed, or the ABI does not know it.
    MalformedHook,
    /// A symbol's kind (function, data) or binding changed so that it is no longer the same.
    SymbolKindChanged,
    /// A structure, union or enumeration that changed functions use has another layout.
    ChangedLayout,
    /// A function takes or gives something else, and callers that do not change would not know.
    ChangedPrototype,
    /// The two builds are by different compilers, or with different flags.
    ToolchainDiffers,
    /// A name that other objects see changed its meaning.
    DefinitionChanged,
    /// Included code refers to one of two neighbouring variables, and it cannot be told to which.
    AmbiguousTarget,
    /// The two objects were built for different machines or with different code models.
    ObjectsDiffer,
    /// An object that is not for x86-64 differs between the trees.
    ForeignObject,
    /// A symbol that the base does not have and no extract defines.
    UnresolvedSymbol,
    /// A name that several base symbols carry.
    AmbiguousSymbol,
    /// The base's function is not what the original object says: size or kind.
    RecordMismatch,
    /// Two records, or two names of the base, for one address.
    SharedAddress,
    /// The original object's bytes are not those of the base.
    ProofFailed,
    /// A section that is writable and executable, thread-local or otherwise not loadable.
    UnloadableSection,
    /// A section name that belongs to another profile or that the profile does not know.
    ForeignSection,
    /// A special-section table whose pieces are not whole entries.
    BrokenTable,
    /// A hook that the profile's loader does not know, or one too many of a kind.
    BadHook,
    /// Two extracts define one global, or a new global has the name of one in the base.
    DuplicateSymbol,
    /// A name that is too long for the loader.
    NameTooLong,
    /// The payload is larger than a loader takes, or has too many sections.
    TooLarge,
    /// Extracts made for another `--abi` than the one asked for.
    AbiMismatch,
    /// The record size in the base's debug information is not the profile's.
    RecordSize,
    /// An extract that contradicts itself.
    MalformedExtract,
    /// `--prelink` with a base that is not the file that boots.
    NotPrelinkable,
    /// Nothing to patch: no record and no hook.
    Nothing,
    /// An object that changed and is not linked into the base.
    NotLinked,
    /// Objects of an archive are in another order, and the order may count.
    OrderDiffers,
    /// What was written does not pass `verify`.
    VerifyFailed,
    /// The account found no place for a byte of the base or of the patched build.
    NotAccounted,
    /// More functions or bytes change than the caller allows.
    OverBudget,
    /// No object of the trees was compiled from the file of a hunk.
    HunkNotCompiled,
    /// The code of a hunk's lines is the same in both builds.
    HunkNotInPayload,
    /// An object that was compiled from the file of a hunk was not compiled again.
    HunkNotBuilt,
    /// Several sources of the trees have the name that the patch gives.
    HunkAmbiguous,
}

/// A difference that is proven not to matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// The object that holds it.
    pub object: String,
    /// The function, datum or section.
    pub name: String,
    /// Why it does not matter.
    pub why: String,
}

/// What a person has to know of an item although it was decided: by what evidence it was
/// correlated, that it is new in a section of an unusual name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The object that holds it.
    pub object: String,
    /// The function, datum or section, as the patched object names it.
    pub name: String,
    /// The sentence.
    pub note: String,
}

/// How the reason of a difference begins that the author accepted as one of line numbers.
pub(crate) const ACCEPTED_LINE_NUMBERS: &str = "looks like line numbers only, and was accepted";

/// How the reason of a difference begins that is the date or time of the build.
pub(crate) const BUILD_STAMP: &str = "differs in nothing but the date or time of the build: ";

impl Ignored {
    /// Whether it is the date or time of the build.
    #[must_use]
    pub fn is_build_stamp(&self) -> bool {
        self.why.starts_with(BUILD_STAMP)
    }

    /// Whether the author accepted it, and it was not proven.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.why.starts_with(ACCEPTED_LINE_NUMBERS)
    }
}
