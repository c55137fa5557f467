//! A weak link that can be repeated: one seeded model, and drivers that put packets through it.
//!
//! - [`link`] is the model of one direction, pure: times and sizes in, fates out.
//! - [`profile`] is the file that describes a link of two directions; some are shipped.
//! - [`virtual_link`] and, for both directions, [`duplex`] queue what the model lets through, for tests in virtual time.
//! - [`relay`] carries the UDP of real clients on loopback.
//! - [`tun_link`] carries everything between this network and a namespace, as root.
//! - [`netns`] makes such namespaces.
//!
//! Sizes are those of IP packets: a UDP payload with [`link::UDP_IPV4_HEADERS`].

pub mod duplex;
pub mod link;
pub mod netns;
pub mod profile;
mod pump;
mod random;
pub mod relay;
mod schedule;
mod tun;
pub mod tun_link;
pub mod virtual_link;

pub use pump::{BySecond, Report};
