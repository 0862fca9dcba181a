//! Letters as a search compares them: without case, accents and the other marks that people leave
//! out when they type. What is indexed, what is asked and the text that a hit is found again in all
//! pass here, so that `lodz` finds `Łódź`, `елка` finds `Ёлка` and `abc` finds `ＡＢＣ`.

use std::borrow::Cow;

use unicode_normalization::char::{compose, decompose_compatible};

/// Letters that are one of their own for Unicode and another one, or two, for who types.
const LIKE: [(char, &str); 25] = [
    ('ł', "l"),
    ('ø', "o"),
    ('đ', "d"),
    ('ð', "d"),
    ('ħ', "h"),
    ('ŧ', "t"),
    ('ŋ', "n"),
    ('ı', "i"),
    ('ȷ', "j"),
    ('ĸ', "k"),
    ('ƶ', "z"),
    ('ƀ', "b"),
    ('ɨ', "i"),
    ('þ', "th"),
    ('ß', "ss"),
    ('æ', "ae"),
    ('œ', "oe"),
    // Greek's sigma at the end of a word; Cyrillic letters that fonts and keyboards confuse.
    ('ς', "σ"),
    ('ґ', "г"),
    // Arabic letters that are typed either way, and their Persian forms.
    ('ى', "ي"),
    ('ی', "ي"),
    ('ک', "ك"),
    ('ة', "ه"),
    ('ٱ', "ا"),
    ('⁄', "/"),
];

/// Marks that no letter needs, and characters that nobody sees, first and last of each range. The marks of other
/// scripts, such as the vowels of Devanagari or Thai, are letters for who reads them, and stay.
const DROPPED: [(char, char); 24] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{300}', '\u{36f}'),
    ('\u{483}', '\u{489}'),
    // Hebrew points and accents.
    ('\u{591}', '\u{5bd}'),
    ('\u{5bf}', '\u{5bf}'),
    ('\u{5c1}', '\u{5c2}'),
    ('\u{5c4}', '\u{5c5}'),
    ('\u{5c7}', '\u{5c7}'),
    // Arabic vowels, and the stroke that only makes a word longer.
    ('\u{610}', '\u{61a}'),
    ('\u{640}', '\u{640}'),
    ('\u{64b}', '\u{65f}'),
    ('\u{670}', '\u{670}'),
    ('\u{6d6}', '\u{6dc}'),
    ('\u{6df}', '\u{6e4}'),
    ('\u{6e7}', '\u{6e8}'),
    ('\u{6ea}', '\u{6ed}'),
    ('\u{1ab0}', '\u{1aff}'),
    ('\u{1dc0}', '\u{1dff}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{20d0}', '\u{20f0}'),
    ('\u{fe00}', '\u{fe2f}'),
    ('\u{feff}', '\u{feff}'),
];

/// A text as it is compared, and where each byte of it came from.
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
            let from = push_folded(&mut folded.text, c);
            // A character that became one with the one before begins where that began.
            let begins = folded.origin.get(from).copied().unwrap_or(at as u32);
            folded.origin.truncate(from);
            folded.origin.resize(folded.text.len(), begins);
        }
        folded.origin.push(original.len() as u32);
        folded
    }

    /// The range of the original that became this range; accents that follow it included.
    pub(crate) fn original(&self, start: usize, end: usize) -> (usize, usize) {
        (self.origin[start] as usize, self.origin[end] as usize)
    }
}

/// A text as it is compared.
pub(crate) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        // Most of most texts is ASCII, which is folded many letters at a time.
        let (ascii, tail) = rest.split_at(rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len()));
        let at = folded.len();
        folded.push_str(ascii);
        folded[at..].make_ascii_lowercase();
        let Some(c) = tail.chars().next() else { return folded };
        push_folded(&mut folded, c);
        rest = &tail[c.len_utf8()..];
    }
}

/// Adds a character as it is compared: nothing for a mark, several for some. Gives where what became of it
/// begins, which is before the end of the text if it became one with what stood there.
fn push_folded(text: &mut String, c: char) -> usize {
    let mut begins = text.len();
    if c.is_ascii() {
        text.push(c.to_ascii_lowercase());
    } else if is_plain(c) {
        text.push(c);
    } else {
        decompose_compatible(c, |part| {
            if DROPPED.iter().any(|(first, last)| (*first..=*last).contains(&part)) {
                return;
            }
            if is_joined_to_the_last(part)
                && let Some(last) = text.chars().next_back()
                && let Some(one) = compose(last, part)
            {
                text.pop();
                begins = begins.min(text.len());
                text.push(one);
                return;
            }
            for lower in part.to_lowercase().filter(|lower| *lower != '\u{307}') {
                match LIKE.iter().find(|(letter, _)| *letter == lower) {
                    Some((_, like)) => text.push_str(like),
                    None => text.push(digit(lower)),
                }
            }
        });
    }
    begins
}

