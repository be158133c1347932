//! Segments as CMAF chunks (ISO/IEC 23000-19 §7.3.2.3): each a `moof` and its `mdat`, the first preceded by `styp`.

use bytes::Bytes;
use mp4_atom::{BufMut, Encode, FourCC, Mfhd, Styp, Tfdt, Tfhd, Trun, TrunEntry};

use crate::media::Sample;

use super::TRACK_ID;

/// A chunk closes at this many coded bytes even if it is short, so that a source with absurd samples can neither fill
/// memory nor outgrow the 32-bit size of an `mdat`.
const MAX_CHUNK_BYTES: usize = 16 << 20;

/// The first chunk of a segment closes after this part of the length of the others: somebody waits for it, and a header costs
/// them little.
const FIRST_PART: u64 = 4;

/// Sequence numbers set aside for each segment; they rise from chunk to chunk and from segment to segment.
const SEQUENCE_STRIDE: u32 = 4096;

/// `sample_depends_on` 2: on no other (ISO/IEC 14496-12 §8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// `sample_depends_on` 1: on others; `sample_is_non_sync_sample`.
const NON_SYNC: u32 = 0x0101_0000;

/// Turns the samples of one segment into its bytes, chunk by chunk. The segment is the concatenation of all chunks;
/// where they are cut depends on the samples alone.
#[derive(Debug)]
pub struct Chunker {
    segment: u32,
    chunk: u32,
    chunk_ticks: u64,
    /// Decode time of the first waiting sample, ticks.
    decode_time: u64,
    waiting: Vec<Sample>,
    waiting_ticks: u64,
    waiting_bytes: usize,
}

impl Chunker {
    /// For segment `segment` of a rendition, which begins at tick `start` of its grid; `chunk_ticks`, the length of all chunks
    /// but the first and the last, is about half a second.
    #[must_use]
    pub fn new(segment: u32, start: u64, chunk_ticks: u64) -> Self {
        let (waiting, waiting_ticks, waiting_bytes) = (Vec::new(), 0, 0);
        Self { segment, chunk: 0, chunk_ticks, decode_time: start, waiting, waiting_ticks, waiting_bytes }
    }

    /// Takes the next sample in decode order; returns a chunk once that much is in it.
    pub fn push(&mut self, sample: Sample) -> Option<Bytes> {
        self.waiting_ticks += u64::from(sample.duration);
        self.waiting_bytes += sample.data.len();
        self.waiting.push(sample);
        let ticks = if self.chunk == 0 { self.chunk_ticks.div_ceil(FIRST_PART) } else { self.chunk_ticks };
        let full = self.waiting_ticks >= ticks || self.waiting_bytes >= MAX_CHUNK_BYTES;
        if full { self.close() } else { None }
    }

    /// The last chunk, or `None` if nothing waits.
    pub fn finish(mut self) -> Option<Bytes> {
        self.close()
    }

