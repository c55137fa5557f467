//! Voices: how many are heard, in which layer and with how much redundancy, so that what is heard is
//! understood. They come before all video.

use std::time::{Duration, Instant};

use super::arithmetic::{plus, times};
use super::gate::Gate;
use super::redundancy::{HeldLoss, LossModel};
use super::share::MARGIN;
use super::{AudioDemand, LayerState, Link, Mode, Voice, VoiceLayer, VoiceRate};
use crate::units::Bitrate;

/// Headers and tag of a packet: IPv4, UDP, RTP with a CSRC and header extensions, SRTP's tag.
const OVERHEAD_BYTES: u64 = 72;

/// What a silent voice takes with DTX: a packet of a few bytes every 400 ms (RFC 6716, section 2.1.9).
const SILENCE: Bitrate = Bitrate(1_600);

/// Frames are bundled into packets this far apart: as far as those of a low layer, Opus' longest frame.
const BUNDLE_TIME: Duration = Duration::from_millis(60);

/// A packet must not be split on its way; RED ends a block at 1,023 bytes besides (RFC 2198).
const MOST_PAYLOAD_BYTES: u64 = 1_100;

/// As long as there is video to show, voices as they were published may take this share; beyond it thrifty ones
/// leave room for a picture.
const FULL_SHARE: f64 = 0.2;

/// On a link below this at most [`WEAK_VOICES`] are heard: a third that breaks in would break the other two.
const WEAK_LINK: Bitrate = Bitrate(200_000);
const NO_LONGER_WEAK: Bitrate = Bitrate(300_000);
const WEAK_VOICES: usize = 2;

/// Each change of the level is heard, and may have the speaker's page start or stop a stream.
const HOLD: Duration = Duration::from_secs(5);

/// Who is not heard any more, or is again, in the middle of a word: a dip of the estimate, which mostly drains a queue, is
/// waited out, as long as what is sent takes no more than this times it.
const DIP: Duration = Duration::from_millis(1_500);
const MOST_IN_DIP: f64 = 1.3;
const HOLD_VOICES: Duration = Duration::from_millis(1_500);
const VOICES_GATE: Gate = Gate::new(Duration::from_secs(1), Duration::from_secs(8));

/// Redundancy that made a queue is tried again soon: what is lost meanwhile is heard, the change is not.
const REDUNDANCY_GATE: Gate = Gate::new(Duration::from_millis(300), Duration::from_secs(1));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Full,
    /// The low layer, or else bundled frames.
    Thrifty,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    style: Style,
    voices: usize,
    /// Share of the frames that may stay lost.
    residual: f64,
    /// Only for who is sent again what is lost.
    needs_resends: bool,
}

const fn thrifty(voices: usize, residual: f64) -> Level {
    Level {
        style: Style::Thrifty,
        voices,
        residual,
        needs_resends: false,
    }
}

/// From the best to what is sent whatever the link. A second voice that has gaps is worth more than one voice
/// alone without: who asks something must be heard.
const LEVELS: [Level; 12] = [
    Level {
        style: Style::Full,
        voices: usize::MAX,
        residual: 0.01,
        needs_resends: false,
    },
    thrifty(usize::MAX, 0.01),
    thrifty(2, 0.01),
    thrifty(2, 0.03),
    thrifty(2, 0.05),
    thrifty(2, 0.15),
    Level {
        needs_resends: true,
        ..thrifty(2, 1.0)
    },
    thrifty(1, 0.01),
    thrifty(1, 0.03),
    thrifty(1, 0.05),
    // Any repetition is better than none.
    thrifty(1, 0.15),
    thrifty(1, 1.0),
];

/// Of [`LEVELS`].
const FIRST_THRIFTY: usize = 1;

/// Of what is sent again so much more may stay lost: a few of its packets are lost once more.
const RESENT_RESIDUAL: f64 = 2.0;

impl Level {
    /// What differs where there are `most` voices.
    fn change(&self, to: &Level, most: usize) -> Change {
        let is_as_many = self.voices.min(most) == to.voices.min(most);
        match (self.style == to.style, is_as_many) {
            (true, true) => Change::Redundancy,
            (true, false) => Change::Voices,
            (false, _) => Change::Style,
        }
    }
}

/// What differs between two levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Redundancy,
    Voices,
    Style,
}

/// What is to become of one audio slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct VoicePlan {
    pub slot: usize,
    /// `None`: not heard.
    pub voice: Option<Voice>,
    /// The layer that is wanted, though it may have to be asked for.
    pub wish: VoiceLayer,
}

