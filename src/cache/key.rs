//! What is kept, and under which path. One enum of stored objects; the path follows by `match`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::{Generation, RenditionName};

/// A player that asks for a segment in the middle and does not say how much it has left has about this.
const USUAL_BUFFER: Duration = Duration::from_secs(2);

/// Names a stored object. What it names never changes (promise 2), so an entry is never stale, only absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The recipe of the title.
    pub generation: Generation,
    /// The rendition within it.
    pub rendition: RenditionName,
    /// What of that rendition.
    pub object: Object,
}

/// What a rendition consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Object {
    /// What belongs to the whole of it: the CMAF header; of text, all of it in one document.
    Init,
    /// The segment of that number: CMAF, or a document of text.
    Segment(u32),
    /// The picture that segment begins with, as a segment of its own.
    Iframe(u32),
}

impl Key {
    /// Where it lies below the cache folder: `{generation[..2]}/{generation}/{rendition}/{init|number|iframe-number}`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.to_string())
    }
}

impl fmt::Display for Key {
    /// The path, as in [`Key::path`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.generation.as_str();
        write!(f, "{}/{generation}/{}/{}", shard(&self.generation), self.rendition, self.object)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init => f.write_str("init"),
            Self::Segment(number) => write!(f, "{number}"),
            Self::Iframe(number) => write!(f, "iframe-{number}"),
        }
    }
}

impl Object {
    /// What a player that does not say probably has left to play when it asks for this: nothing at the beginning of a
    /// title, else a little. Pictures to scrub with are nice to have.
    #[must_use]
    pub fn usual_buffer(self) -> Duration {
        match self {
            Self::Init | Self::Segment(0) => Duration::ZERO,
            Self::Segment(_) => USUAL_BUFFER,
            Self::Iframe(_) => 2 * USUAL_BUFFER,
        }
    }

    /// The object a file name stands for. Each object has one name: `007` and `+7` are nobody's.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        match name {
            "init" => Some(Self::Init),
            other => {
                let object = match other.strip_prefix("iframe-") {
                    Some(number) => Self::Iframe(number.parse().ok()?),
                    None => Self::Segment(other.parse().ok()?),
                };
                (object.to_string() == other).then_some(object)
            }
        }
    }
}

/// The first folder below the cache's: keeps any one folder small.
fn shard(generation: &Generation) -> &str {
    &generation.as_str()[..2]
}

/// The folder of everything of a generation, below the cache's.
pub(super) fn generation_folder(generation: &Generation) -> PathBuf {
    Path::new(shard(generation)).join(generation.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_has_one_path() {
        let key = |object| Key {
            generation: "0123456789abcdef".parse().unwrap(),
            rendition: "720p".parse().unwrap(),
            object,
        };
        assert_eq!(key(Object::Init).path(), Path::new("01/0123456789abcdef/720p/init"));
        assert_eq!(key(Object::Segment(0)).path(), Path::new("01/0123456789abcdef/720p/0"));
        for bad in
            ["", "007", "+7", "-1", "4294967296", "7.tmp", "Init", "..", " 7", "iframe-", "iframe-07", "iframe-+7"]
        {
            assert_eq!(Object::from_file_name(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_file_name_is_read_back_as_its_object(number: u32) {
            for object in [Object::Segment(number), Object::Iframe(number)] {
                prop_assert_eq!(Object::from_file_name(&object.to_string()), Some(object));
            }
        }

        #[test]
        fn a_name_that_is_read_is_the_name_that_is_written(name in "[ -~]{0,12}") {
            if let Some(object) = Object::from_file_name(&name) {
                prop_assert_eq!(object.to_string(), name);
            }
        }
    }
}
