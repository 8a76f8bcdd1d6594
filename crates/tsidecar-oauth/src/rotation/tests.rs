//! The life of keys: named moments first, then any sequence of ticks, crashes and commands.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;
const RS256: KeyKind = KeyKind::Signing(Algorithm::Rs256);
const EDDSA: KeyKind = KeyKind::Signing(Algorithm::EdDsa);

fn day(days: u64) -> UnixTime {
    UnixTime::from_secs((1_000 + days) * DAY)
}

fn policy() -> Policy {
    Policy { every: Some(Lifetime::from_days(90)), ahead: Lifetime::from_days(1), demand: Demand::default() }
}

/// The keys of a folder, and how steps change them.
#[derive(Clone, Default)]
struct Folder {
    keys: Vec<KeyRecord>,
    made: u32,
}

impl Folder {
    /// As a first start leaves it, on day 0.
    fn new() -> Self {
        let mut folder = Self::default();
        folder.tick(day(0));
        folder
    }

    fn apply(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Make(new) => {
                    self.made += 1;
                    self.keys.push(new.named(KeyId::parse(&format!("k{}", self.made)).unwrap()));
                }
                Step::Activate(key) | Step::Retire(key) | Step::Lengthen(key) => {
                    let known = self.keys.iter_mut().find(|known| known.id == key.id).unwrap();
                    assert_eq!((known.kind, known.serial), (key.kind, key.serial));
                    *known = key;
                }
                Step::Remove(key) => self.keys.retain(|known| known.id != key.id),
            }
        }
    }

    fn tick(&mut self, now: UnixTime) -> Vec<&'static str> {
        self.tick_with(now, &policy())
    }

    /// Takes every step that is due; none is due afterwards.
    fn tick_with(&mut self, now: UnixTime, policy: &Policy) -> Vec<&'static str> {
        let steps = plan(&self.keys, now, policy);
        let names = steps.iter().map(name).collect();
        self.apply(steps);
        assert_eq!(plan(&self.keys, now, policy), [], "a plan leaves nothing to do");
        names
    }

    /// The states of a kind, oldest key first: `next`, `active`, `retired`.
    fn states(&self, kind: KeyKind) -> Vec<&'static str> {
        let mut keys: Vec<_> = self.keys.iter().filter(|key| key.kind == kind).collect();
        keys.sort_by_key(|key| key.serial);
        keys.into_iter().map(|key| key.stage.state().as_str()).collect()
    }

    fn id(&self, kind: KeyKind) -> &str {
        in_use(&self.keys, kind).unwrap().id.as_str()
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Make(_) => "make",
        Step::Activate(_) => "activate",
        Step::Retire(_) => "retire",
        Step::Lengthen(_) => "lengthen",
        Step::Remove(_) => "remove",
    }
}

fn kind(step: &Step) -> KeyKind {
    match step {
        Step::Make(new) => new.kind,
        Step::Activate(key) | Step::Retire(key) | Step::Lengthen(key) | Step::Remove(key) => key.kind,
    }
}

#[test]
fn a_first_start_makes_one_active_key_of_each_kind() {
    let folder = Folder::new();
    let kinds: Vec<_> = folder.keys.iter().map(|key| key.kind.as_str()).collect();
    assert_eq!(kinds, ["RS256", "ES256", "sealing"]);
    assert!(folder.keys.iter().all(|key| key.stage == Stage::Active { activated_at: day(0) }));
    assert_eq!(folder.states(EDDSA), [""; 0]);
}

#[test]
fn a_key_is_published_a_day_before_it_signs_and_stays_until_its_tokens_are_gone() {
    let mut folder = Folder::new();
    let first = folder.id(RS256).to_owned();
    assert_eq!(folder.tick(UnixTime::from_secs(day(89).as_secs() - 1)), [""; 0]);
    assert_eq!(folder.tick(day(89)), ["make"; 3]);
    assert_eq!(folder.states(RS256), ["active", "next"]);
    assert_eq!(folder.id(RS256), first);
    assert_eq!(folder.tick(UnixTime::from_secs(day(90).as_secs() - 1)), [""; 0]);
    assert_eq!(folder.tick(day(90)), ["activate", "retire"].repeat(3));
    assert_eq!(folder.states(RS256), ["retired", "active"]);
    assert_ne!(folder.id(RS256), first);
    // Ten minutes of the longest token, and a week in which it is a hint.
    let gone = UnixTime::from_secs(day(97).as_secs() + 600);
    assert_eq!(folder.tick(UnixTime::from_secs(gone.as_secs() - 1)), [""; 0]);
    assert_eq!(folder.tick(gone), ["remove"; 2]);
    assert_eq!(folder.states(RS256), ["active"]);
    // A browser says for 400 days that somebody signed out, and so long lives what opens that.
    assert_eq!(folder.states(KeyKind::Sealing), ["retired", "active"]);
    for month in 4..20 {
        folder.tick(day(month * 30));
        folder.tick(day(month * 30 + 1));
    }
    assert_eq!(folder.states(KeyKind::Sealing).join(" "), "retired ".repeat(5) + "active");
}

