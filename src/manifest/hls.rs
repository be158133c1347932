//! HLS (RFC 8216): the multivariant playlist and the media playlists.

use std::sync::atomic::Ordering::Relaxed;

use m3u8_rs::{
    AlternativeMedia, AlternativeMediaType, ClosedCaptionGroupId, Map, MasterPlaylist, MediaPlaylist,
    MediaPlaylistType, MediaSegment, QuotedOrUnquoted, Resolution, VariantStream, WRITE_OPT_FLOAT_PRECISION,
};

use super::iframes;
use super::names::{self, language};
use super::pictures;
use crate::media::{
    AudioRendition, Cut, Generation, Grid, Plan, Rendition, RenditionKind, TextRendition, Thumbnails, Timescale,
    VideoRendition,
};

/// EXT-X-MAP outside I-frame playlists needs 6 (RFC 8216 §7); 7 is what Apple's authoring rules name for CMAF.
const VERSION: usize = 7;

/// Players start with the variant listed first. This much passes nearly every line and is encoded faster than it
/// plays on nearly every host. Bits per second.
const START_BANDWIDTH: u64 = 2_500_000;

/// EXTINF is written in whole microseconds: a ninth of a tick at 90 kHz.
const MICROSECONDS: u32 = 1_000_000;
/// The same as digits behind the point.
const EXTINF_DIGITS: usize = 6;

/// Surround sound goes with pictures of this short side and above, pixels, and with the best there is: who watches less
/// has no room for it, and every pair is one more variant.
const SURROUND_MIN_HEIGHT: u32 = 720;
/// The group of surround sound, and that of text.
const SURROUND_GROUP: &str = "surround";
const TEXT_GROUP: &str = "text";
/// Text that tells what is heard, too (RFC 8216 §4.3.4.1, media characteristic tags).
const HEARING_IMPAIRED: &str =
    "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound";

/// An EXT-X-MEDIA group: each audio track once, all at about the quality of the rendition the group is named after.
pub(super) struct Group<'a> {
    pub name: &'a str,
    pub members: Vec<(&'a Rendition, &'a AudioRendition)>,
}

/// `/v/{id}/master.m3u8`. URIs are relative to it: `{generation}/{rendition}/index.m3u8`. A title without video lists
/// the renditions of its first audio track as variants.
#[must_use]
pub fn master(plan: &Plan, generation: &Generation) -> String {
    let groups = groups(plan);
    let surround = surround(plan);
    let listed = in_order(plan);
    let stereo = listed.iter().map(|r| {
        let of =
            |video: &VideoRendition| groups.iter().find(|g| video.audio.as_ref().is_some_and(|a| a.as_str() == g.name));
        with_text(plan, variant(r, r.video().and_then(of), generation))
    });
    let rich = |r: &&&Rendition| r.video().is_some_and(|v| v.width.min(v.height) >= SURROUND_MIN_HEIGHT);
    let best = plan.video().next().map(|(r, _)| r);
    let surrounded =
        listed.iter().filter(|r| surround.is_some() && (rich(r) || best.is_some_and(|b| b.name == r.name)));
    let surrounded = surrounded.map(|r| with_text(plan, variant(r, surround.as_ref(), generation)));
    let scrubbed = iframes::offered(plan).map(|(r, video)| pictures_alone(r, video, generation));
    let alternatives = groups.iter().chain(&surround).flat_map(|g| alternatives(plan, g, generation));
    let playlist = MasterPlaylist {
        version: Some(VERSION),
        independent_segments: true,
        alternatives: alternatives.chain(texts(plan, generation)).collect(),
        // What everybody can play comes first.
        variants: all_or_no_averages(stereo.chain(surrounded)).into_iter().chain(scrubbed).collect(),
        ..MasterPlaylist::default()
    };
    let images = Thumbnails::of(plan).map(|all| pictures::image_stream(&all, generation));
    text(|out| playlist.write_to(out)) + &images.unwrap_or_default()
}

