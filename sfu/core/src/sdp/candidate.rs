use std::fmt::Write;
use std::net::SocketAddr;

/// A host candidate of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub protocol: Protocol,
    pub addr: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    /// The server listens, the client connects (RFC 6544).
    TcpPassive,
}

impl Protocol {
    /// Type and local preference in the place they have in a priority (RFC 8445, section 5.1.2.1).
    fn preference(self) -> u32 {
        match self {
            Self::Udp => 126 << 24 | 0xffff << 8,
            // Any UDP candidate is better than TCP; of TCP's local preference the upper three bits are
            // the direction, 4 for passive (RFC 6544, section 4.2).
            Self::TcpPassive => 90 << 24 | (4 << 13 | 0x1fff) << 8,
        }
    }
}

/// Writes `a=candidate` lines, the first of a protocol as the most preferred, and
/// `a=end-of-candidates`.
pub(super) fn write_candidates(out: &mut String, candidates: &[Candidate]) {
    for (index, candidate) in (0..0x1fff).zip(candidates) {
        let Candidate { protocol, addr } = candidate;
        // Component 1 takes 256 − 1 of the lowest byte; RTCP is multiplexed onto it.
        let priority = protocol.preference() - (index << 8) + 255;
        let (transport, suffix) = match protocol {
            Protocol::Udp => ("udp", ""),
            Protocol::TcpPassive => ("tcp", " tcptype passive"),
        };
        let _ = write!(
            out,
            "a=candidate:{} 1 {transport} {priority} {} {} typ host{suffix}\r\n",
            index + 1,
            addr.ip(),
            addr.port()
        );
    }
    out.push_str("a=end-of-candidates\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_is_preferred_to_tcp_and_each_protocol_in_the_order_given() {
        let mut out = String::new();
        write_candidates(
            &mut out,
            &[
                Candidate {
                    protocol: Protocol::TcpPassive,
                    addr: ([192, 0, 2, 1], 5000).into(),
                },
                Candidate {
                    protocol: Protocol::Udp,
                    addr: ([192, 0, 2, 1], 5000).into(),
                },
                Candidate {
                    protocol: Protocol::Udp,
                    addr: "[2001:db8::1]:5001".parse().unwrap(),
                },
            ],
        );
        assert_eq!(
            out,
            "a=candidate:1 1 tcp 1520435199 192.0.2.1 5000 typ host tcptype passive\r\n\
             a=candidate:2 1 udp 2130706175 192.0.2.1 5000 typ host\r\n\
             a=candidate:3 1 udp 2130705919 2001:db8::1 5001 typ host\r\n\
             a=end-of-candidates\r\n"
        );
    }
}
