//! Tokens of signed playback: `{expiry}.{signature}`, or `{expiry}.ip.{signature}` for one client's address alone.
//!
//! A token stands in the path, `/s/{token}/v/{id}/...`, so that relative URLs in playlists carry it and the playlists
//! are the same bytes for everybody. It is a function of title, expiry and address: an application that rounds the
//! expiry gives all viewers the same URLs, which a CDN then keeps once.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;

use super::same;
use super::secret::{Secret, Signature};
use crate::media::TitleId;

/// Bytes of a signature that are kept: 128 bits are what nobody finds by trying (RFC 2104 §5).
const KEPT_BYTES: usize = 16;
/// Longest time a token may be good for, seconds: what is signed cannot be taken back.
pub const MAX_SECONDS: u64 = 7 * 24 * 3600;

/// Signs and checks. One check costs one HMAC over a line of text.
#[derive(Clone)]
pub struct Playback(Signature);

/// What a good token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Until when it is good, seconds since the Unix epoch.
    pub expires_s: u64,
    /// It is one client's.
    pub is_bound: bool,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is none of ours, for another title, or for another client.
    Forged,
    /// It was good.
    Expired,
}

impl Playback {
    /// With this secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(secret.signature("playback"))
    }

    /// A token for a title until then, for everybody or for one client.
    #[must_use]
    pub fn sign(&self, title: &TitleId, expires_s: u64, client: Option<IpAddr>) -> String {
        let bound = if client.is_some() { ".ip" } else { "" };
        let signature = URL_SAFE_NO_PAD.encode(self.signature(title, expires_s, client));
        format!("{expires_s}{bound}.{signature}")
    }

    /// What a token is good for.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, token: &str, title: &TitleId, client: IpAddr, now_s: u64) -> Result<Pass, Refused> {
        let (expires, rest) = token.split_once('.').ok_or(Refused::Forged)?;
        // One spelling: nothing but the number as it is printed.
        let expires_s: u64 = expires.parse().map_err(|_| Refused::Forged)?;
        let (is_bound, signature) = rest.strip_prefix("ip.").map_or((false, rest), |signature| (true, signature));
        let claimed = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Forged)?;
        let right = self.signature(title, expires_s, is_bound.then_some(client));
        if !same(&right, &claimed) || expires.starts_with(['+', '0']) {
            return Err(Refused::Forged);
        }
        if now_s >= expires_s {
            return Err(Refused::Expired);
        }
        Ok(Pass { expires_s, is_bound })
    }

    fn signature(&self, title: &TitleId, expires_s: u64, client: Option<IpAddr>) -> [u8; KEPT_BYTES] {
        let mut said = format!("/v/{title}/\n{expires_s}\n");
        if let Some(client) = client {
            // An IPv4 address is the same client also where it comes in an IPv6 socket.
            let _ = write!(said, "{}", client.to_canonical());
        }
        let mut mac = self.0.clone();
        mac.update(said.as_bytes());
        let mut kept = [0; KEPT_BYTES];
        kept.copy_from_slice(&mac.finalize().into_bytes()[..KEPT_BYTES]);
        kept
    }
}

impl std::fmt::Debug for Playback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Playback").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn playback() -> Playback {
        Playback::new(&Secret::open(tempfile::tempdir().unwrap().path()).unwrap())
    }

    fn id(text: &str) -> TitleId {
        text.parse().unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_token_is_good_for_its_title_until_it_expires() {
        let (playback, title) = (playback(), id("abcdefghjkmn"));
        let token = playback.sign(&title, 100, None);
        assert_eq!(token, playback.sign(&title, 100, None), "a function of what it says");
        assert_eq!(playback.check(&token, &title, HERE, 99), Ok(Pass { expires_s: 100, is_bound: false }));
        assert_eq!(playback.check(&token, &title, HERE, 100), Err(Refused::Expired));
        assert_eq!(playback.check(&token, &id("000000000000"), HERE, 99), Err(Refused::Forged));
        let later = token.replace("100.", "200.");
        assert_eq!(playback.check(&later, &title, HERE, 99), Err(Refused::Forged));
    }

    #[test]
    fn a_token_for_one_client_is_nobody_elses() {
        let (playback, title) = (playback(), id("abcdefghjkmn"));
        let token = playback.sign(&title, 100, Some(HERE));
        assert!(playback.check(&token, &title, HERE, 1).unwrap().is_bound);
        assert!(playback.check(&token, &title, "::ffff:127.0.0.1".parse().unwrap(), 1).is_ok());
        assert_eq!(playback.check(&token, &title, "127.0.0.2".parse().unwrap(), 1), Err(Refused::Forged));
        assert_eq!(playback.check(&token.replace(".ip", ""), &title, HERE, 1), Err(Refused::Forged));
    }

    #[test]
    fn a_token_of_another_server_and_every_other_spelling_is_refused() {
        let (ours, title) = (playback(), id("abcdefghjkmn"));
        let token = ours.sign(&title, 100, None);
        assert_eq!(ours.check(&playback().sign(&title, 100, None), &title, HERE, 1), Err(Refused::Forged));
        for bad in [
            format!("0{token}"),
            format!("+{token}"),
            format!("{token}="),
            format!("{token}A"),
            token[..token.len() - 1].to_owned(),
            token[..4].to_owned(),
            token[4..].to_owned(),
            String::new(),
        ] {
            assert_eq!(ours.check(&bad, &title, HERE, 1), Err(Refused::Forged), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_or_a_panic(text in "([0-9]{1,4}\\.)?(ip\\.)?\\PC{0,30}") {
            prop_assert!(playback().check(&text, &id("abcdefghjkmn"), HERE, 0).is_err());
        }
    }
}
