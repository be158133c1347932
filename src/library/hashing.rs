//! A digest that is made while the bytes are written: on one thread, one would wait for the other.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Blocks that may wait for the thread. With two, an upload waited for each of its hiccups.
const BLOCKS: usize = 4;

/// The thread, and the way to it. Dropping it lets the thread end by itself.
#[derive(Debug)]
pub(super) struct Hashing {
    orders: SyncSender<Order>,
    thread: JoinHandle<Sha256>,
}

#[derive(Debug)]
enum Order {
    Block(Bytes),
    Retract,
    Tell(SyncSender<Sha256>),
}

/// What the digest is after the blocks before, once the thread has come to it.
#[derive(Debug)]
pub(super) struct Later(Receiver<Sha256>);

impl Hashing {
    /// Goes on from `hash`.
    pub(super) fn start(mut hash: Sha256) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(BLOCKS);
        let thread = thread::Builder::new().name("hash".to_owned()).spawn(move || {
            let mut before = hash.clone();
            for order in inbox {
                match order {
                    Order::Block(block) => {
                        before.clone_from(&hash);
                        hash.update(&block);
                    }
                    Order::Retract => hash.clone_from(&before),
                    // Nobody may want to know it any more.
                    Order::Tell(asker) => drop(asker.send(hash.clone())),
                }
            }
            hash
        })?;
        Ok(Self { orders, thread })
    }

    /// The next bytes; waits while too many wait.
    pub(super) fn update(&self, block: Bytes) {
        // A thread that is gone is told of by who asks for the digest.
        let _ = self.orders.send(Order::Block(block));
    }

    /// The bytes that came last do not count.
    pub(super) fn retract(&self) {
        let _ = self.orders.send(Order::Retract);
    }

    /// The digest of what came so far.
    pub(super) fn so_far(&self) -> Later {
        let (asker, answer) = sync_channel(1);
        let _ = self.orders.send(Order::Tell(asker));
        Later(answer)
    }

    /// That was all.
    pub(super) fn end(self) -> io::Result<Sha256> {
        drop(self.orders);
        self.thread.join().map_err(|_| died())
    }
}

impl Later {
    /// Waits for it.
    pub(super) fn get(self) -> io::Result<Sha256> {
        self.0.recv().map_err(|_| died())
    }
}

fn died() -> io::Error {
    io::Error::other("the thread that hashes died")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_all_blocks_in_their_order() {
        let hashing = Hashing::start(Sha256::new()).unwrap();
        let whole: Vec<u8> = (0..100_u8).flat_map(|n| vec![n; 1000]).collect();
        let mut half = None;
        for (n, block) in whole.chunks(1000).enumerate() {
            if n == 50 {
                hashing.update(Bytes::from_static(b"not written"));
                hashing.retract();
                half = Some(hashing.so_far());
            }
            hashing.update(Bytes::copy_from_slice(block));
        }
        let half = half.unwrap().get().unwrap();
        assert_eq!(half.clone().finalize(), Sha256::digest(&whole[..50_000]));
        let again = Hashing::start(half).unwrap();
        again.update(Bytes::copy_from_slice(&whole[50_000..]));
        for hashing in [hashing, again] {
            assert_eq!(hashing.end().unwrap().finalize(), Sha256::digest(&whole));
        }
        assert_eq!(Hashing::start(Sha256::new()).unwrap().end().unwrap().finalize(), Sha256::digest(b""));
    }
}
