//! What a record means, decided from its fields.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::escapes::without_escapes;
use super::fields::{
    Attachment, Citation, Content, Envelope, ForkedFrom, HookError, Mail, Message, OfAgent, Progress, RawBlock,
    RawMessage, Source, Whole, Worktree,
};
use super::spans::{answer_in_result, blocks_of_text};
use super::tool_input::{prose, tool_input_text};
use super::types::{Block, Class, Origin, Picture, Record};
use crate::terminal::time::parse_rfc3339_ms;

/// Types of records that are known to hold nothing to read. `api-request…` belong to them.
const BOOKKEEPING: [&str; 25] = [
    "agent-color",
    "agent-setting",
    "atis-latch",
    "attribution-snapshot",
    "content-replacement",
    "continued-in",
    "cost-state",
    "file-history-delta",
    "file-history-snapshot",
    "frame-link",
    "last-prompt",
    "marble-origami-commit",
    "marble-origami-snapshot",
    "mode",
    "permission-mode",
    "pr-link",
    "prompt_snapshot",
    "relocated",
    "resume-head-vouch",
    "session-owner",
    "skill_listing",
    "speculation-accept",
    "tag",
    "task-summary",
    "tools-used",
];
/// Attachments for the model that nobody said: what Claude Code tells it about the session and its tools, and copies of files.
const ATTACHED: [&str; 50] = [
    "agent_listing_delta",
    "agent_mention",
    "already_read_file",
    "async_hook_response",
    "auto_mode",
    "auto_mode_exit",
    "bagel_console",
    "budget_usd",
    "command_permissions",
    "compact_file_reference",
    "companion_intro",
    "compaction_reminder",
    "context_efficiency",
    "critical_system_reminder",
    "current_session_memory",
    "date",
    "date_change",
    "deferred_tools_delta",
    "diagnostics",
    "directory",
    "dynamic_skill",
    "edited_image_file",
    "environment",
    "hook_cancelled",
    "hook_permission_decision",
    "invoked_skills",
    "max_turns_reached",
    "mcp_instructions_delta",
    "model",
    "nested_memory",
    "new_diagnostics",
    "new_directories",
    "new_files",
    "opened_file_in_ide",
    "output_style",
    "output_token_usage",
    "pdf_reference",
    "plan_mode",
    "plan_mode_exit",
    "plan_mode_reentry",
    "prompt_snapshot",
    "relevant_memories",
    "remote_session_change",
    "session_context",
    "skill_discovery",
    "skill_listing",
    "structured_output",
    "task_reminder",
    "team_context",
    "todo_reminder",
];
/// Attachments in which a hook of the user speaks.
const OF_HOOKS: [&str; 7] = [
    "hook_additional_context",
    "hook_blocking_error",
    "hook_error_during_execution",
    "hook_non_blocking_error",
    "hook_stopped_continuation",
    "hook_success",
    "hook_system_message",
];
/// Attachments of what the user pointed at, or changed: lines selected in an editor, files and resources named with `@`.
const POINTED_AT: [&str; 4] = ["edited_text_file", "file", "mcp_resource", "selected_lines_in_ide"];
/// The model of an assistant record that Claude Code itself wrote.
const SYNTHETIC_MODEL: &str = "<synthetic>";

