//! What was synced by this thread, for tests that count it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

thread_local! {
    static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn count(path: &Path) {
    SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
}

/// What was synced since this was last asked, in order.
pub(crate) fn take() -> Vec<PathBuf> {
    SYNCED.take()
}
