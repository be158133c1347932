//! Who delivers: takes what is due from the catalog, sends it, and says how that ended.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::Config;
use crate::access::Signer;
use crate::catalog::{self, Catalog, Delivery, LONGEST_DELIVERY_PAUSE_MS, Pauses, Told, Webhook, now_ms};
use crate::media::WebhookId;
use crate::outbound::{self, Client};

/// Deliveries under way at once ...
const AT_ONCE: usize = 8;
/// ... and of those to one webhook: a slow one shall not hold up the others.
const AT_ONCE_EACH: usize = 2;
/// How much longer than a receiver may take a claim lasts.
const LEASE_MARGIN_MS: i64 = 10_000;
/// Another process (`matinee ingest`) may have entered news, and cannot say so.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause after the catalog could not be read or written.
const CATALOG_PAUSE: Duration = Duration::from_secs(2);
/// Longest reason kept, characters.
const MAX_REASON_CHARS: usize = 200;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What it needs of other rooms.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Where news waits.
    pub catalog: Catalog,
    /// The way out.
    pub client: Client,
    /// Signs.
    pub signer: Signer,
}

/// What there is to do.
enum Claimed {
    /// This.
    One(Box<(Delivery, Webhook)>),
    /// Nothing until then, Unix milliseconds, if ever.
    Nothing { next_ms: Option<i64> },
}

