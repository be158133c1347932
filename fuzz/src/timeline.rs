//! Titles of every kind: frame rates fixed and variable, groups of pictures open and closed, edit lists, offsets, several
//! tracks of sound and text. Holds what the design says of a title's timeline (`docs/ARCHITECTURE.md`, promises 1 and 3), and
//! that a title whose numbers no film has is refused and leads to nothing worse.

use arbitrary::{Result, Unstructured};
use matinee::media::{
    Access, AudioSource, AudioTrack, Colour, Crop, Cue, Grid, Index, Label, Ladder, Packet, Plan, PlanError, Rate,
    Refresh, Rendition, RenditionKind, Rotation, TextTrack, Timescale, Track, VideoSource, VideoTrack, decimate, plan,
};

use super::planned::planned;

/// Samples of an AAC frame.
const AAC_FRAME: u64 = 1024;
/// No segment is shorter, seconds, unless the title is.
const SHORTEST: f64 = 0.5;
/// Passthrough may have segments of one and a half times the wished length.
const LONGEST_PASSED: f64 = 6.0;
/// Longest segment where every frame is short: the wished length, its tolerance, and a tail that was too short alone.
const LONGEST: f64 = 5.5;
/// No title is longer, seconds.
const MOST_SECONDS: i64 = 80 * 3600;
/// A side of a picture that any decoder of H.264 may be asked for, pixels.
const MOST_SIDE: u32 = 16_384;

/// Tries some bytes as choices.
pub fn run(data: &[u8]) {
    // Too few choices make a title of nothing, which is tried by the first input.
    let _ = tried(&mut Unstructured::new(data));
}

fn tried(u: &mut Unstructured) -> Result<()> {
    if u.ratio(1, 4)? {
        let index = odd(u)?;
        drop(planned(&index));
        return Ok(());
    }
    let index = film(u)?;
    let ladder = Ladder::default();
    match plan(&index, &ladder) {
        Ok(plan) => {
            holds(&index, &plan);
            assert_eq!(planned(&index).as_ref(), Some(&plan), "the same whenever it is asked");
            let kept = postcard::to_stdvec(&plan).expect("a plan is kept");
            assert_eq!(postcard::from_bytes(&kept).as_ref(), Ok(&plan), "and found again");
        }
        Err(PlanError::NothingToShow) => {
            let sound = index.audio.iter().any(|a| a.track.start().is_some());
            let pictures = index.video.iter().any(|v| v.track.start().is_some());
            assert!(!sound && !pictures, "there is something to show");
        }
        Err(error) => panic!("a film has no plan: {error}"),
    }
    Ok(())
}

/// A title as inspection makes them.
fn film(u: &mut Unstructured) -> Result<Index> {
    let video = u.ratio(7, 8)?.then(|| video(u)).transpose()?;
    let tracks = u.int_in_range(0..=3)?;
    let audio = (0..tracks).map(|_| sound(u, video.as_ref())).collect::<Result<_>>()?;
    let tracks = u.int_in_range(0..=2)?;
    let text = (0..tracks).map(|_| text(u)).collect::<Result<_>>()?;
    Ok(Index { container: "video/quicktime".into(), video, audio, text, skipped: Vec::new() })
}

fn video(u: &mut Unstructured) -> Result<VideoTrack> {
    let (timescale, times, rate, end) = if u.arbitrary()? { fixed(u)? } else { variable(u)? };
    let mut track = track(timescale, Vec::new(), end);
    track.packets = decoded(u, &times)?;
    if u.ratio(1, 4)? {
        track.access = Access::Demuxer { zero_ns: 0, delay_ns: None };
    }
    if u.ratio(1, 8)? && !track.packets.is_empty() {
        track.refreshes.push(Refresh { from: 0, whole: u.int_in_range(1..=40)? });
    }
    let (width, height) = (u.int_in_range(2..=4096)?, u.int_in_range(16..=4096)?);
    let crop = u.ratio(1, 8)?.then_some(Crop { left: 0, top: 0, width, height });
    let rotation = *u.choose(&[Rotation::None, Rotation::None, Rotation::Clockwise, Rotation::Transpose])?;
    let pixel_aspect = *u.choose(&[(1, 1), (1, 1), (64, 45), (1, 2), (0, 1)])?;
    Ok(VideoTrack {
        track,
        width,
        height,
        crop,
        pixel_aspect,
        rotation,
        rate,
        colour: Colour { primaries: 1, transfer: *u.choose(&[1, 1, 16, 18])?, matrix: 1, full_range: u.arbitrary()? },
        peak_nits: None,
        is_8bit_420: !u.ratio(1, 8)?,
        interlaced: u.ratio(1, 8)?,
        avcc: u.ratio(3, 4)?.then(|| vec![1, 100, 0, 40]),
        keys_are_idr: !u.ratio(1, 8)?,
    })
}

