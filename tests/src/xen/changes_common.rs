//! The changes in common code, which are the same on every machine.

use super::build::DebugInfo;
use super::change::{Change, Course, Effect, Sight, Verdict, appears, file, judged, loadable};

pub(super) const MINOR_VERSION: Change = loadable(
    "minor-version",
    "a function in common code",
    &["common/version.o:xen_minor_version (bytes-differ)"],
    &[Effect {
        command: "cat /sys/hypervisor/version/minor",
        unpatched: Sight::Prints("17"),
        patched: Sight::Prints("99"),
    }],
);

pub(super) const BUG_FRAME: Change = loadable(
    "bug-frame",
    "a static function with bug frames, one of them new",
    &["common/hypfs.o:hypfs_unlock (bytes-differ, size-differs)"],
    // hypfs_op (42), read (1), the path "/" of two bytes, into nothing.
    &[Effect {
        command: "probe 42 1 hex:2f00 2 0 0",
        unpatched: Sight::ConsoleOmits("Xen WARN at"),
        patched: Sight::ConsoleSays("xen/common/hypfs.c:106"),
    }],
);

pub(super) const NEW_FUNCTION: Change = Change {
    course: Course::OnceOnly,
    ..loadable(
        "new-function",
        "a new function with a new static variable",
        &[
            "common/version.o:xen_changeset (bytes-differ, size-differs)",
            "+common/version.o:counted_changeset (pulled-in)",
        ],
        &[
            file("cat /sys/hypervisor/properties/changeset", "read", "read 1"),
            file("cat /sys/hypervisor/properties/changeset", "read", "read 2"),
        ],
    )
};

pub(super) const SHADOW_VARIABLE: Change = Change {
    course: Course::OnceOnly,
    ..loadable(
        "shadow-variable",
        "a variable beside each object that cannot grow",
        &[
            "common/domain.o:do_vm_assist (bytes-differ, size-differs)",
            "+common/domain.o:counter_of (pulled-in)",
        ],
        // vm_assist (21), a command that only the patched hypervisor knows.
        &[
            appears("probe 21 0x7873 0", "7001"),
            appears("probe 21 0x7873 0", "7002"),
        ],
    )
};

pub(super) const NEW_FILE: Change = Change {
    course: Course::OnceOnly,
    ..loadable(
        "new-file",
        "a new source file",
        &[
            "common/version.o:xen_compiler (bytes-differ, size-differs)",
            "+common/xsplice_greeting.o:xsplice_greeting (new-object)",
        ],
        &[appears(
            "cat /sys/hypervisor/compilation/compiler",
            "greeting to d0",
        )],
    )
};

pub(super) const LOAD_HOOKS: Change = Change {
    applying: &["xsplice: load hook ran"],
    reverting: &["xsplice: unload hook ran"],
    ..loadable(
        "load-hooks",
        "load and unload hooks",
        &[
            "common/version.o:xen_compile_system_maintainer_local (string-differs)",
            "+common/version.o:said_load (hook)",
            "+common/version.o:said_unload (hook)",
        ],
        &[appears(
            "cat /sys/hypervisor/compilation/compiled_by",
            "the load hook",
        )],
    )
};

pub(super) const DATA_HOOK: Change = Change {
    applying: &["xsplice: granularity 2, was 1"],
    reverting: &["xsplice: granularity 1, was 2"],
    ..loadable(
        "data-hook",
        "another initial value of a variable, accepted and set by a hook",
        &[
            "+common/sched/cpupool.o:granularity_patched (hook)",
            "+common/sched/cpupool.o:granularity_unpatched (hook)",
        ],
        &[],
    )
};

pub(super) const VETO_HOOKS: Change = Change {
    course: Course::VetoedFirst,
    applying: &[
        "xsplice: preapply hook agrees",
        "xsplice: postapply hook ran",
    ],
    reverting: &[
        "xsplice: prerevert hook agrees",
        "xsplice: postrevert hook ran",
    ],
    ..loadable(
        "veto-hooks",
        "pre and post hooks that veto",
        &[
            "common/version.o:xen_major_version (bytes-differ)",
            "+common/version.o:told_applied (hook)",
            "+common/version.o:told_reverted (hook)",
            "+common/version.o:veto_first_apply (hook)",
            "+common/version.o:veto_first_revert (hook)",
        ],
        &[Effect {
            command: "cat /sys/hypervisor/version/major",
            unpatched: Sight::Prints("4"),
            patched: Sight::Prints("5"),
        }],
    )
};

pub(super) const LINE_SHIFT: Change =
    judged("line-shift", "lines that only moved", Verdict::NoChange);

pub(super) const LINE_SHIFT_WITH_G: Change = Change {
    debug_info: DebugInfo::Present,
    ..judged(
        "line-shift",
        "lines that only moved, built with -g",
        Verdict::NoChange,
    )
};

pub(super) const DATA_CHANGE: Change = judged(
    "data-change",
    "another initial value of a variable",
    Verdict::Refused("changed-data"),
);

pub(super) const INIT_ONLY: Change = judged(
    "init-only",
    "a function that only runs at boot",
    Verdict::Refused("changed-init"),
);

pub(super) const STRUCTURE: Change = judged("structure", "a structure's layout", Verdict::Ripples);

pub(super) const STRING_ONLY: Change = loadable(
    "string-only",
    "a string and nothing else",
    &["common/version.o:xen_extra_version (string-differs)"],
    &[appears("cat /sys/hypervisor/version/extra", "Hello World")],
);
