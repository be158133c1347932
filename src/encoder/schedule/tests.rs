use futures_poll as poll;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn schedule(heavy: usize, queue: usize) -> Schedule {
    Schedule::new(Limits { heavy, warm: 1, queue, patience: 8 * SECOND })
}

fn ask(lane: Lane) -> Ask {
    ask_of(lane, 1, SECOND)
}

fn ask_of(lane: Lane, title: u8, cost: Duration) -> Ask {
    Ask { lane, title: format!("{title:016x}").parse().unwrap(), due: Instant::now(), cost }
}

#[tokio::test]
async fn a_viewer_takes_the_slot_from_look_ahead_and_goes_before_it() {
    let schedule = schedule(1, 4);
    let ahead = schedule.slot(ask(Lane::Ahead), Weight::Heavy).await.unwrap();
    let mut waiting_ahead = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    assert!(poll(&mut waiting_ahead).await.is_none());
    let mut viewer = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut viewer).await.is_none());
    ahead.wanted.notified().await;
    drop(ahead);
    let slot = viewer.await.unwrap();
    assert!(poll(&mut waiting_ahead).await.is_none());
    drop(slot);
    assert!(waiting_ahead.await.is_ok());
}

#[tokio::test]
async fn of_lower_work_warming_makes_room_first() {
    let schedule = schedule(2, 4);
    let ahead = schedule.slot(ask(Lane::Ahead), Weight::Heavy).await.unwrap();
    let warm = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let mut viewer = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut viewer).await.is_none());
    warm.wanted.notified().await;
    assert!(poll(&mut Box::pin(ahead.wanted.notified())).await.is_none());
    assert!(!schedule.is_calm());
}

#[tokio::test]
async fn look_ahead_takes_the_slot_from_warming_and_not_from_a_viewer() {
    let schedule = Schedule::new(Limits { heavy: 3, warm: 2, queue: 4, patience: 8 * SECOND });
    let one = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let two = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let viewer = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    let mut ahead = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    let mut more = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    assert!(poll(&mut ahead).await.is_none() && poll(&mut more).await.is_none());
    let told = |slot: &Slot| Arc::clone(&slot.wanted);
    let (first, second) = (told(&one), told(&two));
    let first_told = poll(&mut Box::pin(first.notified())).await.is_some();
    let second_told = poll(&mut Box::pin(second.notified())).await.is_some();
    assert!(first_told != second_told, "one alone: beside the viewer there are cores for no more");
    assert!(poll(&mut Box::pin(viewer.wanted.notified())).await.is_none());
    let (stopped, stays) = if first_told { (one, two) } else { (two, one) };
    drop(stopped);
    let ahead = ahead.await.unwrap();
    assert!(poll(&mut more).await.is_none());
    // The viewer's slot is the other's, and nobody has to go for it.
    drop(viewer);
    let more = more.await.unwrap();
    assert!(poll(&mut Box::pin(stays.wanted.notified())).await.is_none());
    drop((ahead, more));
}

#[tokio::test]
async fn warming_goes_on_beside_a_viewer_who_leaves_look_ahead_no_cores_and_stops_when_they_are_free() {
    let schedule = schedule(2, 4);
    let warm = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let viewer = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    let mut one = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    let mut two = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    assert!(poll(&mut one).await.is_none() && poll(&mut two).await.is_none());
    assert!(poll(&mut Box::pin(warm.wanted.notified())).await.is_none(), "it would stop for nothing");
    drop(viewer);
    let _one = one.await.unwrap();
    assert!(poll(&mut two).await.is_none());
    warm.wanted.notified().await;
    drop(warm);
    assert!(two.await.is_ok());
}

#[tokio::test]
async fn what_gives_way_is_told_while_those_who_watch_need_all_cores() {
    let schedule = schedule(2, 4);
    let crowded = schedule.crowded();
    let warm = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let ahead = schedule.slot(ask(Lane::Ahead), Weight::Heavy).await.unwrap();
    assert!(!*crowded.borrow());
    ahead.promote();
    assert!(*crowded.borrow(), "one encode for a viewer can use two cores");
    let _sound = schedule.slot(ask(Lane::Viewer), Weight::Light).await.unwrap();
    drop(ahead);
    assert!(!*crowded.borrow(), "sound needs hardly any");
    let _viewer = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    drop(warm);
    assert!(*crowded.borrow());
}