type Times = (u32, Vec<i64>, Option<Rate>, i64);

/// Frames of one rate, some of which may be missing.
fn fixed(u: &mut Unstructured) -> Result<Times> {
    let known = [(24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (50, 1), (60_000, 1001), (120, 1), (1, 1), (1, 10)];
    let (num, den) = *u.choose(&known)?;
    let frame = i64::from(den) * u.int_in_range(1..=1000)?;
    let timescale = u32::try_from(i64::from(num) * frame / i64::from(den)).expect("at most 60 million");
    let start = if u.ratio(1, 4)? { i64::from(u.int_in_range(0..=500_u16)?) * frame } else { 0 };
    let count = i64::from(u.int_in_range(1..=4000_u16)?);
    Ok((timescale, (0..count).map(|n| start + n * frame).collect(), Rate::new(num, den), start + count * frame))
}

/// Frames of any length: a few kinds of steps, over and over.
fn variable(u: &mut Unstructured) -> Result<Times> {
    let timescale = *u.choose(&[1, 24, 600, 1000, 12_800, 90_000, 10_000_000])?;
    let steps: Vec<(u32, u8)> = (0..u.int_in_range(1..=12)?)
        .map(|_| Ok((u.int_in_range(0..=600_000)?, u.arbitrary()?)))
        .collect::<Result<_>>()?;
    let (mut at, mut times) = (0_i64, Vec::new());
    for (milliseconds, times_over) in steps.into_iter().cycle().take(usize::from(u.int_in_range(1..=24_u8)?)) {
        for _ in 0..=times_over {
            if at > MOST_SECONDS * i64::from(timescale) {
                break;
            }
            times.push(at);
            // No file says that a picture stands for more ticks than 32 bits hold.
            at += (i64::from(milliseconds) * i64::from(timescale) / 1000).clamp(1, u32::MAX.into());
        }
    }
    Ok((timescale, times, None, at))
}

/// Packets in decode order: groups of pictures, in which some wait for a later one; an edit list may hide either end.
fn decoded(u: &mut Unstructured, times: &[i64]) -> Result<Vec<Packet>> {
    let (group, reordered, open) = (u.int_in_range(1..=300)?, u.int_in_range(0..=3)?, u.ratio(1, 4)?);
    let (hidden, size) = (u.int_in_range(0..=9)?, u.int_in_range(1..=60_000)?);
    let mut packets = Vec::with_capacity(times.len());
    for (first, pictures) in times.chunks(group).enumerate() {
        let packet = |n: usize, pts| Packet {
            pts,
            shown: first > 0 || n >= hidden || times.len() <= hidden,
            key: n == 0,
            offset: 0,
            size,
        };
        let mut numbered: Vec<Packet> = pictures.iter().enumerate().map(|(n, &pts)| packet(n, pts)).collect();
        // Each of a few pictures is decoded behind the one that is shown after them all.
        let from = usize::from(!open || first == 0).min(numbered.len());
        numbered[from..].chunks_mut(reordered + 1).for_each(|few| few.rotate_right(1));
        packets.extend(numbered);
    }
    Ok(packets)
}

fn sound(u: &mut Unstructured, video: Option<&VideoTrack>) -> Result<AudioTrack> {
    let rate = *u.choose(&[48_000, 44_100, 8_000, 22_050, 96_000, 11_111, 192_000])?;
    let frames = match video {
        // As long as the picture, and a little more or less: what may be passed through.
        Some(video) if u.arbitrary()? => {
            let scale = Timescale::new(rate).expect("not zero");
            let end = video.track.timescale.convert(video.track.end, scale) / AAC_FRAME as i64;
            (end + i64::from(u.int_in_range(-20..=500_i16)?)).clamp(0, 200_000)
        }
        _ => i64::from(u.int_in_range(0..=4000_u16)?),
    };
    let start = if u.ratio(1, 4)? { i64::from(u.int_in_range(-2048..=i32::from(u16::MAX))?) } else { 0 };
    let size = u.int_in_range(1..=2000)?;
    let packet = |n: i64| Packet { pts: start + n * AAC_FRAME as i64, shown: true, key: true, offset: 0, size };
    let packets: Vec<Packet> = (0..frames).map(packet).map(|p| Packet { shown: p.pts >= 0, ..p }).collect();
    let end = (start + frames * AAC_FRAME as i64).max(0);
    Ok(AudioTrack {
        track: track(rate, packets, end),
        rate,
        channels: u.int_in_range(1..=8)?,
        language: (*u.choose(&["und", "de", "en-GB"])?).into(),
        label: label(u)?,
        aac_lc_config: u.arbitrary::<bool>()?.then(|| vec![17, 144]),
    })
}

fn text(u: &mut Unstructured) -> Result<TextTrack> {
    let cue = |u: &mut Unstructured| {
        let start_ms = u.int_in_range(0..=200_000)?;
        Ok(Cue {
            start_ms,
            end_ms: start_ms + u.int_in_range(1..=20_000)?,
            text: "Words".into(),
            settings: String::new(),
        })
    };
    let mut cues = (0..u.int_in_range(0..=9)?).map(|_| cue(u)).collect::<Result<Vec<Cue>>>()?;
    cues.sort_by_key(|cue| (cue.start_ms, cue.end_ms));
    Ok(TextTrack { codec: "SubRip".into(), language: "und".into(), label: label(u)?, cues })
}

fn label(u: &mut Unstructured) -> Result<Label> {
    Ok(Label { title: None, default: u.arbitrary()?, forced: u.arbitrary()?, hearing_impaired: u.arbitrary()? })
}

fn track(timescale: u32, packets: Vec<Packet>, end: i64) -> Track {
    Track {
        stream_id: "1".into(),
        caps: String::new(),
        codec: "H.264".into(),
        timescale: Timescale::new(timescale).expect("not zero"),
        starts_are_exact: true,
        access: Access::Direct,
        packets,
        refreshes: Vec::new(),
        joins: Vec::new(),
        end,
    }
}

/// What a worker may say that was taken over: a film, of which any number is another.
fn odd(u: &mut Unstructured) -> Result<Index> {
    let mut index = film(u)?;
    for _ in 0..u.int_in_range(1..=6)? {
        let number = if u.arbitrary()? { i64::from(u.arbitrary::<i32>()?) } else { u.arbitrary()? };
        let small = number as u32;
        if let Some(video) = &mut index.video {
            let packets = video.track.packets.len();
            match u.int_in_range(0..=9)? {
                0 => video.width = small,
                1 => video.height = small,
                2 => video.pixel_aspect = (small, u.arbitrary()?),
                3 => video.rate = Some(Rate { num: small, den: u.arbitrary()? }),
                4 => video.track.end = number,
                5 => video.track.timescale = Timescale::new(small).unwrap_or(Timescale::NANOSECONDS),
                6 if packets > 0 => {
                    video.track.packets[number.unsigned_abs() as usize % packets].pts = u.arbitrary()?
                }
                7 => video.track.packets.iter_mut().for_each(|p| p.size = small),
                8 => video.track.packets.iter_mut().for_each(|p| p.pts = p.pts.wrapping_mul(number)),
                9 => video.avcc = Some(number.to_be_bytes().to_vec()),
                _ => {}
            }
        }
        for audio in &mut index.audio {
            match u.int_in_range(0..=9)? {
                0 => audio.rate = small,
                1 => audio.channels = small,
                2 => audio.track.end = number,
                3 => audio.track.timescale = Timescale::new(small).unwrap_or(Timescale::NANOSECONDS),
                4 => audio.track.packets.iter_mut().for_each(|p| p.pts = p.pts.wrapping_add(number)),
                5 => audio.track.packets.iter_mut().for_each(|p| p.size = small),
                _ => {}
            }
        }
        for cue in index.text.iter_mut().flat_map(|track| &mut track.cues).take(1) {
            (cue.start_ms, cue.end_ms) = (number.cast_unsigned(), u.arbitrary()?);
        }
    }
    Ok(index)
}

/// Everything that is so of every title.
fn holds(index: &Index, plan: &Plan) {
    let mut names: Vec<&str> = plan.renditions.iter().map(|r| r.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]), "one name is two renditions: {names:?}");
    for rendition in &plan.renditions {
        rises(&rendition.grid);
        assert!(rendition.bandwidth > 0 && rendition.average_bandwidth.is_none_or(|a| a <= rendition.bandwidth));
    }
    let film = index.video.as_ref().filter(|v| v.track.start().is_some());
    assert_eq!(plan.video().next().is_some(), film.is_some(), "pictures are offered where there are some");
    if let Some(film) = film {
        pictures(film, plan);
    }
    for (rendition, audio) in plan.audio() {
        let track = &index.audio[audio.track as usize];
        assert!(track.track.start().is_some(), "what is not heard is not offered");
        heard(track, rendition, plan);
    }
    let offered = plan.audio().map(|(_, a)| a.track).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(offered, index.audio.iter().filter(|a| a.track.start().is_some()).count());
    assert_eq!(plan.text().count(), index.text.len());
    for (rendition, _) in plan.text() {
        let grid = &rendition.grid;
        assert_eq!(grid.cuts()[0].at, 0, "words count from the title's zero");
        let frames: Vec<u64> = grid.cuts().iter().map(|c| c.frame).collect();
        assert_eq!(frames, (0..=u64::from(grid.segments())).collect::<Vec<_>>(), "a document each");
        for n in 0..grid.segments() {
            assert!(u32::try_from(grid.ticks(n)).is_ok(), "segment {n} of {} ticks is no sample", grid.ticks(n));
        }
    }
}

