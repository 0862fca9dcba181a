//! The session store for applications of the Agent SDK: what it answered is kept, whatever ends it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::binaries::LAYER1;
use tests::run::Run;
use tests::scratch::Scratch;

const SESSION: &str = "0f5e2f5c-1111-4222-8333-944455556666";

fn append(n: u64) -> String {
    json!({ "id": n, "op": "append", "project_key": "-app", "session_id": SESSION, "entries": [{ "type": "x", "n": n }] })
        .to_string()
        + "\n"
}

#[test]
fn what_was_answered_outlives_the_program_that_answered() {
    let scratch = Scratch::new();
    for killed in 0..5u64 {
        let mut store = Command::new(scratch.program(LAYER1))
            .arg("session-store")
            .env_clear()
            .env("HOME", scratch.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the store");
        let mut stdin = store.stdin.take().expect("its stdin");
        let mut answers = BufReader::new(store.stdout.take().expect("its stdout")).lines();
        stdin.write_all(append(killed).as_bytes()).expect("ask");
        let answer = answers.next().expect("an answer").expect("an answer");
        assert_eq!(answer, format!(r#"{{"id":{killed},"result":null}}"#));
        store.kill().expect("kill it");
        store.wait().expect("wait for it");
    }
    let load = json!({ "op": "load", "project_key": "-app", "session_id": SESSION }).to_string();
    let program = || Run::new(scratch.program(LAYER1)).env("HOME", scratch.home());
    let answer: Value = program().arg("session-store").stdin(load).output().ok().json();
    let expected: Vec<Value> = (0..5).map(|n| json!({ "type": "x", "n": n })).collect();
    assert_eq!(answer["result"], Value::from(expected));
    let copy = scratch.layer1_store().join(format!("app/{SESSION}.jsonl"));
    let lying = scratch.home().join(format!(".claude-sdk/projects/-app/{SESSION}.jsonl"));
    assert_eq!(std::fs::read(copy).expect("read the copy"), std::fs::read(lying).expect("read the session"));
    program().arg("verify").output().ok();
}
