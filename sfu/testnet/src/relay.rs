//! A weak link in user space: a UDP relay on loopback between clients and a server. Needs no rights.
//!
//! A client is pointed at [`Relay::addr`] instead of the server. All clients of a relay share its link; who is to
//! have a link of their own gets a relay of their own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::duplex::Way;
use crate::link::UDP_IPV4_HEADERS;
use crate::profile::Profile;
use crate::pump::{Ends, Pump, READS_AT_ONCE, Report};

/// Clients known at once; the one that has been silent the longest gives way.
const MAX_CLIENTS: usize = 64;
/// As long as a UDP datagram can be.
const MAX_DATAGRAM: usize = 65_535;

/// A running relay. It ends when this is dropped.
pub struct Relay {
    addr: SocketAddr,
    upstream: SocketAddr,
    pump: Pump<Sockets>,
}

impl Relay {
    /// Listens on a free port of loopback, in the family of `upstream`, and relays to there.
    ///
    /// # Errors
    /// Where sockets cannot be had.
    pub fn start(upstream: SocketAddr, profile: &Profile, seed: u64) -> io::Result<Self> {
        let loopback = match upstream {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let listener = UdpSocket::bind((loopback, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let sockets = Sockets {
            listener,
            upstream,
            source: None,
            clients: Vec::new(),
            heard: 0,
            next_id: 0,
            buffer: vec![0; MAX_DATAGRAM],
        };
        Ok(Self {
            addr,
            upstream,
            pump: Pump::start(sockets, profile, seed)?,
        })
    }

    /// Where clients send to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the server is.
    pub fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Kills the link for a time, from now on.
    pub fn cut(&self, length: Duration) {
        self.pump.cut(length);
    }

    /// Ends what [`Self::cut`] began.
    pub fn mend(&self) {
        self.pump.mend();
    }

    /// Goes on with another profile, whose trace begins now.
    pub fn set_profile(&self, profile: Profile) {
        self.pump.set_profile(profile);
    }

    /// From now on the server sees every client at a new port, as behind a NAT that has forgotten them; what it sends
    /// to the old ones is gone. With an address it is that one's port, such as 127.0.0.2 for a server on loopback.
    pub fn rebind(&self, source: Option<IpAddr>) {
        self.pump.change_ends(move |sockets| {
            sockets.source = source.or(sockets.source);
            sockets.rebind();
        });
    }

    /// What the link has done so far.
    pub fn report(&self) -> Report {
        self.pump.report()
    }
}

/// A client by its number, as its address may be another one's by the time a packet arrives.
type ClientId = u64;

struct Client {
    id: ClientId,
    addr: SocketAddr,
    /// Connected to the server.
    socket: UdpSocket,
    /// Count of all packets of clients when its last one came.
    last_heard: u64,
}

pub struct Datagram {
    client: ClientId,
    payload: Vec<u8>,
}

struct Sockets {
    listener: UdpSocket,
    upstream: SocketAddr,
    /// The address that the server sees; `None` is the system's choice.
    source: Option<IpAddr>,
    clients: Vec<Client>,
    heard: u64,
    next_id: ClientId,
    buffer: Vec<u8>,
}

impl Sockets {
    fn client_at(&mut self, addr: SocketAddr) -> io::Result<ClientId> {
        self.heard += 1;
        if let Some(client) = self.clients.iter_mut().find(|client| client.addr == addr) {
            client.last_heard = self.heard;
            return Ok(client.id);
        }
        if self.clients.len() == MAX_CLIENTS {
            let by_silence = |index: &usize| self.clients[*index].last_heard;
            let silent = (0..MAX_CLIENTS).min_by_key(by_silence).expect("there are clients");
            self.clients.swap_remove(silent);
        }
        let socket = self.connect()?;
        let id = self.next_id;
        self.next_id += 1;
        self.clients.push(Client {
            id,
            addr,
            socket,
            last_heard: self.heard,
        });
        Ok(id)
    }

    fn connect(&self) -> io::Result<UdpSocket> {
        let any = match self.upstream {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((self.source.unwrap_or(any), 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(self.upstream)?;
        Ok(socket)
    }

    fn rebind(&mut self) {
        for index in 0..self.clients.len() {
            match self.connect() {
                Ok(socket) => self.clients[index].socket = socket,
                Err(error) => tracing::warn!(%error, "a client stays where it is"),
            }
        }
    }
}

impl Ends for Sockets {
    type Packet = Datagram;

    fn readable(&self) -> Vec<BorrowedFd<'_>> {
        let clients = self.clients.iter().map(|client| client.socket.as_fd());
        clients.chain([self.listener.as_fd()]).collect()
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Way, usize, Datagram)) {
        for _ in 0..READS_AT_ONCE {
            let Ok((len, from)) = self.listener.recv_from(&mut self.buffer) else {
                break;
            };
            // Without a socket there is no way through, as where a NAT is full.
            let Ok(client) = self.client_at(from) else { continue };
            let payload = self.buffer[..len].to_vec();
            sink(Way::Up, len + UDP_IPV4_HEADERS, Datagram { client, payload });
        }
        for client in &self.clients {
            for _ in 0..READS_AT_ONCE {
                // An error is an ICMP answer, which the next read is rid of.
                let Ok(len) = client.socket.recv(&mut self.buffer) else {
                    break;
                };
                let payload = self.buffer[..len].to_vec();
                let client = client.id;
                sink(Way::Down, len + UDP_IPV4_HEADERS, Datagram { client, payload });
            }
        }
    }

    fn deliver(&mut self, way: Way, datagram: Datagram) -> usize {
        let Some(client) = self.clients.iter().find(|client| client.id == datagram.client) else {
            return 0;
        };
        // A full socket buffer or a dead receiver loses it, as any network would.
        let _ = match way {
            Way::Up => client.socket.send(&datagram.payload),
            Way::Down => self.listener.send_to(&datagram.payload, client.addr),
        };
        datagram.payload.len() + UDP_IPV4_HEADERS
    }
}
