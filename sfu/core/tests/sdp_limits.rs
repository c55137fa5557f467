//! The limits of an offer: what browsers send is well within them, and what is dear is past them.

mod sdp_support;

use sdp_support::worst::{Shape, lines, shapes};
use sdp_support::{FIXTURES, Local, fixture, params};
use tianqiao_sfu_core::sdp::{Offer, SdpError, SdpLimits, answer};

fn parse(offer: &str) -> Result<Offer, SdpError> {
    Offer::parse(offer, &SdpLimits::default())
}

#[test]
fn the_worst_offers_within_the_limits_are_answered() {
    let limits = SdpLimits::default();
    for shape in shapes(&limits) {
        let offer = shape.offer(&limits);
        // Each is at the limit of bytes, of lines or of sections.
        let sections = offer.matches("\r\nm=").count();
        let another = shape.with_sections(sections + 1);
        let is_full = sections == limits.max_sections
            || another.len() > limits.max_bytes - 500
            || another.lines().count() > limits.max_lines - 20;
        assert!(is_full, "{}: {} bytes", shape.name, offer.len());
        match parse(&offer) {
            Ok(parsed) => {
                let answered = answer(&parsed, &params(&Local::new()), None).expect(shape.name);
                answer(&parsed, &params(&Local::new()), Some(&answered.negotiated)).expect(shape.name);
            }
            // RED without Opus is nothing to forward, and found out as late as can be.
            Err(error) => assert_eq!(
                error,
                SdpError::Unsupported("no media section with a known codec"),
                "{}",
                shape.name
            ),
        }
    }
}

#[test]
fn one_more_than_a_limit_is_refused() {
    let limits = SdpLimits::default();
    let shape = || Shape {
        name: "",
        formats: "96".to_owned(),
        body: "a=rtpmap:96 VP8/90000\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n".to_owned(),
        session: String::new(),
    };
    let body = |count: usize, line: &str| {
        let mut shape = shape();
        shape.body += &lines(0, count, line);
        shape.with_sections(2)
    };
    let formats = |count: usize| {
        let mut shape = shape();
        shape.formats = ["96"; 1].repeat(count).join(" ");
        shape.with_sections(2)
    };
    let session = |count: usize, line: &str| {
        let mut shape = shape();
        shape.session = lines(0, count, line);
        shape.with_sections(2)
    };
    let simulcast = |count: usize| body(1, &format!("a=simulcast:send {}", ["a"; 1].repeat(count).join(",")));
    let codecs = "too many codecs in a section";
    let attributes = "too many attributes in a section";
    let rids = "too many rids in a section";
    let ssrcs = "too many lines about SSRCs in a section";
    type Offers<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(usize, Offers, &str); 12] = [
        (
            limits.max_sections,
            &|count| shape().with_sections(count),
            "too many media sections",
        ),
        (limits.max_attributes - 4, &|count| body(count, "a=x"), attributes),
        // Behind group, ice-ufrag, ice-pwd and fingerprint.
        (limits.max_attributes - 4, &|count| session(count, "a=x"), attributes),
        (limits.max_codecs, &formats, codecs),
        (limits.max_codecs - 1, &|count| body(count, "a=rtpmap:1 x/1"), codecs),
        (limits.max_codecs, &|count| body(count, "a=fmtp:1 x"), codecs),
        (
            limits.max_extensions - 1,
            &|count| body(count, "a=extmap:2 urn:x"),
            "too many header extensions in a section",
        ),
        (limits.max_rids, &|count| body(count, "a=rid:# send"), rids),
        (limits.max_rids, &simulcast, rids),
        (limits.max_ssrcs, &|count| body(count, "a=ssrc:1 x"), ssrcs),
        (limits.max_ssrcs, &|count| body(count, "a=ssrc-group:FID 1 2"), ssrcs),
        (
            limits.max_candidates,
            &|count| body(count, "a=candidate:#"),
            "too many candidates in a section",
        ),
    ];
    for (limit, offers, reason) in cases {
        assert_eq!(parse(&offers(limit)).map(drop), Ok(()), "{limit} {reason}");
        assert_eq!(
            parse(&offers(limit + 1)).map(drop),
            Err(SdpError::TooLarge(reason)),
            "{limit}"
        );
    }
}

#[test]
fn the_reported_flood_of_rids_is_refused_while_it_is_read() {
    let rids: Vec<String> = (0..2_030).map(|rid| format!("a{rid}")).collect();
    let mut shape = shapes(&SdpLimits::default()).swap_remove(0);
    shape.body = format!(
        "a=rtpmap:96 VP8/90000\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n{}a=simulcast:send {}\r\n",
        lines(0, 2_030, "a=rid:z# send"),
        rids.join(",")
    );
    let limits = SdpLimits {
        max_line: usize::MAX,
        ..SdpLimits::default()
    };
    let refused = Offer::parse(&shape.with_sections(1), &limits).map(drop);
    assert_eq!(refused, Err(SdpError::TooLarge("too many rids in a section")));
}

#[test]
fn a_bundle_group_has_no_more_mids_than_there_may_be_sections() {
    let offer = shapes(&SdpLimits::default()).swap_remove(0).with_sections(1);
    let of = |mids: usize| {
        offer.replace(
            "BUNDLE 0",
            &format!("BUNDLE 0{}", lines(1, mids - 1, " #").replace("\r\n", "")),
        )
    };
    assert_eq!(parse(&of(128)).map(drop), Ok(()));
    let refused = SdpError::TooLarge("too many mids in the BUNDLE group");
    assert_eq!(parse(&of(129)).map(drop), Err(refused));
}

/// A browser's own sections, repeated to the most that a session may have: 4 + 60 slots and 8 tracks.
#[test]
fn untrimmed_offers_of_browsers_with_all_slots_are_within_the_limits_but_for_their_bytes() {
    let limits = SdpLimits {
        max_bytes: 1 << 20,
        ..SdpLimits::default()
    };
    for name in FIXTURES {
        let text = fixture(name);
        let mut parts = text
            .split_inclusive("\r\n")
            .fold(vec![String::new()], |mut parts, line| {
                if line.starts_with("m=") {
                    parts.push(String::new());
                }
                parts.last_mut().expect("not empty").push_str(line);
                parts
            });
        let head = parts.remove(0);
        let longest = |kind: &str| {
            let of_kind = parts.iter().filter(|part| part.starts_with(kind));
            of_kind.max_by_key(|part| part.len()).cloned()
        };
        let (Some(audio), Some(video)) = (longest("m=audio"), longest("m=video")) else {
            continue;
        };
        let sections: Vec<&String> = [&audio].repeat(8).into_iter().chain([&video].repeat(64)).collect();
        let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
        let head: String = head
            .split_inclusive("\r\n")
            .map(|line| match line.starts_with("a=group:BUNDLE") {
                true => format!("a=group:BUNDLE {}\r\n", mids.join(" ")),
                false => line.to_owned(),
            })
            .collect();
        let body = sections.iter().zip(&mids).map(|(section, mid)| {
            let lines = section.split_inclusive("\r\n");
            let lines = lines.map(|line| match line.starts_with("a=mid:") {
                true => format!("a=mid:{mid}\r\n"),
                false => line.to_owned(),
            });
            lines.collect::<String>()
        });
        let offer = head + &body.collect::<String>();
        let parsed = Offer::parse(&offer, &limits);
        assert!(
            parsed.is_ok(),
            "{name}: {} bytes, {} lines: {parsed:?}",
            offer.len(),
            offer.lines().count()
        );
    }
}
