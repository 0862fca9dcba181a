//! The form of a compressed content: zstd frames of [`FRAME_BYTES`] plain bytes, each with a checksum, then
//! a table of them, as zstd's "seekable format" has it. The table lies in a frame that is skipped by whoever
//! does not know it, so `zstd -d` reads the file; whoever does reads a short range without the rest.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use zeekstd::{BytesWrapper, EncodeOptions, FrameSizePolicy, SeekTable};

use super::ledger::CompressedFile;
use super::types::ArchiveError;
use crate::fs::{self, DurableError, HashingWriter};

/// Plain bytes of a frame: what is unpacked for the shortest range. The last one has fewer.
const FRAME_BYTES: u32 = 128 * 1024;
/// No frame of ours has more, so a table that says so is damaged.
const FRAME_BYTES_MAX: u64 = 4 * FRAME_BYTES as u64;
/// No content of ours has more frames: their table is read at once.
const FRAMES_MAX: u32 = 1 << 20;
/// Text never compresses better than so many times; who says so says it to fill a disk.
const RATIO_MAX: u64 = 1000;
/// Up to so many plain bytes nobody asks how well they compressed.
const PLAIN_BYTES_SMALL: u64 = 256 * 1024 * 1024;
/// What the table takes besides the sizes of the frames …
const TABLE_BYTES: u64 = 17;
/// … the end of that, which begins with their number …
const TABLE_END_BYTES: u64 = 9;
/// … and each frame's sizes.
const ENTRY_BYTES: u64 = 8;

/// Compresses the first `bytes` bytes of `plain` into the empty file `to`; what came out.
pub(super) fn write(
    plain: (&File, &Path),
    bytes: u64,
    level: i32,
    to: (&File, &Path),
) -> Result<CompressedFile, ArchiveError> {
    let failed = |error: zeekstd::Error| DurableError {
        operation: "compress to",
        path: to.1.to_owned(),
        source: std::io::Error::other(error),
    };
    let options = EncodeOptions::new().checksum_flag(true).compression_level(level);
    let options = options.frame_size_policy(FrameSizePolicy::Uncompressed(FRAME_BYTES));
    let mut encoder = options.into_raw_encoder().map_err(failed)?;
    let mut sink = HashingWriter::new(to.0, to.1);
    let (mut input, mut output) = (vec![0; fs::COPY_BYTES], vec![0; fs::COPY_BYTES]);
    let mut offset = 0;
    while offset < bytes {
        let want = input.len().min((bytes - offset) as usize);
        fs::read_exact_at(plain.0, offset, &mut input[..want], plain.1)?;
        let mut taken = 0;
        while taken < want {
            let progress = encoder.compress(&input[taken..want], &mut output).map_err(failed)?;
            sink.put(&output[..progress.out_progress()])?;
            taken += progress.in_progress();
        }
        offset += want as u64;
    }
    loop {
        let progress = encoder.end_frame(&mut output).map_err(failed)?;
        sink.put(&output[..progress.out_progress()])?;
        if progress.data_left() == 0 {
            break;
        }
    }
    sink.put(&text_of(encoder.into_seek_table()))?;
    let (bytes, blake3) = sink.written();
    Ok(CompressedFile { bytes, blake3 })
}

/// Is given unpacked bytes and their offset.
pub(super) type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<(), ArchiveError> + 'a;

/// Unpacks all of it. To each frame's checksum its bytes must agree, and the file must hold what the table
/// says and nothing else. Where the number of plain bytes is `known`, nothing is unpacked that has another.
pub(super) fn unpack(
    compressed: &File,
    path: &Path,
    known: Option<u64>,
    each: &mut Each<'_>,
) -> Result<(), ArchiveError> {
    let table = table_of(compressed, path)?;
    let says = table.size_decomp();
    if known.is_some_and(|known| known != says) {
        return Err(ArchiveError::damaged(path, format!("it unpacks to {says} bytes, which are not those recorded")));
    }
    if says > PLAIN_BYTES_SMALL && says / RATIO_MAX > table.size_comp() {
        return Err(ArchiveError::damaged(path, format!("it says that it unpacks to {says} bytes, which cannot be")));
    }
    let mut offset = 0;
    for frame in 0..table.num_frames() {
        let bytes = unpack_frame(compressed, path, &table, frame)?;
        each(offset, &bytes)?;
        offset += bytes.len() as u64;
    }
    Ok(())
}

