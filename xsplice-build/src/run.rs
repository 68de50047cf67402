//! The order in which things happen: pair, compare, prove, link, verify, write.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xsplice_abi::Profile;
use xsplice_console::ExitStatus;
use xsplice_console::MappedFile;
use xsplice_diff::Extract;
use xsplice_diff::ObjectDiff;
use xsplice_diff::Options;
use xsplice_diff::Verdict;
use xsplice_diff::html::Callers;
use xsplice_diff::layouts::LayoutChange;
use xsplice_diff::report::judge::{Scope, acceptances, judge};
use xsplice_diff::report::object_diff::layout_summary;
use xsplice_diff::tell::explain::explain;
use xsplice_diff::verdict::accept::{Found, check_matched};
use xsplice_link::Base;
use xsplice_link::LinkError;
use xsplice_link::Refusal;
use xsplice_link::RefusalCode;
use xsplice_link::command::output::{check_writable, write_file};
use xsplice_link::inspect;
use xsplice_link::link;
use xsplice_link::link::Payload;
use xsplice_link::options::BaseProof;
use xsplice_link::proof::ItemFailure;
use xsplice_link::verify::Verification;

use crate::command::arguments::Arguments;
use crate::command::progress::Progress;
use crate::command::voice::{complain, detail, tell, visibility};
use crate::compare::budget;
use crate::compare::callers;
use crate::compare::layouts;
use crate::compare::merged;
use crate::compare::merged::Merged;
use crate::compare::proof::{Proof, prove};
use crate::compare::{Comparison, compare};
use crate::hunks::{self, Trees};
use crate::inputs::archives;
use crate::inputs::base;
use crate::inputs::dependencies;
use crate::inputs::name;
use crate::inputs::pair::{Pairs, pair};
use crate::inputs::{self, Input};
use crate::payload;
use crate::source;
use crate::source::patch_file;
use crate::source::patch_file::PatchFile;
use crate::tell::html::{self, Linked, Page};
use crate::tell::report::{BaseInput, Inputs, ProofSummary, Report};
use crate::tell::story;

/// Does everything that the command line asks for.
///
/// # Errors
///
/// What makes the exit status 1: no payload was written, and no report.
pub fn run(arguments: &Arguments) -> Result<ExitStatus> {
    if let Some(jobs) = arguments.jobs {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(jobs)
            .build()
            .with_context(|| format!("-j {jobs}: cannot start the threads"))?;
        return pool.install(|| run_on_pool(arguments));
    }
    run_on_pool(arguments)
}

