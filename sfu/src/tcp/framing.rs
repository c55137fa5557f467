//! RFC 4571 framing: each packet of a stream is preceded by its length in two bytes.

/// Longest frame taken; a peer that sends a longer one sends no packets of ours.
pub const MAX_FRAME: usize = 4_096;
/// Length of the length.
pub const HEADER: usize = 2;
/// At least one frame of any size; mostly a few of usual size for each read.
const BUFFER: usize = 2 * (HEADER + MAX_FRAME);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized;

/// Cuts a stream of bytes into frames, in a buffer of fixed size.
pub struct FrameReader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
        }
    }

    /// Where to read the next bytes into; never empty once [`Self::next_frame`] has returned `None`.
    /// Follow with [`Self::filled`].
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.buffer[self.end..]
    }

    /// `len` bytes were read into [`Self::space`].
    pub fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.buffer.len());
    }

    /// The next whole frame. Empty frames, which RFC 4571 allows as a sign of life, are skipped.
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, Oversized> {
        loop {
            let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER>() else {
                return Ok(None);
            };
            let len = usize::from(u16::from_be_bytes(*header));
            if len > MAX_FRAME {
                return Err(Oversized);
            }
            let (begin, end) = (self.start + HEADER, self.start + HEADER + len);
            if end > self.end {
                return Ok(None);
            }
            self.start = end;
            if len > 0 {
                return Ok(Some(&mut self.buffer[begin..end]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend((frame.len() as u16).to_be_bytes());
            bytes.extend(*frame);
        }
        bytes
    }

    /// Frames read from `bytes` that arrive `step` at a time.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Oversized> {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = reader.space();
            let len = step.min(rest.len()).min(space.len());
            assert!(len > 0, "no space left");
            space[..len].copy_from_slice(&rest[..len]);
            reader.filled(len);
            rest = &rest[len..];
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let large = vec![7; MAX_FRAME];
        let frames: &[&[u8]] = &[b"a", &large, b"", b"bcd", &large, &large, b"e"];
        let expected: Vec<_> = frames.iter().filter(|f| !f.is_empty()).map(|f| f.to_vec()).collect();
        let bytes = framed(frames);
        for step in [1, 2, 3, 5, 1000, MAX_FRAME, MAX_FRAME + 1, MAX_FRAME + 2, 100_000] {
            assert!(read(&bytes, step) == Ok(expected.clone()), "{step}");
        }
    }

    #[test]
    fn two_frames_in_one_read_and_half_of_a_third() {
        let mut bytes = framed(&[b"one", b"two", b"three"]);
        bytes.truncate(bytes.len() - 2);
        assert_eq!(read(&bytes, 100), Ok(vec![b"one".to_vec(), b"two".to_vec()]));
    }

    #[test]
    fn a_length_past_the_limit_is_an_error_as_soon_as_it_is_read() {
        let mut bytes = framed(&[b"fine"]);
        bytes.extend((MAX_FRAME as u16 + 1).to_be_bytes());
        for step in [1, 100] {
            assert_eq!(read(&bytes, step), Err(Oversized));
        }
    }
}
