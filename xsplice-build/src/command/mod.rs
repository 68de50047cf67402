//! The command line: arguments, manual pages, progress, where messages go.

pub mod arguments;
pub mod manual;
pub mod progress;
pub mod store;
pub mod voice;
