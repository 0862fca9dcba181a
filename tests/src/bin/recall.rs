//! `cargo xtask recall`: how often the conversation that answers a plain question is found, and found first.
#![allow(clippy::disallowed_methods)] // It deletes what it laid out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::recall::{Half, Measure, Recall, Searched, lay_out};

/// What each weight may be in a sweep.
const SWEEP: [&[f64]; 3] = [&[0.7, 1.0, 1.4], &[0.2, 0.3, 0.5], &[0.0, 0.2]];

/// Asks plain questions whose answers are known.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask recall", bin_name = "cargo xtask recall")]
struct Args {
    /// Which questions: even (those that weights are chosen on), odd or all
    #[arg(long, default_value = "even", value_parser = ["even", "odd", "all"])]
    half: String,
    /// Try weights of the ranking, the best last, on the even half
    #[arg(long)]
    sweep: bool,
    /// Only this measure
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Weights instead of the ones that are built in
    #[arg(long, value_name = "W", num_args = 3)]
    weights: Option<Vec<f64>>,
    /// The measure's name and the git directory of its data
    #[arg(long, num_args = 2, value_names = ["NAME", "DIR"], hide = true)]
    data: Vec<PathBuf>,
    /// Where everything is written
    #[arg(long, value_name = "DIR", hide = true)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match recall(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn recall(args: &Args) -> io::Result<()> {
    let half = match (args.half.as_str(), args.sweep) {
        (_, true) | ("even", _) => Half::Even,
        ("odd", _) => Half::Odd,
        _ => Half::All,
    };
    let mut measures = Vec::new();
    for data in args.data.chunks(2) {
        let name = data[0].to_string_lossy();
        if args.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let folder = args.folder.join(&*name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let projects = folder.join("projects");
        fs::create_dir_all(&projects)?;
        let measure = lay_out(&name, &data[1], &projects, half)?;
        let searched = Searched::prepare(&projects, &folder)?;
        measures.push((measure, searched));
    }
    if args.sweep { sweep(&measures) } else { table(args, &measures) }
}

fn table(args: &Args, measures: &[(Measure, Searched)]) -> io::Result<()> {
    let weights = args.weights.as_ref().and_then(|weights| weights.as_slice().try_into().ok());
    println!("| | questions | nothing found | first | among the first five | MRR |");
    println!("|---|---|---|---|---|---|");
    for (measure, searched) in measures {
        let (plain, plain_others) = searched.ask_plain(measure)?;
        let (ours, our_others, times) = searched.ask(measure, weights)?;
        row(measure.name, "FTS5, OR", &plain);
        row(measure.name, "Threefold", &ours);
        if (1..ours.asked).contains(&our_others.asked) {
            row(measure.name, "not verbatim, FTS5, OR", &plain_others);
            row(measure.name, "not verbatim, Threefold", &our_others);
        }
        println!("{}: a search took {:.1} ms, of twenty one {:.1} ms", measure.name, times.median, times.p95);
    }
    Ok(())
}

fn row(measure: &str, what: &str, recall: &Recall) {
    let Recall { asked, nothing, first, among_five, mrr } = recall;
    println!("| {measure}: {what} | {asked} | {nothing:.3} | {first:.3} | {among_five:.3} | {mrr:.3} |");
}

fn sweep(measures: &[(Measure, Searched)]) -> io::Result<()> {
    let mut all: Vec<(f64, String)> = Vec::new();
    for messages in SWEEP[0] {
        for pairs in SWEEP[1] {
            for in_a_row in SWEEP[2] {
                let weights = [*messages, *pairs, *in_a_row];
                let mut line = format!("{weights:?}");
                let mut sum = 0.0;
                for (measure, searched) in measures {
                    let (ours, others, _) = searched.ask(measure, Some(weights))?;
                    line +=
                        &format!(" · {} {:.3} {:.3} {:.3}", measure.name, ours.first, ours.among_five, others.first);
                    sum += ours.mrr + others.mrr;
                }
                println!("{line}");
                all.push((sum, line));
            }
        }
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("\nthe best, by the mean reciprocal rank:");
    all.iter().rev().take(5).rev().for_each(|(_, line)| println!("{line}"));
    Ok(())
}
