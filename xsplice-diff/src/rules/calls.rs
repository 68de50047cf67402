//! What is called, and which registers are behind a call as they were.
//!
//! By the psABI a callee may change the registers that it need not keep. But where a compiler has
//! the code that will run, it knows which of them that changes, and keeps values in the others
//! (GCC's `-fipa-ra`, on from -O2).

use std::cell::RefCell;

use foldhash::HashMap;
use object::elf;

use crate::machine::arguments::Register;
use crate::machine::{Flow, Instruction, walk};
use crate::read::items::{ItemId, ItemKind};
use crate::read::relocation::Target;
use crate::read::side::Build;

/// Calls that lead to calls are followed this deep.
const DEPTH_MAX: usize = 8;

/// What the field of a call or jump leads to.
pub(super) fn target(
    build: &Build<'_>,
    source: ItemId,
    branch: &Instruction<'_>,
) -> Option<Target> {
    let mut all = build.relocations(source);
    let found = all.find(|(field, _)| (branch.start..branch.end).contains(&field.offset));
    found.map(|(_, target)| target)
}

/// Whether an item is code that runs when it is called: the link may put another definition in the
/// place of a weak one.
pub(super) fn is_final_code(build: &Build<'_>, item: ItemId) -> bool {
    let is_code = matches!(
        build.items.item(item).kind,
        ItemKind::Function | ItemKind::Label
    );
    is_code
        && build
            .symbols_of(item)
            .all(|symbol| symbol.binding != elf::STB_WEAK.0)
}

/// What a branch leads to, for a compiler.
enum Callee {
    /// Code that it has.
    Known(ItemId),
    /// Code that it does not have, or not for certain.
    Foreign,
    /// Nobody knows.
    Unclear,
}

/// Answers for one build.
pub(super) struct Calls<'a, 'data> {
    build: &'a Build<'data>,
    changed: RefCell<HashMap<(ItemId, Register), bool>>,
}

impl<'a, 'data> Calls<'a, 'data> {
    pub(super) fn new(build: &'a Build<'data>) -> Self {
        Calls {
            build,
            changed: RefCell::default(),
        }
    }

    /// Whether a register that the callee need not keep may be behind a call as it was. Assembler
    /// knows what it calls.
    pub(super) fn may_keep(
        &self,
        (source, is_of_assembler): (ItemId, bool),
        call: &Instruction<'_>,
        register: Register,
    ) -> bool {
        match self.callee(source, call) {
            Callee::Foreign if is_of_assembler => true,
            _ => !self.changes_by(source, call, register, DEPTH_MAX),
        }
    }

    fn changes_by(
        &self,
        source: ItemId,
        branch: &Instruction<'_>,
        register: Register,
        depth: usize,
    ) -> bool {
        match self.callee(source, branch) {
            Callee::Foreign => true,
            Callee::Known(item) => depth != 0 && self.changes(item, register, depth - 1),
            Callee::Unclear => false,
        }
    }

    fn callee(&self, source: ItemId, branch: &Instruction<'_>) -> Callee {
        if matches!(branch.flow, Flow::IndirectCall | Flow::IndirectJump) {
            return Callee::Foreign;
        }
        let build = self.build;
        let item = match target(build, source, branch) {
            Some(Target::Item { item, .. }) => Some(item),
            Some(Target::Symbol { .. }) => return Callee::Foreign,
            Some(Target::Section { .. }) => None,
            // The assembler has filled in where a function of the same section is.
            None => branch.lead.and_then(|lead| {
                let section = build.items.item(source).section;
                build.items.at(section, lead.to)
            }),
        };
        match item {
            Some(item) if is_final_code(build, item) => Callee::Known(item),
            Some(item) if build.items.item(item).kind == ItemKind::Function => Callee::Foreign,
            _ => Callee::Unclear,
        }
    }

    /// Whether any way through a function's code writes to a register.
    fn changes(&self, item: ItemId, register: Register, depth: usize) -> bool {
        let key = (item, register);
        if let Some(known) = self.changed.borrow().get(&key) {
            return *known;
        }
        // Of functions that call each other in a circle, each is asked once.
        self.changed.borrow_mut().insert(key, false);
        let build = self.build;
        let place = build.items.item(item);
        let range = place.offset..place.end();
        let mut code = walk(build.object.machine, build.bytes(item), place.offset);
        let found = code.any(|one| match one.flow {
            Flow::Next | Flow::Elsewhere => one.overwrites(register),
            Flow::Call | Flow::IndirectCall | Flow::IndirectJump => {
                self.changes_by(item, &one, register, depth)
            }
            Flow::Jump | Flow::ConditionalJump => {
                let inside = one.lead.is_some_and(|lead| range.contains(&lead.to));
                let leaves = !inside || target(build, item, &one).is_some();
                leaves && self.changes_by(item, &one, register, depth)
            }
            Flow::Return | Flow::Stop => false,
        });
        self.changed.borrow_mut().insert(key, found);
        found
    }
}
