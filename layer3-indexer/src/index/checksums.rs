//! Proof that the index's file holds what SQLite wrote.
//!
//! SQLite believes a write that the system calls done, and neither its integrity check nor FTS5's looks
//! at what an index without content holds: of 400 flipped bits they and the store find 61, the sums 400. Here what was committed is moved from the
//! write-ahead log into the database at the end of every update, and both are read back: the
//! frames of the log by SQLite's own chain of checksums, the pages of the database against the
//! frames that they were copied from. Then a sum of each of those pages goes into `…-sums` beside
//! the database, by which [`verify`] finds a bit that flips later.
//!
//! All of it happens behind [`write_lock`], where no other process begins to write, and no
//! connection moves frames by itself (`schema.rs` sees to that), so nothing unproven gets into the
//! database. What cannot be proven by two readings is [`IndexError::Unusable`]: the index is set
//! aside and made again from the store.
//!
//! Format of the log: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use layer1_prebackup::fs::{self, Dir};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{IndexError, Sqlite};
use super::files::{PAGE_BYTES, SUMS, beside, database, log_bytes};
use super::wait::{retry_while_busy, wait_for_others, write_lock};

/// Committed bytes in the log after which a long update moves them before it goes on. Each move costs
/// four syncs and writes each page once, however often the log has it.
pub(super) const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says in which order of bytes the checksums were made.
const LOG_MAGIC: u32 = 0x377f_0682;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;
/// The first eight bytes of a file of sums; the sum of page N is the Nth eight bytes after it.
const SUMS_MAGIC: Sum = *b"3fldsum1";
/// Pages that [`verify`] reads at a time.
const PAGES_AT_ONCE: usize = 256;
/// A difference is believed when it is read this often.
const READINGS: u32 = 2;

/// Of one page: the beginning of its BLAKE3.
type Sum = [u8; 8];

/// Moves what was committed into the database and proves it. Costs what was committed since the
/// last time. A reader that still needs the log keeps it from being emptied, nothing worse.
pub(super) fn checkpoint(connection: &mut Connection, path: &Path) -> Result<(), IndexError> {
    if log_bytes(path)? == 0 {
        return Ok(());
    }
    let _lock = write_lock(path)?;
    checkpoint_locked(connection, path)
}

/// With [`write_lock`] held. Every step can be repeated until the log is emptied, which is the last.
fn checkpoint_locked(connection: &mut Connection, path: &Path) -> Result<(), IndexError> {
    // A writer that passed [`write_lock`] before is waited for.
    drop(
        retry_while_busy(path, || Transaction::new_unchecked(connection, TransactionBehavior::Immediate))
            .doing("begin a transaction", path)?,
    );
    let (logged, moved) = move_log(connection, "PASSIVE").doing("move what was written", path)?;
    if logged <= 0 {
        return Ok(());
    }
    let moved = moved.unsigned_abs();
    let pages = proven(|| log_pages(path, moved), "its log does not hold what was written", path)?;
    proven(|| are_in_database(path, &pages), "it does not hold what was written", path)?;
    write_sums(path, &pages)?;
    if moved == logged.unsigned_abs() {
        // Whoever reads at the moment keeps the log; the next update empties it.
        connection.busy_handler(None::<fn(i32) -> bool>).doing("empty the log", path)?;
        let emptied = move_log(connection, "TRUNCATE");
        connection.busy_handler(Some(wait_for_others)).doing("empty the log", path)?;
        emptied.doing("empty the log", path)?;
    }
    Ok(())
}

/// Frames in the log, and how many of them are in the database now.
fn move_log(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(1)?, row.get(2)?)))
}

/// Reads until something is proven, twice at most: one reading may itself be wrong.
fn proven<T>(read: impl Fn() -> Result<Option<T>, IndexError>, otherwise: &str, path: &Path) -> Result<T, IndexError> {
    for _ in 0..READINGS {
        if let Some(value) = read()? {
            return Ok(value);
        }
    }
    Err(IndexError::Unusable { path: path.to_owned(), what: otherwise.to_owned() })
}

/// What the database must hold: the sum of each page, by its number.
type Pages = BTreeMap<u32, Sum>;