/// Boundaries strictly rise, and what is asked of a grid is said by its boundaries.
fn rises(grid: &Grid) {
    let cuts = grid.cuts();
    assert!(cuts.windows(2).all(|w| w[0].at < w[1].at && w[0].frame < w[1].frame), "{cuts:?}");
    let (first, last) = (cuts[0], cuts[cuts.len() - 1]);
    let all = |of: fn(&Grid, u32) -> u64| (0..grid.segments()).map(|n| of(grid, n)).sum::<u64>();
    assert_eq!((all(Grid::frames), all(Grid::ticks)), (last.frame - first.frame, last.at - first.at));
    assert_eq!((grid.segment(grid.segments()), first.frame), (None, 0));
}

fn pictures(film: &VideoTrack, plan: &Plan) {
    let shown: Vec<i64> = film.track.shown().iter().map(|s| s.at).collect();
    let scale = film.track.timescale;
    let (first, _) = plan.video().next().expect("as was asked");
    let boundaries: Vec<u64> = first.grid.cuts().iter().map(|c| c.at).collect();
    assert_eq!(boundaries[0], shown[0].cast_unsigned(), "begins with the first picture");
    assert_eq!(boundaries[boundaries.len() - 1], film.track.end.cast_unsigned(), "and ends with the last");
    // All of a title share the boundaries of what is passed through.
    let at_keys = plan.video().any(|(_, video)| matches!(video.source, VideoSource::Passthrough { .. }));
    for (rendition, video) in plan.video() {
        let grid = &rendition.grid;
        assert_eq!(grid.timescale(), scale);
        assert_eq!(grid.cuts().iter().map(|c| c.at).collect::<Vec<_>>(), boundaries, "all change at the same moments");
        let (passed, least) = match video.source {
            VideoSource::Passthrough { .. } => (true, 0),
            VideoSource::Encode { min_frame_ticks, .. } => (false, min_frame_ticks),
        };
        let even = video.width % 2 == 0 && video.height % 2 == 0;
        assert!(even && video.width.max(video.height) <= MOST_SIDE, "{}x{}", video.width, video.height);
        assert!(video.audio.as_ref().is_none_or(|name| plan.rendition(name).is_some()), "sound that is not there");
        for n in 0..grid.segments() {
            let (from, to) = grid.segment(n).expect("counted");
            // Exactly the frames of the source that lie in it, or those that are left where some are dropped.
            let within = shown.partition_point(|t| t.cast_unsigned() < from.at)
                ..shown.partition_point(|t| t.cast_unsigned() < to.at);
            assert_eq!(decimate(&shown[within.clone()], least).len() as u64, grid.frames(n), "frames of segment {n}");
            assert_eq!(shown[within.start].cast_unsigned(), from.at, "segment {n} begins with a frame");
            if least == 0 {
                assert_eq!(from.frame, within.start as u64);
            }
            lasts(scale.seconds(grid.ticks(n).cast_signed()), n, grid, &shown[within], at_keys, scale);
        }
        if passed {
            passes(film, grid);
        }
    }
}