/// The record that a line's fields say; `text` is all of it.
pub(super) fn record_of<'a>(envelope: Envelope<'a>, text: &'a str) -> Record<'a> {
    let kind = envelope.kind.0.clone().unwrap_or_default();
    let mut record = Record {
        subtype: envelope.subtype.0.clone(),
        class: Class::Bookkeeping,
        uuid: envelope.uuid.0.clone().or_else(|| envelope.leaf_uuid.0.clone()),
        parent: envelope.parent.0.clone().or_else(|| envelope.logical_parent.0.clone()),
        is_queued: false,
        timestamp_ms: envelope.timestamp.0.as_deref().and_then(parse_rfc3339_ms),
        is_sidechain: envelope.is_sidechain.0,
        reported_of: None,
        cwd: envelope.cwd.0.clone(),
        worktree_of: None,
        git_branch: envelope.git_branch.0.clone(),
        version: envelope.version.0.clone(),
        model: None,
        usage: None,
        session_id: envelope.session_id.0.clone(),
        forked_from: envelope.forked_from.and_then(origin_of),
        continued_in: envelope.continued_in.0.clone(),
        title: None,
        of_team: of_team(&envelope),
        blocks: Vec::new(),
        kind,
    };
    match &*record.kind {
        "user" => read_user(&mut record, &envelope),
        "assistant" => read_assistant(&mut record, &envelope),
        "system" => read_system(&mut record, &envelope),
        "attachment" => read_attachment(&mut record, &envelope),
        "queue-operation" => read_queued(&mut record, &envelope),
        "progress" => read_progress(&mut record, &envelope),
        "summary" => {
            record.class = Class::Summary;
            record.title = envelope.summary.0.clone();
            record.blocks.extend(envelope.summary.0.map(Block::Text));
        }
        "custom-title" | "ai-title" | "agent-name" => read_title(&mut record, envelope),
        // The file beside a transcript that holds nothing else.
        "" if envelope.custom_title.0.is_some() => read_title(&mut record, envelope),
        // Null where the session leaves the worktree.
        "worktree-state" => {
            let worktree = envelope.worktree.and_then(|raw| serde_json::from_str::<Worktree<'_>>(raw.get()).ok());
            record.worktree_of = worktree.and_then(|worktree| worktree.original_cwd.0);
        }
        kind if kind.starts_with("api-request") || BOOKKEEPING.contains(&kind) => {}
        _ => {
            record.class = Class::Unknown;
            record.blocks = Some(prose(text))
                .filter(|prose| !prose.is_empty())
                .map(|prose| Block::Text(prose.into()))
                .into_iter()
                .collect();
        }
    }
    record
}

/// Whose session it is, where the whole of it is that of an agent of a team.
fn of_team<'a>(envelope: &Envelope<'a>) -> Option<Cow<'a, str>> {
    let (name, team) = (envelope.agent_name.0.as_deref()?, envelope.team_name.0.as_deref()?);
    Some(format!("{name} ({team})").into()).filter(|_| !envelope.is_sidechain.0)
}

fn read_title<'a>(record: &mut Record<'a>, envelope: Envelope<'a>) {
    record.class = Class::Title;
    record.title = envelope.custom_title.0.or(envelope.ai_title.0).or(envelope.agent_name.0);
}

fn origin_of(raw: &RawValue) -> Option<Origin<'_>> {
    let from: ForkedFrom<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(Origin { session: from.session_id.0?, message: from.message_uuid.0? })
}

fn read_user<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let content = message_of(envelope).content.unwrap_or_default();
    if envelope.is_compact_summary.0 {
        record.blocks = blocks_of(content);
        record.class = Class::Summary;
        return;
    }
    // What a person is known to have typed is hers, whatever tags stand in it.
    let by_hand = matches!(content, Content::Text(_))
        && envelope.origin.is_some_and(|origin| memchr::memmem::find(origin.get().as_bytes(), b"\"human\"").is_some());
    record.blocks = blocks_of_user(content, by_hand);
    read_others(&mut record.blocks, envelope);
    if envelope.is_meta.0 {
        record.blocks.iter_mut().for_each(noticed);
    }
    record.class = class_of_user(&record.blocks, envelope.is_meta.0);
    if let Some(whole) = envelope.tool_use_result {
        record.blocks.iter_mut().for_each(|block| make_whole(block, whole));
    }
}

