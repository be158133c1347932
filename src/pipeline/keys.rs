//! Where decoding really can start. Containers and parsers mark more than that: IVF files mark every picture, and a stream
//! that is refreshed bit by bit (H.264's recovery points) has whole pictures only some time after a mark. What is decoded
//! from there shows what the decoder makes up, and something else than a decoder that came by.

use super::fields::Fields;
use super::poc::Counter;
use super::vop;

/// Bytes of a packet that are looked at. Encoders put their settings, a kilobyte or two, before their first picture.
pub const HEAD_BYTES: usize = 4096;

/// What a packet that is marked as a place to start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing depends on what came before.
    Here,
    /// So many pictures later they are whole.
    After(u32),
    /// So many pictures later they look whole, but nothing says that none behind them needs what came before.
    Perhaps(u32),
    /// It needs what came before.
    Nowhere,
}

/// When a picture is shown, of one that only says when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not told.
    Unknown,
    /// After all that come before it in the file, and after those that say [`Place::Between`] behind it.
    InTurn,
    /// Before the last one that was in turn.
    Between,
    /// By this count, among those since the last IDR picture.
    Counted {
        /// What the picture's order follows from.
        count: i64,
        /// It is such a picture.
        is_idr: bool,
    },
    /// There is no picture: the one before goes on, or a packet before held two.
    Nothing,
}

/// A codec whose pictures say what they depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// NAL units behind lengths of so many bytes, or behind start codes.
    H264(Option<usize>),
    /// As H.264.
    H265(Option<usize>),
    Vp8,
    Vp9,
    /// MPEG-1 and MPEG-2.
    Mpeg12,
    Mpeg4,
    /// AAC in LOAS frames, as broadcasts have it.
    Loas,
    /// TrueHD and MLP.
    TrueHd,
}

/// Packets up to which those between two certain starts are decoded on every way to a later one: nothing else gives certainly
/// the same pictures. x264 puts at most 250 between IDR pictures unless it is told otherwise; broadcasts have none for hours.
const MOST_BETWEEN: usize = 600;

/// Decides about those that are starts perhaps. An encoder that wrote one IDR picture writes others, and then an I-picture
/// between them may be a flash that later pictures refer past; one that writes none for long begins anew at its I-pictures.
/// False if some are taken on that ground.
pub fn decide(starts: &mut [Start]) -> bool {
    let is_certain = |start: &Start| matches!(start, Start::Here | Start::After(_));
    // Nothing came before the first packet.
    if let Some(first) = starts.first_mut().filter(|first| **first == Start::Perhaps(0)) {
        *first = Start::Here;
    }
    let mut are_exact = true;
    for stretch in starts.chunk_by_mut(|_, next| !is_certain(next)) {
        // No later picture needs anything.
        let is_intra = stretch.iter().all(|start| matches!(start, Start::Here | Start::Perhaps(0)));
        let is_long = stretch.len() > MOST_BETWEEN;
        for start in stretch {
            let Start::Perhaps(pictures) = *start else { continue };
            are_exact &= is_intra || !is_long;
            *start = match pictures {
                _ if !is_intra && !is_long => Start::Nowhere,
                0 => Start::Here,
                pictures => Start::After(pictures),
            };
        }
    }
    are_exact
}

/// What a stream has said so far that its later pictures rest on.
#[derive(Clone, Debug, Default)]
pub struct Told {
    counter: Counter,
    fields: Fields,
    /// Bits of `vop_time_increment`.
    increment_bits: Option<u32>,
    /// Its caps were looked at.
    knows_caps: bool,
}

impl Told {
    /// By caps, where a container keeps the headers of a stream apart from it.
    pub fn by(&mut self, caps: &gst::CapsRef) {
        if std::mem::replace(&mut self.knows_caps, true) {
            return;
        }
        let header = caps.structure(0).and_then(|s| s.get::<gst::Buffer>("codec_data").ok());
        let Some(Ok(header)) = header.as_ref().map(|header| header.map_readable()) else { return };
        match Codec::of(caps) {
            Some(Codec::H264(Some(_))) => {
                self.counter.count(only_set(&header).into_iter());
                self.fields.completes(only_set(&header).into_iter());
            }
            Some(Codec::Mpeg4) => self.increment_bits = vop::increment_bits(&header),
            _ => {}
        }
    }
}

