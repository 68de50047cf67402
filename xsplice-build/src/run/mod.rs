//! The pipeline of a run: build the two trees or take given ones, read, compare, judge, follow the
//! patch, prove, link, tell. Each step is one function of this folder.

mod link;
mod prove;
mod read;
pub mod store;
mod tell;

use anyhow::{Context, Result};
use xsplice_abi::Profile;
use xsplice_account::Given;
use xsplice_console::{ExitStatus, MappedFile};
use xsplice_diff::ObjectDiff;
use xsplice_diff::html::word;
use xsplice_diff::layouts::LayoutChange;
use xsplice_diff::report::judge::{Scope, acceptances, judge};
use xsplice_diff::verdict::accept::{Found, check_matched};
use xsplice_diff::verdict::causes::causes_first;

use crate::account::Books;
use crate::budget;
use crate::command::arguments::Arguments;
use crate::command::voice::{detail, tell};
use crate::compare::layouts;
use crate::compare::merged::{self, Merged};
use crate::compare::{Comparison, absent};
use crate::hunks::{self, Trees};
use crate::inputs::dependencies::Dependencies;
use crate::inputs::{self, Input, name};
use crate::many::result::AcceptedLine;
use crate::many::{self, Ran};
use crate::source::patch_file::PatchFile;
use crate::tell::report::Report;
use crate::tell::story;

/// Runs the whole command line.
///
/// # Errors
///
/// What makes the exit status 1: no payload was written, and no report.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    let run = || match &arguments.store {
        Some(store) => many::run(arguments, store, &run_one),
        None => Ok(run_one(arguments)?.status),
    };
    if let Some(jobs) = arguments.jobs {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(jobs)
            .build()
            .with_context(|| format!("-j {jobs}: cannot start the threads"))?;
        return pool.install(run);
    }
    run()
}

/// Input of every step after the comparison.
struct Run<'run> {
    arguments: &'run Arguments,
    /// The payload's.
    name: &'run str,
    abi: &'static Profile,
    inputs: &'run [Input],
    /// Objects that were left out by name.
    left_out: &'run [Input],
    merged: &'run Merged,
    /// What differs, judged.
    diffs: &'run [ObjectDiff<'run>],
}

/// One payload, of two builds.
fn run_one(arguments: &Arguments) -> Result<Ran> {
    let name = name::choose(
        arguments.name.as_deref(),
        arguments.patch.as_deref(),
        &arguments.patched,
    )?;
    read::check_outputs(arguments, &name)?;
    let mut patch = read::patch(arguments)?;
    let built = read::build(arguments, &name, patch.as_mut())?;
    let arguments = built.as_ref().unwrap_or(arguments);
    let trees = read::trees(arguments)?;

    let merged = merged::find(&trees.inputs, &trees.left_out);
    inputs::release(trees.inputs.iter().chain(&trees.left_out));
    let mut comparison = read::compared(arguments, &trees.inputs, &merged)?;
    // What stands in the way of reading the base is told when it is needed.
    let early_file = prove::find_base(arguments, &trees.images, &comparison.diffs);
    let early_file = early_file.unwrap_or_default();
    let early = prove::parse_base(early_file.as_ref()).unwrap_or_default();
    if let Some(base) = early.as_ref().filter(|_| !arguments.no_base_proof) {
        let options = read::options(arguments);
        absent::settle(base, &trees.inputs, &merged, &options, &mut comparison);
    }
    let layouts = judge_tree(&mut comparison, &trees.inputs, &merged);
    let inputs = read::described(arguments, &trees, &comparison, &merged);
    let mut report = Report::new(inputs, &comparison.diffs, &layouts);
    let run = Run {
        arguments,
        name: &name,
        abi: arguments.abi.0,
        inputs: &trees.inputs,
        left_out: &trees.left_out,
        merged: &merged,
        diffs: &comparison.diffs,
    };
    run.tell_changes(&report, &layouts);
    run.follow_patch(patch.as_ref(), &mut report)?;

    let file = match &early {
        Some(_) => None,
        None => prove::find_base(arguments, &trees.images, run.diffs)?,
    };
    let late = prove::parse_base(file.as_ref())?;
    let base = early.or(late);
    let plain_names = run.prove(base.as_ref(), &mut report);
    report.refusals.extend(trees.out_of_order.iter().cloned());
    let over = budget::exceeded(arguments, &report);
    report.refusals.extend(over);
    let image = run.find_patched_image(base.as_ref(), &trees.images_of_patched)?;
    inputs::release(trees.inputs.iter().chain(&trees.left_out));
    [&early_file, &file]
        .into_iter()
        .flatten()
        .for_each(MappedFile::release);
    let books = run.books(image.as_ref());
    let made = run.link(base.as_ref(), plain_names, books.as_ref(), &mut report)?;
    run.account_for_nothing(base.as_ref(), books.as_ref(), made.as_ref(), &mut report)?;

    causes_first(&mut report.refusals);
    let status = run.tell_result(&report, made.as_ref());
    run.write_reports(&report, base.as_ref(), made.as_ref())?;
    let bytes = file.as_deref().or(early_file.as_deref());
    let image = base.as_ref().zip(bytes);
    run.write_origins(&report, image, made.as_ref())?;
    let first = report.refusals.first();
    Ok(Ran {
        status,
        refusal: first.map(|refusal| format!("{}: {refusal}", word(refusal.code))),
        accepted: report.accepted().map(AcceptedLine::new).collect(),
        functions: report.payload.map_or(0, |payload| payload.functions),
    })
}

