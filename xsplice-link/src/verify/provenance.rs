//! Holds a statement against the files that are at hand: payload, base and, where they are given,
//! patch and trees. What is not given is named, so that nobody takes silence for a check.

use sha2::{Digest as _, Sha256};
use xsplice_abi::hex::Hex;

use super::{Check, CheckKind, Verdict};
use crate::provenance::statement::{BUILD_ID, SHA256, TREE, input};
use crate::provenance::{Envelope, Statement};
use crate::sign::{self, Signer};

/// An input that the user has, and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// One of [`input`].
    pub name: &'static str,
    /// What messages call it.
    pub path: String,
    /// [`SHA256`] or [`TREE`].
    pub algorithm: &'static str,
    /// In hexadecimal.
    pub digest: String,
}

impl Given {
    /// A file of this SHA-256.
    #[must_use]
    pub fn file(name: &'static str, path: String, sha256: String) -> Given {
        Given {
            name,
            path,
            algorithm: SHA256,
            digest: sha256,
        }
    }

    /// A tree of this digest.
    #[must_use]
    pub fn tree(name: &'static str, path: String, digest: String) -> Given {
        Given {
            name,
            path,
            algorithm: TREE,
            digest,
        }
    }
}

/// What a statement is held against.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The payload's bytes, signed or not.
    pub payload: &'a [u8],
    /// Build-id of the base, in hexadecimal.
    pub base_id: String,
    /// The base, and whatever else is at hand.
    pub given: Vec<Given>,
    /// Who must have signed the statement; `None` asks for no signature.
    pub signer: Option<&'a Signer>,
}

/// The lines of the report: the failures, or one line that says what was compared.
#[must_use]
pub fn check(envelope: &Envelope, statement: &Statement, evidence: &Evidence<'_>) -> Vec<Check> {
    let mut faults = Vec::new();
    let whole = digest_of(evidence.payload);
    let content = digest_of(sign::content(evidence.payload));
    if !statement.is_about(&whole) && !statement.is_about(&content) {
        faults.push(format!(
            "it is about another payload: this one has SHA-256 {content}"
        ));
    }
    let base_id = statement
        .input(input::BASE)
        .and_then(|base| base.digest.get(BUILD_ID));
    if base_id != Some(&evidence.base_id) {
        let said = base_id.map_or("none", String::as_str);
        faults.push(format!("it names a base with the build-id {said}"));
    }
    for given in &evidence.given {
        let said = statement.input(given.name);
        match said.and_then(|said| said.digest.get(given.algorithm)) {
            Some(said) if *said == given.digest => {}
            Some(said) => faults.push(format!(
                "{}: is not the {} that it names: its digest is {}, and not {said}",
                given.path, given.name, given.digest
            )),
            None => faults.push(format!(
                "{}: it names no {} of this kind",
                given.path, given.name
            )),
        }
    }
    match evidence.signer {
        Some(signer) if !envelope.is_signed_by(signer) => faults.push(format!(
            "it is not signed by {}, or was changed since",
            signer.name()
        )),
        _ => {}
    }
    if faults.is_empty() {
        return vec![line(Verdict::Pass, told(envelope, statement, evidence))];
    }
    let faults = faults.into_iter();
    faults.map(|fault| line(Verdict::Fail, fault)).collect()
}

/// What was compared, and what was not.
fn told(envelope: &Envelope, statement: &Statement, evidence: &Evidence<'_>) -> String {
    let mut compared = vec!["payload"];
    let mut open = Vec::new();
    let inputs = &statement.predicate.build_definition.resolved_dependencies;
    for resource in inputs {
        let is_given = |given: &Given| given.name == resource.name;
        if evidence.given.iter().any(is_given) {
            compared.push(&resource.name);
        } else {
            open.push(resource.name.as_str());
        }
    }
    let mut text = format!("names this {}", compared.join(", "));
    if !open.is_empty() {
        text.push_str(&format!("; not given: {}", open.join(", ")));
    }
    match evidence.signer {
        Some(signer) => text.push_str(&format!("; signed by {}", signer.name())),
        None if envelope.is_signed() => text.push_str("; signed, and only --cert can tell by whom"),
        None => text.push_str("; not signed"),
    }
    text
}

fn line(verdict: Verdict, message: String) -> Check {
    Check {
        check: CheckKind::Provenance,
        verdict,
        errno: None,
        message,
    }
}

/// SHA-256 in hexadecimal.
fn digest_of(bytes: &[u8]) -> String {
    Hex(Sha256::digest(bytes).as_slice()).to_string()
}
