//! Sender reports tell a subscriber how audio and video of one publisher belong together.

use tianqiao_sfu_core::packet::rtcp::{SenderInfo, write};
use tianqiao_sfu_core::units::Ssrc;

use crate::source::{Video, audio};
use crate::world::*;

/// NTP time of a publisher whose clock is an hour off.
fn publisher_ntp(ms: u64) -> u64 {
    ((3_900_003_600 + ms / 1000) << 32) | (((ms % 1000) << 32) / 1000)
}

/// When, in ms, the media clock of the stream that `report` is about read `rtp`.
fn capture_ms(report: (u64, u32), rtp: u32, clock_rate: i64) -> i64 {
    let ntp_ms = ((i128::from(report.0) * 1000) >> 32) as i64;
    ntp_ms + i64::from(rtp.wrapping_sub(report.1) as i32) * 1000 / clock_rate
}

#[test]
fn audio_and_video_captured_together_are_played_together() {
    let mut world = World::new(2);
    let publisher = world.join(
        0,
        vec![camera("0", 1000, &[]), microphone("1", 2000)],
        &[("0", 71), ("1", 72)],
    );
    let subscriber = world.join(1, vec![video_slot("5", 50), audio_slot("6", 60)], &[]);
    world.show(subscriber, "5", Some((71, 0)), 360);
    world.show(subscriber, "6", Some((72, 0)), 0);

    let mut video = Video::new(1000, 360);
    let frame = video.frame(true, 2);
    let video_rtp = video.timestamp;
    // Audio of sequence number 500 is captured at the same moment as the frame, at 10,000 ms of the publisher's clock.
    world.send_rtp(publisher, &frame);
    world.send_rtp(publisher, &[audio(2000, 500, 20)]);
    let info = |ntp, rtp| SenderInfo {
        ntp,
        rtp,
        packets: 1,
        octets: 1,
    };
    let report = info(publisher_ntp(10_000), 500 * 960);
    world.send_rtcp(publisher, |out| write::sender_report(Ssrc(2000), &report, &[], out));
    // The video's report comes 70 ms late and speaks of a moment 300 ms after the frame.
    world.advance(370 * MS);
    let report = info(publisher_ntp(10_300), video_rtp.wrapping_add(27_000));
    world.send_rtcp(publisher, |out| write::sender_report(Ssrc(1000), &report, &[], out));
    world.advance(1100 * MS);

    let report_of = |ssrc: u32| {
        world.peers[subscriber].rtcp.iter().rev().find_map(|rtcp| match *rtcp {
            Rtcp::SenderReport {
                ssrc: Ssrc(found),
                ntp,
                rtp,
            } if found == ssrc => Some((ntp, rtp)),
            _ => None,
        })
    };
    let (video_report, audio_report) = (report_of(50).expect("video's"), report_of(60).expect("audio's"));
    let first = |ssrc: u32| {
        let found = world.peers[subscriber].rtp.iter().find(|rtp| rtp.header.ssrc.0 == ssrc);
        found.expect("a packet").header.timestamp
    };
    let video_at = capture_ms(video_report, first(50), 90_000);
    let audio_at = capture_ms(audio_report, first(60), 48_000);
    assert!((video_at - audio_at).abs() <= 1, "{video_at} {audio_at}");
}
