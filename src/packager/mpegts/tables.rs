//! Program association and program map (ISO/IEC 13818-1 §2.4.4): one program, always the same.

use crate::media::{Program, crc};

use super::packet::Pid;

/// The only program, and the name of the stream.
const PROGRAM: [u8; 2] = [0, 1];
/// Version 0, in force; section 0 of 0.
const IN_FORCE: [u8; 3] = [0xC1, 0, 0];
/// `stream_type` (table 2-34): H.264, and AAC with ADTS headers.
const H264: u8 = 0x1B;
const ADTS: u8 = 0x0F;
/// No descriptors, with the reserved bits.
const NO_DESCRIPTORS: [u8; 2] = [0xF0, 0];

/// Which stream holds the map.
pub(super) fn association() -> Vec<u8> {
    section(0, &[&PROGRAM, &pid(Pid::Map)])
}

/// Which streams the program has, and which shows its clock.
pub(super) fn map(program: &Program<'_>) -> Vec<u8> {
    let (video, audio) = (pid(Pid::Video), pid(Pid::Audio));
    let mut parts: Vec<&[u8]> = vec![if program.video.is_some() { &video } else { &audio }, &NO_DESCRIPTORS];
    if program.video.is_some() {
        parts.extend([&[H264][..], &video, &NO_DESCRIPTORS]);
    }
    if program.audio.is_some() {
        parts.extend([&[ADTS][..], &audio, &NO_DESCRIPTORS]);
    }
    section(2, &parts)
}

/// A stream's number, with the reserved bits.
fn pid(pid: Pid) -> [u8; 2] {
    (0xE000 | pid.number()).to_be_bytes()
}

fn section(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = PROGRAM.len() + IN_FORCE.len() + body.len() + 4;
    let [high, low] = (0xB000 | length as u16).to_be_bytes();
    let mut section = [&[table, high, low][..], &PROGRAM, &IN_FORCE, &body].concat();
    section.extend_from_slice(&crc(&section).to_be_bytes());
    section
}
