//! Which records of a transcript belong to the conversation that went on. What a rewind left behind stays in the file,
//! and so does what waited in the queue and was sent later: one pass over the whole file tells them.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::ops::ControlFlow;

use super::queue::{Queue, may_be_sent};
use super::record::{Block, Class, Located, Record, TornLine, read_records};

/// How the prompt begins with which Claude Code itself clears what was said, to carry out a plan that was made in it.
pub(crate) const PLAN: &str = "Implement the following plan:";

/// What is told of a transcript. Takes memory for each message that was rewound or queued, and for each record while
/// it is read (100 bytes).
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Records, by their id.
    rewound: HashSet<u64>,
    /// Offsets of prompts that come again as what was sent.
    sent: HashSet<u64>,
}

/// A record in the tree that the ids of a transcript make.
struct Node {
    id: u64,
    parent: Option<u64>,
    session: u64,
    turn: Turn,
    /// Whether a conversation may begin with it.
    begins: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Words of the user: a turn begins.
    Asked,
    /// One of her commands, or her words beside a tool's result, which may be one of several: a turn begins if it is answered.
    Commanded,
    Answered,
    /// Anything else.
    Within,
}

impl Course {
    /// Reads a transcript to its end.
    pub(crate) fn of(transcript: impl Read) -> io::Result<Course> {
        let (mut nodes, mut known, mut queue) = (Vec::new(), HashSet::new(), Queue::new());
        let mut sent = HashSet::new();
        let mut again = Again::default();
        read_records(transcript, 0, TornLine::Final, &mut |located: Located<'_>| {
            let record = &located.record;
            if record.is_queued {
                queue.add(record.said(), located.offset);
            } else if !queue.is_empty() && may_be_sent(record) {
                sent.extend(queue.sent(&record.said()));
            }
            // Of a record that comes again the first one counts.
            nodes.extend(node(record).and_then(|node| again.told(record, node)).filter(|node| known.insert(node.id)));
            ControlFlow::Continue(())
        })?;
        Ok(Course { rewound: rewound(&nodes), sent })
    }

    /// Whether the user went back to before it, and on from there in another way.
    pub(crate) fn is_rewound(&self, record: &Record<'_>) -> bool {
        record.uuid.as_deref().is_some_and(|uuid| self.rewound.contains(&hash_of(uuid)))
    }

    /// Whether what was queued there comes again as what was sent.
    pub(crate) fn comes_again(&self, located: &Located<'_>) -> bool {
        self.sent.contains(&located.offset)
    }
}

/// What a client that resumes writes once more, under new ids.
#[derive(Default)]
struct Again {
    /// By the fingerprints of what was said, the record that said it first.
    said: HashMap<u64, u64>,
    /// Of a record that says it again, the first one.
    first: HashMap<u64, u64>,
}

