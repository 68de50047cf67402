//! Mutation tests: changes what decides, one place at a time, and sees a test fail.
//!
//! All changes are compiled at once, each behind a switch that an environment variable turns, so
//! that a change costs a run of the tests that come by it, and no build.

pub mod change;
pub mod copy;
pub mod explained;
pub mod trials;
