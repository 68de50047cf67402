//! The changes of Xen 4.14: those of the other release, and what is otherwise there.
//!
//! A patch that does not fit has one of its own in `fixtures/xen/changes/4.14`.

use std::sync::LazyLock;

use super::change::{CHANGES, Change, Effect, Sight};

/// Changes that this release cannot have, and why.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "thunk-placement",
        "it has no return thunks, whose place the change moves",
    ),
    (
        "ro-after-init",
        "it has no section for what is read-only after the boot",
    ),
];

/// All changes of this release.
pub(super) fn changes() -> &'static [Change] {
    static ALL: LazyLock<Vec<Change>> = LazyLock::new(|| {
        let is_there = |change: &&Change| !LEFT_OUT.iter().any(|(name, _)| *name == change.name);
        let all = CHANGES.iter().filter(is_there).copied();
        all.map(otherwise).collect()
    });
    &ALL
}

/// A change as this release and its compiler have it.
fn otherwise(change: Change) -> Change {
    match change.name {
        "minor-version" => Change {
            effects: if change.effects.is_empty() {
                &[]
            } else {
                MINOR
            },
            ..change
        },
        _ => change,
    }
}

const MINOR: &[Effect] = &[Effect {
    command: "cat /sys/hypervisor/version/minor",
    unpatched: Sight::Prints("14"),
    patched: Sight::Prints("99"),
}];
