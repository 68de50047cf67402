//! A folder in which a program's two versions are compiled and linked, and their functions called.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::matrix::{Line, Link};
use crate::program::{FILES, Program};

const ADDRESS: &str = "0x10000000";
const RUNNER: &str = include_str!("runner.c");

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

/// The compiled runner.
#[derive(Debug)]
pub(crate) struct Runner(TempDir);

impl Runner {
    /// Compiles it.
    pub(crate) fn new() -> Result<Runner> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("runner.c"), RUNNER)?;
        run(Command::new("gcc")
            .args(["-O1", "-w", "-o", "runner", "runner.c"])
            .current_dir(folder.path()))?;
        Ok(Runner(folder))
    }

    /// What the calls answer in an image, one a line; with a payload, where there is one, and what
    /// its own sections begin with.
    pub(crate) fn answers(
        &self,
        image: &Path,
        payload: Option<(&Path, &str)>,
        calls: &str,
    ) -> Result<String> {
        let mut child = Command::new(self.0.path().join("runner"))
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
        Ok(told + &String::from_utf8_lossy(&output.stderr))
    }
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Workshop {
    folder: TempDir,
    line: Line,
}

impl Workshop {
    pub(crate) fn new(line: Line) -> Result<Workshop> {
        // For looking into one: XSPLICE_KEEP leaves the folder behind.
        let folder = tempfile::Builder::new()
            .prefix("oracle-")
            .disable_cleanup(std::env::var_os("XSPLICE_KEEP").is_some())
            .tempdir()?;
        fs::write(folder.path().join("keep.ld"), KEEP)?;
        Ok(Workshop { folder, line })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles a program to a tree.
    pub(crate) fn compile(&self, tree: &str, program: &Program) -> Result<()> {
        // Both versions are compiled in a folder of one name.
        let source = self.path().join("source");
        let objects = self.path().join(tree);
        fs::create_dir_all(&source)?;
        fs::create_dir_all(&objects)?;
        for (index, name) in FILES.iter().enumerate() {
            fs::write(source.join(name), program.text(index))?;
            let mut words = self.line.compile.split(' ');
            let compiler = words.next().context("a line names its compiler")?;
            let object = objects.join(name.replace(".c", ".o"));
            run(Command::new(compiler)
                .args(words)
                .args(["-fwrapv", "-w", "-c", name, "-o"])
                .arg(object)
                .current_dir(&source))?;
        }
        Ok(())
    }

    /// Links a tree.
    pub(crate) fn link(&self, tree: &str, image: &str, keep: &[String]) -> Result<PathBuf> {
        let objects = FILES.map(|name| format!("{tree}/{}", name.replace(".c", ".o")));
        let is_lld = matches!(self.line.link, Link::Lld | Link::LldGc);
        let mut linker = Command::new(if is_lld { "ld.lld" } else { "ld" });
        linker.current_dir(self.path()).args([
            "-nostdlib",
            "--build-id=sha1",
            "-e",
            "0",
            "-z",
            "noexecstack",
        ]);
        match is_lld {
            true => linker.args(["--image-base", ADDRESS]),
            false => linker.arg(format!("-Ttext-segment={ADDRESS}")),
        };
        match self.line.link {
            Link::LdPie => linker.args(["-pie", "--no-dynamic-linker", "-z", "notext"]),
            _ => linker.arg("-static"),
        };
        if matches!(self.line.link, Link::LdGc | Link::LldGc) {
            linker.args(["--gc-sections", "-z", "nostart-stop-gc", "-T", "keep.ld"]);
            for name in keep {
                linker.args(["-u", name]);
            }
        }
        if self.line.link == Link::LdMerged {
            let merged = format!("{tree}-merged.o");
            run(Command::new("ld")
                .args(["-r", "-o", &merged])
                .args(&objects)
                .current_dir(self.path()))?;
            linker.arg(merged);
        } else {
            linker.args(&objects);
        }
        run(linker.args(["-o", image]))?;
        Ok(self.path().join(image))
    }
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
