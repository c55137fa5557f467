//! Big-endian reads and writes that answer `None` past the end.

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn u24_at(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Appends to a caller's buffer; `None` where there is no room.
pub struct Appender<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Appender<'a> {
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buffer.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub fn u8(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    pub fn u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// The low 24 bits.
    pub fn u24(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes()[1..])
    }

    pub fn u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub fn u64(&mut self, value: u64) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Zeros up to a multiple of 32 bits.
    pub fn pad(&mut self) -> Option<()> {
        while !self.len.is_multiple_of(4) {
            self.u8(0)?;
        }
        Some(())
    }

    /// What was written so far.
    pub fn written(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}
