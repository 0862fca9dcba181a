//! Secrets that are known by what stands around them: private keys, addresses with a password in them, lines of files
//! of passwords, and what is handed to a command.

use std::ops::Range;

use super::found::{Found, is_escape};
use super::names::{is_learnable, is_no_value, is_random, is_words};
use super::tokens::different;

/// Longest first or last line of a key.
const EDGE_BYTES_MAX: usize = 80;
/// Least characters of a line of a key.
const LINE_MIN: usize = 16;
/// Most lines of a key whose end is missing.
const LINES_MAX: usize = 2000;
/// Longest address, and longest command, that is looked through.
const ADDRESS_BYTES_MAX: usize = 1024;
const COMMAND_BYTES_MAX: usize = 2000;
/// How far before a command one looks for what is piped into it.
const PIPED_BYTES_MAX: usize = 300;
/// How near to the name of an access key its secret stands.
const NEAR_BYTES_MAX: usize = 300;

/// What is found here.
pub(super) const KINDS: [&str; 5] = ["private key", "address password", "password", "AWS secret key", "token"];

/// Schemes whose user name alone is no secret.
const OPEN_SCHEMES: [&str; 4] = ["ssh", "sftp", "git", "git+ssh"];
/// Schemes of pages, whose paths may hold an `@`.
const PAGES: [&str; 6] = ["http", "https", "ws", "wss", "git+https", "git+http"];

/// A block from BEGIN to END; where the end is missing, the lines that look like a part of it.
pub(super) fn private_key(text: &str, at: usize) -> Option<Found> {
    let rest = &text[at..];
    let head = edge(rest)?;
    if !rest[..head].contains("PRIVATE KEY")
        && !rest[..head].contains("PGP MESSAGE")
        && !rest[..head].contains("ENCRYPTED")
    {
        return None;
    }
    let line = text[..at].bytes().rev().take(EDGE_BYTES_MAX).take_while(|b| *b != b'\n').count();
    let end = key_end(text, at + head, line);
    Some(Found::of("private key", at..end))
}

/// The length of `-----BEGIN … -----`.
fn edge(rest: &str) -> Option<usize> {
    let most = rest.len().min(EDGE_BYTES_MAX);
    let close = memchr::memmem::find(&rest.as_bytes()[8..most.max(8)], b"----")?;
    let end = 8 + close + 4;
    Some(end + usize::from(rest.as_bytes().get(end) == Some(&b'-')))
}

/// Where the lines of a key end whose lines have so many characters before them.
fn key_end(text: &str, from: usize, indent: usize) -> usize {
    let mut end = from;
    let mut at = from;
    for n in 0..LINES_MAX {
        let length = memchr::memchr(b'\n', &text.as_bytes()[at..]).unwrap_or(text.len() - at);
        let line = &text[at..at + length];
        if let Some(close) = line.find("-----END ") {
            let edge = edge(&line[close..]).unwrap_or(line.len() - close);
            return at + close + edge;
        }
        let bare = line.trim_end_matches(['\r', '"', '\'', ',', '|', ' ', '`', '\\', ')', ';']);
        let tail = bare.bytes().rev().take_while(|b| is_base64(*b)).count();
        let is_key = tail >= LINE_MIN
            || (n > 0
                && tail > 0
                && bare.len() - tail <= indent + 2
                && n < LINES_MAX
                && tail >= bare.len().saturating_sub(indent));
        let is_header = ["DEK-Info", "Proc-Type", "Version:", "Comment:", "Charset:", "Hash:"]
            .iter()
            .any(|head| line.contains(head));
        if n == 0 && bare.len() == tail && tail > 0 {
            // All of it on the line of its beginning.
            end = at + bare.len();
        } else if is_key || is_header {
            // What was torn off behind the key is no longer a line of it.
            if tail < LINE_MIN && !is_header {
                let word = &bare[bare.len() - tail..];
                if is_words(word) && !word.ends_with('=') {
                    break;
                }
            }
            end = at + bare.len();
        } else if bare.len() > indent + 8 {
            break;
        }
        at += length + 1;
        if at >= text.len() {
            break;
        }
    }
    end.min(text.len())
}

