use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::media::{
    AudioRendition, AudioSource, Colour, Cut, Grid, Label, Rate, Timescale, VideoRendition, VideoSource,
};

const BUDGET: Budget = Budget { head_seconds: 20.0, room_bytes: u64::MAX };
/// Segments of four seconds.
const SEGMENTS: u32 = 30;

pub(in crate::warmer) fn rendition(height: u32) -> Rendition {
    let cuts = (0..=u64::from(SEGMENTS)).map(|n| Cut { frame: n * 100, at: n * 4000 }).collect();
    let colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    let bandwidth = u64::from(height) * 4000;
    let source = VideoSource::Encode { ceiling: bandwidth, level: 31, min_frame_ticks: 0 };
    let kind = RenditionKind::Video(VideoRendition {
        width: height * 16 / 9,
        height,
        rate: Rate::new(25, 1).unwrap(),
        peak_rate: None,
        colour,
        audio: None,
        source,
    });
    Rendition {
        name: format!("{height}p").parse().unwrap(),
        codecs: "avc1.64001f".into(),
        grid: Grid::new(Timescale::new(1000).unwrap(), cuts).unwrap(),
        bandwidth,
        average_bandwidth: None,
        kind,
    }
}

fn film(asked: [f64; 3]) -> Film {
    let plan = Plan { renditions: [1080, 720, 360].map(rendition).into(), ..Plan::default() };
    let opening = Opening::of(&plan, 1);
    Film { plan: Arc::new(plan), opening, asked: asked.into(), watched: Vec::new() }
}

fn all(films: &[Film], budget: &Budget) -> Vec<Wish> {
    wishes(films, budget, |_, _| |_| true, |_, _, _| 1.0)
}

#[test]
fn heads_come_first_and_reach_as_far_as_configured() {
    let wishes = all(&[film([0.0, 300.0, 0.0]), film([0.0; 3])], &BUDGET);
    let heads: Vec<&Wish> = wishes.iter().take_while(|wish| wish.reason <= Reason::Head).collect();
    let of = |rendition| heads.iter().filter(|wish| wish.rendition == rendition).count();
    assert_eq!([0, 1, 2].map(of), [2, 2 * (1 + 5), 2 * 2], "of what is tried next the beginning alone");
    let of_new: Vec<usize> = heads.iter().filter(|wish| wish.film == 1).map(|wish| wish.rendition).collect();
    assert_eq!(of_new, [1, 1, 1, 0, 1, 1, 1, 2, 2], "first what players start with");
    assert_eq!((heads[0].film, heads[0].object), (0, Object::Init), "of heads the popular title's go first");
    assert!(wishes[heads.len()..].iter().all(|wish| wish.film == 0 && wish.reason == Reason::Popular));
}

/// Pictures that a player could not show yet were made first, as they save more for a byte.
#[test]
fn what_players_ask_for_first_comes_before_all_else_in_the_order_it_is_asked_for() {
    let film = |asked| {
        let film = film([0.0, asked, 0.0]);
        let opening = Opening { start: vec![1, 2], ..film.opening.clone() };
        Film { opening, ..film }
    };
    let dearer_later = |_: usize, _: usize, segment: u32| f64::from(segment + 1);
    let wishes = wishes(&[film(0.0), film(300.0)], &BUDGET, |_, _| |_| true, dearer_later);
    let first = wishes.iter().take_while(|wish| wish.reason == Reason::First);
    let found: Vec<_> = first.map(|wish| (wish.film, wish.rendition, wish.object)).collect();
    let objects = [Object::Init, Object::Segment(0), Object::Segment(1)];
    let of = |film, rendition| objects.map(|object| (film, rendition, object));
    let better = |film| vec![(film, 0, Object::Segment(1))];
    let of_film = |film| [of(film, 1).to_vec(), of(film, 2).to_vec(), better(film)].concat();
    assert_eq!(found, [of_film(1), of_film(0)].concat(), "the popular one first");
}

#[test]
fn a_popular_title_is_made_to_the_end_in_the_renditions_that_are_asked_for() {
    let wishes = all(&[film([200.0, 300.0, 10.0])], &Budget { head_seconds: 0.0, ..BUDGET });
    let of = |rendition| wishes.iter().filter(|wish| wish.rendition == rendition).count();
    assert_eq!((of(0), of(1), of(2)), (31, 31, 0));
}

/// Of each title that somebody had looked into everything was made, while what is beside those who watch waited.
#[test]
fn what_hardly_anybody_asks_for_is_not_made_to_the_end() {
    let made = |asked| all(&[film([0.0, asked, 0.0])], &Budget { head_seconds: 0.0, ..BUDGET }).len();
    assert_eq!([29.0, 30.0].map(made), [0, 31]);
}

