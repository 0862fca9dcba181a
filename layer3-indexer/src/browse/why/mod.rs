//! Which conversation wrote a line or last touched a file, and what was run after an error before.
//!
//! What the transcripts prove comes first and is marked `exact`: an edit that wrote the line, found by carrying out all
//! edits of the file once more; else the commit of the line, and the conversation that made it. What only speaks for a
//! conversation is a guess: an earlier edit that wrote the same line, an edit before the commit, the same words.

mod commands;
mod error;
mod git;
mod history;
mod replay;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod wrote;

use std::path::PathBuf;

use layer1_prebackup::config::places::Places;

use crate::browse::search::{self, SearchRequest};
use crate::failure::Failure;
use crate::index::{Index, Marks, Whereabouts};
use crate::save::{adopt_v1, rebuild};
use crate::scope::{self, Here, Labels, Scope};
use crate::transcript::record::Role;
pub(crate) use text::to_text;
use types::{Answer, Asking, Found};
pub(crate) use types::{Why, WhyRequest};

/// Answers, unless another number is asked for.
const LIMIT_DEFAULT: usize = 10;
/// Most of one answer.
const LIMIT_MAX: usize = 200;
/// Conversations that are guessed by their words alone.
const GUESSES: usize = 3;

/// Answers it. Where nothing was ever saved, nothing is found.
pub(crate) fn why(places: &Places, request: &WhyRequest) -> Result<Why, Failure> {
    let target = match request.file() {
        Some(file) => Some(target::Target::parse(file, request.line, request.from.as_deref(), &request.here)?),
        None if request.error().is_none() => {
            return Err(Failure::argument("file", "", "a file or an error must be given"));
        }
        None => None,
    };
    let Some(archive) = adopt_v1::open(places)? else {
        return Ok(Why { notes: vec!["nothing was saved yet".to_owned()], ..Why::default() });
    };
    let here = here_of(request, target.as_ref());
    let scope = Scope { all: request.all == Some(true), project: request.project.clone(), here: here.clone() };
    let ask = |index: &Index| {
        let known = index.whereabouts()?;
        let meant = scope::meant(&scope, &known);
        let mut within = meant.rows(&known);
        // Who asks after an error has just met it.
        if request.error().is_some()
            && let Some(asks) = here.asking(&places.claude_dir)
        {
            let rows = within.unwrap_or_else(|| known.iter().map(|one| one.row).collect());
            let is_other = |row: &i64| !known.iter().any(|one| one.row == *row && one.session_id == asks);
            within = Some(rows.into_iter().filter(is_other).collect());
        }
        let asking = Asking { index, archive: &archive, within: within.as_deref() };
        let found = match (request.error(), &target) {
            (Some(error), target) => error::after(&asking, error, target.as_ref())?,
            (None, Some(target)) => wrote::who(&asking, target, &request.env)?,
            (None, None) => Found::default(),
        };
        Ok((found, meant, known))
    };
    let mut notes = Vec::new();
    let (mut found, mut meant, known) = rebuild::ask(places, &archive, &mut notes, ask)?;
    notes.append(&mut meant.notes);
    notes.append(&mut found.notes);
    if found.answers.is_empty()
        && let Some(words) = &found.words
    {
        found.answers = by_words(places, request, target.as_ref(), &here, words)?;
    }
    name_projects(&mut found.answers, &known);
    let (offset, limit) = (request.passed_over(), request.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX));
    let more = found.answers.len() > offset.saturating_add(limit);
    let mut answers: Vec<Answer> = found.answers.into_iter().skip(offset).take(limit).collect();
    answers.iter_mut().enumerate().for_each(|(n, answer)| answer.rank = offset + n + 1);
    let all_projects = !meant.is_narrow();
    Ok(Why { answers, file: found.file, text: found.text, more, scope: meant.said, all_projects, notes })
}

/// The project that a file lies in, where it is not the one in which it is asked.
fn here_of(request: &WhyRequest, target: Option<&target::Target>) -> Here {
    let is_below =
        |path: &PathBuf| request.here.directory.as_deref().is_some_and(|here| path.starts_with(scope::resolved(here)));
    match target {
        Some(target) if !is_below(&target.path) => {
            Here { directory: target.path.parent().map(ToOwned::to_owned), ..request.here.clone() }
        }
        _ => request.here.clone(),
    }
}

/// Conversations that hold the words, where nothing proves anything.
fn by_words(
    places: &Places,
    request: &WhyRequest,
    target: Option<&target::Target>,
    here: &Here,
    words: &str,
) -> Result<Vec<Answer>, Failure> {
    let asked = SearchRequest {
        query: words.to_owned(),
        project: request.project.clone(),
        all: request.all,
        // The file of an error says which conversations are meant.
        file: request.error().and(target).map(|target| target.relative().to_string_lossy().into_owned()),
        here: here.clone(),
        limit: Some(GUESSES),
        marks: Marks { start: String::new(), end: String::new() },
        ..SearchRequest::default()
    };
    let hits = search::search(places, &asked)?.hits;
    let because = match request.error() {
        Some(_) => "the conversation holds words of the error; no command that printed it was found",
        None => "no edit and no commit of it is known; the conversation holds the same words",
    };
    let answer = |hit: crate::index::Hit| Answer {
        because: Some(because.to_owned()),
        session_id: hit.session_id,
        project: hit.project,
        title: hit.title,
        time: hit.time,
        message: hit.message,
        is_sidechain: hit.is_sidechain,
        branch: hit.branch,
        asked: (hit.role == Role::User).then(|| hit.snippet.clone()),
        ..Answer::default()
    };
    Ok(hits.into_iter().map(answer).collect())
}

fn name_projects(answers: &mut [Answer], known: &[Whereabouts]) {
    let labels = Labels::of(known);
    for answer in answers {
        let session =
            known.iter().find(|session| session.project == answer.project && session.session_id == answer.session_id);
        answer.directory = session.and_then(scope::directory_of).map(str::to_owned);
        answer.label = labels.label(&answer.project, answer.directory.as_deref());
    }
}