/// A segment is neither very short nor, as far as its frames allow, very long.
fn lasts(seconds: f64, n: u32, grid: &Grid, shown: &[i64], at_keys: bool, scale: Timescale) {
    let tick = scale.seconds(1);
    assert!(seconds + tick >= SHORTEST || grid.segments() == 1, "segment {n} lasts {seconds}");
    let end = grid.cuts()[n as usize + 1].at.cast_signed();
    let times = || shown.iter().copied().chain([end]);
    let longest = times().zip(times().skip(1)).map(|(a, b)| scale.seconds(b - a)).fold(0.0, f64::max);
    let most = if at_keys { LONGEST_PASSED } else { LONGEST + 2.0 * longest };
    assert!(seconds <= most + 2.0 * tick || longest > LONGEST, "segment {n} lasts {seconds} of frames up to {longest}");
}

/// Every segment of packets as they are can be decoded on its own, and nothing of the source is lost.
fn passes(film: &VideoTrack, grid: &Grid) {
    let shown = film.track.shown();
    let mut all = Vec::new();
    for n in 0..grid.segments() {
        let (from, to) = grid.segment(n).expect("counted");
        let mut packets: Vec<usize> = shown[from.frame as usize..to.frame as usize].iter().map(|s| s.packet).collect();
        assert!(film.track.packets[packets[0]].key, "segment {n} begins with a key frame");
        packets.sort_unstable();
        assert_eq!(packets[0], shown[from.frame as usize].packet, "which is decoded first");
        assert_eq!(packets[packets.len() - 1] - packets[0] + 1, packets.len(), "nothing lies between");
        all.extend(packets);
    }
    assert!(all.windows(2).all(|w| w[0] < w[1]), "once each, in order");
    assert_eq!(all.len(), shown.len());
}

