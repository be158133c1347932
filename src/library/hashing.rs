//! A digest that is made while the bytes are written: on one thread, one would wait for the other.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Blocks that may wait for the thread: what is written is hardly ahead of what is hashed.
const BLOCKS: usize = 2;

/// The thread, and the way to it. Dropping it lets the thread end by itself.
#[derive(Debug)]
pub(super) struct Hashing {
    blocks: SyncSender<Bytes>,
    thread: JoinHandle<Sha256>,
}

impl Hashing {
    pub(super) fn start() -> io::Result<Self> {
        let (blocks, inbox) = sync_channel::<Bytes>(BLOCKS);
        let thread = thread::Builder::new().name("hash".to_owned()).spawn(move || {
            let mut hash = Sha256::new();
            for block in inbox {
                hash.update(&block);
            }
            hash
        })?;
        Ok(Self { blocks, thread })
    }

    /// The next bytes; waits while too many wait.
    pub(super) fn update(&self, block: Bytes) {
        // A thread that is gone is told of by `end`.
        let _ = self.blocks.send(block);
    }

    /// That was all.
    pub(super) fn end(self) -> io::Result<Sha256> {
        drop(self.blocks);
        self.thread.join().map_err(|_| io::Error::other("the thread that hashes died"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_all_blocks_in_their_order() {
        let hashing = Hashing::start().unwrap();
        for n in 0..100_u8 {
            hashing.update(Bytes::from(vec![n; 1000]));
        }
        let whole: Vec<u8> = (0..100_u8).flat_map(|n| vec![n; 1000]).collect();
        assert_eq!(hashing.end().unwrap().finalize(), Sha256::digest(&whole));
        assert_eq!(Hashing::start().unwrap().end().unwrap().finalize(), Sha256::digest(b""));
    }
}
