//! Reads a payload: ELF, symbols, the deny list, signatures. Nothing here is believed before
//! `check` has looked at it.

pub mod deny;
pub mod elf;
pub mod signature;
pub mod symbols;
#[cfg(feature = "rsa")]
pub mod trusted_key;
pub mod view;
