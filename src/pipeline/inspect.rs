//! From a file to its index: tracks, exact times, and what the decoders make of the first frame. Steps: let the demuxer
//! show the tracks; take packet tables from the container where it has them, else read it through once; choose what is
//! played; decode one frame of each track; put everything on one timeline that begins at zero.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::decode::{Decoder, decoder_for};
use super::mp4::{self, Table};
use super::scan::{Found, RawPacket, Scan};
use super::{Output, rate};
use crate::media::{
    Access, AudioTrack, Colour, Index, Label, Packet, Refusal, RefusalCode, Shown, Timescale, Track, VideoTrack,
};

/// Most pixels of a picture: 8K with some room. More would let a small file claim gigabytes.
const MOST_PIXELS: u64 = 8192 * 4608;
/// Fewest pixels of a side; encoders and players do without less.
const FEWEST_PIXELS: u32 = 16;
/// Packets fed to a decoder before it must have produced something.
const PROBE_PACKETS: usize = 120;
/// Most samples per second of a sound track.
const MOST_SAMPLE_RATE: u32 = 192_000;

/// A track with its times still on the container's own timeline.
struct Timed {
    found: Found,
    caps: gst::Caps,
    timescale: Timescale,
    direct: bool,
    packets: Vec<Packet>,
    end: i64,
    avcc: Option<Vec<u8>>,
}

/// Finds tracks and packets.
pub fn inspect(source: &Path, emit: &mut dyn FnMut(Output)) -> Result<Index, Refusal> {
    refuse_obvious(source)?;
    let scan = Scan::open(source, emit)?;
    emit(Output::Progress(0));
    let tracks = timed_tracks(source, &scan, emit)?;
    let container = scan.container.clone();
    drop(scan);
    let mut refused: Option<Refusal> = None;
    let mut video = None;
    let mut audio = Vec::new();
    let start = |t: &Timed| {
        let times = t.packets.iter().filter(|p| p.shown).map(|p| p.pts);
        times.min().map(|at| t.timescale.convert(at.max(i64::MIN / 4), Timescale::NANOSECONDS))
    };
    // Sound that begins before zero is priming that an edit list cuts away.
    let audible = |t: &Timed| start(t).map(|at| if t.direct { at.max(0) } else { at });
    let playable: Vec<&Timed> = tracks.iter().filter(|t| is_video(t) || is_audio(t)).collect();
    let zero = playable.iter().filter_map(|t| if is_audio(t) { audible(t) } else { start(t) }).min();
    let Some(zero) = zero else {
        return Err(nothing_playable(&tracks));
    };
    for timed in playable {
        emit(Output::Progress(0));
        let result = if is_video(timed) && video.is_none() {
            video_track(source, timed, zero).map(|v| video = Some(v))
        } else if is_audio(timed) {
            audio_track(source, timed, zero).map(|a| audio.push(a))
        } else {
            Ok(())
        };
        if let Err(refusal) = result {
            refused.get_or_insert(refusal);
        }
    }
    // A video track that cannot be decoded is not silently turned into sound alone.
    let lost_video = video.is_none() && tracks.iter().any(is_video);
    match refused {
        Some(refusal) if lost_video || (video.is_none() && audio.is_empty()) => Err(refusal),
        _ => Ok(Index { container, video, audio, text: Vec::new(), skipped: Vec::new() }),
    }
}

