//! One go: bytes that follow those that are there. However it ends, what was written is made certain.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Error, Hold, Purpose, Resumables, Status, Turn, Upload, defect};
use crate::catalog::now_ms;
use crate::ingest::{self, Admission, Wanted};
use crate::library::Block;
use crate::media::{Exceeded, Refusal, RefusalCode, UploadId};

/// A sync begins after so many bytes, and the mark follows when it has ended ...
const SETTLE_BYTES: u64 = 64 << 20;
/// ... or after so long: what comes after the mark is sent again when the server was killed.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// One go. Dropped, it makes certain what was written, unless that had yet to be checked.
pub struct Going {
    resumables: Resumables,
    upload: Arc<Upload>,
    turn: Turn,
    /// The bytes count only together, once their sender's checksum was found right.
    is_checked: bool,
    length_bytes: Option<u64>,
    /// Leave for what comes of it from an offset on, if its length was not known and so did not count yet.
    admission: Option<(Admission, u64)>,
    offset_bytes: u64,
    /// One is gathered while a thread writes that before it.
    block: Block,
    state: State,
    _place: OwnedSemaphorePermit,
}

/// Who has the upload.
enum State {
    Idle(Box<Writer>),
    Writing(JoinHandle<(Box<Writer>, Result<(), Error>)>),
    Lost,
}

/// What a thread needs to write.
struct Writer {
    hold: Hold,
    reserve_bytes: u64,
    is_checked: bool,
    settled_at: Instant,
}

impl Resumables {
    /// Goes on with an upload at `offset_bytes`, which must be where it stands. Whoever is at it is cut off. `length_bytes`
    /// says how long it will be, if that was not known.
    ///
    /// # Errors
    /// [`Error::Offset`] with where it stands, [`Error::Locked`] or [`Error::Superseded`] if another request has it.
    pub async fn go_on(
        &self,
        id: &UploadId,
        offset_bytes: u64,
        length_bytes: Option<u64>,
        is_checked: bool,
    ) -> Result<Going, Error> {
        let upload = self.find(id)?;
        if matches!(upload.declared.purpose, Purpose::Whole(_)) {
            return Err(Error::Final);
        }
        if length_bytes == Some(0) {
            let refusal = Refusal { code: RefusalCode::Empty, message: "the file is empty".to_owned() };
            return Err(ingest::Error::Refused { path: "upload".into(), refusal }.into());
        }
        let mut hold = self.take(&upload).await?;
        let (there, known) = (hold.held.mark().offset_bytes, hold.held.mark().length_bytes);
        if there != offset_bytes {
            return Err(Error::Offset { offset_bytes: there });
        }
        let mut admission = None;
        if known.is_none() {
            let owner = upload.declared.owner.as_ref();
            let bytes = length_bytes.map(|length| length.saturating_sub(there));
            let replaced_bytes = self.replaced_by(&upload.declared).await?;
            let wanted = Wanted { bytes, titles: 0, uploads: 0, replaced_bytes };
            let admitted = self.0.uploads.admit(owner, || self.open_of(owner, &[]), wanted).await?;
            admission = Some((admitted, there));
        }
        match (length_bytes, known) {
            (Some(new), Some(known)) if new != known => return Err(Error::Length { length_bytes: known }),
            (Some(new), None) => {
                let limit_bytes = upload.declared.limited(self.config().max_bytes);
                if new > limit_bytes || new < there {
                    return Err(ingest::Error::TooLarge { limit_bytes }.into());
                }
                hold = on_a_thread(move || {
                    hold.held.set_length(new, now_ms())?;
                    Ok(hold)
                })
                .await?;
            }
            _ => {}
        }
        let mut going = self.begin(hold, is_checked).await?;
        going.admission = admission;
        Ok(going)
    }

    pub(super) async fn begin(&self, mut hold: Hold, is_checked: bool) -> Result<Going, Error> {
        let config = self.config();
        let place = self.0.uploads.0.places.clone().try_acquire_owned();
        let place = place.map_err(|_| ingest::Error::TooMany { limit: config.max_concurrent })?;
        let reserve_bytes = config.reserve_bytes;
        // The bytes of a complete one are not written to any more, and may be the library's already.
        if !hold.held.is_complete() {
            hold = on_a_thread(move || {
                hold.held.begin()?;
                Ok(hold)
            })
            .await?;
        }
        let (upload, turn) = (hold.upload.clone(), hold.turn.clone());
        let (offset_bytes, length_bytes) = (hold.held.mark().offset_bytes, hold.held.mark().length_bytes);
        let writer = Box::new(Writer { hold, reserve_bytes, is_checked, settled_at: Instant::now() });
        Ok(Going {
            resumables: self.clone(),
            upload,
            turn,
            is_checked,
            length_bytes,
            admission: None,
            offset_bytes,
            block: Block::at(offset_bytes),
            state: State::Idle(writer),
            _place: place,
        })
    }
}

