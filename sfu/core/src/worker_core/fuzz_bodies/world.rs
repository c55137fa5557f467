//! The workers, what goes between them and their clients, and what must hold of it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;

use super::clients::{self, CLIENTS, Client, SECTIONS, SENDS};
use super::input::Input;
use crate::downtrack::voice::AudioFormat;
use crate::mail::{LayerState, Mail};
use crate::negotiated::Codec;
use crate::ntp::NtpClock;
use crate::packet::rtcp::{SenderInfo, write};
use crate::packet::rtp::RtpHeader;
use crate::path::{Path, TcpStreamId};
use crate::pool::{PacketInfo, PacketPool};
use crate::send_batch::SendBatch;
use crate::track::MappedReport;
use crate::transport::demux::{PacketKind, classify};
use crate::transport::stun::{BindingRequest, Class, IceRole, IntegrityKey, Message, binding_success};
use crate::transport::{Certificate, SRTP_MAX_OVERHEAD};
use crate::units::{ExtendedSeq, Ssrc, WorkerIndex};
use crate::worker_api::{Renegotiate, SetAudio, SetSlot, SlotRank, SlotSource, WorkerCommand};
use crate::worker_core::{PacketSink, WorkerConfig, WorkerCore};

static CERTIFICATE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::generate().expect("the machine has randomness"));

const PATHS: usize = 40;
/// Paths from here on are of others, who answer nothing.
const VICTIMS: usize = 8;
/// Among the first ones.
const TCP: std::ops::Range<usize> = 6..8;

pub struct World {
    workers: Vec<WorkerCore>,
    clients: Vec<Client>,
    now: Instant,
    generation: u32,
    pool: PacketPool,
    /// Bytes from and to each path of a victim.
    victims: FxHashMap<Path, (usize, usize)>,
    /// The server's latest check of each path.
    asked: FxHashMap<Path, Vec<u8>>,
    /// Media packets that clients got.
    pub forwarded: usize,
}

#[derive(Default)]
struct Sink(Vec<(Path, Vec<u8>)>);

impl PacketSink for Sink {
    fn send(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            let packets = batch.bytes(run).chunks(run.segment);
            self.0.extend(packets.map(|packet| (run.path, packet.to_vec())));
        }
    }
}

impl World {
    /// All clients are connected, each over the path of its number.
    pub fn new() -> Self {
        let now = Instant::now();
        let ntp = NtpClock::new(now, Duration::from_secs(1_700_000_000));
        let worker = |index| {
            let mut config = WorkerConfig::new(WorkerIndex(index), CERTIFICATE.clone(), ntp);
            config.batch_bytes = 16 << 10;
            WorkerCore::new(config, now)
        };
        let mut world = Self {
            workers: vec![worker(0), worker(1)],
            clients: (0..CLIENTS).map(|index| Client::new(index, 0)).collect(),
            now,
            generation: 0,
            pool: PacketPool::new(16),
            victims: FxHashMap::default(),
            asked: FxHashMap::default(),
            forwarded: 0,
        };
        for index in 0..CLIENTS {
            world.open(index);
        }
        world
    }

    fn open(&mut self, index: usize) {
        let client = &self.clients[index];
        let (worker, connection) = (client.worker, client.connection);
        let open = client.open(index);
        self.workers[worker].handle_command(self.now, WorkerCommand::Open(Box::new(open)));
        let [of_client, of_server] = clients::keys();
        let at = self.workers[worker].ids[&connection];
        let transport = &mut self.workers[worker].connections[at].transport;
        transport.assume_handshake(&of_server, &of_client);
        self.send_check(index, path(index), true);
        self.settle();
        self.give_answer(index, path(index));
        self.settle();
    }

    /// A packet of a stream that it may send, encrypted.
    pub fn rtp(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let packet = clients::rtp(client, &self.clients[client].numbers, input);
        self.send_rtp(client, packet);
    }

    /// Anything that begins as RTP does.
    pub fn raw_rtp(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let mut packet = input.bytes().to_vec();
        if let Some(first) = packet.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        self.send_rtp(client, packet);
    }

    fn send_rtp(&mut self, client: usize, mut packet: Vec<u8>) {
        let Ok(header) = RtpHeader::parse(&packet) else {
            return self.deliver(path(client), &mut packet);
        };
        let sender = &mut self.clients[client];
        let before = sender.numbers.get(&header.ssrc.0).copied();
        let seq = before.unwrap_or(ExtendedSeq(header.seq.into())).nearest(header.seq);
        if before.is_none_or(|before| seq > before) && sender.numbers.len() < 1_000 {
            sender.numbers.insert(header.ssrc.0, seq);
        }
        let len = packet.len();
        packet.resize(len + SRTP_MAX_OVERHEAD, 0);
        if let Some(len) = sender.outbound.protect_rtp(&mut packet, len, header.header_len, seq) {
            self.deliver(path(client), &mut packet[..len]);
        }
    }