/// Gives blocks of kinds that are not known the prose that stands in them, wherever in them.
fn read_others<'a>(blocks: &mut [Block<'a>], envelope: &Envelope<'a>) {
    if !blocks.iter().any(|block| matches!(block, Block::Other(_))) {
        return;
    }
    let message = envelope.message.and_then(|raw| serde_json::from_str::<RawMessage<'a>>(raw.get()).ok());
    let content = message.and_then(|message| message.content).map(RawValue::get).unwrap_or_default();
    let raws = serde_json::from_str::<Vec<&'a RawValue>>(content).unwrap_or_default();
    let kind = |raw: &RawValue| serde_json::from_str::<RawBlock<'_>>(raw.get()).ok()?.kind.0.map(Cow::into_owned);
    let mut raws = raws.into_iter().map(|raw| (kind(raw).unwrap_or_default(), raw));
    for block in blocks {
        let Block::Other(other) = block else { continue };
        let Some((_, raw)) = raws.by_ref().find(|(kind, _)| *kind == **other) else { return };
        let prose = prose(raw.get());
        if !prose.is_empty() {
            *block = Block::Text(prose.into());
        }
    }
}

/// How a result begins of which the model was given only a part, or where it ends.
const CUT_OFF: [&str; 3] = ["<persisted-output>", "[Truncated", "Output too large"];

/// Adds what Claude Code keeps of a result beside the part that the model was given.
fn make_whole<'a>(block: &mut Block<'a>, whole: &'a RawValue) {
    let Block::ToolResult { text, .. } = block else { return };
    if !CUT_OFF.iter().any(|mark| text.contains(mark)) {
        return;
    }
    let text_of = |content| result_text(Some(content_of(content)));
    let all = match serde_json::from_str::<Whole<'a>>(whole.get()) {
        Ok(whole) => {
            let parsed = |part: Option<&'a RawValue>| {
                part.and_then(|part| serde_json::from_str::<Whole<'a>>(part.get()).ok()).unwrap_or_default()
            };
            let [task, file] = [whole.task, whole.file].map(parsed);
            let contents = [whole.content, file.content].map(|content| content.map(text_of));
            let [content, file] = contents;
            vec![whole.stdout.0, whole.stderr.0, content, whole.output.0, task.output.0, file]
        }
        // Of a tool of an MCP server all that it gave.
        Err(_) if whole.get().starts_with('[') => vec![Some(text_of(whole))],
        Err(_) => return,
    };
    for all in all.into_iter().flatten().map(without_escapes) {
        if all.trim().is_empty() || text.contains(all.trim()) {
            continue;
        }
        *text = Cow::Owned(format!("{}\n{all}", text.trim_end()));
    }
}

/// What a subagent said while it worked: of clients that gave it no file of its own, nothing else tells it.
fn read_progress<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let parsed = |raw: &'a RawValue| serde_json::from_str::<OfAgent<'a>>(raw.get()).ok();
    let progress = envelope.data.and_then(|raw| serde_json::from_str::<Progress<'a>>(raw.get()).ok());
    let Some(progress) = progress.filter(|progress| progress.kind.0.as_deref() == Some("agent_progress")) else {
        return;
    };
    let content = |of: &OfAgent<'a>| {
        let message: Option<Message<'a>> = of.message.and_then(|raw| serde_json::from_str(raw.get()).ok());
        message.and_then(|message| message.content)
    };
    let newest = progress.message.and_then(parsed);
    let all: Vec<OfAgent<'a>> = progress.messages.unwrap_or_default().into_iter().filter_map(parsed).collect();
    // What an agent says before it calls a tool stands only here, and before that call.
    let is_newest = |of: &OfAgent<'a>| {
        let newest = newest.as_ref().and_then(|newest| newest.uuid.0.as_deref());
        newest.is_some_and(|newest| of.uuid.0.as_deref() == Some(newest))
    };
    let upto = all.iter().position(is_newest).unwrap_or(0);
    let said_before = all[..upto].iter().rev().map_while(|of| {
        let blocks = content(of).filter(|_| of.kind.0.as_deref() == Some("assistant")).map(blocks_of)?;
        let is_said = |block: &Block<'a>| matches!(block, Block::Text(_) | Block::Thinking(_));
        (!blocks.is_empty() && blocks.iter().all(is_said)).then_some(blocks)
    });
    let before: Vec<Vec<Block<'a>>> = said_before.collect();
    let Some((said, content)) =
        newest.into_iter().chain(all).find_map(|said| content(&said).map(|content| (said, content)))
    else {
        return;
    };
    record.is_sidechain = true;
    record.reported_of = Some(progress.agent.0.unwrap_or_default());
    record.timestamp_ms = said.timestamp.0.as_deref().and_then(parse_rfc3339_ms).or(record.timestamp_ms);
    if said.kind.0.as_deref() == Some("assistant") {
        record.blocks = before.into_iter().rev().flatten().chain(blocks_of(content)).collect();
        record.class = Class::Answer;
    } else {
        record.blocks = blocks_of_user(content, false);
        record.class = class_of_user(&record.blocks, false);
    }
    // In its own file it is the same message.
    record.kind = said.kind.0.unwrap_or_default();
}

