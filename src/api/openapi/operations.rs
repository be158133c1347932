//! What each call does, takes, gives, and how it fails.

use http::Method;

use super::schemas::{Gives, Takes};
use super::{keys, webhooks};
use crate::api::Route;
use crate::api::problem::Kind;

/// A call.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    /// Names of components.
    pub parameters: &'static [&'static str],
    pub takes: Takes,
    pub gives: (u16, Gives),
    pub or_gives: Option<(u16, Gives)>,
    /// Besides what any call may be answered with.
    pub fails: &'static [Kind],
    /// Needs no key.
    pub is_public: bool,
}

pub(super) const BASE: Operation = Operation {
    id: "",
    tag: "videos",
    summary: "",
    parameters: &[],
    takes: Takes::Nothing,
    gives: (200, Gives::Nothing),
    or_gives: None,
    fails: &[],
    is_public: false,
};

const CREATE: Operation = Operation {
    id: "createVideo",
    summary: "Uploads a film in one request. It is processed in the background once its last byte has arrived.",
    parameters: &[
        "filename",
        "title",
        "description",
        "metadata",
        "policy",
        "Idempotency-Key",
        "Content-Digest",
        "Repr-Digest",
    ],
    takes: Takes::Film,
    gives: (201, Gives::CreatedVideo),
    fails: &[
        Kind::Body,
        Kind::Empty,
        Kind::Digest,
        Kind::DigestAlgorithm,
        Kind::Incomplete,
        Kind::Stalled,
        Kind::KeyInUse,
        Kind::TokenSpent,
        Kind::TooLarge,
        Kind::MediaType,
        Kind::Encoding,
        Kind::KeyReused,
        Kind::DiskFull,
        Kind::Quota,
        Kind::TooManyUploads,
    ],
    ..BASE
};

/// The call, or `None` if the route does not take the method. HEAD is GET without a body, except for uploads.
pub(super) fn operation(route: &Route, method: &Method) -> Option<Operation> {
    match route {
        Route::Videos => videos(method),
        Route::File(_) => file(method),
        Route::Video(_) => video(method),
        Route::Source(_) => source(method),
        Route::Warm(_) => warm(method),
        Route::Uploads => uploads(method),
        Route::Upload(_) => upload(method),
        Route::PlaybackTokens(_) => playback_tokens(method),
        Route::VideoEvents(_) => video_events(method),
        Route::Events => events(method),
        Route::Jobs => jobs(method),
        Route::Job(_) => job(method),
        Route::Keys => keys::all(method),
        Route::Key(_) => keys::one(method),
        Route::UploadTokens => keys::upload_tokens(method),
        Route::Webhooks => webhooks::webhooks(method),
        Route::Webhook(_) => webhooks::webhook(method),
        Route::Deliveries(_) => webhooks::deliveries(method),
        Route::Metrics => metrics(method),
        Route::OpenApi => openapi(method),
    }
}

/// What fails as a creation does, and in two more ways.
const fn and(more: [Kind; 2]) -> [Kind; CREATE.fails.len() + 2] {
    let mut all = [more[0]; CREATE.fails.len() + 2];
    let mut n = 0;
    while n < CREATE.fails.len() {
        all[n] = CREATE.fails[n];
        n += 1;
    }
    (all[n], all[n + 1]) = (more[0], more[1]);
    all
}

fn videos(method: &Method) -> Option<Operation> {
    const FETCH: [Kind; CREATE.fails.len() + 2] = and([Kind::Url, Kind::PrivateAddress]);
    match *method {
        Method::GET => Some(Operation {
            id: "listVideos",
            summary: "Lists videos, newest first.",
            parameters: &["cursor", "limit", "videoState"],
            gives: (200, Gives::VideoPage),
            fails: &[Kind::Query],
            ..BASE
        }),
        Method::POST => Some(Operation {
            summary: "Uploads a film in one request, or fetches one by URL. It is processed in the background once its last \
                byte has arrived.",
            takes: Takes::FilmOrUrl,
            fails: &FETCH,
            ..CREATE
        }),
        Method::PUT => Some(Operation {
            id: "putVideo",
            summary: "The same as POST, for clients that PUT.",
            gives: (201, Gives::SentVideo),
            ..CREATE
        }),
        _ => None,
    }
}

fn file(method: &Method) -> Option<Operation> {
    // What looks like an id takes no PUT.
    const FAILS: [Kind; CREATE.fails.len() + 2] = and([Kind::Method, Kind::NoRoute]);
    let summary = "Uploads a film under its file name, as `curl -T film.mp4` does.";
    let gives = (201, Gives::SentVideo);
    (*method == Method::PUT).then_some(Operation { id: "putFile", summary, gives, fails: &FAILS, ..CREATE })
}

