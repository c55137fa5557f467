//! What comes out of the allocator: what each slot sends, and what that means for others.

use crate::units::Bitrate;

/// What a connection sends. One is kept per connection and filled anew by each run.
#[derive(Debug, Default, PartialEq)]
pub struct Allocation {
    /// By slot, as the demands came.
    pub slots: Vec<SlotAllocation>,
    /// Video slots that stand still for want of bandwidth since this run, or do so no longer: to be told to the client.
    pub pauses_changed: Vec<usize>,
    /// How many voices may be heard at once.
    pub voices: u8,
    /// What the slots are expected to take.
    pub allocated: Bitrate,
    /// The estimate with which every slot would get all that it asks for: what the estimator may look for.
    pub desired: Bitrate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SlotAllocation {
    pub choice: Choice,
    /// The best that the link carries if its publisher sends it: `choice`, or a layer that has to be asked for.
    pub wish: Wish,
    pub shortage: Shortage,
    /// What the slot's video could take on this link, whatever its layers have now; 0 for audio.
    pub affordable: Bitrate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The slot has no source.
    #[default]
    Empty,
    Paused(PauseCause),
    Video(Layer),
    Audio(Voice),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseCause {
    /// The link does not carry it. The page says so.
    NoBandwidth,
    /// Nobody looks: height 0, or no layer is sent.
    NotShown,
    /// The subscriber wants no video.
    Unwanted,
}

/// Up to which layers a video is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Spatial (SVC) or simulcast index.
    pub spatial: u8,
    pub temporal: u8,
}

/// How a voice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    pub layer: VoiceLayer,
    /// Frames of the source that go into one packet, over RED where it is more than 1.
    pub bundle: u8,
    /// How many earlier packets' frames a packet repeats, 0 to 3.
    pub redundancy: u8,
    /// They are those of `distance`, 2 · `distance`, … packets before.
    pub distance: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceLayer {
    Full,
    Low,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    #[default]
    Nothing,
    Video(Layer),
    Audio(VoiceLayer),
}

/// Whether a slot gets less than it asks for because of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    #[default]
    None,
    /// Smaller or slower than it is shown.
    Reduced,
    /// Too small to be read: less than half as high as it is shown. A still picture helps where it is a screen.
    Unreadable,
    /// Nothing at all: a still picture helps.
    Nothing,
}

impl SlotAllocation {
    /// What the slot is to be set to: `choice`, but the layer that was asked for as soon as it comes.
    pub fn target(&self) -> Choice {
        match (self.choice, self.wish) {
            (Choice::Video(now), Wish::Video(wish)) if now.spatial != wish.spatial => Choice::Video(Layer {
                spatial: wish.spatial,
                temporal: now.temporal.max(wish.temporal),
            }),
            (choice, _) => choice,
        }
    }
}

impl Choice {
    pub(super) fn lacks_bandwidth(self) -> bool {
        self == Self::Paused(PauseCause::NoBandwidth)
    }
}
