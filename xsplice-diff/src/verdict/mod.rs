//! The words that all rules speak: reasons, refusals and their codes, acknowledgements.

pub mod accept;
pub mod kinds;
pub mod place;
pub mod refusal;
pub mod refusals;
