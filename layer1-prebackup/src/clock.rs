//! The time of day, for what is written down.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since 1970; a clock before that gives 0, because only ages are computed from it.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
