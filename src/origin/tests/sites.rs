//! What pages of other sites may read, and that nobody gets in by a name that leads here.

use super::http1::{Client, ask};
use super::support::{BASE, TestServer};

#[tokio::test]
async fn playback_is_open_to_every_page_and_the_rest_to_those_that_management_lets_read() {
    let server = TestServer::start().await;
    let allowed = async |path: &str, origin: &str| {
        let answer = ask(server.address, "HEAD", path, &[("origin", origin)]).await;
        (answer.header("access-control-allow-origin").map(str::to_owned), answer)
    };
    for path in [&format!("{BASE}/720p/0.m4s"), "/v/nothing", "/s/x/v/nothing", "/s/x"] {
        let (origin, answer) = allowed(path, "http://other").await;
        assert_eq!((origin.as_deref(), answer.header("vary")), (Some("*"), None), "{path}");
        assert!(answer.the("access-control-expose-headers").contains("X-Cache"));
    }
    for path in ["/", "/metrics", "/healthz", "/readyz", "/api/v1/videos", "/nothing"] {
        let (origin, answer) = allowed(path, "http://other").await;
        assert_eq!((origin, answer.the("vary")), (None, "Origin"), "{path}");
        assert_eq!(answer.header("access-control-expose-headers"), None, "{path}");
        assert_eq!(answer.the("cross-origin-resource-policy"), "same-origin");
        let (origin, answer) = allowed(path, "http://own").await;
        assert_eq!((origin.as_deref(), answer.the("vary")), (Some("http://own"), "Origin"), "{path}");
        assert!(answer.the("access-control-expose-headers").contains("Location"));
    }
}

#[tokio::test]
async fn who_comes_by_a_foreign_name_sees_no_titles() {
    let server = TestServer::start().await;
    for (path, status) in [("/", 403), ("/healthz", 200)] {
        let mut client = Client::connect(server.address).await;
        client.write(format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\n\r\n").as_bytes()).await;
        let answer = client.answer(false).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(text.contains("urn:matinee:problem:host"), status == 403, "{text}");
    }
}
