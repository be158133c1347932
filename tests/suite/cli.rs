//! What the command line takes and says: exit status, one clear line, nothing left behind; and a film from file to
//! player.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use matinee::catalog::Catalog;
use matinee::ingest;
use matinee::library::Library;
use matinee::media::Ladder;
use matinee::worker::{self, Pool};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::media::Film;
use crate::support::{Data, Ran, TestServer, ffprobe, matinee, repository, run, until};

/// Megabytes the server may need while nobody asks for anything.
const IDLE_KIB: u64 = 60 << 10;

fn ingest(data: &Data, file: &Path) -> Ran {
    run(data.command(&["ingest", file.to_str().unwrap()]))
}

/// What was refused left no trace.
fn assert_nothing_kept(data: &Data) {
    assert_eq!(data.files("library"), Vec::<String>::new());
    data.assert_tidy();
    assert!(run(data.command(&["list", "--json"])).stdout.is_empty());
}

/// Files nobody can play, by name, each with what the error says of it.
fn bad_files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let film = fs::read(Film::PLAYABLE.make(folder, "whole.mp4")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).unwrap();
        folder.join(name)
    };
    vec![
        (write("empty.mp4", &[]), "the file is empty: copy it again"),
        (write("prose.mp4", &b"No film at all, only words. ".repeat(400)), "this is not a media file"),
        (write("cut.mp4", &film[..film.len() / 2]), "copy it again, or repair it"),
        (folder.to_owned(), "it is a folder, not a file: name a video or audio file"),
        (folder.join("absent.mp4"), "there is no such file: check the path"),
        ("/dev/null".into(), "it is a device, not a file"),
    ]
}

#[test]
fn a_file_that_cannot_be_a_title_is_named_with_the_remedy_and_leaves_nothing() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    for (file, why) in bad_files(folder.path()) {
        let ran = ingest(&data, &file);
        assert_eq!(ran.code(), 1, "{ran:?}");
        let name = format!("{}: ", file.display());
        assert!(ran.error().starts_with(&name) && ran.error().contains(why), "{ran:?}");
        assert!(ran.stdout.is_empty(), "{ran:?}");
        assert_nothing_kept(&data);
        let probed = run(matinee(&["probe", file.to_str().unwrap()]));
        assert!(probed.code() == 1 && probed.error().contains(why), "{probed:?}");
    }
}

#[test]
fn a_file_without_permission_is_named() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let film = Film::PLAYABLE.make(folder.path(), "secret.mp4");
    fs::set_permissions(&film, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let plain = data.command(&["ingest", film.to_str().unwrap()]);
    // Root may read everything, unless it gives that up.
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.arg("--bounding-set=-dac_override,-dac_read_search");
    }
    command.arg(plain.get_program()).args(plain.get_args());
    let ran = run(command);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.error().contains("secret.mp4: it cannot be read (Permission denied"), "{ran:?}");
    assert_nothing_kept(&data);
}

#[tokio::test]
async fn workers_that_die_over_a_file_cost_one_retry_and_then_it_is_refused() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let film = Film::PLAYABLE.make(folder.path(), "film.mp4");
    let program = Some(env!("CARGO_BIN_EXE_matinee").into());
    // Too little for the thread that inspects: whatever the file, the worker dies over it.
    let config = worker::Config { standby: 0, memory_bytes: 16 << 20, program, ..worker::Config::default() };
    let rooms = ingest::Rooms {
        catalog: Catalog::open(data.path()).unwrap(),
        library: Library::open(data.path()).unwrap(),
        pool: Pool::start(config).unwrap(),
        ladder: Ladder::default(),
        reserve_bytes: 0,
    };
    let error = ingest::file(&rooms, &film, None, &|_| {}).await.unwrap_err();
    assert_eq!(error.code(), "worker_died", "{error}");
    let line = error.to_string();
    assert!(line.contains("film.mp4: inspecting it failed 2 times ("), "{line}");
    let deaths: u64 = rooms.pool.outcomes().iter().filter(|(word, _)| *word != "dismissed").map(|(_, n)| n).sum();
    assert_eq!(deaths, 2);
    rooms.pool.close().await;
    drop(rooms);
    assert_nothing_kept(&data);
}

