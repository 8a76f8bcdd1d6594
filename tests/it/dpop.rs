//! `DPoP` (RFC 9449) at `/token` and `/userinfo`: what is bound to a key, and every row of reference/oauth.md 3.8.
//!
//! The names of modules of the `OpenID` suite stand beside the cases (reference/oauth.md 3.7).

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::private_key_jwt::{Signer, TYPE};
use crate::support::proof::{Prover, changed, now, shown};
use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup, browser::RESOURCE, tailnet::PHONE, wire::jwt,
};

/// A login whose tokens are bound to a key.
#[track_caller]
fn login(app: &App<'_>, key: &Prover, changes: &crate::support::Pairs) -> Reply {
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
fn refused(reply: &Reply, error: &str) {
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

/// The rows of 3.8 that are refused, but for those about the access token: changes to header and claims.
fn bad_proofs(key: &Prover) -> Vec<(&'static str, Value, Value)> {
    let none = json!({});
    let header = |name, change: Value| (name, change, json!({}));
    let claims = |name, change: Value| (name, none.clone(), change);
    let private = changed(key.0.public_jwk().clone(), &json!({ "d": "AAAA" }));
    let stranger = Prover::new();
    vec![
        header("no typ", json!({ "typ": null })),
        header("another typ", json!({ "typ": "JWT" })),
        header("no alg", json!({ "alg": null })),
        header("alg none", json!({ "alg": "none" })),
        header("a symmetric alg", json!({ "alg": "HS256" })),
        header("no jwk", json!({ "jwk": null })),
        header("a private jwk", json!({ "jwk": private })),
        header("an invalid signature", json!({ "jwk": stranger.0.public_jwk() })),
        claims("no jti", json!({ "jti": null })),
        claims("no htm", json!({ "htm": null })),
        claims("no htu", json!({ "htu": null })),
        claims("no iat", json!({ "iat": null })),
        claims("wrong htm", json!({ "htm": "PUT" })),
        claims("htm in small letters", json!({ "htm": "post" })),
        claims("htu of another host", json!({ "htu": "https://evil.test/token" })),
        claims("htu of another path", json!({ "htu": "https://idp.tail.test/other" })),
        claims("htu that is no text", json!({ "htu": 5 })),
        claims("iat an hour ago", json!({ "iat": now() - 3_600 })),
        claims("iat in an hour", json!({ "iat": now() + 3_600 })),
        claims("a nonce that nobody gave", json!({ "nonce": "made-up" })),
    ]
}

/// `dpop-negative-tests` at the token endpoint: nothing is burned, and a good proof passes after all of them.
#[test]
fn bad_proofs_at_the_token_endpoint() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let code = app.code(&ALICE, &[]);
    let ask = || app.redemption(&code, &[]);
    for (name, header, claims) in bad_proofs(&key) {
        let proof = key.proof_with("POST", "/token", &header, &claims);
        let reply = daemon.send(&ALICE, ask().header("DPoP", &proof));
        let error = if name.contains("nonce") { "use_dpop_nonce" } else { "invalid_dpop_proof" };
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{name}: {}", reply.show());
        assert_eq!(reply.header("dpop-nonce").is_some(), name.contains("nonce"), "{name}");
    }
    let good = key.proof("POST", "/token", &json!({}));
    let twice = ask().header("DPoP", &good).header("DPoP", &key.proof("POST", "/token", &json!({})));
    refused(&daemon.send(&ALICE, twice), "invalid_dpop_proof");
    for text in ["", "a.b.c", "nonsense", &good[..good.len() - 4]] {
        refused(&daemon.send(&ALICE, ask().header("DPoP", text)), "invalid_dpop_proof");
    }
    assert_snapshot!(daemon.send(&ALICE, ask().header("DPoP", "nonsense")).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_dpop_proof",
      "error_description": "DPoP: the JWT is not of three parts in base64url"
    }
    "#);
    let lied = through_another_name(
        ask().header("DPoP", &key.proof("POST", "/token", &json!({ "htu": "https://evil.test/token" }))),
    );
    refused(&daemon.raw(&lied), "invalid_dpop_proof");
    assert_eq!(daemon.send(&ALICE, ask().header("DPoP", &good)).status, 200);
}

/// As serve would send it that was asked by another name.
fn through_another_name(request: Request) -> Request {
    crate::support::through_serve(&ALICE, request).without("Host").header("Host", "evil.test")
}

/// `dpop-negative-tests` at the resource.
#[test]
fn bad_proofs_at_the_resource() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let token = login(&app, &key, &[]).member("access_token");
    let ath = crate::support::proof::ath(&token);
    let with_ath = |claims: &Value| changed(json!({ "ath": ath }), claims);
    let mut cases: Vec<(&str, String)> = bad_proofs(&key)
        .into_iter()
        .map(|(name, header, claims)| {
            let mut all = json!({ "ath": ath });
            for (member, value) in claims.as_object().unwrap() {
                all[member] = value.clone();
            }
            (name, key.proof_with("GET", "/userinfo", &header, &all))
        })
        .collect();
    cases.push(("no ath", key.proof("GET", "/userinfo", &json!({}))));
    cases.push((
        "wrong ath",
        key.proof("GET", "/userinfo", &json!({ "ath": crate::support::proof::ath("x") })),
    ));
    cases.push(("for /token", key.proof("POST", "/token", &with_ath(&json!({})))));
    cases.push(("no JWT", "nonsense".to_owned()));
    for (name, proof) in cases {
        let reply = daemon.send(&ALICE, shown(&token).header("DPoP", &proof));
        let error = if name.contains("nonce") { "use_dpop_nonce" } else { "invalid_dpop_proof" };
        assert_eq!((reply.status, reply.error().as_str()), (401, error), "{name}: {}", reply.show());
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("DPoP ") && challenge.contains("algs=\""), "{name}: {challenge}");
    }
    let twice = key
        .userinfo(&token, &json!({}))
        .header("DPoP", &key.proof("GET", "/userinfo", &with_ath(&json!({}))));
    assert_eq!(daemon.send(&ALICE, twice).error(), "invalid_dpop_proof");
    let in_body = Request::post("/userinfo", &[("access_token", &token)]);
    let in_body = in_body.header("DPoP", &key.proof("POST", "/userinfo", &with_ath(&json!({}))));
    assert_eq!(daemon.send(&ALICE, in_body).error(), "invalid_token");
    // A correct proof after all of these, also by POST.
    assert_eq!(daemon.send(&ALICE, key.userinfo(&token, &json!({}))).status, 200);
    let post = Request::new("POST", "/userinfo").header("Authorization", &format!("DPoP {token}"));
    let post = post.header("DPoP", &key.proof("POST", "/userinfo", &with_ath(&json!({}))));
    assert_eq!(daemon.send(&ALICE, post).status, 200);
}

