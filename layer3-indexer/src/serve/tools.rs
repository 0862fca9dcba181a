//! The seven tools: names, schemas and descriptions that a model understands, and what each does.
//!
//! A tool that fails answers with `isError` and `{"error": {"kind", "message"}}`: the model reads
//! it, and layer 2 tells from the kind whether trying again could help.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use layer1_prebackup::claude::TOOL_CHARS_MAX;
use layer1_prebackup::claude::transcripts::Reach;
use layer1_prebackup::names::{ProjectName, SessionId};
use layer1_prebackup::wire::shown::shown;
use rmcp::handler::server::common::{schema_for_input, schema_for_output};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, MetaObject, Tool as ToolDescription, ToolAnnotations};
use rmcp::schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::server::Server;
use crate::browse::fit::{self, Fit};
use crate::browse::list::{self, ListRequest, Listed};
use crate::browse::search::{self, SearchRequest};
use crate::browse::show::{self, Conversation, Window};
use crate::browse::team::{self, Archive};
use crate::browse::why::{self, Why, WhyRequest};
use crate::failure::{Context, Failure, Kind};
use crate::index::SearchResults;
use crate::save::adopt_v1;
use crate::save::import::{self, Summary};
use crate::save::verify::{self, Report};
use crate::save::{self, Expected, ExpectedEntry, Receipt, Request};
use crate::scope;
use crate::stores::SessionCopies;
use crate::terminal::Terminal;
use crate::transcript::redact::{Redactor, in_words, masks_in};

/// Edited files that are named beside a conversation's text, the last ones.
/// Most entries of a save's `expected`. A session of a hundred days has some thousand files and versions, and each is
/// asked for: one that has more gets no receipt, so this is as many as an answer has room for.
const EXPECTED_MAX: usize = 64 * 1024;
const EDITED_FILES_MAX: usize = 20;
/// Most characters of why a tool failed.
const FAILURE_CHARS_MAX: usize = 8_000;
/// How a tool tells Claude Code how long its answers may be before the model gets a preview of them; 200,000 was obeyed.
const MAX_RESULT: &str = "anthropic/maxResultSizeChars";
/// An answer is built to [`TOOL_CHARS_MAX`], each character as it is counted here; however the client counts, it passes.
const RESULT_CHARS_MAX: usize = 2 * TOOL_CHARS_MAX;

/// Told the work done so far and, if known, all of it; ever growing.
type Progress<'a> = &'a dyn Fn(u64, Option<u64>);

/// A tool of the server.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Whether it changes nothing that the user would notice.
    read_only: bool,
    input: fn() -> Arc<JsonObject>,
    output: fn() -> JsonObject,
    run: fn(&Server, JsonObject, Progress<'_>) -> Result<Output, Failure>,
}

/// A tool's answer: the structure, and the text beside it.
struct Output {
    structure: Value,
    /// `None`: the structure as JSON.
    text: Option<String>,
    fit: Fit,
    /// Whether it goes to a program, which gets all of it.
    is_whole: bool,
}

impl Output {
    /// One that passed over so many entries.
    fn from(self, offset: usize) -> Output {
        Output { fit: Fit { offset, ..self.fit }, ..self }
    }
}

/// All tools, in the order of the list.
pub(crate) fn all() -> &'static [Tool] {
    &TOOLS
}

