//! A server that the tool starts serves the tool alone, whose participants all come from one address: its limits are
//! those that the run needs.

use crate::target::{TargetKind, TargetOptions};

/// Beside what is counted: warm-ups, residents, and whoever has not quite left.
const OTHERS: usize = 100;

/// What a run brings to its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// All that it makes.
    pub meetings: usize,
    /// Sessions of the largest meeting at a time.
    pub per_meeting: usize,
    /// Sessions at a time.
    pub sessions: usize,
    /// Sessions of the whole run.
    pub joins: usize,
}

impl Crowd {
    /// Everybody is there at the same time.
    pub fn of_meetings(meetings: usize, per_meeting: usize) -> Self {
        let sessions = meetings * per_meeting;
        Self {
            meetings,
            per_meeting,
            sessions,
            joins: sessions,
        }
    }

    /// Settings of the server with what they must be at least.
    fn limits(&self) -> [(&'static str, usize); 9] {
        [
            ("--meeting-burst", self.meetings + OTHERS),
            ("--max-meetings", self.meetings + OTHERS),
            ("--max-participants", self.per_meeting + OTHERS),
            ("--max-sessions", self.sessions + OTHERS),
            ("--max-websockets", self.sessions + OTHERS),
            // A WebSocket each, and one or two for its REST requests.
            ("--max-connections", 3 * self.sessions + OTHERS),
            ("--max-connections-per-address", 3 * self.sessions + OTHERS),
            ("--max-waiting-websockets-per-address", self.sessions + OTHERS),
            // A token and a join each.
            ("--join-burst", 2 * self.joins + OTHERS),
        ]
    }
}

/// `target` with a server that has room for `crowd`. What the user said goes, and a running server is as it is.
pub fn fitting(target: &TargetOptions, crowd: &Crowd) -> TargetOptions {
    let mut target = target.clone();
    if target.kind != TargetKind::Tianqiao || target.url.is_some() {
        return target;
    }
    for (name, limit) in crowd.limits() {
        let is_this = |argument: &String| argument.split('=').next() == Some(name);
        if !target.server.arguments.iter().any(is_this) {
            target.server.arguments.push(format!("{name}={limit}"));
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_fit_the_run_and_what_was_said_goes() {
        let mut options = TargetOptions::default();
        options.server.arguments = vec!["--max-sessions=7".to_owned()];
        let fitted = fitting(&options, &Crowd::of_meetings(150, 520));
        let arguments = &fitted.server.arguments;
        for expected in [
            "--meeting-burst=250",
            "--max-participants=620",
            "--join-burst=156100",
            "--max-sessions=7",
        ] {
            assert!(arguments.iter().any(|argument| argument == expected), "{arguments:?}");
        }
        assert!(!arguments.iter().any(|argument| argument == "--max-sessions=78100"));
    }

    #[test]
    fn other_servers_are_as_they_are() {
        let running = TargetOptions {
            url: Some("http://127.0.0.1:1".to_owned()),
            ..Default::default()
        };
        let janus = TargetOptions {
            kind: TargetKind::Janus,
            ..Default::default()
        };
        for options in [running, janus] {
            assert!(fitting(&options, &Crowd::of_meetings(1, 2)).server.arguments.is_empty());
        }
    }
}
