//! Commands of the control side and mail of other workers.

use std::time::Instant;

use super::WorkerCore;
use crate::allocator::Mode;
use crate::connection::{Cause, Connection};
use crate::mail::{LayerState, Mail};
use crate::negotiated::{MAX_LAYERS, MediaKind};
use crate::router::HomeNotice;
use crate::track::{Home, Subscriber};
use crate::transport::{Transport, TransportConfig, TransportOutput};
use crate::units::{ConnectionId, Mid, TrackId, WorkerIndex};
use crate::worker_api::{OpenConnection, Renegotiate, SetSlot, WorkerCommand, WorkerEvent};

impl WorkerCore {
    pub fn handle_command(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Open(open) => self.open(now, *open),
            WorkerCommand::Renegotiate(renegotiate) => self.renegotiate(now, *renegotiate),
            WorkerCommand::RestartIce {
                connection,
                local,
                remote,
            } => {
                if let Some(&index) = self.ids.get(&connection) {
                    self.connections[index].transport.restart_ice(local, remote, now);
                    self.drain_transport(now, index);
                }
            }
            WorkerCommand::Close { connection } => {
                if let Some(&index) = self.ids.get(&connection) {
                    self.close(now, index);
                }
            }
            WorkerCommand::SetSlot(set) => self.set_slot(now, set),
            WorkerCommand::SetAudio(set) => self.on_set_audio(now, &set),
            WorkerCommand::SetMode { connection, mode } => self.set_mode(connection, mode),
            WorkerCommand::RankVoices { voices } => {
                for (order, voice) in (0u8..).zip(voices) {
                    if let Some(track) = self.router.by_id_mut(voice) {
                        track.voice_order = order;
                    }
                }
            }
            WorkerCommand::SetMuted { track, muted } => {
                if let Some(track) = self.router.by_id_mut(track) {
                    track.muted = muted;
                }
            }
            WorkerCommand::SetPlan { track, plan } => {
                if let Some(track) = self.router.by_id_mut(track) {
                    track.uplink.set_plan(now, plan);
                    // What is off may be asked for from now on.
                    track.layers_changed = true;
                    track.wants_allocation = true;
                }
            }
            WorkerCommand::OpenLink(open) => self.open_link(now, *open),
            WorkerCommand::CloseLink { link } => self.close_link(link),
            WorkerCommand::PublishRemote { link, track, kind } => self.publish_remote(link, track, kind),
            WorkerCommand::UnpublishRemote { link, track } => self.unpublish_remote(link, track),
            WorkerCommand::SetLinkSource {
                link,
                source,
                kind,
                layers,
            } => self.set_link_source(link, source, kind, layers),
            WorkerCommand::PassVoices { link, voices } => self.pass_voices(link, voices),
            WorkerCommand::TellLink { link, message } => self.tell_link(link, &message),
        }
    }

    pub fn handle_mail(&mut self, now: Instant, from: WorkerIndex, mail: Mail) {
        match mail {
            Mail::Subscribe { track } => {
                self.router.set_interest(track, from, true);
                self.mail_layers(from, track);
            }
            Mail::Unsubscribe { track } => {
                self.on_mailed_want(from, track, 0);
                self.router.set_interest(track, from, false);
            }
            Mail::Wanted { track, layers } => self.on_mailed_want(from, track, layers),
            Mail::Keyframe { track, layer } => {
                if let Some(index) = self.router.find(track) {
                    self.request_keyframe(now, index, layer);
                }
            }
            Mail::Packets { track, packets } => {
                // Late mail of a track that nobody here wants any longer is let go.
                if let Some(index) = self.router.find(track) {
                    for packet in packets {
                        self.router.route(index, packet);
                    }
                }
            }
            Mail::SenderReport { track, layer, report } => {
                if let Some(track) = self.router.by_id_mut(track)
                    && let Some(layer) = track.layers.get_mut(usize::from(layer))
                {
                    layer.report = Some(report);
                }
                self.report_to_links(track, layer, report);
            }
            Mail::Layers { track, layers, streams } => self.on_layers(now, track, &layers, streams),
        }
    }

    /// Tells another worker what is known here of a track's layers.
    pub(super) fn mail_layers(&mut self, to: WorkerIndex, track: TrackId) {
        let Some(track) = self.router.by_id(track) else { return };
        let layers = track.layers.iter().map(|layer| LayerState {
            codec: layer.codec,
            resolution: layer.resolution,
            last_packet: layer.last_packet,
            report: layer.report,
        });
        let mail = Mail::Layers {
            track: track.id,
            layers: layers.collect(),
            streams: track.uplink.streams,
        };
        self.mails.push_back((to, mail));
    }

    pub(super) fn on_layers(&mut self, now: Instant, track: TrackId, states: &[LayerState], streams: u8) {
        let Some(index) = self.router.find(track) else { return };
        if let Some(track) = self.router.track_mut(index) {
            track.uplink.streams = track.uplink.streams.max(streams.min(MAX_LAYERS as u8));
            for (layer, state) in track.layers.iter_mut().zip(states) {
                layer.codec = layer.codec.or(state.codec);
                layer.resolution = layer.resolution.or(state.resolution);
                layer.last_packet = layer.last_packet.max(state.last_packet);
                layer.report = layer.report.or(state.report);
            }
        }
        self.tell_layers(index);
        self.retarget(now, index);
    }

    fn open(&mut self, now: Instant, open: OpenConnection) {
        let config = TransportConfig {
            local: open.local_ice,
            remote: open.negotiated.remote_ice.clone(),
            remote_fingerprint: open.negotiated.remote_fingerprint.clone(),
            role: open.negotiated.dtls_role,
            certificate: self.config.certificate.clone(),
        };
        let transport = Transport::new(config, now);
        let connection = Connection::new(
            open.connection,
            transport,
            &open.negotiated,
            &open.tracks,
            self.config.ntp,
            now,
        );
        let index = self.connections.insert(connection);
        if self.deadlines.len() <= index {
            self.deadlines.resize(index + 1, None);
        }
        self.ids.insert(open.connection, index);
        self.publish_uptracks(index);
        self.drain_transport(now, index);
    }

    fn renegotiate(&mut self, now: Instant, renegotiate: Renegotiate) {
        let Some(&index) = self.ids.get(&renegotiate.connection) else {
            return;
        };
        let connection = &mut self.connections[index];
        if let Some(local) = renegotiate.local_ice {
            connection
                .transport
                .restart_ice(local, renegotiate.negotiated.remote_ice.clone(), now);
        }
        let slots_before: Vec<(Mid, Option<TrackId>)> =
            connection.slots.iter().map(|slot| (slot.mid, slot.source())).collect();
        let tracks_before: Vec<TrackId> = connection.uptracks.iter().map(|uptrack| uptrack.track).collect();
        connection.apply(&renegotiate.negotiated, &renegotiate.tracks);

        // Slots that are gone first give their source back; then the others take their new index.
        for (slot, &(mid, source)) in slots_before.iter().enumerate() {
            if let Some(source) = source
                && self.connections[index].slot(mid).is_none()
            {
                self.unsubscribe(
                    source,
                    Subscriber {
                        connection: index,
                        slot,
                    },
                );
            }
        }
        let connection = &self.connections[index];
        let mut sources: Vec<TrackId> = slots_before.iter().filter_map(|&(_, source)| source).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            self.router
                .move_slots(source, index, |slot| connection.slot(slots_before.get(slot)?.0));
        }
        for track in tracks_before {
            if !self.connections[index]
                .uptracks
                .iter()
                .any(|uptrack| uptrack.track == track)
            {
                self.router.unpublish(track, index);
            }
        }
        let connection = &mut self.connections[index];
        if let Some(adaptation) = &mut connection.sending.adaptation {
            let slots = &connection.slots;
            let place = |slot: usize| {
                slots
                    .iter()
                    .position(|new| Some(new.mid) == slots_before.get(slot).map(|old| old.0))
            };
            adaptation.move_slots(slots.len(), place);
        }
        self.publish_uptracks(index);
        self.drain_transport(now, index);
    }

    fn publish_uptracks(&mut self, index: usize) {
        self.adaptive.retain(|&adaptive| adaptive != index);
        if self.connections[index].sending.adaptation.is_some() {
            self.adaptive.push(index);
        }
        self.publishers.retain(|&publisher| publisher != index);
        let uptracks = &mut self.connections[index].uptracks;
        if !uptracks.is_empty() {
            self.publishers.push(index);
        }
        let mut told = Vec::new();
        for uptrack in uptracks {
            uptrack.route = self.router.publish(uptrack.track, uptrack.kind, index);
            let Some(track) = self.router.track_mut(uptrack.route) else {
                continue;
            };
            let streams = uptrack.layers.len() as u8;
            if track.kind == MediaKind::Video && std::mem::replace(&mut track.uplink.streams, streams) != streams {
                told.extend(track.interested_workers().map(|worker| (worker, track.id)));
            }
        }
        for (worker, track) in told {
            self.mail_layers(worker, track);
        }
    }

    fn set_slot(&mut self, now: Instant, set: SetSlot) {
        let Some(&index) = self.ids.get(&set.connection) else {
            return;
        };
        let Some(slot) = self.connections[index].slot(set.mid) else {
            return;
        };
        let subscriber = Subscriber {
            connection: index,
            slot,
        };
        let downtrack = &mut self.connections[index].slots[slot];
        let kind = downtrack.kind;
        let before = downtrack.source();
        // A slot that is not shown gets no packets, so it is no subscriber.
        let shown = set.source.filter(|_| set.height > 0 || kind == MediaKind::Audio);
        downtrack.rank = set.rank;
        downtrack.set_source(shown.map(|source| source.track), set.height);
        if let Some(before) = before
            && shown.is_none_or(|source| source.track != before)
        {
            self.unsubscribe(before, subscriber);
        }
        if let Some(source) = shown {
            let own = self.config.worker;
            if let Some(notice) = self.router.subscribe(source.track, kind, subscriber, source.home, own) {
                self.notify_home(source.track, notice);
            }
            if let Some(track) = self.router.by_id_mut(source.track) {
                track.is_relayed = source.is_relayed;
            }
            if let Some(track) = self.router.find(source.track) {
                self.retarget_one(now, track, subscriber);
            }
            self.wanting.on_change(source.track);
            self.has_news = true;
        }
        self.want_allocation(index);
    }

    fn set_mode(&mut self, connection: ConnectionId, mode: Mode) {
        let Some(&index) = self.ids.get(&connection) else {
            return;
        };
        if let Some(adaptation) = &mut self.connections[index].sending.adaptation {
            adaptation.mode = mode;
        }
        self.want_allocation(index);
    }

    fn unsubscribe(&mut self, track: TrackId, subscriber: Subscriber) {
        if let Some(notice) = self.router.unsubscribe(track, subscriber) {
            self.notify_home(track, notice);
        }
    }

    pub(super) fn notify_home(&mut self, track: TrackId, notice: HomeNotice) {
        self.mails.push_back(match notice {
            HomeNotice::Subscribe(home) => (home, Mail::Subscribe { track }),
            HomeNotice::Unsubscribe(home) => (home, Mail::Unsubscribe { track }),
        });
    }

    /// All subscribers of a track choose their layer anew.
    pub(super) fn retarget(&mut self, now: Instant, index: usize) {
        let Some(track) = self.router.track_mut(index) else {
            return;
        };
        let has_changed = std::mem::take(&mut track.wants_allocation);
        let subscribers = std::mem::take(&mut track.subscribers);
        for &subscriber in &subscribers {
            self.retarget_one(now, index, subscriber);
            if has_changed {
                self.want_allocation(subscriber.connection);
            }
        }
        if let Some(track) = self.router.track_mut(index) {
            track.subscribers = subscribers;
        }
    }

    /// The slots of a connection that is up now ask for what they wait for.
    pub(super) fn start_slots(&mut self, now: Instant, connection: usize) {
        self.want_allocation(connection);
        let slots = self
            .connections
            .get(connection)
            .map_or(0, |connection| connection.slots.len());
        for slot in 0..slots {
            let source = self.connections[connection].slots[slot].source();
            if let Some(track) = source.and_then(|source| self.router.find(source)) {
                self.retarget_one(now, track, Subscriber { connection, slot });
            }
        }
    }

    /// The client has missed what its slots show: nothing can be decoded before a key frame. Within its
    /// budget, since it may close and open streams as often as it likes.
    pub(super) fn resume_slots(&mut self, now: Instant, connection: usize) {
        let slots = self
            .connections
            .get(connection)
            .map_or(0, |connection| connection.slots.len());
        for at in 0..slots {
            let slot = &self.connections[connection].slots[at];
            if slot.kind == MediaKind::Video
                && let (Some(source), Some(layer)) = (slot.source(), slot.keyframe_layer())
                && let Some(track) = self.router.find(source)
                && !self.ask_keyframe(now, track, layer, connection, Cause::Request)
            {
                self.connections[connection].slots[at].owe_keyframe(now);
            }
        }
    }

    pub(super) fn retarget_one(&mut self, now: Instant, index: usize, subscriber: Subscriber) {
        let Some(track) = self.router.track(index) else { return };
        let slot = self
            .connections
            .get_mut(subscriber.connection)
            .filter(|connection| connection.transport.is_connected())
            .and_then(|connection| connection.slots.get_mut(subscriber.slot));
        let Some(slot) = slot else { return };
        let wanted = slot.retarget(track);
        if let Some(codec) = slot.poll_unsupported() {
            let (mid, track) = (slot.mid, track.id);
            let connection = self.connections[subscriber.connection].id;
            self.events.push_back(WorkerEvent::CodecUnsupported {
                connection,
                mid,
                track,
                codec,
            });
            return;
        }
        // Where it is refused it is tried again with the next look at the layers.
        if let Some(layer) = wanted {
            self.ask_keyframe(now, index, layer, subscriber.connection, Cause::Switch);
        } else if let Some(layer) = slot.owed_keyframe(track)
            && self.ask_keyframe(now, index, layer, subscriber.connection, Cause::Request)
            && let Some(slot) = self.connections[subscriber.connection].slots.get_mut(subscriber.slot)
        {
            slot.settle_keyframe();
        }
    }

    /// Asks for a key frame on behalf of a subscriber, within its budget. What is asked for already, by
    /// whomever, costs nothing.
    pub(super) fn ask_keyframe(
        &mut self,
        now: Instant,
        index: usize,
        layer: u8,
        subscriber: usize,
        cause: Cause,
    ) -> bool {
        let ticks = self.ticks(now);
        let Some(track) = self.router.track(index) else {
            return false;
        };
        let state = track.layers.get(usize::from(layer));
        let Some(connection) = self.connections.get_mut(subscriber) else {
            return false;
        };
        if state.is_some_and(|state| !state.keyframes.is_waiting())
            && !connection
                .keyframes
                .take(&self.ceilings.keyframe_requests, ticks, track.id, cause)
        {
            return false;
        }
        self.request_keyframe(now, index, layer);
        true
    }

    /// Passes a wish for a key frame on towards the publisher, throttled per layer.
    pub(super) fn request_keyframe(&mut self, now: Instant, index: usize, layer: u8) {
        let Some(track) = self.router.track_mut(index) else {
            return;
        };
        let Some(state) = track.layers.get_mut(usize::from(layer)) else {
            return;
        };
        if state.keyframes.request(now) {
            self.send_keyframe_request(index, layer);
        }
        // It has its next time to be looked at.
        self.has_news = true;
    }

    pub(super) fn send_keyframe_request(&mut self, index: usize, layer: u8) {
        let Some(track) = self.router.track(index) else { return };
        match track.home {
            Home::Local { connection } => {
                let Some(publisher) = self.connections.get_mut(connection) else {
                    return;
                };
                let uptrack = publisher.uptracks.iter().position(|uptrack| uptrack.track == track.id);
                if uptrack.is_some_and(|uptrack| publisher.request_keyframe(uptrack, layer)) {
                    self.counters.keyframe_requests_sent += 1;
                    self.urgent.push(connection);
                }
            }
            Home::Remote(home) => self.mails.push_back((home, Mail::Keyframe { track: track.id, layer })),
            Home::Link { link } => {
                let track = track.id;
                self.ask_keyframe_over(link, track, layer);
            }
            Home::Unknown => {}
        }
    }

    /// Forgets a connection: its tracks end, its slots are empty, its addresses are strangers again.
    pub(super) fn close(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.transport.close(now);
        while let Some(output) = connection.transport.poll_output() {
            if let TransportOutput::Transmit { path, data } = output {
                self.batch.push(path, &data);
            }
        }
        let connection = self.connections.remove(index);
        self.deadlines[index] = None;
        self.publishers.retain(|&publisher| publisher != index);
        for list in [&mut self.pacing, &mut self.probing, &mut self.adaptive] {
            list.retain(|&listed| listed != index);
        }
        self.ids.remove(&connection.id);
        for path in connection.transport.paths() {
            self.forget_path(path, index);
        }
        self.last_path = None;
        for uptrack in &connection.uptracks {
            self.router.unpublish(uptrack.track, index);
        }
        let sources: Vec<(usize, TrackId)> = connection
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, downtrack)| Some((slot, downtrack.source()?)))
            .collect();
        for (slot, source) in sources {
            self.unsubscribe(
                source,
                Subscriber {
                    connection: index,
                    slot,
                },
            );
        }
    }
}
