//! Bringing the index up to date with the store: one session, some, or all of them.

use std::collections::BTreeSet;

use layer1_prebackup::archive::SessionKey;

use super::contents::Contents;
use super::error::{IndexError, Sqlite};
use super::files::identity_of;
use super::open::{COVERS, FILLED_FROM, Index};
use super::owed::{self, Noted};
use super::wait::begin;
use super::write;

/// Times that an update begins again because the store changed under it.
const RACES_MAX: u32 = 100;
/// Times that one call makes a fresh index because the one in use was damaged or replaced.
const RENEWALS_MAX: u32 = 3;

impl Index {
    /// Brings every session of the store up to date and forgets sessions that the store no longer
    /// has; `progress` is told the sessions done and their number. A session that cannot be read
    /// does not stop the others; their errors are returned. A damaged index is renewed and filled.
    pub fn fill(
        &mut self,
        contents: &dyn Contents,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        for _ in 0..RENEWALS_MAX {
            match self.try_fill(contents, progress) {
                Err(error) if error.is_damage() => self.renew()?,
                // Renewed by one of its updates: what was done before is not in the fresh one.
                Ok(_) if self.is_incomplete(contents)? => {}
                filled => return filled,
            }
        }
        let filled = self.try_fill(contents, progress);
        self.abandoned(filled)
    }

