//! `DPoP` (RFC 9449) at `/token` and `/userinfo`: what is bound to a key, each proof once, nonces. What a proof must be like is in
//! `dpop_proofs.rs`, pushed requests and FAPI 2.0 in `dpop_fapi.rs`.
//!
//! The names of modules of the `OpenID` suite stand beside the cases (reference/oauth.md 3.7).

use insta::assert_snapshot;
use serde_json::json;

use crate::device;
use crate::support::proof::{Prover, now};
use crate::support::{
    ALICE, App, BOB, Daemon, Pairs, Reply, Setup, browser::RESOURCE, tailnet::PHONE, wire::jwt,
};

/// A login whose tokens are bound to a key.
#[track_caller]
pub(crate) fn login(app: &App<'_>, key: &Prover, changes: &Pairs) -> Reply {
    let code = app.code(&ALICE, changes);
    let reply = app.daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &json!({})));
    assert_eq!(reply.status, 200, "{}", reply.show());
    assert_eq!(reply.member("token_type"), "DPoP");
    reply
}

fn refresh(app: &App<'_>, key: &Prover, token: &str) -> Reply {
    app.daemon.send(&ALICE, key.prove(app.renewal(token, &[]), &json!({})))
}

/// A refusal at `/token`: the code, and nothing of a token.
#[track_caller]
pub(crate) fn refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, reply.error().as_str()), (400, error), "{}", reply.show());
}

#[test]
fn tokens_of_a_public_client_are_bound_to_its_key() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let first = login(&app, &key, &[]);
    assert_snapshot!(first.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[opaque]",
      "token_type": "DPoP",
      "expires_in": 600,
      "refresh_token": "[refresh]",
      "id_token": "[JWT]",
      "scope": "openid profile email groups"
    }
    "#);
    let userinfo = daemon.send(&ALICE, key.userinfo(&first.member("access_token"), &json!({})));
    assert_snapshot!(userinfo.show(), @r#"
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
}

#[test]
fn a_refresh_token_of_a_public_client_needs_its_key() {
    let daemon = Daemon::new();
    let (app, key, other) = (App::public(&daemon), Prover::new(), Prover::new());
    let token = login(&app, &key, &[]).member("refresh_token");
    assert_snapshot!(refresh(&app, &other, &token).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_grant",
      "error_description": "DPoP: the code or token is bound to another key"
    }
    "#);
    assert_snapshot!(app.refresh(&ALICE, &token, &[]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_dpop_proof",
      "error_description": "DPoP: a proof is needed"
    }
    "#);
    let second = refresh(&app, &key, &token);
    assert_eq!(second.member("token_type"), "DPoP");
    assert_eq!(daemon.send(&ALICE, key.userinfo(&second.member("access_token"), &json!({}))).status, 200);
    // The key is the bond, not the place.
    let renewal = app.renewal(&second.member("refresh_token"), &[]);
    assert_eq!(daemon.send(&BOB, key.prove(renewal, &json!({}))).status, 200);
}

/// `refresh-token`: the bond of a confidential client is its authentication, and each access token has the key of its request.
#[test]
fn a_confidential_client_refreshes_with_a_new_key() {
    let daemon = Daemon::new();
    let (app, old, new) = (App::confidential(&daemon), Prover::new(), Prover::new());
    let reply = refresh(&app, &new, &login(&app, &old, &[]).member("refresh_token"));
    let token = reply.member("access_token");
    assert_eq!(daemon.send(&ALICE, new.userinfo(&token, &json!({}))).status, 200);
    assert_eq!(daemon.send(&ALICE, old.userinfo(&token, &json!({}))).error(), "invalid_token");
    // Without a proof nothing is bound.
    let bearer = app.refresh(&ALICE, &reply.member("refresh_token"), &[]);
    assert_eq!(bearer.member("token_type"), "Bearer");
    assert_eq!(app.userinfo(&ALICE, &bearer.member("access_token")).status, 200);
}

/// RFC 9449 §6.1: `cnf` of a JWT, in the answers to a code and to a refresh token.
#[test]
fn a_token_for_a_resource_names_the_key() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let first = login(&app, &key, &[("resource", RESOURCE), ("scope", "openid read")]);
    for reply in [refresh(&app, &key, &first.member("refresh_token")), first] {
        let (header, claims) = jwt(&reply.member("access_token"));
        assert_eq!((&header["typ"], &claims["cnf"]), (&json!("at+jwt"), &json!({ "jkt": key.jkt() })));
        assert_eq!(jwt(&reply.member("id_token")).1.get("cnf"), None);
    }
}

