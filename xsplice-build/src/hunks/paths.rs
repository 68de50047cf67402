//! Tells whether a path in a patch and a path in debug information mean the same file.
//!
//! Either may be incomplete: a patch may start above or below the folder of the build, and debug
//! information may omit the build's folder. So the shorter path must be the end of the longer one,
//! in whole names. Of several matches, the longest is taken.

/// How many names at the end two paths share, when one is the end of the other.
#[must_use]
pub(crate) fn matching(patch: &str, source: &str) -> Option<usize> {
    let shared = parts(patch)
        .zip(parts(source))
        .take_while(|(a, b)| a == b)
        .count();
    let shorter = parts(patch).count().min(parts(source).count());
    (shared > 0 && shared == shorter).then_some(shared)
}

/// Like [`matching`]; a relative `source` may also be meant from the folder of the object.
#[must_use]
pub(crate) fn matching_from(patch: &str, source: &str, object: &str) -> Option<usize> {
    let plain = matching(patch, source);
    let Some((folder, _)) = object.rsplit_once('/') else {
        return plain;
    };
    if source.starts_with('/') {
        return plain;
    }
    plain.max(matching(patch, &format!("{folder}/{source}")))
}

/// The last name of a path, which all paths that match it share.
#[must_use]
pub(crate) fn last_name(path: &str) -> Option<&str> {
    parts(path).next()
}

/// The names of a path, last first.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.rsplit('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

/// Whether a file by its name is documentation, from which nothing is compiled.
#[must_use]
pub(crate) fn is_documentation(path: &str) -> bool {
    const ENDINGS: [&str; 6] = ["md", "rst", "txt", "pandoc", "html", "adoc"];
    const NAMES: [&str; 7] = [
        "CHANGELOG",
        "COPYING",
        "CREDITS",
        "LICENSE",
        "MAINTAINERS",
        "README",
        ".gitignore",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    NAMES.contains(&name)
        || name
            .rsplit_once('.')
            .is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

/// Whether other files read it, rather than that it is compiled by itself.
pub(super) fn is_header(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let end = last.rsplit_once('.').map_or("", |(_, end)| end);
    matches!(end, "h" | "hh" | "hpp" | "inc" | "def")
}

/// Whether it is compiled by itself.
pub(super) fn is_compiled(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let end = last.rsplit_once('.').map_or("", |(_, end)| end);
    matches!(end, "c" | "cc" | "cpp" | "cxx" | "S" | "s" | "asm")
}

#[cfg(test)]
mod tests {
    use super::{is_documentation, matching, matching_from};

    #[test]
    fn one_path_must_be_the_end_of_the_other() {
        assert_eq!(matching("common/x.c", "/b/xen/common/x.c"), Some(2));
        assert_eq!(matching("xen/common/x.c", "common/x.c"), Some(2));
        assert_eq!(matching("common/x.c", "/b/xen/arch/x.c"), None);
        assert_eq!(matching("x.c", "/b/ax.c"), None);
        assert_eq!(matching("./x.c", "x.c"), Some(1));
    }

    #[test]
    fn the_folder_of_the_object_tells_short_names_apart() {
        assert_eq!(matching_from("core/x.c", "x.c", "core/x.o"), Some(2));
        assert_eq!(matching_from("core/x.c", "x.c", "arch/x.o"), Some(1));
        assert_eq!(matching_from("core/x.c", "/y/x.c", "core/x.o"), None);
    }

    #[test]
    fn documentation_is_known_by_its_name() {
        assert!(is_documentation("docs/a.md") && is_documentation("MAINTAINERS"));
        assert!(!is_documentation("core/x.c") && !is_documentation("Makefile"));
    }
}
