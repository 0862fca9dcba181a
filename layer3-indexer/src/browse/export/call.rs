//! A call of a tool as a page shows it: of the tools that everybody uses, what they do; of others, their arguments.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::{Sanitized, Sanitizer};

/// Longest telling of a call, in characters.
const TELLING_CHARS_MAX: usize = 140;
/// Arguments that tell most of a call, best first.
const TELLING: [&str; 11] = [
    "command",
    "file_path",
    "notebook_path",
    "pattern",
    "query",
    "url",
    "path",
    "subject",
    "skill",
    "description",
    "prompt",
];

/// A call.
pub(super) struct Call {
    /// Joins it with its result.
    pub(super) id: Option<String>,
    pub(super) tool: Sanitized<'static>,
    /// The server that has the tool, of one that an MCP server has.
    pub(super) server: Option<Sanitized<'static>>,
    /// What tells most of it, on one line.
    pub(super) telling: Option<Sanitized<'static>>,
    pub(super) body: Body,
    /// What else it was given.
    pub(super) arguments: Vec<Argument>,
}

/// An argument of a tool.
pub(super) struct Argument {
    pub(super) name: Sanitized<'static>,
    pub(super) value: Sanitized<'static>,
}

/// What a well-known tool does.
pub(super) enum Body {
    Nothing,
    /// Runs this in a shell.
    Command(Sanitized<'static>),
    /// Puts each second text in place of the first.
    Changes(Vec<(Sanitized<'static>, Sanitized<'static>)>),
    /// Writes this into a file.
    Written(Sanitized<'static>),
    /// Gives an agent this to do.
    Task(Sanitized<'static>),
    Todos(Vec<(Progress, Sanitized<'static>)>),
    Questions(Vec<Question>),
    Plan(Sanitized<'static>),
}

/// How far something to do is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Begun,
    Done,
}

/// A question to the user.
pub(super) struct Question {
    pub(super) question: Sanitized<'static>,
    pub(super) has_many: bool,
    /// What can be answered, and what that means.
    pub(super) options: Vec<(Sanitized<'static>, Sanitized<'static>)>,
}

#[derive(Deserialize)]
struct Edit {
    old_string: String,
    new_string: String,
}

#[derive(Deserialize)]
struct Todo {
    content: String,
    status: String,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    #[serde(default, rename = "multiSelect")]
    has_many: bool,
    #[serde(default)]
    options: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    label: String,
    #[serde(default)]
    description: String,
}

impl Call {
    /// The call; `cwd` is left out where a path lies in it. Every text is cleaned before anything else is done with it.
    pub(super) fn of(
        name: &str,
        id: Option<&str>,
        input: Option<&RawValue>,
        cwd: Option<&str>,
        sanitizer: &mut Sanitizer,
    ) -> Call {
        let mut given = Given(input.map(arguments).unwrap_or_default());
        let body = body_of(name, &mut given, sanitizer);
        let telling = telling(name, &mut given, cwd, sanitizer);
        // As a whole first: half of a secret is not recognised.
        let name = sanitizer.clean(name);
        let (server, tool) = match name.as_str().strip_prefix("mcp__").and_then(|rest| rest.split_once("__")) {
            Some((server, tool)) => (Some(server), tool),
            None => (None, name.as_str()),
        };
        let on_one_line = |text: &str| name.part(text).headline(TELLING_CHARS_MAX);
        let (tool, server) = (on_one_line(tool), server.map(on_one_line));
        let argument = |(name, value): (String, Box<RawValue>)| Argument {
            value: sanitizer.clean_named(&name, &text_of(&value)).into_owned(),
            name: sanitizer.clean(&name).headline(100),
        };
        Call {
            id: id.map(str::to_owned),
            body,
            telling,
            arguments: given.0.into_iter().map(argument).collect(),
            tool,
            server,
        }
    }
}

fn body_of(name: &str, given: &mut Given, sanitizer: &mut Sanitizer) -> Body {
    let mut clean = |name: &str, text: &str| sanitizer.clean_named(name, text).into_owned();
    let body = match name {
        "Bash" => given.text("command").map(|text| Body::Command(clean("command", &text))),
        "Edit" => given.both("old_string", "new_string").map(|(old, new)| {
            given.drop_if("replace_all", "false");
            Body::Changes(vec![(clean("old_string", &old), clean("new_string", &new))])
        }),
        "MultiEdit" => given.read::<Vec<Edit>>("edits").map(|edits| {
            let changed = |edit: Edit| (clean("old_string", &edit.old_string), clean("new_string", &edit.new_string));
            Body::Changes(edits.into_iter().map(changed).collect())
        }),
        "Write" => given.text("content").map(|text| Body::Written(clean("content", &text))),
        "NotebookEdit" => given.text("new_source").map(|text| Body::Written(clean("new_source", &text))),
        "Agent" | "Task" => given.text("prompt").map(|text| Body::Task(clean("prompt", &text))),
        "ExitPlanMode" => given.text("plan").map(|text| Body::Plan(clean("plan", &text))),
        "TodoWrite" => given.read::<Vec<Todo>>("todos").map(|todos| {
            let shown = |todo: Todo| (Progress::of(&todo.status), clean("content", &todo.content));
            Body::Todos(todos.into_iter().map(shown).collect())
        }),
        "AskUserQuestion" => given.read::<Vec<Asked>>("questions").map(|asked| {
            let mut shown = |asked: Asked| Question {
                question: clean("question", &asked.question),
                has_many: asked.has_many,
                options: asked
                    .options
                    .iter()
                    .map(|choice| (clean("label", &choice.label), clean("description", &choice.description)))
                    .collect(),
            };
            Body::Questions(asked.into_iter().map(&mut shown).collect())
        }),
        _ => None,
    };
    body.unwrap_or(Body::Nothing)
}

/// Takes the argument that tells most of the call, and with an agent what it is.
fn telling(name: &str, given: &mut Given, cwd: Option<&str>, sanitizer: &mut Sanitizer) -> Option<Sanitized<'static>> {
    if name == "Agent" || name == "Task" {
        let words = ["subagent_type", "description"].into_iter().filter_map(|name| given.text(name));
        let words: Vec<String> = words.map(|word| sanitizer.clean(&word).as_str().to_owned()).collect();
        return Some(sanitizer.clean(&words.join(": ")).headline(TELLING_CHARS_MAX))
            .filter(|it| !it.as_str().is_empty());
    }
    let telling = TELLING.iter().copied().find(|name| given.has(name))?;
    let text = given.peek(telling)?;
    let line = sanitizer.clean_named(telling, &text);
    let within = cwd.filter(|cwd| cwd.len() > 1).and_then(|cwd| line.as_str().strip_prefix(cwd)?.strip_prefix('/'));
    let line = line.part(within.unwrap_or(line.as_str())).headline(TELLING_CHARS_MAX);
    if text.chars().count() < TELLING_CHARS_MAX && !text.contains('\n') {
        given.drop(telling);
    }
    Some(line)
}

impl Progress {
    fn of(status: &str) -> Progress {
        match status {
            "completed" => Progress::Done,
            "in_progress" => Progress::Begun,
            _ => Progress::Open,
        }
    }

    /// As a list shows it.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Progress::Open => "☐",
            Progress::Begun => "◐",
            Progress::Done => "☑",
        }
    }
}

/// The arguments that were not shown yet, in their order. What is taken is of the shape that was asked for.
struct Given(Vec<(String, Box<RawValue>)>);

impl Given {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    fn peek(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(given, _)| given == name)?;
        serde_json::from_str(value.get()).ok()
    }

    fn drop(&mut self, name: &str) {
        if let Some(at) = self.0.iter().position(|(given, _)| given == name) {
            self.0.remove(at);
        }
    }

    fn drop_if(&mut self, name: &str, value: &str) {
        self.0.retain(|(given, raw)| given != name || raw.get() != value);
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.read(name)
    }

    fn both(&mut self, one: &str, other: &str) -> Option<(String, String)> {
        let both = self.peek(one).zip(self.peek(other))?;
        self.drop(one);
        self.drop(other);
        Some(both)
    }

    fn read<T: for<'a> Deserialize<'a>>(&mut self, name: &str) -> Option<T> {
        let (_, value) = self.0.iter().find(|(given, _)| given == name)?;
        let read = serde_json::from_str(value.get()).ok()?;
        self.drop(name);
        Some(read)
    }
}

/// The arguments; what is no object of them is one argument without a name.
fn arguments(input: &RawValue) -> Vec<(String, Box<RawValue>)> {
    match serde_json::from_str::<Ordered>(input.get()) {
        Ok(Ordered(arguments)) => arguments,
        Err(_) => vec![(String::new(), input.to_owned())],
    }
}

/// A string as it is, anything else as JSON to be read. What is nested too deeply stays as it stands.
fn text_of(value: &RawValue) -> String {
    match serde_json::from_str::<serde_json::Value>(value.get()) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
        Err(_) => value.get().to_owned(),
    }
}

struct Ordered(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrderedVisitor;
        impl<'de> Visitor<'de> for OrderedVisitor {
            type Value = Ordered;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut arguments = Vec::new();
                while let Some(argument) = map.next_entry()? {
                    arguments.push(argument);
                }
                Ok(Ordered(arguments))
            }
        }
        deserializer.deserialize_map(OrderedVisitor)
    }
}