#[test]
fn what_saves_most_for_a_byte_goes_first() {
    let films = [film([0.0, 30.0, 0.0]), film([0.0, 300.0, 0.0])];
    let missing = |_, _| |object: Object| matches!(object, Object::Segment(10));
    let first = |cost: [f64; 2]| wishes(&films, &BUDGET, missing, |film, _, _| cost[film])[0].film;
    assert_eq!((first([1.0, 1.0]), first([100.0, 1.0])), (1, 0));
}

#[test]
fn beside_what_is_watched_the_rungs_a_player_may_switch_to_are_made() {
    let watched = Film { watched: vec![(1, 8)], ..film([0.0; 3]) };
    let budget = Budget { head_seconds: 0.0, ..BUDGET };
    let made = |_: usize, rendition: usize| move |_: Object| rendition != 1;
    let wishes = wishes(&[watched], &budget, made, |_, _, _| 1.0);
    let mut found: Vec<_> = wishes.iter().map(|wish| (wish.rendition, wish.object)).collect();
    found.sort();
    let expected = [0, 0, 2, 2].into_iter().zip([9, 10, 9, 10].map(Object::Segment));
    assert!(found.into_iter().eq(expected));
    assert!(wishes.iter().all(|wish| wish.reason == Reason::Neighbour));
}

/// Whoever heard the first sound rendition, which stands next to it, had the lowest rung made.
#[test]
fn beside_what_is_heard_there_is_nothing_to_switch_to() {
    let film = Film { watched: vec![(3, 8)], ..film([0.0; 3]) };
    let mut plan = Plan::clone(&film.plan);
    let (language, source) = ("en".to_owned(), AudioSource::Encode { bitrate: 64_000 });
    let sound = AudioRendition { track: 0, rate: 48_000, channels: 2, language, label: Label::default(), source };
    plan.renditions.push(Rendition { kind: RenditionKind::Audio(sound), ..rendition(144) });
    let film = Film { plan: Arc::new(plan), ..film };
    assert_eq!(all(&[film], &Budget { head_seconds: 0.0, ..BUDGET }), []);
}

/// Each object of each rendition of every popular title was looked for in the cache, although all were there.
#[test]
fn what_there_is_is_asked_for_once_for_each_rendition() {
    let asked = RefCell::new(Vec::new());
    let missing = |film: usize, rendition: usize| {
        asked.borrow_mut().push((film, rendition));
        |_: Object| false
    };
    let films = [Film { watched: vec![(1, 8)], ..film([200.0, 300.0, 0.0]) }, film([0.0; 3])];
    assert_eq!(wishes(&films, &BUDGET, missing, |_, _, _| 1.0), []);
    let mut asked = asked.into_inner();
    asked.sort_unstable();
    assert_eq!(asked, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
}

#[test]
fn without_heads_a_title_nobody_asks_for_is_left_alone() {
    assert_eq!(all(&[film([0.0; 3])], &Budget { head_seconds: 0.0, ..BUDGET }), []);
}

proptest! {
    #[test]
    fn no_wish_is_for_what_is_there_nor_twice_nor_beyond_the_room_and_order_is_kept(
        asked in proptest::array::uniform3(0.0f64..1000.0),
        place in 0u32..40,
        there in proptest::collection::hash_set((0usize..2, 0usize..3, 0u32..30), 0..60),
        room_bytes in 0u64..200_000_000,
    ) {
        let films = [Film { watched: vec![(0, place), (2, place)], ..film(asked) }, film([0.0; 3])];
        let is_there = |film, rendition, object| match object {
            Object::Segment(n) => there.contains(&(film, rendition, n)),
            _ => false,
        };
        let budget = Budget { room_bytes, ..BUDGET };
        let is_there = &is_there;
        let missing = |film: usize, rendition: usize| move |object: Object| !is_there(film, rendition, object);
        let wishes = wishes(&films, &budget, missing, |_, rendition, _| [3.0, 1.0, 0.3][rendition]);
        prop_assert!(wishes.len() <= MAX_WISHES);
        prop_assert!(wishes.iter().map(|wish| wish.bytes).sum::<u64>() <= room_bytes);
        prop_assert!(wishes.iter().all(|wish| !is_there(wish.film, wish.rendition, wish.object)));
        let mut names: Vec<_> = wishes.iter().map(|wish| (wish.film, wish.rendition, wish.object)).collect();
        names.sort();
        prop_assert!(names.windows(2).all(|two| two[0] != two[1]));
        prop_assert!(wishes.is_sorted_by(|a, b| a.reason < b.reason || (a.reason == b.reason && a.value >= b.value)));
        for wish in &wishes {
            if let Object::Segment(n) = wish.object {
                prop_assert!(n < SEGMENTS);
            }
        }
    }
}
