use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use sha2::{Digest as _, Sha256};

use super::*;

/// A data folder, a library in it, and a file outside.
fn library() -> (tempfile::TempDir, Library) {
    let root = tempfile::tempdir().unwrap();
    let library = Library::open(&root.path().join("data")).unwrap();
    (root, library)
}

fn film(root: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = root.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Every file below the data folder, relative, sorted, without the lock file.
fn files(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, base: &Path, out: &mut Vec<String>) {
        for path in entries(folder).unwrap() {
            if path.is_dir() {
                walk(&path, base, out);
            } else {
                out.push(path.strip_prefix(base).unwrap().display().to_string());
            }
        }
    }
    let (base, mut found) = (root.join("data"), Vec::new());
    walk(&base, &base, &mut found);
    found.retain(|name| name != "staging/.lock");
    found.sort();
    found
}

fn stage(library: &Library, path: &Path) -> Staged {
    library.stage_copy(path, 0, &mut |_, _| {}).unwrap()
}

#[test]
fn a_committed_source_lies_under_its_digest_and_cannot_be_written_to() {
    let (root, library) = library();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let mut heard = Vec::new();
    let staged = library.stage_copy(&film(root.path(), "film", &bytes), 0, &mut |a, b| heard.push((a, b))).unwrap();
    assert_eq!(staged.size_bytes(), 3_000_000);
    assert_eq!(heard, [(1_048_576, 3_000_000), (2_097_152, 3_000_000), (3_000_000, 3_000_000)]);
    assert_eq!(fs::read(staged.path()).unwrap(), bytes, "the worker that inspects it sees the whole copy");

    let stored = staged.commit(b"index").unwrap();
    let hex: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((stored.digest().as_str(), stored.is_new()), (hex.as_str(), true));
    let folder = format!("library/{}/{hex}", &hex[..2]);
    assert_eq!(files(root.path()), [format!("{folder}/index"), format!("{folder}/source")]);
    assert_eq!(fs::read(library.source_path(stored.digest())).unwrap(), bytes);
    assert_eq!(library.read_index(stored.digest()).unwrap().unwrap(), b"index");
    let mode = fs::metadata(library.source_path(stored.digest())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o440);
}

#[test]
fn the_same_bytes_twice_are_one_source_and_the_first_index_stays() {
    let (root, library) = library();
    let path = film(root.path(), "film", b"frames");
    let first = stage(&library, &path).commit(b"one").unwrap();
    let second = stage(&library, &path).commit(b"two").unwrap();
    assert_eq!(second.digest(), first.digest());
    assert!(first.is_new() && !second.is_new());
    assert_eq!(files(root.path()).len(), 2);
    assert_eq!(library.read_index(first.digest()).unwrap().unwrap(), b"one");
}

#[test]
fn of_ten_that_commit_the_same_bytes_at_once_one_is_new() {
    let (root, library) = library();
    let path = film(root.path(), "film", b"frames");
    let all_staged = Barrier::new(10);
    let commit = || {
        let staged = stage(&library, &path);
        all_staged.wait();
        staged.commit(b"index").unwrap().is_new()
    };
    let new = std::thread::scope(|s| {
        let threads: Vec<_> = (0..10).map(|_| s.spawn(commit)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).filter(|new| *new).count()
    });
    assert_eq!(new, 1);
    assert_eq!(files(root.path()).len(), 2);
}

#[test]
fn a_dropped_copy_leaves_nothing() {
    let (root, library) = library();
    drop(stage(&library, &film(root.path(), "film", b"frames")));
    assert_eq!(files(root.path()), [""; 0]);
    assert_eq!(fs::read_dir(root.path().join("data/staging")).unwrap().count(), 1, "the lock file alone");
}

#[test]
fn opening_sweeps_what_a_dead_process_left_but_not_what_a_live_one_works_on() {
    let (root, library) = library();
    let staging = root.path().join("data/staging");
    let alive = stage(&library, &film(root.path(), "film", b"frames"));
    fs::create_dir(staging.join("0123456789abcdef")).unwrap();
    fs::write(staging.join("0123456789abcdef/source"), b"half").unwrap();
    fs::write(staging.join("stray"), b"half").unwrap();

    let again = Library::open(&root.path().join("data")).unwrap();
    assert_eq!(files(root.path()), [format!("staging/{}/source", alive.path().iter().nth_back(1).unwrap().display())]);
    alive.commit(b"index").unwrap();
    assert_eq!(again.digests().unwrap().len(), 1);
}

#[test]
fn nothing_is_swept_while_somebody_is_between_two_steps() {
    let (root, library) = library();
    let stored = stage(&library, &film(root.path(), "film", b"frames")).commit(b"index").unwrap();
    fs::write(root.path().join("data/staging/stray"), b"half").unwrap();
    Library::open(&root.path().join("data")).unwrap();
    assert_eq!(files(root.path()).len(), 3, "a commit that the catalog does not know yet holds the sweep off");
    drop(stored);
    Library::open(&root.path().join("data")).unwrap();
    assert_eq!(files(root.path()).len(), 2);
}

