//! The text in a tool's arguments, and in records of kinds that are not known.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// All text in a tool's arguments: the string values, one a line, without keys, numbers and structure.
pub fn tool_input_text(input: &RawValue) -> String {
    let mut text = String::new();
    // An argument nested too deeply ends the walk; what came before it is kept.
    let _ =
        serde_json::Deserializer::from_str(input.get()).deserialize_any(Strings { text: &mut text, keeps: Keeps::All });
    text
}

/// Keys under which text stands, be it a single word.
const TEXT_KEYS: [&str; 10] =
    ["content", "text", "message", "prompt", "summary", "body", "title", "note", "thinking", "description"];
/// Keys of every record, which hold none.
const DATA_KEYS: [&str; 4] = ["cwd", "gitBranch", "version", "slug"];

/// All prose in a record of a kind that is not known: what stands where text stands, and every string of several
/// words. Ids, names and paths are none.
pub(super) fn prose(record: &str) -> String {
    let mut text = String::new();
    // As above.
    let _ =
        serde_json::Deserializer::from_str(record).deserialize_any(Strings { text: &mut text, keeps: Keeps::Prose });
    text
}

/// Which strings are collected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    All,
    /// Those of several words.
    Prose,
    /// Those of prose, and single words too: the key says that it is text.
    Words,
}

/// Collects the strings of any JSON value.
struct Strings<'s> {
    text: &'s mut String,
    keeps: Keeps,
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if text.is_empty() || (self.keeps == Keeps::Prose && !text.trim().contains(char::is_whitespace)) {
            return Ok(());
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Strings { text: self.text, keeps: self.keeps })?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.keeps == Keeps::All {
            while map.next_key::<IgnoredAny>()?.is_some() {
                map.next_value_seed(Strings { text: self.text, keeps: Keeps::All })?;
            }
            return Ok(());
        }
        while let Some(key) = map.next_key::<String>()? {
            let keeps = if TEXT_KEYS.contains(&key.as_str()) { Keeps::Words } else { Keeps::Prose };
            match DATA_KEYS.contains(&key.as_str()) {
                true => drop(map.next_value::<IgnoredAny>()?),
                false => map.next_value_seed(Strings { text: self.text, keeps })?,
            }
        }
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Strings<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}