fn refuse(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

fn refuse_obvious(source: &Path) -> Result<(), Refusal> {
    let unreadable = |e: std::io::Error| refuse(RefusalCode::Damaged, format!("the file cannot be read: {e}"));
    let mut head = [0; 4096];
    let mut file = std::fs::File::open(source).map_err(unreadable)?;
    let read = file.read(&mut head).map_err(unreadable)?;
    if read == 0 {
        return Err(refuse(RefusalCode::Empty, "the file is empty"));
    }
    Ok(())
}

fn nothing_playable(tracks: &[Timed]) -> Refusal {
    let names: Vec<String> = tracks.iter().map(|t| codec_name(&t.caps)).collect();
    if names.is_empty() {
        return refuse(
            RefusalCode::NoPlayableTrack,
            "the file has no track with a single frame: it is empty or cut short",
        );
    }
    let message = format!("no track can be played: the file holds {}", names.join(", "));
    refuse(RefusalCode::NoPlayableTrack, message)
}

fn media_type(caps: &gst::Caps) -> &str {
    caps.structure(0).map_or("", |s| s.name().as_str())
}

fn is_video(t: &Timed) -> bool {
    let kind = media_type(&t.caps);
    kind.starts_with("video/") || (kind.starts_with("image/") && t.packets.len() > 1)
}

fn is_audio(t: &Timed) -> bool {
    media_type(&t.caps).starts_with("audio/")
}

fn codec_name(caps: &gst::Caps) -> String {
    known_name(caps).unwrap_or_else(|| media_type(caps).to_owned())
}

/// Names people know, by media type; others are shown as GStreamer calls them.
fn known_name(caps: &gst::Caps) -> Option<String> {
    let structure = caps.structure(0)?;
    let version = structure.get::<i32>("mpegversion").unwrap_or(0);
    let name = match structure.name().as_str() {
        "video/x-h264" => "H.264",
        "video/x-h265" => "H.265",
        "video/x-h266" => "H.266 (VVC)",
        "video/x-vp8" => "VP8",
        "video/x-vp9" => "VP9",
        "video/x-av1" => "AV1",
        "video/mpeg" if version == 4 => "MPEG-4 Visual",
        "video/mpeg" => "MPEG-1/2 video",
        "video/x-theora" => "Theora",
        "video/x-prores" => "ProRes",
        "image/jpeg" => "Motion JPEG",
        "audio/mpeg" if version == 1 => "MPEG-1 audio",
        "audio/mpeg" => "AAC",
        "audio/x-ac3" => "AC-3",
        "audio/x-eac3" => "E-AC-3",
        "audio/x-opus" => "Opus",
        "audio/x-vorbis" => "Vorbis",
        "audio/x-flac" => "FLAC",
        "audio/x-raw" => "PCM",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Every track with its packets, from the container's tables or by reading it through.
fn timed_tracks(source: &Path, scan: &Scan, emit: &mut dyn FnMut(Output)) -> Result<Vec<Timed>, Refusal> {
    let found = scan.tracks();
    let encrypted = |f: &Found| f.caps.as_ref().is_some_and(|c| media_type(c).starts_with("application/x-cenc"));
    if found.iter().any(encrypted) {
        return Err(refuse(RefusalCode::Encrypted, "the file is encrypted: upload it without DRM"));
    }
    let tables = if media_type_is_mp4(&scan.container) { mp4::tables(source).unwrap_or_default() } else { Vec::new() };
    let table_of = |f: &Found| {
        let id: u32 = f.stream_id.parse().ok()?;
        let caps = f.caps.as_ref()?;
        let usable = usable_table(caps);
        tables.iter().find(|t| t.id == id && usable && t.timescale > 0 && !t.samples.is_empty())
    };
    let all_tabled = found.iter().filter(|f| f.is_media()).all(|f| table_of(f).is_some());
    let found = if all_tabled { found } else { scan.to_end(emit)? };
    let mut tracks = Vec::new();
    for mut found in found {
        let Some(caps) = found.caps.clone() else { continue };
        let tabled = if all_tabled { table_of(&found).and_then(|t| from_table(t, &caps)) } else { None };
        let timed = match tabled {
            Some((timescale, packets, end, avcc)) => Timed { found, caps, timescale, direct: true, packets, end, avcc },
            None => {
                let (packets, end) = from_demuxer(&std::mem::take(&mut found.packets));
                Timed { found, caps, timescale: Timescale::NANOSECONDS, direct: false, packets, end, avcc: None }
            }
        };
        if !timed.packets.is_empty() {
            tracks.push(timed);
        }
    }
    Ok(tracks)
}

fn media_type_is_mp4(container: &str) -> bool {
    matches!(container, "video/quicktime" | "audio/x-m4a" | "application/x-3gp" | "video/mj2")
}

/// Raw sound has a table entry for every sample; byte streams would need the demuxer's conversion.
fn usable_table(caps: &gst::Caps) -> bool {
    let Some(structure) = caps.structure(0) else { return false };
    let format = structure.get::<String>("stream-format").unwrap_or_default();
    !structure.name().ends_with("/x-raw") && !matches!(format.as_str(), "byte-stream" | "adts")
}

type FromTable = (Timescale, Vec<Packet>, i64, Option<Vec<u8>>);

fn from_table(table: &Table, caps: &gst::Caps) -> Option<FromTable> {
    let timescale = Timescale::new(table.timescale)?;
    // The length of a NAL unit's length in the file must be what the caps promise the decoder.
    if media_type(caps) == "video/x-h264" && table.avcc.is_none() {
        return None;
    }
    let packets =
        table.samples.iter().map(|s| Packet { pts: s.pts, shown: s.shown, key: s.key, offset: s.offset, size: s.size });
    Some((timescale, packets.collect(), table.end, table.avcc.clone()))
}

fn from_demuxer(raw: &[RawPacket]) -> (Vec<Packet>, i64) {
    let typical = median_step(raw);
    let end = raw.iter().map(|p| p.pts + p.duration.map_or(typical, u64::cast_signed)).max().unwrap_or(0);
    let last = raw.iter().map(|p| p.pts).max().unwrap_or(0);
    let packets = raw.iter().map(|p| Packet { pts: p.pts, shown: true, key: p.key, offset: 0, size: p.size });
    (packets.collect(), end.max(last + 1))
}

fn median_step(raw: &[RawPacket]) -> i64 {
    let mut times: Vec<i64> = raw.iter().map(|p| p.pts).collect();
    times.sort_unstable();
    let mut steps: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).filter(|s| *s > 0).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(40_000_000)
}

/// Moves a track onto the title's timeline.
fn track(timed: &Timed, zero_ns: i64, timescale: Timescale, time: &dyn Fn(i64) -> i64) -> Track {
    let packets = timed.packets.iter().map(|p| Packet { pts: time(p.pts), ..*p }).collect();
    Track {
        stream_id: timed.found.stream_id.clone(),
        caps: timed.caps.to_string(),
        codec: codec_name(&timed.caps),
        timescale,
        access: if timed.direct { Access::Direct } else { Access::Demuxer { zero_ns } },
        packets,
        end: time(timed.end),
    }
}

fn video_track(source: &Path, timed: &Timed, zero_ns: i64) -> Result<VideoTrack, Refusal> {
    let zero = Timescale::NANOSECONDS.convert(zero_ns, timed.timescale);
    let begin = timed.packets.iter().filter(|p| p.shown).map(|p| p.pts).min().unwrap_or(0).max(zero);
    let moved = Timed {
        packets: timed
            .packets
            .iter()
            .map(|p| Packet { pts: if p.shown { p.pts.max(begin) } else { p.pts } - zero, ..*p })
            .collect(),
        end: timed.end - zero,
        found: timed.found.clone(),
        caps: timed.caps.clone(),
        avcc: timed.avcc.clone(),
        ..*timed
    };
    let shown = track(&moved, zero_ns, moved.timescale, &|t| t).shown();
    let (timescale, exact, convert) = rate::grid_of(&shown, moved.end, moved.timescale, moved.direct);
    let track = track(&moved, zero_ns, timescale, &*convert);
    let track = Arc::new(track);
    let probe = probe(source, &track, &timed.caps, &shown)?;
    let caps = probe.caps().ok_or_else(|| undecodable(&track.codec))?;
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| undecodable(&track.codec))?;
    let (width, height) = (info.width(), info.height());
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(refuse(
            RefusalCode::TooLarge,
            format!("pictures of {width}x{height} are larger than {MOST_PIXELS} pixels"),
        ));
    }
    if width < FEWEST_PIXELS || height < FEWEST_PIXELS {
        return Err(refuse(
            RefusalCode::Damaged,
            format!("pictures of {width}x{height} are smaller than {FEWEST_PIXELS} pixels"),
        ));
    }
    let par = info.par();
    let positive = |n: i32| u32::try_from(n).unwrap_or(1).max(1);
    let keys_are_idr =
        timed.avcc.is_some() && keys_are_idr(source, &track) && coded_size_is(source, &track, &shown, (width, height));
    Ok(VideoTrack {
        width,
        height,
        pixel_aspect: (positive(par.numer()), positive(par.denom())),
        rotation: timed.found.rotation,
        rate: exact,
        colour: colour(&info),
        is_8bit_420: info.format() == gst_video::VideoFormat::I420 && media_type(&timed.caps) == "video/x-h264",
        interlaced: info.interlace_mode() != gst_video::VideoInterlaceMode::Progressive,
        avcc: timed.avcc.clone(),
        keys_are_idr,
        track: Arc::unwrap_or_clone(track),
    })
}

