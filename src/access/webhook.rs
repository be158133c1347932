//! Secrets of webhooks, and what is signed with them, as Standard Webhooks 1.0 has it: `webhook-signature` is HMAC with
//! SHA-256 over `{webhook-id}.{webhook-timestamp}.{body}`.
//!
//! A webhook's secret follows from the server's secret and the webhook's id, so it is kept nowhere.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secret::{Secret, Signature};
use crate::media::{DeliveryId, WebhookId};

/// Tells secrets of webhooks from others, for scanners and for libraries that verify.
const PREFIX: &str = "whsec_";

/// Makes secrets, and signs with them.
#[derive(Clone)]
pub struct Signer(Signature);

impl Signer {
    /// With this secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(secret.signature("webhook"))
    }

    /// What its receiver verifies with. To be shown once.
    #[must_use]
    pub fn secret(&self, webhook: &WebhookId) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.key(webhook)))
    }

    /// The value of `webhook-signature`. The time is seconds since the Unix epoch.
    #[must_use]
    pub fn sign(&self, webhook: &WebhookId, delivery: &DeliveryId, time_s: i64, body: &str) -> String {
        signature(&self.key(webhook), delivery.as_str(), time_s, body)
    }

    fn key(&self, webhook: &WebhookId) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(webhook.as_str().as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn signature(key: &[u8], id: &str, time_s: i64, body: &str) -> String {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(format!("{id}.{time_s}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_libraries_of_standard_webhooks_expect() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_webhook_has_a_secret_of_its_own_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let signer = || Signer::new(&Secret::open(folder.path()).unwrap());
        let (one, two) = (WebhookId::from_random(1), WebhookId::from_random(2));
        assert_eq!(signer().secret(&one), signer().secret(&one));
        assert_ne!(signer().secret(&one), signer().secret(&two));
        let key = STANDARD.decode(signer().secret(&one).strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(key.len(), 32);
        let id = DeliveryId::from_random(3);
        assert_eq!(signer().sign(&one, &id, 5, "{}"), signature(&key, id.as_str(), 5, "{}"));
    }
}
