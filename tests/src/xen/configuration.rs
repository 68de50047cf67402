//! The same Xen built otherwise: with other options, by another compiler. Of each, changes that are
//! carried are made, foretold, loaded and looked at, and one that only shifts lines is none.

use super::change::Change;
use super::payload::{self, Said};
use super::table::Row;

/// One way to build Xen beside the platform's own.
#[derive(Debug)]
pub struct Configuration {
    /// Its name, in the table and as a folder.
    pub name: &'static str,
    /// What is other, for the table.
    pub about: &'static str,
    /// Lines of Xen's configuration that are not its defaults.
    pub options: &'static [&'static str],
    /// What Xen's makefiles want in their environment.
    pub make: &'static [(&'static str, &'static str)],
    /// Programs that its builds call beside those of the platform, each with its Debian package.
    pub programs: &'static [&'static str],
    /// The Debian release whose compiler builds it, in a root folder made from the archive.
    pub suite: Option<&'static str>,
    /// Changes of the platform by name.
    pub changes: &'static [Wanted],
    /// Those whose payloads have data of their own because of it, so that the loader wants them
    /// uploaded anew before they are applied again.
    pub once_only: &'static [&'static str],
}

/// A change, and the functions that its payload replaces. Which others it brings, and for which
/// reasons, depends on the compiler.
type Wanted = (&'static str, &'static [&'static str]);

const MINOR_VERSION: Wanted = ("minor-version", &["common/version.o:xen_minor_version"]);
const STRING_ONLY: Wanted = ("string-only", &["common/version.o:xen_extra_version"]);
const BUG_FRAME: Wanted = ("bug-frame", &["common/hypfs.o:hypfs_unlock"]);
const ALTERNATIVES: Wanted = (
    "alternatives",
    &[
        "common/compat/kernel.o:compat_xen_version",
        "common/kernel.o:do_xen_version",
    ],
);
const EXCEPTION_TABLE: Wanted = (
    "exception-table",
    &[
        "arch/x86/usercopy.o:copy_to_guest_ll",
        "arch/x86/usercopy.o:copy_to_unsafe_ll",
    ],
);
const NEW_FUNCTION: Wanted = ("new-function", &["common/version.o:xen_changeset"]);
const LINE_SHIFT: Wanted = ("line-shift", &[]);

/// Special sections of each kind, a text, a new function; lines that move.
const CHANGES: &[Wanted] = &[
    MINOR_VERSION,
    STRING_ONLY,
    BUG_FRAME,
    ALTERNATIVES,
    EXCEPTION_TABLE,
    NEW_FUNCTION,
    LINE_SHIFT,
];

/// The same, by a compiler that makes parts of their callers of two of the functions.
const CHANGES_WITH_CLANG: &[Wanted] = &[
    MINOR_VERSION,
    STRING_ONLY,
    (
        BUG_FRAME.0,
        &["common/hypfs.o:add_entry", "common/hypfs.o:do_hypfs_op"],
    ),
    ALTERNATIVES,
    (
        EXCEPTION_TABLE.0,
        &[
            "arch/x86/usercopy.o:copy_to_guest_ll",
            "arch/x86/usercopy.o:copy_to_guest_pv",
            "arch/x86/usercopy.o:copy_to_unsafe_ll",
        ],
    ),
    NEW_FUNCTION,
    LINE_SHIFT,
];

/// Of x86-64. Debian's own has indirect branch tracking and shadow stacks already.
pub const X86_64: &[Configuration] = &[
    Configuration {
        name: "debug",
        about: "CONFIG_DEBUG with performance counters",
        options: &[
            "CONFIG_EXPERT=y",
            "CONFIG_DEBUG=y",
            "CONFIG_PERF_COUNTERS=y",
            "CONFIG_LIVEPATCH=y",
        ],
        make: &[],
        programs: &[],
        suite: None,
        changes: CHANGES,
        once_only: &[],
    },
    Configuration {
        name: "ubsan",
        about: "the undefined behaviour sanitizer",
        options: &["CONFIG_EXPERT=y", "CONFIG_UBSAN=y", "CONFIG_LIVEPATCH=y"],
        make: &[],
        programs: &[],
        suite: None,
        changes: CHANGES,
        // Descriptors for the sanitizer.
        once_only: &["bug-frame", "alternatives"],
    },
    Configuration {
        name: "clang",
        about: "clang",
        options: &["CONFIG_LIVEPATCH=y"],
        make: &[("clang", "y")],
        programs: &["clang=clang"],
        suite: None,
        changes: CHANGES_WITH_CLANG,
        once_only: &[],
    },
    Configuration {
        name: "gcc-14",
        about: "gcc and binutils of Debian 13",
        options: &["CONFIG_LIVEPATCH=y"],
        make: &[],
        programs: &["debootstrap=debootstrap"],
        suite: Some("trixie"),
        changes: CHANGES,
        once_only: &[],
    },
];

/// The row about what the tool said of a change.
pub fn row(configuration: &Configuration, change: &Change, functions: &[&str], said: &Said) -> Row {
    let is_right = match said {
        Said::NoChange => functions.is_empty(),
        Said::Payload(found) => replaced(found) == functions,
        _ => false,
    };
    let expected = match functions {
        [] => "no functional change".to_owned(),
        _ => format!("payload that replaces {}", functions.join(" ")),
    };
    let description = payload::describe(said);
    Row {
        name: format!("build {} with {}", change.name, configuration.about),
        expected,
        seen: if is_right {
            Ok(description)
        } else {
            Err(description)
        },
    }
}

/// The functions of a payload that replace one, without their reasons.
fn replaced(found: &[String]) -> Vec<&str> {
    let replacing = found.iter().filter(|function| !function.starts_with('+'));
    replacing
        .map(|function| function.split(' ').next().unwrap_or_default())
        .collect()
}
