//! Keys and upload tokens.

use http::Method;

use super::operations::{BASE, Operation};
use super::schemas::{Gives, Takes};
use crate::api::problem::Kind;

pub(super) fn all(method: &Method) -> Option<Operation> {
    match *method {
        Method::GET => Some(Operation {
            id: "listKeys",
            tag: "keys",
            summary: "Lists keys, newest first, including revoked ones.",
            gives: (200, Gives::KeyList),
            ..BASE
        }),
        Method::POST => Some(Operation {
            id: "createKey",
            tag: "keys",
            summary: "Adds a key. The key itself is in this answer and nowhere else.",
            takes: Takes::Key,
            gives: (201, Gives::IssuedKey),
            fails: &[
                Kind::Body,
                Kind::Incomplete,
                Kind::Stalled,
                Kind::TooManyKeys,
                Kind::TooLarge,
                Kind::MediaType,
                Kind::Encoding,
                Kind::DiskFull,
            ],
            ..BASE
        }),
        _ => None,
    }
}

pub(super) fn one(method: &Method) -> Option<Operation> {
    const KEY: Operation =
        Operation { tag: "keys", gives: (200, Gives::Key), fails: &[Kind::NoKey, Kind::NoRoute], ..BASE };
    match *method {
        Method::GET => Some(Operation { id: "getKey", summary: "Shows a key, without the key itself.", ..KEY }),
        Method::DELETE => Some(Operation {
            id: "revokeKey",
            summary: "Revokes a key. It stays in the list.",
            fails: &[Kind::NoKey, Kind::NoRoute, Kind::DiskFull],
            ..KEY
        }),
        _ => None,
    }
}

pub(super) fn upload_tokens(method: &Method) -> Option<Operation> {
    (*method == Method::POST).then_some(Operation {
        id: "issueUploadToken",
        tag: "keys",
        summary: "Issues a token with which one film can be uploaded without a key, in one request or by a resumable upload \
            that begins before it expires, and its video be looked at.",
        takes: Takes::UploadToken,
        gives: (201, Gives::UploadToken),
        fails: &[Kind::Body, Kind::Incomplete, Kind::Stalled, Kind::TooLarge, Kind::MediaType, Kind::Encoding],
        ..BASE
    })
}