    /// Feedback and reports with fields that mean something.
    pub fn rtcp(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let sender = Ssrc(clients::ssrc(client, input.index(16)));
        let media = Ssrc(clients::slot_ssrc(input.index(SECTIONS)));
        let mut buffer = [0; 1_200];
        let len = match input.u8() % 4 {
            0 => {
                let first = input.u16();
                let count = u16::from(input.u8());
                write::nack(
                    sender,
                    media,
                    (0..count).map(|step| first.wrapping_add(step)),
                    &mut buffer,
                )
            }
            1 => write::pli(sender, media, &mut buffer),
            2 => write::fir(sender, media, input.u8(), &mut buffer),
            _ => {
                let info = SenderInfo {
                    ntp: u64::from(input.u32()) << 32 | u64::from(input.u32()),
                    rtp: input.u32(),
                    packets: input.u32(),
                    octets: 0,
                };
                write::sender_report(sender, &info, &[], &mut buffer)
            }
        };
        if let Some(len) = len {
            self.send_rtcp(client, buffer[..len].to_vec());
        }
    }

    pub fn raw_rtcp(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let mut packet = input.bytes().to_vec();
        if let [first, kind, ..] = &mut packet[..] {
            *first = *first & 0x3f | 0x80;
            *kind = 192 | *kind & 0x1f;
        }
        self.send_rtcp(client, packet);
    }

    fn send_rtcp(&mut self, client: usize, mut packet: Vec<u8>) {
        let len = packet.len();
        packet.resize(len + SRTP_MAX_OVERHEAD, 0);
        if let Some(len) = self.clients[client].outbound.protect_rtcp(&mut packet, len) {
            self.deliver(path(client), &mut packet[..len]);
        }
    }

    /// A valid check of a client, from any address.
    pub fn check(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let from = path(input.index(PATHS));
        self.send_check(client, from, input.u8() & 1 == 0);
    }

    fn send_check(&mut self, client: usize, from: Path, use_candidate: bool) {
        let local = &self.clients[client].local;
        let request = BindingRequest {
            transaction: [7; 12],
            username: &format!("{}:{}", local.ufrag, clients::remote_ice().ufrag),
            priority: 1,
            role: IceRole::Controlling(1),
            use_candidate,
        };
        let mut request = request.write(&IntegrityKey::new(&local.pwd));
        let worker = self.clients[client].worker;
        self.deliver_to(worker, from, &mut request);
    }

    /// A client answers the server's check, if it is one of those that can read it.
    pub fn answer(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let path = path(input.index(VICTIMS));
        self.give_answer(client, path);
    }

    fn give_answer(&mut self, client: usize, path: Path) {
        let Some(request) = self.asked.get(&path) else { return };
        let message = Message::parse(request).expect("the server's own");
        let key = IntegrityKey::new(&clients::remote_ice().pwd);
        let mut answer = binding_success(message.transaction, path.remote(), &key);
        let worker = self.clients[client].worker;
        self.deliver_to(worker, path, &mut answer);
    }

    /// Anything, from anywhere.
    pub fn datagram(&mut self, input: &mut Input<'_>) {
        let path = path(input.index(PATHS));
        let first = input.u8();
        let mut packet = input.bytes().to_vec();
        if let Some(byte) = packet.first_mut() {
            *byte = [0, 20, 22, 23, first][usize::from(first) % 5];
        }
        self.deliver(path, &mut packet);
    }

    pub fn set_slot(&mut self, input: &mut Input<'_>) {
        let viewer = input.index(CLIENTS);
        let publisher = input.index(CLIENTS + 1);
        let section = input.index(SECTIONS);
        // The control side shows nobody themselves.
        let source = (publisher < CLIENTS && publisher != viewer).then(|| SlotSource {
            is_relayed: false,
            track: clients::track(publisher, usize::from(section == 2)),
            home: WorkerIndex(self.clients[publisher].worker as u8),
        });
        let height = input.u16();
        let set = SetSlot {
            connection: self.clients[viewer].connection,
            mid: clients::mid(section),
            source,
            height,
            rank: SlotRank {
                order: height,
                is_speaker: height & 1 > 0,
                is_screen: height & 2 > 0,
            },
        };
        self.run(viewer, WorkerCommand::SetSlot(set));
    }