fn audio_track(source: &Path, timed: &Timed, zero_ns: i64) -> Result<AudioTrack, Refusal> {
    let zero = Timescale::NANOSECONDS.convert(zero_ns, timed.timescale);
    let provisional = Arc::new(track(timed, zero_ns, timed.timescale, &|t| t - zero));
    let shown: Vec<Shown> = provisional.shown();
    let probe = probe(source, &provisional, &timed.caps, &shown)?;
    let raw = probe.caps().and_then(|c| c.structure(0)).ok_or_else(|| undecodable(&provisional.codec))?;
    let number = |key: &str| raw.get::<i32>(key).ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let (Some(rate), Some(channels)) = (number("rate"), number("channels")) else {
        return Err(undecodable(&provisional.codec));
    };
    if rate > MOST_SAMPLE_RATE || channels > 16 {
        let message =
            format!("sound of {channels} channels at {rate} Hz is more than 16 channels at {MOST_SAMPLE_RATE} Hz");
        return Err(refuse(RefusalCode::TooLarge, message));
    }
    let scale = Timescale::new(rate).ok_or_else(|| undecodable(&provisional.codec))?;
    let old = provisional.timescale;
    let packets = provisional.packets.iter().map(|p| Packet { pts: old.convert(p.pts, scale), ..*p }).collect();
    let end = old.convert(provisional.end, scale);
    let aac_lc_config = if timed.direct && old == scale { aac_lc_config(&timed.caps, rate, channels) } else { None };
    let language = timed.found.language.clone().unwrap_or_else(|| "und".to_owned());
    let track = Track { timescale: scale, packets, end, ..Arc::unwrap_or_clone(provisional) };
    Ok(AudioTrack { track, rate, channels, language, label: Label::default(), aac_lc_config })
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
    refuse(RefusalCode::Damaged, format!("the {codec} track cannot be decoded: the file is damaged"))
}

