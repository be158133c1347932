use std::fs;
use std::sync::Barrier;

use super::*;
use crate::media::{
    AudioRendition, AudioSource, Cut, Grid, Plan, Rate, Rendition, RenditionKind, Timescale, TitleId, VideoRendition,
    VideoSource,
};

fn catalog() -> (tempfile::TempDir, Catalog) {
    let data = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(data.path()).unwrap();
    (data, catalog)
}

fn plan() -> Plan {
    let grid = |ticks: u32, step: u64| {
        let cuts = (0..4).map(|n| Cut { frame: n * step, at: n * step * 512 }).collect();
        Grid::new(Timescale::new(ticks).unwrap(), cuts).unwrap()
    };
    let colour = crate::media::Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let rendition = |name: &str, grid, kind| Rendition {
        name: name.parse().unwrap(),
        grid,
        codecs: "avc1.640028".into(),
        bandwidth: 5_000_000,
        average_bandwidth: None,
        kind,
    };
    let video = VideoRendition {
        width: 1920,
        height: 1080,
        rate: Rate::new(24000, 1001).unwrap(),
        colour,
        audio: Some("audio-128k".parse().unwrap()),
        source: VideoSource::Encode { ceiling: 5_000_000, level: 40, min_frame_ticks: 0 },
    };
    let audio = AudioRendition {
        track: 0,
        rate: 48_000,
        channels: 2,
        language: "und".into(),
        source: AudioSource::Passthrough { config: vec![0x11, 0x90], first_packet: 3 },
        label: crate::media::Label::default(),
    };
    Plan {
        tracks: Vec::new(),
        renditions: vec![
            rendition("1080p", grid(12_800, 100), RenditionKind::Video(video)),
            rendition("audio-128k", grid(48_000, 188), RenditionKind::Audio(audio)),
        ],
    }
}

fn title(number: u64, created_at_ms: i64) -> NewTitle {
    NewTitle {
        id: TitleId::from_random(number),
        name: format!("Film {number}"),
        created_at_ms,
        source: "5a".repeat(32).parse().unwrap(),
        file_name: "film.mp4".into(),
        size_bytes: 1 << 40,
        notes: vec!["3 frames had no time".into()],
        plan: Arc::new(plan()),
        watched: None,
    }
}

/// Statements that a second process might run.
fn sql(data: &Path, text: &str) {
    Connection::open(data.join(FILE)).unwrap().execute_batch(text).unwrap();
}

#[test]
fn a_title_comes_back_as_it_was_put_in_also_after_a_restart() {
    let (data, catalog) = catalog();
    let new = title(7, 1_700_000_000_123);
    catalog.insert_ready(&new).unwrap();
    drop(catalog);
    let found = Catalog::open(data.path()).unwrap().title(&new.id).unwrap().unwrap();
    assert_eq!(found.plan.as_deref(), Some(&*new.plan));
    let expected = Entry {
        id: new.id,
        name: new.name,
        state: State::Ready,
        failure: None,
        created_at_ms: 1_700_000_000_123,
        source: Some(new.source),
        file_name: new.file_name,
        size_bytes: 1 << 40,
        duration_s: Some(new.plan.duration_seconds()),
        notes: new.notes,
        description: String::new(),
        metadata: Metadata::new(),
        version: 1,
        policy: crate::media::Policy::Public,
    };
    assert_eq!(found.entry, expected);
}

#[test]
fn a_title_survives_a_process_that_was_killed_right_after_it_was_added() {
    let (data, catalog) = catalog();
    let new = title(7, 1);
    catalog.insert_ready(&new).unwrap();
    // The files as a killed process leaves them: the row is in the log, which nobody folded into the main file.
    let after = tempfile::tempdir().unwrap();
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        fs::copy(data.path().join(&name), after.path().join(&name)).unwrap();
    }
    assert!(Catalog::open(after.path()).unwrap().title(&new.id).unwrap().is_some());
}

fn removed(catalog: &Catalog, id: &TitleId) -> Removed {
    let Removal::Done(removed) = catalog.remove(id, None).unwrap() else { panic!() };
    removed
}

