//! The words of kinds and states: in rows, in the API and in metrics.

use std::str::FromStr;

use super::jobs::{JobState, Kind};
use super::titles::State;
use super::webhooks::DeliveryState;

impl State {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Receiving, Self::Processing, Self::Ready, Self::Failed];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for State {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        called(text, Self::ALL, Self::as_str)
    }
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::Process, Self::Warm, Self::Replace];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Process => "process",
            Self::Warm => "warm",
            Self::Replace => "replace",
        }
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        called(text, Self::ALL, Self::as_str)
    }
}

impl JobState {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for JobState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        called(text, Self::ALL, Self::as_str)
    }
}

impl DeliveryState {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Queued, Self::Delivered, Self::Failed];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        called(text, Self::ALL, Self::as_str)
    }
}

/// The one of all that has this word.
fn called<T: Copy, const N: usize>(text: &str, all: [T; N], word: fn(T) -> &'static str) -> Result<T, String> {
    let found = all.into_iter().find(|one| word(*one) == text);
    found.ok_or_else(|| format!("{text:?} is none of {}", all.map(word).join(", ")))
}
