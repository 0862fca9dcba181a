//! What a newer content of a transcript lost of an older one, by its messages and not by its length.
//!
//! Not every rewriting is a loss. Claude Code takes back a part of an answer in place and goes on; with local
//! cleaning on, a compaction replaces what came before it by a summary; a move to another folder changes nothing.
//! What counts are prompts, answers, results and summaries that the older content has and the newer one has not, or has
//! under the same id with other words, and no more of them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::transcript::record::{self, Block, Class, LINE_BYTES_MAX, Record, Role, TornLine, tool_input_text};

/// Kinds of records that bear ids of their own.
const WITH_IDS: [&str; 5] = ["user", "assistant", "system", "attachment", "progress"];
/// The kind of those that Claude Code writes for its list of sessions.
const OF_LISTS: &str = "summary";

/// How the newer content lost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    /// It is shorter: it was cut, emptied, or became a stub.
    Shrunk,
    /// It is as long or longer, and says something else.
    Rewritten,
    /// It has none of the older one's messages and follows the last of them: Claude Code went on in a new file.
    Split,
    /// The same, and it begins with a compaction of what is gone: Claude Code did that on purpose.
    Compacted,
}

/// What was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Messages of the older content that the newer one has not.
    pub(crate) messages: u64,
    pub(crate) how: How,
    /// Whether the newer content has messages, and none of the older one's.
    pub(crate) is_all: bool,
}

/// The messages of a content.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    all: Vec<Message>,
    bytes: u64,
    /// Of all records, messages or not, and how many characters each has; of one that comes again, the most.
    ids: HashMap<u64, usize>,
    /// Each id with what was said under it.
    said: HashSet<(u64, u64)>,
    /// The records that others follow.
    parents: HashSet<u64>,
    /// When the compaction was that it begins with.
    compacted_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    /// Of its uuid; old clients gave none.
    id: Option<u64>,
    /// Of what it says.
    said: u64,
    chars: usize,
    /// A part of an answer in words.
    is_answer: bool,
    time_ms: Option<i64>,
}

impl Messages {
    /// Reads a content to its end; in memory a few words a message.
    pub(crate) fn of(content: impl Read) -> io::Result<Messages> {
        let mut messages = Messages::default();
        let read = record::read_records(content, 0, TornLine::Final, &mut |located| {
            let record = &located.record;
            let id = id_of(record);
            if messages.ids.is_empty() && id.is_some() {
                let is_boundary = record.kind == "system" && record.subtype.as_deref() == Some("compact_boundary");
                messages.compacted_ms = is_boundary.then_some(record.timestamp_ms).flatten();
            }
            messages.parents.extend(record.parent.as_deref().map(hash));
            let (said, chars) = said(record);
            // The same record can come again.
            let is_new = id.is_none_or(|id| !messages.ids.contains_key(&id));
            if let Some(id) = id {
                messages.said.insert((id, said));
                messages.ids.entry(id).and_modify(|most| *most = chars.max(*most)).or_insert(chars);
            }
            if is_new && record.role() != Role::System && record.kind != OF_LISTS && !record.is_aside() {
                let is_answer = record.class == Class::Answer && !record.is_tool_call();
                messages.all.push(Message { id, said, chars, is_answer, time_ms: record.timestamp_ms });
            }
            ControlFlow::Continue(())
        })?;
        Ok(Messages { bytes: read.next_offset, ..messages })
    }

