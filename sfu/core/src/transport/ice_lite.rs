//! The ICE-lite agent of one connection (RFC 8445, sections 2.5 and 7.3): answers checks, tells which
//! path the client nominated, and notices when consent ends (RFC 7675, seen from the other side).

use std::time::{Duration, Instant};

use super::stun::{Class, IceRole, IntegrityKey, Message, binding_error, binding_success};
use crate::drop_reason::DropReason;
use crate::negotiated::IceCredentials;
use crate::path::Path;

/// No valid check for so long ends the session: clients check every 2.5–5 s and give up after 30 s
/// themselves (RFC 7675, section 5.1).
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(25);
/// The same for a session that never got a valid check, and from an ICE restart on, which a client
/// asks for when its path may long be dead.
pub const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// A selected path that got no check with USE-CANDIDATE for so long gives way to a repeated
/// nomination elsewhere. Above the 2.5 s at which libwebrtc checks the pair that it uses.
const NOMINATION_LIFETIME: Duration = Duration::from_secs(4);
/// Paths that are remembered; of more, the one checked longest ago is forgotten.
const MAX_PATHS: usize = 16;

/// What came of a STUN packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// To be sent to where the packet came from.
    pub response: Vec<u8>,
    /// It was a valid check; else `response` is an error.
    pub is_valid: bool,
    /// The selected path is another now.
    pub selected: Option<Path>,
}

pub struct IceLite {
    current: Credentials,
    /// Those before a restart, until the first check with the current ones.
    previous: Option<Credentials>,
    /// At most [`MAX_PATHS`].
    paths: Vec<CheckedPath>,
    selected: Option<Selected>,
    last_check: Option<Instant>,
    /// When the session or its last ICE restart began.
    started: Instant,
}

struct Credentials {
    ufrag: String,
    key: IntegrityKey,
}

impl Credentials {
    fn new(local: IceCredentials) -> Self {
        Self {
            key: IntegrityKey::new(&local.pwd),
            ufrag: local.ufrag,
        }
    }
}

/// A path on which a valid check came.
struct CheckedPath {
    path: Path,
    last_check: Instant,
    /// The last check had USE-CANDIDATE.
    nominated: bool,
}

#[derive(Clone, Copy)]
struct Selected {
    path: Path,
    /// When the last check with USE-CANDIDATE came; `None` for a path that is used before any was
    /// nominated (RFC 8445, section 12.1, lets both sides send on any valid pair).
    nominated: Option<Instant>,
}

impl IceLite {
    pub fn new(local: IceCredentials, now: Instant) -> Self {
        Self {
            current: Credentials::new(local),
            previous: None,
            paths: Vec::new(),
            selected: None,
            last_check: None,
            started: now,
        }
    }

    /// The path to send on: the nominated one, before that any with a valid check.
    pub fn selected(&self) -> Option<Path> {
        Some(self.selected?.path)
    }

    /// A valid check came on `path` and it was not forgotten since.
    pub fn is_valid(&self, path: Path) -> bool {
        self.paths.iter().any(|known| known.path == path)
    }

    /// A valid check ever came.
    pub fn is_checked(&self) -> bool {
        self.last_check.is_some()
    }

    /// When the session ends unless a valid check comes before.
    pub fn deadline(&self) -> Instant {
        let first = self.started + FIRST_CHECK_TIMEOUT;
        self.last_check.map_or(first, |last| first.max(last + CONSENT_TIMEOUT))
    }

    /// New local credentials (RFC 8445, section 9). The old ones and the selected path stay until
    /// checks with the new ones come.
    pub fn restart(&mut self, local: IceCredentials, now: Instant) {
        self.started = now;
        self.previous = Some(std::mem::replace(&mut self.current, Credentials::new(local)));
    }

    /// Handles a STUN packet.
    ///
    /// # Errors
    /// Why it was dropped: nothing that lacks a valid MESSAGE-INTEGRITY is answered.
    pub fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Result<Answer, DropReason> {
        let message = Message::parse(packet)?;
        if message.class != Class::Request {
            return Err(DropReason::StunUnexpected);
        }
        let ufrag = message.local_ufrag().ok_or(DropReason::StunUnknownUser)?;
        let is_current = ufrag == self.current.ufrag;
        let credentials = if is_current {
            &self.current
        } else {
            let previous = self.previous.as_ref().filter(|previous| previous.ufrag == ufrag);
            previous.ok_or(DropReason::StunUnknownUser)?
        };
        if !message.is_authentic(&credentials.key) {
            return Err(DropReason::StunIntegrity);
        }
        if let Some(response) = refusal(&message, &credentials.key) {
            return Ok(Answer {
                response,
                is_valid: false,
                selected: None,
            });
        }
        let response = binding_success(message.transaction, path.remote(), &credentials.key);
        if is_current && self.previous.take().is_some() {
            self.forget_nominations();
        }
        let before = self.selected();
        self.on_check(now, path, message.use_candidate);
        let selected = self.selected().filter(|&selected| Some(selected) != before);
        Ok(Answer {
            response,
            is_valid: true,
            selected,
        })
    }

