//! Answers that never came: what the user typed is kept, shown and found.

use tests::claude::Client;
use tests::transcripts;

use crate::checks::{converse, leave, readable, resumed};
use crate::row::{Row, printing, typing};

pub(crate) const ROWS: [Row; 2] = [printing("API errors", printed), typing("API errors in a terminal", at_terminal)];

/// What the stand-in is told to do, and what the user said with it.
const FAILURES: [(&str, &str); 6] = [
    ("[[fail 429]]", "Typed into the limit."),
    ("[[fail 500]]", "Typed into the crash."),
    ("[[fail 529]]", "Typed into the crowd."),
    ("[[fail 400]]", "Typed in vain."),
    ("[[refuse]]", "Typed and refused."),
    ("[[cut]]", "Typed and cut off."),
];

/// What is cut off the client would try again for minutes.
const FEW_RETRIES: (&str, &str) = ("CLAUDE_CODE_MAX_RETRIES", "1");

fn printed(client: &Client) -> String {
    for ((failure, words), number) in FAILURES.iter().zip(971..) {
        let id = transcripts::made_id(number);
        // It says by its exit code that it failed.
        let run = client.run(&["-p", &format!("{words} {failure}"), "--session-id", &id]);
        assert!(!run.env(FEW_RETRIES.0, FEW_RETRIES.1).output().timed_out, "{failure}: it goes on for ever");
        client.assert_all_saved();
        readable(client, &id, &[words]);
        resumed(client, &id, "Once more.", &[words]);
    }
    String::new()
}

fn at_terminal(client: &Client) -> String {
    let id = transcripts::made_id(970);
    let terminal = client.open_with(&[FEW_RETRIES], &["--session-id", &id]);
    for (failure, words) in FAILURES {
        converse(client, &terminal, &format!("At the screen: {words} {failure}"), 1);
    }
    converse(client, &terminal, "Now it answers.", 1);
    leave(&terminal);
    client.assert_all_saved();
    let words = FAILURES.map(|(_, words)| words);
    readable(client, &id, &words);
    resumed(client, &id, "Once more.", &words);
    String::new()
}
