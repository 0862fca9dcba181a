//! Programs that are started to be looked at: in a process group of their own, their output
//! captured, and killed with all their children when their time is over.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use layer1_prebackup::config::threads;
use layer1_prebackup::fs::platform::process::{Group, Signal, spawn_detached};
use wait_timeout::ChildExt;

/// More of an output is not kept: nobody reads it.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// How long an output is waited for whose program has ended; a child of it may hold it open.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// What a program did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The exit code and the last line of stderr, for people.
    pub(crate) fn summary(&self) -> String {
        match self.stderr.lines().map(str::trim).rfind(|line| !line.is_empty()) {
            Some(line) => format!("{}: {line}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// Runs it to its end with `input`, at most for `limit`: then it is killed with its group. The error
/// says what went wrong.
pub(super) fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_detached(command).map_err(|error| format!("it does not start: {error}"))?;
    let stdout = child.stdout.take().map(read_to_end);
    let stderr = child.stderr.take().map(read_to_end);
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input says more by what it does.
        let _ = stdin.write_all(input);
    }
    let ended = child.wait_timeout(limit).map_err(|error| format!("it cannot be waited for: {error}"))?;
    let Some(status) = ended else {
        end(&mut child);
        return Err(format!("it did not end within {} s", limit.as_secs()));
    };
    let text = |output: Option<Receiver<Vec<u8>>>| {
        let bytes = output.and_then(|output| output.recv_timeout(OUTPUT_WAIT).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Outcome { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Kills it and its group, and reaps it.
fn end(child: &mut Child) {
    if let Some(group) = Group::of(child) {
        // It may just have ended.
        let _ = group.signal(Signal::KILL);
    }
    // As above: who is reaped already is gone.
    let _ = child.wait();
}

fn read_to_end(output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    threads::start("output", move || {
        let mut bytes = Vec::new();
        let mut output = output.take(OUTPUT_BYTES_MAX);
        // What came before an error is what there is; and nobody may be waiting any more.
        let _ = output.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
        // A program whose output nobody took would stop.
        let _ = std::io::copy(&mut output.into_inner(), &mut std::io::sink());
    });
    receiver
}
