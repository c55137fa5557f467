//! Fields read from the fuzzer's bytes; what is missing at their end is zero.

pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub fn u8(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// One of `count`.
    pub fn index(&mut self, count: usize) -> usize {
        usize::from(self.u8()) % count
    }

    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// A byte or two of length, and so many bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = match self.u8() {
            255 => usize::from(self.u16() & 0x7ff),
            len => usize::from(len),
        };
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}