/// The pages in the first `moved` frames of the log, each as the last of its frames has it; pages
/// of which a later frame exists are left out. `None` when the frames do not hold together.
fn log_pages(path: &Path, moved: u64) -> Result<Option<Pages>, IndexError> {
    let log = beside(path, "-wal", "");
    // No lock of SQLite's lies on the log, so this descriptor may be closed again.
    let file = File::open(&log).map_err(|source| IndexError::Read { path: log.clone(), source })?;
    let mut header = [0; LOG_HEADER_BYTES];
    if fs::read_at(&file, 0, &mut header, &log)? < header.len() {
        return Ok(None);
    }
    let Some(mut chain) = Chain::begin(&header) else { return Ok(None) };
    let (mut pages, mut count) = (Pages::new(), 0);
    let mut frame = [0; FRAME_BYTES];
    let mut offset = LOG_HEADER_BYTES as u64;
    for number in 1.. {
        let is_whole = fs::read_at(&file, offset, &mut frame, &log)? == frame.len();
        let is_next = is_whole && chain.accepts(&frame);
        if number <= moved {
            if !is_next {
                return Ok(None);
            }
            let (page, database_pages) = (word(&frame, 0), word(&frame, 4));
            pages.insert(page, sum_of(&frame[FRAME_HEADER_BYTES..]));
            // A frame that ends a commit says how long the database is then.
            count = if database_pages > 0 { database_pages } else { count };
        } else if is_next {
            pages.remove(&word(&frame, 0));
        } else {
            break;
        }
        offset += frame.len() as u64;
    }
    pages.retain(|page, _| *page <= count);
    Ok(Some(pages))
}

