//! Machines as data: relocation types, the jump that redirects a function, marks at a function's
//! start, padding, and the distances that jumps reach.
//!
//! A machine is found once, from the `e_machine` of a file ([`Machine::of`]). All other code asks
//! it and needs no number of its own, so a second machine is a second file beside [`x86_64`].
//! Questions that need a decoder are answered by the host tools instead.

mod field;
pub mod x86_64;

pub use field::{Field, Kind, Part, Range};

/// The data of a machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine` of its files.
    pub e_machine: u16,
    /// For people.
    pub name: &'static str,
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
    /// The call through a pointer in memory that boot code may turn into a direct call.
    pub pointer_call: PointerCall,
    /// Calls and jumps whose distance changes when the code is copied elsewhere.
    pub moved_branches: &'static [Branch],
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

/// How the linker of payloads handles a relocation type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseInPayload {
    /// It keeps it, or rewrites the access.
    Carried,
    /// It refuses it: payloads do not have what it needs.
    Refused,
}

/// A jump with a distance in it, as it stands at the start of a replaced function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// With distance 0.
    pub code: &'static [u8],
    /// Offset of the field in it, in bytes.
    pub field_at: usize,
    /// The field of the distance.
    pub field: Field,
    /// What the distance counts from, as an offset from the jump, in bytes.
    pub counts_from: usize,
}

/// A near call or jump, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The bytes in front of the field.
    pub opcode: &'static [u8],
    /// The field of the distance, the rest of the instruction.
    pub field: Field,
}

/// A call through a pointer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerCall {
    /// The bytes in front of the distance to the pointer.
    pub opcode: &'static [u8],
    /// The field of the distance; it counts from the end of the instruction, which it ends.
    pub field: Field,
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
pub const ALL: &[&Machine] = &[&x86_64::MACHINE];

/// The machine that the bundled runtime runs on, and takes payloads for.
pub const OF_RUNTIME: &Machine = &x86_64::MACHINE;

/// Most bytes of a jump, for buffers.
pub const JUMP_BYTES_MAX: usize = 8;

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
        let at = self
            .relocations
            .binary_search_by_key(&number, |one| one.number);
        self.relocations.get(at.ok()?)
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

    /// Adjusts the distance of a single call or jump that was copied from `from` to `to`; `None`
    /// when it does not fit. Other code is not changed.
    #[must_use]
    pub fn move_branch(&self, code: &mut [u8], from: u64, to: u64) -> Option<()> {
        for branch in self.moved_branches {
            let at = branch.opcode.len();
            if !code.starts_with(branch.opcode) || code.len() != at + branch.field.bytes() {
                continue;
            }
            let field = code.get_mut(at..)?;
            let moved = i128::from(from) - i128::from(to);
            let distance = i128::from(branch.field.read(field)?.cast_signed()) + moved;
            return branch.field.write(field, distance);
        }
        Some(())
    }
}

impl PointerCall {
    /// Bytes of the instruction.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.opcode.len() + self.field.bytes()
    }

    /// The address of the pointer that a call at `address`, which `code` begins with, goes
    /// through.
    #[must_use]
    pub fn pointer(&self, code: &[u8], address: u64) -> Option<u64> {
        let distance = self.field.read(code.strip_prefix(self.opcode)?)?;
        let next = address.wrapping_add(u64::try_from(self.bytes()).ok()?);
        Some(next.wrapping_add(distance))
    }
}

/// The bytes of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JumpCode {
    bytes: [u8; JUMP_BYTES_MAX],
    length: usize,
}

impl JumpCode {
    /// What is to be written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Jump {
    /// Encodes the jump that stands at `from` and lands at `to`; `None` when the distance does
    /// not fit its field.
    #[must_use]
    pub fn encode(&self, from: u64, to: u64) -> Option<JumpCode> {
        let mut jump = JumpCode {
            bytes: [0; JUMP_BYTES_MAX],
            length: self.code.len(),
        };
        let bytes = jump.bytes.get_mut(..self.code.len())?;
        bytes.copy_from_slice(self.code);
        let origin = i128::from(from) + i128::try_from(self.counts_from).ok()?;
        let field = bytes.get_mut(self.field_at..)?;
        self.field.write(field, i128::from(to) - origin)?;
        Some(jump)
    }
}
