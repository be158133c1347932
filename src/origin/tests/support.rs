//! A server on a loopback port, a plan, and an encoder in the test's hands.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::cache::{Cache, Claim, FlightError, Key, Object, Writer};
use crate::media::{
    AudioRendition, AudioSource, Colour, Cut, Grid, Plan, Rate, Rendition, RenditionKind, Timescale, TitleId,
    VideoRendition, VideoSource,
};
use crate::origin::presentation::{Facts, Failure, Found, State, Title};
use crate::origin::{Came, Config, Counters, Drained, Order, Origin, PictureOrder, Play, Rooms, Server};

pub const READY: &str = "abcdefghjkmn";
pub const COMING: &str = "000000000001";
pub const FAILED: &str = "000000000002";
pub const BASE: &str = "/v/abcdefghjkmn/0123456789abcdef";
pub const SEGMENTS: u32 = 30;

pub struct TestServer {
    pub address: SocketAddr,
    pub origin: Arc<Origin>,
    pub orders: mpsc::UnboundedReceiver<Order>,
    pub pictures: mpsc::UnboundedReceiver<PictureOrder>,
    pub lookups: Arc<AtomicUsize>,
    pub hints: Arc<AtomicUsize>,
    pub plays: Arc<Mutex<Vec<Play>>>,
    pub first_bytes: Arc<Mutex<Vec<Came>>>,
    pub titles: Arc<Mutex<HashMap<TitleId, Title>>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
    _cache: TempDir,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::patient(config, Duration::from_secs(60)).await
    }

    /// For players who give up what nobody has begun after this long.
    pub async fn patient(config: Config, patience: Duration) -> Self {
        #[expect(clippy::disallowed_methods, reason = "holds the few orders of one test")]
        let ((order, orders), (picture, pictures)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (lookups, hints) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let first_bytes = Arc::new(Mutex::new(Vec::new()));
        let (titles, plays) = (Arc::new(Mutex::new(titles())), Arc::new(Mutex::new(Vec::new())));
        let (cache, folder) = cache();
        let rooms = Rooms {
            cache,
            find: {
                let (lookups, titles) = (lookups.clone(), titles.clone());
                Arc::new(move |id| {
                    lookups.fetch_add(1, Ordering::SeqCst);
                    Ok(titles.lock().unwrap().get(id).cloned())
                })
            },
            mark: Arc::new(|_| Ok(None)),
            list: {
                let titles = titles.clone();
                Arc::new(move |_, _| Ok(Some(titles.lock().unwrap().values().cloned().collect())))
            },
            manage: Arc::new(|request| {
                let id = request.headers()["x-request-id"].as_bytes().to_vec();
                Box::pin(async move { http::Response::new(http_body_util::Full::new(id.into()).boxed_unsync()) })
            }),
            readers: Arc::new(|parts| parts.headers.get("origin").filter(|site| *site == "http://own").cloned()),
            is_rebound: Arc::new(|parts| Ok(parts.headers.get("host").is_some_and(|host| host == "evil.example"))),
            playback: crate::access::Playback::new(&crate::access::Secret::open(folder.path()).unwrap()),
            make: Arc::new(move |o| drop(order.send(o))),
            patience,
            make_picture: Arc::new(move |o| drop(picture.send(o))),
            on_segment: {
                let plays = plays.clone();
                Arc::new(move |_, play| plays.lock().unwrap().push(play))
            },
            on_quality: Arc::new(|_| {}),
            on_first_byte: {
                let first_bytes = first_bytes.clone();
                Arc::new(move |came, _| first_bytes.lock().unwrap().push(came))
            },
            on_master: {
                let hints = hints.clone();
                Arc::new(move |_| {
                    hints.fetch_add(1, Ordering::SeqCst);
                })
            },
            ready: Arc::new(|| Ok(())),
        };
        let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..config };
        let origin = Arc::new(Origin::new(&config, rooms));
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(origin.clone(), async { drop(stopped.await) }, || ()));
        Self {
            address,
            origin,
            orders,
            pictures,
            lookups,
            hints,
            plays,
            first_bytes,
            titles,
            stop: Some(stop),
            running,
            _cache: folder,
        }
    }

    /// The next order.
    pub async fn order(&mut self) -> Order {
        bound(self.orders.recv()).await.unwrap()
    }

    /// Waits until so many clients wait for an object of 720p that is being made.
    pub async fn joined(&self, object: Object, clients: usize) {
        let key = Key { generation: "0123456789abcdef".parse().unwrap(), rendition: "720p".parse().unwrap(), object };
        let Claim::Making(reader) = self.origin.rooms.cache.claim(&key).await else { panic!("it is not being made") };
        bound(async {
            while reader.viewers() <= clients {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits until a count has been reached.
    pub async fn until(&self, reached: impl Fn(&Counters) -> bool) {
        let counters = self.origin.counters();
        bound(async {
            while !reached(counters) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Starts the end.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn stopped(mut self) -> Drained {
        self.stop();
        self.running.await.unwrap()
    }
}

/// Turns what would hang into a failure.
pub async fn bound<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes within 60 s")
}

// What the cache's API looks like to whoever fills it: the only lines that know.

fn cache() -> (Cache, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Cache::open(&crate::cache::Config::default(), folder.path()).unwrap(), folder)
}

pub fn push(writer: &mut Writer, bytes: &[u8]) {
    writer.push(Bytes::copy_from_slice(bytes));
}

pub fn finish(writer: Writer) {
    writer.commit().unwrap();
}

pub fn fail(writer: Writer, error: FlightError) {
    writer.fail(error);
}

/// Makes an object in one chunk.
pub fn make(mut order: Order, bytes: &[u8]) {
    push(&mut order.writer, bytes);
    finish(order.writer);
}

fn titles() -> HashMap<TitleId, Title> {
    let ready = Found::Ready(Facts {
        id: READY.parse().unwrap(),
        digest: "0".repeat(64).parse().unwrap(),
        generation: "0123456789abcdef".parse().unwrap(),
        plan: Arc::new(plan()),
        policy: crate::media::Policy::Public,
    });
    let failure = Failure { code: "damaged".into() };
    [
        (READY, ready),
        (COMING, Found::Unready { state: State::Processing, failure: None }),
        (FAILED, Found::Unready { state: State::Failed, failure: Some(failure) }),
    ]
    .map(|(id, found)| {
        let id: TitleId = id.parse().unwrap();
        (id.clone(), Title { id, name: "<Film>".into(), found })
    })
    .into()
}

pub fn plan() -> Plan {
    let grid = |scale: u32, frames: u64, ticks: u64| {
        let cuts = (0..=u64::from(SEGMENTS)).map(|n| Cut { frame: n * frames, at: n * ticks }).collect();
        Grid::new(Timescale::new(scale).unwrap(), cuts).unwrap()
    };
    let colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let video = VideoRendition {
        width: 1280,
        height: 720,
        rate: Rate::new(25, 1).unwrap(),
        peak_rate: None,
        colour,
        audio: Some("audio-128k".parse().unwrap()),
        source: VideoSource::Encode { ceiling: 2_800_000, level: 31, min_frame_ticks: 0 },
    };
    let audio = AudioRendition {
        track: 0,
        rate: 48_000,
        channels: 2,
        language: "und".into(),
        source: AudioSource::Encode { bitrate: 128_000 },
        label: crate::media::Label::default(),
    };
    let rendition = |name: &str, grid, codecs: &str, bandwidth, kind| Rendition {
        name: name.parse().unwrap(),
        grid,
        codecs: codecs.into(),
        bandwidth,
        average_bandwidth: None,
        kind,
    };
    Plan {
        tracks: Vec::new(),
        renditions: vec![
            rendition("720p", grid(25, 100, 100), "avc1.64001F", 2_900_000, RenditionKind::Video(video)),
            rendition("audio-128k", grid(48_000, 188, 192_512), "mp4a.40.2", 130_000, RenditionKind::Audio(audio)),
        ],
    }
}
