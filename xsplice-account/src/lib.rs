//! The account: finds a place for every byte of the base and of the patched build.
//!
//! The differ works by rules about what may differ, and a rule may be missing. The account needs no
//! such rules: it looks for each item of the patched build in the base and in the payload, and
//! refuses an item that it does not find. It reads only the inputs and the output, and shares no
//! decision with the differ.
#![forbid(unsafe_code)]

pub(crate) mod after;
pub(crate) mod base;
pub(crate) mod error;
pub(crate) mod follow;
pub(crate) mod read;
pub mod tell;

pub use error::AccountError;
use serde::Serialize;

use crate::after::AfterAccount;
use crate::base::BaseAccount;
use crate::follow::Follower;
use crate::follow::claims::Claims;
use crate::read::image::Image;
use crate::read::payload::Payload;
use crate::read::tree::Tree;

/// What the account is made of.
#[derive(Debug)]
pub struct Inputs<'data> {
    /// The base.
    pub base: &'data [u8],
    /// Objects of the original build, by name.
    pub original: Vec<(&'data str, &'data [u8])>,
    /// Objects of the patched build, by name.
    pub patched: Vec<(&'data str, &'data [u8])>,
    /// The payload; `None` when the differ found no change.
    pub payload: Option<&'data [u8]>,
    /// Names of what the author accepted.
    pub accepted: Vec<String>,
}

/// The account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The base's bytes.
    pub base: BaseAccount,
    /// The patched build's bytes, once the payload is applied.
    pub after: AfterAccount,
    /// Whether the patched build's own link was looked at.
    pub link_compared: bool,
}

impl Account {
    /// Whether everything has a place.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.base.unknown.is_empty() && self.after.missing.is_empty()
    }
}

/// Makes the account.
///
/// # Errors
///
/// When one of the inputs cannot be read.
pub fn account(inputs: &Inputs<'_>) -> Result<Account, AccountError> {
    let image = Image::parse(inputs.base)?;
    let (original, patched) = rayon::join(
        || Tree::read(&inputs.original),
        || Tree::read(&inputs.patched),
    );
    let payload = inputs.payload.map(Payload::parse).transpose()?;
    let mut placing = Follower::new(&original, &image, None, None, &[]);
    base::place(&mut placing);
    let base = base::account(&placing);
    let claims = Claims::new(&original, &placing);
    let accepted = &inputs.accepted;
    let payload = payload.as_ref();
    let mut after = Follower::new(&patched, &image, payload, Some(&claims), accepted);
    Ok(Account {
        base,
        after: after::account(&mut after),
        link_compared: false,
    })
}
