//! The file: how it is opened, shared and kept.

use std::fs;
use std::sync::Barrier;

use super::*;

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

/// A plan stood in the middle of its title's row, and was read with everything that stood behind it.
#[test]
fn a_catalog_of_before_plans_had_a_table_keeps_everything() {
    let data = tempfile::tempdir().unwrap();
    let (new, job) = (title(1, 5), new_job_id().unwrap());
    let old = Connection::open(data.path().join(FILE)).unwrap();
    old.pragma_update(None, "foreign_keys", true).unwrap();
    schema::STEPS[..12].iter().for_each(|step| old.execute_batch(step).unwrap());
    old.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 12).unwrap();
    let (id, source) = (new.id.as_str(), new.source.as_str());
    old.execute(
        "INSERT INTO titles (id, name, state, created_at_ms, source, file_name, size_bytes, duration_s, plan, description,
             metadata, version, playback_policy, owner)
         VALUES (?1, 'Film', 'ready', 5, ?2, 'film.mp4', 7, 1.5, ?3, 'words', '{\"a\":1}', 3, 'signed', '000000000002')",
        [id, source, &serde_json::to_string(&*new.plan).unwrap()],
    )
    .unwrap();
    old.execute_batch(&format!(
        "INSERT INTO jobs (id, kind, title, state, due_at_ms, created_at_ms) VALUES ('{job}', 'warm', '{id}', 'queued', 1, 1);
         INSERT INTO bridged VALUES ('{source}', '0123456789abcdef', '360p', 0, 3);"
    ))
    .unwrap();
    drop(old);
    let catalog = Catalog::open(data.path()).unwrap();
    let Title { entry, plan } = catalog.title(&new.id).unwrap().unwrap();
    assert_eq!(plan.as_deref(), Some(&*new.plan));
    assert_eq!((entry.description.as_str(), entry.version, entry.policy), ("words", 3, crate::media::Policy::Signed));
    assert_eq!((entry.metadata["a"].as_u64(), entry.duration_s), (Some(1), Some(1.5)));
    assert_eq!(catalog.counted(&new.id).unwrap().unwrap().owner, Some("000000000002".parse().unwrap()));
    assert_eq!(catalog.job(&job).unwrap().unwrap().title, new.id);
    let bridged = || catalog.bridged(&new.source, &"0123456789abcdef".parse().unwrap()).unwrap();
    assert_eq!(bridged(), 3);
    assert_eq!(removed(&catalog, &new.id).plan, Some(new.plan.clone()));
    assert_eq!((catalog.job(&job).unwrap(), bridged()), (None, 0), "they go with their title");
    let rows: i64 = catalog.reader().query_row("SELECT count(*) FROM plans", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}
