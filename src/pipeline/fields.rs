//! Fields of H.264 that belong to one frame. The parser gives each field of a stream a packet of its own, and some programs
//! write them like that into files. A decoder makes one picture of the two, which is shown at the time of the first.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Output;
use super::keys::{Bits, Codec, HEAD_BYTES, Told, unescaped};
use super::poc::{IDR, LONGEST_HEADER, Sps, frame_number, is_bottom_field, sps};
use super::tracks::READS_A_LIFE_SIGN;
use crate::media::Packet;

/// A slice of a field: number of its frame, and whether it is the bottom one.
type Field = (u32, bool);

/// Finds the fields of a stream that belong together.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    sps: Option<Sps>,
    /// A field whose frame is not complete.
    open: Option<Field>,
}

impl Fields {
    /// No picture is a field, as far as is known.
    pub fn are_none(&self) -> bool {
        self.sps.is_some_and(|sps| sps.frames_only)
    }

    /// Is the picture of a packet the second field of the frame that the packet before it began (Rec. ITU-T H.264 §3.30)?
    pub fn completes<'a>(&mut self, units: impl Iterator<Item = &'a [u8]>) -> bool {
        for unit in units {
            let Some((header, body)) = unit.split_first() else { continue };
            match header & 31 {
                7 => self.sps = sps(&unescaped(body)).or(self.sps),
                kind @ (1 | 2 | 5) => {
                    let field =
                        self.sps.and_then(|sps| field(&unescaped(&body[..body.len().min(LONGEST_HEADER)]), sps));
                    let is_other = |(open, field): (Field, Field)| open.0 == field.0 && open.1 != field.1;
                    let completes = kind != IDR && self.open.zip(field).is_some_and(is_other);
                    self.open = field.filter(|_| !completes);
                    return completes;
                }
                _ => {}
            }
        }
        false
    }
}

/// Hides the second fields of a track whose packets lie in the file: they are decoded, and no pictures of their own.
pub fn hide_second(source: &Path, caps: &gst::CapsRef, packets: &mut [Packet], emit: &mut dyn FnMut(Output)) {
    let mut told = Told::default();
    told.by(caps);
    let (Some(codec), Ok(file)) = (Codec::of(caps).filter(|codec| codec.may_hold_fields(&told)), File::open(source))
    else {
        return;
    };
    let mut head = [0; HEAD_BYTES];
    for (n, packet) in packets.iter_mut().enumerate() {
        if n.is_multiple_of(READS_A_LIFE_SIGN) {
            emit(Output::Progress(0));
        }
        let head = &mut head[..HEAD_BYTES.min(packet.size as usize)];
        if file.read_exact_at(head, packet.offset).is_ok() && codec.is_second_field(head, &mut told) {
            (packet.shown, packet.key) = (false, false);
        }
    }
}

fn field(body: &[u8], sps: Sps) -> Option<Field> {
    let mut bits = Bits::new(body);
    let number = frame_number(&mut bits, sps)?;
    Some((number, is_bottom_field(&mut bits, sps)??))
}

#[cfg(test)]
mod tests {
    use super::super::poc::tests::unit;
    use super::*;
    use crate::pipeline::testing::run;

    #[test]
    fn two_fields_of_a_frame_belong_together_and_no_others() {
        // As above, but not frames only; frames are not of macroblocks that are fields.
        let set = unit(0x67, "01001101 00000000 00011110 1 1 1 1 010 0 1 1 0 0");
        let slice = |header, frame: u8, rest: &str| unit(header, &format!("1 00110 1 {frame:04b} {rest}"));
        let (top, bottom, whole) = ("1 0 0000 1", "1 1 0000 1", "0 0000 1");
        let mut fields = Fields::default();
        let mut completes = |header, frame, rest| fields.completes([&slice(header, frame, rest)[..]].into_iter());
        assert!(!completes(0x65, 0, top) && !completes(0x41, 0, bottom), "nothing is known of the stream yet");
        let mut fields = Fields::default();
        let mut is_first = true;
        let mut completes = |header, frame, rest| {
            let set = std::mem::take(&mut is_first).then_some(&set[..]);
            fields.completes(set.into_iter().chain([&slice(header, frame, rest)[..]]))
        };
        for (header, frame, rest, expected) in [
            (0x65, 0, top, false),
            (0x41, 0, bottom, true),
            (0x41, 1, bottom, false),
            (0x41, 1, top, true),
            (0x01, 2, top, false),
            (0x01, 2, bottom, true),
            // The next frame has the same number, because nobody refers to that before it.
            (0x01, 2, top, false),
            (0x01, 2, bottom, true),
            (0x41, 2, whole, false),
            // Its other field was lost.
            (0x41, 3, top, false),
            (0x41, 4, bottom, false),
            (0x41, 4, top, true),
            (0x41, 5, top, false),
            (0x65, 5, bottom, false),
        ] {
            assert_eq!(completes(header, frame, rest), expected, "{header:x} {frame} {rest}");
        }
        assert!(!fields.are_none());
    }

