//! Tables of other systems. Their objects have them, but no loader here walks them: a payload with
//! one is accepted, and the table has no effect.
//!
//! Layouts: Linux's `asm/bug.h`, `asm/extable.h`, `linux/jump_label.h`,
//! `linux/static_call_types.h`, `asm/paravirt_types.h`, `asm/alternative.h`, `asm/ftrace.h`.

use super::layout::{Field, Layout, LeadsTo, LineField};

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
        line: None,
    }
}

/// The tables.
pub(super) static FOREIGN: [ForeignTable; 13] = [
    ForeignTable {
        name: "__bug_table",
        layouts: &[
            // Code, file, line and flags.
            Layout {
                bytes: 12,
                fields: &[OWNER, Field::new(4, LeadsTo::Data)],
                line: Some(LineField { at: 8, bytes: 2 }),
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
                line: Some(LineField { at: 12, bytes: 2 }),
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
                line: None,
            },
            // Before 4.6: code, where to go on.
            Layout {
                bytes: 8,
                fields: &[OWNER, Field::new(4, LeadsTo::Code)],
                line: None,
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
            line: None,
        }],
    },
    ForeignTable {
        name: ".static_call_sites",
        layouts: &[Layout {
            bytes: 8,
            fields: &[OWNER, Field::new(4, LeadsTo::Anything)],
            line: None,
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
            line: None,
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
