//! Runs the build command in a copy, shows its output and logs it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Pid;

use super::Fault;
use super::interrupt::Interrupt;
use crate::command::progress::Visibility;

/// How many of the last lines a failure shows.
const LINES_SHOWN: usize = 20;

/// One build.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// `original` or `patched`.
    pub name: &'static str,
    /// For `sh`.
    pub command: &'a str,
    /// Where it runs.
    pub folder: PathBuf,
    /// The log file.
    pub log: PathBuf,
    /// The time that the build is given (`SOURCE_DATE_EPOCH`), in seconds since 1970: the same for
    /// both builds.
    pub source_date_seconds: i64,
}

impl Build<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// When it fails, with its last lines, or was interrupted.
    pub(crate) fn run(
        &self,
        interrupt: &Interrupt,
        visibility: Visibility,
        tell: &dyn Fn(&str),
    ) -> Result<()> {
        let (name, command) = (self.name, self.command);
        tell(&format!("{name}: {command}\n"));
        let start = Instant::now();
        let bar = match visibility {
            Visibility::Auto => ProgressBar::new_spinner(),
            Visibility::Hidden => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        let outcome = self.follow(interrupt, &bar);
        bar.finish_and_clear();
        let last = outcome?;
        if let Some((status, last)) = last {
            let mut message = format!("the {name} source does not build: `{command}` {status}");
            if last.is_empty() {
                message.push_str(", and said nothing");
            } else {
                message.push_str("; its last lines:");
            }
            for line in last {
                message.push_str("\n  ");
                message.push_str(&line);
            }
            let log = self.log.clone();
            return Err(Fault::NotBuilt { message, log }.into());
        }
        tell(&format!(
            "{name}: built in {} s\n",
            start.elapsed().as_secs()
        ));
        Ok(())
    }

    /// Waits for the end; of a failure, how it ended and the last lines.
    fn follow(
        &self,
        interrupt: &Interrupt,
        bar: &ProgressBar,
    ) -> Result<Option<(String, VecDeque<String>)>> {
        interrupt.check()?;
        let mut log = File::create(&self.log)
            .with_context(|| format!("{}: cannot be written", self.log.display()))?;
        let (reader, writer) = std::io::pipe().context("no pipe for the build's output")?;
        let mut child = {
            let mut command = Command::new("sh");
            command
                .args(["-c", self.command])
                .current_dir(&self.folder)
                .stdin(Stdio::null())
                .stdout(
                    writer
                        .try_clone()
                        .context("no pipe for the build's output")?,
                )
                .stderr(writer)
                // A group of its own can be ended as a whole.
                .process_group(0);
            if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
                command.env("SOURCE_DATE_EPOCH", self.source_date_seconds.to_string());
            }
            // The command holds ends of the pipe, which must close for the output to end.
            command.spawn().context("sh cannot be started")?
        };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        interrupt.set_group(group);
        let mut last = VecDeque::with_capacity(LINES_SHOWN);
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes)? > 0 {
            log.write_all(&bytes)?;
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bar.set_message(line.clone());
            if last.len() == LINES_SHOWN {
                last.pop_front();
            }
            last.push_back(line);
            bytes.clear();
        }
        let status = child.wait();
        interrupt.set_group(None);
        let status = status.context("the build cannot be waited for")?;
        interrupt.check()?;
        if status.success() {
            return Ok(None);
        }
        let how = match status.code() {
            Some(code) => format!("ended with {code}"),
            None => "was ended by a signal".to_owned(),
        };
        Ok(Some((how, last)))
    }
}
