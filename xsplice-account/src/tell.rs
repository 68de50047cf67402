//! The account in one line, and each thing that has no place in one more.

use crate::Account;
use crate::after::Missing;
use crate::base::UnknownSymbol;
use crate::link::LinkAccount;

/// The line for people.
#[must_use]
pub fn line(account: &Account) -> String {
    let after = &account.after;
    let mut parts = vec![
        format!("{} bytes stand in the base", after.in_base),
        format!("{} in the payload", after.in_payload),
    ];
    for (bytes, what) in [
        (after.explained, "are line numbers"),
        (after.stamps, "tell when it was built"),
        (after.accepted, "accepted"),
        (after.unused, "used by nothing"),
    ] {
        if bytes != 0 {
            parts.push(format!("{bytes} {what}"));
        }
    }
    if account.base.is_none() {
        parts.push("one object was given, so the rest of the base was not looked at".to_owned());
    }
    format!(
        "account: of the patched build {}; {} without a place; {}\n",
        parts.join(", "),
        match count(account) {
            0 => "nothing".to_owned(),
            missing => missing.to_string(),
        },
        match &account.link {
            None => "the link was not compared",
            Some(link) if is_alike(link) => "linked as the base was",
            Some(_) => "linked in another way than the base",
        }
    )
}

/// How many things have no place.
fn count(account: &Account) -> usize {
    let unknown = account.base.as_ref().map_or(0, |base| base.unknown.len());
    account.after.missing.len() + unknown
}

fn is_alike(link: &LinkAccount) -> bool {
    link.differences.is_empty() && link.image.unknown.is_empty()
}

/// What is wrong with something of the base that no object holds, and what would make it right.
#[must_use]
pub fn unknown(symbol: &UnknownSymbol) -> String {
    format!(
        "{} bytes at {:#x} of the base are in no object of the original tree as they are linked; \
         give the whole tree that the base was linked from ({})",
        symbol.size, symbol.address, symbol.why
    )
}

/// The same of several that are so for one reason.
#[must_use]
pub fn unknown_together(symbol: &UnknownSymbol) -> String {
    format!(
        "bytes of the base are in no object of the original tree as they are linked; give the \
         whole tree that the base was linked from ({})",
        symbol.why
    )
}

/// What is wrong with what has no place in a base of which not everything is known.
pub const MISSING_BEHIND: &str = "no place once the payload is applied, as long as bytes of the \
                                  base are not known; give the whole tree that the base was linked \
                                  from";

/// What is wrong with something of the patched build that has no place, where bytes of the base are
/// not known.
#[must_use]
pub fn missing_behind(missing: &Missing) -> String {
    format!("{MISSING_BEHIND} ({})", missing.what)
}

/// What is wrong with something of the patched image that no object holds, and what would make it
/// right.
#[must_use]
pub fn unknown_in_patched(symbol: &UnknownSymbol) -> String {
    format!(
        "{} bytes at {:#x} of the patched image are in no object of the patched tree as they are \
         linked; link that tree again, or name its image with --patched-base ({})",
        symbol.size, symbol.address, symbol.why
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

/// What the link of the patched build decided in another way, and what would make it right.
#[must_use]
pub fn difference(difference: &Missing) -> String {
    format!(
        "is linked in another way: {}; link the patched build as the base was, or change the fix \
         so that the link stays as it was",
        difference.what
    )
}
