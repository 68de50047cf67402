//! Reads the patch, builds the source if asked to, reads the objects of both trees, and runs the
//! differ.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xsplice_console::output::Given;
use xsplice_diff::options::Stamps;
use xsplice_diff::read::error::Side;
use xsplice_diff::{DiffError, Options};
use xsplice_link::Refusal;
use xsplice_link::command::input;
use xsplice_link::command::output::{check_apart, check_writable};
use xsplice_link::inspect;

use crate::command::arguments::Arguments;
use crate::command::progress::Progress;
use crate::command::voice::visibility;
use crate::compare::merged::Merged;
use crate::compare::{Comparison, compare};
use crate::inputs::content::{Kind, kind_of};
use crate::inputs::pair::{Pairs, pair};
use crate::inputs::{self, Input, archives};
use crate::payload;
use crate::source;
use crate::source::patch_file::{self, PatchFile};
use crate::tell::report::Inputs;

/// What the two trees hold.
pub(super) struct Trees {
    /// The objects, members of archives among them.
    pub(super) inputs: Vec<Input>,
    /// Objects that were left out by name. They are read all the same: others may have been merged
    /// from them, and lines of a patch may be in them.
    pub(super) left_out: Vec<Input>,
    /// Archives whose members are in another order, where that may count.
    pub(super) out_of_order: Vec<Refusal>,
    /// Patterns of `--ignore-object` that match nothing.
    pub(super) idle_patterns: Vec<String>,
    /// Linked images of the original tree: the base may be among them.
    pub(super) images: Vec<PathBuf>,
    /// The same of the patched tree.
    pub(super) images_of_patched: Vec<PathBuf>,
}

/// Checks early that all outputs can be written, and that none would replace an input.
pub(super) fn check_outputs(arguments: &Arguments, name: &str) -> Result<()> {
    let payload = payload::output_path(arguments, name);
    let outputs = [
        Given::by("--output", (!arguments.dry_run).then_some(&payload)),
        Given::by("--json", arguments.json.as_ref()),
        Given::by("--html", arguments.html.as_ref()),
        Given::by("--provenance", arguments.provenance.as_ref()),
        Given::by("--sbom", arguments.sbom.as_ref()),
    ];
    let outputs: Vec<_> = outputs.into_iter().flatten().collect();
    check_writable(outputs.iter().map(|output| output.path))?;
    let named = [&arguments.depends, &arguments.xen_depends].map(|text| text.as_ref());
    let [depends, xen_depends] = named.map(|text| text.map(PathBuf::from));
    let inputs = [
        Given::by("--base", arguments.base.as_ref()),
        Given::by("--patched-base", arguments.patched_base.as_ref()),
        Given::by("--orig", Some(&arguments.orig)),
        Given::by("--patched", Some(&arguments.patched)),
        Given::by("--patch", arguments.patch.as_ref()),
        Given::by("--deny", arguments.deny.as_ref()),
        Given::by("--depends", depends.as_ref()),
        Given::by("--xen-depends", xen_depends.as_ref()),
    ];
    let inputs: Vec<_> = inputs.into_iter().flatten().collect();
    check_apart(&outputs, &inputs)?;
    for output in outputs {
        for (option, tree) in [
            ("--orig", &arguments.orig),
            ("--patched", &arguments.patched),
        ] {
            if is_object_of(tree, output.path) {
                bail!(
                    "{}: cannot be written: it is a file of {option}; name another file",
                    output.path.display()
                );
            }
        }
    }
    Ok(())
}

/// Whether a file is an object, archive or image of a tree. A payload that an earlier run left
/// there is none.
fn is_object_of(tree: &Path, file: &Path) -> bool {
    let (Ok(tree), Ok(file)) = (tree.canonicalize(), file.canonicalize()) else {
        return false;
    };
    if !file.starts_with(&tree) || kind_of(&file) == Kind::Other {
        return false;
    }
    let path = file.display().to_string();
    input::open(&file).is_ok_and(|bytes| inspect::inspect(&path, &bytes).is_err())
}

