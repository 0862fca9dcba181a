//! A team's archive, on a real PostgreSQL server: who sees what, by GRANTs and not by what the program leaves out; what
//! leaves a person's machine; and what a push that is cut off leaves.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::binaries::LAYER2;
use tests::mcp::Client;
use tests::offsite::place::PEOPLE;
use tests::offsite::postgres::{OWNER, OWNER_PASSWORD, Postgres, write_passwords};
use tests::run::{Outcome, Run};
use tests::scratch::Scratch;
use tests::transcripts::{self, made_id};
use tests::waiting::await_until;

const LIMIT: Duration = Duration::from_secs(180);

/// The program that has archives; `None`, and said, where the tests were built without.
fn program(test: &str) -> Option<&'static str> {
    let program = option_env!("CARGO_BIN_EXE_with_archive");
    if program.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{test} needs --features tests/archive");
        println!("skipped: {test} needs a program with the feature archive: `cargo test --features tests/archive`");
    }
    program
}

/// A server, and three people who each have a part of the archive and said a word of their own.
struct Team {
    postgres: Postgres,
    program: &'static str,
    people: [Person; 3],
}

struct Person {
    name: &'static str,
    password: &'static str,
    scratch: Scratch,
}

/// The word that each person said, in the order of [`PEOPLE`].
const WORDS: [&str; 3] = ["heron", "bittern", "plover"];

impl Team {
    fn start(test: &str) -> Option<Team> {
        let program = program(test)?;
        let postgres = Postgres::start(test)?;
        let people = PEOPLE.map(|(name, password)| Person { name, password, scratch: Scratch::new() });
        let team = Team { postgres, program, people };
        let [anna, ..] = &team.people;
        let owner = team.postgres.password_line(OWNER, OWNER_PASSWORD);
        for person in &team.people {
            write_passwords(
                &person.scratch.home(),
                &(team.postgres.password_line(person.name, person.password) + &owner),
            );
        }
        let mut init = vec!["archive".to_owned(), "init".to_owned(), team.postgres.address(OWNER)];
        init.extend(PEOPLE.iter().flat_map(|(name, _)| ["--person".to_owned(), (*name).to_owned()]));
        // A second time changes nothing.
        for _ in 0..2 {
            team.run(anna, &init.iter().map(String::as_str).collect::<Vec<_>>()).output().ok();
        }
        for (name, password) in PEOPLE {
            team.postgres.sql(&format!("ALTER ROLE {name} PASSWORD '{password}'"));
        }
        for (person, word) in team.people.iter().zip(WORDS) {
            person.say(1, &format!("here is a {word} of {}", person.name));
            person.save();
        }
        Some(team)
    }

    fn run(&self, person: &Person, args: &[&str]) -> Run {
        person.scratch.at_home(Run::new(self.program)).args(args).limit(LIMIT)
    }

    /// `archive VERB ADDRESS …` of a person.
    fn archive(&self, person: &Person, verb: &str, more: &[&str]) -> Run {
        let address = self.postgres.address(person.name);
        self.run(person, &[&["archive", verb, &address], more].concat())
    }

    #[track_caller]
    fn push(&self, person: &Person) -> Value {
        self.archive(person, "push", &["--json"]).output().ok().json()
    }

    /// A server that asks the archive as a person.
    fn serve(&self, person: &Person) -> Client {
        let mut command = Command::new(self.program);
        command.args(["serve", "--archive", &self.postgres.address(person.name)]).env_clear();
        command.env("HOME", person.scratch.home()).env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.env("TMPDIR", person.scratch.tmp()).env("TZ", "UTC").current_dir(person.scratch.project_dir());
        let mut client = Client::of(command);
        client.initialize();
        client
    }

    /// Who said what a person finds.
    #[track_caller]
    fn found_by(&self, person: &Person, query: &str) -> Vec<String> {
        let mut client = self.serve(person);
        let found = client.call("session_search", json!({ "query": query })).expect("an answer");
        let hits = found["hits"].as_array().expect("hits").clone();
        hits.iter().map(|hit| hit["person"].as_str().expect("a person").to_owned()).collect()
    }

