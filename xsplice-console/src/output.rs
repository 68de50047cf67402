//! Writes files by renaming a finished temporary file: no reader sees half an output, and a failure
//! leaves the old file in place.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

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

/// A path that the command line gives.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The option, as it is written.
    pub option: &'a str,
    /// Its value.
    pub path: &'a Path,
}

impl<'a> Given<'a> {
    /// The value of an option, where it has one.
    #[must_use]
    pub fn by(option: &'a str, path: Option<&'a PathBuf>) -> Option<Given<'a>> {
        let path = path?.as_path();
        Some(Given { option, path })
    }

    /// Where a file of this path lies: a link is replaced and not what it leads to.
    fn place(&self) -> Option<PathBuf> {
        let folder = folder(self.path).ok()?.canonicalize().ok()?;
        Some(folder.join(self.path.file_name()?))
    }
}

/// Checks that no output would replace an input or another output.
///
/// # Errors
///
/// The output at fault, and which option gives the same file.
pub fn check_apart(
    outputs: &[Given<'_>],
    inputs: &[Given<'_>],
) -> Result<(), (PathBuf, io::Error)> {
    let files: Vec<_> = outputs
        .iter()
        .filter(|output| !is_standard_output(output.path))
        .collect();
    for (index, output) in files.iter().enumerate() {
        let Some(place) = output.place() else {
            continue;
        };
        let failed = |what: &str, other: &Given<'_>| {
            let message = format!("it is {what} of {}; name another file", other.option);
            Err((output.path.to_owned(), io::Error::other(message)))
        };
        let is_there = |other: &Given<'_>| {
            other.place().as_ref() == Some(&place)
                || other.path.canonicalize().is_ok_and(|real| real == place)
        };
        if let Some(input) = inputs.iter().find(|input| is_there(input)) {
            return failed("the input", input);
        }
        let earlier = files[..index].iter();
        if let Some(other) = earlier
            .copied()
            .find(|other| other.place().as_ref() == Some(&place))
        {
            return failed("the output", other);
        }
    }
    Ok(())
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
    use std::path::PathBuf;

    use super::{Given, check_apart, check_writable, write_file};

    #[test]
    fn an_output_replaces_no_input_and_no_other_output() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("base"), b"x").expect("the folder is writable");
        std::os::unix::fs::symlink(at("base"), at("link")).expect("the folder is writable");
        std::fs::create_dir(at("below")).expect("the folder is writable");
        let by = |option: &'static str, path: &PathBuf| -> (&'static str, PathBuf) {
            (option, path.clone())
        };
        let check = |outputs: &[(&'static str, PathBuf)], input: &PathBuf| {
            let given: Vec<_> = outputs
                .iter()
                .filter_map(|(option, path)| Given::by(option, Some(path)))
                .collect();
            let input = Given::by("--base", Some(input));
            check_apart(&given, input.as_slice())
                .map_err(|(path, error)| format!("{}: {error}", path.display()))
        };
        let refused = check(&[by("--output", &at("below/../base"))], &at("base"));
        let message = refused.expect_err("the output is the base");
        assert!(
            message.ends_with("base: it is the input of --base; name another file"),
            "{message}"
        );
        // What the input is a link to is the input, too.
        check(&[by("--output", &at("base"))], &at("link")).expect_err("it is the base");
        let both = [
            by("--output", &at("new")),
            by("--json", &at("below/../new")),
        ];
        let message = check(&both, &at("base")).expect_err("both are one file");
        assert!(
            message.contains("it is the output of --output"),
            "{message}"
        );

        let apart = [by("--output", &at("new")), by("--json", &at("below/new"))];
        check(&apart, &at("base")).expect("all are different files");
        // A link that is replaced leaves what it leads to.
        check(&[by("--output", &at("link"))], &at("base")).expect("the base stays");
        let terminal = [
            by("--json", &PathBuf::from("-")),
            by("--html", &PathBuf::from("-")),
        ];
        check(&terminal, &PathBuf::from("-")).expect("standard output is no file");
    }

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