#[test]
fn a_missing_encoder_is_named_by_server_and_doctor() {
    let (data, plugins) = (Data::new(), tempfile::tempdir().unwrap());
    let output = Command::new("pkg-config").args(["--variable=pluginsdir", "gstreamer-1.0"]).output().unwrap();
    let installed = String::from_utf8(output.stdout).unwrap();
    for plugin in fs::read_dir(installed.trim()).unwrap().map(Result::unwrap) {
        if plugin.file_name() != "libgstx264.so" {
            std::os::unix::fs::symlink(plugin.path(), plugins.path().join(plugin.file_name())).unwrap();
        }
    }
    let mut serve = data.command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("GST_PLUGIN_SYSTEM_PATH_1_0", plugins.path()).env("MATINEE_LOG", "error");
    let serve = run(serve);
    assert_eq!(
        (serve.code(), serve.error()),
        (1, "nothing on this host encodes h264: run `matinee doctor` to see why")
    );
    data.assert_tidy();
    let mut doctor = matinee(&["doctor"]);
    doctor.env("GST_PLUGIN_SYSTEM_PATH_1_0", plugins.path());
    let doctor = run(doctor);
    assert_eq!(doctor.code(), 1, "{doctor:?}");
    assert!(doctor.stdout.contains("skipped: GStreamer has no element x264enc"), "{doctor:?}");
    assert!(doctor.error().starts_with("nothing on this host encodes h264: install"), "{doctor:?}");
}

#[test]
fn one_bad_file_does_not_keep_the_others_out() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let film = folder.path().join("good one.mp4");
    fs::rename(Film::PLAYABLE.make(folder.path(), "film.mp4"), &film).unwrap();
    let absent = folder.path().join("absent.mp4");
    let mut command = data.command(&["ingest", "--json"]);
    command.args([&absent, &film, &film]);
    let ran = run(command);
    assert_eq!(ran.code(), 1, "{ran:?}");
    ran.error();
    let said = ran.json();
    assert_eq!((said.len(), said[0]["error"]["code"].as_str()), (3, Some("missing")));
    assert_eq!((said[1]["title"].as_str(), said[1]["new_source"].as_bool()), (Some("good one"), Some(true)));
    // The same bytes again are another title, but not another source.
    assert_eq!((said[2]["digest"] == said[1]["digest"], said[2]["new_source"].as_bool()), (true, Some(false)));
    assert_eq!(data.sources(), [said[1]["digest"].as_str().unwrap()]);
    let listed = run(data.command(&["list", "--json"])).json();
    assert_eq!((listed.len(), listed[0]["state"].as_str()), (2, Some("ready")));
    data.assert_tidy();
}

#[test]
fn an_interrupted_ingest_leaves_nothing() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    // Takes seconds to copy, but no room.
    let large = folder.path().join("large.mp4");
    File::create(&large).unwrap().set_len(3 << 30).unwrap();
    let mut command = data.command(&["ingest", large.to_str().unwrap()]);
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the copy has begun", || data.files("staging").iter().any(|name| name.ends_with("/source")));
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "matinee: interrupted: unfinished work was removed\n");
    assert_nothing_kept(&data);
}

#[test]
fn a_broken_configuration_is_told_problem_by_problem_with_status_2() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let file = folder.path().join("matinee.toml");
    fs::write(&file, "[server]\nlisten = 'nowhere'\n[encoder]\nwokers = 2\n").unwrap();
    let name = file.to_str().unwrap();
    let check = run(matinee(&["config", "check", name]));
    assert_eq!(check.code(), 2, "{check:?}");
    let lines: Vec<&str> = check.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{check:?}");
    assert!(lines[0].starts_with(&format!("matinee: {name}:2: server.listen = \"nowhere\": must be")), "{check:?}");
    assert!(lines[1].ends_with("encoder.wokers: no such key; did you mean encoder.workers?"), "{check:?}");
    let serve = run(data.command(&["serve", "--config", name]));
    assert_eq!((serve.code(), serve.stderr), (2, check.stderr));
    assert_eq!(data.files(""), Vec::<String>::new());
    let documented = repository("config/matinee.toml");
    assert_eq!(run(matinee(&["config", "check", documented.to_str().unwrap()])).code(), 0);
}

