//! The questions about a machine that need a decoder.
//!
//! What is data of a machine stands in [`xsplice_abi::machine`]. Here is what has to be read from
//! code: where an instruction ends and what it does next, which of its bytes are a number that
//! something fills, whether it only fills a gap, how it uses an address, whether two differ in
//! nothing but numbers, which registers pass arguments, how it reads as text, and what the linker
//! makes of an access through the GOT. [`Instruction`] has the answers in words that fit every
//! machine; each folder beside this file knows one machine, and is the only place that does.

mod aarch64;
pub(crate) mod addresses;
pub(crate) mod arguments;
pub(crate) mod counted;
pub mod cursor;
pub(crate) mod ending;
pub mod got;
pub mod linked;
mod x86_64;

use xsplice_abi::machine::{Architecture, RelocationType};

pub use xsplice_abi::machine::{Machine, MachineName};

/// An instruction of some code.
#[derive(Clone, Copy, Debug)]
pub struct Instruction<'code> {
    /// Where it begins; offsets count as whoever walks the code says.
    pub start: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its bytes.
    pub bytes: &'code [u8],
    /// Whether it is one: bytes that are none still take the walk further.
    pub is_valid: bool,
    /// Where the processor goes on.
    pub flow: Flow,
    /// Whether it is there to fill a gap.
    pub filler: Option<Filler>,
    /// Whether it only holds the processor until all before it is done.
    pub is_barrier: bool,
    /// The number in it that is added to an address.
    pub displacement: Option<FieldPlace>,
    /// The number in it that is an operand, or the distance of a branch.
    pub immediate: Option<FieldPlace>,
    /// Where it leads by a distance in one of its fields.
    pub lead: Option<Lead>,
    decoded: Decoded,
}

/// What a decoder found.
#[derive(Clone, Copy, Debug)]
enum Decoded {
    X86_64(x86_64::Decoded),
    AArch64(aarch64::Decoded),
}

/// Where the processor goes on behind an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next one.
    Next,
    /// To the target.
    Jump,
    /// To an address that it reads.
    IndirectJump,
    /// To the target or to the next one.
    ConditionalJump,
    /// To the target, and then perhaps to the next one.
    Call,
    /// To an address that it reads, and then perhaps to the next one.
    IndirectCall,
    /// To whoever called.
    Return,
    /// Nowhere: it waits or faults.
    Stop,
    /// Into the kernel or a handler; out of a transaction.
    Elsewhere,
}

/// What fills gaps in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filler {
    /// It does nothing.
    Nop,
    /// It stops.
    Trap,
}

/// Where a number stands in an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// Counted as the instruction's start is.
    pub offset: u64,
    /// In bytes.
    pub bytes: u64,
}

/// A field that holds the distance to a place.
#[derive(Clone, Copy, Debug)]
pub struct Lead {
    /// The field.
    pub field: FieldPlace,
    /// The place, counted as the instruction's start is.
    pub to: u64,
    /// Whether the processor may go there, as opposed to using the address.
    pub is_branch: bool,
    /// The relocation that would fill the field; `None` for none.
    pub relocation: Option<&'static RelocationType>,
}

/// How an instruction uses the address in one of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It goes there: calls or jumps.
    Branch,
    /// It reads or writes there.
    Access,
    /// It adds a register first.
    Indexed,
    /// It takes the address itself, to keep it or to pass it on.
    Address,
}

/// How two instructions that face each other differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// Not at all, but for fields that lead somewhere: those are compared by where they lead.
    Same,
    /// In an operand that is a number: the first has one, the second the other.
    Immediate(u64, u64),
    /// In a number that is added to an address.
    Displacement,
    /// In anything else.
    Other,
}

/// Names for the numbers of an instruction, where they have some.
#[derive(Clone, Debug, Default)]
pub struct FieldNames {
    /// What the displacement refers to.
    pub displacement: Option<String>,
    /// What the immediate refers to.
    pub immediate: Option<String>,
}

/// Walks over code, instruction by instruction, to its end.
#[derive(Debug)]
pub struct Walk<'code>(Decoder<'code>);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a walk lives where it is made, and one that allocates is slower"
)]
enum Decoder<'code> {
    X86_64(x86_64::Decoder<'code>),
    AArch64(aarch64::Decoder<'code>),
}

/// Walks over `code`, whose first byte has the offset `start`.
#[must_use]
pub fn walk<'code>(machine: &Machine, code: &'code [u8], start: u64) -> Walk<'code> {
    Walk(match machine.architecture {
        Architecture::X86_64 => Decoder::X86_64(x86_64::Decoder::new(code, start)),
        Architecture::AArch64 => Decoder::AArch64(aarch64::Decoder::new(code, start)),
    })
}

