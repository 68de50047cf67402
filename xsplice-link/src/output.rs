//! Writes results: files by rename, so that nobody sees half of one, and JSON to a file or to
//! standard output.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;

use crate::error::LinkError;

/// A temporary file is private and an output is not; the umask still applies.
const OUTPUT_MODE: u32 = 0o666;

/// Writes `bytes` to `path` by renaming a finished file into place.
///
/// # Errors
/// [`LinkError::Write`]; `path` is left as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), LinkError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = |source| LinkError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(OUTPUT_MODE))
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Writes `value` as JSON to `target`, where `-` is standard output.
///
/// # Errors
/// [`LinkError::Write`].
pub fn write_json<T: Serialize>(target: &Path, value: &T) -> Result<(), LinkError> {
    let failed = |source: std::io::Error| LinkError::Write {
        path: target.to_owned(),
        source,
    };
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    if target.as_os_str() == "-" {
        std::io::stdout().write_all(&text).map_err(failed)
    } else {
        write_file(target, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::write_file;

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(write_file(&dir.path().join("missing/file"), b"x").is_err());
        write_file(&dir.path().join("file"), b"old").expect("the folder is writable");
        write_file(&dir.path().join("file"), b"new").expect("the folder is writable");
        assert_eq!(
            std::fs::read(dir.path().join("file")).expect("the file"),
            b"new"
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("the folder").count(),
            1
        );
    }
}
