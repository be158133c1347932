//! Pictures of MPEG-4 Visual, which call them video object planes: what their headers say of when they are shown.

use super::keys::{Bits, Place, after_code};

/// One of which nothing is coded is no longer, where its header cannot be read as far as to say so: its start code and some
/// bits. A picture between others that all stand still has about twice as much.
const MOST_UNCODED_BYTES: usize = 8;

/// `vop_coding_type` of a B-VOP, ISO/IEC 14496-2 table 6-20.
const BETWEEN: u32 = 2;

/// When the picture of a packet that begins like this is shown.
pub fn place(head: &[u8], length: usize, increment_bits: Option<u32>) -> Place {
    let Some(plane) = after_code(head, 0xB6) else {
        return if length <= MOST_UNCODED_BYTES { Place::Nothing } else { Place::Unknown };
    };
    let is_coded = || increment_bits.and_then(|bits| is_coded(plane, bits)).unwrap_or(length > MOST_UNCODED_BYTES);
    match plane.first().map(|byte| u32::from(byte >> 6)) {
        Some(BETWEEN) => Place::Between,
        _ if is_coded() => Place::InTurn,
        _ => Place::Nothing,
    }
}

/// `vop_coded`, §6.2.5.
fn is_coded(plane: &[u8], increment_bits: u32) -> Option<bool> {
    let mut bits = Bits::new(plane);
    let _kind = bits.take(2)?;
    while bits.take(1)? == 1 {}
    let _marker = bits.take(1)?;
    bits.take(increment_bits)?;
    let _marker = bits.take(1)?;
    Some(bits.take(1)? == 1)
}

/// How many bits the time of a picture has within its second, by the header of a stream (§6.2.3).
pub fn increment_bits(bytes: &[u8]) -> Option<u32> {
    const LAYERS: std::ops::RangeInclusive<u8> = 0x20..=0x2F;
    const EXTENDED_ASPECT: u32 = 15;
    const BUFFER_BITS: u32 = 79;
    let at = bytes.windows(4).position(|w| w[..3] == [0, 0, 1] && LAYERS.contains(&w[3]))?;
    let mut bits = Bits::new(bytes.get(at + 4..)?);
    let _random_access_and_kind = bits.take(9)?;
    if bits.take(1)? == 1 {
        let _version_and_priority = bits.take(7)?;
    }
    if bits.take(4)? == EXTENDED_ASPECT {
        bits.take(16)?;
    }
    if bits.take(1)? == 1 {
        let _chroma_and_delay = bits.take(3)?;
        if bits.take(1)? == 1 {
            bits.take(BUFFER_BITS)?;
        }
    }
    let is_rectangular = bits.take(2)? == 0;
    let _marker = bits.take(1)?;
    let resolution = bits.take(16)?.max(2);
    is_rectangular.then_some(u32::BITS - (resolution - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 25 to a second: kind, no whole second, marker, five bits of time, marker, coded or not.
    fn plane(kind: u8, is_coded: bool, length: usize) -> Place {
        let mut packet = vec![0, 0, 1, 0xB6, kind << 6 | 0b01_0000, 0b0100_0000 | u8::from(is_coded) << 5];
        packet.resize(length, 0xFF);
        place(&packet, length, Some(5))
    }

    /// B-pictures of a black beginning were taken for none, and all that followed came too early.
    #[test]
    fn a_small_picture_is_one_unless_it_says_that_nothing_of_it_is_coded() {
        assert_eq!([7, 8, 18, 90].map(|length| plane(2, true, length)), [Place::Between; 4]);
        assert_eq!([7, 18].map(|length| plane(0, true, length)), [Place::InTurn; 2]);
        assert_eq!([8, 18, 90].map(|length| plane(1, true, length)), [Place::InTurn; 3]);
        assert_eq!([7, 8, 18].map(|length| plane(1, false, length)), [Place::Nothing; 3]);
        // Xvid puts one of these where a key frame was packed together with the picture before it.
        assert_eq!([6, 7].map(|length| plane(0, false, length)), [Place::Nothing; 2]);
        let unread = |length: usize| place(&[0, 0, 1, 0xB6, 0x50], length, None);
        assert_eq!([5, 8, 9].map(unread), [Place::Nothing, Place::Nothing, Place::InTurn]);
        assert_eq!((place(&[0x7F], 1, Some(5)), place(&[0x7F], 90, Some(5))), (Place::Nothing, Place::Unknown));
    }

    #[test]
    fn the_header_of_a_stream_says_how_many_bits_a_time_has() {
        // As FFmpeg writes it for 25 pictures a second: kind 1, an identifier, square, a control, rectangular, marker, 25.
        let bits = "0 00000001 1 0001 001 0001 1 01 1 0 00 1 0000000000011001 1";
        let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        let body = bits.chunks(8).map(|eight| (0..8).fold(0, |sum, n| sum << 1 | eight.get(n).unwrap_or(&0)));
        let header: Vec<u8> = [0, 0, 1, 0, 0, 0, 1, 0x20].into_iter().chain(body).collect();
        assert_eq!(increment_bits(&header), Some(5));
        assert_eq!(increment_bits(&header[..9]), None);
    }
}
