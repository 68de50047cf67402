//! Where a payload comes from: a statement about its inputs (in-toto v1 with SLSA provenance v1),
//! in an envelope that is signed (DSSE). docs/provenance.md has the keys.
//!
//! The formats are small and closed, so they are written here as structures: what cannot be written
//! wrong need not be checked.

pub mod envelope;
pub mod statement;

pub use envelope::Envelope;
pub use statement::{Digests, Resource, Statement};

/// Why provenance cannot be read or signed.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// Not an envelope, or one of something else.
    #[error("{path}: is no provenance of xsplice-build: {why}")]
    NotOurs {
        /// The file.
        path: String,
        /// What is not as it should be.
        why: String,
    },
    /// Signed, and about to be changed.
    #[error("{path}: is signed already; give the provenance that xsplice-build wrote")]
    Signed {
        /// The file.
        path: String,
    },
    /// The statement is about another payload.
    #[error("{path}: is about another payload than {payload}")]
    OtherPayload {
        /// The file.
        path: String,
        /// The payload.
        payload: String,
    },
}
