//! What a tool gave back in a file of its own, because it was too large for the transcript: no records, but pieces of it
//! that are read as such.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;

use layer1_prebackup::names::FileName;

use super::escapes::without_escapes;
use super::lines::ReadReport;
use super::types::{Block, Class, Located, Record};
use crate::transcript::TOOL_RESULTS;

/// A piece ends with the line that reaches so many bytes …
const PIECE_BYTES: usize = 4 * 1024;
/// … or here, in the middle of one.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Whether a file of a session is the output of a tool.
pub(crate) fn is_output(file: &FileName) -> bool {
    matches!(file, FileName::Side(path) if path.starts_with(TOOL_RESULTS))
}

/// As [`super::read_records_telling`], of the output of a tool. What is no text makes no piece.
pub(crate) fn read_pieces<R: Read>(
    reader: R,
    offset: u64,
    each: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>,
    dealt_with: &dyn Fn(u64),
) -> io::Result<ReadReport> {
    let mut reader = BufReader::with_capacity(PIECE_BYTES_MAX, reader);
    let mut report = ReadReport { next_offset: offset, ..ReadReport::default() };
    let (mut piece, mut cut) = (Vec::new(), Vec::new());
    loop {
        dealt_with(report.next_offset);
        piece.clear();
        piece.append(&mut cut);
        while piece.len() < PIECE_BYTES {
            let rest = (PIECE_BYTES_MAX - piece.len()) as u64;
            if (&mut reader).take(rest).read_until(b'\n', &mut piece)? == 0 {
                break;
            }
        }
        if piece.is_empty() {
            return Ok(report);
        }
        // A character that is cut here is the next piece's.
        if piece.len() == PIECE_BYTES_MAX
            && let Err(error) = std::str::from_utf8(&piece)
            && error.error_len().is_none()
        {
            cut = piece.split_off(error.valid_up_to());
        }
        let (at, length) = (report.next_offset, piece.len() as u64);
        report.next_offset += length;
        let located = record_of(&piece).map(|record| Located { offset: at, length, record, cuts: Vec::new() });
        if located.is_some_and(|located| each(located).is_break()) {
            return Ok(report);
        }
    }
}

/// As [`super::with_record`], of a piece.
pub(crate) fn with_piece<T>(bytes: &[u8], each: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
    record_of(bytes).map(|record| each(&record))
}

fn record_of(bytes: &[u8]) -> Option<Record<'_>> {
    let text = Some(String::from_utf8_lossy(bytes)).filter(|text| !text.contains('\0') && !text.trim().is_empty())?;
    let text = without_escapes(text);
    let result = Block::ToolResult { id: None, text, is_error: false, pictures: Vec::new() };
    Some(Record {
        kind: Cow::Borrowed(TOOL_RESULTS),
        subtype: None,
        class: Class::ToolResult,
        uuid: None,
        parent: None,
        is_queued: false,
        timestamp_ms: None,
        is_sidechain: false,
        reported_of: None,
        cwd: None,
        worktree_of: None,
        git_branch: None,
        version: None,
        model: None,
        usage: None,
        session_id: None,
        forked_from: None,
        continued_in: None,
        title: None,
        of_team: None,
        blocks: vec![result],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8], from: u64) -> (Vec<(u64, String)>, u64) {
        let mut pieces = Vec::new();
        let mut each = |located: Located<'_>| {
            let Block::ToolResult { text, .. } = &located.record.blocks[0] else { panic!("an output") };
            assert_eq!(located.length, text.len() as u64);
            let again = with_piece(&bytes[located.offset as usize..][..text.len()], |record| record.fingerprints());
            assert_eq!(again, Some(located.record.fingerprints()));
            pieces.push((located.offset, text.to_string()));
            ControlFlow::Continue(())
        };
        let read = read_pieces(&bytes[from as usize..], from, &mut each, &|_| {}).unwrap();
        (pieces, read.next_offset)
    }

    #[test]
    fn all_of_an_output_stands_in_its_pieces_whatever_its_lines() {
        let lines: String = (0..3_000).map(|n| format!("line {n} of it\n")).collect();
        for text in [lines, "é".repeat(90_001), format!("a{}", "日本".repeat(60_000)), "short".to_owned()] {
            let (all, end) = pieces(text.as_bytes(), 0);
            assert_eq!(all.iter().map(|(_, piece)| &**piece).collect::<String>(), text);
            assert_eq!(end, text.len() as u64);
            assert!(all.iter().all(|(_, piece)| piece.len() <= PIECE_BYTES_MAX));
            // Read on from the end of any of them, the rest is the same.
            let (at, _) = all[all.len() / 2];
            assert_eq!(pieces(text.as_bytes(), at).0, all[all.len() / 2..]);
        }
    }

    #[test]
    fn what_is_no_text_is_passed_over() {
        let text = |line: &str| format!("{}\n", line.repeat(PIECE_BYTES));
        let bytes = [text("x"), text("\0"), text("y")].concat();
        let (all, end) = pieces(bytes.as_bytes(), 0);
        let texts: Vec<String> = all.into_iter().map(|(_, piece)| piece).collect();
        assert_eq!((texts, end), (vec![text("x"), text("y")], bytes.len() as u64));
    }
}
