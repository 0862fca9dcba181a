//! Secrets that stand under a name: settings of every kind, headers, query strings, options, tables, sentences.

use std::ops::Range;

use super::found::{Found, is_escape};
use super::names::{Name, Sure, is_hash_or_id, is_no_value, is_random, is_words, of_whole, plain};

/// Longest quoted value, in bytes; a quote that is not closed before ends at its line.
const QUOTED_BYTES_MAX: usize = 4096;
/// Longest value without quotes.
const WORD_BYTES_MAX: usize = 1536;
/// By how much of a value it is judged.
const JUDGED_BYTES: usize = 128;
/// Longest part of a name on either side of what is known of it.
const NAME_BYTES_MAX: usize = 64;
/// How far behind a name, or a declared type, a value is looked for in a sentence or a declaration.
const NEAR_BYTES_MAX: usize = 64;
/// How far one looks back in a line.
const LINE_BYTES_MAX: usize = 200;
/// Most lines of a value that goes on.
const LINES_MAX: usize = 60;

/// Words between a name and its value in a sentence.
const IS: [&str; 38] = [
    "is", "are", "was", "be", "to", "as", "=", ":", "：", "->", "→", "ist", "lautet", "war", "auf", "zu", "es", "sera",
    "será", "son", "est", "sont", "à", "é", "è", "foi", "era", "ser", "это", "—", "–", "-", "jest", "är", "er", "on",
    "adalah", "là",
];
/// What stands there in languages without blanks.
const IS_JOINED: [&str; 14] = ["是", "为", "為", "：", "は", "が", "を", "는", "은", "이", "가", "＝", ":", "="];

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

fn run_end(bytes: &[u8], from: usize, most: usize, is_in: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take(most).take_while(|b| is_in(**b)).count()
}

fn blanks(bytes: &[u8], from: usize) -> usize {
    run_end(bytes, from, NAME_BYTES_MAX, |b| matches!(b, b' ' | b'\t'))
}

/// A name where it stands.
struct Place<'t> {
    text: &'t str,
    whole: Range<usize>,
    name: Name,
    sure: Sure,
}

/// The secret under the name of which the known part stands there.
pub(super) fn find(text: &str, known: Range<usize>, name: Name) -> Option<Found> {
    let bytes = text.as_bytes();
    let last = text[known.clone()].chars().next_back()?;
    let is_cjk = last >= '\u{2e80}';
    let mut end = known.end;
    if last.is_ascii() {
        end = run_end(bytes, end, NAME_BYTES_MAX, is_name_byte);
        end -= text[known.end..end].len() - text[known.end..end].trim_end_matches(['.', '-']).len();
    } else if !is_cjk {
        let more = text[end..].chars().take(4).take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum::<usize>();
        end += more;
    }
    let back = bytes[..known.start].iter().rev().take(NAME_BYTES_MAX).take_while(|b| is_name_byte(**b)).count();
    let start = known.start - back;
    if name.is_word && !begins_word(text, &known) {
        return None;
    }
    let suffix = &text[known.end..end];
    let sure = of_whole(name, &text[start..end], if last.is_ascii() { suffix } else { "" })?;
    // `DB_PASS` is more than `pass`.
    let is_compound = sure == Sure::Likely && bytes[start..known.start].contains(&b'_');
    let sure = if is_compound { Sure::Certain } else { sure };
    if name.is_vendor && suffix.is_empty() && start == known.start && text[end..].starts_with("://") {
        return None;
    }
    let place = Place { text, whole: start..end, name, sure };
    place.assigned().or_else(|| place.option()).or_else(|| place.told(is_cjk))
}