fn are_in_database(path: &Path, pages: &Pages) -> Result<Option<()>, IndexError> {
    let file = database(path)?;
    let mut content = [0; PAGE_BYTES];
    for (page, sum) in pages {
        let is_whole = fs::read_at(file, u64::from(page - 1) * PAGE_BYTES as u64, &mut content, path)? == PAGE_BYTES;
        if !is_whole || sum_of(&content) != *sum {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

/// Writes the sums, syncs them and reads them back: when the log is emptied, they are all that
/// is known of these pages.
fn write_sums(path: &Path, pages: &Pages) -> Result<(), IndexError> {
    let sums = beside(path, SUMS, "");
    let is_new = sums.symlink_metadata().is_err();
    let unreadable = |source| IndexError::Read { path: sums.clone(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(fs::FILE_MODE);
    let file = options.open(&sums).map_err(unreadable)?;
    for (offset, run) in runs(pages) {
        fs::write_at(&file, offset, &run, &sums)?;
    }
    fs::sync_data(&file, &sums)?;
    if is_new && let Some(dir) = Dir::open(path.parent().unwrap_or(Path::new(".")))? {
        dir.sync()?;
    }
    let again = File::open(&sums).map_err(unreadable)?;
    // Not compared with the buffers that were written: what changed in them was written so.
    proven(|| are_at(&again, &runs(pages), &sums), "its sums do not hold what was written", path)
}

fn are_at(file: &File, runs: &[(u64, Vec<u8>)], path: &Path) -> Result<Option<()>, IndexError> {
    for (offset, run) in runs {
        let mut read = vec![0; run.len()];
        if fs::read_at(file, *offset, &mut read, path)? < run.len() || read != *run {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

/// The sums of neighbouring pages as one write each, behind the magic.
fn runs(pages: &Pages) -> Vec<(u64, Vec<u8>)> {
    let mut runs = vec![(0, SUMS_MAGIC.to_vec())];
    for (page, sum) in pages {
        match runs.last_mut() {
            Some((offset, run)) if *offset + run.len() as u64 == slot(*page) => run.extend(sum),
            _ => runs.push((slot(*page), sum.to_vec())),
        }
    }
    runs
}

fn slot(page: u32) -> u64 {
    u64::from(page) * SUMS_MAGIC.len() as u64
}

/// Sees to it that there is a sum of every page of the database; without them it is
/// [`IndexError::Unusable`], because nothing could ever be proven of it.
pub(super) fn require_sums(connection: &mut Connection, path: &Path) -> Result<(), IndexError> {
    if has_sums(path)? {
        return Ok(());
    }
    // Another process may stand between moving pages and writing their sums, or have been killed there.
    let _lock = write_lock(path)?;
    checkpoint_locked(connection, path)?;
    proven(|| Ok(has_sums(path)?.then_some(())), "its sums are missing", path)
}

fn has_sums(path: &Path) -> Result<bool, IndexError> {
    let database = database(path)?;
    let bytes = fs::stat_of(database, path)?.st_size as u64;
    let pages = bytes / PAGE_BYTES as u64;
    if pages <= 1 && log_bytes(path)? > 0 {
        // A fresh one: a reader from before its tables were made keeps them all in the log.
        return Ok(true);
    }
    let sums_path = beside(path, SUMS, "");
    let sums = match File::open(&sums_path) {
        Ok(sums) => sums,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(IndexError::Read { path: sums_path, source }),
    };
    let mut magic = [0; SUMS_MAGIC.len()];
    fs::read_at(&sums, 0, &mut magic, &sums_path)?;
    Ok(magic == SUMS_MAGIC && fs::stat_of(&sums, &sums_path)?.st_size as u64 >= slot(pages as u32 + 1))
}

/// Re-reads the whole database and compares each page with its sum. What is wrong, if anything
/// is. Moves what waits in the log first.
pub(super) fn verify(connection: &mut Connection, path: &Path) -> Result<Option<String>, IndexError> {
    let lock = match write_lock(path) {
        Ok(lock) => Some(lock),
        // Where no lock can be made, on a read-only disk, nobody writes either.
        Err(_) if log_bytes(path)? == 0 => None,
        Err(error) => return Err(error),
    };
    if lock.is_some() {
        checkpoint_locked(connection, path)?;
    }
    let mut wrong = None;
    for _ in 0..READINGS {
        wrong = first_wrong_page(path)?;
        if wrong.is_none() {
            return Ok(None);
        }
    }
    Ok(wrong)
}

fn first_wrong_page(path: &Path) -> Result<Option<String>, IndexError> {
    let file = database(path)?;
    let sums_path = beside(path, SUMS, "");
    let sums = match File::open(&sums_path) {
        Ok(sums) => sums,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some("its sums are missing, so it cannot be proven".to_owned()));
        }
        Err(source) => return Err(IndexError::Read { path: sums_path, source }),
    };
    // One of each page is read, however many more there are.
    let pages = fs::stat_of(file, path)?.st_size as u64 / PAGE_BYTES as u64;
    let mut bytes = vec![0; slot(u32::try_from(pages).unwrap_or(u32::MAX)) as usize + SUMS_MAGIC.len()];
    let came = fs::read_at(&sums, 0, &mut bytes, &sums_path)?;
    let sums = &bytes[..came];
    if !sums.starts_with(&SUMS_MAGIC) {
        return Ok(Some("the header of its sums is damaged".to_owned()));
    }
    let mut sums = sums.chunks_exact(SUMS_MAGIC.len()).skip(1);
    let mut content = vec![0; PAGE_BYTES * PAGES_AT_ONCE];
    let mut page = 0;
    loop {
        let came = fs::read_at(file, page * PAGE_BYTES as u64, &mut content, path)?;
        for content in content[..came].chunks(PAGE_BYTES) {
            page += 1;
            if sums.next() != Some(&sum_of(content)[..]) {
                return Ok(Some(format!("page {page} is not as it was written")));
            }
        }
        if came < content.len() {
            return Ok(None);
        }
    }
}

/// SQLite's running checksum over the log.
struct Chain {
    salt: [u8; 8],
    is_big_endian: bool,
    sums: (u32, u32),
}

impl Chain {
    /// `None` when the header is none.
    fn begin(header: &[u8; LOG_HEADER_BYTES]) -> Option<Chain> {
        let magic = word(header, 0);
        let mut chain = Chain {
            salt: header[16..24].try_into().expect("eight bytes"),
            is_big_endian: magic & 1 == 1,
            sums: (0, 0),
        };
        chain.add(&header[..24]);
        let is_header = magic & !1 == LOG_MAGIC && word(header, 8) as usize == PAGE_BYTES;
        (is_header && chain.sums == (word(header, 24), word(header, 28))).then_some(chain)
    }

    /// Whether a frame is the next one of this log; then the chain goes on behind it.
    fn accepts(&mut self, frame: &[u8]) -> bool {
        if frame[8..16] != self.salt || word(frame, 0) == 0 {
            return false;
        }
        let before = self.sums;
        self.add(&frame[..8]);
        self.add(&frame[FRAME_HEADER_BYTES..]);
        let is_next = self.sums == (word(frame, 16), word(frame, 20));
        if !is_next {
            self.sums = before;
        }
        is_next
    }

    fn add(&mut self, bytes: &[u8]) {
        let read = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let (mut first, mut second) = self.sums;
        for pair in bytes.chunks_exact(8) {
            let half = |at: usize| read(pair[at..at + 4].try_into().expect("four bytes"));
            first = first.wrapping_add(half(0)).wrapping_add(second);
            second = second.wrapping_add(half(4)).wrapping_add(first);
        }
        self.sums = (first, second);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn sum_of(page: &[u8]) -> Sum {
    blake3::hash(page).as_bytes()[..SUMS_MAGIC.len()].try_into().expect("eight bytes")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::index::schema;

    /// An index with something committed in its log, nothing of it moved.
    fn written(dir: &Path) -> (Connection, std::path::PathBuf) {
        let path = dir.join("sessions.db");
        let connection = schema::open(&path).unwrap().connection;
        for n in 0..50 {
            connection.execute("INSERT INTO branches (name) VALUES (?1)", [format!("branch {n}").repeat(40)]).unwrap();
        }
        assert!(log_bytes(&path).unwrap() > 0);
        (connection, path)
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 4;
        // In place: SQLite keeps the file open.
        let file = OpenOptions::new().write(true).open(path).unwrap();
        fs::write_at(&file, 0, &bytes, path).unwrap();
    }

    #[test]
    fn what_was_written_is_moved_and_proven_and_the_log_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = written(dir.path());
        checkpoint(&mut connection, &path).unwrap();
        assert_eq!(log_bytes(&path).unwrap(), 0);
        assert_eq!(verify(&mut connection, &path).unwrap(), None);
        let mode = beside(&path, SUMS, "").metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_bit_that_flips_in_any_frame_of_the_log_is_found() {
        let frames = {
            let dir = tempfile::tempdir().unwrap();
            let (_connection, path) = written(dir.path());
            (log_bytes(&path).unwrap() as usize - LOG_HEADER_BYTES) / FRAME_BYTES
        };
        for frame in 0..frames {
            let dir = tempfile::tempdir().unwrap();
            let (mut connection, path) = written(dir.path());
            let at = LOG_HEADER_BYTES + frame * FRAME_BYTES + 1000 + frame;
            flip(&beside(&path, "-wal", ""), at);
            assert!(checkpoint(&mut connection, &path).unwrap_err().is_damage(), "frame {frame}");
        }
    }

    #[test]
    fn a_log_that_ends_before_what_was_written_is_damage_and_no_passing_failure() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = written(dir.path());
        let log = OpenOptions::new().write(true).open(beside(&path, "-wal", "")).unwrap();
        // What SQLite knows of the log by its shared memory says that the last page is there.
        fs::truncate(&log, log_bytes(&path).unwrap() - 77, &path).unwrap();
        let error = checkpoint(&mut connection, &path).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }

    #[test]
    fn a_page_that_did_not_get_into_the_database_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (mut connection, path) = written(dir.path());
        let reader = schema::open(&path).unwrap().connection;
        // A reader keeps the log from being emptied, so that it can be compared once more.
        reader.execute_batch("BEGIN; SELECT count(*) FROM branches").unwrap();
        checkpoint(&mut connection, &path).unwrap();
        assert!(log_bytes(&path).unwrap() > 0);
        let pages = std::fs::metadata(&path).unwrap().len() as usize / PAGE_BYTES;
        flip(&path, (pages - 1) * PAGE_BYTES + 77);
        assert!(checkpoint(&mut connection, &path).unwrap_err().is_damage());
    }

    #[test]
    fn several_connections_may_write_and_move_the_log_in_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, path) = written(dir.path());
        let mut other = schema::open(&path).unwrap().connection;
        for n in 0..20 {
            let (writer, mover) = if n % 2 == 0 { (&mut one, &mut other) } else { (&mut other, &mut one) };
            writer.execute("INSERT INTO branches (name) VALUES (?1)", [format!("turn {n}")]).unwrap();
            checkpoint(mover, &path).unwrap();
            assert_eq!(verify(writer, &path).unwrap(), None);
        }
    }
}
