//! Points in time as transcripts write them (RFC 3339) and as this crate computes with them
//! (milliseconds since 1970, UTC); and as people read and type them, in the time zone of the machine.

use chrono::{
    DateTime, Days, Local, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, SecondsFormat, TimeDelta, TimeZone, Utc,
};

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

/// In which time zone points in time are told, and seen from when. `TZ` is honoured, by name or by rule. Where the zone
/// is UTC, or is not known on this machine and so taken for UTC, the time says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    is_local: bool,
    /// Today and yesterday are called so, as seen from this moment.
    now_ms: Option<i64>,
}

impl Clock {
    /// UTC, without a word about it.
    pub(crate) const UTC: Clock = Clock { is_local: false, now_ms: None };
    /// The machine's time zone, for a text that is read later too.
    pub(crate) const LOCAL: Clock = Clock { is_local: true, now_ms: None };

    /// The machine's time zone, for somebody who reads it now.
    pub(crate) fn now() -> Clock {
        Clock { is_local: true, now_ms: Some(now_ms()) }
    }

    /// `2026-11-22 10:17`, `yesterday 10:17` or `today 10:17`.
    pub(crate) fn minute(&self, ms: i64) -> String {
        format!("{} {}{}", self.day(ms), self.clock(ms), self.zone(ms))
    }

    /// `2026-11-22 10:17→10:19`, or both days where they differ.
    pub(crate) fn period(&self, start_ms: i64, end_ms: i64) -> String {
        let (start, end) = (self.minute(start_ms), self.minute(end_ms));
        let zone = self.zone(end_ms);
        let start_alone = start.strip_suffix(zone).unwrap_or(&start);
        match self.day(start_ms) == self.day(end_ms) {
            true if start == end => end,
            true => format!("{start_alone}→{}{zone}", self.clock(end_ms)),
            false => format!("{start_alone}→{end}"),
        }
    }

    /// `2026-11-22 10:17→11:02`, or `2026-11-22 10:17→11-23` without a time at its end.
    pub(crate) fn short_period(&self, start_ms: i64, end_ms: i64) -> String {
        let (start, end) = (self.day(start_ms), self.day(end_ms));
        if start == end {
            return self.period(start_ms, end_ms);
        }
        let year = start.split_once('-').map_or(start.as_str(), |(year, _)| year);
        let end = end.strip_prefix(year).map_or(end.as_str(), |day| day.trim_start_matches('-'));
        format!("{start} {}→{end}{}", self.clock(start_ms), self.zone(end_ms))
    }

    /// `2026-11-22 10:17:51 +01:00`.
    pub(crate) fn exact(&self, ms: i64) -> String {
        if !self.is_local || is_utc(ms) {
            return format!("{} UTC", moment(&Utc, ms).format("%Y-%m-%d %H:%M:%S"));
        }
        moment(&Local, ms).format("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    fn day(&self, ms: i64) -> String {
        let date = |ms| if self.is_local { moment(&Local, ms).date_naive() } else { moment(&Utc, ms).date_naive() };
        let ago = |days| self.now_ms.and_then(|now| date(now).checked_sub_days(Days::new(days)));
        match Some(date(ms)) {
            day if day == ago(0) => "today".to_owned(),
            day if day == ago(1) => "yesterday".to_owned(),
            _ => date(ms).to_string(),
        }
    }

    fn clock(&self, ms: i64) -> String {
        let time = if self.is_local { moment(&Local, ms).time() } else { moment(&Utc, ms).time() };
        time.format("%H:%M").to_string()
    }

    fn zone(&self, ms: i64) -> &'static str {
        if self.is_local && is_utc(ms) { " UTC" } else { "" }
    }
}

fn moment<Z: TimeZone>(zone: &Z, ms: i64) -> DateTime<Z> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().with_timezone(zone)
}

/// Whether the machine's zone is UTC, winter and summer.
fn is_utc(ms: i64) -> bool {
    let half_a_year = 183 * DAY_MS;
    let offset = |ms| moment(&Local, ms).offset().fix().local_minus_utc();
    [ms, ms.saturating_sub(half_a_year)].into_iter().all(|ms| offset(ms) == 0)
}

/// The first and the last millisecond of what a user types for `since` and `until`, in the machine's time zone: a point
/// in time (RFC 3339, or `2026-11-22 10:17`), an age before now (`7d`, `12h`, `2 weeks`, `2 weeks ago`), a whole day
/// (`2026-11-22`, `today`, `yesterday`), or a month (`2026-11`). `None` for anything else.
pub(crate) fn parse_when_ms(text: &str, now_ms: i64) -> Option<(i64, i64)> {
    when_ms(text, now_ms, &Local)
}

/// What an RFC 3339 time or a time of the machine's zone, as lists show it, begins with, in milliseconds since 1970.
pub(crate) fn parse_time_ms(text: &str) -> Option<i64> {
    parse_rfc3339_ms(text).or_else(|| Some(minute_ms(text, now_ms(), &Local)?.0))
}