#[test]
fn a_title_of_another_version_than_expected_is_not_removed() {
    let (_data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    let id = TitleId::from_random(1);
    let version = catalog.title(&id).unwrap().unwrap().entry.version;
    assert_eq!(catalog.remove(&id, Some(version + 1)).unwrap(), Removal::Stale);
    assert!(matches!(catalog.remove(&id, Some(version)).unwrap(), Removal::Done(_)));
}

#[test]
fn an_unknown_title_is_none_and_removing_it_is_false() {
    let (_data, catalog) = catalog();
    let id = TitleId::from_random(1);
    assert_eq!(catalog.title(&id).unwrap(), None);
    assert_eq!(catalog.remove(&id, None).unwrap(), Removal::Absent);
}

#[test]
fn a_source_is_in_use_until_the_last_title_that_names_it_is_removed() {
    let (_data, catalog) = catalog();
    let (one, two) = (title(1, 1), title(2, 2));
    let in_use = || catalog.sources_in_use(&one.source).unwrap();
    assert_eq!((catalog.count().unwrap(), in_use()), (0, 0));
    catalog.insert_ready(&one).unwrap();
    catalog.insert_ready(&two).unwrap();
    assert_eq!((catalog.count().unwrap(), in_use()), (2, 2));
    assert_eq!(removed(&catalog, &one.id).source.as_ref(), Some(&one.source));
    assert_eq!(in_use(), 1);
    assert_eq!(removed(&catalog, &two.id).plan.as_deref(), Some(&*two.plan));
    assert_eq!((catalog.count().unwrap(), in_use()), (0, 0));
}

#[test]
fn an_id_is_taken_once() {
    let (_data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    assert!(matches!(catalog.insert_ready(&title(1, 2)), Err(Error::Sqlite(_))));
    assert_eq!(catalog.count().unwrap(), 1);
}

#[test]
fn pages_newest_first_show_every_title_once_even_if_they_were_added_in_the_same_millisecond() {
    let (_data, catalog) = catalog();
    for number in 0..7 {
        catalog.insert_ready(&title(number, i64::from(number > 1))).unwrap();
    }
    let (mut seen, mut after): (Vec<(i64, String)>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = catalog.titles(after.as_ref(), 3, None).unwrap();
        assert!(page.entries.len() <= 3);
        seen.extend(page.entries.iter().map(|e| (e.created_at_ms, e.id.to_string())));
        // Through its text, as a client sends it back.
        match page.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    let mut expected = seen.clone();
    expected.sort_by(|a, b| b.cmp(a));
    expected.dedup();
    assert_eq!((seen.len(), &seen), (7, &expected));
}

#[test]
fn a_full_last_page_has_no_next_and_a_limit_is_bounded() {
    let (_data, catalog) = catalog();
    for number in 0..3 {
        catalog.insert_ready(&title(number, 0)).unwrap();
    }
    assert_eq!(catalog.titles(None, 3, None).unwrap().next, None);
    assert_eq!(catalog.titles(None, 0, None).unwrap().entries.len(), 1);
    assert_eq!(catalog.titles(None, u32::MAX, None).unwrap().entries.len(), 3);
}

#[test]
fn titles_of_one_state_are_listed_alone_and_a_failed_one_says_why() {
    let (data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    sql(
        data.path(),
        "INSERT INTO titles (id, name, state, error_code, error_message, created_at_ms, file_name, size_bytes)
         VALUES ('000000000009', 'x', 'failed', 'not_media', 'no film', 2, 'x', 1)",
    );
    let failed = catalog.titles(None, 10, Some(State::Failed)).unwrap().entries;
    let why = Failure { code: "not_media".into(), message: "no film".into() };
    assert_eq!(failed.iter().map(|e| e.failure.clone()).collect::<Vec<_>>(), [Some(why)]);
    assert_eq!(catalog.titles(None, 10, Some(State::Ready)).unwrap().entries.len(), 1);
    assert_eq!(catalog.title(&failed[0].id).unwrap().unwrap().plan, None);
}

#[test]
fn cursors_that_are_not_ours_are_refused() {
    for bad in ["", "-", "1", "1-", "x-000000000001", "1-000000000001-", "1-../../../../x"] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
    }
    assert!("-5-000000000001".parse::<Cursor>().is_ok(), "clocks may stand before 1970");
}

#[test]
fn a_newer_catalog_is_refused_with_the_remedy_and_not_one_byte_is_touched() {
    let (data, catalog) = catalog();
    drop(catalog);
    sql(data.path(), "PRAGMA user_version = 99; PRAGMA journal_mode = DELETE");
    let before = fs::read(data.path().join(FILE)).unwrap();
    let said = Catalog::open(data.path()).unwrap_err().to_string();
    let expected = format!(
        "{} has format 99, and this matinee knows formats up to {}: use the newer matinee that wrote it, or choose \
         another folder with --data (nothing was changed)",
        data.path().join(FILE).display(),
        schema::KNOWN
    );
    assert_eq!(said, expected);
    assert_eq!(fs::read(data.path().join(FILE)).unwrap(), before);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "no journal stays behind");
}

#[test]
fn another_programs_file_is_refused_and_not_one_byte_is_touched() {
    let foreign = tempfile::tempdir().unwrap();
    sql(foreign.path(), "CREATE TABLE notes (text TEXT); PRAGMA user_version = 1");
    let text = tempfile::tempdir().unwrap();
    fs::write(text.path().join(FILE), "not a database at all, but longer than a header\n".repeat(30)).unwrap();
    for data in [foreign, text] {
        let before = fs::read(data.path().join(FILE)).unwrap();
        assert!(matches!(Catalog::open(data.path()), Err(Error::Foreign { .. })));
        assert_eq!(fs::read(data.path().join(FILE)).unwrap(), before);
    }
}

#[test]
fn a_catalog_that_cannot_be_made_is_named() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join(FILE)).unwrap();
    let said = Catalog::open(data.path()).unwrap_err().to_string();
    assert!(said.contains(FILE) && said.contains("choose another folder with --data"), "{said}");
    let said = Catalog::open(Path::new("/proc/matinee")).unwrap_err().to_string();
    assert!(said.starts_with("/proc/matinee/catalog.sqlite cannot be opened ("), "{said}");
}

