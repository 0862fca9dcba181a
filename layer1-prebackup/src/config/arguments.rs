//! The arguments of the programs, and what a start costs because of them. Of a hook's, one that cannot be understood
//! costs no copy.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Args, Command, Error, Parser, Subcommand};

use crate::config::settings::SettingsError;

/// Parses `args` (the program's name first) as `P` does, whose flags are `F` and whose verbs are `V`. Of the verbs only
/// the one that is called is built: every flag is copied into each that is, which is most of what a start costs.
/// What that one does not understand, or is asked to explain, all of them together are asked.
pub fn parsed<P: Parser, F: Args, V: Subcommand>(program: Command, args: &[OsString]) -> Result<P, Error> {
    parsed_alone::<P, F, V>(program, args).unwrap_or_else(|| P::try_parse_from(args))
}

fn parsed_alone<P: Parser, F: Args, V: Subcommand>(program: Command, args: &[OsString]) -> Option<Result<P, Error>> {
    let mut words = args.iter().skip(1).filter(|arg| !arg.as_encoded_bytes().starts_with(b"-")).peekable();
    let verbs = words.peek().map(|_| V::augment_subcommands(Command::new("verbs")));
    let verb = verbs.as_ref().and_then(|verbs| words.find_map(|word| verbs.find_subcommand(word)));
    let flags = F::augment_args(program);
    let command = verb.into_iter().fold(flags, |flags, verb| flags.subcommand(verb.clone()));
    match command.try_get_matches_from(args) {
        Ok(matches) => P::from_arg_matches(&matches).ok().map(Ok),
        Err(error) => (error.kind() == ErrorKind::DisplayVersion).then_some(Err(error)),
    }
}

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
    #[command(name = "x", version = "1", arg_required_else_help = true)]
    struct Whole {
        #[command(subcommand)]
        verb: Verb,
        #[command(flatten)]
        flags: Flags,
    }

    #[derive(Debug, Args)]
    struct Flags {
        #[command(flatten)]
        places: PlaceFlags,
        #[arg(long, global = true)]
        json: bool,
    }

    #[derive(Debug, Subcommand)]
    #[command(defer = true)]
    enum Verb {
        List {
            #[arg(long)]
            since: Option<String>,
        },
        #[command(visible_alias = "look")]
        Show { session: Vec<String> },
    }

    #[test]
    fn with_one_verb_alone_the_arguments_mean_and_the_errors_say_what_they_do_with_all() {
        let program = || Command::new("x").version("1");
        for line in [
            "list",
            "list --since 7d --json",
            "--json list",
            "--claude-dir list show a b",
            "--claude-dir show list",
            "show list show",
            "look a --json --backup-dir /b",
            "show -- --json",
            "show -- list",
            "help show",
            "show --help",
            "--help",
            "--version",
            "-V",
            "",
            "lst",
            "--json",
            "list more",
            "--since 7d list",
            "list --since",
            "show list --since 7d",
            "-- list",
        ] {
            let args: Vec<OsString> = std::iter::once("x").chain(line.split_whitespace()).map(OsString::from).collect();
            let said = |parsed: Result<Whole, Error>| {
                parsed.map(|whole| format!("{whole:?}")).map_err(|error| (error.kind(), error.render().to_string()))
            };
            assert_eq!(
                said(parsed::<Whole, Flags, Verb>(program(), &args)),
                said(Whole::try_parse_from(&args)),
                "{line}"
            );
        }
        let alone = |line: &str| {
            let args: Vec<OsString> = std::iter::once("x").chain(line.split_whitespace()).map(OsString::from).collect();
            parsed_alone::<Whole, Flags, Verb>(program(), &args).is_some()
        };
        assert_eq!(["list --json", "show a", "--version", "lst"].map(alone), [true, true, true, false]);
    }

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