/// Lines of a key above its END, whose beginning is missing.
pub(super) fn key_above(text: &str, at: usize) -> Option<Found> {
    let rest = &text[at..];
    let tail = edge(rest)?;
    if !rest[..tail].contains("PRIVATE KEY") {
        return None;
    }
    let mut start = at;
    let mut lines = 0;
    while lines < LINES_MAX {
        let above = text[..start].trim_end_matches(['\n', '\r', ' ', '+', '|', '>', '\t']);
        let line = memchr::memrchr(b'\n', above.as_bytes()).map_or(0, |newline| newline + 1);
        let run = above.bytes().rev().take_while(|b| is_base64(*b)).count();
        if run < LINE_MIN && !(lines == 0 && run > 0 && start == at) || line > above.len() - run {
            break;
        }
        start = above.len() - run;
        lines += 1;
    }
    (lines > 0).then(|| Found::of("private key", start..at + tail))
}

/// The lines behind `Private-Lines: N` of PuTTY.
pub(super) fn putty(text: &str, end: usize) -> Option<Found> {
    let rest = &text[end..];
    let count: usize = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let from = end + rest.find('\n')? + 1;
    let length: usize = text[from..].split_inclusive('\n').take(count.min(LINES_MAX)).map(str::len).sum();
    let lines = text[from..from + length].trim_end();
    (!lines.is_empty()).then(|| Found::of("private key", from..from + lines.len()))
}

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"+/=_-".contains(&b)
}

/// The user and password in an address.
pub(super) fn credentials(text: &str, colon: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let scheme =
        bytes[..colon].iter().rev().take(20).take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count();
    let scheme = text[colon - scheme..colon].to_ascii_lowercase();
    if scheme.is_empty() {
        return None;
    }
    let from = colon + 3;
    let is_end = |b: &u8| b.is_ascii_whitespace() || b"\"'`<>".contains(b);
    let length = (from..bytes.len().min(from + ADDRESS_BYTES_MAX))
        .take_while(|at| !is_end(&bytes[*at]) && !is_escape(bytes, *at))
        .count();
    let all = &bytes[from..from + length];
    let path = all.iter().position(|b| b"/?#\\".contains(b)).unwrap_or(length);
    let is_host = |at: &usize| all.get(at + 1).is_some_and(|b| b.is_ascii_alphanumeric() || b"[_$".contains(b));
    let within = all[..path].iter().rposition(|b| *b == b'@');
    let at = match PAGES.contains(&scheme.as_str()) {
        true => within?,
        // A password that nobody encoded.
        false => {
            let query = all.iter().position(|b| *b == b'?').unwrap_or(length);
            let last =
                all[..query].iter().rposition(|b| *b == b'@').filter(is_host).filter(|at| all[..*at].contains(&b':'));
            last.or(within)?
        }
    };
    let user = &text[from..from + at];
    let secret = user.split_once(':').map_or(user, |(_, secret)| secret);
    let is_open = !user.contains(':')
        && (OPEN_SCHEMES.contains(&scheme.as_str())
            || user == "git"
            || !is_random(user)
                && user.len() < 16
                && !user.bytes().any(|b| b.is_ascii_digit())
                && is_words(user)
                && user.contains(['.', '-']));
    if user.is_empty()
        || secret.is_empty()
        || is_open
        || user.starts_with(['$', '{', '<', '%'])
        || is_no_value(secret)
            && !secret.starts_with("your")
            && user.contains(':')
            && (secret.starts_with(['$', '{', '<', '*', '[']) || different(secret.as_bytes()) < 3)
    {
        return None;
    }
    let learned = from + at - secret.len()..from + at;
    Some(Found { learned: Some(learned), ..Found::named("address password", from..from + at) })
}

/// `jdbc:oracle:thin:scott/tiger@`, `sqlplus user/password@`.
pub(super) fn oracle(text: &str, end: usize) -> Option<Found> {
    let word = &text[end..word_end(text, end)];
    let (user, rest) = word.split_once('/')?;
    let (secret, _) = rest.rsplit_once('@')?;
    let from = end + user.len() + 1;
    (!secret.is_empty() && !secret.starts_with(['/', '@', '$']))
        .then(|| Found::named("password", from..from + secret.len()))
}

