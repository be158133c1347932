//! DASH (ISO/IEC 23009-1): one static manifest over the very segments that HLS plays.
//!
//! One period, in it an adaptation set for the pictures, one for each audio and text track, and one with single
//! pictures for scrubbing. Renditions share a set where a player may switch between them at every boundary. The timeline repeats the
//! grid's integers; only the duration of the whole is rounded, to the nanosecond.
//!
//! Every path is written whole, below the manifest, and no BaseURL stands above another: of two relative ones FFmpeg takes
//! the inner one alone, where §5.6.4 joins them.

use std::time::Duration;

use crate::media::{
    AudioRendition, Colour, Cut, Generation, Grid, Plan, Rendition, RenditionKind, TextRendition, Thumbnails,
    Timescale, VideoRendition, VideoSource,
};

use super::xml::Element;
use super::{iframes, names};

/// Segments behind a template, and tracks of CMAF (ISO/IEC 23009-1 §8.4 and §8.12).
const PROFILES: &str = "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019";
/// The encoders' VBV asks for half a second at most; twice that also covers what rate control may be off by. Players
/// wait for this much before they start, so it is not more.
const MIN_BUFFER: Duration = Duration::from_secs(1);
/// Sound that outlasts the picture by no more than this does not prolong the presentation: nobody misses it, and
/// players would wait for pictures that never come.
const OVERHANG: Duration = Duration::from_millis(200);
/// Single pictures a second or more apart can be shown this many times faster than real time.
const MAX_PLAYOUT_RATE: u32 = 32;
/// Titles shorter than this have nothing to scrub through. FFmpeg looks through the first five seconds for the rate of
/// every stream, and if single pictures run out before that, FFmpeg 9 reads the last segment of every other stream twice.
const SHORTEST_SCRUBBED: Duration = Duration::from_secs(6);

/// Renditions between which a player may switch at every boundary; never empty.
type Set<'a, Kind> = Vec<(&'a Rendition, &'a Kind)>;

/// `/v/{id}/manifest.mpd`. URLs are relative to it: `{generation}/{rendition}/{n}.m4s`.
#[must_use]
pub fn manifest(plan: &Plan, generation: &Generation) -> String {
    let segments = plan.renditions.iter().map(|r| span(r.grid.timescale(), r.grid.longest()));
    // A sheet of thumbnails is a segment, too (§5.3.1.2), counted in milliseconds; the last one ends with the period.
    let whole_ms = u64::try_from(duration(plan).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let sheet = Thumbnails::of(plan).map(|all| Duration::from_millis(all.sheet_ms().min(whole_ms)));
    let longest = segments.chain(sheet).max();
    Element::new("MPD")
        .with("xmlns", "urn:mpeg:dash:schema:mpd:2011")
        .with("profiles", PROFILES)
        .with("type", "static")
        .with("mediaPresentationDuration", seconds(duration(plan)))
        .with("maxSegmentDuration", seconds(longest.unwrap_or_default()))
        .with("minBufferTime", seconds(min_buffer(plan)))
        .holding([Element::new("Period")
            .with("id", 0)
            .with("start", "PT0S")
            .holding(adaptation_sets(plan, generation))])
        .document()
}

fn adaptation_sets(plan: &Plan, generation: &Generation) -> Vec<Element> {
    let mut made = Vec::new();
    for set in sets(plan.video(), |a, b| range(a.1) == range(b.1)) {
        made.push(video_set(made.len(), generation, &set));
    }
    let chosen = plan.audio().find(|(_, a)| a.label.default).or_else(|| plan.audio().next());
    let main_track = chosen.map(|(_, a)| a.track);
    for set in sets(plan.audio(), alike) {
        made.push(audio_set(made.len(), plan, generation, &set, main_track));
    }
    for (rendition, text) in plan.text() {
        made.push(text_set(made.len(), plan, generation, (rendition, text)));
    }
    if duration(plan) >= SHORTEST_SCRUBBED {
        made.extend(scrub_set(made.len(), generation, &iframes::offered(plan).collect()));
    }
    made.extend(Thumbnails::of(plan).map(|all| thumbnail_set(made.len(), generation, &all)));
    made
}

/// Puts each rendition into the first set it goes with: of the same sort, and cut at the same times.
fn sets<'a, Kind>(
    renditions: impl Iterator<Item = (&'a Rendition, &'a Kind)>,
    same_sort: impl Fn(&(&Rendition, &Kind), &(&Rendition, &Kind)) -> bool,
) -> Vec<Set<'a, Kind>> {
    let mut sets: Vec<Set<Kind>> = Vec::new();
    for one in renditions {
        let fits = |set: &&mut Set<Kind>| same_sort(&set[0], &one) && aligned(&set[0].0.grid, &one.0.grid);
        match sets.iter_mut().find(fits) {
            Some(set) => set.push(one),
            None => sets.push(vec![one]),
        }
    }
    sets
}