    fn raw(&self, person: &Person, sql: &str) -> Outcome {
        self.postgres.sql_as(person.name, person.password, sql)
    }

    /// All rows of a person, by what they say.
    fn rows_of(&self, person: &Person) -> String {
        self.postgres.sql(&format!(
            "SELECT session, message, role, md5(text), md5(words::text) FROM threefold.messages_of_{} ORDER BY 1, 2, 3, 4",
            person.name
        ))
    }
}

impl Person {
    /// Adds a prompt to a conversation.
    fn say(&self, n: u32, text: &str) {
        let (id, turn) = (made_id(n), text.len() as u32);
        transcripts::append(&self.scratch.transcript(&id), transcripts::prompt_line(&id, turn, text));
    }

    /// Copies it twice, as the hooks do.
    #[track_caller]
    fn save(&self) {
        self.scratch.layer1(&["sweep", "--quiet"]).output().ok();
        self.scratch.run(LAYER2, &["drain", "--foreground"]).limit(LIMIT).output().ok();
    }
}

#[test]
fn three_people_each_see_what_they_may_and_nothing_else() {
    let test = "three_people_each_see_what_they_may_and_nothing_else";
    let Some(team) = Team::start(test) else { return };
    let [anna, ben, carla] = &team.people;
    for person in &team.people {
        let pushed = team.push(person);
        assert_eq!((&pushed["sent"], &pushed["messages_added"]), (&json!(1), &json!(1)), "{pushed:#}");
        assert_eq!(team.push(person)["sent"], 0, "nothing is sent twice");
    }
    for (person, word) in team.people.iter().zip(WORDS) {
        assert_eq!(team.found_by(person, word), [person.name]);
        assert_eq!(team.found_by(person, "here"), [person.name]);
    }
    team.archive(anna, "allow", &["ben"]).output().ok();
    assert_eq!(team.found_by(ben, "heron"), ["anna"]);
    let mut both = team.found_by(ben, "here");
    both.sort();
    assert_eq!(both, ["anna", "ben"]);
    assert!(team.found_by(carla, "heron").is_empty());
    assert_eq!(team.found_by(anna, "here"), ["anna"], "reading is given in one direction");
    // Lists and status say the same.
    let people = |person: &Person| {
        let listed = team.serve(person).call("session_list", json!({})).expect("an answer");
        let sessions = listed["sessions"].as_array().expect("sessions").clone();
        let mut people: Vec<String> =
            sessions.iter().map(|session| session["person"].as_str().expect("a person").to_owned()).collect();
        people.sort();
        assert_eq!(listed["totals"]["sessions"], people.len());
        people
    };
    assert_eq!(people(ben), ["anna", "ben"]);
    assert_eq!(people(carla), ["carla"]);
    let status = team.archive(anna, "status", &["--json"]).output().ok().json();
    assert_eq!((&status["own"]["readers"], &status["own"]["waiting"]), (&json!(["ben"]), &json!(0)), "{status:#}");
    let told = team.archive(ben, "status", &[]).output().ok().text();
    assert!(told.contains("anna: 1 conversation") && told.contains("ben may be read by nobody else"), "{told}");
    // What the roles may do does not hang on this program: each of these is refused by the server.
    for (person, sql) in [
        (carla, "SELECT text FROM threefold.messages_of_anna"),
        (carla, "SELECT title FROM threefold.sessions_of_anna"),
        (carla, "SELECT count(*) FROM threefold.messages"),
        (ben, "SELECT count(*) FROM threefold.messages"),
        (ben, "SELECT count(*) FROM threefold.sessions"),
        (ben, "DELETE FROM threefold.messages_of_anna"),
        (ben, "UPDATE threefold.sessions_of_anna SET title = 'x'"),
        (ben, "INSERT INTO threefold.messages_of_anna SELECT * FROM threefold.messages_of_anna"),
        (ben, "INSERT INTO threefold.messages_of_ben SELECT * FROM threefold.messages_of_anna"),
        (ben, "CREATE TABLE threefold.x (y int)"),
        (ben, "ALTER TABLE threefold.messages_of_ben DISABLE TRIGGER ALL"),
        (ben, "CREATE RULE r AS ON SELECT TO threefold.messages_of_ben DO INSTEAD SELECT 1"),
        (ben, "DROP TABLE threefold.messages_of_ben"),
        (ben, "SET ROLE anna"),
    ] {
        let refused = team.raw(person, sql).exits(1);
        let why = ["permission denied", "must be owner", "violates partition constraint", "denied to set role"];
        assert!(why.iter().any(|why| refused.stderr.contains(why)), "{} {sql}: {refused:?}", person.name);
    }
    // Who may read may not pass that on; the server only warns.
    team.raw(ben, "GRANT SELECT ON threefold.messages_of_anna, threefold.sessions_of_anna TO carla");
    assert!(team.found_by(carla, "heron").is_empty());
    let seen = team.raw(carla, "SELECT count(*) FROM pg_stats WHERE tablename = 'messages_of_anna'").ok().text();
    assert_eq!(seen.trim(), "0");
    // What is sent later may be read too, until it is taken back.
    anna.say(2, "and here is a curlew");
    anna.save();
    assert_eq!(team.push(anna)["sent"], 1);
    assert_eq!(team.found_by(ben, "curlew"), ["anna"]);
    team.archive(anna, "deny", &["ben"]).output().ok();
    assert!(team.found_by(ben, "curlew OR heron").is_empty());
    team.raw(ben, "SELECT text FROM threefold.messages_of_anna").exits(1);
    // What an archive does not have is said, tool by tool.
    let mut client = team.serve(ben);
    let others = ["session_get_context", "session_why", "session_save", "backup_create", "session_verify"];
    for tool in others {
        let refused = client.call(tool, json!({})).expect_err("it is refused");
        assert!(refused.contains(tool) && refused.contains("session_search and session_list alone"), "{refused}");
    }
    let refused = client.call("session_search", json!({"query": "here", "file": "x"})).expect_err("it is refused");
    assert!(refused.contains("leave it out"), "{refused}");
    assert!(client.end().success());
    // No password is written anywhere.
    for person in &team.people {
        let log = person.scratch.log(3);
        assert!(!log.contains(person.password), "{log}");
    }
    assert!(!told.contains(ben.password) && !status.to_string().contains(anna.password));
}

