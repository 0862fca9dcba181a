//! A conversation as it was at a point: a new session with all of it up to there, which can be gone on with. The one that
//! it is taken from is not touched.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer1_prebackup::archive::SessionKey;
use layer1_prebackup::claude::side_files::{self, BESIDE};
use layer1_prebackup::config::places::Places;
use layer1_prebackup::fs;
use layer1_prebackup::fs::platform::random;
use layer1_prebackup::names::{FileName, SessionId, StoredName};

use crate::browse::show::Target;
use crate::failure::{Context, Failure, Kind};
use crate::restore::carry_out::save_in_both;
use crate::restore::place::{self, Cwd, cwd_of, standing};
use crate::restore::plan::{Beneath, Plan, Step, Work};
use crate::restore::types::Options;
use crate::stores::{Copy, SessionCopies, Stores, Which, slug_of_source};
use crate::transcript::TITLE_FILE;
use crate::transcript::apart::{PLANS, TASKS};
use crate::transcript::record::{Located, TornLine, read_records};

/// Up to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Point {
    /// To the end of this message: what `show --around` takes.
    At(String),
    /// To before this compaction, 1 being the oldest; the last one by default.
    BeforeCompaction(Option<usize>),
}

/// What is to be written of a conversation for a new session that ends at the point. Writes nothing but what Claude Code's
/// own transcript has that the copies lack.
pub(crate) fn plan(places: &Places, typed: &str, point: &Point, options: &Options) -> Result<Plan, Failure> {
    let key = Stores::open(places)?.find(typed)?;
    let stands = standing(places, &key.id)?;
    if let Some(path) = &stands {
        save_in_both(places, &SessionCopies::of(&Rc::new(Stores::open(places)?), &key)?, path)?;
    }
    let stores = Rc::new(Stores::open(places)?);
    let copies = SessionCopies::of(&stores, &key)?;
    let mut copy = content(&copies, options)?;
    let cut = cut(&mut copy, point, &key.id)?;
    let id = new_id()?;
    let slug = stands.as_deref().and_then(slug_of_source).or_else(|| place::slug_of(places, copies.sources()));
    let examining = format!("examine {}", copy.at.path.display());
    let made = fs::nameless_file(&std::env::temp_dir())?;
    write_until(copy.read().context(&examining)?, cut, (&key.id, &id), &made).context("make the new transcript")?;
    let path = copy.at.path.clone();
    let bytes = fs::stat_of(&made, &path)?.st_size as u64;
    let blake3 = fs::hash_of_prefix(&made, bytes, &path)?;
    let recorded = (|| -> io::Result<_> {
        let mut from_begin = made.try_clone()?;
        from_begin.rewind()?;
        cwd_of(from_begin, slug.as_deref())
    })();
    let cwd = Cwd::of(recorded.context(&examining)?, options);
    let mut notes = copies.notes.clone();
    notes.append(&mut copy.notes);
    let root = stands.as_deref().and_then(|path| Some(path.parent()?.parent()?.to_owned()));
    let root = root.unwrap_or_else(|| place::root_of(places, copies.sources()));
    let folder = place::folder(
        places,
        &key.id,
        options,
        stands.as_deref(),
        place::slug_of(places, copies.sources()),
        &cwd,
        &mut notes,
    )?;
    let mut work = Work { steps: Vec::new(), kept: 0, notes, problems: Vec::new() };
    let transcript = folder.join(format!("{id}.jsonl"));
    let mut stored = copy.at.clone();
    (stored.bytes, stored.blake3) = (bytes, blake3);
    let beneath = Beneath::open((root.join(&folder), PathBuf::from(format!("{id}.jsonl"))))?;
    let step = beneath.step(&id, stored, options, &mut work.notes)?;
    work.steps.push(Step { made: Some(made), ..step });
    add_side_files(&mut work, &root.join(&transcript), &id, &copies, options)?;
    let other = root.parent().filter(|_| root != places.projects());
    let command = place::command(cwd.now.as_deref(), &id, other.or(options.config_dir.as_deref()));
    Ok(Plan {
        key: SessionKey { project: key.project, id },
        stores,
        root,
        transcript,
        bytes,
        content: Which::Newest,
        generation: None,
        command: Some(command),
        cwd: cwd.now,
        work,
    })
}

