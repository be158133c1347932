//! The client against servers that mean harm. Networks are in memory: a name leads where the test says, and every address
//! that is connected to is recorded.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, RANGE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// Public, and nobody's: nothing is ever sent there.
const PUBLIC: &str = "8.8.8.8";
const BOUND: u64 = 1 << 20;

/// What a name leads to, and what was done with it.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: HashMap<String, Vec<Vec<&'static str>>>,
    looked_up: Vec<String>,
    dialled: Vec<SocketAddr>,
    requests: Vec<String>,
    /// Every address is this machine's own.
    is_here: bool,
}

impl World {
    /// A name and its addresses, one list for each time it is looked up; the last one stays.
    fn name(self, name: &str, answers: &[&[&'static str]]) -> Self {
        let answers = answers.iter().rev().map(|answer| answer.to_vec()).collect();
        self.0.lock().unwrap().names.insert(name.to_owned(), answers);
        self
    }

    /// A client in this world, whose every server answers by `serve`.
    fn client<F: Future<Output = ()> + Send + 'static>(
        &self,
        config: &Config,
        serve: impl Fn(String, DuplexStream) -> F + Clone + Send + Sync + 'static,
    ) -> Client {
        let (resolving, dialling) = (self.clone(), self.clone());
        let network = Network {
            resolve: Arc::new(move |name, port| {
                let found = resolving.look_up(name, port);
                Box::pin(async move { found })
            }),
            dial: Arc::new(move |at| {
                dialling.0.lock().unwrap().dialled.push(at);
                let from = dialling.0.lock().unwrap().is_here.then(|| at.ip());
                let (mine, mut theirs) = duplex(64 << 10);
                let (world, serve) = (dialling.clone(), serve.clone());
                tokio::spawn(async move {
                    let head = head(&mut theirs).await;
                    world.0.lock().unwrap().requests.push(head.clone());
                    serve(head, theirs).await;
                });
                Box::pin(async move { Ok(Line { stream: Box::new(mine), from }) })
            }),
            roots: None,
        };
        Client::with_network(config, network)
    }

    fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut state = self.0.lock().unwrap();
        state.looked_up.push(name.to_owned());
        let answers = state.names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
        // A resolver that makes up ports opens none.
        Ok(answer.iter().map(|at| SocketAddr::new(at.parse().unwrap(), port ^ 1)).collect())
    }

    fn dialled(&self) -> Vec<String> {
        self.0.lock().unwrap().dialled.iter().map(ToString::to_string).collect()
    }

    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().requests.clone()
    }
}

