//! Pipeline templates: `gst-launch` text with a closed set of placeholders, compiled into the binary from `pipelines/`.
//! No string a user supplies is ever put into one.

use std::path::PathBuf;

use gst::prelude::*;

use super::Error;
use crate::media::h264;

/// The templates, in the order of their files.
const FILES: [(&str, &str); 5] = [
    ("aac-avenc", include_str!("../../pipelines/aac-avenc.launch")),
    ("h264-nvenc", include_str!("../../pipelines/h264-nvenc.launch")),
    ("h264-va", include_str!("../../pipelines/h264-va.launch")),
    ("h264-x264", include_str!("../../pipelines/h264-x264.launch")),
    ("jpeg-jpegenc", include_str!("../../pipelines/jpeg-jpegenc.launch")),
];

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// File name without extension.
    pub name: &'static str,
    /// The whole file, which the recipe's hash covers.
    pub text: &'static str,
    /// What it encodes to.
    pub codec: Codec,
    /// Preference; higher is better.
    pub rank: i32,
    /// Element factories it cannot do without.
    pub elements: Vec<&'static str>,
    /// Device files it opens.
    pub devices: Vec<PathBuf>,
    /// Its rate control goes by the times of the pictures where the caps state no frame rate.
    pub takes_variable_rate: bool,
}

/// What a template encodes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Rec. ITU-T H.264.
    H264,
    /// ISO/IEC 14496-3 AAC-LC.
    Aac,
    /// ISO/IEC 10918-1 baseline.
    Jpeg,
}

/// The values of a video template's placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoValues {
    /// Size before `direction` is applied, pixels.
    pub scaled: (u32, u32),
    /// Turn towards upright.
    pub rotation: crate::media::Rotation,
    /// Colour of the encoded pictures.
    pub colour: crate::media::Colour,
    /// VBV rate, bits per second.
    pub bits_per_second: u64,
    /// VBV buffer, milliseconds at that rate.
    pub vbv_ms: u64,
    /// `level_idc`.
    pub level: u8,
}

/// Placeholder of [`AudioValues::search`].
const SEARCH: &str = "aac_coder";

/// The values of an audio template's placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioValues {
    /// Samples per second.
    pub rate: u32,
    /// Channels.
    pub channels: u32,
    /// Bits per second.
    pub bitrate: u32,
    /// How the encoder looks for the quantizers of a frame.
    pub search: Search,
}

/// Searches of FFmpeg's AAC encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// In a third or a quarter of the time, with less noise; not always at its rate.
    Quick,
    /// At its rate, but for what is extreme.
    Steady,
}

impl Search {
    /// Value of `aac-coder`.
    fn coder(self) -> &'static str {
        match self {
            Self::Quick => "fast",
            Self::Steady => "twoloop",
        }
    }
}

impl Codec {
    /// The word in headers and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Aac => "aac",
            Self::Jpeg => "jpeg",
        }
    }
}

/// Every template.
///
/// # Errors
/// A header that is not as `pipelines/` requires, which a test rules out.
pub fn all() -> Result<Vec<Template>, Error> {
    FILES
        .iter()
        .map(|(name, text)| parse(name, text).map_err(|e| Error::Failed(format!("pipelines/{name}.launch: {e}"))))
        .collect()
}

/// The template of that name.
///
/// # Errors
/// [`Error::Failed`] if there is none.
pub fn named(name: &str) -> Result<Template, Error> {
    let found = all()?.into_iter().find(|t| t.name == name);
    found.ok_or_else(|| Error::Failed(format!("there is no pipeline template {name:?}")))
}

fn parse(name: &'static str, text: &'static str) -> Result<Template, String> {
    let field = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim).filter(|v| !v.is_empty())
    };
    let required = |key: &str| field(key).ok_or_else(|| format!("the header lacks \"# {key}:\""));
    required("purpose")?;
    let codec = match required("codec")? {
        "h264" => Codec::H264,
        "aac" => Codec::Aac,
        "jpeg" => Codec::Jpeg,
        other => return Err(format!("codec {other:?} is neither h264, aac nor jpeg")),
    };
    Ok(Template {
        name,
        text,
        codec,
        rank: required("rank")?.parse().map_err(|e| format!("rank: {e}"))?,
        elements: required("elements")?.split_whitespace().collect(),
        devices: field("devices").unwrap_or_default().split_whitespace().map(PathBuf::from).collect(),
        takes_variable_rate: field("variable-rate") == Some("yes"),
    })
}

