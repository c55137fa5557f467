//! The few facts that a participant reads from SDP itself.

use std::net::{IpAddr, SocketAddr};

/// A media section of an offer or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video` or `application`.
    pub kind: String,
    pub mid: String,
    /// `sendonly`, `recvonly`, `sendrecv` or `inactive`.
    pub direction: &'static str,
}

const DIRECTIONS: [&str; 4] = ["sendonly", "recvonly", "inactive", "sendrecv"];

/// The media sections in their order.
pub fn sections(sdp: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            let kind = media.split(' ').next().unwrap_or_default().to_owned();
            sections.push(Section {
                kind,
                mid: String::new(),
                direction: "sendrecv",
            });
        } else if let Some(section) = sections.last_mut() {
            if let Some(mid) = line.strip_prefix("a=mid:") {
                section.mid = mid.trim().to_owned();
            } else if let Some(name) = line.strip_prefix("a=")
                && let Some(direction) = DIRECTIONS.iter().find(|direction| **direction == name.trim())
            {
                section.direction = direction;
            }
        }
    }
    sections
}

/// The first UDP candidate with a literal address.
pub fn first_udp_candidate(sdp: &str) -> Option<SocketAddr> {
    sdp.lines().find_map(|line| {
        let mut fields = line.strip_prefix("a=candidate:")?.split_whitespace().skip(2);
        if !fields.next()?.eq_ignore_ascii_case("udp") {
            return None;
        }
        let mut fields = fields.skip(1);
        let ip: IpAddr = fields.next()?.parse().ok()?;
        Some(SocketAddr::new(ip, fields.next()?.parse().ok()?))
    })
}

/// With every UDP candidate at `addr` instead of where it is.
pub fn with_udp_candidate(sdp: &str, addr: SocketAddr) -> String {
    let moved = |line: &str| {
        let Some(candidate) = line.strip_prefix("a=candidate:") else {
            return line.to_owned();
        };
        let mut fields: Vec<_> = candidate.split(' ').map(str::to_owned).collect();
        if fields.len() < 6 || !fields[2].eq_ignore_ascii_case("udp") {
            return line.to_owned();
        }
        (fields[4], fields[5]) = (addr.ip().to_string(), addr.port().to_string());
        format!("a=candidate:{}", fields.join(" "))
    };
    sdp.lines().map(|line| moved(line) + "\r\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\na=sendrecv\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n\
        a=candidate:1 1 tcp 2130706431 10.0.0.1 9 typ host tcptype passive\r\n\
        a=candidate:2 1 UDP 2130706431 10.0.0.1 5004 typ host\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\n";

    #[test]
    fn sections_have_mid_and_direction() {
        let found: Vec<_> = sections(SDP)
            .into_iter()
            .map(|s| (s.kind, s.mid, s.direction))
            .collect();
        assert_eq!(
            found,
            [
                ("audio".into(), "0".into(), "sendonly"),
                ("video".into(), "v".into(), "sendrecv")
            ]
        );
    }

    #[test]
    fn the_udp_candidate_is_found() {
        assert_eq!(first_udp_candidate(SDP), Some("10.0.0.1:5004".parse().unwrap()));
        assert_eq!(first_udp_candidate("v=0"), None);
        let relayed = with_udp_candidate(SDP, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(first_udp_candidate(&relayed), Some("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(relayed.replace("127.0.0.1 9000", "10.0.0.1 5004"), SDP);
    }
}