/// The sequence parameter set of an `avcC` record (ISO/IEC 14496-15 §5.3.3.1), if it has no other that slices may refer to.
fn only_set(record: &[u8]) -> Option<&[u8]> {
    let (length, sets) = record.get(6..).filter(|_| record[5] & 31 == 1)?.split_first_chunk()?;
    sets.get(..usize::from(u16::from_be_bytes(*length)))
}

impl Codec {
    /// The codec of a stream; `None` if its marks have to be believed.
    pub fn of(caps: &gst::CapsRef) -> Option<Self> {
        let structure = caps.structure(0)?;
        let in_lengths = structure.get::<&str>("stream-format").is_ok_and(|format| format != "byte-stream");
        // The last two bits of a byte of the record say how long lengths are (ISO/IEC 14496-15 §5.3.3.1 and §8.3.3.1).
        let lengths = |at: usize| {
            let record = structure.get::<gst::Buffer>("codec_data").ok()?;
            let map = record.map_readable().ok()?;
            Some(map.get(at).map_or(4, |byte| usize::from(byte & 3) + 1))
        };
        let units = |at| if in_lengths { lengths(at).or(Some(4)) } else { None };
        let version = structure.get::<i32>("mpegversion").ok();
        Some(match structure.name().as_str() {
            "video/x-h264" => Self::H264(units(4)),
            "video/x-h265" => Self::H265(units(21)),
            "video/x-vp8" => Self::Vp8,
            "video/x-vp9" => Self::Vp9,
            "video/mpeg" if matches!(version, Some(1 | 2)) => Self::Mpeg12,
            "video/mpeg" if version == Some(4) => Self::Mpeg4,
            "audio/mpeg" if structure.get::<&str>("stream-format") == Ok("loas") => Self::Loas,
            "audio/x-true-hd" | "audio/x-mlp" => Self::TrueHd,
            _ => return None,
        })
    }

    /// What a packet that begins like this is; a mark is believed if that does not show.
    pub fn start(self, head: &[u8]) -> Start {
        let here = |is_key: bool| if is_key { Start::Here } else { Start::Nowhere };
        let known = match self {
            Self::H264(lengths) => h264(head, lengths),
            Self::H265(lengths) => h265(head, lengths).map(here),
            // RFC 6386 §9.1.
            Self::Vp8 => head.first().map(|byte| here(byte & 1 == 0)),
            Self::Vp9 => vp9(head).map(here),
            // `picture_coding_type`, ISO/IEC 13818-2 §6.2.3.
            Self::Mpeg12 => after_code(head, 0x00).and_then(|h| Some(here(h.get(1)? >> 3 & 7 == 1))),
            // `vop_coding_type`, ISO/IEC 14496-2 §6.2.5.
            Self::Mpeg4 => after_code(head, 0xB6).and_then(|h| Some(here(h.first()? >> 6 == 0))),
            Self::Loas => configures(head).map(here),
            // The sync word of a unit that decoding can begin with, behind the unit's length and time.
            Self::TrueHd => head.get(4..8).map(|sync| here(matches!(sync, [0xF8, 0x72, 0x6F, 0xBA | 0xBB]))),
        };
        known.unwrap_or(Start::Here)
    }

    /// May a packet between two marked ones be a field?
    pub fn may_hold_fields(self, told: &Told) -> bool {
        matches!(self, Self::H264(_)) && !told.fields.are_none()
    }

    /// Is a packet that begins like this the second field of the frame that the one before it began?
    pub fn is_second_field(self, head: &[u8], told: &mut Told) -> bool {
        matches!(self, Self::H264(lengths) if told.fields.completes(units(head, lengths)))
    }

    /// When the picture of a packet is shown. `told` knows those before it.
    pub fn place(self, packet: &[u8], told: &mut Told) -> Place {
        let head = &packet[..packet.len().min(HEAD_BYTES)];
        let is_between = match self {
            Self::H264(lengths) => {
                let counted = told.counter.count(units(head, lengths));
                return counted.map_or(Place::Unknown, |(count, is_idr)| Place::Counted { count, is_idr });
            }
            Self::Mpeg4 => {
                told.increment_bits = vop::increment_bits(head).or(told.increment_bits);
                return vop::place(head, packet.len(), told.increment_bits);
            }
            Self::Mpeg12 => after_code(head, 0x00).and_then(|h| Some(h.get(1)? >> 3 & 7 == 3)),
            _ => None,
        };
        match is_between {
            None => Place::Unknown,
            Some(true) => Place::Between,
            Some(false) => Place::InTurn,
        }
    }
}

