//! Decides whether a constant in a function is only passed to a call that reports a place in the
//! source. Only then can it be a line number.
//!
//! The value alone is no evidence: a limit may equal the line that it is written on, and may grow
//! by as much as the lines moved. So the constant must be an argument of the very next call, with
//! nothing in between that reads it, and the call must take line numbers: by its name, or because
//! the argument before is the name of a source file.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use crate::read::items::ItemId;
use crate::read::names;
use crate::read::relocation::Target;
use crate::read::side::Build;

/// Registers that pass arguments, in order (System V ABI for x86-64, 3.2.3).
const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// Functions that print their numbers, without leading underscores. Whole names are compared: the
/// numbers given to `warn_after(10)` and `set_log_level(3)` have an effect.
const REPORTERS: &[&str] = &[
    "assert",
    "assert_fail",
    "assert_failed",
    "assertion_failed",
    "bug",
    "debugtrace_printk",
    "dprintk",
    "gdprintk",
    "gprintk",
    "guest_printk",
    "panic",
    "printf",
    "printk",
    "warn",
    "warn_printk",
    "warn_slowpath_fmt",
    "warn_slowpath_null",
    "warning",
];

/// Ends of the names of source files.
const SOURCE_SUFFIXES: &[&str] = &[".c", ".h", ".S", ".cc", ".cpp"];

/// Instructions between an argument and its call; argument lists are shorter.
const DISTANCE_MAX: usize = 32;

/// Longest text that is read to its end.
const TEXT_BYTES_MAX: usize = 4096;

/// How certain it is that a call takes line numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// It takes some text besides the number. That is only a hint: a function that sets a limit by
    /// its name does so too.
    GivenText,
    /// By its name, or because the argument before the number is the name of a source file.
    Reports,
}

/// A call that takes a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCall {
    /// Who is called.
    pub callee: String,
    /// How sure it is.
    pub likeness: Likeness,
}

/// What a register is known to point at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Any,
    SourceFile,
}

/// Follows one function, instruction by instruction.
#[expect(
    missing_debug_implementations,
    reason = "the decoder's factory has none"
)]
pub struct Follower<'a, 'data> {
    build: &'a Build<'data>,
    item: ItemId,
    info: InstructionInfoFactory,
    texts: Vec<(Register, Text)>,
}

impl<'a, 'data> Follower<'a, 'data> {
    /// At the start of the function.
    #[must_use]
    pub fn new(build: &'a Build<'data>, item: ItemId) -> Self {
        Follower {
            build,
            item,
            info: InstructionInfoFactory::new(),
            texts: Vec::new(),
        }
    }

    /// Takes note of the next instruction. Instruction pointers count from the start of the
    /// section.
    pub fn step(&mut self, instruction: &Instruction) {
        note(
            self.build,
            self.item,
            &mut self.info,
            &mut self.texts,
            instruction,
        );
    }

    /// The call that the constant of `load`, the instruction that was just stepped over, is for.
    /// `None` where the constant has another use, or its use is not known.
    #[must_use]
    pub fn call_of(&mut self, load: &Instruction) -> Option<LogCall> {
        let place = Place::of(load)?;
        let item = self.build.items.item(self.item);
        let code = self.build.bytes(self.item);
        let mut decoder = Decoder::with_ip(64, code, item.offset, DecoderOptions::NONE);
        let mut next = load.next_ip();
        let mut texts = self.texts.clone();
        for _ in 0..DISTANCE_MAX {
            let position = usize::try_from(next.checked_sub(item.offset)?).ok()?;
            decoder.set_position(position).ok()?;
            decoder.set_ip(next);
            if !decoder.can_decode() {
                return None;
            }
            let instruction = decoder.decode();
            next = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::Next => {
                    if place.is_touched(&mut self.info, &instruction) {
                        return None;
                    }
                    note(
                        self.build,
                        self.item,
                        &mut self.info,
                        &mut texts,
                        &instruction,
                    );
                }
                // Several reports may share one call at the end of the function.
                FlowControl::UnconditionalBranch if self.stays(&instruction) => {
                    next = instruction.near_branch_target();
                }
                // A jump out of the function is a call whose return is shared.
                FlowControl::Call | FlowControl::UnconditionalBranch => {
                    let callee = self.callee(&instruction)?;
                    let likeness = likeness(&callee, place, &texts)?;
                    return Some(LogCall { callee, likeness });
                }
                _ => return None,
            }
        }
        None
    }

    /// Whether a jump leads to a place within the function.
    fn stays(&self, jump: &Instruction) -> bool {
        if jump.op0_kind() != OpKind::NearBranch64 {
            return false;
        }
        let place = self.build.items.item(self.item);
        let is_inside = (place.offset..place.end()).contains(&jump.near_branch_target());
        is_inside
            && match target_in(self.build, self.item, jump) {
                None => true,
                // The assembler filled the field: the bytes are what they will be.
                Some(target) => {
                    target.item() == Some(self.item)
                        && (jump.ip()..jump.next_ip())
                            .any(|at| self.build.is_filled(place.section, at))
                }
            }
    }

    /// The function that a direct call or jump leads to, by the name that its author gave it;
    /// `None` within the function.
    fn callee(&self, call: &Instruction) -> Option<String> {
        if call.op0_kind() != OpKind::NearBranch64 {
            return None;
        }
        let target = target_in(self.build, self.item, call)?;
        let name = match target {
            Target::Item { item, .. } if item != self.item && target.meant() == 0 => {
                self.build.name(item)
            }
            Target::Symbol { symbol, .. } => self.build.object.symbol(symbol).name,
            _ => return None,
        };
        (!name.is_empty()).then(|| names::root(name).to_owned())
    }
}

