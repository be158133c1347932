//! The paths below `/api/v1/`, and who may do what there.

use http::Method;
use http::header::ALLOW;
use percent_encoding::percent_decode_str;

use super::access::Scope;
use super::problem::{Kind, Problem};
use crate::media::{JobId, KeyId, TitleId, UploadId, WebhookId};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/videos`.
    Videos,
    /// `/videos/{file name}`: where `curl -T film.mp4 .../videos/` sends it. What could be an id is one.
    File(String),
    /// `/videos/{id}`.
    Video(TitleId),
    /// `/videos/{id}/source`.
    Source(TitleId),
    /// `/videos/{id}/warm`.
    Warm(TitleId),
    /// `/videos/{id}/playback-tokens`.
    PlaybackTokens(TitleId),
    /// `/videos/{id}/events`.
    VideoEvents(TitleId),
    /// `/uploads`.
    Uploads,
    /// `/uploads/{id}`.
    Upload(UploadId),
    /// `/events`.
    Events,
    /// `/jobs`.
    Jobs,
    /// `/jobs/{id}`.
    Job(JobId),
    /// `/keys`.
    Keys,
    /// `/keys/{id}`.
    Key(KeyId),
    /// `/upload-tokens`.
    UploadTokens,
    /// `/webhooks`.
    Webhooks,
    /// `/webhooks/{id}`.
    Webhook(WebhookId),
    /// `/webhooks/{id}/deliveries`.
    Deliveries(WebhookId),
    /// `/metrics`, also without `/api/v1` before it.
    Metrics,
    /// `/openapi.json`, the same.
    OpenApi,
}

impl Route {
    /// `None` for a path that can name nothing.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let alone = path.strip_prefix('/').filter(|name| matches!(*name, "metrics" | "openapi.json"));
        let parts: Vec<&str> = alone.or_else(|| path.strip_prefix("/api/v1/"))?.splitn(4, '/').collect();
        match parts[..] {
            ["videos"] | ["videos", ""] => Some(Self::Videos),
            ["videos", id, "events"] => id.parse().ok().map(Self::VideoEvents),
            ["videos", id, "source"] => id.parse().ok().map(Self::Source),
            ["videos", id, "warm"] => id.parse().ok().map(Self::Warm),
            ["videos", id, "playback-tokens"] => id.parse().ok().map(Self::PlaybackTokens),
            ["videos", name] => match name.parse() {
                Ok(id) => Some(Self::Video(id)),
                Err(_) => percent_decode_str(name).decode_utf8().ok().map(|name| Self::File(name.into_owned())),
            },
            ["uploads"] | ["uploads", ""] => Some(Self::Uploads),
            ["uploads", id] => id.parse().ok().map(Self::Upload),
            ["events"] => Some(Self::Events),
            ["jobs"] => Some(Self::Jobs),
            ["jobs", id] => id.parse().ok().map(Self::Job),
            ["upload-tokens"] => Some(Self::UploadTokens),
            ["metrics"] => Some(Self::Metrics),
            ["openapi.json"] => Some(Self::OpenApi),
            ["webhooks"] => Some(Self::Webhooks),
            ["webhooks", id] => id.parse().ok().map(Self::Webhook),
            ["webhooks", id, "deliveries"] => id.parse().ok().map(Self::Deliveries),
            ["keys"] => Some(Self::Keys),
            ["keys", id] => id.parse().ok().map(Self::Key),
            _ => None,
        }
    }

    /// What a caller must be allowed for this; `None` if the method is not for this path.
    #[must_use]
    pub fn scope(&self, method: &Method) -> Option<Scope> {
        let find = self.methods().iter().find(|(known, _)| *known == *method);
        find.map(|(_, scope)| *scope)
    }

    /// The title that is looked at: who brought it may, too.
    pub(super) fn seen(&self, method: &Method) -> Option<&TitleId> {
        match self {
            Self::Video(id) | Self::VideoEvents(id) if matches!(*method, Method::GET | Method::HEAD) => Some(id),
            _ => None,
        }
    }

    /// Whether an upload token does for this: it sends a film, and looks at what becomes of it.
    #[must_use]
    pub fn takes_token(&self, method: &Method) -> bool {
        match self {
            Self::Videos => matches!(*method, Method::POST | Method::PUT),
            Self::File(_) => *method == Method::PUT,
            // Its own alone, which is asked for there.
            Self::Uploads | Self::Upload(_) => true,
            Self::Video(_) | Self::VideoEvents(_) => self.seen(method).is_some(),
            Self::Source(_)
            | Self::Warm(_)
            | Self::PlaybackTokens(_)
            | Self::Events
            | Self::Jobs
            | Self::Job(_)
            | Self::Keys
            | Self::Key(_)
            | Self::UploadTokens
            | Self::Webhooks
            | Self::Webhook(_)
            | Self::Deliveries(_)
            | Self::Metrics
            | Self::OpenApi => false,
        }
    }

    /// The methods, as `Allow` lists them.
    #[must_use]
    pub fn allow(&self) -> String {
        let names: Vec<&str> = self.methods().iter().map(|(method, _)| method.as_str()).collect();
        names.join(", ") + ", OPTIONS"
    }

    /// That the path does not take this method.
    pub(super) fn refuse(&self, method: &Method) -> Problem {
        let problem = match self {
            Self::Video(id) if *method == Method::PUT => {
                let send = format!("a file of that name is sent to /api/v1/videos/?filename={id}");
                Problem::new(Kind::Method, format!("{id} may be the id of a video, which takes no PUT: {send}"))
            }
            _ => Problem::of(Kind::Method),
        };
        problem.header(ALLOW, &self.allow())
    }

    pub(super) fn methods(&self) -> &'static [(Method, Scope)] {
        const READ: (Method, Scope) = (Method::GET, Scope::Read);
        const HEAD: (Method, Scope) = (Method::HEAD, Scope::Read);
        match self {
            Self::Videos => &[READ, HEAD, (Method::POST, Scope::Upload), (Method::PUT, Scope::Upload)],
            Self::File(_) => &[(Method::PUT, Scope::Upload)],
            // To change a title, or its source, is for who made it; another's takes `Scope::Admin`, which is asked for there.
            Self::Video(_) => &[READ, HEAD, (Method::PATCH, Scope::Upload), (Method::DELETE, Scope::Admin)],
            Self::Source(_) => &[(Method::PUT, Scope::Upload)],
            Self::Warm(_) => &[(Method::POST, Scope::Admin)],
            Self::Uploads => &[(Method::POST, Scope::Upload)],
            // Who may not upload need not know of what others upload.
            Self::Upload(_) => &[
                (Method::GET, Scope::Upload),
                (Method::HEAD, Scope::Upload),
                (Method::PATCH, Scope::Upload),
                (Method::DELETE, Scope::Upload),
            ],
            // Who may look may also let others look.
            Self::PlaybackTokens(_) => &[(Method::POST, Scope::Read)],
            Self::VideoEvents(_) | Self::Events | Self::Jobs | Self::Metrics | Self::OpenApi => &[READ, HEAD],
            Self::Job(_) => &[READ, HEAD, (Method::DELETE, Scope::Admin)],
            Self::UploadTokens => &[(Method::POST, Scope::Upload)],
            Self::Keys | Self::Webhooks => {
                &[(Method::GET, Scope::Admin), (Method::HEAD, Scope::Admin), (Method::POST, Scope::Admin)]
            }
            Self::Deliveries(_) => &[(Method::GET, Scope::Admin), (Method::HEAD, Scope::Admin)],
            Self::Key(_) | Self::Webhook(_) => {
                &[(Method::GET, Scope::Admin), (Method::HEAD, Scope::Admin), (Method::DELETE, Scope::Admin)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_names_nothing_is_no_route() {
        for bad in [
            "",
            "/",
            "/api/v1/",
            "/api/v1/videos/000000000001/x",
            "/api/v1/jobs/1",
            "/api/v1/videos/000000000001/events/",
            "/api/v1/videos/a.mp4/b",
            "/api/v1/videos/%ff.mp4",
        ] {
            assert_eq!(Route::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_id_is_a_file_name() {
        let id: TitleId = "000000000001".parse().unwrap();
        assert_eq!(Route::parse("/api/v1/videos/000000000001"), Some(Route::Video(id)));
        assert_eq!(Route::parse("/api/v1/videos/a%20b.mp4"), Some(Route::File("a b.mp4".into())));
        assert_eq!(Route::parse("/api/v1/videos/film"), Some(Route::File("film".into())));
        // As long as an id, but with letters that no id has.
        assert_eq!(Route::parse("/api/v1/videos/holidayvideo"), Some(Route::File("holidayvideo".into())));
        assert_eq!(Route::parse("/api/v1/videos/"), Some(Route::Videos));
    }

    #[test]
    fn looking_needs_least_and_removing_most() {
        let video = Route::Video("000000000001".parse().unwrap());
        assert_eq!(video.scope(&Method::GET), Some(Scope::Read));
        assert_eq!(video.scope(&Method::DELETE), Some(Scope::Admin));
        assert_eq!(video.scope(&Method::POST), None);
        assert_eq!(video.allow(), "GET, HEAD, PATCH, DELETE, OPTIONS");
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/api/v1/(videos|jobs)/)?\\PC*") {
            let _ = Route::parse(&path);
        }
    }
}
