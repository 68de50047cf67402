//! The checks of the booted kernel, by what they are about.

pub(crate) mod actions;
pub(crate) mod attacks;
pub(crate) mod bench;
pub(crate) mod clients;
pub(crate) mod code;
pub(crate) mod contents;
pub(crate) mod denied;
pub(crate) mod memory;
pub(crate) mod operators;
pub(crate) mod rounds;
pub(crate) mod signatures;
pub(crate) mod stops;
pub(crate) mod uploads;
