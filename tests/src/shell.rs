//! Runs commands the way a reader would type them, from the root of the workspace.
//!
//! The demo prints each with its output, so that it can be repeated; the tests want the same
//! commands in silence, and everything about the one that failed.

use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether commands and their output are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// They are.
    Shown,
    /// Only in an error.
    Silent,
}

/// Runs commands.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Where they run.
    pub folder: PathBuf,
    /// Whether they are shown.
    pub echo: Echo,
    /// What they find in their environment besides what this process has.
    pub environment: Vec<(String, OsString)>,
}

/// A command to be run.
#[derive(Clone, Debug)]
pub struct Line {
    program: OsString,
    arguments: Vec<OsString>,
    input: Option<PathBuf>,
    /// What is printed, where that is not the program and its arguments.
    shown: Option<String>,
}

impl Line {
    /// `program` without arguments.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Line {
        Line {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            input: None,
            shown: None,
        }
    }

    /// A line for `sh`: pipes and the like.
    #[must_use]
    pub fn script(text: &str) -> Line {
        Line {
            shown: Some(text.to_owned()),
            ..Line::new("sh").arg("-c").arg(text)
        }
    }

    /// One argument more.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Line {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// `key=value` as one argument more.
    #[must_use]
    pub fn variable(self, key: &str, value: &Path) -> Line {
        let mut word = OsString::from(format!("{key}="));
        word.push(value);
        self.arg(word)
    }

    /// Reads its input from `path`.
    #[must_use]
    pub fn input(mut self, path: impl Into<PathBuf>) -> Line {
        self.input = Some(path.into());
        self
    }

    /// As one would type it.
    #[must_use]
    pub fn text(&self) -> String {
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        let mut text = quoted(&self.program);
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(&quoted(argument));
        }
        if let Some(input) = &self.input {
            text.push_str(" < ");
            text.push_str(&quoted(input.as_os_str()));
        }
        text
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

impl Shell {
    /// Runs commands at the root of the workspace.
    #[must_use]
    pub fn at_root(echo: Echo) -> Shell {
        Shell {
            folder: crate::workspace(),
            echo,
            environment: Vec::new(),
        }
    }

    /// Sets `variable` for the commands that follow.
    pub fn export(&mut self, variable: &str, value: &Path) {
        if self.echo == Echo::Shown {
            println!("$ export {variable}={}", quoted(value.as_os_str()));
        }
        let value = value.as_os_str().to_owned();
        self.environment.push((variable.to_owned(), value));
    }

    /// Runs `line` and expects success; gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started, or fails, with all that it said unless that has been shown.
    pub fn run(&self, line: &Line) -> Result<String> {
        let done = self.try_run(line)?;
        if done.status != Some(0) {
            let status = done
                .status
                .map_or_else(|| "a signal".to_owned(), |status| status.to_string());
            let said = match self.echo {
                Echo::Shown => String::new(),
                Echo::Silent => format!("\n{}{}", done.out, done.err),
            };
            bail!("{}: ended with {status}{said}", line.text());
        }
        Ok(done.out)
    }

    /// Runs `line`, however it ends.
    ///
    /// # Errors
    /// When it cannot be started, or prints what is not text.
    pub fn try_run(&self, line: &Line) -> Result<Done> {
        if self.echo == Echo::Shown {
            println!("$ {}", line.text());
        }
        let input = match &line.input {
            Some(path) => {
                let path = self.folder.join(path);
                File::open(&path)
                    .with_context(|| path.display().to_string())?
                    .into()
            }
            None => Stdio::null(),
        };
        // A program named with a folder is meant from here, not from where this process runs.
        let program = if Path::new(&line.program).components().count() > 1 {
            self.folder.join(&line.program).into_os_string()
        } else {
            line.program.clone()
        };
        let output = Command::new(program)
            .args(&line.arguments)
            .current_dir(&self.folder)
            // What make and others take for the folder that they were started in.
            .env("PWD", &self.folder)
            .envs(self.environment.iter().cloned())
            .stdin(input)
            .output()
            .with_context(|| format!("{}: cannot be started", line.text()))?;
        let done = Done {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).context("the output is not text")?,
            err: String::from_utf8(output.stderr).context("the messages are not text")?,
        };
        if self.echo == Echo::Shown {
            print!("{}{}", done.out, done.err);
        }
        Ok(done)
    }
}

/// A word for the shell, in quotes where it needs them.
fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Echo, Line, Shell};
    use std::path::Path;

    #[test]
    fn a_line_reads_as_one_would_type_it() {
        let line = Line::new("sh")
            .arg("-c")
            .arg("it's")
            .arg("")
            .variable("O", Path::new("out/a b"))
            .input("fix.patch");
        assert_eq!(line.text(), r"sh -c 'it'\''s' '' 'O=out/a b' < fix.patch");
    }

    #[test]
    fn failure_is_an_error_with_all_that_was_said() {
        let shell = Shell::at_root(Echo::Silent);
        let line = Line::new("sh")
            .arg("-c")
            .arg("echo out; echo err >&2; exit 3");
        let error = shell.run(&line).unwrap_err().to_string();
        assert!(error.ends_with("ended with 3\nout\nerr\n"), "{error}");
        assert_eq!(shell.try_run(&line).unwrap().status, Some(3));
        assert!(shell.run(&Line::new("/nonexistent/program")).is_err());
        assert_eq!(shell.run(&Line::script("echo a | tr a b")).unwrap(), "b\n");
    }
}
