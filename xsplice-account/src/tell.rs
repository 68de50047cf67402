//! The account in one line, and each thing that has no place in one more.

use crate::Account;
use crate::after::Missing;
use crate::base::UnknownSymbol;

/// The line for people.
#[must_use]
pub fn line(account: &Account) -> String {
    let after = &account.after;
    let missing = after.missing.len() + account.base.unknown.len();
    let link = if account.link_compared {
        ""
    } else {
        "; the link was not compared"
    };
    format!(
        "account: of the patched build {} bytes stand in the base, {} in the payload, {} are line \
         numbers, {} accepted, {} used by nothing; {missing} without a place{link}\n",
        after.in_base, after.in_payload, after.explained, after.accepted, after.unused,
    )
}

/// What is wrong with something of the base that no object holds, and what would make it right.
#[must_use]
pub fn unknown(symbol: &UnknownSymbol) -> String {
    format!(
        "{} bytes at {:#x} of the base are in no object of the original tree as they are linked; \
         give the whole tree that the base was linked from",
        symbol.size, symbol.address
    )
}

/// What is wrong with something of the patched build that has no place, and what would make it
/// right.
#[must_use]
pub fn missing(missing: &Missing) -> String {
    format!(
        "has no place once the payload is applied: {}; change the fix so that a payload can hold \
         it, or report this as a fault",
        missing.what
    )
}
