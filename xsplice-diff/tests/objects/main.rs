//! Compares objects that real compilers write at test time.
#![forbid(unsafe_code)]

mod aarch64;
mod belongings;
mod compiler;
mod counted_from;
mod descriptors;
mod empty_replacements;
mod handed_out;
mod layouts;
mod left_in_register;
mod lines;
mod machine;
mod merged;
mod mutation;
mod own_section;
mod places;
mod proven_lines;
mod reading;
mod references;
mod sections;
mod shared_names;
mod special;
mod static_locals;
mod targets;
mod traps;
mod walked;
mod weak_names;
