//! Points in time as transcripts write them (RFC 3339) and as this crate computes with them
//! (milliseconds since 1970, UTC).

/// Milliseconds since 1970 of an RFC 3339 time such as `2026-11-22T10:42:25.351Z` or one with an
/// offset; `None` for anything else.
pub fn parse_rfc3339_ms(_text: &str) -> Option<i64> {
    None
}

/// `2026-11-22T10:42:25.351Z`.
pub fn format_rfc3339_ms(_ms: i64) -> String {
    String::new()
}

/// A point in time as a user types it for `since` and `until`: RFC 3339, a date (`2026-11-22`,
/// midnight UTC), or an age before now (`7d`, `12h`, `30m`). `None` for anything else.
pub fn parse_when_ms(_text: &str, _now_ms: i64) -> Option<i64> {
    None
}
