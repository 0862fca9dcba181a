//! Search: any text is a query, and what was said is found.

use serde_json::{Value, json};
use tests::mcp::Client;
use tests::scratch::Scratch;
use tests::transcripts::{self, INTERACTIVE};

use crate::product::{chain_delivered, found_in, hits};

/// Queries that have broken search engines before.
const ODD: [&str; 34] = [
    "foo-bar",
    "don't",
    r"C:\x",
    "file.rs",
    "\"open quote",
    "*",
    "AND",
    "OR",
    "NOT",
    "NEAR",
    "NEAR(",
    "NEAR(a b, 5)",
    "🦊",
    "",
    " ",
    "\n\t",
    "a*",
    "*a",
    "^a",
    "a:b",
    "content:x",
    "-a",
    "+a",
    "(a",
    "a)",
    "{a}",
    "[a]",
    "a\"b\"c",
    "''",
    "\\",
    "%",
    ";--",
    "a AND",
    "\u{301}",
];

/// A home with a conversation whose words are to be found.
fn with_words() -> (Scratch, String) {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let texts = [
        "foo-bar and don't in C:\\x with file.rs 🦊",
        "La sesión de ayer terminó",
        "数据库连接失败了",
        "データベース接続エラー",
        "데이터베이스 연결 실패",
        "fn parse_config_file(path: &Path) -> Config { todo() }",
    ];
    for (turn, text) in texts.iter().enumerate() {
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn as u32, text));
    }
    transcripts::append(&transcript, transcripts::tool_line(&id, 60, "Bash", json!({"command": "cargo nextest run"})));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    (scratch, id)
}

#[test]
fn what_was_said_is_found() {
    let (scratch, id) = with_words();
    for query in [
        "foo-bar",
        "don't",
        r"C:\x",
        "file.rs",
        "🦊",
        "sesion",
        "SESIÓN",
        "sesión",
        "数据库",
        "连接失",
        "接続エ",
        "ベース",
        "이터베",
        "연결 실패",
        "parse_conf",
        "config_file",
        "parse_config_file",
        "nextest",
        "\"de ayer\"",
        "termin*",
        "sesion AND ayer",
        "ayer OR wombat",
        "sesion NOT wombat",
        "NEAR(sesion ayer, 5)",
    ] {
        assert_eq!(found_in(&scratch, query), [id.as_str()], "{query:?}");
    }
    for query in ["wombat", "sesion AND wombat", "sesion NOT ayer", "\"ayer de\"", "数据错"] {
        assert_eq!(found_in(&scratch, query), [""; 0], "{query:?}");
    }
}

#[test]
fn odd_queries_give_results_or_a_plain_message() {
    let (scratch, _) = with_words();
    for query in ODD {
        let json = scratch.layer3(&["search", "--all", "--json", "--", query]).output().ok();
        assert!(json.json()["hits"].is_array(), "{query:?}: {json:#?}");
        let plain = scratch.layer3(&["search", "--all", "--", query]).output().ok();
        for outcome in [&json, &plain] {
            let said = format!("{}{}", outcome.text(), outcome.stderr).to_lowercase();
            for bad in ["sql", "fts5", "syntax error", "panicked"] {
                assert!(!said.contains(bad), "{query:?}: {outcome:#?}");
            }
        }
    }
    let none = scratch.layer3(&["search", "--all", "--", "wombat"]).output().ok();
    assert!(!format!("{}{}", none.text(), none.stderr).trim().is_empty(), "no hit is said plainly: {none:#?}");
}

#[test]
fn hits_tell_session_time_role_and_snippet() {
    let (scratch, id) = with_words();
    let hits = hits(&scratch, "parse_conf");
    let [hit] = &hits[..] else { panic!("one message holds it: {hits:#?}") };
    assert_eq!(hit["session_id"], json!(id));
    assert_eq!(hit["role"], "user");
    // What was found stands between marks.
    let snippet = hit["snippet"].as_str().unwrap_or_default().replace(['[', ']'], "");
    assert!(snippet.contains("fn parse_config_file(path"), "{hit:#}");
    assert!(hit.to_string().contains("2026-11-22T00:00:05"), "{hit:#}");
}

