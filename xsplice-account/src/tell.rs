//! The account in one line, and each thing that has no place in one more.

use crate::Account;

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
         numbers, {} acknowledged, {} used by nothing; {missing} without a place{link}\n",
        after.in_base, after.in_payload, after.explained, after.acknowledged, after.unused,
    )
}

/// One sentence for each thing that has no place.
#[must_use]
pub fn missing(account: &Account) -> Vec<String> {
    let unknown = account.base.unknown.iter().map(|symbol| {
        format!(
            "{} ({} bytes at {:#x}) is in the base and in no object of the original tree as it is \
             linked; give the whole tree that the base was linked from",
            symbol.name, symbol.size, symbol.address
        )
    });
    let missing = account.after.missing.iter().map(|missing| {
        format!(
            "{}:{}+{:#x} ({}): has no place once the payload is applied: {}; change the fix so \
             that a payload can carry it, or report this as a fault",
            missing.object, missing.section, missing.offset, missing.item, missing.what
        )
    });
    unknown.chain(missing).collect()
}