/// Whether a word begins here: at the beginning of a name, behind punctuation, or at a capital.
pub(super) fn begins_word(text: &str, known: &Range<usize>) -> bool {
    let first = text[known.clone()].chars().next();
    match text[..known.start].chars().next_back() {
        Some(before) if before.is_alphanumeric() => {
            let is_hump = before.is_lowercase() && first.is_some_and(char::is_uppercase);
            let is_capital = text[known.clone()].chars().all(|c| !c.is_lowercase()) && before.is_uppercase();
            // OPENAIKEY, oauth.
            is_hump
                || (is_capital && known.len() > 3)
                || text[known.clone()].eq_ignore_ascii_case("auth")
                || first.is_some_and(|c| c >= '\u{2e80}')
        }
        _ => true,
    }
}

/// How a value is joined to its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Join {
    Equals,
    Colon,
    Comma,
    Column,
    Arrow,
}

/// A value where it stands.
struct Value {
    at: Range<usize>,
    is_quoted: bool,
}

impl Place<'_> {
    /// `name=value`, `"name": "value"`, `name: value`, `| name | value |`, `<name>value</name>` and the like.
    fn assigned(&self) -> Option<Found> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let closing = run_end(bytes, self.whole.end, 4, |b| b"\"'`]*".contains(&b));
        let quote =
            bytes[self.whole.end..closing].iter().position(|b| matches!(b, b'"' | b'\'')).map(|at| self.whole.end + at);
        let mut at = blanks(bytes, closing);
        let before = self.whole.start.checked_sub(1).map(|before| bytes[before]);
        if bytes.get(at) == Some(&b'>') && (before == Some(b'<') || before == Some(b':')) {
            let end = run_end(bytes, at + 1, QUOTED_BYTES_MAX, |b| b != b'<');
            if !bytes[end..].starts_with(b"</") {
                return None;
            }
            let value = Value { at: at + 1..end, is_quoted: true };
            return self.judged(value, false, None);
        }
        // `\password{…}`, `\newcommand{\password}{…}`
        let brace = at + usize::from(bytes[at..].starts_with(b"}{"));
        if before == Some(b'\\') && bytes.get(brace) == Some(&b'{') {
            let end = run_end(bytes, brace + 1, QUOTED_BYTES_MAX, |b| b != b'}' && b != b'\n');
            let value = Value { at: brace + 1..end, is_quoted: self.name.kind == "password" };
            return (bytes.get(end) == Some(&b'}')).then(|| self.judged(value, true, None)).flatten();
        }
        if let Some(value) = self.attribute(closing) {
            return self.judged(value, false, None);
        }
        // `Key [None]: `, `Password (again): `
        if let Some(close) = bytes.get(at).and_then(|open| match open {
            b'[' => Some(b']'),
            b'(' => Some(b')'),
            _ => None,
        }) && let Some(end) = bytes[at..].iter().take(NEAR_BYTES_MAX).position(|b| *b == close)
            && !bytes[at..at + end].contains(&b'\n')
            && matches!(bytes.get(blanks(bytes, at + end + 1)), Some(b':' | b'='))
            && at > closing
        {
            at = blanks(bytes, at + end + 1);
        }
        let rest = &text[at..];
        let join = |join, length: usize| Some((join, at + length));
        let (join, mut from) = match rest.as_bytes() {
            [b':', b':', ..] | [b':', b'/', b'/', ..] => None,
            [b'=', b'=', b'=', ..] => join(Join::Equals, 3),
            [b'=', b'=' | b'>', ..] | [b':' | b'?', b'=', ..] => join(Join::Equals, 2),
            [b'|', b'|', b'=', ..] => join(Join::Equals, 3),
            [b'=', ..] => join(Join::Equals, 1),
            [b':', ..] => join(Join::Colon, 1),
            [b'-', b'>', ..] => join(Join::Arrow, 2),
            [b'|', ..] if bytes.get(at + 1) != Some(&b'|') => join(Join::Column, 1),
            [b',', ..] if quote.is_some() => join(Join::Comma, 1),
            _ if rest.starts_with('：') || rest.starts_with('＝') || rest.starts_with('→') || rest.starts_with('│') => {
                join(Join::Colon, 3)
            }
            _ => None,
        }?;
        let is_tight = join == Join::Equals && at == closing;
        let is_first = from;
        from = run_end(bytes, from, 4, |b| b == b'*');
        from = blanks(bytes, from);
        if plain(&text[self.whole.clone()]).ends_with("authorization") {
            return self.authorization(from);
        }
        if plain(&text[self.whole.clone()]).ends_with("cookie") && join == Join::Colon {
            return self.cookie(from);
        }
        let Some(value) = self.value(from, join) else {
            return if join == Join::Colon { self.declared(from) } else { None };
        };
        if join == Join::Comma {
            let is_call =
                value.is_quoted && bytes.get(value.at.end + 1).is_some_and(|b| matches!(b, b')' | b',' | b' '));
            let open = text[..self.whole.start].trim_end_matches(['"', '\'']);
            return if is_call && open.ends_with('(') { self.judged(value, true, quote) } else { None };
        }
        let is_loose = join == Join::Colon || !is_tight || from > is_first;
        self.judged(value, is_loose, quote).or_else(|| if join == Join::Colon { self.declared(from) } else { None })
    }

    /// `key="name" value="…"`, `name: NAME` above `value: …`, `"name": "…", "value": "…"`.
    fn attribute(&self, closing: usize) -> Option<Value> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let near = (closing..=text.len().min(closing + NEAR_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at))?;
        // Marks of a diff and numbers of lines may stand between.
        let is_between = |c: char| c.is_whitespace() || c.is_ascii_digit() || "\",'+>|→│".contains(c);
        let at = near - text[closing..near].trim_start_matches(is_between).len();
        let word = run_end(bytes, at, 8, |b| b.is_ascii_alphabetic());
        if at == closing || !text[at..word].eq_ignore_ascii_case("value") {
            return None;
        }
        let sep = blanks(bytes, run_end(bytes, word, 1, |b| b"\"'".contains(&b)));
        if !matches!(bytes.get(sep), Some(b':' | b'=')) {
            return None;
        }
        self.value(blanks(bytes, sep + 1), Join::Equals)
    }

    /// The value that begins here: what stands between quotes, or everything up to a blank.
    fn value(&self, from: usize, join: Join) -> Option<Value> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let mut open = from;
        // b"…", f'…', @"…"
        if matches!(bytes.get(from), Some(b'b' | b'r' | b'f' | b'u' | b'@' | b'L'))
            && matches!(bytes.get(from + 1), Some(b'"' | b'\''))
        {
            open += 1;
        }
        match bytes.get(open) {
            Some(quote @ (b'"' | b'\'' | b'`')) => {
                if bytes[open..].starts_with(b"\"\"\"") || bytes[open..].starts_with(b"'''") {
                    open += 2;
                }
                let end = quoted_end(bytes, open + 1, *quote);
                let at = open + 1..end;
                // What follows an empty value, or closes a quote that stood before the name.
                let is_odd =
                    [", ", "} ", "] ", ": ", ") ", "; "].iter().any(|begin| text[at.clone()].starts_with(begin));
                return (!at.is_empty() && !is_odd).then_some(Value { at, is_quoted: true });
            }
            Some(b'|' | b'>') if join == Join::Colon => return self.block(from),
            Some(b'\n' | b'\r') if join == Join::Colon && self.sure == Sure::Certain => {
                let next = from + text[from..].find('\n')? + 1;
                let end = run_end(bytes, next, WORD_BYTES_MAX, |b| b != b'\n');
                let end = (next..=end).rev().find(|end| text.is_char_boundary(*end))?;
                let line = text[next..end].trim();
                let start = end - text[next..end].trim_start().len();
                let is_alone = !line.is_empty()
                    && !line.contains(char::is_whitespace)
                    && !line.contains([':', '=', '{', '[', '<']);
                return (is_alone && is_random(line))
                    .then_some(Value { at: start..start + line.len(), is_quoted: false });
            }
            _ => {}
        }
        let is_ascii = text[from..].chars().next()?.is_ascii();
        let is_query = matches!(self.whole.start.checked_sub(1).map(|before| bytes[before]), Some(b'?' | b'&'));
        let mut end = from;
        let most = text[from..].char_indices().take(WORD_BYTES_MAX);
        for (at, c) in most {
            let next = || text[from + at + c.len_utf8()..].chars().next();
            let is_end = match c {
                c if c.is_whitespace() || c.is_control() => true,
                '"' | '\'' | '`' | '<' | '>' | '|' | ';' | '&' => true,
                '\\' => next().is_none_or(|next| "nrtu\"'/\\".contains(next)),
                ',' => {
                    next().is_none_or(|next| next.is_whitespace() || "\"'{[".contains(next))
                        || is_pair(&text[from + at + 1..])
                }
                '#' if is_query => true,
                '\u{2010}'..='\u{205f}' => true,
                '\u{2e80}'.. => is_ascii,
                _ => false,
            };
            if is_end {
                break;
            }
            end = from + at + c.len_utf8();
        }
        // The end of a sentence, a list or a call is none of it.
        end -= text[from..end].len() - text[from..end].trim_end_matches([',', ';', ')', ']', '}', '*', '.', ':']).len();
        (end > from).then_some(Value { at: from..end, is_quoted: false })
    }

    /// The lines of a block in YAML.
    fn block(&self, from: usize) -> Option<Value> {
        let text = self.text;
        let head = run_end(self.text.as_bytes(), from, 8, |b| b != b'\n');
        if text.as_bytes().get(head) != Some(&b'\n') || text[from..head].trim().len() > 3 || self.sure == Sure::Maybe {
            return None;
        }
        let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let first = indent(&text[head + 1..]);
        let lines = text[head + 1..].split('\n').take(LINES_MAX);
        let length: usize =
            lines.take_while(|line| first > 0 && indent(line) >= first).map(|line| line.len() + 1).sum();
        let value = &text[head + 1..head + 1 + length.checked_sub(1)?];
        let start = head + 1 + first;
        Some(Value { at: start..head + 1 + value.trim_end().len(), is_quoted: true })
    }

    /// Whether it is a secret, and what is known of it.
    fn judged(&self, value: Value, is_loose: bool, name_quote: Option<usize>) -> Option<Found> {
        let text = self.text;
        let mut at = value.at;
        // A scheme is none of it.
        for scheme in ["Bearer ", "Basic ", "Token ", "token ", "bearer ", "base64:", "plain:", "hex:", "basic "] {
            if text[at.clone()].starts_with(scheme) {
                at.start += scheme.len();
            }
        }
        let word = head(&text[at.clone()]);
        if is_no_value(word) || is_same_name(&text[self.whole.clone()], word) {
            return None;
        }
        let is_number = word.bytes().all(|b| b.is_ascii_digit() || b".,_".contains(&b));
        let is_secret = match self.sure {
            _ if is_path(word) || word.starts_with("http") && word.contains("://") => false,
            Sure::Certain if value.is_quoted => {
                (!is_sentence(word) || self.name.kind == "recovery phrase") && !(is_number && word.len() < 4)
            }
            Sure::Certain if is_number => {
                self.name.kind == "password" && (4..=16).contains(&word.len()) && !word.contains('.')
                    || self.name.kind == "access code" && (6..=10).contains(&word.len())
                    || word.len() > 16
            }
            Sure::Certain if !is_loose => !word.contains('(') && !is_code(word),
            Sure::Certain => is_likely(text, &self.whole, &at, self.name),
            // What a test runner prints before the name of a test.
            Sure::Likely if text[..self.whole.end].ends_with("--- PASS") => false,
            Sure::Likely => {
                let is_pin =
                    is_number && plain(&text[self.whole.clone()]).ends_with("pin") && (4..=8).contains(&word.len());
                is_pin
                    || (!is_number && !is_words(word) && word.len() >= 6 && !word.contains(['(', ' ']))
                    || (word.len() >= 6
                        && !is_loose
                        && !is_number
                        && !is_code(word)
                        && word.bytes().any(|b| b.is_ascii_digit()))
            }
            Sure::Maybe => {
                let is_signature =
                    matches!(self.whole.start.checked_sub(1).map(|at| text.as_bytes()[at]), Some(b'?' | b'&' | b';'));
                is_random(word)
                    && word.len() >= if self.name.is_vendor { 15 } else { 10 }
                    && (is_signature || !is_hash_or_id(word) || self.is_of_service(word))
            }
        };
        // A number of JSON becomes a text.
        let quote = name_quote.filter(|_| !value.is_quoted && (is_number || word.parse::<f64>().is_ok()));
        let quote = quote.filter(|quote| text.as_bytes()[*quote] == b'"');
        is_secret.then(|| Found { quote: quote.map(|at| at..at + 1), ..Found::named(self.name.kind, at) })
    }

    /// A hash under a name that ends in `key`: of a service it is no hash.
    fn is_of_service(&self, word: &str) -> bool {
        let whole = plain(&self.text[self.whole.clone()]);
        let is_key =
            ["key", "auth", "cred", "creds", "sid", "cookie", "jwt", "pat"].iter().any(|end| whole.ends_with(end));
        let is_upper = self.text[self.whole.clone()].bytes().all(|b| !b.is_ascii_lowercase());
        is_key && is_upper && whole.len() > 6 && word.len() != 40 && !word.contains([':', '-']) && word.len() >= 32
    }

    /// The credentials of the header, behind their scheme.
    fn authorization(&self, from: usize) -> Option<Found> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let from = run_end(bytes, from, 4, |b| b"\"'`".contains(&b));
        let word = run_end(bytes, from, NAME_BYTES_MAX, |b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let schemes = [
            "bearer",
            "basic",
            "token",
            "digest",
            "negotiate",
            "apikey",
            "bot",
            "ntlm",
            "aws4-hmac-sha256",
            "key",
            "dpop",
            "genie",
        ];
        let is_scheme = schemes.iter().any(|scheme| text[from..word].eq_ignore_ascii_case(scheme));
        let is_scheme = is_scheme && bytes.get(word) == Some(&b' ');
        let from = if is_scheme { word + 1 } else { from };
        let has_parts = text[from..].starts_with("Credential=") || text[from..].starts_with("username=");
        let is_end = |b: u8| {
            (b.is_ascii_whitespace() && !(has_parts && b == b' '))
                || b"\"'`<>".contains(&b) && !has_parts
                || b.is_ascii_control()
        };
        let end = from
            + (from..bytes.len().min(from + WORD_BYTES_MAX))
                .take_while(|at| !is_end(bytes[*at]) && !is_escape(bytes, *at))
                .count();
        let end = from + text[from..].get(..end - from)?.trim_end_matches([',', ';', ')', '}', ']', '\\']).len();
        let value = &text[from..end];
        let is_word = value.bytes().all(|b| b.is_ascii_alphabetic()) && end - from < 12;
        let has_digit = value.bytes().any(|b| b.is_ascii_digit());
        let is_prose = value.contains(['(', '{', '$']) || is_words(value) && !is_scheme && !has_digit;
        (end > from && !is_no_value(value) && !is_prose && (is_scheme && end - from >= 3 || !is_word))
            .then(|| Found::named("authorization header", from..end))
    }

    /// Everything behind `Cookie:`, or the first pair behind `Set-Cookie:`.
    fn cookie(&self, from: usize) -> Option<Found> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let is_set = plain(&text[self.whole.clone()]).ends_with("setcookie");
        let from = run_end(bytes, from, 2, |b| b"\"'".contains(&b));
        let is_end =
            |at: usize| b"\"'\n\r`\x1b".contains(&bytes[at]) || is_set && bytes[at] == b';' || is_escape(bytes, at);
        let end = from + (from..bytes.len().min(from + QUOTED_BYTES_MAX)).take_while(|at| !is_end(*at)).count();
        let end = (from..=end).rev().find(|end| text.is_char_boundary(*end))?;
        let equals = from + text[from..end].find('=')? + 1;
        let from = if is_set { equals } else { from };
        let is_name = text[from..equals.max(from)].bytes().all(|b| b.is_ascii_graphic());
        (is_name && !is_no_value(&text[equals..end]) && end - equals >= 6)
            .then(|| Found { is_learned: false, ..Found::named("cookie", from..end) })
    }

    /// The text in `let password: &str = "…"`.
    fn declared(&self, from: usize) -> Option<Found> {
        let text = self.text;
        let most = (from..=text.len().min(from + NEAR_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at))?;
        let line = text[from..most].split('\n').next()?;
        let equals = from + line.find("= ")? + 2;
        let quoted = text[equals..].starts_with(['"', '\'', '`']);
        let is_type =
            line.split("= ").next()?.bytes().all(|b| b.is_ascii_alphanumeric() || b" &<>_:|?'[],.".contains(&b));
        if !quoted || !is_type {
            return None;
        }
        self.judged(self.value(equals, Join::Equals)?, false, None)
    }

    /// `--name value`, `-name value`, `set name value`, `login me password value`.
    fn option(&self) -> Option<Found> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let from = blanks(bytes, self.whole.end);
        if from == self.whole.end
            || matches!(bytes.get(from), None | Some(b'-' | b'=' | b':' | b'|' | b'&' | b'<' | b'>' | b'\n' | b'\r'))
        {
            return None;
        }
        let before = line_before(text, self.whole.start);
        let is_flag = text[self.whole.clone()].starts_with('-') || before.ends_with("--") || before.ends_with('/');
        let words: Vec<&str> = before.split_whitespace().rev().take(4).collect();
        let is_set = words
            .first()
            .is_some_and(|word| matches!(*word, "set" | "--secret" | "config" | "--add" | "--global" | "setenv"))
            || words.iter().take(2).any(|word| matches!(*word, "set" | "setenv" | "config"));
        // A line of a netrc.
        let is_login = words.iter().any(|word| matches!(*word, "login" | "machine" | "user"))
            || (before.trim().is_empty() && is_below_login(text, self.whole.start - before.len()));
        if !(is_flag || is_set || is_login) {
            return None;
        }
        let value = self.value(from, Join::Equals)?;
        let word = &text[value.at.clone()];
        let place = Place {
            text,
            whole: self.whole.clone(),
            name: self.name,
            sure: if is_flag || is_login { self.sure.max(Sure::Likely) } else { self.sure },
        };
        let is_fit = !word.starts_with('-') && (self.sure > Sure::Maybe || is_random(word));
        if is_fit && self.sure == Sure::Certain && (is_flag || is_login) {
            // Whatever stands there is it.
            return (!is_no_value(word)
                && !word.starts_with(['/', '$', '<', '('])
                && !is_same_name(&text[self.whole.clone()], word))
            .then(|| Found::named(self.name.kind, value.at));
        }
        if is_fit { place.judged(value, true, None) } else { None }
    }

    /// "the password is …", "Passwort für die Datenbank: …", "密码是…".
    fn told(&self, is_joined: bool) -> Option<Found> {
        if self.sure == Sure::Maybe {
            return None;
        }
        let text = self.text;
        let mut from = self.whole.end;
        if is_joined {
            let rest = text[from..].trim_start_matches([' ', '"', '`', '」', '』', '*']);
            let joined = IS_JOINED.iter().find_map(|is| rest.strip_prefix(is)).unwrap_or(rest);
            from = text.len() - joined.trim_start_matches([' ', '"', '`', '「', '『', ':', '：', '“', '\'', '*']).len();
            return self.told_at(from, 4);
        }
        let most = (from..=text.len().min(from + NEAR_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at))?;
        let line = text[from..most].split(['\n', '\r']).next()?;
        // "password hunter2!", without a word between.
        if let Some(rest) = line.strip_prefix(' ') {
            let word = rest.split(' ').next()?;
            if !IS.contains(&word) && word.len() >= 6 && !word.contains(['(', '=', '/', ':']) {
                let found = self.told_at(from + 1, 8);
                if found.is_some() {
                    return found;
                }
            }
        }
        let mut at = from;
        for (n, word) in line.split(' ').enumerate() {
            let end = at + word.len();
            let bare = word.trim_start_matches(['"', '`', '*', '\'', ')', '”']);
            if n > 0 && n < 9 && (IS.contains(&bare) || bare.ends_with([':', '：'])) && end < from + line.len() {
                let found = self.told_at(end + 1, 6);
                if found.is_some() {
                    return found;
                }
            }
            if n > 0 && bare.ends_with(['.', '?', ';', '!']) {
                break;
            }
            at = end + 1;
        }
        None
    }

    /// The word that begins here, if it is no word of a language.
    fn told_at(&self, from: usize, least: usize) -> Option<Found> {
        let text = self.text;
        let rest = text.get(from..)?;
        let open = rest.trim_start_matches([' ', '*', '“', '«', '„', '「', '（', '(']);
        let from = text.len() - open.len();
        let value = self.value(from, Join::Colon)?;
        let word = &text[value.at.clone()];
        let has = |is: fn(&u8) -> bool| word.bytes().any(|b| is(&b));
        let is_odd = (word.len() >= 16 && is_random(word))
            || has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
            || has(|b| b"!@#$^&*+?~%=".contains(b)) && word.len() >= 6;
        let is_phrase = self.name.kind == "recovery phrase" && value.is_quoted;
        let is_secret = is_phrase
            || (word.len() >= least
                && is_odd
                && !word.contains(char::is_whitespace)
                && !is_words(word)
                && !word.contains(['(', '{', '<', '['])
                && !is_no_value(word)
                && !word.contains("://")
                || value.is_quoted
                    && word.len() >= 6
                    && has(u8::is_ascii_digit)
                    && !word.contains(char::is_whitespace)
                    && !is_code(word)
                    && !is_no_value(word));
        (is_secret && !is_hash_or_id(word)).then(|| Found::named(self.name.kind, value.at))
    }
}

