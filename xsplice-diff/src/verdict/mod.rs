//! The vocabulary of all rules: reasons, refusals and their codes, what is accepted.

pub mod accept;
pub mod causes;
pub mod kinds;
pub(crate) mod place;
pub mod refusal;
pub(crate) mod refusals;
