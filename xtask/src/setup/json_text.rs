//! Edits a JSON text in place: what is not named stays as it is, byte for byte.
//!
//! Reading a user's settings into a tree and writing the tree out again would reformat their
//! lists, numbers and escapes. So this finds where a value stands in the text and cuts or
//! inserts just there, in the style of its neighbours.

use std::ops::Range;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// Indentation where a text shows none.
const INDENT_DEFAULT: &str = "  ";

/// A value and where it stands in its text.
#[derive(Debug)]
pub(crate) struct Node {
    /// Byte range of the value.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Its members, in order.
    Object(Vec<Member>),
    /// Its items, in order.
    Array(Vec<Node>),
    /// A string, number, boolean or null.
    Scalar,
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name, unescaped.
    pub key: String,
    /// Where its name begins.
    pub start: usize,
    /// Its value.
    pub value: Node,
}

/// Finds every value of a JSON text. Fails, with line and column, where it is not JSON.
pub(crate) fn parse(text: &str) -> Result<Node> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    Scanner { text, at: 0 }.value()
}

impl Node {
    /// The members, if it is an object.
    pub(crate) fn members(&self) -> Option<&[Member]> {
        match &self.kind {
            Kind::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items, if it is an array.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The member's value; of several of the same name the last, as in every JSON reader.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        Some(&self.members()?.iter().rfind(|member| member.key == key)?.value)
    }

    /// The value itself.
    pub(crate) fn value(&self, text: &str) -> Result<Value> {
        Ok(serde_json::from_str(&text[self.span.clone()])?)
    }

    /// Where its members or items stand, names included.
    fn elements(&self) -> Vec<Range<usize>> {
        match &self.kind {
            Kind::Object(members) => members.iter().map(|m| m.start..m.value.span.end).collect(),
            Kind::Array(items) => items.iter().map(|item| item.span.clone()).collect(),
            Kind::Scalar => Vec::new(),
        }
    }
}

/// The text with one more element at the end of `container`: a member if there is a `key`.
pub(crate) fn with_element(text: &str, container: &Node, key: Option<&str>, value: &impl Serialize) -> Result<String> {
    let elements = container.elements();
    let body = &text[container.span.clone()];
    let newline = newline_of(text);
    let one_line = !elements.is_empty() && !body.contains('\n');
    let name = key.map(serde_json::to_string).transpose()?;
    if one_line {
        let compact = body.contains(',') && !body.contains(", ") || !text.contains('\n');
        let (colon, comma) = if compact { (":", ",") } else { (": ", ", ") };
        let value = serde_json::to_string(value)?;
        let element = name.map_or(value.clone(), |name| format!("{name}{colon}{value}"));
        let at = elements[elements.len() - 1].end;
        return Ok(spliced(text, at..at, &format!("{comma}{element}")));
    }
    let indent = match elements.first() {
        Some(first) => line_indent(text, first.start).to_owned(),
        None => format!("{}{}", line_indent(text, container.span.start), indent_unit(text)),
    };
    let value = pretty(text, &indent, value)?;
    let element = name.map_or(value.clone(), |name| format!("{name}: {value}"));
    Ok(match elements.last() {
        Some(last) => spliced(text, last.end..last.end, &format!(",{newline}{indent}{element}")),
        None => {
            let inside = container.span.start + 1..container.span.end - 1;
            let outer = line_indent(text, container.span.start);
            spliced(text, inside, &format!("{newline}{indent}{element}{newline}{outer}"))
        }
    })
}

/// The text with another value in `node`'s place.
pub(crate) fn with_value(text: &str, node: &Node, value: &impl Serialize) -> Result<String> {
    let on_one_line = !text[node.span.clone()].contains('\n');
    let written = if on_one_line {
        serde_json::to_string(value)?
    } else {
        pretty(text, line_indent(text, node.span.start), value)?
    };
    Ok(spliced(text, node.span.clone(), &written))
}

/// The text without the element `index` of `container`, its comma and its line.
pub(crate) fn without_element(text: &str, container: &Node, index: usize) -> String {
    let elements = container.elements();
    let cut = match (index, elements.len()) {
        (_, 1) => container.span.start + 1..container.span.end - 1,
        (0, _) => elements[0].start..elements[1].start,
        _ => elements[index - 1].end..elements[index].end,
    };
    spliced(text, cut, "")
}

fn spliced(text: &str, range: Range<usize>, insertion: &str) -> String {
    [&text[..range.start], insertion, &text[range.end..]].concat()
}

fn pretty(text: &str, indent: &str, value: &impl Serialize) -> Result<String> {
    let mut bytes = Vec::new();
    let unit = indent_unit(text);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    let text_of_value = String::from_utf8(bytes).context("write JSON")?;
    Ok(text_of_value.replace('\n', &format!("{}{indent}", newline_of(text))))
}

fn newline_of(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The indentation of the first indented line: a tab, or so many spaces.
fn indent_unit(text: &str) -> String {
    let indents = text.lines().map(|line| &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]);
    indents.into_iter().find(|indent| !indent.is_empty()).unwrap_or(INDENT_DEFAULT).to_owned()
}

fn line_indent(text: &str, at: usize) -> &str {
    let line = &text[text[..at].rfind('\n').map_or(0, |newline| newline + 1)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Walks over a text that is known to be JSON.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn value(&mut self) -> Result<Node> {
        let start = self.next_token();
        let kind = match self.byte() {
            b'{' => self.object()?,
            b'[' => self.array()?,
            b'"' => {
                self.string()?;
                Kind::Scalar
            }
            _ => {
                while !matches!(self.byte(), b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' | 0) {
                    self.at += 1;
                }
                Kind::Scalar
            }
        };
        Ok(Node { span: start..self.at, kind })
    }

    fn object(&mut self) -> Result<Kind> {
        let mut members = Vec::new();
        while !self.closes(b'}') {
            let start = self.next_token();
            let key = self.string()?;
            self.next_token();
            self.at += 1; // the colon
            members.push(Member { key, start, value: self.value()? });
        }
        Ok(Kind::Object(members))
    }

    fn array(&mut self) -> Result<Kind> {
        let mut items = Vec::new();
        while !self.closes(b']') {
            items.push(self.value()?);
        }
        Ok(Kind::Array(items))
    }

    /// Steps over the opening bracket or a comma; over the closing bracket too, if it is next.
    fn closes(&mut self, bracket: u8) -> bool {
        self.next_token();
        if self.byte() != bracket {
            self.at += 1;
            self.next_token();
        }
        let closes = self.byte() == bracket;
        self.at += usize::from(closes);
        closes
    }

    fn string(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        while self.byte() != b'"' && self.byte() != 0 {
            self.at += if self.byte() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        let literal = self.text.get(start..self.at).context("read a JSON string")?;
        Ok(serde_json::from_str(literal)?)
    }

    fn next_token(&mut self) -> usize {
        while matches!(self.byte(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        self.at
    }

    /// The byte here; 0, which JSON cannot hold, after the end.
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses, adds `"z": [1, {"k": 2}]` to the top level, and takes it away again.
    #[track_caller]
    fn check_added(before: &str, after: &str) {
        let added =
            with_element(before, &parse(before).unwrap(), Some("z"), &serde_json::json!([1, {"k": 2}])).unwrap();
        assert_eq!(added, after);
        let root = parse(&added).unwrap();
        let removed = without_element(&added, &root, root.members().unwrap().len() - 1);
        assert_eq!(removed, before);
    }

    #[test]
    fn an_element_is_added_in_the_style_of_its_neighbours_and_removed_without_a_trace() {
        check_added("{}", "{\n  \"z\": [\n    1,\n    {\n      \"k\": 2\n    }\n  ]\n}");
        check_added("{\"a\":1}", "{\"a\":1,\"z\":[1,{\"k\":2}]}");
        check_added("{ \"a\": 1.50 }\n", "{ \"a\": 1.50, \"z\": [1,{\"k\":2}] }\n");
        check_added(
            "{\r\n\t\"a\": \"\\u00e9\"\r\n}\r\n",
            "{\r\n\t\"a\": \"\\u00e9\",\r\n\t\"z\": [\r\n\t\t1,\r\n\t\t{\r\n\t\t\t\"k\": 2\r\n\t\t}\r\n\t]\r\n}\r\n",
        );
        check_added(
            "{\n    \"a\": [1, 2,3]\n}",
            "{\n    \"a\": [1, 2,3],\n    \"z\": [\n        1,\n        {\n            \"k\": 2\n        }\n    ]\n}",
        );
    }

    #[test]
    fn any_element_can_be_removed() {
        let text = r#"{"a": [10, 20, 30]}"#;
        for (index, rest) in [(0, "[20, 30]"), (1, "[10, 30]"), (2, "[10, 20]")] {
            let root = parse(text).unwrap();
            assert_eq!(without_element(text, root.get("a").unwrap(), index), format!("{{\"a\": {rest}}}"));
        }
    }

    #[test]
    fn every_value_is_found_where_it_stands() {
        let text = " {\"a\\\"\\u0062\" : [ ] , \"c\":{ }, \"d\" : [-1.5e3,null , \"x]\\\\\"],\"c\":true }\n";
        let root = parse(text).unwrap();
        let keys: Vec<_> = root.members().unwrap().iter().map(|m| m.key.as_str()).collect();
        assert_eq!(keys, ["a\"b", "c", "d", "c"]);
        assert_eq!(&text[root.get("c").unwrap().span.clone()], "true");
        let items = root.get("d").unwrap().items().unwrap();
        let items: Vec<_> = items.iter().map(|item| &text[item.span.clone()]).collect();
        assert_eq!(items, ["-1.5e3", "null", "\"x]\\\\\""]);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for text in ["", "{", "{\"a\":}", "[1,]", "{} x", "// note\n{}", "\u{feff}{}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
