//! Compares text with a committed file, shows the difference, and rewrites the file only when
//! asked to by `XSPLICE_BLESS=1`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use similar::TextDiff;

/// Whether this run rewrites expected files.
#[must_use]
pub fn blessing() -> bool {
    std::env::var_os("XSPLICE_BLESS").is_some_and(|value| value == "1")
}

/// Fails with a diff when `actual` is not what `file` holds; `None` means that there must be no
/// such file.
///
/// # Errors
/// When they differ, or the file cannot be read or, when blessing, written.
pub fn compare(file: &Path, actual: Option<&str>) -> Result<()> {
    let expected = match fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{}: not read", file.display())),
    };
    if expected.as_deref() == actual {
        return Ok(());
    }
    if blessing() {
        return match actual {
            Some(text) => {
                if let Some(folder) = file.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::write(file, text)
            }
            None => fs::remove_file(file),
        }
        .with_context(|| format!("{}: not rewritten", file.display()));
    }
    let expected_text = expected.unwrap_or_default();
    let diff = TextDiff::from_lines(expected_text.as_str(), actual.unwrap_or_default());
    bail!(
        "{} is not what came out (XSPLICE_BLESS=1 rewrites it):\n{}",
        file.display(),
        diff.unified_diff().header("expected", "actual")
    );
}
