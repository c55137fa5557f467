//! Datagrams on their way out, in memory that is used again.

use std::net::SocketAddr;
use std::ops::Range;

use crate::client::peer::Transmit;

#[derive(Debug, Default)]
pub(super) struct SendQueue {
    bytes: Vec<u8>,
    datagrams: Vec<(SocketAddr, Range<usize>)>,
    next: usize,
}

impl SendQueue {
    pub fn push(&mut self, to: SocketAddr, data: &[u8]) {
        self.write(to, data.len(), |buffer| {
            buffer.copy_from_slice(data);
            Some(data.len())
        });
    }

    /// Lets `write` fill a buffer of `room` bytes; it says how many it took, `None` for no datagram at
    /// all. Whether there is one.
    pub fn write(&mut self, to: SocketAddr, room: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let start = self.bytes.len();
        self.bytes.resize(start + room, 0);
        let len = write(&mut self.bytes[start..]).filter(|len| *len <= room);
        self.bytes.truncate(start + len.unwrap_or_default());
        if let Some(len) = len {
            self.datagrams.push((to, start..start + len));
        }
        len.is_some()
    }

    pub fn pop(&mut self) -> Option<Transmit<'_>> {
        if self.next == self.datagrams.len() {
            self.bytes.clear();
            self.datagrams.clear();
            self.next = 0;
            return None;
        }
        let (to, range) = self.datagrams[self.next].clone();
        self.next += 1;
        Some(Transmit {
            to,
            data: &self.bytes[range],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_in_order_and_the_memory_is_used_again() {
        let to = "127.0.0.1:9".parse().unwrap();
        let mut queue = SendQueue::default();
        for _ in 0..3 {
            queue.push(to, &[1, 2]);
            assert!(!queue.write(to, 10, |_| None));
            assert!(queue.write(to, 10, |buffer| {
                buffer[..3].copy_from_slice(&[3, 4, 5]);
                Some(3)
            }));
            assert_eq!(queue.pop().unwrap().data, [1, 2]);
            assert_eq!(queue.pop().unwrap().data, [3, 4, 5]);
            assert!(queue.pop().is_none());
            assert!(queue.bytes.is_empty());
        }
    }
}
