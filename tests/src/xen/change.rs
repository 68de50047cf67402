//! The source changes made to Xen: what the tools must say of each, and what dom0 then sees.
//!
//! Each is a patch under `fixtures/xen/changes`, made against one exact source version. They touch
//! different functions, so that all the loadable ones can stand on top of each other. What a
//! change does is chosen to be visible from dom0: through `/sys/hypervisor` (each read is a
//! hypercall), a hypercall's result, a machine register, an I/O port or Xen's console.

use super::build::DebugInfo;
use super::changes_common as common;

/// What `xsplice-build` must say of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A payload that replaces these functions, as `object:name (kinds of reasons)`, and adds new
    /// ones, with a plus before them.
    Payload(&'static [&'static str]),
    /// Refused, with at least this code among the reasons.
    Refused(&'static str),
    /// Refused for one reason alone, of this code.
    RefusedAlone(&'static str),
    /// Recognised as a structure's layout that ripples through many functions.
    Ripples,
    /// No functional change.
    NoChange,
}

/// What dom0 sees when it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The command prints this.
    Prints(&'static str),
    /// The command does not print this.
    Omits(&'static str),
    /// Xen prints this on its console.
    ConsoleSays(&'static str),
    /// Xen does not print this on its console.
    ConsoleOmits(&'static str),
}

/// One way to see whether the change is in force.
#[derive(Debug, Clone, Copy)]
pub struct Effect {
    /// The command in dom0.
    pub command: &'static str,
    /// What it shows before the payload is applied and after it is reverted.
    pub unpatched: Sight,
    /// What it shows while the payload is applied.
    pub patched: Sight,
}

/// What happens to a payload in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Applied, reverted, applied again, reverted.
    Repeatable,
    /// It has data of its own, so the loader wants it uploaded anew before it is applied again.
    OnceOnly,
    /// Its hooks refuse the first attempt to apply and the first to revert.
    VetoedFirst,
}

/// One change of Xen's source.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// The name of the patch and of the payload.
    pub name: &'static str,
    /// What it changes, for the table.
    pub about: &'static str,
    /// How the two trees are built.
    pub debug_info: DebugInfo,
    /// What the tools must say.
    pub verdict: Verdict,
    /// What can be seen from dom0.
    pub effects: &'static [Effect],
    /// How it is taken through its life.
    pub course: Course,
    /// What Xen prints when it is applied, and when it is reverted.
    pub applying: &'static [&'static str],
    /// See `applying`.
    pub reverting: &'static [&'static str],
}

pub(super) const fn file(
    command: &'static str,
    unpatched: &'static str,
    patched: &'static str,
) -> Effect {
    Effect {
        command,
        unpatched: Sight::Omits(unpatched),
        patched: Sight::Prints(patched),
    }
}

/// An effect that shows as one word which is absent without the payload.
pub(super) const fn appears(command: &'static str, word: &'static str) -> Effect {
    file(command, word, word)
}

pub(super) const fn loadable(
    name: &'static str,
    about: &'static str,
    functions: &'static [&'static str],
    effects: &'static [Effect],
) -> Change {
    Change {
        name,
        about,
        debug_info: DebugInfo::Absent,
        verdict: Verdict::Payload(functions),
        effects,
        course: Course::Repeatable,
        applying: &[],
        reverting: &[],
    }
}

pub(super) const fn judged(name: &'static str, about: &'static str, verdict: Verdict) -> Change {
    Change {
        verdict,
        ..loadable(name, about, &[], &[])
    }
}

