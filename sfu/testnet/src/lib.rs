//! A weak link that can be repeated: one seeded model, and drivers that put packets through it.
//!
//! - [`link`] is the model of one direction, pure: times and sizes in, fates out.
//! - [`profile`] is the file that describes a link of two directions; some are shipped.
//! - [`virtual_link`] queues what the model lets through, for tests in virtual time.

pub mod link;
pub mod profile;
mod random;
mod schedule;
pub mod virtual_link;
