//! `HEAD` and `GET /uploads/{id}`: where an upload stands; and once it is a video, its bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderValue, StatusCode, request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::{UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH, UPLOAD_METADATA, location, standing};
use crate::api::access::Caller;
use crate::api::problem::{Kind, Problem};
use crate::api::{Api, Response, respond, video, videos};
use crate::ingest::resume::{Purpose, Status};
use crate::media::{Digest, TitleId, UploadId};

/// Bytes read at a time, and how many such blocks are on their way to a slow reader.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCKS: usize = 2;

/// Where to go on. A request that is still at it is cut off: its sender would not ask.
pub(in crate::api) async fn head(api: &Arc<Api>, id: &UploadId) -> Result<Response, Problem> {
    let status = api.rooms.resumables.settle(id).await?;
    let mut response = standing(StatusCode::OK, &status);
    let headers = response.headers_mut();
    match status.length_bytes {
        Some(length) => headers.insert(UPLOAD_LENGTH, length.into()),
        None => headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    if !status.declared.verbatim.is_empty() {
        let text = HeaderValue::from_str(&status.declared.verbatim).ok();
        headers.extend(text.map(|text| (UPLOAD_METADATA, text)));
    }
    headers.extend(concat(&status).map(|value| (UPLOAD_CONCAT, value)));
    Ok(response)
}

fn concat(status: &Status) -> Option<HeaderValue> {
    match &status.declared.purpose {
        Purpose::Title => None,
        Purpose::Part => Some(HeaderValue::from_static("partial")),
        Purpose::Whole(parts) => {
            let urls: Vec<String> = parts.iter().map(location).collect();
            HeaderValue::from_str(&format!("final;{}", urls.join(" "))).ok()
        }
    }
}

/// The bytes as they came, of an upload that became a video; otherwise, or if JSON is asked for, or to who has a token,
/// where it stands. Disturbs nobody.
pub(in crate::api) async fn get(
    api: &Arc<Api>,
    parts: &request::Parts,
    id: &UploadId,
    caller: &Caller,
) -> Result<Response, Problem> {
    let status = api.rooms.resumables.look(id)?;
    let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = match &status.title {
        Some(title) if caller.grant.is_none() && !accept.contains("application/json") => {
            bytes(api, title, status.digest.as_ref()).await?
        }
        _ => respond::json(&json!({
            "id": id, "offset": status.offset_bytes, "length": status.length_bytes,
            "expires_at": video::time(status.expires_at_ms), "file_name": status.declared.file_name,
            "video": status.title,
        })),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

async fn bytes(api: &Arc<Api>, title: &TitleId, came: Option<&Digest>) -> Result<Response, Problem> {
    let entry = videos::find(api, title).await?.entry;
    let gone = || Problem::new(Kind::NoTitle, "the video that became of this upload has its bytes no more");
    let source = entry.source.filter(|source| Some(source) == came).ok_or_else(gone)?;
    let path = api.rooms.library.source_path(&source);
    let file = File::open(path).await.map_err(|_| gone())?;
    let (sender, receiver) = mpsc::channel(BLOCKS);
    tokio::spawn(read(file, sender));
    let mut response = Response::new(Blocks(receiver).boxed_unsync());
    let headers = response.headers_mut();
    // Whatever it is, no browser shall show it as a page.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, entry.size_bytes.into());
    Ok(response)
}

/// Until nobody takes it. One that ends early is not as long as was said, which is how its reader knows.
async fn read(mut file: File, sender: mpsc::Sender<Bytes>) {
    loop {
        let mut block = BytesMut::with_capacity(BLOCK_BYTES);
        match file.read_buf(&mut block).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return tracing::warn!(%error, "a source cannot be read"),
        }
        if sender.send(block.freeze()).await.is_err() {
            return;
        }
    }
}

struct Blocks(mpsc::Receiver<Bytes>);

impl http_body::Body for Blocks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|block| block.map(|block| Ok(Frame::data(block))))
    }
}