/// @segmentAlignment (§5.3.3.2): no segment overlaps one of another number, whatever the rendition. Ends may differ,
/// nothing follows them.
fn aligned(a: &Grid, b: &Grid) -> bool {
    let in_ticks_of = |at: u64, other: &Grid| u128::from(at) * u128::from(other.timescale().get());
    let same = |(x, y): (&Cut, &Cut)| in_ticks_of(x.at, b) == in_ticks_of(y.at, a);
    let inner = a.cuts().len() - 1;
    a.segments() == b.segments() && a.cuts()[..inner].iter().zip(&b.cuts()[..inner]).all(same)
}

/// Sound may be switched within a track, and where a decoder need not be set up anew.
fn alike(a: &(&Rendition, &AudioRendition), b: &(&Rendition, &AudioRendition)) -> bool {
    let family = |r: &Rendition| r.codecs.split('.').next().map(str::to_owned);
    (a.1.track, a.1.rate, a.1.channels, family(a.0)) == (b.1.track, b.1.rate, b.1.channels, family(b.0))
}

fn video_set(id: usize, generation: &Generation, set: &Set<VideoRendition>) -> Element {
    let essential = range(set[0].1).map(|colour| properties("EssentialProperty", colour));
    let representation = |(rendition, video): &(&Rendition, &VideoRendition)| {
        let described = if range(video).is_some() { None } else { unusual(video.colour) };
        pictures(rendition.name.as_str(), rendition.bandwidth, rendition, video)
            .with("frameRate", video.rate)
            .holding(described.map(|colour| properties("SupplementalProperty", colour)).unwrap_or_default())
    };
    adaptation_set(id, "video")
        .with_some("maxWidth", set.iter().map(|(_, v)| v.width).max())
        .with_some("maxHeight", set.iter().map(|(_, v)| v.height).max())
        .holding(essential.unwrap_or_default())
        .holding([role("main")])
        .holding(timed(generation, set, representation))
}

fn audio_set(
    id: usize,
    plan: &Plan,
    generation: &Generation,
    set: &Set<AudioRendition>,
    main_track: Option<u32>,
) -> Element {
    let (_, audio) = set[0];
    let representation = |(rendition, audio): &(&Rendition, &AudioRendition)| {
        represented(rendition.name.as_str(), rendition.bandwidth, rendition).with("audioSamplingRate", audio.rate)
    };
    adaptation_set(id, "audio")
        .with("lang", language(&audio.language))
        .holding(channels(audio.channels))
        .holding([Element::new("Label").saying(&names::of_audio(plan, audio.track))])
        .holding([role(if Some(audio.track) == main_track { "main" } else { "alternate" })])
        .holding(timed(generation, set, representation))
}

/// Words, as one document beside the period: what every player reads, and a film's fit into a segment of its pictures.
fn text_set(
    id: usize,
    plan: &Plan,
    generation: &Generation,
    (rendition, text): (&Rendition, &TextRendition),
) -> Element {
    let purpose = match (text.label.forced, text.label.hearing_impaired) {
        (true, _) => "forced-subtitle",
        (false, true) => "caption",
        (false, false) => "subtitle",
    };
    let document = Element::new("BaseURL").saying(&format!("{generation}/{}/all.vtt", rendition.name));
    let representation =
        Element::new("Representation").with("id", &rendition.name).with("bandwidth", rendition.bandwidth);
    Element::new("AdaptationSet")
        .with("id", id)
        .with("contentType", "text")
        .with("mimeType", "text/vtt")
        .with("lang", language(&text.language))
        .holding([Element::new("Label").saying(&names::of_text(plan, text.track)), role(purpose)])
        .holding(text.label.default.then(|| role("main")))
        .holding([representation.holding([document])])
}

