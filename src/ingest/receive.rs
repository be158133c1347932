//! Bytes from the network become a staged source: hashed as they come, in constant memory, within limits.
//!
//! Whoever brings bytes (one request, a resumed upload, a fetch) begins with [`Uploads::receive`], pushes, ends, and hands
//! what is staged to [`Uploads::accept`](super::Uploads::accept).

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Admission, Error, Uploads, file::blocking};
use crate::library::{Block, Incoming, Staged};

/// A film on its way in. Dropping it removes what there is of it.
#[derive(Debug)]
pub struct Receiving {
    limit_bytes: u64,
    /// What its sender's key may have.
    admission: Option<Admission>,
    received_bytes: u64,
    /// One is gathered while a thread writes that before it.
    block: Block,
    /// What is written so far, unless a thread has it; neither, once writing failed.
    idle: Option<Incoming>,
    writing: Option<JoinHandle<Result<Incoming, Error>>>,
    _place: OwnedSemaphorePermit,
}

impl Uploads {
    /// Begins to receive a film. `announced` is how long it says it is: what cannot fit is refused before its first byte.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TooMany`], and [`Error::Library`] if the disk has no room.
    pub async fn receive(&self, announced_bytes: Option<u64>) -> Result<Receiving, Error> {
        let config = &self.0.config;
        if announced_bytes.is_some_and(|length| length > config.max_bytes) {
            return Err(Error::TooLarge { limit_bytes: config.max_bytes });
        }
        let place = self.0.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Error::TooMany { limit: config.max_concurrent })?;
        let (library, reserve) = (self.0.rooms.library.clone(), config.reserve_bytes);
        let begun = blocking(move || {
            library.room_for(announced_bytes.unwrap_or(0), reserve)?;
            Ok(library.stage(reserve)?)
        });
        let (idle, limit_bytes) = (Some(begun.await?), config.max_bytes);
        Ok(Receiving {
            limit_bytes,
            admission: None,
            received_bytes: 0,
            block: Block::at(0),
            idle,
            writing: None,
            _place: place,
        })
    }
}

impl Receiving {
    /// The next bytes. Waits while the disk is slower than the sender.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or [`Error::Library`]; the film is lost then.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.received_bytes = self.received_bytes.saturating_add(bytes.len() as u64);
        if self.received_bytes > self.limit_bytes {
            return Err(Error::TooLarge { limit_bytes: self.limit_bytes });
        }
        if let Some(admission) = &self.admission {
            admission.came(self.received_bytes)?;
        }
        while !bytes.is_empty() {
            bytes = self.block.fill(bytes);
            if self.block.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// No more than this, should that be less than the configuration allows.
    #[must_use]
    pub fn limited_to(mut self, max_bytes: u64) -> Self {
        self.limit_bytes = self.limit_bytes.min(max_bytes);
        self
    }

    /// No more than its sender's key may have.
    #[must_use]
    pub fn within(mut self, admission: &Admission) -> Self {
        self.admission = Some(admission.clone());
        self
    }

    /// How much has come.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// That was all: it is whole, hashed and on disk.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub async fn end(mut self) -> Result<Staged, Error> {
        self.flush().await?;
        let incoming = self.settle().await?;
        blocking(move || Ok(incoming.finish()?)).await
    }

    /// Waits for the block before this one to be written and has this one written.
    async fn flush(&mut self) -> Result<(), Error> {
        let mut incoming = self.settle().await?;
        let block = std::mem::replace(&mut self.block, Block::at(0)).freeze();
        self.writing = Some(spawn_blocking(move || {
            incoming.write(block)?;
            Ok(incoming)
        }));
        Ok(())
    }

    /// What is written so far, once it is.
    async fn settle(&mut self) -> Result<Incoming, Error> {
        if let Some(idle) = self.idle.take() {
            return Ok(idle);
        }
        let lost = || Error::Defect { path: "upload".into(), why: "it goes on after it was lost".to_owned() };
        // Cancelling this keeps the handle.
        let written = self.writing.as_mut().ok_or_else(lost)?.await;
        self.writing = None;
        written.unwrap_or_else(|died| match died.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(lost()),
        })
    }
}

/// What was written is removed by a thread that may block: freeing gigabytes takes its time.
impl Drop for Receiving {
    fn drop(&mut self) {
        let (idle, writing) = (self.idle.take(), self.writing.take());
        // Without a runtime the process is ending, and the next start sweeps.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let written = match writing {
                Some(writing) => writing.await.ok().and_then(Result::ok),
                None => idle,
            };
            let _ = spawn_blocking(move || drop(written)).await;
        });
    }
}
