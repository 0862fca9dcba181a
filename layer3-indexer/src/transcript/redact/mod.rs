//! Masking what looks like a secret, before a conversation is given to somebody else.
//!
//! A best effort by form and by name: known tokens (`tokens.txt`), values under the names of secrets and of services
//! (`names.txt`, `vendors.txt`) and below them in the columns of a table, what commands are handed (`commands.txt`), what
//! stands behind certain words (`phrases.txt`), private keys, addresses with a password in them. A text is looked through as it stands and with its escapes undone, level by level, and what is in base64 is
//! decoded: so a secret is found wherever it was put. What has neither form nor name stays, so the result wants to be
//! read before it is shared. In doubt it masks, but for what names commits, files and records.
//!
//! A mask takes the place of whole characters and whole escapes: JSON stays JSON. The time is linear in the text.

mod blocks;
mod columns;
mod decode;
mod encoded;
mod found;
mod named;
mod names;
mod phrases;
#[cfg(test)]
mod tests;
mod tokens;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, PatternID};

use blocks::Command;
use decode::Decoded;
use found::{Found, MASK_BEGIN};
use names::{Name, Sure};
use phrases::Phrase;
use tokens::Rule;

/// Levels of escapes that are undone: a JSON text in a JSON text in a log has three.
const LEVELS_MAX: usize = 6;
/// Base64 in base64.
const ENCODINGS_MAX: usize = 2;
/// Values that are known by their names, and looked for without them.
const KNOWN_MAX: usize = 20_000;
/// From so many characters on, a known value is one within a longer word too.
const KNOWN_WITHIN_MIN: usize = 12;
/// Least letters and digits behind a beginning that no row of the table has.
const UNKNOWN_TOKEN_MIN: usize = 24;
/// Beginnings of what names things and opens nothing.
const IDS: &str = "toolu srvtoolu msg msgbatch req call chatcmpl cmpl resp rs fc file asst run thread step batch vs cus evt in sub prod price pi ch txn \
    acct seti pm si card src tok il ii cs po re tr dp sha sha1 sha256 sha384 sha512 md5 h1 id session sess cse org proj user usr acc ctx obj node \
    img image container deployment dpl team agent task job item event trace span build commit branch tag rev version snapshot index chunk bundle \
    main vendor app style styles module page component sc css svg icon font asset assets static data type test key name ref hash digest etag etags conv message prompt";

/// Masks and counts. What was learned of one text is masked in all that come after.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    counts: BTreeMap<&'static str, u64>,
    /// Values that stood under a name, and what they are.
    known: HashMap<String, &'static str>,
    known_matcher: OnceLock<Option<(AhoCorasick, Vec<&'static str>)>>,
}

impl Redactor {
    /// Remembers what stands under the names of secrets, so that it is masked without them too. Counts nothing.
    pub(crate) fn learn(&mut self, text: &str) {
        self.find(text, true);
    }

    /// The text with every secret that is recognised replaced by what it is.
    pub(crate) fn mask<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.find(text, false);
        if secrets.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for secret in &secrets {
            masked.push_str(&text[from..secret.at.start]);
            let quote = secret.quote.clone().map_or("", |quote| &text[quote]);
            masked.extend([quote, MASK_BEGIN, secret.kind, "]", quote]);
            from = secret.at.end;
            self.count(secret);
        }
        masked.push_str(&text[from..]);
        Cow::Owned(masked)
    }

    /// The text that stands under a name: all of it is masked if the name is that of a secret.
    pub(crate) fn mask_named<'t>(&mut self, name: &str, text: &'t str) -> Cow<'t, str> {
        match named_kind(name, text) {
            Some(kind) => {
                *self.counts.entry(kind).or_default() += 1;
                Cow::Owned(format!("{MASK_BEGIN}{kind}]"))
            }
            None => self.mask(text),
        }
    }

    /// How many of which kind were masked so far.
    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    fn count(&mut self, secret: &Found) {
        *self.counts.entry(secret.kind).or_default() += u64::from(!secret.is_rest);
    }

    /// Where secrets stand, in order, not touching each other.
    fn find(&mut self, text: &str, learn: bool) -> Vec<Found> {
        let mut found = Vec::new();
        let mut learned = Vec::new();
        let known = (!learn).then(|| self.known_matcher.get_or_init(|| matcher_of(&self.known)).as_ref()).flatten();
        let search = Search { known };
        search.levels(text, 0, &mut found, &mut |value, kind| learned.push((value.to_owned(), kind)));
        if learn {
            for (value, kind) in learned {
                if self.known.len() < KNOWN_MAX && !self.known.contains_key(&value) {
                    self.known.insert(value, kind);
                    self.known_matcher = OnceLock::new();
                }
            }
        }
        merged(found)
    }
}

