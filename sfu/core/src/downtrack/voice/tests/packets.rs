//! What single packets are made of.

use super::*;

fn bundles(frames_per_packet: u8, redundancy: u8) -> AudioFormat {
    AudioFormat {
        frames_per_packet,
        redundancy,
        ..AudioFormat::default()
    }
}

/// `packet` with other values besides its payload.
fn altered(packet: &PacketRef, alter: impl FnOnce(&mut PacketInfo)) -> PacketRef {
    let mut info = ***packet;
    alter(&mut info);
    PacketPool::new(0).fill(info, packet.payload(), &[]).expect("fits")
}

/// Which sound each of a packet's frames is.
fn sounds(datagram: &[u8]) -> Vec<u32> {
    read(datagram).frames.iter().map(|(_, frame)| at(frame)).collect()
}

#[test]
fn without_red_in_the_answer_each_frame_goes_by_itself() {
    let epoch = Instant::now();
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(false, bundles(3, 3)));
    for frame in 0..10 {
        let datagram = slot.forward(&speaker.packet(epoch, frame * 20)).expect("goes at once");
        assert_eq!(read(&datagram).payload_type, OPUS);
        assert_eq!(sounds(&datagram), [frame * 20]);
    }
}

#[test]
fn a_talk_that_ends_does_not_wait_for_more() {
    let epoch = Instant::now();
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, bundles(3, 0)));
    let mut seqs = Vec::new();
    // Two frames and the packet that says that silence follows.
    assert!(slot.forward(&speaker.packet(epoch, 0)).is_none());
    assert!(slot.forward(&speaker.packet(epoch, 20)).is_none());
    let datagram = slot.forward(&speaker.packet_of(epoch, 40, 1)).expect("goes at once");
    let end = read(&datagram);
    seqs.push(end.seq);
    assert_eq!(
        end.frames.iter().map(|(_, frame)| frame.len()).collect::<Vec<_>>(),
        [60, 60, 1]
    );
    // In the pause a packet every 400 ms, alone.
    for pause in 1..4 {
        let datagram = slot
            .forward(&speaker.packet_of(epoch, 40 + pause * 400, 2))
            .expect("at once");
        let quiet = read(&datagram);
        assert_eq!((quiet.frames.len(), quiet.payload_type), (1, OPUS));
        seqs.push(quiet.seq);
    }
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "{seqs:?}"
    );
}

#[test]
fn frames_whose_next_one_does_not_come_go_without_it() {
    let epoch = Instant::now();
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, bundles(3, 0)));
    let mut sent = Vec::new();
    for talk in 0..3 {
        let begin = talk * 1_000;
        assert!(slot.forward(&speaker.packet(epoch, begin)).is_none());
        assert!(slot.forward(&speaker.packet(epoch, begin + 20)).is_none());
        let due = slot.downtrack.voice_due().expect("they wait");
        assert_eq!(due, epoch + MS * (begin + 20 + 60 + 20));
        assert!(slot.flush(due - MS).is_none());
        let datagram = slot.flush(due).expect("due");
        assert_eq!(sounds(&datagram), [begin, begin + 20]);
        assert!(slot.downtrack.voice_due().is_none() && slot.flush(due + MS * 100).is_none());
        sent.push(read(&datagram).seq);
    }
    assert!(
        sent.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "{sent:?}"
    );
}

#[test]
fn a_bundle_has_the_marker_and_the_loudest_level_of_its_frames() {
    let epoch = Instant::now();
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, bundles(3, 1)));
    let mut send = |at, marker, level| {
        let packet = altered(&speaker.packet(epoch, at), |info| {
            info.marker = marker;
            info.audio_level = Some(level);
        });
        slot.forward(&packet).map(|datagram| read(&datagram))
    };
    send(0, true, 40);
    send(20, false, 0x80 | 20);
    let first = send(40, false, 60).expect("a bundle");
    assert_eq!((first.marker, first.audio_level), (true, Some(0x80 | 20)));
    send(60, false, 50);
    send(80, false, 50);
    // What is repeated counts no more.
    let second = send(100, false, 70).expect("a bundle");
    assert_eq!((second.marker, second.audio_level), (false, Some(50)));
    assert_eq!(second.frames.len(), 6);
}

