//! What was synced by this thread, for tests that count it.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

thread_local! {
    static COUNTS_NAMES: Cell<bool> = const { Cell::new(true) };
    static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn count(path: &Path) {
    SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
}

/// What was synced since this was last asked, in order.
pub(crate) fn take() -> Vec<PathBuf> {
    SYNCED.take()
}

/// From here on this thread's file system counts no names of a file, as one that folds them may.
pub(crate) fn count_no_names() {
    COUNTS_NAMES.set(false);
}

/// So many names as the file system counts.
pub(super) fn names(counted: u64) -> u64 {
    if COUNTS_NAMES.get() { counted } else { 0 }
}
