//! Writes files by renaming a finished temporary file: no reader sees half an output, and a failure
//! leaves the old file in place.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A temporary file is private and an output is not; the umask still applies.
const OUTPUT_MODE: u32 = 0o666;

/// The folder that `path` goes into.
fn folder(path: &Path) -> io::Result<&Path> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if folder.is_dir() {
        return Ok(folder);
    }
    let message = format!("there is no folder {}", folder.display());
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// Whether `path`, as an option gives it, means standard output.
#[must_use]
pub fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Checks that a file can be written to `path` later, so that a command with several outputs writes
/// all or none.
///
/// # Errors
///
/// The folder is not there or takes no files, or `path` is a folder itself.
pub fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    tempfile::tempfile_in(folder(path)?).map(drop)
}

/// Writes `bytes` to `path`.
///
/// # Errors
///
/// Whatever the system says; `path` is left as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(OUTPUT_MODE))
        .tempfile_in(folder(path)?)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_writable, write_file};

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for path in ["missing/file", "."] {
            let path = dir.path().join(path);
            assert!(check_writable(&path).is_err(), "{}", path.display());
            assert!(write_file(&path, b"x").is_err(), "{}", path.display());
        }
        check_writable(&dir.path().join("file")).expect("the folder is writable");
        assert!(!dir.path().join("file").exists());
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
