//! Segments of sound: decoded, mixed to the rendition's channels and encoded anew, or AAC frames passed through.
//!
//! AAC frame `j` of a rendition covers its samples `[1024 j, 1024 (j + 1))`. A segment's encode starts eight frames early,
//! and the packets of those frames are dropped together with the encoder's own priming packet: by then its filter bank
//! and its psychoacoustic model agree with those of the encode that made the segment before.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gst::prelude::*;

use super::aac::{Aac, FRAME, PRIMING, raw_caps};
use super::decode::{Alive, Decoder};
use super::encode::Encoder;
use super::lineup::{beginning, lined_up, placed};
use super::mix::Mix;
use super::packets::Reader;
use super::template::Template;
use super::{Error, Finished, Job, Output};
use crate::media::{AudioRendition, AudioTrack, Packet, Sample, Timescale, Track, gcd};

/// Loudest sample that is taken in earnest; full scale is 1.
const LOUDEST: f32 = 8.0;
/// Frames encoded and dropped before a segment.
const WARM_UP: i64 = 8;
/// Packets decoded before the first one that is needed: decoders, too, start from nothing.
const PREROLL_PACKETS: usize = 8;
/// A packet that decoding can start at is looked for so far before them. Of AAC in broadcasts there is one every second or so,
/// of TrueHD every 128 at most.
const MOST_BACK: usize = 512;
/// A block whose time is off by more than this part of a second does not follow on the one before.
const GAP_PART: i64 = 50;
/// Packets at the end of a track that are decoded to learn where it ends.
const LAST_PACKETS: usize = 24;
/// Samples around what is resampled, so that the filter has settled.
const RESAMPLE_MARGIN: i64 = 2048;
/// Sound that is coded at less than this part of the track's rate is left out: it would become very much of it.
const SLOWEST_PART: u32 = 32;
/// After so many blocks the watchdog is told that work goes on, and it is looked whether it is still wanted.
const BLOCKS_A_LIFE_SIGN: usize = 16;

/// An audio track of an open source.
pub struct Audio {
    source: PathBuf,
    track: Arc<Track>,
    rate: u32,
}

/// Sound between two sample positions, interleaved.
struct Pcm {
    samples: Vec<f32>,
    /// Samples, per channel, that no packet covered.
    missing: i64,
}

/// What a packet decodes to, mixed and at the track's rate.
struct Block {
    /// Position of its first sample.
    at: i64,
    samples: Vec<f32>,
    /// Samples per second as it is coded.
    coded_rate: u32,
}

impl Block {
    /// How many samples each channel has.
    fn frames(&self, channels: u32) -> i64 {
        i64::try_from(self.samples.len() / channels.max(1) as usize).unwrap_or(0)
    }
}

impl Audio {
    /// Prepares; nothing runs yet.
    pub fn new(source: &Path, audio: &AudioTrack) -> Self {
        Self { source: source.to_owned(), track: Arc::new(audio.track.clone()), rate: audio.rate }
    }

    /// Makes a segment by decoding and encoding.
    pub fn encode(
        &self,
        job: Job,
        template: &Template,
        audio: &AudioRendition,
        bitrate: u32,
        emit: &mut dyn FnMut(Output),
    ) -> Result<Finished, Error> {
        let (from, to) = frames(job)?;
        let start = (from - WARM_UP) * FRAME;
        let mut alive = || {
            emit(Output::Progress(0));
            job.check()
        };
        let pcm = self.sound(start, (to + 1) * FRAME, audio, &mut alive)?;
        alive()?;
        let skip = PRIMING + usize::try_from(WARM_UP).unwrap_or(0);
        let packets = skip..skip + usize::try_from(to - from).unwrap_or(0);
        let (config, frames) = Aac { template, audio, bitrate, bandwidth: job.rendition.bandwidth }.frames(
            &pcm.samples,
            packets,
            &mut || job.check(),
        )?;
        let samples = frames.into_iter().map(|data| sample(Bytes::from(data))).collect();
        emit(Output::Samples(samples));
        Ok(Finished { config, bridged: u32::try_from(pcm.missing / FRAME).unwrap_or(u32::MAX) })
    }