/// A stored content of which short ranges are read, in any order.
#[derive(Debug)]
pub struct Ranges {
    file: File,
    path: PathBuf,
    /// Where it is compressed.
    frames: Option<Box<Frames>>,
}

#[derive(Debug)]
struct Frames {
    table: SeekTable,
    /// The frame that was unpacked last.
    last: Option<(u32, Vec<u8>)>,
}

impl Ranges {
    /// Of a plain file.
    pub fn plain(file: File, path: PathBuf) -> Ranges {
        Ranges { file, path, frames: None }
    }

    /// Of a compressed one.
    pub(super) fn compressed(file: File, path: PathBuf) -> Result<Ranges, ArchiveError> {
        let table = table_of(&file, &path)?;
        Ok(Ranges { file, path, frames: Some(Box::new(Frames { table, last: None })) })
    }

    /// Fills `buffer` with the plain bytes from `offset` on. Of a compressed content the frames that hold them
    /// are unpacked, each against its own checksum.
    pub fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let Some(frames) = &mut self.frames else {
            return Ok(fs::read_exact_at(&self.file, offset, buffer, &self.path)?);
        };
        let table = &frames.table;
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > table.size_decomp()) {
            return Err(ArchiveError::damaged(&self.path, "it ends before"));
        }
        let (mut at, mut filled) = (offset, 0);
        while filled < buffer.len() {
            let frame = table.frame_index_decomp(at);
            let known = frames.last.take().filter(|(last, _)| *last == frame);
            let bytes = match known {
                Some((_, bytes)) => bytes,
                None => unpack_frame(&self.file, &self.path, table, frame)?,
            };
            let begins = table.frame_start_decomp(frame).map_err(|error| broken(&self.path, error))?;
            let from = (at - begins) as usize;
            let came = (bytes.len() - from).min(buffer.len() - filled);
            buffer[filled..filled + came].copy_from_slice(&bytes[from..from + came]);
            (at, filled) = (at + came as u64, filled + came);
            frames.last = Some((frame, bytes));
        }
        Ok(())
    }

    /// Drops the frame that is kept for the next range.
    pub fn forget(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.last = None;
        }
    }
}

fn unpack_frame(compressed: &File, path: &Path, table: &SeekTable, frame: u32) -> Result<Vec<u8>, ArchiveError> {
    let (place, plain) = places(table, frame).map_err(|error| broken(path, error))?;
    let (came, wanted) = (place.end - place.start, plain.end - plain.start);
    if wanted == 0 || wanted > FRAME_BYTES_MAX || came > 2 * FRAME_BYTES_MAX {
        return Err(ArchiveError::damaged(path, "its table of frames is damaged"));
    }
    let mut frame = vec![0; came as usize];
    fs::read_exact_at(compressed, place.start, &mut frame, path)?;
    let bytes = zstd::bulk::decompress(&frame, wanted as usize).map_err(|error| broken(path, error))?;
    match bytes.len() as u64 == wanted {
        true => Ok(bytes),
        false => Err(ArchiveError::damaged(path, "its table of frames is damaged")),
    }
}

/// Where a frame lies in the file, and in the plain bytes.
fn places(table: &SeekTable, frame: u32) -> zeekstd::Result<(Range<u64>, Range<u64>)> {
    let place = table.frame_start_comp(frame)?..table.frame_end_comp(frame)?;
    Ok((place, table.frame_start_decomp(frame)?..table.frame_end_decomp(frame)?))
}

/// The table at the end of the file, which must be as it was written and leave no byte of the file over.
fn table_of(compressed: &File, path: &Path) -> Result<SeekTable, ArchiveError> {
    let wrong = || ArchiveError::damaged(path, "its end is not a table of its frames");
    let bytes = fs::stat_of(compressed, path)?.st_size as u64;
    let end = bytes.checked_sub(TABLE_END_BYTES).ok_or_else(wrong)?;
    let mut number = [0; 4];
    fs::read_exact_at(compressed, end, &mut number, path)?;
    let frames = u32::from_le_bytes(number);
    if frames > FRAMES_MAX {
        return Err(wrong());
    }
    let length = TABLE_BYTES + ENTRY_BYTES * u64::from(frames);
    let begin = bytes.checked_sub(length).ok_or_else(wrong)?;
    let mut text = vec![0; length as usize];
    fs::read_exact_at(compressed, begin, &mut text, path)?;
    let table = SeekTable::from_seekable(&mut BytesWrapper::new(&text)).map_err(|error| broken(path, error))?;
    let is_whole = table.num_frames() > 0 && table.size_comp() == begin && text_of(table.clone()) == text;
    if is_whole { Ok(table) } else { Err(wrong()) }
}

