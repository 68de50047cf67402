//! The releases of Xen that are proven, as data: where the source and the stock tool of each are,
//! and how it is built.

use super::in_tree::{EXPECTING, NO_APPLY, NO_REVERT, UNEXPECTED};

/// A release of Xen.
#[derive(Debug)]
pub struct Release {
    /// What it is called.
    pub kind: ReleaseKind,
    /// The version of its Debian packages.
    pub version: &'static str,
    /// The Debian release whose main archive has these.
    pub suite: &'static str,
    /// What of the source package the archive has.
    pub source: Source,
    /// The packages that make up dom0's user space, beside the kernel.
    pub packages: &'static [&'static str],
    /// The folder of the stock tool in them.
    pub stock_tools: &'static str,
    /// Where its makefiles put the objects.
    pub objects: Objects,
    /// What they are told on their command line.
    pub make: &'static [&'static str],
    /// The Debian release whose compiler builds it, in a root folder made from the archive; `None`
    /// for the system's own.
    pub compiler: Option<&'static str>,
    /// In-tree payloads that its makefile links from the objects of `xen_action_hooks_marker`, so
    /// that they do what that one does.
    pub mislinked: &'static [&'static str],
    /// In-tree payloads that it refuses at upload.
    pub refused: &'static [&'static str],
    /// The version as dom0 reads it: the number behind the point, and what follows.
    pub minor: &'static str,
    /// See `minor`.
    pub extra: &'static str,
}

/// Names the releases, also on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReleaseKind {
    /// Debian 12's.
    #[value(name = "4.17")]
    Xen417,
    /// Debian 11's.
    #[value(name = "4.14")]
    Xen414,
}

/// What of a source package is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// All of it: Xen with Debian's patches.
    Package,
    /// The archive of Xen's own release: the rest of the package has gone.
    Original,
}

/// Where makefiles put objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// In another folder, which is given.
    Beside,
    /// Among the sources.
    Among,
}

/// Xen 4.17.
pub static XEN_4_17: Release = Release {
    kind: ReleaseKind::Xen417,
    version: "4.17.5+72-g01140da4e8-1",
    suite: "bookworm",
    source: Source::Package,
    packages: &[
        "xen-utils-4.17",
        "libxenmisc4.17",
        "libxencall1",
        "libxentoollog1",
        "libxenevtchn1",
        "libxengnttab1",
        "libxenforeignmemory1",
        "libxendevicemodel1",
        "libxentoolcore1",
        "busybox-static",
    ],
    stock_tools: "usr/lib/xen-4.17/bin",
    objects: Objects::Beside,
    make: &[],
    compiler: None,
    mislinked: &[],
    refused: &[],
    minor: "17",
    extra: ".5",
};

/// Xen 4.14. Its makefiles know no other place for objects, and newer compilers warn about it.
pub static XEN_4_14: Release = Release {
    kind: ReleaseKind::Xen414,
    version: "4.14.6-1",
    suite: "bullseye",
    source: Source::Original,
    packages: &[
        "xen-utils-4.14",
        "libxenmisc4.14",
        "libxencall1",
        "libxentoollog1",
        "libxenevtchn1",
        "libxengnttab1",
        "libxenforeignmemory1",
        "libxendevicemodel1",
        "libxentoolcore1",
        "busybox-static",
    ],
    stock_tools: "usr/lib/xen-4.14/bin",
    objects: Objects::Among,
    // No image for EFI firmware: nobody boots it, and its makefile wants two links of it to be of
    // equal size, which after some changes they are not.
    make: &["efi-y="],
    compiler: Some("bullseye"),
    mislinked: &[NO_APPLY, NO_REVERT],
    // Their function is said to have 8 bytes, and a jump behind its endbr64 needs 9.
    refused: &[EXPECTING, UNEXPECTED],
    minor: "14",
    extra: ".6",
};
