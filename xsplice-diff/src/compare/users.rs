//! Who refers to what inside one build: which constants belong to one function alone, whose address
//! is taken, and which references lead into the interior of a function.

use crate::read::items::{ItemId, ItemKind};
use crate::read::object::SectionId;
use crate::read::section_class::SectionClass;
use crate::read::side::{Build, is_content};

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
        build.each_reference(|source, index, target| {
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
                let is_taken = &mut users.address_taken[item.index()];
                *is_taken = *is_taken || !build.is_call(source, index);
            } else if root(item) != root(source) {
                through_content.push(Interior {
                    function: item,
                    at: target.meant(),
                    from: source,
                    section: build.items.item(source).section,
                    offset: build.object.relocations[index].offset,
                });
            }
        });
        through_content.retain(|one| {
            // Content is included with the code that refers to it. Any other table stays in the
            // base, and leads into the old code.
            let own_table = is_content(build, one.from)
                && match users.users[one.from.index()] {
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
    pub(crate) fn only_function(&self, item: ItemId) -> Option<ItemId> {
        match self.users[item.index()] {
            User::Function(function) => Some(function),
            _ => None,
        }
    }

    /// Whether nothing refers to the item.
    #[must_use]
    pub(crate) fn is_unused(&self, item: ItemId) -> bool {
        self.users[item.index()] == User::None
    }

    /// Whether something other than a call or jump refers to the start of a function.
    #[must_use]
    pub(crate) fn is_address_taken(&self, item: ItemId) -> bool {
        self.address_taken[item.index()]
    }
}