/// What was masked, in words: `masked: 3 GitHub tokens, 1 password`.
pub(crate) fn in_words<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> String {
    match counts.is_empty() {
        true => "masked: nothing".to_owned(),
        false => format!("masked: {}", listed(counts)),
    }
}

/// `3 GitHub tokens, 1 password`.
pub(crate) fn listed<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> String {
    let words = counts.iter().map(|(kind, count)| match (kind.as_ref(), count) {
        (kind, 1) => format!("1 {kind}"),
        (kind, count) if kind.ends_with('s') => format!("{count} {kind}"),
        (kind, count) => format!("{count} {kind}s"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// How many masks of which kind stand in a text that was masked.
pub(crate) fn masks_in(text: &str) -> BTreeMap<&str, u64> {
    let mut masks = BTreeMap::new();
    for (at, begin) in text.match_indices(MASK_BEGIN) {
        let rest = &text[at + begin.len()..];
        if let Some(end) = rest.as_bytes().iter().take(60).position(|b| *b == b']') {
            *masks.entry(&rest[..end]).or_default() += 1;
        }
    }
    masks
}

/// One look through a text.
struct Search<'k> {
    known: Option<&'k (AhoCorasick, Vec<&'static str>)>,
}

impl Search<'_> {
    /// What stands in the text, and in it with its escapes undone, level by level.
    fn levels(&self, text: &str, encodings: usize, found: &mut Vec<Found>, learn: &mut dyn FnMut(&str, &'static str)) {
        let mut undone: Vec<Decoded> = Vec::new();
        loop {
            let this = undone.last().map_or(text, |decoded| &decoded.text);
            let mut here = Vec::new();
            self.text(this, &mut here);
            if encodings < ENCODINGS_MAX {
                encoded::texts(this, &mut |encoded| {
                    let mut within = Vec::new();
                    self.levels(&encoded.text, encodings + 1, &mut within, learn);
                    here.extend(merged(within).first().map(|first| Found::of(first.kind, encoded.at)));
                });
            }
            for secret in here.iter().filter(|secret| secret.is_learned) {
                let value = &this[secret.learned.clone().unwrap_or(secret.at.clone())];
                if names::is_learnable(value) {
                    learn(value, secret.kind);
                }
            }
            let origin = |part: Range<usize>| undone.iter().rev().fold(part, |part, decoded| decoded.origin(&part));
            found.extend(here.into_iter().map(|secret| Found {
                at: origin(secret.at),
                quote: secret.quote.map(origin),
                ..secret
            }));
            match Decoded::of(this).filter(|_| undone.len() < LEVELS_MAX) {
                Some(next) => undone.push(next),
                None => return,
            }
        }
    }

    fn text(&self, text: &str, found: &mut Vec<Found>) {
        let scanner = scanner();
        let (mut done, mut named_done) = (0, 0);
        let (mut tables_done, mut inserted_done, mut blocks_done) = (0, 0, 0);
        for hit in scanner.matcher.find_overlapping_iter(text) {
            let at = hit.range();
            if at.start < done {
                continue;
            }
            if hit.pattern() == scanner.mask {
                // Only a mask of ours: nothing can hide in it.
                let near = text.as_bytes()[at.end..].iter().take(60).position(|b| *b == b']');
                let kind = near.map(|length| &text[at.end..at.end + length]);
                done = kind.filter(|kind| scanner.kinds.contains(kind)).map_or(done, |kind| at.end + kind.len() + 1);
                continue;
            }
            let trigger = &scanner.triggers[hit.pattern().as_usize()];
            if matches!(trigger, Trigger::Name(_)) && at.start >= tables_done {
                columns::below(text, at.start, heading, &mut tables_done, found);
            }
            let secret = match trigger {
                Trigger::Mask => None,
                Trigger::Rule(n) => {
                    let rule = &scanner.rules[*n];
                    let is_same = rule.prefixes.contains(&&text[at.clone()]);
                    let mut parts = is_same
                        .then(|| rule.find(text, at.clone(), &mut done))
                        .flatten()
                        .unwrap_or_default()
                        .into_iter();
                    let first = parts.next().map(|at| Found::of(rule.kind, at));
                    found.extend(parts.map(|at| Found { is_rest: true, ..Found::of(rule.kind, at) }));
                    if rule.kind == "AWS access key"
                        && let Some(key) = &first
                    {
                        found.extend(blocks::aws_secret(text, &key.at));
                    }
                    first
                }
                Trigger::Name(_) if at.start < named_done => None,
                Trigger::Name(name) => named::find(text, at, *name),
                Trigger::Begin => blocks::private_key(text, at.start),
                Trigger::End => blocks::key_above(text, at.start),
                Trigger::Putty => blocks::putty(text, at.end),
                Trigger::Address => blocks::credentials(text, at.start),
                Trigger::Oracle => blocks::oracle(text, at.end),
                Trigger::Port => blocks::pgpass(text, at),
                Trigger::Chpasswd => blocks::chpasswd(text, at.start),
                Trigger::Insert => {
                    if at.start >= inserted_done {
                        columns::inserted(text, at.end, heading, &mut inserted_done, found);
                    }
                    None
                }
                Trigger::Phrase(n) => {
                    scanner.phrases[*n].find(text, at, &mut blocks_done, found);
                    None
                }
                Trigger::Command(n) => {
                    scanner.commands[*n].find(text, at, found);
                    None
                }
            };
            if let Some(secret) = secret.filter(|secret| !secret.at.is_empty()) {
                let end = if secret.is_named { &mut named_done } else { &mut done };
                *end = secret.at.end.max(*end);
                found.push(secret);
            }
        }
        words(text, found);
        found.retain(|secret| !text[secret.at.start..].starts_with(MASK_BEGIN));
        found.iter_mut().for_each(|secret| secret.at.start += within_escape(text, secret.at.clone()));
        if let Some((matcher, kinds)) = self.known {
            for hit in matcher.find_iter(text) {
                let is_in_word = |at: Option<usize>| {
                    at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_alphanumeric)
                };
                let is_within = is_in_word(hit.start().checked_sub(1)) || is_in_word(Some(hit.end()));
                if !is_within || hit.len() >= KNOWN_WITHIN_MIN {
                    found.push(Found::of(kinds[hit.pattern().as_usize()], hit.range()));
                }
            }
        }
    }
}

/// How much of an escape stands at the beginning: only all of it may be masked, or nothing.
fn within_escape(text: &str, at: Range<usize>) -> usize {
    let before = &text.as_bytes()[..at.start];
    let escape = &text.as_bytes()[at.clone()];
    let slashes = before.iter().rev().take_while(|b| **b == b'\\').take(64).count();
    let length = match escape.first() {
        Some(b'n' | b'r' | b't' | b'b' | b'f') if slashes % 2 == 1 => 1,
        Some(b'u') if slashes % 2 == 1 => 5,
        Some(_) if before.ends_with(b"%") && escape.iter().take(2).all(u8::is_ascii_hexdigit) => 2,
        Some(b'3') if before.ends_with(b"=") && escape.starts_with(b"3D") => 2,
        _ => 0,
    };
    if length < escape.len() && text.is_char_boundary(at.start + length) { length } else { 0 }
}

/// Words that are secrets by their form, however they begin.
fn words(text: &str, found: &mut Vec<Found>) {
    let scanner = scanner();
    let bytes = text.as_bytes();
    let is_in = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|b| is_in(**b)).count();
        if length == 0 {
            at += 1;
            continue;
        }
        let word = at..at + length;
        at += length;
        let is_joined = matches!(bytes.get(at), Some(b'.' | b'/' | b':' | b'!'));
        if length < UNKNOWN_TOKEN_MIN && !is_joined {
            continue;
        }
        let is_within = word.start.checked_sub(1).is_some_and(|before| matches!(bytes[before], b'+' | b'/' | b'.'));
        if length > 200 || is_within {
            continue;
        }
        let shaped = scanner.shapes.iter().find_map(|n| {
            let rule = &scanner.rules[*n];
            Some((rule.kind, rule.find(text, word.start..word.start, &mut 0)?.swap_remove(0)))
        });
        if let Some((kind, range)) = shaped {
            found.push(Found::of(kind, range));
        } else if is_unknown_token(&text[word.clone()]) && !matches!(bytes.get(at), Some(b'+' | b'/')) {
            found.push(Found::of("token", word));
        }
    }
}