#[test]
fn what_looks_like_a_secret_never_leaves_the_machine() {
    let test = "what_looks_like_a_secret_never_leaves_the_machine";
    let Some(team) = Team::start(test) else { return };
    let [anna, ..] = &team.people;
    // With its form, under a name, in a tool's arguments, and without the name later.
    let secrets = ["ghp_Zx8Kq2Lm4Np6Rs8Tv0Wy2Ab4Cd6Ef8Gh0Jk", "Vq7xTk29hWm4zRb8", "kj3hGfds82Kq"];
    let (id, path) = (made_id(3), anna.scratch.transcript(&made_id(3)));
    let lines = [
        transcripts::prompt_line(&id, 1, &format!("the token is {} and nothing else", secrets[0])),
        transcripts::answer_line(&id, 2, &format!("DB_PASSWORD={}", secrets[1])),
        transcripts::tool_line(&id, 3, "Bash", json!({"command": "deploy", "api_key": secrets[2]})),
        transcripts::answer_line(&id, 4, &format!("so {} goes to the sandpiper", secrets[1])),
        format!(
            "{}\n",
            json!({"type": "custom-title", "customTitle": format!("with {}", secrets[0]), "sessionId": id})
        ),
    ];
    transcripts::append(&path, lines.concat());
    anna.save();
    let pushed = team.push(anna);
    assert!(!pushed["masked"].as_object().expect("kinds").is_empty(), "{pushed:#}");
    let dump = team.postgres.dump();
    let files = String::from_utf8_lossy(&team.postgres.bytes()).to_ascii_lowercase();
    assert!(files.contains("sandpiper"));
    assert!(dump.contains("sandpiper") && dump.contains("[masked: "), "it is all there but for them");
    for secret in secrets {
        // Its words are not there by themselves either.
        let words: Vec<String> =
            secret.split(['_', '-']).map(str::to_lowercase).filter(|word| word.len() > 8).collect();
        for word in words.iter().map(String::as_str).chain([secret]) {
            assert!(!dump.contains(word), "{word} stands in the database");
            assert!(!files.contains(&word.to_lowercase()), "{word} stands in the server's files");
        }
        assert!(!team.postgres.log().contains(secret) && team.found_by(anna, secret).is_empty());
    }
    assert_eq!(team.found_by(anna, "sandpiper"), ["anna"]);
}