fn heard(track: &AudioTrack, rendition: &Rendition, plan: &Plan) {
    let grid = &rendition.grid;
    assert!(matches!(rendition.kind, RenditionKind::Audio(_)));
    assert!(grid.cuts().iter().all(|c| c.at == c.frame * AAC_FRAME), "boundaries lie between frames");
    let RenditionKind::Audio(audio) = &rendition.kind else { unreachable!("as asserted") };
    if let AudioSource::Passthrough { first_packet, .. } = audio.source {
        let packets = &track.track.packets[first_packet as usize..];
        let last = grid.cuts()[grid.cuts().len() - 1].frame;
        assert_eq!((packets.len() as u64, packets[0].pts), (last, 0), "every packet from zero on");
    }
    if let Some((film, _)) = plan.video().next() {
        assert!(grid.end_seconds() + 0.11 >= film.grid.end_seconds(), "sound ends before the picture");
        let pairs = film.grid.cuts().iter().zip(grid.cuts()).skip(1);
        // Within the picture boundaries are nearest to the picture's.
        for (picture, sound) in pairs.take((film.grid.segments() as usize).saturating_sub(1)) {
            let exact = film.grid.timescale().convert(picture.at.cast_signed(), grid.timescale());
            let off = (exact - sound.at.cast_signed()).unsigned_abs();
            assert!(off <= AAC_FRAME / 2 + 1, "a boundary is off by {off} samples");
        }
    }
}