#[test]
fn a_command_line_that_is_not_understood_is_one_line_and_status_2() {
    for arguments in
        [&["ingest"][..], &["sreve"], &[], &["serve", "--port", "1"], &["ingest", "a", "b", "--title", "c"]]
    {
        let ran = run(matinee(arguments));
        assert_eq!(ran.code(), 2, "{ran:?}");
        ran.error();
    }
    for (arguments, line) in [
        (&["config"][..], "a subcommand is needed: check (matinee --help tells more)"),
        (&["key"], "a subcommand is needed: add, list, revoke (matinee --help tells more)"),
        (&["work"], "work is what a server starts by itself: run matinee serve"),
    ] {
        let ran = run(matinee(arguments));
        assert_eq!((ran.code(), ran.error()), (2, line));
    }
    let bare = run(matinee(&[]));
    assert!(bare.error().contains("serve, ingest, probe") && !bare.error().contains("work"), "{bare:?}");
}

#[test]
fn what_cannot_be_said_is_a_failure_unless_nobody_listens() {
    let data = Data::new();
    let into = |arguments: &[&str], file: &str| {
        let mut command = data.command(arguments);
        command.stdout(File::options().write(true).open(file).unwrap()).stderr(Stdio::piped());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [&["key", "add", "x", "--scope", "read"][..], &["--help"]] {
        let (code, said) = into(arguments, "/dev/full");
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with("matinee: standard output cannot be written: No space left"), "{said}");
        assert_eq!(into(arguments, "/dev/null").0, Some(0));
    }
    // A pipe whose reader has left.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = data.command(&["key", "list"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn who_no_longer_waits_for_a_job_is_told_that_it_goes_on() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let id = data.ingest(&Film::PLAYABLE.make(folder.path(), "film.mp4"));
    let process = data.command(&["warm", &id, "--wait"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut process = process.unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    let output = process.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), first.contains("queued")), (Some(1), true), "{first}{stderr}");
    assert!(
        stderr.starts_with("matinee: interrupted: job ") && stderr.contains(" goes on; DELETE /api/v1/jobs/"),
        "{stderr}"
    );
}

#[test]
fn a_port_in_use_is_said_before_anything_is_touched() {
    let data = Data::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = run(data.command(&["serve", "--listen", &address]));
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.error().starts_with(&format!("cannot listen on {address}: another program uses that port")), "{ran:?}");
    assert_eq!(data.files(""), Vec::<String>::new());
}

#[test]
fn a_data_folder_that_cannot_be_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let film = Film::PLAYABLE.make(folder.path(), "film.mp4");
    // A file; below a file; where nobody can create anything.
    for place in [film.clone(), film.join("data"), "/proc/matinee".into()] {
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["ingest", film.to_str().unwrap()]] {
            let ran = run(at(command, &place));
            assert_eq!(ran.code(), 1, "{ran:?}");
            let (place, line) = (place.to_str().unwrap(), ran.error());
            assert!(line.contains(place) && line.contains("choose another"), "{line}");
        }
    }
}

#[test]
fn a_data_folder_has_one_server_and_a_killed_one_lets_go_of_it() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let server = TestServer::over(&data);
    let second = run(data.command(&["serve", "--listen", "127.0.0.1:0"]));
    assert_eq!(second.code(), 1, "{second:?}");
    let expected = format!("another matinee serves from {}: stop it, or choose another folder", data.path().display());
    assert!(second.error().starts_with(&expected), "{second:?}");
    assert!(second.stdout.is_empty(), "{second:?}");
    // Adding films needs no claim, and the server plays them.
    let id = data.ingest(&Film::PLAYABLE.make(folder.path(), "film.mp4"));
    assert_eq!(server.get(&format!("/v/{id}/master.m3u8")).status, 200);
    let data = server.kill();
    drop(TestServer::over(&data));
}

#[test]
fn a_data_folder_of_a_newer_version_is_left_as_it_is() {
    let data = Data::new();
    assert_eq!(run(data.command(&["ingest", "/nonexistent"])).code(), 1);
    let catalog = data.path().join("catalog.sqlite");
    rusqlite::Connection::open(&catalog).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&catalog).unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["ingest", "/dev/null"], &["list"]] {
        let ran = run(data.command(command));
        assert_eq!(ran.code(), 1, "{ran:?}");
        assert!(ran.error().contains("has format 99") && ran.error().contains("use the newer matinee"), "{ran:?}");
        assert_eq!(fs::read(&catalog).unwrap(), before);
    }
}

