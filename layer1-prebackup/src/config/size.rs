//! Sizes as people read and write them.

use std::fmt;
use std::str::FromStr;

/// So many bytes. Shown in units of 1000 with two digits or so (`999 B`, `1.5 kB`, `38 MB`); read with any unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// What a text has to be to be read as one.
    pub(crate) const EXPECTED: &str = "a number of bytes such as 1000000, \"256MB\" or \"1GiB\"";
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = ["kB", "MB", "GB", "TB"].into_iter();
        let (mut amount, mut unit) = (self.0 as f64, "B");
        // What would be shown as 1000 is 1.0 of the next unit.
        while amount >= 999.5
            && let Some(larger) = units.next()
        {
            (amount, unit) = (amount / 1000.0, larger);
        }
        let digits = usize::from(unit != "B" && amount < 9.95);
        f.pad(&format!("{amount:.digits$} {unit}"))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => Some(1),
            "kb" => Some(1_000),
            "mb" => Some(1_000_000),
            "gb" => Some(1_000_000_000),
            "tb" => Some(1_000_000_000_000),
            "kib" => Some(1 << 10),
            "mib" => Some(1 << 20),
            "gib" => Some(1 << 30),
            "tib" => Some(1 << 40),
            _ => None,
        };
        let bytes = text[..digits].parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        bytes.map(Size).ok_or_else(|| format!("it must be {}", Size::EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes =
            [0, 999, 1000, 1536, 9949, 38_775, 999_500, 2_200_000, 15_100_000, 5_400_000_000, 9_100_000_000_000];
        let shown: Vec<String> = sizes.iter().map(|bytes| Size(*bytes).to_string()).collect();
        let expected = "0 B | 999 B | 1.0 kB | 1.5 kB | 9.9 kB | 39 kB | 1.0 MB | 2.2 MB | 15 MB | 5.4 GB | 9.1 TB";
        assert_eq!(shown.join(" | "), expected);
        assert_eq!(format!("{:>8}|{:<8}|", Size(1000), Size(5)), "  1.0 kB|5 B     |");
    }

    #[test]
    fn sizes_are_bytes_with_or_without_a_unit() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(text.parse().ok(), bytes.map(Size), "{text}");
        check("0", Some(0));
        check("256MB", Some(256_000_000));
        check("1 GiB", Some(1 << 30));
        check("17b", Some(17));
        for wrong in ["", "MB", "-1", "1.5GB", "1XB", "99999999999999TB"] {
            check(wrong, None);
        }
    }
}
