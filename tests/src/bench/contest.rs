//! Contestants that take turns on one workload.

use std::io;
use std::path::Path;

use super::meter::{self, Job, Taken};
use super::statistics::Summary;

/// Events until a huge first copy is whole; each makes 64 MiB of it at least.
const RUNS_MAX: usize = 64;

/// One of those who do the same work.
pub struct Contestant<'a> {
    /// As the table calls it.
    pub name: &'static str,
    /// Done before each run, not measured.
    pub before: Box<dyn Fn() -> io::Result<()> + 'a>,
    /// The work.
    pub job: Box<dyn Fn() -> Job + 'a>,
    /// Whether the work is done; as long as it is not, the job is run again.
    pub is_done: Box<dyn Fn() -> bool + 'a>,
}

impl<'a> Contestant<'a> {
    /// One who needs no preparation, and whose exit code says enough.
    pub fn new(name: &'static str, job: impl Fn() -> Job + 'a) -> Contestant<'a> {
        Contestant { name, before: Box::new(|| Ok(())), job: Box::new(job), is_done: Box::new(|| true) }
    }

    /// Prepared before each run.
    pub fn before(mut self, before: impl Fn() -> io::Result<()> + 'a) -> Contestant<'a> {
        self.before = Box::new(before);
        self
    }

    /// Believed only when this holds.
    pub fn done_when(mut self, is_done: impl Fn() -> bool + 'a) -> Contestant<'a> {
        self.is_done = Box::new(is_done);
        self
    }

    fn measured(&self) -> io::Result<Taken> {
        let mut taken = (self.job)().measured()?;
        for _ in 0..RUNS_MAX {
            if (self.is_done)() {
                return Ok(taken);
            }
            taken = taken.and_then((self.job)().measured()?);
        }
        Err(io::Error::other(format!("{} did not do the work, in {RUNS_MAX} runs", self.name)))
    }
}

/// What a contestant took, over all rounds.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As the table calls it.
    pub name: &'static str,
    /// Seconds until the program had exited.
    pub exit_s: Summary,
    /// Seconds until nothing of it was left.
    pub end_s: Summary,
    /// CPU seconds.
    pub cpu_s: Summary,
    /// Of the largest process, in any round.
    pub rss_bytes: u64,
    /// Median of the bytes that were given to the disk.
    pub written_bytes: u64,
    /// Calls that wait for the disk, in one further run that is not timed; `None` where it could not be traced.
    pub syncs: Option<u64>,
}

impl Entry {
    fn of(name: &'static str, runs: &[Taken], syncs: Option<u64>) -> Entry {
        let summary = |value: fn(&Taken) -> f64| Summary::of(runs.iter().map(value));
        Entry {
            name,
            exit_s: summary(|taken| taken.exit_s),
            end_s: summary(|taken| taken.end_s),
            cpu_s: summary(|taken| taken.cpu_s),
            rss_bytes: runs.iter().map(|taken| taken.rss_bytes).max().unwrap_or(0),
            written_bytes: summary(|taken| taken.written_bytes as f64).median as u64,
            syncs,
        }
    }
}

/// `rounds` rounds: `each_round` makes the work, then everybody does it, in an order that goes round.
pub fn race(
    rounds: usize,
    scratch: &Path,
    each_round: &dyn Fn() -> io::Result<()>,
    contestants: &[Contestant<'_>],
) -> io::Result<Vec<Entry>> {
    let mut runs = vec![Vec::new(); contestants.len()];
    for round in 0..rounds {
        each_round()?;
        for place in 0..contestants.len() {
            let which = (place + round) % contestants.len();
            let contestant = &contestants[which];
            (contestant.before)()?;
            meter::settle();
            runs[which].push(contestant.measured()?);
        }
    }
    each_round()?;
    let mut entries = Vec::new();
    for (contestant, runs) in contestants.iter().zip(&runs) {
        (contestant.before)()?;
        entries.push(Entry::of(contestant.name, runs, (contestant.job)().syncs(scratch)));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_the_largest_memory_and_the_middle_of_the_rest() {
        let run = |exit_s: f64, rss_bytes: u64| Taken {
            exit_s,
            end_s: exit_s + 1.0,
            cpu_s: 0.1,
            rss_bytes,
            written_bytes: rss_bytes,
        };
        let entry = Entry::of("x", &[run(1.0, 5), run(3.0, 9), run(2.0, 7)], Some(4));
        assert_eq!((entry.exit_s.median, entry.end_s.median, entry.rss_bytes, entry.written_bytes), (2.0, 3.0, 9, 7));
        assert_eq!(entry.syncs, Some(4));
    }
}
