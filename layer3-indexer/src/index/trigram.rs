//! Parts of words, as the side index has them: each three letters in a row as one token.
//!
//! Three letters are folded ([`crate::index::fold`]) and hashed to twenty bits, which are written with four
//! characters. Two that share a token cost a text that is compared in vain, nothing else: every hit is
//! checked against the text. Made here and not by SQLite's trigram tokenizer, because FTS5 takes as long
//! for a token that a row had before as for a new one, and most are repeated: of several messages together
//! every token is given to it once.

use super::fold::folded;

/// Letters of a token.
pub(crate) const LETTERS: usize = 3;
const BITS: u32 = 20;
/// Characters that FTS5's `ascii` tokenizer keeps as they are; five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const TOKEN_BYTES: usize = BITS as usize / 5;
/// Odd, and without a pattern: the golden ratio's digits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The tokens of a text, as often as they occur. None reaches over white space.
fn each_token(text: &str, mut each: impl FnMut(u32)) {
    let mut letters = [0; LETTERS];
    let mut run = 0;
    for c in folded(text).chars() {
        if c.is_whitespace() {
            run = 0;
            continue;
        }
        letters = [letters[1], letters[2], u64::from(u32::from(c))];
        run += 1;
        if run >= LETTERS {
            each(token(letters));
        }
    }
}

fn token([first, second, third]: [u64; LETTERS]) -> u32 {
    // A letter has 21 bits, so three of them are one number.
    ((first << 42 | second << 21 | third).wrapping_mul(MULTIPLIER) >> (u64::BITS - BITS)) as u32
}

fn write(token: u32, into: &mut String) {
    for place in (0..TOKEN_BYTES).rev() {
        into.push(char::from(ALPHABET[(token >> (5 * place) & 31) as usize]));
    }
}

/// What a text has to hold to hold this: tokens, each once. None where there is nothing of three letters.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    each_token(text, |token| all.push(token));
    all.sort_unstable();
    all.dedup();
    let written = |token: &u32| {
        let mut text = String::with_capacity(TOKEN_BYTES);
        write(*token, &mut text);
        text
    };
    all.iter().map(written).collect()
}

/// Gathers the tokens of several texts, each token once.
pub(crate) struct Tokens {
    /// A bit for each token …
    seen: Vec<u64>,
    /// … and one for each of those numbers that is not 0, so that the few that are set are found quickly.
    used: Vec<u64>,
}

impl Tokens {
    pub(crate) fn new() -> Tokens {
        let words = 1 << (BITS - u64::BITS.ilog2());
        Tokens { seen: vec![0; words], used: vec![0; words / u64::BITS as usize] }
    }

    /// Adds those of a text.
    pub(crate) fn add(&mut self, text: &str) {
        each_token(text, |token| self.add_one(token));
    }

    /// Adds what was gathered elsewhere.
    pub(crate) fn add_all(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|token| self.add_one(*token));
    }

    fn add_one(&mut self, token: u32) {
        let place = token as usize / 64;
        self.seen[place] |= 1 << (token % 64);
        self.used[place / 64] |= 1 << (place % 64);
    }

    /// All that were gathered, in their order. Begins again.
    ///
    /// FTS5 looks each token up in memory. In the same order for every row, those are near each other that are
    /// looked up one after the other.
    pub(crate) fn take(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        for (n, used) in self.used.iter_mut().enumerate() {
            for place in bits(std::mem::take(used)).map(|bit| n * 64 + bit) {
                let seen = std::mem::take(&mut self.seen[place]);
                tokens.extend(bits(seen).map(|bit| (place * 64 + bit) as u32));
            }
        }
        tokens
    }
}

/// The places of the bits that are set, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = word.trailing_zeros();
        (word != 0).then(|| {
            word &= word - 1;
            lowest as usize
        })
    })
}

/// Tokens as a text for the index; `None` where there are none.
pub(crate) fn written(tokens: &[u32]) -> Option<String> {
    let mut text = String::with_capacity(tokens.len() * (TOKEN_BYTES + 1));
    for token in tokens {
        write(*token, &mut text);
        text.push(' ');
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gathered(texts: &[&str]) -> Vec<String> {
        let mut tokens = Tokens::new();
        texts.iter().for_each(|text| tokens.add(text));
        let text = written(&tokens.take()).unwrap_or_default();
        assert!(tokens.take().is_empty(), "it begins again");
        let mut all: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        all.sort();
        all
    }

    #[test]
    fn a_token_is_three_letters_in_a_row() {
        assert_eq!(tokens("abc").len(), 1);
        assert_eq!(tokens("abcd").len(), 2);
        assert_eq!(tokens("ab cd\ne").len(), 0);
        assert_eq!(tokens("日本語").len(), 1);
        assert_eq!(tokens("abcabcabc").len(), 3);
        assert_eq!(tokens("SESIÓN"), tokens("sesio\u{301}n"));
        assert_ne!(tokens("abc"), tokens("bca"));
    }

    #[test]
    fn of_several_texts_every_token_is_gathered_once() {
        let mut expected = tokens("abcde xyz");
        expected.sort();
        assert_eq!(gathered(&["abcd", "bcde", "xyz abc"]), expected);
        assert_eq!(gathered(&["a b c"]), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn a_text_has_the_tokens_of_each_of_its_parts(before in any::<String>(), part in any::<String>(), after in any::<String>()) {
            let all = gathered(&[&format!("{before}{part}{after}")]);
            for token in tokens(&part) {
                prop_assert!(all.contains(&token));
            }
        }
    }
}
