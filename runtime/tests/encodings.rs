//! What the runtime writes into text is what a disassembler reads there.

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic};
use xsplice_abi::machine::OF_RUNTIME;
use xsplice_runtime::patch::record::Replacement;
use xsplice_runtime::patch::trampoline::Trampoline;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

#[test]
fn a_jump_decodes_to_a_near_jump_to_the_new_function() {
    let old = 0xffff_ffff_8020_0000_u64;
    for (code, offset) in [(vec![0x90; 32], 0), (ENDBR64.repeat(8), 4)] {
        for new in [old + 0x7000_0000, old - 0x7000_0000, old + 0x1000] {
            let jump = Trampoline::new(OF_RUNTIME, old, 32, &code, Replacement::Jump(new)).unwrap();
            assert_eq!(jump.offset(), offset);
            let at = old + u64::from(offset);
            let mut decoder = Decoder::with_ip(64, jump.bytes(), at, DecoderOptions::NONE);
            let instruction = decoder.decode();
            assert_eq!(instruction.code(), Code::Jmp_rel32_64);
            assert_eq!(instruction.near_branch64(), new);
            assert_eq!(instruction.len(), jump.bytes().len());
        }
    }
}

#[test]
fn nops_decode_to_nops_and_nothing_else() {
    for length in 1..=31 {
        let nops =
            Trampoline::new(OF_RUNTIME, 0, 32, &[0x55; 31], Replacement::Nops(length)).unwrap();
        let mut decoder = Decoder::with_ip(64, nops.bytes(), 0, DecoderOptions::NONE);
        let mut bytes = 0;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            assert_eq!(instruction.mnemonic(), Mnemonic::Nop, "length {length}");
            bytes += instruction.len();
        }
        assert_eq!(bytes, usize::from(length));
    }
}