async fn head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Says one thing to everybody and hangs up.
fn saying(text: &'static str) -> impl Fn(String, DuplexStream) -> Says + Clone + Send + Sync + 'static {
    move |_, mut stream| {
        Box::pin(async move {
            let _ = stream.write_all(text.as_bytes()).await;
        })
    }
}
type Says = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn get(client: &Client, url: &str) -> Result<(u16, Vec<u8>), Error> {
    let mut answer = client.get(&client.target(url)?, &HeaderMap::new(), BOUND).await?;
    let mut all = Vec::new();
    while let Some(bytes) = answer.body.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok((answer.status.as_u16(), all))
}

async fn code(client: &Client, url: &str) -> &'static str {
    get(client, url).await.expect_err(url).code()
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_what_was_checked_is_what_is_connected_to() {
    let world = World::default().name("films.example", &[&[PUBLIC, "1.1.1.1"], &["127.0.0.1"]]);
    let client = world.client(&Config::default(), saying("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfilm"));
    assert_eq!(get(&client, "http://films.example:8080/a?b#c").await.unwrap(), (200, b"film".to_vec()));
    assert_eq!((world.dialled(), world.0.lock().unwrap().looked_up.len()), (vec![format!("{PUBLIC}:8080")], 1));
    let expected = format!(
        "GET /a?b HTTP/1.1\r\naccept: */*\r\naccept-encoding: identity\r\nuser-agent: Matinee/{}\r\n\
         host: films.example:8080\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(world.requests(), [expected]);
    // The second time the name leads to this machine: rebinding.
    assert_eq!(code(&client, "http://films.example:8080/").await, "private_address");
    assert_eq!(world.dialled().len(), 1);
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_connected_to_not_even_in_part() {
    for addresses in [
        &["127.0.0.1"][..],
        &["169.254.169.254"],
        &["10.0.0.1"],
        &["::1"],
        &["::ffff:192.168.0.1"],
        &["64:ff9b::7f00:1"],
        &["fd00::1"],
        &[PUBLIC, "10.0.0.1"],
        &["2606:4700::1111", "0.0.0.0"],
    ] {
        let world = World::default().name("evil.example", &[addresses]);
        let client = world.client(&Config::default(), saying("HTTP/1.1 200 OK\r\n\r\n"));
        let error = get(&client, "http://evil.example/").await.unwrap_err();
        assert_eq!(error.code(), "private_address", "{addresses:?}");
        assert!(addresses.iter().all(|at| !error.to_string().contains(at)), "it tells no address: {error}");
        assert_eq!(world.dialled(), [""; 0], "{addresses:?}");

        let open = world.client(&Config { private_networks: true }, saying("HTTP/1.1 200 OK\r\n\r\n"));
        assert_eq!(get(&open, "http://evil.example/").await.unwrap().0, 200, "{addresses:?}");
    }
    let world = World::default().name("nobody.example", &[&[]]);
    let client = world.client(&Config::default(), saying(""));
    assert_eq!(code(&client, "http://nobody.example/").await, "name");
    assert_eq!(code(&client, "http://unknown.example/").await, "name");
}

#[tokio::test]
async fn redirects_lead_to_public_places_alone_and_not_for_ever() {
    let world = World::default().name("a.example", &[&[PUBLIC]]).name("inside.example", &[&["10.0.0.1"]]);
    let serve = |head: String, mut stream: DuplexStream| async move {
        let path = head.split(' ').nth(1).unwrap();
        let text = match path.split_once("/to/") {
            Some((_, place)) => format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"),
            None if path == "/loop" => "HTTP/1.1 307 Temporary Redirect\r\nLocation: /loop\r\n\r\n".to_owned(),
            None if path == "/nowhere" => "HTTP/1.1 301 Moved Permanently\r\n\r\n".to_owned(),
            None if path == "/choices" => "HTTP/1.1 300 Multiple Choices\r\nLocation: /film\r\n\r\n".to_owned(),
            None => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfilm".to_owned(),
        };
        let _ = stream.write_all(text.as_bytes()).await;
    };
    let client = world.client(&Config::default(), serve);
    for (path, expected) in [
        ("/to/http://127.0.0.1:6379/", "private_address"),
        ("/to/http://[::1]/", "private_address"),
        ("/to/http://localhost/", "private_address"),
        ("/to/http://inside.example/", "private_address"),
        ("/to/http://169.254.169.254/latest/meta-data/", "private_address"),
        ("/to/http://a.example:22/", "url_port"),
        ("/to/file:///etc/passwd", "url_scheme"),
        ("/to/gopher://a.example/", "url_scheme"),
        ("/to/http://a:b@a.example/", "url_credentials"),
        ("/loop", "redirect"),
        ("/nowhere", "redirect"),
    ] {
        assert_eq!(code(&client, &format!("http://a.example{path}")).await, expected, "{path}");
    }
    assert!(world.dialled().iter().all(|at| *at == format!("{PUBLIC}:80")), "{:?}", world.dialled());
    let followed = get(&client, "http://a.example/to//to//film").await.unwrap();
    assert_eq!(followed, (200, b"film".to_vec()));
    assert_eq!(get(&client, "http://a.example/choices").await.unwrap().0, 300, "nobody chooses for us");
}

#[tokio::test]
async fn lengths_that_lie_and_bodies_without_end_are_cut_off() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfilm", "broken_off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nfilm", "too_large"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfilms", "broken_off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nfilm", "broken_off"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfilm\r\n", "broken_off"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nfilm\r\n", "broken_off"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nfilm", "coded"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "broken_off"),
        ("", "broken_off"),
    ] {
        let world = World::default().name("a.example", &[&[PUBLIC]]);
        let client = world.client(&Config::default(), saying(answer));
        assert_eq!(code(&client, "http://a.example/").await, expected, "{answer}");
    }
    let world = World::default().name("a.example", &[&[PUBLIC]]);
    let endless = |_, mut stream: DuplexStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[0; 16 << 10]).await.is_ok() {}
    };
    assert_eq!(code(&world.client(&Config::default(), endless), "http://a.example/").await, "too_large");
    let endless_head = |_, mut stream: DuplexStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Filler: ").await;
        while stream.write_all(&[b'x'; 16 << 10]).await.is_ok() {}
    };
    assert_eq!(code(&world.client(&Config::default(), endless_head), "http://a.example/").await, "broken_off");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_next_to_nothing_is_left() {
    let world = World::default().name("a.example", &[&[PUBLIC]]);
    let silent = |_, stream: DuplexStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(code(&world.client(&Config::default(), silent), "http://a.example/").await, "slow");
    let informational = |_, mut stream: DuplexStream| async move {
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    assert_eq!(code(&world.client(&Config::default(), informational), "http://a.example/").await, "slow");
    let dripping = |_, mut stream: DuplexStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    assert_eq!(code(&world.client(&Config::default(), dripping), "http://a.example/").await, "slow");
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());

    let network = Network {
        resolve: Arc::new(|_, _| Box::pin(std::future::pending())),
        dial: Arc::new(|_| Box::pin(std::future::pending())),
        roots: None,
    };
    let client = Client::with_network(&Config::default(), network);
    assert_eq!(code(&client, "http://a.example/").await, "slow");
    assert_eq!(code(&client, "http://8.8.8.8/").await, "slow");
}