    fn close(&mut self) -> Option<Bytes> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(256 + 16 * self.waiting.len() + self.waiting_bytes);
        self.write_header(&mut out).expect("the header of a bounded chunk fits the 32 bits of its boxes");
        for sample in self.waiting.drain(..) {
            out.extend_from_slice(&sample.data);
        }
        self.chunk += 1;
        self.decode_time += self.waiting_ticks;
        (self.waiting_ticks, self.waiting_bytes) = (0, 0);
        Some(out.into())
    }

    /// Everything up to the first coded byte.
    fn write_header(&self, out: &mut Vec<u8>) -> mp4_atom::Result<()> {
        if self.chunk == 0 {
            let [msdh, cmfs] = [b"msdh", b"cmfs"].map(FourCC::from);
            Styp { major_brand: msdh, minor_version: 0, compatible_brands: vec![msdh, cmfs] }.encode(out)?;
        }
        let moof = out.len();
        let sequence_number = self.segment.wrapping_mul(SEQUENCE_STRIDE).wrapping_add(self.chunk).wrapping_add(1);
        let (tfhd, trun) = self.runs();
        let mut data_offset_at = 0;
        out.encode_atom(b"moof", |out| {
            Mfhd { sequence_number }.encode(out)?;
            out.encode_atom(b"traf", |out| {
                tfhd.encode(out)?;
                Tfdt { base_media_decode_time: self.decode_time }.encode(out)?;
                // Behind the box header, version and flags, and the sample count (§8.8.8.2).
                data_offset_at = out.len() + 16;
                trun.encode(out)
            })
        })?;
        let size_of = |bytes: usize| u32::try_from(bytes).map_err(|_| mp4_atom::Error::TooLarge(b"mdat".into()));
        let data_offset = size_of(out.len() - moof + 8)?;
        out.set_slice(data_offset_at, &data_offset.to_be_bytes());
        size_of(8 + self.waiting_bytes)?.encode(out)?;
        b"mdat".encode(out)
    }

    /// What all samples share goes into `tfhd` once: at 64 kb/s, full audio entries would add a tenth to the rate.
    fn runs(&self) -> (Tfhd, Trun) {
        let flags = |s: &Sample| if s.sync { SYNC } else { NON_SYNC };
        let (first, last) = (&self.waiting[0], &self.waiting[self.waiting.len() - 1]);
        let one_duration = self.waiting.iter().all(|s| s.duration == first.duration);
        let one_flag = self.waiting[1..].iter().all(|s| s.sync == last.sync);
        let composed = self.waiting.iter().any(|s| s.composition != 0);
        let tfhd = Tfhd {
            track_id: TRACK_ID,
            default_base_is_moof: true,
            default_sample_duration: one_duration.then_some(first.duration),
            default_sample_flags: one_flag.then_some(flags(last)),
            ..Tfhd::default()
        };
        let entry = |(i, s): (usize, &Sample)| TrunEntry {
            duration: (!one_duration).then_some(s.duration),
            size: Some(u32::try_from(s.data.len()).unwrap_or(u32::MAX)),
            // A flag on the first entry alone becomes `first-sample-flags`.
            flags: (!one_flag || (i == 0 && s.sync != last.sync)).then(|| flags(s)),
            cts: composed.then_some(i64::from(s.composition)),
        };
        let entries: Vec<TrunEntry> = self.waiting.iter().enumerate().map(entry).collect();
        (tfhd, Trun { data_offset: Some(0), samples: entries.into() })
    }
}

#[cfg(test)]
mod tests {
    use mp4_atom::{Any, DecodeMaybe};
    use proptest::prelude::*;

    use super::super::testing::{Real, audio_rendition, be32, boxes, find, one_segment, real, run, video_rendition};
    use super::super::{Tally, init};
    use super::*;

    fn chunks(segment: u32, start: u64, chunk_ticks: u64, samples: &[Sample]) -> Vec<Bytes> {
        let mut chunker = Chunker::new(segment, start, chunk_ticks);
        let mut made: Vec<Bytes> = samples.iter().filter_map(|s| chunker.push(s.clone())).collect();
        made.extend(chunker.finish());
        made
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let data = prop::collection::vec(any::<u8>(), 1..40).prop_map(Bytes::from);
        let duration = prop_oneof![Just(512_u32), 1..5_000_u32];
        let composition = prop_oneof![Just(0_i32), -3_000..3_000_i32];
        (duration, composition, any::<bool>(), data).prop_map(|(duration, composition, sync, data)| Sample {
            duration,
            composition,
            sync,
            data,
        })
    }

