//! Names of secrets, and whether a value may be one.

use std::collections::HashSet;

use super::found::MASK_BEGIN;
use super::tokens::different;

/// How sure a name makes that its value is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sure {
    /// Only what looks random is.
    Maybe,
    /// Unless it is a word or a number.
    Likely,
    /// Whatever it is.
    Certain,
}

/// A name that secrets stand under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) sure: Sure,
    pub(super) kind: &'static str,
    pub(super) is_vendor: bool,
    /// Whether one writes between its words: it is a part of longer words otherwise.
    pub(super) is_word: bool,
}

/// Every spelling of every name.
pub(super) fn names() -> Vec<(String, Name)> {
    let mut names = Vec::new();
    for line in include_str!("names.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.splitn(3, " ; ");
        let mut part = || parts.next().unwrap_or("");
        let sure = match part() {
            "sure" => Sure::Certain,
            "likely" => Sure::Likely,
            _ => Sure::Maybe,
        };
        let name = Name { sure, kind: part(), is_vendor: false, is_word: sure != Sure::Certain };
        for spelling in part().split('|') {
            let between: &[&str] = if spelling.contains(' ') { &["", "_", "-", " ", "."] } else { &[""] };
            names.extend(between.iter().map(|between| (spelling.replace(' ', between), name)));
        }
    }
    let vendors = include_str!("vendors.txt").lines().filter(|line| !line.starts_with('#'));
    let vendor = Name { sure: Sure::Maybe, kind: "service key", is_vendor: true, is_word: true };
    names.extend(vendors.flat_map(|line| line.split(' ')).map(|name| (name.to_owned(), vendor)));
    let mut seen = HashSet::new();
    names.retain(|(name, _)| seen.insert(name.to_ascii_lowercase()));
    names
}

/// What may stand behind the name of a secret, and it is one all the same.
const SUFFIXES: [&str; 35] = [
    "s",
    "value",
    "val",
    "prod",
    "production",
    "dev",
    "development",
    "staging",
    "stage",
    "test",
    "live",
    "base",
    "b64",
    "base64",
    "plain",
    "plaintext",
    "text",
    "string",
    "env",
    "new",
    "old",
    "current",
    "main",
    "admin",
    "root",
    "primary",
    "secondary",
    "default",
    "header",
    "raw",
    "hash",
    "for",
    "en",
    "n",
    "confirmation",
];

/// What, behind it, says that it is something else.
const OTHERS: [&str; 63] = [
    "id",
    "ids",
    "name",
    "names",
    "type",
    "types",
    "file",
    "path",
    "dir",
    "url",
    "uri",
    "endpoint",
    "length",
    "len",
    "count",
    "size",
    "limit",
    "max",
    "min",
    "expiry",
    "expires",
    "expiration",
    "ttl",
    "age",
    "time",
    "timeout",
    "at",
    "usage",
    "field",
    "input",
    "label",
    "placeholder",
    "hint",
    "policy",
    "manager",
    "store",
    "provider",
    "version",
    "index",
    "idx",
    "ring",
    "board",
    "word",
    "words",
    "frame",
    "map",
    "set",
    "list",
    "pair",
    "space",
    "ized",
    "izer",
    "izers",
    "ization",
    "ize",
    "rotation",
    "fingerprint",
    "prefix",
    "format",
    "status",
    "style",
    "class",
    "state",
];

/// Names that end like one and are none.
const NONE: [&str; 24] = [
    "publickey",
    "pubkey",
    "sshpublickey",
    "primarykey",
    "foreignkey",
    "sortkey",
    "partitionkey",
    "cachekey",
    "objectkey",
    "hotkey",
    "shortcutkey",
    "arrowkey",
    "hashkey",
    "rangekey",
    "groupkey",
    "idempotencykey",
    "publishablekey",
    "tokens",
    "csstoken",
    "monkey",
    "bypass",
    "reactkey",
    "datakey",
    "signaturekeyid",
];

/// Words that begin as a name of the list does and are none.
const OTHER_WORDS: [&str; 8] = ["author", "pattern", "path", "patch", "passed", "passing", "keyboard", "keyword"];

