//! Transport streams that were put together from several: each frame is shown once, the sound goes with the pictures, and a
//! segment is the same wherever reading begins.

use std::fs;
use std::path::Path;

use crate::sources::{assert_in_order, thumbnails};
use crate::support::{Data, TestServer};
use crate::times::{flash, flashes, sounds};

const PACKET_BYTES: usize = 188;
/// Ticks of time stamps in a second.
const SECOND: u64 = 90_000;

/// The same recording at another time, which may say that its clock begins anew.
fn moved(recording: &[u8], by: u64, discontinuous: bool) -> Vec<u8> {
    let mut moved = recording.to_vec();
    let mut said = std::collections::BTreeSet::new();
    for packet in moved.chunks_exact_mut(PACKET_BYTES) {
        let has_field = packet[3] & 0x20 != 0 && packet[4] > 0;
        if has_field && discontinuous && said.insert([packet[1] & 0x1F, packet[2]]) {
            packet[5] |= 0x80;
        }
        if has_field && packet[4] >= 7 && packet[5] & 0x10 != 0 {
            let bits = packet[6..12].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            let time = ((bits >> 15) + by) % (1 << 33);
            packet[6..12].copy_from_slice(&(time << 15 | bits & 0x7FFF).to_be_bytes()[2..]);
        }
        let payload = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
        let begins = packet[1] & 0x40 != 0 && matches!(packet.get(payload..), Some([0, 0, 1, 0xC0..=0xEF, ..]));
        let stamps = if begins { usize::from(packet[payload + 7] >> 6).saturating_sub(1) } else { 0 };
        for bytes in
            packet[payload.min(PACKET_BYTES)..].get_mut(9..).unwrap_or_default().chunks_exact_mut(5).take(stamps)
        {
            let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|n| u64::from(bytes[n]));
            let time = ((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1) + by;
            let byte = |n: u64| u8::try_from(n & 0xFF).unwrap();
            bytes[0] = bytes[0] & 0xF1 | byte(time >> 29) & 0x0E;
            (bytes[1], bytes[2]) = (byte(time >> 22), byte(time >> 14) | 1);
            (bytes[3], bytes[4]) = (byte(time >> 7), byte(time << 1) | 1);
        }
    }
    moved
}

/// Pictures were held and sound was silent from a join to the end of its segment, unless playing had led there.
#[test]
fn a_stream_put_together_plays_on_and_is_the_same_wherever_reading_begins() {
    let media = tempfile::tempdir().unwrap();
    let one = flash(media.path(), "one.ts", (2, 7), "-g 50 -ar 44100");
    let bytes = fs::read(&one).unwrap();
    let pictures = thumbnails(&one);
    let pictures = [pictures.clone(), pictures].concat();
    for (name, stream) in [
        ("plain.ts", [bytes.clone(), bytes.clone()]),
        ("later.ts", [bytes.clone(), moved(&bytes, 107 * SECOND, true)]),
        ("earlier.ts", [moved(&bytes, 1000 * SECOND, false), bytes.clone()]),
        ("cut.ts", [bytes[..bytes.len() - 100].to_vec(), bytes.clone()]),
    ] {
        let path = media.path().join(name);
        fs::write(&path, stream.concat()).unwrap();
        plays_on(name, &path, &pictures);
    }
}

fn plays_on(name: &str, path: &Path, pictures: &[Vec<u8>]) {
    let data = Data::new();
    let id = data.ingest(path);
    let server = TestServer::over(&data);
    let playlists = server.playlists(&id);
    let (sound, lowest) = (&playlists[0], playlists.last().unwrap());
    let all: Vec<String> = [sound, lowest].iter().flat_map(|playlist| server.segments(playlist)).collect();
    let sequential: Vec<Vec<u8>> = all.iter().map(|path| server.bytes(path)).collect();
    // Of one that is cut short, what was cut is missing.
    let missing = if name == "cut.ts" { 10.0 } else { 0.0 };
    assert!(server.metric("matinee_bridged_frames_total") <= missing, "{name}: {}", server.log());
    let (shown, heard) = (path.with_extension("shown.mp4"), path.with_extension("heard.mp4"));
    fs::write(&shown, server.rendition(lowest)).unwrap();
    fs::write(&heard, server.rendition(sound)).unwrap();
    drop(server);
    let ours = thumbnails(&shown);
    assert_in_order(name, &ours, pictures);
    let (flashes, sounds) = (flashes(&ours, 25.0), sounds(&heard));
    assert_eq!((flashes.len(), sounds.len()), (2, 2), "{name}: {flashes:?} {sounds:?}");
    for (flash, sound) in flashes.iter().zip(&sounds) {
        assert!((flash - sound).abs() < 0.06, "{name}: {flashes:?} {sounds:?}");
    }
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    let server = TestServer::with(&data, &[("MATINEE_ENCODER__LOOKAHEAD_SEGMENTS", "0")]);
    for (path, bytes) in all.iter().zip(&sequential).rev() {
        assert!(server.bytes(path) == *bytes, "{name}: {path} differs when it is reached by a cold seek");
    }
}