fn run_on_pool(arguments: &Arguments) -> Result<ExitStatus> {
    let abi = arguments.abi.0;
    let name = name::choose(
        arguments.name.as_deref(),
        arguments.patch.as_deref(),
        &arguments.patched,
    )?;

    let payload = payload::output_path(arguments, &name);
    let outputs = [
        (!arguments.dry_run).then_some(&payload),
        arguments.json.as_ref(),
        arguments.html.as_ref(),
    ];
    check_writable(outputs.into_iter().flatten().map(PathBuf::as_path))?;

    let mut patch = arguments
        .patch
        .as_deref()
        .map(patch_file::read)
        .transpose()?;
    let built;
    let arguments = match (&mut patch, source::Request::of(arguments, &name)?) {
        (Some(patch), Some(request)) => {
            payload::check_options(arguments, &request.work)?;
            built = source::arguments_for(arguments, &request, patch)?;
            &built
        }
        _ => arguments,
    };
    let Pairs {
        pairs,
        ignored,
        archives,
        others,
    } = pair(
        &arguments.orig,
        &arguments.patched,
        &arguments.ignore_object,
    )?;
    let mut inputs = inputs::open_all(pairs)?;
    archives::add_members(&mut inputs, archives, &ignored)?;
    let inputs = inputs;

    let options = Options {
        abi,
        accept: arguments.accept.clone(),
    };
    let ignored_names = ignored.iter().map(|pair| pair.name().to_owned()).collect();
    let left_out = inputs::open_all(ignored)?;
    let merged = merged::find(&inputs, &left_out);
    let progress = Progress::start("comparing", inputs.len(), visibility(arguments));
    let mut comparison = compare(&inputs, &merged, &options, &progress)
        .map_err(|errors| list_errors(arguments, errors))?;
    drop(progress);
    let layouts = judge_tree(&mut comparison, &inputs, &merged);
    let mut found = acceptances(&comparison.diffs);

    let described = describe(arguments, &inputs, &comparison, ignored_names, &merged);
    let mut report = Report::new(described, &comparison.diffs, &layouts);
    tell(
        arguments,
        &story::changes(&report, &comparison.diffs, detail(arguments)),
    );
    tell(arguments, &layout_summary(&comparison.diffs, &layouts));
    if arguments.explain {
        for diff in &comparison.diffs {
            tell(arguments, &explain(diff));
        }
    }

    if let Some(patch) = &patch {
        let trees = Trees {
            inputs: &inputs,
            left_out: &left_out,
            merged: &merged,
            diffs: &comparison.diffs,
            dependencies: &dependencies::files_read(&arguments.patched),
        };
        follow_hunks(arguments, patch, &trees, &mut report, &mut found);
    }
    check_matched(&arguments.accept, &found)?;

    let file = find_base(arguments, &others, &comparison)?;
    let base = match &file {
        Some(file) => Some(Base::parse(&file.path().display().to_string(), file)?),
        None => None,
    };
    if let Some(base) = &base {
        report.inputs.base = Some(BaseInput {
            path: base.path().to_owned(),
            build_id: base.build_id().to_string(),
        });
        report.toolchain.add_base(base);
        tell(arguments, &report.toolchain.warning());
    }
    let unlinked = match &base {
        Some(base) if !arguments.no_base_proof => {
            prove_tree(arguments, base, &inputs, &merged, &mut report)
        }
        _ => HashSet::new(),
    };
    report
        .refusals
        .extend(differ_refusals(&comparison.diffs, &unlinked, base.as_ref()));
    let over = budget::exceeded(arguments, &report);
    report.refusals.extend(over);

    let made = match &base {
        Some(base) if report.refusals.is_empty() => {
            let job = LinkJob {
                arguments,
                name: &name,
                abi,
                base,
            };
            job.make(&comparison.diffs, &mut report)?
        }
        _ => None,
    };
    let status = if !report.refusals.is_empty() {
        complain(&story::refusals(&report.refusals));
        ExitStatus::Refused
    } else if made.is_some() {
        ExitStatus::Done
    } else {
        tell(
            arguments,
            &story::no_change(&report, &comparison.diffs, detail(arguments)),
        );
        ExitStatus::Unchanged
    };

    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    if let Some(path) = &arguments.html {
        let proof = report.proof.as_ref();
        let callers = callers::find(&comparison.diffs, &inputs, &merged, proof, abi)?;
        let linked = base.as_ref().zip(made.as_ref());
        let page = html_page(&name, abi, &report, &comparison.diffs, &callers, linked)?;
        write_file(path, page.as_bytes())?;
    }
    Ok(status)
}

/// Decides about everything that was compared, for the tree as a whole. Returns the layout changes,
/// each once.
fn judge_tree(
    comparison: &mut Comparison<'_>,
    inputs: &[Input],
    merged: &Merged,
) -> Vec<LayoutChange> {
    let weak = comparison.weak_symbols(inputs, merged);
    let mut layouts = layouts::follow(&comparison.diffs, inputs, merged);
    let scope = match inputs {
        [_] => Scope::Object,
        _ => Scope::Tree(&weak),
    };
    judge(&mut comparison.diffs, &mut layouts, scope);
    layouts
}

/// Follows the patch's hunks and tells what became of them.
fn follow_hunks(
    arguments: &Arguments,
    patch: &PatchFile,
    trees: &Trees<'_>,
    report: &mut Report<'_>,
    found: &mut Found,
) {
    let hunks = hunks::follow(patch, trees, &arguments.accept);
    tell(
        arguments,
        &story::hunks(&patch.path, &hunks.reports, detail(arguments)),
    );
    found.accepted.extend(hunks.matched);
    found.refused.extend(hunks.acceptable);
    report.refusals.extend(hunks.refusals);
    report.hunks = Some(hunks.reports);
}