/// The last field of a line of a pgpass file: `host:port:database:user:password`.
pub(super) fn pgpass(text: &str, port: Range<usize>) -> Option<Found> {
    let bytes = text.as_bytes();
    let host = bytes[..port.start]
        .iter()
        .rev()
        .take(100)
        .take_while(|b| b.is_ascii_alphanumeric() || b".-*_".contains(b))
        .count();
    let before = bytes[..port.start - host].last();
    if host == 0 || before.is_some_and(|b| b.is_ascii_alphanumeric() || b":/@".contains(b)) {
        return None;
    }
    let mut fields = text[port.end..word_end(text, port.end)].splitn(3, ':');
    let (database, user, secret) = (fields.next()?, fields.next()?, fields.next()?);
    let from = port.end + database.len() + user.len() + 2;
    let is_one = !database.is_empty() && !user.is_empty() && secret.len() >= 4 && !secret.starts_with(['/', '$']);
    is_one.then(|| Found::named("password", from..from + secret.len()))
}

/// Where a word ends that has neither quotes nor escapes.
fn word_end(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let is_in =
        |at: &usize| bytes[*at].is_ascii_graphic() && !b"\"'`<>".contains(&bytes[*at]) && !is_escape(bytes, *at);
    from + (from..bytes.len().min(from + ADDRESS_BYTES_MAX)).take_while(is_in).count()
}

/// The 40 characters that come with the name of an access key.
pub(super) fn aws_secret(text: &str, key: &Range<usize>) -> Option<Found> {
    let bytes = text.as_bytes();
    let is_in = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'+');
    let mut at = key.start.saturating_sub(NEAR_BYTES_MAX);
    let most = (key.end + NEAR_BYTES_MAX).min(bytes.len());
    while at < most {
        let run = bytes[at..].iter().take(200).take_while(|b| is_in(b)).count();
        let word = &bytes[at..at + run];
        let has = |is: fn(&u8) -> bool| word.iter().any(is);
        let begins = at == 0 || !is_in(&bytes[at - 1]);
        if run == 40 && begins && has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
        {
            return Some(Found::named("AWS secret key", at..at + run));
        }
        at += run.max(1);
    }
    None
}

/// How a command takes a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Next,
    Glued,
    Both,
    Pair,
    Ssl,
    All,
    Piped,
    Share,
}

/// A command that takes secrets.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) names: Vec<&'static str>,
    options: Vec<&'static str>,
    how: How,
}

/// All of them.
pub(super) fn commands() -> Vec<Command> {
    let lines = include_str!("commands.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut parts = line.split(" ; ");
            let (names, options, how) = (parts.next()?, parts.next()?, parts.next()?);
            let how = match how {
                "glued" => How::Glued,
                "both" => How::Both,
                "pair" => How::Pair,
                "ssl" => How::Ssl,
                "all" => How::All,
                "piped" => How::Piped,
                "share" => How::Share,
                _ => How::Next,
            };
            Some(Command { names: names.split('|').collect(), options: options.split(' ').collect(), how })
        })
        .collect()
}