#[derive(Debug)]
pub(super) struct Voices {
    loss: HeldLoss,
    level: Option<usize>,
    gate: Gate,
    redundancy: Gate,
    /// Of how many are heard.
    voices: Gate,
    /// Since when what is sent does not fit.
    dips_since: Option<Instant>,
    is_weak: bool,
    /// Who is heard first comes first.
    order: Vec<(usize, AudioDemand)>,
    pub plans: Vec<VoicePlan>,
    /// What they take with what was granted.
    pub takes: Bitrate,
    /// What they would take at the best level, and the budget that it needs.
    pub desired: Bitrate,
    pub desired_budget: Bitrate,
    /// How many may be heard at once.
    pub heard: usize,
}

impl Default for Voices {
    fn default() -> Self {
        Self {
            loss: HeldLoss::default(),
            level: None,
            gate: Gate::default(),
            redundancy: REDUNDANCY_GATE,
            voices: VOICES_GATE,
            dips_since: None,
            is_weak: false,
            order: Vec::new(),
            plans: Vec::new(),
            takes: Bitrate(0),
            desired: Bitrate(0),
            desired_budget: Bitrate(0),
            heard: 0,
        }
    }
}

impl Voices {
    pub fn begin(&mut self) {
        self.order.clear();
        self.plans.clear();
    }

    pub fn add(&mut self, slot: usize, demand: AudioDemand) {
        self.order.push((slot, demand));
    }

    /// Chooses within `budget`. `video`: there is video to show beside them.
    pub fn choose(&mut self, now: Instant, link: &Link, budget: Bitrate, video: bool) {
        // Whoever speaks now before who may speak soon.
        self.order
            .sort_unstable_by_key(|(slot, demand)| (!demand.is_flowing, demand.order, *slot));
        let loss = self.loss.update(now, link.loss, link.loss_burst);
        self.is_weak = budget < if self.is_weak { NO_LONGER_WEAK } else { WEAK_LINK };
        let costs = LEVELS.map(|level| self.cost(&level, &loss, link));
        let full_share = match link.mode {
            // Who counts bytes hears as well with fewer.
            Mode::SaveData { .. } => 0.0,
            Mode::Normal | Mode::AudioOnly if video => FULL_SHARE,
            Mode::Normal | Mode::AudioOnly => 1.0,
        };
        let fits = |from: usize, margin: f64| {
            let affordable = |level: &usize| {
                let (level, cost) = (&LEVELS[*level], costs[*level]);
                let share = if level.style == Style::Full { full_share } else { 1.0 };
                (link.resends || !level.needs_resends) && times(cost, margin) <= times(budget, share)
            };
            (from..LEVELS.len()).find(affordable).unwrap_or(LEVELS.len() - 1)
        };
        let level = match self.level {
            Some(level) => self.next(now, level, fits),
            None => fits(0, 1.0),
        };
        self.level = Some(level);
        self.plan(&LEVELS[level], &loss, link);
        self.takes = costs[level];
        (self.desired, self.desired_budget) = match full_share > 0.0 {
            true => (costs[0], times(costs[0], MARGIN / full_share)),
            false => (costs[FIRST_THRIFTY], times(costs[FIRST_THRIFTY], MARGIN)),
        };
    }

    /// The level after `level`; `fits` is the best one from the given one on that fits with the given margin.
    fn next(&mut self, now: Instant, level: usize, fits: impl Fn(usize, f64) -> usize) -> usize {
        let most = self.order.len();
        let change = |to: usize| LEVELS[level].change(&LEVELS[to], most);
        let least = fits(0, 1.0);
        if least > level {
            // What fitted until now does no longer.
            self.gate.look(now, HOLD, false, false);
            self.voices.look(now, HOLD_VOICES, false, false);
            let since = *self.dips_since.get_or_insert(now);
            let is_dip = fits(0, 1.0 / MOST_IN_DIP) <= level && now.saturating_duration_since(since) < DIP;
            let gate = match change(least) {
                Change::Redundancy => &mut self.redundancy,
                Change::Voices if is_dip => return level,
                Change::Voices => &mut self.voices,
                Change::Style => &mut self.gate,
            };
            gate.on_overload(now);
            return least;
        }
        self.dips_since = None;
        // What may not be yet leaves what may: more repetition while another voice waits.
        let mut to = fits(0, MARGIN);
        let wanted = to < level && change(to) == Change::Style;
        if !self.gate.look(now, HOLD, wanted, wanted) && wanted {
            to = fits(FIRST_THRIFTY, MARGIN);
        }
        let wanted = to < level && change(to) == Change::Voices;
        if !self.voices.look(now, HOLD_VOICES, wanted, wanted) && wanted {
            let as_many = |to: &usize| change(*to) == Change::Redundancy;
            to = fits((to..level).find(as_many).unwrap_or(level), MARGIN);
        }
        if to >= level {
            return level;
        }
        let gate = match change(to) {
            Change::Redundancy if self.redundancy.is_backing_off(now) => return level,
            Change::Redundancy => &mut self.redundancy,
            Change::Voices => &mut self.voices,
            Change::Style => &mut self.gate,
        };
        gate.on_upgrade(now);
        to
    }

