//! `/token`: both grants, every error code, client authentication.

use insta::assert_snapshot;

use crate::support::{
    ALICE, App, BOB, Daemon, Request, Setup, VERIFIER,
    browser::RESOURCE,
    daemon::SECRET,
    wire::{jwt, shown},
};

#[test]
fn a_code_becomes_tokens() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let reply = app.login(&ALICE, &[]);
    assert_snapshot!(reply.show(), @r#"
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
    let (header, claims) = jwt(&reply.member("id_token"));
    assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"JWT".into()));
    assert_snapshot!(shown(&claims), @r#"
    {
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "aud": "cli",
      "exp": "[time]",
      "iat": "[time]",
      "nbf": "[time]",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient",
      "nonce": "n0nce",
      "at_hash": "[at_hash]",
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
    let lives = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lives, 300);
}

#[test]
fn a_resource_gets_a_jwt_of_its_own() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let reply = app.login(&ALICE, &[("scope", "read"), ("resource", "https://mcp.test/mcp/")]);
    assert_snapshot!(reply.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[JWT]",
      "token_type": "Bearer",
      "expires_in": 600,
      "refresh_token": "[refresh]",
      "scope": "read"
    }
    "#);
    let (header, claims) = jwt(&reply.member("access_token"));
    assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"at+jwt".into()));
    assert_snapshot!(shown(&claims), @r#"
    {
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "aud": "https://mcp.test/mcp",
      "client_id": "cli",
      "exp": "[time]",
      "iat": "[time]",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient",
      "jti": "[jti]",
      "scope": "read"
    }
    "#);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
}

#[test]
fn without_openid_there_is_no_id_token() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let reply = app.login(&ALICE, &[("scope", "profile")]);
    assert!(reply.json().get("id_token").is_none());
    assert_eq!(reply.member("scope"), "profile");
}

#[test]
fn a_nonce_is_in_the_first_id_token_only() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let first = app.login(&ALICE, &[]);
    assert_eq!(jwt(&first.member("id_token")).1["nonce"], "n0nce");
    let second = app.refresh(&ALICE, &first.member("refresh_token"), &[]);
    let (one, two) = (jwt(&first.member("id_token")).1, jwt(&second.member("id_token")).1);
    assert_eq!(two.get("nonce"), None);
    assert_eq!((&one["sub"], &one["auth_time"], &one["aud"]), (&two["sub"], &two["auth_time"], &two["aud"]));
}

#[test]
fn es256_is_a_choice_of_the_client() {
    let daemon = Setup::default()
        .tables(
            r#"[[client]]
id = "fast"
name = "Fast"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
id_token_signed_response_alg = "ES256""#,
        )
        .start();
    let app = App { id: "fast", ..App::public(&daemon) };
    let token = app.login(&ALICE, &[]).member("id_token");
    assert_eq!(jwt(&token).0["alg"], "ES256");
}

#[test]
fn secrets_by_basic_and_by_post() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    assert_eq!(app.login(&ALICE, &[]).status, 200);
    let post = App { secret: None, ..app };
    let code = app.code(&ALICE, &[]);
    let reply = post.redeem(&ALICE, &code, &[("client_secret", SECRET)]);
    assert_eq!(reply.status, 200, "{}", reply.show());
}

#[test]
#[expect(clippy::too_many_lines, reason = "whole answers as snapshots")]
fn the_errors_of_the_token_endpoint() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, &[]);
    let shown = |request: Request| daemon.send(&ALICE, request).show();
    // invalid_request
    assert_snapshot!(shown(app.redemption("", &[])), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "code is missing"
    }
    "#);
    // unsupported_grant_type
    assert_snapshot!(shown(app.redemption(&code, &[("grant_type", "password")])), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "unsupported_grant_type",
      "error_description": "this grant_type is not supported"
    }
    "#);
    // invalid_client
    assert_snapshot!(shown(app.redemption(&code, &[("client_id", "unknown")])), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "unknown client"
    }
    "#);
    // invalid_client, by Basic
    let wrong = App { secret: Some("wrong"), ..App::confidential(&daemon) };
    assert_snapshot!(shown(wrong.redemption(&code, &[])), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Basic realm="https://idp.tail.test", charset="UTF-8"
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "client authentication failed"
    }
    "#);
    // invalid_grant
    assert_snapshot!(shown(app.redemption("nonsense", &[])), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_grant",
      "error_description": "the code or token is not valid"
    }
    "#);
    // invalid_target
    assert_snapshot!(shown(app.redemption(&code, &[("resource", RESOURCE)])), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_target",
      "error_description": "the resource https://mcp.test/mcp was not part of the authorization; name one that was, or authorize again"
    }
    "#);
    // and the code is still good
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
}

