//! From a file to its index: tracks, exact times, and what the decoders make of the first frame. Steps: let the demuxer
//! show the tracks; take packet tables from the container where it has them, else read it through once; choose what is
//! played; decode one frame of each track; put everything on one timeline that begins at zero.

mod begin;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::adpcm::Pace;
use super::codecs::no_decoder;
use super::complaint::refusal;
use super::decode::{Decoder, Raw, decoder_for};
use super::found::Found;
use super::programs::Programs;
use super::scan::Scan;
use super::tracks::{self, Timed, media_type};
use super::{
    Output, audio, codecs, colour, complaint, cover, dolby, geometry, mp4, ogg, passable, rate, repeats, restamp,
    scrambled, subtitles,
};
use crate::media::{
    Access, AudioTrack, Index, Label, MOST_SECONDS, Packet, Rate, Refusal, RefusalCode, Sidecar, Skipped, Timescale,
    Track, TrackKind, VideoTrack, gcd,
};

/// Most pixels of a picture: 8K with some room. More would let a small file claim gigabytes.
const MOST_PIXELS: u64 = 8192 * 4608;
/// Fewest pixels of a side; encoders and players do without less.
const FEWEST_PIXELS: f64 = 16.0;
/// What GStreamer calls containers that libav alone knows. Its demuxers find some tracks of them and lose others.
const LIBAV_CONTAINER: &str = "application/x-gst-av-";
/// Packets fed to a decoder before it must have produced something.
const PROBE_PACKETS: usize = 120;
/// Most samples per second of a sound track.
const MOST_SAMPLE_RATE: u32 = 192_000;

/// Finds tracks and packets, and reads what lay beside the file.
pub fn inspect(source: &Path, sidecars: &[Sidecar], emit: &mut dyn FnMut(Output)) -> Result<Index, Refusal> {
    refuse_obvious(source)?;
    let scan = Scan::open(source, emit)?;
    emit(Output::Progress(0));
    if let Some(name) = scan.container.strip_prefix(LIBAV_CONTAINER) {
        let message =
            format!("the container of the file, {name}, is not supported: its tracks cannot be found reliably");
        return Err(refusal(RefusalCode::UnsupportedCodec, message));
    }
    let tracks::All { timed: mut tracks, silent, tables } = tracks::all(source, &scan, emit)?;
    let container = scan.container.clone();
    let cover = cover::tagged(&scan);
    let unread = unread(source, &scan, tracks.iter().map(|t| &t.found).chain(&silent));
    drop(scan);
    let chosen = chosen_video(&tracks);
    if let Some(video) = chosen {
        begin::hide_undecodable_start(source, &mut tracks[video]);
        begin::hide_sliver(&mut tracks[video]);
    }
    let Some(zero) = zero(&tracks, chosen) else {
        return Err(nothing_playable(source, &tracks, &container));
    };
    let subtitles::Outcome { text, mut skipped } = subtitles::text_tracks(source, &silent, &tables, zero, sidecars);
    skipped.extend(unread);
    let mut refused: Option<Refusal> = None;
    let mut video = None;
    let mut audio = Vec::new();
    for (n, timed) in tracks.iter().enumerate() {
        emit(Output::Progress(0));
        let is_played = timed.is_audio() || Some(n) == chosen;
        let result = if is_played && is_too_long(timed, zero) {
            Err(Refusal::too_long())
        } else if Some(n) == chosen {
            video_track(source, timed, zero, &container, emit).map(|v| video = Some(v))
        } else if timed.is_audio() {
            audio_track(source, timed, zero, &container).map(|a| audio.push(a))
        } else {
            if timed.found.is_media() {
                let why =
                    if timed.is_video() { "only one track of pictures is played" } else { "it is a still picture" };
                skipped.push(skip(timed, why));
            }
            Ok(())
        };
        if let Err(refusal) = result {
            skipped.push(skip(timed, &refusal.message));
            refused.get_or_insert(refusal);
        }
    }
    if video.is_none() {
        skipped.extend(cover);
    }
    if container == scrambled::CONTAINER {
        let scrambled = scrambled::scrambled(source);
        let is_cut = |(n, t): &(usize, &Timed)| {
            (t.is_audio() || Some(*n) == chosen) && scrambled::is_of(&scrambled, &t.found.stream_id)
        };
        let why = "a part of it is encrypted, and left out";
        skipped.extend(tracks.iter().enumerate().filter(is_cut).map(|(_, timed)| skip(timed, why)));
    }
    if let Some(video) = &mut video {
        repeats::hold(video, &audio);
    }
    // A video track that cannot be decoded is not silently turned into sound alone.
    let lost_video = video.is_none() && chosen.is_some();
    match refused {
        Some(refusal) if lost_video || (video.is_none() && audio.is_empty()) => Err(refusal),
        _ => Ok(Index { container, video, audio, text, skipped }),
    }
}

