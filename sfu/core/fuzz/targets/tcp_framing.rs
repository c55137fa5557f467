#![no_main]

// By its file: the shell's crate would bring tokio and sockets with it.
#[path = "../../../src/tcp/framing.rs"]
#[allow(dead_code)]
mod framing;

use framing::FrameReader;

// The first byte tells how many bytes arrive at a time; however the stream is cut, its frames are the same.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((&step, stream)) = data.split_first() {
        assert_eq!(read(stream, 1 + usize::from(step)), read(stream, usize::MAX));
    }
});

/// All frames of `stream`, then whether it ended in an error.
fn read(mut stream: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let mut reader = FrameReader::new();
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let space = reader.space();
        let (now, later) = stream.split_at(step.min(stream.len()).min(space.len()));
        assert!(!now.is_empty(), "no space left");
        space[..now.len()].copy_from_slice(now);
        reader.filled(now.len());
        stream = later;
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}
