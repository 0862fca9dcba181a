//! Where the transcript of a subagent belongs: at the call that started it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use layer1_prebackup::claude::side_files::BESIDE;
use layer1_prebackup::names::{FileName, StoredName};
use serde::Deserialize;

use crate::stores::SessionCopies;

/// Longest description of a subagent that is read, in bytes of its `.meta.json`.
const META_BYTES_MAX: u64 = 64 * 1024;

/// Transcripts of subagents; for a page, those that were not written yet.
#[derive(Default)]
pub(crate) struct Subagents {
    /// By the id of the call that started them.
    called: BTreeMap<String, Vec<Subagent>>,
    others: Vec<Subagent>,
}

#[derive(Debug, Clone)]
pub(crate) struct Subagent {
    pub(crate) name: StoredName,
    /// Its kind and task, as its side file says them; else its file's name.
    pub(crate) title: String,
    /// Whether the side file says them.
    is_told: bool,
}

impl Subagent {
    /// Whether it is the one with this id.
    fn is(&self, id: &str) -> bool {
        match &self.name.file {
            FileName::Side(rel) => rel.file_stem().is_some_and(|stem| stem.to_string_lossy() == format!("agent-{id}")),
            FileName::Transcript => false,
        }
    }
}

/// `agent-….meta.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SubagentMeta {
    agent_type: Option<String>,
    description: Option<String>,
    tool_use_id: Option<String>,
}

impl Subagents {
    pub(crate) fn of(copies: &SessionCopies) -> Subagents {
        let (mut subagents, stand_in) = (Subagents::default(), copies.stand_in());
        let is_one = |name: &StoredName| name.generation == 0 && stand_in.as_ref() != Some(name);
        for name in copies.names().into_iter().filter(is_one) {
            let FileName::Side(rel) = &name.file else { continue };
            // Earlier versions of Claude Code kept them beside the transcript.
            let is_old = rel.strip_prefix(BESIDE).is_ok_and(|name| name.to_string_lossy().starts_with("agent-"));
            if !(is_old || rel.starts_with("subagents")) || rel.extension().is_none_or(|ext| ext != "jsonl") {
                continue;
            }
            let meta = subagent_meta(copies, rel);
            let words: Vec<String> = [meta.agent_type, meta.description].into_iter().flatten().collect();
            let stem = rel.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let is_told = !words.is_empty();
            let title = if is_told { words.join(": ") } else { stem };
            let subagent = Subagent { title, is_told, name: name.clone() };
            match meta.tool_use_id {
                Some(id) => subagents.called.entry(id).or_default().push(subagent),
                None => subagents.others.push(subagent),
            }
        }
        subagents
    }

    /// Each, and the id of the call that started it where something says so.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Option<&str>, &Subagent)> {
        let called = self.called.iter().flat_map(|(call, all)| all.iter().map(move |one| (Some(call.as_str()), one)));
        called.chain(self.others.iter().map(|one| (None, one)))
    }

    /// Whether the transcript of the one with this id is kept.
    pub(crate) fn has(&self, agent: &str) -> bool {
        self.each().any(|(_, subagent)| subagent.is(agent))
    }

    /// Those that the call started.
    pub(crate) fn started_by(&self, call: &str) -> &[Subagent] {
        self.called.get(call).map_or(&[], Vec::as_slice)
    }

    /// The call that started the one whose transcript this is.
    pub(crate) fn call_of(&self, name: &StoredName) -> Option<&str> {
        self.each().find(|(_, one)| one.name == *name)?.0
    }

    /// What the one whose transcript this is was told to do, where something says so.
    pub(crate) fn title_of(&self, name: &StoredName) -> Option<&str> {
        self.each().find(|(_, one)| one.name == *name && one.is_told).map(|(_, one)| one.title.as_str())
    }

    /// Takes those that the call started.
    pub(crate) fn called_by(&mut self, call: &str) -> Vec<Subagent> {
        self.called.remove(call).unwrap_or_default()
    }

    /// Takes the one that a result names, where nothing else says which call it belongs to.
    pub(crate) fn named_in(&mut self, result: &str) -> Option<Subagent> {
        let line = result.lines().find_map(|line| line.trim_start().strip_prefix("agentId: "))?;
        let id = line.split(|c: char| !c.is_ascii_alphanumeric()).next().filter(|id| id.len() >= 4)?;
        let at = self.others.iter().position(|subagent| subagent.is(id))?;
        Some(self.others.remove(at))
    }

    /// Takes all that are left.
    pub(crate) fn rest(&mut self) -> Vec<Subagent> {
        let mut rest: Vec<Subagent> = std::mem::take(&mut self.called).into_values().flatten().collect();
        rest.append(&mut self.others);
        rest
    }
}

/// Only for a title and a place: without it, or where it is damaged, the transcript comes at the end.
fn subagent_meta(copies: &SessionCopies, rel: &Path) -> SubagentMeta {
    let name = StoredName::newest(FileName::Side(rel.with_extension("meta.json")));
    let Ok(mut content) = copies.get(&name) else { return SubagentMeta::default() };
    let mut bytes = Vec::new();
    let read = content.read().and_then(|reader| reader.take(META_BYTES_MAX).read_to_end(&mut bytes));
    read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
