//! Letters without case and accents, as SQLite's tokenizers see them, so that what the index
//! found can be found again in the text: `sesion` in `Sesión`.

use std::borrow::Cow;

/// Accented Latin letters by what is left of them. A test compares it with SQLite's own table.
const ACCENTED: [(char, &str); 25] = [
    ('a', "àáâãäåāăąǎǟǻȁȃȧḁạảấầẩẫậắằẳẵặ"),
    ('b', "ḃḅḇ"),
    ('c', "çćĉċčḉ"),
    ('d', "ďḋḍḏḑḓ"),
    ('e', "èéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ"),
    ('f', "ḟ"),
    ('g', "ĝğġģǧǵḡ"),
    ('h', "ĥȟḣḥḧḩḫẖ"),
    ('i', "ìíîïĩīĭįİǐȉȋḭḯỉị"),
    ('j', "ĵǰ"),
    ('k', "ķǩḱḳḵ"),
    ('l', "ĺļľḷḹḻḽ"),
    ('m', "ḿṁṃ"),
    ('n', "ñńņňǹṅṇṉṋ"),
    ('o', "òóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ"),
    ('p', "ṕṗ"),
    ('r', "ŕŗřȑȓṙṛṝṟ"),
    ('s', "śŝşšșṡṣṥṧṩſẛ"),
    ('t', "ţťțṫṭṯṱẗ"),
    ('u', "ùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự"),
    ('v', "ṽṿ"),
    ('w', "ŵẁẃẅẇẉẘ"),
    ('x', "ẋẍ"),
    ('y', "ýÿŷȳẏẙỳỵỷỹ"),
    ('z', "źżžẑẓẕ"),
];

/// Forms of Greek letters that are one letter in a search.
const GREEK_FORMS: [(char, char); 11] = [
    ('\u{345}', 'ι'),
    ('µ', 'μ'),
    ('ς', 'σ'),
    ('ϐ', 'β'),
    ('ϵ', 'ε'),
    ('ϑ', 'θ'),
    ('\u{1fbe}', 'ι'),
    ('ϰ', 'κ'),
    ('ϖ', 'π'),
    ('ϱ', 'ρ'),
    ('ϕ', 'φ'),
];

/// A text without case and accents, and where each byte of it came from.
#[derive(Debug)]
pub(crate) struct Folded {
    /// The folded text.
    pub(crate) text: String,
    /// For each byte of it, the offset of its character in the original; one more for the end.
    origin: Vec<u32>,
}

impl Folded {
    /// Folds a text of less than 4 GiB.
    pub(crate) fn of(original: &str) -> Folded {
        let mut folded =
            Folded { text: String::with_capacity(original.len()), origin: Vec::with_capacity(original.len() + 1) };
        for (at, c) in original.char_indices() {
            if let Some(c) = fold(c) {
                folded.text.push(c);
                folded.origin.resize(folded.text.len(), at as u32);
            }
        }
        folded.origin.push(original.len() as u32);
        folded
    }

    /// The range of the original that became this range; accents that follow it included.
    pub(crate) fn original(&self, start: usize, end: usize) -> (usize, usize) {
        (self.origin[start] as usize, self.origin[end] as usize)
    }
}

/// A text without case and accents.
pub(crate) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().filter_map(fold).collect()
}

/// A letter without case and accent; nothing for a combining accent.
pub(crate) fn fold(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c.to_ascii_lowercase());
    }
    if is_accent(c) {
        return None;
    }
    let c = lower(c);
    if !('\u{b5}'..'\u{2000}').contains(&c) {
        return Some(c);
    }
    if let Some(at) = GREEK_FORMS.iter().position(|(form, _)| *form == c) {
        return Some(GREEK_FORMS[at].1);
    }
    let plain = ACCENTED.iter().find(|(_, accented)| accented.contains(c)).map(|(plain, _)| *plain);
    Some(plain.unwrap_or(c))
}

