//! The bytes that a record writes into the old function (a jump or NOPs), and their offset.

use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::machine::Machine;

use crate::check::Fault;
use crate::patch::record::Replacement;

/// Most bytes of an old function that one record looks at or writes, from its start.
pub const WINDOW_BYTES: usize = EXPECT_BYTES_MAX;

/// Bytes that one record writes into an old function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trampoline {
    /// Offset in the old function: 0, or behind the mark of its entry.
    offset: u8,
    /// How many bytes are written.
    length: u8,
    bytes: [u8; WINDOW_BYTES],
}

impl Trampoline {
    /// Encodes what turns the function at `old_address`, of `old_bytes` bytes and starting with
    /// `code`, into its replacement.
    ///
    /// # Errors
    /// A function that is too small, or a jump that does not reach.
    pub fn new(
        machine: &Machine,
        old_address: u64,
        old_bytes: u32,
        code: &[u8],
        replacement: Replacement,
    ) -> Result<Trampoline, Fault> {
        let offset = machine.jump_offset(code);
        let mut trampoline = Trampoline {
            offset: small(offset),
            length: 0,
            bytes: [0; WINDOW_BYTES],
        };
        match replacement {
            Replacement::Jump(new) => {
                room(machine, old_bytes, code)?;
                let from = old_address.wrapping_add(trampoline.offset.into());
                let jump = machine.jump.encode(from, new);
                let jump = jump.ok_or(Fault::RecordOutOfReach)?;
                trampoline.length = small(jump.bytes().len());
                trampoline.bytes[..jump.bytes().len()].copy_from_slice(jump.bytes());
            }
            Replacement::Nops(end) => {
                trampoline.length = end.saturating_sub(trampoline.offset);
                let nops = trampoline
                    .bytes
                    .get_mut(..usize::from(trampoline.length))
                    .ok_or(Fault::RecordNopOutside)?;
                machine.fill_with_nops(nops);
            }
        }
        Ok(trampoline)
    }

    /// Offset of the first written byte in the old function.
    #[must_use]
    pub const fn offset(&self) -> u8 {
        self.offset
    }

    /// The bytes that are written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// How many bytes of an old function of `old_bytes` bytes a record looks at or writes at most.
#[must_use]
pub(crate) fn window_bytes(old_bytes: u32) -> usize {
    usize::try_from(old_bytes).map_or(WINDOW_BYTES, |bytes| bytes.min(WINDOW_BYTES))
}

/// Checks that a function of `old_bytes` bytes which starts with `code` has room for a jump, also
/// behind the mark of its entry.
///
/// # Errors
/// It is too small.
pub(crate) fn room(machine: &Machine, old_bytes: u32, code: &[u8]) -> Result<(), Fault> {
    let needed = small(machine.size_needed(code));
    if old_bytes < needed.into() {
        let bytes = old_bytes;
        return Err(Fault::RecordTooSmall { bytes, needed });
    }
    Ok(())
}

fn small(value: usize) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::OF_RUNTIME;

    use super::Trampoline;
    use crate::check::Fault;
    use crate::patch::record::Replacement;

    #[test]
    fn a_jump_stands_at_the_start_or_after_endbr64() {
        let jump =
            Trampoline::new(OF_RUNTIME, 0x1000, 5, &[0x55; 5], Replacement::Jump(0x2000)).unwrap();
        assert_eq!(
            (jump.offset(), jump.bytes()),
            (0, [0xe9, 0xfb, 0x0f, 0, 0].as_slice())
        );
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0xc3, 0, 0, 0, 0];
        let jump =
            Trampoline::new(OF_RUNTIME, 0x1000, 9, &code, Replacement::Jump(0x2000)).unwrap();
        assert_eq!(
            (jump.offset(), jump.bytes()),
            (4, [0xe9, 0xf7, 0x0f, 0, 0].as_slice())
        );
        assert_eq!(
            Trampoline::new(OF_RUNTIME, 0x1000, 8, &code, Replacement::Jump(0x2000)),
            Err(Fault::RecordTooSmall {
                bytes: 8,
                needed: 9
            })
        );
        assert_eq!(
            Trampoline::new(OF_RUNTIME, 0x1000, 9, &code, Replacement::Jump(1 << 40)),
            Err(Fault::RecordOutOfReach)
        );
    }

    #[test]
    fn nops_of_every_length_are_whole_instructions_that_keep_endbr64() {
        for length in 1..=31_u8 {
            let nops =
                Trampoline::new(OF_RUNTIME, 0, 64, &[0x55; 5], Replacement::Nops(length)).unwrap();
            assert_eq!(nops.bytes().len(), usize::from(length));
            let mut rest = nops.bytes();
            while !rest.is_empty() {
                let nop = OF_RUNTIME.nops.iter().rfind(|nop| rest.starts_with(nop));
                rest = &rest[nop.expect("every piece is a NOP of the table").len()..];
            }
        }
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0xc3];
        let nops = Trampoline::new(OF_RUNTIME, 0, 64, &code, Replacement::Nops(10)).unwrap();
        assert_eq!((nops.offset(), nops.bytes().len()), (4, 6));
    }
}
