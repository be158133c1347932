//! Asks the encoder for what the policy wishes, a few objects at a time, while nobody who watches needs the machine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::films::{Candidate, takes_slot};
use super::policy::{self, Budget, Reason};
use super::{Inner, lock};
use crate::cache::{FlightError, Key, Object};
use crate::encoder::{Warm, Work};

/// Pause between looks while there is nothing to make, or nothing could be: how late a title is noticed that another
/// process added.
const PAUSE: Duration = Duration::from_secs(15);
/// Wishes are made anew this often, because what is watched moves on.
const FRESH: Duration = Duration::from_secs(15);
/// After a viewer was served the machine is left alone for this long: the next segment is often asked for at once.
const CALM: Duration = Duration::from_millis(500);
/// How often what was asked for is noted: what a crash may forget.
const NOTE: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;

/// Something to make.
struct Task {
    work: Work,
    /// Several, if they are made from one decode.
    renditions: Vec<usize>,
    object: Object,
    /// It is what players ask for first: one who comes meanwhile goes on with it.
    is_first: bool,
}

/// What became of something to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was made.
    Made,
    /// It was there already.
    There,
    /// Somebody else makes it, and may give it up.
    Elsewhere,
    /// It was given up for somebody who waits.
    GivenUp,
    /// Nothing could be made: no fault of this one.
    Hindered,
    /// It cannot be made.
    Failed,
}

impl Fate {
    fn of(ended: Result<(), FlightError>) -> Self {
        match ended {
            Ok(()) => Self::Made,
            Err(FlightError::Abandoned | FlightError::Busy { .. }) => Self::GivenUp,
            Err(FlightError::NoWorker { .. }) => Self::Hindered,
            Err(FlightError::Failed { .. } | FlightError::LeftAlone { .. } | FlightError::NotFound) => Self::Failed,
        }
    }
}