static TOOLS: [Tool; 7] = [
    Tool {
        name: "session_save",
        title: "Save a conversation",
        description: "Makes a verified copy of one Claude Code session (its transcript and side files), writes its metadata and \
            indexes it for search. The hooks of Threefold call this by themselves at the end of a session and before a \
            compaction; call it only when the user asks to save the present conversation now. transcript_path must be the \
            session's own file <claude dir>/projects/<folder>/<session_id>.jsonl. Gives a receipt: what is stored, with sizes and \
            BLAKE3 hashes read back from the disk; or {skipped, reason} when there is no transcript yet. Older contents are \
            kept as generations, never overwritten.",
        read_only: false,
        input: input_schema::<SaveInput>,
        output: save_output_schema,
        run: session_save,
    },
    Tool {
        name: "session_search",
        title: "Search all conversations",
        description: "Searches everything that was said in saved Claude Code sessions: prompts, answers, thinking, tool calls and \
            their output, compaction summaries. Use it when the user refers to earlier work or when a decision, an error or a \
            command may have come up before. The query takes plain words (all must occur), \"exact phrases\", OR, NOT, prefix*, \
            NEAR(a b, 5); code fragments and parts of words are found too; accents do not matter. Any text is valid. \
            Gives the best hit of each session (each: true gives all), best first, with session_id, project, time, role, message and \
            a snippet with the matches in [brackets]; read on with session_get_context(session_id, around: message).",
        read_only: true,
        input: input_schema::<SearchRequest>,
        output: output_schema::<SearchResults>,
        run: session_search,
    },
    Tool {
        name: "session_why",
        title: "Who wrote a line, what fixed an error",
        description: "With file (and line): which conversation wrote this line, or last touched this file, and what the user had asked \
            for; use it before changing code whose reason is not clear. With error: what was run after this error before, and \
            whether it helped; use it when a command fails in a way that may have come up before. Answers marked exact are \
            proven by the transcripts (the edits carried out once more, or the commit of the line); all others are guesses, and \
            say why. Read on with session_get_context(session_id, around: message).",
        read_only: true,
        input: input_schema::<WhyRequest>,
        output: output_schema::<Why>,
        run: session_why,
    },
    Tool {
        name: "session_list",
        title: "List saved conversations",
        description: "Lists saved sessions, newest first: period, branch, size, number of messages, edited and read files, commands, \
            tools used, first and last topic, and the user's own name, tags and note. Use it to find the session to continue, or to see what was done in a project \
            lately; to find something that was said, use session_search.",
        read_only: true,
        input: input_schema::<ListRequest>,
        output: output_schema::<Listed>,
        run: session_list,
    },
    Tool {
        name: "session_get_context",
        title: "Read a conversation",
        description: "Gives a saved conversation, or a window of it, as readable text: who said what and when, with tool calls folded \
            to one line each. Without `around` it is the end of the conversation (all of it if it fits), which is what is needed \
            to continue it; where it does not fit, the last compaction's summary comes first. With `around` (the message of a search hit, or a time) it is the part around that message, which is marked with ▶ and shown whole or, \
            where it is too long, around the match. What the user went back to before and took another way is marked as rewound. Whatever is \
            left out is said in the text; no message is cut silently.",
        read_only: true,
        input: input_schema::<ContextInput>,
        output: output_schema::<Conversation>,
        run: session_get_context,
    },
    Tool {
        name: "backup_create",
        title: "Save all that changed",
        description: "Saves every session whose transcript changed since its last copy, of all projects or of one. Use it when the user \
            asks for a backup of everything now; single sessions are saved by the hooks. Gives the numbers of sessions saved, \
            unchanged and failed. Repeating it is harmless.",
        read_only: false,
        input: input_schema::<BackupInput>,
        output: output_schema::<Summary>,
        run: backup_create,
    },
    Tool {
        name: "session_verify",
        title: "Verify the copies",
        description: "Re-reads every stored file of one session, or of all, and compares it with its recorded hash. Use it when the user \
            asks whether the saved conversations are intact. Gives ok and a list of findings (damaged, missing, bookkeeping-lost, \
            generation-gap, unproven, source-diverged); an empty list means that all is well. Changes nothing, and notes what is \
            damaged for the user's `status`.",
        read_only: true,
        input: input_schema::<VerifyInput>,
        output: output_schema::<Report>,
        run: session_verify,
    },
];

impl Tool {
    /// What `tools/list` says of it.
    pub(crate) fn describe(&self) -> ToolDescription {
        let annotations = ToolAnnotations::with_title(self.title).read_only(self.read_only).open_world(false);
        let annotations = if self.read_only { annotations } else { annotations.destructive(false).idempotent(true) };
        ToolDescription::new(self.name, self.description, (self.input)())
            .with_title(self.title)
            .with_raw_output_schema(Arc::new((self.output)()))
            .with_annotations(annotations)
            .with_meta(MetaObject(JsonObject::from_iter([(MAX_RESULT.to_owned(), RESULT_CHARS_MAX.into())])))
    }

