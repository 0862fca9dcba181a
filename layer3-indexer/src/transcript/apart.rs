//! What a transcript names that Claude Code keeps apart from it: earlier states of edited files, a task list, a plan.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::record::LINE_BYTES_MAX;

/// The side files of each kind, as the stores name them.
pub(crate) const FILE_STATES: &str = ".claude/file-history";
pub(crate) const TASKS: &str = ".claude/tasks";
pub(crate) const PLANS: &str = ".claude/plans";
/// The tool that begins a task list.
const TASK_TOOL: &str = "TaskCreate";
/// Only lines with one of these are parsed.
const MARKS: [&str; 4] = ["backupFileName", TASK_TOOL, "/plans/", "\"slug\""];

/// What a transcript names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Apart {
    /// Earlier states of edited files, by the names of their files.
    pub(crate) file_states: BTreeSet<String>,
    pub(crate) has_tasks: bool,
    /// Plans that were written, by the names of their files.
    pub(crate) plans: BTreeSet<String>,
}

impl Apart {
    /// Of a whole transcript. A line that is no record names nothing.
    pub(crate) fn of(transcript: impl Read) -> io::Result<Apart> {
        let (mut apart, mut slugs) = (Apart::default(), BTreeSet::new());
        let mut reader = BufReader::with_capacity(256 * 1024, transcript);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let has = |mark: &&str| memchr::memmem::find(&line, mark.as_bytes()).is_some();
            if let Some(record) = MARKS.iter().any(has).then(|| serde_json::from_slice(&line).ok()).flatten() {
                apart.add(&record);
                slugs.extend(record["slug"].as_str().map(|slug| format!("{slug}.md")));
            }
        }
        // What else lies in a folder of that name is a project's own.
        apart.plans.retain(|plan| slugs.contains(plan));
        Ok(apart)
    }

    fn add(&mut self, record: &Value) {
        if record["type"].as_str().is_some_and(|kind| kind.starts_with("file-history")) {
            each_string(record, &mut |key, text| {
                if key == "backupFileName" {
                    self.file_states.insert(text.to_owned());
                }
            });
        }
        let is_call = |block: &&Value| block["type"] == "tool_use";
        for call in record["message"]["content"].as_array().into_iter().flatten().filter(is_call) {
            self.has_tasks |= call["name"] == TASK_TOOL;
            each_string(&call["input"], &mut |_, text| self.plans.extend(plan_at(text)));
        }
        if record["attachment"]["planExists"] == true {
            self.plans.extend(record["attachment"]["planFilePath"].as_str().and_then(plan_at));
        }
    }
}

/// The file's name, if a path leads to a plan.
fn plan_at(path: &str) -> Option<String> {
    let path = Path::new(path);
    let is_plan = path.parent()?.file_name()? == "plans" && path.extension()? == "md";
    is_plan.then(|| path.file_name()?.to_str().map(str::to_owned))?
}

/// Every text of a value below it, with the key that it stands under.
fn each_string(value: &Value, each: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) => each(key, text),
                    None => each_string(value, each),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| each_string(value, each)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_transcript_names_is_found_and_what_only_looks_so_is_not() {
        let call = |name: &str, input: &str| {
            format!(
                r#"{{"type":"assistant","message":{{"content":[{{"type":"tool_use","name":"{name}","input":{input}}}]}}}}"#
            )
        };
        let snapshot = r#"{"type":"file-history-snapshot","snapshot":{"trackedFileBackups":{"a.rs":{"backupFileName":"0a@v1"},"b.rs":{"backupFileName":null}}}}"#;
        let slug = r#"{"type":"user","slug":"calm-fox","message":{"content":"TaskCreate in /plans/x.md"}}"#.to_owned();
        for (lines, states, tasks, plans) in [
            (vec![slug.clone()], vec![], false, vec![]),
            (vec![snapshot.to_owned(), "torn \"backupFileName".to_owned()], vec!["0a@v1"], false, vec![]),
            (vec![r#"{"type":"user","toolUseResult":{"backupFileName":"x"}}"#.to_owned()], vec![], false, vec![]),
            (vec![call("TaskCreate", r#"{"subject":"a"}"#)], vec![], true, vec![]),
            (vec![call("Bash", r#"{"command":"TaskCreate"}"#)], vec![], false, vec![]),
            (
                vec![call("Write", r#"{"file_path":"/h/.claude/plans/calm-fox.md"}"#), slug.clone()],
                vec![],
                false,
                vec!["calm-fox.md"],
            ),
            (vec![call("Write", r#"{"file_path":"/h/app/plans/other.md"}"#), slug.clone()], vec![], false, vec![]),
            (
                vec![r#"{"slug":"x","attachment":{"planFilePath":"/h/plans/x.md","planExists":true}}"#.to_owned()],
                vec![],
                false,
                vec!["x.md"],
            ),
            (
                vec![r#"{"slug":"x","attachment":{"planFilePath":"/h/plans/x.md","planExists":false}}"#.to_owned()],
                vec![],
                false,
                vec![],
            ),
        ] {
            let set = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
            let expected = Apart { file_states: set(states), has_tasks: tasks, plans: set(plans) };
            assert_eq!(Apart::of(lines.join("\n").as_bytes()).unwrap(), expected, "{lines:?}");
        }
    }
}
