//! Requests of the server's own: films fetched by URL, news delivered to whoever wants it. Never into a private network.
//!
//! Nothing runs unasked. A request costs a connection of its own and a task as long as its answer is read; the first one
//! over https reads the system's root certificates. HTTP/1.1 alone: a film is one long answer.
//!
//! In the order of a request: [`Target`] (the URL, looked at), `connect` (name, addresses, connection), `exchange`
//! (request, answer, redirects), [`Body`] (what is read of it).
//!
//! The rule not to break: a name is resolved once for each request, every address it has is checked, and the connection
//! goes to one of those. No proxy of the environment stands in between, and a redirect is a new request. Everything is
//! bounded: the time until there is a connection, until there is an answer, and while nothing comes; and what is read.
//!
//! Arrow: `outbound` -> no other room.

mod address;
mod body;
mod config;
mod connect;
mod error;
mod exchange;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::ClientConfig;

pub use body::Body;
pub use config::Config;
pub use connect::{Dial, Later, Line, Network, Resolve, Stream};
pub use error::Error;
pub use target::Target;

/// Who asks. Clones are the same one.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    network: Network,
    tls: OnceCell<Arc<ClientConfig>>,
}

/// An answer whose bytes are still to be read; dropping it ends the connection.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: StatusCode,
    /// What was said of it.
    pub headers: HeaderMap,
    /// Who answered, after redirects.
    pub target: Target,
    /// Its bytes, as they are.
    pub body: Body,
}

/// The answer to something that was sent.
#[derive(Clone, Debug)]
pub struct Posted {
    /// How it ended.
    pub status: StatusCode,
    /// What was said of it.
    pub headers: HeaderMap,
}

impl Client {
    /// One that goes out to the system's network.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::with_network(config, Network::system())
    }

    /// One with a network of its own.
    #[must_use]
    pub fn with_network(config: &Config, network: Network) -> Self {
        Self(Arc::new(Inner { config: config.clone(), network, tls: OnceCell::new() }))
    }

    /// Looks at a URL: all that can be refused before its name is resolved.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Scheme`], [`Error::Credentials`], [`Error::Port`], [`Error::Private`].
    pub fn target(&self, url: &str) -> Result<Target, Error> {
        Target::parse(url, self.0.config.private_networks)
    }

    /// Asks for something, and follows redirects. `headers` may have `Range`, `If-Range` and others that no redirect must
    /// be kept from; `limit_bytes` bounds the body, by what is said of it and by what comes.
    ///
    /// # Errors
    /// [`Error`]. A status that tells of a failure is an answer, too.
    pub async fn get(&self, target: &Target, headers: &HeaderMap, limit_bytes: u64) -> Result<Answer, Error> {
        self.0.get(target, headers, limit_bytes).await
    }

    /// Sends something and reads the head of the answer, all within `limit`. A redirect is not followed: it is the answer.
    /// `headers` take the place of this client's own.
    ///
    /// # Errors
    /// [`Error`]. A status that tells of a failure is an answer, too. What was sent may have arrived.
    pub async fn post(
        &self,
        target: &Target,
        headers: &HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Posted, Error> {
        self.0.post(target, headers, body, limit).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("outbound::Client").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
