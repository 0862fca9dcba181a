//! Reading what is to be indexed of a content: hashed, taken apart and prepared, record by record.
//!
//! Of what is long, a second thread reads ahead while this one writes rows, which takes about twice as
//! long. What is read ahead is bounded, and memory with it, whatever the content's length.

use std::cell::Cell;
use std::fs::File;
use std::hint;
use std::io::{self, Seek, SeekFrom};
use std::mem;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::panic;
use std::sync::mpsc::{TrySendError, channel, sync_channel};
use std::thread;

use layer1_prebackup::archive::TreeHasher;
use layer1_prebackup::config::threads;

use super::prepare::{Known, Prepared, Rest};
use crate::transcript::metadata::Order;
use crate::transcript::record::{Located, ReadAt, ReadReport, TornLine, read_cut, read_pieces, read_records_telling};

/// What was read is hashed in multiples of this: whole subtrees of BLAKE3 cost far less than their parts.
const HASH_BYTES: u64 = 64 * 1024;
/// From this length on another thread reads; beginning one takes about as long as reading a tenth of it.
const AHEAD_BYTES_MIN: u64 = 256 * 1024;
/// Bytes of records that are handed over together: handing over costs microseconds …
const HANDED_BYTES: u64 = 128 * 1024;
/// … and waking who waits for it costs more, so that as many are gathered while nobody takes them.
const HANDED_BYTES_MAX: u64 = 512 * 1024;
/// More is not kept of what was read and not dealt with.
const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So often handed over and not yet taken.
const HANDED_MAX: usize = 4;

/// Memory that is asked for in advance, in so many pieces …
const ROOM_PIECES: usize = 6;
/// … of this size. glibc's malloc maps what is large apart, but no more once one of that size was freed.
const ROOM_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// What is to be read.
pub(super) struct Range<'a> {
    /// The content.
    pub(crate) file: &'a File,
    /// All before is indexed; what is behind is not asked for.
    pub(crate) bytes: std::ops::Range<u64>,
    pub(crate) torn: TornLine,
    /// Whether it is the output of a tool, and no records.
    pub(crate) is_output: bool,
    /// Time of the last record before that had one.
    pub(crate) last_ms: i64,
    /// Reading ends with the record that reaches this, or at the end.
    pub(crate) bytes_max: u64,
}

/// What was read.
pub(super) struct Read {
    pub(crate) report: ReadReport,
    /// The hash of everything that was dealt with …
    pub(crate) tree: TreeHasher,
    /// … and of everything that was read.
    pub(crate) whole: TreeHasher,
    /// Time of the last record that had one.
    pub(crate) last_ms: i64,
    /// Whether [`Range::bytes_max`] ended it.
    pub(crate) is_cut: bool,
}

/// Gets what was prepared of a record, or ends the reading.
type Each<'e> = dyn FnMut(&Prepared<'_>) -> ControlFlow<()> + 'e;