/// What follows the start code of this value.
pub(super) fn after_code(head: &[u8], value: u8) -> Option<&[u8]> {
    let at = head.windows(4).position(|w| w == [0, 0, 1, value])?;
    head.get(at + 4..)
}

/// Does a frame say how it is coded (`useSameStreamMux`, ISO/IEC 14496-3 §1.7.2 and §1.7.3)? A decoder that has not seen one
/// that does makes nothing of the others.
fn configures(head: &[u8]) -> Option<bool> {
    let is_frame = head[..head.len().min(2)] == [0x56, 0xE0 | head.get(1)? & 0x1F];
    head.get(3).filter(|_| is_frame).map(|byte| byte & 0x80 == 0)
}

/// The NAL units that begin in these bytes; the last may be cut short.
fn units(head: &[u8], lengths: Option<usize>) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    let mut rest = head;
    match lengths {
        Some(bytes) => Box::new(std::iter::from_fn(move || {
            let (length, body) = rest.split_at_checked(bytes)?;
            let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let (unit, after) = body.split_at(length.min(body.len()));
            rest = after;
            Some(unit)
        })),
        None => Box::new(std::iter::from_fn(move || {
            let begin = rest.windows(3).position(|w| w == [0, 0, 1])? + 3;
            let body = &rest[begin..];
            let end = body.windows(3).position(|w| w == [0, 0, 1]).unwrap_or(body.len());
            rest = &body[end..];
            Some(&body[..end])
        })),
    }
}

/// The first slice decides; a recovery point before it says when pictures are whole, and whether exactly (Rec. ITU-T H.264
/// §7.3.3, §D.2.8). Without one, pictures behind an I-picture may refer to any before it.
fn h264(head: &[u8], lengths: Option<usize>) -> Option<Start> {
    let mut recovery = None;
    for unit in units(head, lengths) {
        let (header, body) = unit.split_first()?;
        match header & 31 {
            6 => recovery = recovery.or_else(|| recovery_point(&unescaped(body))),
            5 => return Some(Start::Here),
            1 | 2 => {
                let body = unescaped(&body[..body.len().min(16)]);
                let mut bits = Bits::new(&body);
                let _first_macroblock = bits.exp_golomb()?;
                let is_intra = matches!(bits.exp_golomb()? % 5, 2 | 4);
                return Some(match recovery {
                    Some((0, true)) if is_intra => Start::Here,
                    // The first slice may be what this picture refreshes, and the others need what came before.
                    Some((pictures, true)) => Start::After(pictures),
                    Some((pictures, false)) if pictures > 0 || !is_intra => Start::Perhaps(pictures.max(1)),
                    _ if is_intra => Start::Perhaps(0),
                    _ => Start::Nowhere,
                });
            }
            _ => {}
        }
    }
    None
}

/// `recovery_frame_cnt` and `exact_match_flag` of a recovery point among messages.
fn recovery_point(messages: &[u8]) -> Option<(u32, bool)> {
    const RECOVERY_POINT: usize = 6;
    let mut rest = messages;
    // A type or a size of 255 or more goes on in the next byte.
    let number = |rest: &mut &[u8]| {
        let mut sum = 0;
        loop {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            sum += usize::from(*byte);
            if *byte != 255 {
                return Some(sum);
            }
        }
    };
    // What remains at the end is the stop bit.
    while rest.len() > 2 {
        let (kind, size) = (number(&mut rest)?, number(&mut rest)?);
        let (message, after) = rest.split_at_checked(size)?;
        if kind == RECOVERY_POINT {
            let mut bits = Bits::new(message);
            return Some((bits.exp_golomb()?, bits.take(1)? == 1));
        }
        rest = after;
    }
    None
}

/// Is the first slice one of an IRAP picture (Rec. ITU-T H.265 table 7-1)?
fn h265(head: &[u8], lengths: Option<usize>) -> Option<bool> {
    let kinds = units(head, lengths).filter_map(|unit| Some(unit.first()? >> 1 & 63));
    kinds.filter(|kind| *kind < 32).map(|kind| (16..=23).contains(&kind)).next()
}

