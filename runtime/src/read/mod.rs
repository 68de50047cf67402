//! Reads untrusted input: a payload's ELF file and signature; and the base's symbols, the deny
//! list. The contents of a payload are judged by `check`.

pub mod deny;
pub mod elf;
#[cfg(feature = "rsa")]
mod public_key;
pub mod signature;
pub mod symbols;
#[cfg(feature = "rsa")]
pub mod trusted_key;
pub mod view;
