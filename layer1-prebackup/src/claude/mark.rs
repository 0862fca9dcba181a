//! Marks of the statuses of files, or of what is recorded of them: equal marks are of equal ones.

use super::transcripts::Identity;

/// Digits of a BLAKE3.
pub type Mark = [u8; 16];

/// Of what was put together by the functions below.
pub(crate) fn mark_of(said: &[u8]) -> Mark {
    let mut mark = Mark::default();
    mark.copy_from_slice(&blake3::hash(said).as_bytes()[..size_of::<Mark>()]);
    mark
}

/// Adds what a file is.
pub(crate) fn put_identity(to: &mut Vec<u8>, identity: &Identity) {
    let times = [identity.mtime_ns, identity.ctime_ns].map(|ns| ns as u64);
    [identity.dev, identity.ino, identity.bytes].into_iter().chain(times).for_each(|number| put_number(to, number));
}

/// Adds a number.
pub(crate) fn put_number(to: &mut Vec<u8>, number: u64) {
    to.extend(number.to_le_bytes());
}

/// Adds bytes, less than 4 GiB, and how many they are.
pub(crate) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
}
