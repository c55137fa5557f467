//! What is answered to offers that Chromium 156, Firefox 153, Safari (from `rtc-sdp`'s test data) and the
//! `webrtc` crate 0.21 really made.

mod sdp_support;

use sdp_support::{LOCAL_UFRAG, answer_to, fixture, negotiated, params, summary};
use tianqiao_sfu_core::negotiated::{DtlsRole, MediaKind, Negotiated};
use tianqiao_sfu_core::sdp::{CodecPreferences, Offer, SdpError, SdpLimits, VideoCodec, answer, fragment};

/// Per fixture its accepted sections: mid, kind, what the client sends, the slot's SSRC, codecs by
/// payload type with `/rtx`, header extension ids.
#[test]
fn each_browser_gets_what_it_offers_and_we_forward() {
    for (name, expected) in [
        (
            "chromium_plain",
            "0 audio receive 1661303083 | 111 Opus, 63 Red | mid4 level1 time2 twcc3\n\
             1 video receive q;h;f | 96/97 Vp8, 102/103 H264 4200, 108/109 H264 42e0, 116/117 H264 4d00, 98/99 Vp9 0, \
             100/101 Vp9 2, 45/46 Av1 0 | mid4 rid10 rrid11 time2 twcc3 rotation13 dd12\n\
             2 audio slot 1000 | 111 Opus, 63 Red | level1 twcc3\n\
             3 video slot 1002 | 96/97 Vp8, 98/99 Vp9 0, 100/101 Vp9 2, 35/36 Vp9 1, 37/38 Vp9 3, 102/103 H264 4200, \
             108/109 H264 42e0, 116/117 H264 4d00, 45/46 Av1 0, 47/48 Av1 1 | twcc3 rotation13 dd12\n",
        ),
        (
            "firefox_meeting",
            "0 audio receive 1151058624 | 109 Opus | mid3 level1 twcc7\n\
             1 video receive q;h;f | 120/124 Vp8, 121/125 Vp9 0, 99/100 Av1 0 | mid3 rid9 rrid10 time4 twcc7 dd8\n\
             2 audio slot 1000 | 109 Opus | level1 twcc7\n\
             3 audio slot 1004 | 109 Opus | level1 twcc7\n\
             4 video slot 1002 | 120/124 Vp8, 121/125 Vp9 0, 99/100 Av1 0 | twcc7\n\
             5 video slot 1006 | 120/124 Vp8, 121/125 Vp9 0, 99/100 Av1 0 | twcc7\n",
        ),
        (
            "safari_sendrecv_data",
            "0 audio receive 4124696349 slot 1000 | 111 Opus, 63 Red | mid4 level1 time2 twcc3\n\
             1 video receive 1698465521/1478334356 slot 1002 | 107/108 Vp8, 96/97 H264 640c, 98/99 H264 42e0, \
             109/114 Vp9 0, 115/116 Vp9 2 | mid4 time2 twcc3 rotation13\n",
        ),
        (
            "webrtc_crate",
            "0 audio receive 1111 slot 1000 | 111 Opus | mid1 twcc2\n\
             1 video receive 2222/4244665817 slot 1002 | 96/97 Vp8 | mid1 twcc2\n\
             2 audio slot 1004 | 111 Opus | twcc2\n\
             3 video slot 1006 | 96/97 Vp8, 98/99 Vp9 0, 100/101 Vp9 1, 102/103 H264 4200, 125/105 H264 42e0, \
             123/124 H264 6400, 41/106 Av1 0 | twcc2\n",
        ),
    ] {
        assert_eq!(summary(&negotiated(&fixture(name))), expected, "{name}");
    }
}

