use super::*;

#[test]
fn shipped_profiles_are_what_their_names_say() {
    for (name, rates, round_trip, loss) in [
        ("village-2g-edge", [100, 100], 300, 0.05),
        ("village-bad", [100, 100], 300, 0.2),
        ("village-3g", [384, 128], 200, 0.03),
        ("lossy-2m", [2_000, 2_000], 100, 0.2),
        ("drop-1m-300k", [1_000, 1_000], 100, 0.0),
        ("lte-moving", [5_400, 1_000], 40, 0.003),
        ("hotel-wifi", [3_000, 1_000], 80, 0.01),
        ("satellite", [5_000, 1_000], 600, 0.01),
    ] {
        let profile = Profile::shipped(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let of = |direction: &Direction| direction.rate.unwrap().0 / 1_000;
        assert_eq!([of(&profile.down), of(&profile.up)], rates, "{name}");
        assert_eq!(
            (profile.down.delay + profile.up.delay).as_millis(),
            round_trip,
            "{name}"
        );
        assert_eq!(profile.down.loss.0 + profile.down.burst_loss.0, loss, "{name}");
        assert!(
            !profile.description.is_empty() && !profile.down.queue.is_zero(),
            "{name}"
        );
    }
    assert_eq!(NAMES.len(), 8, "the table names all");
    assert!(matches!(Profile::load("none"), Err(ProfileError::Unknown(_))));
    assert!(matches!(Profile::load("none.toml"), Err(ProfileError::File(..))));
}

#[test]
fn everything_can_be_written() {
    let profile: Profile = "
        description = 'all'
        [up]
        [down]
        rate = '1.5 Mbps'
        queue = '300ms'
        delay = '50ms'
        jitter = '5ms'
        loss = '0.5%'
        burst_loss = '3 %'
        burst_length = 6
        reorder = '1%'
        reorder_by = '20ms'
        outages = [{ at = '10s', for = '2s' }]
        trace = [{ at = '5s', rate = '0bps', delay = '60ms', jitter = '1ms', loss = '2%', burst_loss = '1%' }]
        repeat = '60s'"
        .parse()
        .unwrap();
    let down = &profile.down;
    assert_eq!(down.rate, Some(BitRate(1_500_000)));
    assert_eq!((down.loss, down.burst_loss), (Share(0.005), Share(0.03)));
    assert_eq!(down.outages[0].length, Duration::from_secs(2));
    assert_eq!(down.trace[0].rate, Some(BitRate(0)));
    assert_eq!(down.repeat, Some(Duration::from_secs(60)));
    assert_eq!(profile.up.rate, None);
}

#[test]
fn nonsense_is_refused() {
    for (down, said) in [
        ("rate = 100", "invalid type"),
        ("rate = '100'", "a bit rate such as"),
        ("rate = '-1kbps'", "a bit rate such as"),
        ("rate = '1e30bps'", "a bit rate such as"),
        ("loss = '0.2'", "a share such as"),
        ("loss = '101%'", "a share such as"),
        ("loss = 'NaN%'", "a share such as"),
        ("delay = '300'", "a time such as"),
        ("delay = '25h'", "a time such as"),
        ("lose = '1%'", "unknown field"),
        ("rate = '0kbps'", "down: a rate of zero is for"),
        ("burst_loss = '1%'", "burst_length of 1"),
        ("burst_loss = '80%'\nburst_length = 2", "greater burst_length"),
        ("reorder = '1%'", "reorder_by"),
        ("trace = [{ at = '1s', rate = '1kbps' }]", "one to begin with"),
        ("trace = [{ at = '1s', burst_loss = '1%' }]", "burst_length of 1"),
        ("trace = [{ at = '1s' }, { at = '1s' }]", "order"),
        ("rate = '1kbps'\ntrace = [{ at = '1s', rate = '0bps' }]", "must end"),
        (
            "rate = '1kbps'\ntrace = [{ at = '0s', rate = '0bps' }]\nrepeat = '1s'",
            "must end",
        ),
        ("trace = [{ at = '1s' }]\nrepeat = '1s'", "before they repeat"),
        (
            "outages = [{ at = '1s', for = '1s' }]\nrepeat = '1500ms'",
            "before they repeat",
        ),
        ("repeat = '0s'", "before they repeat"),
    ] {
        let error = format!("[up]\n[down]\n{down}").parse::<Profile>().expect_err(down);
        assert!(error.to_string().contains(said), "{down}: {error}");
    }
}
