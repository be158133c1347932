//! Upload tokens: leave to send one film of a bounded size within minutes, for a browser that must not have a key.
//!
//! A token is a JWT (RFC 7519) signed by HMAC with SHA-256. Its title is named when it is issued, so the program that
//! asked for it knows what the film will be called before it is there; and since a title comes into being once, a token
//! is spent once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use serde::{Deserialize, Serialize};

use super::same;
use super::secret::{Secret, Signature};
use crate::media::TitleId;

/// Longest time a token may be good for, seconds: what is signed cannot be taken back.
pub const MAX_SECONDS: u64 = 3600;
/// `{"alg":"HS256","typ":"JWT"}`. Only we issue our tokens, so any other head is a forgery, `alg: none` included, and
/// none is ever parsed.
const HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// Longest token looked at, bytes.
const MAX_BYTES: usize = 1024;

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The title it makes.
    #[serde(rename = "sub")]
    pub title: TitleId,
    /// Bytes the film may have.
    pub max_bytes: u64,
    /// Who asked for it: the id of a key, or nothing.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// Until when it may be used, seconds since the Unix epoch.
    #[serde(rename = "exp")]
    pub expires_s: u64,
}

/// Issues and checks.
#[derive(Clone)]
pub struct Grants(Signature);

impl Grants {
    /// With this secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(secret.signature("upload"))
    }

    /// The token.
    #[must_use]
    pub fn issue(&self, grant: &Grant) -> String {
        let claims = serde_json::to_vec(grant).unwrap_or_default();
        let said = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.signature(&said));
        format!("{said}.{signature}")
    }

    /// What a token allows; `None` if it is none of ours, or is not good any more.
    #[must_use]
    pub fn check(&self, token: &str, now_s: u64) -> Option<Grant> {
        if token.len() > MAX_BYTES {
            return None;
        }
        let (said, signature) = token.rsplit_once('.')?;
        let claims = said.strip_prefix(HEAD)?.strip_prefix('.')?;
        if !same(&self.signature(said), &URL_SAFE_NO_PAD.decode(signature).ok()?) {
            return None;
        }
        let grant: Grant = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (now_s < grant.expires_s).then_some(grant)
    }

    /// Whether a text looks like a token and not like a key.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.matches('.').count() == 2
    }

    fn signature(&self, said: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(said.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grants").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        Grants::new(&Secret::open(tempfile::tempdir().unwrap().path()).unwrap())
    }

    fn grant() -> Grant {
        Grant { title: "abcdefghjkmn".parse().unwrap(), max_bytes: 7, issuer: String::new(), expires_s: 100 }
    }

    fn text(part: &str) -> String {
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_a_jwt_and_allows_what_was_granted_until_it_expires() {
        let grants = grants();
        let token = grants.issue(&grant());
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(text(parts[0]), r#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(text(parts[1]), r#"{"sub":"abcdefghjkmn","max_bytes":7,"iss":"","exp":100}"#);
        assert_eq!(grants.check(&token, 99), Some(grant()));
        assert_eq!(grants.check(&token, 100), None);
    }

    #[test]
    fn a_token_without_our_signature_is_refused_whatever_its_head_says() {
        let grants = grants();
        let token = grants.issue(&grant());
        let (said, signature) = token.rsplit_once('.').unwrap();
        let claims = said.split_once('.').unwrap().1;
        let larger = URL_SAFE_NO_PAD.encode(text(claims).replace(":7", ":8"));
        let head = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for bad in [
            format!("{}.{claims}.", head(r#"{"alg":"none"}"#)),
            format!("{}.{claims}.{signature}", head(r#"{"alg":"none","typ":"JWT"}"#)),
            format!("{}.{claims}.{signature}", head(r#"{"alg":"HS512","typ":"JWT"}"#)),
            format!("{}.{claims}.{signature}", head(r#"{"alg":"RS256","typ":"JWT"}"#)),
            format!("{HEAD}.{claims}."),
            format!("{HEAD}.{claims}"),
            format!("{HEAD}.{larger}.{signature}"),
            format!("{token}."),
            format!("{HEAD}.{claims}.{}", "A".repeat(MAX_BYTES)),
            String::new(),
        ] {
            assert_eq!(grants.check(&bad, 1), None, "{bad}");
        }
        assert_eq!(grants.check(&self::grants().issue(&grant()), 1), None, "another server's");
    }

    #[test]
    fn a_playback_token_is_no_upload_token() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::open(folder.path()).unwrap();
        let said = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&grant()).unwrap()));
        let mut mac = secret.signature("playback");
        mac.update(said.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        assert_eq!(Grants::new(&secret).check(&format!("{said}.{signature}"), 1), None);
    }
}
