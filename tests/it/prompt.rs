//! `prompt`, `max_age`, `acr_values`, `id_token_hint`, `claims`: what the person is asked, and what the application learns.

use insta::assert_snapshot;
use serde_json::json;

use crate::session::{client, daemon};
use crate::support::{
    ALICE, App, BOB, Pairs,
    visitor::{Visitor, form_token},
    wire::jwt,
};

const CONFIRMED: &str = "urn:tsidecar:acr:confirmed";
const AMBIENT: &str = "urn:tsidecar:acr:ambient";

/// A46: in every mode a person answers, and the application sees that it was one.
#[test]
fn whoever_asks_for_a_person_gets_one() {
    let daemon = daemon();
    let apps = [
        App::public(&daemon),
        client(&daemon, "cookie"),
        client(&daemon, "leaving"),
        client(&daemon, "vault"),
    ];
    for app in apps {
        let mut alice = Visitor::new(app, &ALICE);
        for changes in
            [&[("prompt", "login")], &[("max_age", "0")], &[("prompt", "select_account")]] as [&Pairs; 3]
        {
            let page = alice.authorize(changes);
            form_token(&page);
            let done = alice.press(&page, "continue");
            assert_eq!(done.status, 303);
            assert_eq!(done.redirected("state"), "st4te");
            assert_eq!(alice.claims(&done)["acr"], CONFIRMED, "{} {changes:?}", app.id);
        }
        let silent = alice.authorize(&[("prompt", "none"), ("max_age", "0")]);
        assert_eq!(silent.redirected("error"), "login_required", "{}", app.id);
    }
}

#[test]
fn a_tap_renews_the_session() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    let first = alice.authorize(&[]);
    let first = alice.claims(&first);
    daemon.at(2);
    let page = alice.authorize(&[("max_age", "1")]);
    let tapped = alice.press(&page, "continue");
    let tapped = alice.claims(&tapped);
    assert_eq!(tapped["sid"], first["sid"]);
    assert!(tapped["auth_time"].as_u64() > first["auth_time"].as_u64());
    daemon.at(50);
    let silent = alice.authorize(&[("prompt", "none")]);
    let silent = alice.claims(&silent);
    assert_eq!((&silent["auth_time"], &silent["acr"]), (&tapped["auth_time"], &json!(CONFIRMED)));
    assert_eq!(
        alice.authorize(&[("prompt", "none"), ("max_age", "1")]).redirected("error"),
        "login_required"
    );
}

#[test]
fn a_client_that_asks_each_time_is_never_silent() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    for _ in 0..2 {
        let done = alice.confirm(&[]);
        assert_eq!(done.header("set-cookie"), None);
        let claims = alice.claims(&done);
        assert_eq!((&claims["acr"], claims.get("sid")), (&json!(CONFIRMED), None));
    }
    assert_snapshot!(alice.authorize(&[("prompt", "none")]).show(), @r"
    302
    cache-control: no-store
    location: https://app.test/callback?error=interaction_required&error_description=the+person+must+confirm+each+sign-in+to+this+application%2C+and+prompt%3Dnone+allows+no+page&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
}

#[test]
fn contradictions_are_refused() {
    let daemon = daemon();
    let app = App::public(&daemon);
    for (name, value) in [("prompt", "none login"), ("max_age", "soon"), ("claims", "{"), ("claims", "[1]")] {
        assert_eq!(
            app.authorize(&ALICE, &[(name, value)]).redirected("error"),
            "invalid_request",
            "{name}={value}"
        );
    }
}