/// Words in a record that Claude Code wrote are none of a person.
fn noticed(block: &mut Block<'_>) {
    if let Block::Text(text) = block {
        *block = Block::Notice { tag: "", text: std::mem::take(text), is_among_words: false };
    }
}

/// What a user's record is, by what in it counts most.
fn class_of_user(blocks: &[Block<'_>], is_meta: bool) -> Class {
    let has = |of: fn(&Block<'_>) -> bool| blocks.iter().any(of);
    if has(|block| matches!(block, Block::Text(text) if !text.trim().is_empty())) {
        Class::Prompt
    } else if has(|block| matches!(block, Block::ToolResult { .. })) {
        Class::ToolResult
    } else if has(|block| matches!(block, Block::Act { .. })) {
        Class::Command
    } else if has(|block| matches!(block, Block::Agent { .. })) {
        Class::Agent
    } else if has(|block| matches!(block, Block::Output(_))) {
        Class::CommandOutput
    } else if !is_meta
        && has(|block| {
            matches!(block, Block::Picture(_) | Block::Other(_) | Block::Notice { is_among_words: true, .. })
        })
    {
        Class::Prompt
    } else {
        Class::Meta
    }
}

/// A prompt that is typed while the model works, or an agent's answer that comes then.
fn read_queued<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    if envelope.operation.0.as_deref() != Some("enqueue") {
        return;
    }
    record.blocks = envelope.content.map(|content| blocks_of_user(content_of(content), false)).unwrap_or_default();
    record.is_queued = !record.blocks.is_empty();
    if record.is_queued {
        record.class = class_of_user(&record.blocks, false);
    }
}

fn read_assistant<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let message = message_of(envelope);
    let is_ours = envelope.is_api_error.0 || message.model.0.as_deref() == Some(SYNTHETIC_MODEL);
    record.blocks = message.content.map(blocks_of).unwrap_or_default();
    read_others(&mut record.blocks, envelope);
    record.model = message.model.0.filter(|_| !is_ours);
    record.usage = message.usage.filter(|_| !is_ours);
    record.class = if is_ours { Class::System } else { Class::Answer };
}

fn read_system<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let is_boundary = record.subtype.as_deref() == Some("compact_boundary");
    let error = || {
        let error = envelope.error?;
        Some(prose(error.get())).filter(|error| !error.is_empty()).or_else(|| code_in(error))
    };
    let of_hooks = || envelope.hook_errors.map(tool_input_text).filter(|errors| !errors.trim().is_empty());
    let content = envelope.content.map(content_of).filter(|content| !is_empty(content));
    let content = content.or_else(|| Some(Content::Text(error().or_else(of_hooks)?.into())));
    let Some(content) = content.filter(|_| !is_boundary) else { return };
    let is_command = record.subtype.as_deref() == Some("local_command");
    record.blocks = if is_command { blocks_of_user(content, false) } else { blocks_of(content) };
    if !record.blocks.is_empty() {
        let class = if is_command { class_of_user(&record.blocks, false) } else { Class::System };
        record.class = if class == Class::Prompt { Class::System } else { class };
    }
}

