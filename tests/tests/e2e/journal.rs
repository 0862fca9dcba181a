//! Conversations that Claude Code never writes: when what their events say is kept, and when not.

use std::path::PathBuf;

use serde_json::json;
use tests::scratch::{PROJECT, Scratch};
use tests::transcripts;
use tests::tree;

/// An interactive session's variable, as a hook gets it.
const INTERACTIVE: &[(&str, &str)] = &[("CLAUDE_CODE_ENTRYPOINT", "cli")];

/// A session without a transcript.
struct Unwritten {
    scratch: Scratch,
    transcript: PathBuf,
}

impl Unwritten {
    fn new() -> Unwritten {
        let scratch = Scratch::new();
        let transcript = scratch.transcript(&transcripts::made_id(1));
        Unwritten { scratch, transcript }
    }

    #[track_caller]
    fn happens(&self, kind: &str, extra: serde_json::Value, variables: &[(&str, &str)]) {
        let mut run = self.scratch.layer1(&["--quiet"]).stdin(transcripts::event(kind, &self.transcript, extra));
        for (name, value) in variables {
            run = run.env(name, value);
        }
        run.output().ok().silent().unworried();
    }

    fn prompt(&self, variables: &[(&str, &str)]) {
        self.happens("UserPromptSubmit", json!({"prompt": "where is the kakapo?"}), variables);
    }

    fn stop(&self, variables: &[(&str, &str)]) {
        self.happens("Stop", json!({"last_assistant_message": "On the ground."}), variables);
    }

    fn is_waiting(&self) -> bool {
        let store = self.scratch.layer1_store();
        store.join(format!(".state/journal/{}.jsonl", transcripts::made_id(1))).exists()
    }

    fn published(&self) -> Option<String> {
        let name = format!("{}.events.jsonl", transcripts::made_id(1));
        std::fs::read_to_string(self.scratch.layer1_store().join(PROJECT).join(name)).ok()
    }
}

#[test]
fn nothing_is_kept_where_absence_can_be_the_users_wish() {
    for variables in [
        &[][..],
        &[("CLAUDE_CODE_ENTRYPOINT", "sdk-cli")],
        &[("CLAUDE_CODE_ENTRYPOINT", "")],
        &[("CLAUDE_CODE_ENTRYPOINT", "cli"), ("CLAUDE_CODE_SKIP_PROMPT_HISTORY", "1")],
        &[("CLAUDE_CODE_ENTRYPOINT", "cli"), ("THREEFOLD_NO_JOURNAL", "1")],
    ] {
        let session = Unwritten::new();
        session.prompt(variables);
        session.stop(variables);
        session.happens("SessionEnd", json!({"reason": "other"}), variables);
        let left = tree::all(&session.scratch.layer1_store());
        assert!(left.is_empty(), "{variables:?}: {left:#?}");
    }
}

#[test]
fn a_switch_that_says_no_switches_nothing_off() {
    let session = Unwritten::new();
    let variables = [INTERACTIVE[0], ("CLAUDE_CODE_SKIP_PROMPT_HISTORY", "0"), ("THREEFOLD_NO_JOURNAL", "false")];
    session.prompt(&variables);
    session.stop(&variables);
    assert!(session.published().is_some());
}

#[test]
fn turns_wait_hidden_until_the_answer_and_are_published_then() {
    let session = Unwritten::new();
    session.prompt(INTERACTIVE);
    assert!(session.is_waiting() && session.published().is_none());
    session.stop(INTERACTIVE);
    let kept = session.published().expect("published at Stop");
    assert!(kept.contains("where is the kakapo?") && kept.contains("On the ground."), "{kept}");
}

#[test]
fn a_session_that_is_ended_before_any_answer_is_published_too() {
    let session = Unwritten::new();
    session.prompt(INTERACTIVE);
    session.happens("SessionEnd", json!({"reason": "other"}), INTERACTIVE);
    assert!(session.published().is_some_and(|kept| kept.contains("where is the kakapo?")));
}

#[test]
fn what_waits_goes_once_the_transcript_is_there() {
    let session = Unwritten::new();
    session.prompt(INTERACTIVE);
    assert!(session.is_waiting());
    transcripts::make_conversation(&session.scratch, &transcripts::made_id(1), 1);
    session.happens("SessionEnd", json!({"reason": "other"}), INTERACTIVE);
    assert!(!session.is_waiting() && session.published().is_none());
    tests::stores::assert_equals_source(&session.scratch.layer1_store(), PROJECT, &session.transcript);
}