    /// Reads a segment by the letter of ISO/IEC 14496-12 §8.8, without the crate that wrote it.
    fn read(segment: &[u8]) -> (Vec<u32>, Vec<(u64, Sample)>) {
        let (mut sequences, mut samples, mut at) = (Vec::new(), Vec::new(), 0);
        for (kind, body) in boxes(segment) {
            if &kind == b"moof" {
                sequences.push(be32(find(body, &[b"mfhd"]).unwrap(), 4));
                let mut defaults = find(body, &[b"traf", b"tfhd"]).unwrap();
                let tfhd_flags = be32(defaults, 0);
                assert_eq!(tfhd_flags & !0x28, 0x02_0000, "default-base-is-moof and no more than the two defaults");
                defaults = &defaults[8..];
                let mut default = |bit: u32| {
                    (tfhd_flags & bit != 0).then(|| defaults.split_off(..4).map(|four| be32(four, 0)).unwrap())
                };
                let (duration, flags) = (default(0x08), default(0x20));
                let tfdt = find(body, &[b"traf", b"tfdt"]).unwrap();
                assert_eq!(tfdt[0], 1, "64-bit decode time");
                let mut time = u64::from_be_bytes(tfdt[4..12].try_into().unwrap());
                let trun = find(body, &[b"traf", b"trun"]).unwrap();
                assert_eq!(trun[0], 1, "signed composition offsets");
                let trun_flags = be32(trun, 0) & 0xff_ffff;
                let mut fields = trun[4..].chunks_exact(4).map(|four| be32(four, 0));
                let mut field = |present: bool| present.then(|| fields.next().unwrap());
                let count = field(true).unwrap();
                let mut data = at + field(trun_flags & 1 != 0).unwrap() as usize;
                let first_flags = field(trun_flags & 4 != 0);
                for i in 0..count {
                    let duration = field(trun_flags & 0x100 != 0).or(duration).unwrap();
                    let size = field(trun_flags & 0x200 != 0).unwrap() as usize;
                    let own_flags = field(trun_flags & 0x400 != 0).or(first_flags.filter(|_| i == 0));
                    let flags = own_flags.or(flags).unwrap();
                    let composition = field(trun_flags & 0x800 != 0).unwrap_or(0).cast_signed();
                    assert!(flags == SYNC || flags == NON_SYNC, "{flags:08x}");
                    let (sync, bytes) = (flags == SYNC, Bytes::copy_from_slice(&segment[data..data + size]));
                    samples.push((time, Sample { duration, composition, sync, data: bytes }));
                    time += u64::from(duration);
                    data += size;
                }
                assert_eq!(fields.next(), None, "nothing behind the last entry");
            }
            at += 8 + body.len();
        }
        (sequences, samples)
    }

    proptest! {
        #[test]
        fn every_sample_comes_out_as_it_went_in(
            samples in prop::collection::vec(sample(), 0..60),
            segment in 0..100_000_u32,
            start in prop_oneof![0..10_000_u64, Just(u64::from(u32::MAX) + 7)],
            chunk_ticks in 1..20_000_u64,
        ) {
            let made = chunks(segment, start, chunk_ticks, &samples);
            prop_assert_eq!(&made, &chunks(segment, start, chunk_ticks, &samples));
            let whole = made.concat();
            let kinds: Vec<[u8; 4]> = boxes(&whole).iter().map(|(k, _)| *k).collect();
            let mut expected = [b"moof", b"mdat"].map(|k| *k).repeat(made.len());
            if !samples.is_empty() {
                expected.insert(0, *b"styp");
            }
            prop_assert_eq!(kinds, expected);
            let (sequences, found) = read(&whole);
            let mut time = start;
            for (sample, (at, out)) in samples.iter().zip(&found) {
                prop_assert_eq!((sample, time), (out, *at));
                time += u64::from(sample.duration);
            }
            prop_assert_eq!(samples.len(), found.len());
            let numbers: Vec<u32> = (0..made.len()).map(|i| segment * SEQUENCE_STRIDE + i as u32 + 1).collect();
            prop_assert_eq!(sequences, numbers);
            // All but the last are full, and none closed later than it had to.
            for (i, chunk) in made.iter().enumerate() {
                let own = read(chunk).1;
                let ticks: u64 = own.iter().map(|(_, s)| u64::from(s.duration)).sum();
                let full = if i == 0 { chunk_ticks.div_ceil(FIRST_PART) } else { chunk_ticks };
                prop_assert!(ticks >= full || i + 1 == made.len());
                prop_assert!(ticks - u64::from(own.last().unwrap().1.duration) < full);
            }
        }
    }

