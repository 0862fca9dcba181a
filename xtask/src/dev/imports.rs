//! Which file of a crate imports which, read from the sources: for the tests that hold the house to its plan.
//!
//! A path leads to the file of the innermost module that it names, so what is taken through a re-export comes from the
//! file that re-exports it. A file that only declares a module does not import it. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The arrows of a crate: which file imports which, both as paths below `src/`.
pub(crate) type Arrows = BTreeSet<(String, String)>;

/// What a `use` brings: the name by which it is called here, and its path.
pub(crate) type Import = (String, Vec<String>);

/// A crate as its root file tells of it: its product files, and who imports whom.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    modules: Vec<Module>,
    /// The files that the root's module tree holds, their text without tests.
    pub files: BTreeMap<String, String>,
    /// Who imports whom.
    pub arrows: Arrows,
}

#[derive(Debug)]
struct Module {
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    code: Vec<String>,
}

impl Crate {
    /// Reads the module tree below `root`, a file in `src`.
    pub(crate) fn read(src: &Path, root: &str) -> Crate {
        let mut house = Crate::default();
        house.add(src, root.to_owned(), None);
        for module in 0..house.modules.len() {
            house.arrows.extend(house.arrows_from(module));
        }
        house
    }

    fn add(&mut self, src: &Path, file: String, parent: Option<usize>) -> usize {
        let text = fs::read_to_string(src.join(&file)).unwrap_or_else(|error| panic!("read {file}: {error}"));
        let text = without_tests(&text);
        let code = tokens(&text);
        self.files.insert(file.clone(), text);
        self.add_module(src, file, parent, code)
    }

    fn add_module(&mut self, src: &Path, file: String, parent: Option<usize>, code: Vec<String>) -> usize {
        let id = self.modules.len();
        self.modules.push(Module { file: file.clone(), parent, children: BTreeMap::new(), code: Vec::new() });
        let mut own = Vec::new();
        let mut at = 0;
        while at < code.len() {
            let declares = code[at] == "mod" && matches!(code.get(at + 2).map(String::as_str), Some(";" | "{"));
            if !declares {
                own.push(code[at].clone());
                at += 1;
                continue;
            }
            let name = code[at + 1].clone();
            let child = if code[at + 2] == ";" {
                at += 3;
                let folder = folder_of_children(&file);
                let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                let found = candidates.into_iter().find(|file| src.join(file).is_file());
                let found = found.unwrap_or_else(|| panic!("find module {name} of {file}"));
                self.add(src, found.to_string_lossy().into_owned(), Some(id))
            } else {
                let end = end_of_block(&code, at + 2);
                let inside = code[at + 3..end].to_vec();
                at = end + 1;
                self.add_module(src, file.clone(), Some(id), inside)
            };
            self.modules[id].children.insert(name, child);
        }
        self.modules[id].code = own;
        id
    }

    fn arrows_from(&self, id: usize) -> Arrows {
        let module = &self.modules[id];
        let (imports, paths) = paths(&module.code);
        let mut names = BTreeMap::new();
        let mut targets = Vec::new();
        for (name, path) in &imports {
            let Some((target, left)) = self.resolve(id, path, &BTreeMap::new()) else { continue };
            targets.push(target);
            if left == 0 {
                names.insert(name.clone(), target);
            }
        }
        targets.extend(paths.iter().filter_map(|path| Some(self.resolve(id, path, &names)?.0)));
        let files = targets.into_iter().map(|target| self.modules[target].file.clone());
        files.filter(|file| *file != module.file).map(|file| (module.file.clone(), file)).collect()
    }

    /// The innermost module that a path names, and how many of its segments name something in it.
    fn resolve(&self, from: usize, path: &[String], names: &BTreeMap<String, usize>) -> Option<(usize, usize)> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.modules[from].parent?,
            name => *self.modules[from].children.get(name).or_else(|| names.get(name))?,
        };
        while let Some((next, left)) = rest.split_first() {
            at = match next.as_str() {
                "super" => self.modules[at].parent?,
                name => match self.modules[at].children.get(name) {
                    Some(child) => *child,
                    None => break,
                },
            };
            rest = left;
        }
        Some((at, rest.len()))
    }
}

/// The nodes that some way along the arrows leads back to.
pub(crate) fn in_circles(arrows: &Arrows) -> BTreeSet<String> {
    let starts: BTreeSet<_> = arrows.iter().map(|(from, _)| from).collect();
    starts.into_iter().filter(|node| circle_through(arrows, node).is_some()).cloned().collect()
}

/// The shortest way from a node back to itself.
pub(crate) fn circle_through(arrows: &Arrows, node: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![node.to_owned()]];
    let mut seen = BTreeSet::new();
    let mut nth = 0;
    while nth < ways.len() {
        let way = ways[nth].clone();
        for (_, to) in arrows.iter().filter(|(from, _)| Some(from) == way.last()) {
            let mut longer = way.clone();
            longer.push(to.clone());
            if to == node {
                return Some(longer);
            }
            if seen.insert(to.clone()) {
                ways.push(longer);
            }
        }
        nth += 1;
    }
    None
}

