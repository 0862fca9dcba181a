//! What the desktop app calls its sessions: it keeps an index of its own, outside of Claude Code's directory.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Where the index lies, below the home directory: on Linux, on macOS.
const ROOTS: [&str; 2] =
    [".config/Claude/claude-code-sessions", "Library/Application Support/Claude/claude-code-sessions"];
/// Folders between the index's own and an entry: account and organisation, with room for two more.
const DEPTH_MAX: usize = 4;
const ENTRY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The titles by session id. What cannot be read gives none.
pub(crate) fn titles(home: &Path) -> HashMap<String, String> {
    let mut titles = HashMap::new();
    ROOTS.iter().for_each(|root| add(&home.join(root), DEPTH_MAX, &mut titles));
    titles
}

fn add(folder: &Path, depth: usize, titles: &mut HashMap<String, String>) {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        title: String,
        cli_session_id: String,
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth > 0 {
            add(&path, depth - 1, titles);
        }
        let name = name.to_string_lossy();
        if !meta.is_file() || meta.len() > ENTRY_BYTES_MAX || !name.starts_with("local_") || !name.ends_with(".json") {
            continue;
        }
        let read = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Entry>(&text).ok());
        if let Some(Entry { title, cli_session_id }) = read.filter(|entry| !entry.title.trim().is_empty()) {
            titles.insert(cli_session_id, title);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_the_desktop_app_gives_titles_and_rubbish_in_it_none() {
        let home = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("account/org/local_1.json", r#"{"sessionId":"local_1","title":"The parser","cliSessionId":"a"}"#),
            ("local_2.json", r#"{"title":"Deep","cliSessionId":"b","other":{}}"#),
            ("local_3.json", r#"{"title":" ","cliSessionId":"c"}"#),
            ("local_4.json", r#"{"title":"torn"#),
            ("other.json", r#"{"title":"other","cliSessionId":"d"}"#),
        ] {
            let path = home.path().join(ROOTS[0]).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut found: Vec<_> = titles(home.path()).into_iter().collect();
        found.sort();
        assert_eq!(found, [("a".into(), "The parser".into()), ("b".into(), "Deep".into())]);
    }
}
