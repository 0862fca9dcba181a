//! A fault point: which call of which program fails, and how.

use std::fmt;
use std::str::FromStr;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The program is killed on entering the call.
    Kill,
    /// The device failed.
    Eio,
    /// The disk is full.
    Enospc,
    /// The quota is used up.
    Edquot,
    /// A signal came.
    Eintr,
    /// No descriptor is left.
    Emfile,
    /// No process or thread can be made.
    Eagain,
    /// One byte is said to be done: read rightly; of a write nothing is done.
    ShortOne,
    /// Half is said to be done, likewise.
    ShortHalf,
    /// A read finds the end of the file.
    Eof,
    /// A write is said to be done and is not.
    Lie,
    /// The first byte of the buffer is another one.
    Flip,
}

/// All kinds, with the words of point ids.
const WORDS: [(Kind, &str); 12] = [
    (Kind::Kill, "KILL"),
    (Kind::Eio, "EIO"),
    (Kind::Enospc, "ENOSPC"),
    (Kind::Edquot, "EDQUOT"),
    (Kind::Eintr, "EINTR"),
    (Kind::Emfile, "EMFILE"),
    (Kind::Eagain, "EAGAIN"),
    (Kind::ShortOne, "SHORT1"),
    (Kind::ShortHalf, "SHORT2"),
    (Kind::Eof, "EOF"),
    (Kind::Lie, "LIE"),
    (Kind::Flip, "FLIP"),
];

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Scope {
    /// Those that touch the scratch home. The loader's calls, which come before the program's own
    /// first one, are not among them.
    Home,
    /// All of them; N is then one that is neither the loader's nor touches the home.
    All,
}

/// Whether one call fails, or all from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Span {
    /// The Nth call alone.
    Once,
    /// The Nth and all that follow; of EINTR [`INTERRUPTIONS`] in a row, as no signal comes for ever.
    On,
}

/// How many calls in a row are interrupted "from there on".
pub(super) const INTERRUPTIONS: u32 = 40;

/// One fault point. strace counts calls in each thread by itself, so that a point may hit two
/// threads; it does so every time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Point {
    /// `layer1`, `layer2` or `layer3`.
    pub program: String,
    /// What the program is doing.
    pub workload: String,
    /// The system call.
    pub call: String,
    /// Which calls of that name are counted.
    pub scope: Scope,
    /// How it fails.
    pub kind: Kind,
    /// For how long.
    pub span: Span,
    /// Which call, from 1.
    pub n: u32,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(kind, _)| kind == self).map_or("?", |(_, word)| word);
        f.write_str(word)
    }
}

impl Kind {
    /// The name of the error that the call returns, if it is made to return one.
    pub(super) fn errno(self) -> Option<String> {
        let is_error =
            matches!(self, Kind::Eio | Kind::Enospc | Kind::Edquot | Kind::Eintr | Kind::Emfile | Kind::Eagain);
        is_error.then(|| self.to_string())
    }
}

/// `layer1/delta/pwrite64/EIO/once/3`; `@all` after the call where all calls are counted.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = if self.scope == Scope::All { "@all" } else { "" };
        let span = if self.span == Span::On { "on" } else { "once" };
        write!(f, "{}/{}/{}{scope}/{}/{span}/{}", self.program, self.workload, self.call, self.kind, self.n)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Point, String> {
        let wrong = || format!("read the fault point {text:?}: it is PROGRAM/WORKLOAD/CALL[@all]/KIND/once|on/N");
        let parts: Vec<&str> = text.split('/').collect();
        let [program, workload, call, kind, span, n] = parts[..] else { return Err(wrong()) };
        let (call, scope) = match call.strip_suffix("@all") {
            Some(call) => (call, Scope::All),
            None => (call, Scope::Home),
        };
        let kind = WORDS.iter().find(|(_, word)| *word == kind).map(|(kind, _)| *kind).ok_or_else(wrong)?;
        let span = match span {
            "once" => Span::Once,
            "on" => Span::On,
            _ => return Err(wrong()),
        };
        let n = n.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let (program, workload, call) = (program.to_owned(), workload.to_owned(), call.to_owned());
        Ok(Point { program, workload, call, scope, kind, span, n })
    }
}

/// A number that depends on the seed and on what it is for, and on nothing else.
pub(super) fn draw(seed: u64, what: &str) -> u64 {
    let hash = blake3::hash(format!("{seed} {what}").as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for id in ["layer1/delta/pwrite64/EIO/once/3", "layer2/hook/write@all/SHORT1/on/12"] {
            assert_eq!(id.parse::<Point>().unwrap().to_string(), id);
        }
        for id in ["", "a/b/c", "layer1/delta/open/EIO/once/0", "layer1/delta/open/E/once/1", "l/d/open/EIO/twice/1"] {
            assert!(id.parse::<Point>().is_err(), "{id}");
        }
    }
}
