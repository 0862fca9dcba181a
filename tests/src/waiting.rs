//! Waiting for something to become true, within a deadline.

use std::time::{Duration, Instant};

/// How long a delivery may take on a busy machine.
pub const DELIVERY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Polls until `condition` holds; false when `limit` has passed before.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Polls until `condition` holds and panics with `what` when `limit` has passed before.
#[track_caller]
pub fn await_until(what: &str, limit: Duration, condition: impl FnMut() -> bool) {
    assert!(holds_within(limit, condition), "{what}: not within {limit:?}");
}
