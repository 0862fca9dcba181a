//! `archive`: its verbs, and what they print.

use clap::{Args, Subcommand};
use layer1_prebackup::config::exclude::Exclusions;
use layer1_prebackup::config::places::Places;
use layer1_prebackup::config::settings::{SettingFlags, Settings};

use crate::browse::team::{self, Answer, Archive, Sender};
use crate::cli::screen::{Screen, counting, example, here, problem};
use crate::failure::{Failure, Kind};
use crate::scope::Limits;

/// The file of passwords, as for `psql`.
const PGPASSFILE: &str = "PGPASSFILE";
const ADDRESS: &str = "postgres://NAME@HOST/DATABASE";

// Said as documentation, this would stand in the help instead of what the command is for.
#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the archive in a database, and a part of it for each person; again for more people
    #[command(after_help = example("archive init postgres://postgres@localhost/threefold --person anna --person ben"))]
    Init {
        /// The database, as who looks after it; the password stands in ~/.pgpass, as for psql
        #[arg(value_name = ADDRESS)]
        address: String,
        /// A person: the name of the role in the database, which is made if it is not there (repeatable)
        #[arg(long = "person", value_name = "NAME", required = true)]
        people: Vec<String>,
    },
    /// Send what is new here to your part, with what looks like a secret masked; what you had forgotten leaves it
    #[command(after_help = example("archive push postgres://anna@localhost/threefold"))]
    Push {
        /// The database, as you; the password stands in ~/.pgpass, as for psql
        #[arg(value_name = ADDRESS)]
        address: String,
    },
    /// Show whose conversations you may read there, who may read yours, and what waits here
    #[command(after_help = example("archive status postgres://anna@localhost/threefold"))]
    Status {
        /// The database, as you
        #[arg(value_name = ADDRESS)]
        address: String,
    },
    /// Let another person read your part
    #[command(after_help = example("archive allow postgres://anna@localhost/threefold ben"))]
    Allow {
        /// The database, as you
        #[arg(value_name = ADDRESS)]
        address: String,
        /// Who may read
        #[arg(value_name = "NAME")]
        person: String,
    },
    /// Let another person read your part no longer
    #[command(after_help = example("archive deny postgres://anna@localhost/threefold ben"))]
    Deny {
        /// The database, as you
        #[arg(value_name = ADDRESS)]
        address: String,
        /// Who may no longer read
        #[arg(value_name = "NAME")]
        person: String,
    },
}

/// The archive of an address.
pub(super) fn archive(address: String, places: &Places) -> Archive {
    let named = std::env::var_os(PGPASSFILE).filter(|path| !path.is_empty());
    Archive { address, passwords: named.map_or_else(|| places.home.join(".pgpass"), Into::into) }
}

/// Runs `archive`.
pub(super) fn run(
    places: &Places,
    args: ArchiveArgs,
    settings: &SettingFlags,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let archive = |address| archive(address, places);
    let answer = match args.verb {
        Verb::Init { address, people } => team::init(&archive(address), &people),
        Verb::Push { address } => {
            let (archive, sender) = (archive(address), sender(places, settings));
            counting("conversations", |progress| team::push(&archive, &sender, progress))
        }
        Verb::Status { address } => team::status(&archive(address), &sender(places, settings)),
        Verb::Allow { address, person } => team::let_read(&archive(address), &person, true),
        Verb::Deny { address, person } => team::let_read(&archive(address), &person, false),
    };
    let Answer { structure, text, failed } = answer?;
    screen.answer(&structure, |_| text)?;
    failed.iter().for_each(|why| problem(&format!("failed to {why}")));
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new("send all of it").of(Kind::Told)),
    }
}

/// What of this computer may be sent: neither what is excluded nor what is never sent to the third place.
fn sender<'p>(places: &'p Places, flags: &SettingFlags) -> Sender<'p> {
    let (settings, _) = Settings::gather(&|name| std::env::var_os(name), flags);
    let never_sent = settings.offsite.exclude.unwrap_or_default();
    let mut here = here(places);
    here.limits = Limits { exclude: places.policy.exclude.clone(), ..Limits::default() };
    Sender { places, here, exclude: Exclusions::new(&never_sent, &places.home) }
}
