//! Single flight, bounds, ages and invalidation of whois answers.

use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tsidecar_localapi::{CacheLimits, Destination, Error, NodeId, ServiceName, Stage, WhoIs, WhoisCache};

use crate::{
    client::{WHOIS, peer},
    daemon::{Daemon, Reply},
};

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Option<Arc<WhoIs>>, Error>> + 'a>>;

/// Starts a question, so that it is registered or under way when this returns.
async fn ask(cache: &WhoisCache, address: IpAddr) -> Asked<'_> {
    ask_for(cache, address, Destination::Host).await
}

async fn ask_for<'a>(cache: &'a WhoisCache, address: IpAddr, destination: Destination<'a>) -> Asked<'a> {
    let mut asked: Asked<'_> = Box::pin(cache.whois(address, destination));
    poll_fn(|context| {
        assert!(asked.as_mut().poll(context).is_pending(), "the answer was there already");
        Poll::Ready(())
    })
    .await;
    asked
}

/// Lets time pass for the cache, while real sockets stay real.
async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

fn cache(daemon: &Daemon) -> WhoisCache {
    WhoisCache::new(daemon.client(), CacheLimits::default())
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(100, 64, 1, number).into()
}

/// Answers with a node whose ID counts the answers.
fn counting() -> impl Fn(&crate::daemon::Seen) -> Reply + Send + Sync + 'static {
    let count = AtomicI64::new(0);
    move |seen| {
        if seen.path.contains("status") {
            return Reply::ok("{}");
        }
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::ok(format!(r#"{{"Node":{{"ID":{number}}},"UserProfile":{{"ID":3301}}}}"#))
    }
}

async fn id(asked: Asked<'_>) -> NodeId {
    asked.await.unwrap().unwrap().node.id
}

#[tokio::test]
async fn many_callers_are_one_request() {
    let mut daemon = Daemon::start_closed(counting());
    let cache = cache(&daemon);
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(ask(&cache, peer()).await);
    }
    daemon.arrivals.recv().await.unwrap();
    daemon.open(100);
    for caller in callers {
        assert_eq!(id(caller).await, NodeId(1));
    }
    assert_eq!(
        id(Box::pin(cache.whois("::ffff:100.64.0.2".parse().unwrap(), Destination::Host))).await,
        NodeId(1)
    );
    assert_eq!(daemon.paths().len(), 1);
}

#[tokio::test]
async fn answers_live_two_seconds_from_their_question() {
    let daemon = Daemon::start(counting());
    let eternal = CacheLimits { age: Duration::from_hours(1), ..CacheLimits::default() };
    let cache = WhoisCache::new(daemon.client(), eternal);
    let whois = || id(Box::pin(cache.whois(peer(), Destination::Host)));
    assert_eq!(whois().await, NodeId(1));
    pass(Duration::from_millis(1500)).await;
    assert_eq!(whois().await, NodeId(1));
    pass(Duration::from_millis(500)).await;
    assert_eq!(whois().await, NodeId(2));
}

#[tokio::test]
async fn the_age_of_a_slow_answer_counts_from_its_question() {
    let mut daemon = Daemon::start_closed(counting());
    let cache = cache(&daemon);
    let asked = ask(&cache, peer()).await;
    daemon.arrivals.recv().await.unwrap();
    pass(Duration::from_millis(1500)).await;
    daemon.open(2);
    assert_eq!(id(asked).await, NodeId(1));
    pass(Duration::from_millis(500)).await;
    assert_eq!(id(Box::pin(cache.whois(peer(), Destination::Host))).await, NodeId(2));
}

#[tokio::test]
async fn nobody_is_kept_too() {
    let daemon = Daemon::start(|_| Reply::status(404, "no match for IP:port"));
    let cache = cache(&daemon);
    for _ in 0..10 {
        assert_eq!(cache.whois(peer(), Destination::Host).await.unwrap(), None);
    }
    assert_eq!(daemon.paths().len(), 1);
    pass(Duration::from_secs(2)).await;
    assert_eq!(cache.whois(peer(), Destination::Host).await.unwrap(), None);
    assert_eq!(daemon.paths().len(), 2);
}

