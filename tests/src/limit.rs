//! Every time limit, in one place to stretch on slow machines.

use anyhow::{Context, Result};
use std::env;
use std::time::Duration;

/// The environment's multiplier for every limit: a whole number, 1 where it is not set.
pub const FACTOR_VARIABLE: &str = "XSPLICE_TIME_FACTOR";

/// `limit` on this machine.
///
/// # Errors
/// When the environment asks for something that is not a whole number from 1 on.
pub fn scaled(limit: Duration) -> Result<Duration> {
    let factor = match env::var(FACTOR_VARIABLE) {
        Ok(text) => text
            .parse::<u32>()
            .ok()
            .filter(|factor| *factor > 0)
            .with_context(|| {
                format!("{FACTOR_VARIABLE}={text}: expected a whole number from 1 on")
            })?,
        Err(_) => 1,
    };
    Ok(limit * factor)
}
