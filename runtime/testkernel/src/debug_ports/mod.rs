//! QEMU's two debug ports: the log, and the exit with a status.

pub(crate) mod debugcon;
pub(crate) mod exit;
