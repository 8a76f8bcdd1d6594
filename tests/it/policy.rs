//! Who may sign in, and what rules add: the capability in tsidp's schema, and rules of the file.

use serde_json::{Value, json};

use crate::support::{
    ALICE, App, BOB, CI, Daemon, Setup, Who,
    tailnet::{OUTSIDER, ROUTER, RULES},
    wire::jwt,
};
use tsidecar_server::demo::HOST;

fn with_rule(who: &'static Who, rule: Value) -> Daemon {
    Setup::default()
        .tailnet(move |script| script.peer_mut(who.address).unwrap().grant(HOST, RULES, rule))
        .start()
}

fn claims(daemon: &Daemon, who: &Who) -> Value {
    jwt(&App::public(daemon).login(who, &[]).member("id_token")).1
}

#[test]
fn extra_claims_and_groups() {
    let rule = json!({ "extraClaims": { "level": 3, "roles": ["admin"] }, "groups": ["ops"] });
    let daemon = with_rule(&ALICE, rule);
    let claims = claims(&daemon, &ALICE);
    assert_eq!(
        (&claims["team"], &claims["level"], &claims["roles"]),
        (&json!("eng"), &json!(3), &json!(["admin"]))
    );
    assert_eq!(claims["groups"], json!(["group:eng", "ops"]));
    let app = App::public(&daemon);
    let userinfo = app.userinfo(&ALICE, &app.login(&ALICE, &[]).member("access_token")).json();
    assert_eq!(
        (&userinfo["team"], userinfo.get("level")),
        (&json!("eng"), None),
        "only with includeInUserInfo"
    );
}

/// A21: what belongs to the protocol stays with the protocol.
#[test]
fn reserved_claims_are_left_out_and_reported() {
    let rule = json!({ "extraClaims": { "sub": "userid:1", "iss": "x", "aud": "x", "exp": 1, "nonce": "x", "email": "x@y",
        "act": {}, "azp": "x", "team": "blue", "email_verified": "yes" } });
    let daemon = with_rule(&BOB, rule);
    let claims = claims(&daemon, &BOB);
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["team"]),
        (&json!("userid:1002"), &json!("cli"), &json!("blue"))
    );
    assert_eq!(
        (&claims["email"], &claims["email_verified"]),
        (&json!("bob@github.idp.tail.test"), &json!(false))
    );
    assert!(claims.get("act").is_none() && claims.get("azp").is_none());
    assert!(daemon.log().contains("sub"), "{}", daemon.log());
}

#[test]
fn a_broken_rule_locks_nobody_out() {
    let daemon = with_rule(&ALICE, json!({ "groups": "not a list" }));
    assert_eq!(claims(&daemon, &ALICE)["team"], "eng");
}

#[test]
fn nodes_of_other_tailnets_need_a_rule() {
    let daemon = Daemon::new();
    assert_eq!(App::public(&daemon).authorize(&OUTSIDER, &[]).redirected("error"), "access_denied");
    let daemon = with_rule(&OUTSIDER, json!({ "allowExternal": true }));
    let claims = claims(&daemon, &OUTSIDER);
    assert_eq!((&claims["sub"], &claims["email_verified"]), (&json!("userid:2001"), &json!(false)));
    assert_eq!(claims["preferred_username"], "eve@other.example");
}

#[test]
fn a_node_shared_to_us_is_external_too() {
    let daemon =
        Setup::default().tailnet(|script| script.peer_mut(BOB.address).unwrap().sharer = 2001).start();
    assert_eq!(App::public(&daemon).authorize(&BOB, &[]).redirected("error"), "access_denied");
}

#[test]
fn tagged_nodes_sign_in_only_under_an_identity_from_a_rule() {
    let daemon = Daemon::new();
    assert!(App::public(&daemon).authorize(&CI, &[]).redirect("code").is_none());
    let daemon = with_rule(
        &CI,
        json!({ "taggedIdentity": { "subject": "ci", "email": "ci@example.com", "name": "CI" } }),
    );
    let claims = claims(&daemon, &CI);
    assert_eq!(
        (&claims["sub"], &claims["email"], &claims["name"]),
        (&json!("ci"), &json!("ci@example.com"), &json!("CI"))
    );
    assert_eq!(claims["email_verified"], false);
}

/// A50: a rule cannot make a machine look like a person.
#[test]
fn a_tagged_identity_is_no_userid() {
    let daemon = with_rule(&CI, json!({ "taggedIdentity": { "subject": "userid:1001" } }));
    assert!(App::public(&daemon).authorize(&CI, &[]).redirect("code").is_none());
}

#[test]
fn routers_are_refused_unless_allowed() {
    let daemon = Daemon::new();
    assert!(App::public(&daemon).authorize(&ROUTER, &[]).redirect("code").is_none());
    let daemon = Setup::default().tables("[identity]\nrouters = \"allow\"").start();
    assert_eq!(claims(&daemon, &ROUTER)["sub"], "userid:1003");
}

#[test]
fn rules_of_the_file() {
    let daemon = Setup::default()
        .tables(
            "[[rule]]\nusers = [\"bob@github\"]\nadd_groups = [\"reviewers\"]\nclaims = { team = \"blue\" }",
        )
        .start();
    let bob = claims(&daemon, &BOB);
    assert_eq!((&bob["groups"], &bob["team"]), (&json!(["reviewers"]), &json!("blue")), "{bob}");
    assert_eq!(claims(&daemon, &ALICE)["team"], "eng");
}

#[test]
fn capability_by_another_name() {
    let daemon = Setup::default()
        .tables("[identity]\ncapability = \"example.com/cap/idp\"")
        .tailnet(|script| {
            let alice = script.peer_mut(ALICE.address).unwrap();
            alice.grant(HOST, "example.com/cap/idp", json!({ "extraClaims": { "team": "other" } }));
        })
        .start();
    assert_eq!(claims(&daemon, &ALICE)["team"], "other");
}

/// A40: an invited `admin@other.example` does not become `admin`.
#[test]
fn bare_user_names_are_for_our_own_domain() {
    let daemon = Daemon::new();
    assert_eq!(claims(&daemon, &ALICE)["preferred_username"], "alice");
    assert_eq!(claims(&daemon, &BOB)["preferred_username"], "bob@github");
    daemon.change(&BOB, |script| {
        script.peer_mut(BOB.address).unwrap().user.login = "admin@other.example".to_owned();
    });
    let guest = Who { login: Some("admin@other.example"), ..BOB };
    assert_eq!(claims(&daemon, &guest)["preferred_username"], "admin@other.example");
}
