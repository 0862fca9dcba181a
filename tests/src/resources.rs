//! What a long-lived server takes: memory and file handles, while it answers for weeks.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::mcp::Client;
use crate::scratch::Scratch;
use crate::transcripts;

/// Sessions that are saved in turn.
const SESSIONS: u32 = 20;
/// After this part of the calls caches are as full as they get; one in so many.
const WARM_ONE_IN: u64 = 5;
/// What the memory may differ by between then and the end, in KiB.
const GROWTH_KIB_MAX: u64 = 8 * 1024;
/// What the open files may differ by: a read or a log in mid-flight.
const HANDLES_MAX: usize = 2;

/// Memory and handles of a process at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Resident memory in KiB (`VmRSS`).
    pub rss_kib: u64,
    /// Open file descriptors.
    pub handles: usize,
}

impl Taken {
    /// What the process takes now.
    pub fn by(pid: u32) -> Taken {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let rss_kib = rss.trim().trim_end_matches(" kB").parse().expect("a number");
        let handles = fs::read_dir(format!("/proc/{pid}/fd")).expect("list its handles").count();
        Taken { rss_kib, handles }
    }
}

/// What one server took at the beginning and at the end of many calls.
#[derive(Debug)]
pub struct Course {
    /// After the first calls.
    pub warm: Taken,
    /// After the last one.
    pub last: Taken,
    /// Calls answered with a receipt.
    pub receipts: u64,
}

impl Course {
    /// What grew, if anything did.
    pub fn growth(&self) -> Option<String> {
        let grown = self.last.rss_kib > self.warm.rss_kib + GROWTH_KIB_MAX
            || self.last.handles > self.warm.handles + HANDLES_MAX;
        grown.then(|| format!("a server grew from {:?} to {:?}", self.warm, self.last))
    }
}

/// One server, `calls` times: a line is appended to one of the sessions, it is saved, and every
/// tenth time something is searched for. Panics when a call fails.
pub fn many_saves(scratch: &Scratch, calls: u64) -> Course {
    let sessions: Vec<(String, PathBuf)> = (1..=SESSIONS)
        .map(|n| {
            let id = transcripts::made_id(10_000 + n);
            let transcript = transcripts::make_conversation(scratch, &id, 3);
            (id, transcript)
        })
        .collect();
    let (mut client, _) = Client::initialized(scratch, &[]);
    let (mut warm, mut receipts) = (None, 0);
    for call in 0..calls {
        let (id, transcript) = &sessions[(call % sessions.len() as u64) as usize];
        transcripts::append(transcript, transcripts::prompt_line(id, call as u32 + 10, &format!("call c{call}")));
        let arguments = json!({
            "session_id": id, "transcript_path": transcript, "cwd": scratch.project_dir(), "trigger": "stop",
        });
        let receipt = client.call("session_save", arguments).expect("a receipt");
        receipts += u64::from(receipt["files"][0]["covered"] == json!(true));
        if call % 10 == 0 {
            let found = client.call("session_search", json!({"query": format!("c{call}")})).expect("an answer");
            assert!(found["hits"].as_array().is_some_and(|hits| !hits.is_empty()), "what was saved is found: {found}");
        }
        if call == calls / WARM_ONE_IN {
            warm = Some(Taken::by(client.pid()));
        }
    }
    let last = Taken::by(client.pid());
    assert!(client.end().success(), "the server ends well");
    Course { warm: warm.unwrap_or(last), last, receipts }
}