/// What the demuxer passes over without a word.
fn unread<'a>(source: &Path, scan: &Scan, found: impl Iterator<Item = &'a Found>) -> Vec<Skipped> {
    let Ok(file) = File::open(source) else { return Vec::new() };
    match scan.container.as_str() {
        "video/mpegts" => {
            let programs =
                Programs::of(&file).map(|p| p.missing(&file, &scan.joins, found.map(|f| f.stream_id.as_str())));
            programs.unwrap_or_default()
        }
        container if container.ends_with("/ogg") => ogg::chained(&file).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Of several video tracks the one marked as default, and of those the largest, as players choose.
fn chosen_video(tracks: &[Timed]) -> Option<usize> {
    let area = |t: &Timed| {
        let side = |key| t.caps.structure(0).and_then(|s| s.get::<i32>(key).ok()).map_or(0, i64::from);
        side("width") * side("height")
    };
    let videos = tracks.iter().enumerate().filter(|(_, t)| t.is_video());
    // The first of equals: `max_by_key` would take the last.
    videos.rev().max_by_key(|(_, t)| (t.default, area(t))).map(|(n, _)| n)
}

/// The title's zero: the earliest presented sample of any track that is played.
fn zero(tracks: &[Timed], video: Option<usize>) -> Option<i64> {
    // Sound that begins before zero is priming that an edit list cuts away; Matroska says how much there is.
    let audible =
        |t: &Timed| t.start_ns().map(|at| if t.direct { at.max(0) } else { at.saturating_add(t.off.priming_ns) });
    let starts = tracks.iter().enumerate().filter_map(|(n, t)| match () {
        () if t.is_audio() => audible(t),
        () if Some(n) == video => t.start_ns(),
        () => None,
    });
    starts.min()
}

/// Does a track say that it goes on for longer than any title may?
fn is_too_long(timed: &Timed, zero_ns: i64) -> bool {
    let last = timed.packets.iter().map(|p| p.pts).chain([timed.end]).max().unwrap_or(0);
    let most = i64::from(MOST_SECONDS) * 1_000_000_000;
    timed.timescale.convert(last, Timescale::NANOSECONDS).saturating_sub(zero_ns) > most
}

/// A track of sound or pictures that is left out.
fn skip(timed: &Timed, why: &str) -> Skipped {
    let kind = if timed.is_audio() { TrackKind::Audio } else { TrackKind::Video };
    let language = timed.found.language.clone().unwrap_or_else(|| "und".to_owned());
    Skipped { kind, codec: codecs::name(&timed.caps), language, label: label(timed), why: why.to_owned() }
}

/// What a viewer chooses a track of sound by.
fn label(timed: &Timed) -> Label {
    let title = timed.found.title.as_deref().and_then(Label::clean);
    Label { title, default: timed.default, forced: false, hearing_impaired: false }
}

fn refuse_obvious(source: &Path) -> Result<(), Refusal> {
    let unreadable = |e: std::io::Error| refusal(RefusalCode::Damaged, format!("the file cannot be read: {e}"));
    let mut head = [0; 4096];
    let mut file = File::open(source).map_err(unreadable)?;
    let read = file.read(&mut head).map_err(unreadable)?;
    if read == 0 {
        return Err(refusal(RefusalCode::Empty, "the file is empty"));
    }
    complaint::foreign(&head[..read]).or_else(|| mp4::fault(source)).map_or(Ok(()), Err)
}

fn nothing_playable(source: &Path, tracks: &[Timed], container: &str) -> Refusal {
    if container == scrambled::CONTAINER && !scrambled::scrambled(source).is_empty() {
        return complaint::encrypted();
    }
    let message = match tracks {
        [] if container.starts_with("image/") => format!("the file is a picture and no film ({container})"),
        [] => format!(
            "the file ({container}) has no track with a single frame: it is empty or cut short, or nothing that is \
             installed reads such files"
        ),
        _ => format!("no track can be played: the file holds {}", tracks::names(tracks)),
    };
    refusal(RefusalCode::NoPlayableTrack, message)
}

/// Moves a track onto the title's timeline.
fn track(timed: &Timed, zero_ns: i64, timescale: Timescale, time: &dyn Fn(i64) -> i64) -> Track {
    let packets = timed.packets.iter().map(|p| Packet { pts: time(p.pts), ..*p }).collect();
    Track {
        stream_id: timed.found.stream_id.clone(),
        caps: timed.caps.to_string(),
        codec: codecs::name(&timed.caps),
        timescale,
        starts_are_exact: timed.starts_are_exact,
        access: match (timed.direct, timed.pace) {
            (true, _) => Access::Direct,
            (false, None) => Access::Demuxer { zero_ns: zero_ns + timed.off.late_ns, delay_ns: timed.delay_ns },
            (false, Some(Pace { ns, bytes })) => Access::Paced { zero_ns: zero_ns + timed.off.late_ns, ns, bytes },
        },
        packets,
        refreshes: timed.refreshes.clone(),
        joins: timed.joins.clone(),
        end: time(timed.end),
    }
}

fn video_track(
    source: &Path,
    timed: &Timed,
    zero_ns: i64,
    container: &str,
    emit: &mut dyn FnMut(Output),
) -> Result<VideoTrack, Refusal> {
    dolby::fault(source, &timed.found.stream_id).map_or(Ok(()), Err)?;
    let (track, exact) = on_timeline(timed, zero_ns, has_fixed_rate(container));
    let track = Arc::new(track);
    let raw = probe(source, &untinted(&track, &timed.caps), &timed.caps)?;
    let caps = raw.sample.caps().ok_or_else(|| undecodable(&track.codec))?;
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| undecodable(&track.codec))?;
    check_pictures(&raw.sample, &info, &timed.caps)?;
    let (width, height) = (info.width(), info.height());
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(refusal(
            RefusalCode::TooLarge,
            format!("pictures of {width}x{height} are larger than {MOST_PIXELS} pixels"),
        ));
    }
    let pixel_aspect = pixel_aspect(&info, &timed.caps, container);
    let aspect = f64::from(pixel_aspect.0) / f64::from(pixel_aspect.1);
    let smallest = (f64::from(width) * aspect.max(1.0)).min(f64::from(height) / aspect.min(1.0));
    if smallest < FEWEST_PIXELS {
        return Err(refusal(
            RefusalCode::Damaged,
            format!("pictures of {width}x{height} are smaller than {FEWEST_PIXELS} pixels"),
        ));
    }
    let geometry = geometry::of(source, &timed.found.stream_id);
    let crop = geometry.and_then(|g| g.aperture?.crop((width, height)));
    let keys_are_idr = timed.avcc.as_deref().is_some_and(|avcc| passable::is_whole(source, &track, avcc, emit))
        && coded_size_is(source, &track, (width, height));
    let mut video = VideoTrack {
        width: crop.map_or(width, |c| c.width),
        height: crop.map_or(height, |c| c.height),
        crop,
        pixel_aspect,
        rotation: geometry.map_or(timed.found.rotation, |g| g.rotation),
        rate: exact,
        colour: colour::of(caps, &timed.caps, &info),
        peak_nits: peak_nits(caps),
        is_8bit_420: info.format() == gst_video::VideoFormat::I420 && media_type(&timed.caps) == "video/x-h264",
        interlaced: info.interlace_mode() != gst_video::VideoInterlaceMode::Progressive,
        avcc: timed.avcc.clone(),
        keys_are_idr,
        track: Arc::unwrap_or_clone(track),
    };
    if video.shown_size().0.max(video.shown_size().1) > VideoTrack::MOST_SIDE {
        // What only makes sense with square pixels has them.
        video.pixel_aspect = (1, 1);
    }
    let (width, height) = video.shown_size();
    if width.max(height) > VideoTrack::MOST_SIDE {
        let message =
            format!("pictures shown at {width:.0}x{height:.0} are longer than {} pixels", VideoTrack::MOST_SIDE);
        return Err(refusal(RefusalCode::TooLarge, message));
    }
    Ok(video)
}