    /// Makes a segment of the source's own frames.
    pub fn pass(
        &self,
        job: Job,
        config: &[u8],
        first_packet: u64,
        emit: &mut dyn FnMut(Output),
    ) -> Result<Finished, Error> {
        let (from, to) = frames(job)?;
        let first = usize::try_from(first_packet).unwrap_or(0);
        let packets = first + usize::try_from(from).unwrap_or(0)..first + usize::try_from(to).unwrap_or(0);
        let mut reader = Reader::open(&self.source, &self.track, packets.start)?;
        let mut samples = Vec::with_capacity(packets.len());
        for _ in packets {
            let (_, buffer) = reader.next()?.ok_or_else(|| Error::Failed("the source ended early".into()))?;
            let map = buffer.map_readable().map_err(|e| Error::Failed(e.to_string()))?;
            samples.push(sample(Bytes::copy_from_slice(map.as_slice())));
        }
        emit(Output::Samples(samples));
        Ok(Finished { config: config.to_vec(), bridged: 0 })
    }

    /// Decoded sound between two sample positions of the rendition. Before the title's zero and where the source has
    /// none, it is silent.
    fn sound(&self, from: i64, to: i64, audio: &AudioRendition, alive: Alive) -> Result<Pcm, Error> {
        if audio.rate == self.rate {
            return self.decoded(from, to, audio.channels, alive);
        }
        let divisor = gcd(self.rate, audio.rate);
        let (per_in, per_out) = (i64::from(self.rate / divisor), i64::from(audio.rate / divisor));
        // Start where an input and an output sample coincide, or the phase of the resampler would differ by segment.
        let start = (from - RESAMPLE_MARGIN).div_euclid(per_out) * per_in;
        let end = ((to + RESAMPLE_MARGIN).div_euclid(per_out) + 1) * per_in;
        let input = self.decoded(start, end, audio.channels, alive)?;
        let output = resample(&input.samples, self.rate, audio.rate, audio.channels)?;
        let channels = audio.channels as usize;
        let skip = usize::try_from(from - start / per_in * per_out).unwrap_or(0) * channels;
        let mut samples = output.get(skip..).unwrap_or_default().to_vec();
        samples.resize(usize::try_from(to - from).unwrap_or(0) * channels, 0.0);
        Ok(Pcm { samples, missing: input.missing * per_out / per_in })
    }

    /// The same at the source's own rate.
    fn decoded(&self, from: i64, to: i64, channels: u32, alive: Alive) -> Result<Pcm, Error> {
        let scale = Timescale::new(self.rate).ok_or_else(|| Error::Failed("a sample rate of zero".into()))?;
        let position = |ticks: i64| self.track.timescale.convert(ticks, scale);
        let packets = &self.track.packets;
        let width = channels as usize;
        let length = usize::try_from(to - from).unwrap_or(0);
        let mut samples = vec![0.0; length * width];
        let first =
            start(packets, packets.partition_point(|p| position(p.pts) <= from).saturating_sub(1 + PREROLL_PACKETS));
        let end = (packets.partition_point(|p| position(p.pts) < to) + PREROLL_PACKETS).min(packets.len());
        // Before its first packet nothing is missing: a track may begin late. What an edit list hides before it is not heard.
        let starts = self.track.start().map_or(0, position).max(0);
        let (begins, ends) = (from.max(starts), to.min(position(self.track.end)));
        let mut covered = 0;
        if begins < ends && first < end {
            let blocks = self.blocks(first..end, channels, alive)?;
            let said: Vec<(i64, i64)> = blocks.iter().map(|block| (block.at, block.frames(channels))).collect();
            for (Block { samples: block, .. }, at) in
                blocks.iter().zip(lined_up(&said, i64::from(self.rate) / GAP_PART))
            {
                let frames = block.chunks_exact(width);
                for (here, frame) in (at..).zip(frames).filter(|(here, _)| (begins..ends).contains(here)) {
                    let target = usize::try_from(here - from).unwrap_or(0) * width;
                    samples[target..target + width].copy_from_slice(frame);
                    covered += 1;
                }
            }
        }
        Ok(Pcm { samples, missing: ((ends - begins).max(0) - covered).max(0) })
    }

