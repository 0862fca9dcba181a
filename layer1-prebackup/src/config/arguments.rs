//! The arguments of a hook: one that cannot be understood costs no copy.

use std::ffi::OsString;

use clap::Parser;

use crate::config::settings::SettingsError;

/// Parses what can be understood of `args` (the program's name first), and names the rest. `None` where not even the
/// program's name alone will do.
pub fn understood<P: Parser>(args: &[OsString]) -> Option<(P, SettingsError)> {
    let (program, rest) = args.split_first()?;
    let (mut taken, mut left) = (vec![program.clone()], Vec::new());
    let mut parsed = P::try_parse_from(&taken).ok()?;
    let mut at = 0;
    while at < rest.len() {
        // A flag that takes a value needs both.
        let fits = |words: usize| {
            let more = rest.get(at..at + words)?;
            Some((P::try_parse_from(taken.iter().chain(more)).ok()?, words))
        };
        let Some((better, words)) = fits(1).or_else(|| fits(2)) else {
            left.push(rest[at].to_string_lossy().into_owned());
            at += 1;
            continue;
        };
        parsed = better;
        taken.extend_from_slice(&rest[at..at + words]);
        at += words;
    }
    Some((parsed, SettingsError(format!("understand these arguments: {left:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::places::PlaceFlags;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        places: PlaceFlags,
        #[arg(long)]
        quiet: bool,
        #[arg(long)]
        count: Option<u32>,
    }

    #[test]
    fn what_is_understood_holds_and_the_rest_is_named() {
        let check = |line: &str, quiet: bool, count: Option<u32>, left: &str| {
            let args: Vec<OsString> = ["x"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            let (cli, error) = understood::<Cli>(&args).unwrap();
            assert_eq!((cli.quiet, cli.count), (quiet, count), "{line}");
            assert_eq!(cli.places.backup_dir.as_deref(), Some("/b".as_ref()), "{line}");
            assert_eq!(error.to_string(), format!("understand these arguments: {left}"), "{line}");
        };
        check("--backup-dir /b --no-such --quiet", true, None, "[\"--no-such\"]");
        check("--count lots --backup-dir /b --quiet", true, None, "[\"--count\", \"lots\"]");
        check("--claude-dir  --backup-dir /b --count 3", false, Some(3), "[\"--claude-dir\", \"\"]");
        check("stray --backup-dir /b --count", false, None, "[\"stray\", \"--count\"]");
    }
}
