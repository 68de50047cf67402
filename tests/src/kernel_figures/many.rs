//! A kernel with a thousand functions that nobody calls, and payloads that replace some or all of
//! them: the way from the C source to the payload is that of every other payload.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use crate::shell::{Echo, Shell};
use crate::trees::Trees;

/// How many functions there are.
pub(super) const FUNCTIONS: usize = 1000;
/// How many of them the payloads replace.
pub(super) const CHANGED: [usize; 3] = [1, 100, FUNCTIONS];

/// The kernel and its payloads.
#[derive(Debug)]
pub(super) struct Many {
    trees: Trees,
    /// By the number of functions that each replaces.
    payloads: BTreeMap<usize, Vec<u8>>,
    /// Removed with everything in it at the end.
    folder: TempDir,
}

impl Many {
    /// Builds them with the commands in `tools`.
    pub(super) fn build(tools: &Path) -> Result<Many> {
        let folder = tempfile::tempdir()?;
        let trees = Trees {
            shell: Shell::at_root(Echo::Silent),
            out: folder.path().to_owned(),
            tools: tools.to_owned(),
        };
        let add = |changed: usize| {
            move |source: &Path| -> Result<()> {
                Ok(fs::write(source.join("core/many.c"), text(changed)?)?)
            }
        };
        trees.build_changed(&trees.original(), &folder.path().join("source"), add(0))?;
        let mut payloads = BTreeMap::new();
        for changed in CHANGED {
            let name = format!("many{changed}");
            let tree = folder.path().join(&name);
            let source = folder.path().join(format!("{name}-source"));
            trees.build_changed(&tree, &source, add(changed))?;
            let path = trees.payload(&name, &tree, None)?;
            payloads.insert(changed, fs::read(path)?);
        }
        Ok(Many {
            trees,
            payloads,
            folder,
        })
    }

    /// The kernel that boots.
    pub(super) fn kernel(&self) -> PathBuf {
        self.trees.kernel()
    }

    /// Where everything lies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The payload that replaces so many functions.
    pub(super) fn payload(&self, changed: usize) -> Result<&[u8]> {
        let payload = self.payloads.get(&changed);
        Ok(payload.with_context(|| format!("no payload of {changed} records"))?)
    }
}

/// The source, with the first `changed` functions changed.
fn text(changed: usize) -> Result<String> {
    ensure!(changed <= FUNCTIONS, "more changed than there are");
    let mut text = "#include \"target.h\"\n".to_owned();
    for number in 0..FUNCTIONS {
        let factor = if number < changed { 5 } else { 3 };
        let constant = 0x5a00_0000 + number;
        // Longer than the longest expectation, as most functions are: what costs most to confirm.
        writeln!(
            text,
            "u32 many_{number:04}(u32 value)\n\
             {{\n\
             \tvalue = (value ^ value >> 15) * 0x85ebca6b;\n\
             \tvalue = (value ^ value >> 13) * 0xc2b2ae35;\n\
             \treturn value * {factor} + {constant:#x};\n\
             }}"
        )?;
    }
    Ok(text)
}
