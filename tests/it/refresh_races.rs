//! Refresh tokens under races (design section 9, A6, A39; reference/oauth.md 4.4): processes that share one stored token, a
//! client or a daemon that dies between a change and its answer, and tokens that are shown again late.
//!
//! One token at a time is in `flow_refresh.rs`, kills under load are in `killed.rs`, revocations that race in `revoke.rs`.

use std::{
    collections::BTreeSet,
    io::Write as _,
    os::unix::net::UnixStream,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Who,
    browser::RESOURCE,
    proof::Prover,
    tailnet::{INTERNET, PHONE},
    through_serve,
    visitor::{answer, form_token},
    wire::Connection,
};
use crate::{dpop, register};

const DAY: i64 = 86_400;

/// So many processes share one stored token (claude-code#84440).
const PROCESSES: usize = 10;

/// Sends requests at the same moment, each over a connection of its own.
fn at_once(daemon: &Daemon, requests: &[Request]) -> Vec<Reply> {
    let barrier = Barrier::new(requests.len());
    let send = |request: &Request| {
        barrier.wait();
        daemon.send(&ALICE, request.clone())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = requests.iter().map(|request| scope.spawn(|| send(request))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The one refresh token that all answers have.
#[track_caller]
fn one_successor(replies: &[Reply]) -> String {
    let tokens: BTreeSet<_> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 200, "{}", reply.show());
            reply.member("refresh_token")
        })
        .collect();
    assert_eq!(tokens.len(), 1, "one successor for all");
    tokens.into_iter().next().unwrap()
}

/// A refresh token that leads nowhere any more, and what it is said to be.
#[track_caller]
fn is_dead(app: &App<'_>, token: &str) {
    let reply = app.refresh(&ALICE, token, &[]);
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{}", reply.show());
}

#[test]
fn ten_processes_with_one_token_share_its_successor() {
    let daemon = Daemon::new();
    for app in [App::public(&daemon), App::confidential(&daemon)] {
        let mut token = app.login(&ALICE, &[]).member("refresh_token");
        for _ in 0..5 {
            let replies = at_once(&daemon, &vec![app.renewal(&token, &[]); PROCESSES]);
            let next = one_successor(&replies);
            assert_ne!(next, token);
            for reply in &replies {
                assert_eq!(app.userinfo(&ALICE, &reply.member("access_token")).status, 200);
            }
            token = next;
        }
        assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200, "the family is alive");
    }
}

/// mcp-remote repeats the scopes it was granted, the SDKs the resource, others neither: one successor for all of them. One that
/// asks for more is refused and harms nobody.
#[test]
fn whatever_else_each_of_them_sends() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[("scope", "read write"), ("resource", RESOURCE)]);
    let (mut token, scope) = (login.member("refresh_token"), login.member("scope"));
    for _ in 0..3 {
        let plain = app.renewal(&token, &[]);
        let of_sdk = app.renewal(&token, &[("resource", RESOURCE)]);
        let of_remote = app.renewal(&token, &[("resource", RESOURCE), ("scope", &scope)]);
        let narrow = app.renewal(&token, &[("scope", "read"), ("resource", "https://mcp.test/mcp/")]);
        let wide = app.renewal(&token, &[("scope", "read write admin")]);
        let requests =
            [plain, of_sdk, of_remote, narrow, wide].map(|request| vec![request; PROCESSES / 5]).concat();
        let mut replies = at_once(&daemon, &requests);
        for refused in replies.split_off(4 * PROCESSES / 5) {
            assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_scope"));
        }
        token = one_successor(&replies);
        let scopes: Vec<_> = replies.iter().map(|reply| reply.member("scope")).collect();
        let pairs = [["read write"; 6].as_slice(), &["read"; 2]].concat();
        assert_eq!(scopes, pairs, "each has what it asked for, and the grant keeps its breadth");
    }
}

/// A token that is bound to a key, with a proof of its own for each request.
#[test]
fn processes_that_share_a_key() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let token = dpop::login(&app, &key, &[]).member("refresh_token");
    let renewal = || key.prove(app.renewal(&token, &[]), &json!({}));
    let next = one_successor(&at_once(&daemon, &[(); PROCESSES].map(|()| renewal())));
    assert_eq!(daemon.send(&ALICE, key.prove(app.renewal(&next, &[]), &json!({}))).status, 200);
}