    /// Any of a client's sections stay, go and change.
    pub fn renegotiate(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let (stays, flavour) = (input.u8(), input.u8());
        let shape = |section: usize| match section {
            // Slots may move to another mid of their kind.
            3.. if flavour & 64 != 0 => 3 + (section + 1) % 2,
            section => section,
        };
        let media = (0..SECTIONS)
            .filter(|section| stays >> section & 1 == 0)
            .map(|section| clients::media(client, shape(section), section, flavour));
        let negotiated = clients::negotiated(media.collect());
        let mut tracks = clients::tracks(client);
        tracks.retain(|_| flavour & 128 == 0);
        let renegotiate = Renegotiate {
            connection: self.clients[client].connection,
            local_ice: None,
            negotiated,
            tracks,
        };
        self.run(client, WorkerCommand::Renegotiate(Box::new(renegotiate)));
    }

    pub fn command(&mut self, input: &mut Input<'_>) {
        let client = input.index(CLIENTS);
        let connection = self.clients[client].connection;
        match input.u8() % 6 {
            0 => {
                let track = clients::track(client, input.index(SENDS));
                let muted = input.u8() & 1 == 0;
                self.run(client, WorkerCommand::SetMuted { track, muted });
            }
            1 => {
                let worker = WorkerIndex(self.clients[client].worker as u8);
                let local = crate::transport::ufrag::generate(worker, connection);
                self.clients[client].local = local.clone();
                let remote = clients::remote_ice();
                self.run(
                    client,
                    WorkerCommand::RestartIce {
                        connection,
                        local,
                        remote,
                    },
                );
            }
            2 => self.close(client),
            4 => {
                let format = AudioFormat {
                    redundancy: input.u8(),
                    distance: input.u8(),
                    frames_per_packet: input.u8(),
                    layer: input.u8() % 3,
                    resend: input.u8() & 1 == 0,
                };
                let mid = clients::mid(input.index(SECTIONS));
                let set = SetAudio {
                    connection,
                    mid,
                    format,
                };
                self.run(client, WorkerCommand::SetAudio(set));
            }
            3 => {
                let path = path(TCP.start + input.index(TCP.len()));
                let worker = input.index(2);
                self.workers[worker].handle_path_closed(self.now, path);
            }
            _ => self.reopen(client),
        }
    }

    fn close(&mut self, client: usize) {
        let connection = self.clients[client].connection;
        self.run(client, WorkerCommand::Close { connection });
        self.clients[client].is_open = false;
    }

    fn reopen(&mut self, client: usize) {
        if !self.clients[client].is_open && self.generation < 8 {
            self.settle();
            self.generation += 1;
            self.clients[client] = Client::new(client, self.generation);
            self.open(client);
        }
    }

    fn run(&mut self, client: usize, command: WorkerCommand) {
        let worker = self.clients[client].worker;
        self.workers[worker].handle_command(self.now, command);
    }

    /// What another worker could send, its fields as a client may have made them.
    pub fn mail(&mut self, input: &mut Input<'_>) {
        let worker = input.index(2);
        let from = WorkerIndex(1 - worker as u8);
        let client = input.index(CLIENTS);
        let track = clients::track(client, input.index(SENDS));
        let layer = input.u8();
        let at = self.now;
        let report = MappedReport { at, rtp: input.u32() };
        let mail = match input.u8() % 6 {
            0 => Mail::Subscribe { track },
            1 => Mail::Unsubscribe { track },
            2 => Mail::Keyframe { track, layer },
            3 => Mail::SenderReport { track, layer, report },
            4 => Mail::Layers {
                track,
                layers: std::iter::once(LayerState {
                    codec: None,
                    resolution: Some((input.u16(), input.u16())),
                    last_packet: Some(at),
                    report: Some(report),
                })
                .collect(),
                streams: layer,
            },
            // Packets come only from the worker of their publisher.
            _ if self.clients[client].worker == worker => return,
            _ => {
                let codec = input.choose(&[Codec::Opus, Codec::Vp8, Codec::Vp9 { profile: 0 }]);
                let seq = ExtendedSeq(u64::from(input.u16()) + (1 << 16));
                let payload = input.bytes();
                let info = PacketInfo {
                    seq,
                    timestamp: input.u32(),
                    marker: layer & 0x80 != 0,
                    codec,
                    layer: layer % 3,
                    arrival: at,
                    frame: crate::packet::payload::describe(codec, payload),
                    audio_level: None,
                    video_orientation: None,
                    recovered: layer & 0x40 != 0,
                };
                let packets: ArrayVec<_, 8> = self.pool.fill(info, payload, &[]).into_iter().collect();
                Mail::Packets { track, packets }
            }
        };
        self.workers[worker].handle_mail(self.now, from, mail);
    }

