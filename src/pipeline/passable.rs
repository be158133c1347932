//! Can the packets of an H.264 track be handed on as they are? Every access unit must be whole, every key frame an IDR
//! picture and no other, nothing may be missing, no picture may need another parameter set than those of its `avcC` record, and
//! the first must not allow fields.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Output;
use super::poc::holds_frames_only;
use super::tracks::READS_A_LIFE_SIGN;
use crate::media::{Packet, Track, h264};

/// `nal_unit_type` of a slice of an IDR picture, Rec. ITU-T H.264 table 7-1.
const IDR: u8 = 5;

/// `nal_unit_type` of parameter sets, of sequences and of pictures, and the longest that are looked at, bytes.
const SETS: [u8; 2] = [7, 8];
const LONGEST_SET_BYTES: u32 = 1024;

/// True if the NAL units of every packet fill it exactly, those of key frames alone are IDR pictures, and parameter
/// sets among them are in the `avcC` record: a stream that changes its size brings others.
pub fn is_whole(source: &Path, track: &Track, avcc: &[u8], emit: &mut dyn FnMut(Output)) -> bool {
    let Ok(file) = File::open(source) else { return false };
    let sets = h264::parameter_sets(avcc).map(|(sets, _)| sets).unwrap_or_default();
    // Of a broadcast the first pictures may be frames, and those of the film fields.
    holds_frames_only(sets.first().copied().unwrap_or_default())
        && track.packets.iter().enumerate().all(|(n, packet)| {
            if n.is_multiple_of(READS_A_LIFE_SIGN) {
                emit(Output::Progress(0));
            }
            first_slice(&file, packet, &sets).is_some_and(|kind| (kind == IDR) == packet.key)
        })
}

/// `nal_unit_type` of the first slice, if the 4-byte lengths lead to the packet's end. Only they and parameter sets are
/// read.
fn first_slice(file: &File, packet: &Packet, sets: &[&[u8]]) -> Option<u8> {
    let (mut at, end) = (packet.offset, packet.offset + u64::from(packet.size));
    let mut slice = None;
    while at < end {
        let mut head = [0; 5];
        file.read_exact_at(&mut head, at).ok().filter(|()| at + 5 <= end)?;
        let (length, kind) = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]), head[4] & 31);
        slice = slice.or((1..=IDR).contains(&kind).then_some(kind));
        if SETS.contains(&kind) {
            let mut set = vec![0; usize::try_from(length).ok().filter(|_| length <= LONGEST_SET_BYTES)?];
            file.read_exact_at(&mut set, at + 4).ok().filter(|()| sets.contains(&set.as_slice()))?;
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
    use crate::pipeline::testing::run;

    /// A film whose first picture was a frame was passed on although it may go on in fields, which browsers show as combs.
    #[test]
    fn a_stream_that_may_hold_fields_is_not_passed_on_whatever_its_first_picture_is() {
        let folder = tempfile::tempdir().unwrap();
        for (fields, passes) in [(0, true), (1, false)] {
            let path = folder.path().join("film.mp4");
            let launch = format!(
                "videotestsrc num-buffers=4 ! video/x-raw,format=I420,width=64,height=64 \
                 ! x264enc option-string=fake-interlaced={fields} ! mp4mux ! filesink location={}",
                path.display()
            );
            run(&launch);
            let video = crate::pipeline::inspect(&path, &[], &mut |_| ()).unwrap().video.unwrap();
            assert_eq!((video.interlaced, video.keys_are_idr), (false, passes));
        }
    }
}
