//! Tables of other systems, which travel between objects of theirs and which no loader of ours
//! walks: a payload that has one is taken, and what the table says has no effect.
//!
//! Layouts: Linux's `asm/bug.h`, `asm/extable.h`, `linux/jump_label.h`,
//! `linux/static_call_types.h`, `asm/paravirt_types.h`, `asm/alternative.h`, `asm/ftrace.h`.

use super::layout::{Field, Layout, LeadsTo};

/// A table of another system.
#[derive(Debug, PartialEq, Eq)]
pub struct ForeignTable {
    /// The section's whole name.
    pub name: &'static str,
    /// Every layout that its entries are known to have had, the usual one first.
    pub layouts: &'static [Layout],
}

const OWNER: Field = Field::new(0, LeadsTo::Owner);

const fn alone(bytes: u64) -> Layout {
    Layout {
        bytes,
        fields: &[OWNER],
    }
}

/// Line and flags of an entry of `__bug_table` stand behind its fields: where in the usual layout,
/// in bytes.
pub const BUG_TABLE_LINE_AT: u64 = 8;

/// The tables.
pub static FOREIGN: [ForeignTable; 13] = [
    ForeignTable {
        name: "__bug_table",
        layouts: &[
            // Code, file, line and flags.
            Layout {
                bytes: 12,
                fields: &[OWNER, Field::new(4, LeadsTo::Data)],
            },
            // Without CONFIG_DEBUG_BUGVERBOSE: code and flags.
            alone(8),
            // Since 6.19: code, format, file, line and flags.
            Layout {
                bytes: 16,
                fields: &[
                    OWNER,
                    Field::new(4, LeadsTo::Data),
                    Field::new(8, LeadsTo::Data),
                ],
            },
        ],
    },
    ForeignTable {
        name: "__ex_table",
        layouts: &[
            // Code, where to go on, a handler or its number.
            Layout {
                bytes: 12,
                fields: &[
                    OWNER,
                    Field::new(4, LeadsTo::Code),
                    Field::new(8, LeadsTo::Anything),
                ],
            },
            // Before 4.6: code, where to go on.
            Layout {
                bytes: 8,
                fields: &[OWNER, Field::new(4, LeadsTo::Code)],
            },
        ],
    },
    ForeignTable {
        name: "__jump_table",
        layouts: &[Layout {
            bytes: 16,
            fields: &[
                OWNER,
                Field::new(4, LeadsTo::Code),
                Field::new(8, LeadsTo::Anything),
            ],
        }],
    },
    ForeignTable {
        name: ".static_call_sites",
        layouts: &[Layout {
            bytes: 8,
            fields: &[OWNER, Field::new(4, LeadsTo::Anything)],
        }],
    },
    ForeignTable {
        name: ".parainstructions",
        layouts: &[alone(16), alone(12)],
    },
    ForeignTable {
        name: ".smp_locks",
        layouts: &[alone(4)],
    },
    ForeignTable {
        name: "__mcount_loc",
        layouts: &[alone(8)],
    },
    ForeignTable {
        name: "__patchable_function_entries",
        layouts: &[alone(8)],
    },
    ForeignTable {
        // Each points to a description, not to code.
        name: ".printk_index",
        layouts: &[Layout {
            bytes: 8,
            fields: &[Field::new(0, LeadsTo::Anything)],
        }],
    },
    ForeignTable {
        name: ".retpoline_sites",
        layouts: &[alone(4)],
    },
    ForeignTable {
        name: ".return_sites",
        layouts: &[alone(4)],
    },
    ForeignTable {
        name: ".call_sites",
        layouts: &[alone(4)],
    },
    ForeignTable {
        name: ".ibt_endbr_seal",
        layouts: &[alone(4)],
    },
];

impl ForeignTable {
    /// The table that a section of this name is.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static ForeignTable> {
        FOREIGN.iter().find(|table| table.name == name)
    }
}
