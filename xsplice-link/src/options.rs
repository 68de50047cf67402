//! Options of a link.

use std::collections::BTreeSet;
use std::ops::Range;

use xsplice_abi::Profile;

use crate::build_id::BuildId;

/// How references to the base are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum References {
    /// Undefined symbols, named as the base names them; the loader looks them up.
    #[default]
    ByName,
    /// Absolute symbols with the base's addresses (`--prelink`).
    Prelinked,
}

/// Whether the bytes of every replaced function are proven against the base first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseProof {
    /// A difference is refused.
    #[default]
    Required,
    /// `--no-base-proof`; recorded in `.modinfo`.
    Skipped,
}

/// What the payload stacks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StacksOn {
    /// The base itself.
    Base,
    /// A payload of which only the id is known, and not what it replaces.
    Id(BuildId),
    /// A payload whose file was given.
    Payload(Below),
}

/// What a link needs to know of a payload below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// Its own build-id.
    pub build_id: BuildId,
    /// Old functions that it replaces, by address.
    pub replaced: Vec<Range<u64>>,
    /// Global symbols that it exports.
    pub exports: Vec<String>,
}

/// Options of [`crate::link`].
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// The payload's name: letters, digits and `._+-`.
    pub name: String,
    /// The ABI.
    pub abi: &'static Profile,
    /// By name or by address.
    pub references: References,
    /// Proof of the records.
    pub proof: BaseProof,
    /// Goes into `PREFIXdepends`.
    pub stacks_on: StacksOn,
    /// Goes into `PREFIXxen_depends`; `None` takes the base's own.
    pub base_id: Option<BuildId>,
    /// New global symbols that later payloads may refer to.
    pub exports: Vec<String>,
    /// Names that are known to mean what has them in the base, where that may be in doubt.
    pub plain_names: BTreeSet<String>,
    /// Further `key=value` lines of `.modinfo`.
    pub metadata: Vec<(String, String)>,
    /// The version that `tool=` of `.modinfo` names.
    pub tool_version: String,
}

impl LinkOptions {
    /// The defaults for a payload of this name.
    #[must_use]
    pub fn new(name: &str, abi: &'static Profile) -> LinkOptions {
        LinkOptions {
            name: name.to_owned(),
            abi,
            references: References::ByName,
            proof: BaseProof::Required,
            stacks_on: StacksOn::Base,
            base_id: None,
            exports: Vec::new(),
            plain_names: BTreeSet::new(),
            metadata: Vec::new(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
