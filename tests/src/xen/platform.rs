//! The machines on which the proof runs: what is built for each, with what, and how dom0 is put
//! together. How each boots is in [`super::guest`].

use std::sync::LazyLock;

use super::change::{CHANGES, Change};
use super::changes_4_14;
use super::changes_arm64;
use super::configuration::{self, Configuration};
use super::one_line::{self, Edits};
use super::release::{Release, ReleaseKind, XEN_4_14, XEN_4_17};

/// A machine of Xen and a release, as data.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// Which machine it is.
    pub machine: MachineKind,
    /// Which release.
    pub release: &'static Release,
    /// Where everything that is fetched and built for it is kept.
    pub cache: &'static str,
    /// The architecture of its Debian packages.
    pub debian: &'static str,
    /// The folder of its shared libraries below `lib` and `usr/lib`.
    pub libraries: &'static str,
    /// The dynamic loader, as the programs of dom0 name it.
    pub loader: &'static str,
    /// Whether dom0 has this system's C library; else the one from the archive.
    pub has_own_libc: bool,
    /// The metapackage of the kernel that can be dom0 (the cloud kernel cannot).
    pub kernel: &'static str,
    /// The kernel modules that dom0 loads.
    pub modules: &'static [&'static str],
    /// The compiler for programs of dom0.
    pub compiler: &'static str,
    /// What Xen's makefiles want in their environment.
    pub make: &'static [(&'static str, &'static str)],
    /// Lines of Xen's configuration that are not its defaults.
    pub options: &'static [&'static str],
    /// Programs that its builds and boots call beside those of every machine, each with its Debian
    /// package.
    pub programs: &'static [&'static str],
    /// QEMU's CPU model.
    pub cpu: &'static str,
    /// What is changed.
    pub changes: &'static [Change],
    /// The folder of the patches that are made for this release, beside those for all.
    pub own_patches: Option<&'static str>,
    /// Changes of other releases that this one cannot have, each with the reason.
    pub left_out: &'static [(&'static str, &'static str)],
    /// Other ways to build it.
    pub configurations: &'static [Configuration],
    /// One-line edits, for the tools alone.
    pub edits: Option<&'static Edits>,
    /// The three changes that the scenarios with several payloads are made of.
    pub stacked: [&'static str; 3],
    /// Whether its Xen dies of the payload of its tree that leaves a part of a function: what is
    /// left there is the end of a longer instruction.
    pub dies_of_nop: bool,
    /// Whether its loader takes what stops the hypervisor: [`super::traps`].
    pub has_traps: bool,
}

/// Names the machines, also on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MachineKind {
    /// x86-64.
    #[value(name = "x86-64")]
    X86_64,
    /// AArch64.
    #[value(name = "arm64")]
    Arm64,
}

impl MachineKind {
    /// What is known of it with the release that runs on every machine.
    #[must_use]
    pub fn platform(self) -> &'static Platform {
        match self {
            MachineKind::X86_64 => &X86_64,
            MachineKind::Arm64 => &ARM64,
        }
    }

    /// What is known of it with a release; `None` where that is not run.
    #[must_use]
    pub fn with(self, release: ReleaseKind) -> Option<&'static Platform> {
        match (self, release) {
            (_, ReleaseKind::Xen417) => Some(self.platform()),
            (MachineKind::X86_64, ReleaseKind::Xen414) => Some(&X86_64_WITH_4_14),
            (MachineKind::Arm64, ReleaseKind::Xen414) => None,
        }
    }
}

static X86_64: Platform = Platform {
    machine: MachineKind::X86_64,
    release: &XEN_4_17,
    cache: "out/xen",
    debian: "amd64",
    libraries: "x86_64-linux-gnu",
    loader: "lib64/ld-linux-x86-64.so.2",
    has_own_libc: false,
    kernel: "linux-image-amd64",
    modules: &["xen-privcmd.ko", "msr.ko"],
    compiler: "gcc",
    make: &[],
    options: &[],
    programs: &["gcc=gcc", "qemu-system-x86_64=qemu-system-x86"],
    cpu: "max,-smap",
    changes: CHANGES,
    own_patches: None,
    left_out: &[],
    configurations: configuration::X86_64,
    edits: Some(&one_line::X86_64),
    stacked: ["minor-version", "string-only", "alternatives"],
    dies_of_nop: true,
    has_traps: false,
};

static X86_64_WITH_4_14: LazyLock<Platform> = LazyLock::new(|| Platform {
    release: &XEN_4_14,
    cache: "out/xen-4.14",
    has_own_libc: true,
    programs: X86_64_WITH_4_14_PROGRAMS,
    changes: changes_4_14::changes(),
    own_patches: Some("4.14"),
    left_out: changes_4_14::LEFT_OUT,
    configurations: &[],
    edits: None,
    dies_of_nop: false,
    ..X86_64
});

const X86_64_WITH_4_14_PROGRAMS: &[&str] = &[
    "gcc=gcc",
    "qemu-system-x86_64=qemu-system-x86",
    "debootstrap=debootstrap",
];

static ARM64: Platform = Platform {
    machine: MachineKind::Arm64,
    release: &XEN_4_17,
    cache: "out/xen-arm64",
    debian: "arm64",
    libraries: "aarch64-linux-gnu",
    loader: "lib/ld-linux-aarch64.so.1",
    has_own_libc: true,
    kernel: "linux-image-arm64",
    modules: &["xen-privcmd.ko"],
    compiler: "aarch64-linux-gnu-gcc",
    make: &[
        ("XEN_TARGET_ARCH", "arm64"),
        ("CROSS_COMPILE", "aarch64-linux-gnu-"),
    ],
    // Off by default on this machine; the second is on by default only with the first.
    options: &["CONFIG_LIVEPATCH=y", "CONFIG_ENFORCE_UNIQUE_SYMBOLS=y"],
    programs: &[
        "gcc=gcc",
        "aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu",
        "aarch64-linux-gnu-ld=binutils-aarch64-linux-gnu",
        "qemu-system-aarch64=qemu-system-arm",
    ],
    cpu: "cortex-a57",
    changes: changes_arm64::CHANGES,
    own_patches: None,
    left_out: &[],
    configurations: &[],
    edits: Some(&one_line::ARM64),
    stacked: ["minor-version", "string-only", "alternatives"],
    dies_of_nop: false,
    has_traps: true,
};
