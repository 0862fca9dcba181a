//! Listing the conversations of the archive that the role may read.

use postgres::types::ToSql;
use serde_json::{Map, Value, json};

use super::connect::connect;
use super::search::{named, typed};
use super::tables::readable;
use super::types::{Answer, Archive};
use crate::browse::list::{LIMIT_DEFAULT, LIMIT_MAX, ListRequest};
use crate::browse::search::when;
use crate::failure::{Context, Failure};
use crate::scope::Limits;
use crate::terminal::time::now_ms;

/// Lists them, newest first unless another order is asked for.
pub(crate) fn list(archive: &Archive, limits: &Limits, request: &ListRequest) -> Result<Answer, Failure> {
    let refused = [
        ("tag", request.tag.first().cloned()),
        ("pinned", request.pinned.filter(|is| *is).map(|is| is.to_string())),
        ("gone", request.gone.filter(|is| *is).map(|is| is.to_string())),
    ];
    if let Some((name, Some(value))) = refused.iter().find(|(_, value)| value.is_some()) {
        return Err(Failure::argument(name, value, "an archive does not know it; leave it out"));
    }
    let order = match request.sort.as_deref().map(str::trim).filter(|sort| !sort.is_empty()) {
        None | Some("newest") => "last_ms DESC NULLS LAST",
        Some("oldest") => "last_ms",
        Some("size") => "bytes DESC",
        Some("messages") => "messages DESC",
        Some(other) => {
            return Err(Failure::argument("sort", other, "it must be newest, oldest, size or messages"));
        }
    };
    let since = when("since", request.since.as_deref(), now_ms())?.map(|(first, _)| first);
    let limit = request.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX) as i64;
    let offset = request.offset.unwrap_or(0) as i64;
    let project = typed(&request.project);
    let mut client = connect(archive)?;
    let parts = readable(&mut client)?;
    let all: Vec<String> = parts.iter().map(|part| format!("SELECT * FROM {}", part.sessions())).collect();
    let mut sessions = Vec::new();
    let mut totals = [0; 3];
    if !parts.is_empty() {
        let found = format!(
            "SELECT * FROM ({}) every WHERE ($1::bigint IS NULL OR last_ms >= $1)
                AND ($2::text IS NULL OR strpos(lower(concat(directory, ' ', project)), lower($2)) > 0)",
            all.join(" UNION ALL ")
        );
        let sums = "SELECT count(*), coalesce(sum(bytes), 0)::bigint, coalesce(sum(messages), 0)::bigint FROM";
        let row =
            client.query_one(&format!("{sums} ({found}) asked"), &[&since, &project]).context("list the archive")?;
        totals = [0, 1, 2].map(|at| row.get::<_, i64>(at));
        let values: [&(dyn ToSql + Sync); 4] = [&since, &project, &offset, &limit];
        let page = format!("{found} ORDER BY {order}, person, session OFFSET $3 LIMIT $4");
        for row in client.query(&page, &values).context("list the archive")? {
            let directory: Option<String> = row.get("directory");
            let directories: Vec<String> = directory.into_iter().collect();
            if limits.exclude.is_saved_excluded(row.get("project"), &directories) {
                continue;
            }
            // Whatever somebody else wrote there.
            let Ok(mut session) = serde_json::from_str::<Map<String, Value>>(row.get("metadata")) else { continue };
            for name in ["person", "store"] {
                session.insert(name.to_owned(), json!(row.get::<_, String>(name)));
            }
            sessions.push(session);
        }
    }
    let [count, bytes, messages] = totals;
    let structure = json!({
        "sessions": sessions,
        "totals": { "sessions": count, "bytes": bytes, "messages": messages },
        "scope": format!("in the archive of {}", named(&parts)),
        "all_projects": project.is_none(),
        "notes": [],
    });
    let text = structure.to_string();
    Ok(Answer { structure, text, failed: Vec::new() })
}
