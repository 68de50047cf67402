//! The objects that an option names: files, archives, and whatever of these a folder holds. The
//! contents of a file say what it is, not its name.

use std::fs;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;
use xsplice_console::MappedFile;

use crate::command::input;
use crate::error::LinkError;

const ARCHIVE: &[u8] = b"!<arch>\n";
const ELF: &[u8] = b"\x7fELF";
/// Where an ELF file says what it is, and that it is an object.
const TYPE: (usize, [u8; 2]) = (16, [1, 0]);

/// Maps everything below the paths, in order of name. A link to a folder is not followed.
///
/// # Errors
/// [`LinkError::Read`] when one cannot be read.
pub(super) fn open(paths: &[PathBuf]) -> Result<Vec<MappedFile>, LinkError> {
    let mut files = Vec::new();
    for path in paths {
        add(path, &mut files)?;
    }
    Ok(files)
}

fn add(path: &Path, files: &mut Vec<MappedFile>) -> Result<(), LinkError> {
    if !path.is_dir() {
        files.push(input::open(path)?);
        return Ok(());
    }
    let failed = |source| LinkError::Read {
        path: path.to_owned(),
        source,
    };
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut below = entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.path(), entry.file_type()?))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    below.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (path, kind) in below {
        if kind.is_file() || kind.is_dir() {
            add(&path, files)?;
        }
    }
    Ok(())
}

/// The objects in the files, with what messages call them.
///
/// # Errors
/// [`LinkError::Malformed`] for an archive that cannot be read.
pub(super) fn objects(files: &[MappedFile]) -> Result<Vec<(String, &[u8])>, LinkError> {
    let mut objects = Vec::new();
    for file in files {
        let path = file.path().display().to_string();
        if is_object(file) {
            objects.push((path, &file[..]));
        } else if file.starts_with(ARCHIVE) {
            let failed = |source| LinkError::Malformed {
                path: path.clone(),
                what: "list of members",
                source,
            };
            for member in ArchiveFile::parse(&file[..]).map_err(failed)?.members() {
                let member = member.map_err(failed)?;
                let bytes = member.data(&file[..]).map_err(failed)?;
                if is_object(bytes) {
                    let name = String::from_utf8_lossy(member.name()).into_owned();
                    objects.push((format!("{path}({name})"), bytes));
                }
            }
        }
    }
    Ok(objects)
}

fn is_object(bytes: &[u8]) -> bool {
    let (at, kind) = TYPE;
    bytes.starts_with(ELF) && bytes.get(at..at + kind.len()) == Some(&kind)
}
