//! Loads payloads into a running image and applies, reverts and replaces them while every CPU
//! stands still.
//!
//! The way of a payload: [`elf`] reads it into a [`view`], [`check`] judges the view, `place`
//! gives it addresses, `relocate` fills them in, `records` and `special` judge what came out,
//! `load` joins these to a payload in state CHECKED. An action is prepared in `action` (all that
//! can fail fails there), carried out inside the [`rendezvous`], and recorded in `stack`.
//! [`hypercall`](Runtime::hypercall) is the front door and [`platform`] the back one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod action;
pub mod channel;
pub mod check;
pub mod cpu;
pub mod deny;
pub mod directory;
mod dump;
pub mod elf;
mod hooks;
mod hypercall;
mod list;
pub mod load;
pub mod memory;
pub mod milestones;
pub mod open_text;
pub mod overlay;
pub mod patch;
pub mod place;
pub mod platform;
pub mod records;
pub mod relocate;
pub mod rendezvous;
mod runtime;
pub mod shadow;
pub mod signature;
pub mod special;
pub mod stack;
pub mod symbols;
pub mod trampoline;
#[cfg(feature = "rsa")]
pub mod trusted_key;
pub mod view;

pub use runtime::{Base, Bug, Policy, Privilege, Runtime, SetupError};
