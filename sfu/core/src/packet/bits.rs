//! Bits from the most significant on, as AV1, H.264 and VP9 write their headers.

#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that were read.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `f(n)` of AV1, `u(n)` of H.264: at most 32 bits.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        (0..count).try_fold(0, |value: u32, _| Some(value << 1 | u32::from(self.bit()?)))
    }

    pub fn skip(&mut self, count: u32) -> Option<()> {
        let at = self.at.checked_add(count as usize)?;
        if at > self.bytes.len() * 8 {
            return None;
        }
        self.at = at;
        Some(())
    }

    /// `ue(v)` of H.264, section 9.1: unsigned exp-Golomb. `None` also above 32 bits.
    pub fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }

    /// `se(v)` of H.264, section 9.1.1.
    pub fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }

    /// `ns(n)` of AV1, section 4.10.7: a value below `limit`, which is not 0.
    pub fn non_symmetric(&mut self, limit: u32) -> Option<u32> {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1u32 << width) - limit;
        let value = self.bits(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.bits(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes() {
        // 1 010 011 00100 00101 0001000, then nothing but zeros.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_1000, 0, 0, 0, 0, 0];
        let mut reader = BitReader::new(&bytes);
        let codes: Vec<_> = std::iter::from_fn(|| reader.exp_golomb()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 7]);
        let mut reader = BitReader::new(&bytes);
        let codes: Vec<_> = std::iter::from_fn(|| reader.signed_exp_golomb()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2, 4]);
    }

    #[test]
    fn non_symmetric_codes() {
        // ns(5): 00, 01, 10, 110, 111.
        let bytes = [0b0001_1011, 0b0111_0000];
        let mut reader = BitReader::new(&bytes);
        let values: Vec<_> = (0..5).map(|_| reader.non_symmetric(5).unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
        assert_eq!(BitReader::new(&[0xff]).bits(9), None);
        assert_eq!(BitReader::new(&[0xff]).skip(9), None);
    }
}
