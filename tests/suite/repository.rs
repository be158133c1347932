//! Rules of the repository itself. Each check is a function from text to complaints, and is itself tested on text that
//! breaks its rule.

mod layering;
mod lexer;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not part of the repository, or hold nothing that somebody wrote.
const OUTSIDE: [&str; 6] = ["target", "data", ".git", "node_modules", "fuzz/target", "fuzz/corpora"];

/// The repository's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file of the repository below a folder, with its path from the root. Git is not asked: sources unpacked without
/// it, or owned by somebody else, obey the same rules.
fn files(below: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if path.is_symlink() || OUTSIDE.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((name, path));
            }
        }
    }
    found.sort();
    found
}

/// Text files with their contents; pictures and the like are left out.
fn texts(below: &str) -> Vec<(String, String)> {
    files(below).into_iter().filter_map(|(name, path)| Some((name, fs::read_to_string(path).ok()?))).collect()
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

#[test]
fn rooms_import_only_rooms_of_a_lower_rank() {
    let ranks = layering::ranks(&read("src/lib.rs"));
    let mut complaints = layering::strangers(&ranks, &read("src/lib.rs"));
    for (name, text) in texts("src").iter().filter(|(name, _)| name.ends_with(".rs")) {
        complaints.extend(layering::breaches(&ranks, name, text));
    }
    assert_none(&complaints);
}

#[test]
fn every_room_says_which_rooms_it_reaches_and_no_others() {
    let ranks = layering::ranks(&read("src/lib.rs"));
    let mut complaints = Vec::new();
    for room in ranks.keys() {
        let sources = texts(&format!("src/{room}"));
        let reached: BTreeSet<String> =
            sources.iter().flat_map(|(_, text)| layering::reached(&ranks, room, text)).collect();
        let told = layering::told(&ranks, room, &read(&format!("src/{room}/mod.rs")));
        if told.as_ref() != Some(&reached) {
            complaints.push(format!("src/{room}/mod.rs: the arrow says {told:?}, and {reached:?} are reached"));
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_template_says_what_it_is_for_what_it_needs_and_how_it_ranks() {
    let templates = texts("pipelines");
    assert!(!templates.is_empty());
    let mut complaints = Vec::new();
    for (name, text) in templates {
        let header: Vec<&str> = text.lines().take_while(|l| l.starts_with('#')).collect();
        for field in ["purpose", "elements", "rank"] {
            let given = |l: &str| l.strip_prefix(&format!("# {field}: ")).is_some_and(|v| !v.trim().is_empty());
            if !header.iter().any(|l| given(l)) {
                complaints.push(format!("{name}: the header has no line `# {field}: ...`"));
            }
        }
        complaints.extend(undeclared_elements(&name, &text));
    }
    assert_none(&complaints);
}

/// Elements that a template uses without naming them in its header.
fn undeclared_elements(name: &str, text: &str) -> Vec<String> {
    let declared: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# elements: ")).flat_map(str::split_whitespace).collect();
    let body: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
    let mut found = Vec::new();
    for (at, word) in body.iter().enumerate() {
        // An element's name stands where no property, caps, pad or link can stand.
        let is_name = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let element =
            is_name && word.bytes().any(|b| b.is_ascii_lowercase()) && (at == 0 || !body[at - 1].ends_with('='));
        if element && !declared.iter().any(|d| d.trim_matches(',') == *word) {
            found.push(format!("{name}: {word} is not among the elements of the header"));
        }
    }
    found
}

#[test]
fn an_element_the_header_hides_is_found() {
    let text = "# elements: x264enc\nx264enc bframes=2 ! h264parse ! video/x-h264,profile=high ! film.\n";
    assert_eq!(undeclared_elements("t", text), ["t: h264parse is not among the elements of the header"]);
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    let mut complaints = Vec::new();
    for (name, text) in texts("") {
        complaints.extend(machine_paths(&name, &text));
    }
    assert_none(&complaints);
}

fn machine_paths(name: &str, text: &str) -> Vec<String> {
    // Put together here, or this file would break its own rule.
    let folders = ["work", "root", "home", "Users"].map(|f| format!("/{f}/"));
    let starts_a_path = |line: &str, at: usize| {
        !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')' | '*'))
    };
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in &folders {
            if line.match_indices(folder.as_str()).any(|(at, _)| starts_a_path(line, at)) {
                found.push(format!("{name}:{}: names {folder}", number + 1));
            }
        }
    }
    found
}

#[test]
fn a_machine_path_is_found_and_a_relative_one_is_not() {
    let planted = format!("let x = \"{}\";", ["", "home", "ann", "film.mp4"].join("/"));
    assert_eq!(machine_paths("f", &planted).len(), 1);
    assert!(machine_paths("f", &["tests", "work", "a"].join("/")).is_empty());
}

#[test]
fn dependencies_come_from_the_public_registry() {
    let elsewhere = |l: &&str| l.starts_with("source = ") && !l.contains("github.com/rust-lang/crates.io-index");
    let lock = read("Cargo.lock");
    assert_eq!(lock.lines().filter(elsewhere).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// `make fuzz` takes the versions of its own lock file, which nothing else reads.
#[test]
fn the_fuzzers_lock_file_knows_every_dependency() {
    let parsed = |path: &str| -> toml::Table { toml::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}")) };
    let known = |path: &str| -> BTreeSet<String> {
        let lock = parsed(path);
        let ours =
            lock["package"].as_array().unwrap().iter().find(|package| package["name"].as_str() == Some("matinee"));
        let named = |of: &toml::Value| of.as_str().unwrap().split(' ').next().unwrap().to_owned();
        ours.unwrap()["dependencies"].as_array().unwrap().iter().map(named).collect()
    };
    let for_tests = parsed("Cargo.toml")["dev-dependencies"].as_table().unwrap().clone();
    let (ours, theirs) = (known("Cargo.lock"), known("fuzz/Cargo.lock"));
    let missing: Vec<&String> = ours.difference(&theirs).filter(|name| !for_tests.contains_key(*name)).collect();
    assert!(missing.is_empty(), "run `cargo update --workspace` in fuzz: {missing:?}");
}

#[test]
fn lints_are_expected_with_a_reason_not_allowed() {
    let mut complaints = Vec::new();
    for (name, text) in texts("").iter().filter(|(name, _)| name.ends_with(".rs")) {
        let code: String = lexer::code(text).split_whitespace().collect();
        if code.contains("[allow(") {
            complaints.push(format!("{name}: says allow; #[expect(..., reason)] fails when it has become needless"));
        }
    }
    assert_none(&complaints);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for (name, text) in texts("").iter().filter(|(name, _)| name.ends_with(".md")) {
        complaints.extend(dead_links(name, text));
    }
    assert_none(&complaints);
}

/// Relative links of a Markdown file to files, or to headings of its own, that do not exist.
fn dead_links(name: &str, text: &str) -> Vec<String> {
    let folder = root().join(name).parent().unwrap().to_owned();
    let slug = |heading: &str| -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    let headings: Vec<String> =
        text.lines().filter(|l| l.starts_with('#')).map(|l| slug(l.trim_start_matches('#'))).collect();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', ' ', '\n']).next().unwrap();
        let (path, anchor) = target.split_once('#').map_or((target, None), |(p, a)| (p, Some(a)));
        if path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        let lost = if path.is_empty() {
            anchor.is_some_and(|a| !headings.iter().any(|h| h == a))
        } else {
            !folder.join(path).exists()
        };
        if lost {
            found.push(format!("{name}: the link to {target} leads nowhere"));
        }
    }
    found
}

#[test]
fn a_dead_link_is_found() {
    let text = "# Two words\n[a](#two-words) [b](Cargo.toml) [c](https://example.org/) [d](#three) [e](no/such.md)";
    assert_eq!(dead_links("x.md", text).len(), 2);
}

#[test]
fn the_readme_names_the_commands_one_needs() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    for target in ["run", "test"] {
        assert!(readme.contains(&format!("make {target}")), "README.md does not name `make {target}`");
    }
    // What a document tells people to type exists.
    for (name, text) in texts("").iter().filter(|(name, _)| name.ends_with(".md")) {
        for (at, _) in text.match_indices("`make ") {
            let target = text[at + 6..].split(['`', ' ']).next().unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{name}: the Makefile has no target {target}");
        }
    }
}

#[test]
fn one_list_names_the_debian_packages_and_everything_reads_it() {
    const LIST: &str = "docker/packages.txt";
    let list = read(LIST);
    let mut packages = Vec::new();
    for line in list.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let (section, package) = line.split_once(' ').unwrap_or_else(|| panic!("{LIST}: {line:?} has no section"));
        assert!(
            ["run", "build", "demo", "test", "bench"].contains(&section),
            "{LIST}: nothing reads section {section:?}"
        );
        assert_eq!(package, package.trim(), "{LIST}: {line:?}");
        assert!(!packages.contains(&package), "{LIST}: {package} is named twice");
        packages.push(package);
    }
    assert!(read("scripts/packages.sh").contains(LIST) && read("docker/Dockerfile").contains(LIST));
    assert!(read("Makefile").contains("scripts/packages.sh") && read(".ci/run").contains("make check test"));
    for reader in ["Makefile", ".ci/run", "docker/Dockerfile", "scripts/packages.sh", "scripts/demo.sh"] {
        let text = read(reader);
        for package in packages.iter().filter(|p| p.contains(['-', '.'])) {
            assert!(!text.contains(*package), "{reader} names {package} itself; {LIST} is the place");
        }
    }
}
