//! `make bench`: whether the tools keep their budgets of time and memory.
//!
//! Inputs are generated from fixed seeds ([`xen_like`], [`debug_trees`], [`many_functions`],
//! [`shapes`]), or real trees where `make xen` has left some ([`trees`]). Commands run as users run
//! them, each in a process of its own ([`sampling`]), those that are set against each other in
//! turn. [`run`] says what is measured, [`budget`] what it may cost.

pub mod budget;
pub mod debug_trees;
pub mod many_functions;
pub mod page;
pub mod run;
pub mod sampling;
pub mod shapes;
pub mod trees;
pub mod xen_like;