/// Refuses what comes out of its decoder in a way that nothing can go on with.
fn check_pictures(sample: &gst::Sample, info: &gst_video::VideoInfo, caps: &gst::Caps) -> Result<(), Refusal> {
    let (codec, format) = (codecs::name(caps), info.format().to_str());
    // Of AVI's uncompressed pictures with a palette, for instance, the palette is missing (GStreamer 1.22).
    let buffer = sample.buffer().filter(|b| gst_video::VideoFrameRef::from_buffer_ref_readable(b, info).is_ok());
    if buffer.is_none() {
        let message = format!("{codec} whose pixels are {format} is not supported: convert the file");
        return Err(refusal(RefusalCode::UnsupportedCodec, message));
    }
    // The decoder takes red, green and blue for one another (GStreamer 1.22).
    if media_type(caps) == "video/x-vp9" && info.is_rgb() {
        let message = "VP9 of red, green and blue is not supported: convert the file to ordinary VP9";
        return Err(refusal(RefusalCode::UnsupportedCodec, message));
    }
    Ok(())
}

/// Puts a video track on the title's timeline, with the frames that are there in the container's mind alone: those that
/// a container of fixed rate left out, and those before a picture that comes late. Neither has bytes; the frame before, or
/// the first one, is shown in their place.
pub(super) fn on_timeline(timed: &Timed, zero_ns: i64, fixed_rate: bool) -> (Track, Option<Rate>) {
    let zero = Timescale::NANOSECONDS.convert(zero_ns, timed.timescale);
    let begin = timed.packets.iter().filter(|p| p.shown).map(|p| p.pts).min().unwrap_or(0).max(zero);
    let at = |p: &Packet| if p.shown { p.pts.max(begin) } else { p.pts } - zero;
    let packets = timed.packets.iter().map(|p| Packet { pts: at(p), ..*p }).collect();
    let moved = Timed { packets, end: timed.end - zero, ..timed.clone() };
    let shown = track(&moved, zero_ns, moved.timescale, &|t| t).shown();
    let times = rate::grid_of(&rate::Source {
        shown: &shown,
        end: moved.end,
        timescale: moved.timescale,
        direct: moved.direct,
        fixed_rate,
    });
    let mut track = track(&moved, zero_ns, times.timescale, &*times.convert);
    track.end = times.end;
    let early = repeats::early(&track, times.rate);
    repeats::add(&mut track, &[early, times.dropped].concat());
    (track, times.rate)
}

