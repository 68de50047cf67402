//! The tests of the runtime on the host that can run side by side: one program, so that the crate
//! is linked once. Those with an allocator, a scheduler or a search of their own are named in
//! `Cargo.toml`, with the reason.

#[macro_use]
#[path = "support/each_method.rs"]
mod each_method;
#[cfg(feature = "rsa")]
#[path = "support/identity.rs"]
mod identity;
mod support;

mod actions;
mod base_symbols;
mod connections;
mod elf_rules;
mod encodings;
mod failed_replaces;
mod hooks;
mod hypercalls;
mod inside_the_zone;
mod loader;
mod loader_tables;
mod record_rules;
mod regions;
mod registered_names;
mod second_machine;
mod signatures;
#[cfg(feature = "rsa")]
mod trusted_keys;
mod uploads;
mod words;
