//! The fuzz targets over their seeds and all that is cut off them, as an ordinary test.

use tianqiao_sfu_core::{downtrack, packet, transport, worker_core};

#[test]
fn every_target_takes_its_seeds() {
    type Body = fn(&[u8]);
    let targets: [(&str, Body); 10] = [
        ("demux", transport::fuzz_bodies::fuzz_demux),
        ("stun", transport::fuzz_bodies::fuzz_stun),
        ("srtp", transport::fuzz_bodies::fuzz_srtp),
        ("transport", transport::fuzz_bodies::fuzz_transport),
        ("worker", worker_core::fuzz_bodies::worker),
        ("rtp", packet::fuzz_bodies::rtp),
        ("rtcp", packet::fuzz_bodies::rtcp),
        ("payload", packet::fuzz_bodies::payload),
        ("layers", downtrack::fuzz_bodies::layers),
        ("dependency_descriptor", packet::fuzz_bodies::dependency_descriptor),
    ];
    for (target, body) in targets {
        let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(folder).expect("the target has seeds") {
            let seed = std::fs::read(file.unwrap().path()).unwrap();
            (0..=seed.len()).for_each(|end| body(&seed[..end]));
        }
    }
}