    /// Bits as a stream has them.
    #[derive(Default)]
    struct Writer(String);

    impl Writer {
        fn bits(&mut self, count: usize, value: usize) -> &mut Self {
            self.0 += &format!("{value:0count$b}");
            self
        }

        fn exp_golomb(&mut self, value: usize) -> &mut Self {
            let count = (value + 1).ilog2() as usize;
            self.0 += &"0".repeat(count);
            self.bits(count + 1, value + 1)
        }

        /// A NAL unit behind its start code.
        fn unit(&mut self, header: u8) -> Vec<u8> {
            let mut coded = vec![0, 0, 0, 1];
            let mut zeros = 0;
            for byte in unit(header, &format!("{}1", self.0)) {
                if zeros >= 2 && byte <= 3 {
                    coded.push(3);
                    zeros = 0;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                coded.push(byte);
            }
            coded
        }
    }

    /// A stream of 64x64 in fields of uncompressed macroblocks, 25 frames a second with an IDR picture in each, all of them
    /// different. No encoder that is installed makes one.
    fn stream(frames: usize) -> Vec<u8> {
        let mut set = Writer::default();
        set.bits(24, 0x4D_00_1E).0 += "1 1 1 00101 011 0 00100 010 0 0 1 0 1 0000 1";
        set.0.retain(|bit| bit != ' ');
        set.bits(32, 1).bits(32, 50).0 += "10000";
        let mut pictures = Writer::default();
        pictures.0 += "1100111000111000";
        let parameters = [set.unit(0x67), pictures.unit(0x68)].concat();
        let field = |frame: usize, bottom: usize| {
            let (number, is_idr) = (frame % 25, frame.is_multiple_of(25) && bottom == 0);
            let mut slice = Writer::default();
            slice.exp_golomb(0).exp_golomb(7).exp_golomb(0).bits(4, number % 16).bits(1, 1).bits(1, bottom);
            if is_idr {
                slice.exp_golomb(frame / 25 % 2);
            }
            slice.bits(8, 2 * number + bottom).bits(if is_idr { 2 } else { 1 }, 0).exp_golomb(0);
            for block in 0..8 {
                slice.exp_golomb(25);
                slice.0 += &"0".repeat(slice.0.len().wrapping_neg() % 8);
                (0..384).for_each(|n| {
                    slice.bits(8, if n < 256 { 40 + (frame * 3 + block * 11) % 180 } else { 128 });
                });
            }
            let delimiter = Writer::default().bits(3, 0).unit(9);
            let parameters = if is_idr { &parameters[..] } else { &[] };
            [&delimiter, parameters, &slice.unit(if is_idr { 0x65 } else { 0x21 })].concat()
        };
        (0..frames).flat_map(|frame| [field(frame, 0), field(frame, 1)].concat()).collect()
    }

    /// There were twice as many frames, and every second was taken for one that cannot be decoded.
    #[test]
    fn a_film_in_fields_has_as_many_frames_as_pairs_of_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stream"), stream(60)).unwrap();
        // Only behind a transport stream have all packets a time, which the other containers need.
        for (container, chain) in [
            ("stream", None),
            ("ts", Some("h264parse ! mpegtsmux")),
            ("mkv", Some("tsdemux ! h264parse ! matroskamux")),
            ("mp4", Some("tsdemux ! h264parse ! mp4mux")),
        ] {
            let film = folder.path().join(container);
            if let Some(chain) = chain {
                let from = folder.path().join(if container == "ts" { "stream" } else { "ts" });
                run(&format!("filesrc location={} ! {chain} ! filesink location={}", from.display(), film.display()));
            }
            let index = crate::pipeline::inspect(&film, &[], &mut |_| ()).unwrap();
            let video = index.video.as_ref().unwrap();
            let mut cursor = crate::pipeline::cursor::Cursor::new(&film, video);
            assert_eq!(cursor.shown().len(), 60, "{container}");
            assert_eq!(video.rate.map(|rate| rate.fps()), Some(25.0), "{container}");
            assert_eq!(index.notes(), Vec::<String>::new());
            // From the start, and from the middle.
            for begin in [0, 40] {
                for n in begin..60 {
                    let picture = if n == begin {
                        cursor.first(n, &|| Ok(()), &mut |_| ())
                    } else {
                        cursor.frame(n, &|| Ok(()), &mut |_| ())
                    };
                    let (sample, is_real) = picture.unwrap();
                    let luma = sample.buffer().unwrap().map_readable().unwrap()[0];
                    assert_eq!((usize::from(luma), is_real), (40 + n * 3 % 180, true), "{container}: {n}");
                }
            }
        }
    }
}
