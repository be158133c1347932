//! Runs without workers: a source that cannot be opened fails an order once its turn has come, which shows whose it was.

use std::collections::HashMap;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::desk::Desk;
use super::job::{Interest, Outcome};
use super::schedule::{Ask, Slot, Weight};
use super::*;
use crate::cache;
use crate::media::{Colour, Cut, Grid, Rate, RenditionKind, Timescale, Trial, VideoRendition, VideoSource};
use crate::worker;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An encoder of one slot, and the sources it opened in vain.
struct Bench {
    encoder: Encoder,
    cache: Cache,
    opened: Arc<Mutex<Vec<Digest>>>,
    _folder: TempDir,
}

/// An encoder of one slot that can start no worker.
pub(crate) fn without_workers(cache: &Cache, open: Open) -> Encoder {
    let workers = worker::Config { standby: 0, program: Some("/nonexistent".into()), ..worker::Config::default() };
    let rooms = Rooms {
        pool: Pool::start(workers).unwrap(),
        cache: cache.clone(),
        open,
        ended: Arc::new(|_, _| {}),
        bridged: Arc::new(|_, _, _, _| {}),
    };
    let trial = |codec: &str| Trial {
        name: codec.into(),
        codec: codec.into(),
        rank: 1,
        devices: Vec::new(),
        outcome: Ok([0; 32]),
    };
    let config = Config { workers: 1, ..Config::default() };
    let recipe = Recipe::choose(&["h264", "aac", "jpeg"].map(trial), &config).unwrap();
    Encoder::start(&config, recipe, rooms)
}

impl Bench {
    fn new() -> Self {
        Self::over(&cache::Config::default())
    }

    fn over(config: &cache::Config) -> Self {
        let folder = TempDir::new().unwrap();
        let cache = Cache::open(config, folder.path()).unwrap();
        let opened = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&opened);
        let open: Open = Arc::new(move |digest: &Digest| {
            lock(&log).push(digest.clone());
            Err("there is none".to_owned())
        });
        Self { encoder: without_workers(&cache, open), cache, opened, _folder: folder }
    }

    fn lead(&self, work: &Work, number: u32) -> Writer {
        self.cache.lead_if_absent(&work.key(&work.plan.renditions[0], Object::Segment(number))).expect("it is nowhere")
    }

    /// A viewer asks for a segment that nobody has.
    fn watch(&self, work: &Work, number: u32) -> cache::Reader {
        self.watch_for(work, number, None)
    }

    fn watch_for(&self, work: &Work, number: u32, due_in: Option<Duration>) -> cache::Reader {
        let writer = self.lead(work, number);
        let reader = writer.reader();
        let object = Object::Segment(number);
        self.encoder.make(Order { work: work.clone(), rendition: 0, object, writer, due_in });
        reader
    }

    /// The same for nobody.
    fn order(&self, work: &Work, number: u32, lane: Lane) -> Arc<Flight> {
        let writer = self.lead(work, number);
        let flight = Arc::clone(writer.flight());
        self.encoder.order(work, 0, Object::Segment(number), writer, lane);
        flight
    }

    /// Somebody else has the only slot.
    async fn occupy(&self) -> Slot {
        self.slot(Lane::Viewer).await
    }

    async fn slot(&self, lane: Lane) -> Slot {
        let ask = Ask { lane, title: work(99).generation, due: Instant::now(), cost: Duration::from_millis(1) };
        self.encoder.0.schedule.slot(ask, Weight::Heavy).await.unwrap()
    }

    /// Nothing is made, nor led in vain again and again.
    async fn assert_idle(&self) {
        for _ in 0..1000 {
            assert_eq!(self.cache.stats().making, 0);
            yield_now().await;
        }
    }

    fn queued(&self) -> usize {
        self.encoder.stats().queued.iter().sum()
    }

    async fn until_queued(&self, count: usize) {
        let queued = async {
            while self.queued() != count {
                yield_now().await;
            }
        };
        within("they wait", queued).await;
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Lets everybody go on until nobody can without something new.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// A title of segments of four seconds.
pub(super) fn work(title: u8) -> Work {
    let cuts = (0..=30).map(|n| Cut { frame: n * 100, at: n * 4000 }).collect();
    let kind = RenditionKind::Video(VideoRendition {
        width: 640,
        height: 360,
        rate: Rate::new(25, 1).unwrap(),
        peak_rate: None,
        colour: Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false },
        audio: None,
        source: VideoSource::Encode { ceiling: 1_000_000, level: 31, min_frame_ticks: 0 },
    });
    let rendition = Rendition {
        name: "360p".parse().unwrap(),
        codecs: "avc1.64001F".into(),
        grid: Grid::new(Timescale::new(1000).unwrap(), cuts).unwrap(),
        bandwidth: 1_000_000,
        average_bandwidth: None,
        kind,
    };
    Work {
        digest: format!("{title:064x}").parse().unwrap(),
        generation: format!("{title:016x}").parse().unwrap(),
        plan: Arc::new(Plan { renditions: vec![rendition], ..Plan::default() }),
    }
}

