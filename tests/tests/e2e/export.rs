//! `export` and `show` on the real binary: a file of its own, a pipe that ends early, damage.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;
use tests::scratch::{PROJECT, Scratch};
use tests::transcripts::{self, SUBAGENT};

use crate::product::chain_delivered;

fn with_subagent() -> Scratch {
    let scratch = Scratch::new();
    let transcript = transcripts::lay_out(&scratch, SUBAGENT);
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    scratch
}

#[test]
fn a_page_is_written_to_a_private_file_once() {
    let scratch = with_subagent();
    let page = scratch.beside("page.html");
    let to = page.to_str().expect("a path of text");
    let outcome = scratch.layer3(&["export", SUBAGENT, "-o", to, "--json"]).output().ok();
    let exported = outcome.json()["exported"].clone();
    let text = fs::read_to_string(&page).expect("the page");
    assert!(text.starts_with("<!doctype html>") && text.contains("general-purpose: stub agent"), "{text}");
    assert_eq!(exported["bytes"], json!(text.len()), "{exported:#}");
    assert_eq!((&exported["format"], &exported["subagents"]), (&json!("html"), &json!(1)), "{exported:#}");
    assert_eq!(fs::metadata(&page).expect("the page").permissions().mode() & 0o7777, 0o600);
    let again = scratch.layer3(&["export", SUBAGENT, "-o", to]).output().exits(1);
    assert!(again.stderr.contains("it exists\n  hint: --force replaces it"), "{again:#?}");
    scratch.layer3(&["export", SUBAGENT, "-o", to, "--force", "--format", "md"]).output().ok();
    assert!(fs::read_to_string(&page).expect("the page").starts_with("# "));
}

#[test]
fn what_was_masked_is_counted_on_stderr() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    transcripts::append(&transcript, transcripts::prompt_line(&id, 1, "my key is AKIAIOSFODNN7EXAMPLE"));
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let outcome = scratch.layer3(&["export", &id, "--redact"]).output().ok();
    assert!(
        outcome.text().contains("my key is [masked: AWS access key]") && !outcome.text().contains("AKIA"),
        "{outcome:#?}"
    );
    let last = |text: &str| text.trim_end().lines().next_back().unwrap_or_default().to_owned();
    // The prompt, and the first topic in the table.
    assert_eq!(last(&outcome.stderr), "layer3-indexer: masked: 3 AWS access keys", "{outcome:#?}");
    assert!(last(&outcome.text()).contains("masked: 3 AWS access keys"), "{outcome:#?}");
    let shown = scratch.layer3(&["show", &id, "--redact"]).output().ok();
    assert!(!shown.text().contains("AKIA"), "{shown:#?}");
    assert_eq!(last(&shown.text()), "masked: 2 AWS access keys", "{shown:#?}");
    let found = scratch.layer3(&["search", "--all", "--redact", "key"]).output().ok();
    assert!(found.text().contains("AWS access") && !found.text().contains("AKIA"), "{found:#?}");
    let kept = scratch.layer3(&["export", &id]).output().ok();
    assert!(kept.text().contains("AKIAIOSFODNN7EXAMPLE") && !kept.text().contains("masked"), "{kept:#?}");
    // What goes to standard output is the page; there is no place for an object about it.
    scratch.layer3(&["export", &id, "--json"]).output().exits(1);
}