#[test]
fn every_fixture_is_answered_section_for_section() {
    for name in sdp_support::FIXTURES {
        let offer = fixture(name);
        let sdp = answer_to(&offer).unwrap().sdp;
        let mids = |sdp: &str| -> Vec<String> {
            sdp.lines()
                .filter(|line| line.starts_with("a=mid:"))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(mids(&sdp), mids(&offer), "{name}");
        assert!(sdp.lines().all(|line| !line.contains("goog-remb")), "{name}");
        tianqiao_sfu_core::sdp::fuzz_bodies::fuzz_sdp(offer.as_bytes());
    }
}

#[test]
fn the_whole_answer_word_for_word() {
    let offer = fixture("chromium_meeting_trimmed");
    // Of the trimmed meeting the microphone, one audio slot and one video slot.
    let sections: Vec<&str> = offer.split("m=").collect();
    let offer = format!(
        "{}m={}m={}m={}",
        sections[0].replace(
            "a=group:BUNDLE 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14",
            "a=group:BUNDLE 0 2 6"
        ),
        sections[1],
        sections[3],
        sections[7],
    );
    let expected = format!(
        "v=0\r\n\
         o=- 42 1 IN IP4 0.0.0.0\r\n\
         s=-\r\n\
         c=IN IP4 0.0.0.0\r\n\
         t=0 0\r\n\
         a=group:BUNDLE 0 2 6\r\n\
         a=ice-lite\r\n\
         a=ice-ufrag:{LOCAL_UFRAG}\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
         a=fingerprint:sha-256 AB{}\r\n\
         a=extmap-allow-mixed\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n\
         a=mid:0\r\n\
         a=setup:passive\r\n\
         a=rtcp-mux\r\n\
         a=recvonly\r\n\
         a=rtcp-rsize\r\n\
         a=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtcp-fb:111 transport-cc\r\n\
         a=rtpmap:63 red/48000/2\r\n\
         a=fmtp:63 111/111\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n\
         a=candidate:2 1 tcp 1520434943 192.0.2.1 5000 typ host tcptype passive\r\n\
         a=end-of-candidates\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n\
         a=mid:2\r\n\
         a=setup:passive\r\n\
         a=rtcp-mux\r\n\
         a=sendonly\r\n\
         a=rtcp-rsize\r\n\
         a=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:63 red/48000/2\r\n\
         a=fmtp:63 111/111\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=msid:s0 a0\r\n\
         a=ssrc:1000 cname:s\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n\
         a=mid:6\r\n\
         a=setup:passive\r\n\
         a=rtcp-mux\r\n\
         a=sendonly\r\n\
         a=rtcp-rsize\r\n\
         a=rtpmap:96 VP8/90000\r\n\
         a=rtcp-fb:96 nack\r\n\
         a=rtcp-fb:96 nack pli\r\n\
         a=rtcp-fb:96 ccm fir\r\n\
         a=rtpmap:97 rtx/90000\r\n\
         a=fmtp:97 apt=96\r\n\
         a=extmap:14 urn:3gpp:video-orientation\r\n\
         a=extmap:13 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\n\
         a=msid:s0 v0\r\n\
         a=ssrc-group:FID 1002 1003\r\n\
         a=ssrc:1002 cname:s\r\n\
         a=ssrc:1003 cname:s\r\n",
        ":AB".repeat(31)
    );
    assert_eq!(answer_to(&offer).unwrap().sdp, expected);
}

#[test]
fn simulcast_is_answered_layer_for_layer() {
    for (offered, answered, rids) in [
        ("send q;h;f", "recv q;h;f", "q;h;f"),
        ("send ~q;h", "recv q;h", "q;h"),
        ("send q,f;h", "recv q;h", "q;h"),
        ("recv x send f;q", "recv f;q", "f;q"),
        ("send q;unknown;f", "recv q;f", "q;f"),
        ("send q;q", "recv q", "q"),
    ] {
        let offer = fixture("chromium_plain").replace("a=simulcast:send q;~h;f", &format!("a=simulcast:{offered}"));
        let answered_sdp = answer_to(&offer).unwrap();
        let line = answered_sdp.sdp.lines().find(|line| line.starts_with("a=simulcast:"));
        assert_eq!(line, Some(format!("a=simulcast:{answered}").as_str()));
        let receive = answered_sdp.negotiated.media[1].receive.as_ref().unwrap();
        assert_eq!(receive.rids.join(";"), rids);
    }
}

#[test]
fn without_the_rid_extension_there_is_no_simulcast() {
    let offer = fixture("chromium_plain").replace("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", "urn:x");
    let answered = answer_to(&offer).unwrap();
    assert!(!answered.sdp.contains("simulcast"));
    assert!(answered.negotiated.media[1].receive.as_ref().unwrap().rids.is_empty());
}

#[test]
fn a_low_voice_is_asked_for_by_its_section_alone() {
    let text = fixture("chromium_plain");
    let offer = Offer::parse(&text, &SdpLimits::default()).unwrap();
    let local = sdp_support::Local::new();
    let usual = answer(&offer, &params(&local), None).unwrap();
    let mids: Vec<_> = usual.negotiated.media.iter().map(|media| media.mid).collect();
    let audio = usual
        .negotiated
        .media
        .iter()
        .find(|media| media.kind == MediaKind::Audio && media.receive.is_some());
    let audio = audio.expect("it sends a voice").mid;
    let answered_with = |low_voices: &[tianqiao_sfu_core::units::Mid]| {
        let params = tianqiao_sfu_core::sdp::AnswerParams {
            low_voices,
            ..params(&local)
        };
        answer(&offer, &params, None).unwrap().sdp
    };
    let low = answered_with(&[audio]);
    let changed: Vec<_> = low.lines().filter(|line| !usual.sdp.contains(line)).collect();
    assert_eq!(
        changed,
        [
            "a=fmtp:111 minptime=10;useinbandfec=0;usedtx=1;stereo=0;maxaveragebitrate=14000",
            "a=ptime:60"
        ]
    );
    // Nothing is asked for on sections that send no voice.
    let others: Vec<_> = mids.into_iter().filter(|&mid| mid != audio).collect();
    assert_eq!(answered_with(&others), usual.sdp);
}

#[test]
fn the_preferred_codec_comes_first_where_the_client_sends_and_its_own_order_stands_for_slots() {
    let preferences = CodecPreferences {
        video: vec![VideoCodec::Av1, VideoCodec::Vp9],
    };
    let offer = Offer::parse(&fixture("chromium_plain"), &SdpLimits::default()).unwrap();
    let local = sdp_support::Local::new();
    let params = tianqiao_sfu_core::sdp::AnswerParams {
        preferences: &preferences,
        ..params(&local)
    };
    let answered = answer(&offer, &params, None).unwrap();
    let first_line = |mid: usize| answered.sdp.lines().filter(|line| line.starts_with("m=")).nth(mid);
    assert_eq!(
        first_line(1),
        Some("m=video 9 UDP/TLS/RTP/SAVPF 45 46 98 99 100 101 96 97 102 103 108 109 116 117")
    );
    assert!(
        first_line(3)
            .unwrap()
            .starts_with("m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99")
    );
}

#[test]
fn codec_parameters() {
    let rtpmaps = |video: &str| {
        fixture("webrtc_crate")
            .replace("a=rtpmap:96 VP8/90000", &format!("a=rtpmap:96 {video}"))
            .replace("a=rtpmap:97 rtx", "a=rtpmap:97 x")
    };
    for (video, codec) in [
        ("vp8/90000", "96 Vp8"),
        ("VP8/48000", ""),
        ("VP9/90000", "96 Vp9 0"),
        ("VP9/90000\r\na=fmtp:96 profile-id=2", "96 Vp9 2"),
        ("AV1/90000\r\na=fmtp:96 level-idx=5; profile=1; tier=0", "96 Av1 1"),
        ("H264/90000", ""),
        ("H264/90000\r\na=fmtp:96 packetization-mode=1", "96 H264 42e0"),
        (
            "H264/90000\r\na=fmtp:96 packetization-mode=0;profile-level-id=42e01f",
            "",
        ),
        (
            "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42c01f",
            "96 H264 42e0",
        ),
        (
            "H264/90000\r\na=fmtp:96 profile-level-id=42001f;packetization-mode=1",
            "96 H264 4200",
        ),
        (
            "H264/90000\r\na=fmtp:96 profile-level-id=4D001F;packetization-mode=1",
            "96 H264 4d00",
        ),
        (
            "H264/90000\r\na=fmtp:96 profile-level-id=640c34;packetization-mode=1",
            "96 H264 640c",
        ),
        (
            "H264/90000\r\na=fmtp:96 profile-level-id=f4001f;packetization-mode=1",
            "",
        ),
        (
            "H264/90000\r\na=fmtp:96 profile-level-id=+2e01f;packetization-mode=1",
            "",
        ),
        ("H265/90000", ""),
        ("opus/48000/2", ""),
    ] {
        let negotiated = negotiated(&rtpmaps(video));
        let section = negotiated.media.iter().find(|media| media.mid.as_str() == "1");
        let found = section.map(sdp_support::codecs).unwrap_or_default();
        assert_eq!(found, codec, "{video}");
    }
}

#[test]
fn red_needs_the_opus_of_its_section() {
    for (fmtp, codecs) in [
        ("111/111", "111 Opus, 63 Red"),
        ("111/111/111", "111 Opus, 63 Red"),
        ("111", "111 Opus"),
        ("111/9", "111 Opus"),
        ("9/9", "111 Opus"),
    ] {
        let offer = fixture("chromium_whep").replace("a=fmtp:63 111/111", &format!("a=fmtp:63 {fmtp}"));
        assert_eq!(sdp_support::codecs(&negotiated(&offer).media[0]), codecs, "{fmtp}");
    }
}

#[test]
fn the_dtls_role_follows_the_offer() {
    for (setup, role, answered) in [
        ("actpass", DtlsRole::Passive, "a=setup:passive"),
        ("active", DtlsRole::Passive, "a=setup:passive"),
        ("passive", DtlsRole::Active, "a=setup:active"),
    ] {
        let offer = fixture("chromium_whep").replace("a=setup:actpass", &format!("a=setup:{setup}"));
        let found = answer_to(&offer).unwrap();
        assert_eq!(found.negotiated.dtls_role, role);
        assert_eq!(found.sdp.lines().filter(|&line| line == answered).count(), 2);
    }
}

/// Chromium 156 with `WebRTC-IceHandshakeDtls` has both names, in each section.
#[test]
fn dtls_inside_stun_is_answered_where_it_is_offered() {
    let offer = fixture("chromium_plain");
    assert!(offer.contains("a=ice-options:trickle\r\n"));
    for (options, expected) in [
        ("trickle", None),
        ("trickle sped googspedv1", Some("a=ice-options:sped googspedv1")),
        ("goog-sped-v1 renomination", Some("a=ice-options:goog-sped-v1")),
        ("spedy", None),
    ] {
        let offer = offer.replace("a=ice-options:trickle", &format!("a=ice-options:{options}"));
        let sdp = answer_to(&offer).unwrap().sdp;
        assert_eq!(
            sdp.lines().find(|line| line.contains("ice-options")),
            expected,
            "{options}"
        );
    }
}

#[test]
fn the_first_acceptable_fingerprint_is_taken() {
    let sha512 = vec!["0f"; 64].join(":");
    let offer = fixture("firefox_meeting").replace(
        "a=fingerprint:sha-256",
        &format!("a=fingerprint:sha-1 AA:BB\r\na=fingerprint:SHA-512 {sha512}\r\na=fingerprint:sha-256"),
    );
    assert_eq!(negotiated(&offer).remote_fingerprint.digest, [0x0f; 64]);
}

#[test]
fn what_cannot_be_answered_says_why() {
    use SdpError::{Invalid, TooLarge, Unsupported};
    let without = |what: &str| {
        let lines = fixture("chromium_whep");
        let kept: Vec<&str> = lines.lines().filter(|line| !line.starts_with(what)).collect();
        kept.join("\r\n") + "\r\n"
    };
    let with = |from: &str, to: &str| fixture("chromium_whep").replace(from, to);
    for (offer, expected) in [
        (String::new(), Invalid("syntax")),
        ("v=0\r\n".to_owned(), Invalid("syntax")),
        (without("a=group"), Unsupported("no BUNDLE group")),
        (
            with("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"),
            Unsupported("a media section outside of the BUNDLE group"),
        ),
        (
            with("a=group:BUNDLE 0 1", "a=group:BUNDLE"),
            Unsupported("an empty BUNDLE group"),
        ),
        (
            with("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 0"),
            Invalid("a mid occurs twice in the BUNDLE group"),
        ),
        (without("a=rtcp-mux"), Unsupported("no rtcp-mux")),
        (without("a=fingerprint"), Invalid("no fingerprint")),
        (
            with("sha-256", "sha-1"),
            Unsupported("no fingerprint by SHA-256, SHA-384 or SHA-512"),
        ),
        (with("sha-256", "sha-384"), Invalid("fingerprint")),
        (without("a=ice-ufrag"), Invalid("no ice-ufrag and ice-pwd")),
        (without("a=ice-pwd"), Invalid("no ice-ufrag and ice-pwd")),
        (with("a=ice-ufrag:", "a=ice-ufrag:a:b"), Invalid("ice-ufrag")),
        (with("a=setup:actpass", "a=setup:x"), Invalid("setup")),
        (
            with("a=setup:actpass", "a=setup:holdconn"),
            Unsupported("setup:holdconn"),
        ),
        (with("a=mid:1", "a=mid:0"), Invalid("a mid occurs twice")),
        (with("a=mid:1", "a=mid:1 2"), Invalid("mid")),
        (
            with("a=mid:1", "a=mid:12345678901234567"),
            Unsupported("a mid of more than 16 characters"),
        ),
        (
            with("a=rtpmap:", "a=x:"),
            Unsupported("no media section with a known codec"),
        ),
        (with("a=mid:1", "a=mid:1\ra=x"), Invalid("a control character")),
        (with("a=mid:1", &"a".repeat(5000)), TooLarge("a line is too long")),
        (with("t=0 0", &"a=x\r\n".repeat(50_000)), TooLarge("too many bytes")),
        (with("t=0 0", &"b=x\r\n".repeat(20_001)), TooLarge("too many lines")),
        (
            with("a=mid:1", &"m=audio 9 RTP/AVP 0\r\n".repeat(128)),
            TooLarge("too many media sections"),
        ),
    ] {
        assert_eq!(answer_to(&offer), Err(expected));
    }
}

#[test]
fn an_extension_id_means_the_same_in_all_sections() {
    // The video section says 4 for what the audio section calls mid.
    let offer = fixture("chromium_sendrecv_data");
    let (head, video) = offer.split_once("m=video").unwrap();
    let video = video
        .replace("a=extmap:4 ", "a=extmap:9 ")
        .replace("a=extmap:13 ", "a=extmap:4 ");
    let negotiated = negotiated(&format!("{head}m=video{video}"));
    assert_eq!(negotiated.media[0].extensions.mid, Some(4));
    assert_eq!(negotiated.media[1].extensions.mid, Some(9));
    assert_eq!(negotiated.media[1].extensions.video_orientation, None);
}

fn renegotiate(offer: &str, previous: &Negotiated) -> Result<Negotiated, SdpError> {
    let offer = Offer::parse(offer, &SdpLimits::default())?;
    let local = sdp_support::Local::new();
    Ok(answer(&offer, &params(&local), Some(previous))?.negotiated)
}

#[test]
fn slots_keep_their_ssrc_and_new_ones_take_none_that_lives() {
    let offer = fixture("firefox_meeting");
    let first = negotiated(&offer);
    assert_eq!(renegotiate(&offer, &first), Ok(first.clone()));

    // Section 2 (an audio slot) stops, section 4 (a video slot) is recycled as a new one.
    let changed = offer
        .replace("BUNDLE 0 1 2 3 4 5", "BUNDLE 0 1 3 new 5")
        .replace("a=mid:4", "a=mid:new");
    let stopped = changed.find("m=audio 0").unwrap();
    let changed = format!(
        "{}{}",
        &changed[..stopped],
        changed[stopped..].replacen("a=bundle-only\r\n", "", 1)
    );
    let second = renegotiate(&changed, &first).unwrap();
    let slots = |negotiated: &Negotiated| -> Vec<(String, u32)> {
        let media = negotiated.media.iter();
        media
            .filter_map(|media| Some((media.mid.to_string(), media.send?.ssrc.0)))
            .collect()
    };
    let named = |list: &[(&str, u32)]| -> Vec<(String, u32)> {
        list.iter().map(|&(mid, ssrc)| (mid.to_owned(), ssrc)).collect()
    };
    assert_eq!(
        slots(&first),
        named(&[("2", 1000), ("3", 1004), ("4", 1002), ("5", 1006)])
    );
    assert_eq!(slots(&second), named(&[("3", 1004), ("new", 1010), ("5", 1006)]));
    let third = renegotiate(&offer, &second).unwrap();
    assert_eq!(
        slots(&third),
        named(&[("2", 1000), ("3", 1004), ("4", 1002), ("5", 1006)])
    );
}

/// What is kept of each SSRC that a session ever had must not grow with its offers.
#[test]
fn ever_new_mids_take_no_ever_new_ssrcs() {
    let offer = fixture("firefox_meeting");
    let mut last = negotiated(&offer);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..1_000 {
        let bundle = (2..=5).fold("BUNDLE 0 1".to_owned(), |line, mid| format!("{line} {mid}x{round}"));
        let renamed = (2..=5).fold(offer.replace("BUNDLE 0 1 2 3 4 5", &bundle), |offer, mid| {
            offer.replace(&format!("a=mid:{mid}\r\n"), &format!("a=mid:{mid}x{round}\r\n"))
        });
        let next = renegotiate(&renamed, &last).unwrap();
        let ssrcs = |negotiated: &Negotiated| -> Vec<u32> {
            let slots = negotiated.media.iter().filter_map(|media| media.send);
            slots.map(|send| send.ssrc.0).collect()
        };
        let (before, after) = (ssrcs(&last), ssrcs(&next));
        assert_eq!(after.len(), 4);
        assert!(after.iter().all(|ssrc| !before.contains(ssrc)), "{before:?} {after:?}");
        seen.extend(after);
        last = next;
    }
    assert!(seen.len() <= 8, "{seen:?}");
}

#[test]
fn a_running_session_keeps_certificate_role_and_kinds() {
    let offer = fixture("chromium_whep");
    let first = negotiated(&offer);
    let other_fingerprint = offer.replace("sha-256 ", "sha-256 00:").replace(
        offer
            .lines()
            .find_map(|line| line.strip_prefix("a=fingerprint:sha-256 "))
            .unwrap()
            .get(92..)
            .unwrap(),
        "",
    );
    assert_eq!(
        renegotiate(&other_fingerprint, &first),
        Err(SdpError::Unsupported("another fingerprint in a running session"))
    );
    assert_eq!(
        renegotiate(&offer.replace("a=setup:actpass", "a=setup:passive"), &first),
        Err(SdpError::Unsupported("another DTLS role in a running session"))
    );
    let swapped = offer
        .replace("a=mid:0", "a=mid:x")
        .replace("a=mid:1", "a=mid:0")
        .replace("a=mid:x", "a=mid:1");
    assert_eq!(
        renegotiate(&swapped, &first),
        Err(SdpError::Invalid("a mid changes its kind of media"))
    );
    let restarted = offer.replace("a=ice-ufrag:", "a=ice-ufrag:new");
    let parsed = Offer::parse(&restarted, &SdpLimits::default()).unwrap();
    assert_ne!(parsed.remote_ice(), &first.remote_ice);
    assert_eq!(
        &renegotiate(&restarted, &first).unwrap().remote_ice,
        parsed.remote_ice()
    );
}

#[test]
fn the_meeting_offer_and_its_answer_are_small_when_deflated() {
    let offer = fixture("chromium_meeting_trimmed");
    let answered = answer_to(&offer).unwrap();
    assert_eq!(answered.negotiated.media.len(), 15);
    let [offer, answer] = [&offer, &answered.sdp].map(|text| sdp_support::deflated_len(text));
    assert!(offer < 1_300, "offer: {offer} bytes");
    assert!(answer < 1_300, "answer: {answer} bytes");
}

#[test]
fn fragments_carry_credentials_both_ways() {
    let fragment = "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
                    a=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
    let credentials = fragment::parse(fragment).unwrap();
    assert_eq!(
        (credentials.ufrag.as_str(), credentials.pwd.as_str()),
        ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    );
    assert_eq!(
        fragment::parse("a=mid:0\r\n"),
        Err(SdpError::Invalid("no ice-ufrag and ice-pwd"))
    );

    let local = sdp_support::Local::new();
    let written = fragment::write(
        params(&local).local_ice,
        params(&local).candidates,
        &negotiated(&fixture("chromium_whep")),
    );
    assert_eq!(
        written,
        format!(
            "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
             a=ice-ufrag:{LOCAL_UFRAG}\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
             a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n\
             a=candidate:2 1 tcp 1520434943 192.0.2.1 5000 typ host tcptype passive\r\na=end-of-candidates\r\n"
        )
    );
}

/// One estimate is made for all slots, by the better of two kinds of feedback.
#[test]
fn clients_estimate_themselves_only_where_they_take_no_transport_wide_numbers() {
    let offer = fixture("chromium_whep");
    let without = |dropped: &str| -> String {
        let lines = offer.split_inclusive("\r\n");
        lines.filter(|line| !line.contains(dropped)).collect()
    };
    let is_by_remb = |offer: &str| {
        let answered = answer_to(offer).unwrap();
        let video = answered
            .negotiated
            .media
            .iter()
            .find(|media| media.kind == MediaKind::Video);
        let video = video.expect("a video slot");
        let is_agreed = video.codecs.iter().any(|codec| codec.feedback.remb);
        assert_eq!(answered.sdp.contains(" goog-remb\r\n"), is_agreed);
        assert_eq!(video.extensions.abs_send_time.is_some(), is_agreed);
        assert_eq!(answered.sdp.contains("abs-send-time"), is_agreed);
        is_agreed
    };
    assert!(!is_by_remb(&offer));
    assert!(is_by_remb(&without(" transport-cc\r\n")));
    assert!(is_by_remb(&without("transport-wide-cc")));
    // Nothing would tell the client when packets were sent.
    let neither = without(" transport-cc\r\n");
    let lines = neither.split_inclusive("\r\n");
    let neither: String = lines.filter(|line| !line.contains("abs-send-time")).collect();
    assert!(!is_by_remb(&neither));
}

#[test]
fn feedback_by_rfc8888_is_agreed_on_where_it_is_wanted_and_all_slots_take_it() {
    let offer = fixture("chromium_whep").replace(" transport-cc\r\n", " transport-cc\r\na=rtcp-fb:* ack ccfb\r\n");
    let local = sdp_support::Local::new();
    let answered = |offer: &str, rfc8888| {
        let offer = Offer::parse(offer, &SdpLimits::default()).unwrap();
        let params = tianqiao_sfu_core::sdp::AnswerParams {
            rfc8888,
            ..params(&local)
        };
        answer(&offer, &params, None).unwrap()
    };
    let count = |sdp: &str, text: &str| sdp.matches(text).count();
    let sections = count(&offer, "m=audio") + count(&offer, "m=video");
    let new = answered(&offer, true);
    assert_eq!(count(&new.sdp, "a=rtcp-fb:* ack ccfb\r\n"), sections);
    assert_eq!(
        (
            count(&new.sdp, " transport-cc\r\n"),
            count(&new.sdp, "transport-wide-cc")
        ),
        (0, 0)
    );
    // Not wanted, not offered, and where the client sends too.
    let plain = fixture("chromium_whep");
    let both_ways = offer.replace("a=recvonly", "a=sendrecv");
    for usual in [
        answered(&offer, false),
        answered(&plain, true),
        answered(&both_ways, true),
    ] {
        assert_eq!(count(&usual.sdp, "ccfb"), 0);
        assert!(count(&usual.sdp, " transport-cc\r\n") > 0);
    }
}
