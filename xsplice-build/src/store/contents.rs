//! Contents by their SHA-256: each is there once, however many builds share it, and none changes.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xsplice_console::tree::{Entry, Kind, Tree, copy_and_digest, digest_of_file};

use super::{CONTENTS, Store};

/// A content is never written to again.
const READ_ONLY: u32 = 0o444;
const FILE: u32 = 0o644;
const PROGRAM: u32 = 0o755;

/// How many digits of a digest name the folder that the content is in.
const FOLDER_DIGITS: usize = 2;

/// What somebody does with the files that he gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reads them: they may be the store's own files by another name.
    Reading,
    /// Builds with them: they are copies, with the times of the tree.
    Building,
}

impl Store {
    /// Where the content of this digest is.
    pub(crate) fn content(&self, digest: &str) -> PathBuf {
        let folder = digest.get(..FOLDER_DIGITS).unwrap_or(digest);
        self.root.join(CONTENTS).join(folder).join(digest)
    }

    /// Keeps the content of every file and link of the tree at `root`.
    ///
    /// # Errors
    ///
    /// What cannot be read or written, and a file that changes meanwhile.
    pub(crate) fn keep_tree(&self, root: &Path, tree: &Tree) -> Result<()> {
        for entry in &tree.entries {
            let path = root.join(&entry.path);
            match entry.kind {
                Kind::Folder => {}
                Kind::Link => {
                    let target = fs::read_link(&path)
                        .with_context(|| format!("{}: cannot be read", path.display()))?;
                    let target = target.as_os_str().as_encoded_bytes();
                    self.keep(target, &entry.digest, &path)?;
                }
                Kind::File | Kind::Executable => self.keep_file(&path, &entry.digest)?,
            }
        }
        Ok(())
    }

    /// Keeps the content of a file, which must have this digest.
    ///
    /// # Errors
    ///
    /// As [`Store::keep_tree`].
    pub(crate) fn keep_file(&self, path: &Path, digest: &str) -> Result<()> {
        if self.content(digest).exists() {
            return Ok(());
        }
        let file =
            File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        self.keep(file, digest, path)
    }

    fn keep(&self, from: impl io::Read, digest: &str, path: &Path) -> Result<()> {
        let target = self.content(digest);
        if target.exists() {
            return Ok(());
        }
        let failed = || format!("{}: cannot be kept", path.display());
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(READ_ONLY))
            .tempfile_in(self.unfinished())
            .with_context(failed)?;
        let (read, _) = copy_and_digest(from, file.as_file_mut()).with_context(failed)?;
        if read != digest {
            bail!(
                "{}: changed while it was read; add the build when nothing writes into it",
                path.display()
            );
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        // Of two that keep the same content at once, the second replaces it by its equal.
        file.persist(&target).with_context(failed)?;
        Ok(())
    }

    /// Makes the tree at `root`, which must not exist.
    ///
    /// # Errors
    ///
    /// A content that is missing or spoiled, and what cannot be written.
    pub(crate) fn restore(&self, tree: &Tree, root: &Path, purpose: Purpose) -> Result<()> {
        let failed = |path: &Path| format!("{}: cannot be made", path.display());
        fs::create_dir_all(root).with_context(|| failed(root))?;
        for entry in &tree.entries {
            let path = root.join(&entry.path);
            // The list is in order of path, so a folder comes before what is in it.
            self.restore_entry(entry, &path, purpose)
                .with_context(|| failed(&path))?;
        }
        if purpose == Purpose::Building {
            let folders = tree.entries.iter().rev();
            for entry in folders.filter(|entry| entry.kind == Kind::Folder) {
                set_time(&root.join(&entry.path), entry)?;
            }
        }
        Ok(())
    }

    fn restore_entry(&self, entry: &Entry, path: &Path, purpose: Purpose) -> Result<()> {
        let content = self.content(&entry.digest);
        match entry.kind {
            Kind::Folder => fs::create_dir(path)?,
            Kind::Link => {
                let target = fs::read(&content)?;
                let target = String::from_utf8(target).context("a link to what is no UTF-8")?;
                symlink(target, path)?;
            }
            Kind::File | Kind::Executable => self.restore_file(entry, path, purpose)?,
        }
        Ok(())
    }

    fn restore_file(&self, entry: &Entry, path: &Path, purpose: Purpose) -> Result<()> {
        let content = self.content(&entry.digest);
        // A program would lose its mode.
        let may_share = purpose == Purpose::Reading && entry.kind == Kind::File;
        if may_share && fs::hard_link(&content, path).is_ok() {
            return Ok(());
        }
        let mut copy = File::create_new(path)?;
        let from =
            File::open(&content).with_context(|| format!("{}: is missing", content.display()))?;
        let (digest, _) = copy_and_digest(from, &mut copy)?;
        if digest != entry.digest {
            bail!(
                "{}: is spoiled; `xsplice-store check` tells more",
                content.display()
            );
        }
        drop(copy);
        let mode = match entry.kind {
            Kind::Executable => PROGRAM,
            _ => FILE,
        };
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        set_time(path, entry)
    }

    /// The contents of a tree that are missing or spoiled, a sentence each.
    pub(crate) fn faults(&self, tree: &Tree) -> Vec<String> {
        let contents = tree.entries.iter().filter(|one| one.kind != Kind::Folder);
        let faults = contents.filter_map(|entry| {
            let fault = self.fault(&entry.digest)?;
            Some(format!("{}: {fault}", entry.path))
        });
        faults.collect()
    }

    /// What is wrong with a content.
    pub(crate) fn fault(&self, digest: &str) -> Option<String> {
        let content = self.content(digest);
        match digest_of_file(&content) {
            Ok(found) if found == digest => None,
            Ok(_) => Some(format!("the content is spoiled ({})", content.display())),
            Err(error) => Some(format!(
                "the content cannot be read ({}: {error})",
                content.display()
            )),
        }
    }

    /// Removes every content that is not in `needed`; how many, and their size in bytes.
    ///
    /// # Errors
    ///
    /// What cannot be removed.
    pub(crate) fn sweep_contents(&self, needed: &HashSet<String>) -> Result<(usize, u64)> {
        let (mut count, mut size) = (0, 0);
        for folder in fs::read_dir(self.root.join(CONTENTS))? {
            let folder = folder?.path();
            for content in fs::read_dir(&folder)? {
                let content = content?;
                let name = content.file_name().to_string_lossy().into_owned();
                if !needed.contains(&name) {
                    size += content.metadata()?.len();
                    count += 1;
                    fs::remove_file(content.path())
                        .with_context(|| format!("{name}: cannot be removed"))?;
                }
            }
            // A folder that still holds contents stays.
            let _ = fs::remove_dir(&folder);
        }
        Ok((count, size))
    }
}

/// Digests of the contents that a tree needs.
pub(crate) fn needed_by(tree: &Tree) -> impl Iterator<Item = String> {
    let contents = tree.entries.iter().filter(|one| one.kind != Kind::Folder);
    contents.map(|entry| entry.digest.clone())
}

fn set_time(path: &Path, entry: &Entry) -> Result<()> {
    let (seconds, nanoseconds) = entry.modified;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time: Option<SystemTime> = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    let time = time
        .and_then(|time| time.checked_add(part))
        .with_context(|| format!("{}: its time is out of range", path.display()))?;
    File::open(path)?.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
    Ok(())
}
