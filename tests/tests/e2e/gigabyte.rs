//! A transcript of one gigabyte goes through the chain: within the hook's limits, in bounded memory,
//! and afterwards a delta still costs a delta.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::binaries::{LAYER1, LAYER3};
use tests::processes::peak_memory;
use tests::scratch::{PROJECT, Scratch};
use tests::strace::{self, Traced, WRITES, bytes_written_below};
use tests::transcripts;

use crate::product::found_in;

const TRANSCRIPT_BYTES: u64 = 1_000_000_000;
/// The transcript, two copies and the index, with room to spare.
const FREE_BYTES_MIN: u64 = 4_000_000_000;
const LINE_BYTES: std::ops::Range<u64> = 1_000..100_000;
/// Of a hundred lines; the rest is what Claude Code writes for itself and no index reads. In 351 MB of
/// real transcripts 18 % were text, two thirds of that tool output: a third of this, to be done sooner.
const PROMPTS: u64 = 1;
const ANSWERS: u64 = 2;
const TOOL_OUTPUTS: u64 = 4;
/// What one program may hold at once, whatever the size of the transcript.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Layer 1 passes the event on after 4.8 s at the latest; the rest is room for a busy machine.
const HOOK_LIMIT: Duration = Duration::from_millis(7500);
/// A copy that is cut off goes on where it stopped, in steps of 64 MiB; each event makes one at least.
const EVENTS_MAX: usize = 16;
const RUN_LIMIT: Duration = Duration::from_secs(300);
const DELTA_BYTES: usize = 100_000;
/// Records, metadata and log lines of one save.
const BOOKKEEPING_BYTES_MAX: u64 = 50_000;

#[test]
fn a_gigabyte_is_saved_twice_in_bounded_memory_and_a_delta_costs_a_delta() {
    let scratch = Scratch::new();
    let free = free_bytes(scratch.root());
    if free < FREE_BYTES_MIN {
        println!("skipped: a transcript of 1 GB needs {FREE_BYTES_MIN} bytes free, there are {free}");
        return;
    }
    let id = transcripts::made_id(1);
    let transcript = write_transcript(&scratch, &id);
    let source = hash_of(&transcript);

    copied_by_layer1(&scratch, &transcript);
    assert_eq!(hash_of(&copy_in(&scratch.layer1_store(), &id)), source, "layer 1's copy");

    saved_by_layer3(&scratch, &transcript, &source.to_hex());
    assert_eq!(hash_of(&copy_in(&scratch.layer3_store(), &id)), source, "layer 3's copy");
    assert_eq!(found_in(&scratch, "dugong"), [id.as_str()]);
    assert_eq!(found_in(&scratch, "quokka"), [id.as_str()]);

    a_delta_costs_a_delta(&scratch, &transcript, &id);
    for store in [scratch.layer1_store(), scratch.layer3_store()] {
        assert_eq!(hash_of(&copy_in(&store, &id)), hash_of(&transcript), "{}", store.display());
    }
}

/// Such words take FTS5 about three times the memory that it is told to keep to.
#[test]
fn words_that_come_once_are_saved_in_bounded_memory() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    fs::create_dir_all(scratch.slug_dir()).expect("make the slug's folder");
    let mut chance = Chance(88_172_645_463_325_252);
    let mut lines = String::new();
    for n in 0..9_000 {
        let words: Vec<String> = (0..300).map(|_| format!("{:x}", chance.below(1 << 44))).collect();
        lines.push_str(&transcripts::prompt_line(&id, n, &words.join(" ")));
    }
    let transcript = scratch.transcript(&id);
    fs::write(&transcript, lines).expect("write a transcript");
    saved_by_layer3(&scratch, &transcript, &hash_of(&transcript).to_hex());
}

/// The hook of PreCompact begins the copy, those of the turns that follow complete it.
fn copied_by_layer1(scratch: &Scratch, transcript: &Path) {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let copy = scratch.layer1_store().join(PROJECT).join(transcript.file_name().expect("a name"));
    let mut event = transcripts::pre_compact(transcript);
    for n in 1..=EVENTS_MAX {
        let (outcome, peak) = peak_memory(scratch.layer1(&[]).stdin(event.clone()), RUN_LIMIT);
        let outcome = outcome.ok();
        println!("event {n}: {:?}, layer 1 held {peak} bytes, copied {}", outcome.elapsed, length(&copy));
        assert_eq!(outcome.text(), event, "the event is passed on");
        assert!(outcome.elapsed < HOOK_LIMIT, "{outcome:#?}");
        assert!(peak <= MEMORY_BYTES_MAX, "layer 1 held {peak} bytes");
        if outcome.stderr.is_empty() {
            return;
        }
        assert!(outcome.stderr.contains("the next event goes on where it stopped"), "{outcome:#?}");
        event = transcripts::prompt_submit(transcript);
    }
    panic!("{EVENTS_MAX} events did not copy it: {} bytes", length(&copy));
}

