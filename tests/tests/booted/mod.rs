//! The checks of the booted kernel, by what they are about.

pub mod actions;
pub mod attacks;
pub mod bench;
pub mod clients;
pub mod code;
pub mod contents;
pub mod denied;
pub mod rounds;
pub mod signatures;
pub mod stops;
pub mod uploads;
