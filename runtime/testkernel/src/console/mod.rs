//! What the host says to the kernel: the control channel and the commands of tests.

pub(crate) mod channel;
pub(crate) mod commands;
pub(crate) mod receiver;
pub(crate) mod ring;
pub(crate) mod sender;
pub(crate) mod serial;
pub(crate) mod text;