/// It sat in the run's channel, unseen by the schedule, as long as look-ahead waited for a slot.
#[tokio::test]
async fn a_viewer_who_skips_ahead_does_not_wait_behind_what_is_made_ahead() {
    let bench = Bench::new();
    let slot = bench.occupy().await;
    let ahead = bench.order(&work(1), 6, Lane::Ahead);
    bench.until_queued(1).await;
    let viewer = bench.watch(&work(1), 8);
    let given_up = within("look-ahead makes way", ahead.ended()).await;
    assert_eq!(given_up, Err(FlightError::Abandoned));
    bench.until_queued(1).await;
    assert_eq!(bench.encoder.stats().runs, 1, "the run that was there takes the order");
    drop(slot);
    let failed = within("the viewer's turn", viewer.whole()).await;
    assert!(matches!(failed, Err(FlightError::Failed { .. })), "{failed:?}");
}

/// It kept the time by which nobody needed it.
#[tokio::test]
async fn who_joins_what_waits_to_be_made_ahead_goes_before_who_comes_later() {
    for queued_first in [true, false] {
        let bench = Bench::new();
        let slot = bench.occupy().await;
        bench.order(&work(1), 3, Lane::Ahead);
        if queued_first {
            bench.until_queued(1).await;
        }
        let key = work(1).key(&work(1).plan.renditions[0], Object::Segment(3));
        let cache::Claim::Making(joined) = bench.cache.claim(&key).await else { panic!("it is being made") };
        settle().await;
        let later = bench.watch(&work(2), 3);
        bench.until_queued(2).await;
        drop(slot);
        within("both have had their turn", async { (joined.whole().await, later.whole().await) }).await.0.unwrap_err();
        assert_eq!(*lock(&bench.opened), [work(1).digest, work(2).digest], "{queued_first}");
    }
}

/// Who joined what somebody with a full buffer had ordered waited behind everybody else.
#[tokio::test]
async fn what_is_wanted_in_more_of_a_hurry_goes_first_whoever_ordered_it() {
    let bench = Bench::new();
    let slot = bench.occupy().await;
    let hours = Duration::from_secs(1 << 30);
    let early = bench.watch_for(&work(1), 3, Some(hours));
    let longest = Instant::now() + LONGEST_BUFFER * bench.encoder.0.config.patience();
    assert!(early.flight().due().unwrap() <= longest, "nobody counts as having hours");
    let other = bench.watch_for(&work(2), 3, Some(Duration::from_secs(9)));
    settle().await;
    let joined = early.flight().reader();
    joined.flight().hurry(Instant::now());
    settle().await;
    assert_eq!(bench.queued(), 2);
    drop(slot);
    within("all have had their turn", async { (joined.whole().await, other.whole().await) }).await.0.unwrap_err();
    assert_eq!(*lock(&bench.opened), [work(1).digest, work(2).digest]);
}

/// They lay with four runs, each of which asked for one slot at a time, and were told after 20 seconds.
#[tokio::test]
async fn of_many_viewers_at_many_places_of_one_rendition_those_who_would_wait_too_long_are_told_at_once() {
    for apart in [1, 7] {
        let bench = Bench::new();
        let _slot = bench.occupy().await;
        let cost = bench.encoder.estimate(&work(1), 0, 3);
        // Every place once: seven is prime to the number of segments.
        let viewers: Vec<_> = (0..30).map(|n| bench.watch(&work(1), n * apart % 30)).collect();
        let mut refused = 0;
        for viewer in viewers {
            if let Ok(answer) = timeout(Duration::ZERO, viewer.whole()).await {
                assert!(matches!(answer, Err(FlightError::Busy { retry_after_seconds: 1..=8 })), "{answer:?}");
                refused += 1;
            }
        }
        let in_time = bench.encoder.0.config.patience().as_secs_f64() / cost.as_secs_f64();
        assert!((f64::from(30 - refused) - in_time).abs() <= 1.0, "{refused} of 30 refused, {in_time} can be made");
    }
}