#[tokio::test]
async fn look_ahead_leaves_a_viewer_the_cores_that_one_encode_can_use() {
    let schedule = schedule(2, 4);
    let ahead = schedule.slot(ask(Lane::Ahead), Weight::Heavy).await.unwrap();
    // A slot is free, and still somebody would wait longer for the sake of nobody.
    let viewer = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    ahead.wanted.notified().await;
    drop(ahead);
    let mut one = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    let mut two = Box::pin(schedule.slot(ask(Lane::Ahead), Weight::Heavy));
    assert!(poll(&mut one).await.is_none() && poll(&mut two).await.is_none());
    drop(viewer);
    let slots = (one.await.unwrap(), two.await.unwrap());
    // One that a viewer joins is theirs, and the other makes room.
    slots.0.promote();
    slots.1.wanted.notified().await;
}

#[tokio::test]
async fn what_a_viewer_came_for_is_not_stopped_any_more() {
    let schedule = schedule(1, 4);
    let warm = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    warm.promote();
    let mut viewer = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut viewer).await.is_none());
    assert!(poll(&mut Box::pin(warm.wanted.notified())).await.is_none());
}

/// It counted as one that will soon be gone, so that look-ahead waited for the end of a viewer's job.
#[tokio::test]
async fn in_place_of_one_that_a_viewer_came_for_another_makes_room() {
    // Who waits: look-ahead, and in its place a viewer.
    for lane in [Lane::Ahead, Lane::Viewer] {
        room_is_made(lane).await;
    }
}

async fn room_is_made(lane: Lane) {
    let schedule = Schedule::new(Limits { heavy: 3, warm: 3, queue: 4, patience: 8 * SECOND });
    let mut warm = Vec::new();
    for _ in 0..3 {
        warm.push(schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap());
    }
    let mut waits = Box::pin(schedule.slot(ask(lane), Weight::Heavy));
    assert!(poll(&mut waits).await.is_none());
    let mut told = Vec::new();
    for slot in &warm {
        told.push(poll(&mut Box::pin(slot.wanted.notified())).await.is_some());
    }
    let first = told.iter().position(|told| *told).expect("one makes room");
    assert_eq!(told.iter().filter(|told| **told).count(), 1);
    let joined = warm.remove(first);
    joined.promote();
    told.clear();
    for slot in &warm {
        told.push(poll(&mut Box::pin(slot.wanted.notified())).await.is_some());
    }
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "of the two that are left, for {lane:?}");
}

#[tokio::test]
async fn warming_leaves_slots_free_that_are_not_its_own() {
    let schedule = schedule(2, 4);
    let _first = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let mut second = Box::pin(schedule.slot(ask(Lane::Warm), Weight::Heavy));
    assert!(poll(&mut second).await.is_none());
    assert!(schedule.is_calm());
    let ahead = schedule.slot(ask(Lane::Ahead), Weight::Heavy).await.unwrap();
    drop(ahead);
    assert!(poll(&mut second).await.is_none(), "the limit holds when a slot is passed on, too");
}

#[tokio::test]
async fn a_full_queue_turns_viewers_away_at_once() {
    let schedule = schedule(1, 1);
    let _slot = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    let mut second = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut second).await.is_none());
    assert!(schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.is_err());
    drop(second);
    let mut third = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut third).await.is_none(), "one who gave up leaves his place");
}

