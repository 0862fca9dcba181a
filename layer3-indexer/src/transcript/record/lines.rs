//! From bytes to records: lines in bounded memory, and what damage leaves of them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::{ControlFlow, Range};

use layer1_prebackup::wire::surrogates;

use super::fields::Envelope;
use super::long::{LONG_BYTES, ReadAt, Skeleton};
use super::meaning::record_of;
use super::types::{Class, Located, Record};

/// Longest line that is loaded; a longer one is counted as unparsable and read past. The longest
/// line that was ever reported had 12.8 million characters.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;
/// A line buffer that one long line made larger than this is given back.
const LINE_BYTES_KEPT: usize = 1024 * 1024;
/// Bytes that may be tried again when records are looked for in a damaged line, as a multiple of the line.
const RESYNC_EFFORT: usize = 4;
/// How records begin. Only here is one looked for in a damaged line.
const RECORD_STARTS: [&str; 6] =
    [r#"{"parentUuid":"#, r#"{"type":"#, r#"{"uuid":"#, r#"{"sessionId":"#, r#"{"isSidechain":"#, r#"{"leafUuid":"#];

/// What to do with a last line that has no newline and does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TornLine {
    /// The rest of it is still to come: leave it unread.
    Wait,
    /// Nothing more will come: count it as unparsable.
    Final,
}

/// What reading met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Where to go on: all bytes before this offset are dealt with.
    pub next_offset: u64,
    /// Pieces of lines that are no record, lines that are too long included.
    pub unparsable: u64,
    /// Records of types that this program does not know, by type; of attachments, by theirs.
    pub unknown: BTreeMap<String, u64>,
}

/// Reads records from `reader`, which stands at `offset` of its file, to its end or until `each`
/// breaks, and hands each to `each` in order. Memory is bounded by the longest line. After a
/// break, [`ReadReport::next_offset`] is the end of the last record that was handed out.
///
/// Damage costs only what it hit: several records on one line are split, NULs around a record
/// are dropped, a record after a torn one is found again, bytes that are not UTF-8 are replaced.
/// A record may be laid out over several lines, the first of them `{` alone and the last beginning with `}`.
pub fn read_records<R: Read>(
    reader: R,
    offset: u64,
    torn: TornLine,
    each: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>,
) -> io::Result<ReadReport> {
    read_records_telling(reader, offset, torn, each, &|_| {}, None)
}

/// [`read_records`], telling `dealt_with` the offset before which nothing will be looked at again,
/// at least once a line and once a buffer of a line that is too long. Where the file can be read at any place,
/// long texts are left there ([`Located::cuts`]), and memory is bounded.
pub(crate) fn read_records_telling<R: Read>(
    reader: R,
    offset: u64,
    torn: TornLine,
    each: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>,
    dealt_with: &dyn Fn(u64),
    read_at: Option<ReadAt<'_>>,
) -> io::Result<ReadReport> {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let mut report = ReadReport { next_offset: offset, ..ReadReport::default() };
    let (mut line, mut mended) = (Vec::new(), Vec::new());
    loop {
        dealt_with(report.next_offset);
        line.clear();
        line.shrink_to(LINE_BYTES_KEPT);
        let mut long: Option<Skeleton> = None;
        let mut read = to_newline(&mut reader, LINE_BYTES_MAX + 1, &mut |piece| match &mut long {
            Some(long) => long.add(piece),
            None => {
                line.extend_from_slice(piece);
                if line.len() > LONG_BYTES && read_at.is_some() {
                    let mut begun = Skeleton::at(report.next_offset);
                    begun.add(&line);
                    line = Vec::new();
                    long = Some(begun);
                }
            }
        })?;
        if read == 0 {
            return Ok(report);
        }
        // What begins so was laid out over several lines, by an editor for instance.
        let mut is_open = line.trim_ascii() == b"{";
        while is_open && read <= LINE_BYTES_MAX {
            let next = peek(&mut reader)?;
            if !next.is_some_and(|byte| b" \t\r\n}".contains(&byte)) {
                break;
            }
            is_open = next != Some(b'}');
            read += to_newline(&mut reader, LINE_BYTES_MAX + 1 - read, &mut |piece| line.extend_from_slice(piece))?;
        }
        let is_open = is_open && peek(&mut reader)?.is_none();
        let line_offset = report.next_offset;
        if read > LINE_BYTES_MAX {
            report.unparsable += 1;
            report.next_offset += read as u64;
            to_newline(&mut reader, usize::MAX, &mut |piece| {
                report.next_offset += piece.len() as u64;
                dealt_with(report.next_offset);
            })?;
            continue;
        }
        if let (Some(long), Some(read_at)) = (long, read_at) {
            let (text, cuts, longer) = long.ended();
            let mut parsed = parse_line(&text, &mut mended);
            if let (Some((range, record)), [], 0) = (parsed.records.pop(), &parsed.records[..], parsed.unparsable) {
                let length = range.len() as u64;
                let located = Located {
                    offset: line_offset + range.start as u64,
                    length: length.saturating_add_signed(longer),
                    record,
                    cuts,
                };
                note_unknown(&located.record, &mut report);
                report.next_offset = located.offset + located.length;
                if each(located).is_break() {
                    return Ok(report);
                }
                report.next_offset = line_offset + read as u64;
                continue;
            }
            if parsed.unparsable > 0 && torn == TornLine::Wait && text.last() != Some(&b'\n') {
                return Ok(report);
            }
            // Only a line that is one record can be read so.
            line.resize(read, 0);
            read_at(line_offset, &mut line)?;
        }
        let parsed = parse_line(&line, &mut mended);
        let is_torn = (line.last() != Some(&b'\n') || is_open) && parsed.unparsable > 0;
        if is_torn && torn == TornLine::Wait {
            return Ok(report);
        }
        for (range, record) in parsed.records {
            note_unknown(&record, &mut report);
            let (offset, length) = (line_offset + range.start as u64, (range.end - range.start) as u64);
            let located = Located { offset, length, record, cuts: Vec::new() };
            report.next_offset = line_offset + range.end as u64;
            if each(located).is_break() {
                return Ok(report);
            }
        }
        report.unparsable += parsed.unparsable;
        report.next_offset = line_offset + read as u64;
    }
}

