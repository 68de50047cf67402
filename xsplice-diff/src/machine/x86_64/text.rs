//! How x86-64 reads as text: AT&T syntax, as `objdump` writes it.

use iced_x86::{
    Formatter, GasFormatter, Instruction, OpKind, SymResString, SymResTextInfo, SymResTextPart,
    SymbolResolver, SymbolResult,
};

use super::super::FieldNames;
use super::Decoded;

pub(in super::super) fn mnemonic(decoded: &Decoded) -> String {
    let mut text = String::new();
    GasFormatter::new().format_mnemonic(&decoded.0, &mut text);
    text
}

pub(in super::super) fn whole(decoded: &Decoded, names: FieldNames) -> String {
    let mut formatter = GasFormatter::with_options(Some(Box::new(names)), None);
    formatter
        .options_mut()
        .set_space_after_operand_separator(true);
    formatter.options_mut().set_rip_relative_addresses(true);
    formatter.options_mut().set_uppercase_hex(false);
    let mut text = String::new();
    formatter.format(&decoded.0, &mut text);
    text
}

impl SymbolResolver for FieldNames {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let kind = instruction_operand.map(|operand| instruction.op_kind(operand));
        let name = match kind {
            Some(OpKind::Memory) => self.displacement.as_deref(),
            _ => self.immediate.as_deref(),
        }?;
        Some(SymbolResult {
            address,
            flags: 0,
            text: SymResTextInfo::Text(SymResTextPart {
                text: SymResString::Str(name),
                color: iced_x86::FormatterTextKind::Label,
            }),
            symbol_size: None,
        })
    }
}
