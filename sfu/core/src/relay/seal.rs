//! Keys of a link and their generations.

use std::fmt;
use std::time::{Duration, Instant};

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{FIRST_BYTE, HEADER_LEN, LinkId};
use crate::drop_reason::DropReason;
use crate::transport::srtp::ReplayWindow;

pub(super) const TAG_LEN: usize = 16;

/// Which numbers have come.
pub(super) type Seen = ReplayWindow<REPLAY_WORDS>;

/// Datagrams of the generation before are taken for so long after a change.
const OVERLAP: Duration = Duration::from_secs(10);
/// New keys are used for sending once the peer was heard to know them, or after that time: it has been told of them by
/// then, or it is gone.
const SEND_GRACE: Duration = Duration::from_secs(5);
/// Of the number of a generation.
const GENERATION: u8 = 0x0f;
/// Reordering that is told from replay: 4,096 datagrams.
const REPLAY_WORDS: usize = 64;

/// Far from where counting on would wrap.
const MAX_NUMBER: u64 = 1 << 60;

/// For one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey {
    pub key: [u8; 16],
    pub salt: [u8; 12],
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey")
    }
}

/// Keys of one generation. Generations count on; only the low four bits of the number count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkKeys {
    pub generation: u8,
    pub send: LinkKey,
    pub receive: LinkKey,
}

struct Cipher {
    aead: LessSafeKey,
    salt: [u8; 12],
}

impl Cipher {
    fn new(key: &LinkKey) -> Self {
        let unbound = UnboundKey::new(&AES_128_GCM, &key.key).expect("the key has AES-128's 16 bytes");
        Self {
            aead: LessSafeKey::new(unbound),
            salt: key.salt,
        }
    }

    /// As in RFC 9001, section 5.3: the number goes into the salt's end.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.salt;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

struct Generation {
    number: u8,
    send: Cipher,
    receive: Cipher,
    since: Instant,
    /// The peer was heard to know it.
    is_confirmed: bool,
}

impl Generation {
    fn new(keys: &LinkKeys, now: Instant) -> Self {
        Self {
            number: keys.generation & GENERATION,
            send: Cipher::new(&keys.send),
            receive: Cipher::new(&keys.receive),
            since: now,
            is_confirmed: false,
        }
    }
}

/// Both directions of a link.
pub(super) struct Sealer {
    link: LinkId,
    current: Generation,
    previous: Option<Generation>,
    replay: Option<Seen>,
    next: u64,
}

impl Sealer {
    pub fn new(link: LinkId, keys: &LinkKeys, now: Instant) -> Self {
        Self {
            link,
            current: Generation::new(keys, now),
            previous: None,
            replay: None,
            next: 0,
        }
    }

    /// From now on; keys of the generation that is in use already change nothing.
    pub fn rekey(&mut self, now: Instant, keys: &LinkKeys) {
        if keys.generation & GENERATION != self.current.number {
            let old = std::mem::replace(&mut self.current, Generation::new(keys, now));
            self.previous = Some(old);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now.saturating_duration_since(self.current.since) > OVERLAP {
            self.previous = None;
        }
    }

    /// The number that the next datagram gets.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Encrypts `datagram[HEADER_LEN..len]`, writes header and tag; its length. `datagram` has room for the tag.
    pub fn seal(&mut self, now: Instant, datagram: &mut [u8], len: usize) -> Option<usize> {
        let number = self.next;
        let is_ripe = self.current.is_confirmed || now.saturating_duration_since(self.current.since) >= SEND_GRACE;
        let generation = match &self.previous {
            Some(previous) if !is_ripe => previous,
            _ => &self.current,
        };
        let room = datagram.get_mut(..len + TAG_LEN)?;
        let (header, rest) = room.split_at_mut(HEADER_LEN);
        header[0] = FIRST_BYTE;
        // Which it is, and the newest that we know.
        header[1] = generation.number << 4 | self.current.number;
        header[2..10].copy_from_slice(&self.link.0.to_be_bytes());
        header[10..18].copy_from_slice(&number.to_be_bytes());
        let (body, tag_room) = rest.split_at_mut(len - HEADER_LEN);
        let nonce = generation.send.nonce(number);
        let aead = &generation.send.aead;
        let tag = aead.seal_in_place_separate_tag(nonce, Aad::from(&*header), body).ok()?;
        tag_room.copy_from_slice(tag.as_ref());
        self.next += 1;
        Some(len + TAG_LEN)
    }

    /// Authenticates and decrypts; the datagram's number and the length of header and body.
    pub fn open(&mut self, datagram: &mut [u8]) -> Result<(u64, usize), DropReason> {
        if datagram.len() < HEADER_LEN + TAG_LEN {
            return Err(DropReason::LinkMalformed);
        }
        let (header, rest) = datagram.split_at_mut(HEADER_LEN);
        let number = u64::from_be_bytes(header[10..18].try_into().expect("eight bytes"));
        if number > MAX_NUMBER {
            return Err(DropReason::LinkMalformed);
        }
        if self.replay.as_ref().is_some_and(|replay| !replay.is_new(number)) {
            return Err(DropReason::LinkReplay);
        }
        let (used, known) = (header[1] >> 4, header[1] & GENERATION);
        let is_current = used == self.current.number;
        let generation = match &mut self.previous {
            _ if is_current => &mut self.current,
            Some(previous) if previous.number == used => previous,
            _ => return Err(DropReason::LinkAuth),
        };
        let nonce = generation.receive.nonce(number);
        let aead = &generation.receive.aead;
        let body = aead.open_in_place(nonce, Aad::from(&*header), rest);
        let len = HEADER_LEN + body.map_err(|_| DropReason::LinkAuth)?.len();
        self.current.is_confirmed |= known == self.current.number;
        match &mut self.replay {
            Some(replay) => replay.insert(number),
            None => self.replay = Some(ReplayWindow::new(number)),
        }
        Ok((number, len))
    }
}