/// The rooms' arrows: a room is what stands directly below `src/`.
pub(crate) fn between_rooms(arrows: &Arrows) -> Arrows {
    let room = |file: &str| file.split('/').next().unwrap_or(file).trim_end_matches(".rs").to_owned();
    let rooms = arrows.iter().map(|(from, to)| (room(from), room(to)));
    rooms.filter(|(from, to)| from != to).collect()
}

/// What the source calls by which name: every `use` with its path.
pub(crate) fn imports(text: &str) -> Vec<Import> {
    paths(&tokens(text)).0
}

/// How many items another crate could name: `pub` before anything but a field.
pub(crate) fn public_items(text: &str) -> usize {
    const ITEMS: [&str; 11] =
        ["fn", "struct", "enum", "union", "trait", "mod", "const", "static", "type", "use", "async"];
    tokens(text).windows(2).filter(|pair| pair[0] == "pub" && ITEMS.contains(&pair[1].as_str())).count()
}

fn folder_of_children(file: &str) -> PathBuf {
    let path = Path::new(file);
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") | None => folder,
        Some(stem) => folder.join(stem),
    }
}

/// What is imported, by which name, and every other path of at least two segments.
fn paths(code: &[String]) -> (Vec<Import>, Vec<Vec<String>>) {
    let (mut imports, mut paths) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < code.len() {
        if code[at] == "use" && is_name(code.get(at + 1)) {
            at = import(code, at + 1, &[], &mut imports);
            continue;
        }
        let begins = is_name(code.get(at)) && code.get(at + 1).is_some_and(|next| next == "::");
        let continues = at > 0 && (code[at - 1] == "::" || code[at - 1] == ".");
        if begins && !continues {
            let mut path = vec![code[at].clone()];
            while code.get(at + 1).is_some_and(|next| next == "::") && is_name(code.get(at + 2)) {
                path.push(code[at + 2].clone());
                at += 2;
            }
            paths.push(path);
        }
        at += 1;
    }
    (imports, paths)
}

