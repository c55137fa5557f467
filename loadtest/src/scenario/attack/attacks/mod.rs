//! The attacks: a function each, and a line in the list.

mod chat;
mod codes;
mod garbage;
mod labels;
mod media;
mod offers;
mod operators;
mod passcodes;
mod quotas;
mod redirect;
mod sockets;
mod voices;
mod words;

use super::Attack;
use super::honest::Judged;

macro_rules! attacks {
    ($($name:literal, $run:path, $judged:ident, $short:literal, $about:literal;)*) => {
        &[$(Attack {
            name: $name,
            about: $about,
            judged: Judged::$judged,
            in_short: $short,
            run: |ctx| Box::pin($run(ctx)),
        }),*]
    };
}

/// Name, function, what the honest must receive whole, whether the short run has it, what it is.
pub const ALL: &[Attack] = attacks! {
    "offers-join", offers::join, All, true, "Joins with the dearest offers; their senders hang up at once.";
    "offers-whip", offers::whip, All, false, "The same offers over WHIP and WHEP.";
    "offers-again", offers::again, All, false, "The same offers in running sessions.";
    "methods", labels::methods, All, true, "Invented HTTP methods of four kilobytes.";
    "paths", labels::paths, All, false, "Invented paths, long ones too.";
    "mids", labels::mids, All, true, "Sessions whose offers bring ever new mids.";
    "idle-connections", sockets::idle, All, true, "HTTP connections that go silent: after a request, in a head, in a body, in HTTP/2.";
    "slow-readers", sockets::slow_readers, All, false, "Requests whose answers nobody reads.";
    "ice-tcp", sockets::ice_tcp, All, true, "TCP media connections that say nothing, half a frame, or an unknown name.";
    "silent-websockets", sockets::silent_websockets, All, true, "WebSockets that never join.";
    "unfinished-messages", sockets::unfinished_messages, All, true, "WebSockets with a message that never ends.";
    "many-meetings", quotas::meetings, All, true, "Meetings as fast as all addresses get them.";
    "whep-sessions", quotas::whep, All, true, "Viewers of the honest meeting by one token, without media.";
    "ghosts", quotas::ghosts, All, false, "Sessions of many tokens in many meetings, without media.";
    "wrong-passcodes", passcodes::wrong, All, true, "Wrong passcodes at the honest meeting from all addresses.";
    "own-passcodes", passcodes::own, All, true, "Wrong passcodes at meetings of the attackers' own.";
    "codes", codes::guess, All, true, "Guesses of meeting codes.";
    "chat", chat::flood, All, true, "Members who send compressed chat as fast as they may.";
    "pings", chat::pings, All, false, "Members who ping, on both levels.";
    "resumes", chat::resumes, All, true, "A member who resumes again and again.";
    "slow-members", chat::slow_readers, All, false, "Members who chat and read nothing.";
    "redirect", redirect::redirect, All, true, "A member's check in the name of somebody else, for the media to go there.";
    "same-slots", media::same_slots, All, false, "One picture in sixty slots of a member.";
    "publisher-flood", media::publisher_flood, All, true, "A member who publishes hundreds of Mbit/s.";
    "nacks", media::nacks, All, true, "A member who asks for the same packets again and again.";
    "plis", media::plis, All, false, "A member who asks for key frames a thousand times a second.";
    "viewports", media::viewports, All, false, "A member whose layout never rests.";
    "loud-silence", voices::loud_silence, OneVoice, true, "Five members who claim to shout and send silence.";
    "foul-words", words::foul_words, All, true, "Names, titles and chat with characters that turn or hide.";
    "metrics", operators::metrics, All, true, "Metrics asked for by strangers.";
    "readyz", operators::readyz, All, false, "Health checks as fast as they go.";
    "foreign-hosts", operators::foreign_hosts, All, true, "Host and Origin of somebody else, as in DNS rebinding.";
    "garbage-udp", garbage::udp, All, true, "Noise, half packets, STUN of strangers and DTLS without a check at the media ports.";
    "rapid-reset", garbage::rapid_reset, All, false, "HTTP/2 streams that are reset at once (CVE-2023-44487).";
    "bombs", garbage::bombs, All, true, "Frames that inflate without end, and JSON as deep as it goes.";
};
