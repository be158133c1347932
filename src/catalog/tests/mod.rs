//! Tests of the catalog, by table; here is what they have in common.

mod arrivals;
mod bridged;
mod clock;
mod file;
mod jobs;
mod keys;
mod replacements;
mod titles;
mod watched;
mod webhooks;

use super::*;
use crate::media::{
    AudioRendition, AudioSource, Cut, Grid, Plan, Rate, Rendition, RenditionKind, Timescale, TitleId, VideoRendition,
    VideoSource,
};

fn catalog() -> (tempfile::TempDir, Catalog) {
    let data = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(data.path()).unwrap();
    (data, catalog)
}

fn plan() -> Plan {
    let grid = |ticks: u32, step: u64| {
        let cuts = (0..4).map(|n| Cut { frame: n * step, at: n * step * 512 }).collect();
        Grid::new(Timescale::new(ticks).unwrap(), cuts).unwrap()
    };
    let colour = crate::media::Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let rendition = |name: &str, grid, kind| Rendition {
        name: name.parse().unwrap(),
        grid,
        codecs: "avc1.640028".into(),
        bandwidth: 5_000_000,
        average_bandwidth: None,
        kind,
    };
    let video = VideoRendition {
        width: 1920,
        height: 1080,
        rate: Rate::new(24000, 1001).unwrap(),
        peak_rate: None,
        colour,
        audio: Some("audio-128k".parse().unwrap()),
        source: VideoSource::Encode { ceiling: 5_000_000, level: 40, min_frame_ticks: 0 },
    };
    let audio = AudioRendition {
        track: 0,
        rate: 48_000,
        channels: 2,
        language: "und".into(),
        source: AudioSource::Passthrough { config: vec![0x11, 0x90], first_packet: 3 },
        label: crate::media::Label::default(),
    };
    Plan {
        tracks: Vec::new(),
        renditions: vec![
            rendition("1080p", grid(12_800, 100), RenditionKind::Video(video)),
            rendition("audio-128k", grid(48_000, 188), RenditionKind::Audio(audio)),
        ],
    }
}

fn title(number: u64, created_at_ms: i64) -> NewTitle {
    NewTitle {
        id: TitleId::from_random(number),
        name: format!("Film {number}"),
        created_at_ms,
        source: "5a".repeat(32).parse().unwrap(),
        file_name: "film.mp4".into(),
        size_bytes: 1 << 40,
        notes: vec!["3 frames had no time".into()],
        plan: Arc::new(plan()),
        watched: None,
    }
}

/// Statements that a second process might run.
fn sql(data: &Path, text: &str) {
    Connection::open(data.join(FILE)).unwrap().execute_batch(text).unwrap();
}

fn removed(catalog: &Catalog, id: &TitleId) -> Removed {
    let Removal::Done(removed) = catalog.remove(id, None).unwrap() else { panic!() };
    removed
}
