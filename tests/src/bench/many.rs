//! Many small conversations in many projects, all saved twice: what each look at them costs where nothing has changed.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::budgets::{Budget, Unit};
use super::contest::{Contestant, race};
use super::meter::Job;
use super::report::Row;
use super::works::{Bench, OURS};
use crate::binaries::{self, LAYER1, LAYER2, LAYER3};

/// They are only measured when they are asked for: to make them takes many minutes.
const NAME: &str = "many";
const SESSIONS: u32 = 100_000;
const SESSIONS_QUICK: u32 = 5_000;
const PROJECTS: u32 = 400;
/// One of so many has a subagent.
const SUBAGENTS: u32 = 20;
/// What changed just now is looked at once more.
const REST: Duration = Duration::from_secs(4);

/// Sweep and drain of a start, `status` and the first page of a list.
pub fn run(bench: &Bench, tell: &mut dyn FnMut(Row)) -> io::Result<()> {
    if !bench.only.iter().any(|only| only.starts_with(NAME)) {
        return Ok(());
    }
    let sessions = if bench.quick { SESSIONS_QUICK } else { SESSIONS };
    bench.clear()?;
    bench.new_home(OURS)?;
    lay_out(&bench.claude_dir(), sessions)?;
    let job = |program: &str, args: &[&str]| {
        let program = binaries::folder().join(program);
        bench.at_home(OURS, Job::new(program).args(args.iter().copied()))
    };
    let (sweep, drain) = (job(LAYER1, &["sweep", "--quiet"]), job(LAYER2, &["drain"]));
    for making in [&job(LAYER3, &["import"]), &sweep] {
        making.measured()?;
    }
    thread::sleep(REST);
    let whole = [sweep.measured()?.cpu_s, drain.measured()?.cpu_s];
    println!("    a full look, once a day: sweep {:.1} s of CPU, drain {:.1} s", whole[0], whole[1]);
    let mut start_s = 0.0;
    for (what, job, limit_s) in [
        ("sweep", &sweep, None),
        ("drain", &drain, None),
        ("status", &job(LAYER3, &["status"]), Some(0.5)),
        ("list", &job(LAYER3, &["list", "--all"]), Some(0.050)),
    ] {
        let entries = race(bench.rounds(5, 3), &bench.folder, &|| Ok(()), &[Contestant::new(OURS, || job.clone())])?;
        let (cpu_s, exit_s) = (entries[0].cpu_s.median, entries[0].exit_s.median);
        let budget = match limit_s {
            Some(limit_s) => Budget::new("time", exit_s, limit_s, Unit::Seconds),
            None => {
                start_s += cpu_s;
                Budget::new("CPU of a start, so far", start_s, 1.0, Unit::Seconds)
            }
        };
        tell(Row::new(&format!("{NAME}, {sessions}: {what}"), entries, vec![budget]));
    }
    bench.clear()
}

fn lay_out(claude_dir: &Path, sessions: u32) -> io::Result<()> {
    for n in 0..sessions {
        let (id, cwd) = (format!("00000000-0000-4000-8000-{n:012x}"), format!("/home/me/project-{:03}", n % PROJECTS));
        let folder = claude_dir.join("projects").join(cwd.replace('/', "-"));
        let says = |role: &str, content: Value| {
            json!({
                "type": role, "uuid": format!("{id}-{role}"), "sessionId": id, "cwd": cwd, "gitBranch": "main",
                "timestamp": format!("2026-{:02}-{:02}T10:{:02}:00.000Z", 1 + n % 9, 1 + n % 28, n % 60),
                "message": { "role": role, "content": content },
            })
        };
        let (prompt, answer) =
            (json!(format!("do task {n}")), json!([{ "type": "text", "text": format!("done {n}") }]));
        let lines = format!("{}\n{}\n", says("user", prompt), says("assistant", answer));
        let mut paths = vec![folder.join(format!("{id}.jsonl"))];
        if n % SUBAGENTS == 0 {
            paths.push(folder.join(&id).join("subagents/agent-1.jsonl"));
        }
        for path in paths {
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::File::create(path)?.write_all(lines.as_bytes())?;
        }
    }
    Ok(())
}
