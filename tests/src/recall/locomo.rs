//! LoCoMo (`dial481/locomo`, CC BY-NC): each dialogue a project, each of its sessions a transcript; the session that holds
//! the evidence answers the question.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::git;
use super::types::{Measure, Question};

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
            let lines: String = turns.iter().enumerate().map(|(at, turn)| line(&id, n, at, turn, talk)).collect();
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

fn line(id: &str, dialogue: usize, at: usize, turn: &Value, talk: &Value) -> String {
    let role = if turn["speaker"] == talk["speaker_a"] { "user" } else { "assistant" };
    let text = |name: &str| turn[name].as_str().unwrap_or_default().to_owned();
    let picture = text("blip_caption");
    let picture = if picture.is_empty() { picture } else { format!(" [shares a picture: {picture}]") };
    let said = format!("{}: {}{picture}", text("speaker"), text("text"));
    let record = json!({
        "type": role, "uuid": format!("{id}-{at}"), "sessionId": id, "cwd": format!("/w/dialogue-{dialogue:02}"),
        "timestamp": format!("2026-01-01T{:02}:{:02}:00.000Z", at / 60 % 24, at % 60),
        "message": {"role": role, "content": [{"type": "text", "text": said}]},
    });
    format!("{record}\n")
}
