//! The common head of all JSON documents, and where they are written. With `--json -`, standard
//! output holds only the JSON, and all other output goes to standard error.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::output::{is_standard_output, write_file};
use crate::terminal;

/// Version of all documents: raised where a key changes its meaning, its type or its name, or
/// goes. Keys may be added without it.
pub const SCHEMA: u32 = 2;

/// Who writes a document.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    command: Option<&'static str>,
}

impl Tool {
    /// The program of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Tool {
        Tool {
            name,
            command: None,
        }
    }

    /// One of its commands, where it has several that write documents of different keys.
    #[must_use]
    pub const fn doing(self, command: &'static str) -> Tool {
        Tool {
            command: Some(command),
            ..self
        }
    }
}

/// A document: who wrote it, then `body`.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    tool: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    #[serde(flatten)]
    body: &'a T,
}

/// The whole document of `body`, a structure or map, with a line end.
///
/// # Errors
///
/// `body` cannot be expressed in JSON.
pub fn document<T: Serialize>(tool: Tool, body: &T) -> serde_json::Result<String> {
    let document = Document {
        schema: SCHEMA,
        tool: tool.name,
        // All commands are of one version.
        version: env!("CARGO_PKG_VERSION"),
        command: tool.command,
        body,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

/// Writes the document of `body` to `target`, the value of `--json`.
///
/// # Errors
///
/// As [`document`], [`write_file`] or [`terminal::print_whole`].
pub fn write<T: Serialize>(target: &Path, tool: Tool, body: &T) -> io::Result<()> {
    let text = document(tool, body)?;
    if is_standard_output(target) {
        terminal::print_whole(&text)
    } else {
        write_file(target, text.as_bytes())
    }
}

/// Prints a result for people: on standard output, unless `--json -` uses that.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Tool, document};

    #[test]
    fn a_document_begins_with_who_wrote_it() {
        let body = BTreeMap::from([("name", "value")]);
        let version = env!("CARGO_PKG_VERSION");
        let plain = document(Tool::new("one"), &body).expect("a map of texts");
        assert_eq!(
            plain,
            format!(
                "{{\n  \"schema\": 2,\n  \"tool\": \"one\",\n  \"version\": \"{version}\",\n  \
                 \"name\": \"value\"\n}}\n"
            )
        );
        let of_many = document(Tool::new("one").doing("that"), &body).expect("a map of texts");
        assert!(
            of_many.contains("\"command\": \"that\",\n  \"name\""),
            "{of_many}"
        );
    }
}