#[test]
fn a_removed_source_is_gone_with_its_index_and_open_readers_keep_it() {
    let (root, library) = library();
    let digest = stage(&library, &film(root.path(), "film", b"frames")).commit(b"index").unwrap().digest().clone();
    let mut reader = File::open(library.source_path(&digest)).unwrap();
    assert!(library.remove(library.freeze().unwrap(), &digest).unwrap());
    assert!(!library.remove(library.freeze().unwrap(), &digest).unwrap(), "absence is no error");
    assert_eq!(library.read_index(&digest).unwrap(), None);
    assert_eq!(files(root.path()), [""; 0]);
    assert_eq!(fs::read_dir(root.path().join("data/library")).unwrap().count(), 0);
    assert_eq!(io::read_to_string(&mut reader).unwrap(), "frames");
}

#[test]
fn what_is_not_a_readable_file_is_named_and_leaves_nothing() {
    let (root, library) = library();
    let pipe = root.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let refused = |path: &Path| library.stage_copy(path, 0, &mut |_, _| {}).unwrap_err().to_string();
    assert_eq!(refused(root.path()), format!("{} is a folder, not a file", root.path().display()));
    assert_eq!(refused(&pipe), format!("{} is a named pipe, not a file", pipe.display()));
    assert_eq!(refused(Path::new("/dev/zero")), "/dev/zero is a device, not a file");
    let missing = root.path().join("missing");
    let text = format!("{} cannot be read: No such file or directory (os error 2)", missing.display());
    assert_eq!(refused(&missing), text);
    assert_eq!(files(root.path()), [""; 0]);
}

#[test]
fn a_full_disk_is_said_in_one_line_and_leaves_nothing() {
    let (root, library) = library();
    // A sparse file larger than any disk here: refused before a byte is copied.
    let path = film(root.path(), "film", b"");
    let mut size = 1u64 << 43;
    while File::options().write(true).open(&path).unwrap().set_len(size).is_err() {
        size /= 2;
    }
    let free = rustix::fs::statvfs(root.path()).unwrap();
    assert!(free.f_bavail * free.f_frsize < size, "this disk is too large for the test");
    let full = library.stage_copy(&path, 0, &mut |_, _| panic!("nothing may be copied")).unwrap_err();
    assert!(matches!(full, Error::Full { needed_bytes, .. } if needed_bytes == size), "{full}");
    assert!(full.to_string().contains("free some, or choose another folder with --data"), "{full}");
    // So is one that would take what is to stay free.
    let small = film(root.path(), "small", b"frames");
    let reserve = (free.f_bavail * free.f_frsize) * 2;
    let full = library.stage_copy(&small, reserve, &mut |_, _| panic!("nothing may be copied")).unwrap_err();
    assert!(matches!(full, Error::Full { needed_bytes: 6, .. }), "{full}");

    // A device that is full says so on write, as a disk does that fills up half-way.
    let mut device = File::options().write(true).open("/dev/full").unwrap();
    let why = io::copy(&mut &b"frames"[..], &mut device).unwrap_err();
    assert!(matches!(library.unwritten(&path, 6, why), Error::Full { needed_bytes: 6, .. }));
    assert_eq!(files(root.path()), [""; 0]);
}

/// Uploads were refused beside gigabytes that could go.
#[test]
fn before_a_film_is_refused_somebody_is_asked_for_room() {
    let (root, library) = library();
    let disk = rustix::fs::statvfs(root.path()).unwrap();
    let free = disk.f_bavail * disk.f_frsize;
    let missing = Arc::new(AtomicU64::new(0));
    let (told, gives) = (missing.clone(), Arc::new(AtomicBool::new(true)));
    let has = gives.clone();
    let library = library.asking(Arc::new(move |bytes| {
        told.store(bytes, Relaxed);
        has.load(Relaxed)
    }));
    assert!(library.room_for(1, 0).is_ok() && missing.load(Relaxed) == 0, "there is room");
    assert!(library.room_for(free, free).is_ok());
    // Others use the disk, too.
    let near = free - free / 4..free + free / 4;
    assert!(near.contains(&missing.load(Relaxed)), "{missing:?} of {free}");
    assert!(library.stage(2 * free).is_ok());
    gives.store(false, Relaxed);
    assert!(matches!(library.room_for(free, free), Err(Error::Full { .. })));
}

#[test]
fn an_unusable_data_folder_is_named_with_the_remedy() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("library"), b"a file where a folder should be").unwrap();
    let said = Library::open(root.path()).unwrap_err().to_string();
    let start = format!("{} cannot be used (", root.path().join("library").display());
    assert!(said.starts_with(&start) && said.ends_with("or choose another with --data"), "{said}");
    assert!(!said.contains('\n'));
    assert!(Library::open(Path::new("/proc/matinee")).is_err());
}

/// A removal gave up while a film was synced.
#[test]
fn a_film_is_synced_before_the_lock_is_taken_and_not_under_it() {
    let (root, library) = library();
    let staged = stage(&library, &film(root.path(), "film", b"frames"));
    let source = staged.path();
    let frozen = library.freeze().unwrap();
    let committing = std::thread::spawn(move || staged.commit(b"index").map(|stored| stored.is_new()));
    // That is done just before it is synced.
    while fs::metadata(&source).unwrap().permissions().mode() & 0o777 != 0o440 {
        assert!(!committing.is_finished(), "it waited for the lock first");
        std::thread::yield_now();
    }
    drop(frozen);
    assert!(committing.join().unwrap().unwrap());
}
