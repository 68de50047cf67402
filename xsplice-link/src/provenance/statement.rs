//! The statement: in-toto Statement v1 (in-toto/attestation, `spec/v1/statement.md`) whose
//! predicate is SLSA provenance v1 (slsa.dev, `provenance/v1`).
//!
//! It holds no time and no path of the machine: the same inputs give the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Type of the statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// Type of its predicate.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// How the payload was made; docs/provenance.md says what its parameters mean.
pub const BUILD_TYPE: &str = "urn:xsplice:payload:v1";
/// What made it.
pub const BUILDER: &str = "urn:xsplice:xsplice-build";

/// Digests by algorithm.
pub type Digests = BTreeMap<String, String>;
/// The algorithm of files.
pub const SHA256: &str = "sha256";
/// The algorithm of trees: SHA-256 of the list that docs/store.md describes.
pub const TREE: &str = "xspliceTree";
/// A build-id.
pub const BUILD_ID: &str = "gnuBuildId";

/// Names of inputs.
pub mod input {
    /// The linked image.
    pub const BASE: &str = "base";
    /// Objects of the build that runs.
    pub const ORIGINAL: &str = "original";
    /// Objects of the build with the fix.
    pub const PATCHED: &str = "patched";
    /// The source that was built.
    pub const SOURCE: &str = "source";
    /// The source patch.
    pub const PATCH: &str = "patch";
    /// What the payload stacks on.
    pub const BELOW: &str = "below";
}

/// The statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The payload; once it was signed also the signed file.
    pub subject: Vec<Resource>,
    /// [`PREDICATE`].
    pub predicate_type: String,
    /// What is said of it.
    pub predicate: Predicate,
}

/// A file or tree with its digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The payload's file name, or one of [`input`].
    pub name: String,
    /// At least one.
    pub digest: Digests,
}

impl Resource {
    /// One digest of something.
    #[must_use]
    pub fn new(name: &str, algorithm: &str, digest: &str) -> Resource {
        Resource {
            name: name.to_owned(),
            digest: Digests::from([(algorithm.to_owned(), digest.to_owned())]),
        }
    }
}

/// SLSA provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// From what, and how.
    pub build_definition: BuildDefinition,
    /// By what.
    pub run_details: RunDetails,
}

/// From what the payload was made, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILD_TYPE`].
    pub build_type: String,
    /// What the user asked for.
    pub external_parameters: serde_json::Value,
    /// What was found in the inputs.
    pub internal_parameters: serde_json::Value,
    /// The inputs.
    pub resolved_dependencies: Vec<Resource>,
}

/// What made the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// The tool.
    pub builder: Builder,
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// [`BUILDER`].
    pub id: String,
    /// Versions by name.
    pub version: BTreeMap<String, String>,
}

impl Statement {
    /// About a payload that `xsplice-build` of this version made.
    #[must_use]
    pub fn new(payload: Resource, definition: BuildDefinition, version: &str) -> Statement {
        let version = ("xsplice-build".to_owned(), version.to_owned());
        Statement {
            kind: STATEMENT.to_owned(),
            subject: vec![payload],
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                build_definition: definition,
                run_details: RunDetails {
                    builder: Builder {
                        id: BUILDER.to_owned(),
                        version: BTreeMap::from([version]),
                    },
                },
            },
        }
    }

    /// Whether a file of this SHA-256 is what it is about.
    #[must_use]
    pub fn is_about(&self, sha256: &str) -> bool {
        let mut digests = self.subject.iter().filter_map(|one| one.digest.get(SHA256));
        digests.any(|digest| digest == sha256)
    }

    /// An input by its name.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&Resource> {
        let mut inputs = self.predicate.build_definition.resolved_dependencies.iter();
        inputs.find(|input| input.name == name)
    }
}