/// Delivers. Clones are the same one.
#[derive(Clone)]
pub struct Courier(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    config: Config,
    wake: Notify,
    closing: watch::Sender<bool>,
    /// Whom something is on its way to, once for each.
    busy: Mutex<Vec<WebhookId>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Courier {
    /// Starts delivering, first what a process that ended had in hand. Blocks for a moment; call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`catalog::Error`].
    pub fn start(config: &Config, rooms: Rooms) -> Result<Self, catalog::Error> {
        rooms.catalog.release_deliveries(now_ms())?;
        let inner = Arc::new(Inner {
            rooms,
            config: config.clone(),
            wake: Notify::new(),
            closing: watch::Sender::new(false),
            busy: Mutex::default(),
            task: Mutex::default(),
        });
        let task = tokio::spawn(inner.clone().go());
        *lock(&inner.task) = Some(task);
        Ok(Self(inner))
    }

    /// There may be news.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Stops; what is under way will be sent again.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let task = lock(&self.0.task).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Inner {
    async fn go(self: Arc<Self>) {
        let mut closing = self.closing.subscribe();
        let mut under_way = JoinSet::new();
        loop {
            let pause = self.fill(&mut under_way).await;
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => break,
                () = self.wake.notified() => {}
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
                () = sleep(pause) => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Takes as much as there is room for. Returns how long to wait for more.
    async fn fill(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> Duration {
        while under_way.len() < AT_ONCE {
            let this = self.clone();
            let claimed = spawn_blocking(move || this.claim()).await;
            match claimed {
                Ok(Ok(Claimed::One(claimed))) => {
                    let (delivery, webhook) = *claimed;
                    lock(&self.busy).push(delivery.webhook.clone());
                    under_way.spawn(self.clone().deliver(delivery, webhook));
                }
                Ok(Ok(Claimed::Nothing { next_ms: next })) => {
                    let wait = next.map_or(LOOK_EVERY, |due| {
                        Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0).max(1))
                    });
                    return wait.min(LOOK_EVERY);
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "news for webhooks cannot be read");
                    return CATALOG_PAUSE;
                }
                // A panic is told where it happens.
                Err(_) => return CATALOG_PAUSE,
            }
        }
        LOOK_EVERY
    }

    /// What is due, and to whom; or when something will be. Blocks.
    fn claim(&self) -> Result<Claimed, catalog::Error> {
        let (catalog, now) = (&self.rooms.catalog, now_ms());
        let lease = i64::try_from(self.config.timeout().as_millis()).unwrap_or(i64::MAX);
        let busy = self.busy();
        let claimed = catalog.claim_delivery(&busy, now, now.saturating_add(lease).saturating_add(LEASE_MARGIN_MS))?;
        let Some(delivery) = claimed else {
            // What waits for a busy receiver comes when that one's end is heard.
            return Ok(Claimed::Nothing { next_ms: catalog.next_delivery_due(&busy)? });
        };
        // A webhook takes what waits for it along, so there is one; if it went this moment, the row is gone, too.
        let webhook = catalog.webhook(&delivery.webhook)?;
        Ok(webhook
            .map_or(Claimed::Nothing { next_ms: Some(now) }, |webhook| Claimed::One(Box::new((delivery, webhook)))))
    }

    /// Webhooks that have enough on their way.
    fn busy(&self) -> Vec<WebhookId> {
        let mut busy = lock(&self.busy).clone();
        busy.sort();
        let mut full: Vec<WebhookId> = busy
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() >= AT_ONCE_EACH)
            .map(|same| same[0].clone())
            .collect();
        full.dedup();
        full
    }

    async fn deliver(self: Arc<Self>, delivery: Delivery, webhook: Webhook) {
        let mut closing = self.closing.subscribe();
        let (status, told) = tokio::select! {
            sent = self.send(&delivery, &webhook) => sent,
            _ = closing.wait_for(|closing| *closing) => (None, Told::Released),
        };
        match &told {
            Told::Delivered => tracing::debug!(webhook = %webhook.id, delivery = %delivery.id, "delivered"),
            Told::Again(_, why) => {
                tracing::debug!(webhook = %webhook.id, delivery = %delivery.id, why, attempts = delivery.attempts, "not delivered yet");
            }
            Told::Failed(why) => tracing::warn!(webhook = %webhook.id, delivery = %delivery.id, why, "never delivered"),
            Told::Gone => tracing::warn!(webhook = %webhook.id, "a webhook wants to hear nothing any more"),
            Told::Released => {}
        }
        let (catalog, of) = (self.rooms.catalog.clone(), delivery.clone());
        let ended = spawn_blocking(move || catalog.end_delivery(&of, status, &told, now_ms())).await;
        // Otherwise its claim runs out and it is sent once more.
        if let Ok(Err(error)) = ended {
            tracing::warn!(delivery = %delivery.id, %error, "the end of a delivery cannot be noted");
        }
        let mut busy = lock(&self.busy);
        if let Some(at) = busy.iter().position(|id| *id == delivery.webhook) {
            busy.swap_remove(at);
        }
    }

    async fn send(&self, delivery: &Delivery, webhook: &Webhook) -> (Option<u16>, Told) {
        let target = match self.rooms.client.target(&webhook.url) {
            Ok(target) => target,
            Err(error) => return (None, Told::Failed(reason(&error))),
        };
        let headers = self.headers(delivery);
        let body = Bytes::from(delivery.body.clone());
        match self.rooms.client.post(&target, &headers, body, self.config.timeout()).await {
            // The URL was found good: where a name leads may be another place the next time.
            Err(error) if error.is_retryable() || matches!(error, outbound::Error::Private { .. }) => {
                (None, self.again(delivery, reason(&error), None))
            }
            Err(error) => (None, Told::Failed(reason(&error))),
            Ok(posted) => {
                let status = posted.status;
                let told = match status {
                    _ if status.is_success() => Told::Delivered,
                    StatusCode::GONE => Told::Gone,
                    _ => self.again(delivery, format!("answered {}", status.as_u16()), retry_after_ms(&posted.headers)),
                };
                (Some(status.as_u16()), told)
            }
        }
    }

    fn headers(&self, delivery: &Delivery) -> HeaderMap {
        let time_s = now_ms().div_euclid(1000);
        let signature = self.rooms.signer.sign(&delivery.webhook, &delivery.id, time_s, &delivery.body);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(WEBHOOK_TIMESTAMP, time_s.into());
        for (name, value) in [(WEBHOOK_ID, delivery.id.as_str()), (WEBHOOK_SIGNATURE, signature.as_str())] {
            headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        }
        headers
    }

    fn again(&self, delivery: &Delivery, why: String, asked_ms: Option<i64>) -> Told {
        if delivery.attempts >= self.config.attempts {
            return Told::Failed(why);
        }
        let pauses = Pauses { first_ms: self.config.retry_ms(), factor: 4, longest_ms: LONGEST_DELIVERY_PAUSE_MS };
        let pause = pauses.after(delivery.attempts).max(asked_ms.unwrap_or(0));
        Told::Again(now_ms().saturating_add(pause.min(LONGEST_DELIVERY_PAUSE_MS)), why)
    }
}

/// Seconds alone (RFC 9110 §10.2.3): a date would need their clock to be ours.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u32>().ok().map(|seconds| i64::from(seconds) * 1000)
}

fn reason(error: &outbound::Error) -> String {
    error.to_string().chars().take(MAX_REASON_CHARS).collect()
}

/// What is guarded is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_time_in_seconds() {
        let asked =
            |text: &'static str| retry_after_ms(&[(RETRY_AFTER, HeaderValue::from_static(text))].into_iter().collect());
        assert_eq!((asked("7"), asked("-7"), asked("Fri, 31 Dec 1999 23:59:59 GMT")), (Some(7000), None, None));
    }
}
