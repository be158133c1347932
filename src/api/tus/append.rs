//! `PATCH /uploads/{id}`: the next bytes.

use std::sync::Arc;

use http::header::ACCEPT;
use http::{StatusCode, request};

use super::fields::{self, Checksum};
use super::{BYTES, UPLOAD_LENGTH, UPLOAD_OFFSET, standing};
use crate::api::payload::Payload;
use crate::api::problem::{Kind, Problem};
use crate::api::{Api, Response, respond};
use crate::ingest::resume::{self, Status};
use crate::media::UploadId;

pub(in crate::api) async fn append(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    id: &UploadId,
) -> Result<Response, Problem> {
    api.rooms.resumables.look(id)?;
    if !fields::has_bytes(parts) {
        let problem = Problem::new(Kind::MediaType, format!("bytes of an upload are {BYTES}"));
        return Err(problem.header(ACCEPT, BYTES).header(respond::ACCEPT_PATCH, BYTES));
    }
    respond::must_be_plain(parts)?;
    let offset = fields::bytes(parts, &UPLOAD_OFFSET)?;
    let offset = offset.ok_or_else(|| fields::bad(&UPLOAD_OFFSET, "there: it says where the bytes begin"))?;
    let length = fields::bytes(parts, &UPLOAD_LENGTH)?;
    let checksum = Checksum::of(parts)?;
    let status = receive(api, payload, id, offset, length, checksum).await?;
    Ok(standing(StatusCode::NO_CONTENT, &status))
}

/// Takes the bytes of a request. What came before it was cut, or before the disk was full, stays.
pub(super) async fn receive(
    api: &Arc<Api>,
    mut payload: Payload,
    id: &UploadId,
    offset: u64,
    length: Option<u64>,
    mut checksum: Option<Checksum>,
) -> Result<Status, Problem> {
    let mut going = api.rooms.resumables.go_on(id, offset, length, checksum.is_some()).await?;
    if payload.announced_bytes().is_some_and(|more| more > going.missing_bytes()) {
        return Err(going.too_long().into());
    }
    loop {
        let bytes = tokio::select! {
            bytes = payload.next() => bytes?,
            () = going.superseded() => return Err(resume::Error::Superseded.into()),
        };
        let Some(bytes) = bytes else { break };
        going.push(&bytes).await?;
        if let Some(checksum) = &mut checksum {
            checksum.update(&bytes);
        }
    }
    if checksum.is_some_and(|checksum| !checksum.matches()) {
        going.give_up();
        return Err(Problem::of(Kind::Checksum));
    }
    Ok(going.end().await?)
}
