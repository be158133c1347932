//! What a run has to make: orders as they come in, and which of them is next.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::job::watched;
use super::schedule::Lane;
use super::{Orders, Placed, assumed_buffer};
use crate::cache::{Object, Writer};

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

    fn note(&mut self, Placed { order, lane, due }: Placed) {
        self.is_held_back &= lane != Lane::Viewer;
        self.pending.insert(order.object, Pending { writer: order.writer, lane, due });
    }
}

impl Pending {
    /// What a viewer has come for is a viewer's order, and due when their player runs out.
    fn heed(&mut self, object: Object) {
        if self.lane != Lane::Viewer && self.writer.viewers() > 0 {
            self.lane = Lane::Viewer;
            self.due = self.due.min(Instant::now() + assumed_buffer(object));
        }
    }
}