/// What stands before a place in its line, as far as one looks.
fn line_before(text: &str, at: usize) -> &str {
    let from = (at.saturating_sub(LINE_BYTES_MAX)..=at).find(|from| text.is_char_boundary(*from)).unwrap_or(at);
    text[from..at].rsplit('\n').next().unwrap_or("")
}

/// Whether the line above says who logs in.
fn is_below_login(text: &str, line: usize) -> bool {
    let above = text[..line].strip_suffix('\n').map(|above| line_before(above, above.len()));
    above.is_some_and(|above| above.trim_start().starts_with("login "))
}

/// Whether a value is the path of a file, by its beginning and its characters.
fn is_path(word: &str) -> bool {
    let is_in = |b: u8| b.is_ascii_alphanumeric() || b"/._-~@+ ".contains(&b);
    (word.starts_with('/') || word.starts_with("~/")) && is_words(word) && word.bytes().all(is_in)
}

/// How a value begins.
fn head(value: &str) -> &str {
    let end = (0..=JUDGED_BYTES.min(value.len())).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    &value[..end]
}

/// Where a quoted value ends. One that is not closed ends at the next quote or its line; a text of JSON that it stands in
/// goes no further either.
fn quoted_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let most = bytes.len().min(from + QUOTED_BYTES_MAX);
    let mut is_escaped = false;
    for (at, b) in (from..).zip(&bytes[from..most]) {
        let is_end_of_json = || bytes.get(at + 1).is_none_or(|next| b",:}]\n\r".contains(next));
        match *b {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b if b == quote => return at,
            b'"' if is_end_of_json() => return at,
            _ => {}
        }
    }
    let is_open = |b: &u8| !b"\"'`\n".contains(b);
    let mut end = from + bytes[from..most].iter().take_while(|b| is_open(b)).count();
    while end > from && bytes.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
        end -= 1;
    }
    end
}

