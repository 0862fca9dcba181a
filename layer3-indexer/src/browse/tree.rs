//! Conversations as they come from each other: a fork below what it was forked from, a subagent below the conversation, or
//! the agent, that started it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::names::FileName;
use serde::Serialize;

use crate::browse::list::Listed;
use crate::browse::subagents::{Subagent, Subagents};
use crate::failure::Failure;
use crate::index::SessionRow;
use crate::save::adopt_v1;
use crate::stores::SessionCopies;
use crate::terminal::{self, Style, Terminal, fit, one_line, short_id};
use crate::transcript::record::{Block, TornLine, read_records};

/// Forks of forks, and agents of agents, are shown within each other down to here, deeper ones beside each other.
const DEPTH_MAX: usize = 20;

/// Conversations with what came of them.
#[derive(Debug, Serialize)]
pub(crate) struct Tree {
    /// Those that are no fork of another one here.
    pub(crate) sessions: Vec<Node>,
    /// Which sessions were asked for, in words.
    pub(crate) scope: String,
    /// What to know about the index and the copies.
    pub(crate) notes: Vec<String>,
}

/// A conversation.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    #[serde(flatten)]
    row: SessionRow,
    /// Those that it started.
    agents: Vec<Agent>,
    forked: Vec<Node>,
}

/// A subagent.
#[derive(Debug, Serialize)]
pub(crate) struct Agent {
    /// Its kind and its task, or its file's name.
    title: String,
    /// Its transcript, relative to the session's folder.
    path: String,
    /// Those that it started.
    agents: Vec<Agent>,
}

/// The sessions of a list as a tree.
pub(crate) fn tree(places: &Places, listed: Listed) -> Result<Tree, Failure> {
    let Listed { sessions, scope, mut notes, .. } = listed;
    let stores = adopt_v1::stores(places)?;
    let mut rows: HashMap<String, Vec<SessionRow>> = HashMap::new();
    let ids: HashSet<String> = sessions.iter().map(|row| row.metadata.session_id.clone()).collect();
    let mut roots = Vec::new();
    for row in sessions {
        match row.metadata.forked_from.as_ref().filter(|origin| ids.contains(*origin)) {
            Some(origin) if *origin != row.metadata.session_id => rows.entry(origin.clone()).or_default().push(row),
            _ => roots.push(row),
        }
    }
    let mut agents = |row: &SessionRow| {
        let key = SessionKey::parse(&row.metadata.project, &row.metadata.session_id).ok()?;
        let copies = (row.subagents > 0).then(|| SessionCopies::of(&stores, &key))?;
        match copies {
            Ok(copies) => Some(agents_of(&copies)),
            Err(error) => {
                notes.push(format!("{}: {error}", key.id));
                None
            }
        }
    };
    let mut sessions: Vec<Node> = roots.into_iter().map(|row| node(row, &mut rows, &mut agents, 0)).collect();
    // Those that say that they were forked from each other in a circle.
    while let Some(origin) = rows.keys().min().cloned() {
        let left = rows.remove(&origin).unwrap_or_default();
        sessions.extend(left.into_iter().map(|row| node(row, &mut rows, &mut agents, 0)).collect::<Vec<_>>());
    }
    Ok(Tree { sessions, scope, notes })
}

fn node(
    row: SessionRow,
    rows: &mut HashMap<String, Vec<SessionRow>>,
    agents: &mut dyn FnMut(&SessionRow) -> Option<Vec<Agent>>,
    depth: usize,
) -> Node {
    let is_deep = depth >= DEPTH_MAX;
    let forks = if is_deep { None } else { rows.remove(&row.metadata.session_id) };
    let agents_here = agents(&row).unwrap_or_default();
    let forked = forks.unwrap_or_default().into_iter().map(|row| node(row, rows, agents, depth + 1)).collect();
    Node { row, agents: agents_here, forked }
}

/// The subagents of a session, each below the one in whose transcript its call stands.
fn agents_of(copies: &SessionCopies) -> Vec<Agent> {
    let known = Subagents::of(copies);
    let all: Vec<(Option<&str>, &Subagent)> = known.each().collect();
    let mut caller_of: HashMap<String, usize> = HashMap::new();
    // One alone was started by the conversation.
    for (n, (_, one)) in all.iter().enumerate().filter(|_| all.len() > 1) {
        // One that cannot be read has started none; `show` and `verify` tell of it.
        let Ok(mut content) = copies.get_even_damaged(&one.name) else { continue };
        let _ = content.read().and_then(|bytes| {
            read_records(io::BufReader::new(bytes), 0, TornLine::Final, &mut |located| {
                for block in &located.record.blocks {
                    if let Block::ToolUse { id: Some(id), .. } = block {
                        caller_of.insert(id.to_string(), n);
                    }
                }
                ControlFlow::Continue(())
            })
        });
    }
    let caller = |n: usize| all[n].0.and_then(|call| caller_of.get(call)).copied().filter(|caller| *caller != n);
    let roots = (0..all.len()).filter(|n| caller(*n).is_none());
    let mut shown = HashSet::new();
    let mut agents: Vec<Agent> = roots.map(|n| agent(n, &all, &caller, &mut shown, 0)).collect();
    for n in 0..all.len() {
        if !shown.contains(&n) {
            agents.push(agent(n, &all, &caller, &mut shown, 0));
        }
    }
    agents
}