    /// The client sends its DTLS handshake on `path`: before any nomination that is where it is
    /// answered. The path selected by this, if it is another now.
    pub fn on_dtls(&mut self, path: Path) -> Option<Path> {
        let provisional = self.selected.is_none_or(|selected| selected.nominated.is_none());
        if !provisional || !self.is_valid(path) || self.selected() == Some(path) {
            return None;
        }
        self.selected = Some(Selected { path, nominated: None });
        Some(path)
    }

    /// Forgets a path whose TCP stream ended. The path that is used from then on in its place, if any.
    pub fn on_path_closed(&mut self, path: Path) -> Option<Path> {
        self.paths.retain(|known| known.path != path);
        if self.selected() != Some(path) {
            return None;
        }
        let latest = self.paths.iter().max_by_key(|known| known.last_check);
        self.selected = latest.map(|latest| Selected {
            path: latest.path,
            nominated: None,
        });
        self.selected()
    }

    /// Nominations of the generation before an ICE restart say nothing about this one.
    fn forget_nominations(&mut self) {
        for known in &mut self.paths {
            known.nominated = false;
        }
        if let Some(selected) = &mut self.selected {
            selected.nominated = None;
        }
    }

    fn on_check(&mut self, now: Instant, path: Path, use_candidate: bool) {
        self.last_check = Some(now);
        let known = self.remember(now, path);
        if !use_candidate {
            known.nominated = false;
            self.selected.get_or_insert(Selected { path, nominated: None });
            return;
        }
        let repeated = known.nominated;
        if self.is_displaced_by(now, path, repeated) {
            self.remember(now, path).nominated = true;
            self.selected = Some(Selected {
                path,
                nominated: Some(now),
            });
        }
    }

    /// Does a check with USE-CANDIDATE on `path` make it the selected one? Of several nominations the
    /// latest counts. But a client that nominates aggressively (RFC 5245) repeats USE-CANDIDATE on
    /// every pair, so a repeated one does not move us while the selected path has its own, and
    /// neither does TCP in place of UDP.
    fn is_displaced_by(&self, now: Instant, path: Path, repeated: bool) -> bool {
        let Some(Selected {
            path: selected,
            nominated: Some(nominated),
        }) = self.selected
        else {
            return true;
        };
        let is_fresh = now.saturating_duration_since(nominated) < NOMINATION_LIFETIME;
        let to_tcp = matches!((selected, path), (Path::Udp { .. }, Path::Tcp { .. }));
        selected == path || !is_fresh || !(repeated || to_tcp)
    }

    fn remember(&mut self, now: Instant, path: Path) -> &mut CheckedPath {
        let at = self.paths.iter().position(|known| known.path == path);
        let at = at.unwrap_or_else(|| {
            self.make_room();
            self.paths.push(CheckedPath {
                path,
                last_check: now,
                nominated: false,
            });
            self.paths.len() - 1
        });
        self.paths[at].last_check = now;
        &mut self.paths[at]
    }

    fn make_room(&mut self) {
        if self.paths.len() < MAX_PATHS {
            return;
        }
        let selected = self.selected();
        let others = self
            .paths
            .iter()
            .enumerate()
            .filter(|(_, known)| Some(known.path) != selected);
        if let Some((oldest, _)) = others.min_by_key(|(_, known)| known.last_check) {
            self.paths.swap_remove(oldest);
        }
    }
}

/// The error response to an authentic request that is no valid check.
fn refusal(message: &Message, key: &IntegrityKey) -> Option<Vec<u8>> {
    if !message.unknown.is_empty() {
        let response = binding_error(message.transaction, 420, "Unknown Attribute", &message.unknown, key);
        return Some(response);
    }
    // RFC 8445, section 7.3.1.1: a lite agent is always the controlled one, whatever the tie-breakers.
    if let Some(IceRole::Controlled(_)) = message.role {
        return Some(binding_error(message.transaction, 487, "Role Conflict", &[], key));
    }
    None
}

#[cfg(test)]
mod tests;