/// Ideographs and Korean syllables, dashes, quotes, arrows, lines and ticks: most of what is not ASCII, and nothing to be
/// done about.
fn is_plain(c: char) -> bool {
    matches!(c, '\u{2012}'..='\u{2016}' | '\u{2018}'..='\u{2023}' | '\u{2190}'..='\u{2199}' | '\u{2500}'..='\u{27bf}'
        | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// The marks of kana, which make other syllables of them, and the parts of Korean syllables: some systems write
/// them apart in names of files.
fn is_joined_to_the_last(c: char) -> bool {
    matches!(c, '\u{3099}'..='\u{309a}' | '\u{1161}'..='\u{1175}' | '\u{11a8}'..='\u{11c2}')
}

/// The digits of Arabic and Persian as those of everybody else.
fn digit(c: char) -> char {
    let zero = match c {
        '\u{660}'..='\u{669}' => 0x660,
        '\u{6f0}'..='\u{6f9}' => 0x6f0,
        _ => return c,
    };
    char::from_digit(u32::from(c) - zero, 10).unwrap_or(c)
}

/// Whether SQLite's `unicode61` counts a character of a folded text as part of a word.
pub(crate) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric()
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

/// A text as the index of words gets it: folded, and with spaces around such characters. A phrase of them
/// then finds any part of a sentence, however short. Of ASCII, SQLite folds the letters itself.
pub(crate) fn indexed(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.is_ascii() {
        return text;
    }
    let folded = folded(&text);
    if !folded.chars().any(is_own_word) {
        return Cow::Owned(folded);
    }
    let mut spaced = String::with_capacity(folded.len() * 4 / 3);
    for c in folded.chars() {
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
    fn what_people_leave_out_is_left_out() {
        for (written, typed) in [
            ("Łódź Żółty Øre Đorđe ıI İstanbul", "lodz zolty ore dorde ii istanbul"),
            ("Straße STRAẞE Œuvre Ægir þorn", "strasse strasse oeuvre aegir thorn"),
            ("Ёлка и\u{306} Їжак Ґанок", "елка и іжак ганок"),
            ("ΟΔΟΣ Ἀθῆναι ώ", "οδοσ αθηναι ω"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد أحمد إلى مدرسة ۱۲۳ ـ", "محمد احمد الي مدرسه 123 "),
            ("ＡＢＣ１２ ﬁle ½ ①", "abc12 file 1/2 1"),
            ("ｶﾞｷﾞ か\u{3099} が パ", "ガギ が が パ"),
            ("한국 \u{1112}\u{1161}\u{11ab}", "한국 한"),
            ("zero\u{200b}width so\u{ad}ft", "zerowidth soft"),
            ("हिन्दी ไทย", "हिन्दी ไทย"),
        ] {
            assert_eq!(folded(written), typed);
            assert_eq!(folded(typed), typed, "folding once is enough");
            assert_eq!(Folded::of(written).text, typed);
        }
        let joined = Folded::of("aｶﾞb");
        assert_eq!((joined.original(1, 4), joined.original(4, 5)), ((1, 7), (7, 8)));
    }

    #[test]
    fn of_a_plain_character_nothing_is_to_be_made() {
        for c in ('\u{2000}'..='\u{a000}').filter(|c| is_plain(*c)) {
            let mut parts = Vec::new();
            decompose_compatible(c, |part| parts.push(part));
            assert_eq!((parts, c.to_lowercase().collect::<Vec<_>>()), (vec![c], vec![c]), "{c:?}");
            let is_dropped = DROPPED.iter().any(|(first, last)| (*first..=*last).contains(&c));
            assert!(!is_dropped && !LIKE.iter().any(|(letter, _)| *letter == c) && digit(c) == c, "{c:?}");
        }
    }

    #[test]
    fn of_a_folded_letter_sqlite_makes_what_is_made_here() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE VIRTUAL TABLE t USING fts5(x, tokenize = 'unicode61 remove_diacritics 2');
             CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance'); BEGIN;",
        )
        .unwrap();
        // The letters and digits that are written in the scripts that are folded.
        let ranges = ['\u{80}'..'\u{600}', '\u{1e00}'..'\u{2000}', '\u{ff00}'..'\u{ff60}'];
        let letters = || ranges.clone().into_iter().flatten().filter(|c| c.is_alphanumeric());
        for c in letters() {
            let text = format!("a{}a", folded(&c.to_string()));
            db.execute("INSERT INTO t(rowid, x) VALUES (?1, ?2)", (u32::from(c), text)).unwrap();
        }
        let mut made: std::collections::BTreeMap<u32, Vec<String>> = std::collections::BTreeMap::new();
        let mut statement = db.prepare("SELECT doc, term FROM v ORDER BY doc, offset").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(Result::unwrap).for_each(|(doc, term)| made.entry(doc).or_default().push(term));
        let mut odd = Vec::new();
        for c in letters() {
            let text = format!("a{}a", folded(&c.to_string()));
            if words(&text).ne(made[&u32::from(c)].iter()) {
                odd.push(format!("{c} {:?}", made[&u32::from(c)]));
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
        assert_eq!(indexed(Cow::Borrowed("a日本b")), "a 日  本 b");
        assert_eq!(indexed(Cow::Borrowed("Sesión")), "sesion");
        assert!(matches!(indexed(Cow::Borrowed("Session")), Cow::Borrowed(_)));
    }
}
