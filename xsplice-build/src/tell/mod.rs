//! Reports of a run: terminal, JSON, HTML page.

pub mod html;
pub mod report;
pub mod story;
