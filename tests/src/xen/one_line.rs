//! Ten one-line edits in ten objects, built at once: of each object the differ must name exactly
//! the function that the line is in, with the reason, and of the whole tree exactly these.

use std::path::Path;

use anyhow::Result;

use super::build::Tree;
use super::payload::{self, Said, Stacking, Tools};
use super::table::{Row, Table};

/// The name of the patch with all the edits.
pub const PATCH: &str = "one-line";

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

const LINES: [OneLine; 10] = [
    OneLine {
        about: "a row of a table that one function reads",
        object: "common/time.o",
        functions: &["gmtime (constant-differs)"],
    },
    OneLine {
        about: "a constant in the code",
        object: "lib/parse-size.o",
        functions: &["parse_size_and_unit (bytes-differ)"],
    },
    OneLine {
        about: "another function is called",
        object: "common/rangeset.o",
        functions: &["rangeset_remove_singleton (target-differs)"],
    },
    OneLine {
        about: "fix-up code behind the exception table, of a source that includes itself",
        object: "arch/x86/usercopy.o",
        functions: &[
            "copy_from_guest_ll (special-entry-differs)",
            "copy_from_unsafe_ll (special-entry-differs)",
        ],
    },
    OneLine {
        about: "a string",
        object: "common/keyhandler.o",
        functions: &["dump_registers (string-differs)"],
    },
    OneLine {
        about: "a clone that the compiler made",
        object: "common/xenoprof.o",
        functions: &["alloc_xenoprof_struct.constprop.0 (bytes-differ, size-differs)"],
    },
    OneLine {
        about: "a bug that becomes a warning, in what was inlined",
        object: "common/tasklet.o",
        functions: &["migrate_tasklets_from_cpu (bytes-differ, size-differs)"],
    },
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
];

/// Adds a row for each line, and one for the tree.
pub fn check(
    tools: &Tools,
    original: &Tree,
    patched: &Tree,
    folder: &Path,
    table: &mut Table,
) -> Result<()> {
    for line in &LINES {
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
    let output = folder.join(format!("{PATCH}.livepatch"));
    let said = tools.build(PATCH, original, patched, &output, &Stacking::default())?;
    let all = LINES.iter().flat_map(|line| {
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