#[tokio::test(start_paused = true)]
async fn who_could_not_be_served_before_the_player_gives_up_is_told_at_once_when_to_come_back() {
    let schedule = schedule(1, 100);
    let _slot = schedule.slot(ask_of(Lane::Viewer, 1, 3 * SECOND), Weight::Heavy).await.unwrap();
    let mut second = Box::pin(schedule.slot(ask_of(Lane::Viewer, 1, 3 * SECOND), Weight::Heavy));
    assert!(poll(&mut second).await.is_none(), "six seconds are fine");
    let before = Instant::now();
    let third = schedule.slot(ask_of(Lane::Viewer, 1, 3 * SECOND), Weight::Heavy).await;
    assert_eq!(third.err(), Some(Full { retry_after_seconds: 2 }));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

/// Orders that lay with runs which made something else were waited for and not counted.
#[tokio::test]
async fn those_who_will_come_for_a_slot_count_as_those_who_wait() {
    let schedule = schedule(1, 100);
    let first = schedule.place(ask_of(Lane::Viewer, 1, 3 * SECOND), Weight::Heavy).unwrap();
    let second = schedule.place(ask_of(Lane::Viewer, 1, 3 * SECOND), Weight::Heavy).unwrap();
    let another = || schedule.place(ask_of(Lane::Viewer, 1, 3 * SECOND), Weight::Heavy);
    assert_eq!(another().err(), Some(Full { retry_after_seconds: 2 }));
    assert!(!schedule.is_calm());
    assert_eq!(schedule.counts(), ([2, 0, 0], 0));
    // Who is not there yet keeps nobody from a slot that is free.
    let slot = second.slot().await.unwrap();
    assert_eq!(schedule.counts(), ([1, 0, 0], 1));
    assert!(another().is_err(), "one works and one will come");
    drop(first);
    assert!(another().is_ok(), "one has left");
    drop(slot);
}

#[tokio::test]
async fn who_is_in_a_hurry_of_late_goes_before_who_was_so_first() {
    let schedule = schedule(1, 100);
    let slot = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    let now = Instant::now();
    let place = |due| schedule.place(Ask { due, ..ask(Lane::Viewer) }, Weight::Heavy).unwrap();
    let (one, mut other) = (place(now + 2 * SECOND), place(now + 9 * SECOND));
    let mut one = Box::pin(one.slot());
    assert!(poll(&mut one).await.is_none());
    assert!(poll(&mut Box::pin(other.slot())).await.is_none());
    other.hurry(now);
    let mut other = Box::pin(other.slot());
    assert!(poll(&mut other).await.is_none());
    assert_eq!(schedule.counts(), ([2, 0, 0], 1), "asking again is no second order");
    drop(slot);
    assert!(poll(&mut one).await.is_none());
    assert!(other.await.is_ok());
}

/// Whoever joined a viewer's order and was in more of a hurry had it wait anew, for which a second job was stopped.
#[tokio::test]
async fn one_viewer_who_waits_stops_one_job_however_often_they_ask() {
    let schedule = Schedule::new(Limits { heavy: 2, warm: 2, queue: 4, patience: 8 * SECOND });
    let one = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let other = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    let mut place = schedule.place(ask(Lane::Viewer), Weight::Heavy).unwrap();
    assert!(poll(&mut Box::pin(place.slot())).await.is_none());
    place.hurry(Instant::now() - SECOND);
    let mut viewer = Box::pin(place.slot());
    assert!(poll(&mut viewer).await.is_none());
    let mut told = Vec::new();
    for slot in [&one, &other] {
        told.push(poll(&mut Box::pin(slot.wanted.notified())).await.is_some());
    }
    assert_eq!(told.iter().filter(|told| **told).count(), 1);
    let mut second = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut second).await.is_none());
    for (slot, told) in [&one, &other].into_iter().zip(told) {
        assert_ne!(poll(&mut Box::pin(slot.wanted.notified())).await.is_some(), told, "each of two viewers stops one");
    }
}

#[tokio::test]
async fn a_segment_that_takes_longer_than_players_wait_is_begun_where_a_slot_is_free() {
    let schedule = schedule(1, 4);
    let warm = schedule.slot(ask(Lane::Warm), Weight::Heavy).await.unwrap();
    drop(warm);
    assert!(schedule.slot(ask_of(Lane::Viewer, 1, 60 * SECOND), Weight::Heavy).await.is_ok());
}

#[tokio::test]
async fn a_slot_for_somebody_who_left_goes_to_the_next() {
    let schedule = schedule(1, 4);
    let slot = schedule.slot(ask(Lane::Viewer), Weight::Heavy).await.unwrap();
    let mut gone = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut gone).await.is_none());
    let mut stays = Box::pin(schedule.slot(ask(Lane::Viewer), Weight::Heavy));
    assert!(poll(&mut stays).await.is_none());
    drop(gone);
    drop(slot);
    assert!(stays.await.is_ok());
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut *future).poll(cx) {
        std::task::Poll::Ready(out) => std::task::Poll::Ready(Some(out)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