/// RFC 9470, OpenID Connect Core §5.5.1.1.
#[test]
fn a_confirmed_sign_in_may_be_asked_for() {
    let daemon = daemon();
    let mut alice = Visitor::new(App::public(&daemon), &ALICE);
    let essential = json!({"id_token": {"acr": {"essential": true, "values": [CONFIRMED]}}}).to_string();
    for changes in [("acr_values", CONFIRMED), ("claims", essential.as_str())] {
        let done = alice.confirm(&[changes]);
        assert_eq!(alice.claims(&done)["acr"], CONFIRMED);
        // A wish where no page may be shown: the answer says what it was.
        let silent = alice.authorize(&[changes, ("prompt", "none")]);
        assert_eq!(alice.claims(&silent)["acr"], AMBIENT);
    }
    for values in ["1 2", AMBIENT, "urn:tsidecar:acr:confirmed urn:tsidecar:acr:ambient"] {
        let reply = alice.authorize(&[("acr_values", values)]);
        assert_eq!(alice.claims(&reply)["acr"], AMBIENT, "{values}");
    }
    // In access tokens, too (RFC 9068 §2.2.1).
    let resource = ("resource", crate::support::browser::RESOURCE);
    let done = alice.confirm(&[("acr_values", CONFIRMED), resource]);
    let tokens = alice.app.redeem(&ALICE, &done.redirected("code"), &[]);
    assert_eq!(jwt(&tokens.member("access_token")).1["acr"], CONFIRMED);
}

#[test]
fn a_hint_names_the_expected_person() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "cookie"), &ALICE);
    let hint = {
        let code = alice.authorize(&[]).redirected("code");
        alice.app.redeem(&ALICE, &code, &[]).member("id_token")
    };
    // Long after it expired.
    daemon.at(100_000);
    for changes in [&[][..], &[("prompt", "none")]] {
        let changes = [changes, &[("id_token_hint", hint.as_str())]].concat();
        assert!(alice.authorize(&changes).redirect("code").is_some());
    }
    let bob = App::public(&daemon);
    for changes in [&[][..], &[("prompt", "none")]] {
        let changes = [changes, &[("id_token_hint", hint.as_str())]].concat();
        assert_eq!(bob.authorize(&BOB, &changes).redirected("error"), "login_required");
    }
    let (head, rest) = hint.split_once('.').unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", rest.split_once('.').unwrap().0);
    let altered = format!("{head}.{}", rest.replacen('J', "K", 1));
    for bad in [unsigned.as_str(), altered.as_str(), "x", "a.b.c"] {
        assert_eq!(
            alice.authorize(&[("id_token_hint", bad)]).redirected("error"),
            "invalid_request",
            "{bad}"
        );
        let silent = alice.authorize(&[("id_token_hint", bad), ("prompt", "none")]);
        assert_eq!(silent.redirected("error"), "login_required", "{bad}");
    }
}

#[test]
fn single_claims_may_be_asked_for() {
    let daemon = daemon();
    let mut alice = Visitor::new(App::public(&daemon), &ALICE);
    let claims = json!({
        "userinfo": {"name": {"essential": true}, "given_name": {"essential": true}, "email": null},
        "id_token": {"preferred_username": null, "auth_time": {"essential": true}, "address": {"essential": true}},
    });
    let changes = [("scope", "openid"), ("claims", &claims.to_string())];
    let code = alice.authorize(&changes).redirected("code");
    let tokens = alice.app.redeem(&ALICE, &code, &[]);
    let (_, id_token) = jwt(&tokens.member("id_token"));
    assert_eq!(id_token["preferred_username"], "alice");
    assert!(id_token.get("name").is_none() && id_token.get("email").is_none());
    let userinfo = alice.app.userinfo(&ALICE, &tokens.member("access_token")).json();
    assert_eq!(
        (&userinfo["name"], &userinfo["email"]),
        (&json!("Alice Äxample"), &json!("alice@example.com"))
    );
    assert!(userinfo.get("preferred_username").is_none());
    // After a refresh as well.
    let refreshed = alice.app.refresh(&ALICE, &tokens.member("refresh_token"), &[]);
    assert_eq!(jwt(&refreshed.member("id_token")).1["preferred_username"], "alice");
    let named = |subject: &str| json!({"id_token": {"sub": {"value": subject}}}).to_string();
    assert!(alice.authorize(&[("claims", &named("userid:1001"))]).redirect("code").is_some());
    assert_eq!(alice.authorize(&[("claims", &named("userid:7"))]).redirected("error"), "login_required");
}
