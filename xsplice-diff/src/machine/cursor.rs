//! Finds the instruction that holds a field.
//!
//! Where instructions begin is known only from where code begins, so nothing can be told from the
//! bytes before a field. Whoever asks for the fields of one piece of code in their order has it
//! decoded once.

use super::{Instruction, Machine, Walk, walk};

/// A place in code that is walked over as far as was asked.
#[derive(Debug, Default)]
pub struct Cursor<'code> {
    open: Option<Open<'code>>,
}

#[derive(Debug)]
struct Open<'code> {
    code: &'code [u8],
    start: u64,
    walk: Walk<'code>,
    /// The one that was decoded last.
    last: Option<Instruction<'code>>,
}

impl<'code> Cursor<'code> {
    /// The instruction of `code`, whose first byte has the offset `start`, that holds the byte at
    /// `offset`; `None` outside.
    pub fn holding(
        &mut self,
        machine: &Machine,
        code: &'code [u8],
        start: u64,
        offset: u64,
    ) -> Option<Instruction<'code>> {
        let is_open = |open: &Open<'_>| {
            std::ptr::eq(open.code, code)
                && open.start == start
                && open.last.is_none_or(|last| last.start <= offset)
        };
        if !self.open.as_ref().is_some_and(is_open) {
            self.open = Some(Open {
                code,
                start,
                walk: walk(machine, code, start),
                last: None,
            });
        }
        let open = self.open.as_mut()?;
        while open.last.is_none_or(|last| last.end <= offset) {
            open.last = Some(open.walk.next()?);
        }
        open.last.filter(|last| last.start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::ALL;

    use super::Cursor;

    #[test]
    fn every_byte_has_its_instruction_in_any_order() {
        for machine in ALL {
            let nop = machine.nops.first().expect("there is one");
            let code = [machine.jump.code, nop, machine.jump.code].concat();
            let mut cursor = Cursor::default();
            let jump = machine.jump.code.len() as u64;
            let mut start = |at| {
                let found = cursor.holding(machine, &code, 16, 16 + at);
                found.map(|one| one.start - 16)
            };
            assert_eq!(start(jump - 1), Some(0));
            assert_eq!(start(jump), Some(jump));
            assert_eq!(start(0), Some(0));
            assert_eq!(start(code.len() as u64 - 1), Some(jump + nop.len() as u64));
            assert_eq!(start(code.len() as u64), None);
        }
    }
}