/// VP9 bitstream specification §6.2.
fn vp9(head: &[u8]) -> Option<bool> {
    let mut bits = Bits::new(head);
    let (_marker, low, high) = (bits.take(2)?, bits.take(1)?, bits.take(1)?);
    if low + 2 * high == 3 {
        bits.take(1)?;
    }
    let (shows_existing, is_inter) = (bits.take(1)?, bits.take(1)?);
    Some(shows_existing == 0 && is_inter == 0)
}

/// Without the bytes that keep a NAL unit from looking like a start code (Rec. ITU-T H.264 §7.4.1).
pub(super) fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let mut plain = Vec::with_capacity(unit.len());
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// Bits, the highest of a byte first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |sum, _| {
            let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(sum << 1 | u32::from(bit))
        })
    }

    /// `ue(v)`, Rec. ITU-T H.264 §9.1.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
        }
        let rest = self.take(Some(zeros).filter(|zeros| *zeros < 32)?)?;
        Some((1 << zeros) - 1 + rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_picture_of_h264_starts_a_stream_if_it_is_intra_and_after_a_while_if_it_recovers() {
        // A slice that begins at macroblock 0 has `1`, then its type: 7 is `0001000`, 5 is `00110`.
        let (intra, inter) = ([0x41, 0b1000_1000], [0x41, 0b1001_1000]);
        // Recovery after 24 pictures is `000011001`, after none `1`; then whether exactly, two more bits, and the stop bit.
        let recovery = |exactly: u8| [0x06, 6, 2, 0b0000_1100, 0b1000_1000 | exactly << 6, 0x80];
        let at_once = |exactly: u8| [0x06, 6, 1, 0b1000_1000 | exactly << 6, 0x80];
        let unit = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
        let coded = |body: &[u8]| [&[0, 0, 0, 1], body].concat();
        for (units, start) in [
            (vec![&intra[..]], Start::Perhaps(0)),
            (vec![&[0x65, 0x88][..]], Start::Here),
            (vec![&inter[..]], Start::Nowhere),
            (vec![&[0x09, 0x10], &recovery(1)[..], &inter[..]], Start::After(24)),
            (vec![&recovery(1)[..], &intra[..]], Start::After(24)),
            (vec![&recovery(0)[..], &intra[..]], Start::Perhaps(24)),
            (vec![&at_once(1)[..], &intra[..]], Start::Here),
            (vec![&at_once(0)[..], &intra[..]], Start::Perhaps(0)),
            (vec![&at_once(1)[..], &inter[..]], Start::After(0)),
            (vec![&at_once(0)[..], &inter[..]], Start::Perhaps(1)),
            (vec![&[0x09, 0x10][..]], Start::Here),
        ] {
            let (avc, stream): (Vec<_>, Vec<_>) = units.iter().map(|u| (unit(u), coded(u))).unzip();
            assert_eq!(Codec::H264(Some(4)).start(&avc.concat()), start, "{units:x?}");
            assert_eq!(Codec::H264(None).start(&stream.concat()), start, "{units:x?}");
        }
    }

    /// Each flash of a film that x264 coded was taken for a start, and what was decoded from there was broken.
    #[test]
    fn i_pictures_that_nothing_vouches_for_are_starts_only_where_there_are_no_others_for_long() {
        let decided = |groups: &[(Start, usize)]| {
            let group = |(start, length): &(Start, usize)| [vec![*start], vec![Start::Nowhere; length - 1]].concat();
            let mut starts: Vec<Start> = groups.iter().flat_map(group).collect();
            let are_exact = decide(&mut starts);
            (starts.into_iter().filter(|start| *start != Start::Nowhere).collect::<Vec<_>>(), are_exact)
        };
        let (here, after, perhaps) = (Start::Here, Start::After(9), Start::Perhaps);
        let x264 = [(here, 100), (perhaps(0), 1), (perhaps(0), 149), (here, 250), (after, 90), (perhaps(9), 160)];
        assert_eq!(decided(&x264), (vec![here, here, after], true));
        let broadcast = [(perhaps(0), 12), (perhaps(0), 600), (perhaps(7), 12), (here, 12), (perhaps(0), 12)];
        assert_eq!(decided(&broadcast), (vec![here, here, Start::After(7), here], false));
        let recording = [(Start::Nowhere, 5), (perhaps(0), 12), (here, 12)];
        assert_eq!(decided(&recording), (vec![here], true));
        let intra = [(perhaps(0), 1); 700];
        assert_eq!(decided(&intra), (vec![here; 700], true), "pictures that need none but themselves");
        assert_eq!(decided(&[]), (vec![], true));
    }

    #[test]
    fn other_codecs_say_it_in_their_first_bits() {
        for (codec, key, other) in [
            (Codec::H265(None), &[0, 0, 1, 0x26, 1][..], &[0, 0, 1, 0x02, 1][..]),
            (Codec::Vp8, &[0x50, 0x12], &[0xB1, 0x03]),
            (Codec::Vp9, &[0b1000_0010], &[0b1000_0110]),
            (Codec::Mpeg12, &[0, 0, 1, 0, 0, 0b00_001_000], &[0, 0, 1, 0, 0, 0b00_010_000]),
            (Codec::Mpeg4, &[0, 0, 1, 0xB6, 0x10], &[0, 0, 1, 0xB6, 0x50]),
        ] {
            assert_eq!((codec.start(key), codec.start(other)), (Start::Here, Start::Nowhere), "{codec:?}");
            assert_eq!(codec.start(&[]), Start::Here, "a mark is believed where nothing shows");
        }
    }

    #[test]
    fn pictures_are_counted_whose_parameter_sets_the_container_keeps() {
        gst::init().unwrap();
        // Those of `poc.rs`: counts of 4 bits.
        let set = [0x67, 0x4D, 0x00, 0x1E, 0b1111_0100, 0b1110_0000];
        let record = [&[1, 0x4D, 0, 0x1E, 0xFF, 0xE1, 0, 6][..], &set, &[1, 0, 1, 0x68]].concat();
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("codec_data", gst::Buffer::from_slice(record))
            .build();
        let codec = Codec::of(&caps).unwrap();
        // `1 00110 1 0000 0110 1`: set 0, frame 0, and the count of 6.
        let slice = [0, 0, 0, 3, 0x41, 0b1001_1010, 0b0000_1101];
        let mut told = Told::default();
        assert_eq!(codec.place(&slice, &mut told), Place::Unknown);
        told.by(&caps);
        assert_eq!(codec.place(&slice, &mut told), Place::Counted { count: 6, is_idr: false });
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_picture_or_none(
            noise: Vec<u8>,
            begin in prop::sample::select(vec![
                &[0, 0, 1, 0x67, 0x64, 0, 30][..], &[0, 0, 0, 40, 6, 6], &[0, 0, 1, 0xB6], &[0, 0, 1, 0x20], &[0, 0, 1, 0x65],
            ]),
        ) {
            let bytes = [begin, &noise].concat();
            for lengths in [None, Some(1), Some(4)] {
                for codec in [Codec::H264(lengths), Codec::H265(lengths), Codec::Vp8, Codec::Vp9, Codec::Mpeg12, Codec::Mpeg4] {
                    let mut told = Told::default();
                    let _ = (codec.start(&bytes), codec.place(&bytes, &mut told), codec.place(&bytes, &mut told));
                }
            }
            let _ = only_set(&bytes);
        }
    }

    #[test]
    fn aac_in_loas_frames_begins_where_it_says_how_it_is_coded_and_truehd_at_its_sync_word() {
        let starts = |codec: Codec, heads: &[&[u8]]| heads.iter().map(|head| codec.start(head)).collect::<Vec<_>>();
        let loas: [&[u8]; 4] =
            [&[0x56, 0xE0, 40, 0x20, 0], &[0x56, 0xFF, 40, 0x80, 0], &[0x56, 0xE0], &[1, 2, 3, 0x80]];
        assert_eq!(starts(Codec::Loas, &loas), [Start::Here, Start::Nowhere, Start::Here, Start::Here]);
        let units: [&[u8]; 3] =
            [&[0x10, 40, 0, 0, 0xF8, 0x72, 0x6F, 0xBA, 1], &[0x10, 40, 0, 0, 0xF8, 0x72, 0x6F, 0xBB], &[0; 9]];
        assert_eq!(starts(Codec::TrueHd, &units), [Start::Here, Start::Here, Start::Nowhere]);
    }
}