/// `name=` behind a comma.
fn is_pair(text: &str) -> bool {
    let name = text.bytes().take(NAME_BYTES_MAX).take_while(|b| is_name_byte(*b)).count();
    name > 0 && text[name..].starts_with(['=', ':'])
}

/// `password=password`, `token=self.token`, `password=password_field`: code that hands something on.
fn is_same_name(name: &str, value: &str) -> bool {
    let last = |text: &str| plain(text.rsplit(['.', ':', '-']).next().unwrap_or(text));
    let (name, value) = (last(name), last(value.trim_end_matches(['?', '!'])));
    !name.is_empty()
        && (value == name
            || (name.ends_with(&value) && value.len() > 3)
            || (value.contains(&name) && !value.bytes().any(|b| b.is_ascii_digit())))
}

/// Names, types and expressions of programs.
fn is_code(word: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let joined = word.contains('.') || word.contains("::") || word.contains("->");
    word.contains(['(', '[', '{'])
        || word.starts_with(['&', '*', '!', '@', '$'])
        || joined && word.split(['.', ':', '-', '>']).filter(|part| !part.is_empty()).all(is_name)
}

/// What a form or a page says about a secret.
pub(super) fn is_sentence(value: &str) -> bool {
    let lower = value.to_lowercase();
    let words = value.split_whitespace().count();
    let names_it =
        ["password", "passwort", "token", "secret", "key", "contraseña", "mot de passe", "senha", "credential"]
            .iter()
            .any(|name| lower.contains(name));
    let is_plain = !value.bytes().any(|b| b.is_ascii_digit());
    is_plain && (names_it || (words > 1 && value.ends_with(['?', '.', ':', '…', '!'])) || words > 6)
        || (value.contains(['(', '{', '$']) && words > 1)
}