/// `ensure-dpop-auth-code-binding-success`, `ensure-token-endpoint-fails-with-mismatched-dpop-jkt`.
#[test]
fn a_code_is_bound_by_dpop_jkt() {
    let daemon = Daemon::new();
    let (key, other) = (Prover::new(), Prover::new());
    for app in [App::public(&daemon), App::confidential(&daemon)] {
        for bad in ["short", &format!("{}=", key.jkt()), &key.jkt()[1..]] {
            let reply = app.authorize(&ALICE, &[("dpop_jkt", bad)]);
            assert_eq!(reply.redirected("error"), "invalid_request", "{bad}");
        }
        let code = app.code(&ALICE, &[("dpop_jkt", &key.jkt())]);
        refused(&app.redeem(&ALICE, &code, &[]), "invalid_dpop_proof");
        refused(&daemon.send(&ALICE, other.prove(app.redemption(&code, &[]), &json!({}))), "invalid_grant");
        // Nothing was burned.
        let redeemed = daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &json!({})));
        assert_eq!(redeemed.status, 200, "{}", redeemed.show());
    }
}

/// `ensure-holder-of-key-required`.
#[test]
fn a_client_may_be_obliged_to_prove_a_key() {
    let daemon = Setup::default()
        .tables(
            r#"[[client]]
id = "holder"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
dpop_bound_access_tokens = true"#,
        )
        .start();
    let (app, key) = (App { id: "holder", ..App::public(&daemon) }, Prover::new());
    let code = app.code(&ALICE, &[]);
    assert_snapshot!(app.redeem(&ALICE, &code, &[]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_dpop_proof",
      "error_description": "DPoP: a proof is needed"
    }
    "#);
    let redeemed = daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &json!({})));
    assert_eq!(redeemed.member("token_type"), "DPoP");
    refused(&app.refresh(&ALICE, &redeemed.member("refresh_token"), &[]), "invalid_dpop_proof");
    assert_eq!(refresh(&app, &key, &redeemed.member("refresh_token")).status, 200);
}

/// Each proof once, also after `kill -9`, and until it is too old.
#[test]
fn a_proof_is_good_once() {
    let mut daemon = Daemon::new();
    let key = Prover::new();
    let (token, first, renewal) = {
        let app = App::public(&daemon);
        let reply = login(&app, &key, &[]);
        let proof = key.proof("POST", "/token", &json!({}));
        let renewal = app.renewal(&reply.member("refresh_token"), &[]).header("DPoP", &proof);
        let renewed = daemon.send(&ALICE, renewal.clone());
        // The lost answer is given again for a fresh proof only.
        refused(&daemon.send(&ALICE, renewal), "invalid_dpop_proof");
        assert_eq!(refresh(&app, &key, &reply.member("refresh_token")).status, 200);
        let next = app.renewal(&renewed.member("refresh_token"), &[]).header("DPoP", &proof);
        (renewed.member("access_token"), renewed, next)
    };
    let request = key.userinfo(&token, &json!({}));
    assert_eq!(daemon.send(&ALICE, request.clone()).status, 200);
    assert_snapshot!(daemon.send(&ALICE, request.clone()).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: DPoP realm="https://idp.tail.test", error="invalid_dpop_proof", error_description="DPoP: the proof was used before (jti)", algs="RS256 PS256 ES256 EdDSA Ed25519"
    x-content-type-options: nosniff

    {
      "error": "invalid_dpop_proof",
      "error_description": "DPoP: the proof was used before (jti)"
    }
    "#);
    daemon.kill();
    daemon.relaunch();
    assert_eq!(daemon.send(&ALICE, request.clone()).error(), "invalid_dpop_proof");
    refused(&daemon.send(&ALICE, renewal), "invalid_dpop_proof");
    daemon.at(45);
    assert_eq!(daemon.send(&ALICE, request.clone()).error(), "invalid_dpop_proof");
    daemon.at(70);
    assert_eq!(daemon.send(&ALICE, request).error(), "invalid_dpop_proof");
    // What the refused requests showed was not used up.
    let fresh = json!({ "iat": now() + 70 });
    let app = App::public(&daemon);
    let renewal = app.renewal(&first.member("refresh_token"), &[]);
    assert_eq!(daemon.send(&ALICE, key.prove(renewal, &fresh)).status, 200);
}

/// RFC 9449 §8, §9.
#[test]
fn nonces_where_they_are_required() {
    let daemon = Setup::default().tables("[dpop]\nnonce = \"required\"").start();
    let (app, key) = (App::public(&daemon), Prover::new());
    let code = app.code(&ALICE, &[]);
    let told = daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &json!({})));
    assert_snapshot!(told.show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    dpop-nonce: [nonce]
    x-content-type-options: nosniff

    {
      "error": "use_dpop_nonce",
      "error_description": "DPoP: use the nonce of the DPoP-Nonce header"
    }
    "#);
    let nonce = told.header("dpop-nonce").unwrap().to_owned();
    // A clock that is wrong by an hour does not matter now.
    let with_nonce = json!({ "nonce": nonce, "iat": now() - 3_600 });
    let reply = daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &with_nonce));
    assert_eq!((reply.status, reply.header("dpop-nonce").is_some()), (200, true), "{}", reply.show());
    let token = reply.member("access_token");
    let told = daemon.send(&ALICE, key.userinfo(&token, &json!({})));
    assert_snapshot!(told.show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    dpop-nonce: [nonce]
    www-authenticate: DPoP realm="https://idp.tail.test", error="use_dpop_nonce", error_description="DPoP: use the nonce of the DPoP-Nonce header", algs="RS256 PS256 ES256 EdDSA Ed25519"
    x-content-type-options: nosniff

    {
      "error": "use_dpop_nonce",
      "error_description": "DPoP: use the nonce of the DPoP-Nonce header"
    }
    "#);
    let request = key.userinfo(&token, &json!({ "nonce": nonce, "iat": now() + 3_600 }));
    let reply = daemon.send(&ALICE, request.clone());
    assert_eq!((reply.status, reply.header("dpop-nonce").is_some()), (200, true), "{}", reply.show());
    daemon.at(100);
    assert_eq!(
        daemon.send(&ALICE, request).error(),
        "invalid_dpop_proof",
        "good once, as long as its nonce is"
    );
    daemon.at(241);
    let old = daemon.send(&ALICE, key.userinfo(&token, &json!({ "nonce": nonce })));
    assert_eq!((old.status, old.error().as_str()), (401, "use_dpop_nonce"));
    let fresh = old.header("dpop-nonce").unwrap();
    assert_ne!(fresh, nonce);
    assert_eq!(daemon.send(&ALICE, key.userinfo(&token, &json!({ "nonce": fresh }))).status, 200);
}

