//! Who may play a title.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who may play a title.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Everybody.
    #[default]
    Public,
    /// Who has a URL that was signed.
    Signed,
}

impl Policy {
    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Signed => "signed",
        }
    }
}

impl FromStr for Policy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Public, Self::Signed].into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of public, signed"))
    }
}