    #[test]
    fn another_parser_finds_the_same_chunks() {
        let sample = |sync| Sample { duration: 512, composition: -512, sync, data: Bytes::from_static(b"coded") };
        let whole = chunks(3, 90_000, 1_024, &[sample(true), sample(false), sample(false)]).concat();
        let (mut rest, mut atoms) = (&whole[..], Vec::new());
        while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
            atoms.push(atom);
        }
        assert!(rest.is_empty());
        let [Any::Styp(_), Any::Moof(moof), Any::Mdat(mdat), Any::Moof(second), Any::Mdat(_)] = &atoms[..] else {
            panic!("{atoms:?}")
        };
        assert_eq!(mdat.data, b"coded", "the first is short");
        assert_eq!(moof.traf[0].trun[0].samples.get(0).unwrap().cts, Some(-512));
        assert_eq!(second.traf[0].tfdt.as_ref().unwrap().base_media_decode_time, 90_000 + 512);
    }

    #[test]
    fn half_a_second_of_audio_costs_four_bytes_a_frame() {
        let frame = Sample { duration: 1024, composition: 0, sync: true, data: Bytes::from_static(&[0; 170]) };
        let made = chunks(1, 0, 24_000, &vec![frame; 6 + 24]);
        assert_eq!(made.len(), 2, "a short one and a full one");
        assert!(made[1].len() - 24 * 170 < 24 * 4 + 150, "{} bytes", made[1].len() - 24 * 170);
    }

    #[test]
    fn a_source_with_absurd_samples_does_not_fill_memory() {
        let huge = Sample { duration: 1, composition: 0, sync: true, data: Bytes::from(vec![0; MAX_CHUNK_BYTES]) };
        let mut chunker = Chunker::new(0, 0, 1_000_000);
        assert!(chunker.push(huge).is_some());
        assert!(chunker.finish().is_none());
    }

    /// Each packet's times and size, and a digest of everything decoded.
    fn probe(file: &str, stream: &str) -> (Vec<String>, String) {
        let entries = "packet=pts,dts,duration,size,flags";
        let list = run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv", file]);
        let digest =
            run("ffmpeg", &["-v", "error", "-i", file, "-map", stream, "-fps_mode", "passthrough", "-f", "md5", "-"]);
        (list.lines().map(str::to_owned).collect(), digest)
    }

    fn ffmpeg_reads_it_like_its_own(encode: &[&str], stream: &str, repackage: impl Fn(&Real) -> Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (dir.path().join("theirs.mp4"), dir.path().join("ours.mp4"));
        let real = real(&theirs, encode);
        std::fs::write(&ours, repackage(&real)).unwrap();
        let [theirs, ours] = [theirs, ours].map(|f| probe(f.to_str().unwrap(), stream));
        assert_eq!(ours.0.len(), real.samples.len());
        assert_eq!(ours, theirs);
    }

    #[test]
    fn ffmpeg_plays_repackaged_h264_with_b_frames() {
        let source =
            ["-i", "testsrc=d=2:s=320x180:r=25", "-c:v", "libx264", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p"];
        ffmpeg_reads_it_like_its_own(&source, "0:v", |real| {
            let half = real.samples.len() / 2;
            assert!(real.samples[half].sync && real.samples.iter().any(|s| s.composition < 0));
            let mut bytes = Vec::new();
            let mut at = 0;
            for (segment, samples) in (0..).zip([&real.samples[..half], &real.samples[half..]]) {
                let ticks = samples.iter().map(|s| u64::from(s.duration)).sum();
                let grid = one_segment(real.timescale, at, samples.len() as u64, ticks);
                let rendition = video_rendition(grid, 320, 180);
                if at == 0 {
                    bytes.extend(init(&rendition, &real.config).unwrap());
                }
                let mut tally = Tally::new(&rendition, 0).unwrap();
                samples.iter().for_each(|s| tally.push(s).unwrap());
                tally.finish().unwrap();
                bytes.extend(chunks(segment, at, u64::from(real.timescale / 2), samples).concat());
                at += ticks;
            }
            bytes
        });
    }

    #[test]
    fn ffmpeg_plays_repackaged_aac() {
        let source = ["-i", "sine=d=2:r=48000", "-ac", "2", "-c:a", "aac", "-b:a", "128k"];
        ffmpeg_reads_it_like_its_own(&source, "0:a", |real| {
            let ticks = real.samples.iter().map(|s| u64::from(s.duration)).sum();
            let rendition = audio_rendition(one_segment(48_000, 0, real.samples.len() as u64, ticks), "und");
            let mut tally = Tally::new(&rendition, 0).unwrap();
            real.samples.iter().for_each(|s| tally.push(s).unwrap());
            tally.finish().unwrap();
            let mut bytes = init(&rendition, &real.config).unwrap().to_vec();
            bytes.extend(chunks(0, 0, 24_000, &real.samples).concat());
            bytes
        });
    }
}
