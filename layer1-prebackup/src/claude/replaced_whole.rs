//! Side files that Claude Code replaces as a whole, again and again: `agent-*.meta.json`, `custom-title.json` and
//! their like, each one small JSON object.

use std::path::Path;

use serde_json::Value;

/// A side file longer than this is none of those.
pub(crate) const SMALL_BYTES_MAX: u64 = 8 * 1024;

/// Whether a side file of this name is one that is replaced as a whole.
pub(crate) fn is_replaced_whole(rel: &Path) -> bool {
    rel.extension().is_some_and(|extension| extension == "json")
}

/// Whether one content of such a file says all that an older one says: then that need not be kept. In doubt it does not.
pub(crate) fn says_all_of(new: &[u8], old: &[u8]) -> bool {
    let parsed = |text: &[u8]| serde_json::from_slice::<Value>(text).ok().filter(Value::is_object);
    match (parsed(new), parsed(old)) {
        (Some(new), Some(old)) => has_all_of(&new, &old),
        _ => false,
    }
}

fn has_all_of(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| has_all_of(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| has_all_of(new, old))
        }
        // Two that are written differently may be read as one.
        (Value::Number(new), Value::Number(old)) => new == old && !old.is_f64(),
        _ => new == old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_says_all_of_an_older_one_or_it_does_not() {
        let check = |new: &str, old: &str, expected: bool| {
            assert_eq!(says_all_of(new.as_bytes(), old.as_bytes()), expected, "{new} of {old}");
        };
        let meta = r#"{"agentType":"x","depth":1,"tools":["a"],"more":{"a":1}}"#;
        check(meta, meta, true);
        check(r#"{ "depth":1, "new":true, "tools":["a","b"], "agentType":"x", "more":{"b":2,"a":1} }"#, meta, true);
        check(meta, "{}", true);
        check(r#"{"agentType":"y","depth":1,"tools":["a"],"more":{"a":1}}"#, meta, false);
        check(r#"{"agentType":"x","depth":1,"tools":["b","a"],"more":{"a":1}}"#, meta, false);
        check(r#"{"agentType":"x","depth":1,"tools":["a"],"more":{}}"#, meta, false);
        check(r#"{"customTitle":"B"}"#, r#"{"customTitle":"A"}"#, false);
        check(r#"{"n":1.0}"#, r#"{"n":1.0}"#, false);
        for torn in ["", "{\"a\":", "[]", "null", "text"] {
            check(meta, torn, false);
            check(torn, meta, false);
        }
    }
}
