//! The list of settings.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tianqiao_protocol::media::CameraCodec;

use super::{BitRate, ByteSize, ConfigError, CreateMeetings, Layer, LogFormat, ScalabilityMode, Setting, Value, parse};

macro_rules! settings {
    ($($section:literal { $($help:literal $name:ident: $type:ty = $default:literal;)* })*) => {
        /// What the server was told; see docs/configuration.md for every field.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $help] pub $name: $type,)*)*
        }

        pub const SETTINGS: &[Setting] = &[
            $($(Setting {
                name: stringify!($name),
                help: $help,
                default: $default,
                section: $section,
                kind: <$type as Value>::KIND,
            },)*)*
        ];

        impl Config {
            pub(super) fn from_layer(layer: &Layer) -> Result<Self, ConfigError> {
                let mut settings = SETTINGS.iter();
                Ok(Self {
                    $($($name: parse(layer, settings.next().expect("a setting for each field"))?,)*)*
                })
            }
        }
    };
}

settings! {
    "HTTP" {
        "Address and port of the web page, REST, WebSocket, WHIP and WHEP. Plain HTTP on loopback; any other address needs tls-cert, or gets a self-signed certificate. Port 0 takes a free one."
        listen: SocketAddr = "127.0.0.1:8080";
        "Certificate chain in a PEM file."
        tls_cert: Option<PathBuf> = "";
        "Private key of tls-cert in a PEM file."
        tls_key: Option<PathBuf> = "";
        "Plain HTTP on any address, for a server behind a proxy that speaks TLS: browsers give no camera to plain HTTP."
        plain_http: bool = "false";
        "Origin under which people reach the server, such as https://meet.example.org, for join links. Without it links take the host that a request names."
        public_url: Option<String> = "";
        "Folder for the token secret and the self-signed certificate; created readable by its owner only."
        data_dir: PathBuf = "data";
        "Networks of the proxies in front, such as 10.0.0.0/8 or an IP address; repeatable. From them, and from nobody else, a client's address is taken from X-Forwarded-For: the last entry that is not itself one of them. Their connections count for no address."
        trusted_proxies: Vec<IpNet> = "";
        "Address and port of /metrics, /healthz and /readyz in plain HTTP; empty: none. Port 0 takes a free one. If the default is taken, a free port serves instead."
        metrics_listen: Option<SocketAddr> = "127.0.0.1:9464";
        "In a fleet: address and port for the other signaling instances, in plain HTTP, which must reach nobody else. Port 0 takes a free one."
        internal_listen: SocketAddr = "127.0.0.1:0";
        "In a fleet: URL under which the other signaling instances reach internal-listen, such as http://10.0.0.7:8081; empty: its address."
        internal_url: Option<String> = "";
        "Host names under which the server is reached, besides localhost, IP addresses and that of public-url; repeatable. In plain HTTP others are refused, which stops a strange page that points its own name at this server (DNS rebinding)."
        allowed_hosts: Vec<String> = "";
        "Origins of other pages, such as https://app.example.org, that may use REST and WebSocket; repeatable. WHIP and WHEP are open to all origins."
        allowed_origins: Vec<String> = "";
        "With tls-cert, browsers are told to come by HTTPS only for this time (HSTS); 0s: they are not told."
        hsts_max_age: Duration = "30d";
        "A TLS handshake must be done within this time."
        tls_handshake_timeout: Duration = "10s";
        "The header of a request must come within this time of the connection or of its first byte."
        header_timeout: Duration = "10s";
        "The body of a request must come within this time of its header."
        body_timeout: Duration = "30s";
        "A connection on which no request runs is closed after this time."
        idle_timeout: Duration = "60s";
        "A request must be read, answered, and its answer taken by the client within this time."
        request_timeout: Duration = "2m";
    }
    "Media" {
        "An IP address that clients are told to send media to; repeatable, in a list separated by commas. Without it the addresses of this machine."
        media_addr: Vec<IpAddr> = "";
        "First UDP and TCP port of media; worker i takes the port i above it. 0 takes free ones."
        media_port: u16 = "10000";
        "Local IP address at which media is received; none: all of them."
        media_bind: Option<IpAddr> = "";
        "Worker threads that carry media; 0: one per core."
        workers: usize = "0";
        "Keep each worker on a core of its own, if there are as many workers as cores that the server may use."
        pin_workers: bool = "true";
        "Codec in which pages send their cameras: vp8 or h264 as a stream for each size (simulcast), vp9 or av1 as one stream with layers (SVC). A browser that cannot sends VP8; one that cannot decode it sees no picture."
        camera_codec: CameraCodec = "vp8";
        "Layers of a camera in vp9 or av1, by their name in WebRTC-SVC (W3C): up to three sizes and three rates of pictures, from L1T1 to L3T3 and L3T3_KEY."
        camera_scalability: ScalabilityMode = "L3T3_KEY";
    }
    "Logging" {
        "Which log lines go to standard error: error, warn, info, debug or trace, also per module as in info,tianqiao=debug."
        log: String = "info";
        "text, or json: one object per line."
        log_format: LogFormat = "text";
    }
    "Meetings" {
        "Meetings that exist at a time."
        max_meetings: usize = "10000";
        "Participants of one meeting at a time, WHIP and WHEP included."
        max_participants: usize = "500";
        "A meeting without participants is forgotten after this time."
        meeting_ttl: Duration = "24h";
        "A join token is valid for this time."
        token_ttl: Duration = "12h";
        "Longest chat message, in characters."
        max_chat_length: usize = "2000";
        "Chat lines that are kept of a meeting; older ones are forgotten."
        chat_history: usize = "500";
        "While many join and leave, the participants list is sent at most once in this time."
        roster_interval: Duration = "200ms";
        "Who may make meetings: anyone, or token: whoever shows an API key (see api-keys-file)."
        create_meetings: CreateMeetings = "anyone";
        "File of API keys, one a line: a name, a space, and the SHA-256 of the key in hexadecimal. A meeting made with a key never makes room for one made without."
        api_keys_file: Option<PathBuf> = "";
        "Meetings made from one IP address in which nobody has been yet. Past it the oldest of them is forgotten."
        unused_meetings_per_address: usize = "100";
        "When there is no space for another meeting, one in which nobody has been yet is forgotten: the oldest of the address with the most of them, and where no address has two, the oldest of all if it is older than this."
        unused_meeting_grace: Duration = "5m";
        "Chat that is kept of a meeting, in bytes."
        chat_history_size: ByteSize = "128KiB";
        "Chat that a newcomer is shown at once, and that one request for earlier chat brings, in bytes."
        chat_page_size: ByteSize = "64KiB";
    }
    "Sessions" {
        "The first message of a WebSocket must come within this time."
        join_timeout: Duration = "10s";
        "A session without a WebSocket goes on for this time, as long as its media lives. In an outage nobody sees that the WebSocket is lost before dead-after."
        resume_window: Duration = "25s";
        "The server pings a WebSocket this often."
        ping_interval: Duration = "10s";
        "A WebSocket is taken for dead if for this time nothing comes in, not even a pong, and nothing that waits to be sent is taken."
        dead_after: Duration = "25s";
        "Messages that wait for a slow WebSocket before it is cut; its client resumes. Past half of it the WebSocket loses chat, which its client can ask for."
        max_waiting_messages: usize = "256";
        "Bytes of messages that wait for a slow WebSocket before it is cut, counted as its messages are."
        max_waiting_size: ByteSize = "1MiB";
        "Sessions of one join token at a time."
        max_sessions_per_identity: usize = "4";
        "Sessions of one IP address at a time whose media has not connected yet, beside as many as connected from there in the last minutes. Past it the oldest of them ends."
        unconnected_per_address: usize = "100";
        "A session whose media has not connected for this time makes room for another when there is none left."
        unconnected_grace: Duration = "5s";
        "Share of max-sessions and max-websockets, in percent, that is kept for those who come back to a meeting."
        reserve_percent: u32 = "5";
    }
    "Limits" {
        "Media sessions that are open at a time, in all meetings together."
        max_sessions: usize = "5000";
        "WebSockets that are open at a time."
        max_websockets: u32 = "20000";
        "Largest WebSocket message, also once inflated."
        max_message_size: ByteSize = "160KiB";
        "Largest SDP offer."
        max_sdp_size: ByteSize = "128KiB";
        "Tracks that one participant may publish at a time."
        max_tracks: usize = "8";
        "Media sections on which one participant may receive (slots), audio included."
        max_slots: usize = "64";
        "WebSocket messages per second of one join token, on average."
        message_rate: u32 = "20";
        "WebSocket messages of one join token at once."
        message_burst: u32 = "100";
        "Joins, resumes and tokens per second of one IP address, on average."
        join_rate: u32 = "100";
        "Joins, resumes and tokens of one IP address at once."
        join_burst: u32 = "1000";
        "New meetings per minute of one IP address, on average."
        meeting_rate: u32 = "60";
        "New meetings of one IP address at once."
        meeting_burst: u32 = "100";
        "Wrong passcodes per minute of one IP address at one meeting that are tested for nothing; as many at once. Further tries need a proof of work."
        passcode_attempts: u32 = "6";
        "Wrong passcodes per minute at one meeting from all addresses together that are tested for nothing; as many at once."
        passcode_attempts_all: u32 = "120";
        "Codes of no meeting per minute of one IP address that are looked up for nothing; as many at once. Further look-ups need a proof of work."
        lookup_misses: u32 = "30";
        "Zero bits of the first proofs of work: a proof takes 2 to the power of it hashes. Each doubling of the wrong tries adds one."
        proof_bits: u32 = "16";
        "Zero bits of the hardest proof of work."
        max_proof_bits: u32 = "22";
        "Bytes of WebSocket messages per second of one join token, once inflated, on average."
        message_bytes_rate: ByteSize = "32KiB";
        "Bytes of WebSocket messages of one join token at once."
        message_bytes_burst: ByteSize = "512KiB";
        "Bytes of chat per second of one meeting, on average; one participant has a quarter of it."
        chat_rate: ByteSize = "16KiB";
        "Bytes of chat of one meeting at once; one participant has a quarter of it."
        chat_burst: ByteSize = "128KiB";
        "HTTP connections that are open at a time, WebSockets included; fewer where the limit of open files asks for it. When all are taken, the oldest idle one is closed for a newcomer."
        max_connections: usize = "24000";
        "HTTP connections of one IP address (IPv6: /56) that are idle, send a request or have not joined; the oldest idle one is closed for a further one. Joined WebSockets do not count."
        max_connections_per_address: usize = "1024";
        "WebSockets of one IP address (IPv6: /56) before they join; the oldest is closed for a further one."
        max_waiting_websockets_per_address: usize = "600";
        "Media connections over TCP that one worker (a core) has open at a time. Those over which no client has shown who it is give way first, the oldest of them."
        max_tcp_streams: usize = "4096";
        "Of them, those of one IPv4 address or IPv6 /64: as many people as may sit behind one address and cannot use UDP."
        max_tcp_streams_per_address: usize = "1024";
        "Of them, those over which no client has shown who it is yet, which takes a round trip. An IPv6 /56 may have four times as many."
        max_unproven_tcp_streams_per_address: usize = "64";
        "A media connection over TCP on which no client shows who it is within this time is closed."
        tcp_grace: Duration = "10s";
        "Lines of an SDP offer."
        max_sdp_lines: usize = "20000";
        "Bytes of one line of an SDP offer."
        max_sdp_line: ByteSize = "4KiB";
        "Media sections (m-lines) of an SDP offer, the stopped ones included."
        max_sdp_sections: usize = "128";
        "Attributes (a= lines) of one section of an SDP offer, or of the session."
        max_sdp_attributes: usize = "512";
        "Codecs of one section of an SDP offer: payload types, and a=rtpmap and a=fmtp lines."
        max_sdp_codecs: usize = "128";
        "Header extensions (a=extmap lines) of one section of an SDP offer, or of the session."
        max_sdp_extensions: usize = "64";
        "Simulcast layers (a=rid lines, and alternatives in a=simulcast) of one section of an SDP offer."
        max_sdp_rids: usize = "16";
        "a=ssrc lines of one section of an SDP offer, and as many a=ssrc-group lines."
        max_sdp_ssrcs: usize = "64";
        "ICE candidates of one section of an SDP offer."
        max_sdp_candidates: usize = "128";
        "SDP offers that are read at the same time; 0: half as many as there are cores."
        sdp_parsers: usize = "0";
        "SDP offers that wait to be read, in bytes. Addresses take turns; when it is full, the newest offer of the address with most bytes is refused."
        max_waiting_sdp: ByteSize = "128MiB";
        "The same of one IPv4 address, or of the /56 of an IPv6 address."
        max_waiting_sdp_per_address: ByteSize = "32MiB";
    }
    "Fleet" {
        "NATS servers of the fleet, such as nats://user:password@host:4222 or tls://host:4222; repeatable. Needed by `signaling`, `sfu` and the operator's commands."
        bus: Vec<String> = "";
        "File of credentials for NATS: a .creds file of a user, or an nkey seed."
        bus_credentials: Option<PathBuf> = "";
        "PEM file of the certificate authority of the NATS servers, in place of the system's."
        bus_ca: Option<PathBuf> = "";
        "Begins the names of all subjects and buckets; fleets that share a NATS have each their own."
        bus_prefix: String = "tianqiao";
        "Copies of each entry in the key-value store: as many as NATS servers, up to 3 or 5."
        bus_replicas: usize = "1";
        "Name of this media server in the fleet, the same over restarts; made up of the host's name and a random number without it."
        node: String = "";
        "File with the operator's token, one line: with it as bearer token /drain and the operator's lists may be asked for. Without it they may be asked for by whoever reaches metrics-listen, if that is a loopback address, and by nobody else."
        operator_token_file: Option<PathBuf> = "";
    }
    "Placement" {
        "Region of this process, any name. Sessions go to media servers of the same region as long as those have places."
        region: String = "";
        "Load of a media server in percent of its capacity (the worst of sessions, outgoing bit rate and working time) from which on its meetings take another one as well, and it gives sessions away."
        node_soft_load: u32 = "70";
        "Load of a media server in percent from which on it takes nothing more; busy ones still do where there is no other."
        node_hard_load: u32 = "90";
        "Sessions of one meeting on one media server before the meeting takes another; 0: as many as fit."
        room_node_sessions: u32 = "0";
        "Links that one media server has to others for one meeting; with more media servers some pass on what others send."
        relay_fan_out: usize = "8";
        "Keys of links between media servers are replaced this often."
        relay_key_rotation: Duration = "1h";
        "Sessions per second that are moved away from a media server that drains."
        drain_rate: u32 = "20";
        "WHIP and WHEP sessions, which cannot be moved, end when their media server has drained for this time."
        drain_grace: Duration = "10m";
        "Sessions per minute that are moved away from a media server that is too full."
        rebalance_rate: u32 = "60";
    }
    "Still pictures" {
        "Largest still picture, which the page of a presenter sends in place of video that somebody's link does not carry."
        max_still_size: ByteSize = "40KiB";
        "Tracks of one meeting of which stills are kept at a time, the latest of each."
        max_still_tracks: usize = "8";
        "Stills of one track per minute, on average; a fifth of them at once."
        still_rate: u32 = "20";
        "Bit rate at which a still goes to a participant at most; less where the link has less beside voices. One goes at a time."
        still_bitrate: BitRate = "200kbps";
    }
    "Speech" {
        "Ask speakers for a second, low voice while somebody behind a weak link listens."
        low_voices: bool = "true";
        "How many earlier frames a packet of voice repeats at most, 0 to 3, on links that lose much."
        voice_redundancy: u32 = "3";
    }
    "Rates" {
        "Bit rate of each simulcast layer of a camera. What is above it is dropped until the next key frame. As with all rates here a second's worth may come at once, and 0 is no limit."
        max_video_bitrate: BitRate = "8Mbps";
        "Bit rate of each layer of a shared screen."
        max_screen_bitrate: BitRate = "20Mbps";
        "Bit rate of an audio track."
        max_audio_bitrate: BitRate = "512kbps";
        "Bit rate of all that one participant publishes; far above it packets are dropped without being decrypted."
        max_publisher_bitrate: BitRate = "25Mbps";
        "Bit rate of the feedback (RTCP) of one participant."
        max_feedback_bitrate: BitRate = "2Mbps";
        "Bit rate of all media that one participant is sent; above it pictures are left out, sound never."
        max_session_bitrate: BitRate = "100Mbps";
        "Bit rate of all media that the server sends, shared evenly by its workers; above it pictures are left out, sound never."
        max_node_bitrate: BitRate = "0";
        "A participant's requests for key frames are passed on to each publisher four at once, and then one in this time."
        keyframe_request_interval: Duration = "3s";
        "What a participant may have sent again in a second, in percent of what it was sent in the one before; 1 Mbps comes on top."
        retransmission_percent: u32 = "50";
        "Takes congestion control feedback by RFC 8888 (`ack ccfb`) from clients that offer it, in place of transport-wide numbers in each packet. Explicit congestion notification is not looked at."
        rfc8888: bool = "false";
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_layer(&Layer::new()).expect("every default parses, as a test shows")
    }
}