    pub fn advance(&mut self, input: &mut Input<'_>) {
        self.now += Duration::from_millis(match input.u8() {
            long @ 250.. => u64::from(long - 249) * 1_000,
            short => short.into(),
        });
        for worker in &mut self.workers {
            if worker.poll_timeout().is_some_and(|due| due <= self.now) {
                worker.handle_timeout(self.now);
            }
        }
    }

    /// Frames that redundancy brought.
    #[cfg(test)]
    pub fn recovered(&self) -> u64 {
        let counters = self.workers.iter().map(WorkerCore::counters);
        counters.map(|counters| counters.red_frames_recovered).sum()
    }

    fn deliver(&mut self, path: Path, packet: &mut [u8]) {
        for worker in 0..self.workers.len() {
            let mut copy = packet.to_vec();
            self.deliver_to(worker, path, &mut copy);
        }
    }

    fn deliver_to(&mut self, worker: usize, path: Path, packet: &mut [u8]) {
        if is_victim(path) {
            self.victims.entry(path).or_default().0 += packet.len();
        }
        self.workers[worker].handle_packet(self.now, path, packet);
    }

    /// Carries mail and sends what there is; looks at all of it.
    pub fn settle(&mut self) {
        // Mail answers mail once; what there is after that is lost.
        for round in 0..3 {
            for from in 0..self.workers.len() {
                self.workers[from].write_mail();
                while let Some((to, mail)) = self.workers[from].poll_mail() {
                    if round < 2
                        && let Some(to) = self.workers.get_mut(usize::from(to.0))
                    {
                        to.handle_mail(self.now, WorkerIndex(from as u8), mail);
                    }
                }
                let mut sink = Sink::default();
                self.workers[from].flush(self.now, &mut sink);
                for (path, packet) in sink.0 {
                    self.on_sent(from, path, packet);
                }
                while self.workers[from].poll_event().is_some() {}
            }
        }
        for worker in &mut self.workers {
            while worker.poll_mail().is_some() {}
            worker.check_bounds();
        }
        for client in &mut self.clients {
            client.is_open &= self.workers[client.worker].ids.contains_key(&client.connection);
        }
    }

    fn on_sent(&mut self, worker: usize, path: Path, mut packet: Vec<u8>) {
        if is_victim(path) {
            let (received, sent) = self.victims.entry(path).or_default();
            *sent += packet.len();
            assert!(*sent <= 3 * *received, "{sent} bytes to {path:?} for {received}");
        }
        match classify(&packet).expect("the server sends nothing else") {
            PacketKind::Stun => {
                let message = Message::parse(&packet).expect("well-formed");
                if message.class == Class::Request {
                    self.asked.insert(path, packet);
                }
            }
            PacketKind::Rtp => {
                assert!(!is_victim(path), "media to {path:?}");
                self.on_media(worker, path, &mut packet);
            }
            PacketKind::Rtcp | PacketKind::Dtls => assert!(!is_victim(path)),
        }
    }

    fn on_media(&mut self, worker: usize, path: Path, packet: &mut [u8]) {
        self.forwarded += 1;
        // Of two clients that share a path, one can read it.
        let header = RtpHeader::parse(packet).expect("well-formed");
        let Some(csrc) = header.csrcs(packet).next() else {
            assert!(packet.len() < 350, "only padding has no track");
            return;
        };
        let receivers = self.workers[worker].connections.iter();
        let readers = receivers.filter(|(_, connection)| connection.transport.media_path() == Some(path));
        let owner = clients::owner(csrc.0);
        let mut all = readers
            .map(|(_, connection)| connection.id.0 as usize % CLIENTS)
            .peekable();
        assert!(
            all.peek().is_none() || all.any(|reader| reader != owner),
            "nobody gets their own"
        );
    }
}

fn is_victim(path: Path) -> bool {
    matches!(path, Path::Udp { remote, .. } if usize::from(remote.port()) >= 1_000 + VICTIMS)
}

fn path(index: usize) -> Path {
    let remote = ([192, 0, 2, 1], 1_000 + index as u16).into();
    match index {
        index if TCP.contains(&index) => Path::Tcp {
            stream: TcpStreamId(index as u32),
            remote,
        },
        _ => Path::udp(remote),
    }
}
