//! `layer3-indexer` with what is optional in it: a team's archive.

use std::process::ExitCode;

fn main() -> ExitCode {
    layer3_indexer::cli::main()
}
