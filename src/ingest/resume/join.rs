//! Uploads put together of others. The bytes are copied and hashed once more, since a hash cannot be put together; a
//! restart goes on where the mark is.

use std::io::SeekFrom;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Declared, Error, Purpose, Resumables, Status, Upload, defect};
use crate::media::{KeyId, UploadId};

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

impl Resumables {
    /// Makes an upload of these parts, in this order, and removes them, if all are of whom it `may` take. Runs to its end
    /// also if nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::Part`], and what can befall any upload; the parts stay then.
    pub async fn create_whole(
        &self,
        declared: Declared,
        may: impl Fn(Option<&KeyId>) -> bool,
    ) -> Result<Status, Error> {
        let Purpose::Whole(parts) = &declared.purpose else { return Err(defect(&"it has no parts").into()) };
        let mut length = 0_u64;
        for id in parts {
            let part = self.part(id)?;
            if !may(part.declared.owner.as_ref()) {
                return Err(Error::Part { id: id.to_string() });
            }
            length = length.saturating_add(part.status().offset_bytes);
        }
        let status = self.create(declared, Some(length)).await?;
        let (this, upload) = (self.clone(), self.find(&status.id)?);
        let joining = tokio::spawn(async move {
            let joined = this.join(&upload).await;
            // Whoever asked for it does not know its name.
            if joined.is_err() {
                let _ = this.remove(&status.id).await;
            }
            joined
        });
        joining.await.map_err(|died| defect(&died))?
    }

    /// Copies what is missing of an upload that is put together.
    pub(super) async fn join(&self, upload: &Arc<Upload>) -> Result<Status, Error> {
        let Purpose::Whole(parts) = &upload.declared.purpose else { return Err(Error::Final) };
        let mut going = self.begin(self.take(upload).await?, false).await?;
        let mut skip = going.offset_bytes();
        if going.missing_bytes() > 0 {
            for id in parts {
                let part = self.part(id)?;
                // Nobody removes or writes it meanwhile.
                let held = part.held.clone().try_lock_owned().map_err(|_| Error::Locked)?;
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