    /// What the tool answers where a team's archive is asked.
    fn of_archive(&self, archive: &Archive, server: &Server, arguments: JsonObject) -> Result<Output, Failure> {
        let limits = &server.here.limits;
        let (found, passed_over) = match self.name {
            "session_search" => {
                let search: SearchRequest = parse(self.name, arguments)?;
                (team::search(archive, limits, &search)?, search.passed_over())
            }
            "session_list" => {
                let listing: ListRequest = parse(self.name, arguments)?;
                (team::list(archive, limits, &listing)?, listing.offset.unwrap_or(0))
            }
            name => {
                let message = format!(
                    "answer {name}: this server asks a team's archive, which has session_search and session_list alone"
                );
                return Err(Failure::new(message)
                    .hint("the server without --archive has all tools, for this computer's conversations")
                    .of(Kind::InvalidInput));
            }
        };
        Ok(answer(&found.structure, Some(found.text))?.from(passed_over))
    }

    /// Runs the tool; a failure is an answer too.
    pub(crate) fn call(&self, server: &Server, arguments: JsonObject, progress: Progress<'_>) -> CallToolResult {
        let mut redactor = server.is_masking.then(Redactor::default);
        // What cannot be seen must not hide a secret: it is shown afterwards.
        let mut clean = |text: &str| match &mut redactor {
            Some(redactor) => shown(&redactor.mask(text)).into_owned(),
            None => shown(text).into_owned(),
        };
        let output = match &server.archive {
            Some(archive) => self.of_archive(archive, server, arguments),
            None => (self.run)(server, arguments, progress),
        };
        match output {
            Ok(output) => {
                let structure = match output.is_whole {
                    true => output.structure,
                    false => {
                        let mut structure = output.structure;
                        for_each_text(&mut structure, &mut clean);
                        if server.is_masking
                            && let Value::Object(structure) = &mut structure
                        {
                            note_masked(structure);
                        }
                        fit::fit(structure, output.fit)
                    }
                };
                // A text that is too long does not say where to go on; the structure does.
                let masked = |text: String| match masks_in(&text) {
                    masks if server.is_masking && !masks.is_empty() && !text.contains("\nmasked: ") => {
                        format!("{text}{}\n", in_words(&masks))
                    }
                    _ => text,
                };
                let text =
                    output.text.map(|text| masked(clean(&text))).filter(|text| fit::text_chars(text) <= TOOL_CHARS_MAX);
                let text = text.unwrap_or_else(|| structure.to_string());
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(structure);
                result
            }
            Err(error) => {
                server.journal.line(&format!("[{}] ❌ {error}", self.name.replace('_', "-")));
                failure(&error, clean)
            }
        }
    }
}

/// Says how many secrets of which kind were masked.
fn note_masked(structure: &mut Map<String, Value>) {
    let text = Value::Object(structure.clone()).to_string();
    let masks = masks_in(&text);
    if !masks.is_empty() {
        fit::note(structure, &in_words(&masks));
    }
}

/// Rewrites every text within a value.
fn for_each_text(value: &mut Value, rewrite: &mut impl FnMut(&str) -> String) {
    match value {
        Value::String(text) => *text = rewrite(text),
        Value::Array(values) => values.iter_mut().for_each(|value| for_each_text(value, rewrite)),
        Value::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                for_each_text(&mut value, rewrite);
                fields.insert(rewrite(&name), value);
            }
        }
        _ => {}
    }
}

/// The answer of a tool that failed; of its text what `clean` leaves.
pub(crate) fn failure(failure: &Failure, mut clean: impl FnMut(&str) -> String) -> CallToolResult {
    let kind = if failure.is(Kind::InvalidInput) { "invalid_input" } else { "failed" };
    let message = fit::fit_text(clean(&format!("failed to {failure}")), FAILURE_CHARS_MAX);
    let mut result = CallToolResult::error(vec![ContentBlock::text(message.clone())]);
    result.structured_content = Some(json!({ "error": { "kind": kind, "message": message } }));
    result
}

