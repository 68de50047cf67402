//! Which source files a build read, by the dependency lists among its objects.
//!
//! A header with only macros leaves no trace in an object, but the lists that compilers write for
//! `make` name it (`-MD`: `*.d`, and Kbuild's `*.cmd`).

use std::collections::BTreeSet;
use std::path::Path;

use walkdir::WalkDir;

/// Paths that the lists below `tree` name, in order and each once. Unreadable lists are ignored: no
/// decision depends on them alone.
#[must_use]
pub fn files_read(tree: &Path) -> Vec<String> {
    let mut files = BTreeSet::new();
    for entry in WalkDir::new(tree).into_iter().flatten() {
        let is_list = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "d" || extension == "cmd");
        if is_list && entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            files.extend(named(&String::from_utf8_lossy(&bytes)));
        }
    }
    files.into_iter().collect()
}

/// What a list names that may be a source file.
fn named(list: &str) -> Vec<String> {
    const ENDINGS: [&str; 6] = [".h", ".c", ".S", ".s", ".inc", ".def"];
    list.split_whitespace()
        .filter(|word| ENDINGS.iter().any(|ending| word.ends_with(ending)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_list_names_its_sources_and_no_targets() {
        let list = "core/x.o: core/x.c \\\n include/limits.h\n\ninclude/limits.h:\n";
        assert_eq!(named(list), ["core/x.c", "include/limits.h"]);
        let kbuild = "deps_x.o := \\\n    $(wildcard include/config/a.h) \\\n  include/y.h \\\n";
        assert_eq!(named(kbuild), ["include/y.h"]);
    }
}
