//! One suite for every store: each verb, what is not found, what is there already, and races from many threads.

use std::sync::{Arc, Barrier};
use std::thread;

use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::client::{AuthMethod, ClientSpec};
use tsidecar_oauth::consent::{Remembered, Wish};
use tsidecar_oauth::device::{
    Approval, Begun, Decided, DeviceAnswer, DeviceAuthorization, DeviceCodeDigest, DeviceRequest, LIFETIME,
    Polled, UserCode,
};
use tsidecar_oauth::fresh::{FreshId, FreshSecret};
use tsidecar_oauth::grant::{Generation, Grant, GrantFacts, Holder, Place, Seen};
use tsidecar_oauth::id::{ClientId, DeviceId, GrantId, Listener, SessionId, Subject, Thumbprint};
use tsidecar_oauth::mark::{Mark, MarkKind};
use tsidecar_oauth::par::{Lane, PushedId, PushedRequest};
use tsidecar_oauth::params::Params;
use tsidecar_oauth::provenance::{Registrant, Registrar, Registration};
use tsidecar_oauth::scope::Scope;
use tsidecar_oauth::seal::CodeEpoch;
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::settle::{Burned, Redeemed, Rotated};
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::{
    self as store, DiskOptions, DiskStore, MemoryStore, Once, RegisteredClient, Store, StoreError,
    StoredClient,
};

/// A second of the suite's own clock.
pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::from_secs(seconds)
}

fn generation(number: u32) -> Generation {
    Generation::from_number(number)
}

/// A grant of alice, redeemed at second 1,000, idle for 500 s, ending at 10,000; `number` makes the id.
pub(crate) fn grant(number: u8) -> Grant {
    let subject = Subject::user(1001);
    let device = DeviceId::parse("nALICE").unwrap();
    let facts = GrantFacts {
        client: ClientId::parse("cli").unwrap(),
        subject: subject.clone(),
        holder: Holder::Person(Seen {
            device: device.clone(),
            address: "100.64.0.2".parse().unwrap(),
            listener: Listener::host(),
        }),
        consented: false,
        exchange: None,
        scope: Scope::parse("openid profile"),
        resources: Vec::new(),
        auth_time: at(990),
        acr: tsidecar_oauth::acr::Acr::Ambient,
        session: None,
        requested: tsidecar_oauth::requested::RequestedClaims::default(),
        key: None,
        issued_at: at(990),
        method: AuthMethod::None,
        place: Some(Place::Device(device)),
        expires_at: at(10_000),
        idle: Some(Lifetime::from_secs(500)),
    };
    Grant::new(GrantId::new(&subject, FreshId::from_bytes([number; 16])), facts, at(1_000))
}

pub(super) fn client(id: &str) -> StoredClient {
    let spec = ClientSpec {
        id: id.to_owned(),
        name: "A client".to_owned(),
        public: true,
        redirect_uris: vec!["https://app.example/cb".to_owned()],
        ..ClientSpec::default()
    };
    StoredClient { id: ClientId::parse(id).unwrap(), spec: Some(spec), not_before: at(0), changed_at: at(5) }
}

fn on_memory(check: impl Fn(&Arc<dyn Store>)) {
    check(&(Arc::new(MemoryStore::new()) as Arc<dyn Store>));
}

fn on_disk(check: impl Fn(&Arc<dyn Store>)) {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
    check(&(Arc::new(store) as Arc<dyn Store>));
}

macro_rules! suite {
    ($($check:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $check() { super::on_memory(super::$check); })*
        }
        mod disk {
            $(#[test] fn $check() { super::on_disk(super::$check); })*
        }
    };
}

suite! {
    a_grant_is_found_as_it_was_redeemed,
    a_replayed_code_revokes_its_grant,
    a_burned_code_cannot_be_redeemed,
    refreshes_form_a_chain,
    unknown_grants_are_unknown,
    a_generation_ahead_of_the_store_revokes,
    revoking_tells_whether_the_grant_was_live,
    only_what_nothing_refers_to_is_forgotten,
    grants_come_in_pages,
    clients_are_written_replaced_and_removed,
    what_a_removal_ended_stays_ended,
    a_client_that_fits_no_record_is_refused,
    a_registration_lives_from_its_last_use,
    a_registration_that_was_removed_never_comes_back,
    a_registration_that_fits_no_record_is_refused,
    approvals_stay_until_they_are_taken_back,
    a_clock_that_went_back_starts_an_epoch,
    a_closed_store_refuses_changes_and_reads_on,
    parallel_redemptions_have_one_winner,
    parallel_refreshes_have_one_winner,
    consents_are_remembered_used_and_withdrawn,
    consents_come_in_pages_by_person,
    a_withdrawn_consent_stops_codes_and_refreshes,
    a_mark_is_made_once,
    what_is_kept_for_a_time_is_forgotten_after_it,
    a_pushed_request_waits_for_its_client,
    a_pushed_request_is_used_once,
    pushed_requests_have_their_places,
    a_pushed_request_comes_with_its_marks_and_fits,
    a_device_authorization_is_answered_once,
    a_user_code_is_given_once_at_a_time,
    a_device_code_of_another_client_is_dead,
    parallel_answers_have_one_winner,
    a_session_ends_once,
    a_ping_is_answered,
}

