//! The fields of a record that matter, read in one pass over its bytes without building a tree.
//!
//! The visitors are written by hand: a derived one refuses a record that repeats a key or holds
//! another type than expected, and here nothing may be refused that can be understood.

use std::borrow::Cow;
use std::fmt;

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
        impl<'de: 'a, 'a> Deserialize<'de> for $type<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types)]
                enum Key { $($field,)+ Other }
                struct KeyVisitor;
                impl Visitor<'_> for KeyVisitor {
                    type Value = Key;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a key")
                    }
                    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                        Ok(match key { $($key => Key::$field,)+ _ => Key::Other })
                    }
                }
                impl<'de> Deserialize<'de> for Key {
                    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        deserializer.deserialize_str(KeyVisitor)
                    }
                }
                struct ObjectVisitor;
                impl<'de> Visitor<'de> for ObjectVisitor {
                    type Value = $type<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let skip: fn(&$type<'_>) -> bool = $skip;
                        let mut object = $type::default();
                        while let Some(key) = map.next_key::<Key>()? {
                            match key {
                                _ if skip(&object) => drop(map.next_value::<IgnoredAny>()?),
                                $(Key::$field => object.$field = map.next_value()?,)+
                                Key::Other => drop(map.next_value::<IgnoredAny>()?),
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

/// The visits that every tolerant visitor answers with the same value.
macro_rules! ignored_visits {
    ($value:expr; $($visit:ident: $type:ty),* $(,)?) => {
        $(fn $visit<E>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })*
    };
}

macro_rules! ignored_containers {
    ($value:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
            ignored_visits!(Text(None); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            ignored_containers!(Text(None));
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl<'de> Visitor<'de> for FlagVisitor {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Flag, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Flag(false))
            }
            ignored_visits!(Flag(false); visit_str: &str, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            ignored_containers!(Flag(false));
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut blocks = Vec::new();
                while let Some(Element(block)) = seq.next_element()? {
                    blocks.extend(block);
                }
                Ok(Content::Blocks(blocks))
            }
            ignored_visits!(Content::Blocks(Vec::new());
                visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            ignored_containers!(Content::Blocks(Vec::new()));
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                RawBlock::deserialize(MapAccessDeserializer::new(map)).map(|block| Element(Some(block)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element(None))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Element(None))
            }
            ignored_visits!(Element(None); visit_str: &str, visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}
