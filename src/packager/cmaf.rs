//! Segments as CMAF chunks (ISO/IEC 23000-19 §7.3.2.3): each a `moof` and its `mdat`, the first preceded by `styp`.

use bytes::Bytes;
use mp4_atom::{BufMut, Encode, FourCC, Mfhd, Styp, Tfdt, Tfhd, Trun, TrunEntry};

use crate::media::Sample;

use super::TRACK_ID;

/// A chunk closes at this many coded bytes even if it is short, so that a source with absurd samples can neither fill
/// memory nor outgrow the 32-bit size of an `mdat`.
const MAX_CHUNK_BYTES: usize = 16 << 20;

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
    /// For segment `segment` of a rendition, which begins at tick `start` of its grid; `chunk_ticks` is about half a
    /// second.
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
        let full = self.waiting_ticks >= self.chunk_ticks || self.waiting_bytes >= MAX_CHUNK_BYTES;
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
