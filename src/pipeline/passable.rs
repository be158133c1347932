//! Can the packets of an H.264 track be handed on as they are? Every access unit must be whole, every key frame an IDR
//! picture and no other, nothing may be missing, no picture may need another sequence parameter set than the first, and that must
//! not allow fields.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Output;
use super::poc::holds_frames_only;
use super::tracks::READS_A_LIFE_SIGN;
use crate::media::{Packet, Track};

/// `nal_unit_type` of a slice of an IDR picture, Rec. ITU-T H.264 table 7-1.
const IDR: u8 = 5;

/// `nal_unit_type` of a sequence parameter set, and the longest that is looked at, bytes.
const SPS: (u8, u32) = (7, 1024);

/// True if the NAL units of every packet fill it exactly, those of key frames alone are IDR pictures, and a sequence
/// parameter set among them is that of the `avcC` record: a stream that changes its size brings another.
pub fn is_whole(source: &Path, track: &Track, avcc: &[u8], emit: &mut dyn FnMut(Output)) -> bool {
    let Ok(file) = File::open(source) else { return false };
    let sps = first_sps(avcc).unwrap_or_default();
    // Of a broadcast the first pictures may be frames, and those of the film fields.
    holds_frames_only(sps)
        && track.packets.iter().enumerate().all(|(n, packet)| {
            if n.is_multiple_of(READS_A_LIFE_SIGN) {
                emit(Output::Progress(0));
            }
            first_slice(&file, packet, sps).is_some_and(|kind| (kind == IDR) == packet.key)
        })
}

/// The first set of an `avcC` record (ISO/IEC 14496-15 §5.3.3.1).
fn first_sps(avcc: &[u8]) -> Option<&[u8]> {
    let length = u16::from_be_bytes([*avcc.get(6)?, *avcc.get(7)?]);
    avcc.get(8..8 + usize::from(length))
}

/// `nal_unit_type` of the first slice, if the 4-byte lengths lead to the packet's end. Only they and parameter sets are
/// read.
fn first_slice(file: &File, packet: &Packet, sps: &[u8]) -> Option<u8> {
    let (mut at, end) = (packet.offset, packet.offset + u64::from(packet.size));
    let mut slice = None;
    while at < end {
        let mut head = [0; 5];
        file.read_exact_at(&mut head, at).ok().filter(|()| at + 5 <= end)?;
        let (length, kind) = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]), head[4] & 31);
        slice = slice.or((1..=IDR).contains(&kind).then_some(kind));
        if kind == SPS.0 {
            let mut set = vec![0; usize::try_from(length).ok().filter(|_| length <= SPS.1)?];
            file.read_exact_at(&mut set, at + 4).ok().filter(|()| set == sps)?;
        }
        at += 4 + u64::from(length);
        if length == 0 {
            return None;
        }
    }
    slice.filter(|_| at == end)
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    /// A film whose first picture was a frame was passed on although it may go on in fields, which browsers show as combs.
    #[test]
    fn a_stream_that_may_hold_fields_is_not_passed_on_whatever_its_first_picture_is() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (fields, passes) in [(0, true), (1, false)] {
            let path = folder.path().join("film.mp4");
            let launch = format!(
                "videotestsrc num-buffers=4 ! video/x-raw,format=I420,width=64,height=64 \
                 ! x264enc option-string=fake-interlaced={fields} ! mp4mux ! filesink location={}",
                path.display()
            );
            let pipeline = gst::parse::launch(&launch).unwrap();
            pipeline.set_state(gst::State::Playing).unwrap();
            let ends = [gst::MessageType::Eos, gst::MessageType::Error];
            let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(20), &ends);
            assert_eq!(end.map(|message| message.type_()), Some(gst::MessageType::Eos));
            pipeline.set_state(gst::State::Null).unwrap();
            let video = crate::pipeline::inspect(&path, &[], &mut |_| ()).unwrap().video.unwrap();
            assert_eq!((video.interlaced, video.keys_are_idr), (false, passes));
        }
    }

    #[test]
    fn the_first_parameter_set_of_a_record_is_found_and_a_record_that_is_cut_short_has_none() {
        let record = [1, 100, 0, 40, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1];
        assert_eq!(first_sps(&record), Some(&[0x67, 0x64][..]));
        assert_eq!(first_sps(&record[..9]), None);
        assert_eq!(first_sps(&[]), None);
    }
}
