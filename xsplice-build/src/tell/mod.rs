//! Reports of a run: terminal, JSON, HTML page.

pub mod html;
pub(crate) mod provenance;
pub(crate) mod refusals;
pub mod report;
pub(crate) mod story;
