//! Which session is meant: its id, a unique beginning of it, or either behind `PROJECT/`, as the same id may be kept under
//! two projects. Asked of the stores, not of the index, which is disposable.

use layer1_prebackup::archive::SessionKey;

use crate::failure::{Failure, Kind};

/// Most candidates that an ambiguous prefix lists.
const CANDIDATES_MAX: usize = 20;

/// The one session of these that `typed` may mean.
pub(crate) fn only(mut found: Vec<SessionKey>, typed: &str) -> Result<SessionKey, Failure> {
    match found.len() {
        0 => Err(unknown(typed)),
        1 => Ok(found.remove(0)),
        _ => Err(ambiguous(typed, &found)),
    }
}

/// The sessions that `typed` may mean: those of exactly this id if there are any, else all whose
/// id begins so.
pub(crate) fn matches(sessions: Vec<SessionKey>, typed: &str) -> Vec<SessionKey> {
    let (project, id) = match typed.rsplit_once('/') {
        Some((project, id)) => (Some(project), id),
        None => (None, typed),
    };
    if id.is_empty() {
        return Vec::new();
    }
    // Two projects of one name are told apart by what stands before it.
    let project = project.map(|project| project.rsplit('/').next().unwrap_or(project));
    let in_project = |key: &SessionKey| project.is_none_or(|project| key.project.as_str() == project);
    let found = sessions.into_iter().filter(|key| in_project(key) && key.id.as_str().starts_with(id));
    let (exact, longer): (Vec<_>, Vec<_>) = found.partition(|key| key.id.as_str() == id);
    if exact.is_empty() { longer } else { exact }
}

/// Nothing stored begins as `typed` does.
pub(crate) fn unknown(typed: &str) -> Failure {
    Failure::new(format!("find session {typed:?}: no stored session has this id or an id that begins so"))
        .of(Kind::InvalidInput)
        .hint("`list --all` shows them")
}

/// Several sessions begin as `typed` does.
pub(crate) fn ambiguous(typed: &str, candidates: &[SessionKey]) -> Failure {
    let mut lines: Vec<String> =
        candidates.iter().take(CANDIDATES_MAX).map(|key| format!("{}/{}", key.project, key.id)).collect();
    if candidates.len() > CANDIDATES_MAX {
        lines.push(format!("… and {} more", candidates.len() - CANDIDATES_MAX));
    }
    let (count, list) = (candidates.len(), lines.join("\n  "));
    let message =
        format!("choose session {typed:?}: {count} sessions match, type more of the id (or PROJECT/ID):\n  {list}");
    Failure::new(message).of(Kind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer1_prebackup::names::{ProjectName, SessionId};

    fn check(typed: &str, expected: &[&str]) {
        let sessions = ["p/abc", "p/abcd", "p/xyz", "q/abc"].iter().map(|text| {
            let (project, id) = text.split_once('/').unwrap();
            SessionKey::parse(project, id).unwrap()
        });
        let found = matches(sessions.collect(), typed);
        let found: Vec<String> = found.iter().map(|key| format!("{}/{}", key.project, key.id)).collect();
        assert_eq!(found, expected, "{typed:?}");
    }

    #[test]
    fn an_exact_id_wins_over_longer_ones_and_a_project_narrows() {
        check("xy", &["p/xyz"]);
        check("abcd", &["p/abcd"]);
        check("abc", &["p/abc", "q/abc"]);
        check("q/abc", &["q/abc"]);
        check("work/q/abc", &["q/abc"]);
        check("ab", &["p/abc", "p/abcd", "q/abc"]);
        check("zzz", &[]);
        check("", &[]);
        check("p/", &[]);
    }

    #[test]
    fn so_many_candidates_are_listed_and_the_rest_counted() {
        for (count, rest) in
            [(CANDIDATES_MAX, None), (CANDIDATES_MAX + 1, Some("… and 1 more")), (50, Some("… and 30 more"))]
        {
            let keys: Vec<_> = (0..count).map(|n| SessionKey::parse("p", &format!("a{n}")).unwrap()).collect();
            let text = ambiguous("a", &keys).to_string();
            assert_eq!(
                (
                    text.lines().filter(|line| line.starts_with("  p/")).count(),
                    text.lines().last().unwrap().contains("… and")
                ),
                (CANDIDATES_MAX, rest.is_some())
            );
            assert!(
                text.contains(&format!("{count} sessions match")) && rest.is_none_or(|rest| text.ends_with(rest)),
                "{text}"
            );
        }
    }

    #[test]
    fn an_ambiguous_name_lists_the_candidates() {
        let key =
            |id: &str| SessionKey { project: ProjectName::parse("p").unwrap(), id: SessionId::parse(id).unwrap() };
        let error = ambiguous("a", &[key("a1"), key("a2")]);
        insta::assert_snapshot!(error.to_string(), @r#"
        choose session "a": 2 sessions match, type more of the id (or PROJECT/ID):
          p/a1
          p/a2
        "#);
    }
}