#[test]
fn which_conversations_hold_secrets_is_told_without_one() {
    let scratch = Scratch::new();
    let (id, clean) = (transcripts::made_id(1), transcripts::made_id(2));
    let token = ["ghp_", "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"].concat();
    let said =
        ["DB_PASSWORD=tr0ub4dor&3x", "it is tr0ub4dor&3x", &format!("in base64 {}", base64(&format!("token {token}")))];
    for (id, texts) in [(&id, &said[..]), (&clean, &["nothing of it"])] {
        let transcript = scratch.transcript(id);
        for (turn, text) in (0..).zip(texts.iter()) {
            transcripts::append(&transcript, transcripts::prompt_line(id, turn, text));
        }
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    let told = scratch.layer3(&["secrets", "--all"]).output().ok().text();
    assert_eq!(told.matches(&id[..8]).count(), 1, "{told}");
    assert!(told.contains("1 GitHub token, 2 passwords\n1 conversation of 2: "), "{told}");
    assert!(told.contains("forget --match -"), "{told}");
    let json = scratch.layer3(&["secrets", &id, "--json"]).output().ok().json();
    assert_eq!(json["sessions"][0]["kinds"], json!({"GitHub token": 1, "password": 2}), "{json:#}");
    for text in [told, json.to_string()] {
        assert!(!text.contains("tr0ub4dor") && !text.contains(&token[4..]), "{text}");
    }
    let none = scratch.layer3(&["secrets", &clean]).output().ok().text();
    assert_eq!(none, "No secret is recognised in 1 conversation.\n");
    scratch.layer3(&["secrets", "ffffffff"]).output().exits(1);
    scratch.layer3(&["secrets", &id, "--all"]).output().exits(1);
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = text.bytes().flat_map(|b| (0..8).rev().map(move |bit| b >> bit & 1)).collect();
    let digit = |six: &[u8]| six.iter().fold(0, |all, bit| all << 1 | bit) << (6 - six.len());
    bits.chunks(6).map(|six| char::from(DIGITS[usize::from(digit(six))])).collect()
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = Scratch::new();
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    for turn in 0..200 {
        transcripts::append(&transcript, transcripts::prompt_line(&id, turn, &"many words ".repeat(200)));
    }
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    let mut child = Command::new(scratch.program("layer3-indexer"))
        .args(["export", &id, "--format", "html"])
        .env_clear()
        .env("HOME", scratch.home())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start layer 3");
    drop(child.stdout.take());
    let outcome = child.wait_with_output().expect("wait for layer 3");
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
}

#[test]
fn a_dash_is_standard_output() {
    let scratch = with_subagent();
    let page = scratch.layer3(&["export", SUBAGENT, "-o", "-"]).output().ok().text();
    assert!(!page.is_empty() && page == scratch.layer3(&["export", SUBAGENT]).output().ok().text());
    let many = scratch.layer3(&["export", "--all", "-o", "-"]).output().exits(1).stderr;
    assert!(many.contains("a directory for the pages has to be named"), "{many}");
}

#[test]
fn damage_is_said_by_show_and_refused_by_export() {
    let scratch = with_subagent();
    let damage = |store: std::path::PathBuf| {
        let path = store.join(PROJECT).join(format!("{SUBAGENT}.jsonl"));
        let mut bytes = fs::read(&path).expect("a copy");
        bytes[100] ^= 1;
        fs::write(&path, bytes).expect("damage the copy");
    };
    damage(scratch.layer3_store());
    let shown = scratch.layer3(&["show", SUBAGENT]).output().ok();
    assert!(shown.text().contains("layer 1's is used"), "{shown:#?}");
    let exported = scratch.layer3(&["export", SUBAGENT]).output().ok();
    assert!(
        exported.stderr.contains("layer 1's is used") && exported.text().contains("layer 1's is used"),
        "{exported:#?}"
    );
    damage(scratch.layer1_store());
    let shown = scratch.layer3(&["show", SUBAGENT]).output().ok();
    assert!(shown.text().contains("THIS COPY IS DAMAGED"), "{shown:#?}");
    let refused = scratch.layer3(&["export", SUBAGENT]).output().exits(1);
    assert!(refused.text().is_empty() && refused.stderr.contains("no other store has those bytes"), "{refused:#?}");
}

#[test]
fn a_conversation_has_as_many_messages_wherever_they_are_counted() {
    let scratch = Scratch::new();
    let listed = |id: &str| {
        let all = scratch.layer3(&["list", "--all", "--json"]).output().ok().json();
        let of = |one: &&serde_json::Value| one["session_id"] == id;
        let sessions = all["sessions"].as_array().expect("sessions").clone();
        sessions.iter().find(of).expect("it is listed")["messages"].clone()
    };
    let same = |id: &str, when: &str| {
        let page = scratch.beside("page.html");
        let to = page.to_str().expect("a path of text");
        let exported = scratch.layer3(&["export", id, "-o", to, "--force", "--json"]).output().ok().json();
        let counts = ["show", "show --full"].map(|verb| {
            let args: Vec<&str> = verb.split(' ').chain([id, "--json"]).collect();
            scratch.layer3(&args).output().ok().json()["messages"].clone()
        });
        assert!(counts[0].as_u64().is_some_and(|count| count > 0), "{id} {when}: {counts:?}");
        assert_eq!(counts, [listed(id), listed(id)], "{id} {when}");
        assert_eq!(exported["exported"]["messages"], counts[0], "{id} {when}");
    };
    for transcript in transcripts::lay_out_recorded(&scratch) {
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    transcripts::RECORDED.iter().for_each(|id| same(id, "as it was recorded"));
    // Notices count nowhere, what comes again counts once, and what was queued once it is sent.
    let id = transcripts::made_id(1);
    let transcript = scratch.transcript(&id);
    let notice = transcripts::prompt_line(&id, 2, "<system-reminder>be brief</system-reminder>");
    let queued = format!(
        "{}\n",
        json!({"type": "queue-operation", "operation": "enqueue", "content": "then this", "sessionId": id,
            "timestamp": "2026-11-22T10:00:30.000Z"})
    );
    let lines = [transcripts::prompt_line(&id, 1, "first"), notice, transcripts::answer_line(&id, 3, "done"), queued];
    for (n, line) in lines.iter().enumerate() {
        transcripts::append(&transcript, line);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
        same(&id, &format!("with {} lines", n + 1));
    }
    for line in [&transcripts::prompt_line(&id, 4, "then this"), &lines[0], &lines[2]] {
        transcripts::append(&transcript, line);
        chain_delivered(&scratch, &transcripts::session_end(&transcript));
    }
    same(&id, "once it was sent");
    // An older version is none of it.
    transcripts::rewrite(&transcript, [&lines[2][..], &transcripts::prompt_line(&id, 9, "all new")].concat());
    chain_delivered(&scratch, &transcripts::session_end(&transcript));
    same(&id, "in a new version");
    assert_eq!(listed(&id), 2);
    scratch.layer3(&["rebuild"]).output().ok();
    same(&id, "in an index that was made again");
}

#[test]
fn many_pages_need_a_directory_and_it_is_said_how_to_name_one() {
    let scratch = with_subagent();
    for (args, command) in [
        (&["export", "--all"][..], "export --all -o pages"),
        (&["export", "--project", PROJECT], "export --project proj -o pages"),
        (&["export", "--all", "--since", "7d"], "export --all -o pages"),
    ] {
        let refused = scratch.layer3(args).output().exits(1);
        assert!(refused.stderr.contains("a directory for the pages has to be named"), "{refused:#?}");
        assert!(refused.stderr.contains(&format!("{command}`")) && !refused.stderr.contains("FILE"), "{refused:#?}");
    }
    let help = scratch.layer3(&["export", "--help"]).output().ok().text();
    assert!(help.contains("export [OPTIONS] <--all|--project PROJECT> -o DIR"), "{help}");
}