impl Going {
    /// Where the next byte goes.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// How many bytes may come yet.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        let most = self.bound().map_or(u64::MAX, |(end, _)| end).min(self.limit_bytes());
        let limit = self.length_bytes.unwrap_or(most);
        limit.saturating_sub(self.offset_bytes)
    }

    /// The error of more bytes than [may come](Self::missing_bytes).
    #[must_use]
    pub fn too_long(&self) -> Error {
        let limit_bytes = self.limit_bytes();
        match (self.length_bytes, self.bound()) {
            (Some(length_bytes), _) => Error::TooLong { length_bytes },
            (None, Some((end, exceeded))) if end < limit_bytes => ingest::Error::Quota(exceeded).into(),
            (None, _) => ingest::Error::TooLarge { limit_bytes }.into(),
        }
    }

    /// Where it must end for its sender's key.
    fn bound(&self) -> Option<(u64, Exceeded)> {
        let (admission, from) = self.admission.as_ref()?;
        admission.bound().map(|(left, exceeded)| (from.saturating_add(left), exceeded))
    }

    fn limit_bytes(&self) -> u64 {
        self.upload.declared.limited(self.resumables.config().max_bytes)
    }

    /// Returns when a newer request wants the upload; this one should end then.
    pub async fn superseded(&mut self) {
        self.turn.over().await;
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.turn.is_over()
    }

    /// The next bytes. Waits while the disk is slower than the sender.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Film`] if they cannot be written.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 > self.missing_bytes() {
            return Err(self.too_long());
        }
        if let Some((admission, from)) = &self.admission {
            admission.came((self.offset_bytes + bytes.len() as u64).saturating_sub(*from))?;
        }
        while !bytes.is_empty() {
            let later = self.block.fill(bytes);
            self.offset_bytes += (bytes.len() - later.len()) as u64;
            bytes = later;
            if self.block.is_full() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// That was all of this go: it is on disk when it returns, and if it was all of the upload, a title. Runs to its end
    /// also if nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error`]; what could be written stays.
    pub async fn end(mut self) -> Result<Status, Error> {
        self.is_checked = false;
        let resumables = self.resumables.clone();
        let (state, block) = (mem::replace(&mut self.state, State::Lost), self.take_block());
        let ending = tokio::spawn(end(resumables, state, block));
        ending.await.map_err(|died| defect(&died))?
    }

    /// The bytes of this go shall not count.
    pub fn give_up(mut self) {
        self.is_checked = true;
    }

    fn take_block(&mut self) -> Block {
        mem::replace(&mut self.block, Block::at(self.offset_bytes))
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let mut writer = self.idle().await?;
        let block = self.take_block().freeze();
        self.state = State::Writing(spawn_blocking(move || {
            let written = writer.write(block);
            (writer, written)
        }));
        Ok(())
    }

    /// The writer, once it has nothing to do.
    async fn idle(&mut self) -> Result<Box<Writer>, Error> {
        if let State::Writing(writing) = &mut self.state {
            // Cancelling this keeps the handle.
            let (writer, written) = writing.await.map_err(|died| defect(&died))?;
            self.state = State::Idle(writer);
            written?;
        }
        match mem::replace(&mut self.state, State::Lost) {
            State::Idle(writer) => Ok(writer),
            State::Writing(_) | State::Lost => Err(defect(&"it goes on after it was lost").into()),
        }
    }
}

/// Writes what is left, makes it certain, and lets go. What was written is made certain also if the rest cannot be.
async fn end(resumables: Resumables, state: State, block: Block) -> Result<Status, Error> {
    let (mut writer, before) = match state {
        State::Idle(writer) => (writer, Ok(())),
        State::Writing(writing) => writing.await.map_err(|died| defect(&died))?,
        State::Lost => return Err(defect(&"it ends after it was lost").into()),
    };
    writer.is_checked = false;
    let ended = spawn_blocking(move || {
        let written = before.and_then(|()| if block.is_empty() { Ok(()) } else { writer.write(block.freeze()) });
        let settled = writer.hold.held.settle(now_ms());
        writer.hold.held.rest();
        (writer.hold, written, settled)
    });
    let (hold, written, settled) = ended.await.map_err(|died| defect(&died))?;
    settled?;
    let upload = hold.upload.clone();
    match written {
        Ok(()) => resumables.conclude(hold).await,
        Err(error) => {
            upload.note(&hold.held, &resumables.0.uploads);
            Err(error)
        }
    }
}

impl Writer {
    fn write(&mut self, block: Bytes) -> Result<(), Error> {
        let held = &mut self.hold.held;
        held.write(block, self.reserve_bytes)?;
        let is_due = held.unsettled_bytes() >= SETTLE_BYTES || self.settled_at.elapsed() >= SETTLE_TIME;
        if is_due && !self.is_checked {
            held.hasten(now_ms())?;
            self.settled_at = Instant::now();
        }
        Ok(())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let state = mem::replace(&mut self.state, State::Lost);
        // Without a runtime the process is ending: what is behind the mark will be sent again.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (resumables, block, is_checked) = (self.resumables.clone(), self.take_block(), self.is_checked);
        match state {
            State::Lost => {}
            // The next go begins at the mark.
            State::Idle(mut writer) if is_checked => writer.hold.held.rest(),
            State::Writing(writing) if is_checked => {
                runtime.spawn(async move {
                    if let Ok((mut writer, _)) = writing.await {
                        writer.hold.held.rest();
                    }
                });
            }
            state => {
                let id = self.upload.status().id;
                runtime.spawn(async move {
                    if let Err(error) = end(resumables, state, block).await {
                        tracing::warn!(upload = %id, %error, "an upload that was cut lost what it had not confirmed");
                    }
                });
            }
        }
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::library::Error> + Send + 'static,
) -> Result<T, Error> {
    Ok(ingest::file::blocking(move || Ok(work()?)).await?)
}
