//! Jumps, calls and their distances: what is written at a replaced function, and what becomes of
//! branches in code that is copied.

use super::{Field, Machine};

/// Most bytes of a jump, for buffers.
pub const JUMP_BYTES_MAX: usize = 8;

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

/// A near call or jump, by the bits that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The whole instruction, with distance 0 and all that may differ 0.
    pub code: &'static [u8],
    /// Which bits of it must be so.
    pub mask: &'static [u8],
    /// Offset of the field in it, in bytes.
    pub field_at: usize,
    /// The field of the distance.
    pub field: Field,
    /// What the distance counts from, as an offset from the instruction, in bytes.
    pub counts_from: usize,
}

/// What became of branches in code that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovedBranch {
    /// All reach what they reached before.
    Fits,
    /// One would have to reach too far.
    TooFar,
    /// One leads to code that is neither copied along nor the image's, at this address.
    Elsewhere(u64),
}

/// A call through a pointer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerCall {
    /// The bytes in front of the distance to the pointer.
    pub opcode: &'static [u8],
    /// The field of the distance; it counts from the end of the instruction, which it ends.
    pub field: Field,
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

impl Branch {
    /// Whether `code` begins with it.
    #[must_use]
    pub fn is_at(&self, code: &[u8]) -> bool {
        let bits = self.code.iter().zip(self.mask);
        code.len() >= self.code.len()
            && code
                .iter()
                .zip(bits)
                .all(|(byte, (wanted, mask))| byte & mask == *wanted)
    }

    /// Where the branch that `code` begins with leads, when it stands at an address.
    #[must_use]
    pub fn target(&self, code: &[u8], address: u64) -> Option<u64> {
        let distance = self.field.read(code.get(self.field_at..)?)?;
        let origin = address.wrapping_add(u64::try_from(self.counts_from).ok()?);
        Some(origin.wrapping_add(distance))
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

impl Machine {
    /// The branch with a distance that `code` begins with.
    #[must_use]
    pub fn branch_at(&self, code: &[u8]) -> Option<&'static Branch> {
        self.moved_branches.iter().find(|branch| branch.is_at(code))
    }

    /// Adjusts the distances of calls and jumps in code that was copied from `from` to `to`, so
    /// that those which lead out of it still reach what they reached. Where instructions have one
    /// size, each is looked at; elsewhere the code is adjusted only if it is a single branch.
    /// `is_reachable` says which addresses such a branch may lead to.
    pub fn move_branches(
        &self,
        code: &mut [u8],
        (from, to): (u64, u64),
        is_reachable: impl Fn(u64) -> bool,
    ) -> MovedBranch {
        let step = match self.instruction_bytes {
            Some(bytes) => bytes,
            None => code.len().max(1),
        };
        let end = from.wrapping_add(code.len() as u64);
        let mut address = from;
        for one in code.chunks_mut(step) {
            let at = address;
            address = address.wrapping_add(one.len() as u64);
            let branch = self.branch_at(one);
            let Some(branch) = branch.filter(|branch| branch.code.len() == one.len()) else {
                continue;
            };
            let Some(target) = branch.target(one, at) else {
                continue;
            };
            if self.instruction_bytes.is_some() && (from..=end).contains(&target) {
                continue;
            }
            if !is_reachable(target) {
                return MovedBranch::Elsewhere(target);
            }
            let moved = i128::from(from) - i128::from(to);
            let Some(field) = one.get_mut(branch.field_at..) else {
                continue;
            };
            let distance = branch.field.read(field).map(u64::cast_signed);
            let written = distance
                .and_then(|distance| branch.field.write(field, i128::from(distance) + moved));
            if written.is_none() {
                return MovedBranch::TooFar;
            }
        }
        MovedBranch::Fits
    }
}
