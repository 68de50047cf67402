//! Ways to break a payload, one place at a time, each with the error number that the loader must
//! return for it and the check of `verify` that must name it.
//!
//! A break says `None` where the payload has nothing of the kind. What the loader cannot see, and
//! `verify` must, stands apart.

mod contents;
mod file;
mod patches;
mod symbols;
mod trailer;

use xsplice_abi::errno::Errno;
use xsplice_link::verify::CheckKind;

use crate::edit::Edit;
pub use trailer::{SIGNATURE, TrailerBreak};

/// Changes one thing; `None` when the payload does not have it.
pub type Change = fn(&mut Edit) -> Option<()>;

/// One break.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    /// Its name.
    pub name: &'static str,
    /// What is changed.
    pub change: Change,
    /// A check of `verify` that must fail with the loader's number.
    pub check: CheckKind,
    /// What the loader's UPLOAD or APPLY returns, as a positive number.
    pub errno: Errno,
}

/// One break that the loader takes: the payload would not do what it means to.
#[derive(Clone, Copy, Debug)]
pub struct Unseen {
    /// Its name.
    pub name: &'static str,
    /// What is changed.
    pub change: Change,
    /// A check of `verify` that must fail, without a number.
    pub check: CheckKind,
}

const fn broken(name: &'static str, change: Change, check: CheckKind, errno: Errno) -> Break {
    Break {
        name,
        change,
        check,
        errno,
    }
}

/// Every break that a loader refuses.
pub fn all() -> impl Iterator<Item = &'static Break> {
    [
        file::FILE,
        file::SECTIONS,
        file::NOTES,
        symbols::SYMBOLS,
        symbols::RELOCATIONS,
        patches::RECORDS,
        patches::EXPECTATIONS,
        contents::HOOKS,
        contents::TABLES,
    ]
    .into_iter()
    .flatten()
}

/// Every break that a loader takes.
pub fn unseen() -> impl Iterator<Item = &'static Unseen> {
    [patches::UNSEEN, contents::UNSEEN].into_iter().flatten()
}
