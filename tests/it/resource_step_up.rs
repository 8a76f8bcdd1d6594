//! Step-up: a client that asks for one scope more keeps what the person granted it before.

use crate::support::{
    ALICE, App, BOB, Daemon, Pairs, Request, Setup, browser::RESOURCE, strangers::asks, tailnet::PHONE,
    visitor::Visitor, wire::jwt,
};

const READ: &Pairs = &[("resource", RESOURCE), ("scope", "openid read")];
const WRITE: &Pairs = &[("resource", "https://mcp.test/mcp/"), ("scope", "write")];

/// Another resource that knows the same scopes.
const OTHER: &str = r#"[[resource]]
uri = "https://other.test"
scopes = ["read", "write"]
clients = ["cli"]"#;

#[test]
fn a_second_authorization_adds() {
    let daemon = Setup::default().tables(OTHER).start();
    let app = App::public(&daemon);
    let first = app.login(&ALICE, READ);
    assert_eq!(first.member("scope"), "openid read");
    let second = app.login(&ALICE, WRITE);
    assert_eq!(second.member("scope"), "write read");
    assert_eq!(jwt(&second.member("access_token")).1["scope"], "write read");
    // Growth is a new grant; the old one stays what it was.
    let old = app.refresh(&ALICE, &first.member("refresh_token"), &[]);
    assert_eq!(old.member("scope"), "openid read");
    let narrow = old.member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &narrow, &[("scope", "openid read write")]).error(), "invalid_scope");
    assert_eq!(app.refresh(&ALICE, &narrow, &[("resource", "https://other.test")]).error(), "invalid_target");
    // Only for the same person, device, resource and client, and only when a scope is named.
    let scope = |app: &App, who, changes: &Pairs| app.login(who, changes).member("scope");
    assert_eq!(scope(&app, &BOB, WRITE), "write");
    assert_eq!(scope(&app, &PHONE, WRITE), "write");
    assert_eq!(scope(&app, &ALICE, &[("resource", "https://other.test"), ("scope", "write")]), "write");
    assert_eq!(scope(&App::confidential(&daemon), &ALICE, WRITE), "write");
    assert_eq!(scope(&app, &ALICE, &[("scope", "openid")]), "openid");
    // A confidential client does so, too.
    assert_eq!(scope(&App::confidential(&daemon), &ALICE, READ), "openid read write");
}

/// What ended gives nothing: a grant that was revoked, one that has expired, and one of a client that was withdrawn.
#[test]
fn what_has_ended_does_not_count() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let first = app.login(&ALICE, READ);
    let token = first.member("refresh_token");
    let revocation = Request::post("/revoke", &[("token", &token), ("client_id", "cli")]);
    assert_eq!(daemon.send(&ALICE, revocation).status, 200);
    assert_eq!(app.login(&ALICE, WRITE).member("scope"), "write");
    daemon.at(31 * 86_400);
    assert_eq!(
        app.login(&ALICE, READ).member("scope"),
        "openid read",
        "the second login has lain for too long"
    );
}

/// A code that was never redeemed granted nothing yet.
#[test]
fn a_code_is_no_grant() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let code = app.code(&ALICE, READ);
    let other = app.login(&ALICE, WRITE);
    assert_eq!(other.member("scope"), "write");
    assert_eq!(app.redeem(&ALICE, &code, &[]).member("scope"), "openid read");
}

/// A23: what a stranger keeps stands on the page, too; and what was taken back is not kept.
#[test]
fn a_stranger_keeps_what_the_page_says() {
    let daemon = crate::consent_page::daemon();
    let app = App { daemon: &daemon, id: "webmcp", secret: None, redirect_uri: "https://app.test/callback" };
    let mut alice = Visitor::new(app, &ALICE);
    let ask = |scope| [("resource", "https://tools.test/mcp"), ("scope", scope)];
    let page = alice.authorize(&ask("tools"));
    let code = alice.decide(&page, "allow").redirected("code");
    assert_eq!(app.redeem(&ALICE, &code, &[]).member("scope"), "tools");
    let page = alice.authorize(&ask("admin"));
    assert!(asks(&page) && page.text().contains("admin") && page.text().contains("tools"), "{}", page.show());
    let code = alice.decide(&page, "allow").redirected("code");
    assert_eq!(app.redeem(&ALICE, &code, &[]).member("scope"), "admin tools");
    daemon.at(5);
    let revoked = daemon.run(&["consent", "revoke", "--user", "userid:1001", "--client", "webmcp"]);
    assert!(revoked.status.success(), "{revoked:?}");
    daemon.at(10);
    let page = alice.authorize(&ask("admin"));
    assert!(asks(&page), "{}", page.show());
    let code = alice.decide(&page, "allow").redirected("code");
    assert_eq!(app.redeem(&ALICE, &code, &[]).member("scope"), "admin");
}