    /// What a range of packets decodes to.
    ///
    /// The times that GStreamer gives are not used where there is a block for every packet, nor where [`placed`] finds them
    /// shifted.
    fn blocks(&self, range: Range<usize>, channels: u32, alive: Alive) -> Result<Vec<Block>, Error> {
        let scale = Timescale::new(self.rate).ok_or_else(|| Error::Failed("a sample rate of zero".into()))?;
        let position = |ticks: i64| self.track.timescale.convert(ticks, scale);
        let chain = "audioconvert ! audio/x-raw,format=F32LE,layout=interleaved";
        let mut decoder = Decoder::open(&self.source, &self.track, range.clone(), i64::MIN, chain)?;
        // A demuxer that has fallen silent may have been waited for, and its decoder may be.
        alive()?;
        let mut mix: Option<(gst::Caps, Mix)> = None;
        let mut coded_rate = self.rate;
        let mut blocks = Vec::with_capacity(range.len());
        while let Some(raw) = decoder.next(alive)? {
            if blocks.len() % BLOCKS_A_LIFE_SIGN == 0 {
                alive()?;
            }
            let Some(buffer) = raw.sample.buffer() else { continue };
            let map = buffer.map_readable().map_err(|e| Error::Failed(e.to_string()))?;
            let values = map.chunks_exact(4).map(|v| earnest(f32::from_le_bytes([v[0], v[1], v[2], v[3]])));
            // A stream may change its channels and its rate midway.
            let caps = raw.sample.caps_owned().ok_or_else(|| Error::Failed("sound without caps".into()))?;
            let mix = match mix.take().filter(|(of, _)| *of == caps) {
                Some(known) => mix.insert(known),
                None => {
                    let (inputs, mask) = layout(&caps);
                    coded_rate = rate_of(&caps).unwrap_or(self.rate);
                    mix.insert((caps, Mix::new(inputs, mask, channels)))
                }
            };
            let samples = mix.1.apply(&values.collect::<Vec<f32>>());
            blocks.push(Block { at: position(raw.at), samples, coded_rate });
        }
        for run in blocks.chunk_by_mut(|one, next| one.coded_rate == next.coded_rate) {
            bring_to(self.rate, run, channels)?;
        }
        let said: Vec<i64> = blocks.iter().map(|block| block.at).collect();
        let is_beginning = !self.track.packets[..range.start].iter().any(|packet| packet.key);
        let packets: Vec<i64> = self.track.packets[range].iter().map(|packet| position(packet.pts)).collect();
        for (block, at) in blocks.iter_mut().zip(placed(&said, &packets, is_beginning)) {
            block.at = at;
        }
        if is_beginning && let [first, second, ..] = &mut blocks[..] {
            first.at = beginning(first.at, first.frames(channels), second.at);
        }
        Ok(blocks)
    }
}

/// A sample that an encoder can take: floating point in a file may hold what is no number, or no loudness.
fn earnest(value: f32) -> f32 {
    if value.is_finite() { value.clamp(-LOUDEST, LOUDEST) } else { 0.0 }
}

/// What the last packets of a track decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Where the sound ends, in samples from the title's zero.
    pub end: i64,
    /// How many samples a packet has, if most have as many.
    pub block: Option<i64>,
}

/// How a track ends. `None` if its last packets decode to nothing.
pub fn ending(source: &Path, track: &Track, rate: u32) -> Option<Ending> {
    let audio = Audio { source: source.to_owned(), track: Arc::new(track.clone()), rate };
    let packets = track.packets.len();
    let first = start(&track.packets, packets.saturating_sub(LAST_PACKETS));
    let blocks = audio.blocks(first..packets, 1, &mut || Ok(())).ok()?;
    let last = blocks.iter().rev().find(|block| !block.samples.is_empty())?;
    let mut lengths: Vec<i64> = blocks.iter().map(|block| block.frames(1)).collect();
    lengths.sort_unstable();
    let middle = lengths[lengths.len() / 2];
    let are_alike = 2 * lengths.iter().filter(|length| **length == middle).count() > lengths.len();
    let is_usual = are_alike && middle > 0 && blocks.iter().all(|block| block.coded_rate == rate);
    Some(Ending { end: last.at.saturating_add(last.frames(1)), block: is_usual.then_some(middle) })
        .filter(|ending| ending.end > 0)
}

/// Where to begin in order to decode a packet and those behind it. What comes before the first packet that decoding can start at
/// is lost.
fn start(packets: &[Packet], wanted: usize) -> usize {
    let keys = |range: Range<usize>| range.filter(|&n| packets[n].key);
    let last = packets.len().min(wanted + 1);
    let before = keys(last.saturating_sub(MOST_BACK)..last).next_back();
    let is_start = || !packets[..last].iter().any(|packet| packet.key);
    before.or_else(|| is_start().then(|| keys(last..packets.len()).next())?).unwrap_or(wanted)
}

