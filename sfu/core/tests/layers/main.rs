//! What is left out of a stream with layers never takes away what a decoder needs.

mod svc;
mod switching;
mod viewer;
mod vp8;
mod vp9;
