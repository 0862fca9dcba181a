//! The conversations as the index knows them: what the list needs at once, and what may come a moment later.

use std::rc::Rc;

use layer1_prebackup::archive::{Archive, SessionKey};
use layer1_prebackup::config::places::Places;

use super::model::{Row, RowState};
use crate::failure::Failure;
use crate::index::{Glance, Index};
use crate::save::rebuild;
use crate::save::sources::Sources;
use crate::scope::{self, Labels, Scope};
use crate::stores::called::Called;
use crate::stores::{Stores, loss};
use crate::transcript::desktop;

/// Rows whose beginnings are read before anything is shown: more than fit on a screen.
const BEGUN_AT_ONCE: usize = 100;

/// What the finder opens with.
pub(super) struct Loaded {
    pub(super) rows: Vec<Row>,
    /// The project that is here, as in "in ~/app"; none where nothing is known of it.
    pub(super) here: Option<String>,
    pub(super) notes: Vec<String>,
    /// Rows of the index that have no title: how they began comes later.
    pub(super) untitled: Vec<i64>,
}

/// Reads the list. An index that is missing or lacks conversations is made whole first.
pub(super) fn load(places: &Places, archive: &Archive, scope: &Scope) -> Result<Loaded, Failure> {
    let mut notes = Vec::new();
    let ask = |index: &Index| {
        let known = index.whereabouts()?;
        let meant = scope::meant(scope, &known);
        let glances = index.glances()?;
        let untitled: Vec<i64> = glances.iter().filter(|one| one.title.is_none()).map(|one| one.row).collect();
        let at_once = &untitled[..untitled.len().min(BEGUN_AT_ONCE)];
        Ok((meant.rows(&known), meant, Labels::of(&known), known, glances, index.beginnings(at_once)?, untitled))
    };
    let (within, meant, labels, known, glances, begun, untitled) = rebuild::ask(places, archive, &mut notes, ask)?;
    let begun: std::collections::HashMap<i64, String> = begun.into_iter().collect();
    let directories: std::collections::HashMap<i64, &str> =
        known.iter().filter_map(|at| Some((at.row, scope::directory_of(at)?))).collect();
    let within: Option<std::collections::HashSet<i64>> = within.map(|rows| rows.into_iter().collect());
    let called = Called::of(&Stores::open(places)?);
    let mut titles = desktop::titles(&places.home);
    let row = |one: Glance| {
        let labels_of = called.get(&one.session);
        let name = labels_of.and_then(|labels| labels.name()).unwrap_or_default().to_owned();
        let title = Some(name.clone()).filter(|name| !name.is_empty()).or(one.title);
        let title = title.or_else(|| titles.remove(&one.session)).or_else(|| begun.get(&one.row).cloned());
        Row {
            row: one.row,
            label: labels.label(&one.project, directories.get(&one.row).copied()),
            is_here: within.as_ref().is_none_or(|within| within.contains(&one.row)),
            title: title.unwrap_or_default(),
            name,
            tags: labels_of.map(|labels| labels.tags().map(str::to_owned).collect()).unwrap_or_default(),
            is_pinned: labels_of.is_some_and(|labels| labels.is_pinned()),
            end_ms: one.end_ms,
            messages: one.messages,
            bytes: one.bytes,
            state: RowState::Unknown,
            project: one.project,
            id: one.session,
        }
    };
    let rows: Vec<Row> = glances.into_iter().map(row).collect();
    let here = within.is_some().then(|| meant.said.clone()).filter(|_| !meant.is_guess);
    notes.extend(meant.notes.into_iter().filter(|_| here.is_some()));
    Ok(Loaded { rows, here, notes, untitled: untitled.into_iter().skip(BEGUN_AT_ONCE).collect() })
}

/// What became of these conversations in Claude Code's directory.
pub(super) fn states(places: &Places, keys: &[SessionKey]) -> Result<Vec<RowState>, Failure> {
    let stores = Rc::new(Stores::open(places)?);
    let Some(archive) = &stores.layer3 else { return Ok(Vec::new()) };
    let sources = Sources::look(places, archive, keys.iter())?;
    let state = |key: &SessionKey| match sources.lack(key) {
        Ok(true) => RowState::Deleted,
        Ok(false) if loss::recorded_messages(&stores, key) > 0 => RowState::Shrunk,
        Ok(false) => RowState::There,
        Err(_) => RowState::Unknown,
    };
    Ok(keys.iter().map(state).collect())
}