#[tokio::test]
async fn a_public_address_of_this_machine_is_not_asked() {
    let world = World::default().name("me.example", &[&[PUBLIC]]);
    world.0.lock().unwrap().is_here = true;
    let answer = saying("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(code(&world.client(&Config::default(), answer.clone()), "http://me.example/").await, "private_address");
    assert_eq!(world.requests().concat(), "");
    let open = world.client(&Config { private_networks: true }, answer);
    assert_eq!(get(&open, "http://me.example/").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_range_is_asked_for_and_the_answer_says_what_came() {
    let world = World::default().name("a.example", &[&[PUBLIC]]);
    let answer = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/4\r\nContent-Length: 2\r\n\r\nlm";
    let client = world.client(&Config::default(), saying(answer));
    let headers = [(RANGE, "bytes=2-".parse().unwrap())].into_iter().collect();
    let target = client.target("http://a.example/").unwrap();
    let mut answer = client.get(&target, &headers, 2).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.headers["content-range"]), (206, &"bytes 2-3/4".parse().unwrap()));
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "lm");
    assert!(answer.body.next().await.unwrap().is_none());
    assert!(world.requests()[0].contains("range: bytes=2-\r\n"));
}

#[tokio::test]
async fn what_is_posted_arrives_whole_and_a_redirect_is_the_answer() {
    let world = World::default().name("a.example", &[&[PUBLIC]]);
    let serve = |head: String, mut stream: DuplexStream| async move {
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!((&body, head.contains("content-length: 4\r\n")), (b"news", true));
        let text = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1/\r\n\r\nelsewhere";
        let _ = stream.write_all(text.as_bytes()).await;
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    };
    let client = world.client(&Config::default(), serve);
    let headers = [(http::header::CONTENT_TYPE, "text/plain".parse().unwrap())].into_iter().collect();
    let target = client.target("http://a.example/hook").unwrap();
    let limit = Duration::from_secs(1);
    let posted = client.post(&target, &headers, Bytes::from_static(b"news"), limit).await.unwrap();
    assert_eq!((posted.status.as_u16(), posted.headers.get(CONTENT_LENGTH)), (307, None));
    assert!(world.requests()[0].starts_with("POST /hook HTTP/1.1\r\n") && world.requests().len() == 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_is_posted_may_take_as_long_as_its_sender_says_and_its_body_is_not_waited_for() {
    let world = World::default().name("a.example", &[&[PUBLIC]]);
    let serve = |_, mut stream: DuplexStream| async move {
        tokio::time::sleep(Duration::from_secs(200)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        std::future::pending::<()>().await;
    };
    let client = world.client(&Config::default(), serve);
    let target = client.target("http://a.example/hook").unwrap();
    let post = async |seconds| {
        let begun = tokio::time::Instant::now();
        let limit = Duration::from_secs(seconds);
        let posted = client.post(&target, &HeaderMap::new(), Bytes::from_static(b"news"), limit).await;
        (posted.map(|posted| posted.status.as_u16()).map_err(|error| error.to_string()), begun.elapsed().as_secs())
    };
    assert_eq!(post(300).await, (Ok(200), 200));
    assert_eq!(post(100).await, (Err("a.example takes too long to answer: more than 100 s".to_owned()), 100));
    assert_eq!(world.requests()[0].matches("user-agent").count(), 1);
}

#[tokio::test]
async fn the_next_address_is_tried_where_nobody_is_and_not_too_many() {
    let dialled = Arc::new(Mutex::new(0));
    let counted = dialled.clone();
    let network = Network {
        resolve: Arc::new(|_, port| {
            Box::pin(async move { Ok((1..=100).map(|n| SocketAddr::from(([8, 8, 8, n], port))).collect()) })
        }),
        dial: Arc::new(move |_| {
            *counted.lock().unwrap() += 1;
            Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
        }),
        roots: None,
    };
    let client = Client::with_network(&Config::default(), network);
    let error = get(&client, "http://a.example/").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retryable(), "{error}");
    assert_eq!(*dialled.lock().unwrap(), 4);
}

/// A certificate for `a.example`, its key and who signed it, good until 2120; PKCS #8 and X.509 in base64.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHekgVoJru5BWJctwHapuCjqi/Ni7tfgsEnb0U/hUBTyhRANCAAT0LiHZFQpf8sy9obf0jK9or2NiXMdS2xUJyGQwpg+/dj1TAfj6NhnaNbLSMeMhU4Ao5SwyUvXb0H38ygFlPjBu";
const LEAF: &str = "MIIBezCCASCgAwIBAgIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARUZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT0LiHZFQpf8sy9obf0jK9or2NiXMdS2xUJyGQwpg+/dj1TAfj6NhnaNbLSMeMhU4Ao5SwyUvXb0H38ygFlPjBuo2YwZDAUBgNVHREEDTALgglhLmV4YW1wbGUwDAYDVR0TAQH/BAIwADAdBgNVHQ4EFgQUQVT/Mdwab87kWy4xZ7dCxNX4hEgwHwYDVR0jBBgwFoAUvdspeDxjVr0JjsO+L+uQ/wRC0PswCgYIKoZIzj0EAwIDSQAwRgIhANiow0WzoXqO4B3cpTpWEnQ6s0rK5aJIZNdQipXbXUS3AiEA5NKX5W1P46LfU6zLlzkI4sM4rcOeyTD5sXkV+Q2r1dU=";
const ROOT: &str = "MIIBQTCB56ADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBFRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA8xDTALBgNVBAMMBFRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARi9pzIymYzEQXHbdg7J+naUB2ShB5/18v4DZz2zHTlPk1SpZXbelorp4FLaAm4sM7negzWIIw5ZGUin9FH7dZzozIwMDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBS92yl4PGNWvQmOw74v65D/BELQ+zAKBggqhkjOPQQDAgNJADBGAiEAyFzFkeglpwpjtCKCSkgnCgjYzqu9pi6zpnHaK/03wagCIQCFUz3mrJOGONm46DNh0QvJuNW5JDj4B2uMPoiY/ALsPA==";

#[tokio::test]
async fn over_https_the_server_is_who_it_says_and_leads_to_no_http() {
    use base64::Engine as _;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};

    let der = |text| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(der(KEY));
    let config = builder.with_single_cert(vec![der(LEAF).into()], key.into()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let mut roots = RootCertStore::empty();
    roots.add(der(ROOT).into()).unwrap();

    let network = |roots: RootCertStore, answer: &'static str| {
        let acceptor = acceptor.clone();
        Network {
            resolve: Arc::new(|_, port| {
                Box::pin(async move { Ok(vec![SocketAddr::new(PUBLIC.parse().unwrap(), port)]) })
            }),
            dial: Arc::new(move |_| {
                let (mine, theirs) = duplex(64 << 10);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(theirs).await else { return };
                    let mut head = vec![0; 4096];
                    let read = stream.read(&mut head).await.unwrap();
                    assert!(head[..read].starts_with(b"GET / HTTP/1.1\r\n"));
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let _ = stream.shutdown().await;
                });
                Box::pin(async move { Ok(Line { stream: Box::new(mine), from: None }) })
            }),
            roots: Some(Arc::new(roots)),
        }
    };
    let film = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfilm";
    let client = Client::with_network(&Config::default(), network(roots.clone(), film));
    assert_eq!(get(&client, "https://a.example/").await.unwrap(), (200, b"film".to_vec()));
    assert_eq!(get(&client, "https://a.example./").await.unwrap().0, 200);
    assert_eq!(code(&client, "https://b.example/").await, "tls", "the certificate is somebody else's");
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://a.example/\r\n\r\n";
    let client = Client::with_network(&Config::default(), network(roots, elsewhere));
    assert_eq!(code(&client, "https://a.example/").await, "redirect");
    let nobody = Client::with_network(&Config::default(), network(RootCertStore::empty(), film));
    assert_eq!(code(&nobody, "https://a.example/").await, "tls");
}