    fn plan(&mut self, level: &Level, loss: &LossModel, link: &Link) {
        let most = if self.is_weak { WEAK_VOICES } else { usize::MAX };
        self.heard = self.order.len().min(level.voices).min(most);
        for (place, (slot, demand)) in self.order.iter().enumerate() {
            let (voice, wish, _) = cheapest(demand, level, loss, link);
            self.plans.push(VoicePlan {
                slot: *slot,
                voice: (place < self.heard).then_some(voice),
                wish,
            });
        }
    }

    /// What the voices take: those that speak, and in silence room for one.
    fn cost(&self, level: &Level, loss: &LossModel, link: &Link) -> Bitrate {
        let speaking = self.order.iter().filter(|(_, demand)| demand.is_flowing).count();
        let loud = speaking.min(level.voices).max(1);
        let sum = self
            .order
            .iter()
            .take(loud)
            .map(|(_, demand)| cheapest(demand, level, loss, link).2);
        let silent = self
            .order
            .len()
            .saturating_sub(loud)
            .min(level.voices.saturating_sub(loud));
        plus(sum.fold(Bitrate(0), plus), Bitrate(SILENCE.0 * silent as u64))
    }
}

/// How a voice is sent at a level, the layer that it should be sent in, and what it takes on the wire.
fn cheapest(demand: &AudioDemand, level: &Level, loss: &LossModel, link: &Link) -> (Voice, VoiceLayer, Bitrate) {
    let send = |layer, rate: &VoiceRate, bundle| {
        let (voice, takes) = packets(layer, rate, bundle, level.residual, loss, link);
        (voice, layer, takes)
    };
    if level.style == Style::Full {
        return send(VoiceLayer::Full, &demand.full, 1);
    }
    let interval = demand.full.interval.as_micros().max(1);
    let bundle = if link.red.is_some() {
        (BUNDLE_TIME.as_micros() / interval).clamp(1, 3) as u8
    } else {
        1
    };
    let bundled = send(VoiceLayer::Full, &demand.full, bundle);
    let Some(low) = demand.low.filter(|low| low.state != LayerState::Absent) else {
        return bundled;
    };
    let thrifty = send(VoiceLayer::Low, &low.rate, 1);
    // A publisher's own stream may be as thrifty.
    if thrifty.2 >= bundled.2 {
        return bundled;
    }
    match low.state {
        LayerState::Active => thrifty,
        _ => (bundled.0, VoiceLayer::Low, bundled.2),
    }
}

/// The packets of a voice, and what they take on the wire.
fn packets(
    layer: VoiceLayer,
    rate: &VoiceRate,
    bundle: u8,
    residual: f64,
    loss: &LossModel,
    link: &Link,
) -> (Voice, Bitrate) {
    let interval = rate.interval.max(Duration::from_millis(1));
    let packet = interval * u32::from(bundle);
    let frame = (rate.payload.0 as f64 * interval.as_secs_f64() / 8.0).ceil() as u64;
    let per_packet = frame * u64::from(bundle);
    let residual = residual * if link.resends { RESENT_RESIDUAL } else { 1.0 };
    let mut redundancy = match link.red {
        Some(most) => loss.redundancy(packet, residual, most),
        None => Default::default(),
    };
    while redundancy.frames > 0 && per_packet * u64::from(redundancy.frames + 1) > MOST_PAYLOAD_BYTES {
        redundancy.frames -= 1;
    }
    if redundancy.frames == 0 {
        redundancy.distance = 0;
    }
    let blocks = u64::from(bundle) * u64::from(redundancy.frames + 1);
    // RFC 2198, section 3: four bytes for each block but the last, which has one.
    let red_header = if blocks > 1 { 4 * (blocks - 1) + 1 } else { 0 };
    let bytes = OVERHEAD_BYTES + red_header + frame * blocks;
    let voice = Voice {
        layer,
        bundle,
        redundancy: redundancy.frames,
        distance: redundancy.distance,
    };
    let again = if link.resends { loss.residual(redundancy) } else { 0.0 };
    let bits = bytes as f64 * 8.0 * (1.0 + again);
    (voice, Bitrate((bits / packet.as_secs_f64()) as u64))
}

