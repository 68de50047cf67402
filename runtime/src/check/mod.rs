//! Rules that a payload must keep, as pure functions over its [`View`].
//!
//! The loader runs them on upload and `xsplice-link verify` runs them on the host, so both give the
//! same error number. [`payload`] needs the file alone; what depends on addresses is in
//! [`crate::load::records`], [`crate::load::special`] and [`crate::load::relocate`], which are as
//! pure.

pub(crate) mod error;
pub(crate) mod header;
pub mod sections;
pub mod special;

pub use error::{CheckError, Fault};

use crate::read::view::View;
use xsplice_abi::Profile;
use xsplice_abi::machine::Machine;

/// Facts that need only the file.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'data> {
    /// The machine it was made for.
    pub machine: &'static Machine,
    /// The ABI it was made for.
    pub profile: &'static Profile,
    /// Its build-ids.
    pub notes: special::Notes<'data>,
    /// Its `.modinfo`.
    pub metadata: &'data [u8],
}

/// Checks header, sections, symbols, relocations, notes and tables by every rule that needs only
/// the file, as the loader of a machine does and in its order.
///
/// # Errors
/// The first rule that is broken.
pub fn payload<'data>(
    view: &View<'data>,
    machine: &'static Machine,
) -> Result<Facts<'data>, CheckError<'data>> {
    header::check(view, machine)?;
    sections::sections(view)?;
    let profile = special::profile(view)?;
    let notes = special::notes(view, profile)?;
    special::tables(view, profile, machine)?;
    sections::symbols(view)?;
    sections::relocations(view, profile, machine)?;
    Ok(Facts {
        machine,
        profile,
        notes,
        metadata: special::metadata(view)?,
    })
}

/// Checks that the payload was made for the base with this build-id.
///
/// A payload of a profile without the base's note is judged by what it stacks on when it is
/// applied.
///
/// # Errors
/// [`Fault::ForeignBase`].
pub fn base<'data>(facts: &Facts<'data>, build_id: &[u8]) -> Result<(), CheckError<'data>> {
    match facts.notes.base {
        Some(id) if id != build_id => Err(Fault::ForeignBase.of_file()),
        _ => Ok(()),
    }
}
