//! The changes of a real Xen for AArch64: those of x86-64 that are in common code, and what is
//! this machine's own.

use super::change::{Change, Effect, Sight, Verdict, appears, judged, loadable};
use super::changes_common as common;

/// All changes, in the order of the table and of the stack in which all stand at once.
pub const CHANGES: &[Change] = &[
    common::MINOR_VERSION,
    common::STRING_ONLY,
    // The new frame names the file as the image does: with a name of its own it would be one of
    // the `traps`.
    common::BUG_FRAME,
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
        &["common/event_channel.o:do_event_channel_op (bytes-differ, size-differs)"],
        // event_channel_op (32), a command that only the patched hypervisor knows.
        &[Effect {
            command: "probe 32 15 0",
            unpatched: Sight::Omits("4015"),
            patched: Sight::Prints("4015"),
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
        verdict: Verdict::Payload(&[
            "common/version.o:xen_changeset (bytes-differ, relocation-differs, size-differs)",
            "+common/version.o:counted_changeset (pulled-in)",
        ]),
        ..common::NEW_FUNCTION
    },
    common::SHADOW_VARIABLE,
    Change {
        verdict: Verdict::Payload(&[
            "common/version.o:xen_compiler (bytes-differ, relocation-differs, size-differs)",
            "+common/xsplice_greeting.o:xsplice_greeting (new-object)",
        ]),
        ..common::NEW_FILE
    },
    common::LOAD_HOOKS,
    common::DATA_HOOK,
    common::VETO_HOOKS,
    loadable(
        "arm64-assembler",
        "an assembler function, with barriers behind its return that the boot replaces",
        &["arch/arm/arm64/lib/strrchr.o:strrchr (bytes-differ, size-differs)"],
        &[],
    ),
    judged(
        "arm64-assembler-entry",
        "the entry from a trap, in assembler",
        Verdict::Refused("changed-assembly"),
    ),
    common::LINE_SHIFT,
    common::LINE_SHIFT_WITH_G,
    common::DATA_CHANGE,
    common::INIT_ONLY,
    common::STRUCTURE,
];
