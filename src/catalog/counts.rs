//! For metrics: what there is, and what ended through this process since it started.

use std::sync::PoisonError;

use super::jobs::{JobState, Kind};
use super::titles::State;
use super::webhooks::DeliveryState;
use super::{Catalog, Error};

/// How often something ended, by how it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Jobs, by what they did.
    pub jobs: Vec<((Kind, JobState), u64)>,
    /// Deliveries to webhooks.
    pub deliveries: Vec<(DeliveryState, u64)>,
}

impl Catalog {
    /// What ended through this process. Of a title that was removed, jobs and deliveries are gone and have not ended.
    #[must_use]
    pub fn ended(&self) -> Ended {
        self.connections.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many titles are in a state.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn count_of(&self, state: State) -> Result<u64, Error> {
        let count = "SELECT count(*) FROM titles WHERE state = ?1";
        Ok(self.reader().query_row(count, [state.as_str()], |row| row.get::<_, i64>(0))?.cast_unsigned())
    }

    /// How many deliveries have not ended.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn count_waiting(&self) -> Result<u64, Error> {
        let count = "SELECT count(*) FROM deliveries WHERE ended_at_ms IS NULL";
        Ok(self.reader().query_row(count, [], |row| row.get::<_, i64>(0))?.cast_unsigned())
    }

    pub(super) fn job_ended(&self, kind: Kind, how: JobState) {
        add(&mut self.connections.ended.lock().unwrap_or_else(PoisonError::into_inner).jobs, (kind, how), 1);
    }

    pub(super) fn deliveries_ended(&self, how: DeliveryState, count: usize) {
        if count == 0 {
            return;
        }
        let count = count as u64;
        add(&mut self.connections.ended.lock().unwrap_or_else(PoisonError::into_inner).deliveries, how, count);
    }
}

fn add<T: PartialEq>(to: &mut Vec<(T, u64)>, what: T, count: u64) {
    match to.iter_mut().find(|(known, _)| *known == what) {
        Some((_, sum)) => *sum += count,
        None => to.push((what, count)),
    }
}
