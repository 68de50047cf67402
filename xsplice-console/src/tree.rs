//! What a folder holds, as a list, and the digest of that list: one number for a whole tree, the
//! same on every machine. docs/store.md says how to make it with `find` and `sha256sum`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// Folders of version control systems. They are no part of a tree: two clones of one commit differ
/// in them.
const VERSION_CONTROL: [&str; 3] = [".git", ".hg", ".svn"];

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 16;

/// Any of the bits that make a file a program.
const EXECUTABLE: u32 = 0o111;

/// Whether an entry of this name is no part of a tree.
#[must_use]
pub fn is_left_out(name: &OsStr) -> bool {
    VERSION_CONTROL.iter().any(|known| name == *known)
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file that is no program.
    File,
    /// A file that somebody may execute.
    Executable,
    /// A symbolic link; its content is the path that it names.
    Link,
    /// A folder; it has no content of its own.
    Folder,
}

impl Kind {
    /// All of them.
    const ALL: [Kind; 4] = [Kind::File, Kind::Executable, Kind::Link, Kind::Folder];

    /// As the list has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Executable => "exec",
            Kind::Link => "link",
            Kind::Folder => "dir",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One file, link or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root, with `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of the content in hexadecimal; `-` for a folder.
    pub digest: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// When it was last changed: seconds since 1970 and nanoseconds. It is no part of the digest.
    pub modified: (i64, i64),
}

/// The entries of a tree, in byte order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The root itself is none of them.
    pub entries: Vec<Entry>,
}

impl Tree {
    /// Reads the tree at `root`, without what version control keeps and without what `leaves_out`
    /// names. A `root` that is a file is a tree of that one file.
    ///
    /// # Errors
    ///
    /// What cannot be read, and names that are no UTF-8.
    pub fn read(root: &Path, leaves_out: &dyn Fn(&Path) -> bool) -> io::Result<Tree> {
        let mut entries = Vec::new();
        let walk = WalkDir::new(root).into_iter().filter_entry(|entry| {
            entry.depth() == 0 || !(is_left_out(entry.file_name()) || leaves_out(entry.path()))
        });
        for entry in walk {
            let entry = entry?;
            let path = entry.path();
            let of_path = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let metadata = entry.metadata()?;
            let kind = entry.file_type();
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            if entry.depth() == 0 && !kind.is_file() {
                continue;
            }
            let (kind, digest, size) = if kind.is_dir() {
                (Kind::Folder, "-".to_owned(), 0)
            } else if kind.is_symlink() {
                let target = fs::read_link(path).map_err(of_path)?;
                let target = target.as_os_str().as_bytes();
                (Kind::Link, digest_of(target), metadata.len())
            } else if kind.is_file() {
                let kind = match metadata.mode() & EXECUTABLE {
                    0 => Kind::File,
                    _ => Kind::Executable,
                };
                let file = File::open(path).map_err(of_path)?;
                let (digest, size) = copy_and_digest(file, &mut io::sink()).map_err(of_path)?;
                (kind, digest, size)
            } else {
                // Sockets and devices are no content.
                continue;
            };
            let below = match entry.depth() {
                0 => Path::new(entry.file_name()),
                _ => path.strip_prefix(root).unwrap_or(path),
            };
            let below = below.to_str().ok_or_else(|| {
                let message = format!("{}: the name is no UTF-8; rename it", path.display());
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            entries.push(Entry {
                path: below.to_owned(),
                kind,
                digest,
                size,
                modified,
            });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { entries })
    }

    /// The list that is digested: a line an entry, with kind, digest and path.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let (kind, path) = (entry.kind.word(), escaped(&entry.path));
            text.push_str(&format!("{kind} {} {path}\n", entry.digest));
        }
        text
    }

    /// SHA-256 of the list, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(self.text().as_bytes())
    }

    /// How many files and links it has.
    #[must_use]
    pub fn files(&self) -> usize {
        let entries = self.entries.iter();
        entries.filter(|entry| entry.kind != Kind::Folder).count()
    }

    /// Size of all contents in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }
}

/// A path on one line: a backslash becomes two, and a line end `\n`.
#[must_use]
pub fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace('\n', "\\n")
}

/// The path that [`escaped`] was given.
#[must_use]
pub fn unescaped(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => path.push(match letters.next() {
                Some('n') => '\n',
                other => other.unwrap_or('\\'),
            }),
            other => path.push(other),
        }
    }
    path
}

/// SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes).as_slice())
}

/// Copies `from` to its end; SHA-256 of what was copied in hexadecimal, and its size in bytes.
///
/// # Errors
///
/// Either cannot be read or written.
pub fn copy_and_digest(mut from: impl io::Read, to: &mut impl Write) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0_u64;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((hexadecimal(hash.finalize().as_slice()), size)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let read = buffer.get(..count).unwrap_or_default();
        hash.update(read);
        to.write_all(read)?;
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
///
/// It cannot be read.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    Ok(copy_and_digest(File::open(path)?, &mut io::sink())?.0)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;
    use std::process::Command;

    use super::{Tree, escaped, unescaped};

    fn read(root: &Path) -> Tree {
        Tree::read(root, &|_| false).expect("a readable tree")
    }

    fn example(root: &Path) {
        for folder in ["a", "a-b", "empty", ".git"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        for file in ["a/x.c", "a-b/run", "a/with space", ".git/HEAD"] {
            fs::write(root.join(file), file).expect("a file");
        }
        let program = Permissions::from_mode(0o755);
        fs::set_permissions(root.join("a-b/run"), program).expect("the owner may");
        symlink("x.c", root.join("a/link")).expect("a link");
    }

    #[test]
    fn the_digest_is_that_of_the_documented_shell_command() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/store.md");
        let page = fs::read_to_string(page).expect("the page");
        let (_, rest) = page.split_once("```sh\ntree_digest").expect("the command");
        let (function, _) = rest.split_once("\n```").expect("its end");
        let folder = tempfile::tempdir().expect("a temporary folder");
        example(folder.path());
        let output = Command::new("sh")
            .args(["-ec", &format!("tree_digest{function}\ntree_digest .")])
            .current_dir(folder.path())
            .output()
            .expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), read(folder.path()).digest(), "{output:?}");
    }

    #[test]
    fn contents_names_links_and_modes_count_and_times_do_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        example(root);
        let mut known = read(root).digest();
        let mut changes = |what: &str, expected: bool| {
            let now = read(root).digest();
            assert_eq!(now != known, expected, "{what}");
            known = now;
        };
        fs::write(root.join(".git/HEAD"), "other").expect("a file");
        changes("version control", false);
        fs::write(root.join("a/x.c"), "a/x.c").expect("a file");
        changes("the time", false);
        fs::write(root.join("a/x.c"), "a/x.d").expect("a file");
        changes("a content", true);
        fs::rename(root.join("a/x.c"), root.join("a/y.c")).expect("a file");
        changes("a name", true);
        fs::set_permissions(root.join("a/y.c"), Permissions::from_mode(0o755)).expect("the owner");
        changes("a mode", true);
        fs::remove_file(root.join("a/link")).expect("a link");
        symlink("y.c", root.join("a/link")).expect("a link");
        changes("where a link leads", true);
        fs::remove_dir(root.join("empty")).expect("a folder");
        changes("an empty folder", true);
    }

    #[test]
    fn a_path_stays_on_its_line() {
        for path in ["plain", "back\\slash", "line\nend", "\\n"] {
            assert!(!escaped(path).contains('\n'));
            assert_eq!(unescaped(&escaped(path)), path);
        }
    }
}
