//! Asking, and what came of it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use layer1_prebackup::archive::{Archive, Compare, SaveRequest};
use layer1_prebackup::names::{ProjectName, SessionId};
use layer3_indexer::index::{Index, SearchQuery};

use super::plain_fts::PlainFts;
use super::types::{Measure, Question};
use crate::bench::statistics::Summary;

/// Hits that are looked at.
const LOOKED_AT: usize = 20;
/// What is asked at any hour has to find the same.
const NOW_MS: i64 = 1_795_341_600_000;

/// The place of the conversation that answers, 0 for the first, and the number of hits.
type Place = (Option<usize>, usize);

/// How often the conversation that answers was found, as parts of one.
#[derive(Debug, Clone, Copy)]
pub struct Recall {
    /// Questions.
    pub asked: usize,
    /// Questions that found nothing at all.
    pub nothing: f64,
    /// It stood first.
    pub first: f64,
    /// It was among the first five.
    pub among_five: f64,
    /// The mean of one over its place.
    pub mrr: f64,
}

impl Recall {
    /// Of all places.
    fn of(places: &[Place]) -> Recall {
        let asked = places.len();
        let part = |count: f64| count / asked.max(1) as f64;
        let count = |is: &dyn Fn(&Place) -> bool| part(places.iter().filter(|place| is(place)).count() as f64);
        Recall {
            asked,
            nothing: count(&|(_, hits)| *hits == 0),
            first: count(&|(place, _)| *place == Some(0)),
            among_five: count(&|(place, _)| place.is_some_and(|place| place < 5)),
            mrr: part(places.iter().filter_map(|(place, _)| *place).map(|place| 1.0 / (place + 1) as f64).sum()),
        }
    }
}

/// The transcripts of a measure, stored and indexed.
#[derive(Debug)]
pub struct Searched {
    archive: Archive,
    index: Index,
    plain: PlainFts,
}

impl Searched {
    /// Stores and indexes all transcripts below `projects`, in `folder`.
    pub fn prepare(projects: &Path, folder: &Path) -> io::Result<Searched> {
        let archive = Archive::create(&folder.join("store")).map_err(io::Error::other)?;
        for project in fs::read_dir(projects)? {
            let project = project?.path();
            let name = project.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = ProjectName::parse(&name).map_err(io::Error::other)?;
            for transcript in fs::read_dir(&project)? {
                let transcript = transcript?.path();
                let id = transcript.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let request = SaveRequest {
                    id: &SessionId::parse(&id).map_err(io::Error::other)?,
                    transcript: &transcript,
                    project: Some(&name),
                    cwd: None,
                    compare: Compare::Whole,
                    progress: &|_| {},
                };
                archive.save(&request).map_err(io::Error::other)?;
            }
        }
        let mut index = Index::open(&folder.join("index.db")).map_err(io::Error::other)?;
        index.fill(&archive, &|_, _| {}).map_err(io::Error::other)?;
        Ok(Searched { archive, index, plain: PlainFts::of(projects)? })
    }

    /// Asks all questions; the second answer is of those that do not stand in what answers them, the third how long
    /// one took, in milliseconds.
    pub fn ask(&self, measure: &Measure, weights: Option<[f64; 3]>) -> io::Result<(Recall, Recall, Summary)> {
        let mut times = Vec::new();
        let (all, others) = self.measured(measure, |question| {
            let mut query = SearchQuery { each: false, limit: LOOKED_AT, ..SearchQuery::new(&question.text, NOW_MS) };
            query.project = question.project.clone();
            query.weights = weights.unwrap_or(query.weights);
            let begun = Instant::now();
            let found = self.index.search(&self.archive, &query).map_err(io::Error::other)?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            let found = serde_json::to_value(&found.hits)?;
            let id = |hit: &serde_json::Value| hit["session_id"].as_str().map(str::to_owned);
            Ok(found.as_array().into_iter().flatten().filter_map(id).collect())
        })?;
        Ok((all, others, Summary::of(times)))
    }

    /// The same of plain FTS5: each message a row, its words joined by OR, ranked by bm25.
    pub fn ask_plain(&self, measure: &Measure) -> io::Result<(Recall, Recall)> {
        self.measured(measure, |question| self.plain.sessions(question, LOOKED_AT))
    }

    fn measured(
        &self,
        measure: &Measure,
        mut find: impl FnMut(&Question) -> io::Result<Vec<String>>,
    ) -> io::Result<(Recall, Recall)> {
        let (mut all, mut others) = (Vec::new(), Vec::new());
        for question in &measure.questions {
            let found = find(question)?;
            let place = (found.iter().position(|id| question.expects.contains(id)), found.len());
            all.push(place);
            if question.is_not_verbatim {
                others.push(place);
            }
        }
        Ok((Recall::of(&all), Recall::of(&others)))
    }
}
