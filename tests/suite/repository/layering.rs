//! The arrows between rooms. Their one table stands in the documentation of `src/lib.rs`; here it is read and held
//! against every path that code mentions.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer;

/// The room that may say `gst`, and the file that may reach it.
const PIPELINE: &str = "pipeline";
const PIPELINE_DOOR: &str = "src/worker/child.rs";
/// Crates that are GStreamer.
const GSTREAMER: [&str; 8] =
    ["gst", "gst_app", "gst_audio", "gst_video", "gst_pbutils", "gstreamer", "gstreamer_app", "gstreamer_video"];

/// Room to rank, from the lines `//! | 3 | [`worker`] |` of `src/lib.rs`.
pub fn ranks(lib: &str) -> BTreeMap<String, u32> {
    let mut ranks = BTreeMap::new();
    for line in lib.lines() {
        let Some(row) = line.strip_prefix("//! |") else { continue };
        let Some((rank, rooms)) = row.split_once('|') else { continue };
        let Ok(rank) = rank.trim().parse() else { continue };
        for room in rooms.split('`').skip(1).step_by(2) {
            ranks.insert(room.to_owned(), rank);
        }
    }
    assert!(ranks.len() > 3, "src/lib.rs has lost its table of ranks");
    ranks
}

/// Rooms of the crate that the table does not know.
pub fn strangers(ranks: &BTreeMap<String, u32>, lib: &str) -> Vec<String> {
    let code = lexer::code(lib);
    let rooms = code.split(';').filter_map(|item| item.trim().rsplit_once("mod ").map(|(_, room)| room.trim()));
    rooms.filter(|r| !ranks.contains_key(*r)).map(|r| format!("src/lib.rs: {r} has no rank in the table")).collect()
}

/// Arrows in a source file that the table forbids.
pub fn breaches(ranks: &BTreeMap<String, u32>, name: &str, text: &str) -> Vec<String> {
    let own = name.trim_start_matches("src/").trim_end_matches(".rs").split('/').next().unwrap();
    // `main` and the crate's own root stand above every room.
    let rank = ranks.get(own).copied().unwrap_or(u32::MAX);
    let tokens = tokens(&lexer::code(text));
    let mut found = Vec::new();
    for other in mentioned(&tokens).iter().filter(|other| *other != own) {
        let Some(theirs) = ranks.get(other) else { continue };
        if *theirs >= rank {
            found.push(format!("{name}: {own} (rank {rank}) may not reach {other} (rank {theirs})"));
        } else if other == PIPELINE && name != PIPELINE_DOOR {
            found.push(format!("{name}: {PIPELINE} is reached from {PIPELINE_DOOR} alone"));
        }
    }
    if own != PIPELINE {
        let said = tokens.iter().find(|t| GSTREAMER.contains(&t.as_str()));
        found.extend(said.map(|gst| format!("{name}: says {gst}, which only {PIPELINE} does")));
    }
    found
}

/// The rooms that a room's `mod.rs` says it reaches: those in backticks between its name and the end of the sentence
/// ``Arrow: `room` -> ...``. `None` if there is no such sentence.
pub fn told(ranks: &BTreeMap<String, u32>, room: &str, text: &str) -> Option<BTreeSet<String>> {
    let docs: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let docs = docs.join(" ");
    let sentence = docs.split_once(&format!("Arrow: `{room}` -> "))?.1.split('.').next()?;
    Some(sentence.split('`').filter(|name| ranks.contains_key(*name)).map(str::to_owned).collect())
}

/// The rooms that a source file of a room reaches.
pub fn reached(ranks: &BTreeMap<String, u32>, room: &str, text: &str) -> BTreeSet<String> {
    let all = mentioned(&tokens(&lexer::code(text))).into_iter();
    all.filter(|other| other != room && ranks.contains_key(other)).collect()
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in code.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

/// Names that follow `crate::` or `matinee::`, the first of each path, groups in braces included. A path that leaves
/// its room by `super::super::` and names another is written `crate::` by everybody and not looked for.
fn mentioned(tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let is = |offset: usize, token: &str| tokens.get(at + offset).is_some_and(|t| t == token);
        let starts = (is(0, "crate") || is(0, "matinee")) && is(1, ":") && is(2, ":");
        if !starts {
            continue;
        }
        if !is(3, "{") {
            found.extend(tokens.get(at + 3).cloned());
            continue;
        }
        let mut depth = 0;
        let mut first = true;
        for token in &tokens[at + 3..] {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => first = true,
                room if depth == 1 && first => {
                    found.push(room.to_owned());
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! | 1 | [`media`] |\n//! | 2 | [`catalog`], [`pipeline`] |\n//! | 3 | [`worker`] |\n//! | 5 | [`origin`], [`ingest`] |\n";

    fn complaints(name: &str, text: &str) -> usize {
        breaches(&ranks(LIB), name, text).len()
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_found_however_they_are_written() {
        assert_eq!(complaints("src/catalog/mod.rs", "use crate::worker::Pool;"), 1);
        assert_eq!(complaints("src/catalog/mod.rs", "use crate::{media::{Grid, Cut}, worker::Pool};"), 1);
        assert_eq!(complaints("src/catalog/mod.rs", "fn f() -> crate::origin::Error { crate :: ingest::go() }"), 2);
        assert_eq!(complaints("src/origin/a/b.rs", "use crate::ingest;"), 1);
        assert_eq!(complaints("src/media/mod.rs", "use crate::catalog::Catalog;"), 1);
    }

    #[test]
    fn arrows_that_point_down_are_fine_and_comments_are_not_code() {
        let fine =
            "// crate::origin\n//! [`crate::ingest`]\nuse crate::media::Grid; const A: &str = \"crate::origin\";";
        assert_eq!(complaints("src/catalog/mod.rs", fine), 0);
        assert_eq!(complaints("src/worker/child.rs", "use crate::pipeline::Session;"), 0);
        assert_eq!(complaints("src/pipeline/encode.rs", "use gst::prelude::*; use crate::pipeline::Error;"), 0);
        assert_eq!(complaints("src/main.rs", "use matinee::origin;"), 0);
    }

    #[test]
    fn only_the_worker_reaches_the_pipeline_and_only_the_pipeline_says_gst() {
        assert_eq!(complaints("src/worker/pool.rs", "use crate::pipeline::Session;"), 1);
        assert_eq!(complaints("src/main.rs", "use matinee::{media, pipeline};"), 1);
        assert_eq!(complaints("src/worker/child.rs", "fn f() { gst::init().unwrap() }"), 1);
        assert_eq!(complaints("src/worker/child.rs", "const P: &str = \"gst\"; // gst"), 0);
    }

    #[test]
    fn what_a_room_says_it_reaches_can_be_held_against_what_it_does() {
        let text = "//! A room.\n//!\n//! Arrow: `worker` -> `media`,\n//! and [`child`] alone to `pipeline`. Not `origin`.\nuse crate::media;";
        let names = |of: BTreeSet<String>| of.into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(told(&ranks(LIB), "worker", text).map(names).as_deref(), Some("media pipeline"));
        assert_eq!(names(reached(&ranks(LIB), "worker", text)), "media");
        assert_eq!(told(&ranks(LIB), "media", "//! Arrow: `media` -> no other room.").map(names).as_deref(), Some(""));
        assert_eq!(told(&ranks(LIB), "media", text), None);
    }

    #[test]
    fn a_room_without_a_rank_is_found() {
        assert_eq!(strangers(&ranks(LIB), "pub mod media;\n#[cfg(test)]\nmod attic;\npub mod catalog;").len(), 1);
    }
}