#[test]
fn a_push_that_is_killed_goes_on_and_doubles_nothing() {
    let test = "a_push_that_is_killed_goes_on_and_doubles_nothing";
    let Some(team) = Team::start(test) else { return };
    let [anna, ..] = &team.people;
    let all = 12;
    for n in 2..=all {
        transcripts::make_conversation(&anna.scratch, &made_id(n), 3 * n);
    }
    anna.save();
    let count = |of: &str| -> u64 {
        team.postgres.sql(&format!("SELECT count(*) FROM threefold.{of}_of_anna")).trim().parse().expect("a number")
    };
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    for round in 0..3_u64 {
        // The conversation behind so many stays in the middle: its messages are written, and it is not.
        let sent = round * 3 + 2;
        team.postgres.sql(&format!(
            "CREATE OR REPLACE FUNCTION threefold.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                IF (SELECT count(*) FROM threefold.sessions_of_anna) >= {sent} THEN
                    PERFORM pg_advisory_xact_lock(7);
                END IF;
                RETURN NEW;
            END $$;
            CREATE OR REPLACE TRIGGER hold BEFORE INSERT ON threefold.sessions_of_anna
                FOR EACH ROW EXECUTE FUNCTION threefold.hold();"
        ));
        let held = team.postgres.begin("SELECT pg_advisory_lock(7), pg_sleep(1000)");
        await_until("the lock", LIMIT, || {
            team.postgres.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted").trim() == "1"
        });
        let push = team.archive(anna, "push", &[]).spawn();
        await_until("a push that waits", LIMIT, || team.postgres.sql(waits).trim() != "0");
        push.signal(rustix::process::Signal::KILL);
        drop(push);
        held.signal(rustix::process::Signal::KILL);
        drop(held);
        team.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1000)'");
        await_until("the end of both", LIMIT, || {
            let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'anna' OR query LIKE '%pg_sleep(1000)'";
            team.postgres.sql(&format!("{left} AND pid <> pg_backend_pid()")).trim() == "0"
        });
        assert_eq!(count("sessions"), sent, "round {round}: what was sent before stays");
        let half = "SELECT count(*) FROM threefold.messages_of_anna WHERE session NOT IN (SELECT session FROM threefold.sessions_of_anna)";
        assert_eq!(team.postgres.sql(half).trim(), "0", "round {round}: what was half sent was not sent");
    }
    team.postgres.sql("DROP FUNCTION threefold.hold CASCADE");
    team.push(anna);
    assert_eq!(count("sessions"), u64::from(all));
    let went_on = team.rows_of(anna);
    assert_eq!(team.push(anna)["sent"], 0);
    // As if nothing had happened.
    team.postgres.sql("TRUNCATE threefold.messages_of_anna, threefold.sessions_of_anna");
    assert_eq!(team.push(anna)["sent"], all);
    assert_eq!(team.rows_of(anna), went_on);
    // Of what grew, what is there stays where it is.
    let place = "SELECT max(xmin::text::bigint) FROM threefold.messages_of_anna WHERE session = '00000000-0000-4000-8000-000000000005'";
    let before = team.postgres.sql(&format!("{place} AND text LIKE 'prompt 0%'"));
    anna.say(5, "it grew");
    anna.save();
    let pushed = team.push(anna);
    assert_eq!((&pushed["messages_added"], &pushed["messages_removed"]), (&json!(1), &json!(0)), "{pushed:#}");
    assert_eq!(team.postgres.sql(&format!("{place} AND text LIKE 'prompt 0%'")), before, "it was not written again");
}

