//! What a proof of possession must be like, row by row of reference/oauth.md 3.8, at each endpoint that takes one.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::dpop::{login, refused};
use crate::dpop_fapi::pushing;
use crate::support::proof::{Prover, ath, changed, now, shown};
use crate::support::{ALICE, App, Daemon, Request};

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
    let hash = ath(&token);
    let with_ath = |claims: &Value| changed(json!({ "ath": hash }), claims);
    let mut cases: Vec<(&str, String)> = bad_proofs(&key)
        .into_iter()
        .map(|(name, header, claims)| {
            let mut all = json!({ "ath": hash });
            for (member, value) in claims.as_object().unwrap() {
                all[member] = value.clone();
            }
            (name, key.proof_with("GET", "/userinfo", &header, &all))
        })
        .collect();
    cases.push(("no ath", key.proof("GET", "/userinfo", &json!({}))));
    cases.push(("wrong ath", key.proof("GET", "/userinfo", &json!({ "ath": ath("x") }))));
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
fn bad_proofs_at_par() {
    let daemon = Daemon::new();
    let (app, key) = (App::confidential(&daemon), Prover::new());
    for (name, header, claims) in bad_proofs(&key) {
        let proof = key.proof_with("POST", "/par", &header, &claims);
        let reply = daemon.send(&ALICE, app.pushing(&[]).header("DPoP", &proof));
        let error = if name.contains("nonce") { "use_dpop_nonce" } else { "invalid_dpop_proof" };
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{name}: {}", reply.show());
    }
    let for_token = app.pushing(&[]).header("DPoP", &key.proof("POST", "/token", &json!({})));
    refused(&daemon.send(&ALICE, for_token), "invalid_dpop_proof");
    let good = pushing(&app, &key, &[], &json!({}));
    assert_eq!(daemon.send(&ALICE, good.clone()).status, 201);
    refused(&daemon.send(&ALICE, good), "invalid_dpop_proof");
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
    let unknown = key.proof_with("GET", "/userinfo", &json!({ "x": 1 }), &json!({ "ath": ath(&token) }));
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
