//! Carries out what an operator asks: hypercalls, actions, hooks, shadow variables.

pub mod action;
pub mod dump;
pub mod hooks;
pub mod hypercall;
pub mod list;
pub mod runtime;
pub mod shadow;