#[test]
fn what_a_publisher_s_redundancy_brought_rides_with_the_next_and_late_packets_fill_their_gap() {
    let epoch = Instant::now();
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, redundancy(1)));
    let packets: Vec<_> = (0..8).map(|frame| speaker.packet(epoch, frame * 20)).collect();
    let first = read(&slot.forward(&packets[0]).expect("goes"));
    let recovered = altered(&packets[1], |info| info.recovered = true);
    assert!(slot.forward(&recovered).is_none());
    let next = slot.forward(&packets[2]).expect("goes");
    assert_eq!(sounds(&next), [0, 20, 40]);
    assert_eq!(read(&next).seq, first.seq.wrapping_add(1));
    // Of 3 and 4 the second comes first.
    let fourth = slot.forward(&packets[4]).expect("goes");
    assert_eq!(read(&fourth).seq, first.seq.wrapping_add(3));
    let third = read(&slot.forward(&packets[3]).expect("late"));
    assert_eq!((third.seq, third.payload_type), (first.seq.wrapping_add(2), OPUS));
    assert_eq!(sounds(&slot.forward(&packets[5]).expect("goes")), [80, 100]);
    // To a subscriber without RED it goes by itself.
    let mut plain = Slot::new(false, redundancy(1));
    plain.forward(&packets[0]);
    assert!(plain.forward(&recovered).is_some());
}

fn redundancy(redundancy: u8) -> AudioFormat {
    bundles(1, redundancy)
}

#[test]
fn red_reaches_no_further_than_its_fields_and_a_packet_no_further_than_an_mtu() {
    let epoch = Instant::now();
    // 341 ms back, and no more.
    let far = AudioFormat {
        redundancy: 3,
        distance: 5,
        frames_per_packet: 2,
        ..AudioFormat::default()
    };
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, far));
    let last = (0..60)
        .filter_map(|frame| slot.forward(&speaker.packet(epoch, frame * 20)))
        .last();
    assert_eq!(sounds(&last.expect("sent")), [960, 980, 1_160, 1_180]);

    // 510 kbit/s: no redundancy rather than a packet that would be cut into pieces.
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, bundles(3, 3)));
    for frame in 0..10 {
        let datagram = slot
            .forward(&speaker.packet_of(epoch, frame * 20, 1_275))
            .expect("at once");
        assert_eq!(sounds(&datagram), [frame * 20]);
    }
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, redundancy(3)));
    let last = (0..10)
        .filter_map(|frame| slot.forward(&speaker.packet_of(epoch, frame * 20, 400)))
        .last();
    assert_eq!(sounds(&last.expect("sent")), [160, 180]);
}

#[test]
fn a_format_may_change_at_any_packet_and_back() {
    let epoch = Instant::now();
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, AudioFormat::default()));
    let mut listener = Listener::default();
    let mut seqs = Vec::new();
    let formats = [
        AudioFormat::default(),
        redundancy(2),
        bundles(3, 1),
        bundles(2, 0),
        AudioFormat::default(),
        bundles(3, 3),
    ];
    for frame in 0..300 {
        if frame % 10 == 0 {
            slot.downtrack.set_audio(formats[frame as usize / 10 % formats.len()]);
        }
        if let Some(datagram) = slot.forward(&speaker.packet(epoch, frame * 20)) {
            seqs.push(read(&datagram).seq);
            listener.receive(&datagram);
        }
    }
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "{seqs:?}"
    );
    assert!(listener.frames.len() >= 298, "{} frames", listener.frames.len());
    slot.downtrack.set_audio(AudioFormat::default());
    slot.forward(&speaker.packet(epoch, 6_000));
    slot.downtrack.set_audio(AudioFormat::default());
    assert!(!slot.downtrack.has_voice(), "the common way again");
}

#[test]
fn only_what_is_written_the_same_again_is_remembered_and_the_rest_is_kept_whole() {
    let epoch = Instant::now();
    let format = AudioFormat {
        resend: true,
        ..bundles(2, 2)
    };
    let (mut speaker, mut slot) = (Speaker::full(), Slot::new(true, format));
    let sent: Vec<_> = (0..40)
        .filter_map(|frame| slot.forward(&speaker.packet(epoch, frame * 20)))
        .collect();
    let now = epoch + MS * 1_000;
    for datagram in &sent {
        let seq = read(datagram).seq;
        assert!(
            slot.downtrack.retransmit(now, seq, MS).is_none(),
            "would be another packet"
        );
        let resend = slot
            .downtrack
            .resend_audio(now, seq, MS * 50)
            .map(|resend| resend.datagram);
        assert_eq!(resend, Some(&datagram[..]));
        assert_eq!(slot.downtrack.resend_audio(now, seq, MS * 50), None, "just sent");
    }
    let mut slot = Slot::new(true, redundancy(2));
    let first = read(&slot.forward(&speaker.packet(epoch, 900)).expect("goes"));
    assert_eq!(first.payload_type, OPUS);
    let sent = slot.downtrack.retransmit(now, first.seq, MS).expect("as it came");
    assert_eq!(sent.source.0, speaker.seq);
    assert_eq!(slot.downtrack.resend_audio(now, first.seq, MS), None, "not asked for");
}
