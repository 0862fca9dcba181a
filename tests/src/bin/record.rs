//! Draws the pictures of the README anew: `record FILE`, or `record --finder FILE`. `cargo xtask record` runs it.
//! `record --version-before` keeps what the programs that `THREEFOLD_BIN_DIR` names write, as fixtures.

use std::process::ExitCode;

use tests::{recording, version_before};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(mut path) = args.next() else {
        eprintln!("usage: record FILE | --finder FILE | --version-before");
        return ExitCode::FAILURE;
    };
    if path == "--version-before" {
        version_before::record();
        return ExitCode::SUCCESS;
    }
    let picture = match args.next() {
        Some(file) => {
            path = file;
            recording::finder::picture()
        }
        None => recording::picture(&recording::play()),
    };
    match std::fs::write(&path, picture) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