/// Judges all comparisons, for the tree as a whole. Returns the layout changes, each once.
fn judge_tree(
    comparison: &mut Comparison<'_>,
    inputs: &[Input],
    merged: &Merged,
) -> Vec<LayoutChange> {
    let shared = comparison.shared_by_tree(inputs, merged);
    let mut layouts = layouts::follow(&comparison.diffs, inputs, merged);
    let scope = match inputs {
        [_] => Scope::Object,
        _ => Scope::Tree(&shared),
    };
    judge(&mut comparison.diffs, &mut layouts, scope);
    layouts
}

impl Run<'_> {
    /// Follows the patch's hunks, if there is a patch, and checks that every value of `--accept`
    /// matched something.
    fn follow_patch(&self, patch: Option<&PatchFile>, report: &mut Report<'_>) -> Result<()> {
        let mut found = acceptances(self.diffs);
        if let Some(patch) = patch {
            let trees = Trees {
                inputs: self.inputs,
                left_out: self.left_out,
                merged: self.merged,
                diffs: self.diffs,
                dependencies: &Dependencies::of(&self.arguments.patched),
            };
            self.follow_hunks(patch, &trees, report, &mut found);
        }
        Ok(check_matched(&self.arguments.accept, &found)?)
    }

    /// Follows the patch's hunks and reports what became of them.
    fn follow_hunks(
        &self,
        patch: &PatchFile,
        trees: &Trees<'_>,
        report: &mut Report<'_>,
        found: &mut Found,
    ) {
        let hunks = hunks::follow(patch, trees, &self.arguments.accept);
        tell(
            self.arguments,
            &story::hunks(&patch.path, &hunks.reports, detail(self.arguments)),
        );
        found.accepted.extend(hunks.matched);
        found.refused.extend(hunks.acceptable);
        report.refusals.extend(hunks.refusals);
        report.accepted_hunks = hunks.accepted;
        report.hunks = Some(hunks.reports);
    }

    /// Whether an account is made. Without the proof nothing says that the base is of this build,
    /// and then hardly anything of it has a place.
    fn has_account(&self) -> bool {
        !self.arguments.no_account && !self.arguments.no_base_proof
    }

    /// What the account is made from.
    fn books<'books>(&'books self, image: Option<&'books MappedFile>) -> Option<Books<'books>> {
        let is_tree = self.arguments.orig.is_dir();
        self.has_account().then_some(Books {
            given: if is_tree { Given::Tree } else { Given::Object },
            inputs: self.inputs,
            left_out: self.left_out,
            patched_image: image,
            merged: self.merged,
            accept: &self.arguments.accept,
        })
    }
}
