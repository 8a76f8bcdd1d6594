//! A model check: whatever the interleaving of redemptions, refreshes and revocations of one grant, one code is redeemed
//! once and one chain of generations comes out.
//!
//! Twice: every order of a set of changes on the memory store, and changes from real threads on the disk store, whose
//! outcomes must be those of *some* order of the pure settling functions (linearizability, found by search).

use std::sync::{Arc, Barrier};
use std::thread;

use tsidecar_oauth::consent::Remembered;
use tsidecar_oauth::grant::{Generation, Grant};
use tsidecar_oauth::id::{ClientId, Subject};
use tsidecar_oauth::settle::{self, Burned, OfConsent, OfSession, Redeemed, Rotated};

use super::conformance::{at, grant, wish};
use super::{DiskOptions, DiskStore, MemoryStore, Store};

/// A change of the one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Redeem,
    Burn,
    Rotate(u32),
    Revoke,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Redeemed(Redeemed),
    Burned(Burned),
    Rotated(Rotated),
    Revoked(bool),
}

/// Everything happens within the grace time, at one moment: the store has nothing else to go by than the order.
fn on_store(store: &dyn Store, step: Step) -> Outcome {
    let (draft, now) = (grant(1), at(1_010));
    match step {
        Step::Redeem => Outcome::Redeemed(store.redeem(draft, now).wait().unwrap()),
        Step::Burn => Outcome::Burned(store.burn(draft, now).wait().unwrap()),
        Step::Rotate(shown) => {
            Outcome::Rotated(store.rotate(draft.id(), Generation::from_number(shown), now).wait().unwrap())
        }
        Step::Revoke => Outcome::Revoked(store.revoke_grant(draft.id(), now).wait().unwrap()),
    }
}

fn on_model(stored: &mut Option<Grant>, step: Step) -> Outcome {
    let now = at(1_010);
    let (write, outcome) = match step {
        Step::Redeem => {
            let settled = settle::redeem(stored.as_ref(), grant(1), OfSession::Open, OfConsent::Holds, now);
            (settled.write, Outcome::Redeemed(settled.outcome))
        }
        Step::Burn => {
            let settled = settle::burn(stored.as_ref(), &grant(1), now);
            (settled.write, Outcome::Burned(settled.outcome))
        }
        Step::Rotate(shown) => {
            let settled =
                settle::rotate(stored.as_ref(), Generation::from_number(shown), OfConsent::Holds, now);
            (settled.write, Outcome::Rotated(settled.outcome))
        }
        Step::Revoke => {
            let settled = settle::revoke(stored.as_ref(), now);
            (settled.write, Outcome::Revoked(settled.outcome))
        }
    };
    if write.is_some() {
        *stored = write;
    }
    outcome
}

/// Calls `check` with every distinct order of the steps.
fn orders(steps: &mut Vec<Step>, done: &mut Vec<Step>, check: &mut impl FnMut(&[Step])) {
    if steps.is_empty() {
        check(done);
        return;
    }
    for place in 0..steps.len() {
        if steps[..place].contains(&steps[place]) {
            continue;
        }
        let step = steps.remove(place);
        done.push(step);
        orders(steps, done, check);
        done.pop();
        steps.insert(place, step);
    }
}

/// What must hold for any sequence, said without the settling functions.
fn judge(order: &[Step], outcomes: &[Outcome]) {
    let (mut exists, mut ended, mut current) = (false, false, 0);
    for (step, outcome) in order.iter().zip(outcomes) {
        match outcome {
            Outcome::Redeemed(Redeemed::New) => {
                assert!(!exists, "redeemed twice in {order:?}");
                exists = true;
            }
            Outcome::Redeemed(Redeemed::SignedOut) => panic!("nobody signs out here: {order:?}"),
            Outcome::Redeemed(Redeemed::ConsentWithdrawn) | Outcome::Rotated(Rotated::ConsentWithdrawn) => {
                panic!("nothing rests on a consent here: {order:?}")
            }
            Outcome::Burned(Burned::Unused) => {
                assert!(!exists, "burned after use in {order:?}");
                (exists, ended) = (true, true);
            }
            Outcome::Redeemed(Redeemed::Replayed) | Outcome::Burned(Burned::Used) => {
                assert!(exists, "a replay of nothing in {order:?}");
                ended = true;
            }
            Outcome::Rotated(Rotated::Rotated(next)) => {
                assert!(exists && !ended, "{step:?} rotated a dead grant in {order:?}");
                assert_eq!((*step, next.number()), (Step::Rotate(current), current + 1), "in {order:?}");
                current += 1;
            }
            Outcome::Rotated(Rotated::Repeated(same)) => {
                assert!(exists && !ended, "{step:?} repeated for a dead grant in {order:?}");
                assert_eq!((*step, same.number()), (Step::Rotate(current - 1), current), "in {order:?}");
            }
            Outcome::Rotated(Rotated::Reused | Rotated::Ahead) => {
                assert!(exists && !ended, "in {order:?}");
                ended = true;
            }
            Outcome::Rotated(Rotated::Revoked) => assert!(ended, "in {order:?}"),
            Outcome::Rotated(Rotated::Unknown) => assert!(!exists, "in {order:?}"),
            Outcome::Rotated(Rotated::Expired) => panic!("nothing expires here: {order:?}"),
            Outcome::Revoked(now) => {
                assert_eq!(*now, exists && !ended, "in {order:?}");
                ended |= exists;
            }
        }
    }
}