/// Where a constant is put for a call.
#[derive(Clone, Copy)]
enum Place {
    /// The argument register of this number.
    Register(usize),
    /// The stack.
    Pushed,
}

impl Place {
    fn of(load: &Instruction) -> Option<Place> {
        match load.mnemonic() {
            Mnemonic::Push => Some(Place::Pushed),
            Mnemonic::Mov if load.op0_kind() == OpKind::Register => {
                let register = load.op0_register();
                let whole = register.is_gpr32() || register.is_gpr64();
                let number = ARGUMENTS
                    .iter()
                    .position(|argument| *argument == register.full_register())?;
                whole.then_some(Place::Register(number))
            }
            _ => None,
        }
    }

    /// Whether an instruction reads or overwrites the constant.
    fn is_touched(self, info: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
        let used = info.info(instruction);
        match self {
            Place::Register(number) => used
                .used_registers()
                .iter()
                .any(|one| one.register().full_register() == ARGUMENTS[number]),
            // Further pushes are arguments too. An instruction that pops, moves the stack pointer
            // or reads the stack may use the constant.
            Place::Pushed => {
                let moves_stack = used.used_registers().iter().any(|one| {
                    one.register().full_register() == Register::RSP
                        && one.access() != OpAccess::Read
                });
                let looks_there = used
                    .used_memory()
                    .iter()
                    .any(|memory| matches!(memory.base(), Register::RSP | Register::RBP));
                instruction.mnemonic() != Mnemonic::Push && (moves_stack || looks_there)
            }
        }
    }
}

fn likeness(callee: &str, place: Place, texts: &[(Register, Text)]) -> Option<Likeness> {
    let holds = |register: Register, wanted: fn(Text) -> bool| {
        texts
            .iter()
            .any(|(one, text)| *one == register && wanted(*text))
    };
    let behind_file = match place {
        Place::Register(number) => number
            .checked_sub(1)
            .is_some_and(|before| holds(ARGUMENTS[before], |text| text == Text::SourceFile)),
        Place::Pushed => false,
    };
    if behind_file || REPORTERS.contains(&callee.trim_start_matches('_')) {
        return Some(Likeness::Reports);
    }
    ARGUMENTS
        .iter()
        .any(|register| holds(*register, |_| true))
        .then_some(Likeness::GivenText)
}

/// Tracks which registers hold the address of some text.
fn note(
    build: &Build<'_>,
    item: ItemId,
    info: &mut InstructionInfoFactory,
    texts: &mut Vec<(Register, Text)>,
    instruction: &Instruction,
) {
    if instruction.flow_control() != FlowControl::Next {
        texts.clear();
        return;
    }
    let is_load = matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Mov)
        && instruction.op0_kind() == OpKind::Register;
    let loaded = is_load.then(|| {
        if instruction.op1_kind() == OpKind::Register {
            let from = instruction.op1_register().full_register();
            return texts.iter().find(|(one, _)| *one == from).map(|one| one.1);
        }
        // `mov` with a memory operand loads what stands there, not its address.
        let is_address =
            instruction.mnemonic() == Mnemonic::Lea || instruction.op1_kind() != OpKind::Memory;
        let target = target_in(build, item, instruction).filter(|_| is_address)?;
        text_at(build, target)
    });
    for used in info.info(instruction).used_registers() {
        if used.access() != OpAccess::Read {
            let register = used.register().full_register();
            texts.retain(|(one, _)| *one != register);
        }
    }
    if let Some(text) = loaded.flatten() {
        texts.push((instruction.op0_register().full_register(), text));
    }
}

/// What the relocation inside an instruction points at.
fn target_in(build: &Build<'_>, item: ItemId, instruction: &Instruction) -> Option<Target> {
    let range = build.relocation_range(item);
    let relocations = build.object.relocations.get(range.clone())?;
    let first = relocations.partition_point(|one| one.offset < instruction.ip());
    let inside = relocations
        .get(first)
        .is_some_and(|one| one.offset < instruction.next_ip());
    inside.then(|| build.targets[range.start + first])
}

fn text_at(build: &Build<'_>, target: Target) -> Option<Text> {
    let bytes = build.bytes(target.item()?);
    let from = usize::try_from(target.meant()).ok()?;
    let rest = bytes.get(from..)?;
    let rest = &rest[..rest.len().min(TEXT_BYTES_MAX)];
    let text = str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()?;
    let is_text = text.len() < rest.len()
        && !text.is_empty()
        && !text.contains(|one: char| one.is_control() && !one.is_ascii_whitespace());
    if !is_text {
        return None;
    }
    let is_file = SOURCE_SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    Some(if is_file { Text::SourceFile } else { Text::Any })
}