/// AVI numbers its frames and leaves out those that repeat the one before; MPEG streams have one frame rate for a whole
/// sequence (ISO/IEC 13818-2 §6.3.3), and what is missing of it was lost on the way.
fn has_fixed_rate(container: &str) -> bool {
    matches!(container, "video/x-msvideo" | "video/mpegts" | "video/mpeg")
}

/// Horizontal to vertical. Matroska says how large a picture is shown whatever the bitstream says (RFC 9559
/// §5.1.4.1.28.8), so a picture of another size is stretched to that.
fn pixel_aspect(info: &gst_video::VideoInfo, caps: &gst::Caps, container: &str) -> (u32, u32) {
    let positive = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0);
    let side = |key| caps.structure(0).and_then(|s| s.get::<i32>(key).ok()).and_then(positive);
    let (num, den) = (positive(info.par().numer()).unwrap_or(1), positive(info.par().denom()).unwrap_or(1));
    let shown = side("width").zip(side("height")).filter(|_| matches!(container, "video/x-matroska" | "video/webm"));
    let Some((width, height)) = shown.filter(|size| *size != (info.width(), info.height())) else { return (num, den) };
    let stretch = |a: u32, b: u32, c: u32| u64::from(a) * u64::from(b) * u64::from(c);
    let (x, y) = (stretch(width, info.height(), num), stretch(height, info.width(), den));
    let exact = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let divisor = gcd(exact(x), exact(y));
    (exact(x) / divisor, exact(y) / divisor)
}