fn frames(job: Job) -> Result<(i64, i64), Error> {
    let segment = job.rendition.grid.segment(job.number);
    let (from, to) = segment.ok_or_else(|| Error::Failed(format!("there is no segment {}", job.number)))?;
    Ok((from.frame.cast_signed(), to.frame.cast_signed()))
}

fn sample(data: Bytes) -> Sample {
    Sample { duration: FRAME.unsigned_abs() as u32, composition: 0, sync: true, data }
}

/// Channels of decoded sound, and where their loudspeakers stand.
fn layout(caps: &gst::Caps) -> (usize, u64) {
    let Some(structure) = caps.structure(0) else { return (1, 0) };
    let channels = structure.get::<i32>("channels").ok().and_then(|n| usize::try_from(n).ok());
    (channels.unwrap_or(1).max(1), structure.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0))
}

/// Samples per second of decoded sound.
fn rate_of(caps: &gst::Caps) -> Option<u32> {
    let rate = caps.structure(0)?.get::<i32>("rate").ok()?;
    u32::try_from(rate).ok().filter(|rate| *rate > 0)
}

/// Brings blocks that follow on each other and are coded at one rate to the track's. Each keeps its part of the time.
fn bring_to(rate: u32, blocks: &mut [Block], channels: u32) -> Result<(), Error> {
    let coded = blocks.first().map_or(rate, |block| block.coded_rate);
    if coded == rate {
        return Ok(());
    }
    if coded < rate / SLOWEST_PART {
        blocks.iter_mut().for_each(|block| block.samples.clear());
        return Ok(());
    }
    let width = channels.max(1) as usize;
    let mut all: Vec<f32> = blocks.iter().flat_map(|block| block.samples.iter().copied()).collect();
    // What the filter still holds at the end comes out with what follows.
    all.resize(all.len() + RESAMPLE_MARGIN.unsigned_abs() as usize * width, 0.0);
    let output = resample(&all, coded, rate, channels)?;
    let place = |frames: usize| frames * rate as usize / coded as usize * width;
    let mut frames = 0;
    for block in blocks {
        let begin = place(frames);
        frames += block.samples.len() / width;
        block.samples = output.get(begin..place(frames).min(output.len())).unwrap_or_default().to_vec();
    }
    Ok(())
}