/// `index.m3u8` of a rendition. `target_duration` is the title's, in seconds, the same for all its renditions.
#[must_use]
pub fn media(rendition: &Rendition, target_duration: u64) -> String {
    let (grid, version) = (&rendition.grid, VERSION);
    match rendition.kind {
        RenditionKind::Text(_) => listed(grid, target_duration, &Kind { version, suffix: "vtt", ..Kind::default() }),
        RenditionKind::Video(_) | RenditionKind::Audio(_) => {
            listed(grid, target_duration, &Kind { version, suffix: "m4s", init: Some("init.mp4"), ..Kind::default() })
        }
    }
}

/// `iframe.m3u8` of a rendition: of every segment the picture it begins with, shown until the next (RFC 8216
/// §4.3.3.6). The resources are whole, so there are no byte ranges.
#[must_use]
pub fn iframes(rendition: &Rendition, target_duration: u64) -> String {
    let kind = Kind { version: VERSION, folder: "iframe/", suffix: "m4s", init: Some("init.mp4"), i_frames_only: true };
    listed(&rendition.grid, target_duration, &kind)
}

/// What the entries of a media playlist are: `{folder}{number}.{suffix}`, behind an init segment if they need one.
#[derive(Default)]
pub(super) struct Kind {
    pub version: usize,
    pub folder: &'static str,
    pub suffix: &'static str,
    pub init: Option<&'static str>,
    pub i_frames_only: bool,
}

/// A media playlist of the segments of a grid.
pub(super) fn listed(grid: &Grid, target_duration: u64, kind: &Kind) -> String {
    let Kind { version, folder, suffix, init, i_frames_only } = *kind;
    // The writer's only precision setting is global to the process; every caller of this room wants the same. Without
    // it, four seconds are written `4`, which some players take for a rounded number.
    WRITE_OPT_FLOAT_PRECISION.store(EXTINF_DIGITS, Relaxed);
    let microseconds = Timescale::new(MICROSECONDS).expect("not zero");
    let micros = |cut: &Cut| grid.timescale().convert(cut.at.cast_signed(), microseconds);
    // The boundaries are rounded, not the durations: however long the title, the sum never drifts.
    let segment = |(number, cuts): (usize, &[Cut])| MediaSegment {
        uri: format!("{folder}{number}.{suffix}"),
        duration: seconds(micros(&cuts[1]) - micros(&cuts[0])),
        map: init.filter(|_| number == 0).map(|uri| Map { uri: uri.into(), ..Map::default() }),
        ..MediaSegment::default()
    };
    let playlist = MediaPlaylist {
        version: Some(version),
        target_duration,
        playlist_type: Some(MediaPlaylistType::Vod),
        i_frames_only,
        segments: grid.cuts().windows(2).enumerate().map(segment).collect(),
        end_list: true,
        ..MediaPlaylist::default()
    };
    // The writer leaves out a sequence of zero, which is legal; saying it spares a reader the lookup.
    let tag = "#EXT-X-PLAYLIST-TYPE:";
    text(|out| playlist.write_to(out)).replacen(tag, &format!("#EXT-X-MEDIA-SEQUENCE:0\n{tag}"), 1)
}

/// The rendition that players start with: listed first in [`master`]. `None` for a title without renditions.
#[must_use]
pub fn start(plan: &Plan) -> Option<&Rendition> {
    in_order(plan).first().copied()
}

/// The variants, best first but for the one to start with: the best that [`START_BANDWIDTH`] allows, else the lowest.
pub(super) fn in_order(plan: &Plan) -> Vec<&Rendition> {
    let mut listed: Vec<&Rendition> = plan.video().map(|(r, _)| r).collect();
    if listed.is_empty() {
        let first_track = plan.audio().next().map(|(_, a)| a.track);
        listed = first_track.into_iter().flat_map(|track| of_track(plan, track)).map(|(r, _)| r).collect();
    }
    let lowest = listed.len().saturating_sub(1);
    let start = listed.iter().position(|r| r.bandwidth <= START_BANDWIDTH).unwrap_or(lowest);
    if let Some(up_to_start) = listed.get_mut(..=start) {
        up_to_start.rotate_right(1);
    }
    listed
}