fn audio_track(source: &Path, timed: &Timed, zero_ns: i64, container: &str) -> Result<AudioTrack, Refusal> {
    let zero = Timescale::NANOSECONDS.convert(zero_ns, timed.timescale);
    let provisional = Arc::new(track(timed, zero_ns, timed.timescale, &|t| t - zero));
    let probed = probe(source, &provisional, &timed.caps)?;
    let raw = probed.sample.caps().and_then(|c| c.structure(0)).ok_or_else(|| undecodable(&provisional.codec))?;
    let number = |key: &str| raw.get::<i32>(key).ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let (Some(rate), Some(channels)) = (number("rate"), number("channels")) else {
        return Err(undecodable(&provisional.codec));
    };
    if rate > MOST_SAMPLE_RATE || channels > 16 {
        let message =
            format!("sound of {channels} channels at {rate} Hz is more than 16 channels at {MOST_SAMPLE_RATE} Hz");
        return Err(refusal(RefusalCode::TooLarge, message));
    }
    if media_type(&timed.caps) == "audio/x-private-ts-lpcm" && !is_plain(raw, channels) {
        let message = "PCM of Blu-rays is read only in 16 bits, and of an even number of channels: convert it to FLAC";
        return Err(refusal(RefusalCode::UnsupportedCodec, message));
    }
    let scale = Timescale::new(rate).ok_or_else(|| undecodable(&provisional.codec))?;
    let old = provisional.timescale;
    let packets: Vec<Packet> =
        provisional.packets.iter().map(|p| Packet { pts: old.convert(p.pts, scale), ..*p }).collect();
    let end = old.convert(provisional.end, scale);
    let mut whole = Track { timescale: scale, packets, end, ..Arc::unwrap_or_clone(provisional) };
    if let Some(ending) = audio::ending(source, &whole, rate) {
        let moved = ending.block.filter(|_| !timed.direct).map_or(0, |block| follow_on(&mut whole, block, rate));
        // A container knows the last packet's length less well than its decoder does; an edit list may cut it shorter still,
        // and so does the last page of Ogg.
        let may_cut = timed.direct || container.ends_with("/ogg");
        let decoded = ending.end.saturating_add(moved);
        whole.end = if may_cut { whole.end.min(decoded) } else { decoded };
    }
    let aac_lc_config = if timed.direct && old == scale { aac_lc_config(&timed.caps, rate, channels) } else { None };
    let language = timed.found.language.clone().unwrap_or_else(|| "und".to_owned());
    Ok(AudioTrack { track: whole, rate, channels, language, label: label(timed), aac_lc_config })
}

/// PCM of Blu-rays that GStreamer's decoder knows how to take apart: it takes longer samples for those of DVDs, which lie
/// otherwise, and passes over the one that makes their number even.
fn is_plain(raw: &gst::StructureRef, channels: u32) -> bool {
    raw.get::<&str>("format").is_ok_and(|format| format.starts_with("S16")) && channels.is_multiple_of(2)
}

/// Undoes a container's rounding of a track's times, and returns how much later the last packet is for it.
fn follow_on(track: &mut Track, block: i64, rate: u32) -> i64 {
    let mut times: Vec<i64> = track.packets.iter().map(|p| p.pts).collect();
    restamp::restamp(&mut times, block, rate);
    let last = track.packets.last().map_or(0, |p| p.pts);
    for (packet, at) in track.packets.iter_mut().zip(&times) {
        packet.pts = *at;
    }
    times.last().map_or(0, |at| at - last)
}