#[test]
fn search_and_list_take_the_project_of_the_current_directory() {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, INTERACTIVE);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let ids = |args: &[&str], dir: &str| {
        let dir = scratch.home().join(dir);
        std::fs::create_dir_all(&dir).expect("make a directory");
        let value = scratch.layer3(args).current_dir(&dir).output().ok().json();
        let found = value["sessions"].as_array().or(value["hits"].as_array()).expect("a list").clone();
        found.iter().map(|entry| entry["session_id"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["list", "--json"], "proj"), [INTERACTIVE]);
    assert_eq!(ids(&["list", "--json"], "elsewhere"), [INTERACTIVE], "where nothing is known, everything is meant");
    assert_eq!(ids(&["list", "--json", "--project", "proj"], "elsewhere"), [INTERACTIVE]);
    assert!(ids(&["search", "--json", "interactive"], "proj").iter().all(|id| id == INTERACTIVE));
    assert!(!ids(&["search", "--json", "interactive"], "proj").is_empty());
    assert_eq!(ids(&["search", "--json", "interactive", "--project", "elsewhere"], "elsewhere"), [""; 0]);
}

/// A small generator of its own, so that a failing query can be found again by its number.
fn random_query(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    const PIECES: [&str; 40] = [
        "\"", "'", "*", "(", ")", "-", "+", "^", ":", ",", "{", "}", "AND", "OR", "NOT", "NEAR", "NEAR(", " ", " ",
        "a", "foo", "sesion", "数据", "库", "🦊", "é", "\u{301}", "\0", "\n", "\\", "/", ".", ";", "%", "_", "1", "0",
        "\u{202e}", "\u{feff}", "~",
    ];
    let length = next(12);
    let piece = |_| match next(4) {
        0 => char::from_u32(next(0x3000) as u32).unwrap_or('x').to_string(),
        _ => PIECES[next(PIECES.len() as u64) as usize].to_owned(),
    };
    (0..length).map(piece).collect()
}

/// A call with other options each time; now and then the query is one of them.
fn options(n: u64, query: &str) -> Value {
    let mut input = json!({"query": query, "limit": 1 + n % 3, "page": n % 3, "each": n.is_multiple_of(2)});
    for (every, option) in
        [(11, "tool"), (13, "file"), (17, "branch"), (19, "project"), (97, "since"), (101, "session_id")]
    {
        if n.is_multiple_of(every) {
            input[option] = json!(query);
        }
    }
    if n.is_multiple_of(7) {
        input["context"] = json!(n % 60);
    }
    input
}

#[test]
fn ten_thousand_random_queries_through_one_server() {
    let (scratch, id) = with_words();
    let (mut client, _) = Client::initialized(&scratch, &[]);
    let mut asked = 0;
    let mut search = |query: &str| {
        asked += 1;
        client.call("session_search", options(asked, query))
    };
    let complain = |query: &str, said: &str| {
        let said = said.to_lowercase();
        for bad in ["sql", "fts5", "syntax error", "panic", "unterminated"] {
            assert!(!said.contains(bad), "{query:?}: {said}");
        }
    };
    for query in ODD.into_iter().chain(["\0", "a\0b", "\0\"", "foo\0*"]) {
        match search(query) {
            Ok(answer) => assert!(answer["hits"].is_array(), "{query:?}: {answer:#}"),
            Err(message) => complain(query, &message),
        }
    }
    for seed in 0..10_000 {
        let query = random_query(seed);
        match search(&query) {
            Ok(answer) => assert!(answer["hits"].is_array(), "{seed} {query:?}: {answer:#}"),
            Err(message) => complain(&query, &message),
        }
    }
    let answer = client.call("session_search", json!({"query": "sesion"})).expect("the server is still well");
    assert_eq!(answer["hits"][0]["session_id"], Value::from(id));
    assert!(client.end().success());
}
