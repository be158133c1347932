//! From a name to a connection: resolved once, every address checked, connected to one of those.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, rustls};

use super::{Error, Target, address};

/// Time to resolve a name, to connect to one address, and to agree on keys, each.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried, one after another: a name with thousands would keep a request for hours.
const MAX_TRIES: usize = 4;

/// Looks a name up.
pub type Resolve = Arc<dyn Fn(&str, u16) -> Later<Vec<SocketAddr>> + Send + Sync>;
/// Connects to an address.
pub type Dial = Arc<dyn Fn(SocketAddr) -> Later<Line> + Send + Sync>;
/// What will be there.
pub type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// What lies between this process and others. Tests have one of their own.
#[derive(Clone)]
pub struct Network {
    /// Looks a name up.
    pub resolve: Resolve,
    /// Connects to an address. It is told none that was not checked.
    pub dial: Dial,
    /// Whom to trust; `None` asks the system when it is first needed.
    pub roots: Option<Arc<RootCertStore>>,
}

/// A connection.
pub struct Line {
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// Its end on this machine, if it has an address.
    pub from: Option<IpAddr>,
}

/// Bytes to somebody and from them.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
/// The same with TLS where it is wanted.
pub(super) type Connection = TokioIo<Box<dyn Stream>>;

impl Network {
    /// The system's own.
    #[must_use]
    pub fn system() -> Self {
        Self {
            resolve: Arc::new(|name, port| {
                let name = name.to_owned();
                Box::pin(async move { Ok(lookup_host((name.as_str(), port)).await?.collect()) })
            }),
            dial: Arc::new(|at| {
                Box::pin(async move {
                    let stream = TcpStream::connect(at).await?;
                    // Requests are small, and an answer is waited for.
                    stream.set_nodelay(true)?;
                    let from = stream.local_addr()?.ip();
                    Ok(Line { stream: Box::new(stream), from: Some(from) })
                })
            }),
            roots: None,
        }
    }
}

/// Connects to where a target leads.
pub(super) async fn connect(
    network: &Network,
    tls: &tokio::sync::OnceCell<Arc<ClientConfig>>,
    target: &Target,
    is_open: bool,
) -> Result<Connection, Error> {
    let addresses = addresses(network, target, is_open).await?;
    let stream = dial(network, target, &addresses, is_open).await?;
    if !target.is_secure() {
        return Ok(TokioIo::new(stream));
    }
    let config = tls.get_or_try_init(|| trust(network)).await?.clone();
    let fault = |why: String| Error::Tls { host: target.host(), why };
    let name = match target.address() {
        Some(at) => ServerName::from(at),
        // The dot that ends a name stands in no certificate.
        None => ServerName::try_from(target.host().trim_end_matches('.').to_owned())
            .map_err(|why| fault(why.to_string()))?,
    };
    let agreed = timeout(CONNECT, TlsConnector::from(config).connect(name, stream)).await;
    let stream = agreed.map_err(|_| slow(target, "to agree on keys"))?.map_err(|why| fault(why.to_string()))?;
    Ok(TokioIo::new(Box::new(stream)))
}

/// Every address of the target. One that is not public spoils them all: who answers for a public name has no good reason to
/// mix the two.
async fn addresses(network: &Network, target: &Target, is_open: bool) -> Result<Vec<SocketAddr>, Error> {
    let (host, port) = (target.host(), target.port());
    let found = match target.address() {
        Some(at) => vec![SocketAddr::new(at, port)],
        None => {
            let looked_up = timeout(CONNECT, (network.resolve)(&host, port)).await;
            let found = looked_up.map_err(|_| slow(target, "to be found"))?;
            found.map_err(|why| Error::Name { host: host.clone(), why })?
        }
    };
    if found.is_empty() {
        return Err(Error::Name { host, why: io::Error::new(io::ErrorKind::NotFound, "it has no address") });
    }
    for at in found.iter().filter(|_| !is_open) {
        if let Some(kind) = address::private(at.ip()) {
            return Err(private(target, at.ip(), kind));
        }
    }
    // The port is the target's, whatever the resolver says.
    Ok(found.into_iter().map(|at| with_port(at, port)).collect())
}

fn with_port(mut at: SocketAddr, port: u16) -> SocketAddr {
    at.set_port(port);
    at
}

async fn dial(
    network: &Network,
    target: &Target,
    addresses: &[SocketAddr],
    is_open: bool,
) -> Result<Box<dyn Stream>, Error> {
    let mut last = slow(target, "to be reached");
    for at in addresses.iter().take(MAX_TRIES) {
        last = match timeout(CONNECT, (network.dial)(*at)).await {
            // A public address may be this machine's own, and then what listens on it takes this server for a neighbour.
            Ok(Ok(line)) if !is_open && line.from.is_some_and(|from| from.to_canonical() == at.ip().to_canonical()) => {
                return Err(private(target, at.ip(), "own"));
            }
            Ok(Ok(line)) => return Ok(line.stream),
            Ok(Err(why)) => Error::Unreachable { host: target.host(), why },
            Err(_) => slow(target, "to be reached"),
        };
    }
    Err(last)
}

/// Who asked is not told the address: that would make this server a telescope into its own network.
fn private(target: &Target, address: IpAddr, kind: &str) -> Error {
    let host = target.host();
    tracing::warn!(host, %address, kind, "a request to an address that is not public was refused");
    Error::Private { host }
}

/// How TLS is spoken. Certificates are read from files the first time.
async fn trust(network: &Network) -> Result<Arc<ClientConfig>, Error> {
    let roots = match &network.roots {
        Some(roots) => roots.clone(),
        None => {
            let read = tokio::task::spawn_blocking(|| {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found.certs);
                roots
            });
            Arc::new(read.await.map_err(|_| Error::NoRoots)?)
        }
    };
    if roots.is_empty() {
        return Err(Error::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has what the default versions need");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn slow(target: &Target, what: &'static str) -> Error {
    Error::Slow { host: target.host(), what, limit: CONNECT }
}