#[tokio::test]
async fn errors_reach_every_waiter_and_are_not_kept() {
    let mut daemon = Daemon::start_closed(|_| Reply::status(500, "oh"));
    let cache = cache(&daemon);
    let (first, second) = (ask(&cache, peer()).await, ask(&cache, peer()).await);
    daemon.arrivals.recv().await.unwrap();
    daemon.open(10);
    for asked in [first, second, Box::pin(cache.whois(peer(), Destination::Host))] {
        assert!(matches!(asked.await, Err(Error::Status { code: 500, .. })));
    }
    assert_eq!(daemon.paths().len(), 2);
}

#[tokio::test]
async fn destinations_are_kept_apart_and_invalidated_together() {
    let daemon = Daemon::start(counting());
    let cache = cache(&daemon);
    let (login, admin): (ServiceName, ServiceName) =
        ("svc:login".parse().unwrap(), "svc:admin".parse().unwrap());
    let destinations = [
        Destination::Host,
        Destination::Service(&login),
        Destination::Service(&admin),
        Destination::Address(address(9)),
    ];
    let round = async || {
        let mut ids = Vec::new();
        for destination in destinations {
            ids.push(id(Box::pin(cache.whois(peer(), destination))).await);
        }
        ids
    };
    let neighbour = id(Box::pin(cache.whois("100.64.0.3".parse().unwrap(), Destination::Host))).await;
    let first = round().await;
    assert_eq!(first, [2, 3, 4, 5].map(NodeId));
    assert_eq!(round().await, first);
    cache.invalidate_address("::ffff:100.64.0.2".parse().unwrap());
    assert_eq!(round().await, [6, 7, 8, 9].map(NodeId));
    assert_eq!(id(Box::pin(cache.whois("100.64.0.3".parse().unwrap(), Destination::Host))).await, neighbour);
    cache.invalidate_all();
    assert_eq!(round().await, [10, 11, 12, 13].map(NodeId));
}

#[tokio::test]
async fn an_answer_under_way_at_an_invalidation_is_not_kept() {
    for all in [false, true] {
        let mut daemon = Daemon::start_closed(counting());
        let cache = cache(&daemon);
        let before = ask(&cache, peer()).await;
        daemon.arrivals.recv().await.unwrap();
        if all {
            cache.invalidate_all();
        } else {
            cache.invalidate_address(peer());
        }
        daemon.open(1);
        assert_eq!(id(before).await, NodeId(1));
        let after = ask(&cache, peer()).await;
        daemon.open(1);
        assert_eq!(id(after).await, NodeId(2));
        assert_eq!(id(Box::pin(cache.whois(peer(), Destination::Host))).await, NodeId(2));
    }
}

#[tokio::test]
async fn nobody_joins_a_question_from_before_an_invalidation() {
    let mut daemon = Daemon::start_closed(counting());
    let cache = cache(&daemon);
    let before = ask(&cache, peer()).await;
    daemon.arrivals.recv().await.unwrap();
    cache.invalidate_address(peer());
    let after = ask(&cache, peer()).await;
    daemon.arrivals.recv().await.unwrap();
    daemon.open(2);
    // Whichever ends last, the newer answer is the one that stays.
    assert_eq!(id(after).await, NodeId(2));
    assert_eq!(id(before).await, NodeId(1));
    assert_eq!(id(Box::pin(cache.whois(peer(), Destination::Host))).await, NodeId(2));
    assert_eq!(daemon.paths().len(), 2);
}

