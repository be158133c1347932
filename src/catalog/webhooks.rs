//! Webhooks: who wants to hear of what, and what is still to be told. News is entered in the transaction of what it tells
//! of, so that neither is without the other, whatever happens in between.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Catalog, Error, MAX_PAGE, clock};
use crate::media::{DeliveryId, TitleId, WebhookId};

/// Most webhooks there may be: each makes every change of a title dearer.
pub const MAX_WEBHOOKS: u32 = 32;
/// News that may wait for one webhook; of more, the oldest are given up. Bounds what a receiver that is gone for good costs.
const MAX_WAITING: u32 = 10_000;
/// Deliveries that ended and are still shown, of all webhooks together.
const ENDED_KEPT: u32 = 1000;

const COLUMNS: &str = "id, webhook, event, body, state, attempts, due_at_ms, status, error, created_at_ms, ended_at_ms";

/// What can be heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A film arrived and is a title.
    Created,
    /// A title can be played.
    Ready,
    /// A title cannot.
    Failed,
    /// Its words or its policy are others.
    Changed,
    /// It plays another source.
    Replaced,
    /// It was to play another source and cannot.
    ReplacementFailed,
    /// It is gone.
    Deleted,
    /// Whoever keeps copies of what it played is to drop them.
    Purge,
}

/// Who wants to hear of something. Its secret is kept nowhere: see `access`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name in URLs and logs.
    pub id: WebhookId,
    /// Where it listens.
    pub url: String,
    /// What it wants to hear of.
    pub events: Vec<News>,
    /// When it was added, Unix milliseconds.
    pub created_at_ms: i64,
    /// Since when it is told nothing any more, and why.
    pub disabled: Option<(i64, String)>,
}

/// Something to be told to one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The same in each attempt.
    pub id: DeliveryId,
    /// To whom.
    pub webhook: WebhookId,
    /// What about.
    pub event: String,
    /// The words, JSON.
    pub body: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried again, Unix milliseconds.
    pub due_at_ms: i64,
    /// The last answer's status.
    pub status: Option<u16>,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it happened, Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was delivered or given up.
    pub ended_at_ms: Option<i64>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be told, for the first time or again.
    Queued,
    /// Taken by its receiver.
    Delivered,
    /// Given up.
    Failed,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was taken.
    Delivered,
    /// It is worth another attempt, not before this, Unix milliseconds.
    Again(i64, String),
    /// It is given up.
    Failed(String),
    /// Its receiver wants to hear nothing any more: all that waits for it is given up.
    Gone,
    /// The server ends; the attempt does not count.
    Released,
}

/// A place in the list of deliveries: after this one. Its text is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryCursor(i64);

/// Part of the list of deliveries, newest first.
#[derive(Clone, Debug)]
pub struct DeliveryPage {
    /// They.
    pub deliveries: Vec<Delivery>,
    /// Where the next page starts, if there is more.
    pub next: Option<DeliveryCursor>,
}