/// Whether what is known of a name is only the beginning of another word.
fn begins_another_word(whole: &str, suffix: &str) -> bool {
    let (whole, end) = (whole.to_ascii_lowercase(), whole.len() - suffix.len());
    let spans = |other: &str| whole.match_indices(other).any(|(at, _)| at < end && at + other.len() > end);
    OTHER_WORDS.into_iter().any(spans)
}

/// The name without case and punctuation.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How sure a whole name is whose known part is followed by `suffix`; `None` if it is that of something else.
pub(super) fn of_whole(name: Name, whole: &str, suffix: &str) -> Option<Sure> {
    if name.sure != Sure::Certain && begins_another_word(whole, suffix) {
        return None;
    }
    let whole = plain(whole);
    if NONE.iter().any(|none| whole == *none)
        || whole.ends_with("publickey")
        || whole.starts_with("public") && whole.ends_with("key")
    {
        return None;
    }
    let suffix = plain(suffix);
    let suffix = suffix.trim_end_matches(|c: char| c.is_ascii_digit());
    // Other words of the list end the name better.
    if OTHERS.iter().any(|other| suffix.ends_with(other)) && !(name.is_vendor && suffix.ends_with("id")) {
        return None;
    }
    match suffix.is_empty() || SUFFIXES.contains(&suffix) {
        true => Some(name.sure),
        false => Some(Sure::Maybe),
    }
}

/// Values that say that there is none.
const NO_VALUES: [&str; 36] = [
    "null",
    "none",
    "nil",
    "true",
    "false",
    "undefined",
    "string",
    "str",
    "text",
    "bytes",
    "any",
    "required",
    "optional",
    "number",
    "changeme",
    "change_me",
    "change-me",
    "example",
    "placeholder",
    "redacted",
    "masked",
    "hidden",
    "secret",
    "dummy",
    "todo",
    "tbd",
    "yes",
    "no",
    "on",
    "off",
    "empty",
    "unset",
    "basic",
    "bearer",
    "unknown",
    "n/a",
];

/// What code and settings begin with that take a value from elsewhere.
const ELSEWHERE: [&str; 34] = [
    "$(",
    "${",
    "$env",
    "{{",
    "<%",
    "#{",
    "@{",
    "%(",
    "process.env",
    "os.environ",
    "os.getenv",
    "env.",
    "env(",
    "env[",
    "env::",
    "std::env",
    "system.getenv",
    "import.meta",
    "secrets.",
    "vars.",
    "var.",
    "local.",
    "data.",
    "module.",
    "config.",
    "settings.",
    "self.",
    "this.",
    "args.",
    "!ref",
    "!getatt",
    "!sub",
    "op://",
    "arn:",
];

/// Whether a value says that there is none: empty, a variable, a place to fill in, asterisks.
pub(super) fn is_no_value(value: &str) -> bool {
    let value = value.trim().trim_matches(['*', '`']);
    let name =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:[]\"'".contains(&b));
    let between = |open: &str, close: &str| value.starts_with(open) && value.ends_with(close);
    let lower = value.get(..value.len().min(24)).unwrap_or("").to_ascii_lowercase();
    let bare = value.trim_matches(['<', '>', '[', ']', '{', '}', '_', '-', '.']);
    different(value.as_bytes()) < 2
        || different(&bare.as_bytes().to_ascii_lowercase()) < 3 && value.len() > 3
        || value.rsplit(['_', '-']).next().is_some_and(|end| end.len() > 5 && different(end.as_bytes()) < 3)
        || !value.contains(|c: char| c.is_alphanumeric())
        || value.starts_with(MASK_BEGIN.trim_end_matches(": "))
        || value.strip_prefix('$').is_some_and(name)
        || ELSEWHERE.iter().any(|begin| lower.starts_with(begin))
        || between("{", "}")
        || between("<", ">")
        || (between("%", "%") && name(value.trim_matches('%')))
        || (value.len() <= 3 && value.starts_with('%'))
        || NO_VALUES.iter().any(|none| bare.eq_ignore_ascii_case(none))
        || ["your", "my_", "my-", "insert", "enter", "replace", "xxxx", "example", "dummy", "fake", "placeholder"]
            .iter()
            .any(|begin| lower.starts_with(begin) && !value.bytes().any(|b| b.is_ascii_digit()))
}

