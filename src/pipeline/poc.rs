//! Picture order counts of H.264: when a picture is shown, of a container that does not say (Rec. ITU-T H.264 §8.2.1).

use super::keys::{Bits, unescaped};

/// Bytes of a slice that hold what is read of its header.
pub(super) const LONGEST_HEADER: usize = 64;
/// `nal_unit_type` of a slice of an IDR picture, Rec. ITU-T H.264 table 7-1.
pub(super) const IDR: u8 = 5;

/// What of a sequence parameter set one needs to find the count in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    has_colour_planes: bool,
    frame_number_bits: u32,
    /// Bits of the count's lower part; `None` if it is not written down.
    count_bits: Option<u32>,
    pub(super) frames_only: bool,
}

/// Follows the pictures of a stream.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    sps: Option<Sps>,
    /// What the count wrapped around so far, and its lower part, in the last picture that others refer to.
    high: i64,
    low: i64,
}

impl Counter {
    /// The count of a picture, and whether it is an IDR picture, from which counts start anew. `None` if it does not say.
    pub fn count<'a>(&mut self, units: impl Iterator<Item = &'a [u8]>) -> Option<(i64, bool)> {
        for unit in units {
            let (header, body) = unit.split_first()?;
            match header & 31 {
                7 => self.sps = sps(&unescaped(body)).or(self.sps),
                kind @ (1 | 2 | 5) => {
                    let (sps, is_idr) = (self.sps?, kind == IDR);
                    let low = i64::from(lower_part(&unescaped(&body[..body.len().min(LONGEST_HEADER)]), sps, is_idr)?);
                    let is_reference = header & 0x60 != 0;
                    return Some((self.whole(low, 1 << sps.count_bits?, is_idr, is_reference), is_idr));
                }
                _ => {}
            }
        }
        None
    }

    /// §8.2.1.1.
    fn whole(&mut self, low: i64, range: i64, is_idr: bool, is_reference: bool) -> i64 {
        let (mut high, before) = if is_idr { (0, 0) } else { (self.high, self.low) };
        if low < before && before - low >= range / 2 {
            high += range;
        } else if low > before && low - before > range / 2 {
            high -= range;
        }
        if is_reference {
            (self.high, self.low) = (high, low);
        }
        high + low
    }
}

/// True if no picture of a stream with this sequence parameter set is made of fields.
pub fn holds_frames_only(set: &[u8]) -> bool {
    set.split_first().and_then(|(_, body)| sps(&unescaped(body))).is_some_and(|sps| sps.frames_only)
}