#[cfg(test)]
mod tests {
    use super::super::test_util::{kbps, link, voice, voice_with_low};
    use super::*;

    fn choose(link: &Link, demands: &[AudioDemand], video: bool) -> Voices {
        let mut voices = Voices::default();
        choose_again(&mut voices, Instant::now(), link, demands, video);
        voices
    }

    fn choose_again(voices: &mut Voices, now: Instant, link: &Link, demands: &[AudioDemand], video: bool) {
        voices.begin();
        for (slot, demand) in demands.iter().enumerate() {
            voices.add(slot, *demand);
        }
        voices.choose(now, link, link.estimate, video);
    }

    fn lossy(kbit: u64, loss: f32) -> Link {
        Link { loss, ..link(kbit) }
    }

    #[test]
    fn the_figures_of_a_voice_on_the_wire() {
        let none = LossModel::new(0.0, 1.0);
        let (five, twenty) = (LossModel::new(0.05, 1.0), LossModel::new(0.2, 1.0));
        let full = voice(0).full;
        let low = voice_with_low(0).low.map(|low| low.rate).unwrap_or(full);
        // (stream, frames bundled, loss, redundancy, kbit/s): 61, 95 and 47 were measured in Chromium.
        for (rate, bundle, loss, redundancy, kbit) in [
            (full, 1, none, 0, 61),
            (full, 1, five, 1, 95),
            (low, 1, none, 0, 22),
            (low, 1, twenty, 2, 47),
            (full, 3, none, 0, 43),
        ] {
            let (voice, takes) = packets(VoiceLayer::Full, &rate, bundle, 0.01, &loss, &link(100));
            assert_eq!(
                (voice.redundancy, takes.0.div_ceil(1_000)),
                (redundancy, kbit),
                "{rate:?} {bundle}"
            );
        }
    }

    /// Layer, bundle and redundancy of each voice that is heard.
    fn heard(voices: &Voices) -> Vec<(VoiceLayer, u8, u8)> {
        let heard = voices.plans.iter().filter_map(|plan| plan.voice);
        heard
            .map(|voice| (voice.layer, voice.bundle, voice.redundancy))
            .collect()
    }

    #[test]
    fn a_link_gets_the_voices_that_it_carries() {
        use VoiceLayer::{Full, Low};
        let low = [
            voice_with_low(0),
            voice_with_low(1),
            voice_with_low(2),
            voice_with_low(3),
        ];
        let plain = [voice(0), voice(1)];
        for (kbit, loss, demands, expected) in [
            (1_500, 0.0, &low[..], &[(Full, 1, 0); 4][..]),
            (1_000, 0.0, &low, &[(Low, 1, 0); 4]),
            (1_200, 0.05, &low[..2], &[(Full, 1, 1); 2]),
            (384, 0.03, &low[..1], &[(Low, 1, 1)]),
            (100, 0.05, &low[..1], &[(Low, 1, 1)]),
            // 0.8 % of 20 % stay lost.
            (100, 0.2, &low[..1], &[(Low, 1, 2)]),
            // Two at once: both are heard, with 4 % lost, before one alone.
            (90, 0.2, &low[..2], &[(Low, 1, 1); 2]),
            // Of four that speak at once two are heard on a weak link, or one.
            (250, 0.0, &low, &[(Low, 1, 0); 4]),
            (190, 0.0, &low, &[(Low, 1, 0); 2]),
            (60, 0.0, &low, &[(Low, 1, 0); 2]),
            (30, 0.0, &low, &[(Low, 1, 0)]),
            // However little there is, one voice is sent.
            (5, 0.2, &low, &[(Low, 1, 0)]),
            // No low layer: fewer and larger packets.
            (100, 0.0, &plain[..1], &[(Full, 3, 0)]),
            (100, 0.05, &plain[..1], &[(Full, 3, 1)]),
        ] {
            let voices = choose(&lossy(kbit, loss), demands, true);
            assert_eq!(
                heard(&voices),
                expected,
                "{kbit} kbit/s, {loss}, {} voices",
                demands.len()
            );
        }
    }

    #[test]
    fn without_video_a_full_voice_may_take_all() {
        let voices = choose(&link(70), &[voice_with_low(0)], false);
        assert_eq!(heard(&voices), [(VoiceLayer::Full, 1, 0)]);
    }

