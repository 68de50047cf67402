//! Who refers to what inside one build: which constants belong to one function alone, whose address
//! is taken, and which references lead into the interior of a function.

use crate::read::items::{ItemId, ItemKind};
use crate::read::object::{Relocation, SectionId};
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use xsplice_abi::machine::OF_RUNTIME;

/// Who refers to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    None,
    /// One function, with its out-of-line parts.
    Function(ItemId),
    /// Several, or data.
    Many,
}

/// References of one build, seen from their targets.
#[derive(Debug)]
pub struct Users {
    users: Vec<User>,
    address_taken: Vec<bool>,
    /// References from outside into the interior of a function: (function, referrer, offset of
    /// the field in the referrer's section, section).
    pub interior: Vec<Interior>,
}

/// A reference from outside into the interior of a function.
#[derive(Clone, Copy, Debug)]
pub struct Interior {
    /// The function.
    pub function: ItemId,
    /// Bytes from its start.
    pub at: i64,
    /// Who refers to it.
    pub from: ItemId,
    /// The referrer's section.
    pub section: SectionId,
    /// Offset of the field in that section, in bytes.
    pub offset: u64,
}

impl Users {
    /// Collects them; `root` leads from an out-of-line part to its function.
    #[must_use]
    pub fn new(build: &Build<'_>, root: impl Fn(ItemId) -> ItemId) -> Users {
        let mut users = Users {
            users: vec![User::None; build.items.all.len()],
            address_taken: vec![false; build.items.all.len()],
            interior: Vec::new(),
        };
        // A jump table is part of the function that uses it, so what the table refers to counts as
        // used by that function.
        let mut through_content = Vec::new();
        build.each_reference(|source, relocation, target| {
            let class = build.items.class(source);
            if matches!(class, SectionClass::Ignored(_) | SectionClass::Special(_)) {
                return;
            }
            let Some(item) = target.item() else { return };
            let kind = build.items.item(source).kind;
            let is_code = matches!(kind, ItemKind::Function | ItemKind::Label);
            let user = if is_code {
                User::Function(root(source))
            } else {
                User::Many
            };
            let slot = &mut users.users[item.index()];
            *slot = match *slot {
                User::None => user,
                same if same == user => same,
                _ => User::Many,
            };
            if build.items.item(item).kind != ItemKind::Function {
                return;
            }
            if target.meant() == 0 {
                users.address_taken[item.index()] |= !is_call(build, source, relocation);
            } else if root(item) != root(source) {
                through_content.push(Interior {
                    function: item,
                    at: target.meant(),
                    from: source,
                    section: build.items.item(source).section,
                    offset: relocation.offset,
                });
            }
        });
        through_content.retain(|one| {
            let own_table = match users.users[one.from.index()] {
                User::Function(user) => user == root(one.function),
                _ => false,
            };
            !own_table && build.items.class(one.from) != SectionClass::SpecialCode
        });
        users.interior = through_content;
        users
    }

    /// The one function that refers to the item, if nothing else does.
    #[must_use]
    pub fn only_function(&self, item: ItemId) -> Option<ItemId> {
        match self.users[item.index()] {
            User::Function(function) => Some(function),
            _ => None,
        }
    }

    /// Whether nothing refers to the item.
    #[must_use]
    pub fn is_unused(&self, item: ItemId) -> bool {
        self.users[item.index()] == User::None
    }

    /// Whether something other than a call or jump refers to the start of a function.
    #[must_use]
    pub fn is_address_taken(&self, item: ItemId) -> bool {
        self.address_taken[item.index()]
    }
}

/// Whether the field is the operand of a near call or jump.
#[must_use]
pub fn is_call(build: &Build<'_>, source: ItemId, relocation: &Relocation) -> bool {
    let section = build.object.section(build.items.item(source).section);
    // The number of an address may stand behind any byte; what a call has is a distance.
    if !section.is_executable() || !is_branch_type(relocation.kind) {
        return false;
    }
    let Ok(at) = usize::try_from(relocation.offset) else {
        return false;
    };
    section.data.get(..at).is_some_and(ends_in_branch)
}

/// Whether a relocation of this type may fill the operand of a near call or jump.
#[must_use]
pub fn is_branch_type(kind: u32) -> bool {
    OF_RUNTIME
        .relocation(kind)
        .is_some_and(|known| known.alike == OF_RUNTIME.distance.number)
}

/// Whether code ends in the opcode of a near call or jump, so that its operand is next.
#[must_use]
pub fn ends_in_branch(code: &[u8]) -> bool {
    const CALL: u8 = 0xe8;
    const JUMP: u8 = 0xe9;
    const TWO_BYTES: u8 = 0x0f;
    /// Conditional jumps are `0f 80` to `0f 8f`.
    const CONDITIONAL: u8 = 0x80;
    match code {
        [.., CALL | JUMP] => true,
        [.., TWO_BYTES, condition] => condition & 0xf0 == CONDITIONAL,
        _ => false,
    }
}
