//! Which sessions are live: Claude Code writes `sessions/<pid>.json` for each running client.
//!
//! A transcript must not be restored under a client that is appending to it.

use std::fs;
use std::io;
use std::path::Path;

use crate::fs::platform::process::{self, Pid, Running};
use crate::fs::read_foreign;
use crate::names::SessionId;
use serde_json::Value;

/// A client writes a few hundred bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Claude Code names its session so to what it runs.
pub const CLAUDE_CODE_SESSION_ID: &str = "CLAUDE_CODE_SESSION_ID";
/// And its own process so.
pub const CLAUDE_PID: &str = "CLAUDE_PID";

/// The session that a client has open, as it says itself: the process of this number, or that which started this one.
pub fn session_of(claude_dir: &Path, pid: Option<u32>) -> Option<String> {
    let pid = pid.unwrap_or_else(process::parent);
    let path = claude_dir.join("sessions").join(format!("{pid}.json"));
    // A client that writes no such file has no session that anybody could name.
    let bytes = read_foreign(&path, FILE_BYTES_MAX).ok()??;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.get("sessionId").and_then(Value::as_str).map(str::to_owned)
}

/// The process that has the session open, if there is one: `sessions/<pid>.json` names the
/// session, the process exists, it started when `procStart` says where that can be compared, and
/// where it cannot, what it runs can be Claude Code (a pid may have been given to another program
/// since, and in containers they start over). An unreadable entry of the directory is an error: in
/// doubt nothing is restored.
pub fn live_process(claude_dir: &Path, id: &SessionId) -> io::Result<Option<i32>> {
    let entries = match fs::read_dir(claude_dir.join("sessions")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        // A client writes a plain file; reading a FIFO would wait for a writer.
        let is_file = || fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
        if path.extension().is_none_or(|ext| ext != "json") || !is_file() {
            continue;
        }
        // The client removes its own file when it ends.
        let Some(bytes) = read_foreign(&path, FILE_BYTES_MAX).map_err(io::Error::other)? else { continue };
        // A file that is being written is not yet JSON; its client has no transcript open yet.
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else { continue };
        if value.get("sessionId").and_then(Value::as_str) != Some(id.as_str()) {
            continue;
        }
        let from_name = || path.file_stem()?.to_str()?.parse::<i64>().ok();
        let pid = value.get("pid").and_then(Value::as_i64).or_else(from_name);
        if let Some(pid) = pid.and_then(process::pid)
            && is_running(pid, value.get("procStart"))
        {
            return Ok(Some(pid.as_raw_nonzero().get()));
        }
    }
    Ok(None)
}

