//! Which objects a tier has, and who goes first when it is full.
//!
//! The rank of an object is its expected use times what making it again costs, per byte it takes: GDSF's measure
//! (Cherkasova, HPL-98-69R1), with uses that fade in the place of its inflating clock. The lowest of a random sample goes, as
//! in hyperbolic caching (Blankstein et al., ATC 2017): no order is kept, so a use costs nothing here.
//!
//! A newcomer has been used once or, made ahead of its viewer, never. So the last [`WINDOW_PART`] of a tier's bytes that
//! came in are spared while anything older is in sight. A scan passes through that window alone: what it leaves behind is
//! worth less than whatever was used twice, and goes first.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use super::heat::{Heat, Moment};
use super::{Key, Object};
use crate::media::{Generation, RenditionName};

/// Objects looked at to find one that goes: the worst three in a hundred, on average. Looking at more costs more than a
/// better choice saves.
const SAMPLE: usize = 32;
/// Part of the bytes that is a newcomer's. More of it would let a scan take that much of the working set.
const WINDOW_PART: u64 = 10;
/// Segments that a title's first 20 seconds usually have: one, one, two seconds, then four of four.
const HEAD_SEGMENTS: u32 = 7;
/// Half-lives for which a head outlives the rest: two days. Not for ever, or the heads of what nobody watches would
/// crowd out everything that somebody does.
const HEAD_BONUS: f32 = 8.0;
/// Half-lives for which an init segment does. It weighs nothing, and every start needs it.
const INIT_BONUS: f32 = 64.0;
/// Fixed cost of making anything: a worker, a seek, a wait. Keeps tiny objects from being worth nothing.
const FIXED_SECONDS: f32 = 0.02;
/// What is assumed where nobody remembers: about a segment of 720p.
const UNKNOWN_SECONDS: f32 = 0.5;

/// What a tier knows of an object.
#[derive(Clone)]
pub(super) struct Item {
    /// What it takes from the tier's bound.
    pub bytes: u32,
    /// What making it again costs.
    pub cost: Cost,
    /// How much it is used.
    pub heat: Arc<Heat>,
}

/// What losing an object costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cost {
    /// Seconds of making it.
    Seconds(f32),
    /// The index that knew it is lost.
    Unknown,
    /// A read from the tier below, which takes as long as it has bytes.
    Read,
}

/// The objects of a tier.
pub(super) struct Ranking {
    capacity_bytes: u64,
    bytes: u64,
    /// All bytes that ever came in: an object's age.
    came_in: u64,
    /// Objects that made room, ever.
    evicted: u64,
    /// In no order.
    entries: Vec<Entry>,
    shelves: HashMap<Generation, HashMap<RenditionName, Shelf>>,
    chance: u64,
}

struct Shelf {
    label: Arc<Label>,
    /// Where in `entries` each object is.
    places: HashMap<Object, u32>,
}

struct Label {
    generation: Generation,
    rendition: RenditionName,
}

struct Entry {
    label: Arc<Label>,
    object: Object,
    came_in: u64,
    /// Half-lives that cost, size and kind are worth.
    bonus: f32,
    item: Item,
}

impl Ranking {
    pub(super) fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            bytes: 0,
            came_in: 0,
            evicted: 0,
            entries: Vec::new(),
            shelves: HashMap::new(),
            // Any number but zero.
            chance: 0x9e37_79b9_7f4a_7c15,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Item> {
        self.place(key).map(|place| &self.entries[place].item)
    }

    /// Some of all objects, by their places, which change when something goes.
    pub(super) fn some(&self, places: std::ops::Range<usize>) -> Vec<(Key, Item)> {
        let end = places.end.min(self.entries.len());
        self.entries[places.start.min(end)..end].iter().map(|entry| (entry.key(), entry.item.clone())).collect()
    }

