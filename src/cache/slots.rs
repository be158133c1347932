//! Work under way, one slot per key: what makes look-up and "I am making it" one step.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Flight, Key, Object};
use crate::media::{Generation, RenditionName};

#[derive(Default)]
pub(super) struct Slots {
    next_ticket: u64,
    pub(super) by_key: HashMap<Key, Slot>,
}

/// Work on an object, or on bringing it here.
pub(super) struct Slot {
    ticket: u64,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// The file is being looked for. Ends with the bytes, or without (then the askers ask again).
    Loading(watch::Receiver<Option<Bytes>>),
    /// It is being made.
    Making(Arc<Flight>),
    /// It is whole and its file is not written yet: served from here even if memory has let go of it.
    Writing(Bytes),
}

impl Slots {
    /// Puts work into the slot of a key, in the place of what may be there. Returns its ticket.
    pub(super) fn occupy(&mut self, key: &Key, work: Work) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.by_key.insert(key.clone(), Slot { ticket, work });
        ticket
    }

    pub(super) fn is_held(&self, key: &Key, ticket: u64) -> bool {
        self.by_key.get(key).is_some_and(|slot| slot.ticket == ticket)
    }

    /// What of a rendition is whole and waits for its file.
    pub(super) fn written(&self, generation: &Generation, rendition: &RenditionName) -> impl Iterator<Item = Object> {
        let is_written = |(key, slot): &(&Key, &Slot)| {
            matches!(slot.work, Work::Writing(_)) && key.rendition == *rendition && key.generation == *generation
        };
        self.by_key.iter().filter(is_written).map(|(key, _)| key.object)
    }

    /// Empties the slot if it is held with this ticket. Returns whether it was.
    pub(super) fn take(&mut self, key: &Key, ticket: u64) -> bool {
        let held = self.is_held(key, ticket);
        if held {
            self.by_key.remove(key);
        }
        held
    }
}