#[test]
fn probe_doctor_and_list_speak_to_people_and_to_programs() {
    let folder = tempfile::tempdir().unwrap();
    let film = Film::LONG_GOP.make(folder.path(), "film.mp4");
    let name = film.to_str().unwrap();
    let probed = run(matinee(&["probe", "--json", name])).json().remove(0);
    assert_eq!((probed["tracks"][0]["width"].as_u64(), probed["tracks"][0]["frames"].as_u64()), (Some(640), Some(288)));
    assert_eq!(probed["renditions"][0]["name"], "360p");
    let people = run(matinee(&["probe", name]));
    assert!(people.code() == 0 && people.stdout.contains("H.264 640x360, 23.976 fps, 288 frames"), "{people:?}");
    let health = run(matinee(&["doctor", "--json"]));
    let found = health.json().remove(0);
    assert_eq!((health.code(), found["sandbox"]["closed"].as_bool()), (0, Some(true)), "{health:?}");
    let of = |name: &str| found["templates"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap().clone();
    assert_eq!((of("h264-x264")["works"].as_bool(), of("aac-avenc")["chosen"].as_bool()), (Some(true), Some(true)));
    let nvenc = of("h264-nvenc");
    assert!(nvenc["works"] == true || nvenc["reason"].is_string(), "{nvenc}");
    assert_eq!(run(matinee(&["doctor"])).code(), 0);
    let nowhere = folder.path().join("data");
    let named = run(at(&["list"], &nowhere));
    assert!(named.code() == 1 && named.error().ends_with("/data is no data folder of Matinee"), "{named:?}");
    let commands = [
        &["key", "list"][..],
        &["key", "revoke", "000000000000"],
        &["warm", "000000000000"],
        &["sign", "000000000000"],
    ];
    for command in commands {
        let named = run(at(command, &nowhere));
        assert!(named.code() == 1 && named.error().ends_with("/data is no data folder of Matinee"), "{named:?}");
    }
    let mut usual = matinee(&["list"]);
    usual.current_dir(folder.path());
    let usual = run(usual);
    assert!(usual.code() == 0 && usual.stdout.starts_with("no titles in ") && !nowhere.exists(), "{usual:?}");
    for command in ["warm", "sign"] {
        let mut usual = matinee(&[command, "000000000000"]);
        usual.current_dir(folder.path());
        let usual = run(usual);
        assert!(usual.code() == 1 && usual.error().starts_with("there is no title 000000000000 in "), "{usual:?}");
    }
    let mut usual = matinee(&["key", "list"]);
    usual.current_dir(folder.path());
    let usual = run(usual);
    assert!(usual.code() == 0 && usual.stdout.is_empty() && !nowhere.exists(), "{usual:?}");
    // The bytes that are no UTF-8 would have been replaced, and another folder would have been looked into.
    let mut foreign = matinee(&["list"]);
    foreign.current_dir(folder.path()).env("MATINEE_DATA", OsStr::from_bytes(b"da\xffta"));
    let foreign = run(foreign);
    assert!(foreign.code() == 2 && foreign.error() == "MATINEE_DATA: must be UTF-8", "{foreign:?}");
}

/// A command on a data folder that is none of ours.
fn at(arguments: &[&str], place: &Path) -> Command {
    let mut command = matinee(arguments);
    command.arg("--data").arg(place);
    command
}

#[test]
fn a_film_plays_in_every_rendition_although_nothing_was_encoded_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    // Ingested while the server runs, by another process.
    let film = Film::LONG_GOP.make(folder.path(), "film.mp4");
    let id = server.data.ingest(&film);
    let frames = |media: &[u8], codec: &str| -> u64 {
        let found = ffprobe(media, "stream=codec_name,nb_read_frames");
        let streams = found["streams"].as_array().unwrap();
        let stream = streams.iter().find(|stream| stream["codec_name"] == codec);
        stream.map_or(0, |stream| stream["nb_read_frames"].as_str().unwrap().parse().unwrap())
    };
    let film = fs::read(film).unwrap();
    assert_eq!(server.metric("matinee_encodes_started_total"), 0.0);
    let playlists = server.playlists(&id);
    assert_eq!(playlists.len(), 5, "360p, 240p, 144p and two qualities of sound: {playlists:?}");
    for playlist in &playlists {
        let media = server.rendition(playlist);
        let codec = if playlist.contains("/audio-") { "aac" } else { "h264" };
        assert_eq!(frames(&media, codec), frames(&film, codec), "{playlist}");
    }
    let segment = server.segments(&playlists[0]).pop().unwrap();
    assert_eq!(server.get(&segment).header("x-cache"), Some("memory"));
    let before = server.bytes(&segment);
    let server = server.restart();
    let head = server.ask(&segment).method("HEAD").send().unwrap();
    let length = before.len().to_string();
    assert_eq!((head.header("x-cache"), head.header("content-length")), (Some("disk"), Some(&*length)));
    let after = server.get(&segment);
    assert_eq!((after.header("x-cache"), after.body == before), (Some("disk"), true));
    assert_eq!(server.metric("matinee_encodes_started_total"), 0.0);
}

