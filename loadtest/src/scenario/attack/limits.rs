//! Limits of a server with no settings of its own: what an attack may reach at most follows from them.

macro_rules! limits {
    ($($name:ident = $value:literal, $setting:literal = $default:literal;)*) => {
        $(#[doc = concat!("Setting `", $setting, "`.")]
        pub const $name: f64 = $value;)*

        /// Settings and their defaults, as docs/configuration.md writes them.
        #[cfg(test)]
        const DEFAULTS: &[(&str, &str)] = &[$(($setting, $default)),*];
    };
}

limits! {
    VIDEO_KBPS = 8000.0, "max-video-bitrate" = "8Mbps";
    RETRANSMISSION = 0.5, "retransmission-percent" = "50";
    KEYFRAME_SECONDS = 3.0, "keyframe-request-interval" = "3s";
    LOOKUP_MISSES = 30.0, "lookup-misses" = "30";
    PASSCODES_OF_ALL = 120.0, "passcode-attempts-all" = "120";
    CHAT_PAGE_BYTES = 65536.0, "chat-page-size" = "64KiB";
}

/// Slots of one session that a source may be in.
pub const SLOTS_OF_SOURCE: f64 = 2.0;
/// Beside a share of what is sent, this much may be sent again.
pub const RETRANSMISSION_KBPS: f64 = 1000.0;
/// Requests for key frames that are passed on at once.
pub const KEYFRAMES_AT_ONCE: f64 = 4.0;

/// How many of `per_minute` there may be in `seconds`, as many at once included, and the one that is due just then.
pub fn within(per_minute: f64, seconds: f64) -> f64 {
    per_minute * (1.0 + seconds / 60.0) + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_defaults() {
        let page = include_str!("../../../../docs/configuration.md");
        for (setting, default) in DEFAULTS {
            let row = format!("| `{setting}` | `{default}` |");
            assert!(page.contains(&row), "{setting} is no longer {default}");
        }
    }

    #[test]
    fn a_minute_has_what_comes_at_once_and_what_comes_in_it() {
        assert_eq!(within(30.0, 0.0), 31.0);
        assert_eq!(within(30.0, 60.0), 61.0);
    }
}