#[test]
fn every_order_leaves_one_redemption_and_one_chain() {
    use Step::{Burn, Redeem, Revoke, Rotate};
    let sets = [
        vec![Redeem, Redeem, Rotate(0), Rotate(0), Rotate(1), Rotate(1), Rotate(2)],
        vec![Redeem, Burn, Rotate(0), Rotate(0), Rotate(1), Revoke],
        vec![Redeem, Rotate(0), Rotate(1), Rotate(2), Rotate(0), Rotate(1), Revoke],
        vec![Burn, Burn, Redeem, Rotate(0), Revoke],
    ];
    let mut seen = 0;
    for mut set in sets {
        orders(&mut set, &mut Vec::new(), &mut |order| {
            let (store, mut model) = (MemoryStore::new(), None);
            let outcomes: Vec<_> = order.iter().map(|step| on_store(&store, *step)).collect();
            judge(order, &outcomes);
            let modelled: Vec<_> = order.iter().map(|step| on_model(&mut model, *step)).collect();
            assert_eq!(outcomes, modelled, "{order:?}");
            assert_eq!(store.grant(grant(1).id()).unwrap(), model);
            seen += 1;
        });
    }
    assert_eq!(seen, 630 + 360 + 1_260 + 60);
}

/// Finds an order of the settling functions that explains what the threads saw: each thread's own steps in its order.
fn explained(
    threads: &[Vec<(Step, Outcome)>],
    at: &mut [usize],
    model: Option<&Grant>,
    last: Option<&Grant>,
) -> bool {
    if threads.iter().zip(at.iter()).all(|(steps, at)| *at == steps.len()) {
        return model == last;
    }
    for thread in 0..threads.len() {
        let Some((step, outcome)) = threads[thread].get(at[thread]) else { continue };
        let mut next = model.cloned();
        if on_model(&mut next, *step) != *outcome {
            continue;
        }
        at[thread] += 1;
        if explained(threads, at, next.as_ref(), last) {
            return true;
        }
        at[thread] -= 1;
    }
    false
}

#[test]
fn what_threads_see_is_what_some_order_explains() {
    use Step::{Burn, Redeem, Revoke, Rotate};
    let plays: [&[&[Step]]; 4] = [
        &[&[Redeem, Rotate(0), Rotate(1)], &[Rotate(0), Rotate(1)], &[Rotate(0)], &[Rotate(1), Rotate(2)]],
        &[&[Redeem, Rotate(0)], &[Redeem, Rotate(0)], &[Redeem], &[Rotate(0), Rotate(0)]],
        &[&[Redeem, Rotate(0), Rotate(1), Rotate(2)], &[Revoke, Rotate(1)], &[Rotate(0), Rotate(0)], &[Burn]],
        &[&[Redeem, Rotate(0), Rotate(1), Rotate(2), Rotate(3)], &[Rotate(0), Rotate(1), Rotate(2)]],
    ];
    for round in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let play = plays[round % plays.len()];
        let barrier = Arc::new(Barrier::new(play.len()));
        let threads: Vec<_> = play
            .iter()
            .map(|steps| {
                let (store, barrier, steps) = (Arc::clone(&store), Arc::clone(&barrier), steps.to_vec());
                thread::spawn(move || {
                    barrier.wait();
                    steps.into_iter().map(|step| (step, on_store(&*store, step))).collect::<Vec<_>>()
                })
            })
            .collect();
        let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let last = store.grant(grant(1).id()).unwrap();
        let explained = explained(&seen, &mut vec![0; seen.len()], None, last.as_ref());
        assert!(explained, "no order explains {seen:?} and {last:?}");
    }
}

/// A42: a person presses *Allow* on a page that was open when somebody withdraws. Both requests have read the consent as standing;
/// whichever change comes first, nothing is allowed at the end.
#[test]
fn an_open_page_brings_no_withdrawn_consent_back() {
    let (alice, cli) = (Subject::user(1001), ClientId::parse("cli").unwrap());
    let allow = |store: &dyn Store, shown_at, now| {
        let wish = wish("app.test", "openid");
        store.remember_consent(&alice, &cli, wish, at(shown_at), at(now)).wait().unwrap()
    };
    let withdraw = |store: &dyn Store| store.withdraw_consent(&alice, &cli, at(1_010)).wait().unwrap();
    let judge = |store: &dyn Store| {
        let consent = store.consent(&alice, &cli).unwrap().unwrap();
        assert!(consent.allowed.is_empty() && !consent.holds_for(at(1_012)), "{consent:?}");
    };
    for allowed_first in [true, false] {
        let store = MemoryStore::new();
        allow(&store, 1_000, 1_000);
        if allowed_first {
            assert_eq!((allow(&store, 1_005, 1_011), withdraw(&store)), (Remembered::Now, true));
        } else {
            assert_eq!((withdraw(&store), allow(&store, 1_005, 1_011)), (true, Remembered::Withdrawn));
        }
        judge(&store);
    }
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
        allow(&store, 1_000, 1_000);
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                allow(&store, 1_005, 1_011)
            });
            barrier.wait();
            assert!(withdraw(&store), "there was something all the time");
        });
        judge(&store);
    }
}
