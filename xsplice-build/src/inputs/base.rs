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

/// Says on the command line that there is no image of the patched build to look at.
pub(crate) const NO_IMAGE: &str = "none";

/// Maps the image that was linked from the patched tree: `given`; else the one that stands where
/// the base does in the original tree; else the only one among the `others` of the patched tree, or
/// the only one that has the base's name. `None` when there is none, or it cannot be told which.
///
/// # Errors
///
/// `given` cannot be mapped, or is no image.
pub(crate) fn find_patched(
    given: Option<&Path>,
    others: &[PathBuf],
    base: &Path,
    (original, patched): (&Path, &Path),
) -> Result<Option<MappedFile>> {
    if let Some(path) = given {
        if path == Path::new(NO_IMAGE) {
            return Ok(None);
        }
        let file = input::open(path)?;
        Base::parse(&path.display().to_string(), &file)?;
        return Ok(Some(file));
    }
    let facing = base.strip_prefix(original).map(|path| patched.join(path));
    let facing = facing.ok().filter(|path| path.is_file());
    if let Some(file) = facing.and_then(|path| image(&path)) {
        return Ok(Some(file));
    }
    let images = others.iter();
    let mut found: Vec<MappedFile> = images.filter_map(|path| image(path)).collect();
    if found.len() > 1 {
        found.retain(|file| file.path().file_name() == base.file_name());
    }
    Ok(match found.len() {
        1 => found.pop(),
        _ => None,
    })
}

/// The file, if it is an image that could be patched.
fn image(path: &Path) -> Option<MappedFile> {
    let file = input::open(path).ok()?;
    let is_image =
        Base::parse(&path.display().to_string(), &file).is_ok_and(|base| !base.is_hosted_program());
    is_image.then_some(file)
}