    /// What this newer content lost of the older one. Between the two lie so many rewritings.
    pub(crate) fn lost_of(&self, older: &Messages, rewritings: usize) -> Option<Lost> {
        let shares_ids = older.all.iter().any(|message| message.id.is_some_and(|id| self.ids.contains_key(&id)));
        let follows = self.parents.iter().any(|parent| older.ids.contains_key(parent));
        let mut texts: HashMap<u64, usize> = HashMap::new();
        self.all.iter().for_each(|message| *texts.entry(message.said).or_default() += 1);
        let mut is_kept = |message: &Message| match message.id {
            Some(id) if self.ids.contains_key(&id) => {
                self.said.contains(&(id, message.said)) || self.ids[&id] > message.chars
            }
            // Where other ids were given to all of it, what is said tells: the same words may be said again.
            Some(_) if shares_ids || follows => false,
            _ => texts.get_mut(&message.said).is_some_and(|left| {
                *left > 0 && {
                    *left -= 1;
                    true
                }
            }),
        };
        let kept: Vec<bool> = older.all.iter().map(&mut is_kept).collect();
        let lost = || older.all.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(message, _)| message);
        let messages = lost().count() as u64;
        let own = self.all.len() > kept.iter().filter(|kept| **kept).count();
        if messages == 0 || is_taken_back(older, &kept, own, rewritings) {
            return None;
        }
        let is_summed_up = |until: i64| lost().all(|message| message.time_ms.is_none_or(|time| time <= until));
        let goes_on = own && !kept.contains(&true) && follows;
        let how = match goes_on {
            true if self.compacted_ms.is_some_and(is_summed_up) => How::Compacted,
            true => How::Split,
            false if self.bytes < older.bytes => How::Shrunk,
            false => How::Rewritten,
        };
        Some(Lost { messages, how, is_all: own && !kept.contains(&true) })
    }

    /// What ties this content to others: the records that it has, and those that it follows.
    pub(crate) fn ties(&self) -> impl Iterator<Item = u64> {
        self.parents.iter().chain(self.ids.keys()).copied()
    }

    /// Whether it has one of these records.
    pub(crate) fn has_any(&self, ties: &HashSet<u64>) -> bool {
        self.ids.keys().any(|id| ties.contains(id))
    }
}

/// Whether all that is lost are parts of answers, one run of them for each rewriting, and the conversation went on after
/// them: an end that is missing is none of that.
fn is_taken_back(older: &Messages, kept: &[bool], own: bool, rewritings: usize) -> bool {
    let only_answers = older.all.iter().zip(kept).all(|(message, kept)| *kept || message.is_answer);
    let runs = kept.windows(2).filter(|pair| pair[0] && !pair[1]).count();
    let goes_on = own || kept.last() == Some(&true);
    only_answers && kept.first() == Some(&true) && runs <= rewritings && goes_on
}

/// The id that a record of the conversation bears; other records name the one that they are about.
fn id_of(record: &Record<'_>) -> Option<u64> {
    WITH_IDS.contains(&record.kind.as_ref()).then(|| record.uuid.as_deref().map(hash)).flatten()
}

/// A hash of what a record says, however its JSON is written, and the number of characters of it.
fn said(record: &Record<'_>) -> (u64, usize) {
    let mut hasher = DefaultHasher::new();
    let mut chars = 0;
    record.role().hash(&mut hasher);
    for block in &record.blocks {
        let (id, text) = match block {
            Block::Text(text) | Block::Notice { text, .. } | Block::Output(text) | Block::Thinking(text) => {
                (None, text)
            }
            Block::Act { args: text, .. } | Block::Agent { text, .. } | Block::Other(text) => (None, text),
            Block::Picture(_) => (None, &Cow::Borrowed("image")),
            Block::ToolUse { id, input, .. } => (id.as_ref(), &input.map(tool_input_text).unwrap_or_default().into()),
            Block::ToolResult { id, text, .. } => (id.as_ref(), text),
        };
        (std::mem::discriminant(block), id, text).hash(&mut hasher);
        chars += text.chars().count();
    }
    (hasher.finish(), chars)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The contents of a conversation as one: the older one's bytes, then the lines that only a newer one has.
///
/// Lines are never changed. A record that came already, by its uuid, is left out; so are the lines with which a newer
/// content begins as the one before it did. A torn line gets its end, so that the next one is a line of its own.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    seen: HashSet<u64>,
    first: Vec<u64>,
    ends_torn: bool,
}

impl Joiner {
    /// Hands on what the next content adds.
    pub(crate) fn add(&mut self, content: impl Read, out: &mut dyn io::Write) -> io::Result<()> {
        let mut content = BufReader::new(content);
        let (mut line, mut lines, mut as_before, mut is_torn) = (Vec::new(), Vec::new(), !self.first.is_empty(), false);
        loop {
            line.clear();
            if content.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let whole = hash_bytes(line.trim_ascii_end());
            as_before &= self.first.get(lines.len()) == Some(&whole);
            lines.push(whole);
            let is_known = self.knows(&line)?;
            if as_before || is_known {
                continue;
            }
            if std::mem::take(&mut self.ends_torn) {
                out.write_all(b"\n")?;
            }
            is_torn = line.last() != Some(&b'\n');
            out.write_all(&line)?;
        }
        self.first = lines;
        self.ends_torn |= is_torn;
        Ok(())
    }

