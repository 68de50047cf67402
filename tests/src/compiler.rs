//! Compiles a case's two trees and links its base with the compilers of this machine.
//!
//! The committed objects are what the golden tests read, because compilers drift; this module
//! makes them anew on request, and builds the further compiler lines of a case (its matrix) and
//! the trees that the host loader test runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::case::{self, BASE, Case, FileSymbols, Side};
use crate::second_machine;

/// Makes `original/`, `patched/` and, if the case links one, the base below `target`.
///
/// # Errors
/// When the fix does not apply, or a compiler or the linker fails.
pub fn build(case: &Case, target: &Path) -> Result<()> {
    build_with(case, target, |side, object| {
        case.line(side, object).to_owned()
    })
}

/// Like [`build`], every C and assembler file compiled by `line`.
///
/// # Errors
/// As for [`build`].
pub fn build_line(case: &Case, target: &Path, line: &str) -> Result<()> {
    build_with(case, target, |_, _| line.to_owned())
}

fn build_with(case: &Case, target: &Path, line: impl Fn(Side, &str) -> String) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let with_directories = case.description.file_symbols == FileSymbols::WithDirectories;
    let compile = |source: &Path, patch: Option<&str>, tree: &Path, side: Side| -> Result<()> {
        case::copy_tree(&case.folder.join("source"), source)?;
        if let Some(patch) = patch
            .map(|name| case.folder.join(name))
            .filter(|path| path.exists())
        {
            run(Command::new("patch")
                .args(["-s", "-p1", "--fuzz=0", "-i"])
                .arg(&patch)
                .current_dir(source))?;
        }
        if tree.exists() {
            fs::remove_dir_all(tree)?;
        }
        compile_tree(source, tree, with_directories, |object| line(side, object))
            .with_context(|| format!("{} ({})", case.name, side.folder()))
    };
    for (side, patch) in [(Side::Original, None), (Side::Patched, Some("fix.patch"))] {
        let source = scratch.path().join(side.folder());
        compile(&source, patch, &target.join(side.folder()), side)?;
    }
    if let Some(flags) = &case.description.link {
        // A case about a base that does not belong to the original tree brings its own fix to it.
        let objects = if case.folder.join("base.patch").exists() {
            let objects = scratch.path().join("base-objects");
            compile(
                &scratch.path().join("base-source"),
                Some("base.patch"),
                &objects,
                Side::Original,
            )?;
            objects
        } else {
            target.join(Side::Original.folder())
        };
        // Code that takes 32-bit absolute addresses reaches payloads of a high base alone.
        let flags = if line(Side::Original, "").contains("-mcmodel=kernel") {
            "-Ttext-segment=0xffffffff81000000"
        } else {
            flags
        };
        let prefix = prefix(&line(Side::Original, ""));
        link_with(prefix, &objects, &target.join(BASE), flags)
            .with_context(|| case.name.clone())?;
    }
    Ok(())
}

/// Compiles every `.c`, `.s` and `.S` file below `source` to an object of the same path below
/// `tree`, by the line that `line` gives for the object's path.
fn compile_tree(
    source: &Path,
    tree: &Path,
    with_directories: bool,
    line: impl Fn(&str) -> String,
) -> Result<()> {
    let mut compiled = 0;
    for file in case::files(source)? {
        let Some(stem) = [".c", ".s", ".S"]
            .iter()
            .find_map(|end| file.strip_suffix(end))
        else {
            continue;
        };
        let object = format!("{stem}.o");
        let output = tree.join(&object);
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder)?;
        }
        compile(source, &file, &output, &line(&object))?;
        if with_directories {
            let bare = file.rsplit('/').next().unwrap_or(&file);
            let objcopy = format!("{}objcopy", prefix(&line(&object)));
            run(Command::new(objcopy)
                .arg(format!("--redefine-sym={bare}={file}"))
                .arg(&output))?;
        }
        compiled += 1;
    }
    ensure!(compiled > 0, "{}: nothing to compile", source.display());
    Ok(())
}

/// Compiles `file`, a path inside `source`, to `output` by the compiler line `line`. The folder's
/// own name leaves no trace in the object.
///
/// # Errors
/// When the compiler is not there or fails.
pub fn compile(source: &Path, file: &str, output: &Path, line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let compiler = words.next().context("the compiler line is empty")?;
    run(Command::new(compiler)
        .args(words)
        .arg(format!("-ffile-prefix-map={}=.", source.display()))
        .args(["-c", file, "-o"])
        .arg(output)
        .current_dir(source))
}

/// Links the objects below `tree`, in the order of their paths, to a static image with a
/// build-id at `output`.
///
/// # Errors
/// When the linker fails.
pub fn link(tree: &Path, output: &Path, flags: &str) -> Result<()> {
    link_with("", tree, output, flags)
}

/// What the names of the binary tools begin with that go with a compiler line.
fn prefix(line: &str) -> &'static str {
    if second_machine::compiles_for_it(line) {
        "aarch64-linux-gnu-"
    } else {
        ""
    }
}

fn link_with(prefix: &str, tree: &Path, output: &Path, flags: &str) -> Result<()> {
    let objects = case::files(tree)?;
    run(Command::new(format!("{prefix}ld"))
        .args(["-static", "-nostdlib", "--build-id=sha1", "-e", "0"])
        .args([
            "-z",
            "noexecstack",
            "-z",
            "max-page-size=4096",
            "-z",
            "noseparate-code",
        ])
        .args(flags.split_whitespace())
        .arg("-o")
        .arg(output)
        .args(&objects)
        .current_dir(tree))
}

/// Whether `compiler` can be run here.
#[must_use]
pub fn exists(compiler: &str) -> bool {
    Command::new(compiler)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("{command:?}: not started"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
