//! Points in time as transcripts write them (RFC 3339) and as this crate computes with them
//! (milliseconds since 1970, UTC).

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Now, in milliseconds since 1970; 0 on a clock that stands before that.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(layer1_prebackup::clock::now_ms()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970 of an RFC 3339 time such as `2026-11-22T10:42:25.351Z` or one with an
/// offset; `None` for anything else.
pub(crate) fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let day = parse_date_days(date)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [h, m, s] = numbers(clock, ':', [2, 2, 2])?;
    if h > 23 || m > 59 || s > 60 {
        return None;
    }
    let (millis, rest) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let used = &rest[..digits.min(3)];
            let scale = 10_i64.pow(3 - used.len() as u32);
            (used.parse::<i64>().ok()? * scale, &rest[digits..])
        }
    };
    let offset_min = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let [h, m] = numbers(rest.strip_prefix(['+', '-'])?, ':', [2, 2])?;
            sign * (h * 60 + m)
        }
    };
    Some(day * DAY_MS + ((h * 60 + m - offset_min) * 60 + s) * 1000 + millis)
}

/// `2026-11-22T10:42:25.351Z`.
pub(crate) fn format_rfc3339_ms(ms: i64) -> String {
    let (y, mo, d) = date_of_days(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS);
    let (h, mi, s, milli) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60, of_day % 1000);
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{milli:03}Z")
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
    if let Some(day) = parse_date_days(text) {
        return Some((day, day + 1));
    }
    let [y, m] = numbers(text, '-', [4, 2])?;
    let next = if m == 12 { (y + 1, 1) } else { (y, m + 1) };
    (1..=12).contains(&m).then(|| (days_of_date(y, m, 1), days_of_date(next.0, next.1, 1)))
}

fn parse_date_days(date: &str) -> Option<i64> {
    let [y, m, d] = numbers(date, '-', [4, 2, 2])?;
    let days = days_of_date(y, m, d);
    (date_of_days(days) == (y, m, d)).then_some(days)
}

/// Numbers of exactly these widths, joined by `separator`.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(separator);
    for (slot, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Days since 1970 in the proleptic Gregorian calendar; years begin in March, so that the leap
/// day is the last of its year.
fn days_of_date(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn date_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let m = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(m <= 2), m, day_of_year - (153 * month + 2) / 5 + 1)
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
        for bad in ["soon", "", "ago", "99999999999y", "2026-13", "2026-11-31", "yesterday-ish"] {
            check(bad, None);
        }
    }
}
