//! Every rule that a check can find broken, with the place and the error number.

use core::fmt;

use thiserror::Error;
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::{
    EXPECT_BYTES_MAX, PAYLOAD_BYTES_MAX, SECTIONS_MAX, SYMBOL_NAME_BYTES_MAX,
};
use xsplice_abi::machine::Machine;

/// A broken rule and the place where it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub struct CheckError<'data> {
    /// The rule.
    pub fault: Fault,
    /// Section; empty when the fault is the whole file's.
    pub section: &'data str,
    /// Symbol or function; empty when there is none.
    pub symbol: &'data str,
    /// Offset in the section, in bytes.
    pub offset: u64,
}

impl<'data> CheckError<'data> {
    /// What the loader returns.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        self.fault.errno()
    }

    /// The same with the name of a symbol.
    #[must_use]
    pub const fn about(mut self, symbol: &'data str) -> Self {
        self.symbol = symbol;
        self
    }
}

impl fmt::Display for CheckError<'_> {
    /// `section+0xoffset (symbol): fault`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.section.is_empty() {
            write!(out, "{}+{:#x}", self.section, self.offset)?;
        }
        if !self.symbol.is_empty() {
            let space = if self.section.is_empty() { "" } else { " " };
            write!(out, "{space}({})", self.symbol)?;
        }
        if !self.section.is_empty() || !self.symbol.is_empty() {
            out.write_str(": ")?;
        }
        self.fault.fmt(out)
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? })? = $errno:ident, $text:literal $(, $argument:expr)*;)*) => {
        /// A rule that a payload breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
        pub enum Fault {
            $($(#[$doc])* #[error($text $(, $argument)*)] $name $({ $($(#[$field_doc])* $field: $kind),* })?,)*
        }

        impl Fault {
            /// What the loader returns.
            #[must_use]
            pub const fn errno(&self) -> Errno {
                match self {
                    $(Fault::$name $({ $($field: _),* })? => Errno::$errno,)*
                }
            }

            /// The fault at `offset` of `section`.
            #[must_use]
            pub const fn at(self, section: &str, offset: u64) -> CheckError<'_> {
                CheckError { fault: self, section, symbol: "", offset }
            }

            /// The fault of the file as a whole.
            #[must_use]
            pub const fn of_file<'data>(self) -> CheckError<'data> {
                CheckError { fault: self, section: "", symbol: "", offset: 0 }
            }
        }
    };
}

