//! `/userinfo`: claims of now, for a live token.

use insta::assert_snapshot;

use tsidecar_oauth::jose::{Jws, PublicKeys, Typ, VerifyAlgorithm};

use crate::support::{
    ALICE, App, BOB, Daemon, Request, Setup,
    browser::RESOURCE,
    tailnet::INTERNET,
    wire::{jwt, shown},
};

#[test]
fn three_ways_to_ask() {
    let daemon = Daemon::new();
    let token = App::public(&daemon).login(&ALICE, &[]).member("access_token");
    let get = daemon.send(&ALICE, Request::get("/userinfo").bearer(&token));
    assert_snapshot!(get.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "sub": "userid:1001",
      "name": "Alice Äxample",
      "preferred_username": "alice",
      "picture": "https://pics.test/alice.png",
      "email": "alice@example.com",
      "email_verified": true,
      "groups": [
        "group:eng"
      ],
      "team": "eng"
    }
    "#);
    let by_header = Request::new("POST", "/userinfo").bearer(&token);
    assert_eq!(daemon.send(&ALICE, by_header).body, get.body);
    assert_eq!(daemon.send(&ALICE, Request::post("/userinfo", &[("access_token", &token)])).body, get.body);
    let lower = Request::get("/userinfo").header("Authorization", &format!("bearer {token}"));
    assert_eq!(daemon.send(&ALICE, lower).body, get.body);
    // Applications ask from wherever they run.
    assert_eq!(daemon.send(&INTERNET, Request::get("/userinfo").bearer(&token)).body, get.body);
}

#[test]
fn claims_follow_the_scope() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let claims = |who, scope| {
        let token = app.login(who, &[("scope", scope)]).member("access_token");
        app.userinfo(who, &token).show()
    };
    assert_snapshot!(claims(&ALICE, "openid"), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "sub": "userid:1001",
      "team": "eng"
    }
    "#);
    assert_snapshot!(claims(&ALICE, "openid email"), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "sub": "userid:1001",
      "email": "alice@example.com",
      "email_verified": true,
      "team": "eng"
    }
    "#);
    assert_snapshot!(claims(&BOB, "openid profile email groups"), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "sub": "userid:1002",
      "name": "Bob <script>alert(1)</script>",
      "preferred_username": "bob@github",
      "email": "bob@github.idp.tail.test",
      "email_verified": false,
      "groups": []
    }
    "#);
}

#[test]
fn what_is_refused() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let shown = |request: Request| daemon.send(&ALICE, request).show();
    assert_snapshot!(shown(Request::get("/userinfo")), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Bearer realm="https://idp.tail.test"
    www-authenticate: DPoP realm="https://idp.tail.test", algs="RS256 PS256 ES256 EdDSA Ed25519"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "an access token is needed"
    }
    "#);
    assert_snapshot!(shown(Request::get("/userinfo").bearer("tsat_nonsense")), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Bearer realm="https://idp.tail.test", error="invalid_token", error_description="the access token is not valid here"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "the access token is not valid here"
    }
    "#);
    let token = app.login(&ALICE, &[]).member("access_token");
    let twice = Request::post("/userinfo", &[("access_token", &token)]).bearer(&token);
    assert_snapshot!(shown(twice), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Bearer realm="https://idp.tail.test", error="invalid_request", error_description="the request does not carry exactly one bearer token"
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the request does not carry exactly one bearer token"
    }
    "#);
    let web = App::confidential(&daemon).login(&ALICE, &[("scope", "profile")]).member("access_token");
    assert_snapshot!(shown(Request::get("/userinfo").bearer(&web)), @r#"
    403
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Bearer realm="https://idp.tail.test", error="insufficient_scope", error_description="the access token needs the scope openid", scope="openid"
    x-content-type-options: nosniff

    {
      "error": "insufficient_scope",
      "error_description": "the access token needs the scope openid"
    }
    "#);
    // Not by query, where it would stand in logs.
    assert_eq!(daemon.send(&ALICE, Request::get(&format!("/userinfo?access_token={token}"))).status, 401);
}

/// A20: neither an ID token nor the token of a resource nor a refresh token is an access token here.
#[test]
fn only_tokens_without_a_resource_are_taken() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[("resource", RESOURCE), ("scope", "openid read")]);
    for name in ["access_token", "id_token", "refresh_token"] {
        let reply = app.userinfo(&ALICE, &login.member(name));
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_token"), "{name}");
    }
}

#[test]
fn tokens_end() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("access_token");
    daemon.at(590);
    assert_eq!(app.userinfo(&ALICE, &token).status, 200);
    daemon.at(601);
    assert_eq!(app.userinfo(&ALICE, &token).error(), "invalid_token");
}

#[test]
fn a_removed_device_ends_them_at_once() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("access_token");
    daemon.change(&ALICE, |script| script.peers.retain(|node| node.id != 2));
    assert_eq!(app.userinfo(&BOB, &token).error(), "invalid_token");
}

#[test]
fn another_user_on_the_same_device_is_not_the_one_who_signed_in() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("access_token");
    daemon.change(&ALICE, |script| {
        let bob = script.peers[1].user.clone();
        script.peers[0].user = bob;
    });
    assert_eq!(app.userinfo(&BOB, &token).error(), "invalid_token");
}

#[test]
fn claims_are_those_of_now() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("access_token");
    daemon.change(&ALICE, |script| script.peers[0].user.name = "Alice Renamed".to_owned());
    assert_eq!(app.userinfo(&ALICE, &token).json()["name"], "Alice Renamed");
}

#[test]
fn tsidp_claims_by_switch() {
    let daemon = Setup::default().tables("[compat]\ntsidp_claims = true").start();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[("scope", "openid")]).member("access_token");
    assert_snapshot!(app.userinfo(&ALICE, &token).show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "sub": "userid:1001",
      "username": "alice@example.com",
      "team": "eng"
    }
    "#);
}

const SIGNED: &str = r#"[[client]]
id = "signed"
name = "Signed userinfo"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
userinfo_signed_response_alg = "EdDSA""#;

/// OpenID Connect Core §5.3.2: `iss` and `aud` beside the claims, and nothing that would make it an ID token.
#[test]
fn signed_for_a_client_that_asks() {
    let daemon = Setup::default().tables(SIGNED).start();
    let app = App { id: "signed", ..App::public(&daemon) };
    let login = app.login(&ALICE, &[("scope", "openid email")]);
    assert_eq!(jwt(&login.member("id_token")).0["alg"], "RS256");
    let reply = app.userinfo(&ALICE, &login.member("access_token"));
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/jwt")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let keys =
        PublicKeys::parse(&daemon.send(&ALICE, Request::get("/.well-known/jwks.json")).text()).unwrap();
    let token = reply.text();
    Jws::parse(&token).unwrap().verify(&keys, &[VerifyAlgorithm::EdDsa], Typ::Required(&["JWT"])).unwrap();
    assert_snapshot!(shown(&jwt(&token).1), @r#"
    {
      "iss": "https://idp.tail.test",
      "aud": "signed",
      "sub": "userid:1001",
      "email": "alice@example.com",
      "email_verified": true,
      "team": "eng"
    }
    "#);
    // Errors stay what they are, and other clients get JSON.
    assert_eq!(app.userinfo(&ALICE, "tsat_nonsense").error(), "invalid_token");
    let plain = App::public(&daemon).login(&ALICE, &[]).member("access_token");
    assert_eq!(app.userinfo(&ALICE, &plain).header("content-type"), Some("application/json"));
}
