//! `cargo xtask bench`: times of the real programs beside the old chain and peers, or instruction counts.
#![allow(clippy::disallowed_methods)] // It deletes what it generated.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::bench::old_chain::OldChain;
use tests::bench::peers::Peers;
use tests::bench::works::Bench;
use tests::bench::{instructions, many, meter, picture, report, scale, works};

/// Measures Threefold beside the chain that it replaces and beside its peers, on the same bytes.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    /// A smaller run: nothing of 1 GB, fewer rounds, a tenth of the corpus
    #[arg(long)]
    quick: bool,
    /// Only rows whose name holds this: "delta", "first copy 10 MB", "search", … (may be given more than once); "many": 100,000 small conversations
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Install the peers first: restic by apt-get (as root), claude-vault and claudex-cli by cargo
    #[arg(long)]
    with_peers: bool,
    /// Count instructions under callgrind instead, and fail where a count changed by more than 5 %
    #[arg(long, conflicts_with_all = ["quick", "scale"])]
    check: bool,
    /// With --check: write down what was counted as what is to be
    #[arg(long, requires = "check")]
    bless: bool,
    /// Import so many GB, generated and deleted again, instead
    #[arg(long, value_name = "GB")]
    scale: Option<u64>,
    /// Where everything is written: on a disk, not in memory
    #[arg(long, value_name = "DIR", hide = true)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let done = match args.get(1).map(String::as_str) {
        Some("meter") if args.len() > 2 => meter::meter(args[2].as_ref(), &args[3..], &mut io::stdout()).map(|()| true),
        _ => bench(&Args::parse()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: failed to measure: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is as it should be. A missed budget is told and is no failure: it may be the machine.
fn bench(args: &Args) -> io::Result<bool> {
    let folder = args.folder.join("work");
    fs::create_dir_all(&folder)?;
    let done = if args.check {
        instructions::check(&folder, args.bless)
    } else if let Some(gigabytes) = args.scale {
        scale::run(&folder, gigabytes).map(|()| true)
    } else {
        times(args, &folder).map(|()| true)
    };
    fs::remove_dir_all(&folder)?;
    done
}

fn times(args: &Args, folder: &std::path::Path) -> io::Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let bench = Bench {
        folder: folder.to_owned(),
        old_chain: OldChain::find(&args.folder.join("old-chain"))?,
        peers: Peers::find(&path, &args.folder.join("peers/bin")),
        path,
        quick: args.quick,
        only: args.only.clone(),
    };
    print!("{}", report::head());
    let mut rows = Vec::new();
    for run in [works::run, many::run] {
        run(&bench, &mut |row| {
            print!("{}", row.lines());
            rows.push(row);
        })?;
    }
    print!("{}", report::verdicts(&rows));
    fs::write(args.folder.join("report.json"), format!("{:#}\n", report::json(&rows, args.quick)))?;
    fs::write(args.folder.join("report.svg"), picture::svg(&rows))?;
    println!("written: report.json and report.svg in {}", args.folder.display());
    Ok(())
}