/// What is no id is a file's name, which only takes PUT.
fn video(method: &Method) -> Option<Operation> {
    match *method {
        Method::GET => Some(Operation {
            id: "getVideo",
            summary: "Shows a video: its state, tracks, renditions and where it plays. A key with scope `upload` sees the \
                videos it added.",
            parameters: &["If-None-Match", "If-Match"],
            or_gives: Some((304, Gives::Nothing)),
            gives: (200, Gives::Video),
            fails: &[Kind::NoTitle, Kind::NoRoute, Kind::Method, Kind::Version],
            ..BASE
        }),
        Method::PATCH => Some(Operation {
            id: "changeVideo",
            summary: "Changes title, description, metadata or policy of a video, by a merge patch (RFC 7396).",
            parameters: &["If-Match"],
            takes: Takes::Change,
            gives: (200, Gives::Video),
            fails: &[
                Kind::NoTitle,
                Kind::NoRoute,
                Kind::Method,
                Kind::Body,
                Kind::Incomplete,
                Kind::Stalled,
                Kind::Version,
                Kind::TooLarge,
                Kind::MediaType,
                Kind::Encoding,
                Kind::DiskFull,
            ],
            ..BASE
        }),
        Method::DELETE => Some(Operation {
            id: "removeVideo",
            summary: "Deletes a video with all its bytes, also while somebody plays it.",
            parameters: &["If-Match"],
            gives: (200, Gives::Removed),
            fails: &[Kind::NoTitle, Kind::NoRoute, Kind::Method, Kind::Version, Kind::DiskFull],
            ..BASE
        }),
        _ => None,
    }
}

fn source(method: &Method) -> Option<Operation> {
    (*method == Method::PUT).then_some(Operation {
        id: "replaceSource",
        summary: "Replaces the film of a video. The old one plays until the new one can: `replacement` of the video, the job \
            and the event `replaced` tell. 200 if it is the same film. A key may do that to videos it added, one with scope \
            `admin` to all.",
        parameters: &["filename", "If-Match", "Content-Digest", "Repr-Digest"],
        takes: Takes::Film,
        gives: (202, Gives::SentVideo),
        or_gives: Some((200, Gives::SentVideo)),
        fails: &[
            Kind::NoTitle,
            Kind::NoRoute,
            Kind::NotReady,
            Kind::Version,
            Kind::Body,
            Kind::Empty,
            Kind::Digest,
            Kind::DigestAlgorithm,
            Kind::Incomplete,
            Kind::Stalled,
            Kind::TooLarge,
            Kind::MediaType,
            Kind::Encoding,
            Kind::DiskFull,
            Kind::Quota,
            Kind::TooManyUploads,
        ],
        ..BASE
    })
}

fn warm(method: &Method) -> Option<Operation> {
    (*method == Method::POST).then_some(Operation {
        id: "warmVideo",
        summary: "Encodes a video, or part of it, ahead of demand, as a job.",
        takes: Takes::Stretch,
        gives: (201, Gives::Job),
        fails: &[
            Kind::NoTitle,
            Kind::NoRoute,
            Kind::NotReady,
            Kind::Body,
            Kind::Incomplete,
            Kind::Stalled,
            Kind::TooLarge,
            Kind::MediaType,
            Kind::Encoding,
        ],
        ..BASE
    })
}

/// What may become of an upload's bytes, whichever call brings them.
const APPENDING: [Kind; 17] = [
    Kind::TokenSpent,
    Kind::TusVersion,
    Kind::MediaType,
    Kind::Encoding,
    Kind::Body,
    Kind::Empty,
    Kind::TooLarge,
    Kind::Checksum,
    Kind::Incomplete,
    Kind::Stalled,
    Kind::DiskFull,
    Kind::NoUpload,
    Kind::UploadExpired,
    Kind::Quota,
    Kind::TooManyUploads,
    Kind::NoTitle,
    Kind::NotReady,
];

const SENDING: [Kind; 21] = with(APPENDING, [Kind::UploadFinal, Kind::UploadOffset, Kind::UploadLocked]);

const RESUMABLE: Operation = Operation {
    tag: "uploads",
    parameters: &["Tus-Resumable"],
    fails: &[Kind::TusVersion, Kind::NoRoute, Kind::NoUpload, Kind::UploadExpired],
    ..BASE
};

fn uploads(method: &Method) -> Option<Operation> {
    (*method == Method::POST).then_some(Operation {
        id: "createUpload",
        summary: "Begins a resumable upload, perhaps with its first bytes, or puts finished parts together (tus 1.0.0: \
            creation, creation-with-upload, creation-defer-length, concatenation).",
        parameters: &[
            "Tus-Resumable",
            "Upload-Length",
            "Upload-Defer-Length",
            "Upload-Concat",
            "Upload-Metadata",
            "Upload-Checksum",
        ],
        takes: Takes::FirstBytes,
        gives: (201, Gives::BegunUpload),
        fails: &SENDING,
        ..RESUMABLE
    })
}