fn saved_by_layer3(scratch: &Scratch, transcript: &Path, blake3: &str) {
    let started = Instant::now();
    let event = transcripts::pre_compact(transcript);
    let (outcome, peak) = peak_memory(scratch.layer3(&["save", "--json"]).stdin(event), RUN_LIMIT);
    println!("layer 3: {:?}, held {peak} bytes", started.elapsed());
    let receipt = outcome.ok().json();
    let [file] = receipt["files"].as_array().expect("a receipt lists files").as_slice() else {
        panic!("one file: {receipt:#}")
    };
    assert_eq!(file["covered"], true, "{receipt:#}");
    assert_eq!(file["blake3"], blake3, "{receipt:#}");
    assert!(peak <= MEMORY_BYTES_MAX, "layer 3 held {peak} bytes");
}

fn a_delta_costs_a_delta(scratch: &Scratch, transcript: &Path, id: &str) {
    transcripts::append(transcript, transcripts::prompt_line(id, u32::MAX, &"x".repeat(DELTA_BYTES)));
    let event = transcripts::prompt_submit(transcript);
    let is_traced = strace::is_here("the cost of a delta of a gigabyte");
    for (program, args) in [(LAYER1, &["--quiet"][..]), (LAYER3, &["save"])] {
        if !is_traced {
            scratch.run(program, args).stdin(event.clone()).output().ok();
            continue;
        }
        let traced = Traced::new(scratch, &WRITES.join(","), &[], program, args);
        let trace = traced.with(|run| run.stdin(event.clone()).limit(RUN_LIMIT)).output();
        trace.outcome.ok();
        // The index is no copy; SQLite writes it a page at a time.
        let lines: Vec<String> = trace.lines.into_iter().filter(|line| !line.contains("/sessions.db")).collect();
        let store = if program == LAYER1 { scratch.layer1_store() } else { scratch.layer3_store() };
        let written = bytes_written_below(&lines, &store);
        println!("{program} wrote {written} bytes for a delta of {DELTA_BYTES}");
        let delta = DELTA_BYTES as u64;
        assert!((delta..delta + BOOKKEEPING_BYTES_MAX).contains(&written), "{program} wrote {written} bytes");
    }
}

fn copy_in(store: &Path, id: &str) -> PathBuf {
    store.join(PROJECT).join(format!("{id}.jsonl"))
}

fn free_bytes(at: &Path) -> u64 {
    let found = rustix::fs::statvfs(at).expect("look at the file system");
    found.f_bavail * found.f_frsize
}

fn hash_of(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).expect("open a file")).expect("read a file");
    hasher.finalize()
}

/// Streams the transcript to its place; the same at every run.
fn write_transcript(scratch: &Scratch, id: &str) -> PathBuf {
    let path = scratch.transcript(id);
    fs::create_dir_all(scratch.slug_dir()).expect("make the slug's folder");
    let mut file = BufWriter::new(File::create(&path).expect("make a transcript"));
    let mut chance = Chance(88_172_645_463_325_252);
    let text = text_to_cut_from(&mut chance);
    let mut write = |line: &str| file.write_all(line.as_bytes()).expect("write a transcript");
    write(&transcripts::prompt_line(id, 0, "the quokka at the very beginning"));
    let (mut bytes, mut n) = (0, 0);
    while bytes < TRANSCRIPT_BYTES {
        n += 1;
        let line = line(id, n, &text, &mut chance);
        write(&line);
        bytes += line.len() as u64;
    }
    write(&transcripts::prompt_line(id, n + 1, "the dugong at the very end"));
    file.flush().expect("write a transcript");
    path
}

fn line(id: &str, n: u32, text: &str, chance: &mut Chance) -> String {
    let length = chance.below(LINE_BYTES.end - LINE_BYTES.start) + LINE_BYTES.start;
    let from = chance.below(text.len() as u64 - length) as usize;
    let said = &text[from..from + length as usize];
    const PLACE: &str = "\"@\"";
    let kind = chance.below(100);
    if kind < PROMPTS {
        transcripts::prompt_line(id, n, &said[..1000])
    } else if kind < PROMPTS + ANSWERS {
        transcripts::answer_line(id, n, "@").replacen(PLACE, &format!("\"{said}\""), 1)
    } else if kind < PROMPTS + ANSWERS + TOOL_OUTPUTS {
        let result = format!("[{{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_{n}\",\"content\":\"{said}\"}}]");
        transcripts::prompt_line(id, n, "@").replacen(PLACE, &result, 1)
    } else if n.is_multiple_of(2) {
        format!("{{\"type\":\"api-request-blob\",\"sessionId\":\"{id}\",\"data\":\"{said}\"}}\n")
    } else {
        format!("{{\"type\":\"attachment\",\"attachment\":{{\"type\":\"skill_listing\",\"content\":\"{said}\"}}}}\n")
    }
}

/// Two megabytes of made words; every text of a line is a piece of them.
fn text_to_cut_from(chance: &mut Chance) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "wa"];
    let mut text = String::new();
    while text.len() < 2_000_000 {
        for _ in 0..chance.below(4) + 1 {
            text.push_str(SYLLABLES[chance.below(16) as usize]);
        }
        text.push(' ');
    }
    text
}

/// Numbers that look like chance and are the same at every run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