/// What players say that they will ask for next was kept without end.
#[tokio::test]
async fn a_desk_holds_no_more_of_what_nobody_waits_for_than_it_may() {
    let bench = Bench::new();
    let (sender, orders) = mpsc::channel(200);
    let mut desk = Desk::new(orders);
    let due = Instant::now();
    for n in 0..200 {
        let writer = bench.lead(&work(1), n);
        let (lane, object) = (if n == 150 { Lane::Viewer } else { Lane::Ahead }, Object::Segment(n));
        let order = Order { work: work(1), rendition: 0, object, writer, due_in: None };
        sender.try_send(Box::new(Placed { order, lane, due, place: None, counted: None })).ok().unwrap();
    }
    let all: Vec<_> = std::iter::from_fn(|| desk.next()).collect();
    assert_eq!((all.len(), all[0].0), (65, Object::Segment(150)));
}

/// The run led the same segment again and again and never yielded.
#[tokio::test(flavor = "multi_thread")]
async fn look_ahead_that_finds_no_room_waits_for_a_viewer() {
    let bench = Arc::new(Bench::new());
    let slot = bench.occupy().await;
    let mut others = JoinSet::new();
    for _ in 0..64 {
        let bench = Arc::clone(&bench);
        others.spawn(async move { drop(bench.slot(Lane::Ahead).await) });
    }
    bench.until_queued(64).await;
    let viewer = Viewer { key: 1, is_session: true };
    let seen = Seen { viewer, rendition: 0, segment: 5, next: None };
    bench.encoder.seen(&work(1).generation, &work(1).plan, seen, || work(1));
    let ahead = bench.order(&work(1), 6, Lane::Ahead);
    let refused = within("it is refused", ahead.ended()).await;
    assert!(matches!(refused, Err(FlightError::Busy { .. })), "{refused:?}");
    bench.assert_idle().await;
    let viewer = bench.watch(&work(1), 7);
    bench.until_queued(65).await;
    drop(slot);
    within("the viewer's turn", viewer.whole()).await.unwrap_err();
    within("the others'", others.join_all()).await;
}

