//! The result of comparing one pair of objects, in the shape of the JSON report.
//!
//! Reasons and refusals are closed enums: every kind is documented, and nothing is reported that
//! is not one of them.

use serde::{Deserialize, Serialize};

use crate::debug_info::toolchain::Toolchains;
use crate::extract::{Extract, OriginalItem, SymbolIndex};
use crate::layouts::Layouts;

/// Everything that was found out about one pair of objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectDiff<'data> {
    /// The object's path in its tree, or its file name.
    pub object: String,
    /// Functions that are replaced or new, by name.
    pub functions: Vec<FunctionChange>,
    /// Data that is new, or that changed and was acknowledged, by name.
    pub data: Vec<DataChange>,
    /// Special sections of which entries travel.
    pub special_sections: Vec<SpecialSection>,
    /// Differences that do not matter, each with the proof's name.
    pub ignored: Vec<Ignored>,
    /// What would have been refused, had the author not acknowledged it.
    pub accepted: Vec<Accepted>,
    /// Why no payload can be made. Not empty: no payload.
    pub refusals: Vec<Refusal>,
    /// How the layouts of the types compare that changed functions may look at.
    pub layouts: Layouts,
    /// What the two builds were compiled by; `None` when nothing travels.
    pub toolchains: Option<Toolchains>,
    /// What the options and the patched object acknowledge, whether it is needed or not.
    #[serde(skip)]
    pub acknowledged: Vec<String>,
    /// Names that are new to other objects, gone, or weak or not weak any more, in order; whether
    /// that matters depends on other objects ([`crate::Options::weak_elsewhere`]).
    #[serde(skip)]
    pub unsettled_names: Vec<String>,
    /// What the linker needs; `None` when nothing travels or the code was refused. With a refused
    /// layout it is there, for only the whole tree tells whether the layout was acknowledged.
    #[serde(skip)]
    pub extract: Option<Extract<'data>>,
    /// Out-of-line parts of the replaced functions, for listings; empty without an extract.
    #[serde(skip)]
    pub parts: Vec<Part<'data>>,
}

/// An out-of-line part (`f.cold`) of a replaced function. The linker needs no more of it than the
/// extract holds; people want to see what it was, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'data> {
    /// The new code of the function that it is a part of, as its record names it.
    pub record: SymbolIndex,
    /// Its name in the patched object, or in the original where it went.
    pub name: String,
    /// As it was; `None` for one that came.
    pub original: Option<OriginalItem<'data>>,
    /// As it is; `None` for one that went.
    pub patched: Option<SymbolIndex>,
}

/// What the diff amounts to; the command's exit status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something travels: exit 0.
    Changed,
    /// Something cannot be patched: exit 2.
    Refused,
    /// No functional change: exit 3.
    Unchanged,
}

impl ObjectDiff<'_> {
    /// The diff of two objects between which nothing differs.
    #[must_use]
    pub fn unchanged(object: &str) -> ObjectDiff<'static> {
        ObjectDiff {
            object: object.to_owned(),
            functions: Vec::new(),
            data: Vec::new(),
            special_sections: Vec::new(),
            ignored: Vec::new(),
            accepted: Vec::new(),
            refusals: Vec::new(),
            layouts: Layouts::default(),
            toolchains: None,
            acknowledged: Vec::new(),
            unsettled_names: Vec::new(),
            extract: None,
            parts: Vec::new(),
        }
    }

    /// Refusals come before everything else: a change that cannot travel is never "no change".
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.refusals.is_empty() {
            Verdict::Refused
        } else if self.extract.is_some() {
            Verdict::Changed
        } else {
            Verdict::Unchanged
        }
    }
}

/// Whether an item replaces one of the base or is an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The original has it too.
    Changed,
    /// Only the patched object has it.
    New,
}

/// A function that travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionChange {
    /// The object that holds it.
    pub object: String,
    /// Its name in the patched object.
    pub name: String,
    /// For a local: the `STT_FILE` symbol that qualifies it.
    pub file: Option<String>,
    /// Replaced or new.
    pub status: Status,
    /// In bytes; 0 for a new one.
    pub old_size: u64,
    /// In bytes.
    pub new_size: u64,
    /// Where in the patched source the first difference stands, by debug information.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<SourceLine>,
    /// Why it travels; never empty.
    pub reasons: Vec<Reason>,
}

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLine {
    /// The file, as the compiler was told.
    pub file: String,
    /// From 1.
    pub line: u64,
}

/// A datum that travels, or that differs and was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataChange {
    /// The object that holds it.
    pub object: String,
    /// Its name in the patched object.
    pub name: String,
    /// The section that holds it.
    pub section: String,
    /// Changed or new.
    pub status: Status,
}

/// Entries of a special section that travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialSection {
    /// The object that holds it.
    pub object: String,
    /// The section.
    pub section: String,
    /// How many entries travel.
    pub entries: u64,
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

/// A difference that the author acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The object that holds it.
    pub object: String,
    /// What was acknowledged, as given: `WHAT:NAME` or `WHAT`.
    pub what: String,
    /// The symbol that it is about, where there is one.
    #[serde(skip)]
    pub symbol: Option<String>,
    /// The refusal that it stands against.
    pub code: RefusalCode,
    /// What the refusal would have said.
    pub message: String,
}

/// Why a function travels. Offsets are in bytes from the start of the function.
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
        /// What it said.
        old: String,
        /// What it says.
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
    /// The original object has no such function, and something that travels refers to it.
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

/// A difference or a form that no payload can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind.
    pub code: RefusalCode,
    /// The object at fault.
    pub object: String,
    /// The section, where there is one.
    pub section: Option<String>,
    /// The symbol, where there is one.
    pub symbol: Option<String>,
    /// Offset in the section, in bytes.
    pub offset: Option<u64>,
    /// What is wrong, and what would make it right.
    pub message: String,
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
    /// Assembler code whose extent no symbol tells changed.
    ChangedAssembly,
    /// A common symbol is new or changed.
    CommonSymbol,
    /// Thread-local storage changed or is new.
    ThreadLocal,
    /// The original function is too small for the jump to its replacement.
    FunctionTooSmall,
    /// A changed function has an entry label in its interior.
    InteriorEntry,
    /// A changed function runs on into the one behind it.
    FallsThrough,
    /// Something outside refers into the interior of a changed function.
    InteriorReference,
    /// Which variable of the original a static local is cannot be told.
    AmbiguousStaticLocal,
    /// Something that travels jumps to a neighbour by a field too short for the distance that
    /// will lie between them.
    ShortJump,
    /// A relocation type that is not known occurs in something that travels.
    UnknownRelocation,
    /// Something that travels refers to a place of the base that has no name.
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
    /// A name that other objects see stands for something else.
    DefinitionChanged,
    /// Which of two neighbouring variables something that travels refers to cannot be told.
    AmbiguousTarget,
    /// The two objects were built for different machines or with different code models.
    ObjectsDiffer,
    /// An object that is not for x86-64 differs between the trees.
    ForeignObject,
}
