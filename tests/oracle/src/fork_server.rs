//! Compilers, linkers and commands that are started once and fork for each use: what they do is
//! what they would do by themselves, without the time that their start takes (most of it, for a
//! program of a few lines).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

const SOURCE: &str = include_str!("fork_server.c");
const LIBRARY: &str = "fork_server.so";
/// Written by the server into the folder in which a program works.
const TOLD: &str = "told";

/// One program that stands in front of its `main`.
#[derive(Debug)]
struct Server(Child);

impl Server {
    fn start(program: &Path, library: &Path) -> Result<Server> {
        let child = Command::new(program)
            .env("LD_PRELOAD", library)
            .env("LD_BIND_NOW", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Server(child))
    }

    fn ask(&mut self, folder: &Path, words: &[&str]) -> Result<ExitStatus> {
        let folder = folder.to_str().context("a folder whose name is text")?;
        let mut request = Vec::new();
        for word in [folder].iter().chain(words) {
            ensure!(!word.is_empty(), "an empty word in {words:?}");
            request.extend_from_slice(word.as_bytes());
            request.push(0);
        }
        let size = u32::try_from(request.len())?;
        let input = self.0.stdin.as_mut().context("a pipe to the server")?;
        input.write_all(&size.to_ne_bytes())?;
        input.write_all(&request)?;
        let mut status = [0; 4];
        let output = self.0.stdout.as_mut().context("a pipe from the server")?;
        output
            .read_exact(&mut status)
            .with_context(|| format!("{words:?}: the server ended"))?;
        Ok(ExitStatus::from_raw(i32::from_ne_bytes(status)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server without input ends by itself.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a use of a program came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed, results and messages.
    pub told: String,
}

/// Programs by path, started when first used.
#[derive(Debug)]
pub(crate) struct Programs {
    folder: TempDir,
    servers: RefCell<BTreeMap<PathBuf, Server>>,
}

impl Programs {
    /// Compiles what makes servers of them.
    pub(crate) fn new() -> Result<Programs> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("fork_server.c"), SOURCE)?;
        let compiled = Command::new("gcc")
            .args(["-O1", "-w", "-shared", "-fPIC", "-o", LIBRARY])
            .args(["fork_server.c", "-ldl"])
            .current_dir(folder.path())
            .output()
            .context("gcc")?;
        ensure!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        Ok(Programs {
            folder,
            servers: RefCell::default(),
        })
    }

    /// Runs a program in a folder; `words` do not begin with its name.
    ///
    /// # Errors
    /// When it cannot be started. Its own failure is the caller's to judge.
    pub(crate) fn run(&self, program: &Path, folder: &Path, words: &[&str]) -> Result<Ended> {
        let mut servers = self.servers.borrow_mut();
        if !servers.contains_key(program) {
            let server = Server::start(program, &self.folder.path().join(LIBRARY))?;
            servers.insert(program.to_owned(), server);
        }
        let server = servers.get_mut(program).context("was just started")?;
        let name = program.to_str().context("a program whose name is text")?;
        let mut all = vec![name];
        all.extend(words);
        let status = server.ask(folder, &all)?;
        let told = fs::read(folder.join(TOLD)).unwrap_or_default();
        Ok(Ended {
            status,
            told: String::from_utf8_lossy(&told).into_owned(),
        })
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    /// Also when it fails, with what it said.
    pub(crate) fn done(&self, program: &Path, folder: &Path, words: &[&str]) -> Result<()> {
        let ended = self.run(program, folder, words)?;
        if !ended.status.success() {
            bail!("{} {words:?}: {}", program.display(), ended.told.trim());
        }
        Ok(())
    }
}