/// The report as one page; with the payload where one was linked.
fn html_page(
    name: &str,
    abi: &'static Profile,
    report: &Report<'_>,
    diffs: &[ObjectDiff<'_>],
    callers: &Callers,
    linked: Option<(&Base<'_>, &Made)>,
) -> Result<String> {
    let inspection = match linked {
        Some((_, made)) => Some(inspect::inspect(&made.path, &made.payload.bytes)?),
        None => None,
    };
    let linked = linked.zip(inspection.as_ref());
    let linked = linked.map(|((base, made), inspection)| Linked {
        base,
        payload: &made.payload,
        inspection,
        verification: &made.verification,
        proof: made.proof,
    });
    Ok(html::render(&Page {
        name,
        abi,
        report,
        diffs,
        callers,
        linked,
    }))
}

/// The base, when something was found that needs one. When something is refused anyway, a base
/// that cannot be found does not hide the reasons.
fn find_base(
    arguments: &Arguments,
    others: &[PathBuf],
    comparison: &Comparison<'_>,
) -> Result<Option<MappedFile>> {
    let verdicts: Vec<_> = comparison.diffs.iter().map(ObjectDiff::verdict).collect();
    if verdicts
        .iter()
        .all(|verdict| *verdict == Verdict::Unchanged)
    {
        return Ok(None);
    }
    match base::find(arguments.base.as_deref(), others, &arguments.orig) {
        Ok(file) => Ok(Some(file)),
        Err(_) if arguments.base.is_none() && verdicts.contains(&Verdict::Refused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares the original tree with the base and tells what came out; returns the objects that are
/// not linked into it.
fn prove_tree(
    arguments: &Arguments,
    base: &Base<'_>,
    inputs: &[Input],
    merged: &Merged,
    report: &mut Report<'_>,
) -> HashSet<String> {
    /// A tree of which less is in the base is not the one that it was linked from.
    const PERCENT_NEEDED: usize = 90;

    let progress = Progress::start("proving", inputs.len(), visibility(arguments));
    let Proof {
        tree,
        unlinked,
        foreign,
    } = prove(base, inputs, merged, &progress);
    drop(progress);
    let (proven, failed) = (count(tree.proven), tree.failed.len());
    let constants = count(tree.proven_constants);
    let (objects, superseded) = (count(tree.objects), tree.superseded.len());
    let is_enough = |part: usize, rest: usize| part * 100 >= (part + rest) * PERCENT_NEEDED;
    if objects == 0 || !is_enough(objects, superseded) || !is_enough(proven, failed) {
        let message = format!(
            "only {proven} of {} functions of {objects} of {} objects are in {} as they were \
             compiled; give the tree that this image was linked from, or the image that was linked \
             from this tree{}",
            proven + failed,
            objects + superseded,
            base.path(),
            report.toolchain.smell()
        );
        let original = arguments.orig.display().to_string();
        report
            .refusals
            .push(Refusal::new(RefusalCode::ProofFailed, &original, message));
    }
    let sentences = |failed: &[(String, ItemFailure)]| {
        let sentence = |(object, item): &(String, ItemFailure)| {
            format!("{object} ({}): {}", item.name, item.message)
        };
        failed.iter().map(sentence).collect()
    };
    let summary = ProofSummary {
        objects,
        proven,
        constants,
        absent: tree.absent.len(),
        failed: sentences(&tree.failed),
        failed_constants: sentences(&tree.failed_constants),
        superseded: tree.superseded,
        unlinked: tree.unlinked,
        foreign,
    };
    tell(
        arguments,
        &story::proof(&summary, base.path(), detail(arguments)),
    );
    report.proof = Some(summary);
    unlinked
}

/// A count of things that were in memory.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The refusals of the differ. An object that changed and is not linked into the base has one
/// refusal that says so, in place of all that the differ has against it.
fn differ_refusals(
    diffs: &[ObjectDiff<'_>],
    unlinked: &HashSet<String>,
    base: Option<&Base<'_>>,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for diff in diffs
        .iter()
        .filter(|diff| diff.verdict() != Verdict::Unchanged)
    {
        match base {
            Some(base) if unlinked.contains(&diff.object) => {
                let message = format!(
                    "changed, but none of its functions is in {}: the object is not linked into \
                     it; if that is right, leave it out with --ignore-object '{}'",
                    base.path(),
                    diff.object
                );
                refusals.push(Refusal::new(RefusalCode::NotLinked, &diff.object, message));
            }
            _ => refusals.extend(diff.refusals.iter().cloned()),
        }
    }
    refusals
}

/// Everything that making the payload needs besides what changed.
struct LinkJob<'a> {
    arguments: &'a Arguments,
    name: &'a str,
    abi: &'static Profile,
    base: &'a Base<'a>,
}

/// A payload that was linked, and what `verify` says of it.
struct Made {
    path: String,
    payload: Payload,
    verification: Verification,
    proof: BaseProof,
}

impl LinkJob<'_> {
    /// Links, verifies and writes the payload. What speaks against it goes into the report's
    /// refusals, and then nothing is written. `None` when nothing travels.
    fn make(&self, diffs: &[ObjectDiff<'_>], report: &mut Report<'_>) -> Result<Option<Made>> {
        let extracts: Vec<Extract<'_>> = diffs
            .iter()
            .filter_map(|diff| diff.extract.clone())
            .collect();
        if extracts.is_empty() {
            return Ok(None);
        }
        let mut options = payload::options(self.arguments, self.name, self.abi, self.base)?;
        let hunks = report.hunks.iter().flatten();
        let acknowledged = hunks.filter_map(|hunk| hunk.accepted.clone());
        options
            .metadata
            .extend(acknowledged.map(|what| ("accepted".to_owned(), what)));
        let linked = match link(self.base, &extracts, &options) {
            Ok(linked) => linked,
            // What is new and used by nothing changes nothing. The linker has looked whether any
            // of it has a name that the base knows, and would be used in its place.
            Err(LinkError::Refused(refusals))
                if refusals
                    .0
                    .iter()
                    .all(|refusal| refusal.code == RefusalCode::Nothing) =>
            {
                tell(self.arguments, &story::unused(diffs));
                return Ok(None);
            }
            Err(LinkError::Refused(refusals)) => {
                report.refusals.extend(refusals.0);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if self.arguments.verify_reproducible {
            let reversed: Vec<Extract<'_>> = extracts.iter().rev().cloned().collect();
            if link(self.base, &reversed, &options)?.bytes != linked.bytes {
                bail!("linking in another order gave other bytes; this is a fault of xsplice-link");
            }
        }

        let path = payload::output_path(self.arguments, self.name);
        let verification = payload::verify(self.arguments, self.base, &options, &path, &linked)?;
        report
            .refusals
            .extend(payload::failures(&verification, &options));
        if report.refusals.is_empty() {
            let dry_run = self.arguments.dry_run;
            if !dry_run {
                write_file(&path, &linked.bytes)?;
            }
            let summary = linked.summary(&path);
            tell(
                self.arguments,
                &story::payload(
                    &summary,
                    verification.outlook.as_ref(),
                    &payload::against(self.arguments, self.base, &options),
                    dry_run,
                ),
            );
            let given = self.arguments;
            if given.src.is_some() && given.base.is_none() && given.given_orig.is_none() {
                tell(given, &story::own_base(self.base.path()));
            }
            report.payload = Some(summary);
            report.outlook.clone_from(&verification.outlook);
        }
        let path = path.display().to_string();
        Ok(Some(Made {
            path,
            payload: linked,
            verification,
            proof: options.proof,
        }))
    }
}

fn describe(
    arguments: &Arguments,
    inputs: &[Input],
    comparison: &Comparison<'_>,
    ignored: Vec<String>,
    merged: &Merged,
) -> Inputs {
    Inputs {
        original: arguments.orig.display().to_string(),
        patched: arguments.patched.display().to_string(),
        base: None,
        objects: inputs.len(),
        equal: comparison.equal,
        added: comparison.added.clone(),
        removed: comparison.removed.clone(),
        ignored_objects: ignored,
        merged_objects: merged.parts.keys().cloned().collect(),
        stacks_on: arguments.depends.clone(),
    }
}

/// One line an error, each naming the file as the caller did: which of the two trees is at fault.
fn list_errors(arguments: &Arguments, errors: Vec<xsplice_diff::DiffError>) -> anyhow::Error {
    let lines: Vec<_> = errors
        .into_iter()
        .map(|mut error| {
            let tree = match error.side {
                xsplice_diff::read::error::Side::Original => &arguments.orig,
                xsplice_diff::read::error::Side::Patched => &arguments.patched,
            };
            let path = if tree.is_dir() {
                tree.join(&error.object)
            } else {
                tree.clone()
            };
            let ignore = if error.is_foreign() {
                format!(", or leave it out with --ignore-object '{}'", error.object)
            } else {
                String::new()
            };
            error.object = path.display().to_string();
            format!("{error}{ignore}")
        })
        .collect();
    anyhow::anyhow!(lines.join("\nxsplice-build: "))
}