/// What a walk meets that only asks where instructions end and where their fields lead.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// As [`Instruction::end`].
    pub end: u64,
    /// As [`Instruction::is_valid`].
    pub is_valid: bool,
    /// As [`Instruction::lead`].
    pub lead: Option<Lead>,
}

/// Walks over code as [`walk`] does. Who reads whole builds asks for no more than this, and it is
/// found in half the time.
pub fn steps(machine: &Machine, code: &[u8], start: u64) -> impl Iterator<Item = Step> {
    let Walk(mut decoder) = walk(machine, code, start);
    std::iter::from_fn(move || match &mut decoder {
        Decoder::X86_64(decoder) => decoder.next_step(),
        Decoder::AArch64(decoder) => decoder.next().map(|instruction| Step {
            end: instruction.end,
            is_valid: instruction.is_valid,
            lead: instruction.lead,
        }),
    })
}

impl<'code> Iterator for Walk<'code> {
    type Item = Instruction<'code>;

    fn next(&mut self) -> Option<Instruction<'code>> {
        match &mut self.0 {
            Decoder::X86_64(decoder) => decoder.next(),
            Decoder::AArch64(decoder) => decoder.next(),
        }
    }
}

/// Whether code for a machine adds what a table says to the address of a label in it, so that it
/// jumps to places that no relocation names. On AArch64 such tables have no relocations either.
#[must_use]
pub(crate) fn counts_from_labels(machine: &Machine) -> bool {
    match machine.architecture {
        Architecture::X86_64 => false,
        Architecture::AArch64 => true,
    }
}

/// Whether code does nothing but fill a gap. Assemblers fill a long one with a jump to its end.
#[must_use]
pub fn is_padding(machine: &Machine, code: &[u8]) -> bool {
    let end = code.len() as u64;
    walk(machine, code, 0).all(|instruction| {
        // A jump over nothing is none of the assembler's.
        let leads_to_end = || instruction.lead.is_some_and(|lead| lead.to == end);
        let is_first = instruction.start == 0 && instruction.end < end;
        let skips = is_first && instruction.flow == Flow::Jump && leads_to_end();
        skips || instruction.filler.is_some()
    })
}

