//! The changes of a real Xen for AArch64: those of x86-64 that are in common code, and what is
//! this machine's own.

use super::build::DebugInfo;
use super::change::{Change, Course, Effect, Sight, Verdict, appears, judged, loadable};

const EXTRA: &str = "cat /sys/hypervisor/version/extra";

/// All changes, in the order of the table and of the stack in which all stand at once.
pub const CHANGES: &[Change] = &[
    loadable(
        "minor-version",
        "a function in common code",
        &["common/version.o:xen_minor_version (bytes-differ)"],
        &[Effect {
            command: "cat /sys/hypervisor/version/minor",
            unpatched: Sight::Prints("17"),
            patched: Sight::Prints("99"),
        }],
    ),
    loadable(
        "string-only",
        "a string and nothing else",
        &["common/version.o:xen_extra_version (string-differs)"],
        &[appears(EXTRA, "Hello World")],
    ),
    // The file's name would be the payload's own: see `traps`.
    judged(
        "bug-frame",
        "a static function with bug frames, one of them new",
        Verdict::Refused("verify-failed"),
    ),
    loadable(
        "alternatives",
        "a function with alternatives",
        &["common/kernel.o:do_xen_version (bytes-differ)"],
        // xen_version (17), page size (7).
        &[Effect {
            command: "probe 17 7 0",
            unpatched: Sight::Prints("4096"),
            patched: Sight::Prints("8192"),
        }],
    ),
    loadable(
        "arm64-jump-table",
        "a jump table without relocations",
        &["common/kernel.o:do_xen_version (bytes-differ, size-differs)"],
        &[Effect {
            command: "probe 17 13 0",
            unpatched: Sight::Omits("4013"),
            patched: Sight::Prints("4013"),
        }],
    ),
    loadable(
        "arm64-static-function",
        "a static function whose address is taken",
        &["arch/arm/vgic-v3.o:vgic_v3_distr_mmio_read (bytes-differ)"],
        &[],
    ),
    loadable(
        "arm64-trap",
        "a function that a guest reaches by a trap",
        &["arch/arm/vpsci.o:do_vpsci_0_2_call (bytes-differ, size-differs)"],
        &[],
    ),
    loadable(
        "arm64-two-objects",
        "two functions in two objects",
        &[
            "arch/arm/setup.o:arch_get_xen_caps (bytes-differ)",
            "common/version.o:xen_compile_date (string-differs)",
        ],
        &[
            appears(
                "cat /sys/hypervisor/compilation/compile_date",
                "patched in two objects",
            ),
            Effect {
                command: "cat /sys/hypervisor/properties/capabilities",
                unpatched: Sight::Prints("xen-3.0-aarch64"),
                patched: Sight::Prints("xen-3.7-aarch64"),
            },
        ],
    ),
    Change {
        course: Course::OnceOnly,
        ..loadable(
            "new-function",
            "a new function with a new static variable",
            &[
                "common/version.o:xen_changeset (bytes-differ, size-differs)",
                "+common/version.o:counted_changeset (pulled-in)",
            ],
            &[appears(
                "cat /sys/hypervisor/properties/changeset",
                "read 1",
            )],
        )
    },
    Change {
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
    },
    Change {
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
    },
    Change {
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
    },
    Change {
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
    },
    Change {
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
    },
    loadable(
        "arm64-assembler",
        "an assembler function",
        &["arch/arm/arm64/lib/strrchr.o:strrchr (bytes-differ, size-differs)"],
        &[],
    ),
    judged(
        "arm64-assembler-entry",
        "the entry from a trap, in assembler",
        Verdict::Refused("changed-assembly"),
    ),
    judged("line-shift", "lines that only moved", Verdict::NoChange),
    Change {
        debug_info: DebugInfo::Present,
        ..judged(
            "line-shift",
            "lines that only moved, built with -g",
            Verdict::NoChange,
        )
    },
    judged(
        "data-change",
        "another initial value of a variable",
        Verdict::Refused("changed-data"),
    ),
    judged(
        "init-only",
        "a function that only runs at boot",
        Verdict::Refused("changed-init"),
    ),
    judged("structure", "a structure's layout", Verdict::Ripples),
];
