//! Machines as data: relocation types, the jump that redirects a function, marks at a function's
//! start, padding, and the distances that jumps reach.
//!
//! A machine is found once, from the `e_machine` of a file ([`Machine::of`]). All other code asks
//! it and needs no number of its own, so a second machine is a second file beside [`x86_64`].
//! Questions that need a decoder are answered by the host tools instead.

pub mod aarch64;
mod branch;
mod field;
mod names;
pub mod x86_64;

pub use branch::{Branch, JUMP_BYTES_MAX, Jump, JumpCode, MovedBranch, PointerCall};
pub use field::{Field, Kind, Part, Range, Told};
pub use names::{MachineName, TypeName};

/// Whose instructions a machine has: what decides which decoder reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// AMD64, Intel 64.
    X86_64,
    /// Arm of 64 bits.
    AArch64,
}

/// What the distance in a field of an instruction counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistanceOrigin {
    /// The end of the instruction, while relocations count from the field.
    InstructionEnd,
    /// The instruction, whose relocations count from it too.
    Instruction,
}

/// How entries of the tables that loaders walk are laid out, where machines differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryForm {
    /// Bug frames keep bits of the line in their displacements; behind the place of an
    /// alternative may be NOPs for a longer replacement.
    Packed,
    /// Bug frames keep the line beside their displacements; a replacement is as long as what it
    /// replaces.
    Plain,
}

/// Which file names Xen on a machine takes from the bug frames of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileNames {
    /// Any.
    Anywhere,
    /// Those in its own image: it stops at a trap whose name is elsewhere.
    InImage,
}

/// The data of a machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine` of its files.
    pub e_machine: u16,
    /// Which decoder reads its code.
    pub architecture: Architecture,
    /// For people.
    pub name: &'static str,
    /// How to compile so that no relocations come out that loaders do not take.
    pub position_advice: &'static str,
    /// Prefix of the names of its relocation types.
    pub relocation_prefix: &'static str,
    /// Every type of its psABI, in order of their numbers.
    pub relocations: &'static [RelocationType],
    /// The type of a pointer in data.
    pub word: &'static RelocationType,
    /// The type of a 32-bit distance in a table, counted from the field.
    pub distance: &'static RelocationType,
    /// The type of a pointer to an address within the image (`RELATIVE`), for images that are
    /// moved.
    pub image_word: u32,
    /// The jump that redirects an old function.
    pub jump: Jump,
    /// Marks at a function's start that must be kept, the compiler's mark first.
    pub entry_marks: &'static [&'static [u8]],
    /// One NOP of each length that exists, in order of length.
    pub nops: &'static [&'static [u8]],
    /// The trap instruction, which fills gaps in code.
    pub trap: u8,
    /// The call through a pointer in memory that boot code may turn into a direct call; `None`
    /// where boot code knows no such thing.
    pub pointer_call: Option<PointerCall>,
    /// Calls and jumps whose distance changes when the code is copied elsewhere.
    pub moved_branches: &'static [Branch],
    /// Names of symbols that say where code and where data begin, and name nothing; also with a
    /// dot and more behind it.
    pub mapping_symbols: &'static [&'static str],
    /// Bytes of every instruction, where all have as many.
    pub instruction_bytes: Option<usize>,
    /// What the distances in instructions count from.
    pub distance_origin: DistanceOrigin,
    /// How table entries are laid out.
    pub entry_form: EntryForm,
    /// Numbers of types whose distances Xen's loader takes up to these bytes in either direction
    /// although the field holds fewer: it cuts them off. Empty where it checks each as it must.
    pub taken_beyond: &'static [(u32, i128)],
    /// Which file names its bug frames may have.
    pub file_names: FileNames,
    /// A payload's regions lie at most this far from the base's text, in bytes.
    pub window_bytes: u64,
    /// The property of `.note.gnu.property` that names the protections that all functions support.
    pub protection: Protection,
}

/// A relocation type: its psABI number, its name and what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelocationType {
    /// In `r_info`.
    pub number: u32,
    /// psABI name without [`Machine::relocation_prefix`].
    pub name: &'static str,
    /// What is written where.
    pub field: Field,
    /// The number of the type that computes the same where nothing is linked dynamically.
    pub alike: u32,
    /// Whether included code or data may have it.
    pub use_in_payload: UseInPayload,
}

/// A type that computes what no other does, and that payloads may have.
const fn carried(number: u32, name: &'static str, field: Field) -> RelocationType {
    RelocationType {
        number,
        name,
        field,
        alike: number,
        use_in_payload: UseInPayload::Carried,
    }
}

/// The same, which payloads may not have.
const fn refused(number: u32, name: &'static str, field: Field) -> RelocationType {
    RelocationType {
        use_in_payload: UseInPayload::Refused,
        ..carried(number, name, field)
    }
}

/// How the linker of payloads handles a relocation type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseInPayload {
    /// It keeps it, or rewrites the access.
    Carried,
    /// It refuses it: payloads do not have what it needs.
    Refused,
}

/// Notes on the protection of branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// `pr_type`.
    pub property: u32,
    /// Bits of its data and what processors' manuals call them.
    pub features: &'static [(u32, &'static str)],
}

/// All machines.
pub const ALL: &[&Machine] = &[&x86_64::MACHINE, &aarch64::MACHINE];

