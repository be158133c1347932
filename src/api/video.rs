//! A title as JSON, and the fields of it that its uploader sets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Api;
use super::problem::{Kind, Problem};
use crate::catalog::{Entry, Job, JobState, Metadata, State, Title};
use crate::ingest::About;
use crate::ingest::name::{MAX_NAME_CHARS, is_line};
use crate::media::{Generation, Plan, Policy, Rendition, RenditionKind, TitleId, TrackKind};

/// Longest description, characters.
const MAX_DESCRIPTION_CHARS: usize = 5000;
/// Longest metadata, bytes as JSON: every listing carries them.
const MAX_METADATA_BYTES: usize = 16 << 10;
/// Deepest metadata, levels: they are kept within other JSON, and what is deeper than 127 levels in all is not read.
const MAX_METADATA_DEPTH: usize = 32;

/// The title as the API shows it. Blocks; costs milliseconds for a long film.
pub(super) fn json(api: &Api, title: &Title, replacement: Option<&Job>) -> Result<Value, Problem> {
    let Title { entry, plan } = title;
    let mut video = json!({
        "id": entry.id, "title": entry.name, "description": entry.description, "metadata": entry.metadata,
        "state": entry.state, "error": entry.failure, "created_at": time(entry.created_at_ms),
        "file_name": entry.file_name, "size_bytes": entry.size_bytes, "source": entry.source,
        "duration_s": entry.duration_s, "width": null, "height": null, "frame_rate": null, "tracks": [],
        "renditions": [], "playback": playback(&entry.id, entry.state), "warnings": entry.notes, "bridged_frames": 0,
        "playback_policy": entry.policy, "replacement": replacement.and_then(waiting),
    });
    if let (Some(plan), Some(digest)) = (plan, &entry.source) {
        let generation = (api.rooms.generation)(digest, plan);
        video["bridged_frames"] = json!(api.rooms.catalog.bridged(digest, &generation)?);
        if let Some((_, best)) = plan.video().next() {
            video["width"] = json!(best.width);
            video["height"] = json!(best.height);
            video["frame_rate"] = json!(best.rate.fps());
        }
        video["tracks"] = json!(plan.tracks);
        video["renditions"] = plan.renditions.iter().map(|r| rendition(api, &generation, r)).collect();
        add_pictures(&mut video["playback"], "", &entry.id, plan);
    }
    Ok(video)
}

/// Where a title plays, or will: that follows from its id. What failed plays nowhere.
#[must_use]
pub fn playback(id: &TitleId, state: State) -> Value {
    if state == State::Failed { json!({ "hls": null, "hls_ts": null, "dash": null }) } else { places("", id) }
}

/// Adds the pictures of a title, as far as it has any, behind `before`.
pub(super) fn add_pictures(playback: &mut Value, before: &str, id: &TitleId, plan: &Plan) {
    let place = |is_there: bool, file: &str| is_there.then(|| format!("{before}/v/{id}/{file}"));
    let has_video = plan.video().next().is_some();
    // Without video, what is listed as a still picture is the cover art.
    let has_cover = plan.tracks.iter().any(|track| track.kind == TrackKind::Video);
    playback["poster"] = json!(place(has_video || has_cover, "poster.jpg"));
    playback["thumbnails"] = json!(place(has_video, "thumbnails.vtt"));
}

/// The paths of a title's playlists and manifest, behind `before`: `""`, or `/s/{token}`.
pub(super) fn places(before: &str, id: &TitleId) -> Value {
    let place = |file: &str| format!("{before}/v/{id}/{file}");
    json!({ "hls": place("master.m3u8"), "hls_ts": place("master-ts.m3u8"), "dash": place("manifest.mpd") })
}

/// What waits to be the title's source, or could not be.
fn waiting(job: &Job) -> Option<Value> {
    let (file_name, size_bytes) = job.film();
    (job.state != JobState::Done).then(|| {
        json!({
            "job": job.id, "state": job.state, "error": job.failure, "file_name": file_name, "size_bytes": size_bytes,
        })
    })
}

/// Names the version of what its uploader can change, not of what is cached of it.
pub(super) fn version(entry: &Entry) -> String {
    format!("{}-{}", entry.id, entry.version)
}

/// RFC 3339. Beyond what a timestamp holds there is only what a damaged row says.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// Takes a field that came as text. False if there is no such field.
pub(super) fn field(about: &mut About, name: &str, value: String) -> Result<bool, Problem> {
    match name {
        "title" => about.title = Some(title(value)?),
        "description" => about.description = description(value)?,
        "metadata" => {
            let read = serde_json::from_str(&value).map_err(|_| bad("metadata", "a JSON object"))?;
            about.metadata = metadata(read)?;
        }
        "playback_policy" => about.policy = policy(&value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A title's name that can stand in lists.
pub(super) fn title(text: String) -> Result<String, Problem> {
    let must = || bad("title", &format!("one line of 1 to {MAX_NAME_CHARS} characters"));
    if is_line(&text, MAX_NAME_CHARS) { Ok(text.trim().to_owned()) } else { Err(must()) }
}

/// A description that is not too long.
pub(super) fn description(text: String) -> Result<String, Problem> {
    if text.chars().count() <= MAX_DESCRIPTION_CHARS {
        return Ok(text);
    }
    Err(bad("description", &format!("text of up to {MAX_DESCRIPTION_CHARS} characters")))
}

/// Metadata that are not too large, nor too deep.
pub(super) fn metadata(value: Value) -> Result<Metadata, Problem> {
    let fits = depth(&value) <= MAX_METADATA_DEPTH && value.to_string().len() <= MAX_METADATA_BYTES;
    match value {
        Value::Object(fields) if fits => Ok(fields),
        _ => Err(bad(
            "metadata",
            &format!("a JSON object of up to {MAX_METADATA_BYTES} bytes and {MAX_METADATA_DEPTH} levels"),
        )),
    }
}

/// Levels of objects and lists in each other: 1 for an empty one, 0 for anything else. What came as JSON has at most 127.
fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Who may play it.
pub(super) fn policy(text: &str) -> Result<Policy, Problem> {
    text.parse().map_err(|_| bad("playback_policy", "public or signed"))
}

/// A field with a value it may not have.
pub(super) fn bad(name: &str, must: &str) -> Problem {
    Problem::new(Kind::Body, format!("{name} must be {must}"))
}

fn rendition(api: &Api, generation: &Generation, rendition: &Rendition) -> Value {
    let segments = rendition.grid.segments();
    let (width, height) = match &rendition.kind {
        RenditionKind::Video(video) => (Some(video.width), Some(video.height)),
        RenditionKind::Audio(_) | RenditionKind::Text(_) => (None, None),
    };
    json!({
        "name": rendition.name, "codecs": rendition.codecs, "width": width, "height": height,
        "bandwidth": rendition.bandwidth, "segments": segments,
        "cached_segments": api.rooms.cache.segments(generation, &rendition.name),
    })
}
