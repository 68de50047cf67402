//! Reports of a run: terminal, JSON, HTML page.

pub mod html;
pub(crate) mod provenance;
pub mod report;
pub(crate) mod story;