/// Hexadecimal digits of the length of a hash, or a UUID: what names commits, files and records.
pub(super) fn is_hash_or_id(value: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let lengths = |parts: &[&str]| parts.iter().rev().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
    let parts: Vec<&str> = value.rsplitn(6, '-').collect();
    let is_uuid = parts.len() >= 5 && lengths(&parts[..5]) && parts[..5].iter().all(|part| is_hex(part));
    let is_day = |text: &&str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    (is_uuid && parts.get(5).is_none_or(is_day))
        || (is_hex(value) && (matches!(value.len(), 32 | 40 | 56 | 64 | 96 | 128) || value.len() <= 16))
        || ["sha1-", "sha256-", "sha384-", "sha512-", "sha256:", "sha1:", "sha512:", "md5:", "h1:", "blake3:"]
            .iter()
            .any(|begin| value.starts_with(begin))
}

/// Words, names and paths, joined by whatever joins such; versions, dates and addresses too.
pub(super) fn is_words(value: &str) -> bool {
    let is_path = ["/", "~/", "./", "../"].iter().any(|begin| value.starts_with(begin));
    if is_path && !value.ends_with('=') || value.contains("://") {
        return true;
    }
    value.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).all(|part| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let letters = part.len() - digits;
        let is_one_number = part.trim_end_matches(|c: char| c.is_ascii_digit()).chars().all(char::is_alphabetic)
            || part.trim_start_matches(|c: char| c.is_ascii_digit()).chars().all(char::is_alphabetic);
        // camelCase has a vowel in every few letters, what is random has capitals anywhere.
        let humps = part
            .as_bytes()
            .windows(2)
            .filter(|pair| pair[0].is_ascii_lowercase() != pair[1].is_ascii_lowercase())
            .count();
        (digits == 0 && (letters < 12 || humps * 4 <= letters))
            || letters == 0
            || (part.len() <= 8 && is_one_number)
            || (is_one_number && digits <= 4 && humps * 4 <= letters + 2)
    })
}

/// Whether a value looks like made by chance: letters and digits, or capitals within, in no order.
pub(super) fn is_random(value: &str) -> bool {
    let bytes = value.as_bytes();
    let of = |is: fn(&u8) -> bool| bytes.iter().filter(|b| is(b)).count();
    let (digits, lower, upper) = (of(u8::is_ascii_digit), of(u8::is_ascii_lowercase), of(u8::is_ascii_uppercase));
    let turns = bytes.windows(2).filter(|pair| sort(pair[0]) != sort(pair[1])).count();
    let is_mixed =
        (digits > 0 && lower + upper > 0 && turns >= 3) || (upper > 1 && lower > 1 && turns * 3 >= bytes.len());
    value.len() >= 8
        && !value.contains(|c: char| c.is_whitespace() || !c.is_ascii())
        && is_mixed
        && different(bytes) >= 7
        && !is_no_value(value)
        && !value.contains(['(', '{'])
        && !is_words(value)
}

fn sort(b: u8) -> u8 {
    match b {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        _ => 3,
    }
}

/// Whether the same value, found elsewhere without its name, is the same secret: long and odd enough.
pub(super) fn is_learnable(value: &str) -> bool {
    let bytes = value.as_bytes();
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    let has_letter = bytes.iter().any(u8::is_ascii_alphabetic);
    let is_odd = bytes.iter().any(|b| b.is_ascii_punctuation() && !b"-_./:,".contains(b));
    (8..=1024).contains(&value.len())
        && has_letter
        && (has_digit || is_odd)
        && different(bytes) >= 6
        && !value.contains(char::is_whitespace)
        && !is_no_value(value)
        && !is_words(value)
}