fn no_decoder(codec: &str) -> Refusal {
    let message = format!(
        "no decoder for {codec} is installed: gstreamer1.0-libav and gstreamer1.0-plugins-bad bring most; convert the file otherwise"
    );
    refuse(RefusalCode::UnsupportedCodec, message)
}

/// Decodes until the first frame comes out.
fn probe(source: &Path, track: &Arc<Track>, caps: &gst::Caps, shown: &[Shown]) -> Result<gst::Sample, Refusal> {
    if !media_type(caps).ends_with("/x-raw") && decoder_for(caps).is_none() {
        return Err(no_decoder(&track.codec));
    }
    let first = shown.first().map_or(0, |s| s.packet);
    let start = (0..=first).rev().find(|&i| track.packets[i].key).unwrap_or(0);
    let range: Range<usize> = start..(first.max(start) + PROBE_PACKETS).min(track.packets.len());
    let chain = if media_type(caps).starts_with("audio/") { "audio/x-raw" } else { "video/x-raw" };
    let mut decoder = Decoder::open(source, track, range, i64::MIN, chain)
        .map_err(|e| refuse(RefusalCode::UnsupportedCodec, e.to_string()))?;
    decoder.next().map(|raw| raw.sample).ok_or_else(|| undecodable(&track.codec))
}

/// Does the bitstream itself say this size? A container may cut columns off that a player of the bare stream would show.
fn coded_size_is(source: &Path, track: &Track, shown: &[Shown], size: (u32, u32)) -> bool {
    let Ok(mut caps) = track.caps.parse::<gst::Caps>() else { return false };
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.remove_fields(["width", "height"]);
    }
    let bare = Arc::new(Track { caps: caps.to_string(), ..track.clone() });
    let probed = probe(source, &bare, &caps, shown).ok();
    let info = probed.as_ref().and_then(|p| p.caps()).and_then(|c| gst_video::VideoInfo::from_caps(c).ok());
    info.is_some_and(|info| (info.width(), info.height()) == size)
}

/// Does every packet marked as a key frame hold an IDR picture?
fn keys_are_idr(source: &Path, track: &Track) -> bool {
    use std::os::unix::fs::FileExt;
    let Ok(file) = std::fs::File::open(source) else { return false };
    track.packets.iter().filter(|p| p.key).all(|packet| {
        let (mut at, end) = (packet.offset, packet.offset + u64::from(packet.size));
        let mut head = [0; 5];
        while at + 5 <= end && file.read_exact_at(&mut head, at).is_ok() {
            match head[4] & 31 {
                5 => return true,
                1..=4 => return false,
                _ => at += 4 + u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]])),
            }
        }
        false
    })
}

/// Colour code points of ISO/IEC 23091-2.
fn colour(info: &gst_video::VideoInfo) -> Colour {
    let colorimetry = info.colorimetry();
    let code = |n: u32| u8::try_from(n).unwrap_or(2);
    Colour {
        primaries: code(colorimetry.primaries().to_iso()),
        transfer: code(colorimetry.transfer().to_iso()),
        matrix: code(colorimetry.matrix().to_iso()),
        full_range: colorimetry.range() == gst_video::VideoColorRange::Range0_255,
    }
}
