//! What Claude Code remembers of a project: the folder `memory` beside its transcripts.
//!
//! It is kept like a session's own folder that has no transcript. The path of the folder stands wherever that of a
//! transcript would, and its id is made from that path, so that no two projects share one.

use std::path::Path;

use crate::names::SessionId;

/// The name of the folder.
pub(crate) const MEMORY: &str = "memory";
/// So much of a project's folder stands in the id, from its end; the rest is told by a hash.
const ID_SLUG_BYTES_MAX: usize = 80;
const ID_HASH_DIGITS: usize = 8;

/// Whether this is the folder, rather than a transcript.
pub(crate) fn is_memory(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == MEMORY)
}

/// The id that it is kept under, the same by whatever link its path leads through.
pub(crate) fn id_of_memory(folder: &Path) -> SessionId {
    let resolved =
        folder.ancestors().find_map(|above| Some(above.canonicalize().ok()?.join(folder.strip_prefix(above).ok()?)));
    let path = resolved.as_deref().unwrap_or(folder);
    let slug = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let plain: String = slug.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let end = plain[plain.len().saturating_sub(ID_SLUG_BYTES_MAX)..].trim_matches('-');
    let hash = &blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex()[..ID_HASH_DIGITS];
    let text = format!("{end}-{hash}");
    SessionId::parse(text.trim_start_matches('-')).expect("letters, digits and hyphens behind a letter or a digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_projects_never_share_an_id_and_one_never_has_two() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("-{}-x", "a-".repeat(100));
        let mut ids = std::collections::BTreeSet::new();
        for (home, slug) in [("a", "-h-proj"), ("b", "-h-proj"), ("a", "---"), ("a", "é ü"), ("a", &long)] {
            let folder = dir.path().join(home).join("projects").join(slug).join(MEMORY);
            std::fs::create_dir_all(&folder).unwrap();
            assert!(is_memory(&folder) && ids.insert(id_of_memory(&folder)), "{slug}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("a"), &link).unwrap();
        let by = |home: &Path| id_of_memory(&home.join("projects/-h-proj/memory"));
        assert_eq!(by(&link), by(&dir.path().join("a")));
        assert!(by(&link).as_str().starts_with("h-proj-"), "{}", by(&link));
        let gone = |home: &Path| id_of_memory(&home.join("projects/-h-gone/memory"));
        assert_eq!(gone(&link), gone(&dir.path().join("a")));
    }
}