/// The `AudioSpecificConfig` of a plain AAC-LC stream: object type 2, this rate and these channels, 1024-sample frames.
fn aac_lc_config(caps: &gst::Caps, rate: u32, channels: u32) -> Option<Vec<u8>> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let structure = caps.structure(0).filter(|s| s.name() == "audio/mpeg")?;
    let buffer = structure.get::<gst::Buffer>("codec_data").ok()?;
    let map = buffer.map_readable().ok()?;
    let (&[first, second], _) = map.as_slice().split_first_chunk::<2>()?;
    let bits = u16::from_be_bytes([first, second]);
    let (object, index, config, long) = (bits >> 11, (bits >> 7) & 15, (bits >> 3) & 15, (bits >> 2) & 1 == 0);
    let plain = object == 2 && RATES.get(usize::from(index)) == Some(&rate) && u32::from(config) == channels && long;
    // Three more bytes may say that there is spectral band replication, or that there is none (§1.6.6.1).
    let replicated = !matches!(&map[2..], [] | [0x56, 0xE5, 0..=0x7F]);
    (plain && !replicated).then(|| map.as_slice().to_vec())
}

fn undecodable(codec: &str) -> Refusal {
    refusal(RefusalCode::Damaged, format!("the {codec} track cannot be decoded: the file is damaged"))
}

/// Decodes until the first frame comes out.
fn probe(source: &Path, track: &Arc<Track>, caps: &gst::Caps) -> Result<Raw, Refusal> {
    if !media_type(caps).ends_with("/x-raw") && decoder_for(caps).is_none() {
        return Err(no_decoder(caps));
    }
    let has_bytes = |number: &usize| track.packets[*number].size > 0;
    let first = track.shown().iter().map(|s| s.packet).find(has_bytes).unwrap_or(0);
    let start = (0..=first).rev().find(|&i| track.packets[i].key).unwrap_or(0);
    let end = (first..track.packets.len()).filter(has_bytes).nth(PROBE_PACKETS);
    let range: Range<usize> = start..end.unwrap_or(track.packets.len());
    let chain = if media_type(caps).starts_with("audio/") { "audio/x-raw" } else { "video/x-raw" };
    let mut decoder = Decoder::open(source, track, range, i64::MIN, chain)
        .map_err(|e| refusal(RefusalCode::UnsupportedCodec, e.to_string()))?;
    let first = decoder.next(&mut || Ok(())).ok().flatten();
    let foreign = || {
        let message = format!("the installed decoder does not know this kind of {}: convert the file", track.codec);
        refusal(RefusalCode::UnsupportedCodec, message)
    };
    // GStreamer 1.22 takes all of JPEG 2000 in QuickTime for RGB, and then what is none for broken.
    let is_foreign = decoder.is_foreign() || media_type(caps) == "image/x-jpc";
    first.ok_or_else(|| if is_foreign { foreign() } else { undecodable(&track.codec) })
}

/// The track without what its container says of colours, so that the decoder tells what the bitstream says.
fn untinted(track: &Track, caps: &gst::Caps) -> Arc<Track> {
    let mut caps = caps.clone();
    if let Some(structure) = caps.make_mut().structure_mut(0).filter(|s| !s.name().ends_with("/x-raw")) {
        structure.remove_field("colorimetry");
    }
    Arc::new(Track { caps: caps.to_string(), ..track.clone() })
}

/// Does the bitstream itself say this size? A container may cut columns off that a player of the bare stream would show.
fn coded_size_is(source: &Path, track: &Track, size: (u32, u32)) -> bool {
    let Ok(mut caps) = track.caps.parse::<gst::Caps>() else { return false };
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.remove_fields(["width", "height"]);
    }
    let bare = Arc::new(Track { caps: caps.to_string(), ..track.clone() });
    let probed = probe(source, &bare, &caps).ok();
    let info = probed.as_ref().and_then(|p| p.sample.caps()).and_then(|c| gst_video::VideoInfo::from_caps(c).ok());
    info.is_some_and(|info| (info.width(), info.height()) == size)
}

/// How bright the brightest pixel is, or else could be on the display the film was graded on, cd/m².
fn peak_nits(caps: &gst::CapsRef) -> Option<u32> {
    let content = gst_video::VideoContentLightLevel::from_caps(caps).map(|c| u32::from(c.max_content_light_level()));
    // In units of 0.0001 cd/m² (ST 2086, and Rec. ITU-T H.265 §D.3.28).
    let display = gst_video::VideoMasteringDisplayInfo::from_caps(caps);
    let display = display.map(|d| d.max_display_mastering_luminance() / 10_000);
    content.ok().filter(|&nits| nits > 0).or(display.ok()).filter(|&nits| nits > 0)
}