#[test]
fn nothing_rotates_by_itself_when_that_is_switched_off() {
    let mut folder = Folder::new();
    let never = Policy { every: None, ..policy() };
    assert_eq!(folder.tick_with(day(4_000), &never), [""; 0]);
    assert_eq!(in_use(&folder.keys, RS256).unwrap().retires_at(&folder.keys, &never), None);
    let steps = rotate(&folder.keys, &[RS256], Haste::InTime, day(4_000), &never).unwrap();
    folder.apply(steps);
    let active = in_use(&folder.keys, RS256).unwrap();
    assert_eq!(active.retires_at(&folder.keys, &never), Some(day(4_001)));
    assert_eq!(folder.tick_with(day(4_001), &never), ["activate", "retire"]);
}

#[test]
fn an_algorithm_on_demand_is_made_at_once_and_retired_when_nobody_asks() {
    let mut folder = Folder::new();
    let client = ClientSpec { id_token_alg: Algorithm::EdDsa, ..ClientSpec::default() };
    let asked = Policy { demand: Demand::default().with_client(&client), ..policy() };
    assert_eq!(folder.tick_with(day(5), &asked), ["make"]);
    assert_eq!(folder.states(EDDSA), ["active"]);
    assert_eq!(folder.tick(day(6)), ["retire"]);
    // Asked for again: the retired key stays retired.
    assert_eq!(folder.tick_with(day(6), &asked), ["make"]);
    assert_eq!(folder.states(EDDSA), ["retired", "active"]);
    assert_eq!(folder.tick(day(14)), ["retire", "remove"]);
}

#[test]
fn longer_lives_keep_keys_longer_even_when_they_are_taken_back() {
    let mut folder = Folder::new();
    let mut client = ClientSpec::default();
    client.lives.id_token = Lifetime::from_secs(DAY);
    let long = Policy { demand: Demand::default().with_client(&client), ..policy() };
    assert_eq!(folder.tick_with(day(1), &long), ["lengthen"; 2]);
    assert_eq!(folder.tick(day(2)), [""; 0]);
    folder.tick(day(89));
    folder.tick(day(90));
    assert_eq!(folder.tick(UnixTime::from_secs(day(98).as_secs() - 1)), [""; 0]);
    assert_eq!(folder.tick(day(98)), ["remove"; 2]);
}

#[test]
fn a_commanded_rotation_waits_a_day_or_not() {
    let mut folder = Folder::new();
    let all = [RS256, KeyKind::Sealing];
    let steps = rotate(&folder.keys, &all, Haste::InTime, day(3), &policy()).unwrap();
    assert_eq!(steps.iter().map(name).collect::<Vec<_>>(), ["make"; 2]);
    folder.apply(steps);
    assert_eq!(rotate(&folder.keys, &all, Haste::InTime, day(3), &policy()), Ok(Vec::new()));
    let published = folder.keys.iter().find(|key| key.serial == 2 && key.kind == RS256).unwrap().id.clone();
    // In a hurry the key that is published already is taken.
    let steps = rotate(&folder.keys, &[RS256], Haste::Now, day(3), &policy()).unwrap();
    assert_eq!(steps.iter().map(name).collect::<Vec<_>>(), ["activate", "retire"]);
    folder.apply(steps);
    assert_eq!(folder.id(RS256), published.as_str());
    let steps = rotate(&folder.keys, &[RS256], Haste::Now, day(3), &policy()).unwrap();
    assert_eq!(steps.iter().map(name).collect::<Vec<_>>(), ["make", "retire"]);
    folder.apply(steps);
    assert_eq!(folder.states(RS256), ["retired", "retired", "active"]);
    assert_eq!(folder.tick(day(11)), ["activate", "retire", "remove", "remove"]);
    let none = rotate(&folder.keys, &[EDDSA], Haste::Now, day(11), &policy()).unwrap_err();
    assert_eq!(
        none.to_string(),
        "there is no EdDSA key: no client or resource asks for one, nor does [keys] algorithms"
    );
}

