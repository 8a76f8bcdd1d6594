//! What the committer asks of the current record of a grant, one change at a time.
//!
//! Layer 1. Pure, no cryptography, no I/O: endpoints decide on the immutable facts, these functions on the mutable
//! fields, so two parallel redemptions or refreshes never decide on stale state. A refusal that must write is a normal
//! outcome; [`Settled`] carries the record to write and the outcome together, so neither can be forgotten.

use crate::grant::{Generation, Grant};
use crate::time::{Lifetime, UnixTime};

/// How long the generation before the current one gets the same successor again (design section 9).
///
/// Long enough for processes that share one stored token and for FAPI 2.0 §5.3.2.1, which retries after 30 s.
pub const GRACE: Lifetime = Lifetime::from_secs(60);

/// The record to write, if any, and what the change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled<O> {
    /// The new record under the grant's id; `None` leaves the stored one.
    pub write: Option<Grant>,
    /// What the caller is told once the batch is durable.
    pub outcome: O,
}

/// What became of the redemption of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The grant is written; the code is used from now on.
    New,
    /// The code was used before; its grant is revoked now (RFC 6749 §4.1.2).
    Replayed,
    /// The session of the code was ended before the code was used; nothing is written.
    SignedOut,
    /// The consent that the code rests on was withdrawn before the code was used; nothing is written.
    ConsentWithdrawn,
}

/// What is known of the session to which a sign-in belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfSession {
    /// It belongs to none, or to one that nobody ended.
    Open,
    /// It was ended.
    Ended,
}

/// What is known of the consent on which a grant rests, or of the approval in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfConsent {
    /// It holds, or the grant rests on neither.
    Holds,
    /// It was withdrawn after what is shown was issued, or is gone.
    Withdrawn,
}

/// What became of a code that was shown by a client it was not issued to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burned {
    /// The code was unused and is dead now.
    Unused,
    /// The code was used before; its grant is revoked now.
    Used,
}

/// What became of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The current token was shown; this generation follows it.
    Rotated(Generation),
    /// The token before the current one, within the grace time and before its successor was used: the same successor
    /// again.
    Repeated(Generation),
    /// A token that was rotated away; the grant is revoked now (RFC 9700 §4.14.2).
    Reused,
    /// The grant was revoked before.
    Revoked,
    /// The grant's idle or absolute time is over, or it never had a refresh token.
    Expired,
    /// No such grant.
    Unknown,
    /// A valid token newer than the store knows: the state folder was rolled back. The grant is revoked now.
    Ahead,
    /// The consent that the grant rests on was withdrawn; the grant is revoked now.
    ConsentWithdrawn,
}

/// Settles the redemption of an authorization code on the current record of its grant.
///
/// `stored` is the record under the code's grant id, `draft` the grant that the endpoint decided on. No record: the draft
/// is written and the outcome is [`Redeemed::New`]. A record: the code was used before, the grant is written back as
/// revoked, and the outcome is [`Redeemed::Replayed`] (RFC 6749 §4.1.2).
///
/// `session` is what the store knows of the draft's session. A code from before a logout is worth nothing after it: the
/// outcome is [`Redeemed::SignedOut`], and no mark is needed, for an ended session is remembered longer than any code lives. The
/// same holds of `consent`, with [`Redeemed::ConsentWithdrawn`].
///
/// Client, redirect URI, verifier and expiry were judged before (RFC 6749 §4.1.3, RFC 7636 §4.6).
pub fn redeem(
    stored: Option<&Grant>,
    draft: Grant,
    session: OfSession,
    consent: OfConsent,
    now: UnixTime,
) -> Settled<Redeemed> {
    match stored {
        None if session == OfSession::Ended => Settled { write: None, outcome: Redeemed::SignedOut },
        None if consent == OfConsent::Withdrawn => {
            Settled { write: None, outcome: Redeemed::ConsentWithdrawn }
        }
        None => Settled { write: Some(draft), outcome: Redeemed::New },
        Some(grant) => Settled { write: revoked(grant, now), outcome: Redeemed::Replayed },
    }
}

