//! Which sessions are live: Claude Code writes `sessions/<pid>.json` for each running client.
//!
//! A transcript must not be restored under a client that is appending to it.

use std::fs;
use std::io;
use std::path::Path;

use crate::fs::platform::process::{self, Pid};
use crate::names::SessionId;
use serde_json::Value;

/// The process that has the session open, if there is one: `sessions/<pid>.json` names the
/// session, the process exists, and it started when `procStart` says where that is given (a pid
/// may have been given to another program since). An unreadable entry of the directory is an
/// error: in doubt nothing is restored.
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
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // The client removes its own file when it ends.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
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

/// Whether the process exists and is the one that started at `started`.
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
    !stat.ended && (expected.is_none() || stat.started.is_none() || expected == stat.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, id: &str) -> Option<i32> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sessions")).unwrap();
        fs::write(dir.path().join("sessions/1.json"), content).unwrap();
        live_process(dir.path(), &SessionId::parse(id).unwrap()).unwrap()
    }

    #[test]
    fn a_session_is_live_while_its_process_runs() {
        let me = std::process::id();
        let started = process::stat(process::pid(i64::from(me)).unwrap()).unwrap().started.unwrap_or(1);
        let expected = Some(me as i32);
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"a"}}"#), "a"), expected);
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"a","procStart":"{started}"}}"#), "a"), expected);
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"a","procStart":{started}}}"#), "a"), expected);
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"a","procStart":"Mon Nov 23"}}"#), "a"), expected);
    }

    #[test]
    fn another_session_an_ended_process_or_a_reused_pid_is_not() {
        let me = std::process::id();
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"b"}}"#), "a"), None);
        assert_eq!(check(&format!(r#"{{"pid":{me},"sessionId":"a","procStart":"1"}}"#), "a"), None);
        assert_eq!(check(r#"{"pid":2147483646,"sessionId":"a"}"#, "a"), None);
        assert_eq!(check("{", "a"), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
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
