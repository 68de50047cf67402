//! Links the extracts, runs `verify` on the result, and writes the payload if nothing is refused.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use xsplice_abi::section::modinfo;
use xsplice_diff::Extract;
use xsplice_link::command::output::write_file;
use xsplice_link::link::Payload;
use xsplice_link::options::BaseProof;
use xsplice_link::verify::{self, Verification};
use xsplice_link::{Base, LinkError, LinkOptions, RefusalCode, Refusals, link};

use crate::account::Books;
use crate::command::voice::tell;
use crate::payload;
use crate::run::Run;
use crate::tell::report::Report;
use crate::tell::story;

/// A linked payload, with the result of `verify`.
pub(super) struct Made {
    pub(super) path: String,
    pub(super) payload: Payload,
    pub(super) verification: Verification,
    pub(super) proof: BaseProof,
}

impl Run<'_> {
    /// Links, verifies and writes the payload, unless something is refused already. Refusals go
    /// into the report, and then nothing is written. `None` when nothing is included.
    pub(super) fn link(
        &self,
        base: Option<&Base<'_>>,
        plain_names: BTreeSet<String>,
        books: Option<&Books<'_>>,
        report: &mut Report<'_>,
    ) -> Result<Option<Made>> {
        let diffs = self.diffs.iter();
        let extracts: Vec<Extract<'_>> = diffs.filter_map(|diff| diff.extract.clone()).collect();
        let Some(base) = base.filter(|_| report.refusals.is_empty() && !extracts.is_empty()) else {
            return Ok(None);
        };
        let mut options = payload::options(self.arguments, self.name, self.abi, base)?;
        options.plain_names = plain_names;
        let hunks = report.hunks.iter().flatten();
        let accepted = hunks.filter_map(|hunk| hunk.accepted.clone());
        options
            .metadata
            .extend(accepted.map(|what| (modinfo::ACCEPTED.to_owned(), what)));
        let Some(linked) = self.linked(base, &extracts, &options, report)? else {
            return Ok(None);
        };
        if self.arguments.verify_reproducible {
            check_other_order(base, &extracts, &options, &linked)?;
        }

        let path = payload::output_path(self.arguments, self.name);
        let verification = payload::verify(self.arguments, base, &options, &path, &linked)?;
        report
            .refusals
            .extend(verify::refusals(&verification, &options));
        if let Some(books) = books.filter(|_| report.refusals.is_empty()) {
            books.settle(base, Some(&linked.bytes), report)?;
            self.tell_account(report);
        }
        let made = Made {
            path: path.display().to_string(),
            payload: linked,
            verification,
            proof: options.proof,
        };
        if report.refusals.is_empty() {
            self.write(base, &options, &path, &made, report)?;
        }
        Ok(Some(made))
    }

    /// Links. `None` when there is nothing to link, or when the linker refused; the report then has
    /// the refusals.
    fn linked(
        &self,
        base: &Base<'_>,
        extracts: &[Extract<'_>],
        options: &LinkOptions,
        report: &mut Report<'_>,
    ) -> Result<Option<Payload>> {
        match link(base, extracts, options) {
            Ok(linked) => Ok(Some(linked)),
            // New code that nothing uses changes nothing. The linker has already refused new names
            // that the base also has.
            Err(LinkError::Refused(refusals)) if says_nothing(&refusals) => {
                tell(self.arguments, &story::unused(self.diffs));
                Ok(None)
            }
            Err(LinkError::Refused(refusals)) => {
                report.refusals.extend(refusals.0);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the payload and reports it.
    fn write(
        &self,
        base: &Base<'_>,
        options: &LinkOptions,
        path: &Path,
        made: &Made,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let given = self.arguments;
        if !given.dry_run {
            write_file(path, &made.payload.bytes)?;
        }
        let summary = made.payload.summary(path);
        let outlook = &made.verification.outlook;
        tell(
            given,
            &story::payload(
                &summary,
                outlook.as_ref(),
                &payload::against(given, base, options),
                given.dry_run,
            ),
        );
        if given.src.is_some() && given.base.is_none() && given.given_orig.is_none() {
            tell(given, &story::own_base(base.path()));
        }
        report.payload = Some(summary);
        report.outlook.clone_from(outlook);
        Ok(())
    }

    /// Makes the account where no payload was made and nothing is refused: "no functional change"
    /// has to be checked too.
    pub(super) fn account_for_nothing(
        &self,
        base: Option<&Base<'_>>,
        books: Option<&Books<'_>>,
        made: Option<&Made>,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let (Some(books), None, true) = (books, made, report.refusals.is_empty()) else {
            return Ok(());
        };
        if let Some(base) = base {
            books.settle(base, None, report)?;
        }
        self.tell_account(report);
        Ok(())
    }

    fn tell_account(&self, report: &Report<'_>) {
        tell(self.arguments, &story::account(report.account.as_ref()));
    }
}

/// Whether the linker's only refusal is that there is nothing to patch.
fn says_nothing(refusals: &Refusals) -> bool {
    let mut all = refusals.0.iter();
    all.all(|refusal| refusal.code == RefusalCode::Nothing)
}

/// Links in the opposite order, which must give the same bytes.
fn check_other_order(
    base: &Base<'_>,
    extracts: &[Extract<'_>],
    options: &LinkOptions,
    linked: &Payload,
) -> Result<()> {
    let reversed: Vec<Extract<'_>> = extracts.iter().rev().cloned().collect();
    if link(base, &reversed, options)?.bytes != linked.bytes {
        bail!("linking in another order gave other bytes; this is a fault of xsplice-link");
    }
    Ok(())
}
