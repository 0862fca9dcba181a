//! System calls that a signal may interrupt: made again, but not for ever.

use std::path::Path;

use rustix::io::{Errno, Result};

use super::error::DurableError;

/// How often a call is made again after EINTR. A call that is interrupted every time is broken,
/// and an error that says so is better than a loop without end.
const INTERRUPTIONS_MAX: u32 = 100;

/// Makes the call again while a signal interrupts it, at most [`INTERRUPTIONS_MAX`] times.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..INTERRUPTIONS_MAX {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::INTR)
}

/// [`uninterrupted`]; its failure says what was being done, and to what.
pub(super) fn call<T>(
    operation: &'static str,
    path: &Path,
    call: impl FnMut() -> Result<T>,
) -> std::result::Result<T, DurableError> {
    uninterrupted(call).map_err(|error| DurableError::new(operation, path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_end() {
        let mut calls = 0;
        assert_eq!(
            uninterrupted(|| {
                calls += 1;
                if calls < 3 { Err(Errno::INTR) } else { Ok(calls) }
            }),
            Ok(3)
        );
        assert_eq!(uninterrupted::<()>(|| Err(Errno::INTR)), Err(Errno::INTR));
        assert_eq!(uninterrupted::<()>(|| Err(Errno::IO)), Err(Errno::IO));
    }
}
