//! Accept-Encoding (RFC 9110 §12.5.3) and the two codings playlists are sent in. Media is never compressed again.

use std::io::Write;

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Brotli quality: within 2 % of the best for playlists at a twentieth of its time, 10 ms for a ten-hour film.
const BROTLI_QUALITY: u32 = 5;
/// Brotli window, log2 of bytes.
const BROTLI_WINDOW: u32 = 20;
/// Brotli's output buffer, bytes.
const BROTLI_BUFFER: usize = 4096;

/// A content coding, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
    /// As it is.
    Identity,
}

impl Coding {
    /// The coding the client likes best; brotli before gzip where it does not care. A client that forbids everything
    /// gets the plain text: a playlist it may refuse is worth more than a 406.
    #[must_use]
    pub fn negotiate(headers: &HeaderMap) -> Self {
        // Thousandths. A coding that is not listed has the weight of the star, identity at least a trifle.
        let (mut brotli, mut gzip, mut identity, mut star) = (None, None, None, None);
        for item in headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let Some(weight) = parts.map(quality).next().unwrap_or(Some(1000)) else { continue };
            match name.as_str() {
                "br" => brotli = Some(weight),
                "gzip" | "x-gzip" => gzip = Some(weight),
                "identity" => identity = Some(weight),
                "*" => star = Some(weight),
                _ => {}
            }
        }
        let brotli = brotli.or(star).unwrap_or(0);
        let gzip = gzip.or(star).unwrap_or(0);
        let plain = identity.unwrap_or(0);
        if brotli > 0 && brotli >= gzip && brotli >= plain {
            Self::Brotli
        } else if gzip > 0 && gzip >= plain {
            Self::Gzip
        } else {
            Self::Identity
        }
    }

    /// Content-Encoding, unless it is plain.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    /// `text` in this coding.
    #[must_use]
    pub fn encode(self, text: &Bytes) -> Bytes {
        match self {
            Self::Identity => text.clone(),
            Self::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                out.write_all(text).and_then(|()| out.finish()).map(Bytes::from).expect("memory takes every byte")
            }
            Self::Brotli => {
                let mut out = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                out.write_all(text).expect("memory takes every byte");
                out.into_inner().into()
            }
        }
    }
}

/// `q=0.5` in thousandths; `None` if it is not a weight.
fn quality(parameter: &str) -> Option<u16> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?.trim();
    let weight: f32 = value.parse().ok().filter(|w| (0.0..=1.0).contains(w))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
    Some((weight * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn asked(value: &str) -> Coding {
        Coding::negotiate(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn the_client_weighs_the_codings() {
        for (value, expected) in [
            ("gzip, deflate", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Brotli),
            ("gzip;q=1.0, br;q=0.5", Coding::Gzip),
            ("GZIP", Coding::Gzip),
            ("br;q=0, gzip;q=0.1", Coding::Gzip),
            ("gzip;q=0, identity", Coding::Identity),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=0.5, identity", Coding::Identity),
            ("identity", Coding::Identity),
            ("*", Coding::Brotli),
            ("*, br;q=0", Coding::Gzip),
            ("*;q=0", Coding::Identity),
            ("identity;q=0", Coding::Identity),
            ("gzip;q=7", Coding::Identity),
            ("gzip;level=1", Coding::Identity),
            ("gzip ; q=0.8", Coding::Gzip),
            ("", Coding::Identity),
        ] {
            assert_eq!(asked(value), expected, "{value}");
        }
        assert_eq!(Coding::negotiate(&HeaderMap::new()), Coding::Identity);
    }

    #[test]
    fn codings_decode_to_the_same_text() {
        let text = Bytes::from("#EXTINF:4.000000,\n1.m4s\n".repeat(500));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*Coding::Gzip.encode(&text)).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, text);
        plain.clear();
        brotli::Decompressor::new(&*Coding::Brotli.encode(&text), 4096).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, text);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,60}") {
            let _ = asked(&value);
        }
    }
}
