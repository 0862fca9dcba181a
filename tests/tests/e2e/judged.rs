//! What people mean: the session they look for is found first, nine times in ten.

use serde_json::Value;
use tests::judged::{self, Judged};
use tests::scratch::Scratch;

/// Least share of queries whose session must be first, in tenths.
const FIRST_TENTHS_MIN: usize = 9;

/// The place of the session that is meant, 1 for the first; and which sessions stand before it.
fn rank(scratch: &Scratch, judged: &Judged) -> (Option<usize>, Vec<String>) {
    let mut args = vec!["search", "--json"];
    match judged.options.is_empty() {
        true => args.push("--all"),
        false => args.extend(judged.options.iter().map(String::as_str)),
    }
    args.extend(["--", &judged.query]);
    let answer = scratch.layer3(&args).output().ok().json();
    let hits = answer["hits"].as_array().expect("hits are a list").clone();
    let mut sessions: Vec<String> = Vec::new();
    for id in hits.iter().filter_map(|hit| hit["session_id"].as_str()) {
        if !sessions.iter().any(|known| known == id) {
            sessions.push(id.to_owned());
        }
    }
    let at = sessions.iter().position(|id| *id == judged.expects);
    sessions.truncate(at.unwrap_or(3));
    (at.map(|at| at + 1), sessions)
}

#[test]
fn nine_of_ten_judged_queries_find_their_session_first() {
    let scratch = Scratch::new();
    judged::lay_out(&scratch);
    let imported: Value = scratch.layer3(&["import", "--json"]).output().ok().json();
    assert_eq!(imported["failed"].as_array().map(Vec::len), Some(0), "{imported:#}");
    let queries = judged::queries();
    assert!(queries.len() >= 30, "{} queries", queries.len());
    let mut first = 0;
    for judged in &queries {
        let (rank, before) = rank(&scratch, judged);
        first += usize::from(rank == Some(1));
        let place = rank.map_or("–".to_owned(), |rank| rank.to_string());
        let before: Vec<String> = before.iter().map(|id| judged::name_of(id)).collect();
        let expects = judged::name_of(&judged.expects);
        println!("{place:>3}  {:<45} {expects:<16} {}", judged.query, before.join(" "));
    }
    println!("{first} of {} first", queries.len());
    assert!(first * 10 >= queries.len() * FIRST_TENTHS_MIN, "{first} of {} are first", queries.len());
}