/// `abc_live_4eC39HqLyjWDarjtT1zdp7dc` of a service that nobody told us of.
fn is_unknown_token(word: &str) -> bool {
    let Some(cut) = word.rfind(['_', '-']).filter(|cut| word.len() - cut > UNKNOWN_TOKEN_MIN) else { return false };
    let (begin, rest) = (&word[..cut], &word[cut + 1..]);
    let first = begin.split(['_', '-']).next().unwrap_or("");
    let has = |is: fn(&u8) -> bool| rest.bytes().any(|b| is(&b));
    let is_name = begin.len() <= 24 && begin.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let is_id = scanner().ids.contains(&first.to_ascii_lowercase().as_str());
    is_name
        && !is_id
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && names::is_random(rest)
}

/// What a place in a text may be the beginning of.
enum Trigger {
    Rule(usize),
    Name(Name),
    Begin,
    End,
    Putty,
    Address,
    Oracle,
    Port,
    Chpasswd,
    Command(usize),
    Phrase(usize),
    Insert,
    /// What was masked before.
    Mask,
}

struct Scanner {
    matcher: AhoCorasick,
    triggers: Vec<Trigger>,
    rules: Vec<Rule>,
    /// Rules without a beginning.
    shapes: Vec<usize>,
    commands: Vec<Command>,
    phrases: Vec<Phrase>,
    /// What a mask may say.
    kinds: HashSet<&'static str>,
    mask: PatternID,
    ids: Vec<&'static str>,
}