fn upload(method: &Method) -> Option<Operation> {
    match *method {
        Method::GET => Some(Operation {
            id: "getUpload",
            parameters: &[],
            gives: (200, Gives::Upload),
            summary: "Gives the bytes of a finished upload, or its state as JSON if asked for.",
            fails: &[Kind::NoRoute, Kind::NoUpload, Kind::UploadExpired, Kind::NoTitle],
            ..RESUMABLE
        }),
        // Unlike any other HEAD it does something, and has a description of its own.
        Method::HEAD => Some(Operation {
            id: "headUpload",
            summary: "Says where to go on (tus 1.0.0). Takes the upload away from a request that still sends to it.",
            gives: (200, Gives::UploadState),
            fails: &[
                Kind::TusVersion,
                Kind::TokenSpent,
                Kind::NoRoute,
                Kind::NoUpload,
                Kind::UploadExpired,
                Kind::UploadLocked,
                Kind::NoTitle,
                Kind::NotReady,
                Kind::Quota,
                Kind::TooManyUploads,
                Kind::Empty,
                Kind::DiskFull,
            ],
            ..RESUMABLE
        }),
        Method::PATCH => Some(Operation {
            id: "appendToUpload",
            summary: "Sends the next bytes of an upload (tus 1.0.0). Takes the upload away from a request that still sends to it.",
            parameters: &["Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Checksum"],
            takes: Takes::Bytes,
            gives: (204, Gives::AppendedUpload),
            fails: &SENDING,
            ..RESUMABLE
        }),
        Method::DELETE => Some(Operation {
            id: "removeUpload",
            summary: "Ends an upload and removes its bytes (tus 1.0.0, termination).",
            gives: (204, Gives::Nothing),
            fails: &[Kind::TusVersion, Kind::NoRoute, Kind::NoUpload, Kind::UploadExpired, Kind::UploadLocked],
            ..RESUMABLE
        }),
        _ => None,
    }
}

/// Both lists, and that there is no such path.
const fn with(many: [Kind; 17], few: [Kind; 3]) -> [Kind; 21] {
    let mut all = [Kind::NoRoute; 21];
    let mut n = 0;
    while n < many.len() {
        all[n] = many[n];
        n += 1;
    }
    while n < many.len() + few.len() {
        all[n] = few[n - many.len()];
        n += 1;
    }
    all
}

fn playback_tokens(method: &Method) -> Option<Operation> {
    (*method == Method::POST).then_some(Operation {
        id: "createPlaybackToken",
        summary: "Gives signed URLs by which a video plays for a limited time, by default four hours.",
        takes: Takes::PlaybackToken,
        gives: (201, Gives::PlaybackToken),
        fails: &[
            Kind::NoTitle,
            Kind::NoRoute,
            Kind::Body,
            Kind::Incomplete,
            Kind::Stalled,
            Kind::TooLarge,
            Kind::MediaType,
            Kind::Encoding,
        ],
        ..BASE
    })
}

fn video_events(method: &Method) -> Option<Operation> {
    (*method == Method::GET).then_some(Operation {
        id: "streamVideoEvents",
        tag: "events",
        summary: "Streams state and progress of one video as Server-Sent Events, beginning with its present state. A key with \
            scope `upload` may do that for videos it added.",
        parameters: &["Last-Event-ID"],
        gives: (200, Gives::Events),
        fails: &[Kind::NoTitle, Kind::NoRoute],
        ..BASE
    })
}

fn events(method: &Method) -> Option<Operation> {
    (*method == Method::GET).then_some(Operation {
        id: "streamEvents",
        tag: "events",
        summary: "Streams state and progress of all videos as Server-Sent Events.",
        parameters: &["Last-Event-ID"],
        gives: (200, Gives::Events),
        ..BASE
    })
}

fn jobs(method: &Method) -> Option<Operation> {
    (*method == Method::GET).then_some(Operation {
        id: "listJobs",
        tag: "jobs",
        summary: "Lists jobs, newest first.",
        parameters: &["cursor", "limit", "jobState"],
        gives: (200, Gives::JobPage),
        fails: &[Kind::Query],
        ..BASE
    })
}

fn job(method: &Method) -> Option<Operation> {
    const JOB: Operation =
        Operation { tag: "jobs", gives: (200, Gives::Job), fails: &[Kind::NoJob, Kind::NoRoute], ..BASE };
    match *method {
        Method::GET => Some(Operation { id: "getJob", summary: "Shows a job.", ..JOB }),
        Method::DELETE => Some(Operation {
            id: "cancelJob",
            summary: "Cancels a job. If the job was to make a new video playable, that video fails and its source is deleted; \
                cancelling a warm or replace job leaves the video as it is.",
            fails: &[Kind::NoJob, Kind::NoRoute, Kind::JobEnded, Kind::DiskFull],
            ..JOB
        }),
        _ => None,
    }
}

fn metrics(method: &Method) -> Option<Operation> {
    (*method == Method::GET).then_some(Operation {
        id: "getMetrics",
        tag: "server",
        summary: "Metrics in the Prometheus text format. Needs no key if asked from this machine, not through a proxy.",
        gives: (200, Gives::Metrics),
        ..BASE
    })
}

fn openapi(method: &Method) -> Option<Operation> {
    (*method == Method::GET).then_some(Operation {
        id: "getOpenApi",
        tag: "server",
        summary: "This document.",
        gives: (200, Gives::Document),
        is_public: true,
        ..BASE
    })
}