#[test]
fn an_idle_server_is_small_and_ready() {
    let server = TestServer::start();
    assert_eq!((server.get("/healthz").status, server.get("/readyz").status), (200, 200));
    let kib = server.memory_bytes("VmRSS") >> 10;
    assert!(kib < IDLE_KIB, "{kib} KiB");
}

#[test]
fn a_server_that_is_told_to_stop_sends_what_is_under_way() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let id = data.ingest(&Film::LONG_GOP.make(folder.path(), "film.mp4"));
    let server = TestServer::over(&data);
    // One that nobody has asked for, stopped as soon as its first chunk is here.
    let cold = server.segments(&server.playlist(&id, "144p"))[3].clone();
    let mut coming = server.ask(&cold).open().unwrap();
    let first = coming.some().unwrap();
    server.signal(Signal::TERM);
    let rest = coming.rest().expect("an answer that has begun is finished");
    assert!(!first.is_empty() && rest.status == 200);
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    data.assert_tidy();
    assert!(TestServer::over(&data).bytes(&cold) == [first, rest.body].concat(), "what was sent is the whole segment");
}

#[test]
fn a_server_that_is_killed_breaks_its_answers_off_and_the_next_one_starts_clean() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    let id = data.ingest(&Film::LONG_GOP.make(folder.path(), "film.mp4"));
    let segments = {
        let server = TestServer::over(&data);
        server.segments(&server.playlist(&id, "360p")).split_off(1)
    };
    // The long ones first. All of one may be on its way before the server is dead: then another one tells.
    let cut = segments.iter().rev().find_map(|segment| {
        let server = TestServer::over(&data);
        let mut coming = server.ask(segment).open().unwrap();
        let first = coming.some().unwrap();
        assert!(!server.workers().is_empty());
        server.kill();
        Some((segment, first, coming.rest().err()?))
    });
    let (segment, first, broken) = cut.expect("half a segment is not called whole");
    let server = TestServer::over(&data);
    data.assert_tidy();
    let whole = server.bytes(segment);
    let begun = [first, broken.body].concat();
    assert!(begun.len() < whole.len() && whole.starts_with(&begun), "{}", broken.why);
    let head = server.ask(segment).method("HEAD").send().unwrap();
    let etag = head.header("etag").unwrap();
    let again = server.ask(segment).header("if-none-match", etag).send().unwrap();
    assert_eq!((head.status, again.status), (200, 304));
}

#[test]
fn a_source_that_no_title_names_is_gone_after_a_start() {
    let (data, folder) = (Data::new(), tempfile::tempdir().unwrap());
    data.ingest(&Film::PLAYABLE.make(folder.path(), "film.mp4"));
    assert_eq!(data.sources().len(), 1);
    let catalog = rusqlite::Connection::open(data.path().join("catalog.sqlite")).unwrap();
    catalog.execute("DELETE FROM titles", []).unwrap();
    drop(catalog);
    drop(TestServer::over(&data));
    assert_eq!(data.sources(), Vec::<String>::new());
}

#[test]
fn help_goes_to_standard_output_and_a_closed_pipe_is_no_error() {
    let help = run(matinee(&["--help"]));
    assert!(help.code() == 0 && help.stderr.is_empty() && help.stdout.contains("ingest"), "{help:?}");
    assert!(!help.stdout.contains("work "), "a server's affair is not shown: {help:?}");
    let (data, folder): (Data, TempDir) = (Data::new(), tempfile::tempdir().unwrap());
    data.ingest(&Film::PLAYABLE.make(folder.path(), "film.mp4"));
    let mut listing = data.command(&["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(listing.stdout.take());
    let stderr: Vec<String> = BufReader::new(listing.stderr.take().unwrap()).lines().collect::<Result<_, _>>().unwrap();
    assert!(listing.wait().unwrap().success() && stderr.is_empty(), "{stderr:?}");
}