fn is_empty(content: &Content<'_>) -> bool {
    match content {
        Content::Text(text) => text.is_empty(),
        Content::Blocks(blocks) => blocks.is_empty(),
    }
}

/// The code of an error that says nothing else.
fn code_in(error: &RawValue) -> Option<String> {
    let error: serde_json::Value = serde_json::from_str(error.get()).ok()?;
    [&error["code"], &error["cause"]["code"]].into_iter().find_map(|code| code.as_str().map(str::to_owned))
}

fn read_attachment<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let raw = envelope.attachment.map(RawValue::get).unwrap_or_default();
    let attachment: Attachment<'a> = serde_json::from_str(raw).unwrap_or_default();
    match attachment.kind.0.as_deref().unwrap_or_default() {
        "queued_command" => read_sent(record, &attachment),
        "teammate_mailbox" => read_mail(record, &attachment),
        // What an agent in the background has come to.
        "task_status" => {
            let said = Some(prose(raw)).filter(|said| !said.is_empty());
            record.blocks = said.map(|said| Block::Agent { from: None, text: said.into() }).into_iter().collect();
            record.class = class_of_user(&record.blocks, false);
        }
        kind if OF_HOOKS.contains(&kind) => {
            let said = said_by_hook(&attachment);
            record.class = if said.is_empty() { Class::Bookkeeping } else { Class::Meta };
            let notice = Block::Notice { tag: "hook", text: said.into(), is_among_words: false };
            record.blocks.extend((record.class == Class::Meta).then_some(notice));
        }
        kind if POINTED_AT.contains(&kind) => {
            let said = prose(raw);
            record.class = if said.is_empty() { Class::Bookkeeping } else { Class::Meta };
            let notice = Block::Notice { tag: "attachment", text: said.into(), is_among_words: false };
            record.blocks.extend((record.class == Class::Meta).then_some(notice));
        }
        kind if kind.is_empty() || ATTACHED.contains(&kind) => {}
        _ => {
            let prose = prose(raw);
            record.class = if prose.is_empty() { Class::Bookkeeping } else { Class::Unknown };
            record.blocks.extend(Some(prose).filter(|prose| !prose.is_empty()).map(|prose| Block::Text(prose.into())));
        }
    }
    record.subtype = attachment.kind.0;
}

/// What a hook told the model or the user: its words, each once, and not how it was run.
fn said_by_hook(attachment: &Attachment<'_>) -> String {
    let told = [attachment.content, attachment.stdout, attachment.stderr, attachment.message];
    let error = |raw: &RawValue| serde_json::from_str::<HookError<'_>>(raw.get()).ok()?.text.0.map(Cow::into_owned);
    let error = attachment.blocking_error.map(|raw| error(raw).unwrap_or_else(|| tool_input_text(raw)));
    let mut said: Vec<String> = Vec::new();
    for text in told.into_iter().flatten().map(tool_input_text).chain(error) {
        let text = words_of_hook(text.trim()).unwrap_or_else(|| text.trim().to_owned());
        if !text.is_empty() && !said.iter().any(|other| other.contains(&text)) {
            said.push(text);
        }
    }
    said.join("\n")
}

/// The words for the user in what a hook printed, where that is JSON with no other words.
fn words_of_hook(printed: &str) -> Option<String> {
    let printed: serde_json::Map<String, Value> =
        serde_json::from_str(Some(printed).filter(|it| it.starts_with('{'))?).ok()?;
    let is_message = |(name, value): (&String, &Value)| name == "systemMessage" || value.is_boolean();
    let message = printed.get("systemMessage")?.as_str()?.trim();
    printed.iter().all(is_message).then(|| message.to_owned())
}

