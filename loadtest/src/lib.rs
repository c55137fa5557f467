//! Synthetic participants and the scenarios that measure a server with them.

pub mod bench;
pub mod cli;
pub mod client;
pub mod cpus;
pub mod file_limit;
pub mod fleet;
pub mod media;
pub mod meter;
pub mod process_stats;
pub mod report;
pub mod scenario;
pub mod server_limits;
pub mod server_process;
pub mod target;