fn note_unknown(record: &Record<'_>, report: &mut ReadReport) {
    if record.class == Class::Unknown {
        let kind = record.subtype.as_ref().filter(|_| record.kind == "attachment").unwrap_or(&record.kind);
        *report.unknown.entry(kind.clone().into_owned()).or_default() += 1;
    }
}

/// The record that stands in exactly these bytes ([`Located::offset`] and [`Located::length`]).
/// `each` is not called when they hold none.
pub fn with_record<T>(bytes: &[u8], each: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
    let mut mended = Vec::new();
    let parsed = parse_line(bytes, &mut mended);
    parsed.records.first().map(|(_, record)| each(record))
}

/// The next byte, which stays unread.
fn peek(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            buffer => return Ok(buffer?.first().copied()),
        }
    }
}

/// Reads up to a newline and that too, or so many bytes, and hands them over as they come; gives their number.
fn to_newline(reader: &mut impl BufRead, bytes_max: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
    let mut read = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let buffer = &buffer[..buffer.len().min(bytes_max - read)];
        let newline = memchr::memchr(b'\n', buffer);
        let used = newline.map_or(buffer.len(), |at| at + 1);
        each(&buffer[..used]);
        reader.consume(used);
        read += used;
        if newline.is_some() || used == 0 {
            return Ok(read);
        }
    }
}

struct Line<'a> {
    records: Vec<(Range<usize>, Record<'a>)>,
    unparsable: u64,
}

/// Everything that can be read from one line. Ranges are those of the original bytes: mending
/// puts one byte for one byte.
fn parse_line<'a>(bytes: &'a [u8], mended: &'a mut Vec<u8>) -> Line<'a> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !surrogates::may_be_in(text)
    {
        let line = scan(text);
        if line.unparsable == 0 {
            return line;
        }
    }
    mended.clear();
    for chunk in bytes.utf8_chunks() {
        // Inside a string JSON allows no raw control character; between values a space is as good.
        mended.extend(chunk.valid().bytes().map(|b| if b < b' ' { b' ' } else { b }));
        mended.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    surrogates::replace_lone(mended);
    match std::str::from_utf8(mended) {
        Ok(text) => scan(text),
        Err(_) => Line { records: Vec::new(), unparsable: 1 },
    }
}

fn scan(text: &str) -> Line<'_> {
    let mut line = Line { records: Vec::new(), unparsable: 0 };
    let mut at = 0;
    let mut effort = text.len().saturating_mul(RESYNC_EFFORT);
    loop {
        let rest = text[at..].trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\0' || c == '\u{feff}');
        at = text.len() - rest.len();
        if rest.is_empty() {
            return line;
        }
        if let Ok((envelope, length)) = envelope_at(rest) {
            line.records.push((at..at + length, record_of(envelope, &rest[..length])));
            at += length;
            continue;
        }
        line.unparsable += 1;
        match next_start(text, at + 1, &mut effort) {
            Some(next) => at = next,
            None => return line,
        }
    }
}

/// The object at the beginning of `text` and its length, or how far it could be read.
fn envelope_at(text: &str) -> Result<(Envelope<'_>, usize), usize> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Envelope<'_>>();
    match stream.next() {
        Some(Ok(envelope)) => Ok((envelope, stream.byte_offset())),
        Some(Err(error)) => Err(error.column()),
        None => Err(0),
    }
}

/// Where, from `at` on, a whole record begins. Objects inside of records also begin with
/// `{"type":`, but bear neither an id nor a session.
fn next_start(text: &str, at: usize, effort: &mut usize) -> Option<usize> {
    let mut at = at;
    while *effort > 0 {
        at += text.get(at..)?.find("{\"")?;
        let rest = &text[at..];
        if RECORD_STARTS.iter().any(|start| rest.starts_with(start)) {
            let (used, is_record) = match envelope_at(rest) {
                Ok((e, length)) => (
                    length,
                    e.kind.0.is_some() && (e.uuid.0.is_some() || e.session_id.0.is_some() || e.leaf_uuid.0.is_some()),
                ),
                Err(used) => (used, false),
            };
            if is_record {
                return Some(at);
            }
            *effort = effort.saturating_sub(used.max(1));
        }
        at += 2;
    }
    None
}