/// Answers for 100.64.1.N with node N, and with nobody for N above 100.
fn by_address() -> impl Fn(&crate::daemon::Seen) -> Reply + Send + Sync + 'static {
    |seen| {
        let number: u8 = seen.path.rsplit('.').next().unwrap().parse().unwrap();
        if number > 100 {
            return Reply::status(404, "no match for IP:port");
        }
        Reply::ok(format!(r#"{{"Node":{{"ID":{number}}},"UserProfile":{{"ID":3301}}}}"#))
    }
}

#[tokio::test]
async fn a_change_on_the_bus_drops_what_it_is_about() {
    let daemon = Daemon::start(by_address());
    let cache = cache(&daemon);
    let all = vec![1, 2, 3, 101];
    let cases: [(&str, &[u8]); 14] = [
        ("{}", &[]),
        (r#"{"Version":"1.102.3","SessionID":"x","Prefs":{"RunSSH":true},"Health":{}}"#, &[]),
        (r#"{"PeersChanged":[{"ID":9,"Addresses":["100.64.9.9/32"]}]}"#, &[]),
        (r#"{"PeersChanged":[{"ID":9,"Addresses":["fd7a::9/128","100.64.1.2/32"]}]}"#, &[2]),
        (r#"{"PeersChanged":[{"ID":9,"Addresses":["100.64.1.101/32"]}]}"#, &[101]),
        (r#"{"PeersChanged":[{"ID":3,"Addresses":["100.64.9.9/32"]}]}"#, &[3]),
        (r#"{"PeersRemoved":[1,77]}"#, &[1]),
        (r#"{"PeerChangedPatch":[{"NodeID":2,"Online":false}]}"#, &[2]),
        (r#"{"PeersRemoved":[1],"PeerChangedPatch":[{"NodeID":3}]}"#, &[1, 3]),
        (r#"{"State":6}"#, &all),
        (r#"{"SelfChange":{"ID":50}}"#, &all),
        (r#"{"NetMap":{}}"#, &all),
        (r#"{"UserProfiles":{"3301":{"ID":3301}}}"#, &all),
        (r#"{"ErrMessage":"too slow"}"#, &all),
    ];
    for (change, dropped) in cases {
        for number in &all {
            cache.whois(address(*number), Destination::Host).await.unwrap();
        }
        let before = daemon.paths().len();
        cache.apply(&serde_json::from_str(change).unwrap());
        for number in &all {
            cache.whois(address(*number), Destination::Host).await.unwrap();
        }
        let asked: Vec<String> = daemon.paths().split_off(before);
        let expected = dropped.iter().map(|number| format!("/localapi/v0/whois?addr=100.64.1.{number}"));
        assert_eq!(asked, expected.collect::<Vec<_>>(), "{change}");
    }
}

#[tokio::test]
async fn a_change_of_any_peer_keeps_nothing_that_is_under_way() {
    for change in [r#"{"PeersRemoved":[77]}"#, r#"{"SelfChange":{}}"#] {
        let mut daemon = Daemon::start_closed(counting());
        let cache = cache(&daemon);
        let before = ask(&cache, peer()).await;
        daemon.arrivals.recv().await.unwrap();
        cache.apply(&serde_json::from_str(change).unwrap());
        daemon.open(2);
        assert_eq!(id(before).await, NodeId(1));
        assert_eq!(id(Box::pin(cache.whois(peer(), Destination::Host))).await, NodeId(2));
    }
}

#[tokio::test]
async fn a_question_outlives_its_callers() {
    let mut daemon = Daemon::start_closed(counting());
    let cache = cache(&daemon);
    drop(ask(&cache, peer()).await);
    daemon.arrivals.recv().await.unwrap();
    let follower = ask(&cache, peer()).await;
    drop(ask(&cache, peer()).await);
    daemon.open(1);
    assert_eq!(id(follower).await, NodeId(1));
    assert_eq!(daemon.paths().len(), 1);
}

#[tokio::test]
async fn tailscaled_gets_a_few_questions_at_once() {
    let mut daemon = Daemon::start_closed(counting());
    let limits = CacheLimits { concurrency: 3, ..CacheLimits::default() };
    let cache = WhoisCache::new(daemon.client(), limits);
    let mut callers = Vec::new();
    for number in 0..20 {
        callers.push(ask(&cache, address(number)).await);
    }
    for _ in 0..3 {
        daemon.arrivals.recv().await.unwrap();
    }
    for _ in 3..20 {
        daemon.open(1);
        daemon.arrivals.recv().await.unwrap();
    }
    daemon.open(3);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!((daemon.most_inside(), daemon.paths().len()), (3, 20));
}

#[tokio::test]
async fn waiting_for_a_turn_has_a_deadline() {
    let mut daemon = Daemon::start_closed(counting());
    let limits = CacheLimits { concurrency: 1, ..CacheLimits::default() };
    let cache = WhoisCache::new(daemon.client(), limits);
    let (first, second) = (ask(&cache, address(1)).await, ask(&cache, address(2)).await);
    daemon.arrivals.recv().await.unwrap();
    pass(Duration::from_secs(2)).await;
    let error = second.await.unwrap_err();
    assert!(matches!(error, Error::Timeout { stage: Stage::Turn | Stage::Answer, .. }), "{error:?}");
    let error = first.await.unwrap_err();
    assert!(matches!(error, Error::Timeout { stage: Stage::Answer, .. }), "{error:?}");
    daemon.open(100);
    assert!(cache.whois(address(2), Destination::Host).await.unwrap().is_some());
}

#[tokio::test]
async fn too_many_questions_are_refused() {
    let mut daemon = Daemon::start_closed(counting());
    let limits = CacheLimits { waiting: 2, ..CacheLimits::default() };
    let cache = WhoisCache::new(daemon.client(), limits);
    let first = ask(&cache, address(1)).await;
    daemon.arrivals.recv().await.unwrap();
    // Questions that nobody may join any more still count.
    cache.invalidate_all();
    let second = ask(&cache, address(1)).await;
    let error = cache.whois(address(2), Destination::Host).await.unwrap_err();
    assert!(matches!(error, Error::Busy { waiting: 2 }), "{error:?}");
    let joined = ask(&cache, address(1)).await;
    daemon.open(100);
    assert_eq!((id(first).await, id(second).await, id(joined).await), (NodeId(1), NodeId(2), NodeId(2)));
    assert!(cache.whois(address(2), Destination::Host).await.unwrap().is_some());
}

#[tokio::test]
async fn the_oldest_answers_make_room() {
    let by_count = CacheLimits { entries: 4, ..CacheLimits::default() };
    let by_bytes = CacheLimits { bytes: 4 * (WHOIS.len() + 600), ..CacheLimits::default() };
    for limits in [by_count, by_bytes] {
        let daemon = Daemon::start(counting());
        let cache = WhoisCache::new(daemon.client(), limits);
        for number in 1..=10 {
            cache.whois(address(number), Destination::Host).await.unwrap();
        }
        for number in [10, 9, 8, 7] {
            cache.whois(address(number), Destination::Host).await.unwrap();
        }
        assert_eq!(daemon.paths().len(), 10, "the four newest are kept: {limits:?}");
        cache.whois(address(1), Destination::Host).await.unwrap();
        assert_eq!(daemon.paths().len(), 11, "the oldest are not: {limits:?}");
    }
}

#[tokio::test]
async fn a_cache_without_room_still_answers() {
    let daemon = Daemon::start(counting());
    for limits in [
        CacheLimits { entries: 0, ..CacheLimits::default() },
        CacheLimits { bytes: 0, ..CacheLimits::default() },
        CacheLimits { age: Duration::ZERO, concurrency: 0, ..CacheLimits::default() },
    ] {
        let cache = WhoisCache::new(daemon.client(), limits);
        let first = id(Box::pin(cache.whois(peer(), Destination::Host))).await;
        assert_ne!(id(Box::pin(cache.whois(peer(), Destination::Host))).await, first);
    }
}

/// A change, its invalidation, and then a question: never may the answer be older than the change, whatever others ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_sees_what_was_before_an_invalidation() {
    let version = Arc::new(AtomicI64::new(1));
    let told = Arc::clone(&version);
    let daemon = Daemon::start(move |_| {
        let version = told.load(Ordering::SeqCst);
        Reply::ok(format!(r#"{{"Node":{{"ID":{version}}},"UserProfile":{{"ID":3301}}}}"#))
    });
    let cache = cache(&daemon);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (cache, version) = (cache.clone(), Arc::clone(&version));
        tasks.spawn(async move {
            for round in 0..200 {
                let since = if (task + round) % 4 == 0 {
                    let since = version.fetch_add(1, Ordering::SeqCst) + 1;
                    cache.invalidate_address(peer());
                    since
                } else {
                    0
                };
                let seen = cache.whois(peer(), Destination::Host).await.unwrap().unwrap().node.id;
                assert!(seen.0 >= since, "saw {seen} after {since}");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}