/// Built once a process: a few milliseconds.
fn scanner() -> &'static Scanner {
    static SCANNER: OnceLock<Scanner> = OnceLock::new();
    SCANNER.get_or_init(|| {
        let (rules, commands, phrases) = (tokens::rules(), blocks::commands(), phrases::phrases());
        let mut patterns: Vec<(String, Trigger)> = Vec::new();
        let mut shapes = Vec::new();
        for (n, rule) in rules.iter().enumerate() {
            match rule.prefixes.as_slice() {
                ["*"] => shapes.push(n),
                prefixes => patterns.extend(prefixes.iter().map(|prefix| (prefix.to_string(), Trigger::Rule(n)))),
            }
        }
        let mut kinds: HashSet<&'static str> =
            blocks::KINDS.into_iter().chain(rules.iter().map(|rule| rule.kind)).collect();
        for (spelling, name) in names::names() {
            kinds.insert(name.kind);
            patterns.push((spelling, Trigger::Name(name)));
        }
        for (n, command) in commands.iter().enumerate() {
            patterns.extend(command.names.iter().map(|name| (name.to_string(), Trigger::Command(n))));
        }
        for (n, phrase) in phrases.iter().enumerate() {
            kinds.insert(phrase.kind);
            patterns.extend(phrase.words.iter().map(|words| (words.to_string(), Trigger::Phrase(n))));
        }
        for (text, trigger) in [
            ("insert into ", Trigger::Insert),
            ("replace into ", Trigger::Insert),
            ("-----BEGIN ", Trigger::Begin),
            ("---- BEGIN ", Trigger::Begin),
            ("-----END ", Trigger::End),
            ("Private-Lines:", Trigger::Putty),
            ("://", Trigger::Address),
            ("jdbc:oracle:thin:", Trigger::Oracle),
            ("sqlplus ", Trigger::Oracle),
            ("chpasswd", Trigger::Chpasswd),
        ] {
            patterns.push((text.to_owned(), trigger));
        }
        let mask = PatternID::new(patterns.len()).expect("few patterns");
        patterns.push((MASK_BEGIN.to_owned(), Trigger::Mask));
        for port in [":5432:", ":5433:", ":6432:", ":5439:", ":*:*:", ":3306:"] {
            patterns.push((port.to_owned(), Trigger::Port));
        }
        let (texts, triggers): (Vec<String>, Vec<Trigger>) = patterns.into_iter().unzip();
        let matcher =
            AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).ascii_case_insensitive(true).build(&texts);
        let matcher = matcher.expect("the tables are small");
        let ids = IDS.split_whitespace().collect();
        Scanner { matcher, triggers, rules, shapes, commands, phrases, kinds, mask, ids }
    })
}

