//! Loads payloads into a running image and applies, reverts and replaces them while every CPU
//! stands still.
//!
//! The way of a payload: [`read`] reads the file into a view, [`check`] judges the view, [`load`]
//! gives it addresses, fills them in, judges what came out and makes a [`payload`] in state
//! CHECKED of it. An action is prepared in [`act`] (all that can fail fails there) and carried out
//! inside the [`rendezvous`] by [`patch`].
//! [`hypercall`](Runtime::hypercall) is the front door and [`platform`] the back one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub(crate) mod act;
pub(crate) mod base;
pub mod channel;
pub mod check;
pub mod load;
pub(crate) mod locks;
pub(crate) mod names;
pub mod patch;
pub mod payload;
pub mod platform;
pub mod read;
pub mod rendezvous;

pub use act::dump::{DumpCursor, DumpPart};
pub use act::runtime::{Policy, Privilege, Runtime, SetupError};
pub use base::Base;
pub use payload::directory::Bug;