/// §7.3.2.1.1.
pub(super) fn sps(body: &[u8]) -> Option<Sps> {
    /// Profiles that say which chroma they have.
    const WITH_CHROMA: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
    let mut bits = Bits::new(body);
    let profile = bits.take(8)?;
    bits.take(16)?;
    let _id = bits.exp_golomb()?;
    let mut has_colour_planes = false;
    if WITH_CHROMA.contains(&profile) {
        let chroma = bits.exp_golomb()?;
        has_colour_planes = chroma == 3 && bits.take(1)? == 1;
        let _depths = (bits.exp_golomb()?, bits.exp_golomb()?);
        let _bypass = bits.take(1)?;
        if bits.take(1)? == 1 {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.take(1)? == 1 {
                    pass_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    let width = |bits: &mut Bits| Some(bits.exp_golomb()?.saturating_add(4)).filter(|width| *width <= 16);
    let frame_number_bits = width(&mut bits)?;
    let count_bits = match bits.exp_golomb()? {
        0 => Some(width(&mut bits)?),
        1 => {
            let _always_zero = bits.take(1)?;
            let _offsets = (bits.exp_golomb()?, bits.exp_golomb()?);
            for _ in 0..bits.exp_golomb()?.min(255) {
                bits.exp_golomb()?;
            }
            None
        }
        _ => None,
    };
    let _references = bits.exp_golomb()?;
    let _gaps = bits.take(1)?;
    let _size = (bits.exp_golomb()?, bits.exp_golomb()?);
    Some(Sps { has_colour_planes, frame_number_bits, count_bits, frames_only: bits.take(1)? == 1 })
}

/// §7.3.2.1.1.1.
fn pass_scaling_list(bits: &mut Bits, length: usize) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..length {
        if next != 0 {
            let code = i64::from(bits.exp_golomb()?);
            // `se(v)`, §9.1.1.
            let delta = if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 };
            next = (last + delta).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// A slice header, §7.3.3, as far as its frame number; and that.
pub(super) fn frame_number(bits: &mut Bits, sps: Sps) -> Option<u32> {
    let _macroblock_kind_set = (bits.exp_golomb()?, bits.exp_golomb()?, bits.exp_golomb()?);
    if sps.has_colour_planes {
        bits.take(2)?;
    }
    bits.take(sps.frame_number_bits)
}

/// True for the bottom field and false for the top one, of a slice header behind its frame number; `None` for a frame.
pub(super) fn is_bottom_field(bits: &mut Bits, sps: Sps) -> Option<Option<bool>> {
    if sps.frames_only || bits.take(1)? == 0 {
        return Some(None);
    }
    Some(Some(bits.take(1)? == 1))
}

/// `pic_order_cnt_lsb` of a slice header, §7.3.3.
fn lower_part(body: &[u8], sps: Sps, is_idr: bool) -> Option<u32> {
    let mut bits = Bits::new(body);
    frame_number(&mut bits, sps)?;
    is_bottom_field(&mut bits, sps)?;
    if is_idr {
        bits.exp_golomb()?;
    }
    bits.take(sps.count_bits?)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bits as they are written in the specification's tables, spaces left out.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        bits.chunks(8).map(|eight| (0..8).fold(0, |sum, n| sum << 1 | eight.get(n).unwrap_or(&0))).collect()
    }

    pub(in crate::pipeline) fn unit(header: u8, bits: &str) -> Vec<u8> {
        [vec![header], bytes(bits)].concat()
    }

    #[test]
    fn counts_are_read_whole_across_their_wrapping_and_start_anew_with_an_idr_picture() {
        // Main profile; sets, frame numbers of 4 bits, counts of 4 bits, one reference, 1x1 macroblocks, frames only.
        let set = unit(0x67, "01001101 00000000 00011110 1 1 1 1 010 0 1 1 1");
        // Macroblock 0, a type, set 0, frame number, then the identifier of an IDR picture, and the count.
        let slice = |count: u8| unit(0x41, &format!("1 00110 1 0000 {count:04b} 1"));
        let idr = unit(0x65, "1 00111 1 0000 1 0000 1");
        let mut counter = Counter::default();
        assert_eq!(counter.count([&slice(4)[..]].into_iter()), None, "nothing is known of the stream yet");
        assert_eq!(counter.count([&set[..], &idr[..]].into_iter()), Some((0, true)));
        let counts: Vec<i64> = [6, 2, 4, 12, 8, 10, 2, 14, 0]
            .into_iter()
            .filter_map(|low| Some(counter.count([&slice(low)[..]].into_iter())?.0))
            .collect();
        assert_eq!(counts, [6, 2, 4, 12, 8, 10, 18, 14, 16]);
        // After 16 one to which nobody refers is far ahead; the next wraps against 16 and not against that.
        let disposable = |count: u8| [&[0x01], &slice(count)[1..]].concat();
        assert_eq!(counter.count([&disposable(7)[..]].into_iter()), Some((23, false)));
        assert_eq!(counter.count([&slice(15)[..]].into_iter()), Some((15, false)));
        assert_eq!(counter.count([&idr[..]].into_iter()), Some((0, true)));
    }

    #[test]
    fn scaling_lists_are_passed_over_and_sets_that_are_cut_short_are_none() {
        // High profile, 4:2:0 of 8 bits, the first list of eight present and flat after its first entry.
        let list = format!("1 1 {} 0000000", "1".repeat(16));
        let set = format!("01100100 00000000 00011110 1 010 1 1 0 {list} 1 1 1 010 0 1 1 0");
        let read = sps(&bytes(&set)).unwrap();
        assert_eq!((read.count_bits, read.frame_number_bits, read.frames_only), (Some(4), 4, false));
        assert_eq!(sps(&bytes(&set[..60])), None);
    }

    proptest! {
        #[test]
        fn any_bits_are_a_set_and_a_slice_or_none(set: Vec<u8>, slice: Vec<u8>, profile in prop::sample::select(vec![66, 77, 100, 244])) {
            let set = [&[0x67, profile, 0, 30][..], &set].concat();
            let mut counter = Counter::default();
            for header in [0x41, 0x65, 0x01] {
                let slice = [&[header], &slice[..]].concat();
                let _ = counter.count([&set[..], &slice].into_iter());
            }
        }
    }
}
