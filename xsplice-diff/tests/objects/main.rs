//! Compares objects that real compilers write at test time.
#![forbid(unsafe_code)]

mod aarch64;
mod compiler;
mod descriptors;
mod empty_replacements;
mod handed_out;
mod layouts;
mod lines;
mod machine;
mod merged;
mod mutation;
mod own_section;
mod reading;
mod sections;
mod special;
mod static_locals;
mod traps;