/// Settles a code that was shown by another client, which had authenticated: the code leaked, so it is marked used.
///
/// No record: the draft is written as revoked. A record: the grant is revoked.
pub fn burn(stored: Option<&Grant>, draft: &Grant, now: UnixTime) -> Settled<Burned> {
    match stored {
        None => Settled { write: revoked(draft, now), outcome: Burned::Unused },
        Some(grant) => Settled { write: revoked(grant, now), outcome: Burned::Used },
    }
}

/// Settles the use of a refresh token whose MAC was found right.
///
/// Client, place, policy and scope were judged on the facts before. The order of the checks matters: a revoked grant
/// stays revoked whatever is shown, and a token newer than the store is an alert even when the grant has expired. A consent that was
/// withdrawn is found out here even if the grant was not reached when that happened.
pub fn rotate(
    stored: Option<&Grant>,
    shown: Generation,
    consent: OfConsent,
    now: UnixTime,
) -> Settled<Rotated> {
    let Some(grant) = stored else { return Settled { write: None, outcome: Rotated::Unknown } };
    let state = grant.state();
    if state.revoked_at.is_some() {
        return Settled { write: None, outcome: Rotated::Revoked };
    }
    if shown > state.generation {
        return Settled { write: revoked(grant, now), outcome: Rotated::Ahead };
    }
    if consent == OfConsent::Withdrawn {
        return Settled { write: revoked(grant, now), outcome: Rotated::ConsentWithdrawn };
    }
    if grant.facts().idle.is_none() || grant.ends_at().is_past(now) {
        return Settled { write: None, outcome: Rotated::Expired };
    }
    if shown == state.generation {
        let next = shown.next();
        let write = grant.with_state(|state| {
            state.generation = next;
            state.rotated_at = now;
            state.last_used = now;
        });
        return Settled { write: Some(write), outcome: Rotated::Rotated(next) };
    }
    if shown.next() == state.generation && !state.rotated_at.after(GRACE).is_past(now) {
        return Settled { write: None, outcome: Rotated::Repeated(state.generation) };
    }
    Settled { write: revoked(grant, now), outcome: Rotated::Reused }
}

/// Settles the revocation of a grant; `true` when it was live until now.
pub fn revoke(stored: Option<&Grant>, now: UnixTime) -> Settled<bool> {
    let write = stored.and_then(|grant| revoked(grant, now));
    let outcome = write.is_some();
    Settled { write, outcome }
}

