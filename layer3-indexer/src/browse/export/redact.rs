//! Masking what looks like a secret, before a conversation is given to somebody else.
//!
//! A best effort by shape: prefixes of known keys, private key blocks, JSON web tokens, values
//! that are named a password or a token, credentials in addresses. What looks like none of these
//! stays, so the result wants to be read before it is shared. In doubt it masks. Written by hand
//! because a dozen shapes need no engine for regular expressions, which no other part here has.

use std::borrow::Cow;
use std::ops::Range;

/// What stands for a secret.
pub(crate) const MASK: &str = "[masked]";
/// Longest quoted value, in bytes; a quote that is not closed before ends at its line.
const QUOTED_BYTES_MAX: usize = 4096;
/// Longest end of a name that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// How far behind a declared type its value is looked for, in bytes.
const TYPE_BYTES_MAX: usize = 48;
/// Least letters and digits of a line of a key in PEM form.
const PEM_LINE_MIN: usize = 16;

/// Kinds of characters that a token consists of.
#[derive(Clone, Copy)]
enum Of {
    Alnum,
    Upper,
    Word,
    WordDot,
}

/// Keys that are known by how they begin: the prefixes, what follows and how much of it at least,
/// and whether something else must stand before them.
const TOKENS: [(&[&str], Of, usize, bool); 19] = [
    (&["sk-ant-"], Of::Word, 8, false),
    (&["sk-proj-", "sk-svcacct-", "sk-or-v1-", "whsec_", "gldt-", "glrt-", "tskey-"], Of::Word, 16, true),
    (&["sk-"], Of::Alnum, 20, true),
    (&["sk_live_", "sk_test_", "rk_live_", "rk_test_"], Of::Alnum, 10, true),
    (&["AKIA", "ASIA"], Of::Upper, 16, true),
    (&["ghp_", "gho_", "ghu_", "ghr_"], Of::Alnum, 16, false),
    (&["ghs_", "github_pat_"], Of::Word, 16, false),
    (&["glpat-"], Of::WordDot, 16, false),
    (&["xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-"], Of::Word, 8, false),
    (&["xoxe."], Of::WordDot, 8, false),
    (&["AIza"], Of::Word, 30, true),
    (&["ya29.", "sntrys_"], Of::WordDot, 20, true),
    (&["GOCSPX-", "dckr_pat_", "hvs.", "figd_"], Of::Word, 20, true),
    (&["npm_", "hf_"], Of::Alnum, 30, true),
    (&["pypi-"], Of::Word, 50, true),
    (&["dop_v1_"], Of::Alnum, 40, true),
    (&["SG."], Of::WordDot, 40, true),
    (&["shpat_", "lin_api_"], Of::Alnum, 20, true),
    (&["AGE-SECRET-KEY-1"], Of::Upper, 40, true),
];

/// How the name of a secret ends, without case and punctuation.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "contrasena",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "accountkey",
    "connectionstring",
];

/// Values that say that there is none.
const NO_VALUES: [&str; 14] = [
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
];

/// Schemes whose user name alone is no secret.
const OPEN_SCHEMES: [&str; 4] = ["ssh", "sftp", "git", "git+ssh"];

/// Masks and counts.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    /// Secrets masked so far.
    pub(crate) masked: u64,
}

impl Redactor {
    /// The text with every secret that is recognised replaced by [`MASK`].
    pub(crate) fn mask<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let secrets = secrets(text);
        if secrets.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for secret in &secrets {
            masked.push_str(&text[from..secret.start]);
            masked.push_str(MASK);
            from = secret.end;
        }
        masked.push_str(&text[from..]);
        self.masked += secrets.len() as u64;
        Cow::Owned(masked)
    }

    /// The text that stands under a name: all of it is masked if the name is that of a secret.
    pub(crate) fn mask_named<'t>(&mut self, name: &str, text: &'t str) -> Cow<'t, str> {
        if is_secret_name(name) && !is_no_value(text) {
            self.masked += 1;
            return Cow::Borrowed(MASK);
        }
        self.mask(text)
    }
}