/// Resamples a whole stretch at once.
fn resample(samples: &[f32], from: u32, to: u32, channels: u32) -> Result<Vec<f32>, Error> {
    let launch = format!(
        "appsrc name=src format=time max-bytes=0 ! audioresample quality=8 ! audio/x-raw,format=F32LE,rate={to} \
         ! appsink name=sink sync=false"
    );
    let pipeline = gst::parse::launch(&launch).map_err(|e| Error::Failed(format!("resampler: {e}")))?;
    let pipeline = pipeline.downcast().map_err(|_| Error::Failed("resampler: not a pipeline".into()))?;
    let encoder = Encoder::start(pipeline, &raw_caps(from, channels))?;
    let mut buffer = gst::Buffer::from_mut_slice(samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>());
    buffer.make_mut().set_pts(gst::ClockTime::ZERO);
    encoder.push(buffer)?;
    encoder.end()?;
    let mut output = Vec::new();
    while let Some(block) = encoder.take()? {
        output.extend(block.data.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::run;

    /// Each segment began where its own first block says, which Matroska and FLV round to milliseconds: some samples were
    /// lost or heard twice at each seam.
    #[test]
    fn sound_that_is_decoded_in_parts_is_that_of_one_decode() {
        let folder = tempfile::tempdir().unwrap();
        for (name, rate, chain) in [
            ("aac.mkv", 48_000, "avenc_aac ! aacparse ! matroskamux"),
            ("aac.flv", 44_100, "avenc_aac ! aacparse ! flvmux"),
            ("ac3.mkv", 44_100, "avenc_ac3 ! ac3parse ! matroskamux"),
            ("aac.ts", 44_100, "avenc_aac ! aacparse ! mpegtsmux"),
        ] {
            let path = folder.path().join(name);
            let launch = format!(
                "audiotestsrc num-buffers=300 samplesperbuffer=1024 freq=440 volume=0.5 ! audio/x-raw,rate={rate},channels=1 \
                 ! audioconvert ! {chain} ! filesink location={}",
                path.display()
            );
            run(&launch);
            let index = crate::pipeline::inspect(&path, &[], &mut |_| ()).unwrap();
            let audio = Audio::new(&path, &index.audio[0]);
            let sound = |from, to| audio.decoded(from, to, 1, &mut || Ok(())).unwrap().samples;
            let whole = sound(0, 300_000);
            let parts: Vec<f32> = (0..10).flat_map(|n| sound(n * 30_000, (n + 1) * 30_000)).collect();
            let off = |n: usize| (whole[n] - parts[n]).abs();
            let worst = (0..parts.len()).max_by(|a, b| off(*a).total_cmp(&off(*b))).unwrap();
            assert!(off(worst) < 0.001, "{name}: {} instead of {} at {worst}", parts[worst], whole[worst]);
        }
    }

    /// What came at another rate was heard at the wrong pitch, with holes.
    #[test]
    fn a_stream_that_changes_its_rate_keeps_its_pitch_and_has_no_holes() {
        let folder = tempfile::tempdir().unwrap();
        let part = |rate: u32| {
            let path = folder.path().join("part");
            let launch = format!(
                "audiotestsrc num-buffers=150 samplesperbuffer=1024 freq=440 volume=0.5 \
                 ! audio/x-raw,rate={rate},channels=1 ! audioconvert ! avenc_aac \
                 ! aacparse ! audio/mpeg,stream-format=adts ! filesink location={}",
                path.display()
            );
            run(&launch);
            std::fs::read(path).unwrap()
        };
        let path = folder.path().join("mixed.aac");
        for rates in [[48_000, 44_100], [44_100, 48_000]] {
            std::fs::write(&path, rates.map(part).concat()).unwrap();
            let index = crate::pipeline::inspect(&path, &[], &mut |_| ()).unwrap();
            let track = &index.audio[0];
            let audio = Audio::new(&path, track);
            let sound = |from, to| audio.decoded(from, to, 1, &mut || Ok(())).unwrap();
            let pcm = sound(0, track.track.end);
            assert_eq!((track.rate, pcm.missing / 128), (rates[0], 0));
            let seconds = |samples: usize| samples as f64 / f64::from(track.rate);
            let expected: f64 = rates.iter().map(|rate| 150.0 * 1024.0 / f64::from(*rate)).sum();
            // Of each part an encoder makes a packet or two more.
            let longer = seconds(pcm.samples.len()) - expected;
            assert!((0.0..0.2).contains(&longer), "{longer} s");
            let waves = |samples: &[f32]| samples.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
            for (n, second) in pcm.samples.chunks_exact(rates[0] as usize).enumerate() {
                // Where a part begins it is silent for a moment; the wrong pitch would be 404 or 479 Hz.
                assert!((405..=450).contains(&waves(second)), "second {n}: {} Hz", waves(second));
            }
            // Within the part of another rate, away from where the rates meet.
            let (from, to) = (4 * i64::from(rates[0]), 6 * i64::from(rates[0]));
            let middle = (from + to) / 2;
            let parts = [sound(from, middle).samples, sound(middle, to).samples].concat();
            let off = sound(from, to).samples.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // A sample at most: 2π · 440 / 44100 of half the full scale.
            assert!(off < 0.07, "{off}");
        }
    }

    #[test]
    fn what_is_no_sound_is_silence_and_no_encoder_sees_it() {
        let heard = [0.5, -1.5, f32::NAN, f32::INFINITY, -1e30].map(earnest);
        assert_eq!(heard, [0.5, -1.5, 0.0, 0.0, -LOUDEST]);
    }

    #[test]
    fn decoding_begins_where_it_can_before_what_is_wanted_and_what_comes_before_any_such_place_is_lost() {
        let packets = |keys: &[usize]| -> Vec<Packet> {
            let packet = |n: usize| Packet { pts: 0, shown: true, key: keys.contains(&n), offset: 0, size: 1 };
            (0..1000).map(packet).collect()
        };
        let starts = |keys: &[usize]| [0, 20, 39, 40, 999].map(|wanted| start(&packets(keys), wanted));
        assert_eq!(starts(&[7, 30, 40]), [7, 7, 30, 40, 999], "one that is too far away is none");
        assert_eq!(starts(&[]), [0, 20, 39, 40, 999]);
        assert_eq!(start(&[], 0), 0);
    }
}
