//! The account: finds a place for every byte of the base and of the patched build.
//!
//! The differ works by rules about what may differ, and a rule may be missing. The account needs no
//! such rules: it looks for each item of the patched build in the base and in the payload, and
//! refuses an item that it does not find. It reads only the inputs and the output, and shares no
//! decision with the differ.
#![forbid(unsafe_code)]

pub(crate) mod account;
pub mod after;
pub mod base;
pub(crate) mod error;
pub(crate) mod follow;
pub(crate) mod link;
pub(crate) mod payload;
pub(crate) mod ranges;
pub(crate) mod read;
pub mod tell;

pub use account::{Account, Given, Inputs, account};
pub use error::AccountError;
pub use payload::{PayloadAccount, PayloadInputs, payload_account};
