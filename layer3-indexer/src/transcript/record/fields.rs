//! The fields of a record that matter, read in one pass over its bytes without building a tree.
//!
//! The visitors are written by hand: a derived one refuses a record that repeats a key or holds
//! another type than expected, and here nothing may be refused that can be understood.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Text where text stands; nothing where anything else stands.
#[derive(Debug, Default, Clone)]
pub(super) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

/// True where `true` stands.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flag(pub bool);

/// A text by itself is a block of text. What else is no object is no block; the rest of the message is still good.
#[derive(Default)]
struct Element<'a>(Option<RawBlock<'a>>);

/// A message's content: text, or a list of blocks, or one of them; anything else is empty.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<RawBlock<'a>>),
}

/// Objects as far as they matter here: each key, the field that it is read into, and what that holds. All other
/// keys are read past, as is what comes once `$skip` holds.
macro_rules! objects {
    ($($(#[$doc:meta])* $type:ident<$a:lifetime> {
        $($key:literal => $field:ident: $held:ty),+ $(,)?
    } $(skip_rest_if: $skip:expr)?;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $type<$a> {
            $(pub(crate) $field: $held),+
        }

        impl<$a> Deserialize<$a> for $type<$a> {
            fn deserialize<D: Deserializer<$a>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor;
                impl<$a> Visitor<$a> for ObjectVisitor {
                    type Value = $type<$a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<$a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut object = $type::default();
                        while let Some(Text(key)) = map.next_key()? {
                            match key.as_deref().unwrap_or_default() {
                                $(_ if $skip(&object) => drop(map.next_value::<IgnoredAny>()?),)?
                                $($key => object.$field = map.next_value()?,)+
                                _ => drop(map.next_value::<IgnoredAny>()?),
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(ObjectVisitor)
            }
        }
    )+};
}

objects! {
    /// The outermost object of a record.
    Envelope<'a> {
        "type" => kind: Text<'a>,
        "subtype" => subtype: Text<'a>,
        "uuid" => uuid: Text<'a>,
        "leafUuid" => leaf_uuid: Text<'a>,
        "parentUuid" => parent: Text<'a>,
        "logicalParentUuid" => logical_parent: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
        "sessionId" => session_id: Text<'a>,
        "cwd" => cwd: Text<'a>,
        "worktreeSession" => worktree: Option<&'a RawValue>,
        "gitBranch" => git_branch: Text<'a>,
        "version" => version: Text<'a>,
        "isSidechain" => is_sidechain: Flag,
        "isMeta" => is_meta: Flag,
        "isCompactSummary" => is_compact_summary: Flag,
        "isApiErrorMessage" => is_api_error: Flag,
        "customTitle" => custom_title: Text<'a>,
        "aiTitle" => ai_title: Text<'a>,
        "agentName" => agent_name: Text<'a>,
        "teamName" => team_name: Text<'a>,
        "operation" => operation: Text<'a>,
        "origin" => origin: Option<&'a RawValue>,
        "summary" => summary: Text<'a>,
        "message" => message: Option<&'a RawValue>,
        "attachment" => attachment: Option<&'a RawValue>,
        "content" => content: Option<&'a RawValue>,
        "error" => error: Option<&'a RawValue>,
        "hookErrors" => hook_errors: Option<&'a RawValue>,
        "data" => data: Option<&'a RawValue>,
        "toolUseResult" => tool_use_result: Option<&'a RawValue>,
        "forkedFrom" => forked_from: Option<&'a RawValue>,
        "continuedInSessionId" => continued_in: Text<'a>,
    // These are half of a transcript's bytes, and their type always comes first.
    } skip_rest_if: is_api_request;

    /// The `data` of a `progress` record: what an agent said meanwhile, or a command printed.
    Progress<'a> {
        "type" => kind: Text<'a>,
        "agentId" => agent: Text<'a>,
        "message" => message: Option<&'a RawValue>,
        "normalizedMessages" => messages: Option<Vec<&'a RawValue>>,
    };

    /// A message of an agent in a `progress` record.
    OfAgent<'a> {
        "type" => kind: Text<'a>,
        "uuid" => uuid: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
        "message" => message: Option<&'a RawValue>,
    };

    /// What a tool gave back, as Claude Code keeps it beside what the model was given.
    Whole<'a> {
        "stdout" => stdout: Text<'a>,
        "stderr" => stderr: Text<'a>,
        "content" => content: Option<&'a RawValue>,
        "task" => task: Option<&'a RawValue>,
        "output" => output: Text<'a>,
        "file" => file: Option<&'a RawValue>,
    };

    /// The `worktreeSession` of a `worktree-state` record.
    Worktree<'a> {
        "originalCwd" => original_cwd: Text<'a>,
    };

    /// What a record was copied from, by `/branch`.
    ForkedFrom<'a> {
        "sessionId" => session_id: Text<'a>,
        "messageUuid" => message_uuid: Text<'a>,
    };

    /// The `message` of a user or assistant record.
    Message<'a> {
        "model" => model: Text<'a>,
        "usage" => usage: Option<&'a RawValue>,
        "content" => content: Option<Content<'a>>,
    };

    /// The same where its content cannot be read in one go.
    RawMessage<'a> {
        "model" => model: Text<'a>,
        "content" => content: Option<&'a RawValue>,
    };

    /// The `attachment` of an attachment record.
    Attachment<'a> {
        "type" => kind: Text<'a>,
        "commandMode" => mode: Text<'a>,
        "prompt" => prompt: Option<&'a RawValue>,
        "messages" => messages: Option<&'a RawValue>,
        "content" => content: Option<&'a RawValue>,
        "blockingError" => blocking_error: Option<&'a RawValue>,
        "stdout" => stdout: Option<&'a RawValue>,
        "stderr" => stderr: Option<&'a RawValue>,
        "message" => message: Option<&'a RawValue>,
    };

    /// The `blockingError` of a hook.
    HookError<'a> {
        "blockingError" => text: Text<'a>,
    };

    /// What a text says that it has from elsewhere.
    Citation<'a> {
        "title" => title: Text<'a>,
        "document_title" => document: Text<'a>,
        "url" => url: Text<'a>,
        "cited_text" => text: Text<'a>,
    };

    /// A message in an agent's mailbox.
    Mail<'a> {
        "from" => from: Text<'a>,
        "text" => text: Text<'a>,
    };

    /// An element of a message's content.
    RawBlock<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "thinking" => thinking: Text<'a>,
        "name" => name: Text<'a>,
        "id" => id: Text<'a>,
        "tool_use_id" => tool_use_id: Text<'a>,
        "is_error" => is_error: Flag,
        "input" => input: Option<&'a RawValue>,
        "content" => content: Option<Content<'a>>,
        "source" => source: Option<&'a RawValue>,
        "title" => title: Text<'a>,
        "description" => description: Text<'a>,
        "resource" => resource: Option<&'a RawValue>,
        "stdout" => stdout: Text<'a>,
        "stderr" => stderr: Text<'a>,
        "url" => url: Text<'a>,
        "uri" => uri: Text<'a>,
        "tool_name" => tool_name: Text<'a>,
        "citations" => citations: Option<&'a RawValue>,
    };

    /// The `source` of a picture.
    PictureSource<'a> {
        "media_type" => media_type: Text<'a>,
        "data" => data: Text<'a>,
    };

    /// The `source` of a document.
    Source<'a> {
        "type" => kind: Text<'a>,
        "data" => data: Option<&'a RawValue>,
        "content" => content: Option<Content<'a>>,
    };
}

