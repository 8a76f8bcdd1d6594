//! `/revoke`: any token of a grant ends the grant, for good.

use std::{sync::Barrier, thread};

use insta::assert_snapshot;

use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request,
    browser::RESOURCE,
    daemon::SECRET,
    tailnet::{INTERNET, NOBODY},
};

/// The request of a client that revokes.
fn revocation(app: &App<'_>, token: &str) -> Request {
    match app.secret {
        Some(secret) => Request::post("/revoke", &[("token", token)]).basic(app.id, secret),
        None => Request::post("/revoke", &[("token", token), ("client_id", app.id)]),
    }
}

#[track_caller]
fn revoke(app: &App<'_>, token: &str) -> Reply {
    app.daemon.send(&ALICE, revocation(app, token))
}

/// Nothing of a login works any more.
#[track_caller]
fn assert_dead(app: &App<'_>, login: &Reply) {
    let reply = app.refresh(&ALICE, &login.member("refresh_token"), &[]);
    assert_eq!(reply.error(), "invalid_grant", "{}", reply.show());
    let access = login.member("access_token");
    if access.starts_with("tsat_") {
        assert_eq!(app.userinfo(&ALICE, &access).error(), "invalid_token");
    }
}

#[test]
fn any_token_ends_the_grant() {
    let daemon = Daemon::new();
    for app in [App::public(&daemon), App::confidential(&daemon)] {
        for name in ["access_token", "refresh_token"] {
            for changes in [&[][..], &[("resource", RESOURCE), ("scope", "openid read")]] {
                let login = app.login(&ALICE, changes);
                let reply = revoke(&app, &login.member(name));
                assert_eq!((reply.status, reply.text().as_str()), (200, ""), "{}", reply.show());
                assert_dead(&app, &login);
            }
        }
    }
    let login = App::public(&daemon).login(&ALICE, &[]);
    assert_snapshot!(revoke(&App::public(&daemon), &login.member("access_token")).show(), @r"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    x-content-type-options: nosniff
    ");
    // Again, and from anywhere: it is as revoked as it was.
    let again = revocation(&App::public(&daemon), &login.member("refresh_token"));
    for who in [ALICE, BOB, NOBODY, INTERNET] {
        assert_eq!(daemon.send(&who, again.clone()).status, 200);
    }
    assert!(daemon.log().contains("grant_revoked"), "{}", daemon.log());
}

/// Whoever revokes with a token that was rotated away, or has expired, wants the grant ended as well.
#[test]
fn old_tokens_end_it_too() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let first = app.login(&ALICE, &[]);
    let second = app.refresh(&ALICE, &first.member("refresh_token"), &[]);
    assert_eq!(revoke(&app, &first.member("refresh_token")).status, 200);
    assert_dead(&app, &second);
    let login = app.login(&ALICE, &[]);
    daemon.at(700);
    assert_eq!(revoke(&app, &login.member("access_token")).status, 200);
    assert_dead(&app, &login);
}

#[test]
fn the_hint_is_only_a_hint() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    for hint in ["access_token", "refresh_token", "id_token", "nonsense"] {
        let login = app.login(&ALICE, &[]);
        let token = login.member("refresh_token");
        let pairs = [("token", token.as_str()), ("token_type_hint", hint), ("client_id", "cli")];
        assert_eq!(daemon.send(&ALICE, Request::post("/revoke", &pairs)).status, 200, "{hint}");
        assert_dead(&app, &login);
    }
}

/// RFC 7009 §2.2: what is no token (any more) is revoked already.
#[test]
fn unknown_tokens_are_fine() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[]);
    let access = login.member("access_token");
    let code = app.code(&ALICE, &[]);
    for token in [
        "nonsense",
        "tsat_nonsense",
        "tsrt_nonsense",
        &format!("{access}x"),
        &access[..access.len() - 1],
        &login.member("id_token"),
        &code,
    ] {
        let reply = revoke(&app, token);
        assert_eq!((reply.status, reply.text().as_str()), (200, ""), "{token}");
    }
    assert_eq!(app.userinfo(&ALICE, &access).status, 200, "none of them was a token of this grant");
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
}

