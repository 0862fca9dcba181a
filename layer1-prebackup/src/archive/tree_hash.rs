//! Plain BLAKE3 of a growing file in time proportional to what was added.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB. The chaining values of the complete subtrees to
//! the left of the last chunk (one for each set bit of their number) are enough to go on hashing:
//! they are kept in the ledger, the last chunk is read from the file again. The last chunk is
//! always left out of the stack because only it, or the merge above it, may be the root.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{CHUNK_LEN, Hash, Hasher};

const CHUNK_BYTES: u64 = CHUNK_LEN as u64;

/// A BLAKE3 hash under way that can be stored and continued.
#[derive(Debug, Clone, Default)]
pub struct TreeHasher {
    /// Chaining values of complete subtrees, largest first; their sizes are the set bits of `chunks`.
    stack: Vec<ChainingValue>,
    /// Complete chunks that the stack stands for.
    chunks: u64,
    /// The last chunk so far: 1 to 1024 bytes, none only for an empty input.
    last: Vec<u8>,
}

impl TreeHasher {
    /// Where the last chunk of an input of `bytes` bytes begins.
    pub fn last_chunk_offset(bytes: u64) -> u64 {
        bytes.saturating_sub(1) / CHUNK_BYTES * CHUNK_BYTES
    }

    /// Continues at `bytes`, from what [`TreeHasher::stack_as_hex`] gave there and the bytes since
    /// [`TreeHasher::last_chunk_offset`]. `None` when these do not fit together.
    pub fn resume(bytes: u64, stack_hex: &str, last: &[u8]) -> Option<TreeHasher> {
        let offset = TreeHasher::last_chunk_offset(bytes);
        let chunks = offset / CHUNK_BYTES;
        let stack = stack_from_hex(stack_hex)?;
        let fits = stack.len() == chunks.count_ones() as usize && last.len() as u64 == bytes - offset;
        fits.then(|| TreeHasher { stack, chunks, last: last.to_vec() })
    }

    /// Bytes hashed so far.
    pub fn bytes(&self) -> u64 {
        self.chunks * CHUNK_BYTES + self.last.len() as u64
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut input: &[u8]) {
        if !self.last.is_empty() {
            let room = CHUNK_LEN - self.last.len();
            let take = room.min(input.len());
            self.last.extend_from_slice(&input[..take]);
            input = &input[take..];
            if input.is_empty() {
                return;
            }
            let full = std::mem::take(&mut self.last);
            self.push(&full);
        }
        while input.len() > CHUNK_LEN {
            let (subtree, rest) = input.split_at(self.subtree_len(input.len()));
            self.push(subtree);
            input = rest;
        }
        self.last.extend_from_slice(input);
    }

    /// The plain BLAKE3 hash of everything so far.
    pub fn root(&self) -> Hash {
        let Some((first, rest)) = self.stack.split_first() else { return blake3::hash(&self.last) };
        let mut right = subtree_value(&self.last, self.chunks * CHUNK_BYTES);
        for left in rest.iter().rev() {
            right = merge_subtrees_non_root(left, &right, Mode::Hash);
        }
        merge_subtrees_root(first, &right, Mode::Hash)
    }

    /// What [`TreeHasher::resume`] goes on from: 64 hexadecimal digits for each set bit of the number
    /// of complete chunks.
    pub fn stack_as_hex(&self) -> String {
        self.stack.iter().map(|value| Hash::from_bytes(*value).to_hex().to_string()).collect()
    }

    /// The largest subtree that may begin here and leaves at least one byte after it.
    fn subtree_len(&self, available: usize) -> usize {
        let chunks = (available as u64 - 1) / CHUNK_BYTES;
        let largest = 1 << chunks.ilog2();
        let aligned = if self.chunks == 0 { largest } else { 1 << self.chunks.trailing_zeros() };
        (aligned.min(largest) * CHUNK_BYTES) as usize
    }

    /// Pushes a subtree of a power of two of chunks and merges neighbours of equal size, as in a binary counter.
    fn push(&mut self, subtree: &[u8]) {
        let mut value = subtree_value(subtree, self.chunks * CHUNK_BYTES);
        let mut size = subtree.len() as u64 / CHUNK_BYTES;
        let after = self.chunks + size;
        while self.chunks & size != 0 {
            let left = self.stack.pop().expect("one value for each set bit of `chunks`");
            value = merge_subtrees_non_root(&left, &value, Mode::Hash);
            self.chunks &= !size;
            size *= 2;
        }
        self.stack.push(value);
        self.chunks = after;
    }
}

fn subtree_value(bytes: &[u8], offset: u64) -> ChainingValue {
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

fn stack_from_hex(text: &str) -> Option<Vec<ChainingValue>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(64) {
        return None;
    }
    bytes.chunks(64).map(|hex| Hash::from_hex(hex).ok().map(|hash| *hash.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i / 7 % 251) as u8).collect()
    }

    #[test]
    fn equals_plain_blake3_at_every_boundary() {
        let all = input(70_000);
        let boundaries = (0..68).flat_map(|n| [n * 1024_usize, n * 1024 + 1, (n * 1024_usize).saturating_sub(1)]);
        for bytes in boundaries {
            let mut tree = TreeHasher::default();
            tree.update(&all[..bytes]);
            assert_eq!(tree.root(), blake3::hash(&all[..bytes]), "{bytes}");
            assert_eq!(tree.bytes(), bytes as u64);
        }
    }

    proptest::proptest! {
        #[test]
        fn stored_and_continued_anywhere_it_is_still_plain_blake3(
            cuts in proptest::collection::vec(0usize..9000, 1..40),
        ) {
            let total: usize = cuts.iter().sum();
            let all = input(total);
            let mut at = 0;
            let mut tree = TreeHasher::default();
            for cut in cuts {
                let last = &all[TreeHasher::last_chunk_offset(at as u64) as usize..at];
                tree = TreeHasher::resume(at as u64, &tree.stack_as_hex(), last).unwrap();
                tree.update(&all[at..at + cut]);
                at += cut;
                proptest::prop_assert_eq!(tree.root(), blake3::hash(&all[..at]));
            }
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let mut tree = TreeHasher::default();
        tree.update(&input(5000));
        let stack = tree.stack_as_hex();
        assert!(TreeHasher::resume(5000, &stack, &[0; 904]).is_some());
        assert!(TreeHasher::resume(5000, &stack, &[0; 903]).is_none());
        assert!(TreeHasher::resume(7000, &stack, &[0; 856]).is_none());
        assert!(TreeHasher::resume(5000, &stack[1..], &[0; 904]).is_none());
        assert!(TreeHasher::resume(5000, &stack.replace(char::is_numeric, "z"), &[0; 904]).is_none());
    }
}
