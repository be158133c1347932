//! Identifiers that appear in URLs and on disk. Each accepts a closed alphabet, so none can name another path. Each lies where
//! it is, without memory of its own: every request parses some and clones them into keys.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a valid {what}")]
pub struct IdError {
    what: &'static str,
    text: String,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal, $accept:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(ArrayString<$bytes>);

        impl $name {
            /// The text, as in a URL.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let accept: fn(&str) -> bool = $accept;
                let short = ArrayString::from(text).ok().filter(|_| accept(text));
                short.map(Self).ok_or_else(|| IdError { what: $what, text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Base 32 without letters that look like digits or like each other. What has others is free to be a file's name.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn is_twelve(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| ALPHABET.contains(&b))
}

text_id!(
    /// A title's public name: 12 characters of lower-case base 32, 60 bits of chance.
    TitleId, 12, "title id", is_twelve
);
text_id!(
    /// A job's name: 12 characters of lower-case base 32, as a title's.
    JobId, 12, "job id", is_twelve
);
text_id!(
    /// An API key's name: 12 characters of lower-case base 32, as a title's. It is no secret.
    KeyId, 12, "key id", is_twelve
);
text_id!(
    /// A webhook's name: 12 characters of lower-case base 32, as a title's.
    WebhookId, 12, "webhook id", is_twelve
);
text_id!(
    /// A delivery's name: 12 characters of lower-case base 32, as a title's.
    DeliveryId, 12, "delivery id", is_twelve
);
text_id!(
    /// A resumable upload's name: 32 hexadecimal digits, 128 bits of chance, so that it cannot be guessed.
    UploadId, 32, "upload id", |t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
text_id!(
    /// The hash of everything that decides a title's bytes; names the recipe in URLs. 16 hexadecimal digits.
    Generation, 16, "generation", |t| t.len() == 16 && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
);
text_id!(
    /// A rendition within a title: `1080p`, `source`, `audio-128k`.
    RenditionName, 32, "rendition name",
    |t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
text_id!(
    /// SHA-256 of a source file, 64 hexadecimal digits.
    Digest, 64, "digest", |t| t.len() == 64 && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);

impl TitleId {
    /// A fresh id from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(twelve(bits))
    }
}

impl KeyId {
    /// A fresh id from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(twelve(bits))
    }
}

impl WebhookId {
    /// A fresh id from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(twelve(bits))
    }
}

impl DeliveryId {
    /// A fresh id from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(twelve(bits))
    }
}

impl JobId {
    /// A fresh id from 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(twelve(bits))
    }
}

impl UploadId {
    /// A fresh id from random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hexadecimal(&bytes))
    }
}

/// 60 of the bits.
fn twelve(bits: u64) -> ArrayString<12> {
    let mut text = ArrayString::new();
    (0..12).for_each(|i| text.push(char::from(ALPHABET[(bits >> (5 * i)) as usize & 31])));
    text
}

/// Two digits for each byte.
fn hexadecimal<const N: usize>(bytes: &[u8]) -> ArrayString<N> {
    let mut text = ArrayString::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("there is room for two digits each");
    }
    text
}

impl Generation {
    /// From the first eight bytes of a hash.
    #[must_use]
    pub fn from_hash(hash: [u8; 8]) -> Self {
        Self(hexadecimal(&hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_folder() {
        for bad in ["", "..", "a/b", "UPPER", "720p\0", "a.b", "x%2e"] {
            assert!(bad.parse::<RenditionName>().is_err(), "{bad:?}");
            assert!(bad.parse::<TitleId>().is_err(), "{bad:?}");
        }
        let id = TitleId::from_random(u64::MAX);
        assert_eq!(id.as_str().parse::<TitleId>().unwrap(), id);
    }

    #[test]
    fn what_no_id_is_made_of_is_none() {
        assert!((0..32).all(|n| TitleId::from_random(n * 0x0084_2108_4210_8421).as_str().parse::<TitleId>().is_ok()));
        for bad in ["holidayvideo", "00000000000i", "l00000000000", "00000o000000", "00000000000u", "00000000000"] {
            assert!(bad.parse::<TitleId>().is_err() && bad.parse::<JobId>().is_err(), "{bad}");
        }
    }
}
