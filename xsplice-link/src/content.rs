//! What a payload does, without what binds it to one base: for telling that the payloads of several
//! builds are one and the same change.

use sha2::{Digest as _, Sha256};
use xsplice_abi::hex::Hex;
use xsplice_abi::section;

use crate::error::LinkError;
use crate::facts::Facts;
use crate::read;
use crate::sign;

/// A payload's identity, and that of what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its own build-id, in hexadecimal; empty when it has none.
    pub build_id: String,
    /// SHA-256 of every section but the three notes with build-ids, in hexadecimal.
    pub sha256: String,
}

/// Reads a payload, without the signature that may follow it.
///
/// # Errors
///
/// The file is no payload.
pub fn of(path: &str, file: &[u8]) -> Result<Content, LinkError> {
    let view = read::payload(sign::content(file)).map_err(|source| LinkError::Payload {
        path: path.to_owned(),
        source,
    })?;
    let facts = Facts::new(&view);
    let is_id = |name: &str| {
        let suffix = name.strip_prefix(facts.abi.prefix);
        let notes = [section::DEPENDS, section::XEN_DEPENDS];
        name == section::BUILD_ID || suffix.is_some_and(|suffix| notes.contains(&suffix))
    };
    let mut hash = Sha256::new();
    for section in view.sections.iter().filter(|section| !is_id(section.name)) {
        hash.update(section.name.as_bytes());
        for number in [
            u64::from(section.kind),
            section.flags,
            section.size,
            section.alignment,
            u64::from(section.link),
            u64::from(section.info),
        ] {
            hash.update(number.to_le_bytes());
        }
        hash.update(section.data);
    }
    Ok(Content {
        build_id: facts.build_id.map(|id| id.to_string()).unwrap_or_default(),
        sha256: Hex(hash.finalize().as_slice()).to_string(),
    })
}