    /// Puts an object in, in the place of what it was before. Makes no room.
    pub(super) fn insert(&mut self, key: &Key, item: Item) {
        self.remove(key);
        self.bytes += u64::from(item.bytes);
        self.came_in += u64::from(item.bytes);
        let place = u32::try_from(self.entries.len()).expect("four thousand million objects do not fit into memory");
        let shelf = self.shelf(key);
        shelf.places.insert(key.object, place);
        let label = Arc::clone(&shelf.label);
        let bonus = item.cost.bonus(item.bytes) + kind_bonus(key.object);
        self.entries.push(Entry { label, object: key.object, came_in: self.came_in, bonus, item });
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Item> {
        self.place(key).map(|place| self.take(place).1)
    }

    /// Takes everything of a generation out; how many there were.
    pub(super) fn purge(&mut self, generation: &Generation) -> u64 {
        let keys: Vec<Key> = self.of(generation).collect();
        keys.iter().for_each(|key| drop(self.remove(key)));
        keys.len() as u64
    }

    /// The objects of a rendition.
    pub(super) fn of_rendition(&self, generation: &Generation, rendition: &RenditionName) -> Vec<Object> {
        let shelf = self.shelves.get(generation).and_then(|shelves| shelves.get(rendition));
        shelf.map(|shelf| shelf.places.keys().copied().collect()).unwrap_or_default()
    }

    /// Renditions that have objects.
    pub(super) fn renditions(&self) -> Vec<(Generation, RenditionName)> {
        let of = |(generation, shelves): (&Generation, &HashMap<RenditionName, Shelf>)| {
            shelves.keys().map(|rendition| (generation.clone(), rendition.clone())).collect::<Vec<_>>()
        };
        self.shelves.iter().flat_map(of).collect()
    }

    /// Generations that have objects.
    pub(super) fn generations(&self) -> Vec<Generation> {
        self.shelves.keys().cloned().collect()
    }

    /// Takes out what must go before so many bytes come in.
    pub(super) fn make_room(&mut self, bytes: u64) -> Vec<Key> {
        let mut gone = Vec::new();
        while self.bytes + bytes > self.capacity_bytes
            && let Some((key, _)) = self.evict()
        {
            gone.push(key);
        }
        gone
    }

    /// Takes out the one that is worth least, of those looked at.
    pub(super) fn evict(&mut self) -> Option<(Key, Item)> {
        let place = self.least()?;
        self.evicted += 1;
        Some(self.take(place))
    }

    /// How much that is used which would go first.
    pub(super) fn least_heat(&mut self) -> Option<Moment> {
        self.least().map(|place| self.entries[place].item.heat.get())
    }

    /// The place of the one that is worth least, of those looked at.
    fn least(&mut self) -> Option<usize> {
        let window = self.came_in.saturating_sub(self.capacity_bytes / WINDOW_PART);
        let rank = |place: &usize| {
            let entry = &self.entries[*place];
            (entry.came_in > window, entry.item.heat.get() + f64::from(entry.bonus))
        };
        let lowest = |one: &usize, other: &usize| {
            let ((young, worth), (other_young, other_worth)) = (rank(one), rank(other));
            young.cmp(&other_young).then(worth.total_cmp(&other_worth))
        };
        let all = self.entries.len();
        if all <= SAMPLE {
            return (0..all).min_by(lowest);
        }
        let mut chance = self.chance;
        let found = (0..SAMPLE).map(|_| (xorshift(&mut chance) % all as u64) as usize).min_by(lowest);
        self.chance = chance;
        found
    }

    /// The objects of a generation.
    pub(super) fn of(&self, generation: &Generation) -> impl Iterator<Item = Key> {
        let shelves = self.shelves.get(generation).into_iter().flatten();
        shelves.flat_map(|(_, shelf)| shelf.places.values().map(|place| self.entries[*place as usize].key()))
    }

    fn place(&self, key: &Key) -> Option<usize> {
        let place = self.shelves.get(&key.generation)?.get(&key.rendition)?.places.get(&key.object)?;
        Some(*place as usize)
    }

    fn shelf(&mut self, key: &Key) -> &mut Shelf {
        let shelves = self.shelves.entry(key.generation.clone()).or_default();
        shelves.entry(key.rendition.clone()).or_insert_with(|| Shelf {
            label: Arc::new(Label { generation: key.generation.clone(), rendition: key.rendition.clone() }),
            places: HashMap::new(),
        })
    }

    /// Takes out what is at a place; the last one moves there.
    fn take(&mut self, place: usize) -> (Key, Item) {
        let entry = self.entries.swap_remove(place);
        self.bytes -= u64::from(entry.item.bytes);
        let key = entry.key();
        self.unshelve(&key);
        if let Some(moved) = self.entries.get(place) {
            let moved = moved.key();
            let place = u32::try_from(place).expect("it had a place");
            self.shelf(&moved).places.insert(moved.object, place);
        }
        (key, entry.item)
    }

    fn unshelve(&mut self, key: &Key) {
        let Slot::Occupied(mut shelves) = self.shelves.entry(key.generation.clone()) else { return };
        let Slot::Occupied(mut shelf) = shelves.get_mut().entry(key.rendition.clone()) else { return };
        shelf.get_mut().places.remove(&key.object);
        if shelf.get().places.is_empty() {
            shelf.remove();
        }
        if shelves.get().is_empty() {
            shelves.remove();
        }
    }
}

impl Entry {
    fn key(&self) -> Key {
        let Label { generation, rendition } = &*self.label;
        Key { generation: generation.clone(), rendition: rendition.clone(), object: self.object }
    }
}

impl Cost {
    /// Half-lives that this cost for so many bytes is worth.
    fn bonus(self, bytes: u32) -> f32 {
        let seconds = match self {
            Self::Seconds(seconds) => seconds.max(0.0),
            Self::Unknown => UNKNOWN_SECONDS,
            Self::Read => return 0.0,
        };
        ((seconds + FIXED_SECONDS) / bytes.max(1) as f32).log2()
    }
}

fn kind_bonus(object: Object) -> f32 {
    match object {
        Object::Init => INIT_BONUS,
        Object::Segment(number) | Object::Iframe(number) if number < HEAD_SEGMENTS => HEAD_BONUS,
        Object::Segment(_) | Object::Iframe(_) => 0.0,
    }
}

/// Marsaglia's xorshift64: a sample need not be unpredictable, only spread.
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
