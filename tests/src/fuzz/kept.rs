//! Findings that are kept: the mutated files that once brought a fault to light, each in a folder
//! of `fixtures/mutations` with a line that says what the fault was.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Finding, Input, Target};

/// Name of the file that says which target it is and what the fault was.
const ABOUT: &str = "about.txt";

/// A kept finding.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Name of its folder.
    pub name: String,
    /// Which target.
    pub target: Target,
    /// Its files.
    pub input: Input,
}

/// Where findings are kept.
#[must_use]
pub fn folder() -> PathBuf {
    crate::workspace().join("fixtures/mutations")
}

/// All that are kept, by name.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(read(&path).with_context(|| path.display().to_string())?);
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn read(path: &Path) -> Result<Kept> {
    let about = fs::read_to_string(path.join(ABOUT))?;
    let word = about.split(':').next().unwrap_or_default();
    let Some(target) = Target::ALL.into_iter().find(|known| known.name() == word) else {
        bail!("{ABOUT} begins with {word:?}, which is no target");
    };
    let mut input = Input::default();
    for (name, file) in files(&mut input) {
        let path = path.join(name);
        if path.exists() {
            *file = fs::read(path)?;
        }
    }
    Ok(Kept {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        target,
        input,
    })
}

fn files(input: &mut Input) -> [(&'static str, &mut Vec<u8>); 6] {
    [
        ("original.o", &mut input.original),
        ("patched.o", &mut input.patched),
        ("base", &mut input.base),
        ("extract", &mut input.extract),
        ("payload", &mut input.payload),
        ("sound", &mut input.sound),
    ]
}

/// Stores a finding below `folder`, in a folder of its own whose path is returned.
///
/// # Errors
/// When it cannot be written.
pub fn write(folder: &Path, finding: &Finding) -> Result<PathBuf> {
    let target = finding.target.name();
    let path = folder.join(format!("{target}-{}-{}", finding.case, finding.seed));
    write_input(&path, &finding.input)?;
    let about = format!("{target}: {}\n", finding.fault);
    fs::write(path.join(ABOUT), about)?;
    Ok(path)
}

/// Stores the files of a run in `folder`.
///
/// # Errors
/// When they cannot be written.
pub fn write_input(folder: &Path, input: &Input) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}: not made", folder.display()))?;
    for (name, file) in files(&mut input.clone()) {
        if !file.is_empty() {
            fs::write(folder.join(name), file)?;
        }
    }
    Ok(())
}
