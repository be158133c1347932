//! Uploads put together of others. The bytes are copied and hashed once more, since a hash cannot be put together; a
//! restart goes on where the mark is.

use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::timeout;

use super::{Declared, Error, Hold, Purpose, Resumables, Status, TAKE_OVER, Upload, defect};
use crate::media::{KeyId, UploadId};

/// How long an asker waits for it to be put together, to be told the title: proxies give up after half a minute or a
/// whole one.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

impl Resumables {
    /// Makes an upload of these parts, in this order, and removes them, if all are of whom it `may` take. Asked for again, it
    /// is the same one. Runs to its end also if nobody waits for it any more; one that takes long has no title yet when it
    /// is answered with.
    ///
    /// # Errors
    /// [`Error::Part`], and what can befall any upload; the parts stay then.
    pub async fn create_whole(
        &self,
        declared: Declared,
        may: impl Fn(Option<&KeyId>) -> bool,
    ) -> Result<Status, Error> {
        self.create_whole_within(ANSWER_WITHIN, declared, may).await
    }

    pub(super) async fn create_whole_within(
        &self,
        longest: Duration,
        declared: Declared,
        may: impl Fn(Option<&KeyId>) -> bool,
    ) -> Result<Status, Error> {
        let upload = self.enter_whole(declared, may).await?;
        if let Ok(joined) = timeout(longest, self.joined(&upload)).await {
            return joined;
        }
        upload.is_promised.store(true, Ordering::Relaxed);
        Ok(upload.status())
    }

    /// The upload of these parts, which may be there already: its asker did not hear that it was.
    pub(super) async fn enter_whole(
        &self,
        declared: Declared,
        may: impl Fn(Option<&KeyId>) -> bool,
    ) -> Result<Arc<Upload>, Error> {
        let Purpose::Whole(parts) = &declared.purpose else { return Err(defect(&"it has no parts").into()) };
        let _alone = self.0.joins.lock().await;
        let is_same = |upload: &&Arc<Upload>| {
            upload.declared.purpose == declared.purpose && upload.declared.owner == declared.owner
        };
        let same = self.all().values().find(is_same).cloned();
        if let Some(same) = same {
            return Ok(same);
        }
        let mut length = 0_u64;
        for id in parts {
            let part = self.part(id)?;
            if !may(part.declared.owner.as_ref()) {
                return Err(Error::Part { id: id.to_string() });
            }
            length = length.saturating_add(part.status().offset_bytes);
        }
        let status = self.create(declared, Some(length)).await?;
        self.find(&status.id)
    }

    /// Where an upload stands once it is put together. Whoever is at that is waited for; if nobody is, it is begun.
    pub(super) async fn joined(&self, upload: &Arc<Upload>) -> Result<Status, Error> {
        let turn = upload.turn();
        let held = upload.held.clone().lock_owned().await;
        let hold = self.hold(upload, held, turn)?;
        if hold.held.mark().title.is_some() {
            return Ok(upload.status());
        }
        let (this, upload) = (self.clone(), upload.clone());
        let joining = tokio::spawn(async move {
            let joined = this.join(hold).await;
            if let Err(error) = &joined {
                this.give_up(&upload, error).await;
            }
            joined
        });
        joining.await.map_err(|died| defect(&died))?
    }

    /// One that cannot be put together goes, unless its asker was told that it will be and another try may help.
    async fn give_up(&self, upload: &Arc<Upload>, error: &Error) {
        if matches!(error, Error::Superseded) {
            // By who removes it.
            return;
        }
        let (id, is_promised) = (upload.status().id, upload.is_promised.load(Ordering::Relaxed));
        let stays = is_promised && error.is_retryable();
        if is_promised {
            tracing::warn!(upload = %id, %error, stays, "an upload cannot be put together");
        }
        if !stays {
            let _ = self.remove(&id).await;
        }
    }

    /// Tries again what was promised.
    pub(super) fn join_again(&self) {
        for upload in self.all().values() {
            let is_whole = matches!(upload.declared.purpose, Purpose::Whole(_)) && !upload.is_finished();
            if is_whole && upload.is_promised.load(Ordering::Relaxed) && upload.held.try_lock().is_ok() {
                let (this, upload) = (self.clone(), upload.clone());
                tokio::spawn(async move { this.joined(&upload).await });
            }
        }
    }

    /// Copies what is missing of an upload that is put together.
    async fn join(&self, hold: Hold) -> Result<Status, Error> {
        let declared = hold.upload.declared.clone();
        let Purpose::Whole(parts) = &declared.purpose else { return Err(Error::Final) };
        let mut going = self.begin(hold, false).await?;
        let mut skip = going.offset_bytes();
        if going.missing_bytes() > 0 {
            for id in parts {
                let part = self.part(id)?;
                // Nobody removes or writes it meanwhile. The request that completed it may still let go of it.
                let held = timeout(TAKE_OVER, part.held.clone().lock_owned()).await.map_err(|_| Error::Locked)?;
                let size = held.mark().offset_bytes;
                if skip < size {
                    copy(&held.path(), skip, size, &mut going).await?;
                }
                skip = skip.saturating_sub(size);
            }
        }
        let status = going.end().await?;
        for id in parts {
            // One that stays for now expires.
            let _ = self.remove(id).await;
        }
        Ok(status)
    }

    fn part(&self, id: &UploadId) -> Result<Arc<Upload>, Error> {
        let not = || Error::Part { id: id.to_string() };
        let part = self.find(id).map_err(|_| not())?;
        let status = part.status();
        let good = part.declared.purpose == Purpose::Part && status.length_bytes == Some(status.offset_bytes);
        if good { Ok(part) } else { Err(not()) }
    }
}

/// The bytes from `from` to `to`.
async fn copy(path: &std::path::Path, from: u64, to: u64, going: &mut super::Going) -> Result<(), Error> {
    let io = |why| crate::library::Error::Unreadable { path: path.to_owned(), why };
    let mut file = tokio::fs::File::open(path).await.map_err(io)?;
    file.seek(SeekFrom::Start(from)).await.map_err(io)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut left = to - from;
    while left > 0 {
        if going.is_superseded() {
            return Err(Error::Superseded);
        }
        let most = READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES));
        let read = file.read(&mut buffer[..most]).await.map_err(io)?;
        if read == 0 {
            return Err(io(std::io::ErrorKind::UnexpectedEof.into()).into());
        }
        going.push(&buffer[..read]).await?;
        left -= read as u64;
    }
    Ok(())
}
