//! Compares objects that real compilers write at test time.
#![forbid(unsafe_code)]

mod compiler;
mod layouts;
mod lines;
mod mutation;
mod reading;
mod sections;
mod special;
mod static_locals;
mod traps;
