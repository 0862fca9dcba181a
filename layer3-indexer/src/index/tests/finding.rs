//! Sessions as hits, pages, and the filters that look at calls.

use std::collections::BTreeSet;

use super::*;
use crate::index::{ContextMessage, Hit};

fn call(n: u32, id: &str, tool: &str, input: &str) -> String {
    answer(n, &format!(r#"{{"type":"tool_use","id":"{id}","name":"{tool}","input":{input}}}"#))
}

fn result(n: u32, id: &str, text: &str) -> String {
    record(n, "user", &format!(r#"{{"content":[{{"type":"tool_result","tool_use_id":"{id}","content":"{text}"}}]}}"#))
}

fn by_session(text: &str) -> SearchQuery {
    SearchQuery { each: false, ..SearchQuery::new(text, 0) }
}

fn ids(index: &Index, store: &Store, query: &SearchQuery) -> Vec<String> {
    let results = index.search(store, query).unwrap();
    results.hits.iter().map(|hit| format!("{}{}", hit.session_id, hit.uuid.as_deref().unwrap_or("-"))).collect()
}

/// Sessions `a` and `b`, of which `a` changes `/w/src/a.rs`, and the messages that a filter leaves.
#[track_caller]
fn check_calls(change: &dyn Fn(&mut SearchQuery), expected: &[&str]) {
    let store = Store::new();
    let (mut index, a, b) = (fresh(&store), key("p", "a"), key("p", "b"));
    store.transcript(
        &a,
        &[
            user(1, "needle"),
            call(2, "t1", "Edit", r#"{"file_path":"/w/src/a.rs","new_string":"needle"}"#),
            result(3, "t1", "needle done"),
            call(4, "t2", "Bash", r#"{"command":"grep needle"}"#),
            result(5, "t2", "needle found"),
            call(6, "t3", "mcp__files__search", r#"{"what":"needle"}"#),
        ]
        .concat(),
    );
    let read = call(12, "t1", "Read", r#"{"file_path":"/w/src/a.rs.bak"}"#);
    store.transcript(&b, &[user(11, "needle"), read, result(13, "t1", "needle")].concat());
    update(&mut index, &store, &a);
    update(&mut index, &store, &b);
    let mut query = SearchQuery::new("needle", 0);
    change(&mut query);
    let mut found = ids(&index, &store, &query);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn calls_of_a_tool_and_their_results_are_found() {
    check_calls(&|q| q.tool = Some("Bash".into()), &["auuid-4", "auuid-5"]);
    check_calls(&|q| q.tool = Some("edit".into()), &["auuid-2", "auuid-3"]);
    check_calls(&|q| q.tool = Some("search".into()), &["auuid-6"]);
    check_calls(&|q| q.tool = Some("mcp__files__search".into()), &["auuid-6"]);
    check_calls(&|q| q.tool = Some("ash".into()), &[]);
    check_calls(&|q| q.tool = Some("%".into()), &[]);
}

#[test]
fn sessions_that_touched_a_file_are_found() {
    let of_a = ["auuid-1", "auuid-2", "auuid-3", "auuid-4", "auuid-5", "auuid-6"];
    for file in ["/w/src/a.rs", "src/a.rs", "a.rs", "./src/a.rs", "w/src/a.rs", " src\\a.rs "] {
        check_calls(&|q| q.file = Some(file.into()), &of_a);
    }
    check_calls(&|q| q.file = Some("a.rs.bak".into()), &["buuid-11", "buuid-13"]);
    check_calls(&|q| q.file = Some("src/".into()), &[&of_a[..], &["buuid-11", "buuid-13"]].concat());
    check_calls(&|q| q.file = Some("rc/a.rs".into()), &[]);
    // Beside a tool, its calls on the file; without a text, all calls on it.
    check_calls(&|q| (q.file, q.tool) = (Some("a.rs".into()), Some("Edit".into())), &["auuid-2", "auuid-3"]);
    check_calls(&|q| (q.file, q.tool) = (Some("a.rs".into()), Some("Bash".into())), &[]);
    check_calls(&|q| (q.file, q.text) = (Some("a.rs".into()), String::new()), &["auuid-2", "auuid-3"]);
}

#[test]
fn a_result_that_comes_with_a_later_save_is_its_tools() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let lines = [
        call(1, "t1", "Bash", "{}"),
        call(2, "t2", "Read", r#"{"file_path":"/f"}"#),
        result(3, "t2", "x"),
        result(4, "t1", "y"),
    ];
    for n in 1..=lines.len() {
        store.transcript(&s, &lines[..n].concat());
        update(&mut index, &store, &s);
    }
    assert_eq!(dump(&index), rebuilt(&store));
    let of = |tool: &str| {
        let mut found = ids(&index, &store, &SearchQuery { tool: Some(tool.into()), ..SearchQuery::new("", 0) });
        found.sort();
        found
    };
    assert_eq!(
        (of("Bash"), of("Read")),
        (vec!["suuid-1".into(), "suuid-4".into()], vec!["suuid-2".into(), "suuid-3".into()])
    );
}

#[test]
fn a_session_is_one_hit_that_counts_its_others() {
    let store = Store::new();
    let (mut index, a, b) = (fresh(&store), key("p", "a"), key("p", "b"));
    store.transcript(&a, &[said(1, "a needle in a haystack of words"), user(2, "needle"), user(3, "needles")].concat());
    store.transcript(&b, &[user(4, "bodkins"), user(5, "more bodkins"), said(6, "needle")].concat());
    update(&mut index, &store, &a);
    update(&mut index, &store, &b);
    let found = |query: &SearchQuery| -> Vec<String> {
        let results = index.search(&store, query).unwrap();
        let hit = |hit: Hit| format!("{} {} {} +{}", hit.rank, hit.session_id, hit.snippet, hit.others_in_session);
        results.hits.into_iter().map(hit).collect()
    };
    assert_eq!(found(&by_session("needle")), ["1 a [needle] +1", "2 b [needle] +0"]);
    // Parts of words are counted too where the session is found by them.
    assert_eq!(found(&by_session("odkin")), ["1 b more b[odkin]s +1"]);
    assert_eq!(found(&SearchQuery::new("needle", 0)).len(), 4);
}

#[test]
fn pages_have_no_gap_and_no_duplicate() {
    let store = Store::new();
    let mut index = fresh(&store);
    for n in 0..32 {
        let key = key("p", &format!("s{n:02}"));
        let lines = match n % 4 {
            0 => vec![user(n, "needle thread")],
            1 => vec![said(n, "needle thread"), user(n + 1, "needle"), result(n + 2, "t", "thread needle")],
            2 => vec![user(n, "needles threads")],
            _ => vec![user(n, "needle"), said(n + 1, "thread")],
        };
        store.transcript(&key, &lines.concat());
        update(&mut index, &store, &key);
    }
    let question = "how is the needle thread of the haystack made";
    for (each, text) in [(false, "needle thread"), (true, "needle thread"), (false, "needle"), (false, question)] {
        let all = SearchQuery { each, limit: 500, ..SearchQuery::new(text, 0) };
        let whole = ids(&index, &store, &all);
        assert_eq!(whole.len(), 32, "{text}: {whole:?}");
        for limit in [1, 7, 13] {
            let mut paged = Vec::new();
            for page in 0.. {
                let query = SearchQuery { limit, offset: page * limit, now_ms: page as i64 * 3_600_000, ..all.clone() };
                let results = index.search(&store, &query).unwrap();
                let ranks: Vec<usize> = results.hits.iter().map(|hit| hit.rank).collect();
                assert_eq!(ranks, (page * limit + 1..=page * limit + ranks.len()).collect::<Vec<_>>());
                paged.extend(ids(&index, &store, &query));
                if !results.more {
                    break;
                }
            }
            assert_eq!(paged, whole, "{text}: pages of {limit}, each: {each}");
        }
    }
}

#[test]
fn what_a_person_wrote_is_found_under_any_amount_of_noise() {
    let store = Store::new();
    let (mut index, old, noise) = (fresh(&store), key("p", "old"), key("p", "zzz"));
    store.transcript(&old, &user(1, "why does the deploy hang"));
    update(&mut index, &store, &old);
    let lines = (0..4000).map(|n| result(n % 60, "t", &format!("the deploy {n} deploy")));
    store.transcript(&noise, &std::iter::once(user(1, "go")).chain(lines).collect::<String>());
    update(&mut index, &store, &noise);
    for text in ["deploy", "\"the deploy\"", "the deploy"] {
        let results = index.search(&store, &by_session(text)).unwrap();
        assert_eq!(results.hits[0].session_id, "old", "{text}: {results:?}");
        assert_eq!(results.hits.len(), 2, "{text}: {results:?}");
        assert!(results.notes.is_empty(), "{text}: {:?}", results.notes);
    }
    // Behind it the output of tools, what was indexed last first; all of it can be paged to.
    let all = SearchQuery { each: true, limit: 5000, ..SearchQuery::new("deploy", 0) };
    let each = index.search(&store, &all).unwrap().hits;
    assert_eq!((each.len(), each[0].role), (4001, Role::User));
    assert!(each[1..].is_sorted_by(|a, b| (&a.time, a.offset) > (&b.time, b.offset)), "{:?}", &each[1..4]);
    let without = index.search(&store, &by_session("deploy NOT hang")).unwrap();
    assert_eq!(without.hits[0].session_id, "zzz");
}

#[test]
fn a_word_that_many_messages_hold_is_ranked_in_all_of_them() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    // The best comes first, where a look at the last messages alone would miss it.
    let lines = (1..=450).map(|n| result(n % 60, "t", &format!("deploy {n}")));
    store.transcript(&s, &std::iter::once(user(1, "deploy")).chain(lines).collect::<String>());
    update(&mut index, &store, &s);
    let all = SearchQuery { each: true, limit: 500, ..SearchQuery::new("deploy", 0) };
    let results = index.search(&store, &all).unwrap();
    assert_eq!((results.hits.len(), results.notes.len()), (451, 0), "{:?}", results.notes);
    assert_eq!(results.hits[0].role, Role::User);
    let places: BTreeSet<u64> = results.hits.iter().map(|hit| hit.offset).collect();
    assert_eq!(places.len(), 451);
    let results = index.search(&store, &by_session("deploy")).unwrap();
    assert_eq!((results.hits[0].role, results.hits[0].others_in_session), (Role::User, 450));
}

#[test]
fn words_that_stand_apart_in_a_session_are_found_behind_those_together() {
    let store = Store::new();
    let mut index = fresh(&store);
    let title = "{\"type\":\"custom-title\",\"customTitle\":\"Zebra crossing\"}\n";
    for (id, lines) in [
        ("apart", vec![user(1, "the lion sleeps"), said(2, "so does the tiger")]),
        ("together", vec![user(1, "a lion and a tiger")]),
        ("lion", vec![user(1, "one lion")]),
        ("titled", vec![title.to_owned(), user(1, "the lion walks")]),
    ] {
        store.transcript(&key("p", id), &lines.concat());
        update(&mut index, &store, &key("p", id));
    }
    let found = |text: &str| -> Vec<String> {
        let results = index.search(&store, &by_session(text)).unwrap();
        results.hits.into_iter().map(|hit| format!("{}: {}", hit.session_id, hit.snippet)).collect()
    };
    assert_eq!(found("lion tiger"), ["together: a [lion] and a [tiger]", "apart: so does the [tiger]"]);
    assert_eq!(found("lion zebra"), ["titled: the [lion] walks"]);
    assert_eq!(found("crossing"), ["titled: the lion walks"]);
    // Where no conversation holds them all, those that hold one do.
    assert_eq!(
        found("zebra tiger"),
        ["together: a lion and a [tiger]", "apart: so does the [tiger]", "titled: the lion walks"]
    );
    assert_eq!(found("\"lion sleeps\" tiger"), ["apart: the [lion sleeps]"]);
    let filtered = SearchQuery { role: Some(Role::User), ..by_session("lion tiger") };
    assert_eq!(ids(&index, &store, &filtered), ["togetheruuid-1"]);
}

#[test]
fn a_question_that_one_message_answers_for_the_other_stands_before_words_far_apart() {
    let [asked, answered] = ["Where are the invoices kept?", "They live in Postgres."];
    let other = |n| said(n, "Something else is talked about.");
    let beside = vec![user(1, asked), said(2, answered), other(3), other(4), other(5)];
    let apart = vec![user(11, asked), other(12), other(13), other(14), said(15, answered)];
    let sessions = [("beside", beside), ("apart", apart)];
    check_first(&sessions, "invoices postgres", &["beside +0", "apart +0"]);
}

#[test]
fn neighbours_of_a_hit_are_told_in_order_without_notices() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let notice = user(3, "<system-reminder>be brief</system-reminder>");
    let bare = "{\"type\":\"user\",\"message\":{\"content\":\"no id\"}}\n".to_owned();
    let lines =
        [user(1, "one"), bare, notice, call(4, "t", "Bash", r#"{"command":"ls"}"#), said(5, "needle"), user(6, "six")];
    store.transcript(&s, &lines.concat());
    store.put(&s, side("subagents/agent-a.jsonl"), user(7, "elsewhere").as_bytes());
    update(&mut index, &store, &s);
    let query = SearchQuery { before: 2, after: 5, ..SearchQuery::new("needle", 0) };
    let hit = index.search(&store, &query).unwrap().hits.remove(0);
    let told = |context: &[ContextMessage]| -> Vec<String> {
        context.iter().map(|n| format!("{} {} {}", n.message, n.role.as_str(), n.text)).collect()
    };
    let bare_at = format!("s.jsonl:{}", lines[0].len());
    assert_eq!(told(&hit.before), [format!("{bare_at} user no id"), "uuid-4 tool Bash ls".to_owned()]);
    assert_eq!(told(&hit.after), ["uuid-6 user six"]);
    let bare = index.search(&store, &SearchQuery::new("\"no id\"", 0)).unwrap().hits.remove(0);
    assert_eq!((bare.uuid, bare.message), (None, bare_at));
}

#[test]
fn a_clock_that_was_wrong_makes_nothing_old() {
    let store = Store::new();
    let (mut index, old, new) = (fresh(&store), key("p", "old"), key("p", "new"));
    let wrong = key("p", "wrong");
    store.transcript(&old, &user(1, "needle").replace("2026-11", "2025-01"));
    store.transcript(&new, &user(2, "needle"));
    store.transcript(&wrong, &user(1, "other").replace("2026-11", "2096-11"));
    for key in [&new, &old, &wrong] {
        update(&mut index, &store, key);
    }
    let query = SearchQuery { now_ms: parse_rfc3339_ms("2026-11-24T00:00:00Z").unwrap(), ..by_session("needle") };
    assert_eq!(ids(&index, &store, &query), ["newuuid-2", "olduuid-1"]);
}

#[test]
fn what_was_queued_is_found_once_whenever_it_is_sent() {
    let store = Store::new();
    let s = key("p", "s");
    let queued = |text: &str| {
        format!(
            r#"{{"type":"queue-operation","operation":"enqueue","timestamp":"2026-11-22T10:00:05Z","content":"{text}"}}"#
        ) + "\n"
    };
    let sent = |n: u32, text: &str| {
        let prompt = format!(r#"{{"type":"queued_command","prompt":"{text}","commandMode":"prompt"}}"#);
        format!(r#"{{"type":"attachment","uuid":"a-{n}","attachment":{prompt}}}"#) + "\n"
    };
    let lines = [
        user(1, "begin"),
        queued("the tapir"),
        queued("the okapi"),
        queued("the gnu"),
        said(2, "at work"),
        sent(3, "the tapir"),
        user(4, "the okapi\nand the gnu"),
        queued("the yak"),
    ];
    // Saved as a whole, and again after every line.
    for steps in [vec![lines.len()], (1..=lines.len()).collect()] {
        let mut index = fresh(&store);
        for step in steps {
            store.transcript(&s, &lines[..step].concat());
            update(&mut index, &store, &s);
        }
        for (word, expected) in [("tapir", 1), ("okapi", 1), ("yak", 1)] {
            assert_eq!(find(&index, &store, word).len(), expected, "{word}");
        }
        // It was sent as a part of a line: nobody can tell that it was.
        assert_eq!(find(&index, &store, "gnu").len(), 2);
        assert_eq!(dump(&index), rebuilt(&store));
        assert_eq!(index.session(&s).unwrap().unwrap().metadata.messages, 6);
    }
    // What the older content had waiting was sent in the newer one.
    let mut index = fresh(&store);
    store.transcript(&s, &queued("the emu"));
    update(&mut index, &store, &s);
    store.transcript(&s, &(queued("the emu") + &user(9, "the emu")));
    update(&mut index, &store, &s);
    assert_eq!(find(&index, &store, "emu").len(), 1);
}

#[test]
fn what_people_and_agents_said_is_found_in_its_place() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let lines = [
        user(1, "<ide_opened_file>opened lion.rs</ide_opened_file>\nask the tiger"),
        user(2, "<task-notification><task-id>t</task-id><result>the zebra answers</result></task-notification>"),
        user(3, "[Request interrupted by user]"),
        r#"{"type":"hologram","uuid":"h","content":"a narwhal swims"}"#.to_owned() + "\n",
    ];
    store.transcript(&s, &lines.concat());
    update(&mut index, &store, &s);
    let role = |text: &str| index.search(&store, &SearchQuery::new(text, 0)).unwrap().hits[0].role;
    assert_eq!(
        ["tiger", "zebra", "interrupted", "narwhal"].map(role),
        [Role::User, Role::Assistant, Role::User, Role::System]
    );
    assert_eq!(index.session(&s).unwrap().unwrap().metadata.first_topic.as_deref(), Some("ask the tiger"));
}

#[test]
fn the_name_in_the_file_beside_the_transcript_is_the_newest() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let title = |name: &str| format!(r#"{{"type":"custom-title","customTitle":"{name}"}}"#) + "\n";
    store.transcript(&s, &(user(1, "prompt") + &title("zoo") + &title("ark")));
    update(&mut index, &store, &s);
    let known =
        |index: &Index| index.session(&s).unwrap().map(|row| (row.metadata.title.unwrap(), row.subagents)).unwrap();
    assert_eq!(known(&index), ("ark".to_owned(), 0));
    store.put(&s, side("custom-title.json"), br#"{"customTitle":"Zephyr plan"}"#);
    update(&mut index, &store, &s);
    assert_eq!(known(&index), ("Zephyr plan".to_owned(), 0));
    assert_eq!(ids(&index, &store, &by_session("zephyr")).len(), 1);
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn turns_that_stand_in_any_file_of_the_session_are_found() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    store.transcript(&s, &user(1, "prompt"));
    for (n, path, is_indexed) in [
        (2, "subagents/agent-a.jsonl", true),
        (3, "subagents/workflows/wf_1/agent-b.JSONL", true),
        (4, "before-cleanup/1764000000000-abcdef12.jsonl.replaced", true),
        (5, "remote-agents/r.jsonl", true),
        (6, ".beside/s.jsonl.superseded-1", true),
        (7, ".beside/s.orphaned-1.jsonl", true),
        (8, "tool-results/toolu_1.jsonl", true),
        (9, "workflows/scripts/w.js", false),
    ] {
        store.put(&s, side(path), user(n, &format!("wombat{n}")).as_bytes());
        update(&mut index, &store, &s);
        assert_eq!(ids(&index, &store, &by_session(&format!("wombat{n}"))).len(), usize::from(is_indexed), "{path}");
    }
    assert_eq!(index.session(&s).unwrap().unwrap().subagents, 2);
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn a_hit_far_behind_the_beginning_names_its_place() {
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let filler = "é word ".repeat(1000);
    store.transcript(&s, &(user(1, &format!("{filler}okapi {filler}")) + &user(2, &format!("gnu {filler}"))));
    update(&mut index, &store, &s);
    let message = |text: &str| index.search(&store, &SearchQuery::new(text, 0)).unwrap().hits[0].message.clone();
    assert_eq!(message("gnu"), "uuid-2");
    let far = message("okapi");
    let at: usize = far.strip_prefix("uuid-1#").unwrap().parse().unwrap();
    assert!((6900..=7000).contains(&at), "{at}");
}

/// What is found first, by session, of conversations that each hold these lines.
#[track_caller]
fn check_first(sessions: &[(&str, Vec<String>)], query: &str, expected: &[&str]) {
    let store = Store::new();
    let mut index = fresh(&store);
    for (name, lines) in sessions {
        store.transcript(&key("p", name), &lines.concat());
        update(&mut index, &store, &key("p", name));
    }
    let hits = index.search(&store, &by_session(query)).unwrap().hits;
    let found: Vec<String> = hits.iter().map(|hit| format!("{} +{}", hit.session_id, hit.other_sessions)).collect();
    assert_eq!(found, expected, "{query}");
}

#[test]
fn a_message_that_forks_have_copied_is_one_hit_of_its_origin() {
    let copied = |id: &str, origin: &str| {
        let from = format!(r#""forkedFrom":{{"sessionId":"{origin}","messageUuid":"{id}"}},"uuid":"#);
        move |line: String| line.replace("\"uuid\":", &from)
    };
    let talk = || vec![user(1, "a kakapo flies"), said(2, "kakapos do not fly")];
    let fork = |end: &str| {
        let mut lines: Vec<String> = vec![
            copied("uuid-1", "b")(user(1, "a kakapo flies")),
            copied("uuid-2", "b")(said(2, "kakapos do not fly")),
        ];
        lines.push(user(end.len() as u32 + 10, end));
        lines
    };
    // `b` is the origin: `a` and `c` say so, whichever was indexed first. `d` has words of its own, and `e` another talk.
    let sessions = [
        ("a", fork("on with a")),
        ("b", [talk(), vec![user(40, "long after"), said(41, "yes")]].concat()),
        ("c", fork("and with c")),
        ("d", fork("kakapo again, in d")),
        ("e", vec![user(50, "a kakapo in another talk, among other words")]),
    ];
    check_first(&sessions, "kakapo", &["d +0", "b +3", "e +0"]);
    check_first(&sessions, "kakapo flies", &["b +3"]);
    check_first(&sessions, "akap", &["e +0", "d +0", "b +3"]);
    check_first(&sessions, "on with", &["a +0"]);
    // Neither ids nor a word of where it comes from: what was said by the same one at the same time is the same.
    let anew = |line: String, of: &str| line.replace("\"uuid\":\"uuid-", &format!("\"uuid\":\"{of}-"));
    let under_new_ids = |of: &str, end: &str| {
        let mut lines: Vec<String> = talk().into_iter().map(|line| anew(line, of)).collect();
        lines.push(anew(user(end.len() as u32 + 10, end), of));
        lines
    };
    let asked_by_the_model = vec![said(1, "a kakapo flies"), said(2, "yes")];
    let sessions = [
        ("a", under_new_ids("x", "on")),
        ("b", talk()),
        ("c", under_new_ids("y", "onwards")),
        ("d", asked_by_the_model),
    ];
    check_first(&sessions, "kakapo flies", &["b +2", "d +0"]);
    check_first(&sessions, "kakapos", &["b +2"]);
    // What has no id is the same message nowhere else.
    let nameless = |n| vec![user(n, "kiwi").replace(&format!("\"uuid\":\"uuid-{n}\","), "")];
    check_first(&[("a", nameless(1)), ("b", nameless(1))], "kiwi", &["b +0", "a +0"]);
}

/// Words in several messages, or in the title, count for a conversation that was forked as for any other, and for a fork
/// where what it has copied does not hold them all.
#[test]
fn a_forked_conversation_and_its_fork_are_found_by_words_apart_and_by_their_titles() {
    let talk = || vec![user(1, "the walrus sings"), user(2, "a trombone plays")];
    let titled = |title: &str| vec![format!("{{\"type\":\"custom-title\",\"customTitle\":\"{title}\"}}\n")];
    let sessions = [
        ("a", [talk(), titled("Harpsichord")].concat()),
        ("b", [talk(), vec![user(30, "and a xylophone")], titled("Glockenspiel")].concat()),
        (
            "c",
            vec![user(40, "no walrus"), user(41, "no trombone"), user(42, "no xylophone"), user(43, "no glockenspiel")],
        ),
    ];
    let store = Store::new();
    let mut index = fresh(&store);
    for (name, lines) in &sessions {
        store.transcript(&key("p", name), &lines.concat());
        update(&mut index, &store, &key("p", name));
    }
    for (query, expected) in [
        ("walrus trombone", &["a +1", "c +0"][..]),
        ("walrus AND trombone", &["a +1", "c +0"]),
        ("walrus xylophone", &["b +0", "c +0"]),
        ("harpsichord", &["a +0"]),
        ("glockenspiel", &["b +0", "c +0"]),
        ("trombone harpsichord", &["a +1"]),
        ("trombone glockenspiel", &["b +0", "c +0"]),
    ] {
        let hits = index.search(&store, &by_session(query)).unwrap().hits;
        let mut found: Vec<String> =
            hits.iter().map(|hit| format!("{} +{}", hit.session_id, hit.other_sessions)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{query}");
    }
}

#[test]
fn a_clock_that_goes_back_decides_neither_title_nor_topic() {
    let (store, a) = (Store::new(), key("p", "a"));
    let mut index = fresh(&store);
    // The clock was put back, and forth by a year in between; parts of it come with later saves.
    let wrong = user(1, "the third").replace("2026-11-22", "2027-11-22");
    let mut lines = vec![user(30, "the first"), user(20, "the second"), wrong];
    for end in ["the fourth", "the last"] {
        lines.push(user(10 + end.len() as u32 % 7, end));
        store.transcript(&a, &lines.concat());
        update(&mut index, &store, &a);
    }
    let row = index.sessions(&SessionFilter::default()).unwrap().remove(0);
    let topics = [row.metadata.first_topic, row.metadata.last_topic];
    assert_eq!(topics.map(Option::unwrap_or_default), ["the first", "the last"]);
    assert_eq!(dump(&index), rebuilt(&store));
    // A message keeps its own time.
    let hit = index.search(&store, &SearchQuery::new("second", 0)).unwrap().hits.remove(0);
    assert_eq!(hit.time.as_deref(), Some("2026-11-22T10:20:00.000Z"));
}

#[test]
fn a_sentence_with_an_operator_in_it_finds_its_place() {
    let messages = [
        (1, "here you should use it"),
        (2, "and you should NOT use it here, ever"),
        (3, "rock AND roll is here to stay"),
        (4, "roll the rock, it is here to stay"),
        (5, "that is there OR this"),
        (6, "this is it, and that is there"),
    ];
    let store = Store::new();
    let (mut index, a) = (fresh(&store), key("p", "a"));
    store.transcript(&a, &messages.map(|(n, text)| user(n, text)).concat());
    update(&mut index, &store, &a);
    let found = |query: &str| ids(&index, &store, &SearchQuery::new(query, 0)).join(" ");
    assert_eq!(found("you should NOT use it here"), "auuid-2");
    let snippet = &index.search(&store, &SearchQuery::new("you should NOT use it here", 0)).unwrap().hits[0].snippet;
    assert_eq!(snippet, "and [you should NOT use it here], ever");
    assert_eq!(found("you should NOT here ever"), "auuid-1");
    assert_eq!(found("rock AND roll is here to stay"), "auuid-3 auuid-4");
    assert_eq!(found("that is there OR this"), "auuid-5 auuid-6");
    // Fewer words are a query, and what has quotes or parentheses was meant as one.
    assert_eq!(found("should NOT use"), "");
    assert_eq!(found("\"you\" should NOT use it here"), "auuid-2");
    assert_eq!(found("\"you\" should NOT use"), "");
}

#[test]
fn titles_of_other_projects_take_no_room_of_the_one_that_is_meant() {
    let store = Store::new();
    let (mut index, here) = (fresh(&store), key("p", "here"));
    let many: String = (2..1100).map(|n| user(n, "lion")).collect();
    store.transcript(&here, &(user(1, "zebra") + &many));
    update(&mut index, &store, &here);
    for n in 0..45 {
        let other = key("p", &format!("other-{n}"));
        store.transcript(&other, &(user(n, "else") + "{\"type\":\"custom-title\",\"customTitle\":\"Zebra\"}\n"));
        update(&mut index, &store, &other);
    }
    let row = index.whereabouts().unwrap().into_iter().find(|known| known.session_id == "here").unwrap().row;
    let query = SearchQuery { within: Some(vec![row]), ..by_session("zebra lion") };
    let results = index.search(&store, &query).unwrap();
    assert_eq!((results.hits.len(), results.notes.as_slice()), (1, &[][..]), "{results:?}");
}

#[test]
fn a_copy_is_shown_where_the_filters_leave_its_origin_out() {
    let store = Store::new();
    let (mut index, origin, fork) = (fresh(&store), key("p", "a"), key("p", "b"));
    let talk = [user(1, "a kakapo flies"), said(2, "kakapos do not fly")].concat();
    store.transcript(&origin, &talk);
    store.transcript(&fork, &[talk.clone(), call(3, "t1", "Edit", r#"{"file_path":"/w/src/a.rs"}"#)].concat());
    update(&mut index, &store, &origin);
    update(&mut index, &store, &fork);
    let rows: Vec<(i64, String)> =
        index.whereabouts().unwrap().into_iter().map(|known| (known.row, known.session_id)).collect();
    let row = |id: &str| rows.iter().find(|(_, known)| known == id).unwrap().0;
    let found = |text: &str, change: &dyn Fn(&mut SearchQuery)| {
        let mut query = SearchQuery::new(text, 0);
        change(&mut query);
        let mut found = ids(&index, &store, &query);
        found.sort();
        found.join(" ")
    };
    // As whole words and as parts of them.
    for text in ["kakapo flies", "kapo flie"] {
        assert_eq!(found(text, &|_| {}), "auuid-1");
        assert_eq!(found(text, &|query| query.within = Some(vec![row("a")])), "auuid-1");
        assert_eq!(found(text, &|query| query.within = Some(vec![row("b")])), "buuid-1");
        assert_eq!(found(text, &|query| query.session_id = Some("b".into())), "buuid-1");
        assert_eq!(found(text, &|query| query.file = Some("src/a.rs".into())), "buuid-1");
    }
}

#[test]
fn a_list_tells_forks_from_their_origin() {
    let store = Store::new();
    let mut index = fresh(&store);
    let next = "{\"type\":\"continued-in\",\"sessionId\":\"a\",\"continuedInSessionId\":\"b\"}\n".to_owned();
    let talk = || vec![user(1, "a kakapo"), said(2, "yes")];
    // What is typed is queued first, before the client sends it, and recorded twice.
    let queued = |text: &str| {
        format!(
            r#"{{"type":"queue-operation","operation":"enqueue","timestamp":"2026-11-22T10:00:00Z","content":"{text}"}}"#
        ) + "\n"
    };
    let says_so =
        talk().concat().replace("\"uuid\":", "\"forkedFrom\":{\"sessionId\":\"b\",\"messageUuid\":\"x\"},\"uuid\":");
    for (name, text) in [
        ("b", [talk(), vec![user(3, "on")]].concat().concat()),
        ("a", [talk(), vec![next]].concat().concat()),
        ("c", says_so + &user(4, "another way")),
        ("d", user(1, "the same id, another text")),
        ("e", [queued("a kea"), user(6, "a kea"), said(7, "no")].concat()),
        ("f", [user(6, "a kea"), said(7, "no"), queued("on"), user(8, "on")].concat()),
    ] {
        store.transcript(&key("p", name), &text);
        update(&mut index, &store, &key("p", name));
    }
    let rows = index.sessions(&SessionFilter::default()).unwrap();
    let mut shown: Vec<String> = rows
        .iter()
        .map(|row| {
            let m = &row.metadata;
            let [from, next] = [&m.forked_from, &m.continued_in].map(|id| id.as_deref().unwrap_or("-"));
            format!("{} {} {from} {next}", m.session_id, row.forks)
        })
        .collect();
    shown.sort();
    assert_eq!(shown, ["a 2 - b", "b 0 a -", "c 0 b -", "d 0 - -", "e 1 - -", "f 0 e -"]);
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn what_our_own_search_was_asked_and_answered_stands_behind() {
    let asked = |n: u32| format!(r#"{{"query":"quarklet lease {n}"}}"#);
    let command = r#"{"command":"'/h/.claude/hooks/layer3-indexer' search --json -- 'quarklet lease'"}"#;
    let echo = |tool: &str, input: &str, n: u32| {
        vec![
            user(n, "seen before?"),
            call(n + 1, "t", tool, input),
            result(n + 2, "t", "1 · [quarklet] [lease] [quarklet] [lease]"),
        ]
    };
    let skill = "<command-name>/threefold:search-sessions</command-name><command-args>quarklet lease</command-args>";
    let beside = format!(
        r#"{{"type":"text","text":"Let me look."}},{{"type":"tool_use","id":"t","name":"session_search","input":{}}}"#,
        asked(1)
    );
    let sessions = [
        ("beside", vec![user(50, "seen before?"), answer(51, &beside)]),
        ("by_command", echo("Bash", command, 30)),
        ("by_plugin", echo("mcp__plugin_x_y__session_get_context", &asked(3), 20)),
        ("by_skill", vec![user(40, skill), said(41, "it is nowhere")]),
        ("by_tool", echo("mcp__session-manager__session_search", &asked(2), 10)),
        (
            "original",
            vec![
                user(1, "run it"),
                result(2, "x", "fatal: quarklet 0x77 has no lease, and much else was printed here"),
            ],
        ),
    ];
    let store = Store::new();
    let mut index = fresh(&store);
    for (name, lines) in &sessions {
        store.transcript(&key("p", name), &lines.concat());
        update(&mut index, &store, &key("p", name));
    }
    let hits = index.search(&store, &by_session("quarklet lease")).unwrap().hits;
    assert_eq!((hits[0].session_id.as_str(), hits.len()), ("original", 5), "{hits:?}");
    let by_user = SearchQuery { role: Some(Role::User), ..by_session("quarklet") };
    assert_eq!(ids(&index, &store, &by_user), ["by_skilluuid-40"]);
    assert_eq!(dump(&index), rebuilt(&store));
}

#[test]
fn words_in_a_row_come_before_words_apart() {
    let row = "Summary of the day. Now let me run the tests to verify everything works: done.";
    let apart = "let tests run now; to me everything is the thing to verify, the tests, it works works works";
    let mut sessions =
        vec![("row", vec![user(1, "hello"), said(2, row)]), ("log", vec![user(3, "hi"), result(4, "t", row)])];
    sessions.extend(["a", "b", "c"].map(|name| (name, vec![user(name.as_bytes()[0] as u32 % 60, apart)])));
    // What a tool printed is mostly a log of what was done elsewhere.
    for query in ["Now let me run the tests to verify everything works:", "now LET me (run the tests) to verify"] {
        check_first(&sessions, query, &["row +0", "c +0", "b +0", "a +0", "log +0"]);
    }
    check_first(&sessions, "\"Now let me run the tests\" everything", &["row +0", "log +0"]);
}

#[test]
fn words_are_found_without_their_marks() {
    let sessions = [("a", vec![user(1, "Ёлка и Łódź in der Straße, ＡＢＣ"), user(2, "İstanbul ｶﾞｷﾞ كِتَاب שָׁלוֹם")])];
    for query in
        ["елка", "ёлка", "lodz", "ŁÓDŹ", "strasse", "STRAẞE", "abc", "istanbul", "ガギ", "كتاب", "שלום", "tanbu", "ódź"]
    {
        check_first(&sessions, query, &["a +0"]);
    }
}

#[test]
fn pictures_do_not_fill_the_index() {
    let mut seed: u64 = 7;
    let mut byte = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(seed >> 33) as usize % 64]
    };
    let picture: String = (0..1_000_000).map(|_| char::from(byte())).collect();
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let write = format!(r#"{{"file_path":"/w/a.svg","content":"data:image/png;base64,{picture}"}}"#);
    let lines = [user(1, &format!("look {picture} needle")), call(2, "t", "Write", &write), result(3, "t", &picture)];
    store.transcript(&s, &lines.concat());
    update(&mut index, &store, &s);
    index.checkpoint().unwrap();
    let bytes = index.counts().unwrap().bytes;
    assert!(bytes < 400_000, "{bytes} bytes of an index of {} of text", lines.concat().len());
    for query in ["needle", &picture[..100], &picture, "a.svg"] {
        assert!(!find(&index, &store, query).is_empty(), "{}", &query[..query.len().min(20)]);
    }
}

#[test]
fn a_question_finds_the_conversation_that_holds_most_of_its_words() {
    let sessions = [
        (
            "en",
            vec![user(1, "the retry policy waits twice"), said(2, "backoff is applied by the caller, I planned a fix")],
        ),
        ("es", vec![user(3, "la cola de mensajes se llena"), said(4, "el consumidor tarda demasiado")]),
        ("other", vec![user(5, "when did we do what we did and why is it"), said(6, "you and I did it then")]),
    ];
    check_first(&sessions, "Why did the retries wait so long, and what about the backoff?", &["en +0"]);
    check_first(&sessions, "¿Por qué se llena la cola de trabajos?", &["es +0"]);
    check_first(&sessions, "which fixes are being planned", &["en +0"]);
    // Whoever says how words stand means it.
    for exact in
        ["\"backoff retry\"", "backoff AND zebra", "backoff NOT caller", "NEAR(retry caller, 1)", "zebra* giraffe"]
    {
        check_first(&sessions, exact, &[]);
    }
}

#[test]
fn a_word_that_no_conversation_has_is_the_nearest_that_some_has() {
    let store = Store::new();
    let (mut index, a, b) = (fresh(&store), key("p", "a"), key("p", "b"));
    let lines = [
        user(1, "the retry waits with exponential backoff before it asks the coordinator; bakeoff"),
        said(2, "La configuración de la sesión; calendar of `parse_conf`"),
    ];
    store.transcript(&a, &lines.concat());
    store.transcript(&b, &user(3, "a longer backoff, and subscriptions to a bodkins list"));
    update(&mut index, &store, &a);
    update(&mut index, &store, &b);
    for (text, found, spelled) in [
        // Left out, doubled, changed, and two that changed places; whatever stands around the word.
        ("bakoff", "b a", "backoff instead of bakoff"),
        ("Bakoff?", "b a", "backoff instead of Bakoff?"),
        ("baackoff", "b a", "backoff instead of baackoff"),
        ("abckoff", "b a", "backoff instead of abckoff"),
        ("bcakoff", "b a", "backoff instead of bcakoff"),
        ("retyr", "a", "retry instead of retyr"),
        ("exponental coordinater", "a", "exponential instead of exponental, coordinator instead of coordinater"),
        ("how does the retry wait with bakoff", "a b", "backoff instead of bakoff"),
        ("configurasion", "a", "configuracion instead of configurasion"),
        ("subscirptoins", "b", "subscriptions instead of subscirptoins"),
        // As it is: the word is there, in another form or as a part of one.
        ("bakeoff", "a", ""),
        ("subscription", "b", ""),
        ("odkin", "b", ""),
        ("calend", "a", ""),
        // Too far, too short, or exact.
        ("baqqoff", "", ""),
        ("exqonential", "a", "exponential instead of exqonential"),
        ("exqqqnential", "", ""),
        ("liat", "b", "list instead of liat"),
        ("lst", "", ""),
        ("\"bakoff\"", "", ""),
        ("bakoff NOT x", "", ""),
        ("bakof*", "", ""),
        ("parse_cofn", "", ""),
        ("src/bakoff", "", ""),
        ("baKoff", "", ""),
        ("b4koff", "", ""),
    ] {
        let results = index.search(&store, &by_session(text)).unwrap();
        let ids: Vec<&str> = results.hits.iter().map(|hit| hit.session_id.as_str()).collect();
        let notes: Vec<&str> =
            results.notes.iter().filter_map(|note| note.strip_suffix(", which no conversation has")).collect();
        assert_eq!((ids.join(" "), notes.join(", ")), (found.to_owned(), spelled.to_owned()), "{text}");
    }
    // Every message likewise, also where nothing may be written; what a filter leaves has none.
    let each = index.search(&store, &SearchQuery::new("bakoff", 0)).unwrap();
    assert_eq!((each.hits.len(), each.notes.len()), (2, 1), "{each:?}");
    assert!(each.hits[0].snippet.contains("[backoff]"), "{each:?}");
    let reader = Index::open_read_only(&store.dir.path().join("index").join("sessions.db")).unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(reader.search(&store, &by_session("bakoff")).unwrap().hits.len(), 2);
    }
    // What the filters leave has no such word, and no word near it.
    let of_b = SearchQuery { session_id: Some("b".into()), ..by_session("exponental") };
    let none = index.search(&store, &of_b).unwrap();
    assert_eq!((none.hits.len(), none.notes.len()), (0, 0), "{none:?}");
}

/// Of a record of megabytes the texts are read in pieces: each word of it is found, and it is one message.
#[test]
fn a_record_of_megabytes_is_found_by_each_part_and_is_one_message() {
    let filler = "lines \\n of \\\"many\\\" words, 日本 ".repeat(30_000);
    let long = |mark: &str| format!("{mark}first {filler} {mark}middle {filler} {mark}last");
    let (asked, printed) = (long("asked"), long("printed"));
    assert!(printed.len() > 1024 * 1024);
    let beside = format!(r#""toolUseResult":{{"stdout":"{printed}","stderr":""}},"type":"user""#);
    let transcript = [
        user(1, "before it"),
        record(2, "user", &format!(r#"{{"role":"user","content":"{asked}"}}"#)),
        call(3, "t1", "Bash", r#"{"command":"print"}"#),
        result(4, "t1", &printed).replace(r#""type":"user""#, &beside),
        user(5, "behind it"),
        // Several on a line, and one that is damaged, are read as any other.
        format!("{}{}", result(6, "t6", &long("twice")).trim_end(), user(7, "onthesameline")),
        format!("{}{}", &result(8, "t8", &long("torn"))[..1_000_000], user(9, "behinddamage")),
    ];
    let store = Store::new();
    let (mut index, s) = (fresh(&store), key("p", "s"));
    let whole = transcript.concat();
    // It comes in two steps, the first of which ends within the long one.
    store.transcript(&s, &whole[..transcript[0].len() + asked.len() / 2]);
    update(&mut index, &store, &s);
    store.transcript(&s, &whole);
    update(&mut index, &store, &s);
    assert_eq!(dump(&index), rebuilt(&store));
    for (word, hit) in [("asked", "suuid-2"), ("printed", "suuid-4"), ("twice", "suuid-6")] {
        for word in [format!("{word}first"), format!("{word}middle"), format!("{word}last")] {
            let query = SearchQuery { before: 4, after: 4, ..SearchQuery::new(&word, 0) };
            let hits = index.search(&store, &query).unwrap().hits;
            let of_hit = |hit: &Hit| format!("{}{}", hit.session_id, hit.uuid.as_deref().unwrap_or("-"));
            assert_eq!(hits.iter().map(of_hit).collect::<Vec<_>>(), [hit], "{word}");
            assert!(hits[0].snippet.contains(&word), "{word}: {}", hits[0].snippet);
            let beside = |all: &[ContextMessage]| all.iter().map(|one| one.time.clone()).collect::<BTreeSet<_>>().len();
            assert_eq!(
                (beside(&hits[0].before), beside(&hits[0].after)),
                (hits[0].before.len(), hits[0].after.len()),
                "each message beside it comes once: {word}"
            );
        }
    }
    let bash = |text: &str| SearchQuery { tool: Some("Bash".into()), ..SearchQuery::new(text, 0) };
    assert_eq!(ids(&index, &store, &bash("printedlast")), ["suuid-4"]);
    assert_eq!(ids(&index, &store, &SearchQuery::new("onthesameline", 0)), ["suuid-7"]);
    assert_eq!(ids(&index, &store, &SearchQuery::new("behinddamage", 0)), ["suuid-9"]);
    let row = index.sessions(&SessionFilter::default()).unwrap();
    assert_eq!(row[0].metadata.messages, 8);
}
