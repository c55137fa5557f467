//! What the dearest offers that the limits admit cost, from their text to the answer's, in a new session and in a
//! running one; and a browser's offer to compare them with. At most 2 ms each on one core.

#[path = "../tests/sdp_support/mod.rs"]
mod sdp_support;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use sdp_support::worst::shapes;
use sdp_support::{Local, fixture, params};
use tianqiao_sfu_core::negotiated::Negotiated;
use tianqiao_sfu_core::sdp::{Offer, SdpLimits, answer};

fn negotiate(offer: &str, limits: &SdpLimits, local: &Local, previous: Option<&Negotiated>) -> Option<Negotiated> {
    let offer = Offer::parse(black_box(offer), limits).ok()?;
    let answered = answer(&offer, &params(local), previous).ok()?;
    Some(black_box(answered).negotiated)
}

fn main() {
    let limits = SdpLimits::default();
    let local = Local::new();
    let worst = shapes(&limits)
        .into_iter()
        .map(|shape| (shape.name, shape.offer(&limits)));
    let usual = ["chromium_meeting_trimmed", "chromium_plain"].map(|name| (name, fixture(name)));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (name, offer) in usual.into_iter().chain(worst) {
        criterion.bench_function(&format!("{name}: first offer"), |bencher| {
            bencher.iter(|| negotiate(&offer, &limits, &local, None));
        });
        if let Some(running) = negotiate(&offer, &limits, &local, None) {
            criterion.bench_function(&format!("{name}: another offer"), |bencher| {
                bencher.iter(|| negotiate(&offer, &limits, &local, Some(&running)));
            });
        }
    }
    criterion.final_summary();
}
