//! Prints the progress of the run and its result, and writes the requested reports.

use std::path::Path;

use anyhow::Result;
use xsplice_console::ExitStatus;
use xsplice_diff::html::Callers;
use xsplice_diff::layouts::LayoutChange;
use xsplice_diff::report::object_diff::layout_summary;
use xsplice_diff::tell::explain::explain;
use xsplice_link::Base;
use xsplice_link::command::output::write_file;
use xsplice_link::inspect;

use crate::command::voice::{complain, detail, tell};
use crate::compare::callers;
use crate::run::Run;
use crate::run::link::Made;
use crate::tell::html::{self, Linked, Page};
use crate::tell::provenance;
use crate::tell::refusals::{Share, refusals};
use crate::tell::report::Report;
use crate::tell::story;

impl Run<'_> {
    /// Prints what was compared and what differs.
    pub(super) fn tell_changes(&self, report: &Report<'_>, layouts: &[LayoutChange]) {
        tell(
            self.arguments,
            &story::changes(report, self.diffs, detail(self.arguments)),
        );
        tell(self.arguments, &layout_summary(self.diffs, layouts));
        if self.arguments.explain {
            for diff in self.diffs {
                tell(self.arguments, &explain(diff));
            }
        }
    }

    /// Prints how the run ended.
    pub(super) fn tell_result(&self, report: &Report<'_>, made: Option<&Made>) -> ExitStatus {
        if !report.refusals.is_empty() {
            let inputs = &report.inputs;
            let changed = self.diffs.iter().filter(|diff| !story::is_quiet(diff));
            let share = Share {
                differ: changed.count(),
                of: inputs.objects,
            };
            let text = refusals(&report.refusals, share, detail(self.arguments));
            complain(self.arguments, &text);
            ExitStatus::Refused
        } else if made.is_some() {
            ExitStatus::Done
        } else {
            tell(
                self.arguments,
                &story::no_change(report, self.diffs, detail(self.arguments)),
            );
            ExitStatus::Unchanged
        }
    }

    /// Writes the reports that the command line names.
    pub(super) fn write_reports(
        &self,
        report: &Report<'_>,
        base: Option<&Base<'_>>,
        made: Option<&Made>,
    ) -> Result<()> {
        if let Some(path) = &self.arguments.json {
            report.write(path)?;
        }
        if let Some(path) = &self.arguments.html {
            let proof = report.proof.as_ref();
            let callers = callers::find(self.diffs, self.inputs, self.merged, proof, self.abi)?;
            let page = self.html_page(report, &callers, base.zip(made))?;
            write_file(path, page.as_bytes())?;
        }
        Ok(())
    }

    /// Writes what the payload was made from, where one was made.
    pub(super) fn write_origins(
        &self,
        report: &Report<'_>,
        base: Option<(&Base<'_>, &[u8])>,
        made: Option<&Made>,
    ) -> Result<()> {
        let (Some((base, base_bytes)), Some(made)) = (base, made) else {
            return Ok(());
        };
        if report.payload.is_none() {
            return Ok(());
        }
        let made = provenance::Made {
            arguments: self.arguments,
            name: self.name,
            path: Path::new(&made.path),
            payload: &made.payload,
            base,
            base_bytes,
            report,
        };
        if let Some(path) = &self.arguments.provenance {
            write_file(path, made.provenance()?.as_bytes())?;
        }
        if let Some(path) = &self.arguments.sbom {
            write_file(path, made.bill()?.as_bytes())?;
        }
        Ok(())
    }

    /// The report as one page; with the payload where one was linked.
    fn html_page(
        &self,
        report: &Report<'_>,
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
            name: self.name,
            abi: self.abi,
            report,
            diffs: self.diffs,
            callers,
            linked,
        }))
    }
}
