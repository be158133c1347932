//! What can go wrong with a request of the server's own. No message tells an address of a network that is not public.

use std::io;
use std::time::Duration;

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked for.
    #[error("not a valid URL: {0}")]
    Url(String),
    /// Only http and https are spoken.
    #[error("{0:?} is not supported: use http or https")]
    Scheme(String),
    /// Names and passwords in a URL end up in logs and listings.
    #[error("the URL contains a user name or password, which is not allowed")]
    Credentials,
    /// What listens there speaks no HTTP, or is not for everybody.
    #[error("port {0} is not allowed: use 80, 443, or 1024 and above")]
    Port(u16),
    /// It leads to where outsiders must not get by this server.
    #[error("{host} is not at a public address: set outbound.private_networks to allow that")]
    Private {
        /// As the URL says it.
        host: String,
    },
    /// An answer over https led to http.
    #[error("{host} redirects from https to http")]
    Downgrade {
        /// Who did.
        host: String,
    },
    /// Answers led from one to another.
    #[error("more than {limit} redirects")]
    Redirects {
        /// How many are followed.
        limit: usize,
    },
    /// An answer leads somewhere, but says no place.
    #[error("{host} redirects without saying where")]
    Nowhere {
        /// Who did.
        host: String,
    },
    /// The name is not known, or nobody who knows names answers.
    #[error("{host} was not found: {why}")]
    Name {
        /// As the URL says it.
        host: String,
        /// The resolver's words.
        why: io::Error,
    },
    /// Nobody is there.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// As the URL says it.
        host: String,
        /// The system's words.
        why: io::Error,
    },
    /// It is not who it should be, or speaks no TLS.
    #[error("no secure connection to {host}: {why}")]
    Tls {
        /// As the URL says it.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// This machine trusts nobody.
    #[error("this machine has no root certificates: install the package ca-certificates")]
    NoRoots,
    /// It takes too long.
    #[error("{host} takes too long {what}: more than {} s", .limit.as_secs())]
    Slow {
        /// As the URL says it.
        host: String,
        /// To do what.
        what: &'static str,
        /// What it had.
        limit: Duration,
    },
    /// The answer broke off, or is no HTTP.
    #[error("the response of {host} was cut off: {why}")]
    Broken {
        /// As the URL says it.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// The answer is longer than was wanted.
    #[error("more than the {limit_bytes} bytes that are allowed")]
    TooLarge {
        /// Bytes that are taken.
        limit_bytes: u64,
    },
    /// The answer is packed, although it was asked for as it is.
    #[error("the response has the content coding {0:?}, which was not requested")]
    Coded(String),
}

impl Error {
    /// Stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Scheme(_) => "url_scheme",
            Self::Credentials => "url_credentials",
            Self::Port(_) => "url_port",
            Self::Private { .. } => "private_address",
            Self::Downgrade { .. } | Self::Redirects { .. } | Self::Nowhere { .. } => "redirect",
            Self::Name { .. } => "name",
            Self::Unreachable { .. } => "unreachable",
            Self::Tls { .. } | Self::NoRoots => "tls",
            Self::Slow { .. } => "slow",
            Self::Broken { .. } => "broken_off",
            Self::TooLarge { .. } => "too_large",
            Self::Coded(_) => "coded",
        }
    }

    /// True if the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Name { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::NoRoots
            | Self::Slow { .. }
            | Self::Broken { .. } => true,
            Self::Url(_)
            | Self::Scheme(_)
            | Self::Credentials
            | Self::Port(_)
            | Self::Private { .. }
            | Self::Downgrade { .. }
            | Self::Redirects { .. }
            | Self::Nowhere { .. }
            | Self::TooLarge { .. }
            | Self::Coded(_) => false,
        }
    }
}
