//! Writes results: files by rename, and JSON to a file or to standard output.

use std::path::Path;

use serde::Serialize;
use xsplice_console::json::Tool;
use xsplice_console::output::Given;

use crate::error::LinkError;

/// Writes `bytes` to `path` by renaming a finished file into place.
///
/// # Errors
/// [`LinkError::Write`]; `path` is left as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), LinkError> {
    xsplice_console::output::write_file(path, bytes).map_err(|source| failed(path, source))
}

/// Makes sure that each of `paths` can be written later; `-` is standard output and always can.
///
/// # Errors
/// [`LinkError::Write`] of the first that cannot.
pub fn check_writable<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), LinkError> {
    let mut files = paths
        .into_iter()
        .filter(|path| !xsplice_console::output::is_standard_output(path));
    files.try_for_each(|path| {
        xsplice_console::output::check_writable(path).map_err(|source| failed(path, source))
    })
}

/// Makes sure that no output would replace an input or another output.
///
/// # Errors
/// [`LinkError::Write`] of the first that would.
pub fn check_apart(outputs: &[Given<'_>], inputs: &[Given<'_>]) -> Result<(), LinkError> {
    xsplice_console::output::check_apart(outputs, inputs)
        .map_err(|(path, source)| failed(&path, source))
}

/// Writes the document of `value` by `tool` to `target`, where `-` is standard output.
///
/// # Errors
/// [`LinkError::Write`].
pub fn write_json<T: Serialize>(target: &Path, tool: Tool, value: &T) -> Result<(), LinkError> {
    xsplice_console::json::write(target, tool, value).map_err(|source| failed(target, source))
}

/// Prints a result for people.
///
/// # Errors
/// [`LinkError::Write`].
pub fn print(text: &str) -> Result<(), LinkError> {
    xsplice_console::terminal::print(text).map_err(|source| failed(Path::new("-"), source))
}

/// Prints the result for people, besides the JSON that goes to `json`.
///
/// # Errors
/// [`LinkError::Write`].
pub fn tell(json: Option<&Path>, text: &str) -> Result<(), LinkError> {
    xsplice_console::json::tell(json, text).map_err(|source| failed(Path::new("-"), source))
}

/// Prints a message for people.
///
/// # Errors
/// [`LinkError::Write`].
pub fn complain(text: &str) -> Result<(), LinkError> {
    xsplice_console::terminal::complain(text).map_err(|source| failed(Path::new("-"), source))
}

fn failed(path: &Path, source: std::io::Error) -> LinkError {
    LinkError::Write {
        path: path.to_owned(),
        source,
    }
}
