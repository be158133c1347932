use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::worker::Sandbox;

const DOCUMENTED: &str = include_str!("../../config/matinee.toml");

/// Loads a file of this text with these variables and flags; problems name the file `f`.
fn load(text: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let loaded = Config::load(&Flags { config: Some(path.clone()), ..flags }, environment);
    let name = path.display().to_string();
    loaded.map_err(|problems| problems.to_string().replace(&name, "f").lines().map(str::to_owned).collect())
}

fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(text, environment, Flags::default()).unwrap_err()
}

#[test]
fn the_documented_file_equals_the_built_in_default() {
    assert_eq!(load(DOCUMENTED, &[], Flags::default()), Ok(Config::default()));
    assert_eq!(Config::load(&Flags::default(), []), Ok(Config::default()), "and without a file it is the default");
    assert_eq!(Config::default().problems(), []);
}

#[test]
fn the_documented_file_has_every_key_each_with_its_default_in_the_comment_above() {
    fn keys(table: &toml::Table, at: &str, out: &mut Vec<String>) {
        for (name, value) in table {
            match value.as_table() {
                Some(below) => keys(below, &format!("{at}{name}."), out),
                None => out.push(format!("{at}{name}")),
            }
        }
    }
    let (mut written, mut existing) = (Vec::new(), Vec::new());
    keys(&DOCUMENTED.parse().unwrap(), "", &mut written);
    keys(&toml::Table::try_from(Config::default()).unwrap(), "", &mut existing);
    assert_eq!(written, existing);

    let lines: Vec<&str> = DOCUMENTED.lines().collect();
    let settings = lines
        .windows(2)
        .filter_map(|w| Some((w[0], w[1].split_once(" = ")?)))
        .filter(|(_, (key, _))| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    let mut seen = 0;
    for (comment, (key, value)) in settings {
        let default = if value == "[" { "as listed" } else { value };
        assert!(comment.starts_with(&format!("# Default {default}.")), "{key}: {comment}");
        seen += 1;
    }
    assert_eq!(seen, existing.len());
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let file = "data_dir = 'file'\n[server]\nlisten = '127.0.0.1:1'\n[encoder]\nworkers = 3\n[worker]\nstandby = 4";
    let environment =
        [("MATINEE_DATA", "env"), ("MATINEE_SERVER__LISTEN", "127.0.0.1:2"), ("MATINEE_ENCODER__WORKERS", "5")];
    let flags = Flags { listen: Some("[::1]:3".into()), ..Flags::default() };
    let config = load(file, &environment, flags).unwrap();
    assert_eq!(config.server.listen, "[::1]:3".parse().unwrap());
    assert_eq!(config.data_dir, Path::new("env"));
    assert_eq!((config.encoder.workers, config.worker.standby, config.encoder.lookahead_segments), (5, 4, 2));
    let flags = Flags { data: Some("flag".into()), ..Flags::default() };
    assert_eq!(load(file, &environment, flags).unwrap().data_dir, Path::new("flag"));
}

#[test]
fn every_key_can_be_set_in_the_environment() {
    let config = load(
        "",
        &[
            ("MATINEE_LISTEN", "127.0.0.1:9"),
            ("MATINEE_SERVER__LISTEN", "127.0.0.1:8"),
            ("MATINEE_CACHE__MEMORY_BYTES", "64MiB"),
            ("MATINEE_CACHE__DISK_BYTES", "1000"),
            ("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0"),
            ("MATINEE_WORKER__SANDBOX", "best-effort"),
            ("MATINEE_ENCODER__CHUNK_SECONDS", "1"),
            ("MATINEE_WARMER__ENABLED", "true"),
            ("MATINEE_LADDER__VIDEO", "[{height = 720, bitrate = 1000000}]"),
            ("MATINEE_LADDER__FIRST_SEGMENTS_SECONDS", "[]"),
            ("MATINEE_LOG", "debug"),
            ("MATINEE_LOG__FORMAT", "json"),
        ],
        Flags::default(),
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 9, "the short form wins");
    assert_eq!((config.cache.memory_bytes, config.cache.disk_bytes), (64 << 20, 1000));
    assert_eq!((config.encoder.lookahead_segments, config.worker.sandbox), (0, Sandbox::BestEffort));
    assert!(config.encoder.chunk_seconds == 1.0 && config.warmer.enabled);
    assert_eq!((config.ladder.video.len(), config.ladder.first_segments_seconds.len()), (1, 0));
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", logs::Format::Json));
}

#[test]
fn empty_variables_and_those_of_a_kubernetes_service_are_no_settings() {
    let environment = [
        ("MATINEE_LISTEN", ""),
        ("MATINEE_ENCODER__WORKERS", ""),
        ("MATINEE_PORT", "tcp://10.0.0.1:8080"),
        ("MATINEE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("MATINEE_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    assert_eq!(load("", &environment, Flags::default()), Ok(Config::default()));
}

#[test]
fn the_file_may_be_named_in_the_environment_and_the_flag_wins() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let (env, flag) = (write("env", "encoder.workers = 7"), write("flag", "encoder.workers = 8"));
    let environment = || [("MATINEE_CONFIG".to_owned(), env.display().to_string())];
    assert_eq!(Config::load(&Flags::default(), environment()).unwrap().encoder.workers, 7);
    let flags = Flags { config: Some(flag), ..Flags::default() };
    assert_eq!(Config::load(&flags, environment()).unwrap().encoder.workers, 8);
}

#[test]
fn each_bad_value_is_named_with_its_place_and_what_it_must_be() {
    let table: &[(&str, &str)] = &[
        ("data_dir = 3", "f:1: data_dir = 3: must be text in quotes"),
        ("data_dir = ''", "f:1: data_dir = \"\": must be a folder"),
        ("auth = 'of'", "f:1: auth = \"of\": must be \"keys\" or \"off\""),
        ("\n\nserver = 1", "f:3: server = 1: must be a section, [server]"),
        (
            "[server]\nlisten = 'localhost'",
            "f:2: server.listen = \"localhost\": must be an IP address and a port, such as \"127.0.0.1:8080\" or \
             \"[::1]:8080\"",
        ),
        ("[server]\nmax_connections = 0", "f:2: server.max_connections = 0: must be 1 to 1048576"),
        ("server.max_connections = -1", "f:1: server.max_connections = -1: must be a whole number, 0 or more"),
        ("server.max_header_bytes = '2MiB'", "f:1: server.max_header_bytes = 2097152: must be 8192 to 1048576"),
        ("server.drain_seconds = 'soon'", "f:1: server.drain_seconds = \"soon\": must be a whole number, 0 or more"),
        ("server.idle_seconds = 0", "f:1: server.idle_seconds = 0: must be 1 to 3600"),
        ("encoder.chunk_seconds = nan", "f:1: encoder.chunk_seconds = NaN: must be 0.1 to 10 seconds"),
        (
            "[cache]\nmemory_bytes = 'lots'",
            "f:2: cache.memory_bytes = \"lots\": must be a size: bytes as a whole number, or text such as \"256MiB\" \
             (KiB, MiB, GiB, TiB, KB, MB, GB, TB)",
        ),
        (
            "[cache]\ndisk_bytes = -5",
            "f:2: cache.disk_bytes = -5: must be a size: bytes as a whole number, or text such as \"256MiB\" (KiB, \
             MiB, GiB, TiB, KB, MB, GB, TB)",
        ),
        ("encoder.workers = 5000", "f:1: encoder.workers = 5000: must be 0 (one per core) to 32"),
        ("worker.sandbox = true", "f:1: worker.sandbox = true: must be text in quotes"),
        ("worker.sandbox = 'none'", "f:1: worker.sandbox = \"none\": must be \"required\" or \"best-effort\""),
        ("encoder.chunk_seconds = 0", "f:1: encoder.chunk_seconds = 0: must be 0.1 to 10 seconds"),
        ("warmer.enabled = 'yes'", "f:1: warmer.enabled = \"yes\": must be true or false"),
        ("log.format = 'xml'", "f:1: log.format = \"xml\": must be one of \"auto\", \"text\", \"json\""),
        (
            "log.level = 'inof'",
            "f:1: log.level = \"inof\": must be off, error, warn, info, debug or trace, or directives such as \
             \"info,matinee::encoder=debug\"",
        ),
        ("ladder.video = []", "f:1: ladder.video is empty: list at least one rung"),
        (
            "[ladder]\nvideo = [{height = 720, bitrate = 1_000_000}, {height = 1080, bitrate = 2_000_000}]",
            "f:2: ladder.video: rungs must be listed best first, each smaller than the one before",
        ),
        (
            "[[ladder.video]]\nheight = 721\nbitrate = 1_000_000",
            "f:1: ladder.video.height = 721: must be an even number from 64 to 4320",
        ),
        (
            "ladder.video = [{height = 720, bitrate = 1_000_000}, {height = 480}]",
            "f:1: ladder.video[1] = { height = 480 }: missing field \"bitrate\"",
        ),
        (
            "ladder.video = [{hieght = 720, bitrate = 1_000_000}]",
            "f:1: ladder.video[0] = { bitrate = 1000000, hieght = 720 }: must be \"height\" or \"bitrate\"",
        ),
        ("ladder.first_segments_seconds = 1", "f:1: ladder.first_segments_seconds = 1: must be a list"),
        ("ladder.first_segments_seconds = ['a']", "f:1: ladder.first_segments_seconds[0] = \"a\": must be a number"),
    ];
    for (text, expected) in table {
        assert_eq!(problems(text, &[]), [*expected], "{text}");
    }
}

#[test]
fn an_unknown_key_is_a_problem_and_the_nearest_known_one_is_suggested() {
    let table: &[(&str, &str)] = &[
        ("[encoder]\nwokers = 1", "f:2: encoder.wokers: no such key; did you mean encoder.workers?"),
        ("[encodr]\nworkers = 1\nmore = 2", "f:1: encodr: no such key; did you mean encoder?"),
        ("listen = ':80'", "f:1: listen: no such key; did you mean server.listen?"),
        ("[cache]\nmemory = 1", "f:2: cache.memory: no such key; did you mean cache.memory_bytes?"),
        (
            "[encoder]\nlookahead-segments = 1",
            "f:2: encoder.lookahead-segments: no such key; did you mean encoder.lookahead_segments?",
        ),
        ("colour = 'blue'", "f:1: colour: no such key"),
    ];
    for (text, expected) in table {
        assert_eq!(problems(text, &[]), [*expected], "{text}");
    }
    let table: &[(&str, &str)] = &[
        ("MATINEE_ENCODER_WORKERS", "encoder_workers: no such key; did you mean MATINEE_ENCODER__WORKERS?"),
        ("MATINEE_LISTNE", "listne: no such key; did you mean MATINEE_LISTEN?"),
        ("MATINEE_CACHE__DISK", "cache.disk: no such key; did you mean MATINEE_CACHE__DISK_BYTES?"),
    ];
    for (name, expected) in table {
        assert_eq!(problems("", &[(name, "1")]), [format!("{name}: {expected}")]);
    }
}

#[test]
fn all_problems_of_all_sources_come_at_once_in_order() {
    let file = "auth = 1\n[encoder]\nworkers = 'many'\nlookahead_segments = 999\nwokers = 1\n[cache]\ndisk_bytes = 'x'";
    let environment = [("MATINEE_WORKER__STALL_SECONDS", "0"), ("MATINEE_ENCODER__WORKERS", "few")];
    let flags = Flags { listen: Some("nowhere".into()), ..Flags::default() };
    let said = load(file, &environment, flags).unwrap_err();
    let places: Vec<&str> =
        said.iter().map(|line| line.split_once(" = ").map_or(line.as_str(), |(at, _)| at)).collect();
    assert_eq!(
        places,
        [
            "f:1: auth",
            "f:3: encoder.workers",
            "f:4: encoder.lookahead_segments",
            "f:5: encoder.wokers: no such key; did you mean encoder.workers?",
            "f:7: cache.disk_bytes",
            "MATINEE_ENCODER__WORKERS: encoder.workers",
            "MATINEE_WORKER__STALL_SECONDS: worker.stall_seconds",
            "--listen: server.listen",
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_is_named_line_by_line() {
    let said = problems("auth = 'off\n[encoder]\nworkers = = 1\n", &[("MATINEE_LISTEN", "0.0.0.0:1")]);
    assert!(
        said.len() >= 2 && said.iter().all(|line| line.starts_with("f:") && line.contains(": not TOML: ")),
        "{said:?}"
    );
    assert!(said[0].starts_with("f:1: "), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("f:3: ")), "{said:?}");
    assert_eq!(problems("encoder.workers = 99999999999999999999999", &[]).len(), 1);
}

proptest::proptest! {
    #[test]
    fn whatever_is_given_a_problem_is_one_line_and_nothing_panics(
        text in "(\\PC|[\n=\"'\\[\\]{}.,#]|server|encoder|ladder|video|listen|workers|_bytes){0,20}",
        name in "(\\PC|\n|__|_|CACHE|ENCODER|WORKERS|DISK_BYTES){0,6}",
        value in "(\\PC|\n|[0-9\\[\\]\"{}=,]|iB|M){0,8}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        if let Err(problems) = Config::load(&flags, [(format!("MATINEE_{name}"), value)]) {
            proptest::prop_assert!(!problems.0.is_empty());
            proptest::prop_assert_eq!(problems.to_string().lines().count(), problems.0.len());
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let flags = Flags { config: Some("/proc/matinee.toml".into()), ..Flags::default() };
    let said = Config::load(&flags, []).unwrap_err().to_string();
    assert_eq!(said, "/proc/matinee.toml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn a_problem_of_a_value_nobody_set_names_the_default() {
    let config = Config { data_dir: PathBuf::new(), ..Config::default() };
    let faults: BTreeMap<_, _> = config.problems().into_iter().map(|f| (f.key, f.text)).collect();
    assert_eq!(
        faults.into_iter().collect::<Vec<_>>(),
        [("data_dir".into(), "data_dir = \"\": must be a folder".into())]
    );
    assert_eq!(Origin::Default.to_string(), "built-in default");
}
