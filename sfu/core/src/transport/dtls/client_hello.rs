//! Joins the fragments of a ClientHello (RFC 9147, section 5.5) into one record, for `srtp_profile` to
//! read. Browsers that offer a post-quantum key share fill more than a datagram with it.

use std::borrow::Cow;
use std::ops::Range;

const RECORD_HEADER_LEN: usize = 13;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HANDSHAKE_HEADER_LEN: usize = 12;
/// A hybrid key share has 1,216 bytes; what is far longer is not joined.
const MAX_LEN: usize = 8192;
/// Records of one datagram that are looked at.
const MAX_RECORDS: usize = 16;

/// The fragments of the latest ClientHello.
#[derive(Default)]
pub(super) struct Reassembly {
    /// Message type, length and sequence number: what fragments of one message have in common.
    id: [u8; 6],
    body: Vec<u8>,
    /// Which bytes of `body` came.
    received: Vec<bool>,
}

/// A fragment in a datagram, by its position.
struct Fragment {
    record: usize,
    /// Where in the message it belongs.
    offset: usize,
    content: Range<usize>,
}

impl Reassembly {
    /// The datagram itself, unless it is of fragments of a ClientHello: then the whole message in one
    /// record once the last fragment came, and again when the first one is repeated; else `None`.
    pub fn join<'a>(&mut self, datagram: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some((id, len, fragments)) = fragments(datagram) else {
            return Some(Cow::Borrowed(datagram));
        };
        if self.id != id || self.body.len() != len {
            self.id = id;
            self.body = vec![0; len];
            self.received = vec![false; len];
        }
        let was_whole = self.is_whole();
        let (mut last_record, mut is_repeated) = (0, false);
        for fragment in fragments {
            let place = fragment.offset..fragment.offset + fragment.content.len();
            if !was_whole {
                self.body[place.clone()].copy_from_slice(&datagram[fragment.content]);
                self.received[place].fill(true);
            }
            is_repeated |= was_whole && fragment.offset == 0;
            last_record = fragment.record;
        }
        let is_due = is_repeated || (!was_whole && self.is_whole());
        is_due.then(|| Cow::Owned(self.write(&datagram[last_record..])))
    }

    fn is_whole(&self) -> bool {
        self.received.iter().all(|received| *received)
    }

    /// One record with the number of `record`, the last that it is made of.
    fn write(&self, record: &[u8]) -> Vec<u8> {
        let mut joined = Vec::with_capacity(RECORD_HEADER_LEN + HANDSHAKE_HEADER_LEN + self.body.len());
        joined.extend(&record[..RECORD_HEADER_LEN - 2]);
        joined.extend(((HANDSHAKE_HEADER_LEN + self.body.len()) as u16).to_be_bytes());
        joined.extend(self.id);
        joined.extend([0; 3]);
        joined.extend(&self.id[1..4]);
        joined.extend(&self.body);
        joined
    }
}

/// The fragments in a datagram that holds nothing but such of one ClientHello, with the message's id and length.
fn fragments(datagram: &[u8]) -> Option<([u8; 6], usize, Vec<Fragment>)> {
    let mut fragments = Vec::new();
    let mut message = None;
    let mut record = 0;
    while record < datagram.len() && fragments.len() < MAX_RECORDS {
        let header = datagram.get(record..record + RECORD_HEADER_LEN)?;
        if header[0] != HANDSHAKE_RECORD || header[3..5] != [0, 0] {
            return None;
        }
        let start = record + RECORD_HEADER_LEN;
        let end = start + usize::from(u16::from_be_bytes([header[11], header[12]]));
        let handshake = datagram.get(start..end)?;
        let (header, content) = handshake.split_first_chunk::<HANDSHAKE_HEADER_LEN>()?;
        let (len, offset, fragment_len) = (u24(header, 1), u24(header, 6), u24(header, 9));
        let id = header[..6].try_into().expect("a slice of 6");
        let is_fragment = header[0] == CLIENT_HELLO
            && fragment_len < len
            && fragment_len == content.len()
            && offset + fragment_len <= len
            && len <= MAX_LEN;
        if !is_fragment || *message.get_or_insert((id, len)) != (id, len) {
            return None;
        }
        fragments.push(Fragment {
            record,
            offset,
            content: start + HANDSHAKE_HEADER_LEN..end,
        });
        record = end;
    }
    let (id, len) = message?;
    Some((id, len, fragments))
}

fn u24(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 16 | usize::from(bytes[at + 1]) << 8 | usize::from(bytes[at + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"a hello that is long";

    fn record(number: u8, message_seq: u8, content: Range<usize>) -> Vec<u8> {
        let len = |len: usize| (len as u32).to_be_bytes()[1..].to_vec();
        let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number];
        record.extend(((HANDSHAKE_HEADER_LEN + content.len()) as u16).to_be_bytes());
        record.push(CLIENT_HELLO);
        record.extend(len(BODY.len()));
        record.extend([0, message_seq]);
        record.extend(len(content.start));
        record.extend(len(content.len()));
        record.extend(&BODY[content]);
        record
    }

    fn whole(number: u8, message_seq: u8) -> Option<Vec<u8>> {
        Some(record(number, message_seq, 0..BODY.len()))
    }

    #[test]
    fn fragments_become_one_record() {
        let mut reassembly = Reassembly::default();
        let mut join = |datagrams: &[Vec<u8>]| reassembly.join(&datagrams.concat()).map(Cow::into_owned);
        for (datagram, expected) in [
            (vec![record(1, 0, 8..15)], None),
            (vec![record(2, 0, 0..9)], None),
            (vec![record(1, 0, 8..15)], None),
            (vec![record(3, 0, 15..20)], whole(3, 0)),
            // A retransmission is answered at its first fragment, once.
            (vec![record(4, 0, 0..9)], whole(4, 0)),
            (vec![record(5, 0, 9..20)], None),
            // The second ClientHello, in one datagram.
            (vec![record(6, 1, 0..9), record(7, 1, 9..20)], whole(7, 1)),
        ] {
            assert_eq!(join(&datagram), expected);
        }
    }

    #[test]
    fn all_else_stays() {
        let mut server_hello = record(1, 0, 0..5);
        server_hello[13] = 2;
        let mut encrypted = record(1, 0, 0..5);
        encrypted[4] = 1;
        let mut beyond_its_end = record(1, 0, 0..5);
        beyond_its_end[21] = 16;
        let mut huge = record(1, 0, 0..5);
        huge[14] = 1;
        let fragment = record(1, 0, 0..5);
        for datagram in [
            whole(1, 0).expect("is whole"),
            server_hello,
            encrypted,
            beyond_its_end,
            huge,
            [&fragment[..], &whole(2, 0).expect("is whole")].concat(),
            [&fragment[..], &record(2, 1, 0..5)].concat(),
            fragment[..20].to_vec(),
            vec![0x2f; 50],
            Vec::new(),
        ] {
            let mut reassembly = Reassembly::default();
            assert_eq!(reassembly.join(&datagram).as_deref(), Some(&datagram[..]));
            assert!(reassembly.body.is_empty());
        }
    }
}