fn input_schema<T: JsonSchema + 'static>() -> Arc<JsonObject> {
    schema_for_input::<T>().expect("inputs are objects")
}

/// The schema of an answer. Clients check the structure of failures against it too, so it allows
/// the error instead of what is otherwise required.
fn output_schema<T: JsonSchema + 'static>() -> JsonObject {
    let mut schema = (*schema_for_output::<T>()).clone();
    let required = schema.remove("required").unwrap_or(json!([]));
    allow_error(&mut schema, vec![json!({ "required": required })]);
    schema
}

/// A receipt, or the reason why nothing was stored, or an error.
fn save_output_schema() -> JsonObject {
    let mut schema = (*schema_for_output::<Receipt>()).clone();
    let mut skipped = (*schema_for_output::<save::Skipped>()).clone();
    let required = [&mut schema, &mut skipped].map(|schema| schema.remove("required").unwrap_or(json!([])));
    if let Some(Value::Object(more)) = skipped.remove("properties")
        && let Some(Value::Object(properties)) = schema.get_mut("properties")
    {
        properties.extend(more);
    }
    allow_error(&mut schema, required.into_iter().map(|required| json!({ "required": required })).collect());
    schema
}

fn allow_error(schema: &mut JsonObject, mut alternatives: Vec<Value>) {
    let error = json!({
        "type": "object",
        "description": "Only in a failure. invalid_input: the same call can never succeed. failed: it may, later.",
        "properties": {
            "kind": { "type": "string", "enum": ["invalid_input", "failed"], "description": "Whether trying again can help." },
            "message": { "type": "string", "description": "What went wrong, for a person." },
        },
        "required": ["kind", "message"],
    });
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("error".to_owned(), error);
    }
    alternatives.push(json!({ "required": ["error"] }));
    schema.insert("anyOf".to_owned(), Value::Array(alternatives));
}

fn parse<T: DeserializeOwned>(tool: &'static str, arguments: JsonObject) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(arguments))
        .context(format_args!("read the arguments of {tool}"))
        .map_err(|failure| failure.of(Kind::InvalidInput))
}

/// The answer with its own text, or with the structure as JSON for clients that read only text.
fn answer(structure: &impl Serialize, text: Option<String>) -> Result<Output, Failure> {
    let fit = Fit { chars_max: TOOL_CHARS_MAX, offset: 0, offset_is: "offset: " };
    let structure = serde_json::to_value(structure).context("write the answer")?;
    Ok(Output { structure, text, fit, is_whole: false })
}

