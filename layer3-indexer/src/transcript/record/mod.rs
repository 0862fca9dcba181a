//! Reading transcripts: tolerant of damage and of records that are newer than this program,
//! borrowed from the line, never re-serialised, in memory that does not grow with the transcript.

mod escapes;
mod fields;
mod lines;
mod long;
mod meaning;
mod pieces;
mod spans;
#[cfg(test)]
mod tests;
mod tool_input;
mod types;

pub(crate) use lines::{LINE_BYTES_MAX, read_records_telling};
pub use lines::{ReadReport, TornLine, read_records, with_record};
pub(crate) use long::{ReadAt, read_cut, without_marks};
pub(crate) use pieces::{is_output, read_pieces, with_piece};
pub(crate) use spans::is_before_answers;
pub use tool_input::tool_input_text;
pub use types::{Block, Class, Located, Origin, Picture, Record, Role};
pub(crate) use types::{Said, Spent, command_line};
