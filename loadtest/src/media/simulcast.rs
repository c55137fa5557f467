//! The layers of a camera as browsers send them: one picture at several sizes, by one clock.

use super::VideoFormat;

/// A simulcast layer (RFC 8853).
#[derive(Clone, Copy, Debug)]
pub struct SimulcastLayer {
    pub rid: &'static str,
    pub format: VideoFormat,
}

/// A 720p camera, the smallest layer first. A source for each of them with one start has the same frames;
/// RTP timestamps differ by a constant that sender reports tell, as libwebrtc's do.
pub const SIMULCAST_720P: [SimulcastLayer; 3] = [
    layer("q", 150, 320, 180),
    layer("h", 500, 640, 360),
    layer("f", 1700, 1280, 720),
];

const fn layer(rid: &'static str, kbps: u32, width: u16, height: u16) -> SimulcastLayer {
    SimulcastLayer {
        rid,
        format: VideoFormat {
            kbps,
            frames_per_second: 30,
            width,
            height,
        },
    }
}