fn when_ms<Z: TimeZone>(text: &str, now_ms: i64, zone: &Z) -> Option<(i64, i64)> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(ms) = parse_rfc3339_ms(&text) {
        return Some((ms, ms));
    }
    let today = moment(zone, now_ms).date_naive();
    if let Some((first, end)) = parse_days(&text, today) {
        return Some((start_ms(first, NaiveTime::MIN, zone)?, start_ms(end, NaiveTime::MIN, zone)? - 1));
    }
    if let Some(minute) = minute_ms(&text, now_ms, zone) {
        return Some(minute);
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

/// `2026-11-22 10:17`, with seconds too, or `yesterday 10:17`: the first and the last millisecond of it.
fn minute_ms<Z: TimeZone>(text: &str, now_ms: i64, zone: &Z) -> Option<(i64, i64)> {
    let text = text.trim().to_ascii_lowercase();
    let (day, time) = text.split_once(' ').or_else(|| text.split_once('t'))?;
    let is_whole = |(first, end): &(NaiveDate, NaiveDate)| *end == *first + Days::new(1);
    let (first, _) = parse_days(day, moment(zone, now_ms).date_naive()).filter(is_whole)?;
    let parsed = |format, length| NaiveTime::parse_from_str(time, format).ok().map(|time| (time, length));
    let (time, length_ms) = parsed("%H:%M", 60_000).or_else(|| parsed("%H:%M:%S", 1000))?;
    let ms = start_ms(first, time, zone)?;
    Some((ms, ms + length_ms - 1))
}

/// When a clock on the wall shows this, for the first time; where it never does because it is set forward, the next half
/// hour that it shows. (A zone that changed sides of the date line left out a whole day.)
fn start_ms<Z: TimeZone>(day: NaiveDate, time: NaiveTime, zone: &Z) -> Option<i64> {
    let wall: NaiveDateTime = day.and_time(time);
    let later = (0..=48).filter_map(|halves| wall.checked_add_signed(TimeDelta::minutes(30 * halves)));
    let shown = later.into_iter().find_map(|wall| zone.from_local_datetime(&wall).earliest())?;
    Some(shown.timestamp_millis())
}

/// `2 weeks`, `7d`, `a month`.
fn age_ms(age: &str) -> Option<i64> {
    let one = age.strip_prefix("a ").or_else(|| age.strip_prefix("an ")).map(|unit| format!("1{unit}"));
    let age = humantime::parse_duration(one.as_deref().unwrap_or(age)).ok()?;
    i64::try_from(age.as_millis()).ok()
}

/// A day or a month: its first day and the one after it.
fn parse_days(text: &str, today: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
    match text {
        "today" => return Some((today, today + Days::new(1))),
        "yesterday" => return Some((today - Days::new(1), today)),
        _ => {}
    }
    let first = |text: &str| {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        // The parser takes fewer digits, more of them, and a sign too.
        (text.len() == 10 && date.to_string() == text).then_some(date)
    };
    match first(text) {
        Some(day) => Some((day, day + Days::new(1))),
        None => first(&format!("{text}-01")).map(|day| (day, day + Months::new(1))),
    }
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
            let found = when_ms(text, now, &Utc).map(|(from, to)| (format_rfc3339_ms(from), format_rfc3339_ms(to)));
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
        for minute in ["2026-11-21 10:17", "2026-11-21t10:17", "yesterday 10:17"] {
            check(minute, Some(("2026-11-21T10:17:00.000Z", "2026-11-21T10:17:59.999Z")));
        }
        check("2026-11-21 10:17:05", Some(("2026-11-21T10:17:05.000Z", "2026-11-21T10:17:05.999Z")));
        check("today 09:00", Some(("2026-11-22T09:00:00.000Z", "2026-11-22T09:00:59.999Z")));
        for bad in
            ["soon", "", "ago", "99999999999y", "2026-13", "2026-11-31", "2026-1-2", "+262142-12-31", "yesterday-ish"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn recent_days_are_called_by_their_names() {
        let now = 1_795_344_145_351; // 2026-11-22T10:42:25.351Z
        let clock = Clock { is_local: false, now_ms: Some(now) };
        let told = |ms: i64| clock.minute(ms);
        assert_eq!(told(now - 60_000), "today 10:41");
        assert_eq!(told(now - 11 * 3_600_000), "yesterday 23:42");
        assert_eq!(told(now - 3 * DAY_MS), "2026-11-19 10:42");
        assert_eq!(clock.period(now - 60_000, now), "today 10:41→10:42");
        assert_eq!(clock.period(now - DAY_MS, now), "yesterday 10:42→today 10:42");
        assert_eq!(Clock::UTC.exact(now), "2026-11-22 10:42:25 UTC");
    }
}
