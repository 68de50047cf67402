//! Where a command's JSON goes, and what it tells people then: with `--json -`, standard output
//! holds the JSON alone, and everything else goes to standard error.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::output::{is_standard_output, write_file};
use crate::terminal;

/// Writes `body` as JSON to `target`, the value of `--json`.
///
/// # Errors
///
/// As [`write_file`] or [`terminal::print_whole`].
pub fn write<T: Serialize>(target: &Path, body: &T) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(body)?;
    text.push('\n');
    if is_standard_output(target) {
        terminal::print_whole(&text)
    } else {
        write_file(target, text.as_bytes())
    }
}

/// Tells people what came out: on standard output, unless `--json` gave that to programs.
///
/// # Errors
///
/// As [`terminal::print`].
pub fn tell(json: Option<&Path>, text: &str) -> io::Result<()> {
    if json.is_some_and(is_standard_output) {
        terminal::complain(text)
    } else {
        terminal::print(text)
    }
}
