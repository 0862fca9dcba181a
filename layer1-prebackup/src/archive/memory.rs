//! What Claude Code remembers of the projects, kept in a store of its own inside a store of conversations: it is asked
//! the same questions, and no conversation is ever taken for a memory or a memory for a conversation.

use std::path::Path;

use super::store::Archive;
use super::types::{ArchiveError, Compare, SaveReport, SaveRequest};
use crate::claude::survey::FoundTranscript;
use crate::config::places::memories_of;
use crate::config::settings::Policy;

/// Keeps a project's memory if any of its files changed since its copy, unless the user excluded it; `None` where
/// nothing was to be done. Each content of a file that differs from the one before is a version.
pub(crate) fn keep_memory(
    store: &Path,
    found: &FoundTranscript,
    compare: Compare,
    policy: &Policy,
) -> Result<Option<SaveReport>, ArchiveError> {
    let memories = memories_of(store);
    let opened = Archive::open(&memories)?;
    let is_behind = || opened.as_ref().map_or(Ok(true), |archive| archive.is_behind_found(found));
    if policy.exclude.is_excluded(&found.path, None) || (compare == Compare::Windows && !is_behind()?) {
        return Ok(None);
    }
    let archive = match opened {
        Some(archive) => archive,
        None => Archive::create(&memories)?,
    };
    let (id, transcript, progress) = (&found.id, &found.path, &|_| {});
    let request = SaveRequest { id, transcript, project: None, cwd: None, compare, progress };
    archive.leaving_free(policy.free_space_floor).save(&request).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::survey::memories;
    use crate::names::FileName;

    #[test]
    fn each_content_of_a_memory_is_a_version_and_what_is_deleted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (store, folder) = (dir.path().join("store"), dir.path().join("projects/-h-proj"));
        let write =
            |name: &str, text: &str| crate::fs::replace_file(&folder.join("memory").join(name), text.as_bytes());
        let keep = |compare: Compare| {
            let found = memories([folder.join("x.jsonl")]).remove(0);
            keep_memory(&store, &found, compare, &Policy::default()).unwrap()
        };
        crate::fs::replace_file(&folder.join("x.jsonl"), b"{\"cwd\":\"/h/proj\"}\n").unwrap();
        write("MEMORY.md", "- one\n").unwrap();
        write("deep/topic.md", "first\n").unwrap();
        assert_eq!(keep(Compare::Windows).unwrap().generations_begun, 0);
        assert!(keep(Compare::Windows).is_none());
        assert_eq!(keep(Compare::Whole).unwrap().bytes_added, 0);
        // Longer, another, shorter: each is a version.
        for (n, text) in ["- one\n- two\n", "- three\n- four\n", "-\n"].into_iter().enumerate() {
            write("MEMORY.md", text).unwrap();
            let report = keep(Compare::Windows).unwrap();
            assert_eq!((report.generations_begun, report.problems.len()), (1, 0), "{n}");
        }
        crate::fs::remove_file(&folder.join("memory/deep/topic.md")).unwrap();
        write("new.md", "new\n").unwrap();
        keep(Compare::Windows).unwrap();
        let archive = Archive::open(&memories_of(&store)).unwrap().unwrap();
        let key = archive.sessions().unwrap().remove(0);
        assert_eq!(key.project.as_str(), "proj");
        let mut held: Vec<String> = Vec::new();
        for file in archive.files(&key).unwrap() {
            let FileName::Side(rel) = &file.name.file else { panic!("{file:?}") };
            let text = std::fs::read_to_string(archive.slot(&key, &file.name).place()).unwrap();
            held.push(format!("{} {} {text:?}", rel.display(), file.name.generation));
        }
        held.sort();
        assert_eq!(
            held,
            [
                r#"MEMORY.md 0 "-\n""#,
                r#"MEMORY.md 1 "- one\n""#,
                r#"MEMORY.md 2 "- one\n- two\n""#,
                r#"MEMORY.md 3 "- three\n- four\n""#,
                r#"deep/topic.md 0 "first\n""#,
                r#"new.md 0 "new\n""#,
            ]
        );
        assert_eq!(archive.verify(None).unwrap().len(), 0);
        assert!(Archive::open(&store).unwrap().is_none());
    }
}
