//! The vocabulary of all rules: reasons, refusals and their codes, what is accepted.

pub mod accept;
pub mod kinds;
pub mod place;
pub mod refusal;
pub mod refusals;