/// What the point is looked for in: all that there ever was, where the newest version lost something.
fn content(copies: &SessionCopies, options: &Options) -> Result<Copy, Failure> {
    let id = &copies.key.id;
    let which = match options.content {
        Which::Newest if copies.loss().is_some() => Which::Joined,
        which => which,
    };
    if which == Which::Joined {
        return copies.joined();
    }
    let unfit = |_| Failure::new(format!("resume session {id}: no transcript of it that can be read is stored"));
    copies.choose(&FileName::Transcript, which).map_err(unfit)
}

/// Before which byte it ends: that of a line's beginning, or one within the last line.
fn cut(copy: &mut Copy, point: &Point, id: &SessionId) -> Result<Cut, Failure> {
    let newest = StoredName::newest(FileName::Transcript).to_text(id);
    let mut found = Vec::new();
    let target = match point {
        Point::At(message) => Some(Target::parse(message)),
        Point::BeforeCompaction(_) => None,
    };
    let is_elsewhere = target.as_ref().is_some_and(|target| !target.may_be_in(&newest));
    let examining = format!("examine {}", copy.at.path.display());
    let mut look = |located: Located<'_>| {
        let record = &located.record;
        let is_it = match &target {
            Some(target) => target.is(&located),
            None => record.kind == "system" && record.subtype.as_deref() == Some("compact_boundary"),
        };
        found.extend(is_it.then_some(located.offset));
        if is_it && target.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    if !is_elsewhere {
        copy.read().and_then(|bytes| read_records(bytes, 0, TornLine::Final, &mut look)).context(examining)?;
    }
    match point {
        Point::At(message) => match found.first() {
            Some(offset) => Ok(Cut::Behind(*offset)),
            None => {
                let why =
                    "no message of its transcript has this id or is as late as that; `show` and `search` tell them";
                Err(Failure::argument("--at", message, why))
            }
        },
        Point::BeforeCompaction(n) => {
            let compactions = found.len();
            let nth = n.unwrap_or(compactions);
            match nth.checked_sub(1).and_then(|at| found.get(at)) {
                Some(offset) => Ok(Cut::Before(*offset)),
                None if compactions == 0 => {
                    Err(Failure::new(format!("resume session {id} before a compaction: it was never compacted"))
                        .of(Kind::InvalidInput))
                }
                None => {
                    let why = format!("it was compacted {compactions} times, 1 is the oldest");
                    Err(Failure::argument("--before-compaction", &nth.to_string(), &why))
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Before the line at this byte.
    Before(u64),
    /// Behind it.
    Behind(u64),
}

/// Writes the lines up to there. Each record says of which session it is: of the new one, and nothing else of a line is
/// changed.
fn write_until(from: impl Read, cut: Cut, (old, new): (&SessionId, &SessionId), to: &File) -> io::Result<()> {
    let [old, new] = [old, new].map(|id| format!("\"sessionId\":\"{id}\"").into_bytes());
    let mut reader = BufReader::new(from);
    let mut writer = io::BufWriter::new(to);
    let (mut line, mut at) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let came = reader.read_until(b'\n', &mut line)? as u64;
        let is_over = match cut {
            Cut::Before(offset) => at + came > offset,
            Cut::Behind(offset) => at > offset,
        };
        if came == 0 || is_over {
            return writer.flush();
        }
        at += came;
        let mut rest = &line[..];
        while let Some(place) = memchr::memmem::find(rest, &old) {
            writer.write_all(&rest[..place])?;
            writer.write_all(&new)?;
            rest = &rest[place + old.len()..];
        }
        writer.write_all(rest)?;
        if !line.ends_with(b"\n") {
            writer.write_all(b"\n")?;
        }
    }
}

/// Subagents, outputs of tools and earlier states of files; not what speaks of the end of the conversation: its name,
/// task list, plan, and what lies beside it.
fn add_side_files(
    work: &mut Work,
    transcript: &Path,
    id: &SessionId,
    copies: &SessionCopies,
    options: &Options,
) -> Result<(), Failure> {
    let is_of_end = |side: &Path| {
        side == Path::new(TITLE_FILE) || [BESIDE, TASKS, PLANS].iter().any(|folder| side.starts_with(folder))
    };
    for side in copies.side_files().into_iter().filter(|side| !is_of_end(side)) {
        let file = FileName::Side(side.clone());
        match copies.choose(&file, Which::Newest) {
            Ok(copy) => {
                let beneath = Beneath::open(side_files::place_of(transcript, id, &file))?;
                work.steps.push(beneath.step(id, copy.at, options, &mut work.notes)?);
            }
            Err(_) => work.problems.push(format!("{} could not be read; it was left out", side.display())),
        }
    }
    Ok(())
}

/// A random one, as Claude Code makes them.
fn new_id() -> Result<SessionId, Failure> {
    let mut bytes = [0_u8; 16];
    random(&mut bytes).context("make a session id")?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(SessionId::parse(&parts.join("-"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ID, Scene, answer, prompt};

    const BOUNDARY: &str = "{\"type\":\"system\",\"subtype\":\"compact_boundary\",\"uuid\":\"b\",\"content\":\"x\"}\n";

    fn scene() -> Scene {
        let scene = Scene::new();
        let lines = [
            prompt(1, "one"),
            answer(2, "two"),
            BOUNDARY.to_owned(),
            prompt(3, "three"),
            BOUNDARY.to_owned(),
            prompt(4, &format!("say \"sessionId\":\"{ID}\"")),
        ];
        scene.transcribe(&lines);
        scene.write(&scene.transcript().with_extension("").join("tool-results/a.txt"), "output");
        scene.write(&scene.transcript().with_extension("").join(TITLE_FILE), "{\"customTitle\":\"end\"}\n");
        scene.layer1_copies();
        scene.receipt(None);
        scene
    }

    #[test]
    fn a_new_session_ends_at_the_point_and_the_old_one_stays() {
        let scene = scene();
        let before = std::fs::read(scene.transcript()).unwrap();
        for (point, lines, has) in [
            (Point::At("u-0002".to_owned()), 2, "two"),
            (Point::At("u-0004".to_owned()), 6, "say"),
            (Point::At("2026-11-22T10:00:03Z".to_owned()), 4, "three"),
            (Point::BeforeCompaction(None), 4, "three"),
            (Point::BeforeCompaction(Some(2)), 4, "three"),
            (Point::BeforeCompaction(Some(1)), 2, "two"),
        ] {
            let restored =
                plan(&scene.places, ID, &point, &Options::default()).unwrap().carry_out(&scene.places).unwrap();
            assert_ne!(restored.session_id, ID);
            let text = std::fs::read_to_string(&restored.path).unwrap();
            assert_eq!(text.lines().count(), lines, "{point:?}");
            assert!(text.lines().last().unwrap().contains(has), "{point:?}: {text}");
            let structural = format!("\"sessionId\":\"{ID}\"");
            assert!(!text.contains(&structural) && text.matches(&restored.session_id).count() >= 2, "{text}");
            // What somebody said stays as it was said.
            assert_eq!(text.contains(&format!("\\\"sessionId\\\":\\\"{ID}\\\"")), has == "say");
            let side = Path::new(&restored.path).with_extension("");
            assert_eq!(std::fs::read_to_string(side.join("tool-results/a.txt")).unwrap(), "output");
            assert!(!side.join(TITLE_FILE).exists());
            assert!(restored.command.unwrap().contains(&restored.session_id));
            // It is a conversation like any other.
            let saved = SessionCopies::find(&Rc::new(Stores::open(&scene.places).unwrap()), &restored.session_id);
            assert!(saved.unwrap().bytes() > 0);
        }
        assert_eq!(std::fs::read(scene.transcript()).unwrap(), before);
    }

    #[test]
    fn what_a_rewritten_transcript_lost_is_there_to_go_back_to() {
        let scene = scene();
        scene.transcribe(&[prompt(9, "a stub")]);
        scene.layer1_copies();
        scene.receipt(None);
        let point = Point::At("u-0002".to_owned());
        let restored = plan(&scene.places, ID, &point, &Options::default()).unwrap().carry_out(&scene.places).unwrap();
        assert!(
            std::fs::read_to_string(restored.path)
                .unwrap()
                .ends_with(&answer(2, "two").replace(ID, &restored.session_id))
        );
    }

    #[test]
    fn a_point_that_there_is_not_is_told() {
        let scene = scene();
        for (point, why) in [
            (Point::At("nothing".to_owned()), "no message"),
            (Point::BeforeCompaction(Some(3)), "compacted 2 times"),
            (Point::BeforeCompaction(Some(0)), "compacted 2 times"),
        ] {
            let told = plan(&scene.places, ID, &point, &Options::default()).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }
}