/// Where secrets stand, in order, not touching each other.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let starts_word = is_name_byte(bytes[at]) && (at == 0 || !is_name_byte(bytes[at - 1]));
        let secret = match bytes[at] {
            b'-' if bytes[at..].starts_with(b"-----BEGIN ") => private_key(text, at),
            b':' if bytes[at..].starts_with(b"://") => credentials(text, at),
            _ => None,
        };
        let secret = secret
            .or_else(|| known_token(bytes, at))
            .or_else(|| web_token(bytes, at))
            .or_else(|| if starts_word { named_value(text, at).or_else(|| bearer(bytes, at)) } else { None });
        match secret {
            Some(secret) if secret.end > secret.start => {
                at = secret.end;
                found.push(secret);
            }
            _ => at += 1,
        }
    }
    found
}

fn run_end(bytes: &[u8], from: usize, of: Of) -> usize {
    let is_in = |b: &u8| match of {
        Of::Alnum => b.is_ascii_alphanumeric(),
        Of::Upper => b.is_ascii_uppercase() || b.is_ascii_digit(),
        Of::Word => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'),
        Of::WordDot => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'),
    };
    from + bytes[from..].iter().take_while(|b| is_in(b)).count()
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

/// Whether a word begins here. What is left of a colour code (`[1m`, its control character gone)
/// is no part of it.
fn is_apart(bytes: &[u8], at: usize) -> bool {
    let before = &bytes[..at];
    if !before.last().is_some_and(u8::is_ascii_alphanumeric) {
        return true;
    }
    let Some(code) = before.strip_suffix(b"m") else { return false };
    let digits = code.iter().rev().take_while(|b| b.is_ascii_digit() || **b == b';').count();
    code[..code.len() - digits].ends_with(b"[")
}

fn known_token(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let after_letter = !is_apart(bytes, at);
    let rest = &bytes[at..];
    for (prefixes, of, least, apart) in TOKENS {
        let Some(prefix) = prefixes.iter().find(|prefix| rest.starts_with(prefix.as_bytes())) else { continue };
        let from = at + prefix.len();
        let end = run_end(bytes, from, of);
        let has_digit = bytes[from..end].iter().any(u8::is_ascii_digit);
        // `sk-` alone begins many words; a key of that length has digits.
        if !(apart && after_letter) && end - from >= least && (*prefix != "sk-" || has_digit) {
            return Some(at..end);
        }
    }
    None
}

/// A JSON web token: three parts or five, the first of which is an object in base64.
fn web_token(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if !bytes[at..].starts_with(b"eyJ") || !is_apart(bytes, at) {
        return None;
    }
    let end = run_end(bytes, at, Of::WordDot);
    let mut parts = bytes[at..end].split(|b| *b == b'.');
    let long = |part: Option<&[u8]>| part.is_some_and(|part| part.len() >= 8);
    (long(parts.next()) && long(parts.next()) && parts.next().is_some()).then_some(at..end)
}

/// A block from BEGIN to END; where the end is missing, the lines that look like a part of it.
fn private_key(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let head = rest[5..].find("-----")? + 10;
    if head > 80 || !rest[..head].contains("PRIVATE KEY") {
        return None;
    }
    if let Some(tail) = rest[head..].find("-----END ") {
        let tail = head + tail;
        let close = rest[tail + 5..].find("-----").map(|close| tail + close + 10);
        if let Some(close) = close.filter(|close| close - tail <= 80) {
            return Some(at..at + close);
        }
    }
    Some(at..at + head + open_key_length(&rest[head..]))
}

fn open_key_length(rest: &str) -> usize {
    let mut end = 0;
    let mut from = 0;
    while from < rest.len() {
        // Line breaks, also as they stand in JSON.
        let line = rest[from..].find(['\n', '\\']).map_or(&rest[from..], |at| &rest[from..from + at]);
        // Numbers of lines as tools print them.
        let bare = line.trim_start_matches(|c: char| c.is_ascii_digit() || " \t→|>".contains(c)).trim_end();
        let is_base64 = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        let is_key =
            (bare.len() >= PEM_LINE_MIN && is_base64(bare)) || line.contains("DEK-Info") || line.contains("Proc-Type");
        if !is_key && !bare.is_empty() {
            break;
        }
        from += line.len();
        end = if is_key { from } else { end };
        let broken = rest[from..].strip_prefix('\n').or_else(|| rest[from..].strip_prefix("\\r\\n"));
        match broken.or_else(|| rest[from..].strip_prefix("\\n")) {
            Some(next) => from = rest.len() - next.len(),
            None => break,
        }
    }
    end
}

/// The user and password in an address.
fn credentials(text: &str, colon: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let scheme = bytes[..colon].iter().rev().take_while(|b| b.is_ascii_alphanumeric() || **b == b'+').count();
    if scheme == 0 {
        return None;
    }
    let from = colon + 3;
    let ends = |b: &u8| b.is_ascii_whitespace() || b"/?#\"'`<>\\".contains(b);
    let authority = &bytes[from..from + bytes[from..].iter().take_while(|b| !ends(b)).count()];
    let user = &authority[..authority.iter().rposition(|b| *b == b'@')?];
    let scheme = text[colon - scheme..colon].to_ascii_lowercase();
    let is_open = !user.contains(&b':') && (OPEN_SCHEMES.contains(&scheme.as_str()) || user == b"git");
    let is_variable = user.starts_with(b"$") || user.starts_with(b"{");
    (!user.is_empty() && !is_open && !is_variable).then_some(from..from + user.len())
}

/// `Bearer` and a token, wherever it stands.
fn bearer(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let word = bytes.get(at..at + 6)?;
    if !word.eq_ignore_ascii_case(b"bearer") || bytes.get(at + 6) != Some(&b' ') {
        return None;
    }
    let from = at + 7;
    let end = from + bytes[from..].iter().take_while(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b)).count();
    let token = &bytes[from..end];
    (token.len() >= 16 && token.iter().any(u8::is_ascii_digit)).then_some(from..end)
}

