//! Whether the address of a constant, left in a register by which code read, is handed out there.
//!
//! A register that code read by may be no more than that, or the argument of the call that follows,
//! or the result. Neither shows in the code at hand. What is called tells it, where its code is in
//! this object, or the debug information of either function; where nothing tells, it is handed out.

use std::cell::OnceCell;

use foldhash::HashMap;

use crate::debug_info::call_sites::{CallSites, Maker};
use crate::debug_info::types::read::TypeSections;
use crate::debug_info::types::{Passing, Types};
use crate::machine::addresses::{Since, is_lost};
use crate::machine::arguments::{self, Register, Source};
use crate::machine::{Flow, Instruction, walk};
use crate::read::items::ItemId;
use crate::read::names;
use crate::read::relocation::Target;
use crate::read::side::Build;
use crate::rules::calls::{self, is_final_code};
use crate::rules::handed_out::is_relocated;

/// Calls that lead to calls are followed this deep.
const DEPTH_MAX: usize = 4;

/// More steps than this are not followed in one function.
const STEPS_MAX: usize = 1 << 12;

/// Bytes of an address.
const ADDRESS_BYTES: u64 = 8;

/// What debug information says of a function.
#[derive(Clone, Copy, Debug, Default)]
struct Prototype {
    /// General registers that its arguments take at most.
    registers: usize,
    /// How many registers that an address fits into it gives back at most.
    gives: usize,
}

/// Answers for one build.
pub(super) struct LeftInRegister<'a, 'data> {
    build: &'a Build<'data>,
    told: OnceCell<Told>,
}

/// What debug information tells.
#[derive(Debug, Default)]
struct Told {
    prototypes: HashMap<String, Prototype>,
    sites: CallSites,
}

impl<'a, 'data> LeftInRegister<'a, 'data> {
    pub(super) fn new(build: &'a Build<'data>) -> Self {
        LeftInRegister {
            build,
            told: OnceCell::new(),
        }
    }

    /// Whether a function may give back what is in the register of its result.
    pub(super) fn may_be_result(&self, function: ItemId) -> bool {
        self.gives(function).is_none_or(|gives| gives > 0)
    }

    /// Whether a function may give back what is in the second register of a wide result.
    ///
    /// Shortcut S36: without debug information, a register by which code read is no more than
    /// that. Code reads tables by this one all the time, and hardly any result is so wide.
    pub(super) fn may_be_second(&self, function: ItemId, since: Since) -> bool {
        match self.gives(function) {
            Some(gives) => gives > 1,
            None => since == Since::Fresh,
        }
    }

    /// How many registers a function gives back at most, where debug information tells.
    fn gives(&self, function: ItemId) -> Option<usize> {
        let known = self.prototype(names::root(self.build.name(function)));
        known.map(|known| known.gives)
    }