/// Trick mode (DASH-IF IOP §3.2.9): the same grid, and of each segment only the picture it begins with. Each
/// representation has its own template: FFmpeg does not find what lies behind a BaseURL of one below a shared template.
fn scrub_set(id: usize, generation: &Generation, set: &Set<VideoRendition>) -> Option<Element> {
    let representation = |&(rendition, video): &(&Rendition, &VideoRendition)| {
        let name = &rendition.name;
        let (init, media) =
            (format!("{generation}/{name}/init.mp4"), format!("{generation}/{name}/iframe/$Number$.m4s"));
        pictures(&format!("{name}-iframe"), iframes::bandwidth(rendition), rendition, video)
            .with("frameRate", mean_rate(&rendition.grid))
            .holding([template(&rendition.grid, &init, &media)])
    };
    let made = adaptation_set(id, "video")
        .with("maxPlayoutRate", MAX_PLAYOUT_RATE)
        .with("codingDependency", false)
        .holding([descriptor("EssentialProperty", "http://dashif.org/guidelines/trickmode", 0)])
        .holding(set.iter().map(representation));
    (!set.is_empty()).then_some(made)
}

/// Sheets of thumbnails (DASH-IF IOP §6.2.6): each stands for the same time, also the last, whose rest is left black.
fn thumbnail_set(id: usize, generation: &Generation, all: &Thumbnails) -> Element {
    let (width, height) = all.sheet_size();
    let tiles = format!("{}x{}", all.columns, all.rows);
    let template = Element::new("SegmentTemplate")
        .with("timescale", 1000)
        .with("duration", all.sheet_ms())
        .with("media", format!("{generation}/$RepresentationID$/$Number$.jpg"))
        .with("startNumber", 0);
    let representation = Element::new("Representation")
        .with("id", "thumbnails")
        .with("bandwidth", all.bandwidth())
        .with("width", width)
        .with("height", height)
        .holding([descriptor("EssentialProperty", "http://dashif.org/guidelines/thumbnail_tile", tiles)]);
    Element::new("AdaptationSet")
        .with("id", id)
        .with("contentType", "image")
        .with("mimeType", "image/jpeg")
        .holding([template, representation])
}

fn adaptation_set(id: usize, content: &str) -> Element {
    Element::new("AdaptationSet")
        .with("id", id)
        .with("contentType", content)
        .with("mimeType", format!("{content}/mp4"))
        .with("segmentAlignment", true)
        .with("startWithSAP", 1)
}

/// Representations below the one timeline they share; if their ends differ, each has its own.
fn timed<Kind>(
    generation: &Generation,
    set: &Set<Kind>,
    representation: impl Fn(&(&Rendition, &Kind)) -> Element,
) -> impl Iterator<Item = Element> {
    let folder = format!("{generation}/$RepresentationID$");
    let template = |grid: &Grid| template(grid, &format!("{folder}/init.mp4"), &format!("{folder}/$Number$.m4s"));
    let times = |r: &Rendition| (r.grid.timescale(), r.grid.cuts().iter().map(|c| c.at).collect::<Vec<_>>());
    let shared = set.iter().all(|(r, _)| times(r) == times(set[0].0));
    let own = |one: &(&Rendition, &Kind)| match shared {
        true => representation(one),
        false => representation(one).holding([template(&one.0.grid)]),
    };
    let representations: Vec<Element> = set.iter().map(own).collect();
    shared.then(|| template(&set[0].0.grid)).into_iter().chain(representations)
}

fn template(grid: &Grid, initialization: &str, media: &str) -> Element {
    Element::new("SegmentTemplate")
        .with("timescale", grid.timescale())
        .with("initialization", initialization)
        .with("media", media)
        .with("startNumber", 0)
        .holding([Element::new("SegmentTimeline").holding(timeline(grid))])
}

/// Runs of equal durations as one `S` (§5.3.9.6).
fn timeline(grid: &Grid) -> Vec<Element> {
    let mut runs: Vec<(u64, u32)> = Vec::new();
    for cuts in grid.cuts().windows(2) {
        let ticks = cuts[1].at - cuts[0].at;
        match runs.last_mut() {
            Some((last, more)) if *last == ticks => *more += 1,
            _ => runs.push((ticks, 0)),
        }
    }
    let start = grid.cuts()[0].at;
    let run = |(n, (ticks, more)): (usize, (u64, u32))| {
        Element::new("S")
            .with_some("t", (n == 0).then_some(start))
            .with("d", ticks)
            .with_some("r", (more > 0).then_some(more))
    };
    runs.into_iter().enumerate().map(run).collect()
}

fn represented(id: &str, bandwidth: u64, rendition: &Rendition) -> Element {
    Element::new("Representation").with("id", id).with("bandwidth", bandwidth).with("codecs", &rendition.codecs)
}

fn pictures(id: &str, bandwidth: u64, rendition: &Rendition, video: &VideoRendition) -> Element {
    represented(id, bandwidth, rendition).with("width", video.width).with("height", video.height).with("sar", "1:1")
}

