//! HLS over MPEG transport streams (RFC 8216 §3.2): the same renditions, each video rendition with its sound in one
//! stream.

use m3u8_rs::{AlternativeMedia, MasterPlaylist, VariantStream};

use crate::media::{Generation, Plan, Program, Rendition};

use super::hls::{self, Group, Kind};

/// EXT-X-MEDIA is worth 4 (RFC 8216 §7); nothing here needs more, and old receivers know no more.
const VERSION: usize = 4;

/// `/v/{id}/master-ts.m3u8`. URIs are relative to it: `{generation}/{rendition}/ts.m3u8`. Sound is in the stream of its
/// video; further tracks have streams of their own.
#[must_use]
pub fn master(plan: &Plan, generation: &Generation) -> String {
    let several = hls::tracks(plan).len() > 1;
    let groups = if several { hls::groups(plan) } else { Vec::new() };
    let variant = |rendition: &Rendition| {
        let program = Program::of(plan, rendition)?;
        let stream = hls::variant(rendition, None, generation);
        let sound = program.audio.filter(|_| program.video.is_some());
        let group = groups.iter().find(|g| sound.is_some_and(|r| r.name.as_str() == g.name));
        // Whoever chooses another track plays that beside this one, whose sound comes all the same.
        let beside = group.map_or(0, |g| others(plan, g).map(|p| p.bandwidth()).max().unwrap_or(0));
        Some(VariantStream {
            uri: uri(&stream.uri),
            bandwidth: program.bandwidth() + beside,
            average_bandwidth: program.average_bandwidth().filter(|_| beside == 0),
            codecs: sound.map_or(stream.codecs.clone(), |r| Some(format!("{},{}", rendition.codecs, r.codecs))),
            audio: group.map(|g| g.name.to_owned()),
            ..stream
        })
    };
    let playlist = MasterPlaylist {
        version: Some(VERSION),
        independent_segments: true,
        alternatives: groups.iter().flat_map(|g| alternatives(plan, g, generation)).collect(),
        variants: hls::all_or_no_averages(hls::in_order(plan).into_iter().filter_map(variant)),
        ..MasterPlaylist::default()
    };
    hls::text(|out| playlist.write_to(out))
}

/// `ts.m3u8` of a program.
#[must_use]
pub fn media(plan: &Plan, program: &Program<'_>) -> String {
    hls::listed(&program.grid(), target_duration(plan), &Kind { version: VERSION, suffix: "ts", ..Kind::default() })
}

/// The same for all of a title's programs: their last segments may differ from the renditions' (RFC 8216 §4.3.3.1).
fn target_duration(plan: &Plan) -> u64 {
    let programs = plan.renditions.iter().filter_map(|r| Program::of(plan, r));
    let longest = programs.map(|p| p.grid().longest()).max().unwrap_or(0);
    let clock = u64::from(Program::clock().get());
    ((longest + clock / 2) / clock).max(1)
}

/// The tracks of a group that are not in the variant's own stream.
fn others<'a>(plan: &'a Plan, group: &'a Group<'_>) -> impl Iterator<Item = Program<'a>> {
    let others = group.members.iter().filter(|(r, _)| r.name.as_str() != group.name);
    others.filter_map(|(r, _)| Program::of(plan, r))
}

/// A member without URI is in the variant's stream (RFC 8216 §4.3.4.2.1).
fn alternatives(plan: &Plan, group: &Group<'_>, generation: &Generation) -> Vec<AlternativeMedia> {
    let listed = hls::alternatives(plan, group, generation).into_iter().zip(&group.members);
    let own = |(media, (rendition, _)): (AlternativeMedia, &(&Rendition, _))| {
        let beside = rendition.name.as_str() != group.name;
        AlternativeMedia { uri: media.uri.filter(|_| beside).map(|cmaf| uri(&cmaf)), ..media }
    };
    listed.map(own).collect()
}

/// The address of the same rendition's transport stream.
fn uri(cmaf: &str) -> String {
    cmaf.replace("index.m3u8", "ts.m3u8")
}
