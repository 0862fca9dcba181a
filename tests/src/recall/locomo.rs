//! LoCoMo (`dial481/locomo`, CC BY-NC): each dialogue a project, each of its sessions a transcript; the session that holds
//! the evidence answers the question.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::git;
use super::types::{Measure, Question};

/// From each turn to the next one.
const MINUTE: Duration = Duration::from_secs(60);
const MONTHS: &str = "January February March April May June July August September October November December";
const FILE: &str = "HEAD:data/locomo10.json";

pub(super) fn lay_out(git_dir: &Path, projects: &Path) -> io::Result<Measure> {
    let dialogues: Vec<Value> = serde_json::from_slice(&git::output(git_dir, &["show", FILE])?)?;
    let mut questions = Vec::new();
    for (n, dialogue) in dialogues.iter().enumerate() {
        let project = format!("-w-dialogue-{n:02}");
        fs::create_dir_all(projects.join(&project))?;
        let talk = &dialogue["conversation"];
        let mut known = BTreeSet::new();
        for (name, turns) in talk.as_object().into_iter().flatten() {
            let number = name.strip_prefix("session_").and_then(|number| number.parse::<u32>().ok());
            let (Some(number), Some(turns)) = (number, turns.as_array()) else { continue };
            let id = id_of(n, number);
            let begun = begun(talk[format!("{name}_date_time")].as_str().unwrap_or_default());
            let begun = begun.ok_or_else(|| io::Error::other(format!("{name} of dialogue {n} has no time")))?;
            let times = (0..).map(|at| begun + MINUTE * at);
            let lines: String = turns.iter().zip(times).map(|(turn, time)| line(&id, n, time, turn, talk)).collect();
            fs::write(projects.join(&project).join(format!("{id}.jsonl")), lines)?;
            known.insert(id);
        }
        for asked in dialogue["qa"].as_array().into_iter().flatten() {
            let evidence = asked["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let expects: BTreeSet<String> = evidence
                .flat_map(|evidence| evidence.split('D').skip(1))
                .filter_map(|at| at.trim_start_matches(':').split(':').next()?.parse().ok())
                .map(|number| id_of(n, number))
                .filter(|id| known.contains(id))
                .collect();
            if let Some(text) = asked["question"].as_str().filter(|_| !expects.is_empty()) {
                let (text, project) = (text.to_owned(), Some(project.clone()));
                questions.push(Question { text, project, expects, is_not_verbatim: true });
            }
        }
    }
    Ok(Measure { name: "LoCoMo", questions })
}

fn id_of(dialogue: usize, session: u32) -> String {
    format!("{dialogue:08x}-0000-4000-8000-{session:012x}")
}

/// Of `1:56 pm on 8 May, 2023`.
fn begun(text: &str) -> Option<SystemTime> {
    let mut words = text.split([' ', ',', ':']).filter(|word| !word.is_empty());
    let (hour, minute) = (words.next()?.parse::<u32>().ok()?, words.next()?);
    let hour = hour % 12 + if words.next()? == "pm" { 12 } else { 0 };
    let (day, month, year) = (words.nth(1)?.parse::<u32>().ok()?, words.next()?, words.next()?);
    let month = MONTHS.split(' ').position(|name| name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:02}T{hour:02}:{minute}:00Z")).ok()
}

fn line(id: &str, dialogue: usize, time: SystemTime, turn: &Value, talk: &Value) -> String {
    let role = if turn["speaker"] == talk["speaker_a"] { "user" } else { "assistant" };
    let text = |name: &str| turn[name].as_str().unwrap_or_default().to_owned();
    let picture = text("blip_caption");
    let picture = if picture.is_empty() { picture } else { format!(" [shares a picture: {picture}]") };
    let said = format!("{}: {}{picture}", text("speaker"), text("text"));
    let record = json!({
        "type": role, "uuid": format!("{id}-{}", text("dia_id")), "sessionId": id, "cwd": format!("/w/dialogue-{dialogue:02}"),
        "timestamp": humantime::format_rfc3339_millis(time).to_string(),
        "message": {"role": role, "content": [{"type": "text", "text": said}]},
    });
    format!("{record}\n")
}
