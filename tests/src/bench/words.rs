//! Text as conversations about code have it: words by Zipf's law, identifiers and paths that belong
//! to a project, lines of code and of logs. All of it is drawn from a seed, and none of it needs
//! escaping in JSON but what is written here escaped already.

use std::fmt::Write;

/// Words that a conversation is made of.
pub const VOCABULARY: u64 = 30_000;
const IDENTIFIERS: u64 = 400;
const FILES: u64 = 60;
const KEYWORDS: [&str; 16] = [
    "let", "fn", "if", "else", "return", "self", "match", "for", "in", "pub", "const", "impl", "use", "await", "mut",
    "struct",
];
const SYLLABLES: [&str; 60] = [
    "a", "the", "in", "to", "or", "is", "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui",
    "ro", "su", "ta", "ve", "wi", "xo", "yu", "za", "bre", "cli", "dro", "flu", "gra", "kle", "pli", "pro", "stu",
    "tra", "ster", "ment", "tion", "ing", "er", "al", "ent", "ous", "ist", "um", "ax", "ock", "ell", "orn", "unt",
    "ave", "ide", "ope", "ure", "ack", "esh", "ift", "oam",
];

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// Whether one of `count` equally likely things happens.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A rank below `limit`: the first is the most likely, the n-th an n-th as likely.
    pub fn zipf(&mut self, limit: u64) -> u64 {
        ((limit as f64 + 1.0).powf(self.unit()) as u64 - 1).min(limit - 1)
    }

    /// A length whose logarithm is spread evenly: many short ones, some long ones.
    pub fn length(&mut self, range: std::ops::Range<u64>) -> usize {
        let (low, high) = (range.start as f64, range.end as f64);
        (low * (high / low).powf(self.unit())) as usize
    }

    /// An id as Claude Code gives them.
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }
}

/// The word of that rank: short ones are common.
pub fn push_word(text: &mut String, rank: u64) {
    let base = SYLLABLES.len() as u64;
    let mut rest = rank;
    loop {
        // Neighbours in rank should not share their beginning.
        text.push_str(SYLLABLES[(rest.wrapping_mul(17) % base) as usize]);
        rest /= base;
        if rest == 0 {
            return;
        }
        rest -= 1;
    }
}

/// What a project's conversations speak of.
#[derive(Debug)]
pub struct Project {
    /// Its name, the last part of its path.
    pub name: String,
    /// Names of its functions, types and fields.
    pub identifiers: Vec<String>,
    /// Its files, absolute.
    pub files: Vec<String>,
}

impl Project {
    /// The project of that number.
    pub fn new(number: u64) -> Project {
        let mut random = Random(number.wrapping_mul(0xA076_1D64_78BD_642F) ^ 7);
        let mut name = String::new();
        push_word(&mut name, 4000 + 97 * number);
        let identifiers: Vec<String> = (0..IDENTIFIERS).map(|_| identifier(&mut random)).collect();
        let file = |random: &mut Random, n: u64| {
            let stem = &identifiers[(n % IDENTIFIERS) as usize];
            let folder = ["src", "src/net", "src/store", "tests", "web/components"][random.below(5) as usize];
            format!("/home/dev/{name}/{folder}/{stem}.{}", ["rs", "ts", "py", "md"][random.below(4) as usize])
        };
        let files = (0..FILES).map(|n| file(&mut random, n)).collect();
        Project { name, identifiers, files }
    }

    /// One of its names, some much more likely than others.
    pub fn identifier(&self, random: &mut Random) -> &str {
        &self.identifiers[random.zipf(IDENTIFIERS) as usize]
    }

    /// One of its files.
    pub fn file(&self, random: &mut Random) -> &str {
        &self.files[random.zipf(FILES) as usize]
    }
}

fn identifier(random: &mut Random) -> String {
    let mut name = String::new();
    let is_type = random.one_in(3);
    for part in 0..2 + random.below(2) {
        if is_type {
            let start = name.len();
            push_word(&mut name, 60 + random.below(VOCABULARY - 60));
            name[start..start + 1].make_ascii_uppercase();
        } else {
            if part > 0 {
                name.push('_');
            }
            push_word(&mut name, 60 + random.below(VOCABULARY - 60));
        }
    }
    name
}

/// Sentences of about so many characters, as people and models write them.
pub fn push_prose(text: &mut String, random: &mut Random, project: &Project, chars: usize) {
    let end = text.len() + chars;
    while text.len() < end {
        for word in 0..6 + random.below(14) {
            if word > 0 {
                text.push(' ');
            }
            match random.below(40) {
                0 => push_all(text, &["`", project.identifier(random), "`"]),
                1 => text.push_str(project.file(random)),
                _ => push_word(text, random.zipf(VOCABULARY)),
            }
        }
        text.push_str(if random.one_in(5) { ".\\n\\n" } else { ". " });
    }
}

