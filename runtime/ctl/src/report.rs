//! Output for the operator: the tables of the 2016 tool, or JSON with the same content.

use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Write;
use xsplice_abi::Errno;
use xsplice_console::json::{self, Tool};

use crate::action::Outcome;
use crate::calls::Status;
use crate::error::CtlError;
use crate::list::Entry;

/// Who writes the JSON.
const TOOL: Tool = Tool::new("xsplice-ctl");

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object, nothing else.
    Json,
}

/// Which columns a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Name and state.
    Status,
    /// Name, state and the payload's metadata.
    Metadata,
}

/// Where results go.
pub(crate) struct Report<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) format: Format,
}

#[derive(Serialize)]
struct PayloadJson<'a> {
    name: &'a str,
    state: String,
    rc: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a [String]>,
}

#[derive(Serialize)]
struct ListJson<'a> {
    payloads: Vec<PayloadJson<'a>>,
}

#[derive(Serialize)]
struct StepJson<'a> {
    name: &'a str,
    command: &'a str,
    result: &'static str,
}

#[derive(Serialize)]
struct InfoJson {
    info: Map<String, Value>,
}

#[derive(Serialize)]
struct LinesJson<'a> {
    lines: Vec<&'a str>,
}

#[derive(Serialize)]
struct ErrorJson {
    error: ErrorBody,
}

#[derive(Serialize)]
struct ErrorBody {
    message: String,
    errno: Option<&'static str>,
    number: Option<i32>,
}

impl Report<'_> {
    pub(crate) fn list(&mut self, entries: &[Entry], columns: Columns) -> Result<(), CtlError> {
        if self.format == Format::Json {
            let payloads = entries
                .iter()
                .map(|entry| payload_json(&entry.name, entry.status, Some(&entry.metadata)))
                .collect();
            return self.json(&ListJson { payloads });
        }
        let (head, rule) = match columns {
            Columns::Status => ("", ""),
            Columns::Metadata => ("     | metadata", "+----------"),
        };
        writeln!(
            self.out,
            " ID                                     | status{head}"
        )?;
        writeln!(
            self.out,
            "----------------------------------------+------------{rule}"
        )?;
        for entry in entries {
            let state = state_text(entry.status);
            write!(self.out, "{:<40}| ", entry.name)?;
            match columns {
                Columns::Status => writeln!(self.out, "{state}")?,
                Columns::Metadata => {
                    writeln!(self.out, "{state:<11}| {}", entry.metadata.join(";"))?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn status(&mut self, name: &str, status: Status) -> Result<(), CtlError> {
        match self.format {
            Format::Json => self.json(&payload_json(name, status, None)),
            Format::Text => Ok(writeln!(self.out, "{name}: {}", state_text(status))?),
        }
    }

    /// Lines of `key=value`.
    pub(crate) fn facts(&mut self, text: &str) -> Result<(), CtlError> {
        let facts = text.lines().filter_map(|line| line.split_once('='));
        if self.format == Format::Json {
            let object: Map<String, Value> = facts
                .map(|(key, value)| (key.to_owned(), Value::from(value)))
                .collect();
            return self.json(&InfoJson { info: object });
        }
        for (key, value) in facts {
            writeln!(self.out, "{key:<23}: {value}")?;
        }
        Ok(())
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), CtlError> {
        if self.format == Format::Json {
            let lines = text.lines().collect();
            return self.json(&LinesJson { lines });
        }
        write!(self.out, "{text}")?;
        if !text.is_empty() && !text.ends_with('\n') {
            writeln!(self.out)?;
        }
        Ok(())
    }

    /// Prints what is about to be done, so that the operator knows the reason for a wait.
    pub(crate) fn begin(&mut self, what: &str) -> Result<(), CtlError> {
        if self.format == Format::Text {
            write!(self.out, "{what}: ")?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Prints the result of the step that [`Report::begin`] announced. JSON is one object for each
    /// command, so a step that others follow prints none.
    pub(crate) fn end_step(&mut self, result: Result<Outcome, &CtlError>) -> Result<(), CtlError> {
        if self.format == Format::Text {
            let word = result.map_or("failed", Outcome::word);
            writeln!(self.out, "{word}")?;
        }
        Ok(())
    }

    /// Prints the result of the command's last step.
    pub(crate) fn end(
        &mut self,
        name: &str,
        command: &str,
        result: &Result<Outcome, CtlError>,
    ) -> Result<(), CtlError> {
        match (result, self.format) {
            (Ok(outcome), Format::Json) => self.json(&StepJson {
                name,
                command,
                result: outcome.key(),
            }),
            _ => self.end_step(result.as_ref().copied()),
        }
    }

    /// The error as JSON, for programs; people get it on stderr.
    pub(crate) fn error(&mut self, error: &CtlError) -> Result<(), CtlError> {
        if self.format == Format::Text {
            return Ok(());
        }
        let errno = error.errno();
        self.json(&ErrorJson {
            error: ErrorBody {
                message: error.to_string(),
                errno: errno.and_then(Errno::name),
                number: errno.map(Errno::negated),
            },
        })
    }

    fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CtlError> {
        let text = json::document(TOOL, value)?;
        Ok(self.out.write_all(text.as_bytes())?)
    }
}

fn payload_json<'a>(
    name: &'a str,
    status: Status,
    metadata: Option<&'a [String]>,
) -> PayloadJson<'a> {
    PayloadJson {
        name,
        state: status.state.to_string(),
        rc: status.rc,
        metadata,
    }
}

/// The state, and the last result where it is not success.
fn state_text(status: Status) -> String {
    match Errno::from_return(status.rc) {
        None => status.state.to_string(),
        Some(_) if status.in_progress() => format!("{} (in progress)", status.state),
        Some(errno) => format!("{} (last action: {errno})", status.state),
    }
}
