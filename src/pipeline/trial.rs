//! Trial encodes: a template is used only if it works here, now. What it makes of a test signal is also the encoder's
//! fingerprint: a new encoder version, or another processor whose arithmetic differs, gets another recipe and so other URLs.

use sha2::{Digest as _, Sha256};

use super::encode::Encoder;
use super::template::{self, AudioValues, Codec, Search, Template, VideoValues};
use super::upright::Rgb;
use super::{Error, aac, tone};
use crate::media::{Colour, Rotation, Trial, h264};

/// Size and number of the test pictures.
const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;
const PICTURES: usize = 24;
/// `level_idc` of the test pictures, which need less.
const LEVEL: u8 = 30;
/// Samples of test sound, per channel.
const SAMPLES: usize = 12 * 1024;
/// Quality of the test picture.
const STILL_QUALITY: u32 = 80;

/// Changes when something else is done to pictures than before, so that the addresses of what was made stay true.
const TREATMENT: &[u8] = b"treatment 3";

/// Runs every template once.
pub fn trial() -> Vec<Trial> {
    let templates = template::all().unwrap_or_default();
    templates
        .into_iter()
        .map(|t| Trial {
            name: t.name.to_owned(),
            codec: t.codec.as_str().to_owned(),
            rank: t.rank,
            devices: t.devices.clone(),
            outcome: run(&t),
        })
        .collect()
}

fn run(template: &Template) -> Result<[u8; 32], String> {
    let missing = template.missing();
    if !missing.is_empty() {
        return Err(format!("GStreamer has no element {}", missing.join(", ")));
    }
    if let Some(device) = template.devices.iter().find(|d| !d.exists()) {
        return Err(format!("there is no device {}", device.display()));
    }
    let made = match template.codec {
        Codec::H264 => video(template),
        Codec::Aac => sound(template),
        Codec::Jpeg => still(template),
    };
    let (config, units) = made.map_err(|e| e.to_string())?;
    let mut hash = Sha256::new();
    hash.update(template.text);
    hash.update(&config);
    for unit in units {
        hash.update(&unit);
    }
    if template.codec != Codec::Aac {
        hash.update(TREATMENT);
        hash.update(tone::fingerprint());
    }
    Ok(hash.finalize().into())
}

type Made = (Vec<u8>, Vec<Vec<u8>>);

fn video(template: &Template) -> Result<Made, Error> {
    let values = VideoValues {
        scaled: (WIDTH, HEIGHT),
        rotation: Rotation::None,
        colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        bits_per_second: 800_000,
        vbv_ms: 500,
        level: LEVEL,
    };
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", i32::try_from(WIDTH).unwrap_or(0))
        .field("height", i32::try_from(HEIGHT).unwrap_or(0))
        .field("framerate", gst::Fraction::new(25, 1))
        .build();
    let encoder = Encoder::start(template.video(&values)?, &caps)?;
    for n in 0..PICTURES {
        let mut buffer = gst::Buffer::from_mut_slice(picture(n));
        buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(40 * n as u64));
        encoder.push(buffer)?;
    }
    let (config, units) = finish(&encoder, PICTURES)?;
    let said = h264::high_profile_codecs(LEVEL);
    if !h264::is_within(&config, &said) {
        let found = h264::codecs_of(&config).unwrap_or_default();
        return Err(Error::Failed(format!("it made {found} where it was told {said}")));
    }
    Ok((config, units))
}

fn sound(template: &Template) -> Result<Made, Error> {
    // Two triangle waves: exact in any arithmetic, unlike a sine.
    let wave = |i: usize, period: usize| (i % period).abs_diff(period / 2) as f32 / period as f32 - 0.25;
    let samples: Vec<f32> = (0..SAMPLES).flat_map(|i| [wave(i, 110), wave(i, 147)]).collect();
    let with = |search| {
        let values = AudioValues { rate: 48_000, channels: 2, bitrate: 128_000, search };
        let encoder = Encoder::start(template.audio(&values)?, &aac::raw_caps(48_000, 2))?;
        aac::feed(&encoder, &samples, 48_000, 2)?;
        finish(&encoder, SAMPLES / 1024)
    };
    let (config, mut units) = with(Search::Quick)?;
    if template.has_searches() {
        units.extend(with(Search::Steady)?.1);
    }
    Ok((config, units))
}

/// A picture of two gradients, in colour.
fn still(template: &Template) -> Result<Made, Error> {
    let mut picture = Rgb::black(WIDTH, HEIGHT);
    for (i, pixel) in picture.pixels_mut().enumerate() {
        let (x, y) = (i as u32 % WIDTH, i as u32 / WIDTH);
        *pixel = [(x * 255 / WIDTH) as u8, (y * 255 / HEIGHT) as u8, ((x ^ y) & 255) as u8];
    }
    Ok((Vec::new(), vec![picture.jpeg(template, STILL_QUALITY)?]))
}

fn finish(encoder: &Encoder, least: usize) -> Result<Made, Error> {
    encoder.end()?;
    let mut units = Vec::new();
    while let Some(coded) = encoder.take()? {
        units.push(coded);
    }
    if units.len() < least || !units[0].key {
        return Err(Error::Failed(format!("{} frames came out of {least}, or the first is no key frame", units.len())));
    }
    let config = encoder.config().ok_or_else(|| Error::Failed("no parameter sets came out".into()))?;
    Ok((config, units.into_iter().map(|u| u.data).collect()))
}

/// A moving gradient with some texture.
fn picture(n: usize) -> Vec<u8> {
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let luma = (0..height).flat_map(|y| (0..width).map(move |x| ((x + 3 * n) ^ (y + n)) as u8 / 2 + 40));
    let chroma = (0..width * height / 2).map(|i| (110 + (i / 97 + n) % 40) as u8);
    luma.chain(chroma).collect()
}
