//! What must hold for any bytes at all: of a hook event, of a transcript, of a query.
//!
//! Each function takes what it is given and panics when a promise is broken. The tests below run
//! them over the committed corpus in `fuzz/corpus`, over damaged files of it and over made-up bytes;
//! the fuzz targets in `fuzz/` run them for as long as one likes.

mod index;
mod stores;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use layer1_prebackup::names::{ProjectName, SessionId};
use layer1_prebackup::wire::event::{Event, read_event};
use layer3_indexer::transcript::record::{
    Block, Located, ReadReport, Record, TornLine, read_records, tool_input_text, with_record,
};

use crate::hostile::Random;

pub use index::query;
pub use stores::{compressed, job, ledger};

/// A promise that any bytes are held against.
type Target = (&'static str, fn(&[u8]));

/// Every target, by name.
pub const TARGETS: [Target; 6] = [
    ("event", event),
    ("records", records),
    ("query", query),
    ("ledger", ledger),
    ("compressed", compressed),
    ("job", job),
];

/// Pieces that mean something to one parser or another, for [`mutated`].
const PIECES: [&[u8]; 16] = [
    b"\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"+",
    b"18446744073709551615",
    b"-1",
    b"..",
    b"/",
    b"\0",
    b"\xff",
    b"\x28\xb5\x2f\xfd",
    b"gen-4294967295",
];

/// What the mutations of a target begin with: the corpus in `fuzz/`, or what a store has.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let Ok(entries) = std::fs::read_dir(&folder) else { return stores::seeds(target) };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("read the corpus").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("read a file of the corpus")).collect()
}

/// One of these after some accidents to it, always the same for the same numbers.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let draw = |random: &mut Random| seeds[random.below(seeds.len() as u64) as usize].clone();
    let mut bytes = draw(random);
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let to = at + random.below((bytes.len() - at).min(64) as u64 + 1) as usize;
        match random.below(8) {
            0 => bytes.truncate(at),
            1 | 2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => drop(bytes.drain(at..to)),
            4 => bytes.extend_from_within(at..to),
            5 => drop(bytes.splice(at..at, draw(random))),
            _ => {
                let piece = PIECES[random.below(PIECES.len() as u64) as usize];
                drop(bytes.splice(at..to.min(at + piece.len()), piece.iter().copied()));
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// Places at which an input is cut in two, evenly over its length.
const CUTS: usize = 8;
/// No input of a mutation is longer.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// A pipe holds this much without a reader.
const PIPE_BYTES: usize = 64 * 1024;
/// An event that is complete must be read long before this. Only a broken promise waits for it.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Any bytes on a hook's stdin.
///
/// They are read exactly as they came, and at once when they hold a complete event. Reading an event
/// does not depend on what follows it, and one that was cut is refused, never half understood. What
/// an event names can become a path only as one plain component.
pub fn event(input: &[u8]) {
    let parsed = Event::parse(input).ok();
    for cut in cuts(input) {
        if let Ok(part) = Event::parse(&input[..cut]) {
            assert_eq!(Some(&part), parsed.as_ref(), "cut at {cut}");
        }
    }
    let feed = [input, b"\n"].concat();
    if feed.len() <= PIPE_BYTES {
        reads_as_it_came(&feed, parsed.is_some());
    }
    let Some(event) = parsed else { return };
    let followed = [input, b"\n{\"session_id\":\"other\"}\xff\\ud83d"].concat();
    assert_eq!(Event::parse(&followed).ok().as_ref(), Some(&event), "what follows an event was read");
    assert!(!event.trigger().is_empty());
    let ids = [SessionId::parse(&event.session_id)].into_iter();
    let transcripts = [&event.transcript_path, &event.agent_transcript_path].into_iter().flatten();
    for id in ids.chain(transcripts.map(|path| SessionId::of_transcript(path))).flatten() {
        is_plain_name(id.as_str(), 128);
        assert_eq!(SessionId::parse(id.as_str()).as_ref(), Ok(&id));
    }
    let project = ProjectName::from_cwd(event.cwd.as_deref().unwrap_or_default());
    for project in [project.with_suffix(2), project] {
        is_plain_name(project.as_str(), 120);
        assert_eq!(ProjectName::parse(project.as_str()).as_ref(), Ok(&project));
    }
}

/// Where there is no event in it, the end of the input ends the reading.
fn reads_as_it_came(feed: &[u8], is_event: bool) {
    let (reader, mut writer) = io::pipe().expect("make a pipe");
    writer.write_all(feed).expect("fill the pipe");
    let open = is_event.then_some(writer);
    let started = Instant::now();
    let read = read_event(&reader, READ_LIMIT).expect("read the pipe");
    assert_eq!(read, feed, "the bytes of a hook's event");
    assert!(started.elapsed() < READ_LIMIT, "a complete event was waited for");
    drop(open);
}

fn is_plain_name(name: &str, bytes_max: usize) {
    let mut components = Path::new(name).components();
    assert!(matches!(components.next(), Some(Component::Normal(first)) if first == name), "{name:?}");
    assert!(components.next().is_none() && !name.starts_with('.') && name.len() <= bytes_max, "{name:?}");
}

/// Whether a record that lies over several lines begins there, and nothing behind its beginning ends it.
fn is_laid_out(rest: &[u8]) -> bool {
    let (lines, torn) = rest.split_at(rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1));
    let mut lines = lines.split_inclusive(|b| *b == b'\n');
    lines.next().is_some_and(|line| line.trim_ascii() == b"{")
        && lines.all(|line| b" \t\r\n".contains(&line[0]))
        && torn.first().is_none_or(|byte| b" \t\r}".contains(byte))
}

/// Any bytes where a transcript stands.
///
/// Records lie inside of it, in order, apart; each can be read again from its own bytes. All of it is
/// dealt with, up to a torn last line or record. Reading it in two parts, at the end of any line, or of an
/// undamaged one anywhere, finds the same as reading it at once.
pub fn records(input: &[u8]) {
    let whole = read(input, 0, TornLine::Final);
    assert_eq!(whole.report.next_offset, input.len() as u64, "all is dealt with");
    lie_in_order(input, &whole);
    let waiting = read(input, 0, TornLine::Wait);
    let last_line = input.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let waits_at = waiting.report.next_offset as usize;
    assert!([last_line, input.len()].contains(&waits_at) || is_laid_out(&input[waits_at..]), "{:?}", waiting.report);
    assert!(whole.records.starts_with(&waiting.records), "waiting for the rest of a line changes what was before it");

    let ends: Vec<_> = (1..=input.len()).filter(|at| input[at - 1] == b'\n').collect();
    for cut in ends.iter().step_by(ends.len() / CUTS + 1) {
        let first = read(&input[..*cut], 0, TornLine::Wait);
        let on = first.report.next_offset as usize;
        assert!(on == *cut || is_laid_out(&input[on..*cut]), "a complete line was waited for: {on}, not {cut}");
        is_the_same(&first.and(read(&input[on..], on as u64, TornLine::Final)), &whole, *cut);
    }
    // In a damaged line how far records are looked for depends on its length.
    let is_whole = whole.report.unparsable == 0;
    for cut in cuts(input).filter(|_| is_whole) {
        let first = read(&input[..cut], 0, TornLine::Wait);
        let on = first.report.next_offset;
        assert!(on <= cut as u64, "read on from {on}, beyond {cut}");
        is_the_same(&first.and(read(&input[on as usize..], on, TornLine::Final)), &whole, cut);
    }
}

/// What was read, and of each record where it stands and what it says.
struct Reading {
    records: Vec<(u64, u64, String)>,
    report: ReadReport,
}

impl Reading {
    fn and(mut self, next: Reading) -> Reading {
        self.records.extend(next.records);
        self.report.next_offset = next.report.next_offset;
        self.report.unparsable += next.report.unparsable;
        for (kind, records) in next.report.unknown {
            *self.report.unknown.entry(kind).or_default() += records;
        }
        self
    }
}

fn read(bytes: &[u8], offset: u64, torn: TornLine) -> Reading {
    let mut records = Vec::new();
    let mut each = |located: Located<'_>| {
        records.push((located.offset, located.length, said_by(&located.record)));
        ControlFlow::Continue(())
    };
    let report = read_records(bytes, offset, torn, &mut each).expect("memory can be read");
    Reading { records, report }
}