impl Instruction<'_> {
    /// What a distance in a field of it is short of, in bytes: where distances count from the end,
    /// what lies between the field and the end. `None` when none of its fields begins there.
    #[must_use]
    pub fn behind(&self, field: u64) -> Option<u64> {
        let is_one = [self.displacement, self.immediate]
            .into_iter()
            .flatten()
            .any(|place| place.offset == field);
        let bytes = self.end.checked_sub(field).filter(|_| is_one)?;
        match self.decoded {
            Decoded::X86_64(_) => self.is_valid.then_some(bytes),
            Decoded::AArch64(_) => Some(0),
        }
    }

    /// How it uses the address in the field that begins at an offset; `None` when none does.
    #[must_use]
    pub fn use_of(&self, field: u64) -> Option<Use> {
        let at = |place: Option<FieldPlace>| place.is_some_and(|place| place.offset == field);
        if !self.is_valid {
            return None;
        }
        if at(self
            .lead
            .filter(|lead| lead.is_branch)
            .map(|lead| lead.field))
        {
            return Some(Use::Branch);
        }
        if at(self.displacement) {
            return Some(match &self.decoded {
                Decoded::X86_64(decoded) => decoded.use_of_displacement(),
                Decoded::AArch64(decoded) => decoded.use_of_displacement(),
            });
        }
        at(self.immediate).then_some(Use::Address)
    }

    /// How many bytes it reads or writes from the place on where the address in the field at an
    /// offset leads; none where it does neither. `None` where it does more with the address, and
    /// where its operands do not tell how far it reaches.
    #[must_use]
    pub fn extent(&self, field: u64) -> Option<u64> {
        if self.use_of(field) != Some(Use::Access) {
            return None;
        }
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::accesses::extent(decoded),
            Decoded::AArch64(decoded) => aarch64::addresses::extent(decoded),
        }
    }

    /// The multiple, in bytes, that the address which it reads or writes must be of for it not to
    /// fault.
    #[must_use]
    pub fn alignment_needed(&self) -> u64 {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::alignment::needed(decoded),
            // Ordinary memory may be read and written at any address.
            Decoded::AArch64(_) => 1,
        }
    }

    /// Whether it reads or writes by an address in a register that is not the stack's.
    #[must_use]
    pub fn goes_by_register(&self) -> bool {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::alignment::goes_by_register(decoded),
            Decoded::AArch64(_) => false,
        }
    }

    /// How it differs from one that faces it in another build.
    #[must_use]
    pub fn compare(&self, other: &Instruction<'_>) -> Alike {
        if !self.is_valid || !other.is_valid {
            return Alike::Other;
        }
        match (&self.decoded, &other.decoded) {
            (Decoded::X86_64(one), Decoded::X86_64(two)) => {
                x86_64::alike::compare((one, self), (two, other))
            }
            (Decoded::AArch64(one), Decoded::AArch64(two)) => aarch64::alike::compare(one, two),
            (Decoded::X86_64(_), Decoded::AArch64(_))
            | (Decoded::AArch64(_), Decoded::X86_64(_)) => Alike::Other,
        }
    }

    /// Whether it does the same as another one, whatever its operands are.
    #[must_use]
    pub fn is_same_kind(&self, other: &Instruction<'_>) -> bool {
        match (&self.decoded, &other.decoded) {
            (Decoded::X86_64(one), Decoded::X86_64(two)) => one.is_same_kind(two),
            (Decoded::AArch64(one), Decoded::AArch64(two)) => one.is_same_kind(two),
            (Decoded::X86_64(_), Decoded::AArch64(_))
            | (Decoded::AArch64(_), Decoded::X86_64(_)) => false,
        }
    }

    /// What it is called in the machine's assembler.
    #[must_use]
    pub fn mnemonic(&self) -> String {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::text::mnemonic(decoded),
            Decoded::AArch64(decoded) => aarch64::text::mnemonic(decoded),
        }
    }

    /// The whole of it as the machine's assembler has it, with names for its numbers.
    #[must_use]
    pub fn text(&self, names: FieldNames) -> String {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::text::whole(decoded, names),
            Decoded::AArch64(decoded) => aarch64::text::whole(decoded, names),
        }
    }
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::ALL;

    use super::{Filler, Flow, Lead, is_padding, steps, walk};

    #[test]
    fn any_bytes_are_walked_to_their_end_on_every_machine() {
        let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for machine in ALL {
            let mut at = 7;
            for instruction in walk(machine, &bytes, 7) {
                assert_eq!(instruction.start, at);
                assert!(instruction.end > at);
                assert_eq!(instruction.bytes.len() as u64, instruction.end - at);
                at = instruction.end;
            }
            assert_eq!(at, 7 + bytes.len() as u64);
            let said = |end, is_valid, lead: Option<Lead>| {
                let lead = lead.map(|lead| (lead.field, lead.to, lead.is_branch));
                (end, is_valid, lead)
            };
            let whole = walk(machine, &bytes, 7);
            let whole = whole.map(|one| said(one.end, one.is_valid, one.lead));
            let short = steps(machine, &bytes, 7);
            assert!(whole.eq(short.map(|one| said(one.end, one.is_valid, one.lead))));
        }
    }

    #[test]
    fn what_the_tables_fill_gaps_with_is_padding() {
        for machine in ALL {
            for nop in machine.nops {
                assert!(is_padding(machine, nop), "{nop:x?}");
                let first = walk(machine, nop, 0).next().expect("an instruction");
                assert_eq!((first.filler, first.flow), (Some(Filler::Nop), Flow::Next));
            }
            let traps = [machine.trap; 3];
            assert!(is_padding(machine, &traps));
            assert!(!is_padding(machine, machine.jump.code));
        }
    }

    #[test]
    fn the_jump_of_the_tables_leads_where_they_say() {
        for machine in ALL {
            let jump = machine.jump.encode(0x100, 0x180).expect("is near");
            let first = walk(machine, jump.bytes(), 0x100).next();
            let first = first.expect("an instruction");
            let lead = first.lead.expect("leads somewhere");
            assert_eq!((first.flow, lead.to), (Flow::Jump, 0x180));
            assert_eq!(lead.field.offset - 0x100, machine.jump.field_at as u64);
            let counted_from = machine.distance_bias(first.end - 0x100);
            assert_eq!(counted_from, machine.jump.counts_from as u64);
        }
    }
}
