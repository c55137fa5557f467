//! Frames on their way into a TCP stream. A frame is queued whole or not at all, and what is queued
//! is written to its end, so that the peer never loses the frames' boundaries.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use super::framing::HEADER;

/// Memory that an emptied queue keeps.
const KEPT: usize = 16 << 10;

#[derive(Default)]
pub struct WriteQueue {
    bytes: VecDeque<u8>,
}

impl WriteQueue {
    /// False, and nothing is queued, where more than `limit` bytes would wait.
    pub fn push(&mut self, packet: &[u8], limit: usize) -> bool {
        let Ok(len) = u16::try_from(packet.len()) else {
            return false;
        };
        if self.bytes.len() + HEADER + packet.len() > limit {
            return false;
        }
        self.bytes.extend(len.to_be_bytes());
        self.bytes.extend(packet);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes until nothing is left (true) or `writer` would block (false).
    pub fn write_to(&mut self, writer: &mut impl Write) -> io::Result<bool> {
        while !self.bytes.is_empty() {
            let (front, back) = self.bytes.as_slices();
            match writer.write_vectored(&[IoSlice::new(front), IoSlice::new(back)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.bytes.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then would block.
    struct Pipe {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.taken.extend(&bytes[..len]);
            self.room -= len;
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_partly_written_frame_is_completed_and_whole_ones_are_dropped() {
        let mut queue = WriteQueue::default();
        let mut pipe = Pipe {
            taken: Vec::new(),
            room: 5,
        };
        assert!(queue.push(&[1; 6], 20));
        assert!(queue.push(&[2; 6], 20));
        assert!(!queue.push(&[3; 6], 20), "18 of 20 bytes wait");
        assert_eq!(queue.write_to(&mut pipe).ok(), Some(false));
        assert!(queue.push(&[4; 3], 20));
        assert!(!queue.push(&[5; 3], 20));
        pipe.room = 100;
        assert_eq!(queue.write_to(&mut pipe).ok(), Some(true));
        let expected = [&[0, 6][..], &[1; 6], &[0, 6], &[2; 6], &[0, 3], &[4; 3]].concat();
        assert_eq!(pipe.taken, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_packet_that_no_frame_can_hold_is_refused() {
        assert!(!WriteQueue::default().push(&[0; 65_536], usize::MAX));
        assert!(WriteQueue::default().push(&[0; 65_535], usize::MAX));
    }
}
