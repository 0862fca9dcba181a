//! Opening the database: as whom, with which password, and never in clear to another computer unless that is said.
//!
//! There is no encryption of the connection here. To another computer it has to go through something that encrypts (an SSH
//! tunnel, a VPN), and an address that names one says by `sslmode=disable` that it does.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};

use super::types::Archive;
use crate::failure::{Context, Failure, Kind};

/// How long a server is waited for.
const CONNECT: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;
/// What is asked for is found by its full name alone, whatever somebody put elsewhere; nobody is waited for for long.
const BEGIN: &str =
    "SET search_path = pg_catalog; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = 0";

/// Opens the database that an address names.
pub(super) fn connect(archive: &Archive) -> Result<Client, Failure> {
    let address = &archive.address;
    let wrong = |why: &str| Failure::argument("the address", address, why);
    // What the parser says of it may repeat a part of it.
    let form = "it must be postgres://NAME@HOST/DATABASE";
    let is_url = ["postgres://", "postgresql://"].iter().any(|begin| address.starts_with(begin));
    let config: Option<Config> = is_url.then(|| address.parse().ok()).flatten();
    let mut config = config.ok_or_else(|| hidden(form))?;
    if config.get_password().is_some() {
        return Err(hidden("there may be no password in it, everybody on this computer could see it").hint(format!(
            "write it into {} (chmod 600), as for psql: HOST:PORT:DATABASE:NAME:PASSWORD",
            archive.passwords.display()
        )));
    }
    let named = config.get_user().zip(config.get_dbname());
    let (Some((user, database)), [host]) = (named, config.get_hosts()) else { return Err(wrong(form)) };
    let host = match host {
        Host::Tcp(host) => {
            let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            let is_said = config.get_ssl_mode() == SslMode::Disable;
            if config.get_ssl_mode() == SslMode::Require || !(is_here || is_said) {
                let tunnel = format!("ssh -N -L {PORT}:localhost:{PORT} {host}");
                return Err(wrong("this program does not encrypt what it sends to another computer")
                    .hint(format!("`{tunnel}` makes a tunnel, to which the address with localhost leads"))
                    .hint("where a VPN encrypts it, add ?sslmode=disable"));
            }
            host.clone()
        }
        Host::Unix(folder) => folder.display().to_string(),
    };
    let port = config.get_ports().first().copied().unwrap_or(PORT);
    if let Some(password) = password(archive, [&host, &port.to_string(), database, user])? {
        config.password(password);
    }
    config.connect_timeout(CONNECT).application_name("threefold").ssl_mode(SslMode::Disable);
    let mut client = config.connect(NoTls).context(format_args!("open the archive {address}"))?;
    client.batch_execute(BEGIN).context(format_args!("open the archive {address}"))?;
    Ok(client)
}

/// What is wrong with an address that may hold a password.
fn hidden(why: &str) -> Failure {
    Failure::new(format!("use the address: {why}")).of(Kind::InvalidInput)
}

/// What the file of passwords says for a host, port, database and name; the first line that fits, as for `psql`.
fn password(archive: &Archive, wanted: [&str; 4]) -> Result<Option<String>, Failure> {
    let path = &archive.passwords;
    let Ok(metadata) = path.metadata() else { return Ok(None) };
    if metadata.permissions().mode() & 0o077 != 0 {
        let why = Failure::new(format!("read the passwords in {}: others may read it too", path.display()));
        return Err(why.hint(format!("`chmod 600 {}`", path.display())));
    }
    let text = std::fs::read_to_string(path).context(format_args!("read {}", path.display()))?;
    Ok(text.lines().find_map(|line| password_in(line, wanted)))
}

fn password_in(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => fields.last_mut()?.extend(chars.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    let password = (fields.len() == 5).then(|| fields.pop()).flatten()?;
    let fits = fields.iter().zip(wanted).all(|(said, wanted)| said == "*" || said == wanted);
    fits.then_some(password)
}

/// Whether the server refused for this reason.
pub(super) fn is(error: &postgres::Error, state: &SqlState) -> bool {
    error.code() == Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwords_is_read_as_psql_reads_it() {
        let wanted = ["localhost", "5432", "threefold", "anna"];
        for (line, expected) in [
            ("localhost:5432:threefold:anna:word", Some("word")),
            ("*:*:*:anna:with:colons", Some("with:colons")),
            (r"*:*:*:anna:a\:b\\c", Some(r"a:b\c")),
            ("#*:*:*:anna:word", None),
            ("*:*:*:ben:word", None),
            ("localhost:5433:*:anna:word", None),
            ("anna:word", None),
        ] {
            assert_eq!(password_in(line, wanted).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn an_address_with_a_password_or_without_a_way_that_encrypts_is_refused_and_its_password_not_repeated() {
        let refused = |address: &str| {
            let archive = Archive { address: address.to_owned(), passwords: "/nowhere/pgpass".into() };
            connect(&archive).err().expect("it is refused").to_string()
        };
        let told = refused("postgres://anna:word@localhost/threefold");
        assert!(told.contains("no password") && !told.contains("word@"), "{told}");
        assert!(!refused("postgres://anna:word@local host:x/threefold").contains("word@"));
        assert!(refused("postgres://anna@db.example/threefold").contains("sslmode=disable"));
        assert!(refused("postgres://anna@localhost/threefold?sslmode=require").contains("does not encrypt"));
        for address in ["", "anna", "postgres://localhost/threefold", "postgres://anna@localhost", "host=localhost"] {
            assert!(refused(address).contains("it must be postgres://NAME@HOST/DATABASE"), "{address}");
        }
    }
}