/// Reads on, `hash` being that of everything before. `each` gets the records in their order, in this thread.
pub(super) fn read(range: &Range<'_>, hash: TreeHasher, each: &mut Each<'_>) -> io::Result<Read> {
    if range.bytes.end.saturating_sub(range.bytes.start) < AHEAD_BYTES_MIN {
        return read_here(range, hash, &mut |prepared| each(&prepared));
    }
    make_room();
    let (hand_over, handed_over) = sync_channel(HANDED_MAX);
    // What was taken goes back to be freed: memory of another thread is freed under a lock, for which both would
    // wait all the time.
    let (give_back, given_back) = channel::<Vec<Prepared<'static>>>();
    thread::scope(|scope| {
        let mut ahead = Vec::new();
        let again = hash.clone();
        let reader = threads::named("read ahead").spawn_scoped(scope, move || {
            let mut bytes = 0;
            let read = read_here(range, hash, &mut |prepared| {
                bytes += prepared.length;
                ahead.push(prepared.into_owned());
                if bytes < HANDED_BYTES {
                    return ControlFlow::Continue(());
                }
                given_back.try_iter().for_each(drop);
                let sent = match hand_over.try_send(mem::take(&mut ahead)) {
                    Err(TrySendError::Full(back)) if bytes < HANDED_BYTES_MAX => {
                        ahead = back;
                        return ControlFlow::Continue(());
                    }
                    Err(TrySendError::Full(back)) => hand_over.send(back).is_ok(),
                    tried => tried.is_ok(),
                };
                bytes = 0;
                // Or nobody wants any more.
                if sent { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            // As above.
            let _ = hand_over.send(ahead);
            read
        });
        // Where there may be no further thread, this one will do.
        let Ok(reader) = reader else { return read_here(range, again, &mut |prepared| each(&prepared)) };
        for taken in &handed_over {
            if taken.iter().any(|prepared| each(prepared).is_break()) {
                break;
            }
            // The reader may have come to its end.
            let _ = give_back.send(taken);
        }
        drop(handed_over);
        reader.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

/// Makes room in the memory of this thread for FTS5's tables of words, once. Where it is not the first thread, glibc's
/// malloc makes room page by page otherwise, at a system call each. It takes no memory: nothing is written there.
fn make_room() {
    thread_local!(static IS_MADE: Cell<bool> = const { Cell::new(false) });
    if IS_MADE.replace(true) {
        return;
    }
    let piece = || {
        let mut piece = Vec::<u8>::new();
        // Where there is no more, whoever needs it finds out.
        let _ = piece.try_reserve_exact(ROOM_PIECE_BYTES);
        hint::black_box(piece)
    };
    drop(piece());
    drop([(); ROOM_PIECES].map(|()| piece()));
}

fn read_here(
    range: &Range<'_>,
    hash: TreeHasher,
    each: &mut dyn FnMut(Prepared<'_>) -> ControlFlow<()>,
) -> io::Result<Read> {
    let mut file = range.file;
    let start = range.bytes.start;
    file.seek(SeekFrom::Start(start))?;
    let (mut order, mut is_cut, mut known) = (Order { latest_ms: range.last_ms }, false, Known::new());
    let (mut rests, mut failed) = (Vec::new(), None);
    let read_at = |at: u64, bytes: &mut [u8]| range.file.read_exact_at(bytes, at);
    let dealt_with = Cell::new(start);
    let rest = io::Read::take(file, range.bytes.end.saturating_sub(start));
    let mut reader = Hashing::new(rest, hash, &dealt_with);
    let mut each = |located: Located<'_>| {
        is_cut = located.offset + located.length - start >= range.bytes_max;
        rests.clear();
        let prepared = Prepared::of(&located, order.next_ms(&located.record), &mut known, &mut rests);
        let mut wanted = match rests.is_empty() {
            true => each(prepared),
            false => each_of_long(&read_at, prepared, &rests, &mut known, each).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            }),
        };
        if is_cut {
            wanted = ControlFlow::Break(());
        }
        wanted
    };
    let told = |offset| dealt_with.set(offset);
    let report = match range.is_output {
        true => read_pieces(&mut reader, start, &mut each, &told),
        false => read_records_telling(&mut reader, start, range.torn, &mut each, &told, Some(&read_at)),
    }?;
    if let Some(error) = failed {
        return Err(error);
    }
    let (tree, whole) = reader.ended_at(report.next_offset, &read_at)?;
    Ok(Read { report, tree, whole, last_ms: order.latest_ms, is_cut })
}

/// Hands over a record of which long texts were left in the file, then these, piece by piece.
fn each_of_long(
    read_at: ReadAt<'_>,
    prepared: Prepared<'_>,
    rests: &[Rest],
    known: &mut Known,
    each: &mut dyn FnMut(Prepared<'_>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut number = 0;
    // Handed over first; what is the same in all of it is needed once more.
    let first = prepared.without_texts();
    if each(prepared).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    for (cut, column) in rests {
        let read = read_cut(read_at, cut, &mut |text| {
            number += 1;
            first.rest(text, *column, number, known).map_or(ControlFlow::Continue(()), &mut *each)
        });
        if read?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Hashes what is read, up to where the records were dealt with: there the next update goes on.
struct Hashing<'d, R> {
    reader: R,
    hash: TreeHasher,
    /// The same of more, where a record is so long that not all of it is kept.
    further: Option<TreeHasher>,
    /// Read and not yet hashed.
    pending: Vec<u8>,
    /// All before is dealt with.
    dealt_with: &'d Cell<u64>,
}

impl<'d, R: io::Read> Hashing<'d, R> {
    fn new(reader: R, hash: TreeHasher, dealt_with: &'d Cell<u64>) -> Hashing<'d, R> {
        Hashing { reader, hash, further: None, pending: Vec::new(), dealt_with }
    }

    /// The hash of everything before `offset`, and of everything that was read.
    fn ended_at(mut self, offset: u64, read_at: ReadAt<'_>) -> io::Result<(TreeHasher, TreeHasher)> {
        self.hash_until(offset);
        let mut whole = self.further.clone().unwrap_or_else(|| self.hash.clone());
        whole.update(&self.pending);
        // A record that waits for its end, or with a long row of NULs behind it.
        let mut again = vec![0; HASH_BYTES as usize];
        while self.hash.bytes() < offset.min(whole.bytes()) {
            let bytes = &mut again[..(offset - self.hash.bytes()).min(HASH_BYTES) as usize];
            read_at(self.hash.bytes(), bytes)?;
            self.hash.update(bytes);
        }
        Ok((self.hash, whole))
    }

    fn hash_until(&mut self, offset: u64) {
        if let Some(further) = self.further.take_if(|further| further.bytes() <= offset) {
            self.hash = further;
        }
        if let Some(further) = &mut self.further {
            if self.pending.len() > PENDING_BYTES_MAX {
                further.update(&self.pending[..PENDING_BYTES_MAX / 2]);
                self.pending.drain(..PENDING_BYTES_MAX / 2);
            }
            return;
        }
        let length = (offset.saturating_sub(self.hash.bytes()) as usize).min(self.pending.len());
        self.hash.update(&self.pending[..length]);
        self.pending.drain(..length);
        if self.pending.len() > PENDING_BYTES_MAX {
            let mut further = self.hash.clone();
            further.update(&self.pending[..PENDING_BYTES_MAX / 2]);
            self.pending.drain(..PENDING_BYTES_MAX / 2);
            self.further = Some(further);
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MESSAGES: usize = 12_000;

    /// A content long enough to be read ahead, with a last line that waits for its end.
    fn content() -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        for n in 0..MESSAGES {
            let text = format!("message {n} says {}", "something ".repeat(n % 40));
            writeln!(file, r#"{{"type":"user","uuid":"{n}","message":{{"content":"{text}"}}}}"#).unwrap();
        }
        write!(file, r#"{{"type":"user","uuid":"torn"#).unwrap();
        let bytes = file.metadata().unwrap().len();
        // Longer than what is read before anything of it has to be taken.
        assert!(bytes > 2 * (HANDED_MAX as u64 * HANDED_BYTES + HANDED_BYTES_MAX));
        (file, bytes)
    }

    fn range(file: &File, bytes: std::ops::Range<u64>, bytes_max: u64) -> Range<'_> {
        Range { file, bytes, torn: TornLine::Wait, is_output: false, last_ms: 0, bytes_max }
    }

    /// What came of each record, and of the whole.
    fn seen(read: impl FnOnce(&mut Each<'_>) -> io::Result<Read>) -> (Vec<(u64, i64, String)>, Read) {
        let mut seen = Vec::new();
        let read = read(&mut |prepared| {
            let message = prepared.message.as_ref().expect("each is a message");
            seen.push((prepared.offset, message.key, message.columns[0].clone().unwrap_or_default().into_owned()));
            ControlFlow::Continue(())
        });
        (seen, read.unwrap())
    }

    #[test]
    fn what_is_read_ahead_is_what_would_be_read_here() {
        let (file, bytes) = content();
        for bytes_max in [u64::MAX, 300_000] {
            let range = range(&file, 0..bytes, bytes_max);
            let (ahead, read_ahead) = seen(|each| read(&range, TreeHasher::default(), each));
            let (here, read_here) =
                seen(|each| super::read_here(&range, TreeHasher::default(), &mut |prepared| each(&prepared)));
            assert!(ahead == here, "{} and {} records", ahead.len(), here.len());
            assert_eq!((read_ahead.is_cut, ahead.len() == MESSAGES), (bytes_max < bytes, bytes_max > bytes));
            assert_eq!(read_ahead.report, read_here.report);
            assert_eq!(read_ahead.tree.stack_as_hex(), read_here.tree.stack_as_hex());
            assert_eq!(read_ahead.whole.root(), read_here.whole.root());
        }
    }

    #[test]
    fn reading_on_where_it_was_cut_gives_the_rest() {
        let (file, bytes) = content();
        let (whole, at_once) = seen(|each| read(&range(&file, 0..bytes, u64::MAX), TreeHasher::default(), each));
        let (mut parts, first) = seen(|each| read(&range(&file, 0..bytes, 300_000), TreeHasher::default(), each));
        let on = first.report.next_offset;
        let (rest, second) = seen(|each| read(&range(&file, on..bytes, u64::MAX), first.tree, each));
        parts.extend(rest);
        assert!(parts == whole, "{} and {} records", parts.len(), whole.len());
        assert_eq!(second.whole.root(), at_once.whole.root());
        assert_eq!(second.whole.bytes(), bytes);
    }

    /// Whatever is read and not dealt with, little of it is kept, and both hashes are those of all of it.
    #[test]
    fn of_a_record_of_megabytes_little_is_kept() {
        let bytes = vec![7; 5 * PENDING_BYTES_MAX + 99];
        let (dealt_with, start) = (Cell::new(0), 100 * 1024);
        let mut reader = Hashing::new(&bytes[..], TreeHasher::default(), &dealt_with);
        let mut buffer = vec![0; 256 * 1024];
        let mut most = 0;
        while io::Read::read(&mut &mut reader, &mut buffer).unwrap() > 0 {
            dealt_with.set(start);
            most = most.max(reader.pending.len());
        }
        assert!(most <= PENDING_BYTES_MAX + buffer.len(), "{most}");
        let read_at = |at: u64, into: &mut [u8]| {
            into.copy_from_slice(&bytes[at as usize..][..into.len()]);
            Ok(())
        };
        let root = |bytes: &[u8]| {
            let mut hash = TreeHasher::default();
            hash.update(bytes);
            hash.root()
        };
        // The record waits for its end; or it had one, a little before all that was read.
        let (waits, whole) = reader.ended_at(start, &read_at).unwrap();
        assert_eq!((waits.root(), whole.root()), (root(&bytes[..start as usize]), root(&bytes)));
        for end in [bytes.len() - 1000, PENDING_BYTES_MAX, bytes.len()] {
            let mut reader = Hashing::new(&bytes[..], TreeHasher::default(), &dealt_with);
            while io::Read::read(&mut &mut reader, &mut buffer).unwrap() > 0 {}
            let (upto, whole) = reader.ended_at(end as u64, &read_at).unwrap();
            assert_eq!((upto.root(), whole.root()), (root(&bytes[..end]), root(&bytes)), "{end}");
        }
    }

    #[test]
    fn who_wants_no_more_is_given_no_more() {
        let (file, bytes) = content();
        let mut given = 0;
        let read = read(&range(&file, 0..bytes, u64::MAX), TreeHasher::default(), &mut |_| {
            given += 1;
            if given == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(given, 3);
        assert!(read.unwrap().report.next_offset < bytes, "the reader was not stopped");
    }

    #[test]
    fn a_panic_of_who_takes_them_ends_the_reader_too() {
        let (file, bytes) = content();
        let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            read(&range(&file, 0..bytes, u64::MAX), TreeHasher::default(), &mut |_| panic!("a row that cannot be"))
        }));
        assert!(panicked.is_err());
    }
}
