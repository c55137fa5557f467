//! A published track: its simulcast layers, what was lost of them and what is kept of them.

pub mod keyframe_throttle;
pub mod nack_generator;
pub mod receive_stream;
