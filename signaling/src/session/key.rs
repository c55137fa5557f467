//! The secret of a session as its client has it, which says where the session is: `meeting.participant.secret`, or without
//! the meeting as it was before there were several instances.

/// None of the parts has a dot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionKey<'a> {
    pub meeting: Option<&'a str>,
    pub participant: &'a str,
    pub secret: &'a str,
}

impl<'a> SessionKey<'a> {
    pub fn format(meeting: &str, participant: &str, secret: &str) -> String {
        format!("{meeting}.{participant}.{secret}")
    }

    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '.');
        let (secret, participant) = (parts.next()?, parts.next()?);
        Some(Self {
            meeting: parts.next(),
            participant,
            secret,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let key = |meeting| SessionKey {
            meeting,
            participant: "p",
            secret: "s",
        };
        assert_eq!(
            SessionKey::parse(&SessionKey::format("m", "p", "s")),
            Some(key(Some("m")))
        );
        assert_eq!(SessionKey::parse("p.s"), Some(key(None)));
        assert_eq!(SessionKey::parse("s"), None);
    }
}
