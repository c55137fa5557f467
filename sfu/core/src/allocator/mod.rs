//! Turns the bandwidth of one subscriber's connection into what each of its slots sends. Pure: it takes
//! plain values and `now`, and fills a buffer. `docs/allocation.md` tells the rules.

mod allocation;
mod demand;

pub use allocation::{Allocation, Choice, Layer, PauseCause, Shortage, SlotAllocation, Voice, VoiceLayer, Wish};
pub use demand::{
    AudioDemand, Demand, LayerState, Link, LowVoice, MAX_TEMPORAL, MeasuredRate, Mode, VideoDemand, VideoLayer,
    VideoSource, VoiceRate,
};
