//! What a user answered to the questions of a call, as Claude Code words it for the model.

use super::text::Sanitized;

/// How it goes on behind the answers.
const BEHIND: &str = ". You can now continue with the user's answers in mind";

/// The questions and their answers; `None` where it is worded in any other way.
pub(super) fn answers<'t>(said: &'t Sanitized<'_>) -> Option<Vec<(Sanitized<'t>, Sanitized<'t>)>> {
    let text = said.as_str().trim().trim_end_matches('.');
    let text = text.strip_suffix(BEHIND).unwrap_or(text);
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let both = |pair: &'t str| pair.split_once("\"=\"").map(|(one, other)| (said.part(one), said.part(other)));
    inner.split("\", \"").map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::Sanitizer;
    use super::*;

    fn check(said: &str, expected: Option<&[(&str, &str)]>) {
        let said = Sanitizer::default().clean(said);
        let found = answers(&said);
        let found: Option<Vec<_>> =
            found.as_ref().map(|both| both.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn questions_and_answers_are_told_apart_or_left_as_they_are() {
        let two =
            r#""How long?"="30 s, or so", "Which?"="a, b". You can now continue with the user's answers in mind."#;
        check(two, Some(&[("How long?", "30 s, or so"), ("Which?", "a, b")]));
        check(r#""How long?"="30 s""#, Some(&[("How long?", "30 s")]));
        for said in ["", "\"", "words", r#""How long?"="30 s" and more"#, r#""a"="b", "c""#] {
            check(said, None);
        }
    }
}
