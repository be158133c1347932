//! What a run has to make: orders as they come in, and which of them is next.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::job::watched;
use super::schedule::{Lane, Place};
use super::{Orders, Placed};
use crate::cache::{Object, Writer};

/// Orders that may lie here for nobody: players may name as many places they will ask for next as they like. Viewers' orders
/// are admitted by the schedule before they come here.
const MOST_AHEAD: usize = 64;

/// A run's orders.
pub struct Desk {
    orders: Orders,
    /// What was ordered and is not made yet.
    pending: BTreeMap<Object, Pending>,
    /// What was tried last failed, or found too many waiting: what follows would most likely fare no better, and for nobody.
    /// So nothing is made ahead until a viewer orders something.
    pub is_held_back: bool,
}

/// An order that is not made yet.
pub struct Pending {
    pub writer: Writer,
    pub lane: Lane,
    pub due: Instant,
    /// A viewer's order has one from when it came.
    pub place: Option<Place>,
    /// Counts as one of its run's orders until it is dropped.
    pub counted: Option<Arc<()>>,
}

impl Desk {
    pub fn new(orders: Orders) -> Self {
        Self { orders, pending: BTreeMap::new(), is_held_back: false }
    }

    /// What viewers wait for comes first, and of that what is due first.
    pub fn next(&mut self) -> Option<(Object, Pending)> {
        while let Ok(order) = self.orders.try_recv() {
            self.note(*order);
        }
        for (object, pending) in &mut self.pending {
            pending.heed(*object);
        }
        let first = self.pending.iter().min_by_key(|(object, pending)| (pending.lane, pending.due, **object))?;
        let object = *first.0;
        self.pending.remove_entry(&object)
    }

    /// Resolves when a viewer waits for something here, which may be at once. May be cancelled and called again.
    pub async fn called(&mut self) {
        while !self.pending.values().any(|pending| pending.writer.viewers() > 0) {
            tokio::select! {
                Some(order) = self.orders.recv() => self.note(*order),
                _ = watched(self.pending.values().map(|pending| &pending.writer)) => {}
            }
        }
    }

    /// Waits for the next order; false if there will be none.
    pub async fn wait(&mut self) -> bool {
        let order = self.orders.recv().await;
        order.map(|order| self.note(*order)).is_some()
    }

    /// Takes no more orders. True if one came in this instant.
    pub fn close(&mut self) -> bool {
        self.orders.close();
        self.orders.try_recv().map(|order| self.note(*order)).is_ok()
    }

    fn note(&mut self, Placed { order, lane, due, place, counted }: Placed) {
        self.is_held_back &= lane != Lane::Viewer;
        if lane == Lane::Viewer || self.pending.len() < MOST_AHEAD {
            self.pending.insert(order.object, Pending { writer: order.writer, lane, due, place, counted });
        }
    }
}

impl Pending {
    /// What a viewer has come for is a viewer's order, and due when the first player of those who wait runs out.
    fn heed(&mut self, object: Object) {
        if self.writer.viewers() == 0 {
            return;
        }
        if self.lane != Lane::Viewer {
            self.lane = Lane::Viewer;
            self.due = self.due.min(Instant::now() + object.usual_buffer());
        }
        self.due = self.writer.flight().due().map_or(self.due, |due| due.min(self.due));
    }
}
