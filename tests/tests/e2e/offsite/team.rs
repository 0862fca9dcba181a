//! One server for a team: a folder a person, which only takes. What somebody else sent there is read with a key that its
//! owner added and where the server's owner lets it be read, and nothing is ever written to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tests::binaries::LAYER3;
use tests::offsite::place::{Kind, PEOPLE, Place};
use tests::scratch::Scratch;

use super::keys::words_of;
use super::machine::{Machine, NAME};
use super::machines::files_below;

/// Settings of somebody who reads other people's places: each has the same account at the server.
fn configure(machine: &Machine, person: usize, others: &[&str]) {
    let folder = machine.config();
    let (name, password) = PEOPLE[person];
    let env = folder.join("offsite.env");
    fs::write(&env, format!("RESTIC_REST_USERNAME={name}\nRESTIC_REST_PASSWORD={password}\n"))
        .expect("write variables");
    fs::set_permissions(env, fs::Permissions::from_mode(0o600)).expect("keep them from others");
    let file = "offsite_env_file = \"~/.config/threefold/offsite.env\"\noffsite_silence = \"20s\"\n";
    let tables = others.iter().map(|other| format!("[offsite.{other}]\n{file}"));
    let settings: String = std::iter::once(file.to_owned()).chain(tables).collect();
    fs::write(folder.join("config.toml"), settings).expect("write the settings");
}

#[test]
fn colleagues_read_what_they_were_given_and_nothing_else() {
    let test = "colleagues_read_what_they_were_given_and_nothing_else";
    let shelf = Scratch::new();
    let Some(mut place) = Place::open(test, Kind::Team, &shelf.beside("place")) else { return };
    let team = [0, 1, 2].map(|person| {
        place.as_person(person, |place| {
            let machine = Machine::new(place);
            machine.converse(1 + person);
            machine.grow(1, &format!("a {} of {}", ["heron", "bittern", "plover"][person], PEOPLE[person].0));
            // Each calls it the same.
            machine.init(NAME);
            machine
        })
    });
    let [anna, ben, carla] = &team;
    configure(ben, 1, &["anna", "carla"]);
    let folder = |person: usize| place.kept().join(PEOPLE[person].0);
    let sheet = anna.offsite(&["key", "add", "ben"]).output().ok().text();
    let key = words_of(&sheet);
    assert_eq!(key.split(' ').count(), 24, "{sheet}");
    let annas = format!("rest:http://127.0.0.1:{}/anna", place.server().port());
    let for_readers = place.serve_to_readers(0, &[1]);
    let readers = format!("rest:http://127.0.0.1:{}", for_readers.port());
    let join = |machine: &Machine, address: &str, called: &str, words: &str| {
        machine.offsite(&["join", address, "--read", "--place", called]).stdin(format!("{words}\n")).output()
    };
    // With the key alone the server gives nothing; without the key the repository opens nothing.
    for (machine, address) in [(ben, annas.as_str()), (carla, readers.as_str())] {
        let refused = join(machine, address, "anna", &key).exits(1);
        assert!(refused.stderr.contains("401") || refused.stderr.contains("nauthorized"), "{refused:?}");
    }
    for machine in [ben, carla] {
        fs::remove_file(machine.config().join("offsite-anna.key")).expect("the key was kept");
    }
    join(ben, &readers, "anna", &ben.key()).exits(1);
    assert!(!ben.config().join("offsite-anna.key").exists(), "a wrong key is not kept");
    // With both, all of it is read, under another name than that of the own computer.
    let before = files_below(&folder(0));
    let told = join(ben, &readers, "anna", &key).ok().text();
    assert!(told.contains("anna.laptop"), "{told}");
    let came = ben.offsite(&["pull"]).output().ok().text();
    assert!(came.contains("anna.laptop: 1 conversation came"), "{came}");
    let layer3 = |machine: &Machine, args: &[&str]| machine.with_path(machine.scratch.run(LAYER3, args)).output();
    let found = |machine: &Machine, args: &[&str]| {
        let found = layer3(machine, &[&["search", "--json"], args].concat()).ok().json();
        found["hits"].as_array().expect("hits").clone()
    };
    let hits = found(ben, &["heron", "--host", "anna.laptop"]);
    assert_eq!((hits.len(), &hits[0]["host"]), (1, &"anna.laptop".into()), "{hits:#?}");
    assert_eq!(found(ben, &["heron", "--all-hosts"]).len(), 1);
    assert!(found(ben, &["plover", "--all-hosts"]).is_empty() && found(ben, &["heron", "--all"]).is_empty());
    let id = hits[0]["session_id"].as_str().expect("an id");
    let listed = layer3(ben, &["list", "--json", "--host", "anna.laptop"]).ok().json();
    assert_eq!(
        (&listed["sessions"][0]["host"], &listed["sessions"][0]["session_id"]),
        (&"anna.laptop".into(), &id.into())
    );
    assert!(layer3(ben, &["show", id, "--host", "anna.laptop"]).ok().text().contains("heron"));
    let machines = ben.offsite(&["machines", "--place", "anna"]).output().ok().text();
    assert!(machines.starts_with("anna.laptop: last push"), "{machines}");
    // Nothing is sent there, whatever is typed.
    for refused in
        [&["push", "--now"][..], &["drill"], &["check"], &["repair"], &["thin", "--dry-run"], &["key", "list"]]
    {
        let refused = ben.offsite(&[refused, &["--place", "anna"]].concat()).output().exits(1);
        assert!(refused.stderr.contains("only read here"), "{refused:?}");
    }
    let refused = ben.offsite(&["init", &readers, "--name", "desktop", "--place", "anna"]).output().exits(1);
    assert!(refused.stderr.contains("only read here"), "{refused:?}");
    ben.grow(1, "and a dunlin");
    ben.push();
    ben.offsite(&["push", "--due"]).output().ok();
    assert_eq!(files_below(&folder(0)), before, "reading leaves nothing at anna's");
    let status = ben.offsite(&["status"]).output().text();
    assert!(status.contains("only read    anna: rest:http"), "{status}");
    assert!(ben.kinds().is_empty(), "{:#}", ben.status());
    // A part that may not be read any more is a line, and keeps nothing else from coming.
    let of_carla = place.serve_to_readers(2, &[1]);
    let address = format!("rest:http://127.0.0.1:{}", of_carla.port());
    let key = words_of(&carla.offsite(&["key", "add", "ben"]).output().ok().text());
    join(ben, &address, "carla", &key).ok();
    let port = of_carla.port();
    of_carla.kill();
    let _nobody = place.serve_to_readers_at(port, 2, &[]);
    anna.grow(1, "and a curlew");
    anna.push();
    let told = ben.offsite(&["pull"]).output().exits(1).text();
    assert!(told.contains("anna.laptop: 1 conversation came"), "{told}");
    assert!(told.lines().any(|line| line.starts_with("carla: cannot be read: ")), "{told}");
    assert_eq!(found(ben, &["curlew", "--all-hosts"]).len(), 1);
    assert!(!ben.state().join("peers/carla.laptop").exists());
}