/// serve's pool carries the requests of all clients over two connections.
#[test]
fn over_one_connection() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let mut token = app.login(&ALICE, &[]).member("refresh_token");
    let mut connection = Connection::open(&daemon.path("serve.sock"));
    for pipelined in [true, false] {
        let requests = vec![through_serve(&ALICE, app.renewal(&token, &[])); PROCESSES];
        let mut replies = Vec::new();
        for some in requests.chunks(if pipelined { PROCESSES } else { 1 }) {
            connection.send(some);
            replies.extend(some.iter().map(|_| connection.receive().unwrap()));
        }
        token = one_successor(&replies);
    }
    connection.send(&[through_serve(&ALICE, app.renewal(&token, &[]))]);
    assert_eq!(connection.receive().unwrap().status, 200, "the family is alive");
}

/// A client that dies before it has read or saved the answer, wherever in the request that was.
#[test]
fn a_client_that_died_gets_the_answer_again() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let mut token = app.login(&ALICE, &[]).member("refresh_token");
    for _ in 0..10 {
        let request = through_serve(&ALICE, app.renewal(&token, &[])).bytes();
        // Gone at once: the change may be made after the connection is.
        for _ in 0..3 {
            UnixStream::connect(daemon.path("serve.sock")).unwrap().write_all(&request).unwrap();
        }
        let replies: Vec<_> = (0..3).map(|_| app.refresh(&ALICE, &token, &[])).collect();
        token = one_successor(&replies);
    }
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
}

/// The daemon dies between the change and the answer: the same successor after its restart.
#[test]
fn a_daemon_that_died_gives_the_answer_again() {
    let mut daemon = Daemon::new();
    let mut token = App::public(&daemon).login(&ALICE, &[]).member("refresh_token");
    for _ in 0..4 {
        let issued = |daemon: &Daemon| daemon.log().matches("tokens were issued").count();
        let before = issued(&daemon);
        let mut connection = Connection::open(&daemon.path("serve.sock"));
        connection.send(&[through_serve(&ALICE, App::public(&daemon).renewal(&token, &[]))]);
        // The record of the change is written once it is on disk, and before anything is signed.
        let waiting = Instant::now();
        while issued(&daemon) == before {
            assert!(waiting.elapsed() < Duration::from_secs(20), "{}", daemon.log());
            thread::yield_now();
        }
        daemon.kill();
        let answered = connection.receive();
        daemon.relaunch();
        let app = App::public(&daemon);
        let replies: Vec<_> = (0..2).map(|_| app.refresh(&ALICE, &token, &[])).chain(answered).collect();
        token = one_successor(&replies);
    }
    assert_eq!(App::public(&daemon).refresh(&ALICE, &token, &[]).status, 200);
}

/// After the minute, and after the successor was used, it is reuse: the family is revoked, and stays so.
#[test]
fn the_grace_ends_for_good() {
    let mut daemon = Daemon::new();
    let app = App::public(&daemon);
    let logins = [(); 4].map(|()| app.login(&ALICE, &[]));
    let olds = logins.each_ref().map(|login| login.member("refresh_token"));
    let mut news = olds.each_ref().map(|old| app.refresh(&ALICE, old, &[]).member("refresh_token"));
    let [used, used_after_restart, late, late_after_restart] = [0, 1, 2, 3];
    for family in [used, used_after_restart] {
        news[family] = app.refresh(&ALICE, &news[family], &[]).member("refresh_token");
    }
    is_dead(&app, &olds[used]);
    daemon.kill();
    daemon.relaunch();
    let app = App::public(&daemon);
    is_dead(&app, &olds[used_after_restart]);
    assert_eq!(
        one_successor(&[app.refresh(&ALICE, &olds[late], &[])]),
        news[late],
        "the minute outlasts a restart"
    );
    daemon.at(62);
    is_dead(&app, &olds[late]);
    daemon.kill();
    daemon.relaunch();
    let app = App::public(&daemon);
    is_dead(&app, &olds[late_after_restart]);
    for (family, new) in news.iter().enumerate() {
        is_dead(&app, new);
        let access = app.userinfo(&ALICE, &logins[family].member("access_token"));
        assert_eq!((access.status, access.error().as_str()), (401, "invalid_token"));
    }
    let reused = daemon.log().matches("the refresh token was used before").count();
    assert_eq!(reused, 4, "each is in the audit trail once, as what it was");
}

/// claude-code#66210: an old copy of a token, days later, while the family is in use.
#[test]
fn an_old_copy_days_later_ends_the_family() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let old = app.login(&ALICE, &[]).member("refresh_token");
    let mut token = old.clone();
    for day in 0..5 {
        daemon.at(day * DAY);
        token = app.refresh(&ALICE, &token, &[]).member("refresh_token");
    }
    let bystander = app.login(&ALICE, &[]).member("refresh_token");
    let reply = app.refresh(&ALICE, &old, &[]);
    assert_eq!(reply.member("error_description"), "the refresh token was used before; the grant is revoked");
    is_dead(&app, &token);
    assert_eq!(
        app.refresh(&ALICE, &bystander, &[]).status,
        200,
        "another login of the same person is not harmed"
    );
    assert!(daemon.log().contains("event=\"token_refused\""), "{}", daemon.log());
}

