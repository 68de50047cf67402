//! What connects the kernel with the outside: log, control channel, test commands, exit.

pub(crate) mod channel;
pub(crate) mod commands;
pub(crate) mod debugcon;
pub(crate) mod exit;
pub(crate) mod location;
pub(crate) mod sender;
pub(crate) mod serial;
pub(crate) mod text;
