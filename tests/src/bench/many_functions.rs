//! Objects of many functions, one of which changes: the growth that the peers' differs fail at.
//!
//! The source is that of the peers' measurement, so that the figures can be put side by side: N
//! functions `int fn_i(int x) { return ext(x + 7) + data_k; }`, a global a four functions, and
//! another constant in the function in the middle. What is written here is the assembler text that
//! gcc 12 makes of it (`-O1 -fno-pic -fno-asynchronous-unwind-tables -ffunction-sections
//! -fdata-sections`): assembling takes a tenth of the time of compiling, and gives the same object
//! with every compiler.

use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::Result;

use super::shapes::{ObjectPair, Version, assemble};

/// Functions that share a global.
const FUNCTIONS_A_GLOBAL: usize = 4;

/// Makes both objects of `functions` functions below `folder`, or finds them there.
///
/// # Errors
/// When the assembler is not there or fails.
pub fn make(folder: &Path, functions: usize) -> Result<ObjectPair> {
    assemble(folder, &format!("functions-{functions}"), |version| {
        let mut text = String::new();
        write_text(&mut text, functions, version).expect("a String takes everything");
        text
    })
}

fn write_text(out: &mut String, functions: usize, version: Version) -> fmt::Result {
    out.push_str("\t.file \"t.c\"\n\t.text\n");
    for function in 0..functions {
        let global = function / FUNCTIONS_A_GLOBAL;
        let constant = version.constant_at(function, functions);
        write!(
            out,
            "\t.section .text.fn_{function},\"ax\",@progbits\n\t.globl fn_{function}\n\
             \t.type fn_{function}, @function\nfn_{function}:\n\tsubq $8, %rsp\n\
             \taddl ${constant}, %edi\n\tcall ext\n\taddl data_{global}(%rip), %eax\n\
             \taddq $8, %rsp\n\tret\n\t.size fn_{function}, .-fn_{function}\n"
        )?;
    }
    for global in 0..functions.div_ceil(FUNCTIONS_A_GLOBAL) {
        write!(
            out,
            "\t.globl data_{global}\n\t.section .data.data_{global},\"aw\"\n\t.align 4\n\
             \t.type data_{global}, @object\n\t.size data_{global}, 4\ndata_{global}:\n\
             \t.long {}\n",
            global + 1
        )?;
    }
    out.push_str(
        "\t.ident \"GCC: (Debian 12.2.0-14+deb12u1) 12.2.0\"\n\
         \t.section .note.GNU-stack,\"\",@progbits\n",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Version, make, write_text};

    #[test]
    fn one_constant_of_the_function_in_the_middle_changes() {
        let text = |version| {
            let mut text = String::new();
            write_text(&mut text, 100, version).expect("a String takes everything");
            text
        };
        let (before, after) = (text(Version::Original), text(Version::Patched));
        let differing: Vec<_> = before
            .lines()
            .zip(after.lines())
            .enumerate()
            .filter(|(_, (before, after))| before != after)
            .collect();
        let [(line, _)] = differing.as_slice() else {
            panic!("{differing:?}");
        };
        let function = before.lines().take(*line).last().and_then(|_| {
            let labels = before.lines().take(*line).filter(|one| one.ends_with(':'));
            labels.last()
        });
        assert_eq!(function, Some("fn_50:"));
        assert_eq!(before.matches(".globl data_").count(), 25);
    }

    #[test]
    fn the_object_is_as_large_as_the_peers_was() {
        /// Functions, and bytes of the object, of the first row of the peers' measurement.
        const PEERS: (usize, u64) = (2_000, 569_840);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pair = make(folder.path(), PEERS.0).expect("the assembler runs");
        let bytes = pair.original.metadata().expect("the object").len();
        assert!(bytes.abs_diff(PEERS.1) < PEERS.1 / 20, "{bytes} bytes");
    }
}