fn lie_in_order(input: &[u8], whole: &Reading) {
    let mut end = 0;
    for (offset, length, said) in &whole.records {
        assert!(*length > 0 && *offset >= end, "a record at {offset} begins before {end}");
        end = offset + length;
        let bytes = input.get(*offset as usize..end as usize).expect("a record lies inside the transcript");
        let again = with_record(bytes, said_by).expect("a record can be read again");
        assert_eq!(&again, said, "a record at {offset} says something else by itself");
    }
    // What is not known, but is a record, is counted under its type.
    assert!(whole.report.unknown.values().sum::<u64>() <= whole.records.len() as u64);
}

#[track_caller]
fn is_the_same(in_two: &Reading, whole: &Reading, cut: usize) {
    assert_eq!(in_two.records, whole.records, "records, cut at {cut}");
    assert_eq!(in_two.report, whole.report, "cut at {cut}");
}

/// All that a record says, its tool calls by their text: white space in their arguments may be mended.
fn said_by(record: &Record<'_>) -> String {
    fn debug(value: impl Debug) -> String {
        format!("{value:?}")
    }
    let blocks = record.blocks.iter().map(|block| match block {
        Block::ToolUse { name, id, input } => debug((name, id, input.map(tool_input_text))),
        other => debug(other),
    });
    let blocks: Vec<_> = blocks.collect();
    let head = Record { blocks: Vec::new(), ..record.clone() };
    debug((head, record.role().as_str(), record.is_tool_call(), blocks))
}

fn cuts(input: &[u8]) -> impl Iterator<Item = usize> {
    (0..input.len()).step_by(input.len() / CUTS + 1)
}
