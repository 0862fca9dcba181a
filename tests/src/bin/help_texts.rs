//! Writes completions and manual pages of the three programs into `completions` and `man` of a folder,
//! made from the command lines that the programs parse themselves. `xtask dist` runs it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::Shell;

/// The shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: help_texts FOLDER");
        return ExitCode::FAILURE;
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to write into {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let (completions, man) = (folder.join("completions"), folder.join("man"));
    std::fs::create_dir_all(&completions)?;
    std::fs::create_dir_all(&man)?;
    let commands = [
        layer1_prebackup::cli::command_line(),
        layer2_save_client::cli::command_line(),
        layer3_indexer::cli::command_line(),
    ];
    for command in commands {
        let name = command.get_name().to_owned();
        for shell in SHELLS {
            clap_complete::generate_to(shell, &mut command.clone(), &name, &completions)?;
        }
        // One page a command, as `man layer3-indexer-search` asks for it.
        clap_mangen::generate_to(command, &man)?;
    }
    Ok(())
}
