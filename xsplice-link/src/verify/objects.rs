//! Whether the payload holds what the patched objects hold: the payload's half of the account.
//!
//! The checks beside this one ask whether a loader takes the payload and whether the base is the
//! right one. None of them can tell that a function's code is another's.

use xsplice_account::{PayloadInputs, payload_account};

use super::{Check, CheckKind, Lines};
use crate::base::Base;
use crate::sign;

/// The lines of the report: each thing that is in none of the `objects`, by name and bytes, or one
/// line that counts.
#[must_use]
pub fn check(payload: &[u8], base: &Base<'_>, objects: Vec<(&str, &[u8])>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut lines = Lines::new(&mut checks, CheckKind::Objects);
    let count = objects.len();
    let account = payload_account(&PayloadInputs {
        base: base.file_bytes(),
        objects,
        payload: sign::content(payload),
    });
    match account {
        Ok(account) => {
            for missing in account.missing {
                lines.fail_unseen(missing);
            }
            lines.pass(format!(
                "{} of its {} bytes are in the {count} objects given, the linker made {}, {} are \
                 padding",
                account.from_objects, account.bytes, account.from_linker, account.padding
            ));
        }
        Err(error) => lines.fail_unseen(error.to_string()),
    }
    checks
}
