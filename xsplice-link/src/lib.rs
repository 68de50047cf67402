//! Links extracts against the base into a payload, and inspects, verifies and signs payloads.
//!
//! [`Base::parse`] indexes the image; [`link()`] merges the extracts, proves the replaced functions
//! against the image, resolves every name and writes the file.
#![deny(unsafe_code)]

pub mod base;
pub(crate) mod build_id;
#[cfg(feature = "command")]
pub mod command;
pub mod content;
pub(crate) mod depends;
pub(crate) mod error;
pub(crate) mod facts;
pub mod inspect;
pub mod layout;
pub mod link;
pub(crate) mod merge;
pub mod options;
pub mod proof;
pub mod provenance;
pub(crate) mod read;
pub(crate) mod resolve;
pub mod sign;
pub mod verify;
pub(crate) mod write;

pub use base::Base;
pub use build_id::BuildId;
pub use error::{LinkError, Refusal, RefusalCode, Refusals};
pub use link::{Payload, link};
pub use options::LinkOptions;
