//! Refresh tokens: rotation, grace, reuse, and what each refresh asks of the tailnet.

use insta::assert_snapshot;

use crate::support::{ALICE, App, BOB, Daemon, Setup, Who, browser::RESOURCE, tailnet::PHONE, wire::jwt};

#[test]
fn each_refresh_gives_the_next_token() {
    let daemon = Daemon::new();
    for app in [App::public(&daemon), App::confidential(&daemon)] {
        let mut token = app.login(&ALICE, &[]).member("refresh_token");
        for _ in 0..5 {
            let reply = app.refresh(&ALICE, &token, &[]);
            assert_eq!(reply.status, 200, "{}", reply.show());
            let next = reply.member("refresh_token");
            assert_ne!(next, token);
            assert_eq!(app.userinfo(&ALICE, &reply.member("access_token")).status, 200);
            token = next;
        }
    }
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("refresh_token");
    assert_snapshot!(app.refresh(&ALICE, &token, &[]).show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[opaque]",
      "token_type": "Bearer",
      "expires_in": 600,
      "refresh_token": "[refresh]",
      "id_token": "[JWT]",
      "scope": "openid profile email groups"
    }
    "#);
}

#[test]
fn a_lost_answer_is_given_again_for_a_minute() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let first = app.login(&ALICE, &[]).member("refresh_token");
    let second = app.refresh(&ALICE, &first, &[]).member("refresh_token");
    daemon.at(50);
    assert_eq!(app.refresh(&ALICE, &first, &[]).member("refresh_token"), second);
    assert_eq!(app.refresh(&ALICE, &second, &[]).status, 200);
}

#[test]
fn later_it_revokes_the_family() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[]);
    let first = login.member("refresh_token");
    let reply = app.refresh(&ALICE, &first, &[]);
    daemon.at(70);
    assert_snapshot!(app.refresh(&ALICE, &first, &[]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_grant",
      "error_description": "the refresh token was used before; the grant is revoked"
    }
    "#);
    assert_eq!(app.refresh(&ALICE, &reply.member("refresh_token"), &[]).error(), "invalid_grant");
    assert_eq!(app.userinfo(&ALICE, &reply.member("access_token")).error(), "invalid_token");
    assert_eq!(app.userinfo(&ALICE, &login.member("access_token")).error(), "invalid_token");
}

#[test]
fn a_used_successor_ends_the_grace() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let first = app.login(&ALICE, &[]).member("refresh_token");
    let second = app.refresh(&ALICE, &first, &[]).member("refresh_token");
    let third = app.refresh(&ALICE, &second, &[]).member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &first, &[]).error(), "invalid_grant");
    assert_eq!(app.refresh(&ALICE, &third, &[]).error(), "invalid_grant");
}

#[test]
fn tokens_lie_for_thirty_days_and_live_for_half_a_year() {
    const DAY: i64 = 86_400;
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let idle = app.login(&ALICE, &[]).member("refresh_token");
    let mut token = app.login(&ALICE, &[]).member("refresh_token");
    for month in 1..=6 {
        daemon.at(month * 29 * DAY);
        token = app.refresh(&ALICE, &token, &[]).member("refresh_token");
        if month == 2 {
            assert_eq!(app.refresh(&ALICE, &idle, &[]).error(), "invalid_grant");
        }
    }
    daemon.at(181 * DAY);
    assert_eq!(app.refresh(&ALICE, &token, &[]).error(), "invalid_grant");
}

#[test]
fn a_grant_may_be_narrowed_and_never_grows() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let changes = [("scope", "openid read write"), ("resource", RESOURCE)];
    let login = app.login(&ALICE, &changes);
    let token = login.member("refresh_token");
    let reply = app.refresh(&ALICE, &token, &[("scope", "read"), ("resource", RESOURCE)]);
    let claims = jwt(&reply.member("access_token")).1;
    assert_eq!((&claims["scope"], &claims["aud"]), (&"read".into(), &RESOURCE.into()));
    let token = reply.member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &token, &[("scope", "read admin")]).error(), "invalid_scope");
    assert_eq!(app.refresh(&ALICE, &token, &[("resource", "https://api.test")]).error(), "invalid_target");
    let plain = app.refresh(&ALICE, &token, &[]);
    assert_eq!(plain.member("scope"), "openid read write");
}

#[test]
fn the_device_is_asked_for_at_each_refresh() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&PHONE, &[]).member("refresh_token");
    let token = app.refresh(&PHONE, &token, &[]).member("refresh_token");
    daemon.change(&PHONE, |script| script.peers.retain(|node| node.id != 5));
    let confidential = App::confidential(&daemon);
    let gone = Who { login: None, ..PHONE };
    assert_eq!(app.refresh(&gone, &token, &[]).error(), "invalid_grant");
    let other = confidential.login(&ALICE, &[]).member("refresh_token");
    daemon.change(&ALICE, |script| script.peer_mut(ALICE.address).unwrap().expired = true);
    assert_eq!(confidential.refresh(&BOB, &other, &[]).error(), "invalid_grant");
}

#[test]
fn a_changed_grant_changes_claims_at_the_next_refresh() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[]);
    assert_eq!(jwt(&login.member("id_token")).1["team"], "eng");
    daemon.change(&ALICE, |script| script.peer_mut(ALICE.address).unwrap().grants.clear());
    let reply = app.refresh(&ALICE, &login.member("refresh_token"), &[]);
    assert_eq!(jwt(&reply.member("id_token")).1.get("team"), None);
}

#[test]
fn the_access_list_of_the_client_holds_at_each_refresh() {
    let daemon = Setup::default()
        .tables(
            r#"[[client]]
id = "engineers"
name = "Engineers"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
allow = { groups = ["group:eng"] }"#,
        )
        .start();
    let app = App { id: "engineers", ..App::public(&daemon) };
    assert_eq!(app.authorize(&BOB, &[]).redirected("error"), "access_denied");
    let token = app.login(&ALICE, &[]).member("refresh_token");
    daemon.change(&ALICE, |script| script.peer_mut(ALICE.address).unwrap().user.groups.clear());
    assert_eq!(app.refresh(&ALICE, &token, &[]).error(), "invalid_grant");
}

#[test]
fn while_tailscaled_is_away_nothing_is_burned() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("refresh_token");
    daemon.tailscaled.stop();
    let mut last = None;
    daemon.eventually("503 while tailscaled is away", || {
        let reply = app.refresh(&ALICE, &token, &[]);
        let refused = reply.status == 503;
        last = Some(reply);
        refused
    });
    let away = last.unwrap();
    assert_eq!((away.error().as_str(), away.header("retry-after")), ("temporarily_unavailable", Some("5")));
    assert!(away.member("error_description").contains("tailscaled"), "{}", away.show());
    daemon.tailscaled.restart().unwrap();
    daemon.wait_until_ready();
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
}