#[test]
fn of_eight_that_open_a_new_data_folder_at_once_all_succeed() {
    let data = tempfile::tempdir().unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (data, start) = (data.path(), &start);
            scope.spawn(move || {
                start.wait();
                Catalog::open(data).unwrap().insert_ready(&title(number, 0)).unwrap();
            });
        }
    });
    assert_eq!(Catalog::open(data.path()).unwrap().count().unwrap(), 8);
}

#[test]
fn a_reader_does_not_wait_for_another_processs_transaction() {
    let (data, catalog) = catalog();
    catalog.insert_ready(&title(1, 1)).unwrap();
    let mut other = Connection::open(data.path().join(FILE)).unwrap();
    let writing = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    writing.execute("DELETE FROM titles", []).unwrap();
    assert_eq!(catalog.count().unwrap(), 1, "what is not committed is not seen");
    writing.commit().unwrap();
    assert_eq!(catalog.count().unwrap(), 0);
}

#[test]
fn the_file_is_opened_as_promised() {
    let (_data, catalog) = catalog();
    let read = |pragma: &str| catalog.writer().pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((read("synchronous"), read("foreign_keys"), read("user_version")), (2, 1, schema::KNOWN));
    let mode: String = catalog.writer().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert!(catalog.reader().execute("DELETE FROM titles", []).is_err(), "the reading connection cannot write");
}

#[test]
fn one_damaged_row_is_named_and_the_others_can_be_read() {
    let (data, catalog) = catalog();
    let (good, bad) = (title(1, 1), title(2, 2));
    catalog.insert_ready(&good).unwrap();
    catalog.insert_ready(&bad).unwrap();
    sql(data.path(), &format!("UPDATE titles SET plan = '{{' WHERE id = '{}'", bad.id));
    let said = catalog.title(&bad.id).unwrap_err().to_string();
    assert!(said.contains(bad.id.as_str()) && said.contains("remove the title"), "{said}");
    assert!(catalog.title(&good.id).unwrap().is_some());
}

