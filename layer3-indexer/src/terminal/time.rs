//! Points in time as transcripts write them (RFC 3339) and as this crate computes with them
//! (milliseconds since 1970, UTC).

use chrono::{DateTime, Days, Months, NaiveDate, SecondsFormat};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Now, in milliseconds since 1970; 0 on a clock that stands before that.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(layer1_prebackup::log::now_ms()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970 of an RFC 3339 time such as `2026-11-22T10:42:25.351Z` or one with an
/// offset; `None` for anything else.
pub(crate) fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// `2026-11-22T10:42:25.351Z`. What is beyond all calendars, some 262,000 years from now, is 1970.
pub(crate) fn format_rfc3339_ms(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The first and the last millisecond of what a user types for `since` and `until`: a point in
/// time (RFC 3339), an age before now (`7d`, `12h`, `2 weeks`, `2 weeks ago`), or a whole day, UTC:
/// a date (`2026-11-22`), `today`, `yesterday`; or a month (`2026-11`). `None` for anything else.
pub(crate) fn parse_when_ms(text: &str, now_ms: i64) -> Option<(i64, i64)> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(ms) = parse_rfc3339_ms(&text) {
        return Some((ms, ms));
    }
    if let Some((first, end)) = parse_days(&text, now_ms.div_euclid(DAY_MS)) {
        return Some((first * DAY_MS, end * DAY_MS - 1));
    }
    let age = text.strip_suffix("ago").unwrap_or(&text).trim();
    let age = match age {
        "now" => 0,
        "last week" => 7 * DAY_MS,
        _ => age_ms(age)?,
    };
    let ms = now_ms.checked_sub(age)?;
    Some((ms, ms))
}

/// `2 weeks`, `7d`, `a month`.
fn age_ms(age: &str) -> Option<i64> {
    let one = age.strip_prefix("a ").or_else(|| age.strip_prefix("an ")).map(|unit| format!("1{unit}"));
    let age = humantime::parse_duration(one.as_deref().unwrap_or(age)).ok()?;
    i64::try_from(age.as_millis()).ok()
}

/// A day or a month, as the days since 1970 of its first day and of the one after it.
fn parse_days(text: &str, today: i64) -> Option<(i64, i64)> {
    match text {
        "today" => return Some((today, today + 1)),
        "yesterday" => return Some((today - 1, today)),
        _ => {}
    }
    let first = |text: &str| {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        // The parser takes fewer digits, more of them, and a sign too.
        (text.len() == 10 && date.to_string() == text).then_some(date)
    };
    let (first, end) = match first(text) {
        Some(day) => (day, day + Days::new(1)),
        None => first(&format!("{text}-01")).map(|day| (day, day + Months::new(1)))?,
    };
    let since_1970 = |day: NaiveDate| i64::from(day.to_epoch_days());
    Some((since_1970(first), since_1970(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_and_written() {
        let check = |text: &str, ms: Option<i64>| assert_eq!(parse_rfc3339_ms(text), ms, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-11-22T10:42:25.351Z", Some(1_795_344_145_351));
        check("2026-11-22T12:42:25.3519+02:00", Some(1_795_344_145_351));
        check("2026-11-22T09:12:25-01:30", Some(1_795_344_145_000));
        check("2000-02-29T00:00:00.5Z", Some(951_782_400_500));
        check("2001-02-29T00:00:00Z", None);
        for bad in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T10:42:25",
            "2026-13-01T00:00:00Z",
            "ééééééééé",
            "2026-11-22T25:00:00Z",
        ] {
            check(bad, None);
        }
        for ms in [0, 1, -1, 951_782_400_500, 1_795_344_145_351, -62_135_596_800_000, 253_402_300_799_999] {
            assert_eq!(parse_rfc3339_ms(&format_rfc3339_ms(ms)), Some(ms));
        }
    }

    #[test]
    fn users_write_dates_and_ages() {
        let now = 1_795_344_145_351; // 2026-11-22T10:42:25.351Z
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = parse_when_ms(text, now).map(|(from, to)| (format_rfc3339_ms(from), format_rfc3339_ms(to)));
            let found = found.as_ref().map(|(from, to)| (from.as_str(), to.as_str()));
            assert_eq!(found, expected, "{text}");
        };
        let at = |time: &'static str| Some((time, time));
        let day = Some(("2026-11-21T00:00:00.000Z", "2026-11-21T23:59:59.999Z"));
        check("2026-11-21", day);
        check("yesterday", day);
        check("Today", Some(("2026-11-22T00:00:00.000Z", "2026-11-22T23:59:59.999Z")));
        check("2026-02", Some(("2026-02-01T00:00:00.000Z", "2026-02-28T23:59:59.999Z")));
        check("2025-12", Some(("2025-12-01T00:00:00.000Z", "2025-12-31T23:59:59.999Z")));
        for week in ["7d", " 7d ", "1 week", "1 week ago", "a week ago", "7 days ago", "last week"] {
            check(week, at("2026-11-15T10:42:25.351Z"));
        }
        check("2 weeks ago", at("2026-11-08T10:42:25.351Z"));
        check("an hour ago", at("2026-11-22T09:42:25.351Z"));
        check("2026-11-22T00:00:00Z", at("2026-11-22T00:00:00.000Z"));
        for bad in
            ["soon", "", "ago", "99999999999y", "2026-13", "2026-11-31", "2026-1-2", "+262142-12-31", "yesterday-ish"]
        {
            check(bad, None);
        }
    }
}
