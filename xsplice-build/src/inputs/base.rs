//! Finds the base: the one linked image of the original tree that can be patched.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xsplice_console::MappedFile;
use xsplice_link::Base;
use xsplice_link::command::input;

/// Maps the base: `given`, else the only one of the `images` of the original tree that has
/// symbols and a build-id and is no program of the build machine.
///
/// # Errors
///
/// `given` cannot be mapped; or none or several of `images` would do, which are then listed.
pub(crate) fn find(
    given: Option<&Path>,
    images: &[PathBuf],
    original: &Path,
) -> Result<MappedFile> {
    if let Some(path) = given {
        return Ok(input::open(path)?);
    }
    let mut found = Vec::new();
    let mut near_misses = Vec::new();
    for path in images {
        let file = input::open(path)?;
        match Base::parse(&path.display().to_string(), &file) {
            Ok(base) if base.is_hosted_program() => {}
            Ok(_) => found.push(file),
            Err(error) => near_misses.push(error.to_string()),
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let mut message = format!(
                "{}: holds no linked image with symbols and a build-id; name the image that runs \
                 with --base (for Xen: xen-syms)",
                original.display()
            );
            for miss in near_misses {
                message.push_str("\n  ");
                message.push_str(&miss);
            }
            bail!(message)
        }
        _ => {
            let mut message = format!(
                "{}: holds {} linked images; name the one that runs with --base:",
                original.display(),
                found.len()
            );
            for file in found {
                message.push_str(&format!("\n  {}", file.path().display()));
            }
            bail!(message)
        }
    }
}
