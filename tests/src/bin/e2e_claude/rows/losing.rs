//! Conversations that the client or its user loses: what is told of them, and that they go on whole.

use std::fs;
use std::path::Path;

use serde_json::json;
use tests::claude::Client;
use tests::{transcripts, tree};

use crate::checks::{call, converse, delete, files_of, is_back, layer3, leave, resumed, sent, sweep, told, typed};
use crate::row::{Row, printing, typing};

pub(crate) const ROWS: [Row; 5] = [
    printing("a stub is not resumed in silence; resume --longest sends the old turns", stub),
    printing("restore in all its forms, and the client goes on after each", forms),
    printing("what the client remembers of the project, deleted and restored", memory),
    typing("resume --at and --before-compaction send what was said before, and nothing after", back),
    typing("deleted under an open session, joined, resumed with all turns", split),
];

fn back(client: &Client) -> String {
    let id = transcripts::made_id(930);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "First of the old days.", 1);
    converse(client, &terminal, "Second of the old days.", 1);
    terminal.enter("/compact");
    let has = |text: &str| fs::read_to_string(client.transcript(&id)).is_ok_and(|all| all.contains(text));
    terminal.await_what("a compact boundary", || has(r#""subtype":"compact_boundary""#));
    converse(client, &terminal, "Third, of the new days.", 1);
    leave(&terminal);
    client.assert_all_saved();
    let before = fs::read(client.transcript(&id)).expect("read the transcript");
    let text = String::from_utf8_lossy(&before).into_owned();
    let records = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let records: Vec<serde_json::Value> = records.collect();
    let first = records
        .iter()
        .position(|record| record.to_string().contains("First of the old days.") && record["type"] == "user");
    let answered = records[first.expect("the first prompt")..].iter().find(|record| record["type"] == "assistant");
    let answer = answered.and_then(|record| record["uuid"].as_str()).expect("an answer with an id").to_owned();
    for (args, has, lacks) in [
        (
            vec!["--at", &answer],
            vec!["First of the old days."],
            vec!["Second of the old days.", "Third, of the new days."],
        ),
        (
            vec!["--before-compaction"],
            vec!["First of the old days.", "Second of the old days."],
            vec!["Third, of the new days."],
        ),
    ] {
        let prompt = format!("Another way from {}.", args[0]);
        let asked = client.api.requests().len();
        let args: Vec<&str> = ["resume", &id].into_iter().chain(args).chain(["--", "-p", &prompt]).collect();
        typed(client, &args).output().ok();
        sent(client, asked, &prompt, &has);
        let requests = client.api.requests().split_off(asked);
        let mut texts =
            requests.iter().map(|request| request["messages"].to_string()).filter(|text| text.contains(&prompt));
        assert!(
            texts.all(|text| lacks.iter().all(|words| !text.contains(words))),
            "{args:?}: what came after was sent"
        );
    }
    assert!(fs::read(client.transcript(&id)).expect("read it again").starts_with(&before));
    "two new sessions, and the old one as it was".to_owned()
}

fn split(client: &Client) -> String {
    let id = transcripts::made_id(931);
    let terminal = client.open(&["--session-id", &id]);
    converse(client, &terminal, "Before it was deleted.", 1);
    // The file is there before the turn is in it.
    let has_turn = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(r#""type":"assistant""#));
    terminal.await_what("its turn on the disk", || client.find(&id).is_some_and(|path| has_turn(&path)));
    let transcript = client.transcript(&id);
    sweep(client);
    fs::remove_file(&transcript).expect("delete the transcript");
    converse(client, &terminal, "After it was deleted.", 1);
    leave(&terminal);
    client.assert_all_saved();
    assert_eq!(told(client), ["split"]);
    let shown = layer3(client, &["show", &id]).ok().text();
    assert!(shown.contains("Before it was deleted.") && shown.contains("After it was deleted."), "{shown}");
    let refused = typed(client, &["resume", &id]).output().exits(1);
    assert!(refused.stderr.contains("--joined") && refused.stderr.contains("--newest"), "{refused:?}");
    layer3(client, &["restore", &id, "--joined", "--force"]).ok();
    resumed(client, &id, "And on it goes, joined.", &["Before it was deleted.", "After it was deleted."]);
    "both turns were sent".to_owned()
}

fn stub(client: &Client) -> String {
    let id = transcripts::made_id(932);
    client.print(&["--session-id", &id], "The words before the stub.");
    client.assert_all_saved();
    let transcript = client.transcript(&id);
    let whole = fs::read(&transcript).expect("read the transcript");
    let end = whole.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    transcripts::rewrite(&transcript, &whole[..end]);
    let refused = typed(client, &["resume", &id]).output().exits(1);
    assert!(refused.stderr.contains("it lost") && refused.stderr.contains("--longest"), "{refused:?}");
    assert_eq!(told(client), ["shrunk"]);
    let before = client.api.requests().len();
    typed(client, &["resume", &id, "--longest", "--", "-p", "Go on from all of it."]).output().ok();
    sent(client, before, "Go on from all of it.", &["The words before the stub."]);
    "the old turn was sent".to_owned()
}

/// Each form brings it back byte for byte, and the client then sends all turns.
fn forms(client: &Client) -> String {
    let id = transcripts::made_id(933);
    let mut said = vec!["Words of the beginning.".to_owned()];
    client.print(&["--session-id", &id], &said[0]);
    let mut go_on = |form: &str| {
        let words = format!("Words after {form}.");
        resumed(client, &id, &words, &said.iter().map(String::as_str).collect::<Vec<_>>());
        said.push(words);
        client.assert_all_saved();
    };
    go_on("the beginning");
    for form in [
        &["restore", &id][..],
        &["restore", "--all-missing"],
        &["restore", &id, "--longest"],
        &["restore", &id, "--joined"],
    ] {
        let was = delete(client, &id);
        layer3(client, form).ok();
        is_back(client, &id, &was, &form.join(" "));
        go_on(form.last().unwrap_or(&""));
    }
    let was = files_of(client, &id);
    let to = client.scratch.beside("restored");
    layer3(client, &["restore", &id, "--to", to.to_str().expect("UTF-8")]).ok();
    let transcript = client.transcript(&id);
    let whole = fs::read(&transcript).expect("read the transcript");
    assert!(fs::read(to.join(format!("{id}.jsonl"))).is_ok_and(|again| again == whole), "--to");
    transcripts::rewrite(&transcript, transcripts::prompt_line(&id, 1, "another conversation"));
    sweep(client);
    layer3(client, &["restore", &id, "--generation", "1", "--force"]).ok();
    is_back(client, &id, &was, "--generation");
    go_on("--generation");
    format!("six forms, {} turns were sent", said.len())
}

/// The client writes it, and hands it to the model at the next start.
fn memory(client: &Client) -> String {
    let id = transcripts::made_id(934);
    client.print(&["--session-id", &id], "Begin to remember.");
    let memory = client.transcript(&id).with_file_name("memory");
    let notes = ["The keeper of the light is called Ansgar.", "The keeper of the light is called Berthild."];
    for note in notes {
        let input = json!({"file_path": memory.join("MEMORY.md"), "content": note});
        // Only what it has read may the client replace.
        let read = call("Read", &json!({"file_path": memory.join("MEMORY.md")}));
        client.print(&["--resume", &id], &read);
        client.print(&["--resume", &id], &call("Write", &input));
        assert!(fs::read_to_string(memory.join("MEMORY.md")).is_ok_and(|text| text == note), "it was not written");
    }
    client.assert_all_saved();
    for store in [client.scratch.layer1_store(), client.scratch.layer3_store()] {
        let kept = tree::all(&store.join(".memory"));
        let holds = |note: &&&str| {
            kept.keys().any(|path| fs::read(store.join(".memory").join(path)).is_ok_and(|kept| kept == note.as_bytes()))
        };
        assert_eq!(notes.iter().filter(holds).count(), notes.len(), "{} has {:?}", store.display(), kept.keys());
    }
    fs::remove_dir_all(&memory).expect("delete the memory");
    client.print(&["--resume", &id], "Is anything left?");
    layer3(client, &["restore", "--memory"]).ok();
    assert!(fs::read_to_string(memory.join("MEMORY.md")).is_ok_and(|text| text == notes[1]), "it is not back");
    let before = client.api.requests().len();
    client.print(&["--resume", &id], "Who keeps the light?");
    sent(client, before, "Who keeps the light?", &["called Berthild"]);
    "two versions".to_owned()
}
