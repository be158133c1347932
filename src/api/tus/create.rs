//! `POST /uploads`: an upload begins, perhaps with its first bytes, or is put together of others.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, StatusCode, request};

use super::fields::{self, Checksum};
use super::{append, check_version, location, metadata, standing};
use crate::api::access::Caller;
use crate::api::payload::Payload;
use crate::api::problem::{Kind, Problem};
use crate::api::{Api, Response, respond, source, upload, videos};
use crate::catalog::State;
use crate::ingest::resume::{Declared, Granted, Purpose};

pub(in crate::api) async fn create(
    api: &Arc<Api>,
    parts: &request::Parts,
    payload: Payload,
    caller: &Caller,
) -> Result<Response, Problem> {
    check_version(parts)?;
    let has_bytes = fields::has_bytes(parts);
    if has_bytes {
        respond::must_be_plain(parts)?;
    }
    let mut declared =
        Declared { purpose: fields::purpose(parts)?, owner: caller.owner.clone(), ..metadata::read(parts)? };
    if let Some(grant) = &caller.grant {
        if declared.purpose != Purpose::Title || declared.replaces.is_some() {
            return Err(Problem::new(Kind::Scope, "an upload token sends its film in one upload, as a new title"));
        }
        upload::must_be_unspent(api, grant).await?;
        let until_ms = upload::until_ms(grant);
        declared.granted = Some(Granted { title: grant.title.clone(), until_ms, max_bytes: grant.max_bytes });
    }
    if let Some(title) = &declared.replaces {
        let old = videos::find(api, title).await?;
        source::counted(api, title, caller).await?;
        if matches!(old.entry.state, State::Receiving | State::Processing) {
            return Err(crate::ingest::Error::NotReady.into());
        }
    }
    let resumables = &api.rooms.resumables;
    // Of two that one token begins at once neither is to take the place of the other.
    let alone = declared.granted.as_ref().map(|granted| api.creations.begin_alone(&granted.title)).transpose()?;
    if let Purpose::Whole(_) = declared.purpose {
        let status = resumables.create_whole(declared, |owner| caller.may_change(owner)).await?;
        return Ok(with_location(standing(StatusCode::CREATED, &status), &location(&status.id)));
    }
    let length = fields::length(parts)?;
    let checksum = Checksum::of(parts)?;
    let mut status = resumables.create(declared, length).await?;
    drop(alone);
    let place = location(&status.id);
    if has_bytes {
        let received = append::receive(api, payload, &status.id, 0, None, checksum).await;
        // The upload is there, and whoever hears why its first bytes were not taken can go on.
        status = received.map_err(|problem| problem.header(LOCATION, &place))?;
    }
    Ok(with_location(standing(StatusCode::CREATED, &status), &place))
}

fn with_location(mut response: Response, place: &str) -> Response {
    response.headers_mut().extend(HeaderValue::from_str(place).ok().map(|place| (LOCATION, place)));
    response
}