fn matcher_of(known: &HashMap<String, &'static str>) -> Option<(AhoCorasick, Vec<&'static str>)> {
    if known.is_empty() {
        return None;
    }
    let (values, kinds): (Vec<&String>, Vec<&'static str>) = known.iter().unzip();
    let matcher = AhoCorasick::builder().match_kind(aho_corasick::MatchKind::LeftmostLongest).build(values);
    // Too many to be looked for at once: they are masked where their names stand.
    Some((matcher.ok()?, kinds))
}

/// What stands below the heading of a column, and how sure that is.
fn heading(name: &str) -> Option<(Sure, &'static str)> {
    of_name(name, |known, at| !known.is_vendor && (!known.is_word || named::begins_word(name, at)))
}

/// What a whole name says, by the surest of what is known in it.
fn of_name(name: &str, is_meant: impl Fn(Name, &Range<usize>) -> bool) -> Option<(Sure, &'static str)> {
    let scanner = scanner();
    let hits = scanner.matcher.find_overlapping_iter(name).filter_map(|hit| {
        match &scanner.triggers[hit.pattern().as_usize()] {
            Trigger::Name(known) if is_meant(*known, &hit.range()) => {
                names::of_whole(*known, name, &name[hit.end()..]).map(|sure| (sure, known.kind))
            }
            _ => None,
        }
    });
    hits.max_by_key(|(sure, _)| *sure)
}

/// The kind of what stands under a name, if all of it is a secret.
fn named_kind(name: &str, text: &str) -> Option<&'static str> {
    if names::is_no_value(text) || text.len() < 3 {
        return None;
    }
    let (sure, kind) = of_name(name, |_, _| true)?;
    let is_secret = match sure {
        Sure::Certain => !text.bytes().all(|b| b.is_ascii_digit()) || text.len() > 3,
        Sure::Likely => !names::is_words(text) && !text.contains(char::is_whitespace),
        Sure::Maybe => names::is_random(text) && !names::is_hash_or_id(text),
    };
    is_secret.then_some(kind)
}

/// In order, those that touch made one; of two kinds the one that the form says.
fn merged(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|secret| (secret.at.start, secret.at.end));
    let mut merged: Vec<Found> = Vec::new();
    for secret in found {
        match merged.last_mut() {
            Some(last) if secret.at.start < last.at.end => {
                last.at.end = last.at.end.max(secret.at.end);
                if last.is_named && !secret.is_named || last.kind == "token" {
                    (last.kind, last.is_named) = (secret.kind, secret.is_named);
                }
                last.is_rest &= secret.is_rest;
                last.quote = last.quote.take().or(secret.quote);
            }
            _ => merged.push(secret),
        }
    }
    merged
}
