//! Why a packet went no further. Every early return of the packet path names one; each is a label
//! of one exported counter.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
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
        }
    };
}

drop_reasons! {
    /// Empty, or a first byte outside RFC 7983's ranges.
    UnknownProtocol = "unknown_protocol",
    /// From an address over which no connection has had a valid STUN check.
    UnknownAddress = "unknown_address",
    StunMalformed = "stun_malformed",
    /// A USERNAME that names no connection here.
    StunUnknownUser = "stun_unknown_user",
    /// MESSAGE-INTEGRITY missing or wrong.
    StunIntegrity = "stun_integrity",
    /// Indications, and responses to no check of ours.
    StunUnexpected = "stun_unexpected",
    /// A check of one client from the address over which another one's media flows.
    PathInUse = "path_in_use",
    DtlsMalformed = "dtls_malformed",
    DtlsUnexpected = "dtls_unexpected",
    /// Media before DTLS has delivered keys.
    SrtpNoKeys = "srtp_no_keys",
    SrtpAuth = "srtp_auth",
    SrtpReplay = "srtp_replay",
    SrtpTooShort = "srtp_too_short",
    RtpMalformed = "rtp_malformed",
    RtcpMalformed = "rtcp_malformed",
    /// Neither its SSRC, mid nor rid belongs to a media section that sends.
    RtpUnknownSsrc = "rtp_unknown_ssrc",
    RtpUnknownPayloadType = "rtp_unknown_payload_type",
    RtpDuplicate = "rtp_duplicate",
    /// Only padding: a bandwidth probe.
    RtpPadding = "rtp_padding",
    RtxMalformed = "rtx_malformed",
    /// Larger than a packet buffer.
    TooLarge = "too_large",
    PoolExhausted = "pool_exhausted",
    /// The bounded queue to another worker was full.
    MailboxFull = "mailbox_full",
    /// The socket's or a TCP stream's send buffer was full.
    SendBufferFull = "send_buffer_full",
    SendFailed = "send_failed",
    TcpFraming = "tcp_framing",
    TcpTooManyStreams = "tcp_too_many_streams",
    /// A stream without a valid check gave way to another.
    TcpUnproven = "tcp_unproven",
    /// The process has no descriptor left for one more stream.
    TcpNoDescriptors = "tcp_no_descriptors",
    /// A subscriber's codec is not among those it negotiated.
    CodecNotNegotiated = "codec_not_negotiated",
    /// Past a connection's limit of something.
    LimitReached = "limit_reached",
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
