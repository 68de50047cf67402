//! Opens input files by path, with the file's name in the error.

use std::path::Path;

use xsplice_console::MappedFile;

use crate::error::LinkError;

/// Maps the file at `path`.
///
/// # Errors
/// [`LinkError::Read`] when it cannot be opened or mapped.
pub fn open(path: &Path) -> Result<MappedFile, LinkError> {
    MappedFile::open(path).map_err(|source| failed(path, source))
}

/// As [`open`]; `-` is standard input.
///
/// # Errors
/// As [`open`].
pub fn open_or_standard_input(path: &Path) -> Result<MappedFile, LinkError> {
    MappedFile::open_or_standard_input(path).map_err(|source| failed(path, source))
}

/// Maps the file that an option's value names, `None` when there is no such file: for values that
/// may also mean something else.
///
/// # Errors
/// As [`open`].
pub fn open_named(text: &str) -> Result<Option<MappedFile>, LinkError> {
    let path = Path::new(text);
    path.exists().then(|| open(path)).transpose()
}

fn failed(path: &Path, source: std::io::Error) -> LinkError {
    LinkError::Read {
        path: path.to_owned(),
        source,
    }
}
