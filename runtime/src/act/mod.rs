//! Carries out what an operator asks: hypercalls, actions, the stack of payloads, hooks.

pub mod action;
pub mod directory;
pub mod dump;
pub mod hooks;
pub mod hypercall;
pub mod list;
pub mod shadow;
pub mod stack;
