//! Can the packets of an H.264 track be handed on as they are? Every access unit must be whole, every key frame an IDR
//! picture and no other, nothing may be missing, and no picture may need another sequence parameter set than the first.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Output;
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
    track.packets.iter().enumerate().all(|(n, packet)| {
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
    use super::*;

    #[test]
    fn the_first_parameter_set_of_a_record_is_found_and_a_record_that_is_cut_short_has_none() {
        let record = [1, 100, 0, 40, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1];
        assert_eq!(first_sps(&record), Some(&[0x67, 0x64][..]));
        assert_eq!(first_sps(&record[..9]), None);
        assert_eq!(first_sps(&[]), None);
    }
}