/// The source patch, where one is given.
pub(super) fn patch(arguments: &Arguments) -> Result<Option<PatchFile>> {
    let path = arguments.patch.as_deref();
    Ok(path.map(patch_file::read).transpose()?)
}

/// Builds the source without and with the patch, where there is one to build. Returns the arguments
/// with the trees that were built.
pub(super) fn build(
    arguments: &Arguments,
    name: &str,
    patch: Option<&mut PatchFile>,
) -> Result<Option<Arguments>> {
    let (Some(patch), Some(request)) = (patch, source::Request::of(arguments, name)?) else {
        return Ok(None);
    };
    payload::check_options(arguments, &request.work)?;
    Ok(Some(source::arguments_for(arguments, &request, patch)?))
}

/// Pairs the objects of both trees and reads them.
pub(super) fn trees(arguments: &Arguments) -> Result<Trees> {
    let Pairs {
        pairs,
        ignored,
        idle_patterns,
        archives,
        images,
        images_of_patched,
    } = pair(
        &arguments.orig,
        &arguments.patched,
        &arguments.ignore_object,
    )?;
    let mut inputs = inputs::open_all(pairs)?;
    let left_out = inputs::open_all(ignored)?;
    let out_of_order = archives::add_members(&mut inputs, archives, &left_out)?;
    Ok(Trees {
        out_of_order,
        inputs,
        left_out,
        idle_patterns,
        images,
        images_of_patched,
    })
}

/// What the command line asks of the differ.
pub(super) fn options(arguments: &Arguments) -> Options {
    Options {
        abi: arguments.abi.0,
        accept: arguments.accept.clone(),
        stamps: match arguments.with_stamps {
            true => Stamps::Included,
            false => Stamps::LeftOut,
        },
    }
}

/// Runs the differ over every pair, but the merged ones.
pub(super) fn compared<'data>(
    arguments: &Arguments,
    inputs: &'data [Input],
    merged: &Merged,
) -> Result<Comparison<'data>> {
    let options = options(arguments);
    let progress = Progress::start("comparing", inputs.len(), visibility(arguments));
    compare(inputs, merged, &options, &progress).map_err(|errors| list_errors(arguments, errors))
}

/// What was compared, for the report.
pub(super) fn described(
    arguments: &Arguments,
    trees: &Trees,
    comparison: &Comparison<'_>,
    merged: &Merged,
) -> Inputs {
    let ignored = trees.left_out.iter().map(|input| input.name.clone());
    let is_merged = |input: &&Input| merged.parts.contains_key(&input.name);
    let merged_objects = trees.inputs.iter().filter(is_merged);
    let merged_objects: Vec<String> = merged_objects.map(|input| input.name.clone()).collect();
    Inputs {
        original: arguments.orig.display().to_string(),
        patched: arguments.patched.display().to_string(),
        base: None,
        objects: trees.inputs.len() - merged_objects.len(),
        equal: comparison.equal,
        added: comparison.added.clone(),
        removed: comparison.removed.clone(),
        ignored_objects: ignored.collect(),
        idle_patterns: trees.idle_patterns.clone(),
        merged_objects,
        stacks_on: arguments.depends.clone(),
        fixes: arguments.fixes.clone(),
    }
}

/// One line for each error. Each names the file as the caller did, which shows the tree at fault.
fn list_errors(arguments: &Arguments, errors: Vec<DiffError>) -> anyhow::Error {
    let lines: Vec<_> = errors
        .into_iter()
        .map(|error| {
            let tree = match error.side {
                Side::Original => &arguments.orig,
                Side::Patched => &arguments.patched,
            };
            let file = |tree: &Path| {
                let path = if tree.is_dir() {
                    tree.join(&error.object)
                } else {
                    tree.to_owned()
                };
                path.display().to_string()
            };
            let (path, original) = (file(tree), file(&arguments.orig));
            let ignore = if error.is_foreign() {
                format!("; or leave it out with --ignore-object '{}'", error.object)
            } else {
                String::new()
            };
            let error = error.naming(path, original);
            format!("{error}{ignore}")
        })
        .collect();
    anyhow::anyhow!(lines.join("\nxsplice-build: "))
}
