//! Which source files a build read, by the dependency lists among its objects.
//!
//! A header with only macros leaves no trace in an object, but the lists that compilers write for
//! `make` name it (`-MD`: `*.d`, and Kbuild's `*.cmd`).

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use walkdir::WalkDir;

/// The lists of a build. There are hundreds, and most patches never need them, so they are read
/// when they are asked.
#[derive(Debug)]
pub struct Dependencies<'tree> {
    tree: &'tree Path,
    files: OnceLock<Vec<String>>,
}

impl<'tree> Dependencies<'tree> {
    /// Those below `tree`.
    #[must_use]
    pub fn of(tree: &'tree Path) -> Dependencies<'tree> {
        Dependencies {
            tree,
            files: OnceLock::new(),
        }
    }

    /// Paths that the lists name, in order and each once. Unreadable lists are ignored: no decision
    /// depends on them alone.
    #[must_use]
    pub fn files_read(&self) -> &[String] {
        self.files.get_or_init(|| read(self.tree))
    }
}

fn read(tree: &Path) -> Vec<String> {
    // Nearly every list names the same headers.
    let mut files: HashSet<String> = HashSet::new();
    for entry in WalkDir::new(tree).into_iter().flatten() {
        let is_list = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "d" || extension == "cmd");
        if is_list && entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            for file in named(&String::from_utf8_lossy(&bytes)) {
                if !files.contains(file) {
                    files.insert(file.to_owned());
                }
            }
        }
    }
    let mut files: Vec<String> = files.into_iter().collect();
    files.sort_unstable();
    files
}

/// What a list names that may be a source file.
fn named(list: &str) -> impl Iterator<Item = &str> {
    const ENDINGS: [&str; 6] = [".h", ".c", ".S", ".s", ".inc", ".def"];
    list.split_whitespace()
        .filter(|word| ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_list_names_its_sources_and_no_targets() {
        let list = "core/x.o: core/x.c \\\n include/limits.h\n\ninclude/limits.h:\n";
        assert!(named(list).eq(["core/x.c", "include/limits.h"]));
        let kbuild = "deps_x.o := \\\n    $(wildcard include/config/a.h) \\\n  include/y.h \\\n";
        assert!(named(kbuild).eq(["include/y.h"]));
    }
}
