//! The rows of one conversation: every message of it and of its older versions, subagents and outputs of tools, each once, with
//! everything that looks like a secret masked before anything is made of it.

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::ops::ControlFlow;

use layer1_prebackup::names::{FileName, StoredName};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::{Context, Failure};
use crate::index::fold::{folded, words};
use crate::stores::SessionCopies;
use crate::transcript::record::{self, Block, Class, Located, Record, TornLine, command_line, tool_input_text};
use crate::transcript::redact::Redactor;

/// Longest text of a row, in bytes; a longer message has several. Of so much, the words are always less than the megabyte
/// that PostgreSQL allows.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Longest word that is told apart, in bytes, as far as characters go.
const WORD_BYTES_MAX: usize = 255;
/// PostgreSQL counts words up to here …
const POSITION_MAX: usize = 16_383;
/// … and keeps so many places of a word.
const POSITIONS_MAX: usize = 255;
/// Bytes of a hash that tell rows apart.
const ID_BYTES: usize = 16;

/// A row of `messages`, without whose it is.
#[derive(Debug)]
pub(super) struct Row {
    /// A hash of all that it says.
    pub(super) id: [u8; ID_BYTES],
    message: String,
    path: String,
    at: u64,
    time_ms: Option<i64>,
    role: &'static str,
    is_sidechain: bool,
    branch: Option<String>,
    uuid: Option<String>,
    text: String,
}

impl Row {
    /// The row in the text form of `COPY`, behind the four columns that say whose it is.
    pub(super) fn to_line(&self, whose: &str) -> String {
        let Row { id, message, path, at, time_ms, role, is_sidechain, branch, uuid, text } = self;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let maybe = |text: &Option<String>| text.as_deref().map_or("\\N".to_owned(), escaped);
        let fields = [
            format!("\\\\x{id}"),
            escaped(message),
            escaped(path),
            at.to_string(),
            time_ms.map_or("\\N".to_owned(), |ms| ms.to_string()),
            (*role).to_owned(),
            is_sidechain.to_string(),
            maybe(branch),
            maybe(uuid),
            escaped(text),
            lexemes(text),
        ];
        format!("{whose}\t{}\n", fields.join("\t"))
    }
}

/// A text in the text form of `COPY`. PostgreSQL keeps no NUL.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\0' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The words of a text and where they stand, as PostgreSQL writes a `tsvector`. They are letters and digits alone, so
/// nothing in them wants to be escaped.
fn lexemes(text: &str) -> String {
    let folded = folded(text);
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (n, word) in words(&folded).enumerate() {
        let places = places.entry(cut(word)).or_default();
        if n < POSITION_MAX && places.len() < POSITIONS_MAX {
            places.push(n + 1);
        }
    }
    let lexeme = |(word, places): (&str, Vec<usize>)| {
        let places: Vec<String> = places.iter().map(usize::to_string).collect();
        let behind = if places.is_empty() { "" } else { ":" };
        format!("'{word}'{behind}{}", places.join(","))
    };
    places.into_iter().map(lexeme).collect::<Vec<_>>().join(" ")
}

/// As much of a word as is told apart.
pub(super) fn cut(word: &str) -> &str {
    &word[..boundary(word, WORD_BYTES_MAX)]
}