#[test]
fn what_was_forgotten_or_may_not_be_sent_any_more_leaves_the_archive() {
    let test = "what_was_forgotten_or_may_not_be_sent_any_more_leaves_the_archive";
    let Some(team) = Team::start(test) else { return };
    let [anna, ..] = &team.people;
    anna.say(2, "a dunlin that stays");
    anna.say(2, "a text of a whimbrel that is to go");
    anna.say(3, "a conversation of a redshank that is to go");
    anna.save();
    assert_eq!(team.push(anna)["sent"], 3);
    assert_eq!(team.found_by(anna, "whimbrel OR redshank").len(), 2);
    let forget = |args: &[&str]| drop(anna.scratch.layer3(&[&["forget"], args].concat()).limit(LIMIT).output().ok());
    forget(&[&made_id(3), "--yes"]);
    forget(&["--match", "whimbrel", "--yes"]);
    let status = team.archive(anna, "status", &["--json"]).output().ok().json();
    assert_eq!((&status["own"]["waiting"], &status["own"]["to_delete"]), (&json!(1), &json!(1)), "{status:#}");
    let pushed = team.push(anna);
    assert_eq!((&pushed["deleted"], &pushed["messages_removed"]), (&json!(1), &json!(1)), "{pushed:#}");
    let dump = team.postgres.dump();
    assert!(dump.contains("dunlin") && !dump.contains("whimbrel") && !dump.contains("redshank"));
    // What is only gone here stays there.
    let kept = team.rows_of(anna);
    std::fs::remove_file(anna.scratch.transcript(&made_id(1))).expect("delete a transcript");
    anna.scratch.layer3(&["prune", &made_id(1), "--yes"]).limit(LIMIT).output().ok();
    let listed = anna.scratch.layer3(&["list", "--all", "--json"]).output().text();
    assert!(!listed.contains(&made_id(1)) && listed.contains(&made_id(2)), "{listed}");
    assert_eq!(team.push(anna)["deleted"], 0);
    assert_eq!(team.rows_of(anna), kept);
    // What is never sent to the third place is not sent here either.
    let config = anna.scratch.home().join(".config/threefold");
    std::fs::create_dir_all(&config).expect("make the folder of settings");
    std::fs::write(config.join("config.toml"), "offsite_exclude = [\"/home/dev/**\"]\n").expect("write the settings");
    assert_eq!(team.push(anna)["deleted"], 1);
    assert!(!team.rows_of(anna).contains(&made_id(2)), "{}", team.rows_of(anna));
}

