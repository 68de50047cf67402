//! Whether an address in a register that passes no argument is there for a call.
//!
//! Compilers keep an address over calls in a register that each callee keeps, and then use it
//! again. Inline assembler may pass one by any register, so an address that nothing uses behind any
//! of the calls is there for one of them. Where debug information tells that assembler calls, every
//! address in a register counts as passed; where the code of the callee is at hand, that tells it.

use foldhash::HashSet;

use crate::debug_info::call_sites::Maker;
use crate::machine::addresses::{Since, is_lost};
use crate::machine::arguments::Register;
use crate::machine::{Flow, Instruction};
use crate::read::items::ItemId;
use crate::read::labels::Labels;
use crate::read::side::Build;
use crate::rules::handed_out::is_relocated;

/// The calls of one function over which an address is kept.
pub(super) struct KeptForCalls<'w, 'data> {
    build: &'w Build<'data>,
    labels: &'w Labels,
    source: ItemId,
    code: &'w [Instruction<'w>],
    /// Calls whose callee may look at the register.
    doubtful: HashSet<(usize, Register)>,
    /// All calls with something in a register that a callee keeps.
    all: HashSet<(usize, Register)>,
}

impl<'w, 'data> KeptForCalls<'w, 'data> {
    pub(super) fn new(
        build: &'w Build<'data>,
        labels: &'w Labels,
        (source, code): (ItemId, &'w [Instruction<'w>]),
    ) -> Self {
        KeptForCalls {
            build,
            labels,
            source,
            code,
            doubtful: HashSet::default(),
            all: HashSet::default(),
        }
    }

    /// Whether the call `at` passes the address in a register; `looks` is whether the callee's code
    /// looks at that, where it is at hand. Of a register that a callee keeps,
    /// [`KeptForCalls::is_for_calls`] may tell in the end.
    ///
    /// Shortcut S37: without debug information, a register that callees need not keep, and by which
    /// code read, is no more than that: compilers leave such ones behind at most calls.
    pub(super) fn passes(
        &mut self,
        (at, maker): (usize, Maker),
        (register, since): (Register, Since),
        looks: Option<bool>,
    ) -> bool {
        let is_kept = !is_lost(self.build.object.machine, register);
        if is_kept {
            self.all.insert((at, register));
        }
        match (looks, maker) {
            (Some(looks), _) => looks,
            (None, Maker::Compiler) => false,
            (None, Maker::Assembler) => true,
            (None, Maker::Unknown) if is_kept => {
                self.doubtful.insert((at, register));
                false
            }
            (None, Maker::Unknown) => since == Since::Fresh,
        }
    }

    /// Whether an address was in a register for one of the calls: nothing reads that behind any.
    pub(super) fn is_for_calls(&self) -> bool {
        let is_used = |register: Register| {
            let mut calls = self.all.iter().filter(|(_, one)| *one == register);
            calls.any(|&(at, _)| self.is_read_behind(at, register))
        };
        self.doubtful
            .iter()
            .any(|(_, register)| !is_used(*register))
    }

    /// Whether a way from behind an instruction reads a register before something else is put
    /// there.
    fn is_read_behind(&self, at: usize, register: Register) -> bool {
        let index = |offset: u64| {
            self.code
                .binary_search_by_key(&offset, |one| one.start)
                .ok()
        };
        let mut seen = vec![false; self.code.len()];
        let mut open = vec![at + 1];
        while let Some(next) = open.pop() {
            let Some(one) = self.code.get(next) else {
                return true;
            };
            if std::mem::replace(&mut seen[next], true) {
                continue;
            }
            let uses = one.effects().used;
            let uses = uses.iter().filter(|used| **used == register).count();
            if uses > 0 {
                if one.overwrites(register) && uses == 1 {
                    continue;
                }
                return true;
            }
            let target = one.lead.filter(|lead| lead.is_branch);
            let target = target.and_then(|lead| index(lead.to));
            let target = target.filter(|_| !is_relocated(self.build, self.source, one));
            match one.flow {
                Flow::Return | Flow::Stop => {}
                Flow::Next | Flow::Elsewhere | Flow::Call | Flow::IndirectCall => {
                    open.push(next + 1);
                }
                Flow::Jump => open.extend(target),
                Flow::ConditionalJump => {
                    open.extend(target);
                    open.push(next + 1);
                }
                Flow::IndirectJump => {
                    match self.labels.of_all(self.build, self.source, self.code) {
                        Some(targets) => open.extend(targets),
                        None => return true,
                    }
                }
            }
        }
        false
    }
}
