//! Errors of two kinds: an input that cannot be read (exit status 1), and a payload that must not
//! be made (exit status 2), for which every refusal is collected.

use crate::build_id::BuildId;
use std::fmt;
use std::path::PathBuf;

use xsplice_abi::machine::{ALL, MachineName};

use crate::provenance::ProvenanceError;
pub use xsplice_diff::verdict::kinds::RefusalCode;
pub use xsplice_diff::verdict::refusal::Refusal;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Provenance that cannot be read or signed.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    /// A file could not be opened, read or mapped.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An output could not be written or renamed into place.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Not a 64-bit ELF file at all.
    #[error("{path}: is not a 64-bit ELF file ({source}); give the linked image or the payload")]
    NotElf {
        /// The file.
        path: String,
        /// The reader's error.
        source: object::Error,
    },
    /// An ELF file with a broken part.
    #[error("{path}: its {what} cannot be read: {source}; is the file complete?")]
    Malformed {
        /// The file.
        path: String,
        /// The part.
        what: &'static str,
        /// The reader's error.
        source: object::Error,
    },
    /// An ELF file, but no linked image of ours.
    #[error(
        "{path}: is {found}; the base must be the linked {known} image that runs",
        known = known()
    )]
    NotABase {
        /// The file.
        path: String,
        /// What it is instead.
        found: String,
    },
    /// An image and an extract for two machines.
    #[error(
        "{path}: is for {machine}, and {extract} for {other}; a payload is made of an image and of \
         objects for one machine"
    )]
    TwoMachines {
        /// The image.
        path: String,
        /// Of the image.
        machine: MachineName,
        /// The object that the extract is of.
        extract: String,
        /// Of the extract.
        other: MachineName,
    },
    /// A base whose symbols were stripped.
    #[error("{path}: has no symbol table; give the unstripped image (xen-syms, not xen or xen.gz)")]
    NoSymbols {
        /// The file.
        path: String,
    },
    /// No GNU build-id note.
    #[error("{path}: has no build-id note; link it with --build-id=sha1")]
    NoBuildId {
        /// The file.
        path: String,
    },
    /// A GNU build-id note with an id of a length that no payload can name.
    #[error(
        "{path}: has a build-id of {id_bytes} bytes, and loaders take 1 to 64; link it with \
         --build-id=sha1"
    )]
    BuildIdLength {
        /// The file.
        path: String,
        /// How long its id is.
        id_bytes: usize,
    },
    /// A table of the base is not a whole number of entries.
    #[error(
        "{path}: its table {table} of {size_bytes} bytes does not hold entries of {entry_bytes} \
         bytes; is this the image that the profile is for?"
    )]
    BadTable {
        /// The file.
        path: String,
        /// The table's name.
        table: &'static str,
        /// Its size.
        size_bytes: u64,
        /// Size of an entry as the profile has it.
        entry_bytes: u64,
    },
    /// A payload's name that cannot be part of symbols and metadata.
    #[error(
        "{name:?}: a payload's name has 1 to 127 letters, digits and any of . _ + -; give --name"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// A value that is neither a build-id nor a file with one.
    #[error(
        "{text}: is neither a build-id (1 to 64 bytes in hexadecimal, two digits a byte) nor a file"
    )]
    NoSuchId {
        /// What was given.
        text: String,
    },
    /// A payload to stack on that is for another image.
    #[error(
        "{path}: was made for the image {other}, and this payload is for {made_for}; nothing can \
         stack on it there. Make both for the image that runs: --orig and --base of the same build"
    )]
    OtherBase {
        /// The payload below.
        path: String,
        /// Build-id of its image.
        other: BuildId,
        /// Build-id of ours.
        made_for: BuildId,
    },
    /// An extract that cannot be read.
    #[error("{path}: {source}")]
    Extract {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: xsplice_diff::ExtractError,
    },
    /// A payload that cannot be read.
    #[error("{path}: cannot be read as a payload: {source}")]
    Payload {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: crate::read::ReadError,
    },
    /// A deny list with a malformed line.
    #[error("{path}:{source}")]
    DenyList {
        /// The file.
        path: String,
        /// The line, and what is wrong with it.
        source: xsplice_runtime::read::deny::ListError,
    },
    /// The ELF writer failed.
    #[error("the payload cannot be laid out: {0}")]
    Layout(#[from] object::write::Error),
    /// A payload could not be signed or its signature not be checked.
    #[error(transparent)]
    Sign(#[from] crate::sign::SignError),
    /// The payload must not be made.
    #[error("{0}")]
    Refused(Refusals),
}

/// The machines that payloads are made for.
fn known() -> String {
    let names: Vec<&str> = ALL.iter().map(|machine| machine.name).collect();
    names.join(" or ")
}

/// Reasons to refuse, in the order of the inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl Refusals {
    /// `Ok` when there is nothing to refuse.
    ///
    /// # Errors
    /// [`LinkError::Refused`] with all of them.
    pub(crate) fn into_result(self) -> Result<(), LinkError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(LinkError::Refused(self))
        }
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            if index != 0 {
                out.write_str("\n")?;
            }
            write!(out, "{refusal}")?;
        }
        Ok(())
    }
}