/// All changes, in the order of the table and of the stack in which all stand at once.
pub const CHANGES: &[Change] = &[
    common::MINOR_VERSION,
    common::STRING_ONLY,
    common::BUG_FRAME,
    loadable(
        "alternatives",
        "a function with alternatives",
        // One source, compiled a second time for 32-bit guests.
        &[
            "common/compat/kernel.o:compat_xen_version (bytes-differ)",
            "common/kernel.o:do_xen_version (bytes-differ)",
        ],
        // xen_version (17), page size (7).
        &[Effect {
            command: "probe 17 7 0",
            unpatched: Sight::Prints("4096"),
            patched: Sight::Prints("8192"),
        }],
    ),
    loadable(
        "exception-table",
        "functions with exception-table entries, and a fault in the new code",
        &[
            "arch/x86/usercopy.o:copy_to_guest_ll (bytes-differ, size-differs)",
            "arch/x86/usercopy.o:copy_to_unsafe_ll (bytes-differ, size-differs)",
        ],
        // xen_version (17), extra version (1) into a page that cannot be written: the copy faults
        // in the payload's own code and must come back through the payload's own entry.
        &[
            Effect {
                command: "probe 17 1 ro",
                unpatched: Sight::Prints("-14"),
                patched: Sight::Prints("-14"),
            },
            Effect {
                command: "probe 17 1 ro",
                unpatched: Sight::ConsoleOmits("xsplice:"),
                patched: Sight::ConsoleSays("xsplice: 16 bytes did not reach the guest"),
            },
        ],
    ),
    loadable(
        "static-function",
        "a static function whose address is taken",
        &["arch/x86/pv/emul-priv-op.o:read_msr (bytes-differ, size-differs)"],
        // 0x78737000, a register that no machine has.
        &[appears(
            "dd if=/dev/cpu/0/msr bs=8 count=1 iflag=skip_bytes skip=2020831232",
            "!xsplice",
        )],
    ),
    loadable(
        "two-objects",
        "two functions in two objects",
        &[
            "arch/x86/setup.o:arch_get_xen_caps (bytes-differ, size-differs)",
            "common/version.o:xen_compile_date (string-differs)",
        ],
        &[
            appears(
                "cat /sys/hypervisor/compilation/compile_date",
                "patched in two objects",
            ),
            Effect {
                command: "cat /sys/hypervisor/properties/capabilities",
                unpatched: Sight::Prints("xen-3.0-x86_64"),
                patched: Sight::Prints("xen-3.7-x86_64"),
            },
        ],
    ),
    common::NEW_FUNCTION,
    common::SHADOW_VARIABLE,
    common::NEW_FILE,
    loadable(
        "cold-part",
        "the .cold part of a function",
        &[
            "common/rangeset.o:rangeset_add_range (bytes-differ, cold-part-differs, size-differs)",
            "+common/rangeset.o:announce.constprop.0 (pulled-in)",
        ],
        // domctl (36), interface 0x15: ioport_permission (21) of port 0x2f9 to dom0 itself.
        &[Effect {
            command: "probe 36 hex:1500000015000000000000000000000\
                      0f90200000100000001",
            unpatched: Sight::ConsoleOmits("xsplice:"),
            patched: Sight::ConsoleSays("xsplice: the cold part saw 0x2f9"),
        }],
    ),
    common::LOAD_HOOKS,
    common::DATA_HOOK,
    common::VETO_HOOKS,
    loadable(
        "assembler",
        "an assembler function",
        &["arch/x86/pv/gpr_switch.o:load_guest_gprs (bytes-differ, size-differs)"],
        // Xen calls it for every port dom0 reads; port 0x2ff keeps what was written to it last.
        &[appears(
            "printf '\\0' | dd of=/dev/port bs=1 count=1 seek=767 conv=notrunc; \
             dd if=/dev/port bs=1 count=1 skip=767",
            "Z",
        )],
    ),
    judged(
        "assembler-unsized",
        "an assembler function whose symbol has no size",
        Verdict::Refused("changed-assembly"),
    ),
    common::LINE_SHIFT,
    common::LINE_SHIFT_WITH_G,
    common::DATA_CHANGE,
    common::INIT_ONLY,
    common::STRUCTURE,
    loadable(
        "vmx-code",
        "code of VMX, with code behind its symbol",
        &["arch/x86/hvm/vmx/vmx.o:vmx_get_segment_register (bytes-differ, size-differs)"],
        &[],
    ),
    loadable(
        "svm-code",
        "code of SVM",
        &["arch/x86/hvm/svm/svm.o:svm_get_segment_register (bytes-differ, size-differs)"],
        &[],
    ),
    loadable(
        "context-switch",
        "the switch from one virtual CPU to another",
        &["arch/x86/domain.o:context_switch (bytes-differ, size-differs)"],
        &[],
    ),
    loadable(
        "invalid-opcode",
        "the handler of invalid opcodes, which reads bug frames",
        &["arch/x86/traps.o:do_invalid_op (bytes-differ, size-differs)"],
        &[],
    ),
    loadable(
        "apply-alternatives",
        "what rewrites code at the boot and in payloads",
        &["arch/x86/alternative.o:_apply_alternatives (bytes-differ, size-differs)"],
        &[],
    ),
    loadable(
        "header-function",
        "an inline function of a header",
        &["common/cpu.o:cpu_notifier_call_chain (bytes-differ, size-differs)"],
        &[],
    ),
    judged(
        "thunk-placement",
        "the place of a thunk in its cache line, too small for a jump",
        Verdict::RefusedAlone("function-too-small"),
    ),
    judged(
        "assembler-mitigation",
        "an instruction at the entry from a guest, in assembler",
        Verdict::Refused("changed-assembly"),
    ),
    judged(
        "ro-after-init",
        "a variable that moves to what is read-only after the boot",
        Verdict::Refused("changed-data"),
    ),
    judged(
        "init-grows",
        "one function of many that run at the boot becomes longer",
        Verdict::RefusedAlone("changed-init"),
    ),
    Change {
        debug_info: DebugInfo::Present,
        ..loadable(
            "minor-version",
            "a function in common code, built with -g",
            &["common/version.o:xen_minor_version (bytes-differ)"],
            &[],
        )
    },
    Change {
        debug_info: DebugInfo::Present,
        ..judged(
            "wide-structure",
            "a layout that ripples through more than a hundred objects, built with -g",
            Verdict::Refused("changed-layout"),
        )
    },
];
