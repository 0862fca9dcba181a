//! Words of `sh`, in which Claude Code's hooks are written: how one is quoted, and how a command is read.

use std::iter::Peekable;
use std::ops::Range;
use std::path::Path;
use std::str::CharIndices;

/// A word that `sh` reads back as exactly `word`, in single quotes.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// [`quoted`], but what lies below the home is written by that name: the same word then fits where the home is another.
/// Where `HOME` is not set it is this home, as far as its name needs no quotes of its own.
pub fn quoted_below_home(word: &str, home: &Path) -> String {
    let below = Path::new(word).strip_prefix(home).ok().filter(|_| home.parent().is_some()).and_then(Path::to_str);
    let is_plain = |text: &str| !text.contains(['"', '$', '`', '\\', '!']);
    let named = home.to_str().filter(|home| is_plain(home) && !home.contains(['\'', '{', '}']));
    match below {
        Some(rest) if !rest.is_empty() && is_plain(rest) => {
            let home = named.map_or("$HOME".to_owned(), |home| format!("${{HOME:-{home}}}"));
            format!("\"{home}/{rest}\"")
        }
        Some(rest) if !rest.is_empty() => format!("\"$HOME\"{}", quoted(&format!("/{rest}"))),
        _ => quoted(word),
    }
}

/// [`quoted`], but only where `sh` would read something else without the quotes.
pub fn quoted_if_needed(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { quoted(word) }
}

/// A piece of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// A word without its quotes and with the home directory put in, or an operator.
    pub text: String,
    /// Where it stands in the command.
    pub at: Range<usize>,
    /// Whether it is one of `;`, `|`, `||`, `&`, `&&`, `(`, `)`, `{`, `}`.
    pub is_operator: bool,
    /// Whether `text` is what the shell makes of it: it holds no variable but `HOME`.
    pub is_known: bool,
}

/// The pieces of a command as `sh` splits it, as far as quotes, backslashes, `~/`, `$HOME`, `${HOME}` and `${HOME:-…}`
/// go.
pub fn tokens(command: &str, home: &Path) -> Vec<Token> {
    let home = home.to_string_lossy();
    let (mut tokens, mut word, mut start, mut quote, mut is_known) = (Vec::new(), String::new(), 0, None, true);
    let end_word = |word: &mut String, is_known: &mut bool, at: Range<usize>, tokens: &mut Vec<Token>| {
        let is_known = std::mem::replace(is_known, true);
        if !word.is_empty() {
            tokens.push(Token { text: std::mem::take(word), at, is_operator: false, is_known });
        }
    };
    let mut chars = command.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => word.extend(chars.next().map(|(_, c)| c)),
            (None | Some('"'), '$') if is_home(command, at, &mut chars) => word.push_str(&home),
            (None, '~') if at == start && command[at + 1..].starts_with('/') => word.push_str(&home),
            (None | Some('"'), '$' | '`') => {
                is_known = false;
                word.push(c);
                if chars.peek().is_some_and(|(_, next)| *next == '{') {
                    let name =
                        command[at + 1..].find('}').map_or(&command[at + 1..], |end| &command[at + 1..=at + 1 + end]);
                    word.push_str(name);
                    chars.by_ref().take(name.chars().count()).for_each(drop);
                }
            }
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() || ";|&(){}".contains(c) => {
                end_word(&mut word, &mut is_known, start..at, &mut tokens);
                start = at + c.len_utf8();
                if !c.is_whitespace() {
                    let is_double = "|&".contains(c) && chars.next_if(|(_, next)| *next == c).is_some();
                    start += usize::from(is_double);
                    let text = command[at..start].to_owned();
                    tokens.push(Token { text, at: at..start, is_operator: true, is_known: true });
                }
            }
            (None, c) => word.push(c),
        }
    }
    end_word(&mut word, &mut is_known, start..command.len(), &mut tokens);
    tokens
}

