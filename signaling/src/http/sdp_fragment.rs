//! The part of a trickle fragment (RFC 8840) that an ICE-lite server reads: the credentials.

/// `a=ice-ufrag` and `a=ice-pwd` (RFC 8839, section 5.4), the first of each.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub ufrag: &'a str,
    pub pwd: &'a str,
}

/// `None`: one is missing or not an ICE credential.
pub fn credentials(fragment: &str) -> Option<Credentials<'_>> {
    let value = |name: &str| fragment.lines().find_map(|line| line.trim_end().strip_prefix(name));
    let ufrag = value("a=ice-ufrag:").filter(|text| is_ice_text(text, 4))?;
    let pwd = value("a=ice-pwd:").filter(|text| is_ice_text(text, 22))?;
    Some(Credentials { ufrag, pwd })
}

fn is_ice_text(text: &str, min: usize) -> bool {
    (min..=256).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_credentials_or_none() {
        let pwd = "P4sswordP4sswordP4sswo";
        for (fragment, expected) in [
            (format!("a=ice-ufrag:EsAw\r\na=ice-pwd:{pwd}\r\n"), Some(("EsAw", pwd))),
            (
                format!("m=audio 9 RTP/AVP 0\na=mid:0\na=ice-pwd:{pwd}\na=ice-ufrag:Es/+"),
                Some(("Es/+", pwd)),
            ),
            ("a=ice-ufrag:EsAw\r\n".to_owned(), None),
            (format!("a=ice-ufrag:abc\r\na=ice-pwd:{pwd}\r\n"), None),
            (format!("a=ice-ufrag:ab cd\r\na=ice-pwd:{pwd}\r\n"), None),
            ("a=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\n".to_owned(), None),
        ] {
            let found = credentials(&fragment).map(|found| (found.ufrag, found.pwd));
            assert_eq!(found, expected, "{fragment}");
        }
    }
}