fn text_of(table: SeekTable) -> Vec<u8> {
    let mut serializer = table.into_serializer();
    let mut text = vec![0; serializer.encoded_len()];
    // Where there is room for all of it, it is written at once.
    serializer.write_into(&mut text);
    text
}

fn broken(path: &Path, error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::damaged(path, format!("it cannot be unpacked: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Text that compresses a little, longer than two frames.
    fn text() -> Vec<u8> {
        let line = |n: u64| format!("{{\"n\":{n},\"hash\":\"{}\"}}\n", blake3::hash(&n.to_le_bytes()).to_hex());
        let mut text: Vec<u8> = (0..8000).flat_map(|n| line(n).into_bytes()).collect();
        text.truncate(2 * FRAME_BYTES as usize + 12_345);
        text
    }

    fn compressed(text: &[u8]) -> (File, Vec<u8>) {
        let (mut plain, compressed) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        plain.write_all(text).unwrap();
        let path = Path::new("x");
        let told = write((&plain, path), text.len() as u64, 3, (&compressed, path)).unwrap();
        let mut bytes = vec![0; told.bytes as usize];
        fs::read_exact_at(&compressed, 0, &mut bytes, path).unwrap();
        assert_eq!(blake3::hash(&bytes), told.blake3);
        (compressed, bytes)
    }

    fn unpacked(compressed: &File) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        unpack(compressed, Path::new("x"), None, &mut |offset, came| {
            assert_eq!(offset, bytes.len() as u64);
            bytes.extend_from_slice(came);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_is_packed_comes_back_whatever_its_length() {
        let text = text();
        let frame = FRAME_BYTES as usize;
        for bytes in [1, 2, frame - 1, frame, frame + 1, 2 * frame, text.len()] {
            let (file, raw) = compressed(&text[..bytes]);
            assert!(unpacked(&file).unwrap() == text[..bytes], "{bytes}");
            // So does any program that knows zstd.
            assert!(zstd::decode_all(&raw[..]).unwrap() == text[..bytes], "{bytes}");
        }
    }

    #[test]
    fn a_range_is_read_without_the_rest() {
        let text = text();
        let (file, mut raw) = compressed(&text);
        let frame = FRAME_BYTES as usize;
        let mut ranges = Ranges::compressed(file, PathBuf::from("x")).unwrap();
        for (from, to) in
            [(0, 10), (frame - 3, frame + 3), (5, 6), (0, text.len()), (text.len() - 1, text.len()), (frame, 2 * frame)]
        {
            let mut buffer = vec![0; to - from];
            ranges.read_exact_at(from as u64, &mut buffer).unwrap();
            assert!(buffer == text[from..to], "{from}..{to}");
            ranges.forget();
        }
        assert!(ranges.read_exact_at(text.len() as u64, &mut [0]).is_err());
        assert!(ranges.read_exact_at(u64::MAX, &mut [0]).is_err());
        // Damage elsewhere does not matter to it; damage there is noticed.
        raw[100] ^= 1;
        let mut ranges = Ranges::compressed(file_of(&raw), PathBuf::from("x")).unwrap();
        let mut buffer = [0; 9];
        ranges.read_exact_at(frame as u64 + 1, &mut buffer).unwrap();
        assert!(buffer == text[frame + 1..frame + 10]);
        assert!(ranges.read_exact_at(1, &mut buffer).is_err());
    }

    #[test]
    fn ranges_come_right_whichever_frame_was_kept_from_the_one_before() {
        let text = text();
        let (file, _) = compressed(&text);
        let frame = FRAME_BYTES as usize;
        let mut ranges = Ranges::compressed(file, PathBuf::from("x")).unwrap();
        for from in [10, 20, frame + 5, frame + 6, 3, 2 * frame + 1, 2 * frame - 4] {
            let mut buffer = [0; 9];
            ranges.read_exact_at(from as u64, &mut buffer).unwrap();
            assert!(buffer == text[from..from + 9], "{from}");
            let kept = ranges.frames.as_ref().unwrap().last.as_ref().map(|(kept, _)| *kept);
            assert_eq!(kept, Some(((from + 8) / frame) as u32), "{from}");
        }
        ranges.forget();
        assert!(ranges.frames.unwrap().last.is_none());
    }

    /// One frame, with so many bytes before it that zstd skips, and its table.
    fn frame_of(plain: usize, skipped: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if skipped > 0 {
            bytes.extend([0x184d_2a50_u32.to_le_bytes(), (skipped as u32 - 8).to_le_bytes()].concat());
            bytes.resize(skipped, 0);
        }
        bytes.extend(zstd::bulk::compress(&vec![b'x'; plain], 1).unwrap());
        let mut table = SeekTable::new();
        table.log_frame(bytes.len() as u32, plain as u32).unwrap();
        bytes.extend(text_of(table));
        bytes
    }

    #[test]
    fn a_frame_that_is_not_one_of_ours_is_not_unpacked() {
        let max = FRAME_BYTES_MAX as usize;
        let skipped = |plain: usize| 2 * max - zstd::bulk::compress(&vec![b'x'; plain], 1).unwrap().len();
        for (plain, skipped, is_ours) in [
            (0, 0, false),
            (1, 0, true),
            (max, 0, true),
            (max + 1, 0, false),
            (10, skipped(10), true),
            (10, skipped(10) + 1, false),
        ] {
            let came = unpacked(&file_of(&frame_of(plain, skipped)));
            match is_ours {
                true => assert!(came.unwrap() == vec![b'x'; plain], "{plain} {skipped}"),
                false => assert!(matches!(came, Err(ArchiveError::Damaged { .. })), "{plain} {skipped}"),
            }
        }
    }

    #[test]
    fn nothing_may_follow_and_nothing_be_missing() {
        let (_, raw) = compressed(b"some text\n");
        for wrong in [[&raw[..], b"x"].concat(), [b"x", &raw[..]].concat(), raw[..raw.len() - 1].to_vec()] {
            assert!(matches!(unpacked(&file_of(&wrong)), Err(ArchiveError::Damaged { .. })));
        }
        // A file without a table, and two files in a row, are not ours.
        let plain = zstd::encode_all(&b"some text\n"[..], 1).unwrap();
        // Bits of the table that mean nothing are as they were written too.
        let mut unused = raw.clone();
        unused[raw.len() - 5] ^= 1;
        let no_frame = text_of(SeekTable::new());
        for wrong in [plain, unused, no_frame, [&raw[..], &raw[..]].concat(), Vec::new(), b"tiny".to_vec()] {
            assert!(matches!(unpacked(&file_of(&wrong)), Err(ArchiveError::Damaged { .. })));
        }
    }

    #[test]
    fn what_unpacks_to_more_than_can_be_is_not_unpacked() {
        let frame = zstd::bulk::compress(&vec![0; FRAME_BYTES as usize], 19).unwrap();
        let of = |frames: u32| {
            let mut table = SeekTable::new();
            (0..frames).for_each(|_| table.log_frame(frame.len() as u32, FRAME_BYTES).unwrap());
            file_of(&[frame.repeat(frames as usize), text_of(table)].concat())
        };
        let refused = |file: &File, known| {
            let mut asked = 0;
            let each = &mut |_: u64, bytes: &[u8]| {
                asked += bytes.len();
                Ok(())
            };
            let is_damaged = matches!(unpack(file, Path::new("x"), known, each), Err(ArchiveError::Damaged { .. }));
            (is_damaged, asked)
        };
        let few = of(2);
        assert_eq!(refused(&few, None), (false, 2 * FRAME_BYTES as usize));
        assert_eq!(refused(&few, Some(u64::from(2 * FRAME_BYTES))), (false, 2 * FRAME_BYTES as usize));
        for known in [0, 20_000, u64::from(2 * FRAME_BYTES) - 1, u64::MAX] {
            assert_eq!(refused(&few, Some(known)), (true, 0), "{known}");
        }
        // Four gigabytes in a hundred kilobytes.
        assert_eq!(refused(&of(32 * 1024), None), (true, 0));
    }

    #[test]
    fn no_flipped_bit_is_unpacked_into_other_bytes() {
        let (_, raw) = compressed(b"some text that says some text\n");
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(bytes) = unpacked(&file_of(&flipped)) {
                assert_eq!(bytes, b"some text that says some text\n", "{bit}");
            }
        }
    }
}
