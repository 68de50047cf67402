//! Tells people and pipelines what was done: terminal, JSON, page.

pub mod html;
pub mod report;
pub mod story;
