//! Reading what is to be indexed of a content: hashed, taken apart and prepared, record by record.
//!
//! Of what is long, a second thread reads ahead while this one writes rows; both take about the same
//! time. What is read ahead is bounded, and memory with it, whatever the content's length.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::mem;
use std::ops::ControlFlow;
use std::panic;
use std::sync::mpsc::sync_channel;
use std::thread;

use layer1_prebackup::archive::TreeHasher;

use super::prepare::Prepared;
use crate::record::{Located, ReadReport, TornLine, read_records_telling};
use crate::trigram::Tokens;

/// What was read is hashed in multiples of this: whole subtrees of BLAKE3 cost far less than their parts.
const HASH_BYTES: u64 = 64 * 1024;
/// From this length on another thread reads; beginning one takes about as long as reading a tenth of it.
const AHEAD_BYTES_MIN: u64 = 256 * 1024;
/// Bytes of records that are handed over together: handing over costs microseconds.
const HANDED_BYTES: u64 = 128 * 1024;
/// So often handed over and not yet taken.
const HANDED_MAX: usize = 4;

/// What is to be read.
pub(super) struct Range<'a> {
    /// The content.
    pub file: &'a File,
    /// All before is indexed; what is behind is not asked for.
    pub bytes: std::ops::Range<u64>,
    pub torn: TornLine,
    /// Time of the last record before that had one.
    pub last_ms: i64,
    /// Reading ends with the record that reaches this, or at the end.
    pub bytes_max: u64,
}

/// What was read.
pub(super) struct Read {
    pub report: ReadReport,
    /// The hash of everything that was dealt with …
    pub tree: TreeHasher,
    /// … and of everything that was read.
    pub whole: TreeHasher,
    /// Time of the last record that had one.
    pub last_ms: i64,
    /// Whether [`Range::bytes_max`] ended it.
    pub is_cut: bool,
}

/// Takes what was prepared of a record, or ends the reading.
type Each<'e> = dyn FnMut(Prepared<'_>) -> ControlFlow<()> + 'e;

/// Reads on, `hash` being that of everything before. `each` gets the records in their order, in this thread.
pub(super) fn read(range: &Range<'_>, hash: TreeHasher, each: &mut Each<'_>) -> io::Result<Read> {
    if range.bytes.end.saturating_sub(range.bytes.start) < AHEAD_BYTES_MIN {
        return read_here(range, hash, each);
    }
    let (hand_over, handed_over) = sync_channel(HANDED_MAX);
    thread::scope(|scope| {
        let mut ahead = Vec::new();
        let again = hash.clone();
        let reader = thread::Builder::new().spawn_scoped(scope, move || {
            let mut bytes = 0;
            let read = read_here(range, hash, &mut |prepared| {
                bytes += prepared.length;
                ahead.push(prepared.into_owned());
                if bytes < HANDED_BYTES {
                    return ControlFlow::Continue(());
                }
                bytes = 0;
                match hand_over.send(mem::take(&mut ahead)) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Nobody wants any more.
                    Err(_) => ControlFlow::Break(()),
                }
            });
            // As above.
            let _ = hand_over.send(ahead);
            read
        });
        // Where there may be no further thread, this one will do.
        let Ok(reader) = reader else { return read_here(range, again, each) };
        let mut taken = handed_over.iter().flatten().map(each);
        while taken.next().is_some_and(|taken| taken.is_continue()) {}
        drop(taken);
        drop(handed_over);
        reader.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

fn read_here(range: &Range<'_>, hash: TreeHasher, each: &mut Each<'_>) -> io::Result<Read> {
    let mut file = range.file;
    let start = range.bytes.start;
    file.seek(SeekFrom::Start(start))?;
    let (mut last_ms, mut is_cut, mut tokens) = (range.last_ms, false, Tokens::new());
    let dealt_with = Cell::new(start);
    let rest = io::Read::take(file, range.bytes.end.saturating_sub(start));
    let mut reader = Hashing { reader: rest, hash, pending: Vec::new(), dealt_with: &dealt_with };
    let mut each = |located: Located<'_>| {
        last_ms = located.record.timestamp_ms.unwrap_or(last_ms);
        is_cut = located.offset + located.length - start >= range.bytes_max;
        let wanted = each(Prepared::of(&located, last_ms, &mut tokens));
        if is_cut { ControlFlow::Break(()) } else { wanted }
    };
    let report = read_records_telling(&mut reader, start, range.torn, &mut each, &|offset| dealt_with.set(offset))?;
    let (tree, whole) = reader.ended_at(report.next_offset);
    Ok(Read { report, tree, whole, last_ms, is_cut })
}

/// Hashes what is read, up to where the records were dealt with: there the next update goes on.
struct Hashing<'d, R> {
    reader: R,
    hash: TreeHasher,
    /// Read and not yet hashed.
    pending: Vec<u8>,
    /// All before is dealt with.
    dealt_with: &'d Cell<u64>,
}

impl<R: io::Read> Hashing<'_, R> {
    /// The hash of everything before `offset`, and of everything that was read.
    fn ended_at(mut self, offset: u64) -> (TreeHasher, TreeHasher) {
        self.hash_until(offset);
        let mut whole = self.hash.clone();
        whole.update(&self.pending);
        (self.hash, whole)
    }

    fn hash_until(&mut self, offset: u64) {
        let length = (offset.saturating_sub(self.hash.bytes()) as usize).min(self.pending.len());
        self.hash.update(&self.pending[..length]);
        self.pending.drain(..length);
    }
}

impl<R: io::Read> io::Read for &mut Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.hash_until(self.dealt_with.get() / HASH_BYTES * HASH_BYTES);
        let came = self.reader.read(buffer)?;
        self.pending.extend_from_slice(&buffer[..came]);
        Ok(came)
    }
}
