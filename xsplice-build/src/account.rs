//! The account of a run: an independent check of the payload, or of the claim that none is needed.

use anyhow::{Context, Result};
use xsplice_account::after::Missing;
use xsplice_account::base::UnknownSymbol;
use xsplice_account::{Account, Given, Inputs, tell};
use xsplice_console::MappedFile;
use xsplice_diff::verdict::kinds::RefusalCode;
use xsplice_diff::verdict::refusal::Refusal;
use xsplice_link::Base;

use crate::compare::merged::Merged;
use crate::inputs::Input;
use crate::tell::report::Report;

/// What the account is made from, besides the payload.
#[derive(Debug)]
pub(crate) struct Books<'run> {
    /// Whether the inputs are whole trees.
    pub given: Given,
    /// Both trees.
    pub inputs: &'run [Input],
    /// Objects that were left out by name: they count as unchanged.
    pub left_out: &'run [Input],
    /// The image that was linked from the patched tree.
    pub patched_image: Option<&'run MappedFile>,
    /// What of them was merged from the rest.
    pub merged: &'run Merged,
    /// The command's `--accept`.
    pub accept: &'run [String],
}

impl Books<'_> {
    /// Makes the account, adds it to the report, and refuses items that have no place.
    ///
    /// # Errors
    ///
    /// When an input cannot be read.
    pub(crate) fn settle(
        &self,
        base: &Base<'_>,
        payload: Option<&[u8]>,
        report: &mut Report<'_>,
    ) -> Result<()> {
        // The patched image holds what was left out as the patched build has it, and that is not
        // looked at.
        let is_unchanged = |input: &Input| input.is_equal();
        let patched_image = self
            .patched_image
            .filter(|_| self.left_out.iter().all(is_unchanged));
        let account = xsplice_account::account(&Inputs {
            base: base.file_bytes(),
            given: self.given,
            original: self.objects(self.inputs, Input::original),
            patched: self.objects(self.inputs, Input::patched),
            left_out: self.objects(self.left_out, Input::original),
            patched_image: patched_image.map(|image| &image[..]),
            payload,
            accepted: self.accepted(report),
        })
        .context("the account cannot be made")?;
        let image = self
            .patched_image
            .map(|image| image.path().display().to_string());
        let refused = refusals(&account, base.path(), image.as_deref().unwrap_or_default());
        report.refusals.extend(refused);
        report.account = Some(account);
        Ok(())
    }

    /// Some of the objects, but those that were merged from others.
    fn objects<'of>(
        &self,
        of: &'of [Input],
        bytes: fn(&Input) -> Option<&[u8]>,
    ) -> Vec<(&'of str, &'of [u8])> {
        let whole = of
            .iter()
            .filter(|input| !self.merged.parts.contains_key(&input.name));
        whole
            .filter_map(|input| Some((input.name.as_str(), bytes(input)?)))
            .collect()
    }

    /// Names of items that the author accepted.
    fn accepted(&self, report: &Report<'_>) -> Vec<String> {
        let given = self.accept.iter().map(String::as_str);
        let found = report
            .changes
            .accepted
            .iter()
            .map(|accepted| accepted.what.as_str());
        let named = given.chain(found).filter_map(|what| what.split_once(':'));
        let mut names: Vec<String> = named.map(|(_, name)| name.to_owned()).collect();
        // Functions that may differ in line numbers are among the ignored ones.
        if self.accept.iter().any(|what| what == "line-numbers") {
            names.extend(
                report
                    .changes
                    .ignored
                    .iter()
                    .map(|ignored| ignored.name.clone()),
            );
        }
        names
    }
}

/// A refusal for each thing that has no place, and for each that is linked in another way.
fn refusals(account: &Account, base: &str, patched_image: &str) -> Vec<Refusal> {
    let not_known = |image: &str, symbol: &UnknownSymbol, message: String| {
        Refusal::new(RefusalCode::NotAccounted, image, message).of(&symbol.name)
    };
    let of_item = |missing: &Missing, message: String| {
        Refusal::new(RefusalCode::NotAccounted, &missing.object, message)
            .at(&missing.section, missing.offset)
            .of(&missing.item)
    };
    let unknown = account.base.iter().flat_map(|base| &base.unknown);
    let mut found: Vec<Refusal> = unknown
        .map(|symbol| {
            not_known(base, symbol, tell::unknown(symbol)).shared(tell::unknown_together(symbol))
        })
        .collect();
    let is_base_known = found.is_empty();
    let missing = account.after.missing.iter();
    // What is not known of the base is no place for anything that the patched build has there.
    found.extend(missing.map(|missing| match is_base_known {
        true => of_item(missing, tell::missing(missing)),
        false => of_item(missing, tell::missing_behind(missing)).shared(tell::MISSING_BEHIND),
    }));
    if let Some(link) = &account.link {
        let unknown = link.image.unknown.iter();
        found.extend(
            unknown
                .map(|symbol| not_known(patched_image, symbol, tell::unknown_in_patched(symbol))),
        );
        let different = link.differences.iter();
        found.extend(different.map(|different| of_item(different, tell::difference(different))));
    }
    found
}