fn is_secret_name(name: &str) -> bool {
    let plain = plain_name(name);
    NAMES.iter().any(|ending| plain.ends_with(ending))
        || plain.ends_with("authorization")
        || (plain.ends_with("pwd") && plain != "pwd" && plain != "oldpwd")
}

fn plain_name(name: &str) -> String {
    let from = name.len().saturating_sub(NAME_BYTES_MAX);
    let end = name.get(from..).unwrap_or("");
    end.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// What stands behind `password=`, `"token": `, `--api-key `, `Authorization: Bearer ` and so on.
fn named_value(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let name_end = run_end(bytes, at, Of::WordDot);
    let name = &text[at..name_end];
    if !is_secret_name(name) {
        return None;
    }
    let spaces = |from: usize| from + bytes[from..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let skip = |from: usize, set: &[u8]| from + bytes[from..].iter().take_while(|b| set.contains(b)).count();
    if name.starts_with("--") && bytes.get(name_end) == Some(&b' ') {
        let from = spaces(name_end);
        return value(text, from).filter(|range| !text[range.clone()].starts_with('-'));
    }
    // `"password"`, `\"password\"`, `["password"]`, `password]` of a form.
    let sep = spaces(skip(name_end, b"\\\"'`]"));
    if bytes.get(sep) == Some(&b'>') && at > 0 && bytes[at - 1] == b'<' {
        let end = sep + 1 + text[sep + 1..].find('<')?;
        return (!is_no_value(&text[sep + 1..end])).then_some(sep + 1..end);
    }
    let (sep_end, is_colon) = match &bytes[sep..] {
        [b':', b':', ..] => return None,
        [b'=', b'=' | b'>', ..] | [b':', b'=', ..] => (sep + 2, false),
        [b'=', ..] => (sep + 1, false),
        [b':', ..] => (sep + 1, true),
        _ => return None,
    };
    let from = spaces(sep_end);
    if plain_name(name).ends_with("authorization") {
        return authorization(text, from);
    }
    let loose = is_colon || from > sep_end || sep > name_end && bytes[sep - 1] == b' ';
    let Some(found) = value(text, from) else { return if is_colon { declared(text, from) } else { None } };
    let word = &text[found.clone()];
    let is_quoted = found.start > from;
    if is_quoted
        || (!loose && !is_same_name(name, word))
        || (loose && is_likely(text, at, name, found.clone(), is_colon))
    {
        return Some(found);
    }
    if is_colon { declared(text, found.end) } else { None }
}

/// The credentials of the header, behind their scheme.
fn authorization(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let from = from + bytes[from..].iter().take_while(|b| b"\\\"'`".contains(b)).count();
    let word = run_end(bytes, from, Of::Word);
    let is_scheme = ["bearer", "basic", "token", "digest", "negotiate", "apikey", "bot"]
        .iter()
        .any(|scheme| text[from..word].eq_ignore_ascii_case(scheme));
    let from = if is_scheme && bytes.get(word) == Some(&b' ') { word + 1 } else { from };
    let end = from + bytes[from..].iter().take_while(|b| !b.is_ascii_whitespace() && !b"\\\"'`<>".contains(b)).count();
    let is_word = text[from..end].bytes().all(|b| b.is_ascii_alphabetic()) && end - from < 12;
    (end > from && !is_no_value(&text[from..end]) && (is_scheme || !is_word)).then_some(from..end)
}

/// The value that begins here: what stands between quotes, or everything up to a blank.
fn value(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let slashes = bytes[from..].iter().take_while(|b| **b == b'\\').count();
    let open = from + slashes;
    let range = match bytes.get(open) {
        Some(quote @ (b'"' | b'\'' | b'`')) => open + 1..quoted_end(bytes, open + 1, slashes, *quote),
        _ => {
            let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'`&<>".contains(b);
            let mut end = from + bytes[from..].iter().take_while(|b| !ends(b)).count();
            // The end of a sentence, a list or a call is none of it.
            end -= text[from..end].len() - text[from..end].trim_end_matches([',', ';', ')', ']', '}', '\\']).len();
            from..end
        }
    };
    let word = &text[range.clone()];
    (!range.is_empty() && !is_no_value(word)).then_some(range)
}

fn quoted_end(bytes: &[u8], from: usize, slashes: usize, quote: u8) -> usize {
    let most = bytes.len().min(from + QUOTED_BYTES_MAX);
    let mut run = 0;
    for (at, b) in bytes[from..most].iter().enumerate() {
        match *b {
            b'\\' => run += 1,
            b if b == quote && run == slashes => return from + at - slashes,
            // Inside of quotes without escapes, an odd number of them escapes the quote.
            b if b == quote && slashes == 0 && run % 2 == 0 => return from + at,
            _ => run = 0,
        }
    }
    from + bytes[from..].iter().take_while(|b| **b != b'\n').count()
}

/// Whether a value says that there is none: empty, a variable, a place to fill in, asterisks.
fn is_no_value(value: &str) -> bool {
    let value = value.trim();
    let first = value.chars().next();
    let name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
    let between = |open: &str, close: &str| value.starts_with(open) && value.ends_with(close);
    first.is_none_or(|first| value.chars().all(|c| c == first))
        || value.starts_with(MASK.trim_end_matches(']'))
        || value.strip_prefix('$').is_some_and(name)
        || value.starts_with("$(")
        || value.starts_with("${")
        || between("{", "}")
        || between("<", ">")
        || (between("%", "%") && name(value.trim_matches('%')))
        || (value.len() <= 3 && value.starts_with('%'))
        || NO_VALUES.iter().any(|none| value.eq_ignore_ascii_case(none))
}

/// `password=password`, `token=self.token`, a call: code that hands something on.
fn is_same_name(name: &str, value: &str) -> bool {
    let last = |text: &str| plain_name(text.rsplit(['.', ':', '-']).next().unwrap_or(text));
    value.contains('(') || last(value) == last(name) || last(value) == plain_name(name)
}

/// Whether what follows `name: ` or `name = ` is a secret and not a type, a word or an expression.
fn is_likely(text: &str, at: usize, name: &str, found: Range<usize>, is_colon: bool) -> bool {
    let word = &text[found.clone()];
    if is_same_name(name, word) || word.starts_with('&') {
        return false;
    }
    let is_code = |c: char| c.is_ascii_alphabetic() || "_.:&*!?-".contains(c);
    if word.bytes().any(|b| b.is_ascii_digit()) {
        return true;
    }
    if word.len() >= 8 && !word.chars().all(is_code) {
        return true;
    }
    // A line of a configuration file: the name, the value and nothing else.
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let alone = text[line..at].trim().trim_start_matches(['-', '"', '\'']).is_empty();
    let rest = text[found.end..].split('\n').next().unwrap_or("");
    (is_colon || !name.contains('.'))
        && alone
        && rest.is_empty()
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// The text in `let password: &str = "…"`.
fn declared(text: &str, from: usize) -> Option<Range<usize>> {
    let most = (from..=text.len().min(from + TYPE_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at))?;
    let line = text[from..most].split('\n').next()?;
    let equals = from + line.find("= ")? + 2;
    // Within JSON the quotes are escaped.
    let quoted = text[equals..].trim_start_matches('\\').starts_with(['"', '\'', '`']);
    quoted.then(|| value(text, equals))?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of the text, with what was masked.
    fn check(text: &str, expected: &str) {
        let mut redactor = Redactor::default();
        let masked = redactor.mask(text).into_owned();
        assert_eq!(masked, expected, "{text}");
        assert_eq!(redactor.masked, expected.matches(MASK).count() as u64, "{text}");
        // Nothing more to mask in what was masked.
        assert_eq!(Redactor::default().mask(&masked), masked);
    }

    /// Nothing is masked.
    fn stays(text: &str) {
        check(text, text);
    }

    #[test]
    fn known_keys_are_masked() {
        for key in [
            "sk-ant-api03-abcDEF123_456-xyz",
            "sk-proj-abcDEF123_456-xyzabc",
            "sk-0123456789abcdef0123456789abcdef",
            "sk_live_0123456789abcdefghij",
            "AKIAIOSFODNN7EXAMPLE",
            "ASIAIOSFODNN7EXAMPLE",
            "ghp_0123456789abcdefghij0123456789abcdef",
            "gho_0123456789abcdefghij0123456789abcdef",
            "github_pat_11ABCDEFG0123456789_abcdefghij",
            "glpat-0123456789abcdefghij",
            "xoxb-123456789012-123456789012-abcdefABCDEF",
            "xoxp-123456789012-abcdef",
            "xapp-1-A012345-6789-abcdef",
            "AIzaSyA0123456789abcdefghijklmnopqrstuv",
            "ya29.a0AfH6SMBx0123456789abcdef",
            "npm_0123456789abcdefghijABCDEFGHIJ012345",
            "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
            "SG.0123456789abcdefghijkl.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJlLWhlcmU",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NSJ9.",
        ] {
            check(key, MASK);
            check(&format!("the key is {key}, see"), "the key is [masked], see");
            check(&format!("x=\"{key}\""), "x=\"[masked]\"");
            check(&format!("({key})\n"), "([masked])\n");
            check(&format!("[1;31m{key}[0m"), "[1;31m[masked][0m");
        }
    }

    #[test]
    fn what_only_resembles_a_key_stays() {
        for text in [
            "sk-learn-pipeline-with-a-long-name",
            "task-0123456789abcdef0123456789abcdef",
            "sk-ant-",
            "AKIA is how they begin",
            "MAKIAIOSFODNN7EXAMPLE",
            "ghp_short",
            "github_pat_",
            "xoxb-1",
            "AIza",
            "eyJhbGciOiJIUzI1NiJ9",
            "eyJ.eyJ.x",
            "5b3d80da-3868-4fbe-b063-0aa144649138",
            "d8757c7e5b3d80da38684fbeb0630aa144649138",
            "npm_config_cache",
            "hf_hub_download",
            "mask-image: url(x)",
        ] {
            stays(text);
        }
    }

    #[test]
    fn named_values_are_masked() {
        check("password=hunter", "password=[masked]");
        check("export DB_PASSWORD='correct horse battery'", "export DB_PASSWORD='[masked]'");
        check("PGPASSWORD=s3cret psql -h db", "PGPASSWORD=[masked] psql -h db");
        check("mysql --password=hunter2 -u root", "mysql --password=[masked] -u root");
        check("gh auth --token abc123 && ls", "gh auth --token [masked] && ls");
        check("api_key: 'abc'", "api_key: '[masked]'");
        check("{\"access_token\": \"a b\\\"c\", \"n\": 1}", "{\"access_token\": \"[masked]\", \"n\": 1}");
        check(r#"{\"client_secret\":\"a\\\"b\",\"n\":1}"#, r#"{\"client_secret\":\"[masked]\",\"n\":1}"#);
        check("https://x.test/cb?token=abc&state=1", "https://x.test/cb?token=[masked]&state=1");
        check("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "aws_secret_access_key = [masked]");
        check("config[\"password\"] = \"x y\";", "config[\"password\"] = \"[masked]\";");
        check("user[password]=hunter2", "user[password]=[masked]");
        check("let password: &str = \"hunter\";", "let password: &str = \"[masked]\";");
        check("<password>hunter</password>", "<password>[masked]</password>");
        check("  password: hunter\n  user: me", "  password: [masked]\n  user: me");
        check("X-Api-Key: 0a1b2c", "X-Api-Key: [masked]");
        check("AccountKey=abc/def+0==;Endpoint=x", "AccountKey=[masked]");
        check("password := \"ñandú\"", "password := \"[masked]\"");
        check("'secret' => 'abc def'", "'secret' => '[masked]'");
    }

    #[test]
    fn code_and_prose_about_secrets_stay() {
        for text in [
            "let token = parser.next_token();",
            "fn login(password: &str, token: Option<String>) -> Token {",
            "password: String,",
            "Token::Ident(name)",
            "max_tokens=4096",
            "password=$PASSWORD",
            "password=\"${DB_PASSWORD}\"",
            "token=<your token>",
            "token: null",
            "PASSWORD=********",
            "login(user, password=password, token=self.token)",
            "The password is stored elsewhere; the secret of success",
            "the token, the password and the secret",
            "password = input('Password: ')",
            "PWD=/home/dev/proj",
            "password=",
            "secrets: [one, two]",
            "if token == other_token {",
        ] {
            stays(text);
        }
    }

    #[test]
    fn headers_are_masked() {
        check("Authorization: Bearer abc.def", "Authorization: Bearer [masked]");
        check("-H 'Authorization: Basic dXNlcjpwYXNz'", "-H 'Authorization: Basic [masked]'");
        check("\"authorization\": \"token abc\"", "\"authorization\": \"token [masked]\"");
        check("Authorization: 0123abcd", "Authorization: [masked]");
        check("curl with bearer abcdefghij0123456789", "curl with bearer [masked]");
        stays("Bearer authentication is used");
        stays("Authorization: required");
        stays("Authorization is up to you");
    }

    #[test]
    fn private_keys_are_masked() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA0123456789\nabcdefghijklmnop\n-----END RSA PRIVATE KEY-----";
        check(key, MASK);
        check(&format!("a {key} b"), "a [masked] b");
        check(&key.replace('\n', "\\n"), MASK);
        check(&key.replace("RSA ", ""), MASK);
        check(&key.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), MASK);
        let (torn, _) = key.split_once("\n-----END").unwrap();
        check(&format!("{torn}\nand more words"), "[masked]\nand more words");
        check(&format!("{}\\nnext", torn.replace('\n', "\\n")), "[masked]\\nnext");
        let numbered = torn.replace('\n', "\n   12→");
        check(&format!("{numbered}\n13 words behind"), "[masked]\n13 words behind");
        stays("-----BEGIN CERTIFICATE-----\nMIIEowIBAAKCAQEA0123456789\n-----END CERTIFICATE-----");
        check("`-----BEGIN PRIVATE KEY-----` is how it begins", "`[masked]` is how it begins");
    }

    #[test]
    fn credentials_in_addresses_are_masked() {
        check("postgres://user:p%40ss@db/x", "postgres://[masked]@db/x");
        check("https://ghtoken@github.com/a/b", "https://[masked]@github.com/a/b");
        check("redis://:hunter2@localhost", "redis://[masked]@localhost");
        check("ssh://git:pw@host/x", "ssh://[masked]@host/x");
        for text in [
            "ssh://git@github.com/a/b",
            "https://example.com/@user/post",
            "https://example.com/?mail=a@b.c",
            "see https://example.com, or a@b.c",
            "https://${USER}@host",
            "git@github.com:a/b",
        ] {
            stays(text);
        }
    }

    #[test]
    fn a_value_under_a_secret_name_is_masked_whole() {
        let mut redactor = Redactor::default();
        assert_eq!(redactor.mask_named("apiKey", "anything at all"), MASK);
        assert_eq!(redactor.mask_named("apiKey", ""), "");
        assert_eq!(redactor.mask_named("command", "echo password=x1"), "echo password=[masked]");
        assert_eq!(redactor.masked, 2);
    }

    #[test]
    fn no_input_breaks_it() {
        proptest::proptest!(|(text in "(?s)(password|token|[=: \"'\\\\`]|://|@|-----BEGIN|PRIVATE KEY-----|eyJ|\\PC|é|\n|.){0,40}")| {
            let masked = Redactor::default().mask(&text).into_owned();
            proptest::prop_assert!(masked.len() <= text.len() + MASK.len() * text.len());
        });
    }
}
