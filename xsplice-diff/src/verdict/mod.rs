//! The words that all rules speak: reasons, refusals and their codes, acknowledgements.

pub mod refusals;