    fn try_fill(
        &mut self,
        contents: &dyn Contents,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        self.checkpoint()?;
        let identity = self.identity;
        let covers = contents.root().map_or(Ok(None), owed::end)?;
        let sessions = contents.sessions()?;
        let mut behind = Vec::new();
        let mut failed = Vec::new();
        for key in &sessions {
            match self.behind(contents, key, None) {
                Ok(found) => behind.extend(found),
                Err(error) if is_of_one_session(&error) => failed.push((key.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        let before = sessions.len() - behind.len();
        failed.extend(self.update_all(contents, &behind, &|done| progress(before + done, sessions.len()))?);
        if self.identity != identity {
            return Ok(failed);
        }
        self.forget_others(contents, &sessions)?;
        self.note_filled(contents, covers, &failed)?;
        progress(sessions.len(), sessions.len());
        Ok(failed)
    }

    /// [`Index::fill`], of no more sessions than those that may be lacking, where that is known.
    pub(crate) fn fill_owed(
        &mut self,
        contents: &dyn Contents,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        let covers = contents.root().map_or(Ok(None), owed::end)?;
        let Some(owed) = self.owed(contents)? else { return self.fill(contents, progress) };
        let identity = self.identity;
        let failed = self.catch_up(contents, &owed, None, progress)?;
        // In a fresh one there is more to do.
        if self.identity != identity {
            return self.fill(contents, progress);
        }
        self.note_filled(contents, covers, &failed)?;
        Ok(failed)
    }

    /// Notes that all up to `covers` is indexed, but for what `failed`, which stays owed: it may be readable later.
    fn note_filled(
        &mut self,
        contents: &dyn Contents,
        covers: Option<owed::Position>,
        failed: &[(SessionKey, IndexError)],
    ) -> Result<(), IndexError> {
        if let Some(root) = contents.root() {
            failed.iter().try_for_each(|(key, _)| owed::add(root, key).map(drop))?;
        }
        let transaction = begin(&self.connection, &self.path)?;
        let set = |key: &str, value: &str| {
            transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [key, value])
        };
        set(FILLED_FROM, contents.store_id()).doing("write", &self.path)?;
        match covers {
            Some(covers) => set(COVERS, &covers),
            None => transaction.execute("DELETE FROM meta WHERE key = ?1", [COVERS]),
        }
        .doing("write", &self.path)?;
        transaction.commit().doing("commit", &self.path)?;
        self.checkpoint()
    }

    /// Brings the sessions that are behind their contents up to date, with `trigger` as what caused
    /// that (none: what caused their last save), and writes nothing for the others; `progress` is told how many are done and their number.
    /// One that fails does not stop the rest; their errors are returned. A damaged index is renewed and filled.
    pub(crate) fn catch_up(
        &mut self,
        contents: &dyn Contents,
        sessions: &[SessionKey],
        trigger: Option<&str>,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        let run = |index: &mut Index| {
            let mut behind = Vec::new();
            let mut failed = Vec::new();
            for key in sessions {
                match index.behind(contents, key, trigger) {
                    Ok(found) => behind.extend(found),
                    Err(error) if error.is_damage() => return Err(error),
                    Err(error) => failed.push((key.clone(), error)),
                }
            }
            failed.extend(index.update_all(contents, &behind, &|done| progress(done, behind.len()))?);
            index.checkpoint().map(|()| failed)
        };
        match run(self) {
            Err(error) if error.is_damage() => {
                self.renew()?;
                self.fill(contents, progress)
            }
            caught_up => caught_up,
        }
    }

    /// Says that sessions are about to be stored and indexed later. Until [`Index::fill`] has gone
    /// through all of them the index is incomplete, so that whoever is killed in between leaves
    /// nothing that is stored and never found.
    pub(crate) fn expect_more(&mut self) -> Result<(), IndexError> {
        self.checkpoint()?;
        let transaction = begin(&self.connection, &self.path)?;
        transaction.execute("DELETE FROM meta WHERE key = ?1", [FILLED_FROM]).doing("write", &self.path)?;
        transaction.commit().doing("commit", &self.path)?;
        self.checkpoint()
    }

    /// The session and what is to be said to have caused its update, if it is behind its contents.
    fn behind(
        &self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: Option<&str>,
    ) -> Result<Option<(SessionKey, String)>, IndexError> {
        if !self.is_behind(contents, key)? {
            return Ok(None);
        }
        let trigger = match trigger {
            Some(trigger) => trigger.to_owned(),
            None => {
                let known = self.session(key)?.map(|row| row.metadata.trigger);
                known.filter(|trigger| !trigger.is_empty()).or_else(|| contents.last_trigger(key)).unwrap_or_default()
            }
        };
        Ok(Some((key.clone(), trigger)))
    }

    /// Updates these sessions, many in one transaction; `progress` is told how many are done. Gives
    /// those that could not be read. After a renewal by another process the rest is left to [`Index::fill`].
    fn update_all(
        &mut self,
        contents: &dyn Contents,
        sessions: &[(SessionKey, String)],
        progress: &dyn Fn(usize),
    ) -> Result<Vec<(SessionKey, IndexError)>, IndexError> {
        self.checkpoint()?;
        let mut failed = Vec::new();
        let mut done = 0;
        while done < sessions.len() {
            progress(done);
            let apart = match write::group(&self.connection, &self.path, contents, &sessions[done..]) {
                Ok(write::Grouped::Done(many)) => {
                    done += many;
                    0
                }
                Ok(write::Grouped::Cut(many)) => {
                    done += many;
                    1
                }
                Ok(write::Grouped::Apart(many)) => many,
                Err(error) if error.is_damage() => return Err(error),
                Err(_) => 1,
            };
            let identity = self.identity;
            for (key, trigger) in &sessions[done..done + apart] {
                match self.update(contents, key, trigger, None, &|_| progress(done), Index::checkpoint_if_large) {
                    Ok(_) => {}
                    Err(error) if is_of_one_session(&error) => failed.push((key.clone(), error)),
                    Err(error) => return Err(error),
                }
                done += 1;
            }
            self.checkpoint_if_large()?;
            if self.identity != identity {
                return Ok(failed);
            }
            if identity_of(&self.path)? != Some(self.identity) {
                self.renew()?;
                return Ok(failed);
            }
        }
        progress(done);
        Ok(failed)
    }

    fn forget_others(&self, contents: &dyn Contents, sessions: &[SessionKey]) -> Result<(), IndexError> {
        let kept: BTreeSet<(&str, &str)> = sessions.iter().map(|key| (key.project.as_str(), key.id.as_str())).collect();
        let list = || {
            let mut statement = self.connection.prepare("SELECT id, project, session FROM tracked")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, String, String)>>>()
        };
        for (id, project, session) in list().doing("list sessions", &self.path)? {
            if kept.contains(&(project.as_str(), session.as_str())) {
                continue;
            }
            let key = SessionKey::parse(&project, &session).ok();
            write::forget(&self.connection, &self.path, contents, key.as_ref(), id)?;
        }
        Ok(())
    }

    /// Removes the rows of a session that the store has nothing of any more; one that it has stays. A
    /// damaged index is renewed and filled.
    pub(crate) fn forget(&mut self, contents: &dyn Contents, key: &SessionKey) -> Result<(), IndexError> {
        let run = |index: &mut Index| {
            index.checkpoint()?;
            let session = write::session_id(&index.connection, key).doing("look up a session", &index.path)?;
            if let Some(session) = session {
                write::forget(&index.connection, &index.path, contents, Some(key), session)?;
            }
            index.checkpoint()
        };
        match run(self) {
            Err(error) if error.is_damage() => {
                self.renew()?;
                self.fill(contents, &|_, _| {}).map(|_| ())
            }
            forgotten => forgotten,
        }
    }

    /// Empties the index, sets a damaged one aside: [`Index::fill`] then makes it from nothing (`rebuild`).
    pub(crate) fn clear(&mut self) -> Result<(), IndexError> {
        match self.try_clear() {
            Err(error) if error.is_damage() => self.renew(),
            cleared => cleared,
        }
    }

    fn try_clear(&mut self) -> Result<(), IndexError> {
        self.checkpoint()?;
        let transaction = begin(&self.connection, &self.path)?;
        transaction
            .execute_batch(
                "INSERT INTO words (words) VALUES ('delete-all');
                 INSERT INTO parts (parts) VALUES ('delete-all');
                 INSERT INTO topics (topics) VALUES ('delete-all');
                 DELETE FROM messages; DELETE FROM contents; DELETE FROM unknown; DELETE FROM branches;
                 DELETE FROM spans; DELETE FROM uses; DELETE FROM calls; DELETE FROM tools; DELETE FROM files;
                 DELETE FROM tracked; DELETE FROM tallies; DELETE FROM directories; DELETE FROM meta;",
            )
            .doing("empty", &self.path)?;
        transaction.commit().doing("commit", &self.path)
    }

    /// Indexes what the store holds of a session and the index does not: transcript, subagents,
    /// older generations. Gives the messages of the session that the index holds then. Costs the delta, commits in batches, and goes on where an interrupted
    /// update stopped. `trigger` goes into the metadata; `progress` is told the bytes read so far.
    ///
    /// An index that turns out damaged is renewed and the session indexed in the fresh one:
    /// look at [`Index::is_incomplete`] afterwards. A stored file that cannot be read is left
    /// for the next update and everything else is indexed before the error is returned. Where the session was `noted` in
    /// the list of what is owed, what the index keeps of that list goes on with the rows, in one transaction.
    pub(crate) fn update_session(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        noted: Option<&Noted>,
        progress: &dyn Fn(u64),
    ) -> Result<u64, IndexError> {
        self.update(contents, key, trigger, noted, progress, Index::checkpoint)
    }

    fn update(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        noted: Option<&Noted>,
        progress: &dyn Fn(u64),
        checkpoint: fn(&mut Index) -> Result<(), IndexError>,
    ) -> Result<u64, IndexError> {
        let run = |index: &mut Index| {
            checkpoint(index)?;
            let updated = index.try_update(contents, key, trigger, noted, progress)?;
            checkpoint(index).map(|()| updated)
        };
        for _ in 0..RENEWALS_MAX {
            match run(self) {
                Err(error) if error.is_damage() => self.renew()?,
                // Another process found it damaged meanwhile, and these rows went aside with it.
                Ok(_) if identity_of(&self.path)? != Some(self.identity) => self.renew()?,
                updated => return updated,
            }
        }
        let updated = run(self);
        self.abandoned(updated)
    }

    fn try_update(
        &mut self,
        contents: &dyn Contents,
        key: &SessionKey,
        trigger: &str,
        noted: Option<&Noted>,
        tell: &dyn Fn(u64),
    ) -> Result<u64, IndexError> {
        let mut progress = write::Progress::new(tell);
        let mut races = 0;
        if self.is_behind(contents, key)? {
            loop {
                match write::step(&self.connection, &self.path, contents, key, trigger, noted, &mut progress)? {
                    write::Step::More => self.checkpoint_if_large()?,
                    write::Step::Done => break,
                    write::Step::Raced if races < RACES_MAX => races += 1,
                    write::Step::Raced => return Err(IndexError::Changing { session: key.id.to_string() }),
                }
            }
        }
        if let Some((_, error)) = progress.failed.pop_first() {
            return Err(error);
        }
        let Some(row) = self.session(key)? else { return Ok(0) };
        if row.metadata.trigger != trigger {
            write::set_trigger(&self.connection, &self.path, key, trigger)?;
        }
        Ok(row.metadata.messages)
    }

    /// Whether [`Index::update_session`] would have something to do.
    pub(crate) fn is_behind(&self, contents: &dyn Contents, key: &SessionKey) -> Result<bool, IndexError> {
        write::is_behind(&self.connection, &self.path, contents, key)
    }
}

/// Whether other sessions can go on: their contents are others.
fn is_of_one_session(error: &IndexError) -> bool {
    matches!(error, IndexError::Read { .. } | IndexError::Archive(_) | IndexError::Changing { .. })
}
