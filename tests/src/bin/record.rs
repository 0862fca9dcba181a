//! Draws the recording of the README anew: `record FILE`. `cargo xtask record` runs it.

use std::process::ExitCode;

use tests::recording;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: record FILE");
        return ExitCode::FAILURE;
    };
    let picture = recording::picture(&recording::play());
    match std::fs::write(&path, picture) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