/// Runs until the warmer closes.
pub(super) async fn go(inner: Arc<Inner>) {
    let mut closing = inner.closing.subscribe();
    tokio::select! {
        () = inner.note_now_and_then() => {}
        () = inner.warm(), if inner.config.enabled => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    inner.note().await;
}

impl Inner {
    async fn warm(self: &Arc<Self>) {
        let mut at_work = JoinSet::new();
        loop {
            let tasks = self.look().await;
            if self.round(tasks, &mut at_work).await {
                continue;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Has these made, until the wishes are old. False if nothing came of it: all of them failed, are made by somebody else,
    /// or there were none. True also if they grew old before the machine was free for them.
    async fn round(self: &Arc<Self>, mut tasks: VecDeque<Task>, at_work: &mut JoinSet<bool>) -> bool {
        let (began, mut any_made) = (Instant::now(), false);
        while !tasks.is_empty() && began.elapsed() <= FRESH {
            while !self.is_calm() {
                sleep(CALM).await;
            }
            if began.elapsed() > FRESH {
                return true;
            }
            while at_work.len() < self.at_once() {
                let Some(task) = tasks.pop_front() else { break };
                at_work.spawn(self.clone().make(task));
            }
            any_made |= matches!(at_work.join_next().await, Some(Ok(true)));
        }
        any_made
    }

    /// True if nothing is made for anybody who watches, and a slot is left for each who plays pictures that are encoded: what
    /// they ask for next may have to be made at once, and warming that must stop for it first costs them a stall.
    fn is_calm(&self) -> bool {
        self.rooms.encoder.is_calm() && self.playing() + 1 < self.rooms.encoder.slots().max(2) as usize
    }

    /// Viewers for whom a slot is kept; not all of them, if there are more than slots.
    fn playing(&self) -> usize {
        let (watched, films) = (self.rooms.encoder.watched(), lock(&self.films));
        let taking = watched.iter().filter(|(generation, rendition, _)| takes_slot(&films, generation, *rendition));
        taking.take(self.rooms.encoder.slots() as usize).count()
    }

    /// What is worth making now; nothing outside the hours.
    async fn look(self: &Arc<Self>) -> VecDeque<Task> {
        let hour = u8::try_from(self.rooms.clock.now_ms() / HOUR_MS % 24).unwrap_or_default();
        if !self.config.allows(hour) {
            return VecDeque::new();
        }
        let inner = self.clone();
        match spawn_blocking(move || inner.candidates().map(|films| inner.tasks(&films))).await {
            Ok(Ok(tasks)) => tasks,
            Ok(Err(error)) => {
                tracing::warn!(%error, "what to make ahead of demand cannot be looked up");
                VecDeque::new()
            }
            Err(error) => {
                tracing::error!(%error, "looking for what to make ahead of demand panicked");
                VecDeque::new()
            }
        }
    }

    fn tasks(&self, candidates: &[Candidate]) -> VecDeque<Task> {
        self.judge();
        let films: Vec<policy::Film> = candidates.iter().map(|candidate| candidate.film.clone()).collect();
        let budget = Budget { head_seconds: self.config.head_seconds, room_bytes: self.room_bytes() };
        let now = Instant::now();
        let missing = |film: usize, rendition: usize| {
            let work = &candidates[film].work;
            let of = &work.plan.renditions[rendition];
            let there = self.rooms.cache.objects(&work.generation, &of.name);
            move |object| !there.contains(&object) && lock(&self.setbacks).allow(&work.key(of, object), now)
        };
        let seconds = |film: usize, rendition, segment| {
            self.rooms.encoder.estimate(&candidates[film].work, rendition, segment).as_secs_f64()
        };
        let wishes = policy::wishes(&films, &budget, missing, seconds);
        let mut tasks: VecDeque<(usize, Task)> = VecDeque::new();
        for wish in wishes {
            let work = &candidates[wish.film].work;
            let encoded = |at: usize| work.plan.renditions[at].is_picture_encode();
            // What is wished for later of the same pictures comes along.
            let along = |(film, task): &&mut (usize, Task)| {
                !task.is_first
                    && *film == wish.film
                    && task.object == wish.object
                    && task.renditions.iter().all(|at| encoded(*at))
            };
            let is_first = wish.reason == Reason::First;
            let is_shared = !is_first && matches!(wish.object, Object::Segment(_)) && encoded(wish.rendition);
            match tasks.iter_mut().find(along).filter(|_| is_shared) {
                Some((_, task)) => task.renditions.push(wish.rendition),
                None => {
                    let renditions = vec![wish.rendition];
                    let task = Task { work: work.clone(), renditions, object: wish.object, is_first };
                    tasks.push_back((wish.film, task));
                }
            }
        }
        tasks.into_iter().map(|(_, task)| task).collect()
    }

    /// What may be added without anything having to go.
    fn room_bytes(&self) -> u64 {
        let (held, spare) = (self.rooms.cache.stats().disk.bytes, self.rooms.cache.spare_bytes());
        room_bytes(self.config.disk_share, self.rooms.disk_bytes, held, spare)
    }

    /// Objects at a time: the share of the slots, at least one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few slots")]
    fn at_once(&self) -> usize {
        ((f64::from(self.rooms.encoder.slots()) * self.config.cpu_share) as usize).max(1)
    }

    /// Makes one object, and rests if even one at a time is more than the share. True if something was made.
    async fn make(self: Arc<Self>, Task { work, renditions, object, is_first }: Task) -> bool {
        let began = Instant::now();
        let fates = if is_first {
            let asked = renditions.iter().map(|at| self.rooms.encoder.warm_first(&work, *at, object)).collect();
            self.fates(&work, &renditions, object, asked).await
        } else {
            self.ask(&work, &renditions, object).await
        };
        let any_made = fates.iter().any(|(_, fate)| *fate == Fate::Made);
        let share = f64::from(self.rooms.encoder.slots()) * self.config.cpu_share;
        if share < 1.0 {
            sleep(began.elapsed().mul_f64(1.0 / share - 1.0)).await;
        }
        any_made
    }

    /// Has one object of some renditions made. What became of each.
    pub(super) async fn ask(&self, work: &Work, renditions: &[usize], object: Object) -> Vec<(usize, Fate)> {
        let asked = match object {
            Object::Segment(number) => self.rooms.encoder.warm_together(work, renditions, number),
            Object::Init | Object::Iframe(_) => {
                renditions.iter().map(|at| self.rooms.encoder.warm(work, *at, object)).collect()
            }
        };
        self.fates(work, renditions, object, asked).await
    }

    /// What becomes of what was asked for, each of its rendition.
    async fn fates(&self, work: &Work, renditions: &[usize], object: Object, asked: Vec<Warm>) -> Vec<(usize, Fate)> {
        let mut fates = Vec::new();
        for (rendition, warm) in renditions.iter().zip(asked) {
            let fate = match warm {
                Warm::There => Fate::There,
                Warm::Elsewhere => Fate::Elsewhere,
                Warm::Ordered(flight) => {
                    let fate = Fate::of(flight.ended().await);
                    self.count(&work.key(&work.plan.renditions[*rendition], object), fate);
                    fate
                }
            };
            fates.push((*rendition, fate));
        }
        fates
    }

    fn count(&self, key: &Key, fate: Fate) {
        let counter = if fate == Fate::Made { &self.made } else { &self.given_up };
        counter.fetch_add(1, Ordering::Relaxed);
        match fate {
            Fate::Made => lock(&self.unjudged).push(key.clone()),
            Fate::Failed => lock(&self.setbacks).failed(key, Instant::now()),
            Fate::There | Fate::Elsewhere | Fate::GivenUp | Fate::Hindered => {}
        }
        self.judge();
    }

    /// Notes of what was made whether it is kept, once its file was written or could not be. What is not kept, because the disk
    /// fails, would be made again and again.
    fn judge(&self) {
        let mut setbacks = lock(&self.setbacks);
        lock(&self.unjudged).retain(|key| {
            let kept = self.rooms.cache.is_kept(key);
            match kept {
                Some(true) => setbacks.made(key),
                Some(false) => setbacks.failed(key, Instant::now()),
                None => {}
            }
            kept.is_none()
        });
    }

    async fn note_now_and_then(self: &Arc<Self>) {
        let mut beats = interval(NOTE);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        loop {
            beats.tick().await;
            self.note().await;
        }
    }

    async fn note(self: &Arc<Self>) {
        if !self.is_news.swap(false, Ordering::Relaxed) {
            return;
        }
        let inner = self.clone();
        let note = move || {
            let noted = lock(&inner.popularity).noted(inner.rooms.clock.now_ms());
            inner.rooms.catalog.note_popularity(&noted)
        };
        if let Ok(Err(error)) = spawn_blocking(note).await {
            self.is_news.store(true, Ordering::Relaxed);
            tracing::warn!(%error, "what is asked for cannot be noted");
        }
    }
}

/// Bytes up to the share of what the disk tier may have: its bound, or what the disk has room for if that is less.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
fn room_bytes(share: f64, disk_bytes: u64, held_bytes: u64, spare_bytes: u64) -> u64 {
    let most = disk_bytes.min(held_bytes.saturating_add(spare_bytes));
    ((most as f64 * share) as u64).saturating_sub(held_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Warmer;
    use super::*;
    use crate::catalog;
    use crate::encoder::{Seen, Viewer};
    use crate::media::TitleId;
    use crate::warmer::tests::{Bench, work};

    const GIB: u64 = 1 << 30;

    /// What was made on a disk smaller than `cache.disk_bytes` pushed out four times as much, for ever.
    #[test]
    fn there_is_no_more_room_than_the_disk_has() {
        assert_eq!(room_bytes(0.5, 20 * GIB, 8 * GIB, 12 * GIB), 2 * GIB);
        assert_eq!(room_bytes(0.5, 20 * GIB, 8 * GIB, 10 * GIB), GIB);
        assert_eq!(room_bytes(0.5, 20 * GIB, 8 * GIB, GIB), 0);
        assert_eq!(room_bytes(1.0, 20 * GIB, 8 * GIB, 0), 0);
    }

    /// They were made however long ago they had been wished for, while others moved on.
    #[tokio::test(start_paused = true)]
    async fn wishes_that_grow_old_while_somebody_watches_are_wished_for_anew() {
        let (bench, work) = (Bench::new(1 << 20), work());
        let (inner, viewer) = (&bench.inner, Viewer { key: 1, is_session: true });
        let seen = Seen { viewer, rendition: 0, segment: 5, next: None };
        inner.rooms.encoder.seen(&work.generation, &work.plan, seen, || work.clone());
        assert!(!inner.is_calm());
        let task = || {
            VecDeque::from([Task {
                work: work.clone(),
                renditions: vec![0],
                object: Object::Segment(6),
                is_first: false,
            }])
        };
        assert!(inner.round(task(), &mut JoinSet::new()).await);
        assert_eq!(inner.given_up.load(Ordering::Relaxed), 0, "it was not tried");
        assert!(!inner.round(task(), &mut JoinSet::new()).await);
        assert_eq!(inner.given_up.load(Ordering::Relaxed), 1);
    }

    /// It was rewritten every minute, also by a server that nobody used.
    #[tokio::test]
    async fn what_was_asked_for_is_noted_once() {
        let bench = Bench::new(1 << 20);
        let (warmer, catalog) = (Warmer(Arc::clone(&bench.inner)), &bench.inner.rooms.catalog);
        let noted_after_a_note = async || {
            catalog.note_popularity(&catalog::Popularity::default()).unwrap();
            bench.inner.note().await;
            catalog.popularity().unwrap().at_ms != 0
        };
        assert!(!noted_after_a_note().await);
        warmer.asked(&TitleId::from_random(1), &"360p".parse().unwrap());
        assert!(noted_after_a_note().await);
        assert!(!noted_after_a_note().await);
    }
}
