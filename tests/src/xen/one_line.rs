//! One-line edits in as many objects, built at once: of each object the differ must name exactly
//! the function that the line is in, with the reason, and of the whole tree exactly these.

use std::path::Path;

use anyhow::Result;

use super::build::Tree;
use super::payload::{self, Said, Stacking, Tools};
use super::table::{Row, Table};

/// One-line edits of a machine's Xen.
#[derive(Debug)]
pub struct Edits {
    /// The name of the patch with all of them.
    pub patch: &'static str,
    lines: &'static [OneLine],
}

/// One edited line.
#[derive(Debug, Clone, Copy)]
struct OneLine {
    /// What the line is.
    about: &'static str,
    /// The object that its source becomes.
    object: &'static str,
    /// The functions that it must be found in, with the kinds of reasons.
    functions: &'static [&'static str],
}

const TABLE_ROW: OneLine = OneLine {
    about: "a row of a table that one function reads",
    object: "common/time.o",
    functions: &["gmtime (constant-differs)"],
};

const CONSTANT: OneLine = OneLine {
    about: "a constant in the code",
    object: "lib/parse-size.o",
    functions: &["parse_size_and_unit (bytes-differ)"],
};

const CALLEE: OneLine = OneLine {
    about: "another function is called",
    object: "common/rangeset.o",
    functions: &["rangeset_remove_singleton (target-differs)"],
};

const STRING: OneLine = OneLine {
    about: "a string",
    object: "common/keyhandler.o",
    functions: &["dump_registers (string-differs)"],
};

const WARNING: OneLine = OneLine {
    about: "a bug that becomes a warning, in what was inlined",
    object: "common/tasklet.o",
    functions: &["migrate_tasklets_from_cpu (bytes-differ, size-differs)"],
};

/// Of x86-64.
pub static X86_64: Edits = Edits {
    patch: "one-line",
    lines: &[
        TABLE_ROW,
        CONSTANT,
        CALLEE,
        OneLine {
            about: "fix-up code behind the exception table, of a source that includes itself",
            object: "arch/x86/usercopy.o",
            functions: &[
                "copy_from_guest_ll (special-entry-differs)",
                "copy_from_unsafe_ll (special-entry-differs)",
            ],
        },
        STRING,
        OneLine {
            about: "a clone that the compiler made",
            object: "common/xenoprof.o",
            functions: &["alloc_xenoprof_struct.constprop.0 (bytes-differ, size-differs)"],
        },
        WARNING,
        OneLine {
            about: "a callback of the 32-bit interface",
            object: "common/compat/memory.o",
            functions: &["get_reserved_device_memory (bytes-differ)"],
        },
        OneLine {
            about: "a static function",
            object: "arch/x86/hvm/vlapic.o",
            functions: &["vlapic_error (bytes-differ)"],
        },
        OneLine {
            about: "a driver's callback",
            object: "drivers/char/ns16550.o",
            functions: &["ns16550_tx_ready (bytes-differ, size-differs)"],
        },
    ],
};

/// Of AArch64.
pub static ARM64: Edits = Edits {
    patch: "arm64-one-line",
    lines: &[
        TABLE_ROW,
        CONSTANT,
        CALLEE,
        STRING,
        WARNING,
        OneLine {
            about: "a driver's callback",
            object: "drivers/char/ns16550.o",
            functions: &["ns16550_tx_ready (bytes-differ)"],
        },
        OneLine {
            about: "a clone that the compiler made",
            object: "common/rcupdate.o",
            functions: &["cpu_quiet.constprop.0 (bytes-differ, size-differs)"],
        },
        OneLine {
            about: "a static function that was inlined",
            object: "arch/arm/decode.o",
            functions: &["decode_instruction (bytes-differ, size-differs)"],
        },
        OneLine {
            about: "a static function that a table leads to",
            object: "arch/arm/vgic-v3.o",
            functions: &["vgic_v3_vcpu_init (bytes-differ)"],
        },
    ],
};

/// Adds a row for each line, and one for the tree.
pub fn check(
    tools: &Tools,
    edits: &Edits,
    [original, patched]: [&Tree; 2],
    folder: &Path,
    table: &mut Table,
) -> Result<()> {
    for line in edits.lines {
        let found = tools.diff(
            &original.directory.join(line.object),
            &patched.directory.join(line.object),
        )?;
        table.add(row(
            format!("one line: {}", line.about),
            line.functions
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            found,
        ));
    }
    let output = folder.join(format!("{}.livepatch", edits.patch));
    let said = tools.build(
        edits.patch,
        original,
        patched,
        &output,
        &Stacking::default(),
    )?;
    let all = edits.lines.iter().flat_map(|line| {
        let name = |function: &&str| format!("{}:{function}", line.object);
        line.functions.iter().map(name)
    });
    table.add(row(
        "one line: the tree with all of them".to_owned(),
        all.collect(),
        said,
    ));
    Ok(())
}

fn row(name: String, mut wanted: Vec<String>, said: Said) -> Row {
    wanted.sort_unstable();
    let description = payload::describe(&said);
    Row {
        name,
        expected: wanted.join(" "),
        seen: match said {
            Said::Payload(found) if found == wanted => Ok(description),
            _ => Err(description),
        },
    }
}
