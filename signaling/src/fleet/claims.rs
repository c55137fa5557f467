//! What a claim in the store means to an instance, and whose turn it is to look after the meetings of the dead. Pure, so
//! that the simulation decides by the same rules.

use std::hash::{DefaultHasher, Hash, Hasher};

use tianqiao_protocol::control::InstanceId;

/// What comes of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Ours, and we have the meeting by that claim.
    Keep,
    /// Ours, but the meeting is not here, or by an older claim: it is to be restored.
    Restore,
    /// Another instance's: it is to be asked, or where its registry entry is gone, the claim taken over.
    Others(InstanceId),
    /// There is no claim.
    Nobody,
}

/// `entry`: the claim's owner and revision; `held`: the claim by which this instance has the meeting, if it has.
pub fn judge(me: &str, held: Option<u64>, entry: Option<(&str, u64)>) -> Judged {
    match entry {
        None => Judged::Nobody,
        Some((owner, revision)) if owner == me => match held {
            Some(epoch) if epoch == revision => Judged::Keep,
            _ => Judged::Restore,
        },
        Some((owner, _)) => Judged::Others(owner.to_owned()),
    }
}

/// Whether of these members `me` is the one who sees to it that the meeting has an owner. Each meeting is somebody's, and
/// most stay with whom they were with when a member comes or goes (rendezvous hashing).
pub fn is_share_of(me: &str, meeting: &str, members: &[InstanceId]) -> bool {
    let weight = |member: &str| {
        let mut hasher = DefaultHasher::new();
        (meeting, member).hash(&mut hasher);
        hasher.finish()
    };
    let first = members.iter().max_by_key(|member| (weight(member), (*member).clone()));
    first.is_some_and(|first| first == me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_judged_by_who_made_it_and_when() {
        for (held, entry, expected) in [
            (Some(4), Some(("me", 4)), Judged::Keep),
            (Some(3), Some(("me", 4)), Judged::Restore),
            (None, Some(("me", 4)), Judged::Restore),
            (Some(4), Some(("b", 5)), Judged::Others("b".into())),
            (Some(4), None, Judged::Nobody),
        ] {
            assert_eq!(judge("me", held, entry), expected, "{held:?} {entry:?}");
        }
    }

    #[test]
    fn meetings_are_shared_evenly_and_stay_when_others_go() {
        let all: Vec<InstanceId> = ["a", "b", "c", "d"].map(str::to_owned).into();
        let owner = |members: &[InstanceId], meeting: &str| {
            let owners: Vec<_> = members.iter().filter(|me| is_share_of(me, meeting, members)).collect();
            assert_eq!(owners.len(), 1);
            owners[0].clone()
        };
        let meetings: Vec<String> = (0..1_000).map(|number| format!("m{number}")).collect();
        for member in &all {
            let share = meetings
                .iter()
                .filter(|meeting| owner(&all, meeting) == *member)
                .count();
            assert!((180..330).contains(&share), "{member}: {share}");
        }
        for meeting in &meetings {
            let before = owner(&all, meeting);
            if before != "d" {
                assert_eq!(owner(&all[..3], meeting), before);
            }
        }
    }
}
