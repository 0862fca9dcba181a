//! The tables, and whose partitions there are. Who made the tables owns them; a person may read and write the own partitions,
//! pass reading on to others, and do nothing else.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use super::connect::{connect, is};
use super::types::{Answer, Archive};
use crate::failure::{Context, Failure};

/// Of the tables; another one is refused.
const FORMAT: i32 = 1;
/// Longest name of a person; PostgreSQL cuts names of tables at 63 bytes.
const PERSON_BYTES_MAX: usize = 40;

/// A row of `sessions` is one conversation of one store, and says by its digest what of it is in `messages`. A row of
/// `messages` is a message, or a piece of one that is very long; its id is a hash of all that it says. The words are made by
/// this program as its own index has them, so `words` is no function of `text` that the server knows. They are put into their
/// index at once: what waits to be put there is read through by every search, and soon costs more than the table.
const TABLES: &str = r#"
CREATE SCHEMA IF NOT EXISTS threefold;
REVOKE ALL ON SCHEMA threefold FROM PUBLIC;
CREATE TABLE IF NOT EXISTS threefold.about (format integer NOT NULL);
INSERT INTO threefold.about SELECT 1 WHERE NOT EXISTS (SELECT FROM threefold.about);
CREATE TABLE IF NOT EXISTS threefold.sessions (
    person text NOT NULL,
    store text NOT NULL,
    project text NOT NULL,
    session text NOT NULL,
    digest bytea NOT NULL,
    pushed_ms bigint NOT NULL,
    title text,
    directory text,
    last_ms bigint,
    messages bigint NOT NULL,
    bytes bigint NOT NULL,
    metadata text NOT NULL,
    PRIMARY KEY (person, store, project, session)
) PARTITION BY LIST (person);
CREATE TABLE IF NOT EXISTS threefold.messages (
    person text NOT NULL,
    store text NOT NULL,
    project text NOT NULL,
    session text NOT NULL,
    id bytea NOT NULL,
    message text NOT NULL,
    path text NOT NULL,
    at bigint NOT NULL,
    time_ms bigint,
    role text NOT NULL,
    is_sidechain boolean NOT NULL,
    branch text,
    uuid text,
    text text NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (person, store, project, session, id)
) PARTITION BY LIST (person);
CREATE INDEX IF NOT EXISTS messages_words ON threefold.messages USING gin (words) WITH (fastupdate = off);
"#;

/// A person of the archive whose rows may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) person: String,
}

impl Part {
    /// The full name of this person's partition of `messages`.
    pub(super) fn messages(&self) -> String {
        table("messages", &self.person)
    }

    /// The full name of this person's partition of `sessions`.
    pub(super) fn sessions(&self) -> String {
        table("sessions", &self.person)
    }
}

fn table(of: &str, person: &str) -> String {
    format!("threefold.\"{of}_of_{person}\"")
}

/// Makes what is missing of the tables, and a partition and a role for each of these people. May be repeated.
pub(crate) fn init(archive: &Archive, people: &[String]) -> Result<Answer, Failure> {
    for person in people {
        checked(person)?;
    }
    let mut client = connect(archive)?;
    let encoding: String = client.query_one("SHOW server_encoding", &[]).context("ask the database")?.get(0);
    if encoding != "UTF8" {
        let hint = "CREATE DATABASE threefold ENCODING 'UTF8' TEMPLATE template0";
        return Err(Failure::new(format!("make an archive: the database is in {encoding}, not in UTF8")).hint(hint));
    }
    let mut work = client.transaction().context("begin to make the archive")?;
    // What is there already is told in notices that nobody needs.
    work.batch_execute(TABLES).context("make the tables of the archive")?;
    let mut text = String::new();
    for person in people {
        let doing = || format!("make the part of {person}");
        let has_role = work.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[person]).context(doing())?.is_some();
        if !has_role {
            work.batch_execute(&format!("CREATE ROLE \"{person}\" LOGIN")).context(doing())?;
            text.push_str(&format!("{person}: made the role; `\\password {person}` in psql gives it a password\n"));
        }
        work.batch_execute(&of_person(person)).context(doing())?;
        text.push_str(&format!("{person}: `threefold archive push` as {person} fills this part\n"));
    }
    work.commit().context("make the archive")?;
    format_of(&mut client)?;
    Ok(Answer { structure: json!({ "people": people }), text, failed: Vec::new() })
}

fn of_person(person: &str) -> String {
    let part = Part { person: person.to_owned() };
    let (messages, sessions) = (part.messages(), part.sessions());
    let make = |of: &str, name: &str| {
        format!("CREATE TABLE IF NOT EXISTS {name} PARTITION OF threefold.{of} FOR VALUES IN ('{person}');\n")
    };
    format!(
        "{}{}GRANT USAGE ON SCHEMA threefold TO \"{person}\";
        GRANT SELECT ON threefold.about TO \"{person}\";
        GRANT SELECT ON {messages}, {sessions} TO \"{person}\" WITH GRANT OPTION;
        GRANT INSERT, DELETE ON {messages}, {sessions} TO \"{person}\";
        GRANT UPDATE ON {sessions} TO \"{person}\";",
        make("messages", &messages),
        make("sessions", &sessions),
    )
}