#[test]
fn a_search_uses_the_index_of_each_part() {
    let test = "a_search_uses_the_index_of_each_part";
    let Some(team) = Team::start(test) else { return };
    let [anna, ben, _] = &team.people;
    team.push(anna);
    team.push(ben);
    team.archive(anna, "allow", &["ben"]).output().ok();
    for person in ["anna", "ben"] {
        team.postgres.sql(&format!(
            "INSERT INTO threefold.messages_of_{person}
             SELECT person, store, project, session, decode(md5(n::text), 'hex'), n::text, path, n, n, 'user', false, null, null,
                'word ' || n || ' ' || md5(n::text), to_tsvector('simple', 'word ' || n || ' ' || md5(n::text))
             FROM threefold.sessions_of_{person}, (SELECT 'x' AS path) path, generate_series(1, 30000) n;
             ANALYZE threefold.messages_of_{person}"
        ));
    }
    let before = team.postgres.log().len();
    let mut client = team.serve(ben);
    let began = std::time::Instant::now();
    let found = client.call("session_search", json!({ "query": "heron OR bittern OR 777" })).expect("an answer");
    let took = began.elapsed();
    assert_eq!(found["hits"].as_array().expect("hits").len(), 2, "{found:#}");
    let plan = team.postgres.log().split_off(before);
    for person in ["anna", "ben"] {
        assert!(plan.contains(&format!("Bitmap Index Scan on messages_of_{person}_words_idx")), "{took:?} {plan}");
        assert!(!plan.contains(&format!("Seq Scan on messages_of_{person}")), "{plan}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_helps() {
    let test = "what_is_wrong_is_said_with_what_helps";
    let Some(team) = Team::start(test) else { return };
    let [anna, ben, _] = &team.people;
    let told = |args: &[&str], expected: &[&str]| {
        let refused = team.run(anna, args).output().exits(1);
        for expected in expected {
            assert!(refused.stderr.contains(expected), "{args:?}: {refused:?}");
        }
        assert!(!refused.stderr.contains(anna.password), "{refused:?}");
    };
    let with_password = team.postgres.address(anna.name).replace("anna@", &format!("anna:{}@", anna.password));
    told(&["archive", "push", &with_password], &["no password", ".pgpass"]);
    told(&["archive", "push", "postgres://anna@db.example/threefold"], &["does not encrypt", "ssh -N -L"]);
    told(&["archive", "push", &team.postgres.address("nobody")], &["password"]);
    told(&["archive", "push", &team.postgres.address(OWNER)], &["there is none", "--person postgres"]);
    told(&["archive", "allow", &team.postgres.address(anna.name), "dora"], &["dora is not in this archive"]);
    told(&["archive", "init", &team.postgres.address(anna.name), "--person", "dora"], &["permission denied"]);
    told(&["archive", "init", &team.postgres.address(OWNER), "--person", "Do\"ra"], &["small letter"]);
    let scope = ["serve", "--mcp-scope", "project", "--archive", &team.postgres.address(anna.name)];
    told(&scope, &["mcp_scope"]);
    // A role that is not in the archive.
    team.postgres.sql(&format!("CREATE ROLE eve LOGIN PASSWORD '{}'", ben.password));
    let home = ben.scratch.home();
    write_passwords(&home, &team.postgres.password_line("eve", ben.password));
    let eve = team.run(ben, &["archive", "status", &team.postgres.address("eve")]).output().exits(1);
    assert!(eve.stderr.contains("not one of its people"), "{eve:?}");
    // Passwords that others may read are not used.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(home.join(".pgpass"), mode).expect("let others read");
    let refused = team.archive(ben, "status", &[]).output().exits(1);
    assert!(refused.stderr.contains("chmod 600"), "{refused:?}");
}

#[test]
fn every_line_of_the_document_works() {
    let test = "every_line_of_the_document_works";
    let Some(team) = Team::start(test) else { return };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/offsite.md");
    let document = std::fs::read_to_string(path).expect("read the document");
    let lines: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("    threefold archive ")).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    for line in lines {
        let name = line.split("postgres://").nth(1).and_then(|rest| rest.split('@').next()).expect("a name");
        let here = team.postgres.address(name);
        let line = line.replace(&format!("postgres://{name}@localhost/threefold"), &here);
        let args: Vec<&str> = std::iter::once("archive").chain(line.split(' ')).collect();
        let person = team.people.iter().find(|person| person.name == name).unwrap_or(&team.people[0]);
        team.run(person, &args).output().ok();
    }
}

#[test]
fn a_program_without_archives_says_how_to_build_one_with_them() {
    let scratch = Scratch::new();
    for args in [
        &["archive", "push", "postgres://anna@localhost/threefold"][..],
        &["archive", "status", "postgres://anna@localhost/threefold"],
        &["archive", "init", "postgres://postgres@localhost/threefold", "--person", "anna"],
    ] {
        let refused = scratch.layer3(args).output().exits(1);
        assert!(refused.stderr.contains("--features archive"), "{refused:?}");
    }
    let (mut client, _) = Client::initialized(&scratch, &["--archive", "postgres://anna@localhost/threefold"]);
    let refused = client.call("session_search", json!({ "query": "heron" })).expect_err("it is refused");
    assert!(refused.contains("--features archive"), "{refused}");
}