/// What was queued, when it was sent.
fn read_sent<'a>(record: &mut Record<'a>, attachment: &Attachment<'a>) {
    let prompt = attachment.prompt.map(content_of).unwrap_or_default();
    record.blocks = blocks_of_user(prompt, false);
    for block in &mut record.blocks {
        match (attachment.mode.0.as_deref().unwrap_or("prompt"), &mut *block) {
            ("bash", Block::Text(text)) => *block = Block::Act { name: "!".into(), args: std::mem::take(text) },
            ("task-notification", Block::Text(text)) => {
                *block = Block::Agent { from: None, text: std::mem::take(text) };
            }
            _ => {}
        }
    }
    record.class = class_of_user(&record.blocks, false);
}

fn read_mail<'a>(record: &mut Record<'a>, attachment: &Attachment<'a>) {
    let messages = attachment.messages.map(|raw| serde_json::from_str::<Vec<Mail<'a>>>(raw.get()));
    let messages = messages.and_then(Result::ok).unwrap_or_default();
    let said = |mail: Mail<'a>| Some(Block::Agent { from: mail.from.0, text: mail.text.0? });
    record.blocks = messages.into_iter().filter_map(said).collect();
    record.class = class_of_user(&record.blocks, false);
}

fn message_of<'a>(envelope: &Envelope<'a>) -> Message<'a> {
    let Some(raw) = envelope.message else { return Message::default() };
    serde_json::from_str(raw.get()).unwrap_or_else(|_| {
        // Of a message that is no object a text is the content; the record is still one of its type.
        let message: RawMessage<'a> = serde_json::from_str(raw.get()).unwrap_or_default();
        let content = message.content.or(Some(raw).filter(|raw| raw.get().starts_with('"')));
        Message { model: message.model, usage: None, content: content.map(content_of) }
    })
}

/// A content by itself. Where one block of it cannot be read, a number too large for instance, the others can.
fn content_of(raw: &RawValue) -> Content<'_> {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| {
        let blocks: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        Content::Blocks(blocks.into_iter().filter_map(|block| serde_json::from_str(block.get()).ok()).collect())
    })
}

/// The blocks of what stands under a user's name: see [`super::spans`].
fn blocks_of_user(content: Content<'_>, by_hand: bool) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for block in blocks_of(content) {
        match block {
            Block::Text(text) => blocks_of_text(text, by_hand, &mut blocks),
            Block::ToolResult { id, mut text, is_error, pictures } => {
                let answer = answer_in_result(&mut text);
                blocks.push(Block::ToolResult { id, text, is_error, pictures });
                blocks.extend(answer.map(Block::Text));
            }
            block => blocks.push(block),
        }
    }
    blocks
}

fn blocks_of(content: Content<'_>) -> Vec<Block<'_>> {
    match content {
        Content::Text(text) if text.is_empty() => Vec::new(),
        Content::Text(text) => vec![Block::Text(text)],
        Content::Blocks(raw) => {
            let mut blocks = Vec::with_capacity(raw.len());
            for block in raw {
                let cited = block.citations.map(cited).unwrap_or_default();
                blocks.push(block_of(block));
                if !cited.is_empty() {
                    blocks.push(Block::Notice { tag: "citation", text: cited.into(), is_among_words: true });
                }
            }
            blocks
        }
    }
}

/// What a text refers to: the titles, addresses and words of its sources.
fn cited(citations: &RawValue) -> String {
    let citations: Vec<Citation<'_>> = serde_json::from_str(citations.get()).unwrap_or_default();
    let mut words = Vec::new();
    for Citation { title, document, url, text } in citations {
        words.extend([title.0.or(document.0), url.0, text.0].into_iter().flatten().filter(|text| !text.is_empty()));
    }
    words.join("\n")
}

fn block_of(mut raw: RawBlock<'_>) -> Block<'_> {
    match raw.kind.0.as_deref().unwrap_or_default() {
        "text" => Block::Text(raw.text.0.unwrap_or_default()),
        "thinking" => Block::Thinking(raw.thinking.0.unwrap_or_default()),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            Block::ToolUse { name: raw.name.0.unwrap_or_default(), id: raw.id.0, input: raw.input }
        }
        // Those of tools that run elsewhere have names of their own.
        kind if kind.ends_with("tool_result") => {
            let pictures = pictures_in(raw.content.as_ref());
            Block::ToolResult {
                id: raw.tool_use_id.0,
                text: without_escapes(result_text(raw.content)),
                is_error: raw.is_error.0,
                pictures,
            }
        }
        "image" if raw.source.is_some() => Block::Picture(Picture(raw.source)),
        kind => match (kind == "document", text_of(&mut raw)) {
            // Given by the user, and not said by her: no title is made of it.
            (true, Some(text)) => Block::Notice { tag: "document", text, is_among_words: true },
            (_, Some(text)) => Block::Text(text),
            (_, None) => Block::Other(raw.kind.0.unwrap_or_default()),
        },
    }
}

fn pictures_in<'a>(content: Option<&Content<'a>>) -> Vec<Picture<'a>> {
    let Some(Content::Blocks(blocks)) = content else { return Vec::new() };
    let pictures = blocks.iter().filter(|block| block.kind.0.as_deref() == Some("image"));
    pictures.map(|block| Picture(block.source)).collect()
}

