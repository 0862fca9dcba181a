//! Whose a database file is, read from its header before SQLite opens it: opening it for writing
//! would already change what is not ours to change.
//!
//! Format of the header: <https://sqlite.org/fileformat2.html#the_database_header>.

use std::path::Path;

use layer1_prebackup::fs;

use super::schema::{APPLICATION_ID, VERSION, identity_of};
use super::{IndexError, checksums};

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
/// Big-endian numbers in the header.
const PAGES_AT: usize = 28;
const VERSION_AT: usize = 60;
const APPLICATION_AT: usize = 68;

/// Whose the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Ours, or not to be told from the header alone: absent, empty, no database, or all in its log.
    Unsaid,
    /// A newer version's of ours.
    Newer(i32),
    /// Another program's.
    Foreign,
}

/// Looks at the header; again before it is believed that the file is not ours.
pub(super) fn look(path: &Path) -> Result<Whose, IndexError> {
    match look_once(path)? {
        Whose::Unsaid => Ok(Whose::Unsaid),
        _ => look_once(path),
    }
}

fn look_once(path: &Path) -> Result<Whose, IndexError> {
    if identity_of(path)?.is_none() {
        return Ok(Whose::Unsaid);
    }
    let mut header = [0; HEADER_BYTES];
    let came = fs::read_at(checksums::database(path)?, 0, &mut header, path)?;
    if came < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Ok(Whose::Unsaid);
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok(match number(APPLICATION_AT) {
        APPLICATION_ID if number(VERSION_AT) > VERSION => Whose::Newer(number(VERSION_AT)),
        APPLICATION_ID => Whose::Unsaid,
        // One of ours whose tables are in its log still has a single page.
        _ if number(PAGES_AT) > 1 => Whose::Foreign,
        _ => Whose::Unsaid,
    })
}