/// A name that can be the name of a role and a part of a table's without quotes or escapes.
fn checked(person: &str) -> Result<&str, Failure> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = person.len() <= PERSON_BYTES_MAX
        && person.starts_with(|c: char| c.is_ascii_lowercase())
        && person.chars().all(is_plain);
    let why = "a name begins with a small letter and has small letters, digits and _, at most 40";
    if is_name { Ok(person) } else { Err(Failure::argument("the person", person, why)) }
}

/// The people whose rows the role of this connection may read, by name.
pub(super) fn readable(client: &mut Client) -> Result<Vec<Part>, Failure> {
    let people = people(client, "SELECT")?;
    Ok(people.into_iter().map(|person| Part { person }).collect())
}

/// The partitions of the role of this connection.
pub(super) fn own(client: &mut Client) -> Result<Part, Failure> {
    let role: String = client.query_one("SELECT current_user::text", &[]).context("ask the archive")?.get(0);
    match people(client, "INSERT")?.contains(&role) {
        true => Ok(Part { person: role }),
        false => Err(Failure::new(format!("find the part of {role} in the archive: there is none"))
            .hint(format!("who looks after the database types `threefold archive init … --person {role}`"))),
    }
}

/// Those on whose partitions the role has this right. Names that are not as [`init`] makes them are no parts.
fn people(client: &mut Client, right: &str) -> Result<Vec<String>, Failure> {
    format_of(client)?;
    let sql = "SELECT substr(c.relname, 13) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_class s ON s.relnamespace = c.relnamespace AND s.relname = 'sessions_of_' || substr(c.relname, 13)
        WHERE i.inhparent = 'threefold.messages'::regclass AND starts_with(c.relname, 'messages_of_')
            AND has_table_privilege(c.oid, $1) AND has_table_privilege(s.oid, $1) ORDER BY 1";
    let rows = client.query(sql, &[&right]).context("ask the archive whose parts there are")?;
    Ok(rows.iter().map(|row| row.get(0)).filter(|person: &String| checked(person).is_ok()).collect())
}

/// An error where the tables are not there, not to be seen, or of another version.
fn format_of(client: &mut Client) -> Result<(), Failure> {
    let none = |error: &postgres::Error| {
        [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::INSUFFICIENT_PRIVILEGE]
            .iter()
            .any(|state| is(error, state))
    };
    match client.query_one("SELECT max(format) FROM threefold.about", &[]) {
        Ok(row) if row.get::<_, Option<i32>>(0) == Some(FORMAT) => Ok(()),
        Ok(_) => Err(Failure::new("use the archive: another version of Threefold made it")),
        Err(error) if none(&error) => {
            let message = "find an archive in this database: there is none, or this role is not one of its people";
            Err(Failure::new(message)
                .hint("who looks after the database types `threefold archive init … --person NAME`"))
        }
        Err(error) => Err(error).context("ask the archive"),
    }
}

/// Lets another person read what the role of this connection has sent and will send, or no longer.
pub(crate) fn let_read(archive: &Archive, person: &str, may: bool) -> Result<Answer, Failure> {
    checked(person)?;
    let mut client = connect(archive)?;
    let part = own(&mut client)?;
    let known = "SELECT has_schema_privilege(oid, 'threefold', 'USAGE') FROM pg_roles WHERE rolname = $1";
    let known = client.query_opt(known, &[&person]).context("ask the archive")?;
    if !known.is_some_and(|row| row.get(0)) {
        return Err(Failure::new(format!("let {person} read: {person} is not in this archive"))
            .hint(format!("who looks after the database types `threefold archive init … --person {person}`")));
    }
    let (messages, sessions, own) = (part.messages(), part.sessions(), &part.person);
    let (verb, to) = if may { ("GRANT", "TO") } else { ("REVOKE", "FROM") };
    let change = format!("{verb} SELECT ON {messages}, {sessions} {to} \"{person}\"");
    client.batch_execute(&change).context(format_args!("change what {person} may read"))?;
    let readers = readers(&mut client, &part)?;
    if readers.iter().any(|reader| reader == person) != may {
        let message = format!("change what {person} may read: another role has given or taken that right");
        return Err(Failure::new(message).hint("who looks after the database can change it"));
    }
    let text = match may {
        true => format!("{person} may read all that {own} has sent to the archive, and what is sent later\n"),
        false => format!("{person} may no longer read what {own} has sent to the archive\n"),
    };
    Ok(Answer { structure: json!({ "person": own, "readers": readers }), text, failed: Vec::new() })
}

/// Who else may read a person's part, but for those who look after the database.
pub(super) fn readers(client: &mut Client, part: &Part) -> Result<Vec<String>, Failure> {
    let sql = "SELECT r.rolname::text FROM pg_roles r, pg_class c WHERE c.oid = $1::text::regclass
        AND r.rolname <> $2 AND NOT r.rolsuper AND r.oid <> c.relowner AND r.rolname !~ '^pg_'
        AND has_table_privilege(r.oid, c.oid, 'SELECT') ORDER BY 1";
    let rows = client.query(sql, &[&part.messages(), &part.person]).context("ask the archive who may read")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_a_name_that_needs_no_quotes() {
        for name in ["anna", "b2", "c_d", &"x".repeat(40)] {
            assert_eq!(checked(name).unwrap(), name);
        }
        for name in ["", "Anna", "2b", "_x", "a\"b", "a'b", "a b", "é", &"x".repeat(41)] {
            assert!(checked(name).is_err(), "{name}");
        }
    }
}