pub(super) fn variant(rendition: &Rendition, sound: Option<&Group>, generation: &Generation) -> VariantStream {
    let alone = VariantStream {
        uri: uri(rendition, generation),
        bandwidth: rendition.bandwidth,
        average_bandwidth: rendition.average_bandwidth,
        codecs: Some(rendition.codecs.clone()),
        // No captions inside the video: players need not look.
        closed_captions: Some(ClosedCaptionGroupId::None),
        ..VariantStream::default()
    };
    let Some(video) = rendition.video() else { return alone };
    let pictures = VariantStream {
        resolution: Some(Resolution { width: video.width.into(), height: video.height.into() }),
        // The highest there is (RFC 8216 §4.3.4.2), not the mean.
        frame_rate: Some((video.peak_rate.unwrap_or(video.rate).fps() * 1000.0).round() / 1000.0),
        // One attribute only: the writer keeps these in a map of random order.
        other_attributes: Some(
            [("VIDEO-RANGE".into(), QuotedOrUnquoted::Unquoted(video.colour.range().as_str().into()))].into(),
        ),
        ..alone
    };
    match sound {
        Some(group) => with_sound(pictures, group),
        None => pictures,
    }
}

/// Players that rank variants by AVERAGE-BANDWIDTH where it stands and by BANDWIDTH where it does not would put a source
/// below smaller encodes of it, so it stands at every variant or at none.
pub(super) fn all_or_no_averages(variants: impl Iterator<Item = VariantStream>) -> Vec<VariantStream> {
    let mut variants: Vec<VariantStream> = variants.collect();
    if variants.iter().any(|v| v.average_bandwidth.is_none()) {
        variants.iter_mut().for_each(|v| v.average_bandwidth = None);
    }
    variants
}

/// What a player scrubs with.
fn pictures_alone(rendition: &Rendition, video: &VideoRendition, generation: &Generation) -> VariantStream {
    VariantStream {
        is_i_frame: true,
        uri: format!("{generation}/{}/iframe.m3u8", rendition.name),
        bandwidth: iframes::bandwidth(rendition),
        codecs: Some(rendition.codecs.clone()),
        resolution: Some(Resolution { width: video.width.into(), height: video.height.into() }),
        other_attributes: Some(
            [("VIDEO-RANGE".into(), QuotedOrUnquoted::Unquoted(video.colour.range().as_str().into()))].into(),
        ),
        ..VariantStream::default()
    }
}

/// A player may take any member of the group, so the variant must declare the dearest (RFC 8216 §4.3.4.2).
fn with_sound(pictures: VariantStream, group: &Group) -> VariantStream {
    let members = || group.members.iter().map(|(r, _)| *r);
    // `None` if one is unknown.
    let average = members().map(|r| r.average_bandwidth).try_fold(0, |most, a| a.map(|a| a.max(most)));
    let mut codecs: Vec<&str> = pictures.codecs.iter().map(String::as_str).collect();
    for member in members() {
        if !codecs.contains(&member.codecs.as_str()) {
            codecs.push(&member.codecs);
        }
    }
    VariantStream {
        bandwidth: pictures.bandwidth + members().map(|r| r.bandwidth).max().unwrap_or(0),
        average_bandwidth: pictures.average_bandwidth.zip(average).map(|(v, a)| v + a),
        codecs: Some(codecs.join(",")),
        audio: Some(group.name.to_owned()),
        ..pictures
    }
}

/// The subtitles that go with every variant, which is declared with the dearest as it is with sound.
fn with_text(plan: &Plan, variant: VariantStream) -> VariantStream {
    let most = |rate: fn(&Rendition) -> u64| plan.text().map(|(r, _)| rate(r)).max().unwrap_or(0);
    VariantStream {
        bandwidth: variant.bandwidth + most(|r| r.bandwidth),
        average_bandwidth: variant.average_bandwidth.map(|mean| mean + most(|r| r.average_bandwidth.unwrap_or(0))),
        subtitles: plan.text().next().map(|_| TEXT_GROUP.to_owned()),
        ..variant
    }
}

/// One group for each audio rendition that some video rendition goes with. Other tracks join with their rendition of
/// the same rank, so every group offers the same choice (RFC 8216 §4.3.4.1.1).
pub(super) fn groups(plan: &Plan) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for name in plan.video().filter_map(|(_, v)| v.audio.as_ref()) {
        let Some((lead, leading)) = plan.audio().find(|(r, _)| r.name == *name) else { continue };
        if groups.iter().any(|g| g.name == name.as_str()) {
            continue;
        }
        let rank = of_track(plan, leading.track).position(|(r, _)| r.name == *name).unwrap_or(0);
        let members = tracks(plan)
            .into_iter()
            .filter_map(|track| of_track(plan, track).nth(rank).or_else(|| of_track(plan, track).last()))
            .collect();
        groups.push(Group { name: lead.name.as_str(), members });
    }
    groups
}