#[test]
fn invalid_scope_at_refresh() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[("scope", "openid profile")]);
    let token = login.member("refresh_token");
    assert_snapshot!(app.refresh(&ALICE, &token, &[("scope", "openid email")]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_scope",
      "error_description": "the scope is wider than the one that was granted"
    }
    "#);
    let narrow = app.refresh(&ALICE, &token, &[("scope", "openid")]);
    assert_eq!((narrow.status, narrow.member("scope")), (200, "openid".to_owned()));
    let again = app.refresh(&ALICE, &narrow.member("refresh_token"), &[]);
    assert_eq!(again.member("scope"), "openid profile");
}

#[test]
fn unauthorized_client() {
    let daemon = Setup::default()
        .tables(
            r#"[[client]]
id = "once"
name = "Once"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
grant_types = ["authorization_code"]"#,
        )
        .start();
    let app = App { id: "once", ..App::public(&daemon) };
    let login = app.login(&ALICE, &[]);
    assert!(login.json().get("refresh_token").is_none());
    assert_snapshot!(app.refresh(&ALICE, "tsrt_x", &[]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "unauthorized_client",
      "error_description": "this client may not use this grant_type"
    }
    "#);
}

#[test]
fn requests_that_are_no_token_requests() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, &[]);
    let good = app.redemption(&code, &[]);
    assert_snapshot!(daemon.send(&ALICE, Request::get("/token")).show(), @r#"
    405
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    allow: POST, OPTIONS
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the method is not allowed here"
    }
    "#);
    let json = Request { body: b"{}".to_vec(), ..good.clone().without("Content-Type") }
        .header("Content-Type", "application/json");
    assert_snapshot!(daemon.send(&ALICE, json).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the Content-Type must be application/x-www-form-urlencoded"
    }
    "#);
    let in_query = Request { target: format!("/token?code_verifier={VERIFIER}"), ..good.clone() };
    assert_eq!(daemon.send(&ALICE, in_query).error(), "invalid_request");
    let two_ways = app.redemption(&code, &[("client_secret", "x")]).basic("web", SECRET);
    assert_eq!(daemon.send(&ALICE, two_ways).error(), "invalid_request");
    let charset = good
        .without("Content-Type")
        .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    assert_eq!(daemon.send(&ALICE, charset).status, 200);
}

#[test]
fn a_code_is_bound_to_its_request() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, &[]);
    for changes in
        [[("redirect_uri", "http://127.0.0.1:9/callback")], [("code_verifier", "x")], [("code_verifier", "")]]
    {
        let reply = app.redeem(&ALICE, &code, &changes);
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{changes:?}");
    }
    let unchallenged = App::confidential(&daemon);
    let bare = unchallenged.code(&ALICE, &[("code_challenge", ""), ("code_challenge_method", "")]);
    assert_eq!(unchallenged.redeem(&ALICE, &bare, &[]).error(), "invalid_grant");
    assert_eq!(unchallenged.redeem(&ALICE, &bare, &[("code_verifier", "")]).status, 200);
}

#[test]
fn a_code_lives_for_a_minute() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, &[]);
    daemon.at(58);
    let late = app.code(&ALICE, &[]);
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
    daemon.at(125);
    assert_eq!(app.redeem(&ALICE, &late, &[]).error(), "invalid_grant");
}

/// The code knows whose it is: a confidential application redeems from its own server.
#[test]
fn anybody_may_redeem_for_a_confidential_client() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let code = app.code(&ALICE, &[]);
    let reply = app.redeem(&BOB, &code, &[]);
    assert_eq!(jwt(&reply.member("id_token")).1["sub"], "userid:1001");
    assert_eq!(app.refresh(&ALICE, &reply.member("refresh_token"), &[]).status, 200);
}
