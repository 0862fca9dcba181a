//! The arguments of a tool call, in their order, each as text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::renderer::Argument;
use super::text::Sanitizer;

/// The arguments; what is no object of them is one argument without a name.
pub(super) fn arguments(input: &RawValue, sanitizer: &mut Sanitizer) -> Vec<Argument> {
    let arguments = match serde_json::from_str::<Ordered>(input.get()) {
        Ok(Ordered(arguments)) => arguments,
        Err(_) => vec![(String::new(), input.to_owned())],
    };
    let cleaned = |(name, value): (String, Box<RawValue>)| Argument {
        value: sanitizer.clean_named(&name, &text_of(&value)).into_owned(),
        name: sanitizer.clean(&name).headline(100),
    };
    arguments.into_iter().map(cleaned).collect()
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