/// The group of surround sound, if any track has it; the others join with the best they have.
fn surround(plan: &Plan) -> Option<Group<'_>> {
    let surround = |track| plan.audio().find(move |(_, a)| a.track == track && is_surround(a));
    plan.audio().find(|(_, a)| is_surround(a))?;
    let members = tracks(plan).into_iter().filter_map(|t| surround(t).or_else(|| of_track(plan, t).next())).collect();
    Some(Group { name: SURROUND_GROUP, members })
}

fn is_surround(audio: &AudioRendition) -> bool {
    audio.channels > 2
}

/// A track's renditions that everybody can play, best first.
fn of_track(plan: &Plan, track: u32) -> impl Iterator<Item = (&Rendition, &AudioRendition)> {
    plan.audio().filter(move |(_, a)| a.track == track && !is_surround(a))
}

pub(super) fn alternatives(plan: &Plan, group: &Group, generation: &Generation) -> Vec<AlternativeMedia> {
    let members = &group.members;
    let is_default = |i: usize| {
        let flagged = members.iter().position(|(_, a)| a.label.default);
        i == flagged.unwrap_or(0)
    };
    // A player that chooses by itself must not be left with two that look the same (§4.3.4.1.1).
    let autoselect = |i: usize| {
        let same = |j: &usize| language(&members[*j].1.language) == language(&members[i].1.language);
        is_default(i) || !(0..members.len()).filter(same).any(|j| j < i || is_default(j))
    };
    let alternative = |(i, (rendition, audio)): (usize, &(&Rendition, &AudioRendition))| AlternativeMedia {
        media_type: AlternativeMediaType::Audio,
        uri: Some(uri(rendition, generation)),
        group_id: group.name.to_owned(),
        // `und` too: validators ask for the attribute.
        language: Some(language(&audio.language).to_owned()),
        name: names::of_audio(plan, audio.track),
        default: is_default(i),
        autoselect: autoselect(i),
        channels: Some(audio.channels.to_string()),
        ..AlternativeMedia::default()
    };
    members.iter().enumerate().map(alternative).collect()
}

/// The text renditions, all in one group.
fn texts(plan: &Plan, generation: &Generation) -> Vec<AlternativeMedia> {
    let all: Vec<(&Rendition, &TextRendition)> = plan.text().collect();
    let look = |t: &TextRendition| (language(&t.language).to_owned(), t.label.forced, t.label.hearing_impaired);
    let alternative = |(i, (rendition, text)): (usize, &(&Rendition, &TextRendition))| AlternativeMedia {
        media_type: AlternativeMediaType::Subtitles,
        uri: Some(uri(rendition, generation)),
        group_id: TEXT_GROUP.to_owned(),
        language: Some(language(&text.language).to_owned()),
        name: names::of_text(plan, text.track),
        default: text.label.default,
        autoselect: text.label.default
            || !all.iter().enumerate().any(|(j, (_, t))| j != i && look(t) == look(text) && (j < i || t.label.default)),
        forced: text.label.forced,
        characteristics: text.label.hearing_impaired.then(|| HEARING_IMPAIRED.to_owned()),
        ..AlternativeMedia::default()
    };
    all.iter().enumerate().map(alternative).collect()
}

/// Track numbers in the order of the plan.
pub(super) fn tracks(plan: &Plan) -> Vec<u32> {
    let mut tracks = Vec::new();
    for (_, audio) in plan.audio() {
        if !tracks.contains(&audio.track) {
            tracks.push(audio.track);
        }
    }
    tracks
}

fn uri(rendition: &Rendition, generation: &Generation) -> String {
    format!("{generation}/{}/index.m3u8", rendition.name)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "exact to the microsecond below 16 s")]
fn seconds(micros: i64) -> f32 {
    (micros as f64 / f64::from(MICROSECONDS)) as f32
}

pub(super) fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a Vec takes every write");
    String::from_utf8(out).expect("playlists are written as text")
}

#[cfg(test)]
mod tests;
