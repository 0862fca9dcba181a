//! The receipt: what arrived, read back. A push counts once each sealed file is in its snapshot with at least its bytes;
//! what became an older version meanwhile, with just its bytes.

use std::collections::HashMap;

use super::seal::Seal;

/// The sealed files that a snapshot does not have, or has too little of. `files` are its own, by path.
pub(crate) fn not_covered<'s>(seal: &'s Seal, files: &HashMap<String, u64>) -> Vec<&'s str> {
    let is_there = |path: &str, bytes: u64| files.get(path).is_some_and(|size| *size >= bytes);
    let missing = seal.files.iter().filter(|file| !is_there(&file.in_snapshot(), file.bytes));
    missing.map(|file| file.path.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_absent_or_too_short_is_not_covered() {
        let json = r#"{"format":1,"store":"","writer":"","host":"","at":"","files":[
            {"path":"p/a.jsonl","generation":0,"bytes":5,"blake3":""},
            {"path":"p/b.jsonl","generation":0,"bytes":5,"blake3":""},
            {"path":"p/c.jsonl","generation":0,"bytes":0,"blake3":""}]}"#;
        let seal = Seal::parse(json.as_bytes()).unwrap();
        let files = |files: &[(&str, u64)]| files.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect();
        let all = [("/p/a.jsonl", 5), ("/p/b.jsonl", 6), ("/p/c.jsonl", 0), ("/x", 1)];
        assert!(not_covered(&seal, &files(&all)).is_empty());
        assert_eq!(
            not_covered(&seal, &files(&[("/p/a.jsonl", 4), ("p/b.jsonl", 6)])),
            ["p/a.jsonl", "p/b.jsonl", "p/c.jsonl"]
        );
    }
}
