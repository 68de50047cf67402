//! Trees as a build with debug information leaves them: merged objects beside those that they were
//! merged from, and a patch that is followed through the line tables.
//!
//! Debug information is nearly all of such a tree, and what is read of it decides what a run costs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::trees::{IMAGE, TreePair};
use super::xen_like::{CHANGED_OBJECT, FOLDERS, LINE, OBJECTS, Source, compile_all, source, write};
use crate::case;
use crate::compiler::{compile, link};
use crate::workspace;

/// Debug information of types that a header declares and nobody uses is kept: an object of a real
/// tree includes hundreds of headers.
const DEBUG: &str = "-g -fno-eliminate-unused-debug-types";
/// Structures of the header that all objects include.
const TYPES: usize = 400;
/// Members of each.
const MEMBERS: usize = 8;
/// How many objects have one that uses the structure that grows.
const USERS_EACH: usize = 3;

/// What a run over a pair may cost.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Outside the kernel, all threads.
    pub user: Duration,
    /// Of memory.
    pub peak_bytes: u64,
}

/// One function that changed.
const ONE_FUNCTION: Allowed = Allowed {
    user: Duration::from_millis(250),
    peak_bytes: 150 << 20,
};
/// A layout that ripples through more than a hundred objects.
const RIPPLE: Allowed = Allowed {
    user: Duration::from_secs(1),
    peak_bytes: 250 << 20,
};

/// Two trees, the patch between them, and the budget.
#[derive(Clone, Debug)]
pub struct DebugPair {
    /// The trees.
    pub trees: TreePair,
    /// The source patch.
    pub patch: PathBuf,
    /// What a run may cost.
    pub allowed: Allowed,
}

/// The real Xen's, where `make xen` has left some below `cache`.
#[must_use]
pub fn of_xen(cache: &Path) -> Vec<DebugPair> {
    let pair = |change: &str, what: &str, allowed| DebugPair {
        trees: TreePair {
            name: format!("Xen -g, {what}"),
            original: cache.join("trees/original-g"),
            patched: cache.join("trees").join(format!("{change}-g")),
        },
        patch: workspace().join(format!("fixtures/xen/changes/{change}.patch")),
        allowed,
    };
    let mut pairs = vec![
        pair("minor-version", "one function", ONE_FUNCTION),
        pair("wide-structure", "a layout that ripples", RIPPLE),
    ];
    pairs.retain(|pair| pair.trees.base().is_file() && pair.trees.patched.is_dir());
    pairs
}

/// Makes the generated ones below `folder`, or finds them there.
///
/// # Errors
/// When a compiler or linker is not there or fails, or the disk is full.
pub fn make(folder: &Path) -> Result<Vec<DebugPair>> {
    let pair = |name: &str, what: &str, allowed| DebugPair {
        trees: TreePair {
            name: format!("generated -g, {what}"),
            original: folder.join("original"),
            patched: folder.join(name),
        },
        patch: folder.join(format!("{name}.patch")),
        allowed,
    };
    let one = pair("one", "one function", ONE_FUNCTION);
    let ripple = pair("ripple", "a layout that ripples", RIPPLE);
    let done = folder.join("done");
    if done.is_file() {
        return Ok(vec![one, ripple]);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let tree = folder.join("source");
    case::copy_tree(
        &workspace().join("fixtures/target/include"),
        &tree.join("include"),
    )?;
    let header = tree.join("include/types.h");
    write(&header, &types(""))?;
    let line = format!("{LINE} {DEBUG} -include include/types.h");
    let sources: Vec<Source> = (0..OBJECTS).map(|index| with_user(index, "")).collect();
    for one in &sources {
        write(&tree.join(format!("{}.c", one.stem)), &one.text)?;
    }
    let original = &one.trees.original;
    compile_all(&tree, original, &sources, &line)?;
    let image = folder.join(IMAGE);
    link(original, &image, "")?;
    fs::rename(&image, one.trees.base()).context("the base cannot be put into its tree")?;

    // A changed function: one object.
    case::copy_tree(original, &one.trees.patched)?;
    let file = format!("{}.c", sources[CHANGED_OBJECT].stem);
    let fixed = with_user(CHANGED_OBJECT, "a ^= 0x5a5a;").text;
    let text = &sources[CHANGED_OBJECT].text;
    patch(&one.patch, &file, text, &fixed)?;
    write(&tree.join(&file), &fixed)?;
    let object = |tree: &Path| tree.join(&file).with_extension("o");
    compile(&tree, &file, &object(&one.trees.patched), &line)?;
    write(&tree.join(&file), text)?;

    // A structure of the header that grows: every object was compiled anew.
    let grown = types("    u64 generation;\n");
    patch(&ripple.patch, "include/types.h", &types(""), &grown)?;
    write(&header, &grown)?;
    compile_all(&tree, &ripple.trees.patched, &sources, &line)?;
    for tree in [original, &one.trees.patched, &ripple.trees.patched] {
        merge(tree)?;
    }
    ensure!(
        fs::read(object(original))? != fs::read(object(&one.trees.patched))?,
        "{file}: the change left no trace in the object"
    );
    write(&done, "")?;
    Ok(vec![one, ripple])
}

/// A source as without debug information; every third uses the structure that grows.
fn with_user(index: usize, fix: &str) -> Source {
    let mut one = source(index, fix);
    if index.is_multiple_of(USERS_EACH) {
        let _ = writeln!(
            one.text,
            "u64 u{index:03}_shared(struct shared *s)\n\
             {{\n\treturn s->second * {index} + s->third;\n}}"
        );
    }
    one
}

/// The header, with more members of the structure.
fn types(more: &str) -> String {
    let mut text = String::from("#include \"target.h\"\nstruct shared\n{\n    u64 first;\n");
    let _ = write!(text, "{more}    u64 second;\n    u64 third;\n}};\n");
    for one in 0..TYPES {
        let _ = writeln!(text, "struct type_{one}\n{{");
        for member in 0..MEMBERS {
            let _ = writeln!(text, "    u64 member_{member}_of_type_{one};");
        }
        let other = one.saturating_sub(1);
        let _ = writeln!(text, "    struct type_{other} *next;\n}};");
    }
    text
}

/// Merges the objects of each folder, and the merged ones, as Xen's build does.
fn merge(tree: &Path) -> Result<()> {
    let mut merged = Vec::new();
    for folder in FOLDERS {
        let mut objects: Vec<PathBuf> = fs::read_dir(tree.join(folder))
            .with_context(|| folder.to_owned())?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "o"))
            .collect();
        objects.sort();
        let output = tree.join(folder).join("built_in.o");
        link_again(&objects, &output)?;
        merged.push(output);
    }
    link_again(&merged, &tree.join("prelink.o"))
}

fn link_again(objects: &[PathBuf], output: &Path) -> Result<()> {
    let status = Command::new("ld")
        .arg("-r")
        .args(objects)
        .arg("-o")
        .arg(output)
        .status()
        .context("ld: not started")?;
    ensure!(status.success(), "{}: ld -r {status}", output.display());
    Ok(())
}

/// Writes what differs between two texts of a file.
fn patch(path: &Path, file: &str, before: &str, after: &str) -> Result<()> {
    let diff = similar::TextDiff::from_lines(before, after);
    let mut diff = diff.unified_diff();
    let text = diff
        .header(&format!("a/{file}"), &format!("b/{file}"))
        .to_string();
    write(path, &text)
}
