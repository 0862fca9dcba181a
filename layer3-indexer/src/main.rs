//! `layer3-indexer`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    layer3_indexer::cli::main()
}