impl Catalog {
    /// Adds a webhook; false if there are [`MAX_WEBHOOKS`] already. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is added then.
    pub fn insert_webhook(&self, webhook: &Webhook) -> Result<bool, Error> {
        let events: Vec<&str> = webhook.events.iter().map(|news| news.as_str()).collect();
        let added = self.writer().execute(
            "INSERT INTO webhooks (id, url, events, created_at_ms)
             SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM webhooks) < ?5",
            params![webhook.id.as_str(), webhook.url, events.join(" "), webhook.created_at_ms, MAX_WEBHOOKS],
        )?;
        Ok(added > 0)
    }

    /// All webhooks, newest first.
    ///
    /// # Errors
    /// [`Error::DamagedWebhook`] if a row cannot be understood.
    pub fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        all(&self.reader())
    }

    /// One webhook, or `None`.
    ///
    /// # Errors
    /// [`Error::DamagedWebhook`] if a row cannot be understood.
    pub fn webhook(&self, id: &WebhookId) -> Result<Option<Webhook>, Error> {
        Ok(self.webhooks()?.into_iter().find(|webhook| webhook.id == *id))
    }

    /// Removes a webhook and what waits for it; false if there was none.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn remove_webhook(&self, id: &WebhookId) -> Result<bool, Error> {
        Ok(self.writer().execute("DELETE FROM webhooks WHERE id = ?1", [id.as_str()])? > 0)
    }

    /// Takes a delivery that is due and not for one of `busy`, and counts the attempt. It is due again at `until_ms`, should
    /// nobody say how it ended.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is claimed then.
    pub fn claim_delivery(&self, busy: &[WebhookId], now_ms: i64, until_ms: i64) -> Result<Option<Delivery>, Error> {
        let writer = self.writer();
        self.look_at_clock(&writer, now_ms)?;
        let mut claim = writer.prepare_cached(&format!(
            "UPDATE deliveries SET attempts = attempts + 1, due_at_ms = :until, sending = 1
             WHERE id = (
                 SELECT id FROM deliveries
                 WHERE ended_at_ms IS NULL AND due_at_ms <= :now
                     AND webhook NOT IN (SELECT value FROM json_each(:busy))
                 ORDER BY due_at_ms, rowid LIMIT 1
             ) RETURNING {COLUMNS}"
        ))?;
        let busy: Vec<&str> = busy.iter().map(WebhookId::as_str).collect();
        let values = named_params! { ":now": now_ms, ":until": until_ms, ":busy": json!(busy).to_string() };
        claim.query_row(values, |row| Ok(delivery(row))).optional()?.transpose()
    }

    /// Says how an attempt ended.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn end_delivery(&self, of: &Delivery, status: Option<u16>, told: &Told, now_ms: i64) -> Result<(), Error> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (state, due, ended, error) = match told {
            Told::Delivered => ("delivered", None, Some(now_ms), None),
            Told::Again(due, why) => ("queued", Some(*due), None, Some(why.as_str())),
            Told::Failed(why) => ("failed", None, Some(now_ms), Some(why.as_str())),
            Told::Gone => ("failed", None, Some(now_ms), Some(GONE)),
            Told::Released => ("queued", Some(now_ms), None, of.error.as_deref()),
        };
        let mut changed = transaction.execute(
            "UPDATE deliveries SET state = :state, due_at_ms = coalesce(:due, due_at_ms), ended_at_ms = :ended,
                 status = :status, error = :error, sending = 0, attempts = attempts - :uncounted
             WHERE id = :id AND ended_at_ms IS NULL",
            named_params! {
                ":id": of.id.as_str(), ":state": state, ":due": due, ":ended": ended, ":status": status,
                ":error": error, ":uncounted": i64::from(*told == Told::Released),
            },
        )?;
        if *told == Told::Gone {
            transaction.execute(
                "UPDATE webhooks SET disabled_at_ms = ?2, disabled_why = ?3 WHERE id = ?1 AND disabled_at_ms IS NULL",
                params![of.webhook.as_str(), now_ms, GONE],
            )?;
            changed += transaction.execute(
                "UPDATE deliveries SET state = 'failed', ended_at_ms = ?2, error = ?3, sending = 0
                 WHERE webhook = ?1 AND ended_at_ms IS NULL",
                params![of.webhook.as_str(), now_ms, GONE],
            )?;
        }
        transaction.execute(
            "DELETE FROM deliveries WHERE ended_at_ms IS NOT NULL AND id IN (
                 SELECT id FROM deliveries WHERE ended_at_ms IS NOT NULL ORDER BY ended_at_ms DESC LIMIT -1 OFFSET ?1)",
            [ENDED_KEPT],
        )?;
        transaction.commit()?;
        match told {
            Told::Delivered => self.deliveries_ended(DeliveryState::Delivered, changed),
            Told::Failed(_) | Told::Gone => self.deliveries_ended(DeliveryState::Failed, changed),
            Told::Again(..) | Told::Released => {}
        }
        Ok(())
    }

    /// Commits a transaction in which something was told: what is too much for a webhook is given up, and counted.
    pub(super) fn commit_told(&self, transaction: Transaction, now_ms: i64) -> Result<(), Error> {
        let mut given_up = 0;
        for webhook in all(&transaction)? {
            given_up += transaction.execute(
                "UPDATE deliveries SET state = 'failed', ended_at_ms = ?2, sending = 0,
                     error = 'too much news waited for it'
                 WHERE id IN (SELECT id FROM deliveries WHERE webhook = ?1 AND ended_at_ms IS NULL
                     ORDER BY rowid DESC LIMIT -1 OFFSET ?3)",
                params![webhook.id.as_str(), now_ms, MAX_WAITING],
            )?;
        }
        transaction.commit()?;
        self.deliveries_ended(DeliveryState::Failed, given_up);
        Ok(())
    }

    /// What a process that was killed had in hand is due at once. For the one server of a data folder, at its start.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Full`]; nothing is changed then.
    pub fn release_deliveries(&self, now_ms: i64) -> Result<(), Error> {
        let release = "UPDATE deliveries SET sending = 0, due_at_ms = ?1 WHERE sending = 1 AND ended_at_ms IS NULL";
        let writer = self.writer();
        writer.execute(release, [now_ms])?;
        clock::put_back(&writer, now_ms)
    }

    /// When the next delivery is due that is not for one of `busy`, Unix milliseconds.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn next_delivery_due(&self, busy: &[WebhookId]) -> Result<Option<i64>, Error> {
        let next = "SELECT min(due_at_ms) FROM deliveries
             WHERE ended_at_ms IS NULL AND webhook NOT IN (SELECT value FROM json_each(?1))";
        let busy: Vec<&str> = busy.iter().map(WebhookId::as_str).collect();
        Ok(self.reader().query_row(next, [json!(busy).to_string()], |row| row.get(0))?)
    }

    /// Up to `limit` deliveries to a webhook (at least one, at most [`MAX_PAGE`]), newest first, from `after` on, of one
    /// state or all.
    ///
    /// # Errors
    /// [`Error::DamagedWebhook`] if a row cannot be understood.
    pub fn deliveries(
        &self,
        webhook: &WebhookId,
        after: Option<&DeliveryCursor>,
        limit: u32,
        state: Option<DeliveryState>,
    ) -> Result<DeliveryPage, Error> {
        let limit = limit.clamp(1, MAX_PAGE);
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!(
            "SELECT {COLUMNS}, rowid AS place FROM deliveries
             WHERE webhook = :webhook AND (:state IS NULL OR state = :state) AND (:after IS NULL OR rowid < :after)
             ORDER BY rowid DESC LIMIT :rows"
        ))?;
        let values = named_params! {
            ":webhook": webhook.as_str(), ":state": state.map(DeliveryState::as_str),
            ":after": after.map(|cursor| cursor.0), ":rows": i64::from(limit) + 1,
        };
        let rows = query.query_map(values, |row| Ok((delivery(row), row.get::<_, i64>("place")?)))?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|(_, place)| DeliveryCursor(*place));
        let deliveries = rows.into_iter().map(|(delivery, _)| delivery).collect::<Result<_, _>>()?;
        Ok(DeliveryPage { deliveries, next })
    }
}

