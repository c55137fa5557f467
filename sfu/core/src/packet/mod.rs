//! Borrowing views of packets and writers into caller-owned buffers. None panics on any input.
