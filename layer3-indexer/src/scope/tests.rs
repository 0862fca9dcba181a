//! Which sessions are meant, from where and by which name.

use super::*;

fn known() -> Vec<Whereabouts> {
    let session = |project: &str, directories: &[&str]| Whereabouts {
        project: project.to_owned(),
        directories: directories.iter().map(|directory| (*directory).to_owned()).collect(),
        ..Whereabouts::default()
    };
    vec![
        session("app", &["/nohome/a/app"]),
        session("app", &["/nohome/b/app", "/nohome/b/app/src"]),
        session("brave-fox", &["/nohome/b/app", "/nohome/b/app/.claude/worktrees/brave-fox"]),
        session("clever-owl", &["/nohome/b/app/.claude/worktrees/clever-owl"]),
        session("me", &["/nohome/me"]),
        session("nowhere", &[]),
        session("Threefold", &["/nohome/me/Threefold"]),
        session("deep", &["/nohome/plain/deep", "/nohome/plain"]),
        session("plain", &["/nohome/plain"]),
        session("app~2", &["/nohome/a/app"]),
    ]
}

fn here(directory: &str) -> Here {
    Here { directory: Some(PathBuf::from(directory)), home: PathBuf::from("/nohome/me"), ..Here::default() }
}

fn check(directory: &str, project: Option<&str>, expected: Option<&[usize]>) -> Meant {
    let scope = Scope { project: project.map(str::to_owned), here: here(directory), all: false };
    let meant = meant(&scope, &known());
    assert_eq!(meant.places.as_deref(), expected, "{directory} {project:?}: {meant:?}");
    meant
}

#[test]
fn a_directory_means_its_project_and_nothing_else() {
    for (directory, expected) in [
        ("/nohome/a/app", &[0, 9][..]),
        ("/nohome/a/app/src", &[0, 9]),
        ("/nohome/b/app", &[1, 2, 3]),
        ("/nohome/b/app/.claude/worktrees/brave-fox", &[1, 2, 3]),
        ("/nohome/b/app/.claude/worktrees/of-tomorrow/src", &[1, 2, 3]),
        ("/nohome/me", &[4]),
        ("/nohome/plain/deep", &[7]),
        ("/nohome/plain/other/below", &[7, 8]),
        ("/else/nowhere", &[5]),
    ] {
        check(directory, None, Some(expected));
    }
}

#[test]
fn where_nothing_is_known_everything_is_meant_and_said() {
    assert!(check("/nohome/c/other", None, None).notes[0].contains("no session of /nohome/c/other is saved"));
    assert_eq!(
        check("/nohome/me/new/Threefold", None, Some(&[6])).notes,
        ["no session of ~/new/Threefold is saved; these are of ~/Threefold, which does not exist any more"]
    );
    assert!(check("/", None, None).notes[0].contains("no session of / is saved"));
    assert!(meant(&Scope::default(), &known()).notes.is_empty());
}

#[test]
fn a_project_is_named_by_its_path_or_a_part_of_its_name() {
    for (typed, expected) in [
        ("/nohome/b/app", &[1, 2, 3][..]),
        ("/nohome/b/app/", &[1, 2, 3]),
        ("../../a/app", &[0, 9]),
        ("~/Threefold", &[6]),
        ("~", &[4]),
        ("b/app", &[1, 2, 3]),
        ("B/App", &[1, 2, 3]),
        ("threefold", &[6]),
        ("reef", &[6]),
        ("nowhere", &[5]),
        ("brave-fox", &[2]),
        ("app", &[0, 1, 2, 3, 9]),
    ] {
        check("/nohome/c/other", Some(typed), Some(expected));
    }
    assert_eq!(
        check("/", Some("app"), Some(&[0, 1, 2, 3, 9])).notes,
        [r#""app" means 2 directories: /nohome/a/app, /nohome/b/app"#]
    );
    assert!(check("/", Some("me"), Some(&[4])).notes.is_empty());
}

#[test]
fn a_misspelt_project_is_told_what_may_have_been_meant() {
    let note = |typed: &str| check("/", Some(typed), Some(&[])).notes.join("; ");
    assert_eq!(note("threfold"), r#"no project is called "threfold"; did you mean ~/Threefold?"#);
    assert_eq!(note("/nohome/x/Threfold"), "no session of /nohome/x/Threfold is saved; did you mean ~/Threefold?");
    assert_eq!(note("zzz"), r#"no project is called "zzz""#);
}

#[test]
fn projects_of_one_name_are_told_apart_by_their_directories() {
    let labels = Labels::of(&known());
    for (project, directory, label) in [
        ("app", Some("/nohome/a/app"), "a/app"),
        ("app~2", Some("/nohome/a/app"), "a/app"),
        ("app", Some("/nohome/b/app"), "b/app"),
        ("plain", Some("/nohome/plain"), "plain"),
        ("app", None, "app"),
    ] {
        assert_eq!(labels.label(project, directory), label);
    }
}

#[test]
fn of_what_may_not_be_handed_out_not_even_a_name_is_said() {
    let limits = Limits { project_of: Some(Some("/nohome/a/app".into())), ..Limits::default() };
    for project in [None, Some("plain"), Some("plian"), Some("app"), Some("/nohome/b/app"), Some("/nohome/plai")] {
        for all in [false, true] {
            let here = Here { limits: limits.clone(), ..here("/nohome/a/app") };
            let scope = Scope { project: project.map(str::to_owned), here, all };
            let meant = meant(&scope, &known());
            let places = meant.places.as_deref().unwrap_or(&[99]);
            assert!(places.is_empty() || places == [0, 9], "{project:?}: {meant:?}");
            let said = meant.notes.join(" ").replace(project.unwrap_or("-"), "");
            assert!(["/b/", "plain", "deep", "hreefold"].iter().all(|name| !said.contains(name)), "{meant:?}");
        }
    }
}