fn lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// The combining accents that SQLite drops.
fn is_accent(c: char) -> bool {
    ('\u{300}'..='\u{331}').contains(&c)
}

/// Whether SQLite's `unicode61` counts a character as part of a word.
pub(crate) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || is_accent(c)
}

/// Whether a character is a word by itself in the index: Chinese, Japanese and Korean are written
/// without spaces between words, or with endings that hide them.
pub(crate) fn is_own_word(c: char) -> bool {
    c >= '\u{1100}'
        && matches!(c,
            '\u{1100}'..='\u{11ff}' | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}'
            | '\u{3100}'..='\u{318f}' | '\u{31a0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}'
            | '\u{20000}'..='\u{3ffff}')
}

/// The text with spaces around such characters, as the index of words gets it. A phrase of them
/// then finds any part of a sentence, however short.
pub(crate) fn spaced(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.is_ascii() || !text.chars().any(is_own_word) {
        return text;
    }
    let mut spaced = String::with_capacity(text.len() * 4 / 3);
    for c in text.chars() {
        if is_own_word(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    Cow::Owned(spaced)
}

/// The words of a folded text as the index has them.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c| !is_word_char(c));
        let (word, tail) = rest.split_at(word_length(rest));
        rest = tail;
        (!word.is_empty()).then_some(word)
    })
}

/// Length of the word that a text begins with; 0 if it begins with none.
pub(crate) fn word_length(text: &str) -> usize {
    match text.chars().next() {
        Some(c) if is_own_word(c) => c.len_utf8(),
        _ => text.find(|c| !is_word_char(c) || is_own_word(c)).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_lead_back_to_the_original() {
        let original = "a SESIÓN o\u{301}x 日本";
        let folded = Folded::of(original);
        assert_eq!(folded.text, "a sesion ox 日本");
        let at = folded.text.find("sesion").unwrap();
        let (start, end) = folded.original(at, at + 6);
        assert_eq!(&original[start..end], "SESIÓN");
        let at = folded.text.find('x').unwrap() - 1;
        let (start, end) = folded.original(at, at + 1);
        assert_eq!(&original[start..end], "o\u{301}");
        let (start, end) = folded.original(folded.text.len() - 3, folded.text.len());
        assert_eq!(&original[start..end], "本");
    }

    #[test]
    fn what_is_equal_for_sqlite_is_equal_here() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE VIRTUAL TABLE t USING fts5(x, tokenize = 'trigram remove_diacritics 1');
             CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance'); BEGIN;",
        )
        .unwrap();
        for c in ('\u{80}'..'\u{3000}').filter(|c| !is_accent(*c)) {
            let text = format!("{c}{c}{c}");
            db.execute("INSERT INTO t(rowid, x) VALUES (?1, ?2)", (u32::from(c), text)).unwrap();
        }
        let mut statement = db.prepare("SELECT doc, term FROM v").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?))).unwrap();
        // Where one of the two is coarser it has to be this one, or a hit would not be found again.
        let mut odd = Vec::new();
        for (c, term) in rows.map(Result::unwrap) {
            let c = char::from_u32(c).unwrap();
            if folded(&format!("{c}{c}{c}")) != folded(&term) {
                odd.push(format!("{c}≠{term}"));
            }
        }
        assert_eq!(odd, Vec::<String>::new());
    }

    #[test]
    fn words_are_those_of_the_index() {
        let check = |text: &str, expected: &[&str]| assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text}");
        check("a foo_bar, 10:00", &["a", "foo", "bar", "10", "00"]);
        check("日本語abc한국 ヘルプ", &["日", "本", "語", "abc", "한", "국", "ヘ", "ル", "プ"]);
        check("->", &[]);
        assert_eq!(spaced(Cow::Borrowed("a日本b")), "a 日  本 b");
        assert!(matches!(spaced(Cow::Borrowed("sesión")), Cow::Borrowed(_)));
    }
}