const GONE: &str = "its receiver answered 410: it wants to hear nothing any more";

/// Enters what happened to a title, for everybody who wants to hear of it. Part of the caller's transaction, which ends with
/// [`Catalog::commit_told`].
pub(super) fn tell(
    connection: &Connection,
    news: News,
    title: &TitleId,
    mut data: Value,
    now_ms: i64,
) -> Result<(), Error> {
    let webhooks = all(connection)?;
    let listening = webhooks.iter().filter(|webhook| webhook.disabled.is_none() && webhook.events.contains(&news));
    for webhook in listening {
        data["video"] = json!(title);
        let at = Timestamp::from_millisecond(now_ms).unwrap_or_default().to_string();
        let body = json!({ "type": news.as_str(), "timestamp": at, "data": data }).to_string();
        let chance = getrandom::u64().map_err(|why| Error::Chance(why.to_string()))?;
        connection.execute(
            "INSERT INTO deliveries (id, webhook, event, body, state, due_at_ms, created_at_ms)
             VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?5)",
            params![DeliveryId::from_random(chance).as_str(), webhook.id.as_str(), news.as_str(), body, now_ms],
        )?;
    }
    Ok(())
}

/// Enters that copies of what a title played are to be dropped.
pub(super) fn tell_purge(connection: &Connection, title: &TitleId, why: &str, now_ms: i64) -> Result<(), Error> {
    let data = json!({ "reason": why, "paths": [format!("/v/{title}/")], "surrogate_keys": [title] });
    tell(connection, News::Purge, title, data, now_ms)
}

fn all(connection: &Connection) -> Result<Vec<Webhook>, Error> {
    let mut query = connection.prepare_cached(
        "SELECT id, url, events, created_at_ms, disabled_at_ms, disabled_why FROM webhooks
         ORDER BY created_at_ms DESC, rowid DESC",
    )?;
    let read = |row: &Row| {
        let (id, events): (String, String) = (row.get(0)?, row.get(2)?);
        let disabled = row.get::<_, Option<i64>>(4)?.zip(row.get::<_, Option<String>>(5)?);
        Ok((id, row.get(1)?, events, row.get(3)?, disabled))
    };
    let rows = query.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter()
        .map(|(id, url, events, created_at_ms, disabled)| {
            let id = id.parse().map_err(|why| Error::DamagedWebhook { webhook: id, why: format!("{why}") })?;
            // One that a later version knows is not known here, and not told.
            let events = events.split_whitespace().filter_map(|event| event.parse().ok()).collect();
            Ok(Webhook { id, url, events, created_at_ms, disabled })
        })
        .collect()
}

fn delivery(row: &Row) -> Result<Delivery, Error> {
    let (id, webhook, state): (String, String, String) = (row.get("id")?, row.get("webhook")?, row.get("state")?);
    let fault = |why: String| Error::DamagedWebhook { webhook: webhook.clone(), why };
    Ok(Delivery {
        id: id.parse().map_err(|why| fault(format!("{why}")))?,
        webhook: webhook.parse().map_err(|why| fault(format!("{why}")))?,
        event: row.get("event")?,
        body: row.get("body")?,
        state: state.parse().map_err(fault)?,
        attempts: row.get("attempts")?,
        due_at_ms: row.get("due_at_ms")?,
        status: row.get("status")?,
        error: row.get("error")?,
        created_at_ms: row.get("created_at_ms")?,
        ended_at_ms: row.get("ended_at_ms")?,
    })
}

impl News {
    /// All there is.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Ready,
        Self::Failed,
        Self::Changed,
        Self::Replaced,
        Self::ReplacementFailed,
        Self::Deleted,
        Self::Purge,
    ];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "video.created",
            Self::Ready => "video.ready",
            Self::Failed => "video.failed",
            Self::Changed => "video.changed",
            Self::Replaced => "video.replaced",
            Self::ReplacementFailed => "video.replacement_failed",
            Self::Deleted => "video.deleted",
            Self::Purge => "cache.purge",
        }
    }
}

impl FromStr for News {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|news| news.as_str() == text).ok_or(())
    }
}

impl Serialize for News {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl fmt::Display for DeliveryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for DeliveryCursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is not a cursor"))
    }
}