/// A19; RFC 7009 §2.1: refused, and the client is told. Nothing is revoked.
#[test]
fn not_another_clients_tokens() {
    let daemon = Daemon::new();
    let (cli, web) = (App::public(&daemon), App::confidential(&daemon));
    let (of_cli, of_web) = (cli.login(&ALICE, &[]), web.login(&ALICE, &[]));
    assert_snapshot!(revoke(&web, &of_cli.member("access_token")).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_grant",
      "error_description": "the code or token was issued to another client"
    }
    "#);
    assert_eq!(revoke(&cli, &of_web.member("refresh_token")).error(), "invalid_grant");
    assert_eq!(cli.userinfo(&ALICE, &of_cli.member("access_token")).status, 200);
    assert_eq!(web.refresh(&ALICE, &of_web.member("refresh_token"), &[]).status, 200);
    assert!(daemon.log().contains("alert=true"), "{}", daemon.log());
}

#[test]
fn who_may_not_ask_at_all() {
    let daemon = Daemon::new();
    let web = App::confidential(&daemon);
    let login = web.login(&ALICE, &[]);
    let token = login.member("refresh_token");
    let bare = Request::post("/revoke", &[("token", &token)]);
    assert_snapshot!(daemon.send(&ALICE, bare.clone()).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "the client did not say who it is: no client_id and no HTTP Basic credentials"
    }
    "#);
    let by_id = Request::post("/revoke", &[("token", &token), ("client_id", "web")]);
    for request in [by_id, bare.basic("web", "wrong-wrong-wrong-wrong-wrong-wrong-wrong")] {
        let reply = daemon.send(&ALICE, request);
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"));
    }
    let empty = Request::post("/revoke", &[]).basic("web", SECRET);
    assert_snapshot!(daemon.send(&ALICE, empty).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "token is missing"
    }
    "#);
    let twice = Request::post("/revoke", &[("token", &token), ("token", &token)]).basic("web", SECRET);
    assert_eq!(daemon.send(&ALICE, twice).error(), "invalid_request");
    assert_eq!(web.refresh(&ALICE, &token, &[]).status, 200, "nothing was revoked");
}

/// A6, A7: what was answered is on disk.
#[test]
fn it_stays_revoked_after_kill_9() {
    let mut daemon = Daemon::new();
    let login = App::confidential(&daemon).login(&ALICE, &[]);
    assert_eq!(revoke(&App::confidential(&daemon), &login.member("access_token")).status, 200);
    daemon.kill();
    daemon.relaunch();
    assert_dead(&App::confidential(&daemon), &login);
}

/// Refreshes that race a revocation may win, but nothing lives on after it was answered.
#[test]
fn at_once_with_refreshes() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    for _ in 0..5 {
        let login = app.login(&ALICE, &[]);
        let (revocation, renewal) = (
            revocation(&app, &login.member("access_token")),
            app.renewal(&login.member("refresh_token"), &[]),
        );
        let barrier = Barrier::new(8);
        let replies: Vec<Reply> = thread::scope(|scope| {
            let send = |request: &Request| {
                barrier.wait();
                daemon.send(&ALICE, request.clone())
            };
            let threads: Vec<_> = (0..8)
                .map(|number| if number % 2 == 0 { &revocation } else { &renewal })
                .map(|request| scope.spawn(move || send(request)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(replies.iter().step_by(2).map(|reply| reply.status).collect::<Vec<_>>(), [200; 4]);
        for winner in replies.iter().skip(1).step_by(2).filter(|reply| reply.status == 200) {
            assert_dead(&app, winner);
        }
        assert_dead(&app, &login);
    }
}

/// A single-page application signs out from the browser.
#[test]
fn from_a_web_page() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[]);
    let request = revocation(&app, &login.member("refresh_token"))
        .header("Origin", "https://app.test")
        .header("Sec-Fetch-Site", "cross-site");
    let reply = daemon.send(&ALICE, request);
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
    assert_dead(&app, &login);
}
