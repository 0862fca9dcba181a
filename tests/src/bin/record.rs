//! Draws the recording of the README anew: `record FILE`. `cargo xtask record` runs it.
//! `record --version-before` keeps what the programs that `THREEFOLD_BIN_DIR` names write, as fixtures.

use std::process::ExitCode;

use tests::{recording, version_before};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: record FILE | --version-before");
        return ExitCode::FAILURE;
    };
    if path == "--version-before" {
        version_before::record();
        return ExitCode::SUCCESS;
    }
    let picture = recording::picture(&recording::play());
    match std::fs::write(&path, picture) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
