//! Placeholder.
use super::{Index, Ladder, Plan};
/// Why no plan can be made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {}
/// Decides timeline and ladder.
pub fn plan(_index: &Index, _ladder: &Ladder) -> Result<Plan, PlanError> {
    Ok(Plan { renditions: Vec::new() })
}