/// The answer without the first entries of its list.
fn passing_over(mut output: Output, list: &str, offset: Option<usize>) -> Output {
    let offset = offset.unwrap_or(0);
    if let Some(Value::Array(entries)) = output.structure.get_mut(list) {
        drop(entries.drain(..offset.min(entries.len())));
    }
    output.from(offset)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars", example = json!({"session_id": "8c1f04de-1f0d-4b6e-9d0c-3a1b2c3d4e5f", "transcript_path": "/home/me/.claude/projects/-home-me-app/8c1f04de-1f0d-4b6e-9d0c-3a1b2c3d4e5f.jsonl"}))]
struct SaveInput {
    /// The session's id, as in the hook event.
    session_id: String,
    /// Absolute path of its transcript: `CLAUDE_DIR/projects/FOLDER/SESSION_ID.jsonl`.
    transcript_path: String,
    /// The working directory of the session.
    #[serde(default)]
    cwd: Option<String>,
    /// What caused the save: pre-compact, session-end, … `pre-compact`, `session-end` and no trigger compare every byte.
    #[serde(default)]
    trigger: Option<String>,
    /// The project's folder in the store; by default the last component of the session's first working directory.
    #[serde(default)]
    project: Option<String>,
    /// What the caller holds of this session: the receipt then says of each entry whether the store covers it.
    #[serde(default)]
    expected: Option<Vec<ExpectedEntry>>,
}

fn session_save(server: &Server, arguments: JsonObject, progress: Progress<'_>) -> Result<Output, Failure> {
    let input: SaveInput = parse("session_save", arguments)?;
    let id = SessionId::parse(&input.session_id)?;
    let project = input.project.as_deref().filter(|text| !text.is_empty()).map(ProjectName::parse).transpose()?;
    let checked = server.roots.check(&id, Path::new(&input.transcript_path))?;
    let expected = input.expected.as_deref().map(|entries| parse_expected(&id, entries)).transpose()?;
    let request = Request {
        id: &id,
        transcript: &checked.path,
        root: checked.root,
        reach: Reach::Plain,
        cwd: input.cwd.as_deref(),
        trigger: input.trigger.as_deref(),
        project: project.as_ref(),
        expected: expected.as_deref(),
    };
    if let Some(skipped) = save::refused_by_settings(&server.places, &request) {
        return answer(&skipped, None);
    }
    let Server { places, journal, later, .. } = server;
    let saved = save::save_and_index_later(places, journal, later, &request, &|bytes| progress(bytes, None))?;
    Ok(Output { is_whole: expected.is_some(), ..answer(&saved, None)? })
}

/// Each entry once.
fn parse_expected(id: &SessionId, entries: &[ExpectedEntry]) -> Result<Vec<Expected>, Failure> {
    if entries.len() > EXPECTED_MAX {
        let why = format!("{} entries, more than the {EXPECTED_MAX} that one call may hold", entries.len());
        return Err(Failure::new(format!("use the argument expected: {why}")).of(Kind::InvalidInput));
    }
    let mut seen = HashSet::new();
    let parse = |entry: &ExpectedEntry| {
        entry.parse(id).map_err(|failure| Failure::argument("expected", &entry.path, &failure.to_string()))
    };
    let all = entries.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|entry| seen.insert((entry.name.clone(), entry.bytes, entry.blake3))).collect())
}

fn session_search(server: &Server, arguments: JsonObject, _progress: Progress<'_>) -> Result<Output, Failure> {
    let search: SearchRequest = parse("session_search", arguments)?;
    let search = SearchRequest { here: server.here.clone(), redact: server.is_masking, ..search };
    let results = search::search(&server.places, &search)?;
    let text = search::to_text(&results, &search, &Terminal::PAGE);
    Ok(answer(&results, Some(text))?.from(search.passed_over()))
}

fn session_why(server: &Server, arguments: JsonObject, _progress: Progress<'_>) -> Result<Output, Failure> {
    let request: WhyRequest = parse("session_why", arguments)?;
    let request = WhyRequest { here: server.here.clone(), env: server.env.clone(), ..request };
    let answered = why::why(&server.places, &request)?;
    let text = why::to_text(&answered, &request, &Terminal::PAGE);
    Ok(answer(&answered, Some(text))?.from(request.passed_over()))
}

