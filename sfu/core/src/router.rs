//! Who gets what on one worker: tracks, their local subscribers and the other workers that want
//! them. No policy and no people: the control side decides, this carries it out.

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::negotiated::MediaKind;
use crate::pool::PacketRef;
use crate::track::spatial::Spatial;
use crate::track::{Home, LinkSubscriber, Subscriber, Track};
use crate::units::{TrackId, WorkerIndex};

/// What a change of subscriptions means for the track's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeNotice {
    Subscribe(WorkerIndex),
    Unsubscribe(WorkerIndex),
}

#[derive(Debug, Default)]
pub struct Router {
    tracks: Slab<Track>,
    by_id: FxHashMap<TrackId, usize>,
    /// Tracks with packets to route in this batch.
    dirty: Vec<usize>,
}

impl Router {
    pub fn find(&self, id: TrackId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub fn track(&self, index: usize) -> Option<&Track> {
        self.tracks.get(index)
    }

    pub fn track_mut(&mut self, index: usize) -> Option<&mut Track> {
        self.tracks.get_mut(index)
    }

    pub fn by_id(&self, id: TrackId) -> Option<&Track> {
        self.tracks.get(self.find(id)?)
    }

    pub fn by_id_mut(&mut self, id: TrackId) -> Option<&mut Track> {
        self.tracks.get_mut(*self.by_id.get(&id)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Track)> {
        self.tracks.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Track)> {
        self.tracks.iter_mut()
    }

    /// All tracks have indices below it.
    pub fn slots(&self) -> usize {
        self.tracks.capacity()
    }

    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// A connection on this worker publishes the track.
    /// A client of this worker publishes it; the track's index for as long as it does.
    pub fn publish(&mut self, id: TrackId, kind: MediaKind, connection: usize) -> usize {
        let index = self.entry(id, kind);
        self.tracks[index].home = Home::Local { connection };
        index
    }

    /// The track of a packet that came over `connection`; `None` where that is no longer its publisher.
    pub fn published(&mut self, index: usize, connection: usize) -> Option<&mut Track> {
        self.tracks
            .get_mut(index)
            .filter(|track| track.home == Home::Local { connection })
    }

    /// Its publisher is gone. Subscribers stay listed until the control side takes them away.
    pub fn unpublish(&mut self, id: TrackId, connection: usize) {
        self.end(id, Home::Local { connection });
    }

    fn end(&mut self, id: TrackId, home: Home) {
        if let Some(track) = self.by_id_mut(id) {
            if track.home != home {
                return;
            }
            track.set_home(Home::Unknown);
            for layer in &mut track.layers {
                layer.ring.clear();
                layer.last_packet = None;
                layer.spatial = Spatial::default();
            }
        }
        self.forget_orphan(id);
    }

    /// Adds a local subscriber. `home` is the publisher's worker, `own` this one.
    pub fn subscribe(
        &mut self,
        id: TrackId,
        kind: MediaKind,
        subscriber: Subscriber,
        home: WorkerIndex,
        own: WorkerIndex,
    ) -> Option<HomeNotice> {
        let index = self.entry(id, kind);
        let track = &mut self.tracks[index];
        if track.subscribers.contains(&subscriber) {
            return None;
        }
        track.subscribers.push(subscriber);
        if home == own || track.home == Home::Remote(home) {
            return None;
        }
        track.set_home(Home::Remote(home));
        Some(HomeNotice::Subscribe(home))
    }

    pub fn unsubscribe(&mut self, id: TrackId, subscriber: Subscriber) -> Option<HomeNotice> {
        let track = self.by_id_mut(id)?;
        track.subscribers.retain(|existing| *existing != subscriber);
        let notice = match track.home {
            Home::Remote(home) if track.subscribers.is_empty() && track.links.is_empty() => {
                track.set_home(Home::Unknown);
                Some(HomeNotice::Unsubscribe(home))
            }
            _ => None,
        };
        self.forget_orphan(id);
        notice
    }

    /// The track comes over a link of this worker.
    pub fn publish_remote(&mut self, id: TrackId, kind: MediaKind, link: usize) -> usize {
        let index = self.entry(id, kind);
        let track = &mut self.tracks[index];
        track.set_home(Home::Link { link });
        track.is_relayed = true;
        index
    }

    /// It comes over that link no longer.
    pub fn unpublish_remote(&mut self, id: TrackId, link: usize) {
        self.end(id, Home::Link { link });
    }

    /// Another node wants these layers of a track, over a link of this worker; 0: none any longer. `home` as with
    /// [`Self::subscribe`].
    pub fn subscribe_link(
        &mut self,
        id: TrackId,
        kind: MediaKind,
        subscriber: LinkSubscriber,
        home: WorkerIndex,
        own: WorkerIndex,
    ) -> Option<HomeNotice> {
        if subscriber.layers == 0 {
            return self.unsubscribe_link(id, subscriber.link);
        }
        let index = self.entry(id, kind);
        let track = &mut self.tracks[index];
        track.links.retain(|other| other.link != subscriber.link);
        track.links.push(subscriber);
        if home == own || track.home == Home::Remote(home) {
            return None;
        }
        track.set_home(Home::Remote(home));
        Some(HomeNotice::Subscribe(home))
    }

    /// Another node wants nothing of a track any longer.
    pub fn unsubscribe_link(&mut self, id: TrackId, link: usize) -> Option<HomeNotice> {
        let track = self.by_id_mut(id)?;
        track.links.retain(|other| other.link != link);
        let notice = match track.home {
            Home::Remote(home) if track.subscribers.is_empty() && track.links.is_empty() => {
                track.set_home(Home::Unknown);
                Some(HomeNotice::Unsubscribe(home))
            }
            _ => None,
        };
        self.forget_orphan(id);
        notice
    }

    /// A connection's slots have other indices now: `moved` tells the new one of each old one.
    pub fn move_slots(&mut self, id: TrackId, connection: usize, moved: impl Fn(usize) -> Option<usize>) {
        let Some(track) = self.by_id_mut(id) else { return };
        track.subscribers.retain_mut(|subscriber| {
            if subscriber.connection != connection {
                return true;
            }
            match moved(subscriber.slot) {
                Some(slot) => subscriber.slot = slot,
                None => return false,
            }
            true
        });
    }

    /// Another worker wants the track's packets, or no longer does.
    pub fn set_interest(&mut self, id: TrackId, worker: WorkerIndex, interested: bool) {
        let bit = 1u64 << (worker.0 & 63);
        if interested {
            // The publisher may be about to arrive; the kind is corrected when it does.
            let index = self.find(id).unwrap_or_else(|| self.entry(id, MediaKind::Video));
            self.tracks[index].interested |= bit;
        } else {
            if let Some(track) = self.by_id_mut(id) {
                track.interested &= !bit;
            }
            self.forget_orphan(id);
        }
    }

    /// Queues a packet of the track for this batch.
    pub fn route(&mut self, index: usize, packet: PacketRef) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        if track.pending.is_empty() {
            self.dirty.push(index);
        }
        track.on_packet(packet);
    }

    /// Gives the queued packets that were not given before, track by track.
    pub fn take_unmailed(&mut self, mut give: impl FnMut(&Track, &[PacketRef])) {
        for &index in &self.dirty {
            let Some(track) = self.tracks.get_mut(index) else {
                continue;
            };
            give(track, track.pending.get(track.mailed..).unwrap_or_default());
            track.mailed = track.pending.len();
        }
    }

    /// The next track with queued packets; the caller takes its `pending`.
    pub fn next_dirty(&mut self) -> Option<usize> {
        self.dirty.pop()
    }

    fn entry(&mut self, id: TrackId, kind: MediaKind) -> usize {
        match self.by_id.get(&id) {
            Some(&index) => {
                let track = &mut self.tracks[index];
                if track.kind != kind && track.subscribers.is_empty() {
                    let (interested, links) = (track.interested, std::mem::take(&mut track.links));
                    *track = Track::new(id, kind, Home::Unknown);
                    (track.interested, track.links) = (interested, links);
                }
                index
            }
            None => {
                let index = self.tracks.insert(Track::new(id, kind, Home::Unknown));
                self.by_id.insert(id, index);
                index
            }
        }
    }

    fn forget_orphan(&mut self, id: TrackId) {
        if let Some(index) = self.find(id)
            && self.tracks[index].is_orphan()
        {
            self.by_id.remove(&id);
            self.tracks.remove(index);
            self.dirty.retain(|dirty| *dirty != index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: WorkerIndex = WorkerIndex(0);
    const OTHER: WorkerIndex = WorkerIndex(1);
    const TRACK: TrackId = TrackId(7);

    fn subscriber(connection: usize) -> Subscriber {
        Subscriber { connection, slot: 0 }
    }

    #[test]
    fn the_home_is_told_of_the_first_and_of_the_last_subscriber() {
        let mut router = Router::default();
        let video = MediaKind::Video;
        assert_eq!(
            router.subscribe(TRACK, video, subscriber(1), OTHER, OWN),
            Some(HomeNotice::Subscribe(OTHER))
        );
        assert_eq!(router.subscribe(TRACK, video, subscriber(2), OTHER, OWN), None);
        assert_eq!(router.subscribe(TRACK, video, subscriber(2), OTHER, OWN), None);
        assert_eq!(router.unsubscribe(TRACK, subscriber(1)), None);
        assert_eq!(
            router.unsubscribe(TRACK, subscriber(2)),
            Some(HomeNotice::Unsubscribe(OTHER))
        );
        assert!(router.is_empty());
    }

    #[test]
    fn interest_may_come_before_the_publisher_and_nothing_is_left_at_the_end() {
        let mut router = Router::default();
        router.set_interest(TRACK, OTHER, true);
        router.publish(TRACK, MediaKind::Audio, 3);
        let track = router.by_id(TRACK).expect("a track");
        assert_eq!((track.kind, track.interested), (MediaKind::Audio, 2));
        router.unpublish(TRACK, 4);
        assert_eq!(
            router.by_id(TRACK).map(|track| track.home),
            Some(Home::Local { connection: 3 })
        );
        router.unpublish(TRACK, 3);
        assert_eq!(router.len(), 1);
        router.set_interest(TRACK, OTHER, false);
        assert!(router.is_empty());
    }

    #[test]
    fn interest_changes_nothing_about_what_is_published() {
        let mut router = Router::default();
        let index = router.publish(TRACK, MediaKind::Audio, 3);
        router.set_interest(TRACK, OTHER, true);
        let track = router.published(index, 3).expect("still published");
        assert_eq!((track.kind, track.interested), (MediaKind::Audio, 2));
        assert!(router.published(index, 4).is_none());
    }

    #[test]
    fn slots_move() {
        let mut router = Router::default();
        for slot in 0..3 {
            router.subscribe(TRACK, MediaKind::Video, Subscriber { connection: 1, slot }, OWN, OWN);
        }
        router.move_slots(TRACK, 1, |slot| slot.checked_sub(1));
        let slots: Vec<_> = router
            .by_id(TRACK)
            .expect("a track")
            .subscribers
            .iter()
            .map(|s| s.slot)
            .collect();
        assert_eq!(slots, [0, 1]);
    }
}
