//! `[outbound]`: where requests of the server's own may go.

use serde::{Deserialize, Serialize};

/// `[outbound]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether they may go to addresses that are not public, and to any port: to loopback, private networks and whatever
    /// a cloud's machines find there. For tests and intranets.
    pub private_networks: bool,
}
