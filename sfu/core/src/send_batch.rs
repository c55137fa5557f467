//! Packets on their way out: one contiguous slab and runs of equal-sized segments in it, the shape
//! that UDP GSO (`UDP_SEGMENT`) sends with one call.

use crate::path::Path;

/// Most bytes of one run: a GSO send is one IP datagram before segmentation.
pub const MAX_RUN_BYTES: usize = 64_000;
/// Most segments of one run (`UDP_MAX_SEGMENTS` is 64 in older kernels).
pub const MAX_RUN_SEGMENTS: usize = 64;

/// `len` bytes at `start` for one destination: segments of `segment` bytes, the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub path: Path,
    pub start: usize,
    pub len: usize,
    pub segment: usize,
    pub segments: usize,
}

#[derive(Debug, Default)]
pub struct SendBatch {
    slab: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
}

impl SendBatch {
    /// A slab of `capacity` bytes; it is never grown.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            slab: vec![0; capacity],
            used: 0,
            runs: Vec::with_capacity(1024),
        }
    }

    /// Free space at the end of the slab, to write the next packet into. Follow with [`Self::commit`].
    pub fn free(&mut self) -> &mut [u8] {
        &mut self.slab[self.used..]
    }

    /// Makes the first `len` bytes of [`Self::free`] a packet to `path`; it joins the last run
    /// where destination and segment size allow.
    pub fn commit(&mut self, path: Path, len: usize) {
        debug_assert!(len > 0 && len <= self.slab.len() - self.used);
        let start = self.used;
        self.used += len;
        if let Some(run) = self.runs.last_mut()
            && run.path == path
            && len <= run.segment
            && run.len == run.segments * run.segment
            && run.len + len <= MAX_RUN_BYTES
            && run.segments < MAX_RUN_SEGMENTS
        {
            run.len += len;
            run.segments += 1;
            return;
        }
        self.runs.push(Run {
            path,
            start,
            len,
            segment: len,
            segments: 1,
        });
    }

    /// Copies one packet in; false, and nothing is queued, where the slab is full.
    pub fn push(&mut self, path: Path, packet: &[u8]) -> bool {
        let Some(space) = self.free().get_mut(..packet.len()) else {
            return false;
        };
        if packet.is_empty() {
            return false;
        }
        space.copy_from_slice(packet);
        self.commit(path, packet.len());
        true
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub fn bytes(&self, run: &Run) -> &[u8] {
        &self.slab[run.start..run.start + run.len]
    }

    /// The whole slab, of which [`Run::start`] and [`Run::len`] are ranges.
    pub fn slab(&self) -> &[u8] {
        &self.slab[..self.used]
    }

    /// Bytes of the whole slab.
    pub fn capacity(&self) -> usize {
        self.slab.len()
    }

    pub fn remaining(&self) -> usize {
        self.slab.len() - self.used
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path::udp(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn equal_packets_to_one_destination_make_one_run_and_a_short_one_ends_it() {
        let mut batch = SendBatch::with_capacity(10_000);
        for len in [100, 100, 60, 60] {
            assert!(batch.push(path(1), &vec![7; len]));
        }
        assert!(batch.push(path(2), &[7; 60]));
        let shape: Vec<_> = batch
            .runs()
            .iter()
            .map(|run| (run.path, run.len, run.segment, run.segments))
            .collect();
        assert_eq!(
            shape,
            [(path(1), 260, 100, 3), (path(1), 60, 60, 1), (path(2), 60, 60, 1)]
        );
    }

    #[test]
    fn a_full_slab_takes_no_more() {
        let mut batch = SendBatch::with_capacity(100);
        assert!(batch.push(path(1), &[1; 80]));
        assert!(!batch.push(path(1), &[1; 30]));
        batch.clear();
        assert!(batch.push(path(1), &[1; 100]));
        assert_eq!(batch.remaining(), 0);
    }
}
