//! `build.toml`: what a store knows of a build, for people to read and for a later run to use.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Longest name of a build, in letters.
pub(crate) const NAME_LENGTH_MAX: usize = 64;

/// Whether a build may have this name. It is also that of a folder, and a word of the command line.
pub(crate) fn is_build_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    name.len() <= NAME_LENGTH_MAX
        && name.chars().all(is_plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The format of `build.toml`.
pub(crate) const FORMAT: u32 = 1;

/// A shipped build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BuildRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// What people call the build; no two builds of a store have the same.
    pub name: String,
    /// Of the base, in hexadecimal; also the name of the build's folder.
    pub build_id: String,
    /// The command that builds the source, for `sh`.
    pub make: String,
    /// The linked image that runs.
    pub base: BaseRecord,
    /// The source.
    pub source: TreeRecord,
    /// The objects of the build.
    pub objects: TreeRecord,
}

/// A base, which is always kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct BaseRecord {
    /// The file's name.
    pub file: String,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

/// A tree, which is kept or pointed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TreeRecord {
    /// The digest of the tree, in hexadecimal.
    pub digest: String,
    /// How many files and links it has.
    pub files: usize,
    /// Size of all contents in bytes.
    pub bytes: u64,
    /// Where it is; `None` when the store keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl BuildRecord {
    /// Reads `build.toml`.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is of another format.
    pub(crate) fn read(path: &Path) -> Result<BuildRecord> {
        let named = || format!("{}: cannot be read", path.display());
        let text = fs::read_to_string(path).with_context(named)?;
        let record: BuildRecord = toml::from_str(&text).with_context(named)?;
        if record.format != FORMAT {
            bail!(
                "{}: is of format {}, and this version of xsplice knows {FORMAT} alone",
                path.display(),
                record.format
            );
        }
        if !is_build_name(&record.name) {
            bail!(
                "{}: {:?} is no name of a build",
                path.display(),
                record.name
            );
        }
        Ok(record)
    }

    /// The text of `build.toml`.
    ///
    /// # Errors
    ///
    /// A path that is no UTF-8.
    pub(crate) fn text(&self) -> Result<String> {
        toml::to_string(self).context("the build cannot be written as TOML")
    }

    /// The first digits of the build-id, for tables.
    pub(crate) fn short_id(&self) -> &str {
        const DIGITS: usize = 12;
        self.build_id.get(..DIGITS).unwrap_or(&self.build_id)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{BaseRecord, BuildRecord, FORMAT, TreeRecord};

    #[test]
    fn what_is_written_is_read_and_an_unknown_key_or_format_is_an_error() {
        let tree = |path: Option<&str>| TreeRecord {
            digest: "ab".repeat(32),
            files: 3,
            bytes: 70,
            path: path.map(Into::into),
        };
        let record = BuildRecord {
            format: FORMAT,
            name: "prod".to_owned(),
            build_id: "c050".to_owned(),
            make: "make 'a b'\n".to_owned(),
            base: BaseRecord {
                file: "xen-syms".to_owned(),
                sha256: "cd".repeat(32),
            },
            source: tree(None),
            objects: tree(Some("/srv/build")),
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("build.toml");
        let text = record.text().expect("plain values");
        fs::write(&path, &text).expect("a file");
        assert_eq!(BuildRecord::read(&path).expect("as written"), record);
        for (from, to) in [
            ("format = 1", "format = 2"),
            ("format = 1", "format = 1\nx = 1"),
            ("\"prod\"", "\"../prod\""),
        ] {
            fs::write(&path, text.replace(from, to)).expect("a file");
            assert!(BuildRecord::read(&path).is_err(), "{to}");
        }
    }
}
