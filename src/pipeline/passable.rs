//! Can the packets of an H.264 track be handed on as they are? Every access unit must be whole, every key frame an IDR
//! picture and no other, and nothing may be missing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::media::{Packet, Track};

/// `nal_unit_type` of a slice of an IDR picture, Rec. ITU-T H.264 table 7-1.
const IDR: u8 = 5;

/// True if the NAL units of every packet fill it exactly, and those of key frames alone are IDR pictures.
pub fn is_whole(source: &Path, track: &Track) -> bool {
    let Ok(file) = File::open(source) else { return false };
    track.packets.iter().all(|packet| first_slice(&file, packet).is_some_and(|kind| (kind == IDR) == packet.key))
}

/// `nal_unit_type` of the first slice, if the 4-byte lengths lead to the packet's end. Only they are read.
fn first_slice(file: &File, packet: &Packet) -> Option<u8> {
    let (mut at, end) = (packet.offset, packet.offset + u64::from(packet.size));
    let mut slice = None;
    while at < end {
        let mut head = [0; 5];
        file.read_exact_at(&mut head, at).ok().filter(|()| at + 5 <= end)?;
        let (length, kind) = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]), head[4] & 31);
        slice = slice.or((1..=IDR).contains(&kind).then_some(kind));
        at += 4 + u64::from(length);
        if length == 0 {
            return None;
        }
    }
    slice.filter(|_| at == end)
}
