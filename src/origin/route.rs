//! The paths of the GET flow, parsed once into a closed enum. Nothing is percent-decoded: every name here is made of
//! characters that need no encoding, so an encoded path names nothing.

use std::fmt;

use crate::cache::Object;
use crate::media::{Generation, RenditionName, TitleId};

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v/{id}/master.m3u8`.
    Master(TitleId),
    /// `/v/{id}/master-ts.m3u8`.
    MasterTs(TitleId),
    /// `/v/{id}/manifest.mpd`.
    Manifest(TitleId),
    /// `/v/{id}/{generation}/{rendition}/index.m3u8`.
    Media(TitleId, Generation, RenditionName),
    /// `/v/{id}/{generation}/{rendition}/ts.m3u8`.
    MediaTs(TitleId, Generation, RenditionName),
    /// `/v/{id}/{generation}/{rendition}/iframe.m3u8`.
    Iframes(TitleId, Generation, RenditionName),
    /// `/v/{id}/{generation}/{rendition}/init.mp4`, `.../{n}.m4s`, `.../{n}.ts` and `.../iframe/{n}.m4s`; of text
    /// `.../all.vtt` and `.../{n}.vtt`.
    Object(Media),
    /// `/v/{id}/poster.jpg`.
    Poster(TitleId),
    /// `/v/{id}/thumbnails.vtt`.
    Thumbnails(TitleId),
    /// `/v/{id}/{generation}/thumbnails/index.m3u8`.
    Images(TitleId, Generation),
    /// `/v/{id}/{generation}/thumbnails/{n}.jpg`.
    Sheet(TitleId, Generation, u32),
    /// `/healthz`: the process answers.
    Health,
    /// `/readyz`: it can serve.
    Ready,
    /// Anything else below `/api/v1/`, and `/metrics` and `/openapi.json` without that: not of this flow.
    Management,
    /// `/`: what there is to play.
    Home,
}

/// Names the media bytes of a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// The title.
    pub title: TitleId,
    /// The recipe.
    pub generation: Generation,
    /// The rendition.
    pub rendition: RenditionName,
    /// What of it.
    pub object: Object,
    /// As what it is asked for.
    pub form: Form,
}

/// What the name of a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `init.mp4`, `7.m4s`.
    Cmaf,
    /// `all.vtt`, `7.vtt`.
    Text,
    /// `7.ts`: a transport stream, with the sound that goes with it.
    Transport,
}

impl Route {
    /// `None` for a path that can name nothing.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/v/") {
            return Self::title(rest);
        }
        Some(match path.strip_prefix("/api/v1").unwrap_or(path) {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/" if path == "/" => Self::Home,
            "/openapi.json" | "/metrics" => Self::Management,
            _ if path.starts_with("/api/v1/") => Self::Management,
            _ => return None,
        })
    }

    fn title(rest: &str) -> Option<Self> {
        // One more than the longest path has, so that a longer one is seen to be longer.
        let mut parts = rest.splitn(6, '/');
        let title: TitleId = parts.next()?.parse().ok()?;
        let second = parts.next()?;
        let Some(rendition) = parts.next() else { return Self::of_title(title, second) };
        let (generation, rendition) = (second.parse().ok()?, rendition.parse::<RenditionName>().ok()?);
        if rendition.as_str() == "thumbnails" {
            let (file, None) = (parts.next()?, parts.next()) else { return None };
            return Some(match file {
                "index.m3u8" => Self::Images(title, generation),
                _ => Self::Sheet(title, generation, canonical(file.strip_suffix(".jpg")?)?),
            });
        }
        let (object, form) = match (parts.next()?, parts.next(), parts.next()) {
            ("index.m3u8", None, _) => return Some(Self::Media(title, generation, rendition)),
            ("ts.m3u8", None, _) => return Some(Self::MediaTs(title, generation, rendition)),
            ("iframe.m3u8", None, _) => return Some(Self::Iframes(title, generation, rendition)),
            ("init.mp4", None, _) => (Object::Init, Form::Cmaf),
            ("all.vtt", None, _) => (Object::Init, Form::Text),
            ("iframe", Some(file), None) => (Object::Iframe(canonical(file.strip_suffix(".m4s")?)?), Form::Cmaf),
            (file, None, _) => match file.rsplit_once('.')? {
                (number, "m4s") => (Object::Segment(canonical(number)?), Form::Cmaf),
                (number, "vtt") => (Object::Segment(canonical(number)?), Form::Text),
                (number, "ts") => (Object::Segment(canonical(number)?), Form::Transport),
                _ => return None,
            },
            _ => return None,
        };
        Some(Self::Object(Media { title, generation, rendition, object, form }))
    }

    fn of_title(title: TitleId, file: &str) -> Option<Self> {
        Some(match file {
            "master.m3u8" => Self::Master(title),
            "manifest.mpd" => Self::Manifest(title),
            "master-ts.m3u8" => Self::MasterTs(title),
            "poster.jpg" => Self::Poster(title),
            "thumbnails.vtt" => Self::Thumbnails(title),
            _ => return None,
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(title) => write!(f, "/v/{title}/master.m3u8"),
            Self::Manifest(title) => write!(f, "/v/{title}/manifest.mpd"),
            Self::Media(title, generation, rendition) => write!(f, "/v/{title}/{generation}/{rendition}/index.m3u8"),
            Self::Iframes(title, generation, rendition) => write!(f, "/v/{title}/{generation}/{rendition}/iframe.m3u8"),
            Self::MasterTs(title) => write!(f, "/v/{title}/master-ts.m3u8"),
            Self::MediaTs(title, generation, rendition) => write!(f, "/v/{title}/{generation}/{rendition}/ts.m3u8"),
            Self::Object(media) => media.fmt(f),
            Self::Poster(title) => write!(f, "/v/{title}/poster.jpg"),
            Self::Thumbnails(title) => write!(f, "/v/{title}/thumbnails.vtt"),
            Self::Images(title, generation) => write!(f, "/v/{title}/{generation}/thumbnails/index.m3u8"),
            Self::Sheet(title, generation, n) => write!(f, "/v/{title}/{generation}/thumbnails/{n}.jpg"),
            Self::Health => f.write_str("/healthz"),
            Self::Ready => f.write_str("/readyz"),
            Self::Management => f.write_str("/api/v1/"),
            Self::Home => f.write_str("/"),
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/v/{}/{}/{}/", self.title, self.generation, self.rendition)?;
        match (self.object, self.form) {
            // A transport stream has none of its own.
            (Object::Init, Form::Cmaf | Form::Transport) => f.write_str("init.mp4"),
            (Object::Init, Form::Text) => f.write_str("all.vtt"),
            (Object::Segment(n), Form::Cmaf) => write!(f, "{n}.m4s"),
            (Object::Segment(n), Form::Text) => write!(f, "{n}.vtt"),
            (Object::Segment(n), Form::Transport) => write!(f, "{n}.ts"),
            // Neither text nor a whole stream has pictures of its own; a path never parses to those.
            (Object::Iframe(n), Form::Cmaf | Form::Text | Form::Transport) => write!(f, "iframe/{n}.m4s"),
        }
    }
}

/// A number written the one way it can be: a second spelling would be a second URL for the same bytes.
fn canonical(digits: &str) -> Option<u32> {
    let plain = digits == "0" || !digits.starts_with('0');
    (plain && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_route_has_one_spelling() {
        let base = "/v/abcdefghjkmn/0123456789abcdef/720p";
        for good in [
            "0.m4s",
            "7.m4s",
            "10.m4s",
            "4294967295.m4s",
            "init.mp4",
            "index.m3u8",
            "iframe.m3u8",
            "iframe/0.m4s",
            "iframe/12.m4s",
            "7.vtt",
            "all.vtt",
            "7.ts",
            "ts.m3u8",
        ] {
            let path = format!("{base}/{good}");
            assert_eq!(Route::parse(&path).map(|r| r.to_string()), Some(path));
        }
        for bad in [
            "00.m4s",
            "01.m4s",
            "+1.m4s",
            "-1.m4s",
            "4294967296.m4s",
            ".m4s",
            "1.m4S",
            "1.m4s/",
            "init.m4s",
            "١.m4s",
            "07.vtt",
            "01.ts",
            "init.ts",
            "init.vtt",
            "all.m4s",
            "1.2.vtt",
            "iframe",
            "iframe/",
            "iframe/01.m4s",
            "iframe/init.mp4",
            "iframe/1.m4s/",
            "iframes/1.m4s",
            "1.m4s/iframe",
            "iframe/1.vtt",
        ] {
            assert_eq!(Route::parse(&format!("{base}/{bad}")), None, "{bad}");
        }
        for bad in ["", "//", "/v", "/v/", "/v/x/master.m3u8", "/videos", "/api/v1"] {
            assert_eq!(Route::parse(bad), None, "{bad}");
        }
        for (path, route) in [
            ("/v/abcdefghjkmn/master.m3u8", Route::Master("abcdefghjkmn".parse().unwrap())),
            ("/v/abcdefghjkmn/manifest.mpd", Route::Manifest("abcdefghjkmn".parse().unwrap())),
            ("/healthz", Route::Health),
            ("/api/v1/readyz", Route::Ready),
            ("/", Route::Home),
        ] {
            assert_eq!(Route::parse(path), Some(route), "{path}");
        }
        for path in ["/api/v1/", "/api/v1/videos", "/api/v1/v/abcdefghjkmn/master.m3u8"] {
            assert_eq!(Route::parse(path), Some(Route::Management), "{path}");
        }
    }

    #[test]
    fn pictures_have_one_spelling_too() {
        let title = "/v/abcdefghjkmn";
        let sheets = format!("{title}/0123456789abcdef/thumbnails");
        for good in ["poster.jpg", "thumbnails.vtt"].map(|file| format!("{title}/{file}")) {
            assert_eq!(Route::parse(&good).map(|r| r.to_string()), Some(good));
        }
        for good in ["index.m3u8", "0.jpg", "4294967295.jpg"].map(|file| format!("{sheets}/{file}")) {
            assert_eq!(Route::parse(&good).map(|r| r.to_string()), Some(good));
        }
        for bad in ["00.jpg", "0.m4s", "init.mp4", "4294967296.jpg", ".jpg", "0.jpeg"] {
            assert_eq!(Route::parse(&format!("{sheets}/{bad}")), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC*") {
            let _ = Route::parse(&path);
        }

        #[test]
        fn what_parses_prints_as_it_was(
            path in "/v/[a-z0-9]{11,13}/[a-z0-9]{15,17}/[a-z0-9-]{0,4}/(iframe/)?([0-9+-]{0,11}\\.(m4s|vtt|ts)|all\\.vtt|init\\.mp4|(index|iframe|ts)\\.m3u8)"
        ) {
            if let Some(route) = Route::parse(&path) {
                prop_assert_eq!(route.to_string(), path);
            }
        }

        #[test]
        fn every_segment_number_round_trips(n: u32) {
            let path = format!("/v/abcdefghjkmn/0123456789abcdef/audio-128k/{n}.m4s");
            prop_assert_eq!(Route::parse(&path).unwrap().to_string(), path);
        }
    }
}
