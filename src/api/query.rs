//! Queries of listings: `cursor`, `limit`, `state`.

use std::str::FromStr;

use http::request;

use super::problem::{Kind, Problem};

/// Items on a page unless asked otherwise, and at most.
const PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

/// Which part of a list is asked for.
pub(super) struct Listing<C, S> {
    pub after: Option<C>,
    pub limit: u32,
    pub state: Option<S>,
}

/// The pairs of a query, decoded.
pub(super) fn pairs(parts: &request::Parts) -> impl Iterator<Item = (String, String)> + '_ {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).map(|(key, value)| (key.into_owned(), value.into_owned()))
}

/// Reads a listing's query. Keys nobody knows mean nothing.
pub(super) fn listing<C, S>(parts: &request::Parts) -> Result<Listing<C, S>, Problem>
where
    C: FromStr<Err = String>,
    S: FromStr<Err = String>,
{
    let mut listing = Listing { after: None, limit: PAGE, state: None };
    for (key, value) in pairs(parts) {
        let bad = |why: String| Problem::new(Kind::Query, format!("{key}: {why}"));
        match key.as_str() {
            "cursor" => listing.after = Some(value.parse().map_err(bad)?),
            "limit" => {
                let must = || bad(format!("{value:?} is not a whole number of 1 to {}", u32::MAX));
                listing.limit = value.parse().ok().filter(|limit| *limit > 0).ok_or_else(must)?;
            }
            "state" => listing.state = Some(value.parse().map_err(bad)?),
            _ => {}
        }
    }
    listing.limit = listing.limit.min(MAX_PAGE);
    Ok(listing)
}