#[test]
fn a_compromised_key_goes_at_once() {
    let mut folder = Folder::new();
    let drop = |folder: &mut Folder, id: &str, now| {
        let steps = replace(&folder.keys, id, now, &policy()).unwrap();
        let names: Vec<_> = steps.iter().map(name).collect();
        folder.apply(steps);
        assert!(folder.keys.iter().all(|key| key.id.as_str() != id));
        let rest: Vec<_> = plan(&folder.keys, now, &policy());
        assert!(rest.iter().all(|step| kind(step) != RS256), "{rest:?}");
        names
    };
    let active = folder.id(RS256).to_owned();
    assert_eq!(drop(&mut folder, &active, day(1)), ["make", "remove"]);
    assert_eq!(folder.states(RS256), ["active"]);
    // The one that is published already comes into use before its time.
    folder.tick(day(90));
    let active = folder.id(RS256).to_owned();
    assert_eq!(folder.states(RS256), ["active", "next"]);
    assert_eq!(drop(&mut folder, &active, day(90)), ["activate", "remove"]);
    // A next key is replaced by another next key, a retired one by nothing.
    folder.apply(rotate(&folder.keys, &[RS256], Haste::InTime, day(91), &policy()).unwrap());
    let next = folder.keys.iter().find(|key| key.kind == RS256 && key.serial == 4).unwrap().id.clone();
    assert_eq!(drop(&mut folder, next.as_str(), day(91)), ["remove", "make"]);
    assert_eq!(folder.states(RS256), ["active", "next"]);
    folder.tick(day(92));
    let retired = folder.keys.iter().find(|key| key.kind == RS256 && key.serial == 3).unwrap().id.clone();
    assert_eq!(drop(&mut folder, retired.as_str(), day(92)), ["remove"]);
    let unknown = replace(&folder.keys, "nothing", day(92), &policy()).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no key \"nothing\"; `tsidecar keys list` shows them");
}

#[test]
fn a_clock_that_went_back_lets_everything_wait() {
    let mut folder = Folder::new();
    folder.tick(day(89));
    for earlier in [day(0), UnixTime::default()] {
        assert_eq!(folder.tick(earlier), [""; 0]);
    }
    // Commands work all the same, and the newer key counts although the older one claims a later time.
    let older = folder.id(RS256).to_owned();
    let early = UnixTime::from_secs(5);
    folder.apply(rotate(&folder.keys, &[RS256], Haste::Now, early, &policy()).unwrap());
    assert_ne!(folder.id(RS256), older);
    let retired = folder.keys.iter().find(|key| key.id.as_str() == older).unwrap();
    assert_eq!(retired.gone_at(), Some(UnixTime::from_secs(day(7).as_secs() + 600)));
}

/// Whatever prefix of a plan was durable, the next plan ends in the same states.
#[test]
fn a_crash_between_two_steps_costs_nothing() {
    let started = Folder::new();
    let mut rotating = started.clone();
    rotating.tick(day(89));
    let mut unknown = rotating.clone();
    unknown.apply(rotate(&unknown.keys, &[RS256], Haste::Now, day(89), &policy()).unwrap());
    for (folder, now) in
        [(Folder::default(), day(0)), (started, day(89)), (rotating, day(90)), (unknown, day(98))]
    {
        let mut whole = folder.clone();
        whole.tick(now);
        let steps = plan(&folder.keys, now, &policy());
        for done in 0..=steps.len() {
            let mut crashed = folder.clone();
            crashed.apply(steps[..done].to_vec());
            crashed.tick(now);
            for kind in KeyKind::ALL {
                assert_eq!(crashed.states(kind), whole.states(kind), "{kind} after {done} of {steps:?}");
            }
        }
    }
}

#[test]
fn names_of_kinds() {
    for kind in KeyKind::ALL {
        assert_eq!(KeyKind::try_from(kind.as_str().to_owned()), Ok(kind));
    }
    assert!(KeyKind::try_from("HS256".to_owned()).is_err());
}