fn session_list(server: &Server, arguments: JsonObject, _progress: Progress<'_>) -> Result<Output, Failure> {
    let listing: ListRequest = parse("session_list", arguments)?;
    let listing = ListRequest { here: server.here.clone(), ..listing };
    Ok(answer(&list::list(&server.places, &listing)?, None)?.from(listing.offset.unwrap_or(0)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars", example = json!({"session_id": "8c1f04de", "last": 20}))]
struct ContextInput {
    /// The session's id or a unique beginning of it, or what it is called; PROJECT/ID where two projects have the same id.
    session_id: String,
    /// A message (as a search hit names it: a uuid or its beginning, or PATH:OFFSET), or an RFC 3339 time.
    #[serde(default)]
    around: Option<String>,
    /// Only the last so many messages. Without meaning beside `around`.
    #[serde(default)]
    last: Option<usize>,
    /// Read all of it, page by page: the page from this character on. 0 is the beginning; each page says where the next one is.
    #[serde(default)]
    offset: Option<usize>,
    /// At most about so many characters; by default, and at most, as many as fit into an answer.
    #[serde(default)]
    max_chars: Option<usize>,
    /// Thinking, tool calls and their output whole instead of folded to a line each. The message of `around` always is.
    #[serde(default)]
    full: Option<bool>,
}

fn session_get_context(server: &Server, arguments: JsonObject, _progress: Progress<'_>) -> Result<Output, Failure> {
    let input: ContextInput = parse("session_get_context", arguments)?;
    let stores = adopt_v1::stores(&server.places)?;
    let key = scope::named(&server.places, &stores, &server.here, stores.sessions()?, &input.session_id)?;
    let copies = SessionCopies::of(&stores, &key)?;
    let window = Window {
        around: input.around.filter(|text| !text.trim().is_empty()),
        last: input.last,
        max_chars: input.max_chars.unwrap_or(TOOL_CHARS_MAX).clamp(1, TOOL_CHARS_MAX),
        generation: None,
        full: input.full.unwrap_or(false),
        redact: server.is_masking,
        ..Window::default()
    };
    let window = window.learned(&copies);
    let mut max_chars = window.max_chars;
    let whole = Window { last: None, around: None, max_chars: usize::MAX, ..window.clone() };
    let mut conversation = show::conversation(&copies, if input.offset.is_some() { &whole } else { &window })?;
    // The text tells of more files than a list that would take all the room.
    let more = conversation.edited_files.len().saturating_sub(EDITED_FILES_MAX);
    drop(conversation.edited_files.drain(..more));
    let all = conversation.to_text(&Terminal::PAGE);
    loop {
        conversation.text = match input.offset {
            Some(offset) => fit::page(&all, offset, max_chars, "offset: "),
            None if max_chars == window.max_chars => all.clone(),
            None => {
                let window = Window { max_chars, ..window.clone() };
                let mut smaller = show::conversation(&copies, &window)?;
                drop(smaller.edited_files.drain(..more));
                conversation = smaller;
                conversation.to_text(&Terminal::PAGE)
            }
        };
        if input.offset.is_none() && conversation.text.contains(" left out") {
            conversation.text.push_str("[offset: 0 reads all of it from the beginning, page by page]\n");
        }
        let chars = fit::chars(&serde_json::to_value(&conversation).context("write the answer")?);
        if chars <= TOOL_CHARS_MAX || max_chars < 100 {
            let text = conversation.text.clone();
            return answer(&conversation, Some(text));
        }
        max_chars = (max_chars * TOOL_CHARS_MAX / chars * 9 / 10).min(TOOL_CHARS_MAX);
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars", example = json!({"project": "app"}))]
struct BackupInput {
    /// Only sessions of this project (a folder name as session_list gives it). Without it: all projects.
    #[serde(default)]
    project: Option<String>,
    /// Pass over so many of what went wrong: those of the answers before.
    #[serde(default)]
    offset: Option<usize>,
}

fn backup_create(server: &Server, arguments: JsonObject, progress: Progress<'_>) -> Result<Output, Failure> {
    let input: BackupInput = parse("backup_create", arguments)?;
    let project = input.project.as_deref().filter(|text| !text.is_empty()).map(ProjectName::parse).transpose()?;
    let report = |at: import::Progress| progress(at.work_done, Some(at.work_all));
    let summary = import::backup(&server.places, &server.journal, project.as_ref(), &report)?;
    Ok(passing_over(answer(&summary, None)?, "failed", input.offset))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars", example = json!({"session_id": "8c1f04de"}))]
struct VerifyInput {
    /// The session's id or a unique beginning of it. Without it: all sessions.
    #[serde(default)]
    session_id: Option<String>,
    /// Pass over so many of what went wrong: those of the answers before.
    #[serde(default)]
    offset: Option<usize>,
}

fn session_verify(server: &Server, arguments: JsonObject, _progress: Progress<'_>) -> Result<Output, Failure> {
    let input: VerifyInput = parse("session_verify", arguments)?;
    let typed = input.session_id.filter(|text| !text.is_empty());
    let report = verify::verify(&server.places, typed.as_deref())?;
    Ok(passing_over(answer(&report, None)?, "findings", input.offset))
}
