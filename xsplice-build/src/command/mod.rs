//! The command line: arguments, manual pages, progress, the tone of messages.

pub mod arguments;
pub mod manual;
pub mod progress;
pub mod voice;
