//! A folder that keeps shipped builds, each with source, objects, base and build command under the
//! base's build-id. The layout is in docs/store.md.
//!
//! Contents are kept once each under their SHA-256, and everything appears by renaming what is
//! finished, so that a crash leaves nothing but files that nobody refers to. Whoever adds or reads
//! holds the store's lock together with others; only what takes contents away holds it alone.

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod contents;
pub(crate) mod find;
pub(crate) mod listing;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod tell;
pub(crate) mod unpack;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use record::BuildRecord;

/// Names below the store's folder.
const FORMAT: &str = "store.toml";
const LOCK: &str = "lock";
const BUILDS: &str = "builds";
const CONTENTS: &str = "contents";
const UNFINISHED: &str = "unfinished";
/// Names below the folder of a build.
pub(crate) const RECORD: &str = "build.toml";
pub(crate) const BASE: &str = "base";

/// What `store.toml` holds. Another format gets another number.
const FORMAT_TEXT: &str =
    "# A store of shipped builds; see docs/store.md of xsplice.\nformat = 1\n";

/// How a store is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Builds are read or added; others may do so at the same time.
    Together,
    /// Contents are taken away; nobody else may use the store.
    Alone,
}

/// A store, locked as long as this exists.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// Closing it unlocks.
    lock: File,
}

impl Store {
    /// Opens the store at `root`.
    ///
    /// # Errors
    ///
    /// There is no store, or one of another format, or `usage` is not possible now.
    pub(crate) fn open(root: &Path, usage: Use) -> Result<Store> {
        let format = fs::read_to_string(root.join(FORMAT)).map_err(|_| {
            anyhow::anyhow!(
                "{}: there is no store here; `xsplice-store add --store {0}` makes one",
                root.display()
            )
        })?;
        if format != FORMAT_TEXT {
            bail!(
                "{}: a store of another format; use the version of xsplice that made it",
                root.display()
            );
        }
        // A store may be on a disk that cannot be written to; its lock works all the same.
        let lock = File::open(root.join(LOCK))
            .or_else(|_| File::create(root.join(LOCK)))
            .with_context(|| format!("{}: the store cannot be locked", root.display()))?;
        let store = Store {
            root: root.to_owned(),
            lock,
        };
        store.lock(usage)?;
        Ok(store)
    }

    /// Opens the store at `root`, or makes it.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; or the folder holds something else.
    pub(crate) fn open_or_make(root: &Path) -> Result<Store> {
        let failed = || format!("--store {}: cannot be made", root.display());
        fs::create_dir_all(root).with_context(failed)?;
        if !root.join(FORMAT).exists() {
            // Another `add` may be making the same store.
            let known = [FORMAT, LOCK, BUILDS, CONTENTS, UNFINISHED];
            for entry in fs::read_dir(root).with_context(failed)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if !known.contains(&name.as_str()) && !name.starts_with('.') {
                    bail!(
                        "--store {}: holds {name}, so it is no store; name an empty folder, or \
                         one that is not there yet",
                        root.display()
                    );
                }
            }
            for folder in [BUILDS, CONTENTS, UNFINISHED] {
                fs::create_dir_all(root.join(folder)).with_context(failed)?;
            }
            let format = root.join(FORMAT);
            xsplice_console::output::write_file(&format, FORMAT_TEXT.as_bytes())
                .with_context(failed)?;
        }
        let store = Store::open(root, Use::Together)?;
        // Whoever was ended in the middle left something, if nobody is at it now.
        if store.lock.try_lock().is_ok() {
            store.sweep_unfinished()?;
        }
        store.lock(Use::Together)?;
        Ok(store)
    }

    /// Removes what is unfinished; only for one that uses the store alone.
    fn sweep_unfinished(&self) -> Result<()> {
        let folder = self.unfinished();
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("{}: cannot be removed", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))
    }

    fn lock(&self, usage: Use) -> Result<()> {
        let locked = match usage {
            Use::Together => self.lock.try_lock_shared(),
            Use::Alone => self.lock.try_lock(),
        };
        match (locked, usage) {
            (Ok(()), _) => Ok(()),
            // Whoever holds it alone holds it for moments.
            (Err(TryLockError::WouldBlock), Use::Together) => Ok(self.lock.lock_shared()?),
            (Err(TryLockError::WouldBlock), Use::Alone) => bail!(
                "{}: another command uses the store; try again when it has ended",
                self.root.display()
            ),
            (Err(TryLockError::Error(error)), _) => Err(error)
                .with_context(|| format!("{}: the store cannot be locked", self.root.display())),
        }
    }

    /// The store's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a build.
    pub(crate) fn build(&self, build_id: &str) -> PathBuf {
        self.root.join(BUILDS).join(build_id)
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join(UNFINISHED)
    }

    /// All builds, in order of name.
    ///
    /// # Errors
    ///
    /// A record that cannot be read.
    pub(crate) fn records(&self) -> Result<Vec<BuildRecord>> {
        let folder = self.root.join(BUILDS);
        let entries =
            fs::read_dir(&folder).with_context(|| format!("{}: cannot read", folder.display()))?;
        let mut records = Vec::new();
        for entry in entries {
            records.push(BuildRecord::read(&entry?.path().join(RECORD))?);
        }
        records.sort_by(|a: &BuildRecord, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// The build of this name, or whose build-id begins with these digits.
    ///
    /// # Errors
    ///
    /// None, or several; the builds that are there are listed.
    pub(crate) fn record(&self, wanted: &str) -> Result<BuildRecord> {
        let mut records = self.records()?;
        let by_name = records.iter().position(|record| record.name == wanted);
        let by_id = |record: &BuildRecord| find::is_begin_of_id(wanted, &record.build_id);
        let mut by_ids = records.iter().enumerate().filter(|(_, one)| by_id(one));
        let found = match (by_name, by_ids.next(), by_ids.next()) {
            (Some(index), ..) | (None, Some((index, _)), None) => index,
            (None, Some(_), Some(_)) => bail!(
                "{wanted}: the build-ids of several builds begin so; give more digits, or a name"
            ),
            (None, None, _) => {
                let names: Vec<_> = records.iter().map(|one| one.name.as_str()).collect();
                bail!(
                    "{wanted}: no build of {} has this name or build-id; it holds {}",
                    self.root.display(),
                    match names.as_slice() {
                        [] => "none".to_owned(),
                        names => names.join(", "),
                    }
                )
            }
        };
        Ok(records.swap_remove(found))
    }
}