#[test]
fn a_rows_mark_changes_with_the_row_and_not_with_others() {
    let (data, catalog) = catalog();
    let (one, other) = (title(1, 5), title(2, 6));
    assert_eq!(catalog.mark(&one.id).unwrap(), None);
    catalog.insert_ready(&one).unwrap();
    let mark = catalog.mark(&one.id).unwrap();
    assert!(mark.is_some());
    catalog.insert_ready(&other).unwrap();
    assert_eq!(catalog.mark(&one.id).unwrap(), mark);
    assert_ne!(catalog.mark(&other.id).unwrap(), mark);
    for change in ["name = name || '.'", "duration_s = duration_s + 1", "plan = plan || ' '", "notes = '[]'"] {
        let before = catalog.mark(&one.id).unwrap();
        sql(data.path(), &format!("UPDATE titles SET {change} WHERE id = '{}'", one.id));
        assert_ne!(catalog.mark(&one.id).unwrap(), before, "{change}");
    }
    removed(&catalog, &one.id);
    assert_eq!(catalog.mark(&one.id).unwrap(), None);
}

#[test]
fn a_newer_source_calls_off_an_older_one_that_waits_and_the_old_one_stays_in_use_until_it_is_replaced() {
    let (_data, catalog) = catalog();
    let old = title(1, 1);
    catalog.insert_ready(&old).unwrap();
    let digest = |n: u32| format!("{n:064x}").parse::<crate::media::Digest>().unwrap();
    let new = |n, expected| Replacement {
        title: old.id.clone(),
        source: digest(n),
        file_name: None,
        size_bytes: 7,
        expected,
        configured: crate::media::Quota::default(),
        at_ms: 5,
    };
    let (first, second) = (new_job_id().unwrap(), new_job_id().unwrap());
    assert_eq!(catalog.replace(&new(1, Some(2)), &first).unwrap(), Replacing::Stale);
    assert_eq!(catalog.replace(&new(1, Some(1)), &first).unwrap(), Replacing::Entered(Vec::new()));
    let superseded = vec![(first.clone(), digest(1))];
    assert_eq!(catalog.replace(&new(2, None), &second).unwrap(), Replacing::Entered(superseded));
    assert_eq!(catalog.job(&first).unwrap().unwrap().state, JobState::Cancelled);
    let in_use = |n| catalog.sources_in_use(&digest(n)).unwrap();
    assert_eq!((in_use(1), in_use(2), catalog.sources_in_use(&old.source).unwrap()), (0, 1, 1));
    let lease = Lease { owner: "me", now_ms: 6, until_ms: 9 };
    assert_eq!(catalog.claim(Kind::Process, lease, &[]).unwrap(), None);
    let job = catalog.claim(Kind::Replace, lease, &[]).unwrap().unwrap();
    assert_eq!((&job.id, job.source.as_ref(), job.film()), (&second, Some(&digest(2)), ("film.mp4".into(), 7)));
    let ready = Outcome::Ready { plan: Arc::new(plan()), notes: Vec::new() };
    assert!(catalog.end_attempt(&job, "me", 8, &ready).unwrap());
    let entry = catalog.title(&old.id).unwrap().unwrap().entry;
    assert_eq!((entry.source, entry.size_bytes, entry.version), (Some(digest(2)), 7, 4));
    assert_eq!((in_use(2), catalog.sources_in_use(&old.source).unwrap()), (1, 0));
    assert_eq!(catalog.replace(&new(2, None), &first).unwrap(), Replacing::Same(Vec::new()));
    assert_eq!(
        catalog.replace(&Replacement { title: TitleId::from_random(9), ..new(3, None) }, &first).unwrap(),
        Replacing::Absent
    );
}

