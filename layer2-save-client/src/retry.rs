//! How often and after which pause: the only user of the `backoff` crate.
//!
//! `backoff` and its `instant` are unmaintained. What is used of them, a trait and a constant
//! policy, has no moving parts; everything else stays out, so that they can go in one edit.

use std::time::Duration;

use backoff::backoff::{Backoff, Constant};

/// A fixed number of attempts with a constant pause between them.
#[derive(Debug)]
pub(crate) struct Attempts {
    number: u32,
    of: u32,
    pause: Constant,
}

impl Attempts {
    /// `of` attempts, at least one, with `delay` between them.
    pub(crate) fn new(of: u32, delay: Duration) -> Attempts {
        Attempts { number: 1, of: of.max(1), pause: Constant::new(delay) }
    }

    /// The attempt that is under way, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// How many there are at most.
    pub(crate) fn of(&self) -> u32 {
        self.of
    }

    /// The pause before the next attempt, which is the current one from now on; `None` after the last.
    pub(crate) fn next_pause(&mut self) -> Option<Duration> {
        self.next_backoff()
    }
}

impl Backoff for Attempts {
    fn reset(&mut self) {
        self.number = 1;
        self.pause.reset();
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        if self.number >= self.of {
            return None;
        }
        self.number += 1;
        self.pause.next_backoff()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_pause_between_attempts_and_none_after_the_last() {
        let delay = Duration::from_secs(1);
        let mut attempts = Attempts::new(3, delay);
        assert_eq!((attempts.number(), attempts.of()), (1, 3));
        assert_eq!(attempts.next_pause(), Some(delay));
        assert_eq!(attempts.next_pause(), Some(delay));
        assert_eq!(attempts.number(), 3);
        assert_eq!(attempts.next_pause(), None);
        assert_eq!(Attempts::new(0, delay).next_pause(), None);
    }
}
