//! Bandwidth estimation in virtual time: senders that pace media and probes into one seeded link, receivers that
//! send transport-wide feedback as real bytes.

mod bears_loss;
mod converges;
mod costs;
mod follows_changes;
mod liars;
mod sender;
mod shares;
mod shipped_links;
mod source;
mod tcp;
mod traps;
mod world;
