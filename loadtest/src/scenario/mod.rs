//! The named scenarios.

pub mod attack;
pub mod churn;
pub mod forward;
pub mod join;
pub mod link;
pub mod memory;
pub mod weak_network;
