//! Writes files by renaming finished ones into place: nobody ever sees half of an output, and a
//! failure leaves what was there before.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A temporary file is private and an output is not; the umask still applies.
const OUTPUT_MODE: u32 = 0o666;

/// Writes `bytes` to `path`.
///
/// # Errors
///
/// Whatever the system says; `path` is left as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(OUTPUT_MODE))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
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