/// A39: thief and victim inside the grace time. Whoever is elsewhere gets nothing and changes nothing, neither with the token
/// before nor with its successor; not even the reuse that would end the family.
#[test]
fn the_grace_is_for_the_same_place() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let old = app.login(&ALICE, &[]).member("refresh_token");
    let page = |request: Request| {
        request.header("Origin", "https://evil.test").header("Sec-Fetch-Site", "cross-site")
    };
    let from_elsewhere = |token: &str| {
        let mut replies: Vec<_> =
            [&BOB, &PHONE, &INTERNET].map(|who: &Who| app.refresh(who, token, &[])).into();
        replies.push(daemon.send(&ALICE, page(app.renewal(token, &[]))));
        for reply in replies {
            assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{}", reply.show());
            assert!(!reply.text().contains("tsrt_"));
        }
    };
    let mut replies = at_once(&daemon, &vec![app.renewal(&old, &[]); 2]);
    from_elsewhere(&old);
    replies.push(app.refresh(&ALICE, &old, &[]));
    let new = one_successor(&replies);
    from_elsewhere(&new);
    let newest = app.refresh(&ALICE, &new, &[]).member("refresh_token");
    from_elsewhere(&old);
    assert_eq!(app.refresh(&ALICE, &newest, &[]).status, 200);
}

/// A client that registered itself, at somebody's device; whom it does not belong to allows it on a page once.
fn registered<'d>(daemon: &'d Daemon, by: &Who) -> App<'d> {
    let metadata = json!({ "client_name": "Probe", "redirect_uris": ["http://127.0.0.1:8123/callback"],
        "token_endpoint_auth_method": "none" });
    let id = register::register(daemon, by, &metadata).member("client_id").leak();
    let app = App { id, ..App::public(daemon) };
    let first = app.authorize(&ALICE, &[]);
    if first.status == 200 {
        let target = "/authorize/consent".to_owned();
        let allowed = daemon.send(&ALICE, Request { target, ..answer(&form_token(&first), "allow") });
        allowed.redirected("code");
    }
    app
}

#[test]
fn ten_processes_of_a_client_that_registered_itself() {
    let daemon = register::open();
    for by in [&ALICE, &BOB] {
        let app = registered(&daemon, by);
        let mut token = app.login(&ALICE, &[]).member("refresh_token");
        for _ in 0..3 {
            token = one_successor(&at_once(&daemon, &vec![app.renewal(&token, &[]); PROCESSES]));
        }
        assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200, "the family is alive");
    }
}

/// Refreshes until it is refused; every token that it was given, and the refusal.
fn refresh_until_refused(app: &App<'_>, mut token: String) -> (Vec<String>, String) {
    let mut tokens = vec![token.clone()];
    loop {
        let reply = app.refresh(&ALICE, &token, &[]);
        if reply.status != 200 {
            return (tokens, reply.error());
        }
        token = reply.member("refresh_token");
        tokens.extend([reply.member("access_token"), token.clone()]);
    }
}

/// The family is ended while its processes refresh, by an administrator, by the person who takes back what they allowed, or with
/// its client: whoever was answered before has a token that is dead now.
#[test]
fn nothing_lives_on_after_it_was_ended() {
    let daemon = register::open();
    for _ in 0..3 {
        for (app, command, error) in [
            (App::public(&daemon), ["grant", "revoke", "--client"].as_slice(), "invalid_grant"),
            (registered(&daemon, &BOB), &["consent", "revoke", "--client"], "invalid_grant"),
            (registered(&daemon, &ALICE), &["client", "remove"], "invalid_client"),
        ] {
            let token = app.login(&ALICE, &[]).member("refresh_token");
            let (ended, (tokens, refusal)) = thread::scope(|scope| {
                let refreshing = scope.spawn(|| refresh_until_refused(&app, token));
                let ended = daemon.run(&[command, &[app.id]].concat());
                (ended, refreshing.join().unwrap())
            });
            assert!(ended.status.success(), "{ended:?}");
            assert!([error, "invalid_grant"].contains(&refusal.as_str()), "{command:?}: {refusal}");
            for token in tokens {
                if token.starts_with("tsrt_") {
                    assert_eq!(app.refresh(&ALICE, &token, &[]).error(), error, "{command:?}");
                } else {
                    assert_eq!(app.userinfo(&ALICE, &token).error(), "invalid_token", "{command:?}");
                }
            }
        }
    }
}
