//! The little of H.264 the server needs: levels and codec strings. No bitstream is decoded here.

use super::Rate;

/// `MaxMBPS`, `MaxFS` and `MaxBR` (High profile, bits per second) of each level, Rec. ITU-T H.264 table.
const LEVELS: [(u8, u64, u64, u64); 16] = [
    (10, 1_485, 99, 80_000),
    (11, 3_000, 396, 240_000),
    (12, 6_000, 396, 480_000),
    (13, 11_880, 396, 960_000),
    (20, 11_880, 396, 2_500_000),
    (21, 19_800, 792, 5_000_000),
    (22, 20_250, 1_620, 5_000_000),
    (30, 40_500, 1_620, 12_500_000),
    (31, 108_000, 3_600, 17_500_000),
    (32, 216_000, 5_120, 25_000_000),
    (40, 245_760, 8_192, 25_000_000),
    (42, 522_240, 8_704, 62_500_000),
    (50, 589_824, 22_080, 168_750_000),
    (51, 983_040, 36_864, 300_000_000),
    (52, 2_073_600, 36_864, 300_000_000),
    (62, 16_711_680, 139_264, 800_000_000),
];

/// The lowest `level_idc` that allows this picture size, frame rate and bit rate.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "macroblocks per second fit by far")]
pub fn level_idc(width: u32, height: u32, rate: Rate, bits_per_second: u64) -> u8 {
    let blocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    let per_second = (blocks as f64 * rate.fps()).ceil() as u64;
    let fits = |l: &&(u8, u64, u64, u64)| l.1 >= per_second && l.2 >= blocks && l.3 >= bits_per_second;
    LEVELS.iter().find(fits).map_or(62, |l| l.0)
}

/// RFC 6381 parameter for High profile at a level.
#[must_use]
pub fn high_profile_codecs(level_idc: u8) -> String {
    format!("avc1.6400{level_idc:02X}")
}

/// What GStreamer's caps call a level: `4`, `4.2`.
#[must_use]
pub fn level_name(level_idc: u8) -> String {
    match (level_idc / 10, level_idc % 10) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part}"),
    }
}

/// Does a decoder for these codecs (RFC 6381) play the stream of this `avcC` record: has it the same profile, and a level no
/// higher? Constraints may be more than is said.
#[must_use]
pub fn is_within(avcc: &[u8], codecs: &str) -> bool {
    // `avc1.`, and two digits each for profile, constraints and level.
    let parts = |codecs: &str| Some((codecs.get(..7)?.to_owned(), codecs.get(9..)?.to_owned()));
    let found = codecs_of(avcc).as_deref().and_then(parts);
    found.zip(parts(codecs)).is_some_and(|(found, said)| found.0 == said.0 && found.1 <= said.1)
}

/// RFC 6381 parameter of an `avcC` record: profile, constraints and level as they stand there. `None` if it is too short.
#[must_use]
pub fn codecs_of(avcc: &[u8]) -> Option<String> {
    match avcc {
        [1, profile, constraints, level, ..] => Some(format!("avc1.{profile:02X}{constraints:02X}{level:02X}")),
        _ => None,
    }
}

/// The parameter sets of an `avcC` record (ISO/IEC 14496-15 §5.3.3.1), those of sequences first, and what follows them.
/// `None` if it is cut short.
#[must_use]
pub fn parameter_sets(avcc: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (mut sets, mut rest) = (Vec::new(), avcc.get(5..)?);
    for mask in [0x1F, 0xFF] {
        let (count, mut left) = rest.split_first()?;
        for _ in 0..count & mask {
            let (length, behind) = left.split_first_chunk::<2>()?;
            let (set, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
            sets.push(set);
            left = behind;
        }
        rest = left;
    }
    Some((sets, rest))
}

/// What a record of the High profile lacks if it ends behind its parameter sets: chroma format, bit depths, and no extensions
/// of parameter sets, for 8 bits and 4:2:0, which is all that is offered.
#[must_use]
pub fn missing_tail(avcc: &[u8]) -> &'static [u8] {
    const HIGH: u8 = 100;
    match parameter_sets(avcc) {
        Some((_, [])) if avcc.get(1) == Some(&HIGH) => &[0xFD, 0xF8, 0xF8, 0],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_high_profile_is_completed_if_it_ends_too_early() {
        let main = [1, 77, 0, 40, 0xFF, 0xE1, 0, 2, 0x67, 0x4D, 1, 0, 1, 0x68];
        let high = [1, 100, 0, 40, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1, 0, 1, 0x68];
        assert_eq!(parameter_sets(&high), Some((vec![&[0x67, 0x64][..], &[0x68]], &[][..])));
        assert_eq!(missing_tail(&high), [0xFD, 0xF8, 0xF8, 0]);
        let whole = [&high[..], missing_tail(&high)].concat();
        for complete in [&main[..], &whole, &high[..9], &[]] {
            assert!(missing_tail(complete).is_empty(), "{complete:?}");
        }
    }

    #[test]
    fn levels_follow_size_rate_and_bits() {
        let fps = |n| Rate::new(n, 1).unwrap();
        assert_eq!(level_idc(1920, 1080, fps(30), 5_000_000), 40);
        assert_eq!(level_idc(1920, 1080, fps(60), 5_000_000), 42);
        assert_eq!(level_idc(1280, 720, fps(30), 2_800_000), 31);
        assert_eq!(level_idc(256, 144, fps(24), 150_000), 12, "144 macroblocks need MaxFS 396, 3,456 a second");
        assert_eq!(high_profile_codecs(40), "avc1.640028");
        assert_eq!([30, 42].map(level_name), ["3", "4.2"]);
    }

    #[test]
    fn a_decoder_plays_lower_levels_of_its_profile() {
        let plays = |profile, level| is_within(&[1, profile, 0x0C, level], "avc1.640028");
        assert!(plays(100, 40) && plays(100, 9));
        assert!(
            !plays(100, 41) && !plays(77, 40) && !is_within(&[], "avc1.640028") && !is_within(&[1, 100, 0, 40], "")
        );
    }
}
