//! The recipe: what decides a rendition's bytes besides the source and the plan.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::{Config, Error};
use crate::media::{Digest, Generation, Plan, Templates, Trial};

/// Changes when the shape of segments does, so that nothing cached before, here or by a CDN, is mixed with what is
/// made after. Transport streams are not kept, but their addresses promise the same bytes for ever, too.
const SHAPE: &[u8] = b"groups 3, pictures 5, sound 5, cmaf 4, mpegts 2";

/// The templates in use, and what they make of the test signal here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    templates: Templates,
    devices: Vec<PathBuf>,
    fingerprint: [u8; 32],
}

impl Recipe {
    /// The highest-ranked template of each codec among those that passed their trial, and what is set about the shape of
    /// segments.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] names the codec nothing works for.
    pub fn choose(trials: &[Trial], config: &Config) -> Result<Self, Error> {
        let best = |codec: &'static str| {
            let working = trials.iter().filter(|t| t.codec == codec && t.outcome.is_ok());
            working.max_by_key(|t| t.rank).ok_or(Error::NoTemplate { codec })
        };
        let (video, audio, picture) = (best("h264")?, best("aac")?, best("jpeg")?);
        let mut hash = Sha256::new();
        hash.update(SHAPE);
        for trial in [video, audio, picture] {
            hash.update(trial.outcome.as_ref().map_or(&[][..], |fingerprint| &fingerprint[..]));
        }
        // Where parts of a segment begin is in its bytes. The usual length is in `SHAPE`.
        if config.chunk_seconds.to_bits() != Config::default().chunk_seconds.to_bits() {
            hash.update(b"chunk");
            hash.update(config.chunk_seconds.to_be_bytes());
        }
        Ok(Self {
            templates: Templates {
                video: video.name.clone(),
                audio: audio.name.clone(),
                picture: picture.name.clone(),
            },
            devices: [video, audio, picture].iter().flat_map(|t| t.devices.clone()).collect(),
            fingerprint: hash.finalize().into(),
        })
    }

    /// The templates in use.
    #[must_use]
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// Device files they need.
    #[must_use]
    pub fn devices(&self) -> &[PathBuf] {
        &self.devices
    }

    /// The name of everything that decides a title's bytes.
    #[must_use]
    pub fn generation(&self, source: &Digest, plan: &Plan) -> Generation {
        let mut hash = Sha256::new();
        hash.update(self.fingerprint);
        hash.update(source.as_str());
        // A plan is plain data: its encoding cannot fail and does not depend on the host.
        hash.update(postcard::to_stdvec(plan).unwrap_or_default());
        let digest: [u8; 32] = hash.finalize().into();
        Generation::from_hash(*digest.first_chunk().expect("a SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(name: &str, codec: &str, rank: i32, outcome: Result<[u8; 32], String>) -> Trial {
        Trial { name: name.into(), codec: codec.into(), rank, devices: Vec::new(), outcome }
    }

    #[test]
    fn the_highest_rank_that_works_is_used_and_its_fingerprint_names_the_generation() {
        let gpu = |outcome| trial("gpu", "h264", 300, outcome);
        let rest = [
            trial("cpu", "h264", 100, Ok([1; 32])),
            trial("aac", "aac", 100, Ok([2; 32])),
            trial("jpeg", "jpeg", 100, Ok([4; 32])),
        ];
        let with = |gpu: Trial| Recipe::choose(&[vec![gpu], rest.to_vec()].concat(), &Config::default()).unwrap();
        let (broken, working) = (with(gpu(Err("no device".into()))), with(gpu(Ok([3; 32]))));
        assert_eq!((broken.templates().video.as_str(), working.templates().video.as_str()), ("cpu", "gpu"));
        let (source, plan) = ("0".repeat(64).parse().unwrap(), Plan::default());
        assert_ne!(broken.generation(&source, &plan), working.generation(&source, &plan));
        assert!(matches!(Recipe::choose(&rest[..1], &Config::default()), Err(Error::NoTemplate { codec: "aac" })));
    }

    /// The same URL had other bytes after the setting was changed.
    #[test]
    fn another_length_of_parts_is_another_generation_and_the_usual_one_is_none() {
        let trials = ["h264", "aac", "jpeg"].map(|codec| trial(codec, codec, 100, Ok([1; 32])));
        let of = |chunk_seconds| {
            Recipe::choose(&trials, &Config { chunk_seconds, ..Config::default() }).unwrap().fingerprint
        };
        // What was made before the setting counted keeps its name.
        assert_eq!(of(0.5)[..], Sha256::digest([SHAPE, &[1; 96]].concat())[..]);
        assert!(of(0.5) != of(1.0) && of(1.0) != of(0.25));
    }
}
