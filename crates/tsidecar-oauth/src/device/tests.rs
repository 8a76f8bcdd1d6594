use proptest::prelude::*;

use super::*;
use crate::authorize::tests::resources;
use crate::client::ClientSpec;
use crate::client::tests::public;
use crate::fresh::FreshSecret;
use crate::identity::Device;
use crate::policy::tests::alice;
use crate::rule::TaggedIdentity;
use crate::secret::DeviceCode;
use crate::settle::tests::at;

/// The public client `cli`, with the grant.
pub(crate) fn device_client() -> ClientSpec {
    let grant_types = vec![GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::DeviceCode];
    ClientSpec { grant_types, ..public() }
}

pub(crate) fn device_code(number: u8) -> DeviceCode {
    DeviceCode::generate(UserCode::parse("BCDF-GHJK").unwrap(), FreshSecret::from_bytes([number; 32]))
}

/// Begun by alice's laptop at second 1,000 as `cli`.
pub(crate) fn authorization(number: u8) -> DeviceAuthorization {
    let client = Client::new(device_client(), UnixTime::default()).unwrap();
    let params = Params::parse(b"scope=openid+offline_access").unwrap();
    let place = Place::Device(alice().device.id);
    DeviceScope::validate(&params, &client, &resources()).unwrap().begin(
        &client,
        device_code(number).digest(),
        Some(Requester::of_person(&alice())),
        place,
        at(1_000),
    )
}

pub(crate) fn approval() -> Approval {
    Approval {
        consented: false,
        grant: GrantId::new(&alice().subject, FreshId::from_bytes([3; 16])),
        subject: alice().subject,
        device: alice().device.id,
        address: "100.64.0.2".parse().unwrap(),
        listener: Listener::host(),
        at: at(1_050),
    }
}

fn approved() -> DeviceAuthorization {
    DeviceAuthorization { answer: Some(DeviceAnswer::Approved(approval())), ..authorization(1) }
}

fn cli() -> ClientId {
    ClientId::parse("cli").unwrap()
}

fn polled(stored: Option<&DeviceAuthorization>, number: u8, now: u64) -> Polled {
    let settled = poll(stored, device_code(number).digest(), &cli(), at(now));
    assert_eq!(settled.write, None);
    settled.outcome
}

#[test]
fn only_clients_that_list_the_grant_begin() {
    let validate = |spec: ClientSpec, body: &str| {
        let client = Client::new(spec, UnixTime::default()).unwrap();
        DeviceScope::validate(&Params::parse(body.as_bytes()).unwrap(), &client, &resources())
    };
    let error = validate(public(), "scope=openid").unwrap_err();
    assert_eq!((error, error.code()), (DeviceError::NotAllowed, ErrorCode::UnauthorizedClient));
    let granted =
        validate(device_client(), "scope=openid+read+nonsense&resource=https://mcp.test/mcp/").unwrap();
    assert_eq!(granted.scope.to_string(), "openid read");
    assert_eq!(granted.resources[0].as_str(), "https://mcp.test/mcp");
    let error = validate(device_client(), "resource=https://unknown.test").unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidTarget);
}

#[test]
fn a_public_client_is_held_to_its_place() {
    let begun = authorization(1).request;
    assert_eq!(begun.place, Some(Place::Device(alice().device.id)));
    assert_eq!((begun.expires_at, authorization(1).kept_until()), (at(1_600), at(5_200)));
}

#[test]
fn a_user_code_has_one_authorization_at_a_time() {
    let first = begin(None, authorization(1), at(1_000));
    assert_eq!(first.outcome, Begun::New);
    let second = begin(first.write.as_ref(), authorization(2), at(5_199));
    assert_eq!((second.write, second.outcome), (None, Begun::Taken));
    assert_eq!(begin(first.write.as_ref(), authorization(2), at(5_200)).outcome, Begun::New);
}

#[test]
fn one_answer_to_what_was_shown() {
    let yes = || DeviceAnswer::Approved(approval());
    let decide = |stored: &DeviceAuthorization, number: u8, answer, now| {
        decide(Some(stored), device_code(number).digest(), answer, at(now))
    };
    let open = authorization(1);
    let done = decide(&open, 1, yes(), 1_599);
    assert_eq!((done.write.as_ref(), done.outcome), (Some(&approved()), Decided::Now));
    assert_eq!(decide(&approved(), 1, DeviceAnswer::Denied, 1_060).outcome, Decided::Closed);
    let denied = decide(&open, 1, DeviceAnswer::Denied, 1_010).write.unwrap();
    assert_eq!(decide(&denied, 1, yes(), 1_060), Settled { write: None, outcome: Decided::Closed });
    assert_eq!(decide(&open, 1, yes(), 1_600).outcome, Decided::Closed, "too late");
    assert_eq!(
        decide(&open, 2, yes(), 1_010).outcome,
        Decided::Closed,
        "another one with the same user code"
    );
}

#[test]
fn what_a_poll_is_told() {
    assert_eq!(polled(None, 1, 1_001), Polled::Unknown);
    assert_eq!(polled(Some(&authorization(1)), 2, 1_001), Polled::Unknown);
    assert_eq!(polled(Some(&authorization(1)), 1, 1_599), Polled::Pending);
    assert_eq!(polled(Some(&authorization(1)), 1, 1_600), Polled::Expired);
    assert_eq!(polled(Some(&approved()), 1, 1_600), Polled::Expired);
    let expected = Box::new((authorization(1).request, approval()));
    assert_eq!(polled(Some(&approved()), 1, 1_599), Polled::Approved(expected));
    let denied = DeviceAuthorization { answer: Some(DeviceAnswer::Denied), ..authorization(1) };
    assert_eq!(polled(Some(&denied), 1, 1_700), Polled::Denied);
}

