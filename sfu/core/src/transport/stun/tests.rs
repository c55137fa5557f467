use super::writer::Writer;
use super::*;
use crate::transport::test_util::hex;

/// RFC 5769, sections 2.1–2.3.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed41\
    80280004c8fb0b4c";
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

fn key() -> IntegrityKey {
    IntegrityKey::new(PASSWORD)
}

#[test]
fn rfc_5769_request() {
    let bytes = hex(REQUEST);
    let message = Message::parse(&bytes).expect("well-formed");
    assert_eq!(message.class, Class::Request);
    assert_eq!(message.transaction[..], hex("b7e7a701bc34d686fa87dfae"));
    assert_eq!(message.username, Some("evtj:h6vY"));
    assert_eq!(message.local_ufrag(), Some("evtj"));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(IceRole::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate);
    assert!(message.unknown.is_empty());
    assert!(message.is_authentic(&key()));
    assert!(!message.is_authentic(&IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBu")));
    assert_eq!(peek_local_ufrag(&bytes), Ok("evtj"));
}

#[test]
fn rfc_5769_responses() {
    for (text, address) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let bytes = hex(text);
        let message = Message::parse(&bytes).expect("well-formed");
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped_address, address.parse().ok());
        assert!(message.is_authentic(&key()));
        assert_eq!(peek_local_ufrag(&bytes), Err(DropReason::StunUnexpected));
    }
}

#[test]
fn a_changed_byte_is_malformed_and_a_cut_message_too() {
    let bytes = hex(REQUEST);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        // The header of FINGERPRINT may change into that of another optional attribute.
        let authentic = Message::parse(&changed).is_ok_and(|message| message.is_authentic(&key()));
        assert!(!authentic || (100..104).contains(&at), "{at}");
        assert!(Message::parse(&bytes[..at]).is_err());
        let _ = peek_local_ufrag(&bytes[..at]);
    }
}

#[test]
fn a_request_is_read_as_written() {
    let request = BindingRequest {
        transaction: [7; 12],
        username: "0000000001abcdef:x+/9",
        priority: 1_853_824_767,
        role: IceRole::Controlling(0x0102_0304_0506_0708),
        use_candidate: true,
    };
    let bytes = request.write(&key());
    let message = Message::parse(&bytes).expect("well-formed");
    assert!(message.is_authentic(&key()));
    assert_eq!(message.transaction, request.transaction);
    assert_eq!(message.username, Some(request.username));
    assert_eq!(message.priority, Some(request.priority));
    assert_eq!(message.role, Some(request.role));
    assert!(message.use_candidate);
    assert_eq!(peek_local_ufrag(&bytes), Ok("0000000001abcdef"));
}

#[test]
fn a_success_is_read_as_written_and_is_smaller_than_a_request() {
    for (address, seen) in [
        ("203.0.113.9:7", "203.0.113.9:7"),
        ("[2001:db8::9]:65535", "[2001:db8::9]:65535"),
        ("[::ffff:203.0.113.9]:50000", "203.0.113.9:50000"),
    ] {
        let bytes = binding_success([9; 12], address.parse().expect("an address"), &key());
        let message = Message::parse(&bytes).expect("well-formed");
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped_address, seen.parse().ok());
        assert!(message.is_authentic(&key()));
        assert!(bytes.len() <= 76);
    }
}

#[test]
fn an_error_is_read_as_written() {
    let bytes = binding_error([9; 12], 487, "Role Conflict", &[], &key());
    let message = Message::parse(&bytes).expect("well-formed");
    assert_eq!((message.class, message.error_code), (Class::Error, Some(487)));
    assert!(message.is_authentic(&key()));
}

#[test]
fn unknown_attributes_are_told_apart() {
    let mut writer = Writer::new(Class::Request, [1; 12]);
    writer.attribute(attribute::USERNAME, b"a:b");
    writer.attribute(0x7f00, b"must be understood");
    writer.attribute(0xc057, &[0, 1, 0, 2]);
    let bytes = writer.finish(&key());
    let message = Message::parse(&bytes).expect("well-formed");
    assert_eq!(message.unknown[..], [0x7f00]);

    let mut writer = Writer::new(Class::Request, [1; 12]);
    for kind in 0x7000..0x7010 {
        writer.attribute(kind, &[]);
    }
    let bytes = writer.finish(&key());
    assert_eq!(Message::parse(&bytes).expect("well-formed").unknown.len(), MAX_UNKNOWN);
}

#[test]
fn what_follows_message_integrity_is_ignored() {
    let mut bytes = Writer::new(Class::Request, [1; 12]).finish(&key());
    bytes.truncate(bytes.len() - 8);
    bytes.extend([0, 0x25, 0, 0]);
    let len = (bytes.len() - HEADER_LEN) as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    let message = Message::parse(&bytes).expect("well-formed");
    assert!(message.is_authentic(&key()));
    assert!(!message.use_candidate);
}

#[test]
fn malformed_messages_have_their_names() {
    let request = hex(REQUEST);
    let changed = |at: usize, value: u8| {
        let mut bytes = request.clone();
        bytes[at] = value;
        bytes
    };
    for (bytes, expected) in [
        (Vec::new(), DropReason::StunMalformed),
        (vec![0; 20], DropReason::StunMalformed),
        (changed(0, 0x40), DropReason::StunMalformed),
        (changed(1, 0x03), DropReason::StunUnexpected),
        (changed(3, 0x54), DropReason::StunMalformed),
        (changed(4, 0x22), DropReason::StunMalformed),
        (changed(23, 0x11), DropReason::StunMalformed),
        (changed(107, 0), DropReason::StunMalformed),
    ] {
        assert_eq!(Message::parse(&bytes).map(|_| ()), Err(expected), "{bytes:?}");
    }
    let mut no_username = Writer::new(Class::Request, [1; 12]);
    no_username.attribute(attribute::USE_CANDIDATE, &[]);
    assert_eq!(
        peek_local_ufrag(&no_username.finish(&key())),
        Err(DropReason::StunUnknownUser)
    );
    let mut no_colon = Writer::new(Class::Request, [1; 12]);
    no_colon.attribute(attribute::USERNAME, b"abc");
    assert_eq!(
        peek_local_ufrag(&no_colon.finish(&key())),
        Err(DropReason::StunUnknownUser)
    );
}
