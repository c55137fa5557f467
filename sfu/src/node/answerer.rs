//! Answers offers for the sessions of this node.

use std::net::{IpAddr, SocketAddr};

use tianqiao_protocol::control::SfuError;
use tianqiao_sfu_core::negotiated::{Fingerprint, Negotiated};
use tianqiao_sfu_core::rooms::Seat;
use tianqiao_sfu_core::sdp::{self, AnswerParams, Answered, Candidate, CodecPreferences, Offer, Protocol};
use tianqiao_sfu_core::units::{Mid, WorkerIndex};

use super::convert;

pub struct Answerer {
    fingerprint: Fingerprint,
    /// Per worker.
    candidates: Vec<Vec<Candidate>>,
    codecs: CodecPreferences,
    rfc8888: bool,
}

impl Answerer {
    /// `ports` are those of the workers, UDP and TCP alike; each is announced on every address.
    pub fn new(fingerprint: Fingerprint, addrs: &[IpAddr], ports: &[u16], codecs: CodecPreferences) -> Self {
        let of_port = |&port: &u16| {
            let both = [Protocol::Udp, Protocol::TcpPassive];
            let candidates = both.into_iter().flat_map(|protocol| {
                let candidate = move |&addr: &IpAddr| Candidate {
                    protocol,
                    addr: SocketAddr::new(addr, port),
                };
                addrs.iter().map(candidate)
            });
            candidates.collect()
        };
        Self {
            fingerprint,
            candidates: ports.iter().map(of_port).collect(),
            codecs,
            rfc8888: false,
        }
    }

    /// Agrees to feedback by RFC 8888 where a client offers it, or does not.
    pub fn with_rfc8888(self, rfc8888: bool) -> Self {
        Self { rfc8888, ..self }
    }

    /// `low_voices` are sections on which the client sends a second, low voice.
    pub fn answer(
        &self,
        offer: &Offer,
        seat: &Seat,
        version: u64,
        previous: Option<&Negotiated>,
        low_voices: &[Mid],
    ) -> Result<Answered, SfuError> {
        let params = AnswerParams {
            local_ice: &seat.local_ice,
            fingerprint: &self.fingerprint,
            candidates: self.candidates(seat.worker),
            session_id: seat.sdp_session_id,
            version,
            first_ssrc: seat.first_ssrc,
            preferences: &self.codecs,
            low_voices,
            rfc8888: self.rfc8888,
        };
        sdp::answer(offer, &params, previous).map_err(convert::sdp_error)
    }

    /// The reply to an ICE restart by a trickle fragment.
    pub fn fragment(&self, seat: &Seat, negotiated: &Negotiated) -> String {
        sdp::fragment::write(&seat.local_ice, self.candidates(seat.worker), negotiated)
    }

    /// Where a worker receives datagrams.
    pub fn udp_addresses(&self, worker: WorkerIndex) -> Vec<SocketAddr> {
        let udp = |candidate: &&Candidate| candidate.protocol == Protocol::Udp;
        let candidates = self.candidates(worker).iter().filter(udp);
        candidates.map(|candidate| candidate.addr).collect()
    }

    fn candidates(&self, worker: WorkerIndex) -> &[Candidate] {
        self.candidates.get(usize::from(worker.0)).map_or(&[], Vec::as_slice)
    }
}