#[test]
fn who_has_no_key_never_notices_nonces() {
    let daemon = Setup::default().tables("[dpop]\nnonce = \"required\"").start();
    let app = App::public(&daemon);
    let bearer = app.login(&ALICE, &[]);
    assert_eq!(bearer.header("dpop-nonce"), None);
    assert_eq!(app.userinfo(&ALICE, &bearer.member("access_token")).status, 200);
}

/// Redemption asks the tailnet as ever; a proof of the key is no identity.
#[test]
fn a_key_is_not_a_person() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let code = app.code(&PHONE, &[]);
    let reply = daemon.send(&PHONE, key.prove(app.redemption(&code, &[]), &json!({})));
    daemon.change(&PHONE, |script| script.peers.retain(|node| node.id != 5));
    refused(&refresh(&app, &key, &reply.member("refresh_token")), "invalid_grant");
    let userinfo = daemon.send(&ALICE, key.userinfo(&reply.member("access_token"), &json!({})));
    assert_eq!(userinfo.error(), "invalid_token");
}

/// Of a proof nothing is in the log but the thumbprint of its key.
#[test]
fn the_log_has_the_key_and_not_the_proof() {
    let daemon = Setup::default().json_log().start();
    let (app, key) = (App::public(&daemon), Prover::new());
    let proof = key.proof("POST", "/token", &json!({ "jti": "a-very-secret-proof-id" }));
    let request = app.redemption(&app.code(&ALICE, &[]), &[]).header("DPoP", &proof);
    assert_eq!(daemon.send(&ALICE, request).status, 200);
    let log = daemon.log();
    assert!(log.contains(&key.jkt()));
    let signature = proof.rsplit('.').next().unwrap();
    assert!(!log.contains(signature) && !log.contains("a-very-secret-proof-id"));
}

/// RFC 9449 §5 with RFC 8628: a device proves its key with each poll, and what it gets is bound to it.
#[test]
fn a_device_without_a_browser_has_a_key_too() {
    let daemon = device::setup().start();
    let (app, key, other) = (device::tv(&daemon), Prover::new(), Prover::new());
    let begun = device::begin_tv(&daemon, &ALICE);
    let poll = || {
        let request =
            app.token_request(&[("grant_type", device::GRANT), ("device_code", &begun.device_code)], &[]);
        daemon.send(&ALICE, key.prove(request, &json!({})))
    };
    refused(&poll(), "authorization_pending");
    device::press(&daemon, &ALICE, &begun.user_code, "allow");
    let tokens = poll();
    assert_eq!(tokens.member("token_type"), "DPoP");
    assert_eq!(daemon.send(&ALICE, key.userinfo(&tokens.member("access_token"), &json!({}))).status, 200);
    let token = tokens.member("refresh_token");
    refused(&app.refresh(&ALICE, &token, &[]), "invalid_dpop_proof");
    refused(&refresh(&app, &other, &token), "invalid_grant");
    assert_eq!(refresh(&app, &key, &token).status, 200);
}
