//! The program `layer2-save-client`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(layer2_save_client::cli::main(std::env::args_os()))
}
