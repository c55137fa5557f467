//! Rooms in virtual time, one behaviour per file.

mod active_speaker;
mod audio_set;
mod chaos;
mod cleanup;
mod demand;
mod follow;
mod harness;
mod join;
mod large_room;
mod liars;
mod limits;
mod low_voice;
mod renegotiation;
mod speakers_event;
mod viewport;