/// Whether the process exists and is the one that started at `started`, or else can be Claude Code.
fn is_running(pid: Pid, started: Option<&Value>) -> bool {
    if !process::is_there(pid) {
        return false;
    }
    // Where the system does not tell more, the process counts as the one meant.
    let Some(stat) = process::stat(pid) else { return true };
    let expected = match started {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    !stat.ended
        && match (expected, stat.started) {
            (Some(expected), Some(started)) => expected == started,
            _ => process::running(pid).is_none_or(|running| can_be_claude(&running)),
        }
}

/// The programs that run Claude Code where it is no program of its own.
const RUNTIMES: [&str; 4] = ["node", "nodejs", "bun", "deno"];
/// Its entry where it is a package of theirs.
const SCRIPTS: [&str; 2] = ["cli.js", "cli.mjs"];

/// Whether a process can be Claude Code, by what it runs and not by what it works on: an editor that has a file of
/// Claude Code's open is none. Each version of the native program is called by its number, below `claude/versions`.
fn can_be_claude(running: &Running) -> bool {
    let names_claude = |text: &str| text.to_ascii_lowercase().contains("claude");
    let called = running.words.first().map(Path::new);
    let programs = || [running.program.as_deref(), called, Some(Path::new(&running.name))].into_iter().flatten();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_version = |path: &Path| path.ancestors().skip(1).any(|folder| folder.ends_with("claude/versions"));
    if programs().any(|path| names_claude(&name(path)) || is_version(path)) {
        return true;
    }
    let is_script = |word: &String| names_claude(word) || SCRIPTS.contains(&name(Path::new(word)).as_str());
    programs().any(|path| RUNTIMES.contains(&name(path).as_str())) && running.words.iter().skip(1).any(is_script)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn check(content: &str, id: &str) -> Option<i32> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sessions")).unwrap();
        fs::write(dir.path().join("sessions/1.json"), content).unwrap();
        live_process(dir.path(), &SessionId::parse(id).unwrap()).unwrap()
    }

    /// A process that calls itself so, for as long as the test runs.
    fn called(name: &str) -> Child {
        let mut process =
            Command::new("/bin/cat").arg0(name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Once it answers, the system knows its words: right after the start it may not yet.
        process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        process
    }

    fn end(mut process: Child) {
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    #[test]
    fn a_session_is_live_while_its_process_runs() {
        let claude = called("claude");
        let pid = claude.id();
        let started = process::stat(process::pid(i64::from(pid)).unwrap()).unwrap().started.unwrap_or(1);
        let expected = Some(pid as i32);
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"a"}}"#), "a"), expected);
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"a","procStart":"{started}"}}"#), "a"), expected);
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"a","procStart":{started}}}"#), "a"), expected);
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"a","procStart":"Mon Nov 23"}}"#), "a"), expected);
        end(claude);
    }

    #[test]
    fn a_process_whose_start_is_the_recorded_one_is_the_one_whatever_it_runs() {
        let me = std::process::id();
        // Without it, this one could not be Claude Code.
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"a"}}"#), "a"), None);
        if let Some(started) = process::stat(process::pid(i64::from(me)).unwrap()).unwrap().started {
            let live = format!(r#"{{"pid":{me},"sessionId":"a","procStart":"{started}"}}"#);
            assert_eq!(check(&live, "a"), Some(me as i32));
        }
    }

    #[test]
    fn what_can_be_claude_code_is_known_by_what_it_runs() {
        for (expected, program, name, words) in [
            (
                true,
                "/home/u/.local/share/claude/versions/2.1.332",
                "2.1.332",
                "/home/u/.local/share/claude/versions/2.1.332",
            ),
            (true, "/n/node_modules/@anthropic-ai/claude-code/bin/claude.exe", "claude", "claude --resume x"),
            (true, "/x/2.1.332 (deleted)", "claude", "/usr/local/bin/claude"),
            (true, "", "claude", "claude"),
            (true, "/usr/bin/node", "node", "node /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js -p hello"),
            (true, "/usr/bin/node", "MainThread", "node --max-old-space-size=4096 cli.js"),
            (true, "/opt/bun", "bun", "bun /x/claude-agent-sdk/cli.mjs"),
            (
                true,
                "/Applications/Claude.app/Contents/MacOS/Claude",
                "/Applications/Claude.app/Contents/MacOS/Claude",
                "x",
            ),
            (false, "/usr/bin/node", "node", "node server.js"),
            (false, "/usr/lib/systemd/systemd", "systemd", "/sbin/init"),
            (false, "", "kthreadd", ""),
            (false, "/usr/bin/vim.basic", "vim", "vim /home/u/.claude/settings.json"),
            (false, "/bin/sleep", "sleep", "sleep 100000"),
            (
                false,
                "/home/claude/bin/layer3-indexer",
                "layer3-indexer",
                "layer3-indexer serve --claude-dir /home/u/.claude",
            ),
            (false, "/usr/bin/bash", "sh", "sh -c cat ~/.claude/projects/x"),
        ] {
            let program = Some(program.into()).filter(|program: &std::path::PathBuf| !program.as_os_str().is_empty());
            let words = words.split_whitespace().map(str::to_owned).collect();
            let running = Running { program, name: name.to_owned(), words };
            assert_eq!(can_be_claude(&running), expected, "{running:?}");
        }
    }

    #[test]
    fn another_session_an_ended_process_or_a_reused_pid_is_not() {
        let claude = called("claude");
        let pid = claude.id();
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"b"}}"#), "a"), None);
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"a","procStart":"1"}}"#), "a"), None);
        end(claude);
        // In a container the first one has this number again.
        assert_eq!(check(r#"{"pid":1,"sessionId":"a"}"#, "a"), None);
        assert_eq!(check(r#"{"pid":2147483646,"sessionId":"a"}"#, "a"), None);
        assert_eq!(check("{", "a"), None);
        let mut child = Command::new("true").arg0("claude").spawn().unwrap();
        let pid = child.id();
        while !process::stat(process::pid(i64::from(pid)).unwrap()).unwrap().ended {
            std::thread::yield_now();
        }
        assert_eq!(check(&format!(r#"{{"pid":{pid},"sessionId":"a"}}"#), "a"), None);
        child.wait().unwrap();
    }

    #[test]
    fn what_is_no_file_names_no_session_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sessions/1.json")).unwrap();
        let fifo = dir.path().join("sessions/2.json");
        crate::fs::platform::make_fifo(&fifo);
        fs::write(dir.path().join("sessions/3.json"), b"\xff\0{").unwrap();
        assert_eq!(live_process(dir.path(), &SessionId::parse("a").unwrap()).unwrap(), None);
    }

    #[test]
    fn without_a_directory_nothing_is_live() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(live_process(dir.path(), &SessionId::parse("a").unwrap()).unwrap(), None);
    }
}
