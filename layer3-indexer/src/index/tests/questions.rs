//! Plain questions in several languages: the conversation that answers comes first.

use super::*;

/// Questions whose conversation may stand behind another one.
const BEHIND_MAX: usize = 1;

#[test]
fn plain_questions_find_their_conversation_first() {
    let store = Store::new();
    let mut index = fresh(&store);
    let (mut conversations, mut questions) = (Vec::<String>::new(), Vec::new());
    for (n, line) in (1..).zip(include_str!("questions.txt").lines().filter(|line| !line.starts_with(';'))) {
        let (mark, text) = line.split_once(' ').unwrap();
        match mark {
            "#" => conversations.push(String::new()),
            ">" => conversations.last_mut().unwrap().push_str(&user(n, text)),
            "<" => conversations.last_mut().unwrap().push_str(&said(n, text)),
            _ => questions.push((format!("s{}", conversations.len()), text)),
        }
    }
    for (n, lines) in (1..).zip(&conversations) {
        let session = key("p", &format!("s{n}"));
        store.transcript(&session, lines);
        update(&mut index, &store, &session);
    }
    let first = |question: &str| {
        let results = index.search(&store, &SearchQuery { each: false, ..SearchQuery::new(question, 0) }).unwrap();
        results.hits.first().map(|hit| hit.session_id.clone())
    };
    assert!(questions.len() > conversations.len() && conversations.len() > 12);
    let behind: Vec<_> =
        questions.iter().filter(|(session, question)| first(question).as_ref() != Some(session)).collect();
    assert!(behind.len() <= BEHIND_MAX, "{behind:#?}");
}

#[test]
fn a_date_in_a_question_means_the_conversations_of_then() {
    let store = Store::new();
    let mut index = fresh(&store);
    for (n, day) in (1..).zip(["2026-05-03", "2026-05-20", "2026-08-11"]) {
        let session = key("p", &format!("s{n}"));
        store.transcript(&session, &user(n, "the parser keeps its comments").replace("2026-11-22", day));
        update(&mut index, &store, &session);
    }
    let now_ms = 1_795_344_145_351; // 2026-11-22T10:42:25.351Z
    for (question, expected) in [
        ("why does the parser keep its comments?", "s3"),
        ("why did the parser keep its comments in May?", "s2"),
        ("why did the parser keep its comments on 3 May?", "s1"),
        ("why did the parser keep its comments on 2026-05-20?", "s2"),
        ("why did the parser keep its comments in May 2025?", "s3"),
    ] {
        let query = SearchQuery { each: false, ..SearchQuery::new(question, now_ms) };
        let found = index.search(&store, &query).unwrap();
        assert_eq!(found.hits[0].session_id, expected, "{question}");
        assert_eq!(found.hits.len(), 3, "{question}");
    }
}

#[test]
fn a_commit_is_found_where_it_was_made_before_where_it_is_listed() {
    let store = Store::new();
    let mut index = fresh(&store);
    let commit = r#"git add -A && git commit -m \"Cache parsed settings between runs\" && git push && git status"#;
    let made = format!(r#"{{"type":"tool_use","id":"t1","name":"Bash","input":{{"command":"{commit}"}}}}"#);
    let list = "7ab7d8b Cache parsed settings between runs";
    let conversations = [answer(1, &made), said(2, list) + &said(3, list)];
    for (n, lines) in (1..).zip(conversations) {
        let session = key("p", &format!("s{n}"));
        store.transcript(&session, &(user(n, "go on") + &lines));
        update(&mut index, &store, &session);
    }
    let query = SearchQuery { each: false, ..SearchQuery::new("Cache parsed settings between runs", 0) };
    let found = |index: &Index| -> Vec<String> {
        index.search(&store, &query).unwrap().hits.into_iter().map(|hit| hit.session_id).collect()
    };
    assert_eq!(found(&index), ["s1", "s2"]);
    // What is no mere list is not read for it, however many bytes it has.
    let long = "x".repeat(100_000);
    store.transcript(&key("p", "s2"), &(user(2, "go on") + &said(2, &format!("{list} {long}")) + &said(3, list)));
    update(&mut index, &store, &key("p", "s2"));
    assert_eq!(found(&index), ["s2", "s1"]);
}
