//! The account of a run: an independent look at what was made, or at why nothing was.

use anyhow::{Context, Result};
use xsplice_account::{Account, Inputs, tell};
use xsplice_link::Base;

use crate::compare::merged::Merged;
use crate::inputs::Input;
use crate::tell::report::{RefusalEntry, Report};

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
    /// Makes the account, tells it in the report, and refuses what has no place.
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
            acknowledged: self.acknowledged(report),
        })
        .context("the account cannot be made")?;
        report.refusals.extend(refusals(&account, base));
        report.account = Some(account);
        Ok(())
    }

    /// Names of what the author said may differ.
    fn acknowledged(&self, report: &Report<'_>) -> Vec<String> {
        let given = self.accept.iter().map(String::as_str);
        let found = report
            .accepted
            .iter()
            .map(|accepted| accepted.what.as_str());
        let named = given.chain(found).filter_map(|what| what.split_once(':'));
        let mut names: Vec<String> = named.map(|(_, name)| name.to_owned()).collect();
        // Functions in which lines may differ are listed with what was ignored.
        if self.accept.iter().any(|what| what == "line-numbers") {
            names.extend(report.ignored.iter().map(|ignored| ignored.name.clone()));
        }
        names
    }
}

/// The code of a refusal that stands for bytes without a place.
const CODE: &str = "not-accounted";

fn refusals(account: &Account, base: &Base<'_>) -> Vec<RefusalEntry> {
    let unknown = account.base.unknown.iter();
    let unknown = unknown.map(|symbol| (base.path().to_owned(), None, symbol.name.clone(), None));
    let missing = account.after.missing.iter().map(|missing| {
        let section = Some(missing.section.clone());
        (
            missing.object.clone(),
            section,
            missing.item.clone(),
            Some(missing.offset),
        )
    });
    let places = unknown.chain(missing).zip(tell::missing(account));
    let entry = |((object, section, symbol, offset), message)| RefusalEntry {
        code: CODE.into(),
        object,
        section,
        symbol: Some(symbol),
        offset,
        message,
    };
    places.map(entry).collect()
}