/// Whether the `$` at this place begins `$HOME`, `${HOME}` or `${HOME:-…}`; if so, the rest of it is read.
fn is_home(command: &str, at: usize, chars: &mut Peekable<CharIndices>) -> bool {
    let rest = &command[at + 1..];
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let read = if rest.starts_with("{HOME}") {
        "{HOME}".len()
    } else if let Some((default, _)) = rest.strip_prefix("{HOME:-").and_then(|rest| rest.split_once('}')) {
        "{HOME:-}".len() + default.chars().count()
    } else if rest.starts_with("HOME") && !rest["HOME".len()..].starts_with(is_name) {
        "HOME".len()
    } else {
        return false;
    };
    chars.nth(read - 1);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_the_home_is_read_back_there_and_in_another_home() {
        let home = Path::new("/home/ñ me");
        let written = quoted_below_home("/home/ñ me/.claude/hooks/x", home);
        assert_eq!(written, "\"${HOME:-/home/ñ me}/.claude/hooks/x\"");
        let word = |home: &str| tokens(&format!("{written} --quiet"), Path::new(home))[0].clone();
        assert!(word("/b").is_known);
        assert_eq!([word("/home/ñ me").text, word("/b").text], ["/home/ñ me/.claude/hooks/x", "/b/.claude/hooks/x"]);
        // A name in which the shell would read something else.
        let home = Path::new("/home/it's me");
        for (word, written) in [
            ("/home/it's me/.claude/hooks/x", "\"$HOME/.claude/hooks/x\""),
            ("/home/it's me/a \"b\" $c", "\"$HOME\"'/a \"b\" $c'"),
            ("/home/it's me", "'/home/it'\\''s me'"),
            ("/home/it's me too/x", "'/home/it'\\''s me too/x'"),
        ] {
            assert_eq!(quoted_below_home(word, home), written);
            let read = |home: &Path| tokens(written, home)[0].text.clone();
            assert_eq!(read(home), word);
            assert!(!written.contains("$HOME") || read(Path::new("/b")) == word.replace("/home/it's me", "/b"));
        }
        assert_eq!(quoted_below_home("/x", Path::new("/")), "'/x'");
    }

    #[test]
    fn words_are_split_as_the_shell_does() {
        let command = r#"{ '/it'\''s here/layer1-prebackup' --x "a b" || cat; } | /y/z\ w || :"#;
        let words = |command: &str| {
            let words = tokens(command, Path::new("/h")).into_iter().filter(|token| !token.is_operator);
            words.map(|token| token.text).collect::<Vec<_>>()
        };
        assert_eq!(words(command), ["/it's here/layer1-prebackup", "--x", "a b", "cat", "/y/z w", ":"]);
        assert_eq!(words("'never closed \\"), ["never closed \\"]);
        assert_eq!(words("ends with \\"), ["ends", "with"]);
        let pieces: Vec<_> =
            tokens(command, Path::new("/h")).into_iter().map(|token| command[token.at].to_owned()).collect();
        assert_eq!(pieces.join(" "), r#"{ '/it'\''s here/layer1-prebackup' --x "a b" || cat ; } | /y/z\ w || :"#);
    }

    #[test]
    fn the_home_directory_is_put_in_where_the_shell_does() {
        let check = |word: &str, text: &str, is_known: bool| {
            let tokens = tokens(word, Path::new("/my home"));
            assert_eq!(tokens.len(), 1, "{word}");
            assert_eq!((tokens[0].text.as_str(), tokens[0].is_known), (text, is_known), "{word}");
        };
        check("~/a", "/my home/a", true);
        check("~/'a b'", "/my home/a b", true);
        check("$HOME/a", "/my home/a", true);
        check("\"${HOME}/a b\"", "/my home/a b", true);
        check("\"$HOME\"/a", "/my home/a", true);
        check("$HOME", "/my home", true);
        check("'$HOME/a'", "$HOME/a", true);
        check("\\$HOME/a", "$HOME/a", true);
        check("'~/a'", "~/a", true);
        check("x~/a", "x~/a", true);
        check("$HOMER/a", "$HOMER/a", false);
        check("\"$OTHER/a\"", "$OTHER/a", false);
        check("${OTHER}/a", "${OTHER}/a", false);
        check("${OTHER", "${OTHER", false);
    }

    #[test]
    fn quoting_survives_the_shell() {
        for word in ["/plain/path", "/a b/c", "it's", "$HOME `x` \\ \" *", "", "'", "ñ\n"] {
            for quoted in [quoted(word), quoted_if_needed(word)] {
                let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {quoted}")]).output();
                assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), word, "{quoted}");
            }
        }
        assert_eq!(quoted("/it's"), r"'/it'\''s'");
    }
}