#[test]
fn a_bound_token_without_its_key() {
    let daemon = Daemon::new();
    let (app, key, other) = (App::public(&daemon), Prover::new(), Prover::new());
    let token = login(&app, &key, &[]).member("access_token");
    assert_snapshot!(daemon.send(&ALICE, other.userinfo(&token, &json!({}))).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: DPoP realm="https://idp.tail.test", error="invalid_token", error_description="the access token is bound to another key", algs="RS256 PS256 ES256 EdDSA Ed25519"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "the access token is bound to another key"
    }
    "#);
    assert_snapshot!(daemon.send(&ALICE, shown(&token)).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: DPoP realm="https://idp.tail.test", error="invalid_token", error_description="the access token is bound to a key: send it as DPoP with a proof", algs="RS256 PS256 ES256 EdDSA Ed25519"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "the access token is bound to a key: send it as DPoP with a proof"
    }
    "#);
    assert_snapshot!(app.userinfo(&ALICE, &token).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: DPoP realm="https://idp.tail.test", error="invalid_token", error_description="the access token is bound to a key: send it as DPoP with a proof", algs="RS256 PS256 ES256 EdDSA Ed25519"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "the access token is bound to a key: send it as DPoP with a proof"
    }
    "#);
}

/// RFC 9449 §7.1: a token that is bound to no key is none of these.
#[test]
fn an_unbound_token_has_no_proof() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    let token = app.login(&ALICE, &[]).member("access_token");
    assert_snapshot!(daemon.send(&ALICE, key.userinfo(&token, &json!({}))).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Bearer realm="https://idp.tail.test", error="invalid_token", error_description="the access token is bound to no key: send it as Bearer"
    x-content-type-options: nosniff

    {
      "error": "invalid_token",
      "error_description": "the access token is bound to no key: send it as Bearer"
    }
    "#);
    // As Bearer it is good, and a proof beside it does not matter.
    let both = Request::get("/userinfo").bearer(&token).header("DPoP", "nonsense");
    assert_eq!(daemon.send(&ALICE, both).status, 200);
}

