//! Which instructions of x86-64 fault on an address that is not aligned (Intel SDM volume 1, 13.4
//! and 14.9; volume 2).

use iced_x86::{EncodingKind, Mnemonic, Register};

use super::Decoded;

/// What the memory operand's address must be a multiple of, in bytes; 1 where nothing is asked, or
/// where there is no such operand.
pub(in super::super) fn needed(decoded: &Decoded) -> u64 {
    /// The area of `xsave` and its like, and a line of the cache.
    const LINE_BYTES: u64 = 64;
    /// What the first vector instructions work on, and pairs of words.
    const VECTOR_BYTES: u64 = 16;
    let one = &decoded.0;
    let bytes = one.memory_size().size() as u64;
    match one.mnemonic() {
        Mnemonic::Xsave
        | Mnemonic::Xsave64
        | Mnemonic::Xsavec
        | Mnemonic::Xsavec64
        | Mnemonic::Xsaveopt
        | Mnemonic::Xsaveopt64
        | Mnemonic::Xsaves
        | Mnemonic::Xsaves64
        | Mnemonic::Xrstor
        | Mnemonic::Xrstor64
        | Mnemonic::Xrstors
        | Mnemonic::Xrstors64 => LINE_BYTES,
        Mnemonic::Fxsave
        | Mnemonic::Fxsave64
        | Mnemonic::Fxrstor
        | Mnemonic::Fxrstor64
        | Mnemonic::Cmpxchg16b => VECTOR_BYTES,
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu | Mnemonic::Lddqu => 1,
        Mnemonic::Vmovaps
        | Mnemonic::Vmovapd
        | Mnemonic::Vmovdqa
        | Mnemonic::Vmovdqa32
        | Mnemonic::Vmovdqa64
        | Mnemonic::Vmovntdq
        | Mnemonic::Vmovntdqa
        | Mnemonic::Vmovntps
        | Mnemonic::Vmovntpd => bytes.max(1),
        // Without a prefix of their own, all others that read or write a whole vector do.
        _ if one.encoding() == EncodingKind::Legacy && bytes == VECTOR_BYTES => VECTOR_BYTES,
        _ => 1,
    }
}

/// Whether the memory operand counts from a register other than the stack's.
pub(in super::super) fn goes_by_register(decoded: &Decoded) -> bool {
    !matches!(
        decoded.0.memory_base(),
        Register::None | Register::RIP | Register::EIP | Register::RSP | Register::RBP
    )
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::x86_64::MACHINE;

    use super::super::super::walk;

    #[test]
    fn what_moves_whole_vectors_asks_for_their_alignment() {
        let cases: [(&[u8], u64); 7] = [
            // movaps %xmm0, x(%rip); movups; addps
            (&[0x0f, 0x29, 0x05, 0, 0, 0, 0], 16),
            (&[0x0f, 0x11, 0x05, 0, 0, 0, 0], 1),
            (&[0x0f, 0x58, 0x05, 0, 0, 0, 0], 16),
            // vaddps; vmovdqa of 32 bytes
            (&[0xc5, 0xf8, 0x58, 0x05, 0, 0, 0, 0], 1),
            (&[0xc5, 0xfd, 0x6f, 0x05, 0, 0, 0, 0], 32),
            // movsd, which reads eight bytes; fxsave
            (&[0xf2, 0x0f, 0x10, 0x05, 0, 0, 0, 0], 1),
            (&[0x0f, 0xae, 0x05, 0, 0, 0, 0], 16),
        ];
        for (code, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.alignment_needed(), wanted, "{code:x?}");
        }
    }
}
