//! What happens, as it happens: Server-Sent Events (WHATWG HTML §9.2).
//!
//! A listener costs a task and a few kilobytes. One that does not read is left behind, its stream ends, and its browser
//! comes back with `Last-Event-ID`; what it missed is sent, or, if not all of it is known, an event `missed`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio::time::{Instant, interval_at};

use super::problem::{Kind, Problem};
use super::{Api, Response, videos};
use crate::ingest::Events;
use crate::ingest::events::{Event, Missed, What};
use crate::media::TitleId;

/// Listeners at once: each holds a connection.
pub(super) const MAX_LISTENERS: usize = 256;
/// Texts on their way to one listener; beyond these its share of the common queue fills up.
const ON_THE_WAY: usize = 16;
/// A comment is sent this often: proxies cut what is silent, and a listener that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back, milliseconds.
const RETRY: &str = "retry: 2000\n\n";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /events`.
pub(super) fn of_all(api: &Arc<Api>, parts: &request::Parts) -> Result<Response, Problem> {
    Ok(Listener::new(api, parts, None)?.begin(Vec::new()))
}

/// `GET /videos/{id}/events`: begins with the state the title is in.
pub(super) async fn of_one(api: &Arc<Api>, parts: &request::Parts, id: &TitleId) -> Result<Response, Problem> {
    // Listening comes before looking, so that no change falls between the two.
    let listener = Listener::new(api, parts, Some(id.clone()))?;
    let entry = videos::find(api, id).await?.entry;
    Ok(listener.begin(vec![text(None, id, &What::State { state: entry.state, error: entry.failure })]))
}

struct Listener {
    events: Events,
    only: Option<TitleId>,
    missed: Missed,
    hears: broadcast::Receiver<Event>,
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn new(api: &Arc<Api>, parts: &request::Parts, only: Option<TitleId>) -> Result<Self, Problem> {
        let full = |_| Problem::new(Kind::Busy, format!("{MAX_LISTENERS} listen already: try again in a moment"));
        let place = api.listeners.clone().try_acquire_owned().map_err(full)?;
        let last = parts.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
        let events = api.rooms.events.clone();
        let (missed, hears) = events.listen(last);
        Ok(Self { events, only, missed, hears, closing: api.closing.subscribe(), _place: place })
    }

    /// The stream, which begins with these texts and what was missed.
    fn begin(self, first: Vec<String>) -> Response {
        let (sender, receiver) = mpsc::channel(ON_THE_WAY);
        let mut begin = RETRY.to_owned();
        match &self.missed {
            Missed::Events(events) => begin.extend(events.iter().filter_map(|event| self.event(event))),
            Missed::Unknown(number) => {
                begin.push_str(&format!("id: {}\nevent: missed\ndata: {{}}\n\n", self.events.name(*number)));
            }
        }
        begin.extend(first);
        tokio::spawn(self.run(begin, sender));
        let mut response = Response::new(Feed(receiver).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx would gather events until a buffer is full.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    async fn run(mut self, begin: String, sender: mpsc::Sender<Bytes>) {
        let mut closing = self.closing.clone();
        tokio::select! {
            () = self.tell(begin, &sender) => {}
            () = sender.closed() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    /// Until nobody takes it, or the listener is too far behind.
    async fn tell(&mut self, begin: String, sender: &mpsc::Sender<Bytes>) {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let mut next = Some(begin);
        loop {
            if let Some(text) = next.take()
                && sender.send(text.into()).await.is_err()
            {
                return;
            }
            next = tokio::select! {
                heard = self.hears.recv() => match heard {
                    Ok(event) => self.event(&event),
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                },
                _ = heartbeat.tick() => Some(":\n\n".to_owned()),
            };
        }
    }

    fn event(&self, event: &Event) -> Option<String> {
        let wanted = self.only.as_ref().is_none_or(|only| *only == event.title);
        wanted.then(|| text(Some(&self.events.name(event.number)), &event.title, &event.what))
    }
}

fn text(name: Option<&str>, title: &TitleId, what: &What) -> String {
    let kind = match what {
        What::State { .. } => "state",
        What::Progress { .. } => "progress",
        What::Changed { .. } => "changed",
        What::Replaced { .. } => "replaced",
        What::Removed { .. } => "removed",
    };
    let mut data = json!(what);
    data["video"] = json!(title);
    let id = name.map(|name| format!("id: {name}\n")).unwrap_or_default();
    // JSON has no line ends in it.
    format!("{id}event: {kind}\ndata: {data}\n\n")
}

/// The stream as a body.
struct Feed(mpsc::Receiver<Bytes>);

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}