#[test]
fn what_waits_to_be_a_source_and_what_is_fetched_counts_on_a_quota() {
    let (data, catalog) = catalog();
    let (key, other): (crate::media::KeyId, crate::media::KeyId) =
        ("000000000001".parse().unwrap(), "000000000002".parse().unwrap());
    let quota = crate::media::Quota { max_bytes: Some(20), ..crate::media::Quota::default() };
    for (number, name) in [(1, "one"), (2, "two")] {
        catalog.insert_ready(&NewTitle { name: name.into(), size_bytes: 2, ..title(number, 1) }).unwrap();
    }
    sql(data.path(), &format!("UPDATE titles SET owner = '{key}'"));
    let digest = |n: u64| format!("{n:064x}").parse::<crate::media::Digest>().unwrap();
    let replace = |number, size_bytes| {
        let new = Replacement {
            title: TitleId::from_random(number),
            source: digest(number * 100 + size_bytes),
            file_name: None,
            size_bytes,
            expected: None,
            configured: quota,
            at_ms: 5,
        };
        catalog.replace(&new, &new_job_id().unwrap()).unwrap()
    };
    let over = Replacing::Over(crate::media::Exceeded::Bytes(20));
    let bytes = || (catalog.usage(&key).unwrap().bytes, catalog.usages().unwrap()[key.as_str()].bytes);
    assert_eq!(bytes(), (4, 4));
    assert_eq!((replace(1, 19), bytes()), (over.clone(), (4, 4)));
    assert_eq!((replace(1, 18), bytes()), (Replacing::Entered(Vec::new()), (20, 20)));
    assert_eq!(replace(2, 3), over, "the other one waits and counts");
    // What it supersedes goes for it.
    assert!(matches!(replace(1, 17), Replacing::Entered(superseded) if superseded.len() == 1));
    assert_eq!(bytes(), (19, 19));
    let counted = |number| catalog.counted(&TitleId::from_random(number)).unwrap();
    assert_eq!(counted(1), Some(Counted { owner: Some(key.clone()), bytes: 17 }));
    assert_eq!((counted(2).unwrap().bytes, counted(3)), (2, None));

    let fetch = |number| {
        let arrival = Arrival {
            id: TitleId::from_random(number),
            name: "film".into(),
            description: String::new(),
            metadata: Metadata::new(),
            created_at_ms: 6,
            bytes: Place::Elsewhere { detail: "{}".into(), limit: 9 },
            file_name: "film.mp4".into(),
            policy: crate::media::Policy::Public,
            token_until_ms: None,
            creation: None,
            owner: Some(Owner { key: other.clone(), quota }),
        };
        assert_eq!(catalog.insert_arrival(&arrival, &new_job_id().unwrap()).unwrap(), None);
        catalog.claim(Kind::Fetch, Lease { owner: "me", now_ms: 7, until_ms: 9 }, &[]).unwrap().unwrap()
    };
    let owner = Owner { key: other.clone(), quota };
    let (first, second) = (fetch(4), fetch(5));
    let announce = |job: &Job, bytes| catalog.announce_fetched(job, "me", bytes, Some(&owner)).unwrap();
    assert_eq!(announce(&first, 15), Entered::Done);
    assert_eq!(announce(&second, 6), Entered::Over(crate::media::Exceeded::Bytes(20)));
    assert_eq!(announce(&first, 14), Entered::Done, "another one by now");
    assert_eq!(announce(&second, 6), Entered::Done);
    assert_eq!(catalog.announce_fetched(&first, "somebody", 1, None).unwrap(), Entered::Lost);
    assert_eq!(catalog.usage(&other).unwrap().bytes, 20);
    let fetched =
        |size_bytes| Fetched { source: digest(9), size_bytes, next: new_job_id().unwrap(), owner: Some(owner.clone()) };
    let over = Entered::Over(crate::media::Exceeded::Bytes(20));
    assert_eq!(catalog.enter_fetched(&second, "me", 8, &fetched(7)).unwrap(), over, "it was longer than announced");
    assert_eq!(catalog.enter_fetched(&first, "me", 8, &fetched(14)).unwrap(), Entered::Done);
    assert_eq!(catalog.usage(&other).unwrap().bytes, 20);
}

#[test]
fn who_removes_a_title_hears_what_it_had_in_that_moment() {
    let (_data, catalog) = catalog();
    let old = title(1, 1);
    catalog.insert_ready(&old).unwrap();
    let (job, warming) = (new_job_id().unwrap(), new_job_id().unwrap());
    let new = Replacement {
        title: old.id.clone(),
        source: "7b".repeat(32).parse().unwrap(),
        file_name: None,
        size_bytes: 7,
        expected: None,
        configured: crate::media::Quota::default(),
        at_ms: 5,
    };
    assert_eq!(catalog.replace(&new, &job).unwrap(), Replacing::Entered(Vec::new()));
    catalog.insert_warming(&warming, &old.id, "{}", 5).unwrap();
    let Removed { source, plan, mut jobs, successors, size_bytes } = removed(&catalog, &old.id);
    assert_eq!((source, plan, size_bytes), (Some(old.source), Some(old.plan), old.size_bytes));
    let mut expected = vec![job, warming];
    jobs.sort();
    expected.sort();
    assert_eq!((jobs, successors), (expected, vec![new.source]));
}