/// The rows of 3.8 that are accepted; `check-dpop-proof-nbf-exp`, `ensure-dpopproof-with-iat-10seconds-before-succeeds`,
/// `-after-succeeds`, `access-token-type-header-case-sensitivity`.
#[test]
fn what_a_proof_may_be_like() {
    let daemon = Daemon::new();
    let (app, key) = (App::public(&daemon), Prover::new());
    for (name, path, changes) in [
        ("query", "?a=b", json!({})),
        ("fragment", "#f", json!({})),
        ("unknown members", "", json!({ "x": { "y": [1] } })),
        ("nbf and exp", "", json!({ "nbf": now() + 50, "exp": now() - 50 })),
        ("10 s ago", "", json!({ "iat": now() - 10 })),
        ("in 10 s", "", json!({ "iat": now() + 10 })),
    ] {
        let htu = |endpoint: &str| {
            changed(json!({ "htu": format!("https://idp.tail.test{endpoint}{path}") }), &changes)
        };
        let code = app.code(&ALICE, &[]);
        let reply = daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &htu("/token")));
        assert_eq!(reply.status, 200, "{name} at /token: {}", reply.show());
        let reply = daemon.send(&ALICE, key.userinfo(&reply.member("access_token"), &htu("/userinfo")));
        assert_eq!(reply.status, 200, "{name} at /userinfo: {}", reply.show());
    }
    let token = login(&app, &key, &[]).member("access_token");
    for htu in ["HTTPS://IDP.Tail.Test/userinfo", "https://idp.tail.test:443/userinfo"] {
        assert_eq!(daemon.send(&ALICE, key.userinfo(&token, &json!({ "htu": htu }))).status, 200, "{htu}");
    }
    let own_query = Request { target: "/userinfo?own=query".to_owned(), ..key.userinfo(&token, &json!({})) };
    assert_eq!(daemon.send(&ALICE, own_query).status, 200);
    for scheme in ["dpop", "DPOP", "DPoP"] {
        let request = key.userinfo(&token, &json!({})).without("Authorization");
        let request = request.header("Authorization", &format!("{scheme} {token}"));
        assert_eq!(daemon.send(&ALICE, request).status, 200, "{scheme}");
    }
    let mut capitals = key.userinfo(&token, &json!({}));
    capitals
        .headers
        .iter_mut()
        .filter(|(name, _)| name == "DPoP")
        .for_each(|(name, _)| *name = "DPOP".to_owned());
    assert_eq!(daemon.send(&ALICE, capitals).status, 200);
    let unknown = key.proof_with(
        "GET",
        "/userinfo",
        &json!({ "x": 1 }),
        &json!({ "ath": crate::support::proof::ath(&token) }),
    );
    assert_eq!(daemon.send(&ALICE, shown(&token).header("DPoP", &unknown)).status, 200);
}

#[test]
fn every_algorithm_that_the_metadata_names() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let metadata = daemon.send(&ALICE, Request::get("/.well-known/openid-configuration")).json();
    let named = metadata["dpop_signing_alg_values_supported"].as_array().unwrap();
    for algorithm in VerifyAlgorithm::ALL {
        assert!(named.contains(&json!(algorithm.as_str())), "{algorithm}");
        let key = Prover::with(algorithm);
        let token = login(&app, &key, &[]).member("access_token");
        assert_eq!(daemon.send(&ALICE, key.userinfo(&token, &json!({}))).status, 200, "{algorithm}");
    }
}

/// RS256 where the profile forbids it: the client's assertions may not have it, so neither may its proofs.
#[test]
fn rs256_is_refused_where_assertions_may_not_have_it() {
    let signer = Signer::new("signer", VerifyAlgorithm::Ps256);
    let entry = "assertion_algs = [\"PS256\", \"ES256\", \"EdDSA\"]\ndpop_bound_access_tokens = true";
    let daemon = signer.register(Setup::default(), entry).start();
    let app = signer.app(&daemon);
    let ask = |key: &Prover, jti: &str| {
        let assertion = signer.assertion(jti);
        let request = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, key.prove(app.redemption(&app.code(&ALICE, &[]), &request), &json!({})))
    };
    refused(&ask(&Prover::with(VerifyAlgorithm::Rs256), "one"), "invalid_dpop_proof");
    assert_eq!(ask(&Prover::new(), "two").status, 200);
    // Both are shown once: which one was shown before is told apart.
    let key = Prover::new();
    let proof = key.proof("POST", "/token", &json!({}));
    let again = |jti: &str| {
        let assertion = signer.assertion(jti);
        let request = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, app.redemption(&app.code(&ALICE, &[]), &request).header("DPoP", &proof))
    };
    assert_eq!(again("three").status, 200);
    refused(&again("four"), "invalid_dpop_proof");
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

/// Libraries repeat the request with another proof and the same assertion.
#[test]
fn a_nonce_that_is_asked_for_uses_up_no_assertion() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").tables("[dpop]\nnonce = \"required\"").start();
    let (app, key) = (signer.app(&daemon), Prover::new());
    let assertion = signer.assertion("one");
    let changes = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
    let request = app.redemption(&app.code(&ALICE, &[]), &changes);
    let told = daemon.send(&ALICE, key.prove(request.clone(), &json!({})));
    refused(&told, "use_dpop_nonce");
    let nonce = json!({ "nonce": told.header("dpop-nonce").unwrap() });
    assert_eq!(daemon.send(&ALICE, key.prove(request, &nonce)).status, 200);
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