fn agent(
    n: usize,
    all: &[(Option<&str>, &Subagent)],
    caller: &dyn Fn(usize) -> Option<usize>,
    shown: &mut HashSet<usize>,
    depth: usize,
) -> Agent {
    shown.insert(n);
    let path = match &all[n].1.name.file {
        FileName::Side(rel) => rel.display().to_string(),
        FileName::Transcript => String::new(),
    };
    let below: Vec<usize> = (0..all.len()).filter(|other| caller(*other) == Some(n)).collect();
    let mut agents = Vec::new();
    for other in below {
        if depth < DEPTH_MAX && !shown.contains(&other) {
            agents.push(agent(other, all, caller, shown, depth + 1));
        }
    }
    Agent { title: all[n].1.title.clone(), path, agents }
}

/// The tree for a terminal: a line for each.
pub(crate) fn to_text(tree: &Tree, terminal: &Terminal) -> String {
    let mut text = String::new();
    for note in &tree.notes {
        text.push_str(&terminal.line(Style::Yellow, &format!("note: {}", one_line(note))));
    }
    if tree.sessions.is_empty() {
        text.push_str(&format!("No conversation {}.\n", tree.scope));
    }
    for node in &tree.sessions {
        push_node(&mut text, node, terminal, "", "");
    }
    text
}

fn push_node(text: &mut String, node: &Node, terminal: &Terminal, first: &str, below: &str) {
    let m = &node.row.metadata;
    let title = one_line(m.title.as_deref().or(m.first_topic.as_deref()).unwrap_or("–"));
    let period = terminal.period(m.timestamp_start.as_deref(), m.timestamp_end.as_deref());
    let told = format!("{title} · {} · {period} · {}", node.row.label, terminal::count(m.messages, "message"));
    let id = short_id(&m.session_id);
    let room = terminal.columns.saturating_sub(terminal::width(first) + terminal::width(&id) + 1);
    text.push_str(&format!("{first}{} {}\n", terminal.paint(Style::Cyan, &id), fit(&told, room)));
    let count = node.agents.len() + node.forked.len();
    for (n, agent) in node.agents.iter().enumerate() {
        push_agent(text, agent, terminal, below, n + 1 == count);
    }
    for (n, fork) in node.forked.iter().enumerate() {
        let is_last = node.agents.len() + n + 1 == count;
        let (branch, goes_on) = branches(is_last);
        push_node(text, fork, terminal, &format!("{below}{branch}fork "), &format!("{below}{goes_on}"));
    }
}

fn push_agent(text: &mut String, agent: &Agent, terminal: &Terminal, before: &str, is_last: bool) {
    let (branch, goes_on) = branches(is_last);
    let line = format!("{before}{branch}agent {} ({})", one_line(&agent.title), one_line(&agent.path));
    text.push_str(&fit(&line, terminal.columns));
    text.push('\n');
    let before = format!("{before}{goes_on}");
    for (n, below) in agent.agents.iter().enumerate() {
        push_agent(text, below, terminal, &before, n + 1 == agent.agents.len());
    }
}

fn branches(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browse::list::{ListRequest, list};
    use crate::testing::{ID, Scene, answer, prompt};

    const FORK: &str = "bbbbbbbb-0000-4000-8000-000000000002";

    fn call(id: &str) -> String {
        let block = serde_json::json!([{"type": "tool_use", "id": id, "name": "Agent", "input": {"prompt": "go"}}]);
        format!(
            "{}\n",
            serde_json::json!({"type": "assistant", "uuid": id, "message": {"role": "assistant", "content": block}})
        )
    }

    fn shown(scene: &Scene) -> String {
        let listing = ListRequest { all: Some(true), sort: Some("oldest".to_owned()), ..ListRequest::default() };
        let tree = tree(&scene.places, list(&scene.places, &listing).unwrap()).unwrap();
        to_text(&tree, &Terminal::PLAIN)
    }

    #[test]
    fn agents_stand_below_what_called_them_and_forks_below_their_origin() {
        let scene = Scene::new();
        let side = scene.transcript().with_extension("").join("subagents");
        let agent = |name: &str, lines: &str, meta: &str| {
            scene.write(&side.join(format!("{name}.jsonl")), lines);
            scene.write(&side.join(format!("{name}.meta.json")), meta);
        };
        let meta = |task: &str, call: &str| {
            format!(r#"{{"agentType":"Explore","description":"{task}","toolUseId":"{call}"}}"#)
        };
        agent("agent-outer", &(prompt(2, "go") + &call("inner")), &meta("outer", "first"));
        agent("agent-inner", &answer(3, "found"), &meta("inner", "inner"));
        agent("agent-loose", &answer(4, "found"), "{}");
        scene.transcribe(&[prompt(1, "the heron"), call("first")]);
        scene.receipt(None);
        let origin = format!(r#"{{"forkedFrom":{{"sessionId":"{ID}","messageUuid":"u-0001"}},"#);
        let fork = scene.transcript().with_file_name(format!("{FORK}.jsonl"));
        let line = prompt(1, "the heron").replace(ID, FORK).replacen('{', &origin, 1);
        scene.write(&fork, &(line + &prompt(9, "another way").replace(ID, FORK)));
        scene.save_as(&fork, crate::save::roots::RootKind::Claude, None, None).unwrap();
        insta::assert_snapshot!(shown(&scene), @r#"
        aaaaaaaa the heron · proj · 2026-11-22 10:00 · 2 messages
        ├─ agent Explore: outer (subagents/agent-outer.jsonl)
        │  └─ agent Explore: inner (subagents/agent-inner.jsonl)
        ├─ agent agent-loose (subagents/agent-loose.jsonl)
        └─ fork bbbbbbbb the heron · proj · 2026-11-22 10:00 · 2 messages
        "#);
    }
}