#[test]
fn a_claimant_does_not_claim_what_it_is_at_and_waiting_does_not_count() {
    let (_data, catalog) = catalog();
    let film = title(1, 1);
    catalog.insert_ready(&film).unwrap();
    let id = new_job_id().unwrap();
    catalog.insert_warming(&id, &film.id, "{}", 1).unwrap();
    let lease = |now_ms| Lease { owner: "me", now_ms, until_ms: now_ms + 9 };
    let job = catalog.claim(Kind::Warm, lease(1), &[]).unwrap().unwrap();
    let mine = [id];
    // The machine was paused: the lease has run out, and the heartbeat keeps it.
    assert_eq!(catalog.claim(Kind::Warm, lease(100), &mine).unwrap(), None);
    assert_eq!(
        (catalog.next_due(Kind::Warm, &mine).unwrap(), catalog.next_due(Kind::Warm, &[]).unwrap()),
        (None, Some(11))
    );
    assert!(catalog.beat(&job.id, lease(100), 0).unwrap());
    let failure = Failure { code: "disk_full".into(), message: "no room".into() };
    let waits = Outcome::Waits { due_at_ms: 200, failure: failure.clone() };
    assert!(catalog.end_attempt(&job, "me", 101, &waits).unwrap());
    let waiting = catalog.job(&job.id).unwrap().unwrap();
    assert_eq!((waiting.state, waiting.attempts, waiting.due_at_ms), (JobState::Queued, 0, 200));
    assert_eq!(waiting.failure, Some(failure));
}

#[test]
fn bridged_frames_are_counted_once_and_go_with_the_last_title_of_their_source() {
    let (data, catalog) = catalog();
    let (one, two) = (title(1, 1), title(2, 2));
    let (source, recipe) = (one.source.clone(), "0123456789abcdef".parse().unwrap());
    let note = |rendition: &str, segment, frames| {
        catalog.note_bridged((&source, &recipe), (&rendition.parse().unwrap(), segment), frames).unwrap();
    };
    note("360p", 0, 9);
    let two = NewTitle { source: source.clone(), ..two };
    for title in [&one, &two] {
        catalog.insert_ready(title).unwrap();
    }
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 0, "nobody had it");
    for (rendition, segment, frames) in [("360p", 0, 3), ("360p", 7, 4), ("144p", 0, 3), ("360p", 0, 3)] {
        note(rendition, segment, frames);
    }
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 7);
    assert_eq!(catalog.bridged(&source, &"01fedcba98765432".parse().unwrap()).unwrap(), 0);
    removed(&catalog, &one.id);
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 7);
    sql(data.path(), &format!("UPDATE titles SET source = '{}'", "7b".repeat(32)));
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 0, "its source was replaced");
    sql(data.path(), &format!("UPDATE titles SET source = '{source}'"));
    note("360p", 0, 3);
    removed(&catalog, &two.id);
    assert_eq!(catalog.bridged(&source, &recipe).unwrap(), 0);
}

#[test]
fn a_watched_file_is_forgotten_once_it_was_away_for_a_day() {
    const HOUR: i64 = 3_600_000;
    let (_data, catalog) = catalog();
    let lying = |file: &str| Lying { file: file.into(), beside: vec![format!("{file}.srt")] };
    let failure = Failure { code: "not_media".into(), message: "no film".into() };
    catalog.note_refused(&lying("kept"), &failure, 0).unwrap();
    catalog.insert_ready(&NewTitle { watched: Some(lying("away")), ..title(1, 0) }).unwrap();
    let away = || catalog.watched("away").unwrap();
    let both = ["kept".to_owned(), "away".to_owned()];
    catalog.see_watched(&both, 30 * HOUR).unwrap();
    for hour in 31..=54 {
        catalog.see_watched(&both[..1], hour * HOUR).unwrap();
    }
    assert_eq!(away(), Some((Watched::Title(title(1, 0).id), vec!["away.srt".to_owned()])));
    catalog.see_watched(&both[..1], 56 * HOUR).unwrap();
    assert_eq!(away(), None);
    assert_eq!(catalog.watched("kept").unwrap(), Some((Watched::Refused(failure), vec!["kept.srt".to_owned()])));
}
