use super::*;

const PROFILES: [Profile; 3] = [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

fn pair(profile: Profile) -> (Outbound, Inbound) {
    let key: Vec<u8> = (1..).take(profile.key_len()).collect();
    let salt: Vec<u8> = (101..).take(profile.salt_len()).collect();
    let master = MasterKey::new(profile, &key, &salt).expect("lengths fit");
    (Outbound::new(&master), Inbound::new(&master))
}

/// A packet with one CSRC, an extension of one word and 50 bytes of payload.
fn rtp(ssrc: u32, seq: ExtendedSeq) -> (Vec<u8>, usize) {
    let mut packet = vec![0x91, 96];
    packet.extend(seq.truncate().to_be_bytes());
    packet.extend(90_000_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
    let header_len = packet.len();
    packet.extend((0..50).map(|i| i ^ seq.0 as u8));
    (packet, header_len)
}

fn protect(outbound: &mut Outbound, ssrc: u32, seq: u64) -> Vec<u8> {
    let (mut packet, header_len) = rtp(ssrc, ExtendedSeq(seq));
    let len = packet.len();
    packet.resize(len + SRTP_MAX_OVERHEAD, 0);
    let protected = outbound.protect_rtp(&mut packet, len, header_len, ExtendedSeq(seq));
    packet.truncate(protected.expect("room is there"));
    packet
}

fn unprotect(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = packet.to_vec();
    let len = inbound.unprotect_rtp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

#[test]
fn rtp_comes_back_once() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for (ssrc, seq) in [
            (1, 10),
            (1, 12),
            (2, 500),
            (1, 11),
            (3, 65_535),
            (3, 65_536),
            (3, 65_534),
        ] {
            let packet = protect(&mut outbound, ssrc, seq);
            assert_eq!(packet.len(), rtp(ssrc, ExtendedSeq(seq)).0.len() + profile.tag_len());
            assert_eq!(unprotect(&mut inbound, &packet), Ok(rtp(ssrc, ExtendedSeq(seq)).0));
            assert_eq!(unprotect(&mut inbound, &packet), Err(DropReason::SrtpReplay));
        }
    }
}

#[test]
fn the_rollover_counter_follows_over_many_wraps() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for step in 0..40 {
            let seq = 60_000 + step * 20_000;
            let packet = protect(&mut outbound, 7, seq);
            assert_eq!(
                unprotect(&mut inbound, &packet),
                Ok(rtp(7, ExtendedSeq(seq)).0),
                "{seq}"
            );
            let late = protect(&mut outbound, 7, seq - 900);
            assert!(unprotect(&mut inbound, &late).is_ok());
            let too_late = protect(&mut outbound, 7, seq - 2_000);
            assert_eq!(unprotect(&mut inbound, &too_late), Err(DropReason::SrtpReplay));
        }
    }
}

#[test]
fn any_changed_byte_is_found_out_and_leaves_no_state() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = protect(&mut outbound, 1, 1000);
        for at in 0..packet.len() {
            let mut forged = packet.clone();
            forged[at] ^= 0x04;
            let error = unprotect(&mut inbound, &forged).expect_err("forged");
            assert!(
                matches!(
                    error,
                    DropReason::SrtpAuth | DropReason::SrtpTooShort | DropReason::RtpMalformed
                ),
                "{at}: {error:?}"
            );
        }
        for len in 0..packet.len() {
            assert!(unprotect(&mut inbound, &packet[..len]).is_err());
        }
        assert!(inbound.rtp.window(Ssrc(1)).is_none());
        assert!(unprotect(&mut inbound, &packet).is_ok());
    }
}

#[test]
fn rtcp_comes_back_once() {
    let mut plain = vec![0x80, 201, 0, 1];
    plain.extend(77_u32.to_be_bytes());
    let minimal = plain.clone();
    plain.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for plain in [&minimal, &plain, &plain] {
            let mut packet = plain.clone();
            packet.resize(plain.len() + SRTP_MAX_OVERHEAD, 0);
            let len = outbound.protect_rtcp(&mut packet, plain.len()).expect("room is there");
            packet.truncate(len);
            for at in 0..packet.len() {
                let mut forged = packet.clone();
                forged[at] ^= 0x40;
                assert!(inbound.unprotect_rtcp(&mut forged).is_err(), "{at}");
                assert!(inbound.unprotect_rtcp(&mut packet[..at].to_vec()).is_err());
            }
            let mut copy = packet.clone();
            let len = inbound.unprotect_rtcp(&mut packet).expect("authentic");
            assert_eq!(packet[..len], plain[..]);
            assert_eq!(inbound.unprotect_rtcp(&mut copy), Err(DropReason::SrtpReplay));
        }
    }
}

#[test]
fn what_does_not_fit_is_not_protected() {
    for profile in PROFILES {
        let (mut outbound, _) = pair(profile);
        let (mut packet, header_len) = rtp(1, ExtendedSeq(5));
        let len = packet.len();
        assert_eq!(outbound.protect_rtp(&mut packet, len, header_len, ExtendedSeq(5)), None);
        packet.resize(len + SRTP_MAX_OVERHEAD, 0);
        assert_eq!(outbound.protect_rtp(&mut packet, len, len + 1, ExtendedSeq(5)), None);
        assert_eq!(outbound.protect_rtp(&mut packet, len, 11, ExtendedSeq(5)), None);
        assert_eq!(outbound.protect_rtcp(&mut packet, 7), None);
        assert_eq!(outbound.protect_rtcp(&mut packet[..20], 20), None);
    }
}

#[test]
fn exported_keys_are_split_in_order() {
    let material: Vec<u8> = (0..56).collect();
    let keys = ExportedKeys::parse(Profile::AeadAes128Gcm, &material).expect("56 bytes");
    assert_eq!(keys.client.key[..], material[..16]);
    assert_eq!(keys.server.key[..], material[16..32]);
    assert_eq!(keys.client.salt[..], material[32..44]);
    assert_eq!(keys.server.salt[..], material[44..]);
    for (profile, len) in [(Profile::AeadAes128Gcm, 57), (Profile::AeadAes256Gcm, 56)] {
        assert!(ExportedKeys::parse(profile, &vec![0; len]).is_none());
    }
}

/// `cargo test --release -p tianqiao-sfu-core srtp_packet -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn time_of_an_srtp_packet() {
    const ROUNDS: u32 = 100_000;
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let (mut packet, header_len) = rtp(1, ExtendedSeq(0));
        packet.resize(1100, 0);
        packet.resize(1100 + SRTP_MAX_OVERHEAD, 0);
        let (mut protect, mut unprotect) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        for seq in 0..u64::from(ROUNDS) {
            packet[2..4].copy_from_slice(&ExtendedSeq(seq).truncate().to_be_bytes());
            let start = std::time::Instant::now();
            let len = outbound.protect_rtp(&mut packet, 1100, header_len, ExtendedSeq(seq));
            let sealed = std::time::Instant::now();
            let len = inbound.unprotect_rtp(&mut packet[..len.expect("room")]);
            unprotect += sealed.elapsed();
            protect += sealed - start;
            assert_eq!(len, Ok(1100));
        }
        println!(
            "{profile:?}: protect {:?}, unprotect {:?}",
            protect / ROUNDS,
            unprotect / ROUNDS
        );
    }
}