    /// Whether the function that `code[at]` of `source` calls or jumps to may look at a register
    /// that passes arguments.
    pub(super) fn may_be_argument(
        &self,
        (source, code, at): (ItemId, &[Instruction<'_>], usize),
        register: Register,
    ) -> bool {
        let call = &code[at];
        let is_indirect = matches!(call.flow, Flow::IndirectCall | Flow::IndirectJump);
        let callee = calls::target(self.build, source, call);
        let is_thunk = self.name_of(callee).starts_with("__x86_indirect_thunk_");
        if is_indirect || is_thunk {
            return !self.loads_callee((code, at), register, is_indirect);
        }
        self.may_look(callee, register, DEPTH_MAX)
    }

    /// Whether other code of the object, such as a cold part of the function, may look at a
    /// register with which it begins.
    pub(super) fn may_go_on_with(
        &self,
        source: ItemId,
        branch: &Instruction<'_>,
        register: Register,
    ) -> bool {
        match calls::target(self.build, source, branch) {
            Some(target @ Target::Item { item, .. }) if is_final_code(self.build, item) => {
                self.reads(item, target.meant(), register, DEPTH_MAX)
            }
            _ => true,
        }
    }

    fn is_lost(&self, register: Register) -> bool {
        is_lost(self.build.object.machine, register)
    }

    /// Whether the code that the function `source` calls or jumps to looks at a register that
    /// passes no argument; `None` where it is not at hand.
    pub(super) fn looks_at_other(
        &self,
        source: ItemId,
        call: &Instruction<'_>,
        register: Register,
    ) -> Option<bool> {
        match calls::target(self.build, source, call) {
            Some(target @ Target::Item { item, .. }) if is_final_code(self.build, item) => {
                Some(self.reads(item, target.meant(), register, DEPTH_MAX))
            }
            _ => None,
        }
    }

    /// Whether what is called may look at a register before it writes to it.
    fn may_look(&self, callee: Option<Target>, register: Register, depth: usize) -> bool {
        let registers = arguments::registers(self.build.object.machine);
        let number = registers.iter().position(|one| *one == register);
        match callee {
            Some(target @ Target::Item { item, .. })
                if depth != 0 && is_final_code(self.build, item) =>
            {
                // A compiler may pass other arguments to it than the source says.
                return self.reads(item, target.meant(), register, depth - 1);
            }
            _ => {}
        }
        let known = self.prototype(self.name_of(callee));
        number.is_some_and(|number| known.is_none_or(|known| number < known.registers))
    }

    /// Whether a way through a function's code reads a register before it writes to it.
    fn reads(&self, item: ItemId, from: i64, register: Register, depth: usize) -> bool {
        let build = self.build;
        let machine = build.object.machine;
        let place = build.items.item(item);
        let code: Vec<Instruction<'_>> = walk(machine, build.bytes(item), place.offset).collect();
        let at = |offset: u64| code.binary_search_by_key(&offset, |one| one.start).ok();
        let Some(first) = at(place.offset.wrapping_add_signed(from)) else {
            return true;
        };
        let mut seen = vec![false; code.len()];
        let mut open = vec![first];
        for _ in 0..STEPS_MAX {
            let Some(next) = open.pop() else {
                return false;
            };
            let Some(one) = code.get(next).filter(|one| one.is_valid) else {
                return true;
            };
            if std::mem::replace(&mut seen[next], true) {
                continue;
            }
            let effects = one.effects();
            let uses = effects.used.iter().filter(|used| **used == register);
            let is_load = effects.load.is_some_and(|load| load.into == register);
            let is_set = (is_load || one.overwrites(register)) && uses.count() == 1;
            match one.flow {
                Flow::Next | Flow::Elsewhere if is_set => continue,
                // A caller's register is saved and got back.
                Flow::Next if one.saves(register) && !self.is_lost(register) => open.push(next + 1),
                Flow::Next | Flow::Elsewhere if effects.used.contains(&register) => return true,
                Flow::Next | Flow::Elsewhere => open.push(next + 1),
                Flow::Return | Flow::Stop => {}
                Flow::Call => {
                    let callee = calls::target(build, item, one);
                    if self.may_look(callee, register, depth) {
                        return true;
                    }
                    // What a call does not keep is lost behind it.
                    if !self.is_lost(register) {
                        open.push(next + 1);
                    }
                }
                Flow::Jump | Flow::ConditionalJump => {
                    if effects.used.contains(&register) {
                        return true;
                    }
                    let inside = one.lead.filter(|lead| lead.is_branch);
                    let inside = inside.and_then(|lead| at(lead.to));
                    match inside.filter(|_| !is_relocated(build, item, one)) {
                        Some(target) => open.push(target),
                        None => {
                            let callee = calls::target(build, item, one);
                            if self.may_look(callee, register, depth) {
                                return true;
                            }
                        }
                    }
                    if one.flow == Flow::ConditionalJump {
                        open.push(next + 1);
                    }
                }
                Flow::IndirectCall | Flow::IndirectJump => return true,
            }
        }
        true
    }

    /// Whether a register is what the address of the function that `code[at]` calls was read by, as
    /// from a table of functions. That table is hardly ever passed to one of its own.
    fn loads_callee(
        &self,
        (code, at): (&[Instruction<'_>], usize),
        register: Register,
        is_indirect: bool,
    ) -> bool {
        let call = code[at].effects();
        if is_indirect && call.used.contains(&register) {
            return true;
        }
        let registers = arguments::registers(self.build.object.machine);
        let before = code[..at].iter().rev();
        let mut before = before.take_while(|one| one.flow == Flow::Next);
        before.any(|one| {
            let effects = one.effects();
            let load = effects.load.filter(|load| load.from == Source::Memory);
            effects.used.contains(&register)
                && load.is_some_and(|load| match is_indirect {
                    true => call.used.contains(&load.into),
                    false => !registers.contains(&load.into),
                })
        })
    }

    fn name_of(&self, target: Option<Target>) -> &'data str {
        match target {
            Some(Target::Item { item, .. }) => self.build.name(item),
            Some(Target::Symbol { symbol, .. }) => self.build.object.symbol(symbol).name,
            _ => "",
        }
    }

    fn told(&self) -> &Told {
        self.told.get_or_init(|| {
            let Some(sections) = TypeSections::new(&self.build.object) else {
                return Told::default();
            };
            let types = sections.read();
            Told {
                prototypes: types.map_or_else(HashMap::default, |types| prototypes(&types)),
                sites: CallSites::read(&sections),
            }
        })
    }

    fn prototype(&self, name: &str) -> Option<Prototype> {
        let known = self.told().prototypes.get(name);
        known.copied().filter(|_| !name.is_empty())
    }

    /// Whether debug information shows that no compiler made a function.
    pub(super) fn is_assembler(&self, function: ItemId) -> bool {
        let place = self.build.items.item(function);
        self.told().sites.is_assembler(place.section, place.offset)
    }

    /// Who made a call in a function.
    pub(super) fn maker(&self, source: ItemId, call: &Instruction<'_>) -> Maker {
        let place = self.build.items.item(source);
        let range = (call.start, call.end);
        self.told().sites.maker(place.section, place.offset, range)
    }
}

/// Of each name the most that any declaration or definition of it says.
fn prototypes(types: &Types<'_>) -> HashMap<String, Prototype> {
    let mut found: HashMap<String, Prototype> = HashMap::default();
    for id in types.ids() {
        let name = types.name_of(id);
        if types.entry(id).tag != gimli::DW_TAG_subprogram || name.is_empty() {
            continue;
        }
        let all = types.passing(id);
        let result = all.first();
        let gives = |one: &Passing| match one {
            Passing::Nothing | Passing::Float(_) => 0,
            Passing::Pointer => 1,
            Passing::Integer(bytes, _) => {
                usize::from(*bytes >= ADDRESS_BYTES) + usize::from(*bytes > ADDRESS_BYTES)
            }
            Passing::Aggregate(..) | Passing::Variadic | Passing::Unknown => 2,
        };
        let hidden = matches!(result, Some(Passing::Aggregate(..)));
        let arguments = all.iter().skip(1).map(|one| match one {
            Passing::Nothing | Passing::Float(_) => 0,
            Passing::Pointer => 1,
            Passing::Integer(bytes, _) => usize::from(*bytes > ADDRESS_BYTES) + 1,
            Passing::Aggregate(..) => 2,
            Passing::Variadic | Passing::Unknown => usize::MAX,
        });
        let registers = arguments.fold(usize::from(hidden), usize::saturating_add);
        let known = found.entry(name.to_owned()).or_default();
        known.registers = known.registers.max(registers);
        known.gives = known.gives.max(result.map_or(2, gives));
    }
    found
}
