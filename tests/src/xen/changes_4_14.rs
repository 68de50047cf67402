//! The changes of Xen 4.14: those of the other release, and what is otherwise there.
//!
//! A patch that does not fit has one of its own in `fixtures/xen/changes/4.14`.

use std::sync::LazyLock;

use super::change::{CHANGES, Change, Effect, Sight, Verdict};

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
    let replaces = |functions: &'static [&'static str]| Change {
        verdict: Verdict::Payload(functions),
        ..change
    };
    match change.name {
        // Nothing is looked at where only the tools are asked.
        "minor-version" if !change.effects.is_empty() => Change {
            effects: MINOR,
            ..change
        },
        "bug-frame" => Change {
            effects: WARNING,
            ..change
        },
        "cold-part" => Change {
            effects: COLD_PART,
            ..change
        },
        // All accesses to guests go through one function.
        "exception-table" => {
            replaces(&["arch/x86/usercopy.o:__copy_to_user_ll (bytes-differ, size-differs)"])
        }
        // The function has another name here.
        "load-hooks" => replaces(&[
            "common/version.o:xen_compile_by (string-differs)",
            "+common/version.o:said_load (hook)",
            "+common/version.o:said_unload (hook)",
        ]),
        // Functions have no sections of their own: the traps of three neighbours, which stand
        // behind all code, are at other places.
        "vmx-code" => replaces(&[
            "arch/x86/hvm/vmx/vmx.o:vmx_get_guest_pat (target-differs)",
            "arch/x86/hvm/vmx/vmx.o:vmx_get_segment_register (bytes-differ, size-differs)",
            "arch/x86/hvm/vmx/vmx.o:vmx_set_guest_pat (target-differs)",
            "arch/x86/hvm/vmx/vmx.o:vmx_setup_tsc_scaling (target-differs)",
        ]),
        // This link takes the whole library.
        "library-function" => Change {
            about: "a call of a function that the image has, and nothing called before",
            ..replaces(&[
                "common/guestcopy.o:safe_copy_string_from_guest (bytes-differ, size-differs)",
            ])
        },
        _ => change,
    }
}

const MINOR: &[Effect] = &[Effect {
    command: "cat /sys/hypervisor/version/minor",
    unpatched: Sight::Prints("14"),
    patched: Sight::Prints("99"),
}];

// It warns at another line, and names the file alone.
const WARNING: &[Effect] = &[Effect {
    command: "probe 42 1 hex:2f00 2 0 0",
    unpatched: Sight::ConsoleOmits("Xen WARN at"),
    patched: Sight::ConsoleSays("Xen WARN at hypfs.c:62"),
}];

// As in the other release; the version of the interface is 0x12.
const COLD_PART: &[Effect] = &[Effect {
    command: "probe 36 hex:1500000012000000000000000000000\
              0f90200000100000001",
    unpatched: Sight::ConsoleOmits("xsplice:"),
    patched: Sight::ConsoleSays("xsplice: the cold part saw 0x2f9"),
}];