/// Lines of code, numbered as a tool that reads files numbers them, or not.
pub fn push_code(text: &mut String, random: &mut Random, project: &Project, chars: usize, numbered: bool) {
    let end = text.len() + chars;
    let mut number = 1 + random.below(600);
    while text.len() < end {
        if numbered {
            put(text, format_args!("{number:>6}→"));
        }
        number += 1;
        for _ in 0..random.below(4) {
            text.push_str("    ");
        }
        for _ in 0..2 + random.below(6) {
            match random.below(10) {
                0..3 => push_all(text, &[KEYWORDS[random.zipf(16) as usize], " "]),
                3 => put(text, format_args!("{} ", random.zipf(4096))),
                4 => push_all(text, &["\\\"", project.identifier(random), "\\\", "]),
                5 => push_all(text, &["// ", COMMENT_WORDS[random.below(4) as usize], " "]),
                _ => push_all(
                    text,
                    &[project.identifier(random), ["(", ").", "::", " = ", ", "][random.below(5) as usize]],
                ),
            }
        }
        text.push_str(if random.one_in(3) { " {\\n" } else { ";\\n" });
    }
}

const COMMENT_WORDS: [&str; 4] = ["why", "note", "keep", "see"];

/// What builds, tests, searches and version control print.
pub fn push_log(text: &mut String, random: &mut Random, project: &Project, chars: usize) {
    let end = text.len() + chars;
    while text.len() < end {
        match random.below(6) {
            0 => put(text, format_args!("test {}::{} ... ok", project.identifier(random), project.name)),
            1 => put(text, format_args!("{}:{}: ", project.file(random), 1 + random.zipf(900))),
            2 => put(text, format_args!("{:07x} {} ", random.bits() >> 36, project.name)),
            3 => put(
                text,
                format_args!(
                    "2026-0{}-1{}T1{}:{}:07Z INFO ",
                    1 + random.below(9),
                    random.below(10),
                    random.below(10),
                    10 + random.below(50)
                ),
            ),
            4 => put(
                text,
                format_args!("   Compiling {} v0.{}.{}", project.identifier(random), random.below(9), random.below(20)),
            ),
            _ => put(text, format_args!("warning: unused `{}` ", project.identifier(random))),
        }
        for _ in 0..random.below(9) {
            text.push(' ');
            push_word(text, random.zipf(VOCABULARY));
        }
        text.push_str("\\n");
    }
}

fn push_all(text: &mut String, pieces: &[&str]) {
    pieces.iter().for_each(|piece| text.push_str(piece));
}

fn put(text: &mut String, pieces: std::fmt::Arguments<'_>) {
    text.write_fmt(pieces).expect("a string takes anything");
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn word(rank: u64) -> String {
        let mut text = String::new();
        push_word(&mut text, rank);
        text
    }

    #[test]
    fn nearly_every_rank_has_a_word_of_its_own() {
        let words: HashSet<String> = (0..VOCABULARY).map(word).collect();
        assert!(words.len() as u64 > VOCABULARY * 95 / 100, "{} words", words.len());
        assert!(word(3).len() < word(20_000).len());
    }

    #[test]
    fn words_are_spread_as_zipf_found() {
        let mut random = Random(1);
        let mut counts = HashMap::<u64, u64>::new();
        (0..400_000).for_each(|_| *counts.entry(random.zipf(VOCABULARY)).or_default() += 1);
        let ratio = |rank: u64| counts[&0] as f64 / counts[&rank] as f64;
        // Ranks count from 0; the continuous law makes the first a little too common.
        assert!((6.0..16.0).contains(&ratio(9)), "{}", ratio(9));
        assert!((60.0..160.0).contains(&ratio(99)), "{}", ratio(99));
        assert!(counts.len() > 20_000, "the tail is long: {}", counts.len());
    }

    #[test]
    fn a_seed_says_it_all() {
        let text = |seed| {
            let (mut text, mut random, project) = (String::new(), Random(seed), Project::new(3));
            push_prose(&mut text, &mut random, &project, 500);
            push_code(&mut text, &mut random, &project, 500, true);
            push_log(&mut text, &mut random, &project, 500);
            text
        };
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
        let json: String = serde_json::from_str(&format!("\"{}\"", text(5))).expect("it stands in JSON as it is");
        assert!(json.contains('\n') && json.len() > 1400);
    }
}