    /// Whether a line holds records and each of them came already; from now on all of them have.
    fn knows(&mut self, line: &[u8]) -> io::Result<bool> {
        let (mut records, mut known) = (0, 0);
        record::read_records(line, 0, TornLine::Final, &mut |located| {
            records += 1;
            known += usize::from(id_of(&located.record).is_some_and(|id| !self.seen.insert(id)));
            ControlFlow::Continue(())
        })?;
        Ok(records > 0 && known == records)
    }
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records by their names: `p1` a prompt, `a1` an answer, `t1` what a tool gave, `b1` the boundary of a compaction,
    /// `s1` its summary, `x1` bookkeeping with an id. Each follows the one before it, but a first one behind `^`, which
    /// follows nothing. Behind `=`, the id is another and what is said the same; `~` says that it has no id.
    /// `p4=p3` is thus the prompt of `p3` with other words; one of more than two digits has longer ones.
    fn content(names: &str, follows: Option<&str>) -> String {
        let mut parent = follows.map(str::to_owned);
        let mut text = String::new();
        for name in names.split_whitespace() {
            let id = name.trim_start_matches('^');
            let (said, id) = id.split_once('=').unwrap_or((id, id));
            let time: u32 = said[1..].parse().unwrap();
            let time = format!(r#""timestamp":"2026-11-22T10:{:02}:{:02}.000Z""#, time / 60, time % 60);
            let above = parent.as_ref().filter(|_| !name.starts_with('^'));
            let above = above.map_or("null".to_owned(), |above| format!("\"{above}\""));
            let ids = if id == "~" { String::new() } else { format!(r#""uuid":"{id}","parentUuid":{above},"#) };
            let rest = match said.as_bytes()[0] {
                b'p' => format!(r#""type":"user","message":{{"role":"user","content":"prompt {said}"}}"#),
                b'a' => {
                    format!(r#""type":"assistant","message":{{"content":[{{"type":"text","text":"answer {said}"}}]}}"#)
                }
                b't' => format!(
                    r#""type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"{said}","content":"r"}}]}}"#
                ),
                b'b' => format!(r#""type":"system","subtype":"compact_boundary","content":"{said}""#),
                b's' => format!(r#""type":"user","isCompactSummary":true,"message":{{"content":"summary {said}"}}"#),
                _ => r#""type":"attachment","attachment":{"type":"x"}"#.to_owned(),
            };
            text.push_str(&format!("{{{ids}{time},{rest}}}\n"));
            parent = Some(id.to_owned());
        }
        text
    }

    #[test]
    fn what_is_lost_is_told_by_the_messages_and_what_is_no_loss_too() {
        use How::*;
        let old = "p1 a2 p3 t4 a5 x6";
        for (what, older, newer, expected) in [
            ("it went on", old, "p1 a2 p3 t4 a5 x6 p7 a8", None),
            ("the same, longer after a rewrite", "p1 a2", "^p1 a2 x3 p4", None),
            ("cut", old, "p1 a2", Some((3, Shrunk))),
            ("its last answer is cut off", "p1 a2 p3 a4", "p1 a2 p3", Some((1, Shrunk))),
            ("emptied", old, "", Some((5, Shrunk))),
            ("only bookkeeping is left", old, "x6", Some((5, Shrunk))),
            ("bookkeeping is gone", old, "p1 a2 p3 t4 a5", None),
            ("a stub", old, "^p9", Some((5, Shrunk))),
            ("a stub that names its end", old, "x6 p9", Some((5, Split))),
            ("rewritten longer", "p1 a2", "^p9 a10 p11 a12", Some((2, Rewritten))),
            ("rewritten from the middle on", old, "p1 a2 p13 t14 a15 x16 p17", Some((3, Rewritten))),
            ("its beginning is gone", old, "^t4 a5 x6 p7", Some((3, Shrunk))),
            ("a part of an answer is taken back in the middle", "p1 a2 a3 p4 a5", "p1 a2 p4 a5", None),
            ("a part of an answer is taken back at the end, and it goes on", "p1 a2 a3", "p1 a2 a4", None),
            ("the only answer is taken back, and it goes on", "p1 a2", "p1 a4", None),
            ("a prompt is gone", "p1 a2 p3 a4 p5", "p1 a2 a4 p5", Some((1, Shrunk))),
            ("answers here and there are gone", "p1 a2 p3 a4 p5 a6 p7", "p1 p3 p5 p7", Some((3, Shrunk))),
            ("other ids, the same words", "p1 a2 p3", "^p1=q a2=r p3=s p4", None),
            ("other ids, and one is gone", "p1 a2 p3", "^p1=q a2=r", Some((1, Shrunk))),
            ("no ids at all", "p1=~ a2=~ p3=~", "p1=~ a2=~", Some((1, Shrunk))),
            ("no ids, and it goes on", "p1=~ a2=~", "p1=~ a2=~ p3=~", None),
            ("the same ids, and a prompt says something else", old, "p1 a2 p4=p3 t4 a5 x6", Some((1, Rewritten))),
            ("the same ids, and a prompt says more", old, "p1 a2 p100=p3 t4 a5 x6", None),
            ("the same ids, and nothing is said any more", old, "x1=p1 x2=a2 x3=p3 x4=t4 x5=a5 x6", Some((5, Shrunk))),
            ("a part of an answer is taken back within a message", "p1 a2 p3 a100 p5", "p1 a2 p3 a4=a100 p5", None),
            ("the history comes again", "p1 a2", "p1 a2 p1 a2", None),
        ] {
            let of = |text: &str| Messages::of(text.as_bytes()).unwrap();
            let (older, newer) = (of(&content(older, None)), of(&content(newer, None)));
            let lost = newer.lost_of(&older, 1).map(|lost| (lost.messages, lost.how));
            assert_eq!(lost, expected, "{what}");
        }
    }

    #[test]
    fn a_conversation_that_goes_on_in_a_new_file_is_known_by_what_it_follows() {
        let of = |text: &str, follows| Messages::of(content(text, follows).as_bytes()).unwrap();
        let older = of("p1 a2 x3", None);
        let how = |newer: &Messages| newer.lost_of(&older, 1).map(|lost| lost.how);
        assert_eq!(how(&of("p4 a5", Some("x3"))), Some(How::Split));
        assert_eq!(how(&of("p4 a2=a5", Some("x3"))), Some(How::Split), "the same answer again");
        assert_eq!(how(&of("p4 a5", Some("elsewhere"))), Some(How::Shrunk));
        assert_eq!(how(&of("b4 s5 p6 a7", Some("x3"))), Some(How::Compacted));
        // It knows nothing of what came after it.
        assert_eq!(how(&of("b1 s5 p6 a7", Some("x3"))), Some(How::Split));
    }

    fn joined(contents: &[&str]) -> String {
        let (mut joiner, mut out) = (Joiner::default(), Vec::new());
        contents.iter().for_each(|content| joiner.add(content.as_bytes(), &mut out).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_joined_has_every_line_as_it_was_and_each_record_once() {
        let (older, newer) = (content("p1 a2 x3", None), content("p4 a5", Some("x3")));
        assert_eq!(joined(&[&older]), older);
        assert_eq!(joined(&[&older, &newer]), older.clone() + &newer);
        let (again, more) = (content("p1 a2 p4 a5", None), content("p6", Some("a5")));
        assert_eq!(joined(&[&older, &(again.clone() + &more)]), older.clone() + &newer.replace("x3", "a2") + &more);
        // Bookkeeping without an id stays, unless both begin with it; a record that names another is none of it.
        let (mode, last) = ("{\"type\":\"mode\",\"mode\":\"x\"}\n", "{\"type\":\"last-prompt\",\"leafUuid\":\"a2\"}\n");
        let with_mode = format!("{mode}{older}");
        assert_eq!(
            joined(&[&with_mode, &format!("{mode}{newer}{last}{mode}")]),
            format!("{with_mode}{newer}{last}{mode}")
        );
        // A torn line is ended, and nothing else is touched.
        let torn = &older[..older.len() - 5];
        assert_eq!(joined(&[torn, &newer]), format!("{torn}\n{newer}"));
        assert_eq!(joined(&[&older, "not json\n", &newer]), format!("{older}not json\n{newer}"));
        assert_eq!(joined(&["", &newer, &newer]), newer);
    }
}