/// Reads one tree of a `use` and returns where it ends.
fn import(code: &[String], mut at: usize, before: &[String], found: &mut Vec<Import>) -> usize {
    let mut path = before.to_vec();
    loop {
        match code.get(at).map(String::as_str) {
            Some("::") => at += 1,
            Some("{") => {
                at += 1;
                while code.get(at).is_some_and(|token| token != "}") {
                    at = import(code, at, &path, found);
                    at += usize::from(code.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            Some("*") => {
                found.push(("*".to_owned(), path));
                return at + 1;
            }
            Some("as") => {
                found.push((code[at + 1].clone(), path));
                return at + 2;
            }
            Some("self") if !before.is_empty() && path.len() == before.len() => at += 1,
            Some(_) if is_name(code.get(at)) => {
                path.push(code[at].clone());
                at += 1;
            }
            _ => {
                found.push((path.last().cloned().unwrap_or_default(), path));
                return at;
            }
        }
    }
}

fn is_name(token: Option<&String>) -> bool {
    token.is_some_and(|token| token.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// The source without what `#[cfg(test)]` stands before; every line keeps its number.
pub(crate) fn without_tests(text: &str) -> String {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (words, ranges): (Vec<_>, Vec<_>) = scan(text).into_iter().unzip();
    let mut kept = String::new();
    let (mut at, mut done) = (0, 0);
    while at < words.len() {
        if words.len() - at < MARK.len() || words[at..].iter().zip(MARK).any(|(word, mark)| word != mark) {
            at += 1;
            continue;
        }
        let start = ranges[at].start;
        at += MARK.len();
        let is_import = words[at..].iter().take_while(|word| *word != ";" && *word != "{").any(|word| word == "use");
        while at < words.len() && words[at] != ";" && (words[at] != "{" || is_import) {
            at += 1;
        }
        if words.get(at).is_some_and(|word| word == "{") {
            at = end_of_block(&words, at);
        }
        let end = ranges.get(at).map_or(text.len(), |range| range.end);
        kept.push_str(&text[done..start]);
        kept.extend(text[start..end].matches('\n'));
        (at, done) = (at + 1, end);
    }
    kept + &text[done..]
}

fn end_of_block(code: &[String], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in code.iter().enumerate().skip(start) {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// The words and signs of a source, without comments; of a text or a character only the quote is left.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    scan(text).into_iter().map(|(word, _)| word).collect()
}

fn scan(text: &str) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let word = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
        let until = |sign: &str| rest.find(sign).map_or(rest.len(), |end| end + sign.len());
        let is_character = rest.starts_with("'\\") || (c == '\'' && rest.chars().nth(2) == Some('\''));
        let (length, kept) = if rest.starts_with("//") {
            (until("\n"), "")
        } else if rest.starts_with("/*") {
            (until("*/"), "")
        } else if let Some(length) = raw_text(rest, word) {
            (length, "\"")
        } else if c == '"' || is_character {
            (quoted(rest), &rest[..1])
        } else if !word.is_empty() {
            (word.len(), word)
        } else if rest.starts_with("::") {
            (2, "::")
        } else {
            (c.len_utf8(), rest[..c.len_utf8()].trim())
        };
        found.extend((!kept.is_empty()).then(|| (kept.to_owned(), at..at + length)));
        at += length;
    }
    found
}

/// The length of `r"…"` or `br#"…"#`, if one begins here.
fn raw_text(rest: &str, word: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].contains(&word).then(|| &rest[word.len()..])?;
    let hashes = &after[..after.len() - after.trim_start_matches('#').len()];
    let inside = after[hashes.len()..].strip_prefix('"')?;
    let end = format!("\"{hashes}");
    Some(rest.len() - inside.len() + inside.find(&end).map_or(inside.len(), |at| at + end.len()))
}

fn quoted(rest: &str) -> usize {
    let mut is_escaped = false;
    let ends = |(_, c): &(usize, char)| {
        let ends = !is_escaped && rest.starts_with(*c);
        is_escaped = !is_escaped && *c == '\\';
        ends
    };
    rest.char_indices().skip(1).find(ends).map_or(rest.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrows of a crate made of these files.
    fn arrows(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let arrows = Crate::read(dir.path(), files[0].0).arrows;
        arrows.iter().map(|(from, to)| format!("{from} > {to}")).collect::<Vec<_>>().join(", ")
    }

    const LEAVES: [(&str, &str); 3] = [("a/mod.rs", "pub mod b; pub mod c;"), ("a/b.rs", ""), ("a/c.rs", "")];

    #[track_caller]
    fn check(root: &str, expected: &str) {
        let files: Vec<_> = [("lib.rs", root)].into_iter().chain(LEAVES).collect();
        assert_eq!(arrows(&files), expected, "{root}");
    }

    #[test]
    fn a_path_leads_to_the_file_of_the_innermost_module_it_names() {
        check("mod a;", "");
        check("mod a; use a::b::X;", "lib.rs > a/b.rs");
        check("mod a; pub(crate) use crate::a::X;", "lib.rs > a/mod.rs");
        check("mod a; use a::{self, b::{X, Y}, c::*};", "lib.rs > a/b.rs, lib.rs > a/c.rs, lib.rs > a/mod.rs");
        check("mod a; use crate::a::b as other; fn f() { other::g() }", "lib.rs > a/b.rs");
        check("mod a; fn f() { use crate::a; a::c::g(); }", "lib.rs > a/c.rs, lib.rs > a/mod.rs");
        check("mod a; fn f(x: crate::a::b::X) -> a::c::Y<'static> {}", "lib.rs > a/b.rs, lib.rs > a/c.rs");
        check("mod a; mod inner { fn f() { super::a::b::g() } }", "lib.rs > a/b.rs");
        check("mod a; use std::a::b; fn f() { x.a::<b>(); ::a::b::g(); }", "");
    }

    #[test]
    fn tests_comments_and_texts_import_nothing() {
        check("mod a; #[cfg(test)] use crate::a::b; // crate::a::c", "");
        check("mod a; /* crate::a::c::x */ const T: &str = \"crate::a::b\";", "");
        check("mod a; const R: &str = r#\"\"crate::a::b::c\"#; const C: char = '\"';", "");
        check("mod a; #[cfg(test)] mod tests { use crate::a::b::X; } fn f() { a::c::g() }", "lib.rs > a/c.rs");
        check("mod a; #[cfg(test)] mod absent; #[cfg(test)] fn f() { a::b::g() }", "");
    }

    #[test]
    fn a_circle_is_found_wherever_it_is_closed() {
        let up =
            [("lib.rs", "mod a;"), ("a/mod.rs", "mod b; pub use b::X; pub struct Y;"), ("a/b.rs", "use super::Y;")];
        assert_eq!(arrows(&up), "a/b.rs > a/mod.rs, a/mod.rs > a/b.rs");
        let three: Arrows =
            [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(in_circles(&three).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(circle_through(&three, "b").unwrap(), ["b", "c", "a", "b"]);
        assert!(circle_through(&three, "d").is_none());
    }

    #[test]
    fn rooms_stand_directly_below_the_sources() {
        let files: Arrows = [("a/b.rs", "a/c.rs"), ("a/b.rs", "d.rs"), ("d.rs", "a/mod.rs")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let rooms = between_rooms(&files);
        assert_eq!(in_circles(&rooms).into_iter().collect::<Vec<_>>(), ["a", "d"]);
    }

    #[test]
    fn a_field_is_no_item() {
        assert_eq!(public_items("pub struct A { pub b: u8 } pub(crate) fn c() {} pub const fn d() {}"), 2);
    }
}
