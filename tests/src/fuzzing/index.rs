//! Any text, asked of a small index.

use std::fs;

use layer1_prebackup::archive::{Archive, Compare, SaveRequest};
use layer1_prebackup::names::SessionId;
use layer3_indexer::index::query::{QUERY_TERMS_MAX, Query};
use layer3_indexer::index::{Index, SearchQuery};
use layer3_indexer::transcript::record::Role;
use serde_json::json;
use tempfile::TempDir;

const SESSIONS: [(&str, &[&str]); 2] = [
    ("s1", &["where is the sesión parser? don't use foo-bar", "fn parse_config_file(x) -> 日本語 🎉", "one two three"]),
    ("s2", &["one AND NOT NEAR OR \"quoted\" words", "ééé e\u{301}e\u{301} ½ ß İ ǆ \u{200d}", "three 日本 two"]),
];
/// 2026-11-22T10:00:00Z; never the clock, so that what is found once is found again.
const NOW_MS: i64 = 1_795_341_600_000;

/// Any text that is searched for, also as the value of a filter.
///
/// It is never an error of SQLite, the hits keep to their limit and their one line, and the second
/// page goes on where the first ends.
pub fn query(input: &[u8]) {
    thread_local!(static INDEX: Indexed = Indexed::new());
    INDEX.with(|indexed| indexed.search(&String::from_utf8_lossy(input)));
}

struct Indexed {
    archive: Archive,
    index: Index,
    _folder: TempDir,
}

impl Indexed {
    fn new() -> Indexed {
        let folder = tempfile::Builder::new().prefix("threefold-fuzz-").tempdir().expect("make a folder");
        let archive = Archive::create(&folder.path().join("store")).expect("make a store");
        for (id, texts) in SESSIONS {
            let transcript = folder.path().join(format!("{id}.jsonl"));
            let lines = texts.iter().enumerate().map(|(n, text)| line(id, n, text));
            fs::write(&transcript, lines.collect::<String>()).expect("write a transcript");
            let request = SaveRequest {
                id: &SessionId::parse(id).expect("an id"),
                transcript: &transcript,
                project: None,
                cwd: Some("/home/dev/proj"),
                compare: Compare::Whole,
                progress: &|_| {},
            };
            archive.save(&request).expect("save a session");
        }
        let mut index = Index::open(&folder.path().join("index.db")).expect("make an index");
        assert!(index.fill(&archive, &|_, _| {}).expect("fill the index").is_empty());
        let messages = SESSIONS.iter().map(|(_, texts)| texts.len() as u64).sum::<u64>();
        assert_eq!(index.counts().expect("count").messages, messages);
        Indexed { archive, index, _folder: folder }
    }

    fn search(&self, text: &str) {
        let Some(query) = Query::parse(text) else { return };
        assert!((1..=QUERY_TERMS_MAX).contains(&query.terms().len()), "{text:?}");
        let all = self.found(SearchQuery { each: true, ..SearchQuery::new(text, NOW_MS) });
        let first = self.found(SearchQuery { limit: 1, ..SearchQuery::new(text, NOW_MS) });
        let second = self.found(SearchQuery { limit: 1, offset: 1, ..SearchQuery::new(text, NOW_MS) });
        assert_eq!([first, second].concat(), all[..all.len().min(2)], "the pages of {text:?}");
        self.found(SearchQuery { each: false, role: Some(Role::User), ..SearchQuery::new(text, NOW_MS) });
        let value = Some(text.to_owned());
        self.found(SearchQuery { tool: value.clone(), ..SearchQuery::new("", NOW_MS) });
        self.found(SearchQuery { file: value.clone(), ..SearchQuery::new("one", NOW_MS) });
        self.found(SearchQuery { branch: value.clone(), project: value.clone(), ..SearchQuery::new(text, NOW_MS) });
        self.found(SearchQuery { session_id: value, before: 2, after: 2, ..SearchQuery::new("", NOW_MS) });
    }

    /// The messages that were found, in order.
    fn found(&self, asked: SearchQuery) -> Vec<String> {
        let found = self.index.search(&self.archive, &asked);
        let results =
            found.unwrap_or_else(|error| panic!("{asked:?}: {error}: {:?}", std::error::Error::source(&error)));
        assert!(results.hits.len() <= asked.limit, "{asked:?} found {}", results.hits.len());
        for hit in &results.hits {
            assert!(!hit.snippet.contains(['\n', '\r', '\0']), "{asked:?}: {:?}", hit.snippet);
        }
        results.hits.into_iter().map(|hit| hit.message).collect()
    }
}

fn line(id: &str, n: usize, text: &str) -> String {
    let kind = if n.is_multiple_of(2) { "user" } else { "assistant" };
    let content = match n {
        0 | 1 => json!(text),
        _ => json!([{ "type": "text", "text": text }]),
    };
    let record = json!({
        "type": kind, "uuid": format!("{id}-{n}"), "sessionId": id, "timestamp": format!("2026-11-22T09:00:{n:02}.000Z"),
        "cwd": "/home/dev/proj", "gitBranch": "main", "message": { "role": kind, "content": content },
    });
    format!("{record}\n")
}