    #[test]
    fn who_saves_data_gets_thrifty_voices_also_where_a_full_one_fits() {
        let mode = Mode::SaveData { cap: kbps(180) };
        let link = Link { mode, ..link(2_000) };
        let voices = choose(&link, &[voice_with_low(0)], true);
        assert_eq!(heard(&voices), [(VoiceLayer::Low, 1, 0)]);
        assert!(voices.desired_budget < kbps(40), "{:?}", voices.desired_budget);
        assert_eq!(heard(&choose(&link, &[voice(0)], false)), [(VoiceLayer::Full, 3, 0)]);
    }

    #[test]
    fn without_red_there_is_neither_redundancy_nor_bundling() {
        let link = Link {
            red: None,
            ..lossy(100, 0.1)
        };
        assert_eq!(heard(&choose(&link, &[voice(0)], true)), [(VoiceLayer::Full, 1, 0)]);
        assert_eq!(
            heard(&choose(&link, &[voice_with_low(0)], true)),
            [(VoiceLayer::Low, 1, 0)]
        );
    }

    #[test]
    fn a_low_layer_that_must_be_asked_for_is_wished_and_frames_are_bundled_until_it_comes() {
        let mut demand = voice_with_low(0);
        if let Some(low) = &mut demand.low {
            low.state = LayerState::OnRequest;
        }
        let voices = choose(&link(100), &[demand], true);
        assert_eq!(heard(&voices), [(VoiceLayer::Full, 3, 0)]);
        assert_eq!(voices.plans[0].wish, VoiceLayer::Low);
    }

    #[test]
    fn whoever_speaks_is_heard_before_who_is_silent() {
        let mut silent = voice_with_low(0);
        silent.is_flowing = false;
        let voices = choose(&link(30), &[silent, voice_with_low(1), voice_with_low(2)], true);
        let slots: Vec<usize> = voices
            .plans
            .iter()
            .filter(|plan| plan.voice.is_some())
            .map(|plan| plan.slot)
            .collect();
        assert_eq!(slots, [1]);
    }

    #[test]
    fn a_voice_gets_thrifty_at_once_and_full_again_after_a_while() {
        let start = Instant::now();
        let mut voices = Voices::default();
        let mut layer = |at: f64, kbit: u64| {
            let now = start + Duration::from_secs_f64(at);
            choose_again(&mut voices, now, &link(kbit), &[voice_with_low(0)], true);
            heard(&voices)[0].0
        };
        for (at, kbit, expected) in [
            (0.0, 400, VoiceLayer::Full),
            (0.1, 100, VoiceLayer::Low),
            // It would fit, but without the margin.
            (0.2, 310, VoiceLayer::Low),
            (8.0, 310, VoiceLayer::Low),
            (8.1, 400, VoiceLayer::Low),
            (13.0, 400, VoiceLayer::Low),
            (13.1, 400, VoiceLayer::Full),
        ] {
            assert_eq!(layer(at, kbit), expected, "{at}");
        }
    }

    #[test]
    fn a_second_voice_comes_back_when_it_has_fitted_for_a_while_without_a_break() {
        let start = Instant::now();
        let mut voices = Voices::default();
        let mut heard_at = |at: f64, kbit: u64| {
            let now = start + Duration::from_secs_f64(at);
            choose_again(
                &mut voices,
                now,
                &link(kbit),
                &[voice_with_low(0), voice_with_low(1)],
                true,
            );
            heard(&voices).len()
        };
        for (at, kbit, expected) in [
            (0.0, 80, 2),
            // A dip is waited out; what does not fit at all is not sent.
            (1.0, 40, 2),
            (2.6, 40, 1),
            (12.0, 80, 1),
            (13.4, 80, 1),
            // One moment without room, and it begins anew.
            (13.45, 40, 1),
            (13.5, 80, 1),
            (14.9, 80, 1),
            (15.1, 80, 2),
            (17.0, 20, 1),
        ] {
            assert_eq!(heard_at(at, kbit), expected, "{at}");
        }
    }

    #[test]
    fn while_a_better_voice_waits_redundancy_comes() {
        let start = Instant::now();
        let mut voices = Voices::default();
        let mut first = |at: f64, kbit: u64| {
            let now = start + Duration::from_secs_f64(at);
            choose_again(&mut voices, now, &lossy(kbit, 0.2), &[voice_with_low(0)], true);
            heard(&voices)[0]
        };
        for (at, kbit, expected) in [
            (0.0, 30, (VoiceLayer::Low, 1, 0)),
            (0.1, 2_000, (VoiceLayer::Low, 1, 2)),
            (5.0, 2_000, (VoiceLayer::Low, 1, 2)),
            (5.2, 2_000, (VoiceLayer::Full, 1, 2)),
        ] {
            assert_eq!(first(at, kbit), expected, "{at}");
        }
    }
}
