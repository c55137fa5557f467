//! Which SSRC of a client is which layer of which track.

use crate::drop_reason::DropReason;
use crate::negotiated::NegotiatedMedia;
use crate::packet::extensions::ExtensionValues;
use crate::units::{PayloadType, Ssrc};
use crate::uptrack::{PayloadKind, Uptrack};

/// SSRCs that a connection is known by at most: 16 sections of three layers with RTX are 96.
const MAX_STREAMS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub ssrc: Ssrc,
    /// Index among the connection's uptracks.
    pub uptrack: usize,
    pub layer: u8,
    pub rtx: bool,
}

#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    last: usize,
}

impl Streams {
    /// One comparison for a packet of the same stream as the one before, a short scan otherwise.
    pub fn find(&mut self, ssrc: Ssrc) -> Option<Stream> {
        if let Some(stream) = self.streams.get(self.last)
            && stream.ssrc == ssrc
        {
            return Some(*stream);
        }
        self.last = self.streams.iter().position(|stream| stream.ssrc == ssrc)?;
        Some(self.streams[self.last])
    }

    /// Binds the SSRCs that the offer declares by `a=ssrc` (non-simulcast senders).
    pub fn declare(&mut self, uptracks: &mut [Uptrack], uptrack: usize, media: &NegotiatedMedia) {
        let Some(receive) = &media.receive else { return };
        if !receive.rids.is_empty() {
            return;
        }
        if let Some(&(ssrc, rtx)) = receive.ssrcs.first() {
            let _ = self.bind(
                uptracks,
                Stream {
                    ssrc,
                    uptrack,
                    layer: 0,
                    rtx: false,
                },
            );
            if let Some(rtx) = rtx {
                let _ = self.bind(
                    uptracks,
                    Stream {
                        ssrc: rtx,
                        uptrack,
                        layer: 0,
                        rtx: true,
                    },
                );
            }
        }
    }

    /// Finds out what a new SSRC is (RFC 8843 section 9.2, RFC 8851): by mid and rid, else by a
    /// payload type that only one section has.
    pub fn learn(
        &mut self,
        uptracks: &mut [Uptrack],
        ssrc: Ssrc,
        payload_type: PayloadType,
        values: &ExtensionValues<'_>,
    ) -> Result<Stream, DropReason> {
        let candidates: arrayvec::ArrayVec<usize, 2> = uptracks
            .iter()
            .enumerate()
            .filter(|(_, uptrack)| match (values.mid, values.rid.or(values.repaired_rid)) {
                (Some(mid), _) => uptrack.mid.as_str() == mid,
                (None, Some(rid)) => uptrack.layer_of_rid(rid).is_some(),
                (None, None) => uptrack.payload_kind(payload_type).is_some() && uptrack.layers.len() == 1,
            })
            .map(|(index, _)| index)
            .take(2)
            .collect();
        let &[index] = candidates.as_slice() else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        let uptrack = &uptracks[index];
        let kind = uptrack
            .payload_kind(payload_type)
            .ok_or(DropReason::RtpUnknownPayloadType)?;
        let rtx = matches!(kind, PayloadKind::Rtx(_));
        let rid = if rtx {
            values.repaired_rid.or(values.rid)
        } else {
            values.rid
        };
        let layer = match rid {
            Some(rid) => uptrack.layer_of_rid(rid).ok_or(DropReason::RtpUnknownSsrc)?,
            None if uptrack.layers.len() == 1 => 0,
            None => return Err(DropReason::RtpUnknownSsrc),
        };
        self.bind(
            uptracks,
            Stream {
                ssrc,
                uptrack: index,
                layer,
                rtx,
            },
        )
    }

    fn bind(&mut self, uptracks: &mut [Uptrack], stream: Stream) -> Result<Stream, DropReason> {
        // A layer has one SSRC and one RTX SSRC: a new one displaces the old one.
        self.streams.retain(|old| {
            old.ssrc != stream.ssrc && (old.uptrack, old.layer, old.rtx) != (stream.uptrack, stream.layer, stream.rtx)
        });
        if self.streams.len() >= MAX_STREAMS {
            return Err(DropReason::LimitReached);
        }
        self.streams.push(stream);
        if !stream.rtx
            && let Some(uptrack) = uptracks.get_mut(stream.uptrack)
        {
            uptrack.bind(stream.layer, stream.ssrc);
        }
        Ok(stream)
    }

    #[doc(hidden)]
    pub(crate) fn check_bounds(&self, uptracks: usize) {
        assert!(self.streams.len() <= MAX_STREAMS, "{} streams", self.streams.len());
        assert!(self.streams.iter().all(|stream| stream.uptrack < uptracks));
    }

    /// Forgets the streams of uptrack `removed`; those behind it move up by one.
    pub fn remove_uptrack(&mut self, removed: usize) {
        self.streams.retain(|stream| stream.uptrack != removed);
        for stream in &mut self.streams {
            if stream.uptrack > removed {
                stream.uptrack -= 1;
            }
        }
    }
}