fn result_text(content: Option<Content<'_>>) -> Cow<'_, str> {
    match content {
        None => Cow::Borrowed(""),
        Some(Content::Text(text)) => text,
        Some(Content::Blocks(blocks)) => {
            let mut texts: Vec<_> = blocks.into_iter().filter_map(|mut block| text_of(&mut block)).collect();
            if texts.len() == 1 { texts.remove(0) } else { Cow::Owned(texts.join("\n")) }
        }
    }
}

/// The text of a block of any type: its title, and its own text, that of its document or resource, what a program
/// printed, or the text of the blocks in it. Of a link that has none of those, where it leads.
fn text_of<'a>(block: &mut RawBlock<'a>) -> Option<Cow<'a, str>> {
    let is_text = |text: &Cow<'a, str>| !text.trim().is_empty();
    let own = block.text.0.take().filter(is_text);
    let own = own.or_else(|| block.source.map(document_text).filter(is_text));
    let own = own.or_else(|| block.resource.map(resource_text).filter(is_text));
    let own = own.or_else(|| Some(result_text(block.content.take())).filter(is_text));
    let title = block.title.0.take();
    let printed = [block.stdout.0.take(), block.stderr.0.take(), block.description.0.take()];
    let mut texts: Vec<_> = [title, own].into_iter().chain(printed).flatten().filter(is_text).collect();
    let is_linked = block.url.0.is_some() || block.uri.0.is_some();
    if is_linked && block.source.is_none() && texts.len() < 2 {
        texts.extend(block.name.0.take().filter(is_text));
        texts.extend(block.url.0.take().or(block.uri.0.take()).filter(is_text));
    }
    if texts.is_empty() {
        texts.extend(block.tool_name.0.take().filter(is_text));
    }
    match texts.len() {
        0 => None,
        1 => texts.pop(),
        _ => Some(Cow::Owned(texts.join("\n"))),
    }
}

/// The text of a resource that a tool of an MCP server gave.
fn resource_text(resource: &RawValue) -> Cow<'_, str> {
    let resource: Option<RawBlock<'_>> = serde_json::from_str(resource.get()).ok();
    resource.and_then(|mut resource| text_of(&mut resource)).unwrap_or_default()
}

/// What a document holds as text; of bytes, a PDF's for instance, nothing is read.
fn document_text(source: &RawValue) -> Cow<'_, str> {
    let source: Source<'_> = serde_json::from_str(source.get()).unwrap_or_default();
    match (source.kind.0.as_deref(), source.data) {
        (Some("text"), Some(data)) => result_text(serde_json::from_str(data.get()).ok()),
        _ => result_text(source.content),
    }
}
