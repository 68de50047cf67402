//! Decides whether a constant in a function is only passed to a call that reports a place in the
//! source. Only then can it be a line number.
//!
//! The value alone is no evidence: a limit may equal the line that it is written on, and may grow
//! by as much as the lines moved. So the constant must be an argument of the very next call, with
//! nothing in between that reads it, and the call must take line numbers: by its name, or because
//! the argument before is the name of a source file.

use crate::machine::arguments::{self, Argument, Effects, Register, Source};
use crate::machine::{Flow, Instruction, Machine, walk};
use crate::read::items::ItemId;
use crate::read::names;
use crate::read::relocation::Target;
use crate::read::side::Build;

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
pub(crate) enum Likeness {
    /// It takes some text besides the number. That is only a hint: a function that sets a limit by
    /// its name does so too.
    GivenText,
    /// By its name, or because the argument before the number is the name of a source file.
    Reports,
}

/// A call that takes a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogCall {
    /// Who is called.
    pub callee: String,
    /// How sure it is.
    pub likeness: Likeness,
}

/// What a register is known to point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Any,
    SourceFile,
}

/// Follows one function, instruction by instruction.
#[derive(Debug)]
pub(crate) struct Follower<'a, 'data> {
    build: &'a Build<'data>,
    item: ItemId,
    texts: Vec<(Register, Text)>,
}

impl<'a, 'data> Follower<'a, 'data> {
    /// At the start of the function.
    #[must_use]
    pub(crate) fn new(build: &'a Build<'data>, item: ItemId) -> Self {
        Follower {
            build,
            item,
            texts: Vec::new(),
        }
    }

    /// Takes note of the next instruction. Instruction pointers count from the start of the
    /// section.
    pub(crate) fn step(&mut self, instruction: &Instruction<'_>) {
        let effects = instruction.effects();
        note(
            self.build,
            self.item,
            &mut self.texts,
            instruction,
            &effects,
        );
    }

    /// The call that the constant of `load`, the instruction that was just stepped over, is for.
    /// `None` where the constant has another use, or its use is not known.
    #[must_use]
    pub(crate) fn call_of(&self, load: &Instruction<'_>) -> Option<LogCall> {
        let machine = self.build.object.machine;
        let place = load.argument()?;
        let item = self.build.items.item(self.item);
        let bytes = self.build.bytes(self.item);
        let code_at = |at: u64| {
            let from = usize::try_from(at.checked_sub(item.offset)?).ok()?;
            Some(walk(machine, bytes.get(from..)?, at))
        };
        let mut code = code_at(load.end)?;
        let mut texts = self.texts.clone();
        for _ in 0..DISTANCE_MAX {
            let instruction = code.next()?;
            match instruction.flow {
                Flow::Next => {
                    let effects = instruction.effects();
                    if is_touched(machine, place, &effects) {
                        return None;
                    }
                    note(self.build, self.item, &mut texts, &instruction, &effects);
                }
                // Several reports may share one call at the end of the function.
                Flow::Jump if self.stays(&instruction) => {
                    code = code_at(instruction.lead?.to)?;
                }
                // A jump out of the function is a call whose return is shared.
                Flow::Call | Flow::Jump => {
                    let callee = self.callee(&instruction)?;
                    let likeness = likeness(machine, &callee, place, &texts)?;
                    return Some(LogCall { callee, likeness });
                }
                _ => return None,
            }
        }
        None
    }

    /// Whether a jump leads to a place within the function.
    fn stays(&self, jump: &Instruction<'_>) -> bool {
        let Some(lead) = jump.lead.filter(|lead| lead.is_branch) else {
            return false;
        };
        let place = self.build.items.item(self.item);
        let is_inside = (place.offset..place.end()).contains(&lead.to);
        is_inside
            && match target_in(self.build, self.item, jump) {
                None => true,
                // The assembler filled the field: the bytes are what they will be.
                Some(target) => {
                    target.item() == Some(self.item)
                        && (jump.start..jump.end).any(|at| self.build.is_filled(place.section, at))
                }
            }
    }

    /// The function that a direct call or jump leads to, by the name that its author gave it;
    /// `None` within the function.
    fn callee(&self, call: &Instruction<'_>) -> Option<String> {
        call.lead.filter(|lead| lead.is_branch)?;
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

/// Whether an instruction reads or replaces the constant.
fn is_touched(machine: &Machine, place: Argument, effects: &Effects) -> bool {
    match place {
        Argument::Register(number) => arguments::registers(machine)
            .get(number)
            .is_none_or(|register| effects.used.contains(register)),
        Argument::Pushed => effects.reaches_pushed,
    }
}

/// Shortcut S12: a function that is given the name of a source file or a format reports; what else
/// gets the number is not known to.
fn likeness(
    machine: &Machine,
    callee: &str,
    place: Argument,
    texts: &[(Register, Text)],
) -> Option<Likeness> {
    let registers = arguments::registers(machine);
    let holds = |register: &Register, wanted: fn(Text) -> bool| {
        texts
            .iter()
            .any(|(one, text)| one == register && wanted(*text))
    };
    let behind_file = match place {
        Argument::Register(number) => number
            .checked_sub(1)
            .and_then(|before| registers.get(before))
            .is_some_and(|before| holds(before, |text| text == Text::SourceFile)),
        Argument::Pushed => false,
    };
    if behind_file || REPORTERS.contains(&callee.trim_start_matches('_')) {
        return Some(Likeness::Reports);
    }
    registers
        .iter()
        .any(|register| holds(register, |_| true))
        .then_some(Likeness::GivenText)
}

/// Tracks which registers hold the address of some text.
fn note(
    build: &Build<'_>,
    item: ItemId,
    texts: &mut Vec<(Register, Text)>,
    instruction: &Instruction<'_>,
    effects: &Effects,
) {
    if instruction.flow != Flow::Next {
        texts.clear();
        return;
    }
    let loaded = effects.load.and_then(|load| match load.from {
        Source::Register(from) => texts.iter().find(|(one, _)| *one == from).map(|one| one.1),
        Source::Number => text_at(build, target_in(build, item, instruction)?),
        // What stands there is loaded, not its address.
        Source::Memory => None,
    });
    texts.retain(|(one, _)| !effects.written.contains(one));
    if let Some((load, text)) = effects.load.zip(loaded) {
        texts.push((load.into, text));
    }
}

/// What the relocation inside an instruction points at.
fn target_in(build: &Build<'_>, item: ItemId, instruction: &Instruction<'_>) -> Option<Target> {
    let range = build.relocation_range(item);
    let relocations = build.object.relocations.get(range.clone())?;
    let first = relocations.partition_point(|one| one.offset < instruction.start);
    let inside = relocations
        .get(first)
        .is_some_and(|one| one.offset < instruction.end);
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
