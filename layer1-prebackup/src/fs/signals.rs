//! Signals that must not kill a program of ours.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Makes a write beyond the limit of `ulimit -f` fail with EFBIG, like any other full disk,
/// instead of killing the process. To be called once, first thing in `main`; children do not
/// inherit it. If it fails, the program works as well, save under such a limit: `program` says so
/// on stderr.
pub fn survive_file_size_limit(program: &str) {
    // With a handler in place, whatever it does, the call returns an error.
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))) {
        // Nobody is left to tell if stderr is gone too.
        let _ = writeln!(io::stderr(), "{program}: warning: failed to handle SIGXFSZ: {error}");
    }
}
