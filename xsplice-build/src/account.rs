//! The account of a run: an independent check of the payload, or of the claim that none is needed.

use anyhow::{Context, Result};
use xsplice_account::{Account, Inputs, tell};
use xsplice_diff::verdict::kinds::RefusalCode;
use xsplice_diff::verdict::refusal::Refusal;
use xsplice_link::Base;

use crate::compare::merged::Merged;
use crate::inputs::Input;
use crate::tell::report::Report;

/// What the account is made from, besides the payload.
#[derive(Debug)]
pub struct Books<'run> {
    /// Both trees.
    pub inputs: &'run [Input],
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
    pub fn settle(
        &self,
        base: &Base<'_>,
        payload: Option<&[u8]>,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let inputs = self.inputs.iter();
        let inputs = inputs.filter(|input| !self.merged.parts.contains_key(&input.name));
        let inputs: Vec<&Input> = inputs.collect();
        let named = |bytes: fn(&Input) -> Option<&[u8]>| {
            let found = inputs
                .iter()
                .filter_map(|input| Some((input.name.as_str(), bytes(input)?)));
            found.collect()
        };
        let account = xsplice_account::account(&Inputs {
            base: base.file_bytes(),
            original: named(Input::original),
            patched: named(Input::patched),
            payload,
            accepted: self.accepted(report),
        })
        .context("the account cannot be made")?;
        report.refusals.extend(refusals(&account, base));
        report.account = Some(account);
        Ok(())
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

/// A refusal for each thing that has no place.
fn refusals(account: &Account, base: &Base<'_>) -> Vec<Refusal> {
    let unknown = account.base.unknown.iter().map(|symbol| {
        Refusal::new(
            RefusalCode::NotAccounted,
            base.path(),
            tell::unknown(symbol),
        )
        .of(&symbol.name)
    });
    let missing = account.after.missing.iter().map(|missing| {
        Refusal::new(
            RefusalCode::NotAccounted,
            &missing.object,
            tell::missing(missing),
        )
        .at(&missing.section, missing.offset)
        .of(&missing.item)
    });
    unknown.chain(missing).collect()
}
