//! Resources that no registry knows: rules admit them for a person, in tsidp's schema and in the file.

use serde_json::{Value, json};
use tsidecar_server::demo::HOST;

use crate::support::{
    ALICE, App, BOB, Daemon, Pairs, Setup, Who,
    tailnet::{PHONE, RULES},
    wire::jwt,
};

const TOOL: &str = "https://tool.test/mcp";

fn with_rule(rule: Value) -> Daemon {
    let edit = move |script: &mut tsidecar_server::demo::Script| {
        for who in [ALICE, BOB] {
            script.peer_mut(who.address).unwrap().grant(HOST, RULES, rule.clone());
        }
    };
    Setup::default().tailnet(edit).start()
}

#[track_caller]
fn claims(daemon: &Daemon, who: &Who, changes: &Pairs) -> Value {
    jwt(&App::public(daemon).login(who, changes).member("access_token")).1
}

#[track_caller]
fn is_refused(daemon: &Daemon, who: &Who, named: &str) {
    let reply = App::public(daemon).authorize(who, &[("resource", named)]);
    assert_eq!(reply.redirected("error"), "invalid_target", "{named}: {}", reply.show());
}

/// tsidp's rule: `resources` apply to its `users` only, exactly or all.
#[test]
fn a_rule_of_tsidp_admits_resources() {
    let daemon = with_rule(json!({ "users": ["alice@example.com"], "resources": [TOOL] }));
    let token =
        claims(&daemon, &ALICE, &[("resource", "https://TOOL.test/mcp/"), ("scope", "openid email use")]);
    assert_eq!((&token["aud"], &token["sub"]), (&json!(TOOL), &json!("userid:1001")), "spelt as in the rule");
    assert_eq!(token.get("scope"), None, "without scopes in the rule the token carries none");
    is_refused(&daemon, &BOB, TOOL);
    is_refused(&daemon, &PHONE, TOOL);
    is_refused(&daemon, &ALICE, "https://tool.test/other");
    is_refused(&daemon, &ALICE, "https://tool.test/mcp/x");
    let daemon = with_rule(json!({ "users": ["*"], "resources": ["*"] }));
    for (named, audience) in [("HTTPS://any.test:443/mcp/", "https://any.test/mcp/"), ("urn:x:y", "urn:x:y")]
    {
        assert_eq!(claims(&daemon, &BOB, &[("resource", named)])["aud"], audience);
    }
    is_refused(&daemon, &BOB, "https://any.test/#x");
    // The registry has the last word on its own: this one is for another client.
    is_refused(&daemon, &BOB, "https://api.test");
    // Without users nobody is meant (tsidp).
    is_refused(&with_rule(json!({ "resources": ["*"] })), &ALICE, TOOL);
}

#[test]
fn a_rule_gives_scopes_to_its_resources() {
    let rule = json!({ "users": ["*"], "resources": [TOOL], "scopes": ["use", "look", "openid", "a b"], "clients": ["cli"] });
    let daemon = with_rule(rule);
    let resource = ("resource", TOOL);
    assert_eq!(claims(&daemon, &ALICE, &[resource, ("scope", "openid look write")])["scope"], "look");
    assert_eq!(claims(&daemon, &ALICE, &[resource, ("scope", "")])["scope"], "use look");
    assert_eq!(
        App::confidential(&daemon).authorize(&ALICE, &[resource]).redirected("error"),
        "invalid_target"
    );
    assert!(daemon.log().contains("a b"), "what does not count is reported: {}", daemon.log());
    // A refresh never widens, though the rule knows the scope.
    let app = App::public(&daemon);
    let login = app.login(&BOB, &[resource, ("scope", "look")]);
    let token = login.member("refresh_token");
    assert_eq!(app.refresh(&BOB, &token, &[("scope", "look use")]).error(), "invalid_scope");
    assert_eq!(app.refresh(&BOB, &token, &[resource, ("scope", "look")]).member("scope"), "look");
    // Another authorization does, and keeps what was granted before.
    assert_eq!(app.login(&BOB, &[resource, ("scope", "use")]).member("scope"), "use look");
}

#[test]
fn a_rule_of_the_file_admits_resources() {
    let tables = r#"[[rule]]
groups = ["group:eng"]
clients = ["cli"]
resources = ["https://tool.test/mcp"]
scopes = ["use"]"#;
    let daemon = Setup::default().tables(tables).start();
    let token = claims(&daemon, &ALICE, &[("resource", TOOL), ("scope", "openid use")]);
    assert_eq!((&token["aud"], &token["scope"]), (&json!(TOOL), &json!("use")));
    is_refused(&daemon, &BOB, TOOL);
    // A device authorization is begun before anybody is known: only the registry counts.
    assert_eq!(
        App::confidential(&daemon).authorize(&ALICE, &[("resource", TOOL)]).redirected("error"),
        "invalid_target"
    );
}

/// A5: the rules are those of now, at redemption and at each refresh.
#[test]
fn a_rule_that_is_gone_takes_its_resources_along() {
    let daemon = with_rule(json!({ "users": ["*"], "resources": [TOOL], "scopes": ["use"] }));
    let app = App::public(&daemon);
    let changes: &Pairs = &[("resource", TOOL), ("scope", "openid use")];
    let token = app.login(&ALICE, changes).member("refresh_token");
    let token = app.refresh(&ALICE, &token, &[]).member("refresh_token");
    let code = app.code(&ALICE, changes);
    daemon.change(&ALICE, |script| {
        script.peer_mut(ALICE.address).unwrap().grants.clear();
    });
    for reply in [app.redeem(&ALICE, &code, &[]), app.refresh(&ALICE, &token, &[])] {
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_target"), "{}", reply.show());
        assert!(reply.member("error_description").contains(TOOL));
    }
    daemon.change(&ALICE, |script| {
        let rule = json!({ "users": ["*"], "resources": ["*"] });
        script.peer_mut(ALICE.address).unwrap().grant(HOST, RULES, rule);
    });
    let reply = app.refresh(&ALICE, &token, &[]);
    assert_eq!(jwt(&reply.member("access_token")).1.get("scope"), None, "the scopes are those of now, too");
    assert_eq!(reply.member("scope"), "openid");
}