impl Template {
    /// Elements of this template that the host does not have.
    pub fn missing(&self) -> Vec<&'static str> {
        self.elements.iter().copied().filter(|e| gst::ElementFactory::find(e).is_none()).collect()
    }

    /// The pipeline with these values.
    pub fn video(&self, v: &VideoValues) -> Result<gst::Pipeline, Error> {
        let direction = match v.rotation {
            crate::media::Rotation::None => "identity",
            crate::media::Rotation::Clockwise => "90r",
            crate::media::Rotation::Half => "180",
            crate::media::Rotation::CounterClockwise => "90l",
            crate::media::Rotation::Mirror => "horiz",
            crate::media::Rotation::Flip => "vert",
            crate::media::Rotation::Transpose => "ul-lr",
            crate::media::Rotation::AntiTranspose => "ur-ll",
        };
        let kilobits = (v.bits_per_second / 1000).max(1);
        self.build(&[
            ("scaled_width", v.scaled.0.to_string()),
            ("scaled_height", v.scaled.1.to_string()),
            ("direction", direction.to_owned()),
            ("colorimetry", colorimetry(v.colour)),
            ("kilobits", kilobits.to_string()),
            ("vbv_ms", v.vbv_ms.to_string()),
            ("vbv_kilobits", (kilobits * v.vbv_ms / 1000).max(1).to_string()),
            ("level", v.level.to_string()),
            ("level_name", h264::level_name(v.level)),
        ])
    }

    /// The pipeline with these values.
    pub fn audio(&self, v: &AudioValues) -> Result<gst::Pipeline, Error> {
        self.build(&[
            ("rate", v.rate.to_string()),
            ("channels", v.channels.to_string()),
            ("bitrate", v.bitrate.to_string()),
            (SEARCH, v.search.coder().to_owned()),
        ])
    }

    /// The pipeline with this quality, 1 to 100.
    pub fn picture(&self, quality: u32) -> Result<gst::Pipeline, Error> {
        self.build(&[("quality", quality.to_string())])
    }

    /// True if what it makes depends on [`AudioValues::search`].
    pub fn has_searches(&self) -> bool {
        self.code().contains(&format!("{{{SEARCH}}}"))
    }

    /// Without comments, in a line.
    fn code(&self) -> String {
        self.text.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join(" ")
    }

    fn build(&self, values: &[(&str, String)]) -> Result<gst::Pipeline, Error> {
        let launch = values.iter().fold(self.code(), |code, (key, value)| code.replace(&format!("{{{key}}}"), value));
        let element = gst::parse::launch(&launch).map_err(|e| Error::Failed(format!("template {}: {e}", self.name)))?;
        element.downcast().map_err(|_| Error::Failed(format!("template {} is not a pipeline", self.name)))
    }
}

/// GStreamer's numbers for range, matrix, transfer and primaries of encoded pictures, which go into the VUI: limited
/// range, and what the plan may choose.
fn colorimetry(colour: crate::media::Colour) -> String {
    let (matrix, transfer) = if colour.matrix == 6 { (4, 16) } else { (3, 5) };
    let primaries = match colour.primaries {
        5 => 3,
        6 => 4,
        _ => 1,
    };
    format!("2:{matrix}:{transfer}:{primaries}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_has_a_whole_header_and_no_unknown_placeholder() {
        for template in all().unwrap() {
            let known = match template.codec {
                Codec::H264 => {
                    "scaled_width scaled_height direction colorimetry kilobits vbv_ms vbv_kilobits level level_name"
                }
                Codec::Aac => "rate channels bitrate aac_coder",
                Codec::Jpeg => "quality",
            };
            for part in template.code().split('{').skip(1) {
                let placeholder = part.split('}').next().unwrap();
                assert!(known.split(' ').any(|k| k == placeholder), "{}: {placeholder}", template.name);
            }
        }
    }
}