/// What happens to a folder.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    ClockBack(u64),
    Tick,
    /// So many steps of a plan are durable, then the power goes.
    Crash(usize),
    Rotate(usize, Haste, usize),
    Compromised(usize),
    Ask(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let haste = prop_oneof![Just(Haste::InTime), Just(Haste::Now)];
    prop_oneof![
        3 => (0..50 * DAY).prop_map(Event::Wait),
        1 => (0..5 * DAY).prop_map(Event::ClockBack),
        6 => Just(Event::Tick),
        2 => (0..4_usize).prop_map(Event::Crash),
        1 => (0..4_usize, haste, 0..4_usize).prop_map(|(kind, haste, done)| Event::Rotate(kind, haste, done)),
        1 => (0..10_usize).prop_map(Event::Compromised),
        1 => any::<bool>().prop_map(Event::Ask),
    ]
}

/// What relying parties know: since when each key is published, and what was signed last with each.
#[derive(Default)]
struct World {
    folder: Folder,
    now: u64,
    went_back: bool,
    published: BTreeMap<String, u64>,
    expires: BTreeMap<String, u64>,
}

impl World {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.now)
    }

    /// Looks at the folder after an event; `urgent` keys may be used before they were published for a day.
    fn look(&mut self, policy: &Policy, urgent: bool) -> Result<(), TestCaseError> {
        for kind in KeyKind::ALL {
            let Some(key) = in_use(&self.folder.keys, kind) else { continue };
            let id = key.id.as_str().to_owned();
            let first_of_its_kind = key.stage == Stage::Active { activated_at: key.created_at };
            if !self.expires.contains_key(&id) && !urgent && !first_of_its_kind {
                let since = self.published.get(&id).copied().unwrap_or(self.now);
                prop_assert!(self.now >= since + DAY, "{} signs too early", id);
            }
            let expires = self.expires.entry(id).or_default();
            *expires = (*expires).max(self.now + policy.demand.longest(kind).as_secs());
        }
        for key in &self.folder.keys {
            self.published.entry(key.id.as_str().to_owned()).or_insert(self.now);
        }
        Ok(())
    }

    /// After a whole plan: one active key of each kind, at most one next, and nothing went too early.
    fn settled(&self, policy: &Policy, before: &[KeyRecord]) -> Result<(), TestCaseError> {
        for kind in KeyKind::ALL {
            let states = self.folder.states(kind);
            let count = |state| states.iter().filter(|known| **known == state).count();
            prop_assert_eq!(count("active"), usize::from(policy.demand.wants(kind)), "{} {:?}", kind, states);
            prop_assert!(count("next") <= 1);
        }
        let gone = before.iter().filter(|key| self.folder.keys.iter().all(|left| left.id != key.id));
        for key in gone.filter(|_| !self.went_back) {
            let expires = self.expires.get(key.id.as_str()).copied().unwrap_or_default();
            prop_assert!(self.now >= expires, "{:?} went while something of it lives", key);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn keys_under_any_sequence(events in proptest::collection::vec(event(), 1..60)) {
        let (mut world, mut policy) = (World { now: day(0).as_secs(), ..World::default() }, policy());
        world.folder.tick(world.now());
        world.look(&policy, false)?;
        for event in events {
            let (before, mut urgent) = (world.folder.keys.clone(), false);
            match event {
                Event::Wait(seconds) => world.now += seconds,
                Event::ClockBack(seconds) => {
                    world.now -= seconds;
                    world.went_back = true;
                }
                Event::Tick => {
                    let now = world.now();
                    world.folder.tick_with(now, &policy);
                    world.settled(&policy, &before)?;
                }
                Event::Crash(done) => {
                    let steps = plan(&before, world.now(), &policy);
                    world.folder.apply(steps.into_iter().take(done).collect());
                }
                Event::Rotate(kind, haste, done) => {
                    urgent = haste == Haste::Now;
                    let steps = rotate(&before, &[KeyKind::ALL[kind]], haste, world.now(), &policy);
                    world.folder.apply(steps.unwrap_or_default().into_iter().take(done).collect());
                }
                Event::Compromised(place) => {
                    urgent = true;
                    if let Some(key) = before.get(place) {
                        let steps = replace(&before, key.id.as_str(), world.now(), &policy).unwrap();
                        world.folder.apply(steps);
                    }
                }
                Event::Ask(eddsa) => {
                    let asked = eddsa.then_some(Algorithm::EdDsa);
                    policy.demand = Demand::default().with_algorithms(asked);
                }
            }
            // Whatever happened, RS256, ES256 and sealing can go on.
            for kind in [KeyKind::ALL[0], KeyKind::ALL[1], KeyKind::Sealing] {
                prop_assert!(in_use(&world.folder.keys, kind).is_some());
            }
            world.look(&policy, urgent)?;
        }
    }
}
