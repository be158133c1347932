use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn library() -> (tempfile::TempDir, Library) {
    let root = tempfile::tempdir().unwrap();
    let library = Library::open(root.path()).unwrap();
    (root, library)
}

fn again(library: Library) -> (Library, Resumable) {
    let (sources, staging) = (library.sources.parent().unwrap().to_owned(), library.staging.clone());
    drop(library);
    let library = Library::open(&sources).unwrap();
    assert_eq!(entries(&staging).unwrap().len(), 1, "the lock file alone");
    let (resumable, about) = library.open_resumable(&ID.parse().unwrap()).unwrap();
    assert_eq!(about, b"about");
    (library, resumable)
}

#[test]
fn a_mark_survives_with_its_hash_and_what_lies_behind_it_does_not_count() {
    let (_root, library) = library();
    let id: UploadId = ID.parse().unwrap();
    let mut resumable = library.create_resumable(&id, b"about", Some(9), 1).unwrap();
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"abc"), 0).unwrap();
    resumable.settle(2).unwrap();
    resumable.write(Bytes::from_static(b"lost"), 0).unwrap();
    assert_eq!((resumable.offset_bytes(), resumable.mark().offset_bytes), (7, 3));
    drop(resumable);

    let (library, mut resumable) = again(library);
    assert_eq!(resumable.mark().offset_bytes, 3);
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"defghi"), 0).unwrap();
    resumable.settle(3).unwrap();
    assert!(resumable.is_complete());
    drop(resumable);

    let (library, mut resumable) = again(library);
    let staged = resumable.stage().unwrap();
    let hex: String = Sha256::digest(b"abcdefghi").iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((staged.digest().as_str(), staged.size_bytes()), (hex.as_str(), 9));
    let stored = staged.commit_uninspected().unwrap();
    resumable.finish("000000000001".parse().unwrap(), 4).unwrap();
    assert_eq!(fs::read(library.source_path(stored.digest())).unwrap(), b"abcdefghi");
    assert!(!resumable.path().exists());
    resumable.remove().unwrap();
    assert_eq!(library.resumables().unwrap(), []);
}

#[test]
fn a_mark_follows_a_sync_that_goes_on_beside_the_writing() {
    let (_root, library) = library();
    let mut resumable = library.create_resumable(&ID.parse().unwrap(), b"about", Some(9), 1).unwrap();
    resumable.begin().unwrap();
    for (bytes, certain) in [(b"abc", 0), (b"def", 3)] {
        resumable.write(Bytes::from_static(bytes), 0).unwrap();
        assert_eq!(resumable.unsettled_bytes(), 3);
        resumable.hasten(2).unwrap();
        assert_eq!((resumable.unsettled_bytes(), resumable.mark().offset_bytes), (0, certain));
    }
    drop(resumable);
    let (_library, mut resumable) = again(library);
    assert_eq!(resumable.mark().offset_bytes, 6, "what was on its way is waited for");
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"gh"), 0).unwrap();
    resumable.hasten(3).unwrap();
    resumable.write(Bytes::from_static(b"i"), 0).unwrap();
    resumable.settle(4).unwrap();
    assert_eq!((resumable.mark().offset_bytes, resumable.unsettled_bytes()), (9, 0));
    let hex: String = Sha256::digest(b"abcdefghi").iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(resumable.stage().unwrap().digest().as_str(), hex);
}

#[test]
fn what_comes_after_bytes_that_were_not_written_does_not_take_their_place() {
    let (_root, library) = library();
    let mut resumable = library.create_resumable(&ID.parse().unwrap(), b"about", Some(9), 1).unwrap();
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"abc"), 0).unwrap();
    assert!(matches!(resumable.write(Bytes::from_static(b"def"), u64::MAX), Err(Error::Full { .. })));
    assert!(resumable.write(Bytes::from_static(b"ghi"), 0).is_err());
    resumable.settle(2).unwrap();
    assert_eq!(resumable.mark().offset_bytes, 3);
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"defghi"), 0).unwrap();
    resumable.settle(3).unwrap();
    assert_eq!(fs::read(resumable.path()).unwrap(), b"abcdefghi");
}

#[test]
fn bytes_that_somebody_took_away_are_noticed() {
    let (_root, library) = library();
    let mut resumable = library.create_resumable(&ID.parse().unwrap(), b"", None, 1).unwrap();
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"abc"), 0).unwrap();
    resumable.settle(2).unwrap();
    File::options().write(true).open(resumable.path()).unwrap().set_len(2).unwrap();
    assert!(resumable.begin().unwrap_err().to_string().contains("shorter than what was confirmed"));
}

/// A title could be made of bytes that its digest did not cover.
#[test]
fn what_lies_behind_the_mark_does_not_become_part_of_the_source() {
    let (_root, library) = library();
    let mut resumable = library.create_resumable(&ID.parse().unwrap(), b"about", None, 1).unwrap();
    resumable.begin().unwrap();
    resumable.write(Bytes::from_static(b"abc"), 0).unwrap();
    resumable.settle(2).unwrap();
    resumable.write(Bytes::from_static(b"a checksum did not fit"), 0).unwrap();
    resumable.rest();
    resumable.set_length(3, 3).unwrap();
    assert!(resumable.is_complete());
    let stored = resumable.stage().unwrap().commit_uninspected().unwrap();
    assert_eq!(fs::read(library.source_path(stored.digest())).unwrap(), b"abc");
    assert_eq!(stored.digest().as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fs::remove_file(resumable.path()).unwrap();
    fs::write(resumable.path(), b"ab").unwrap();
    assert!(resumable.stage().unwrap_err().to_string().contains("shorter than what was confirmed"));
}

#[test]
fn what_is_damaged_is_told_apart_from_what_cannot_be_read_now() {
    let (_root, library) = library();
    let id: UploadId = ID.parse().unwrap();
    let folder = library.uploads.join(ID);
    let opened = |make: &dyn Fn(&Path)| {
        library.remove_resumable(&id).unwrap();
        drop(library.create_resumable(&id, b"about", None, 1).unwrap());
        make(&folder.join(MARK));
        library.open_resumable(&id).map(drop)
    };
    assert!(opened(&|_| ()).is_ok());
    assert!(matches!(opened(&|mark| fs::write(mark, [7; 8192]).unwrap()), Err(Error::Damaged { .. })));
    assert!(matches!(opened(&|mark| fs::write(mark, [7; 100]).unwrap()), Err(Error::Damaged { .. })));
    assert!(matches!(opened(&|mark| fs::remove_file(mark).unwrap()), Err(Error::Damaged { .. })));
    let unreadable = |mark: &Path| {
        fs::remove_file(mark).unwrap();
        fs::create_dir(mark).unwrap();
    };
    assert!(matches!(opened(&unreadable), Err(Error::Io { .. })));
    let of_another_version = |mark: &Path| Journal::open(mark).unwrap().0.replace(b"").unwrap();
    assert!(matches!(opened(&of_another_version), Err(Error::Io { .. })));
}