fn a_grant_is_found_as_it_was_redeemed(store: &Arc<dyn Store>) {
    let draft = grant(1);
    assert_eq!(store.grant(draft.id()).unwrap(), None);
    assert_eq!(store.redeem(draft.clone(), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.grant(draft.id()).unwrap(), Some(draft));
}

fn a_replayed_code_revokes_its_grant(store: &Arc<dyn Store>) {
    let draft = grant(1);
    assert_eq!(store.redeem(draft.clone(), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.redeem(draft.clone(), at(1_001)).wait().unwrap(), Redeemed::Replayed);
    assert_eq!(store.redeem(draft.clone(), at(1_002)).wait().unwrap(), Redeemed::Replayed);
    assert_eq!(store.grant(draft.id()).unwrap().unwrap().state().revoked_at, Some(at(1_001)));
    assert_eq!(store.rotate(draft.id(), generation(0), at(1_003)).wait().unwrap(), Rotated::Revoked);
}

fn a_burned_code_cannot_be_redeemed(store: &Arc<dyn Store>) {
    let (unused, used) = (grant(1), grant(2));
    assert_eq!(store.burn(unused.clone(), at(1_000)).wait().unwrap(), Burned::Unused);
    assert_eq!(store.redeem(unused.clone(), at(1_001)).wait().unwrap(), Redeemed::Replayed);
    assert_eq!(store.redeem(used.clone(), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.burn(used.clone(), at(1_001)).wait().unwrap(), Burned::Used);
    for id in [unused.id(), used.id()] {
        assert!(store.grant(id).unwrap().unwrap().is_revoked());
    }
}

fn refreshes_form_a_chain(store: &Arc<dyn Store>) {
    let id = grant(1).id();
    let rotate = |shown, now| store.rotate(id, generation(shown), at(now)).wait().unwrap();
    assert_eq!(store.redeem(grant(1), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(rotate(0, 1_100), Rotated::Rotated(generation(1)));
    assert_eq!(rotate(0, 1_159), Rotated::Repeated(generation(1)));
    assert_eq!(rotate(1, 1_200), Rotated::Rotated(generation(2)));
    assert_eq!(store.grant(id).unwrap().unwrap().state().last_used, at(1_200));
    assert_eq!(rotate(0, 1_201), Rotated::Reused);
    assert_eq!(rotate(2, 1_202), Rotated::Revoked);
    assert_eq!(store.redeem(grant(2), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.rotate(grant(2).id(), generation(0), at(1_500)).wait().unwrap(), Rotated::Expired);
}

fn unknown_grants_are_unknown(store: &Arc<dyn Store>) {
    let id = grant(1).id();
    assert_eq!(store.grant(id).unwrap(), None);
    assert_eq!(store.rotate(id, generation(0), at(1_000)).wait().unwrap(), Rotated::Unknown);
    assert!(!store.revoke_grant(id, at(1_000)).wait().unwrap());
    assert_eq!(store.forget(vec![id], at(1_000)).wait().unwrap(), 0);
    assert!(!store.remove_client(&ClientId::parse("nobody").unwrap(), at(1)).wait().unwrap());
    assert!(store.clients().unwrap().is_empty());
}

fn a_generation_ahead_of_the_store_revokes(store: &Arc<dyn Store>) {
    assert_eq!(store.redeem(grant(1), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.rotate(grant(1).id(), generation(1), at(1_001)).wait().unwrap(), Rotated::Ahead);
    assert_eq!(store.rotate(grant(1).id(), generation(0), at(1_002)).wait().unwrap(), Rotated::Revoked);
}

fn revoking_tells_whether_the_grant_was_live(store: &Arc<dyn Store>) {
    assert_eq!(store.redeem(grant(1), at(1_000)).wait().unwrap(), Redeemed::New);
    assert!(store.revoke_grant(grant(1).id(), at(1_001)).wait().unwrap());
    assert!(!store.revoke_grant(grant(1).id(), at(1_002)).wait().unwrap());
    assert_eq!(store.grant(grant(1).id()).unwrap().unwrap().state().revoked_at, Some(at(1_001)));
}

fn only_what_nothing_refers_to_is_forgotten(store: &Arc<dyn Store>) {
    let (live, dead) = (grant(1), grant(2));
    assert_eq!(store.redeem(live.clone(), at(1_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.redeem(dead.clone(), at(1_000)).wait().unwrap(), Redeemed::New);
    assert!(store.revoke_grant(dead.id(), at(1_000)).wait().unwrap());
    let forgotten_at = store.grant(dead.id()).unwrap().unwrap().forget_at();
    // The live one is used in the meantime: what the sweep saw of it is stale, what the committer sees is not.
    assert_eq!(
        store.rotate(live.id(), generation(0), at(1_400)).wait().unwrap(),
        Rotated::Rotated(generation(1))
    );
    let both = vec![live.id(), dead.id()];
    let just_before = forgotten_at.before(Lifetime::from_secs(1));
    assert_eq!(store.forget(both.clone(), just_before).wait().unwrap(), 0);
    assert_eq!(store.forget(both, forgotten_at).wait().unwrap(), 1);
    assert!(store.grant(live.id()).unwrap().is_some());
    assert_eq!(store.grant(dead.id()).unwrap(), None);
}

fn grants_come_in_pages(store: &Arc<dyn Store>) {
    for number in 0..10 {
        assert_eq!(store.redeem(grant(number), at(1_000)).wait().unwrap(), Redeemed::New);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.grants_after(after, 4).unwrap();
        assert!(page.unreadable.is_empty() && page.grants.len() <= 4);
        seen.extend(page.grants);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..10).map(grant).collect::<Vec<_>>());
}

fn clients_are_written_replaced_and_removed(store: &Arc<dyn Store>) {
    store.put_client(client("one")).wait().unwrap();
    store.put_client(client("two")).wait().unwrap();
    let mut renamed = client("one");
    renamed.spec.as_mut().unwrap().name = "Another name".to_owned();
    store.put_client(renamed).wait().unwrap();
    assert!(store.remove_client(&client("two").id, at(70)).wait().unwrap());
    assert!(!store.remove_client(&client("two").id, at(80)).wait().unwrap());
    let clients = store.clients().unwrap();
    let seen: Vec<_> = clients
        .iter()
        .map(|c| (c.id.as_str(), c.spec.as_ref().map(|s| s.name.as_str()), c.not_before, c.changed_at))
        .collect();
    assert_eq!(seen, [("one", Some("Another name"), at(0), at(5)), ("two", None, at(70), at(70))]);
}

fn what_a_removal_ended_stays_ended(store: &Arc<dyn Store>) {
    store.put_client(client("one")).wait().unwrap();
    assert!(store.remove_client(&client("one").id, at(70)).wait().unwrap());
    store.put_client(client("one")).wait().unwrap();
    let clients = store.clients().unwrap();
    assert_eq!((clients.len(), clients[0].not_before, clients[0].spec.is_some()), (1, at(70), true));
}

fn a_client_that_fits_no_record_is_refused(store: &Arc<dyn Store>) {
    let mut large = client("large");
    large.spec.as_mut().unwrap().redirect_uris =
        (0..32).map(|n| format!("https://app.example/{n}/{}", "x".repeat(400))).collect();
    let error = store.put_client(large).wait().unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { bytes } if bytes > 12_000), "{error}");
    assert!(store.clients().unwrap().is_empty());
}

/// A client that alice registered at second 1,000, kept for 100 s.
fn registered(id: &str) -> RegisteredClient {
    let by = Registrar::Application(Registrant {
        subject: Subject::user(1001),
        login: "alice@example.com".to_owned(),
        device: DeviceId::parse("nALICE").unwrap(),
        device_name: "alice".to_owned(),
    });
    RegisteredClient {
        id: ClientId::parse(id).unwrap(),
        spec: client(id).spec.unwrap(),
        registration: Registration { by, at: at(1_000) },
        token: ClientSecret::new("t".repeat(43)).digest(),
        used_at: at(1_000),
        keep_for: Lifetime::from_secs(100),
        metadata: r#"{"client_uri":"https://app.example/"}"#.to_owned(),
    }
}

fn a_registration_lives_from_its_last_use(store: &Arc<dyn Store>) {
    let [one, two, ghost] = ["one", "two", "ghost"].map(registered);
    for client in [&two, &one] {
        store.put_registered(client.clone(), at(1_000)).wait().unwrap();
    }
    let read =
        |id: &ClientId, now| store.registered(id, at(now)).unwrap().map(|client| format!("{client:?}"));
    assert_eq!(read(&one.id, 1_099), Some(format!("{one:?}")));
    assert_eq!((read(&one.id, 1_100), read(&ghost.id, 1_000)), (None, None));
    let longer = Lifetime::from_secs(500);
    assert!(store.touch_registered(&one.id, longer, at(1_050)).wait().unwrap());
    let used = store.registered(&one.id, at(1_549)).unwrap().unwrap();
    assert_eq!((used.used_at, used.keep_for), (at(1_050), longer));
    assert!(!store.touch_registered(&two.id, longer, at(1_100)).wait().unwrap(), "its time is over");
    assert!(!store.touch_registered(&ghost.id, longer, at(1_000)).wait().unwrap());
    let ids = |after: Option<&ClientId>, limit| -> Vec<_> {
        store.registered_after(after, limit).unwrap().into_iter().map(|client| client.id).collect()
    };
    assert_eq!((ids(None, 1), ids(Some(&one.id), 9)), (vec![one.id.clone()], vec![two.id.clone()]));
    assert_eq!(store.forget_expired(64, at(1_200)).wait().unwrap(), 1);
    assert_eq!(ids(None, 9), [one.id]);
}

/// As many as come: nothing is refused, and nothing older makes place. In memory alone, where a commit costs nothing.
#[test]
fn thousands_of_registrations_are_kept_and_come_in_pages() {
    on_memory(|store| {
        let ids: Vec<_> = (0..5_000).map(|number| format!("client-{number:04}")).collect();
        for id in ids.iter().rev() {
            store.put_registered(registered(id), at(1_000)).wait().unwrap();
        }
        let mut seen: Vec<ClientId> = Vec::new();
        loop {
            let page = store.registered_after(seen.last(), 64).unwrap();
            assert!(page.len() <= 64);
            if page.is_empty() {
                break;
            }
            seen.extend(page.into_iter().map(|client| client.id));
        }
        assert!(seen.iter().map(ClientId::as_str).eq(&ids), "{} of {}", seen.len(), ids.len());
    });
}

fn a_registration_that_was_removed_never_comes_back(store: &Arc<dyn Store>) {
    let one = registered("one");
    let renamed = RegisteredClient { used_at: at(0), keep_for: Lifetime::from_secs(1), ..one.clone() };
    let renamed = RegisteredClient { metadata: "{}".to_owned(), ..renamed };
    assert!(!store.replace_registered(renamed.clone(), at(1_000)).wait().unwrap());
    store.put_registered(one.clone(), at(1_000)).wait().unwrap();
    assert!(store.replace_registered(renamed.clone(), at(1_010)).wait().unwrap());
    let now = store.registered(&one.id, at(1_020)).unwrap().unwrap();
    assert_eq!((now.metadata.as_str(), now.used_at, now.keep_for), ("{}", one.used_at, one.keep_for));
    assert!(store.remove_registered(&one.id, at(1_030)).wait().unwrap());
    assert!(!store.remove_registered(&one.id, at(1_030)).wait().unwrap());
    assert!(!store.replace_registered(renamed, at(1_030)).wait().unwrap());
    assert!(store.registered(&one.id, at(1_030)).unwrap().is_none());
}

fn a_registration_that_fits_no_record_is_refused(store: &Arc<dyn Store>) {
    let large = RegisteredClient { metadata: "x".repeat(store::LONGEST_RECORD), ..registered("one") };
    let refused = store.put_registered(large.clone(), at(1_000)).wait();
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    assert!(store.registered(&large.id, at(1_000)).unwrap().is_none());
}

fn approvals_stay_until_they_are_taken_back(store: &Arc<dyn Store>) {
    let id = ClientId::parse("https://app.example/client.json").unwrap();
    assert_eq!(store.approval(&id).unwrap(), None);
    assert!(!store.disapprove(&id, at(1_000)).wait().unwrap());
    let approved = |byte| store::Approval { digest: MetadataDigest::from_bytes([byte; 32]), at: at(1_000) };
    store.approve(&id, approved(1)).wait().unwrap();
    store.approve(&id, approved(2)).wait().unwrap();
    assert_eq!(store.forget_expired(64, at(4_000_000_000)).wait().unwrap(), 0);
    assert_eq!(store.approval(&id).unwrap(), Some(approved(2)));
    assert_eq!(store.disapproved_at(&id).unwrap(), at(0));
    assert!(store.disapprove(&id, at(1_000)).wait().unwrap());
    assert!(!store.disapprove(&id, at(1_001)).wait().unwrap(), "there is none any more");
    let known = || (store.approval(&id).unwrap(), store.disapproved_at(&id).unwrap());
    assert_eq!(known(), (None, at(1_000)));
    // The next one does not bring back what ended with the one before, and a clock that went back changes nothing.
    store.approve(&id, approved(3)).wait().unwrap();
    assert_eq!(known(), (Some(approved(3)), at(1_000)));
    assert!(store.disapprove(&id, at(990)).wait().unwrap());
    assert_eq!(known(), (None, at(1_000)));
}

fn a_clock_that_went_back_starts_an_epoch(store: &Arc<dyn Store>) {
    assert_eq!(store.begin_clock(at(100_000)).wait().unwrap(), CodeEpoch(0));
    assert_eq!(store.redeem(grant(1), at(200_000)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.begin_clock(at(200_000 - 3_600)).wait().unwrap(), CodeEpoch(0));
    assert_eq!(store.begin_clock(at(200_000 - 3_601)).wait().unwrap(), CodeEpoch(1));
    assert_eq!(store.begin_clock(at(200_000 - 3_601)).wait().unwrap(), CodeEpoch(1));
    assert_eq!(store.begin_clock(at(100_000)).wait().unwrap(), CodeEpoch(2));
}

fn a_closed_store_refuses_changes_and_reads_on(store: &Arc<dyn Store>) {
    let queued = store.redeem(grant(1), at(1_000));
    store.close();
    assert_eq!(queued.wait().unwrap(), Redeemed::New);
    assert!(matches!(store.redeem(grant(2), at(1_000)).wait(), Err(StoreError::Closed)));
    assert!(matches!(store.ping().wait(), Err(StoreError::Closed)));
    assert_eq!(store.grant(grant(1).id()).unwrap(), Some(grant(1)));
    store.close();
}

/// Runs the same thing on 16 threads at once.
fn race<T: Send + 'static>(
    store: &Arc<dyn Store>,
    run: impl Fn(&dyn Store) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(16));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (store, barrier, run) = (Arc::clone(store), Arc::clone(&barrier), run.clone());
            thread::spawn(move || {
                barrier.wait();
                run(&*store)
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn parallel_redemptions_have_one_winner(store: &Arc<dyn Store>) {
    for number in 0..20 {
        let outcomes = race(store, move |store| {
            let _intent = store.intent();
            store.redeem(grant(number), at(1_000)).wait().unwrap()
        });
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Redeemed::New).count(), 1);
        assert!(store.grant(grant(number).id()).unwrap().unwrap().is_revoked());
    }
}

fn parallel_refreshes_have_one_winner(store: &Arc<dyn Store>) {
    assert_eq!(store.redeem(grant(1), at(1_000)).wait().unwrap(), Redeemed::New);
    for shown in 0..20 {
        let outcomes = race(store, move |store| {
            store.rotate(grant(1).id(), generation(shown), at(1_010)).wait().unwrap()
        });
        let next = generation(shown + 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Rotated::Rotated(next)).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Rotated::Repeated(next)).count(), 15);
    }
    assert_eq!(store.grant(grant(1).id()).unwrap().unwrap().state().generation, generation(20));
}

fn mark(jti: &str, until: u64) -> Mark {
    Mark::new(MarkKind::Proof, "key", jti, at(until))
}

fn a_mark_is_made_once(store: &Arc<dyn Store>) {
    store.mark(vec![mark("a", 1_100)], at(1_000)).wait().unwrap();
    let seen = |answer: Result<(), StoreError>| matches!(answer, Err(StoreError::Seen(MarkKind::Proof)));
    assert!(seen(store.mark(vec![mark("a", 1_100)], at(1_099)).wait()));
    // What they came with does not happen when one is there; the others are used up all the same.
    let redeemed = store.redeem_once(grant(1), vec![mark("b", 1_100), mark("a", 1_100)], at(1_050));
    assert!(matches!(redeemed.wait(), Err(StoreError::Seen(MarkKind::Proof))));
    assert!(store.grant(grant(1).id()).unwrap().is_none());
    assert!(seen(store.mark(vec![mark("b", 1_100)], at(1_051)).wait()));
    let redeemed = store.redeem_once(grant(1), vec![mark("d", 1_100)], at(1_050)).wait();
    assert_eq!(redeemed.unwrap(), Redeemed::New);
    let rotate = |marks, now| store.rotate_once(grant(1).id(), generation(0), marks, at(now)).wait();
    assert!(matches!(rotate(vec![mark("b", 1_100)], 1_060), Err(StoreError::Seen(MarkKind::Proof))));
    assert_eq!(rotate(vec![mark("c", 1_100)], 1_060).unwrap(), Rotated::Rotated(generation(1)));
    store.mark(Vec::new(), at(1_000)).wait().unwrap();
    // Its time is over: what it marks has expired.
    store.mark(vec![mark("a", 1_300)], at(1_101)).wait().unwrap();
}

fn what_is_kept_for_a_time_is_forgotten_after_it(store: &Arc<dyn Store>) {
    for (jti, until) in [("a", 1_100), ("b", 1_200), ("c", 1_300)] {
        store.mark(vec![mark(jti, until)], at(1_000)).wait().unwrap();
    }
    assert_eq!(store.forget_expired(10, at(1_000)).wait().unwrap(), 0);
    assert_eq!(store.forget_expired(1, at(1_250)).wait().unwrap(), 1);
    assert_eq!(store.forget_expired(10, at(1_250)).wait().unwrap(), 1);
    assert!(matches!(
        store.mark(vec![mark("c", 1_300)], at(1_250)).wait(),
        Err(StoreError::Seen(MarkKind::Proof))
    ));
}

fn pushed_request(client: &str, state: &str, number: u8) -> PushedRequest {
    let pairs = [("state", state), ("resource", "a"), ("resource", "b")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    PushedRequest {
        client: ClientId::parse(client).unwrap(),
        params: Params::from_pairs(pairs).unwrap(),
        key: Some(Thumbprint::from_bytes([number; 32])),
    }
}

/// Pushes a request; `number` makes its name.
fn push(store: &dyn Store, client: &str, number: u8, lane: Lane, now: u64) -> Option<PushedId> {
    let once = Once { marks: Vec::new(), fresh: FreshSecret::from_bytes([number; 32]) };
    store.push(pushed_request(client, "s", number), lane, once, at(now)).wait().unwrap()
}

fn a_pushed_request_waits_for_its_client(store: &Arc<dyn Store>) {
    let (app, other) = (ClientId::parse("app").unwrap(), ClientId::parse("other").unwrap());
    let id = push(&**store, "app", 1, Lane::Tailnet, 1_000).unwrap();
    let read = |client, now| store.pushed(id, client, at(now)).unwrap();
    for now in [1_000, 1_030, 1_059] {
        let request = read(&app, now).unwrap();
        let pairs: Vec<_> = request.params.iter().collect();
        assert_eq!(pairs, [("state", "s"), ("resource", "a"), ("resource", "b")]);
        assert_eq!((request.client, request.key), (app.clone(), Some(Thumbprint::from_bytes([1; 32]))));
    }
    assert!(read(&app, 1_060).is_none() && read(&app, 1_061).is_none());
    assert!(read(&other, 1_000).is_none());
    let mut bytes = *id.as_bytes();
    bytes[31] ^= 1;
    let guessed = PushedId::from_bytes(bytes);
    assert!(store.pushed(guessed, &app, at(1_000)).unwrap().is_none());
    // The use of another name, or by another client, takes nothing away.
    for (id, client) in [(guessed, &app), (id, &other)] {
        assert!(store.finish_pushed(id, client, at(1_001)).wait().unwrap());
    }
    assert!(read(&app, 1_059).is_some());
}

fn a_pushed_request_is_used_once(store: &Arc<dyn Store>) {
    let app = ClientId::parse("app").unwrap();
    for number in 0..5 {
        let id = push(&**store, "app", number, Lane::Tailnet, 1_000).unwrap();
        let client = app.clone();
        let outcomes = race(store, move |store| store.finish_pushed(id, &client, at(1_010)).wait().unwrap());
        assert_eq!(outcomes.iter().filter(|first| **first).count(), 1);
        assert!(store.pushed(id, &app, at(1_011)).unwrap().is_none());
        for now in [1_011, 1_059, 1_061, 4_609] {
            assert!(!store.finish_pushed(id, &app, at(now)).wait().unwrap(), "{now}");
        }
    }
    // The page was answered after the request had expired.
    let late = push(&**store, "app", 9, Lane::Tailnet, 1_000).unwrap();
    assert!(store.finish_pushed(late, &app, at(1_300)).wait().unwrap());
    assert!(!store.finish_pushed(late, &app, at(1_301)).wait().unwrap());
}

/// What one client has waiting is bounded, and so is what stays behind without any sweep.
fn pushed_requests_have_their_places(store: &Arc<dyn Store>) {
    let names = |lane, now| {
        let push = |number| push(&**store, "app", number, lane, now);
        // A name looks at 16 places, and equal random bytes at the same ones.
        (0..17).filter_map(|_| push(1)).collect::<Vec<_>>()
    };
    let first = names(Lane::Tailnet, 1_000);
    assert_eq!(first.len(), 16);
    assert_eq!(names(Lane::Funnel, 1_000).len(), 16);
    assert!(push(&**store, "other", 1, Lane::Tailnet, 1_000).is_some());
    assert_eq!(push(&**store, "app", 1, Lane::Tailnet, 1_059), None);
    // A used one gives its place free.
    assert!(store.finish_pushed(first[0], &ClientId::parse("app").unwrap(), at(1_030)).wait().unwrap());
    assert_eq!(push(&**store, "app", 1, Lane::Tailnet, 1_059), Some(first[0]));
    assert_eq!(names(Lane::Tailnet, 1_119).len(), 16);
    // Two lanes of sixteen and one of another client, however often; and the mark of the used one.
    assert_eq!(store.forget_expired(1_000, at(10_000)).wait().unwrap(), 34);
}

fn a_pushed_request_comes_with_its_marks_and_fits(store: &Arc<dyn Store>) {
    let push = |state: &str, number, jti| {
        let once = Once { marks: vec![mark(jti, 1_100)], fresh: FreshSecret::from_bytes([number; 32]) };
        store.push(pushed_request("app", state, number), Lane::Tailnet, once, at(1_000)).wait()
    };
    let first = push("s", 1, "one").unwrap().unwrap();
    assert!(matches!(push("s", 2, "one"), Err(StoreError::Seen(MarkKind::Proof))));
    let large = push(&"x".repeat(7_200), 3, "two").unwrap_err();
    assert!(matches!(large, StoreError::TooLarge { bytes } if bytes > 7_168), "{large}");
    assert!(push(&"x".repeat(6_900), 4, "three").unwrap().is_some());
    assert!(store.pushed(first, &ClientId::parse("app").unwrap(), at(1_000)).unwrap().is_some());
}

fn user_code() -> UserCode {
    UserCode::parse("BCDF-GHJK").unwrap()
}

fn digest(number: u8) -> DeviceCodeDigest {
    DeviceCodeDigest::from_bytes([number; 32])
}

/// Begun at second 1,000 by `cli`; `number` makes the device code.
fn device(number: u8) -> DeviceAuthorization {
    let request = DeviceRequest {
        client: ClientId::parse("cli").unwrap(),
        scope: Scope::parse("openid"),
        resources: Vec::new(),
        code: digest(number),
        requester: None,
        place: Some(Place::Outside),
        started_at: at(1_000),
        expires_at: at(1_000).after(LIFETIME),
    };
    DeviceAuthorization { request, answer: None }
}

/// Says yes; the grant is the one of this number.
fn approval(number: u8) -> Approval {
    let facts = grant(number).facts().clone();
    let Holder::Person(seen) = facts.holder else { panic!("nobody") };
    Approval {
        consented: false,
        grant: grant(number).id(),
        subject: facts.subject,
        device: seen.device,
        address: seen.address,
        listener: seen.listener,
        at: at(1_050),
    }
}

/// What somebody is asked to allow.
pub(super) fn wish(host: &str, scope: &str) -> Wish {
    Wish::new(MetadataDigest::from_bytes([7; 32]), host, &[], &Scope::parse(scope))
}

fn consents_are_remembered_used_and_withdrawn(store: &Arc<dyn Store>) {
    let (alice, cli) = (Subject::user(1001), ClientId::parse("cli").unwrap());
    let answer = |wish: Wish, shown_at, now| {
        store.remember_consent(&alice, &cli, wish, at(shown_at), at(now)).wait().unwrap()
    };
    let remember = |wish: Wish, now| assert_eq!(answer(wish, now, now), Remembered::Now);
    let read = || store.consent(&alice, &cli).unwrap();
    let withdraw = |now| store.withdraw_consent(&alice, &cli, at(now)).wait().unwrap();
    assert_eq!((read(), withdraw(900)), (None, false));
    remember(wish("app.test", "openid"), 1_000);
    remember(wish("app.test", "openid"), 1_001);
    let consent = read().unwrap();
    assert_eq!((consent.allowed.len(), consent.used_at), (1, at(1_001)), "twice is once");
    assert!(consent.covers(&wish("app.test", "openid")));
    assert_eq!(store.consent(&Subject::user(2), &cli).unwrap(), None);
    assert_eq!(store.consent(&alice, &ClientId::parse("other").unwrap()).unwrap(), None);
    store.use_consent(&alice, &cli, at(2_000)).wait().unwrap();
    assert_eq!(read().unwrap().used_at, at(1_001), "a day is near enough");
    store.use_consent(&alice, &cli, at(90_000)).wait().unwrap();
    assert_eq!(read().unwrap().used_at, at(90_000));
    assert_eq!((withdraw(90_001), withdraw(90_002)), (true, false));
    let gone = read().unwrap();
    assert_eq!((gone.allowed.len(), gone.not_before), (0, at(90_001)));
    // A page that was open when it was withdrawn gives nothing back.
    for shown_at in [90_000, 90_001] {
        assert_eq!(answer(wish("app.test", "openid"), shown_at, 90_003), Remembered::Withdrawn);
        assert_eq!(read().as_ref(), Some(&gone), "and changes nothing");
    }
    // A withdrawal is remembered for longer than anything that was issued before lives.
    assert_eq!(store.forget_expired(10, at(90_001 + 399 * 86_400)).wait().unwrap(), 0);
    assert_eq!(store.forget_expired(10, at(90_001 + 400 * 86_400)).wait().unwrap(), 1);
    assert_eq!(read(), None);
}

fn consents_come_in_pages_by_person(store: &Arc<dyn Store>) {
    let people = [Subject::user(1), Subject::user(2)];
    for subject in &people {
        for client in ["a", "b", "c"] {
            let client = ClientId::parse(client).unwrap();
            store
                .remember_consent(subject, &client, wish("app.test", "openid"), at(1_000), at(1_000))
                .wait()
                .unwrap();
        }
    }
    for subject in &people {
        for (limit, count, more) in [(10, 3, false), (3, 3, false), (2, 2, true)] {
            let of = store.consents_of(subject, limit).unwrap();
            assert!(of.consents.iter().all(|consent| consent.subject == *subject));
            assert_eq!((of.consents.len(), of.more), (count, more), "{limit}");
        }
    }
    let nobody = store.consents_of(&Subject::user(3), 10).unwrap();
    assert!(nobody.consents.is_empty() && !nobody.more);
    let (mut seen, mut after) = (Vec::new(), None::<(Subject, ClientId)>);
    loop {
        let key = after.as_ref().map(|(subject, client)| (subject, client));
        let page = store.consents_after(key, 4).unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.subject.clone(), last.client.clone()));
        seen.extend(page);
    }
    assert_eq!(seen.len(), 6);
    let changes = seen.windows(2).filter(|pair| pair[0].subject != pair[1].subject).count();
    assert_eq!(changes, 1, "those of one person stand together");
    // What is withdrawn takes no place of what stands.
    let first = store.consents_of(&people[0], 3).unwrap().consents;
    for gone in &first[..2] {
        assert!(store.withdraw_consent(&people[0], &gone.client, at(1_001)).wait().unwrap());
    }
    let left = store.consents_of(&people[0], 1).unwrap();
    assert_eq!((&left.consents[..], left.more), (&first[2..], false));
}

fn a_withdrawn_consent_stops_codes_and_refreshes(store: &Arc<dyn Store>) {
    let (alice, cli) = (Subject::user(1001), ClientId::parse("cli").unwrap());
    let consented = |number: u8, issued_at| {
        let facts = GrantFacts { consented: true, issued_at: at(issued_at), ..grant(number).facts().clone() };
        Grant::new(grant(number).id(), facts, at(1_000))
    };
    let redeem = |number, issued_at| store.redeem(consented(number, issued_at), at(1_000)).wait().unwrap();
    let rotate =
        |number, shown, now| store.rotate(grant(number).id(), generation(shown), at(now)).wait().unwrap();
    assert_eq!(redeem(1, 990), Redeemed::ConsentWithdrawn, "there is none");
    assert_eq!(store.grant(grant(1).id()).unwrap(), None);
    store.remember_consent(&alice, &cli, wish("app.test", "openid"), at(980), at(980)).wait().unwrap();
    assert_eq!((redeem(1, 990), redeem(2, 990)), (Redeemed::New, Redeemed::New));
    assert_eq!(rotate(1, 0, 1_001), Rotated::Rotated(generation(1)));
    assert!(store.withdraw_consent(&alice, &cli, at(1_002)).wait().unwrap());
    assert_eq!(redeem(3, 1_001), Redeemed::ConsentWithdrawn);
    assert_eq!(rotate(1, 1, 1_003), Rotated::ConsentWithdrawn);
    assert!(store.grant(grant(1).id()).unwrap().unwrap().is_revoked());
    // Given again: for what is issued from now on.
    store.remember_consent(&alice, &cli, wish("app.test", "openid"), at(1_010), at(1_010)).wait().unwrap();
    assert_eq!(rotate(1, 1, 1_011), Rotated::Revoked);
    assert_eq!(rotate(2, 0, 1_011), Rotated::ConsentWithdrawn);
    assert_eq!((redeem(4, 1_002), redeem(5, 1_010)), (Redeemed::ConsentWithdrawn, Redeemed::New));
    // A grant that rests on none does not care.
    assert_eq!(store.redeem(grant(6), at(1_011)).wait().unwrap(), Redeemed::New);
}

fn a_device_authorization_is_answered_once(store: &Arc<dyn Store>) {
    let cli = ClientId::parse("cli").unwrap();
    let poll = |number, now| store.poll_device(user_code(), digest(number), &cli, at(now)).wait().unwrap();
    let decide = |number, answer, now| {
        store.decide_device(user_code(), digest(number), answer, at(now)).wait().unwrap()
    };
    assert_eq!(poll(1, 1_000), Polled::Unknown);
    assert_eq!(decide(1, DeviceAnswer::Denied, 1_000), Decided::Closed);
    assert_eq!(store.put_device(user_code(), device(1), at(1_000)).wait().unwrap(), Begun::New);
    assert_eq!(store.device_by_user_code(user_code()).unwrap(), Some(device(1)));
    assert_eq!((poll(1, 1_010), poll(2, 1_010)), (Polled::Pending, Polled::Unknown));
    assert_eq!(decide(2, DeviceAnswer::Denied, 1_020), Decided::Closed);
    assert_eq!(decide(1, DeviceAnswer::Approved(approval(1)), 1_050), Decided::Now);
    assert_eq!(decide(1, DeviceAnswer::Denied, 1_051), Decided::Closed);
    let approved = Polled::Approved(Box::new((device(1).request, approval(1))));
    assert_eq!((poll(1, 1_055), poll(1, 1_600)), (approved, Polled::Expired));
    // The grant is the used mark.
    assert_eq!(store.redeem(grant(1), at(1_055)).wait().unwrap(), Redeemed::New);
    assert_eq!(store.redeem(grant(1), at(1_060)).wait().unwrap(), Redeemed::Replayed);
}

fn a_user_code_is_given_once_at_a_time(store: &Arc<dyn Store>) {
    let put = |number, now| store.put_device(user_code(), device(number), at(now)).wait().unwrap();
    assert_eq!((put(1, 1_000), put(2, 1_001)), (Begun::New, Begun::Taken));
    assert_eq!(store.device_by_user_code(user_code()).unwrap(), Some(device(1)));
    assert_eq!(store.forget_expired(10, at(5_199)).wait().unwrap(), 0);
    assert_eq!(store.forget_expired(10, at(5_200)).wait().unwrap(), 1);
    assert_eq!(store.device_by_user_code(user_code()).unwrap(), None);
    assert_eq!(put(2, 5_200), Begun::New);
}

fn a_device_code_of_another_client_is_dead(store: &Arc<dyn Store>) {
    let poll = |client: &str, now| {
        let client = ClientId::parse(client).unwrap();
        store.poll_device(user_code(), digest(1), &client, at(now)).wait().unwrap()
    };
    store.put_device(user_code(), device(1), at(1_000)).wait().unwrap();
    assert_eq!(poll("thief", 1_001), Polled::WrongClient(None));
    assert_eq!(poll("cli", 1_002), Polled::Denied);
}

fn parallel_answers_have_one_winner(store: &Arc<dyn Store>) {
    store.put_device(user_code(), device(1), at(1_000)).wait().unwrap();
    let barrier = Barrier::new(8);
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8u8)
            .map(|number| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let answer = DeviceAnswer::Approved(approval(number));
                    store.decide_device(user_code(), digest(1), answer, at(1_050)).wait().unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| **answer == Decided::Now).count(), 1);
}

fn a_session_ends_once(store: &Arc<dyn Store>) {
    let id = |byte| SessionId::from_bytes([byte; 16]);
    assert!(!store.session_ended(id(1)).unwrap());
    assert!(store.end_session(id(1), at(2_000), at(1_000)).wait().unwrap());
    assert!(!store.end_session(id(1), at(1_500), at(1_001)).wait().unwrap());
    assert!(!store.end_session(id(1), at(3_000), at(1_002)).wait().unwrap());
    assert!(store.session_ended(id(1)).unwrap() && !store.session_ended(id(2)).unwrap());
    let of = |session| {
        let mut facts = grant(1).facts().clone();
        facts.session = session;
        Grant::new(grant(1).id(), facts, at(1_003))
    };
    let redeem = |session| store.redeem(of(session), at(1_003)).wait().unwrap();
    assert_eq!(redeem(Some(id(1))), Redeemed::SignedOut);
    assert_eq!(store.grant(grant(1).id()).unwrap(), None);
    assert_eq!(redeem(Some(id(2))), Redeemed::New);
    assert_eq!(redeem(Some(id(1))), Redeemed::Replayed);
    // Remembered until the later end.
    assert_eq!(store.forget_expired(10, at(2_999)).wait().unwrap(), 0);
    assert_eq!(store.forget_expired(10, at(3_000)).wait().unwrap(), 1);
    assert!(!store.session_ended(id(1)).unwrap());
}

fn a_ping_is_answered(store: &Arc<dyn Store>) {
    store.ping().wait().unwrap();
}
