//! One sink for several connections of a member.

use std::sync::{Arc, Mutex};

use crate::client::{MediaSink, ReceivedRtp};

#[derive(Clone)]
pub struct SharedSink(Arc<Mutex<Box<dyn MediaSink>>>);

impl SharedSink {
    pub fn new(sink: Box<dyn MediaSink>) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }
}

impl MediaSink for SharedSink {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        self.0.lock().expect("no sink panics").on_rtp(packet);
    }

    fn on_keyframe_request(&mut self, ssrc: u32) {
        self.0.lock().expect("no sink panics").on_keyframe_request(ssrc);
    }
}
