//! The operator's tool for a running kernel: upload, inspect, apply and revert payloads.
//!
//! It follows the `xen-xsplice` of the 2016 design. Only the kernel decides what is allowed; the
//! tool asks, waits for the answer, and reports the result in words, in `--json`, and by its exit
//! status. [`transport`] carries one call, [`calls`] knows the structures, [`list`] and [`action`]
//! know the rules that need several calls, [`run()`] is the command line.
#![forbid(unsafe_code)]

pub mod action;
mod area;
pub mod arguments;
pub mod calls;
pub mod error;
mod identity;
pub mod list;
mod load;
mod report;
pub mod request;
mod run;
pub mod transport;

pub use arguments::Arguments;
pub use error::{CtlError, ExitStatus};
pub use run::run;
