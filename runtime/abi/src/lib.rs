//! The numbers of the payload format, written once.
//!
//! Everything that a build tool writes and a loader reads is fixed here: the payload profiles,
//! the record layouts, the notes, section names, hypercall structures, error numbers and limits.
//! Nothing here allocates or parses; the tools and the runtime share these definitions so that
//! they cannot drift apart.
#![no_std]
#![forbid(unsafe_code)]

pub mod action;
pub mod channel;
pub mod errno;
pub mod hex;
pub mod hook;
pub mod hypercall;
pub mod limits;
pub mod machine;
pub mod note;
pub mod profile;
pub mod record;
pub mod section;
pub mod signature;
pub mod tables;

pub use errno::Errno;
pub use machine::Machine;
pub use profile::Profile;