/// The grant as revoked; `None` when it already is, so that the first moment stays.
fn revoked(grant: &Grant, now: UnixTime) -> Option<Grant> {
    (!grant.is_revoked()).then(|| grant.with_state(|state| state.revoked_at = Some(now)))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acr::Acr;
    use crate::client::AuthMethod;
    use crate::fresh::FreshId;
    use crate::grant::{GrantFacts, Holder, Place, Seen};
    use crate::id::{ClientId, DeviceId, GrantId, Listener, Subject};
    use crate::requested::RequestedClaims;
    use crate::scope::Scope;

    pub(crate) fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    /// Alice's grant to a public client, redeemed at second 1,000; idle for 500 s, absolute end at 10,000.
    pub(crate) fn grant() -> Grant {
        let subject = Subject::user(1001);
        let facts = GrantFacts {
            client: ClientId::parse("cli").unwrap(),
            subject: subject.clone(),
            holder: Holder::Person(Seen {
                device: DeviceId::parse("nALICE").unwrap(),
                address: "100.64.0.2".parse().unwrap(),
                listener: Listener::host(),
            }),
            consented: false,
            exchange: None,
            scope: Scope::parse("openid"),
            resources: Vec::new(),
            auth_time: at(990),
            acr: Acr::Ambient,
            session: None,
            requested: RequestedClaims::default(),
            key: None,
            issued_at: at(990),
            method: AuthMethod::None,
            place: Some(Place::Device(DeviceId::parse("nALICE").unwrap())),
            expires_at: at(10_000),
            idle: Some(Lifetime::from_secs(500)),
        };
        Grant::new(GrantId::new(&subject, FreshId::from_bytes([7; 16])), facts, at(1_000))
    }

    /// A42 for sessions.
    /// What was withdrawn is worth nothing, and a replay is still found out.
    #[test]
    fn a_withdrawn_consent_ends_codes_and_grants() {
        let late = redeem(None, grant(), OfSession::Open, OfConsent::Withdrawn, at(1_000));
        assert_eq!((late.outcome, late.write), (Redeemed::ConsentWithdrawn, None));
        let replay = redeem(Some(&grant()), grant(), OfSession::Open, OfConsent::Withdrawn, at(1_001));
        assert_eq!(replay.outcome, Redeemed::Replayed);
        let ended = rotate(Some(&grant()), Generation::default(), OfConsent::Withdrawn, at(1_001));
        assert_eq!(ended.outcome, Rotated::ConsentWithdrawn);
        let ended = ended.write.unwrap();
        assert!(ended.is_revoked());
        let again = rotate(Some(&ended), Generation::default(), OfConsent::Withdrawn, at(1_002));
        assert_eq!((again.outcome, again.write), (Rotated::Revoked, None));
    }

    #[test]
    fn a_code_of_an_ended_session_gives_nothing_and_its_replay_revokes() {
        let late = redeem(None, grant(), OfSession::Ended, OfConsent::Holds, at(1_000));
        assert_eq!((late.write, late.outcome), (None, Redeemed::SignedOut));
        let first = redeem(None, grant(), OfSession::Open, OfConsent::Holds, at(1_000));
        let replay = redeem(first.write.as_ref(), grant(), OfSession::Ended, OfConsent::Holds, at(1_001));
        assert_eq!(replay.outcome, Redeemed::Replayed);
        assert!(replay.write.unwrap().is_revoked());
    }

    #[test]
    fn a_code_works_once_and_its_replay_revokes() {
        let first = redeem(None, grant(), OfSession::Open, OfConsent::Holds, at(1_000));
        assert_eq!(first.outcome, Redeemed::New);
        let second = redeem(first.write.as_ref(), grant(), OfSession::Open, OfConsent::Holds, at(1_001));
        assert_eq!(second.outcome, Redeemed::Replayed);
        assert_eq!(second.write.as_ref().unwrap().state().revoked_at, Some(at(1_001)));
        let third = redeem(second.write.as_ref(), grant(), OfSession::Open, OfConsent::Holds, at(1_002));
        assert_eq!((third.write, third.outcome), (None, Redeemed::Replayed));
    }

    #[test]
    fn a_code_shown_by_another_client_is_dead() {
        let burned = burn(None, &grant(), at(1_000));
        assert_eq!(burned.outcome, Burned::Unused);
        let after = redeem(burned.write.as_ref(), grant(), OfSession::Open, OfConsent::Holds, at(1_001));
        assert_eq!(after.outcome, Redeemed::Replayed);
        let used = burn(Some(&grant()), &grant(), at(1_001));
        assert_eq!(used.outcome, Burned::Used);
        assert!(used.write.unwrap().is_revoked());
    }

    #[test]
    fn rotation_grace_and_reuse() {
        let g0 = grant();
        let one = rotate(Some(&g0), Generation::from_number(0), OfConsent::Holds, at(1_100));
        assert_eq!(one.outcome, Rotated::Rotated(Generation::from_number(1)));
        let g1 = one.write.unwrap();
        let again = rotate(Some(&g1), Generation::from_number(0), OfConsent::Holds, at(1_159));
        assert_eq!((again.write, again.outcome), (None, Rotated::Repeated(Generation::from_number(1))));
        let late = rotate(Some(&g1), Generation::from_number(0), OfConsent::Holds, at(1_160));
        assert_eq!(late.outcome, Rotated::Reused);
        assert!(late.write.unwrap().is_revoked());
        let g2 = rotate(Some(&g1), Generation::from_number(1), OfConsent::Holds, at(1_110)).write.unwrap();
        let successor_used = rotate(Some(&g2), Generation::from_number(0), OfConsent::Holds, at(1_111));
        assert_eq!(successor_used.outcome, Rotated::Reused);
    }

    #[test]
    fn rotation_at_the_edges() {
        let g = grant();
        assert_eq!(
            rotate(None, Generation::default(), OfConsent::Holds, at(1_000)).outcome,
            Rotated::Unknown
        );
        assert_eq!(
            rotate(Some(&g), Generation::default(), OfConsent::Holds, at(1_499)).outcome,
            Rotated::Rotated(Generation::from_number(1))
        );
        assert_eq!(
            rotate(Some(&g), Generation::default(), OfConsent::Holds, at(1_500)).outcome,
            Rotated::Expired
        );
        let ahead = rotate(Some(&g), Generation::from_number(1), OfConsent::Holds, at(1_500));
        assert_eq!(ahead.outcome, Rotated::Ahead);
        let revoked = ahead.write.unwrap();
        assert_eq!(
            rotate(Some(&revoked), Generation::from_number(2), OfConsent::Holds, at(1_501)).outcome,
            Rotated::Revoked
        );
        let code_only = Grant::new(g.id(), GrantFacts { idle: None, ..g.facts().clone() }, at(1_000));
        assert_eq!(
            rotate(Some(&code_only), Generation::default(), OfConsent::Holds, at(1_001)).outcome,
            Rotated::Expired
        );
    }

    #[test]
    fn revoking_keeps_the_first_moment() {
        let once = revoke(Some(&grant()), at(2_000));
        assert!(once.outcome);
        let twice = revoke(once.write.as_ref(), at(3_000));
        assert_eq!((twice.write, twice.outcome), (None, false));
        assert!(!revoke(None, at(1)).outcome);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Redeem,
        Burn,
        Rotate(u32),
        Revoke,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => Just(Step::Redeem),
            1 => Just(Step::Burn),
            8 => (0u32..6).prop_map(Step::Rotate),
            1 => Just(Step::Revoke),
            4 => (0u64..200).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Rotation as a state machine: one current generation, which only grows by one; a replay beyond the grace ends
        /// the grant; a revoked grant never comes back; the facts never change.
        #[test]
        fn a_grant_under_any_sequence(steps in steps()) {
            let (mut stored, mut now): (Option<Grant>, u64) = (None, 1_000);
            for step in steps {
                let before = stored.clone();
                let write = match step {
                    Step::Redeem => {
                        let settled = redeem(before.as_ref(), grant(), OfSession::Open, OfConsent::Holds, at(now));
                        prop_assert_eq!(settled.outcome == Redeemed::New, before.is_none());
                        settled.write
                    }
                    Step::Burn => burn(before.as_ref(), &grant(), at(now)).write,
                    Step::Rotate(shown) => {
                        let shown = Generation::from_number(shown);
                        let settled = rotate(before.as_ref(), shown, OfConsent::Holds, at(now));
                        check_rotation(before.as_ref(), shown, now, &settled)?;
                        settled.write
                    }
                    Step::Revoke => revoke(before.as_ref(), at(now)).write,
                    Step::Wait(seconds) => {
                        now += seconds;
                        None
                    }
                };
                if let (Some(old), Some(new)) = (&before, &write) {
                    prop_assert!(!old.is_revoked(), "a revoked grant was written again");
                    prop_assert_eq!(old.facts(), new.facts());
                    prop_assert!(new.state().generation >= old.state().generation);
                }
                stored = write.or(before);
            }
        }
    }

    fn check_rotation(
        old: Option<&Grant>,
        shown: Generation,
        now: u64,
        settled: &Settled<Rotated>,
    ) -> Result<(), TestCaseError> {
        let generation = old.map(|g| g.state().generation);
        match settled.outcome {
            Rotated::Rotated(next) => {
                prop_assert_eq!(generation, Some(shown));
                prop_assert_eq!(next, shown.next());
                prop_assert_eq!(settled.write.as_ref().unwrap().state().generation, next);
            }
            Rotated::Repeated(same) => {
                prop_assert_eq!(generation, Some(same));
                prop_assert_eq!(shown.next(), same);
                prop_assert!(now < old.unwrap().state().rotated_at.as_secs() + 60);
                prop_assert!(settled.write.is_none());
            }
            Rotated::Reused | Rotated::Ahead => prop_assert!(settled.write.as_ref().unwrap().is_revoked()),
            Rotated::Revoked => prop_assert!(old.unwrap().is_revoked() && settled.write.is_none()),
            Rotated::Expired => prop_assert!(settled.write.is_none()),
            Rotated::Unknown => prop_assert!(old.is_none() && settled.write.is_none()),
            Rotated::ConsentWithdrawn => prop_assert!(false, "every consent holds here"),
        }
        Ok(())
    }
}
