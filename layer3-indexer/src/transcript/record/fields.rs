//! The fields of a record that matter, read in one pass over its bytes without building a tree.
//!
//! The visitors are written by hand: a derived one refuses a record that repeats a key or holds
//! another type than expected, and here nothing may be refused that can be understood.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Text where text stands; nothing where anything else stands.
#[derive(Debug, Default, Clone)]
pub(super) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

/// True where `true` stands.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flag(pub bool);

/// The outermost object of a record.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(crate) kind: Text<'a>,
    pub(crate) subtype: Text<'a>,
    pub(crate) uuid: Text<'a>,
    pub(crate) leaf_uuid: Text<'a>,
    pub(crate) timestamp: Text<'a>,
    pub(crate) session_id: Text<'a>,
    pub(crate) cwd: Text<'a>,
    pub(crate) git_branch: Text<'a>,
    pub(crate) version: Text<'a>,
    pub(crate) is_sidechain: Flag,
    pub(crate) is_meta: Flag,
    pub(crate) is_compact_summary: Flag,
    pub(crate) is_api_error: Flag,
    pub(crate) custom_title: Text<'a>,
    pub(crate) ai_title: Text<'a>,
    pub(crate) summary: Text<'a>,
    pub(crate) message: Option<&'a RawValue>,
    pub(crate) attachment: Option<&'a RawValue>,
    pub(crate) content: Option<&'a RawValue>,
}

/// The `message` of a user or assistant record.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pub(crate) model: Text<'a>,
    pub(crate) content: Option<Content<'a>>,
}

/// The same where its content cannot be read in one go.
#[derive(Debug, Default)]
pub(super) struct RawMessage<'a> {
    pub(crate) model: Text<'a>,
    pub(crate) content: Option<&'a RawValue>,
}

/// The `attachment` of an attachment record.
#[derive(Debug, Default)]
pub(super) struct Attachment<'a> {
    pub(crate) kind: Text<'a>,
    pub(crate) mode: Text<'a>,
    pub(crate) prompt: Option<&'a RawValue>,
}

/// An element of a message's content.
#[derive(Debug, Default)]
pub(super) struct RawBlock<'a> {
    pub(crate) kind: Text<'a>,
    pub(crate) text: Text<'a>,
    pub(crate) thinking: Text<'a>,
    pub(crate) name: Text<'a>,
    pub(crate) id: Text<'a>,
    pub(crate) tool_use_id: Text<'a>,
    pub(crate) is_error: Flag,
    pub(crate) input: Option<&'a RawValue>,
    pub(crate) content: Option<Content<'a>>,
}

/// What is no object is no block; the rest of the message is still good.
#[derive(Default)]
struct Element<'a>(Option<RawBlock<'a>>);

/// A message's content: text, or a list of blocks; anything else is empty.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<RawBlock<'a>>),
}

/// Reads an object, its known keys into the fields of `$object`, the rest past.
macro_rules! object_visitor {
    ($type:ident { $($key:literal => $field:ident),+ $(,)? }, skip_rest_if: $skip:expr) => {
        impl<'de> Deserialize<'de> for $type<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor;
                impl<'de> Visitor<'de> for ObjectVisitor {
                    type Value = $type<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let skip: fn(&$type<'_>) -> bool = $skip;
                        let mut object = $type::default();
                        while let Some(Text(key)) = map.next_key()? {
                            match key.as_deref().unwrap_or_default() {
                                _ if skip(&object) => drop(map.next_value::<IgnoredAny>()?),
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
    };
}

object_visitor!(Envelope {
    "type" => kind,
    "subtype" => subtype,
    "uuid" => uuid,
    "leafUuid" => leaf_uuid,
    "timestamp" => timestamp,
    "sessionId" => session_id,
    "cwd" => cwd,
    "gitBranch" => git_branch,
    "version" => version,
    "isSidechain" => is_sidechain,
    "isMeta" => is_meta,
    "isCompactSummary" => is_compact_summary,
    "isApiErrorMessage" => is_api_error,
    "customTitle" => custom_title,
    "aiTitle" => ai_title,
    "summary" => summary,
    "message" => message,
    "attachment" => attachment,
    "content" => content,
// These are half of a transcript's bytes, and their type always comes first.
}, skip_rest_if: |envelope| envelope.kind.0.as_deref().is_some_and(|kind| kind.starts_with("api-request")));

object_visitor!(Message { "model" => model, "content" => content }, skip_rest_if: |_| false);

object_visitor!(RawMessage { "model" => model, "content" => content }, skip_rest_if: |_| false);

object_visitor!(Attachment {
    "type" => kind,
    "commandMode" => mode,
    "prompt" => prompt,
}, skip_rest_if: |_| false);

object_visitor!(RawBlock {
    "type" => kind,
    "text" => text,
    "thinking" => thinking,
    "name" => name,
    "id" => id,
    "tool_use_id" => tool_use_id,
    "is_error" => is_error,
    "input" => input,
    "content" => content,
}, skip_rest_if: |_| false);

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
}

impl Default for Content<'_> {
    fn default() -> Self {
        Content::Blocks(Vec::new())
    }
}

impl<'de> Tolerant<'de> for Element<'de> {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        RawBlock::deserialize(MapAccessDeserializer::new(object)).map(|block| Element(Some(block)))
    }
}