/// Whether what follows `name: ` or `name = ` is a secret and not a type, a word or an expression.
fn is_likely(text: &str, name: &Range<usize>, value: &Range<usize>, of: Name) -> bool {
    let word = &text[value.clone()];
    if is_code(word) || word.starts_with('<') {
        return false;
    }
    let has_digit = word.bytes().any(|b| b.is_ascii_digit());
    if has_digit {
        return word.len() >= 4 && (of.kind == "password" || !(is_words(word) && is_version_or_unit(word)))
            || is_random(word);
    }
    let is_plain = |c: char| c.is_alphabetic() || "_.:&*!?-/'’".contains(c);
    if word.len() >= 8 && !word.chars().all(is_plain) {
        return true;
    }
    if word.len() >= 20 && is_random(word) {
        return true;
    }
    let turns =
        word.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_lowercase() != pair[1].is_ascii_lowercase()).count();
    if of.kind == "password"
        && word.len() >= 8
        && turns * 2 >= word.len()
        && word.bytes().all(|b| b.is_ascii_alphabetic())
    {
        return true;
    }
    // A line of a configuration file: the name, the value and nothing else.
    let alone = line_before(text, name.start).trim().trim_start_matches(['-', '"', '\'']).is_empty();
    let rest = text[value.end..].trim_start_matches([' ', '\t', '\r']);
    let is_key = text[name.end..value.start].contains(':') || !text[name.clone()].contains('.');
    is_key
        && alone
        && (rest.is_empty() || rest.starts_with('\n'))
        && of.kind == "password"
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && text[name.clone()].bytes().all(|b| !b.is_ascii_uppercase())
}

/// `v2`, `3600s`, `12h`, `sha256`, `utf8`, `oauth2`.
fn is_version_or_unit(word: &str) -> bool {
    word.len() <= 8 || word.contains(['-', '_', '.']) && word.len() < 24
}