faults! {
    // The ELF header.
    /// Not a relocatable file.
    NotRelocatable { /** `e_type`. */ kind: u16 } = ENOEXEC, "ELF type {kind} instead of 1 (relocatable); link the payload with xsplice-link";
    /// Another machine.
    ForeignMachine { /** `e_machine`. */ machine: u16, /** The loader's. */ expected: &'static Machine } = ENOEXEC, "machine {machine} instead of {} ({})", expected.e_machine, expected.name;
    /// Another ELF version, or an OS ABI that loaders do not know.
    ForeignIdent { /** Offset in `e_ident`. */ position: u8, /** What stands there. */ value: u8 } = ENOEXEC, "byte {position} of the ELF identification is {value}";
    /// Program headers in a relocatable file.
    ProgramHeaders { /** `e_phnum`. */ count: u16 } = EINVAL, "{count} program headers; a payload has none";
    /// Too many section headers, or none.
    SectionCount { /** `e_shnum`. */ count: u16 } = EINVAL, "{count} section headers; a payload has 1 to {limit}", limit = SECTIONS_MAX - 1;
    /// Not exactly one symbol table.
    SymbolTables { /** How many. */ count: usize } = EINVAL, "{count} symbol tables; a payload has one";

    // Sections.
    /// An alignment that is no power of two, or 0 where memory is occupied.
    Alignment { /** `sh_addralign`. */ alignment: u64 } = EINVAL, "alignment {alignment:#x} is no power of two";
    /// An address that is not a multiple of the alignment.
    AddressUnaligned { /** `sh_addr`. */ address: u64 } = EINVAL, "address {address:#x} is not a multiple of the alignment";
    /// Contents that overlap the ELF header.
    InsideHeader = EINVAL, "contents start inside the ELF header";
    /// An oversized section without contents.
    NobitsTooLarge { /** `sh_size`. */ bytes: u64 } = EINVAL, "{bytes} bytes of zeroes; at most {limit} are taken", limit = PAYLOAD_BYTES_MAX;
    /// Writable and executable at once.
    WritableAndExecutable = EOPNOTSUPP, "writable and executable at once; nothing in a payload may be both";
    /// A section that must appear once appears again.
    SectionTwice = EINVAL, "a second section of this name; merge them";
    /// A section of the profile's prefix that its loader does not know.
    SectionUnknown = EOPNOTSUPP, "this loader does not know what to do with the section";
    /// Sections of two profiles in one payload.
    PrefixesMixed = EINVAL, "sections of both prefixes, .xsplice. and .livepatch., in one payload";
    /// A mandatory section is not there.
    SectionMissing { /** Name after the prefix, or the whole name. */ suffix: &'static str } = EINVAL, "no section {suffix}; link the payload with xsplice-link";
    /// A mandatory section that is not allocated, is written or is code.
    SectionNotReadOnly = EINVAL, "must be allocated and neither writable nor executable";
    /// A section of this kind must not be empty.
    SectionEmpty = EINVAL, "the section is empty; leave it out";
    /// A table whose size is no multiple of its entries' size.
    TableSize { /** `sh_size`. */ bytes: u64, /** Size of one entry. */ entry_bytes: u64 } = EINVAL, "{bytes} bytes are no multiple of an entry's {entry_bytes}";
    /// A table that must have been given contents has none.
    TableWithoutContents = EINVAL, "a table without contents (NOBITS)";

    // Notes and metadata.
    /// Not a well-formed GNU build-id note.
    Note = EINVAL, "not a GNU build-id note";
    /// Made for another base.
    ForeignBase = EINVAL, "made for another base: its build-id is not that of the running image";
    /// The payload's own build-id equals one that is loaded, or the base's.
    BuildIdTaken = EEXIST, "a payload with this build-id is loaded already";
    /// Metadata that does not end with NUL.
    MetadataUnterminated = EINVAL, "the metadata does not end with NUL";
    /// Metadata name an ABI that this loader does not know.
    AbiUnknown = EOPNOTSUPP, "abi= in the metadata names no ABI that this loader knows";
    /// Metadata name an ABI of another section prefix.
    AbiOfOtherPrefix = EINVAL, "abi= in the metadata belongs to another section prefix";
    /// Neither records nor hooks.
    NothingToDo = EINVAL, "nothing to patch: neither records nor hooks";

    // Symbols.
    /// A name that is too long.
    SymbolNameLong { /** Its length. */ bytes: usize } = EINVAL, "a symbol name of at least {bytes} bytes; at most {limit} are taken", limit = SYMBOL_NAME_BYTES_MAX;
    /// COMMON space.
    SymbolCommon = EINVAL, "a COMMON symbol; compile with -fno-common";
    /// Relative to a section that does not exist or an index that loaders do not know.
    SymbolPlace = EINVAL, "the symbol refers to no section of the payload";
    /// Beyond the end of its section.
    SymbolOutside { /** `st_value`. */ value: u64 } = EINVAL, "the symbol's value {value:#x} lies beyond its section";
    /// Undefined and known to nobody.
    SymbolUnknown = ENOENT, "neither the base nor a loaded payload defines this symbol";
    /// Undefined and known under several addresses.
    SymbolAmbiguous = EINVAL, "the name stands for several addresses; qualify it as file#name";
    /// New, and taken by the base or another payload.
    SymbolTaken = EEXIST, "the base or a loaded payload has a symbol of this name";

    // Relocations.
    /// Without addends.
    RelocationForm = EOPNOTSUPP, "relocations without addends (REL); only RELA is taken";
    /// For a section that does not exist or has no contents.
    RelocationTarget = EINVAL, "the relocated section does not exist or has no contents";
    /// Against a table that is not the symbol table.
    RelocationSymbolTable = EINVAL, "the relocations do not refer to the payload's symbol table";
    /// Of a type that the profile's loader does not take.
    RelocationType { /** psABI number. */ kind: u32 } = EOPNOTSUPP, "relocation type {kind} is not taken by this loader";
    /// Against symbol 0.
    RelocationWithoutSymbol = EOPNOTSUPP, "a relocation without a symbol";
    /// Against a symbol that does not exist.
    RelocationSymbol { /** Index. */ symbol: u32 } = EINVAL, "the relocation's symbol {symbol} does not exist";
    /// Against a symbol in a section that is not loaded.
    RelocationUnloaded = EINVAL, "the relocation's symbol lies in a section that is not loaded";
    /// Beyond the end of its section.
    RelocationOutside = EINVAL, "the relocated field lies beyond the section";
    /// A value that does not fit its field.
    RelocationOverflow { /** The value. */ value: i128 } = EOVERFLOW, "the value {value:#x} does not fit the relocated field";

    // Records.
    /// The name is no string of the payload.
    RecordName = EINVAL, "the record's name is no NUL-terminated string of the payload";
    /// One of the fields that must not be zero.
    RecordZero { /** Which. */ field: &'static str } = EINVAL, "{field} is zero";
    /// Bytes that must be zero on upload.
    RecordTail = EINVAL, "bytes of the record that belong to the patcher are not zero";
    /// Another version.
    RecordVersion { /** What stands there. */ version: u8 } = EOPNOTSUPP, "record version {version} is not taken by this loader";
    /// The new function does not lie in the payload's code.
    RecordNew { /** `new_addr`. */ address: u64 } = EINVAL, "the new function at {address:#x} does not lie in the payload's code";
    /// The old function does not lie in code that may be patched.
    RecordOld { /** `old_addr`. */ address: u64 } = EINVAL, "the old function at {address:#x} does not lie in the base's code";
    /// Too small for the jump.
    RecordTooSmall { /** `old_size`. */ bytes: u32, /** What the jump needs. */ needed: u8 } = EINVAL, "the old function has {bytes} bytes and the jump needs {needed}";
    /// New function beyond the jump's reach.
    RecordOutOfReach = EOVERFLOW, "the new function is 2 GiB or more away from the old one";
    /// More NOPs than a record can undo.
    RecordNopLong { /** `new_size`. */ bytes: u32 } = EOPNOTSUPP, "{bytes} bytes of NOPs; at most {limit} are taken", limit = EXPECT_BYTES_MAX;
    /// NOPs that would cut an instruction.
    RecordNopPart { /** `new_size`. */ bytes: u32 } = EOPNOTSUPP, "{bytes} bytes of NOPs are no whole number of instructions";
    /// More NOPs than the function has bytes.
    RecordNopOutside = EINVAL, "more NOPs than the old function has bytes";
    /// Two records write the same bytes.
    RecordOverlap = EINVAL, "two records patch the same bytes";
    /// Text of the deny list.
    RecordDenied = EINVAL, "the function is on the deny list: a CPU may be inside it while text is written";

    // Expectations and words.
    /// Longer than an expectation can be.
    ExpectLong { /** Length. */ bytes: u8 } = EOVERFLOW, "an expectation of {bytes} bytes; at most {limit} are taken", limit = EXPECT_BYTES_MAX;
    /// Longer than the function.
    ExpectBeyondFunction = ERANGE, "the expectation is longer than the old function";
    /// Reserved bits or bytes beyond the length.
    ExpectReserved = EINVAL, "reserved bits or bytes of the expectation are not zero";
    /// The running code is not what the payload was made for.
    ExpectFailed = EINVAL, "the running code does not start with the expected bytes; the payload was made for another build";
    /// Not one expectation a record.
    ExpectCount = EINVAL, "not one expectation for each record";
    /// Not a multiple of 8, or not readable data of the running image.
    WordAddress { /** Address. */ address: u64 } = EINVAL, "{address:#x} is no aligned word of data of the running image";
    /// Does not hold what the payload expects.
    WordFailed { /** What it holds. */ holds: u64 } = EINVAL, "the word holds {holds:#x}, which is not the expected value";
    /// A word does not hold what the payload wrote there.
    WordChanged { /** What it holds. */ holds: u64 } = EINVAL, "the word holds {holds:#x}, which the payload did not write; revert it with LEAVE_WORDS to keep that";

    // Hooks and special sections.
    /// Not a function of the payload or the base.
    HookAddress { /** Address. */ address: u64 } = EINVAL, "the hook at {address:#x} is no code of the payload";
    /// More or fewer than one pointer.
    HookCount = EINVAL, "this hook takes exactly one pointer of 8 bytes";
    /// A table entry about code that is not the payload's.
    EntryOutside { /** Address. */ address: u64 } = EINVAL, "the entry refers to {address:#x}, which is no code of the payload";
    /// An alternative whose replacement is longer than its place.
    AlternativeLong = EINVAL, "the alternative's replacement is longer than its place";
    /// A replacement that leaves a part of its place.
    AlternativeShort = EINVAL, "the alternative's replacement is shorter than its place, at which Xen on this machine stops (BUG)";
    /// A displacement of a moved call or jump that does not fit.
    AlternativeOverflow = EOVERFLOW, "a jump of the alternative does not reach from its new place";
    /// A branch that the loader cannot adjust.
    AlternativeLeaves { /** Where to. */ address: u64 } = EINVAL, "a branch of the alternative leads to {address:#x}, which is neither in it nor in the base, at which Xen on this machine stops (BUG)";
    /// Not an indirect call through memory.
    AlternativeCallSite = EINVAL, "the site is no 6-byte indirect call";

    /// Memory could not be had.
    OutOfMemory = ENOMEM, "out of memory";
}