/// The machine that the bundled runtime runs on, and takes payloads for.
pub const OF_RUNTIME: &Machine = &x86_64::MACHINE;

impl Machine {
    /// The machine of files with this `e_machine`.
    #[must_use]
    pub fn of(e_machine: u16) -> Option<&'static Machine> {
        ALL.iter()
            .copied()
            .find(|machine| machine.e_machine == e_machine)
    }

    /// The relocation type with this number.
    #[must_use]
    pub fn relocation(&self, number: u32) -> Option<&'static RelocationType> {
        // Some machines number them from 0 on, nearly without gaps.
        let direct = usize::try_from(number)
            .ok()
            .and_then(|at| self.relocations.get(at));
        if let Some(found) = direct.filter(|one| one.number == number) {
            return Some(found);
        }
        let at = self
            .relocations
            .binary_search_by_key(&number, |one| one.number);
        self.relocations.get(at.ok()?)
    }

    /// Whether what a relocation of this type writes depends on where its field lies.
    #[must_use]
    pub fn is_relative(&self, number: u32) -> bool {
        self.relocation(number)
            .is_some_and(|known| known.field.is_relative())
    }

    /// Whether something that is carried into a payload may have a relocation of this type.
    #[must_use]
    pub fn is_carried(&self, number: u32) -> bool {
        self.relocation(number)
            .is_some_and(|known| known.use_in_payload == UseInPayload::Carried)
    }

    /// Whether a relocation of this type goes through a slot in the GOT.
    #[must_use]
    pub fn goes_through_slot(&self, number: u32) -> bool {
        self.relocation(number)
            .is_some_and(|known| known.field.kind == Kind::Slot)
    }

    /// The number under which two types that are computed alike compare equal: where nothing is
    /// linked dynamically, a call through the PLT is a plain call.
    #[must_use]
    pub fn alike(&self, number: u32) -> u32 {
        self.relocation(number).map_or(number, |known| known.alike)
    }

    /// Whether a relocation of this type fills the distance of a branch, in an instruction that can
    /// hold nothing else.
    #[must_use]
    pub fn is_branch(&self, number: u32) -> bool {
        let known = self.relocation(number).map(|known| known.field);
        known.is_some_and(|field| {
            let branches = self.moved_branches.iter();
            self.instruction_bytes.is_some() && branches.clone().any(|one| one.field == field)
        })
    }

    /// Whether a symbol of this name only says whether code or data begins there.
    #[must_use]
    pub fn is_mapping_symbol(&self, name: &str) -> bool {
        self.mapping_symbols.iter().any(|mark| {
            let rest = name.strip_prefix(mark);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Whether a relocation of this type tells only a part of its target's address: another one
    /// tells the rest.
    #[must_use]
    pub fn is_partial(&self, number: u32) -> bool {
        self.relocation(number)
            .is_some_and(|known| known.field.is_partial())
    }

    /// What has to be added to a relative field's addend, for a field that lies `behind` bytes
    /// before the end of its instruction, to reach the byte that is meant.
    #[must_use]
    pub const fn distance_bias(&self, behind: u64) -> u64 {
        match self.distance_origin {
            DistanceOrigin::InstructionEnd => behind,
            DistanceOrigin::Instruction => 0,
        }
    }

    /// Bytes that a relocation of this type changes; 1 for types that are not known.
    #[must_use]
    pub fn field_bytes(&self, number: u32) -> u64 {
        self.relocation(number)
            .map_or(1, |known| known.field.bytes() as u64)
    }

    /// The psABI's name of a relocation type, or its number, for people.
    #[must_use]
    pub fn type_name(&'static self, number: u32) -> TypeName {
        TypeName::new(self, number)
    }

    /// Offset of the jump within a function that starts with `code`: behind a mark of its entry,
    /// else at the first byte.
    #[must_use]
    pub fn jump_offset(&self, code: &[u8]) -> usize {
        let mark = self.entry_marks.iter().find(|mark| code.starts_with(mark));
        mark.map_or(0, |mark| mark.len())
    }

    /// Smallest size in bytes that a function starting with `code` must have to take the jump.
    #[must_use]
    pub fn size_needed(&self, code: &[u8]) -> usize {
        self.jump_offset(code) + self.jump.code.len()
    }

    /// Whether a function that starts with `code` has the mark that compilers put there.
    #[must_use]
    pub fn is_marked(&self, code: &[u8]) -> bool {
        self.entry_marks
            .first()
            .is_some_and(|mark| code.starts_with(mark))
    }

    /// Fills a place with NOPs, the longest first.
    pub fn fill_with_nops(&self, mut place: &mut [u8]) {
        while let Some(nop) = self
            .nops
            .iter()
            .rev()
            .find(|nop| !nop.is_empty() && nop.len() <= place.len())
        {
            let (head, tail) = place.split_at_mut(nop.len());
            head.copy_from_slice(nop);
            place = tail;
        }
    }

    /// Fills a place with the shortest NOP, so that one ends wherever code is put over them.
    pub fn fill_with_short_nops(&self, place: &mut [u8]) {
        let nop = self.nops.first().copied().unwrap_or_default();
        for place in place.chunks_exact_mut(nop.len().max(1)) {
            place.copy_from_slice(nop);
        }
    }
}
