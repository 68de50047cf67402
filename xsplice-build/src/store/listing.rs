//! The list of a kept tree: which content is which file, and when each file was changed. `make`
//! decides by these times what it builds, so they are kept although no digest has them.

use std::fmt::Write;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};
use xsplice_console::tree::{Entry, Kind, Tree, escaped, unescaped};

/// The text of a list: kind, digest, size, time and path of each entry on a line.
pub(crate) fn text(tree: &Tree) -> String {
    let mut text = String::new();
    for entry in &tree.entries {
        let (seconds, nanoseconds) = entry.modified;
        let _ = writeln!(
            text,
            "{} {} {} {seconds}.{nanoseconds:09} {}",
            entry.kind.word(),
            entry.digest,
            entry.size,
            escaped(&entry.path)
        );
    }
    text
}

/// Reads a list.
///
/// # Errors
///
/// It cannot be read, is spoiled, or leads out of the tree.
pub(crate) fn read(path: &Path) -> Result<Tree> {
    let text =
        fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match entry(line).filter(is_inside) {
            Some(entry) => entries.push(entry),
            None => bail!("{}:{number}: is no entry of a tree", path.display()),
        }
    }
    Ok(Tree { entries })
}

fn entry(line: &str) -> Option<Entry> {
    let (kind, rest) = line.split_once(' ')?;
    let (digest, rest) = rest.split_once(' ')?;
    let (size, rest) = rest.split_once(' ')?;
    let (time, path) = rest.split_once(' ')?;
    let (seconds, nanoseconds) = time.split_once('.')?;
    Some(Entry {
        path: unescaped(path),
        kind: Kind::of_word(kind)?,
        digest: digest.to_owned(),
        size: size.parse().ok()?,
        modified: (seconds.parse().ok()?, nanoseconds.parse().ok()?),
    })
}

/// A path that leads out of the tree would let a spoiled store write anywhere.
fn is_inside(entry: &Entry) -> bool {
    let mut parts = Path::new(&entry.path).components();
    parts.all(|part| matches!(part, Component::Normal(_))) && !entry.path.is_empty()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xsplice_console::tree::{Entry, Kind, Tree};

    use super::{read, text};

    fn tree(path: &str) -> Tree {
        Tree {
            entries: vec![Entry {
                path: path.to_owned(),
                kind: Kind::Executable,
                digest: "ab".repeat(32),
                size: 7,
                modified: (1_700_000_000, 5),
            }],
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_never_leads_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("list");
        for name in ["a/b c", "line\nend", "back\\slash"] {
            fs::write(&path, text(&tree(name))).expect("a file");
            assert_eq!(read(&path).expect("as written"), tree(name));
        }
        for name in ["../up", "/etc/passwd", "a/../../b"] {
            fs::write(&path, text(&tree(name))).expect("a file");
            assert!(read(&path).is_err(), "{name}");
        }
    }
}