fn role(value: &str) -> Element {
    descriptor("Role", "urn:mpeg:dash:role:2011", value)
}

fn descriptor(name: &'static str, scheme: &str, value: impl std::fmt::Display) -> Element {
    Element::new(name).with("schemeIdUri", scheme).with("value", value)
}

/// ChannelConfiguration of ISO/IEC 23003-3, which is the number of channels but for eight; `None` where it has no name.
fn channels(channels: u32) -> Option<Element> {
    let value = match channels {
        1..=6 => channels,
        8 => 7,
        _ => return None,
    };
    let scheme = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
    Some(descriptor("AudioChannelConfiguration", scheme, value))
}

/// `xs:language`: parts of one to eight characters. A tag that breaks it would make the manifest invalid.
fn language(tag: &str) -> &str {
    let tag = names::language(tag);
    let is_valid = tag.split('-').all(|part| (1..=8).contains(&part.len()))
        && tag.split('-').next().is_some_and(|part| part.bytes().all(|b| b.is_ascii_alphabetic()));
    if is_valid { tag } else { "und" }
}

/// The colours of a picture of high dynamic range: who does not know them must leave the set alone.
fn range(video: &VideoRendition) -> Option<Colour> {
    matches!(video.colour.transfer, 16 | 18).then_some(video.colour)
}

/// A colour description that differs from what players assume, BT.709.
fn unusual(colour: Colour) -> Option<Colour> {
    let known = |code: u8| matches!(code, 1 | 2);
    let is_usual = known(colour.primaries) && known(colour.transfer) && known(colour.matrix) && !colour.full_range;
    (!is_usual).then_some(colour)
}

/// Code points of H.273 (ISO/IEC 23091-2); 2 is unspecified and says nothing.
fn properties(name: &'static str, colour: Colour) -> Vec<Element> {
    let Colour { primaries, transfer, matrix, full_range } = colour;
    let codes = [("ColourPrimaries", primaries), ("TransferCharacteristics", transfer), ("MatrixCoefficients", matrix)];
    let codes = codes.into_iter().filter(|(_, code)| *code != 2);
    let range = full_range.then_some(("VideoFullRangeFlag", 1));
    codes.chain(range).map(|(what, code)| descriptor(name, &format!("urn:mpeg:mpegB:cicp:{what}"), code)).collect()
}

/// Pictures per second of a scrub representation, exact over the whole.
fn mean_rate(grid: &Grid) -> String {
    let cuts = grid.cuts();
    let (mut num, mut den) =
        (u64::from(grid.segments()) * u64::from(grid.timescale().get()), cuts[cuts.len() - 1].at - cuts[0].at);
    // A player may keep either number in 32 bits.
    while num > u64::from(u32::MAX) || den > u64::from(u32::MAX) {
        (num, den) = (num / 2, den / 2);
    }
    format!("{}/{}", num.max(1), den.max(1))
}

fn duration(plan: &Plan) -> Duration {
    let end = |r: &Rendition| span(r.grid.timescale(), r.grid.cuts().last().map_or(0, |c| c.at));
    let of = |is_video: bool| {
        let kind = move |r: &&Rendition| match r.kind {
            RenditionKind::Video(_) => is_video,
            RenditionKind::Audio(_) => !is_video,
            RenditionKind::Text(_) => false,
        };
        plan.renditions.iter().filter(kind).map(end).max().unwrap_or_default()
    };
    let (picture, sound) = (of(true), of(false));
    if picture > Duration::ZERO && sound <= picture + OVERHANG { picture } else { sound }
}

/// @minBufferTime (§5.3.1.2): after waiting this long, a line of @bandwidth keeps up from any segment on.
fn min_buffer(plan: &Plan) -> Duration {
    let needs = plan.video().map(|(_, video)| match &video.source {
        VideoSource::Passthrough { buffer_ms, .. } => Duration::from_millis((*buffer_ms).into()),
        VideoSource::Encode { .. } => MIN_BUFFER,
    });
    needs.fold(MIN_BUFFER, Duration::max)
}

fn span(timescale: Timescale, ticks: u64) -> Duration {
    let nanoseconds = timescale.convert(ticks.cast_signed(), Timescale::NANOSECONDS);
    Duration::from_nanos(nanoseconds.cast_unsigned())
}

/// `xs:duration`.
fn seconds(duration: Duration) -> String {
    let fraction = format!(".{:09}", duration.subsec_nanos());
    format!("PT{}{}S", duration.as_secs(), fraction.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests;
