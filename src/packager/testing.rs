//! What the room's tests share: a box walker that knows nothing of the writer, and real media made by FFmpeg.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use mp4_atom::{Any, DecodeMaybe, Moof};

use crate::media::{
    AudioRendition, AudioSource, Colour, Cut, Grid, Rate, Rendition, RenditionKind, Sample, Timescale, VideoRendition,
    VideoSource,
};

/// The children of a box body, as kind and body.
pub fn boxes(mut data: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while let Some((size, rest)) = data.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        found.push((rest[..4].try_into().unwrap(), &data[8..size]));
        data = &data[size..];
    }
    assert!(data.is_empty(), "{} bytes behind the last box", data.len());
    found
}

/// The body of the first box at this path.
pub fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(data, |data, kind| boxes(data).into_iter().find(|(k, _)| k == *kind).map(|(_, body)| body))
}

pub fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(data[at..at + 4].try_into().unwrap())
}

pub fn video_rendition(grid: Grid, width: u32, height: u32) -> Rendition {
    let kind = RenditionKind::Video(VideoRendition {
        width,
        height,
        rate: Rate::new(25, 1).unwrap(),
        peak_rate: None,
        colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        audio: None,
        source: VideoSource::Encode { ceiling: 1, level: 31, min_frame_ticks: 0 },
    });
    let name = "480p".parse().unwrap();
    Rendition { name, grid, codecs: "avc1.64001F".into(), bandwidth: 1_000_000, average_bandwidth: None, kind }
}

pub fn audio_rendition(grid: Grid, language: &str) -> Rendition {
    let source = AudioSource::Encode { bitrate: 128_000 };
    let (rate, language) = (grid.timescale().get(), language.into());
    let kind = RenditionKind::Audio(AudioRendition {
        track: 0,
        rate,
        channels: 2,
        language,
        label: crate::media::Label::default(),
        source,
    });
    let name = "audio-128k".parse().unwrap();
    Rendition { name, grid, codecs: "mp4a.40.2".into(), bandwidth: 140_000, average_bandwidth: None, kind }
}

/// A grid of one segment.
pub fn one_segment(timescale: u32, start: u64, frames: u64, ticks: u64) -> Grid {
    let cuts = vec![Cut { frame: 0, at: start }, Cut { frame: frames, at: start + ticks }];
    Grid::new(Timescale::new(timescale).unwrap(), cuts).unwrap()
}

/// Samples that another muxer wrote, and the record they go with.
pub struct Real {
    pub timescale: u32,
    /// `avcC` body or `AudioSpecificConfig`.
    pub config: Vec<u8>,
    pub samples: Vec<Sample>,
}

/// Runs a tool that the tests need; its absence is a failure, not a pass.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Encodes two seconds with FFmpeg into a fragmented file and takes it apart.
pub fn real(file: &Path, encode: &[&str]) -> Real {
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi"];
    args.extend_from_slice(encode);
    args.extend(["-movflags", "empty_moov+default_base_moof+frag_keyframe+negative_cts_offsets"]);
    args.extend(["-use_editlist", "0", "-f", "mp4", file.to_str().unwrap()]);
    run("ffmpeg", &args);
    let data = Bytes::from(std::fs::read(file).unwrap());
    let entry = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];
    let (kind, entry) = boxes(&find(&data, &entry).unwrap()[8..])[0];
    let config = match &kind {
        b"avc1" => find(&entry[78..], &[b"avcC"]).unwrap().to_vec(),
        _ => {
            let esds = find(&entry[28..], &[b"esds"]).unwrap();
            let at = esds.windows(4).position(|w| w == [5, 0x80, 0x80, 0x80]).unwrap() + 5;
            esds[at..at + usize::from(esds[at - 1])].to_vec()
        }
    };
    let timescale = be32(find(&data, &[b"moov", b"trak", b"mdia", b"mdhd"]).unwrap(), 12);
    let (mut samples, mut rest, mut moof_at, mut at) = (Vec::new(), &data[..], 0, 0);
    while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
        if let Any::Moof(moof) = atom {
            moof_at = at;
            take_samples(&moof, &data.slice(moof_at..), &mut samples);
        }
        at = data.len() - rest.len();
    }
    assert!(moof_at > 0, "no fragments");
    Real { timescale, config, samples }
}

fn take_samples(moof: &Moof, data: &Bytes, samples: &mut Vec<Sample>) {
    let traf = &moof.traf[0];
    for trun in &traf.trun {
        let mut offset = usize::try_from(trun.data_offset.unwrap()).unwrap();
        for entry in &trun.samples {
            let size = entry.size.or(traf.tfhd.default_sample_size).unwrap() as usize;
            samples.push(Sample {
                duration: entry.duration.or(traf.tfhd.default_sample_duration).unwrap(),
                composition: entry.cts.unwrap_or(0).try_into().unwrap(),
                sync: entry.flags.or(traf.tfhd.default_sample_flags).unwrap() & 0x1_0000 == 0,
                data: data.slice(offset..offset + size),
            });
            offset += size;
        }
    }
}
