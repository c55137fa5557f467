//! The dearest offers that the limits let through, each at the limits of one kind. The tests show that they are
//! let through and that one more of the kind is not; the benchmark shows what they cost.

use std::fmt::Write as _;

use tianqiao_sfu_core::sdp::SdpLimits;

const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// What one offer is made of; the sections are alike but for their mids.
pub struct Shape {
    pub name: &'static str,
    pub formats: String,
    /// Attribute lines below each m-line.
    pub body: String,
    /// Attribute lines at session level.
    pub session: String,
}

impl Shape {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            formats: "96".to_owned(),
            body: "a=rtpmap:96 VP8/90000\r\n".to_owned(),
            session: String::new(),
        }
    }

    /// With as many sections as go into `limits`.
    pub fn offer(&self, limits: &SdpLimits) -> String {
        // Mids and the transport of the first section.
        let spare = limits.max_bytes - HEAD.len() - self.session.len() - 400;
        let section = self.section(0).len() + 5;
        let lines = limits.max_lines - 20 - self.session.lines().count();
        let sections = (spare / section)
            .min(lines / self.section(0).lines().count())
            .clamp(1, limits.max_sections);
        self.with_sections(sections)
    }

    pub fn with_sections(&self, sections: usize) -> String {
        let mut offer = HEAD.to_owned() + "a=group:BUNDLE";
        for index in 0..sections {
            let _ = write!(offer, " {index}");
        }
        let _ = write!(
            offer,
            "\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {}\r\n",
            ["11"; 32].join(":")
        );
        offer += &self.session;
        for index in 0..sections {
            offer += &self.section(index);
        }
        offer
    }

    fn section(&self, index: usize) -> String {
        let Self { formats, body, .. } = self;
        format!("m=video 9 UDP/TLS/RTP/SAVPF {formats}\r\na=mid:{index}\r\na=rtcp-mux\r\n{body}")
    }
}

/// `count` lines; `#` is each line's number from `first` on.
pub fn lines(first: usize, count: usize, line: &str) -> String {
    (first..first + count)
        .map(|number| line.replace('#', &number.to_string()) + "\r\n")
        .collect()
}

/// Payload types 0, 1, …
fn formats(count: usize) -> String {
    (0..count)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// For each limit what reaches it, and for products what reaches both.
pub fn shapes(limits: &SdpLimits) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |name, change: &dyn Fn(&mut Shape)| {
        let mut shape = Shape::new(name);
        change(&mut shape);
        shapes.push(shape);
    };
    // mid, rtcp-mux and rtpmap are in every section already.
    let attributes = limits.max_attributes - 3;
    add("short lines", &|shape| shape.body += &lines(0, attributes, "a=x"));
    add("sections", &|_| ());
    add("simulcast × rid", &|shape| {
        shape.body += &format!("a=extmap:1 {RID}\r\n");
        shape.body += &lines(100, limits.max_rids, "a=rid:aaaaaaaaaaaa# recv");
        let listed: Vec<_> = (0..limits.max_rids)
            .map(|rid| format!("aaaaaaaaaaaa{}", rid + 500))
            .collect();
        shape.body += &format!("a=simulcast:send {}\r\n", listed.join(";"));
    });
    add("formats × rtpmap × fmtp", &|shape| {
        shape.formats = formats(limits.max_codecs);
        shape.body = lines(0, limits.max_codecs, "a=rtpmap:# H264/90000");
        shape.body += &lines(
            0,
            limits.max_codecs,
            "a=fmtp:# ;;;;;;;;;;;;;;;;;;;;;packetization-mode=1",
        );
    });
    add("one format often × long fmtp", &|shape| {
        shape.formats = ["96"; 1].repeat(limits.max_codecs).join(" ");
        shape.body = "a=rtpmap:96 AV1/90000\r\na=fmtp:96 ".to_owned() + &";".repeat(limits.max_line - 20) + "\r\n";
    });
    add("audio formats × RED blocks", &|shape| {
        shape.formats = formats(limits.max_codecs);
        shape.body = lines(0, limits.max_codecs, "a=rtpmap:# red/48000/2");
        shape.body += &lines(0, limits.max_codecs, "a=fmtp:# 111/111/111/111/111");
    });
    add("feedback for all formats", &|shape| {
        shape.formats = formats(limits.max_codecs);
        shape.body = "a=rtpmap:96 VP8/90000\r\n".to_owned() + &lines(0, attributes, "a=rtcp-fb:* x");
    });
    add("formats × rtcp-fb", &|shape| {
        shape.formats = formats(limits.max_codecs);
        shape.body = lines(0, 128, "a=rtpmap:# x/90000") + &lines(0, 128, "a=rtcp-fb:# nack pli");
        shape.body += &lines(0, 128, "a=rtcp-fb:# ccm fir");
        shape.body += "a=rtpmap:96 VP8/90000\r\n";
        // The last of the payload types makes way.
        shape.body = shape.body.replacen("a=rtpmap:127 x/90000\r\n", "", 1);
    });
    add("extmaps × sections", &|shape| {
        shape.body += &lines(
            0,
            limits.max_extensions,
            "a=extmap:# urn:ietf:params:rtp-hdrext:sdes:mix",
        );
    });
    add("extmaps of the session × sections", &|shape| {
        shape.session = lines(0, limits.max_extensions, &format!("a=extmap:7 {RID}"));
    });
    add("ssrc × ssrc-group", &|shape| {
        shape.body += &lines(0, limits.max_ssrcs, "a=ssrc-group:FID 1# 2#");
        shape.body += &lines(0, limits.max_ssrcs, "a=ssrc:20 cname:#");
    });
    add("candidates", &|shape| {
        shape.body += &lines(0, limits.max_candidates, "a=candidate:# 1 udp 1 10.0.0.1 9 typ host");
    });
    add("fingerprints", &|shape| {
        shape.body += &lines(0, attributes, "a=fingerprint:sha-1 11:22")
    });
    add("twelve codecs in each section", &|shape| {
        shape.formats = formats(24);
        shape.body = lines(0, 11, "a=rtpmap:# VP9/90000") + "a=rtpmap:11 VP8/90000\r\n";
        shape.body += &lines(0, 11, "a=fmtp:# profile-id=#");
        shape.body += "a=rtcp-fb:* nack\r\na=rtcp-fb:* nack pli\r\na=rtcp-fb:* ccm fir\r\n";
    });
    shapes
}
