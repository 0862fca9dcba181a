//! Layer 1 as a program: see the library for what it promises.

fn main() -> std::process::ExitCode {
    layer1_prebackup::cli::main(std::env::args_os())
}
