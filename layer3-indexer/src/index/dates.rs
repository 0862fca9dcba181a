//! Days that a question names: "on 8 May, 2023", "in May 2023", "2023-05-08", "yesterday".

use crate::terminal::time::{format_rfc3339_ms, parse_when_ms};

const MONTHS: &str = "january february march april may june july august september october november december";
/// Days and months that count; a question names one or two.
const DATES_MAX: usize = 8;
/// Letters that the name of a month has at least.
const MONTH_CHARS_MIN: usize = 3;

/// The first and the last millisecond of each day or month that a text names, in the machine's time zone. Without a year,
/// the last one that has begun.
pub(super) fn dates_of(text: &str, now_ms: i64) -> Vec<(i64, i64)> {
    let text = text.to_lowercase();
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty()).collect();
    let is_date = |word: &str| matches!(word, "today" | "yesterday") || word.contains('-');
    let mut dates = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if dates.len() == DATES_MAX {
            break;
        }
        let is_month = |month: &str| word.len() >= MONTH_CHARS_MIN && month.starts_with(word);
        match MONTHS.split(' ').position(is_month) {
            Some(month) => dates.extend(of_month(&words, at, month + 1, now_ms)),
            None if is_date(word) => dates.extend(parse_when_ms(word, now_ms)),
            None => {}
        }
    }
    dates
}

/// Of a month, and of the numbers beside its name. By itself the name may be another word.
fn of_month(words: &[&str], at: usize, month: usize, now_ms: i64) -> Option<(i64, i64)> {
    let number = |at: usize| words.get(at)?.trim_end_matches(|c: char| "stndrh".contains(c)).parse::<u32>().ok();
    let day = |number: &u32| (1..=31).contains(number);
    let year = |number: &u32| (1970..3000).contains(number);
    let is_after = |word: &str| at > 0 && words[at - 1] == word;
    let before = at.checked_sub(if is_after("of") { 2 } else { 1 }).and_then(number).filter(day);
    let after = number(at + 1);
    let date = match before.or(after.filter(day)) {
        Some(day) => format!("{month:02}-{day:02}"),
        None => format!("{month:02}"),
    };
    let year = after.filter(year).or_else(|| number(at + 2).filter(|number| after.is_some() && year(number)));
    if let Some(year) = year {
        return parse_when_ms(&format!("{year}-{date}"), now_ms);
    }
    let this_year: u32 = format_rfc3339_ms(now_ms).get(..4)?.parse().ok()?;
    let is_named = date.len() > 2 || is_after("in");
    let years = [this_year, this_year.saturating_sub(1)].into_iter().filter(|_| is_named);
    years.filter_map(|year| parse_when_ms(&format!("{year}-{date}"), now_ms)).find(|(first, _)| *first <= now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_told_from_other_words() {
        let now_ms = 1_795_344_145_351; // 2026-11-22T10:42:25.351Z
        for (text, expected) in [
            ("What did we paint in May 2023?", &["2023-05"][..]),
            ("what broke on 8 May, 2023", &["2023-05-08"]),
            ("what broke on May 8th, 2023?", &["2023-05-08"]),
            ("the 1st of September 2023", &["2023-09-01"]),
            ("Sep 3 and 2026-10-04", &["2026-09-03", "2026-10-04"]),
            ("since 2026-10", &["2026-10"]),
            ("the parser of yesterday", &["yesterday"]),
            // The last one that has begun.
            ("what was decided in May", &["2026-05"]),
            ("what was decided in december", &["2025-12"]),
            ("on 24 December", &["2025-12-24"]),
            ("this may be a march of 3000 decimals", &[]),
            ("31 February 2026, 7d ago, 10-20, e-mail, issue 2023", &[]),
        ] {
            let expected: Vec<_> = expected.iter().filter_map(|date| parse_when_ms(date, now_ms)).collect();
            assert_eq!(dates_of(text, now_ms), expected, "{text}");
        }
        // Each costs a look at every conversation.
        assert_eq!(dates_of(&"8 may 2023 ".repeat(100_000), now_ms).len(), DATES_MAX);
    }
}
