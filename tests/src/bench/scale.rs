//! A corpus of many gigabytes: laid out, imported in one run, searched, deleted. What stays flat and what grows.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::budgets::Unit;
use super::corpus::{self, Shape};
use super::meter::{self, Job};
use crate::binaries;

const BYTES_PER_SESSION: u64 = 1_300_000;
/// The transcripts, the copy, and the index with its log.
const FREE_TIMES: u64 = 3;
const SEARCHES: usize = 9;
const MEMORY_BYTES_MAX: f64 = 100e6;

/// Imports so many GB and prints what it took. Refuses where the disk has no room.
pub fn run(folder: &Path, gigabytes: u64) -> io::Result<()> {
    let bytes = gigabytes * 1_000_000_000;
    let free = rustix::fs::statvfs(folder)?;
    let free = free.f_bavail * free.f_frsize;
    if free < bytes * FREE_TIMES {
        return Err(io::Error::other(format!("{bytes} bytes need {} free, there are {free}", bytes * FREE_TIMES)));
    }
    let home = folder.join("home");
    let started = Instant::now();
    let shape = Shape { sessions: bytes / BYTES_PER_SESSION, bytes, seed: 3 };
    let made = corpus::lay_out(&home.join(".claude"), shape)?;
    println!("made {} in {} sessions, {:.0?}", show(made.bytes), made.transcripts.len(), started.elapsed());
    let job = |args: &[&str]| {
        let job = Job::new(binaries::folder().join(binaries::LAYER3)).args(args.iter().copied());
        job.env("HOME", home.display().to_string()).env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8")
    };
    meter::settle();
    let taken = job(&["import"]).measured()?;
    println!(
        "import: {}, CPU {}, memory {}, written {}",
        seconds(taken.exit_s),
        seconds(taken.cpu_s),
        show(taken.rss_bytes),
        show(taken.written_bytes)
    );
    println!("import, a GB: CPU {}", seconds(taken.cpu_s / made.bytes as f64 * 1e9));
    let index = fs::metadata(home.join(".claude-backup/sessions.db"))?.len();
    println!("sessions.db: {}, {:.1} % of the transcripts", show(index), 100.0 * index as f64 / made.bytes as f64);
    let again = job(&["import"]).measured()?;
    println!(
        "import with nothing new: {}, CPU {}, memory {}",
        seconds(again.exit_s),
        seconds(again.cpu_s),
        show(again.rss_bytes)
    );
    let phrase = format!("\"{}\"", corpus::PHRASE);
    for query in [corpus::COMMON, corpus::RARE, &phrase, corpus::SUBSTRING] {
        let search = job(&["search", query, "--all"]);
        let runs: Vec<f64> = (0..SEARCHES).map(|_| Ok(search.measured()?.exit_s)).collect::<io::Result<_>>()?;
        println!("search {query}: {}", seconds(super::statistics::Summary::of(runs).median));
    }
    if taken.rss_bytes as f64 > MEMORY_BYTES_MAX {
        println!("the memory of the import was not flat: at most {} were allowed", Unit::Bytes.show(MEMORY_BYTES_MAX));
    }
    Ok(())
}

fn show(bytes: u64) -> String {
    Unit::Bytes.show(bytes as f64)
}

fn seconds(value: f64) -> String {
    Unit::Seconds.show(value)
}
