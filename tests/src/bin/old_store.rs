//! Records the stores of the first version by running it: `old_store PACKAGES [--check]`, where
//! PACKAGES is the folder of its node packages. `cargo xtask record old-store` runs it.

use std::path::Path;
use std::process::ExitCode;

use tests::bench::old_chain::OldChain;
use tests::old_store;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (packages, is_check) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [packages] => (Path::new(packages), false),
        [packages, "--check"] => (Path::new(packages), true),
        _ => {
            eprintln!("usage: old_store PACKAGES [--check]");
            return ExitCode::FAILURE;
        }
    };
    let old_chain = match OldChain::find(packages) {
        Ok(Some(old_chain)) => old_chain,
        // It has been said what is missing.
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: failed to copy the first version's sources to {}: {error}", packages.display());
            return ExitCode::FAILURE;
        }
    };
    let recorded = old_store::record(&old_chain);
    if !is_check {
        return match old_store::keep(&recorded) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: failed to write {}: {error}", old_store::fixture().display());
                ExitCode::FAILURE
            }
        };
    }
    let differences = old_store::differences(&recorded);
    for difference in &differences {
        eprintln!("not what the first version writes: {difference}");
    }
    if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
