//! What a record means, decided from its fields.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{Attachment, Content, Envelope, Message, RawBlock, RawMessage};
use super::types::{Block, Class, Record};
use crate::terminal::time::parse_rfc3339_ms;

/// Types of records that are known to hold nothing to read. `api-request…` belong to them.
const BOOKKEEPING: [&str; 14] = [
    "agent-name",
    "atis-latch",
    "continued-in",
    "cost-state",
    "file-history-snapshot",
    "last-prompt",
    "mode",
    "permission-mode",
    "progress",
    "prompt_snapshot",
    "queue-operation",
    "relocated",
    "skill_listing",
    "tools-used",
];
/// How the text of a user record begins when it is a command of the user to Claude Code itself.
const COMMAND_STARTS: [&str; 4] = ["<command-name>", "<command-message>", "<command-args>", "<bash-input>"];
/// How it begins when it is what such a command printed.
const OUTPUT_STARTS: [&str; 4] = ["<local-command-stdout>", "<local-command-stderr>", "<bash-stdout>", "<bash-stderr>"];
/// How it begins when Claude Code wrote it, even where no flag says so.
const META_STARTS: [&str; 4] =
    ["<local-command-caveat>", "<system-reminder>", "<task-notification>", "[Request interrupted by user"];
/// The model of an assistant record that Claude Code itself wrote.
const SYNTHETIC_MODEL: &str = "<synthetic>";

/// The record that a line's fields say.
pub(super) fn record_of(envelope: Envelope<'_>) -> Record<'_> {
    let kind = envelope.kind.0.clone().unwrap_or_default();
    let mut record = Record {
        subtype: envelope.subtype.0.clone(),
        class: Class::Unknown,
        uuid: envelope.uuid.0.clone().or_else(|| envelope.leaf_uuid.0.clone()),
        timestamp_ms: envelope.timestamp.0.as_deref().and_then(parse_rfc3339_ms),
        is_sidechain: envelope.is_sidechain.0,
        cwd: envelope.cwd.0.clone(),
        git_branch: envelope.git_branch.0.clone(),
        version: envelope.version.0.clone(),
        session_id: envelope.session_id.0.clone(),
        title: None,
        blocks: Vec::new(),
        kind,
    };
    match &*record.kind {
        "user" => read_user(&mut record, &envelope),
        "assistant" => read_assistant(&mut record, &envelope),
        "system" => read_system(&mut record, &envelope),
        "attachment" => read_attachment(&mut record, &envelope),
        "summary" => {
            record.class = Class::Summary;
            record.blocks.extend(envelope.summary.0.map(Block::Text));
        }
        "custom-title" | "ai-title" => {
            record.class = Class::Title;
            record.title = envelope.custom_title.0.or(envelope.ai_title.0);
        }
        kind if kind.starts_with("api-request") || BOOKKEEPING.contains(&kind) => record.class = Class::Bookkeeping,
        _ => {}
    }
    record
}

fn read_user<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    record.blocks = message_of(envelope).content.map(blocks_of).unwrap_or_default();
    record.class = if envelope.is_compact_summary.0 {
        Class::Summary
    } else if record.blocks.iter().any(|block| matches!(block, Block::ToolResult { .. })) {
        Class::ToolResult
    } else if envelope.is_meta.0 || record.blocks.is_empty() {
        Class::Meta
    } else {
        class_of_user_text(&record.blocks)
    };
}

fn read_assistant<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let message = message_of(envelope);
    let is_ours = envelope.is_api_error.0 || message.model.0.as_deref() == Some(SYNTHETIC_MODEL);
    record.blocks = message.content.map(blocks_of).unwrap_or_default();
    record.class = if is_ours { Class::System } else { Class::Answer };
}

fn read_system<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    record.blocks = envelope.content.map(content_of).map(blocks_of).unwrap_or_default();
    record.class = match record.subtype.as_deref() {
        Some("local_command") => match class_of_user_text(&record.blocks) {
            Class::Prompt => Class::System,
            class => class,
        },
        _ => Class::System,
    };
    if record.blocks.is_empty() || record.subtype.as_deref() == Some("compact_boundary") {
        record.class = Class::Bookkeeping;
        record.blocks.clear();
    }
}

fn read_attachment<'a>(record: &mut Record<'a>, envelope: &Envelope<'a>) {
    let attachment: Attachment<'a> =
        envelope.attachment.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    record.class = Class::Bookkeeping;
    if attachment.kind.0.as_deref() == Some("queued_command") {
        record.blocks = attachment.prompt.map(content_of).map(blocks_of).unwrap_or_default();
        let is_prompt = attachment.mode.0.as_deref().is_none_or(|mode| mode == "prompt");
        record.class = if is_prompt { class_of_user_text(&record.blocks) } else { Class::Meta };
    }
    record.subtype = attachment.kind.0;
}

fn message_of<'a>(envelope: &Envelope<'a>) -> Message<'a> {
    let Some(raw) = envelope.message else { return Message::default() };
    serde_json::from_str(raw.get()).unwrap_or_else(|_| {
        // A message that is no object has no content; the record is still one of its type.
        let message: RawMessage<'a> = serde_json::from_str(raw.get()).unwrap_or_default();
        Message { model: message.model, content: message.content.map(content_of) }
    })
}

/// A content by itself. Where one block of it cannot be read, a number too large for instance, the others can.
fn content_of(raw: &RawValue) -> Content<'_> {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| {
        let blocks: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        Content::Blocks(blocks.into_iter().filter_map(|block| serde_json::from_str(block.get()).ok()).collect())
    })
}

fn class_of_user_text(blocks: &[Block<'_>]) -> Class {
    let first = blocks.iter().find_map(|block| match block {
        Block::Text(text) => Some(text.trim_start()),
        _ => None,
    });
    let begins = |starts: &[&str]| first.is_some_and(|text| starts.iter().any(|start| text.starts_with(start)));
    if begins(&COMMAND_STARTS) {
        Class::Command
    } else if begins(&OUTPUT_STARTS) {
        Class::CommandOutput
    } else if begins(&META_STARTS) || blocks.is_empty() {
        Class::Meta
    } else {
        Class::Prompt
    }
}

fn blocks_of(content: Content<'_>) -> Vec<Block<'_>> {
    match content {
        Content::Text(text) if text.is_empty() => Vec::new(),
        Content::Text(text) => vec![Block::Text(text)],
        Content::Blocks(blocks) => blocks.into_iter().map(block_of).collect(),
    }
}

fn block_of(raw: RawBlock<'_>) -> Block<'_> {
    match raw.kind.0.as_deref().unwrap_or_default() {
        "text" => Block::Text(raw.text.0.unwrap_or_default()),
        "thinking" => Block::Thinking(raw.thinking.0.unwrap_or_default()),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            Block::ToolUse { name: raw.name.0.unwrap_or_default(), id: raw.id.0, input: raw.input }
        }
        "tool_result" => {
            Block::ToolResult { id: raw.tool_use_id.0, text: result_text(raw.content), is_error: raw.is_error.0 }
        }
        _ => Block::Other(raw.kind.0.unwrap_or_default()),
    }
}

fn result_text(content: Option<Content<'_>>) -> Cow<'_, str> {
    match content {
        None => Cow::Borrowed(""),
        Some(Content::Text(text)) => text,
        Some(Content::Blocks(blocks)) => {
            let mut texts: Vec<_> = blocks.into_iter().filter_map(|block| block.text.0).collect();
            if texts.len() == 1 { texts.remove(0) } else { Cow::Owned(texts.join("\n")) }
        }
    }
}
