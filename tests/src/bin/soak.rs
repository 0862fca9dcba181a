//! The long runs: random kills of the whole chain, and weeks of events in minutes.
//!
//! Both print one line that says what was done and what was lost, and exit 1 if anything was.
#![allow(clippy::disallowed_methods)] // It plays Claude Code, which truncates and rewrites.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use layer1_prebackup::archive::Archive;
use layer1_prebackup::names::FileName;
use tests::hostile::{Pair, Random};
use tests::scratch::Scratch;
use tests::{fuzzing, processes, resources, run, stores, transcripts, tree};

/// What a reader may take of memory.
const FUZZ_MIB_MAX: u64 = 256;
/// Of the events, one in so many is a save by one long-lived server afterwards.
const SAVES_ONE_IN: u64 = 4;

/// Long runs of the installed chain in a scratch home.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// SIGKILL everything at a random instant, while a writer appends
    Kills {
        /// How often
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Of the instants and of what the writer does
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Many events over many sessions, several at a time, with rewrites
    Events {
        /// How many
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        /// Over how many sessions
        #[arg(long, default_value_t = 50)]
        sessions: u32,
        /// How many hooks at a time
        #[arg(long, default_value_t = 8)]
        parallel: usize,
        /// Of the order and of what the writers do
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Damaged and made-up bytes for every reader: events, transcripts, queries, ledgers, compressed contents, jobs
    Fuzz {
        /// How long for each
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Of the accidents
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One of them alone
        #[arg(long)]
        only: Option<String>,
    },
    /// Every command over stores in which somebody changed, linked, exchanged or put back a few files
    Hostile {
        /// How many pairs of stores
        #[arg(long, default_value_t = 2000)]
        stores: u64,
        /// The first of as many seeds
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// What a command may take
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let started = Instant::now();
    let failures = match Args::parse().command {
        Command::Kills { count, seed } => kills(count, seed),
        Command::Events { count, sessions, parallel, seed } => events(count, sessions, parallel, seed),
        Command::Fuzz { minutes, seed, only } => fuzz(Duration::from_secs(minutes * 60), seed, only.as_deref()),
        Command::Hostile { stores, seed, seconds } => hostile(stores, seed, Duration::from_secs(seconds)),
    };
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    println!("{} failures in {:.0} s", failures.len(), started.elapsed().as_secs_f64());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A broken promise panics and is caught; an abort, or more memory than the limit, ends the run.
fn fuzz(each: Duration, seed: u64, only: Option<&str>) -> Vec<String> {
    let mut failures = Vec::new();
    for (name, holds) in fuzzing::TARGETS.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        let (seeds, started, mut runs) = (fuzzing::seeds(name), Instant::now(), 0_u64);
        let mut random = Random(seed);
        while started.elapsed() < each && failures.len() < 20 {
            let before = random.0;
            let bytes = fuzzing::mutated(&seeds, &mut random);
            runs += 1;
            if std::panic::catch_unwind(|| holds(&bytes)).is_err() {
                failures.push(format!("{name}, seed {before}: {:?}", String::from_utf8_lossy(&bytes)));
            }
        }
        let peak_mib = processes::peak_kib(std::process::id()) / 1024;
        println!("{name}: {runs} inputs in {:.0} s, {peak_mib} MiB at most so far", started.elapsed().as_secs_f64());
        if peak_mib > FUZZ_MIB_MAX {
            failures.push(format!("{name}: {peak_mib} MiB of memory"));
        }
    }
    failures
}

fn hostile(stores: u64, seed: u64, limit: Duration) -> Vec<String> {
    let pair = Pair::new(limit);
    let (mut failures, mut commands) = (Vec::new(), 0);
    for seed in seed..seed + stores {
        let tried = pair.try_out(seed);
        commands += tried.commands;
        let changes = tried.changes.join("; ");
        for wrong in tried.wrong {
            println!("seed {seed} ({changes}): {wrong}");
            failures.push(format!("seed {seed} ({changes}): {wrong}"));
        }
    }
    println!("{stores} hostile stores, {commands} commands");
    failures
}

/// A content that a ledger said was committed.
type Acknowledged = HashSet<(FileName, u64, blake3::Hash)>;

fn kills(count: u64, seed: u64) -> Vec<String> {
    let scratch = Scratch::new();
    let mut random = Random(seed);
    let id = transcripts::made_id(1);
    let transcript = transcripts::make_conversation(&scratch, &id, 1);
    transcripts::append(&transcript.with_extension("").join("tool-results/one.txt"), "a large output");
    let mut acknowledged = Acknowledged::new();
    let (mut failures, mut killed, mut rewrites) = (Vec::new(), 0, 0);
    for n in 0..count {
        let line = transcripts::prompt_line(&id, 10 + n as u32, &format!("kill number n{n}"));
        transcripts::append(&transcript, line);
        if random.below(20) == 0 {
            rewrites += 1;
            transcripts::rewrite(&transcript, transcripts::prompt_line(&id, n as u32, &format!("anew after n{n}")));
        }
        let command = if random.below(3) == 0 { scratch.start_command() } else { scratch.chain_command("") };
        let hook = scratch.hook(&command, &transcripts::session_end(&transcript)).spawn();
        // The instant is what is random here; nothing is waited for. A new generation needs 200 ms for
        // its second look, all else is done in less than 90.
        let span_us = if random.below(2) == 0 { 90_000 } else { 450_000 };
        std::thread::sleep(Duration::from_micros(random.below(span_us)));
        for process in processes::with_home(&scratch.home()) {
            // It may just have ended by itself.
            killed += u64::from(
                rustix::process::kill_process(run::raw_pid(process.pid), rustix::process::Signal::KILL).is_ok(),
            );
        }
        drop(hook);
        failures.extend(not_on_disk(&scratch.layer1_store(), &acknowledged));
        acknowledged.extend(committed(&scratch.layer1_store()));
        if failures.len() > 20 {
            break;
        }
    }
    settle(&scratch, &transcript, &mut failures);
    acknowledged.extend(committed(&scratch.layer1_store()));
    for (store, name) in [(scratch.layer1_store(), "layer 1"), (scratch.layer3_store(), "layer 3")] {
        failures.extend(missing(&store, &acknowledged, name));
        failures.extend(unsound(&store, name));
    }
    println!(
        "{count} kills ({killed} processes), {rewrites} rewrites: {} acknowledged contents, {} lost or damaged",
        acknowledged.len(),
        failures.len()
    );
    failures
}

fn events(count: u64, sessions: u32, parallel: usize, seed: u64) -> Vec<String> {
    let scratch = Scratch::new();
    let sources: Vec<Mutex<(String, PathBuf)>> = (0..sessions)
        .map(|n| {
            let id = transcripts::made_id(n + 1);
            let transcript = transcripts::make_conversation(&scratch, &id, 1);
            Mutex::new((id, transcript))
        })
        .collect();
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..parallel {
            let (scratch, sources, next, failures) = (&scratch, &sources, &next, &failures);
            scope.spawn(move || {
                let mut random = Random(seed ^ (worker as u64 + 1) << 32);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let event = happens(scratch, &sources[random.below(sources.len() as u64) as usize], n, &mut random);
                    let command =
                        if random.below(10) == 0 { scratch.chain_command("") } else { scratch.turn_command() };
                    let outcome = scratch.hook(&command, &event).limit(Duration::from_secs(60)).output();
                    if outcome.code != Some(0) || !outcome.stdout.is_empty() || !outcome.stderr.is_empty() {
                        let what = format!("event {n}: exit {:?}: {}", outcome.code, outcome.text());
                        failures.lock().expect("no worker panics").push(what);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no worker panics");
    let sources: Vec<PathBuf> =
        sources.into_iter().map(|source| source.into_inner().expect("no worker panics").1).collect();
    for transcript in &sources {
        settle(&scratch, transcript, &mut failures);
    }
    for (store, name) in [(scratch.layer1_store(), "layer 1"), (scratch.layer3_store(), "layer 3")] {
        failures.extend(unsound(&store, name));
    }
    let list = || scratch.layer3(&["list", "--all", "--limit", "1000", "--json"]).output().ok().json();
    let grown = list();
    scratch.layer3(&["rebuild"]).limit(Duration::from_secs(300)).output().ok();
    let rebuilt = list();
    if grown != rebuilt {
        failures.push("the index that grew differs from the one that was rebuilt".to_owned());
    }
    let logs = bytes_below(&scratch.layer1_store().join(".log")) + bytes_below(&scratch.layer3_store().join(".log"));
    let jobs = std::fs::read_dir(scratch.layer1_store().join(".outbox"))
        .map_or(0, |entries| entries.flatten().filter(|entry| entry.path().is_file()).count());
    if logs > 10 * 1024 * 1024 {
        failures.push(format!("the logs have grown to {logs} bytes"));
    }
    let course = resources::many_saves(&Scratch::new(), count / SAVES_ONE_IN);
    failures.extend(course.growth());
    println!(
        "one server, {} saves: memory {} KiB, then {} KiB; open files {}, then {}",
        course.receipts, course.warm.rss_kib, course.last.rss_kib, course.warm.handles, course.last.handles
    );
    println!(
        "{count} events over {sessions} sessions, {parallel} at a time: {} failures; logs {logs} bytes, {jobs} files in the outbox",
        failures.len()
    );
    failures
}

/// The writer's move, and the event that tells of it.
fn happens(_scratch: &Scratch, source: &Mutex<(String, PathBuf)>, n: u64, random: &mut Random) -> String {
    let source = source.lock().expect("no worker panics");
    let (id, transcript) = (&source.0, &source.1);
    let line = transcripts::prompt_line(id, n as u32 + 10, &format!("event number n{n}"));
    match random.below(50) {
        0 => transcripts::rewrite(transcript, line),
        1 => transcripts::replace_by_rename(transcript, line),
        _ => transcripts::append(transcript, line),
    }
    match random.below(2) {
        0 => transcripts::prompt_submit(transcript),
        _ => transcripts::session_end(transcript),
    }
}

/// One run of everything without kills; afterwards both copies equal the source.
fn settle(scratch: &Scratch, transcript: &Path, failures: &mut Vec<String>) {
    scratch.await_no_process(Duration::from_secs(120));
    scratch.hook(&scratch.chain_command("--wait 30s"), &transcripts::session_end(transcript)).output().ok();
    scratch.layer2(&["drain"]).limit(Duration::from_secs(300)).output().ok();
    scratch.await_no_process(Duration::from_secs(120));
    let project = scratch.project_dir().file_name().map(|name| name.to_string_lossy().into_owned());
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        let differs = stores::difference(&store, project.as_deref().unwrap_or("unknown"), transcript);
        failures.extend(differs.map(|what| format!("{}: {what}", store.display())));
    }
}

/// What the ledgers of a store say is committed.
fn committed(store: &Path) -> Acknowledged {
    let Ok(Some(archive)) = Archive::open(store) else { return Acknowledged::new() };
    let keys = archive.sessions().expect("list the sessions");
    let files = keys.iter().flat_map(|key| archive.files(key).expect("read a ledger"));
    files.map(|file| (file.name.file, file.bytes, file.blake3)).collect()
}

/// What was acknowledged and is not the beginning of any file. A killed rotation leaves the bytes
/// under their new name and the record under the old one until the next run; only the bytes count here.
fn not_on_disk(store: &Path, acknowledged: &Acknowledged) -> Vec<String> {
    let read = |path: &String| std::fs::read(store.join(path)).expect("read a copy");
    let files: Vec<Vec<u8>> = tree::session_files(store).iter().map(read).collect();
    let begins = |file: &Vec<u8>, bytes: u64, hash: &blake3::Hash| {
        file.get(..bytes as usize).is_some_and(|beginning| blake3::hash(beginning) == *hash)
    };
    let is_lost =
        |content: &&(FileName, u64, blake3::Hash)| !files.iter().any(|file| begins(file, content.1, &content.2));
    let lost = acknowledged.iter().filter(is_lost);
    lost.map(|(_, bytes, hash)| format!("{bytes} acknowledged bytes ({hash}) are in no file of layer 1")).collect()
}

/// What was acknowledged and is not the beginning of any recorded content any more.
fn missing(store: &Path, acknowledged: &Acknowledged, name: &str) -> Vec<String> {
    let Ok(Some(archive)) = Archive::open(store) else {
        return if acknowledged.is_empty() { Vec::new() } else { vec![format!("{name}: the store is gone")] };
    };
    let keys = archive.sessions().expect("list the sessions");
    let wanted: Vec<_> = acknowledged.iter().map(|(file, bytes, hash)| (file, *bytes, *hash)).collect();
    let mut covered = vec![false; wanted.len()];
    for key in &keys {
        let answers = archive.covers_all(key, &wanted, &|_| {}).expect("read the contents");
        covered.iter_mut().zip(answers).for_each(|(known, now)| *known = *known || now);
    }
    let lost = wanted.iter().zip(covered).filter(|(_, covered)| !covered);
    lost.map(|((_, bytes, hash), _)| format!("{name}: {bytes} acknowledged bytes ({hash}) are gone")).collect()
}

fn unsound(store: &Path, name: &str) -> Vec<String> {
    let Ok(Some(archive)) = Archive::open(store) else { return vec![format!("{name}: there is no store")] };
    let findings = archive.verify(None).expect("verify");
    let mut unsound: Vec<String> =
        findings.iter().map(|finding| format!("{name}: {} {}", finding.kind.as_str(), finding.path)).collect();
    let names: BTreeSet<PathBuf> = tree::all(store).into_keys().collect();
    let is_temporary =
        |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "tmp") || path.ends_with("new");
    unsound.extend(names.iter().filter(is_temporary).map(|path| format!("{name}: left behind {}", path.display())));
    unsound
}

fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
