//! Scrambled packets of transport streams (`transport_scrambling_control`, ISO/IEC 13818-1 §2.4.3.3). Demuxers give nothing of
//! them and say nothing either, so that a recording of pay television looks like an empty file.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::pcr::{PACKET_BYTES, grid, pid};
use super::programs::packets;

/// GStreamer's name of transport streams.
pub const CONTAINER: &str = "video/mpegts";

/// A file is looked at in so many places: a subscription ends or a card is pulled for longer than lies between two of them.
const PLACES: u64 = 64;
/// So much in each.
const PIECE_BYTES: usize = 1024 * PACKET_BYTES;

/// The packet ids of which some are scrambled.
pub fn scrambled(source: &Path) -> BTreeSet<u16> {
    let Ok(file) = File::open(source) else { return BTreeSet::new() };
    let length = file.metadata().map_or(0, |file| file.len());
    let step = (length / PLACES).max(PIECE_BYTES as u64);
    let mut piece = vec![0; PIECE_BYTES];
    let mut found = BTreeSet::new();
    for place in (0..PLACES).map(|n| n * step).take_while(|place| *place < length) {
        let wanted = usize::try_from(length - place).unwrap_or(usize::MAX).min(PIECE_BYTES);
        if file.read_exact_at(&mut piece[..wanted], place).is_ok() {
            found.extend(in_piece(&piece[..wanted]));
        }
    }
    found
}

/// True if a track's packets, which GStreamer names by their id, are among these.
pub fn is_of(scrambled: &BTreeSet<u16>, stream_id: &str) -> bool {
    let id = stream_id.rsplit('/').next().and_then(|id| u16::from_str_radix(id, 16).ok());
    id.is_some_and(|id| scrambled.contains(&id))
}

fn in_piece(piece: &[u8]) -> BTreeSet<u16> {
    let Some(grid) = grid(piece) else { return BTreeSet::new() };
    // Those that say that they are damaged say nothing else.
    packets(piece, grid).filter(|packet| packet[1] & 0x80 == 0 && packet[3] & 0x80 != 0).map(pid).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::pcr::tests::packet;

    #[test]
    fn scrambled_packets_are_found_wherever_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.ts");
        let mut bytes: Vec<u8> = (0..4096).flat_map(|n| packet(256 + n % 2, None, None)).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(scrambled(&path), BTreeSet::new());
        let last = bytes.chunks_exact_mut(PACKET_BYTES).last().unwrap();
        last[3] |= 0x80;
        std::fs::write(&path, &bytes).unwrap();
        let found = scrambled(&path);
        assert_eq!(found, BTreeSet::from([257]));
        assert_eq!(["0/00000101", "00000100", "", "zz"].map(|id| is_of(&found, id)), [true, false, false, false]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_scrambled_or_not(noise: Vec<u8>, packets in 0..20_u16) {
            let mut bytes = noise.clone();
            bytes.extend((0..packets).flat_map(|n| packet(n, None, None)));
            bytes.extend(noise);
            let _ = in_piece(&bytes);
        }
    }
}
