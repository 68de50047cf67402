//! Errors: why an account cannot be made.

use thiserror::Error;
use xsplice_diff::DiffError;

/// Why there is no account.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The image or the payload cannot be read.
    #[error("the account cannot read the image: {0}; give the linked ELF file")]
    Image(#[from] object::read::Error),
    /// An object cannot be read.
    #[error(transparent)]
    Object(#[from] DiffError),
    /// The payload has a shape that its format does not have.
    #[error("the account cannot read the payload: {what}; this is a fault of the linker")]
    Payload {
        /// What is wrong.
        what: &'static str,
    },
}