/// Look-ahead was a run's alone, and a viewer who is served from the cache has none: they waited where it ended.
#[tokio::test]
async fn what_follows_the_end_of_what_is_cached_is_begun_before_its_viewer_comes() {
    let bench = Bench::new();
    let _slot = bench.occupy().await;
    for number in 0..4 {
        let mut writer = bench.lead(&work(1), number);
        writer.push(Bytes::from_static(b"segment"));
        writer.commit().unwrap();
    }
    let viewer = Viewer { key: 1, is_session: true };
    let seen = |segment| {
        let seen = Seen { viewer, rendition: 0, segment, next: None };
        bench.encoder.seen(&work(1).generation, &work(1).plan, seen, || work(1));
    };
    let is_begun = |number| {
        let key = work(1).key(&work(1).plan.renditions[0], Object::Segment(number));
        bench.cache.lead_if_absent(&key).is_none()
    };
    seen(1);
    settle().await;
    assert_eq!(bench.queued(), 0, "what is in reach is there");
    seen(2);
    bench.until_queued(1).await;
    assert!(is_begun(4) && !is_begun(5));
    // What a viewer has to wait for is made by a run of its own, which looks ahead itself.
    seen(20);
    settle().await;
    assert!(!is_begun(21));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_closes_ends_its_runs() {
    let bench = Bench::new();
    let viewer = Viewer { key: 1, is_session: true };
    let seen = Seen { viewer, rendition: 0, segment: 5, next: None };
    bench.encoder.seen(&work(1).generation, &work(1).plan, seen, || work(1));
    bench.encoder.0.schedule.close();
    let refused = within("it is refused", bench.order(&work(1), 6, Lane::Ahead).ended()).await;
    assert!(matches!(refused, Err(FlightError::Busy { .. })), "{refused:?}");
    bench.assert_idle().await;
    within("runs end", bench.encoder.close()).await;
}

/// It was made by a worker that gets a fiftieth of a processor as long as anything else runs.
#[tokio::test]
async fn what_a_viewer_joins_while_it_waits_to_be_warmed_becomes_a_viewers_order() {
    let bench = Bench::new();
    let slot = bench.occupy().await;
    let warm = bench.order(&work(1), 3, Lane::Warm);
    bench.until_queued(1).await;
    let joined = warm.reader();
    settle().await;
    bench.until_queued(1).await;
    assert_eq!(bench.encoder.stats().runs, 2, "a run for viewers has it");
    drop(slot);
    within("its turn", joined.whole()).await.unwrap_err();
}

/// It was begun anew for whoever came, as what is warmed is made by a worker too kind to be theirs.
#[tokio::test]
async fn what_players_ask_for_first_is_made_like_look_ahead() {
    let bench = Bench::new();
    let slot = bench.occupy().await;
    let Warm::Ordered(flight) = bench.encoder.warm_first(&work(1), 0, Object::Segment(0)) else {
        panic!("it is nowhere")
    };
    bench.until_queued(1).await;
    assert_eq!(bench.encoder.stats().queued, [0, 1, 0]);
    assert!(matches!(bench.encoder.warm_first(&work(1), 0, Object::Segment(0)), Warm::Elsewhere));
    drop(slot);
    assert!(within("its turn", flight.ended()).await.is_err(), "there is no source");
}

#[tokio::test]
async fn what_viewers_wait_for_comes_first_and_of_that_what_is_due_first() {
    let bench = Bench::new();
    let (sender, orders) = mpsc::channel(8);
    let mut desk = Desk::new(orders);
    let now = Instant::now();
    let mut flights = HashMap::new();
    for (number, lane, due) in [(1, Lane::Ahead, 1), (2, Lane::Viewer, 9), (3, Lane::Ahead, 60), (4, Lane::Viewer, 5)] {
        let (work, object, writer) = (work(1), Object::Segment(number), bench.lead(&work(1), number));
        flights.insert(number, Arc::clone(writer.flight()));
        let order = Order { work, rendition: 0, object, writer, due_in: None };
        let due = now + Duration::from_secs(due);
        let placed = Placed { order, lane, due, place: None, counted: None };
        sender.try_send(Box::new(placed)).ok().unwrap();
    }
    // Nobody waits: neither has come for what is made ahead, and the others have left.
    assert!(timeout(Duration::ZERO, desk.called()).await.is_err());
    let _reader = flights[&3].reader();
    within("a viewer has come", desk.called()).await;
    let mut order = Vec::new();
    while let Some((Object::Segment(number), pending)) = desk.next() {
        order.push((number, pending.lane));
        drop(pending.writer);
    }
    let viewer = Lane::Viewer;
    assert_eq!(order, [(3, viewer), (4, viewer), (2, viewer), (1, Lane::Ahead)]);
}

/// Each time used up an attempt.
#[tokio::test]
async fn viewers_may_leave_and_come_back_as_often_as_they_like() {
    let bench = Bench::new();
    let (mut writer, mut failures) = (bench.lead(&work(1), 1), 0);
    let reader = writer.reader();
    for error in [Error::Cancelled, Error::Stuck, Error::Cancelled] {
        let run::After::Joined(joined) = run::after(error, writer, &mut failures) else { panic!("somebody waits") };
        writer = joined;
    }
    let failed = || Error::Job("no".into());
    let run::After::Again(again) = run::after(failed(), writer, &mut failures) else { panic!("it is tried again") };
    let run::After::Failed(again, _) = run::after(failed(), again, &mut failures) else { panic!("it has failed") };
    drop(reader);
    assert!(matches!(run::after(Error::Cancelled, again, &mut failures), run::After::Left));
}

#[tokio::test]
async fn a_job_stops_when_those_have_left_for_whom_it_is_and_warming_when_one_comes() {
    let bench = Bench::new();
    let writer = bench.lead(&work(1), 1);
    for (lane, joined, left) in [(Lane::Viewer, false, true), (Lane::Ahead, false, true), (Lane::Warm, true, false)] {
        let slot = bench.slot(lane).await;
        let mut interest = Interest::new(&writer, &slot, lane);
        let never = std::future::pending::<()>;
        let reader = writer.reader();
        assert_eq!(timeout(Duration::ZERO, interest.lost(never())).await.is_ok(), joined, "{lane:?}");
        drop(reader);
        assert_eq!(timeout(Duration::ZERO, interest.lost(never())).await.is_ok(), left, "{lane:?}");
    }
    // An attempt that begins when the viewer has left already.
    let slot = bench.occupy().await;
    within("nobody is there", Interest::new(&writer, &slot, Lane::Viewer).lost(std::future::pending())).await;
}

/// One that was on disk only was not looked at.
#[tokio::test]
async fn a_segment_of_other_parameter_sets_than_the_init_segment_on_disk_is_refused() {
    let bench = Bench::over(&cache::Config { memory_bytes: 0, ..cache::Config::default() });
    let (inner, work) = (&bench.encoder.0, work(1));
    let writer = bench.lead(&work, 1);
    let of_level = |level| Outcome {
        rest: Vec::new(),
        config: vec![1, 100, 0, level, 0xff, 0xe1, 0],
        bridged: 0,
        is_init: false,
        took: None,
    };
    commit::agree(inner, &work, 0, &of_level(31), (&writer, &mut None)).await.unwrap();
    bench.cache.flush().await;
    assert!(bench.cache.peek(&work.key(&work.plan.renditions[0], Object::Init)).is_none());
    let mut known = None;
    let refused = commit::agree(inner, &work, 0, &of_level(30), (&writer, &mut known)).await;
    assert!(matches!(refused, Err(Error::Parameters)), "{refused:?}");
    assert!(known.is_some(), "it is read once");
    commit::agree(inner, &work, 0, &of_level(31), (&writer, &mut known)).await.unwrap();
}

/// A second run was begun, with a worker of its own, and the first waited for nothing.
#[tokio::test]
async fn the_run_that_made_an_init_segment_goes_on_wherever_its_viewer_is() {
    let (bench, work) = (Bench::new(), work(1));
    let writer = bench.cache.lead_if_absent(&work.key(&work.plan.renditions[0], Object::Init)).unwrap();
    let init = writer.reader();
    bench.encoder.make(Order { work: work.clone(), rendition: 0, object: Object::Init, writer, due_in: None });
    within("the init segment's turn", init.whole()).await.unwrap_err();
    for (number, runs) in [(20, 1), (21, 1), (3, 2)] {
        within("its turn", bench.watch(&work, number).whole()).await.unwrap_err();
        assert_eq!(bench.encoder.stats().runs, runs, "{number}");
    }
}

/// They were made together again a second later, which killed the next worker.
#[tokio::test]
async fn what_a_worker_has_died_of_together_is_tried_one_by_one() {
    let (bench, mut work) = (Bench::new(), work(1));
    let _slot = bench.occupy().await;
    let one = work.plan.renditions[0].clone();
    let other = Rendition { name: "720p".parse().unwrap(), ..one.clone() };
    work.plan = Arc::new(Plan { renditions: vec![one, other], ..Plan::default() });
    bench.encoder.0.togethers.part(&work.generation, 4);
    for (number, runs) in [(3, 0), (4, 2)] {
        let asked = bench.encoder.warm_together(&work, &[0, 1], number);
        assert!(asked.iter().all(|warm| matches!(warm, Warm::Ordered(_))), "{asked:?}");
        assert_eq!(bench.encoder.stats().runs, runs, "{number}");
    }
}

/// It counted as dear as the whole batch it was made in, by a worker that others left little of the cores, and outlived what
/// is watched.
#[tokio::test]
async fn what_was_warmed_is_kept_as_if_a_viewers_worker_had_made_it() {
    let (bench, work) = (Bench::new(), work(1));
    let took = [None, Some(Duration::from_secs(9))];
    for (number, took) in (1..).zip(took) {
        let mut writer = bench.lead(&work, number);
        writer.push(Bytes::from_static(b"segment"));
        let outcome = Outcome { rest: Vec::new(), config: Vec::new(), bridged: 0, is_init: false, took };
        commit::commit(&bench.encoder.0, &work, 0, outcome, writer);
    }
    bench.cache.flush().await;
    let seconds = |number| bench.cache.seconds(&work.key(&work.plan.renditions[0], Object::Segment(number)));
    assert_eq!([seconds(1), seconds(2)], [Some(bench.encoder.estimate(&work, 0, 1).as_secs_f32()), Some(9.0)]);
}
