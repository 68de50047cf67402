//! Every code that any of the tools can say has its page, and every page its code.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use xsplice_diff::tell::code_page::{Kind, pages};
use xsplice_diff::verdict::kinds::Reason;

/// The variants of a closed enum, as serde knows them: it lists them when it meets another.
fn variants<T: DeserializeOwned>(unknown: &str) -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<T>(unknown) else {
        panic!("{unknown} is not a variant");
    };
    let error = error.to_string();
    let (_, expected) = error
        .split_once("expected one of ")
        .unwrap_or_else(|| panic!("serde lists what it expects: {error}"));
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn documented(kind: Kind) -> BTreeSet<String> {
    pages()
        .filter(|page| page.kind == kind)
        .map(|page| page.code.to_owned())
        .collect()
}

#[test]
fn every_refusal_has_its_page_and_every_page_its_refusal() {
    let codes = variants::<xsplice_diff::verdict::kinds::RefusalCode>("\"?\"");
    for code in ["changed-data", "proof-failed", "hunk-not-compiled"] {
        assert!(codes.contains(code), "{code}");
    }
    assert_eq!(documented(Kind::Refusal), codes);
}

#[test]
fn every_reason_has_its_page_and_every_page_its_reason() {
    let kinds = variants::<Reason>("{\"kind\":\"?\"}");
    assert!(kinds.contains("bytes-differ"));
    assert_eq!(documented(Kind::Reason), kinds);
}
