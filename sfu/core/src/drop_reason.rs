//! Why a packet went no further. Every early return of the packet path names one; each is a label
//! of an exported counter: one for faults, another for what is discarded while all is well.

/// What a reason says about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropClass {
    /// Happens with honest clients on a good network: late packets of those who left, probes, copies.
    Expected,
    /// Somebody does something wrong, or something is too small or too slow.
    Fault,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $class:ident $label:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The value of the metric's `reason` label.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            pub fn class(self) -> DropClass {
                match self {
                    $(Self::$name => DropClass::$class,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// Empty, or a first byte outside RFC 7983's ranges.
    UnknownProtocol = Fault "unknown_protocol",
    /// From an address over which no connection has had a valid STUN check: mostly the last packets of one who left.
    UnknownAddress = Expected "unknown_address",
    StunMalformed = Fault "stun_malformed",
    /// A USERNAME that names no connection here: mostly that of one who does not know yet that it was closed.
    StunUnknownUser = Expected "stun_unknown_user",
    /// MESSAGE-INTEGRITY missing or wrong.
    StunIntegrity = Fault "stun_integrity",
    /// Indications, and responses to no check of ours.
    StunUnexpected = Fault "stun_unexpected",
    /// A check of one client from the address over which another one's media flows.
    PathInUse = Fault "path_in_use",
    DtlsMalformed = Fault "dtls_malformed",
    DtlsUnexpected = Fault "dtls_unexpected",
    /// Media before DTLS has delivered keys.
    SrtpNoKeys = Fault "srtp_no_keys",
    SrtpAuth = Fault "srtp_auth",
    /// The network made a copy of it.
    SrtpReplay = Expected "srtp_replay",
    SrtpTooShort = Fault "srtp_too_short",
    RtpMalformed = Fault "rtp_malformed",
    RtcpMalformed = Fault "rtcp_malformed",
    /// Neither its SSRC, mid nor rid belongs to a media section that sends.
    RtpUnknownSsrc = Fault "rtp_unknown_ssrc",
    RtpUnknownPayloadType = Fault "rtp_unknown_payload_type",
    /// Seen before, or too old to tell.
    RtpDuplicate = Expected "rtp_duplicate",
    /// RTX of a packet that is here already: browsers probe for bandwidth with them.
    RtxDuplicate = Expected "rtx_duplicate",
    /// Only padding: a bandwidth probe.
    RtpPadding = Expected "rtp_padding",
    /// Of a track that its publisher has muted.
    TrackMuted = Expected "track_muted",
    RtxMalformed = Fault "rtx_malformed",
    /// Larger than a packet buffer.
    TooLarge = Fault "too_large",
    PoolExhausted = Fault "pool_exhausted",
    /// The bounded queue to another worker was full.
    MailboxFull = Fault "mailbox_full",
    /// The socket's or a TCP stream's send buffer was full.
    SendBufferFull = Fault "send_buffer_full",
    SendFailed = Fault "send_failed",
    TcpFraming = Fault "tcp_framing",
    TcpTooManyStreams = Fault "tcp_too_many_streams",
    /// A stream without a valid check gave way to another.
    TcpUnproven = Fault "tcp_unproven",
    /// The process has no descriptor left for one more stream.
    TcpNoDescriptors = Fault "tcp_no_descriptors",
    /// A subscriber's codec is not among those it negotiated.
    CodecNotNegotiated = Fault "codec_not_negotiated",
    /// Above the ceiling of its track's layer, or of a layer that has been above it and waits for a key frame.
    OverTrackRate = Fault "over_track_rate",
    /// Not even decrypted: all that its publisher sends is above his ceiling.
    OverPublisherRate = Fault "over_publisher_rate",
    /// Not even decrypted: more RTCP than a client has reason to send.
    OverRtcpRate = Fault "over_rtcp_rate",
    /// Video to a session to which enough is sent.
    OverSessionRate = Fault "over_session_rate",
    /// Video from a node that sends enough.
    OverNodeRate = Fault "over_node_rate",
    /// Video to a client for whom more waits than its link takes in a quarter of a second.
    OverPacerQueue = Expected "over_pacer_queue",
    /// From another node, but of a link that is not here: mostly the last packets of one that has ended.
    LinkUnknown = Expected "link_unknown",
    /// Not by a key of the link.
    LinkAuth = Fault "link_auth",
    /// The network made a copy of it.
    LinkReplay = Expected "link_replay",
    LinkMalformed = Fault "link_malformed",
    /// A packet that was missing came twice.
    LinkDuplicate = Expected "link_duplicate",
    /// A layer of a video that the way to another node has no room for.
    OverLinkRate = Expected "over_link_rate",
    /// Past a connection's limit of something.
    LimitReached = Fault "limit_reached",
}

/// A counter for each reason.
#[derive(Clone, Debug)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    pub fn value(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.value(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_do_in_a_quiet_call_is_no_fault() {
        for reason in [
            DropReason::RtxDuplicate,
            DropReason::RtpPadding,
            DropReason::RtpDuplicate,
            DropReason::TrackMuted,
            DropReason::UnknownAddress,
        ] {
            assert_eq!(reason.class(), DropClass::Expected, "{reason:?}");
        }
        for reason in [
            DropReason::SrtpAuth,
            DropReason::MailboxFull,
            DropReason::SendBufferFull,
        ] {
            assert_eq!(reason.class(), DropClass::Fault, "{reason:?}");
        }
    }
}
