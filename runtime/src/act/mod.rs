//! Carries out what an operator asks: hypercalls, actions, hooks, shadow variables.

pub(crate) mod action;
pub(crate) mod dump;
pub(crate) mod hooks;
pub(crate) mod hypercall;
pub(crate) mod list;
pub(crate) mod runtime;
pub(crate) mod shadow;
