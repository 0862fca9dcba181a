//! Threads whose stack is as large as they need, whatever the environment says: a `RUST_MIN_STACK` that is too small would
//! end the program in the middle of a copy.

use std::thread::{Builder, JoinHandle};

/// The stack of each, in bytes: what the main thread of most systems may use at least, and Rust's own default.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;

/// A thread of this name, to be started.
pub fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES)
}

/// Starts a thread of this name. Panics where none is to be had, as [`std::thread::spawn`] does.
pub fn start<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    named(name).spawn(work).expect("the system has room for a thread")
}