/// The `usage` of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    #[serde(rename = "input_tokens")]
    pub(super) input: u64,
    #[serde(rename = "cache_creation_input_tokens")]
    pub(super) written: u64,
    #[serde(rename = "cache_read_input_tokens")]
    pub(super) cached: u64,
    #[serde(rename = "output_tokens")]
    pub(super) output: u64,
}

fn is_api_request(envelope: &Envelope<'_>) -> bool {
    envelope.kind.0.as_deref().is_some_and(|kind| kind.starts_with("api-request"))
}

/// What may stand at a place, and what is made of each; what is not of use there is read past.
trait Tolerant<'de>: Default {
    fn of_text(_: Cow<'de, str>) -> Self {
        Self::default()
    }
    fn of_bool(_: bool) -> Self {
        Self::default()
    }
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// Takes any value.
struct Anything<T>(PhantomData<T>);

impl<'de, T: Tolerant<'de>> Visitor<'de> for Anything<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::of_text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(Cow::Owned(text.to_owned())))
    }
    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::of_bool(value))
    }
    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::of_list(list)
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::of_object(object)
    }
}

macro_rules! tolerant {
    ($($type:ty),+) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Anything(PhantomData))
            }
        })+
    };
}
tolerant!(Text<'de>, Flag, Content<'de>, Element<'de>);

impl<'de> Tolerant<'de> for Text<'de> {
    fn of_text(text: Cow<'de, str>) -> Self {
        Text(Some(text))
    }
}

impl Tolerant<'_> for Flag {
    fn of_bool(value: bool) -> Self {
        Flag(value)
    }
}

impl<'de> Tolerant<'de> for Content<'de> {
    fn of_text(text: Cow<'de, str>) -> Self {
        Content::Text(text)
    }
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut blocks = Vec::new();
        while let Some(Element(block)) = list.next_element()? {
            blocks.extend(block);
        }
        Ok(Content::Blocks(blocks))
    }
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Ok(Content::Blocks(Element::of_object(object)?.0.into_iter().collect()))
    }
}

impl Default for Content<'_> {
    fn default() -> Self {
        Content::Blocks(Vec::new())
    }
}

impl<'de> Tolerant<'de> for Element<'de> {
    fn of_text(text: Cow<'de, str>) -> Self {
        let kind = Text(Some(Cow::Borrowed("text")));
        Element(Some(RawBlock { kind, text: Text(Some(text)), ..RawBlock::default() }))
    }
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        RawBlock::deserialize(MapAccessDeserializer::new(object)).map(|block| Element(Some(block)))
    }
}