/// Where the last character ends that ends within so many bytes.
fn boundary(text: &str, bytes_max: usize) -> usize {
    (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Masks, having learned all that stands under the name of a secret in the whole conversation.
pub(super) fn learned(copies: &SessionCopies) -> Result<Redactor, Failure> {
    let mut redactor = Redactor::default();
    each_record(copies, &mut |_, located| located.record.each_text(|text| redactor.learn(text)))?;
    Ok(redactor)
}

/// Hands out every row once, whatever files it stands in.
pub(super) fn each_row(
    copies: &SessionCopies,
    redactor: &mut Redactor,
    each: &mut dyn FnMut(&Row),
) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    each_record(copies, &mut |name, located| {
        for row in rows(copies, name, located, redactor) {
            if seen.insert(row.id) {
                each(&row);
            }
        }
    })
}

/// Every record of every file of messages. A file of which no copy is good is an error: what is damaged is not passed on.
fn each_record(copies: &SessionCopies, each: &mut dyn FnMut(&StoredName, &Located<'_>)) -> Result<(), Failure> {
    for name in copies.names() {
        let is_output = record::is_output(&name.file);
        let has_messages = match &name.file {
            FileName::Transcript => true,
            FileName::Side(rel) => is_output || rel.extension().is_some_and(|ending| ending == "jsonl"),
        };
        if !has_messages {
            continue;
        }
        let mut content = copies.get(&name)?;
        let path = content.at.path.clone();
        let mut each = |located: Located<'_>| {
            each(&name, &located);
            ControlFlow::Continue(())
        };
        let read = content.read().and_then(|bytes| match is_output {
            true => record::read_pieces(BufReader::new(bytes), 0, &mut each, &|_| {}),
            false => record::read_records(BufReader::new(bytes), 0, TornLine::Final, &mut each),
        });
        read.context(format_args!("read {}", path.display()))?;
    }
    Ok(())
}

fn rows(copies: &SessionCopies, name: &StoredName, located: &Located<'_>, redactor: &mut Redactor) -> Vec<Row> {
    let record = &located.record;
    let text = text(record, redactor);
    if matches!(record.class, Class::Title | Class::Bookkeeping) || text.trim().is_empty() {
        return Vec::new();
    }
    let mut masked = |text: &str| redactor.mask(text).into_owned();
    let path = masked(&name.to_text(&copies.key.id));
    let message = record.uuid.as_deref().map_or_else(|| format!("{path}:{}", located.offset), &mut masked);
    let branch = record.git_branch.as_deref().map(&mut masked);
    let uuid = record.uuid.as_deref().map(&mut masked);
    let role = record.role().as_str();
    let row = |(n, text): (usize, &str)| {
        let mut hasher = blake3::Hasher::new();
        for part in [message.as_bytes(), role.as_bytes(), branch.as_deref().unwrap_or_default().as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let sidechain = [u8::from(record.is_sidechain)];
        hasher.update(&record.timestamp_ms.unwrap_or(-1).to_le_bytes()).update(&sidechain);
        hasher.update(&(n as u64).to_le_bytes()).update(text.as_bytes());
        let mut id = [0; ID_BYTES];
        hasher.finalize_xof().fill(&mut id);
        Row {
            id,
            message: message.clone(),
            path: path.clone(),
            at: located.offset,
            time_ms: record.timestamp_ms,
            role,
            is_sidechain: record.is_sidechain,
            branch: branch.clone(),
            uuid: uuid.clone(),
            text: text.to_owned(),
        }
    };
    pieces(&text).enumerate().map(row).collect()
}

/// A text in pieces of a row's length, between two words where there is a place.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = boundary(rest, TEXT_BYTES_MAX);
        let between = || rest[..end].rfind(char::is_whitespace).filter(|at| *at > 0);
        let end = if end < rest.len() { between().unwrap_or(end) } else { end };
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// All that a message says, masked part by part, before anything is cut.
fn text(record: &Record<'_>, redactor: &mut Redactor) -> String {
    let mut texts: Vec<String> = Vec::new();
    for block in &record.blocks {
        let text = match block {
            Block::Text(text) | Block::Thinking(text) | Block::Output(text) => redactor.mask(text).into_owned(),
            Block::Notice { text, .. } | Block::Agent { text, .. } | Block::ToolResult { text, .. } => {
                redactor.mask(text).into_owned()
            }
            Block::Act { name, args } => redactor.mask(&command_line(name, args)).into_owned(),
            Block::ToolUse { name, input, .. } => {
                let input = input.map(|input| arguments(input, redactor)).unwrap_or_default();
                redactor.mask(&format!("{name}\n{input}")).into_owned()
            }
            Block::Picture(_) | Block::Other(_) => continue,
        };
        texts.push(text);
    }
    texts.retain(|text| !text.trim().is_empty());
    texts.join("\n")
}

/// The text in a tool's arguments. They are masked as JSON first: of a value alone nobody knows its name.
fn arguments(input: &RawValue, redactor: &mut Redactor) -> String {
    let masked = redactor.mask(input.get());
    serde_json::from_str::<&RawValue>(&masked).map_or_else(|_| masked.clone().into_owned(), tool_input_text)
}

/// Masks every text in a value.
pub(super) fn mask_all(value: &mut Value, redactor: &mut Redactor) {
    match value {
        Value::String(text) => *text = redactor.mask(text).into_owned(),
        Value::Array(values) => values.iter_mut().for_each(|value| mask_all(value, redactor)),
        Value::Object(fields) => fields.values_mut().for_each(|value| mask_all(value, redactor)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_a_vector_with_their_places() {
        let sorted = |text: &str| {
            let all = lexemes(text);
            let mut all: Vec<String> = all.split(' ').map(str::to_owned).collect();
            all.sort();
            all.join(" ")
        };
        assert_eq!(sorted("Sesión foo_bar, it's foo"), "'bar':3 'foo':2,6 'it':4 's':5 'sesion':1");
        assert_eq!(sorted("日本"), "'日':1 '本':2");
        assert_eq!(lexemes("-> '' \\"), "");
        let long = "é".repeat(400);
        assert_eq!(cut(&long).len(), 254);
        let many = lexemes(&"x ".repeat(20_000));
        assert_eq!(many.split(',').count(), POSITIONS_MAX);
        assert_eq!(lexemes(&format!("{}y", "x ".repeat(20_000))).matches("'y'").count(), 1, "without a place");
    }

    #[test]
    fn a_long_text_is_cut_between_words_and_nothing_of_it_is_lost() {
        let text = "word ".repeat(TEXT_BYTES_MAX / 2);
        let cut: Vec<&str> = pieces(&text).collect();
        assert!(cut.len() > 2 && cut.iter().all(|piece| piece.len() <= TEXT_BYTES_MAX), "{}", cut.len());
        assert!(cut.concat() == text && cut.iter().all(|piece| piece.trim_start().starts_with("word")));
        let text = "é".repeat(TEXT_BYTES_MAX);
        assert!(pieces(&text).collect::<String>() == text);
        assert_eq!(pieces("").count(), 0);
    }

    #[test]
    fn nothing_in_a_text_ends_its_field() {
        assert_eq!(escaped("a\tb\nc\\N\r\0"), "a\\tb\\nc\\\\N\\r ");
    }
}
