//! Hints to the processor about memory that is needed soon.
//!
//! A worker that forwards a frame goes through the state of one subscriber after the other. Between two
//! frames that state has left the cache, and to wait for each of its lines in turn would take longer than
//! all that is done with them.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Begins to fetch `value` into the cache and waits for nothing. Does nothing on a processor whose
/// instruction for it is not known here.
#[inline]
pub fn prefetch<T>(value: &T) {
    prefetch_start(value, size_of::<T>());
}

/// As [`prefetch`], of the first `len` bytes at most.
#[inline]
pub fn prefetch_start<T>(value: &T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of::<T>().min(len)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(value).cast::<i8>().wrapping_add(offset);
        // SAFETY: a prefetch changes nothing that a program can see and raises no fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, len, LINE);
}
