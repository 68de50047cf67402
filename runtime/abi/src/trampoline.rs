//! The jump that redirects an old function: `jmp rel32`, after an `endbr64` where there is one.
//!
//! Encodings: Intel SDM volume 2, JMP (E9 cd) and ENDBR64 (F3 0F 1E FA).

/// Bytes of `jmp rel32`.
pub const JUMP_BYTES: usize = 5;

/// First byte of `jmp rel32`.
pub const JUMP_OPCODE: u8 = 0xe9;

/// `endbr64`.
pub const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// What Xen leaves where it removes an `endbr64` at boot: `nopw (%rcx)`. The jump goes after it.
pub const ENDBR64_POISON: [u8; 4] = [0x66, 0x0f, 0x1f, 0x01];

/// Offset of the jump within a function that starts with `code`: after an `endbr64` or its
/// poisoned form, else at the first byte.
#[must_use]
pub fn jump_offset(code: &[u8]) -> usize {
    if code.starts_with(&ENDBR64) || code.starts_with(&ENDBR64_POISON) {
        ENDBR64.len()
    } else {
        0
    }
}

/// Smallest size in bytes that a function starting with `code` must have to take the jump.
#[must_use]
pub fn size_needed(code: &[u8]) -> usize {
    jump_offset(code) + JUMP_BYTES
}

/// Encodes the jump that stands at `from` and lands at `to`; `None` when the displacement,
/// which counts from the end of the instruction, does not fit 32 signed bits.
#[must_use]
pub fn encode_jump(from: u64, to: u64) -> Option<[u8; JUMP_BYTES]> {
    let next = i128::from(from) + i128::from(JUMP_BYTES as u32);
    let displacement = i32::try_from(i128::from(to) - next).ok()?;
    let [a, b, c, d] = displacement.to_le_bytes();
    Some([JUMP_OPCODE, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::{encode_jump, jump_offset, size_needed};

    #[test]
    fn the_displacement_counts_from_the_end_of_the_jump() {
        assert_eq!(encode_jump(0x1000, 0x1005), Some([0xe9, 0, 0, 0, 0]));
        assert_eq!(
            encode_jump(0x1000, 0x1000),
            Some([0xe9, 0xfb, 0xff, 0xff, 0xff])
        );
    }

    #[test]
    fn a_target_beyond_two_gibibytes_is_not_encoded() {
        let from = 0xffff_8000_0000_0000;
        assert!(encode_jump(from, from + 5 + 0x7fff_ffff).is_some());
        assert_eq!(encode_jump(from, from + 5 + 0x8000_0000), None);
        assert_eq!(encode_jump(u64::MAX, 0), None);
    }

    #[test]
    fn the_jump_stands_after_endbr64() {
        assert_eq!(jump_offset(&[0xf3, 0x0f, 0x1e, 0xfa, 0xc3]), 4);
        assert_eq!(jump_offset(&[0xf3, 0x0f, 0x1e]), 0);
        assert_eq!(size_needed(&[0x66, 0x0f, 0x1f, 0x01, 0xc3]), 9);
        assert_eq!(size_needed(&[0xc3]), 5);
    }
}
