//! Times of ADPCM as RIFF files have it. GStreamer's demuxers of AVI and WAV count the bytes of such sound as if a block held
//! half as many samples as it does, or forget those in its head. So times are counted in blocks, and what the demuxer calls a
//! packet is kept as a pace, by which packets are found again.

/// Times that lie within this of a straight line lie on it, and those of another demuxer are right, nanoseconds.
const SLACK_NS: i64 = 1_500_000;
/// Bits of a sample.
const BITS: i32 = 4;

/// How sound is coded in blocks of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Length of one.
    bytes: u64,
    /// What it holds of each channel.
    samples: u64,
    /// Samples per second.
    rate: u64,
}

/// How the times of a demuxer go by bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many nanoseconds ...
    pub ns: u64,
    /// ... are so many bytes.
    pub bytes: u64,
}

impl Pace {
    /// What so many bytes are, nanoseconds.
    pub fn ns_at(self, bytes: u64) -> i64 {
        let ns = u128::from(bytes) * u128::from(self.ns) / u128::from(self.bytes.max(1));
        i64::try_from(ns).unwrap_or(i64::MAX)
    }
}

impl Blocks {
    /// Of IMA's or Microsoft's ADPCM; `None` of anything else.
    pub fn of(caps: &gst::Caps) -> Option<Self> {
        let structure = caps.structure(0).filter(|s| s.name() == "audio/x-adpcm")?;
        let number = |key| structure.get::<i32>(key).ok().filter(|n| *n > 0);
        let (bytes, channels, rate) = (number("block_align")?, number("channels")?, number("rate")?);
        // Each begins with so many bytes and samples of each channel.
        let (head, first) = match structure.get::<&str>("layout").ok()? {
            "dvi" => (4, 1),
            "microsoft" => (7, 2),
            _ => return None,
        };
        let coded = bytes.checked_sub(channels.checked_mul(head)?).filter(|coded| *coded >= 0)?;
        let samples = coded.checked_mul(8)? / channels.checked_mul(BITS)? + first;
        let positive = |n: i32| u64::try_from(n).ok();
        Some(Self { bytes: positive(bytes)?, samples: positive(samples)?, rate: positive(rate)? })
    }

    /// Puts the times of packets of these lengths right, nanoseconds, and says how the demuxer gives them. `None` if they are
    /// right, or nothing that is understood.
    pub fn restamp(self, sizes: impl Iterator<Item = u32>, times: &mut [i64]) -> Option<Pace> {
        let places: Vec<u64> = sizes.scan(0, |at, size| Some(std::mem::replace(at, *at + u64::from(size)))).collect();
        let (&first, &last) = times.first().zip(times.last())?;
        let bytes = places.last().copied().filter(|at| *at > 0)?;
        let ns = u64::try_from(last.checked_sub(first)?).ok().filter(|ns| *ns > 0)?;
        let (said, right) = (Pace { ns, bytes }, self.pace());
        let is = |pace: Pace| {
            let off = |(at, time): (&u64, &i64)| time.saturating_sub(first).saturating_sub(pace.ns_at(*at));
            places.iter().zip(times.iter()).all(|both| off(both).saturating_abs() <= SLACK_NS)
        };
        if is(right) || !is(said) || places.iter().any(|at| at % self.bytes != 0) {
            return None;
        }
        for (time, at) in times.iter_mut().zip(&places) {
            *time = first.saturating_add(right.ns_at(*at));
        }
        Some(said)
    }

    /// How long its bytes are heard.
    fn pace(self) -> Pace {
        Pace { ns: self.samples * 1_000_000_000, bytes: self.bytes * self.rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(caps: &str) -> Option<Blocks> {
        Blocks::of(&caps.parse().unwrap())
    }

    fn ima() -> Blocks {
        Blocks { bytes: 1024, samples: 2041, rate: 48_000 }
    }

    #[test]
    fn blocks_hold_as_many_samples_as_their_headers_say() {
        gst::init().unwrap();
        let of = |layout: &str, channels: u32| {
            let caps = format!("audio/x-adpcm,layout={layout},rate=48000,channels={channels},block_align=1024");
            blocks(&caps).map(|blocks| blocks.samples)
        };
        // `wSamplesPerBlock` of what FFmpeg writes.
        assert_eq!([of("dvi", 1), of("dvi", 2), of("microsoft", 1)], [2041, 1017, 2036].map(Some));
        assert_eq!([of("microsoft", 2), of("quicktime", 2)], [Some(1012), None]);
        assert_eq!(blocks("audio/x-adpcm,layout=dvi,rate=8000,channels=2,block_align=4"), None);
    }

    /// A mono block of 1024 bytes was timed as 1020 samples, and blocks were heard over each other.
    #[test]
    fn times_are_counted_in_blocks_and_packets_are_found_by_the_pace_of_the_demuxer() {
        let sizes = [4096, 4096, 4096, 1024];
        let said = [5, 85_000_421, 170_000_836, 255_001_251];
        let mut times = said;
        let pace = ima().restamp(sizes.into_iter(), &mut times).unwrap();
        assert_eq!(times, [5, 170_083_338, 340_166_671, 510_250_005]);
        let found: Vec<i64> = (0..4).map(|n| 5 + pace.ns_at(n * 4096)).collect();
        assert!(found.iter().zip(said).all(|(found, said)| (found - said).abs() <= 1), "{found:?}");
    }

    #[test]
    fn times_that_are_right_or_go_by_something_else_stay() {
        for times in [[0, 43_000_000, 85_000_000], [0, 21_000_000, 85_000_000], [7, 7, 7]] {
            let mut stay = times;
            assert_eq!(ima().restamp([1024; 3].into_iter(), &mut stay), None);
            assert_eq!(stay, times);
        }
        let mut odd = [0, 20_000_000, 40_000_000];
        assert_eq!(ima().restamp([1000; 3].into_iter(), &mut odd), None, "packets that are no blocks");
        assert_eq!(ima().restamp(std::iter::empty(), &mut []), None);
    }
}