/// A26: as with a code, whoever shows another client's ends it.
#[test]
fn a_device_code_in_wrong_hands_is_dead() {
    let thief = ClientId::parse("web").unwrap();
    let shown = device_code(1).digest();
    let settled = poll(Some(&authorization(1)), shown, &thief, at(1_010));
    assert_eq!(settled.outcome, Polled::WrongClient(None));
    assert_eq!(polled(settled.write.as_ref(), 1, 1_011), Polled::Denied);
    let settled = poll(Some(&approved()), shown, &thief, at(1_060));
    assert_eq!(settled.outcome, Polled::WrongClient(Some(approval().grant)));
    let again = poll(settled.write.as_ref(), shown, &thief, at(1_061));
    assert_eq!(again, Settled { write: None, outcome: Polled::WrongClient(None) });
}

#[test]
fn relations_and_who_may_approve() {
    let own = Requester::of_person(&alice());
    let mut elsewhere = alice();
    elsewhere.device.id = DeviceId::parse("nPHONE").unwrap();
    let bob = Identity { subject: Subject::user(2), login: "bob@github".into(), ..elsewhere.clone() };
    let robot = Identity {
        kind: IdentityKind::Tagged(TaggedIdentity { subject: "robot".into(), email: None, name: None }),
        subject: Subject::tagged("robot").unwrap(),
        device: Device { id: DeviceId::parse("nCI").unwrap(), ..alice().device },
        ..alice()
    };
    let (of_bob, of_robot) = (Requester::of_person(&bob), Requester::of_person(&robot));
    let ci = Requester::tagged(&robot.device);
    assert_eq!(Relation::of(Some(&own), &alice()), Relation::Same);
    assert_eq!(Relation::of(Some(&own), &elsewhere), Relation::Own);
    assert_eq!(Relation::of(Some(&of_bob), &alice()), Relation::Foreign("bob@github"));
    assert_eq!(Relation::of(Some(&of_robot), &alice()), Relation::Tagged);
    assert_eq!(Relation::of(Some(&ci), &alice()), Relation::Tagged);
    assert_eq!(Relation::of(None, &alice()), Relation::Unknown);
    for relation in [Relation::Foreign("bob"), Relation::Tagged, Relation::Unknown] {
        assert!(relation.is_alien());
        assert_eq!(may_approve(Vouched::ByNobody, relation), Err(NotTheirs));
        assert_eq!(may_approve(Vouched::ByAdministrator, relation), Ok(()));
    }
    for relation in [Relation::Same, Relation::Own] {
        assert!(!relation.is_alien());
        assert_eq!(may_approve(Vouched::ByNobody, relation), Ok(()));
    }
}

#[test]
fn names_are_bounded_text() {
    let mut person = alice();
    person.device.name = format!("a\u{7}b\n{}", "x".repeat(500));
    person.login = String::new();
    let kept = Requester::of_person(&person);
    assert_eq!(kept.name.len(), 100);
    assert!(kept.name.starts_with("abx"));
    assert_eq!(kept.owner, Owner::Person { subject: person.subject, name: person.display_name });
}

/// One step of somebody: what is settled, by whom, when.
#[derive(Clone, Debug)]
enum Step {
    Begin(u8),
    Answer(u8, bool),
    Poll(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let step = prop_oneof![
        (1..4u8).prop_map(Step::Begin),
        (1..4u8, any::<bool>()).prop_map(|(n, yes)| Step::Answer(n, yes)),
        (1..4u8, prop::bool::weighted(0.9)).prop_map(|(n, right)| Step::Poll(n, right)),
    ];
    prop::collection::vec((step, 0..400u64), 1..60)
}

proptest! {
    /// Whatever happens in whatever order: an answer is never replaced by a yes, nothing is given out late, to another client, or
    /// for a code that was not shown.
    #[test]
    fn an_answer_stands(steps in steps()) {
        let (mut stored, mut now) = (None::<DeviceAuthorization>, 1_000);
        for (step, after) in steps {
            now += after;
            let before = stored.clone();
            let write = match step {
                Step::Begin(n) => {
                    let mut draft = authorization(n);
                    (draft.request.started_at, draft.request.expires_at) = (at(now), at(now).after(LIFETIME));
                    begin(stored.as_ref(), draft, at(now)).write
                }
                Step::Answer(n, yes) => {
                    let answer = if yes { DeviceAnswer::Approved(approval()) } else { DeviceAnswer::Denied };
                    decide(stored.as_ref(), device_code(n).digest(), answer, at(now)).write
                }
                Step::Poll(n, right) => {
                    let client = if right { cli() } else { ClientId::parse("web").unwrap() };
                    let settled = poll(stored.as_ref(), device_code(n).digest(), &client, at(now));
                    if let Polled::Approved(given) = &settled.outcome {
                        prop_assert!(right && given.0.code == device_code(n).digest());
                        prop_assert!(!given.0.expires_at.is_past(at(now)));
                    }
                    settled.write
                }
            };
            if let Some(write) = write {
                if let Some(before) = before.filter(|before| before.request == write.request) {
                    prop_assert!(before.answer.is_none() || write.answer == Some(DeviceAnswer::Denied));
                }
                stored = Some(write);
            }
        }
    }
}