impl Command {
    /// The secrets that are handed to the command whose name stands there.
    pub(super) fn find(&self, text: &str, name: Range<usize>, found: &mut Vec<Found>) {
        let bytes = text.as_bytes();
        let ends_word = bytes.get(name.end).is_some_and(|b| matches!(b, b' ' | b'\t'));
        let begins_word = name.start == 0
            || !(bytes[name.start - 1].is_ascii_alphanumeric() || b"-_.".contains(&bytes[name.start - 1]));
        if !ends_word || !begins_word {
            return;
        }
        if self.how == How::Piped {
            return self.piped(text, name, found);
        }
        let words = words(text, name.end, self.how == How::Share);
        let mut place = 0;
        let mut is_value = false;
        for (n, word) in words.iter().enumerate() {
            let this = &text[word.clone()];
            let next = || words.get(n + 1).cloned().filter(|next| !text[next.clone()].starts_with('-'));
            if this.starts_with('-') {
                let (option, glued) =
                    this.split_once('=').map_or((this, None), |(option, glued)| (option, Some(glued.len())));
                is_value = glued.is_none() && !self.is_flag(option);
                for known in &self.options {
                    let value = match self.how {
                        _ if option == *known && glued.is_some() => glued.map(|length| word.end - length..word.end),
                        How::Next | How::Pair | How::Ssl | How::Both | How::All if option == *known => next(),
                        How::Glued | How::Both | How::Pair
                            if this.len() > known.len()
                                && this.starts_with(known)
                                && !known.starts_with("--")
                                && known.len() <= 3 =>
                        {
                            Some(word.start + known.len()..word.end)
                        }
                        _ => None,
                    };
                    if let Some(value) = value {
                        self.take(text, value, found);
                    }
                }
                continue;
            }
            if is_value {
                is_value = false;
                continue;
            }
            // What is neither the share, nor the letter that it gets, nor an option.
            let is_of_share = this.starts_with(['/', '\\', '*']) || this.ends_with(':');
            if self.how == How::Share && !is_of_share {
                return self.take(text, word.clone(), found);
            }
            place += 1;
            if self.options.iter().any(|option| option.parse() == Ok(place))
                || self.options == ["last"] && n + 1 == words.len() && place > 1
            {
                self.take(text, word.clone(), found);
            }
            if self.options.contains(&this) {
                next().into_iter().for_each(|value| self.take(text, value, found));
            }
            if self.how == How::All && this.contains('=') {
                self.take(text, word.clone(), found);
            }
        }
    }

    /// What `echo` writes into the pipe that the command reads, or a here-string hands to it.
    fn piped(&self, text: &str, name: Range<usize>, found: &mut Vec<Found>) {
        let from = (name.start.saturating_sub(PIPED_BYTES_MAX)..name.start).find(|from| text.is_char_boundary(*from));
        let line = text[from.unwrap_or(name.start)..name.start].rsplit('\n').next().unwrap_or("");
        let start = name.start - line.len();
        let bare = line.trim_end().trim_end_matches("sudo").trim_end();
        if let Some(before) = bare.strip_suffix('|').or_else(|| bare.strip_suffix("|&"))
            && let Some((at, echo)) =
                ["echo ", "printf "].iter().filter_map(|echo| Some((before.rfind(echo)?, echo))).max()
        {
            let rest = &before[at + echo.len()..];
            let has_format = rest.trim_start_matches(['\\', '\'', '"']).starts_with('%');
            let format = if has_format { rest.find(' ').unwrap_or(0) } else { 0 };
            let words = words(&text[..start + before.len()], start + at + echo.len() + format, false);
            let mut values = words.iter().filter(|word| !text[(*word).clone()].starts_with('-'));
            if let Some(first) = values.next() {
                let last = values.next_back().unwrap_or(first);
                let end = last.start + text[last.clone()].trim_end_matches(['"', '\'']).trim_end_matches("\\n").len();
                self.take(text, first.start..end.max(first.start), found);
            }
        }
        let handed = words(text, name.end, false);
        let mut behind = handed.iter().skip_while(|word| !text[(*word).clone()].starts_with("<<<"));
        if let Some(here) = behind.next() {
            let glued = here.start + 3..here.end;
            self.take(text, if glued.is_empty() { behind.next().cloned().unwrap_or(glued) } else { glued }, found);
        }
    }

    /// Whether nothing belongs to the option: one letter that is none of ours stands mostly alone.
    fn is_flag(&self, option: &str) -> bool {
        let known = self.options.contains(&option);
        !known
            && !matches!(
                option,
                "-u" | "-h"
                    | "-P"
                    | "-D"
                    | "-H"
                    | "-w"
                    | "-b"
                    | "-x"
                    | "-U"
                    | "-S"
                    | "-d"
                    | "-n"
                    | "-L"
                    | "-c"
                    | "--username"
                    | "--host"
                    | "--user"
                    | "--port"
                    | "-o"
                    | "-X"
                    | "--repo"
                    | "--env"
                    | "-a"
                    | "--app"
            )
    }

