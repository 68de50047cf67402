//! A folder in which a program's two versions are compiled and linked, and their functions called.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::compilers::Compilers;
use crate::fork_server::{Ended, Programs};
use crate::machine::Machine;
use crate::matrix::{Line, Link};
use crate::program::{FILES, Program};

/// Names of the two trees.
pub(crate) const ORIGINAL: &str = "original";
pub(crate) const PATCHED: &str = "patched";

const ADDRESS: &str = "0x10000000";
const RUNNER: &str = include_str!("runner/runner.c");
const RUNNER_ASKS: &str = include_str!("runner/machine.h");

/// Keeps tables that nothing refers to when the linker drops unused sections. Every program has
/// code to place them behind; not every one has constants.
const KEEP: &str = "SECTIONS {
  .ex_table : { KEEP(*(.ex_table)) }
  .bug_frames.1 : { KEEP(*(.bug_frames.1)) }
  .altinstructions : { KEEP(*(.altinstructions)) }
  .altinstr_replacement : { KEEP(*(.altinstr_replacement)) }
  .fixup : { KEEP(*(.fixup)) }
} INSERT AFTER .text;
";

/// Runners, compilers, linkers and commands, ready for use.
#[derive(Debug)]
pub(crate) struct Bench {
    machine: Machine,
    folder: TempDir,
    programs: Programs,
    compilers: Compilers,
}

impl Bench {
    /// Compiles what is needed.
    pub(crate) fn new(machine: Machine) -> Result<Bench> {
        machine.ensure_is_here()?;
        let folder = tempfile::tempdir()?;
        let platform = machine.platform();
        for (name, text) in [
            ("runner.c", RUNNER),
            ("machine.h", RUNNER_ASKS),
            ("machine.c", platform.runner_source),
        ] {
            fs::write(folder.path().join(name), text)?;
        }
        let [compiler, words @ ..] = platform.runner_compiler else {
            bail!("a command has a name");
        };
        run(Command::new(compiler)
            .args(words)
            .args(["-o", "runner", "runner.c", "machine.c"])
            .current_dir(folder.path()))?;
        Ok(Bench {
            machine,
            folder,
            programs: Programs::new()?,
            compilers: Compilers::default(),
        })
    }

    /// The machine that it is for.
    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    /// The command that runs the runner.
    fn runner(&self) -> Command {
        let runner = self.folder.path().join("runner");
        match self.machine.platform().emulator {
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg(runner);
                command
            }
            None => Command::new(runner),
        }
    }

    /// Runs a command of xsplice in a folder.
    pub(crate) fn command(&self, command: &Path, folder: &Path, words: &[&str]) -> Result<Ended> {
        self.programs.run(command, folder, words)
    }

    /// What the calls answer in an image, one a line; with a payload, where there is one, and what
    /// its own sections begin with.
    pub(crate) fn answers(
        &self,
        image: &Path,
        payload: Option<(&Path, &str)>,
        calls: &str,
    ) -> Result<String> {
        let mut child = self
            .runner()
            .arg(image)
            .arg(payload.map_or(Path::new("-"), |(path, _)| path))
            .arg(payload.map_or("-", |(_, prefix)| prefix))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("a pipe")?;
        input.write_all(calls.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        // What goes wrong in a round is an answer; this is the runner itself.
        ensure!(output.status.success(), "runner: {told}");
        Ok(told + &String::from_utf8_lossy(&output.stderr))
    }
}

/// Where folders of programs are made: in memory, where the system has such a place.
const IN_MEMORY: &str = "/dev/shm";

/// The folder.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    bench: &'a Bench,
    folder: TempDir,
    line: Line,
}

impl Workshop<'_> {
    pub(crate) fn new(bench: &Bench, line: Line) -> Result<Workshop<'_>> {
        // For looking into one: XSPLICE_KEEP names a place where the folder stays.
        let kept = std::env::var_os("XSPLICE_KEEP");
        let mut builder = tempfile::Builder::new();
        builder.prefix("oracle-").disable_cleanup(kept.is_some());
        let place = kept.map_or_else(|| PathBuf::from(IN_MEMORY), PathBuf::from);
        let folder = match builder.tempdir_in(place) {
            Ok(folder) => folder,
            Err(_) => builder.tempdir()?,
        };
        fs::write(folder.path().join("keep.ld"), KEEP)?;
        Ok(Workshop {
            bench,
            folder,
            line,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles both versions, each to a tree of its own; a file that is equal in both once.
    pub(crate) fn compile(&self, original: &Program, patched: &Program) -> Result<()> {
        // Both versions are compiled in a folder of one name.
        let source = self.path().join("source");
        for folder in [
            &source,
            &self.path().join(ORIGINAL),
            &self.path().join(PATCHED),
        ] {
            fs::create_dir_all(folder)?;
        }
        for (index, name) in FILES.iter().enumerate() {
            let object = object_of(name);
            let texts = [original.text(index), patched.text(index)];
            for (tree, text) in [ORIGINAL, PATCHED].into_iter().zip(&texts) {
                if tree == PATCHED && texts[0] == texts[1] {
                    let compiled = self.path().join(ORIGINAL).join(&object);
                    fs::copy(compiled, self.path().join(tree).join(&object))?;
                    continue;
                }
                fs::write(source.join(name), text)?;
                let compilers = &self.bench.compilers;
                let names = [*name, object.as_str()];
                compilers.compile(&self.bench.programs, self.line.compile, &source, names)?;
                fs::rename(source.join(&object), self.path().join(tree).join(&object))?;
            }
        }
        Ok(())
    }

    /// Links a tree.
    pub(crate) fn link(&self, tree: &str, image: &str, keep: &[String]) -> Result<PathBuf> {
        let objects = FILES.map(|name| format!("{tree}/{}", object_of(name)));
        let objects = objects.iter().map(String::as_str);
        let is_lld = matches!(self.line.link, Link::Lld | Link::LldGc);
        let ld = self.bench.machine.platform().ld;
        let linker = Path::new(if is_lld { "ld.lld" } else { ld });
        let mut words = vec![
            "-nostdlib",
            "--build-id=sha1",
            "-e",
            "0",
            "-z",
            "noexecstack",
        ];
        let at = format!("-Ttext-segment={ADDRESS}");
        match is_lld {
            true => words.extend(["--threads=1", "--image-base", ADDRESS]),
            false => words.push(&at),
        }
        match self.line.link {
            Link::LdPie => words.extend(["-pie", "--no-dynamic-linker", "-z", "notext"]),
            Link::LdErratum => words.extend(["-static", "--fix-cortex-a53-843419"]),
            _ => words.push("-static"),
        }
        if matches!(self.line.link, Link::LdGc | Link::LldGc) {
            words.extend(["--gc-sections", "-z", "nostart-stop-gc", "-T", "keep.ld"]);
            for name in keep {
                words.extend(["-u", name]);
            }
        }
        let merged = format!("{tree}-merged.o");
        if self.line.link == Link::LdMerged {
            let merge = ["-r", "-o", &merged]
                .into_iter()
                .chain(objects)
                .collect::<Vec<_>>();
            self.bench.programs.done(linker, self.path(), &merge)?;
            words.push(&merged);
        } else {
            words.extend(objects);
        }
        words.extend(["-o", image]);
        self.bench.programs.done(linker, self.path(), &words)?;
        Ok(self.path().join(image))
    }
}

fn object_of(name: &str) -> String {
    name.replace(".c", ".o")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