impl Again {
    /// The record in the tree of those that say something first; `None` of one that says nothing else.
    fn told(&mut self, record: &Record<'_>, node: Node) -> Option<Node> {
        let fingerprints = record.fingerprints();
        let first = fingerprints.first().and_then(|fingerprint| self.said.get(fingerprint)).copied();
        if let Some(first) = first.filter(|_| fingerprints.iter().all(|one| self.said.contains_key(one))) {
            self.first.insert(node.id, first);
            return (first == node.id).then_some(node);
        }
        for one in fingerprints {
            self.said.entry(one).or_insert(node.id);
        }
        let parent = node.parent.map(|parent| self.first.get(&parent).copied().unwrap_or(parent));
        Some(Node { parent, ..node })
    }
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A subagent's records are none of this tree, wherever they stand; what is reported of them is a part of it.
fn node(record: &Record<'_>) -> Option<Node> {
    // These bear the id of another record.
    let is_report = record.reported_of.is_some();
    if (record.is_sidechain && !is_report) || matches!(&*record.kind, "summary" | "last-prompt") {
        return None;
    }
    let has_result = || record.blocks.iter().any(|block| matches!(block, Block::ToolResult { .. }));
    let turn = match record.class {
        _ if is_report => Turn::Within,
        Class::Prompt if has_result() => Turn::Commanded,
        Class::Prompt => Turn::Asked,
        Class::Command => Turn::Commanded,
        Class::Answer => Turn::Answered,
        _ => Turn::Within,
    };
    let is_plan = || record.blocks.iter().any(|block| matches!(block, Block::Text(text) if text.starts_with(PLAN)));
    Some(Node {
        begins: turn == Turn::Asked && record.parent.is_none() && !is_plan(),
        id: hash_of(record.uuid.as_deref()?),
        parent: record.parent.as_deref().map(hash_of),
        session: hash_of(record.session_id.as_deref().unwrap_or_default()),
        turn,
    })
}

/// The records of turns that are not on the way from the newest one to the beginning, and branch off from it. What is
/// not on that way for another reason is no rewind: results of tools that were called together, notices, a branch in
/// which nobody asked for anything, records whose parent is missing, what came before a compaction or of another session.
fn rewound(nodes: &[Node]) -> HashSet<u64> {
    let places: HashMap<u64, usize> = nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
    let parents: Vec<Option<usize>> =
        nodes.iter().map(|node| node.parent.and_then(|id| places.get(&id)).copied()).collect();
    let Some(newest) = nodes.iter().rposition(|node| node.turn != Turn::Within) else { return HashSet::new() };
    let mut is_on_way = vec![false; nodes.len()];
    let mut beginning = newest;
    let mut at = Some(newest);
    while let Some(place) = at.filter(|place| !is_on_way[*place]) {
        is_on_way[place] = true;
        beginning = place;
        at = parents[place];
    }
    // Who goes back to before the first prompt begins once more, without a parent.
    let mut is_followed = vec![false; nodes.len()];
    parents.iter().flatten().for_each(|parent| is_followed[*parent] = true);
    let is_other_beginning = |place: usize| {
        let (one, other) = (&nodes[place], &nodes[beginning]);
        place < beginning && one.begins && other.begins && one.session == other.session && is_followed[place]
    };
    // Of each record beside the way whether it branches off, and the first thing of the user in its branch.
    let mut branches: Vec<Option<Branch>> = vec![None; nodes.len()];
    let mut in_order = Vec::new();
    // Of those the ones with which a turn begins: a command does where something was asked or answered after it.
    let mut turns = HashSet::new();
    for place in 0..nodes.len() {
        let mut above = Vec::new();
        let mut at = Some(place);
        while let Some(one) = at.filter(|one| !is_on_way[*one] && branches[*one].is_none()) {
            // It is overwritten below; a circle ends here.
            branches[one] = Some(Branch { is_off: false, head: None });
            above.push(one);
            at = parents[one];
        }
        for one in above.into_iter().rev() {
            let mut branch = match parents[one] {
                Some(parent) if is_on_way[parent] => Branch { is_off: true, head: None },
                Some(parent) => branches[parent].unwrap_or_default(),
                None => Branch { is_off: is_other_beginning(one), head: None },
            };
            match nodes[one].turn {
                Turn::Asked | Turn::Commanded => branch.head = branch.head.or(Some(one)),
                Turn::Answered | Turn::Within => {}
            }
            if matches!(nodes[one].turn, Turn::Asked | Turn::Answered) {
                turns.extend(branch.head);
            }
            branches[one] = Some(branch);
            in_order.push(one);
        }
    }
    let is_rewound = |place: &usize| {
        branches[*place].is_some_and(|branch| branch.is_off && branch.head.is_some_and(|head| turns.contains(&head)))
    };
    in_order.into_iter().filter(is_rewound).map(|place| nodes[place].id).collect()
}

#[derive(Clone, Copy, Default)]
struct Branch {
    is_off: bool,
    /// The first thing in it that the user asked for or did.
    head: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as `id<parent kind`, the kind being a prompt, a command, an answer or a tool's result; which are rewound.
    fn check(records: &str, expected: &str) {
        let line = |record: &str| {
            let (id, rest) = record.split_once('<').unwrap();
            let (parent, kind) = rest.split_once(' ').unwrap();
            let parent = match parent {
                "" => r#""parentUuid":null"#.to_owned(),
                above if above.starts_with('~') => {
                    format!(r#""parentUuid":null,"logicalParentUuid":"{}""#, &above[1..])
                }
                above => format!(r#""parentUuid":"{above}""#),
            };
            let (kind, more) = kind.split_once(' ').unwrap_or((kind, ""));
            let session = more.strip_prefix("of ").unwrap_or("s");
            let side = more == "aside";
            let content = match kind {
                "prompt" => r#""user","message":{"content":"asked"}"#,
                "plan" => r#""user","message":{"content":"Implement the following plan:\nx"}"#,
                "command" => r#""user","message":{"content":"<command-name>/x</command-name>"}"#,
                "said" => {
                    r#""user","message":{"content":[{"type":"tool_result","content":"x"},{"type":"text","text":"and?"}]}"#
                }
                "result" => r#""user","message":{"content":[{"type":"tool_result","content":"x"}]}"#,
                "answer" => r#""assistant","message":{"content":[{"type":"text","text":"x"}]}"#,
                "boundary" => r#""system","subtype":"compact_boundary","content":"x""#,
                "hook" => r#""progress","data":{}"#,
                kind => panic!("{kind}"),
            };
            format!(r#"{{{parent},"uuid":"{id}","isSidechain":{side},"sessionId":"{session}","type":{content}}}"#)
        };
        let lines: Vec<String> = records.split(", ").map(line).collect();
        let course = Course::of(lines.join("\n").as_bytes()).unwrap();
        let mut found = Vec::new();
        read_records(lines.join("\n").as_bytes(), 0, TornLine::Final, &mut |located| {
            if course.is_rewound(&located.record) {
                found.extend(located.record.uuid.map(|uuid| uuid.into_owned()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(found.join(" "), expected, "{records}");
    }

    #[test]
    fn what_was_rewound_is_told() {
        check("a< prompt, b<a answer, c<b prompt, d<c answer, e<b prompt, f<e answer", "c d");
        // To before the first prompt; twice; within what was rewound before; with tools.
        check("a< prompt, b<a answer, c< prompt, d<c answer", "a b");
        check("a< prompt, b<a answer, c<b prompt, d<b prompt, e<d answer, f<b prompt", "c d e");
        check("a< prompt, b<a answer, c<b prompt, d<c answer, e<d prompt, f<d prompt, g<b prompt", "c d e f");
        check("a< prompt, b<a prompt, c<b answer, d<c result, e<d answer, f<a prompt", "b c d e");
        // A command counts where it was answered, and where something was asked behind it.
        check("a< prompt, b<a answer, c<b command, d<c answer, e<b prompt", "c d");
        check("a< prompt, b<a answer, c<b command, d<c prompt, e<b prompt", "c d");
        // Words beside a tool's result that were answered.
        check("a< prompt, b<a answer, c<b said, d<c answer, e<b prompt, f<e answer", "c d");
        // Before a compaction.
        check("a< prompt, b<a answer, c<b prompt, d<b prompt, e<d answer, f<~e boundary, g<f prompt", "c");
    }

    #[test]
    fn what_is_beside_the_way_for_another_reason_is_no_rewind() {
        for records in [
            "a< prompt, b<a answer, c<b answer, d<b result, e<c result, f<e answer",
            "a< prompt, b<a answer, c<b answer, e<c result, d<b result, f<d answer",
            "a< prompt, b<a answer, c<b command, d<b prompt, e<d answer",
            // Words beside the result of one of two tools.
            "a< prompt, b<a answer, c<b answer, d<b said, e<c result, f<e answer, g<f prompt",
            "a< prompt aside, b<a answer aside, c< prompt aside, d< prompt, e<d answer",
            "a< prompt, b<a answer, c<gone prompt, d<c answer",
            "a< prompt, b<a answer, c<~gone boundary, d<c prompt",
            "a< prompt of s, b<a answer of s, c< prompt of t, d<c answer of t",
            "a< prompt, b<a answer, c< plan, d<c answer",
            "a< hook, b<a prompt, c<b answer, d< hook, e<d prompt, f<e answer",
            // Where no record names its parent, nothing is told.
            "a< prompt, b< answer, c< prompt, d< answer",
            // The same records once more; a circle; two beginnings that are both missing.
            "a< prompt, b<a answer, c<b prompt, a< prompt, b<a answer, c<b prompt",
            "a<b prompt, b<a answer, c<d prompt",
            "a< answer",
            "a< hook",
        ] {
            check(records, "");
        }
    }

    /// As an editor's client does when it resumes: under new ids, a prompt of several texts in a record for each.
    #[test]
    fn what_is_written_once_more_is_no_rewind() {
        let record = |id: &str, parent: &str, kind: &str, second: u32, texts: &[&str]| {
            let parent = if parent.is_empty() { "null".to_owned() } else { format!("\"{parent}\"") };
            let texts: Vec<String> = texts.iter().map(|text| format!(r#"{{"type":"text","text":"{text}"}}"#)).collect();
            format!(
                r#"{{"type":"{kind}","uuid":"{id}","parentUuid":{parent},"timestamp":"2026-11-22T10:00:{second:02}Z","message":{{"content":[{}]}}}}"#,
                texts.join(",")
            )
        };
        let mut lines = vec![
            record("a", "", "user", 1, &["look", "at", "this"]),
            record("b", "a", "assistant", 2, &["a robot"]),
            record("c", "b", "user", 3, &["who?"]),
            record("d", "c", "assistant", 4, &["nobody"]),
        ];
        for (id, parent, kind, second, text) in [
            ("a1", "", "user", 1, "look"),
            ("a2", "a1", "user", 1, "at"),
            ("a3", "a2", "user", 1, "this"),
            ("b1", "a3", "assistant", 2, "a robot"),
            ("c1", "b1", "user", 3, "who?"),
            ("d1", "c1", "assistant", 4, "nobody"),
            ("e", "d1", "user", 9, "and now?"),
            ("f", "e", "assistant", 10, "later"),
        ] {
            lines.push(record(id, parent, kind, second, &[text]));
        }
        let rewound = |lines: &[String]| Course::of(lines.join("\n").as_bytes()).unwrap().rewound.len();
        assert_eq!(rewound(&lines), 0);
        // Whoever goes back from there does rewind.
        lines.push(record("g", "b1", "user", 20, &["who else?"]));
        lines.push(record("h", "g", "assistant", 21, &["all"]));
        let course = Course::of(lines.join("\n").as_bytes()).unwrap();
        let is_rewound = |id: &str| course.rewound.contains(&hash_of(id));
        assert_eq!(["a", "b", "c", "d", "e", "f", "h"].map(is_rewound), [false, false, true, true, true, true, false]);
        let mut said = super::super::record::Said::default();
        let mut new = Vec::new();
        read_records(lines.join("\n").as_bytes(), 0, TornLine::Final, &mut |located| {
            if said.is_new(&located.record.fingerprints()) {
                new.extend(located.record.uuid.map(|id| id.into_owned()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(new.join(" "), "a b c d e f g h");
    }

    #[test]
    fn the_recorded_transcripts_have_no_rewound_turn() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/transcripts");
        let mut transcripts = 0;
        for entry in walkdir(&folder) {
            let course = Course::of(std::fs::File::open(&entry).unwrap()).unwrap();
            assert!(course.rewound.is_empty(), "{}", entry.display());
            transcripts += 1;
        }
        assert!(transcripts >= 5);
    }

    fn walkdir(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let of_entry = |path: std::path::PathBuf| if path.is_dir() { walkdir(&path) } else { vec![path] };
        entries.flat_map(of_entry).filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")).collect()
    }

    #[test]
    fn what_was_queued_comes_again_when_it_is_sent() {
        let queued = |text: &str| {
            format!(
                r#"{{"type":"queue-operation","operation":"enqueue","timestamp":"2026-11-22T10:00:00Z","content":"{text}"}}"#
            )
        };
        let lines = [
            queued("sent alone"),
            queued("sent first"),
            queued("never sent"),
            r#"{"type":"user","uuid":"a","message":{"content":[{"type":"text","text":"sent alone "}]}}"#.to_owned(),
            queued("sent second"),
            r#"{"type":"attachment","uuid":"b","attachment":{"type":"queued_command","prompt":"sent first\nsent second"}}"#
                .to_owned(),
        ];
        let course = Course::of(lines.join("\n").as_bytes()).unwrap();
        let mut left = Vec::new();
        read_records(lines.join("\n").as_bytes(), 0, TornLine::Final, &mut |located| {
            if located.record.is_queued && !course.comes_again(&located) {
                left.push(located.record.said());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(left, ["never sent"]);
    }
}