    fn take(&self, text: &str, value: Range<usize>, found: &mut Vec<Found>) {
        let word = &text[value.clone()];
        let bare = word.trim_matches(['"', '\'', '\\']);
        let from = value.start + (word.len() - word.trim_start_matches(['"', '\'', '\\']).len());
        let part = |cut: Option<(&str, &str)>| {
            cut.map(|(head, tail)| from + head.len() + 1..from + head.len() + 1 + tail.len())
        };
        let secret = match self.how {
            How::Pair => {
                part(bare.split_once(':')).or_else(|| part(bare.split_once('%'))).or_else(|| part(bare.split_once(',')))
            }
            How::Ssl => bare
                .strip_prefix("pass:")
                .map(|secret| from + 5..from + 5 + secret.len())
                .or_else(|| (!bare.contains(':') && is_random(bare)).then(|| from..from + bare.len())),
            How::All => part(bare.split_once('=')).or_else(|| is_random(bare).then(|| from..from + bare.len())),
            _ => Some(from..from + bare.len()),
        };
        let Some(secret) = secret.filter(|secret| !secret.is_empty()) else { return };
        let word = &text[secret.clone()];
        let is_place =
            word.starts_with(['$', '<', '{', '/', '(', '~', '@', '.']) || is_no_value(word) || word.contains("://");
        let is_name = matches!(self.how, How::Next) && self.names.contains(&"psql") && !is_learnable(word);
        if !is_place && !is_name {
            found.push(Found::named("password", secret));
        }
    }
}

/// The words of a command from there on, to the end of it. Quotes belong to their word; a share's name with its
/// backslashes is one where there may be shares.
fn words(text: &str, from: usize, has_shares: bool) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let most = bytes.len().min(from + COMMAND_BYTES_MAX);
    let (mut words, mut start, mut quote, mut quote_at) = (Vec::new(), None, None, from);
    let mut at = from;
    while at < most {
        let b = bytes[at];
        if has_shares && start.is_none() && b == b'\\' {
            let slashes = bytes[at..most].iter().take_while(|b| **b == b'\\').count();
            if slashes % 2 == 0 && bytes.get(at + slashes).is_some_and(u8::is_ascii_alphanumeric) {
                let length = bytes[at..most].iter().take_while(|b| b.is_ascii_graphic() && !b"\"'".contains(b)).count();
                words.push(at..at + length);
                at += length;
                continue;
            }
        }
        let is_end = (is_escape(bytes, at) && !matches!(bytes[at + 1..].first(), Some(b'"' | b'\'' | b'/')))
            || (b < b' ' && b != b'\t')
            || quote.is_none() && (matches!(b, b'|' | b';' | b')' | b'`' | b'&'));
        if is_end {
            break;
        }
        match (quote, b) {
            (Some(open), b) if b == open => quote = None,
            (None, b'"' | b'\'') => {
                (quote, quote_at) = (Some(b), at);
                start.get_or_insert(at);
            }
            (None, b' ' | b'\t') => words.extend(start.take().map(|start| start..at)),
            _ => drop(start.get_or_insert(at)),
        }
        at += 1;
        if words.len() > 60 {
            break;
        }
    }
    if quote.is_some() && start.is_some_and(|start| start < quote_at) {
        at = quote_at;
    }
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    words.extend(start.filter(|start| *start < at).map(|start| start..at));
    words.retain(|word| text.is_char_boundary(word.start) && text.is_char_boundary(word.end));
    words
}

/// `user:password` that is piped into chpasswd.
pub(super) fn chpasswd(text: &str, at: usize) -> Option<Found> {
    let from = (at.saturating_sub(200)..at).find(|from| text.is_char_boundary(*from))?;
    let before = text[from..at].rsplit('\n').next()?.trim_end_matches([' ', '|']);
    let start = at - text[from..at].rsplit('\n').next()?.len();
    let (head, secret) = before.rsplit_once(':')?;
    let secret = secret.trim_end_matches(['"', '\'', ' ']);
    let at = start + head.len() + 1;
    let is_one = !secret.is_empty() && !secret.starts_with('$') && !secret.contains(' ') && !secret.contains("$(");
    is_one.then(|| Found::named("password", at..at + secret.len()))
}
