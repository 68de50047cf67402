//! Finds the base, compares the original tree with it, and decides which refusals of the differ
//! remain.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use xsplice_console::MappedFile;
use xsplice_diff::{ObjectDiff, Verdict};
use xsplice_link::proof::{ItemFailure, TreeProof};
use xsplice_link::{Base, Refusal, RefusalCode};

use crate::command::arguments::Arguments;
use crate::command::progress::Progress;
use crate::command::voice::{detail, tell, visibility};
use crate::compare::proof::{
    OtherWay, Proof, ProofSummary, count, is_source_of_base, other_tree, other_way, prove,
};
use crate::inputs::{Bytes, Input, base};
use crate::run::Run;
use crate::tell::report::{BaseInput, Report};
use crate::tell::story;

/// The base. It is looked at also when nothing differs: equal trees mean nothing for an image that
/// was linked from another one. Where no payload can be needed, or none is made anyway, a base that
/// was not named and is not found is no error.
pub(super) fn find_base(
    arguments: &Arguments,
    images: &[PathBuf],
    diffs: &[ObjectDiff<'_>],
) -> Result<Option<MappedFile>> {
    let verdicts: Vec<_> = diffs.iter().map(ObjectDiff::verdict).collect();
    let is_refused = verdicts.contains(&Verdict::Refused);
    let is_unchanged = verdicts.iter().all(|one| *one == Verdict::Unchanged);
    match base::find(arguments.base.as_deref(), images, &arguments.orig) {
        Ok(file) => Ok(Some(file)),
        Err(_) if arguments.base.is_none() && (is_refused || is_unchanged) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the base that was found.
pub(super) fn parse_base(file: Option<&MappedFile>) -> Result<Option<Base<'_>>> {
    Ok(match file {
        Some(file) => Some(Base::parse(&file.path().display().to_string(), file)?),
        None => None,
    })
}

impl Run<'_> {
    /// The image that was linked from the patched tree, where the account needs one.
    pub(super) fn find_patched_image(
        &self,
        base: Option<&Base<'_>>,
        others: &[PathBuf],
    ) -> Result<Option<MappedFile>> {
        let given = self.arguments;
        let Some(base) = base.filter(|_| self.has_account()) else {
            return Ok(None);
        };
        base::find_patched(
            given.patched_base.as_deref(),
            others,
            Path::new(base.path()),
            (&given.orig, &given.patched),
        )
    }

    /// Reports which base is used, compares the original tree with it, and adds the differ's
    /// refusals to the report. Returns the names that the proof shows to mean what has them.
    pub(super) fn prove(
        &self,
        base: Option<&Base<'_>>,
        report: &mut Report<'_>,
    ) -> BTreeSet<String> {
        if let Some(base) = base {
            report.inputs.base = Some(BaseInput {
                path: base.path().to_owned(),
                build_id: base.build_id().to_string(),
            });
            report.toolchain.add_base(base);
            tell(self.arguments, &report.toolchain.warning());
        }
        let (unlinked, plain_names) = match base {
            Some(base) if !self.arguments.no_base_proof => self.prove_tree(base, report),
            _ => Default::default(),
        };
        report
            .refusals
            .extend(differ_refusals(self.diffs, &unlinked, base));
        plain_names
    }

    /// Compares the original tree with the base and reports the result; returns the objects that
    /// are not linked into it, and the names that mean what has them.
    fn prove_tree(
        &self,
        base: &Base<'_>,
        report: &mut Report<'_>,
    ) -> (HashSet<String>, BTreeSet<String>) {
        let count = self.inputs.len();
        let progress = Progress::start("proving", count, visibility(self.arguments));
        let Proof {
            mut tree,
            unlinked,
            foreign,
        } = prove(base, self.inputs, self.merged, &progress);
        drop(progress);
        let is_added = |input: &Input| matches!(input.bytes, Bytes::Added { .. });
        let is_otherwise = !tree.failed.is_empty() || !tree.superseded.is_empty();
        let other = match is_otherwise || self.inputs.iter().any(is_added) {
            true => other_way(base, self.inputs, self.merged),
            false => OtherWay::default(),
        };
        if is_otherwise && other.is_swapped() {
            let message = self.swapped(base, &other);
            report.refusals.push(self.of_original(message));
        } else if !is_source_of_base(&tree) {
            let message = other_tree(&tree, base, &report.toolchain.suggestion());
            report.refusals.push(self.of_original(message));
        }
        let plain_names = std::mem::take(&mut tree.plain_names);
        let summary = summary(tree, foreign);
        tell(
            self.arguments,
            &story::proof(&summary, base.path(), detail(self.arguments)),
        );
        tell(
            self.arguments,
            &story::not_in_original(&other.not_in_original),
        );
        report.proof = Some(summary);
        (unlinked, plain_names)
    }

    /// The proof failed for the tree as a whole.
    fn of_original(&self, message: String) -> Refusal {
        let original = self.arguments.orig.display().to_string();
        Refusal::new(RefusalCode::ProofFailed, &original, message)
    }

    /// The base was linked from the other tree.
    fn swapped(&self, base: &Base<'_>, other: &OtherWay<'_>) -> String {
        format!(
            "in {} {} holds the code of --patched ({}), and nowhere that of --orig: swap the two, \
             or give the image that was linked from --orig as --base",
            story::count(other.patched_in_base, "object"),
            base.path(),
            self.arguments.patched.display()
        )
    }
}

/// The proof as the report has it.
fn summary(tree: TreeProof, foreign: Vec<String>) -> ProofSummary {
    let sentences = |failed: &[(String, ItemFailure)]| {
        let sentence = |(object, item): &(String, ItemFailure)| {
            format!("{object} ({}): {}", item.name, item.message)
        };
        failed.iter().map(sentence).collect()
    };
    ProofSummary {
        objects: count(tree.objects),
        proven: count(tree.proven),
        constants: count(tree.proven_constants),
        absent: tree.absent.len(),
        failed: sentences(&tree.failed),
        failed_constants: sentences(&tree.failed_constants),
        superseded: tree.superseded,
        unlinked: tree.unlinked,
        foreign,
    }
}

/// Whether nothing of an object stands in for anything, and something of it travels.
fn is_brought_along(diff: &ObjectDiff<'_>) -> bool {
    let extract = diff.extract.as_ref();
    extract.is_some_and(|extract| extract.records.is_empty() && !extract.sections.is_empty())
}

/// The refusals of the differ. An object that changed and is not linked into the base gets a single
/// refusal that says so, instead of all others; but not where all that it gives is new code that
/// others need: a member of a library that was not needed before.
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
            Some(base) if unlinked.contains(&diff.object) && !is_brought_along(diff) => {
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
