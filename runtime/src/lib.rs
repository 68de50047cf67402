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

pub mod act;
pub mod channel;
pub mod check;
pub mod load;
pub mod patch;
pub mod platform;
pub mod read;
pub mod rendezvous;
mod runtime;

pub use runtime::{Base, Bug, Policy, Privilege, Runtime, SetupError};
