//! Strangers: who is asked, what is remembered, and what a withdrawal ends (design section 6; attacks A23, A33, A34, A42, A51).

use crate::consent_page::daemon;
use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup,
    strangers::{asks, at_bobs, consent, on_laptop, registered},
    tailnet::PHONE,
    visitor::{Visitor, form_token},
};
use tsidecar_oauth::provenance::Registrar;

const WEB: &str = "https://app.test/callback";
const LOOPBACK: &str = "http://127.0.0.1:50123/callback";
const TOOLS: (&str, &str) = ("resource", "https://tools.test/mcp");

fn app<'d>(daemon: &'d Daemon, id: &'static str, redirect_uri: &'static str) -> App<'d> {
    App { daemon, id, secret: None, redirect_uri }
}

fn goes(reply: &Reply) -> bool {
    reply.redirect("code").is_some()
}

/// A23: a stranger gets nothing before a person has pressed *Allow*; from then on they are not asked for the same again.
#[test]
fn a_stranger_is_allowed_once() {
    let mut daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    assert!(asks(&page) && page.header("location").is_none() && page.header("set-cookie").is_none());
    let done = alice.decide(&page, "allow");
    assert_eq!((done.status, done.redirected("iss")), (303, "https://idp.tail.test".to_owned()));
    assert!(done.header("location").unwrap().starts_with("https://app.test/callback?code="));
    let code = done.redirected("code");
    assert_eq!(alice.app.redeem(&ALICE, &code, &[]).status, 200);
    // The same, or less, in any order.
    for same in [
        &[][..],
        &[("scope", "email openid")],
        &[("prompt", "none")],
        &[("redirect_uri", "https://app.test/other")],
    ] {
        assert!(goes(&alice.authorize(same)), "{same:?}");
    }
    // More, or elsewhere, or another person: asked.
    assert!(asks(&alice.authorize(&[("scope", "openid offline_access")])));
    assert!(asks(&alice.authorize(&[TOOLS])));
    assert!(asks(&Visitor::new(alice.app, &BOB).authorize(&[])));
    // Another device of hers is the same person, and the web the same place.
    assert!(goes(&Visitor::new(alice.app, &PHONE).authorize(&[])));
    // And it was on disk before the code was given out.
    let rest = alice.allow(&[TOOLS, ("scope", "tools")]);
    assert!(goes(&rest));
    daemon.kill();
    daemon.relaunch();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    assert!(goes(&alice.authorize(&[])) && goes(&alice.authorize(&[TOOLS, ("scope", "tools")])));
    assert!(asks(&alice.authorize(&[TOOLS, ("scope", "tools admin")])));
    let log = daemon.log();
    for event in ["consent_asked", "consent_given"] {
        assert!(log.contains(event), "{event}");
    }
}

#[test]
fn a_denied_stranger_is_told_so() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    let denied = alice.decide(&page, "deny");
    assert_eq!(
        denied.header("location").unwrap(),
        "https://app.test/callback?error=access_denied&error_description=the+person+did+not+allow+this&state=st4te&iss=https%3A%2F%2Fidp.tail.test"
    );
    assert!(asks(&alice.authorize(&[])));
    assert!(daemon.log().contains("consent_denied"));
    let posted = alice.authorize(&[("response_mode", "form_post")]);
    assert!(alice.decide(&posted, "deny").text().contains("value=\"access_denied\""));
}

/// OpenID Connect Core §3.1.2.1: asked again where a stranger wants it so; whoever is no stranger is approved already (§11).
#[test]
fn prompt_consent_asks_strangers_again() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    assert!(goes(&alice.allow(&[])));
    let page = alice.authorize(&[("prompt", "consent")]);
    let done = alice.decide(&page, "allow");
    assert_eq!(alice.claims(&done)["acr"], "urn:tsidecar:acr:ambient", "nobody asked who they are");
    for (id, redirect) in [("cli", "http://127.0.0.1:8123/callback"), ("code", LOOPBACK)] {
        let mut alice = Visitor::new(app(&daemon, id, redirect), &ALICE);
        assert!(goes(&alice.authorize(&[("prompt", "consent"), ("scope", "openid offline_access")])), "{id}");
    }
}

/// One page at a time, and never two: *Allow* confirms the sign-in where that is due.
#[test]
fn one_page_says_both() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[("prompt", "login")]);
    assert!(page.text().contains("The application wants to be sure that it is you."), "{}", page.show());
    let done = alice.decide(&page, "allow");
    assert_eq!(alice.claims(&done)["acr"], "urn:tsidecar:acr:confirmed");
    // Allowed by now: the page of the sign-in alone.
    let page = alice.authorize(&[("prompt", "login")]);
    assert!(
        page.text().contains("<strong>Web MCP (unverified)</strong> wants to sign you in."),
        "{}",
        page.show()
    );
    assert!(!asks(&page) && goes(&alice.press(&page, "continue")), "{}", page.show());
    // Withdrawn while that page lay open: what it goes on with needs to be allowed again.
    let page = alice.authorize(&[("prompt", "login")]);
    daemon.at(5);
    assert!(daemon.run(&["consent", "revoke", "--client", "webmcp"]).status.success());
    let again = alice.press(&page, "continue");
    assert!(asks(&again) && again.text().contains("Something has changed since"), "{}", again.show());
    let page = alice.authorize(&[("prompt", "login consent")]);
    assert_eq!(alice.decide(&page, "deny").redirected("error"), "access_denied");
}

/// A23, A33: the person's own program, on this very device, needs no page; everybody and everything else does.
#[test]
fn ones_own_registration_is_no_stranger() {
    let daemon = Setup::default()
        .registered(registered("code", "Code", &["http://127.0.0.1/callback"], on_laptop()))
        .registered(registered("mixed", "Mixed", &["http://127.0.0.1/callback", WEB], on_laptop()))
        .registered(registered("page", "Page", &["http://127.0.0.1/callback"], Registrar::Page))
        .registered(registered("bobs", "Bobs", &["http://127.0.0.1/callback"], at_bobs()))
        .start();
    let visit = |id, who| Visitor::new(app(&daemon, id, LOOPBACK), who).authorize(&[]);
    let own = visit("code", &ALICE);
    assert!(goes(&own));
    for (id, who) in [("code", &PHONE), ("code", &BOB), ("mixed", &ALICE), ("page", &ALICE), ("bobs", &ALICE)]
    {
        assert!(asks(&visit(id, who)), "{id} {who:?}");
    }
    // Its code is good on this device alone; one of a stranger, that was allowed, where its program is.
    let app = app(&daemon, "code", LOOPBACK);
    let elsewhere = app.redeem(&PHONE, &own.redirected("code"), &[]);
    assert_eq!((elsewhere.status, elsewhere.error()), (400, "invalid_grant".to_owned()));
    assert_eq!(app.redeem(&ALICE, &visit("code", &ALICE).redirected("code"), &[]).status, 200);
    // A program is allowed on its device: another one may answer on the same port of another.
    let mut phone = Visitor::new(app, &PHONE);
    assert!(goes(&phone.allow(&[])) && goes(&phone.authorize(&[])));
    let mut page = Visitor::new(self::app(&daemon, "page", LOOPBACK), &PHONE);
    assert!(goes(&page.allow(&[])));
    assert!(asks(&visit("page", &ALICE)));
}

/// A34: what was allowed is what was shown. Any change of the metadata asks again.
#[test]
fn a_change_of_the_client_asks_again() {
    let mut daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let token = form_token(&alice.authorize(&[]));
    assert!(goes(&alice.allow(&[])));
    daemon.kill();
    daemon.put_registered(vec![registered("webmcp", "Another name", &[WEB], Registrar::Page)]);
    daemon.relaunch();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let again = alice.send(consent(&token, "allow"));
    assert!(asks(&again), "{}", again.show());
    assert!(
        again.text().contains("Something has changed since you were asked before.")
            && again.text().contains("Another name")
    );
    assert!(asks(&alice.authorize(&[])), "nothing was remembered by that");
    assert!(goes(&alice.decide(&again, "allow")) && goes(&alice.authorize(&[])));
}

/// A49: replay and double submit. Each page takes one answer; the first one stands, whatever the second one says.
#[test]
fn each_page_takes_one_answer() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    let code = alice.decide(&page, "allow").redirected("code");
    for decision in ["allow", "deny"] {
        let again = alice.decide(&page, decision);
        assert_eq!((again.status, again.header("location")), (400, None), "{}", again.show());
        assert!(again.text().contains("You have answered this already"), "{}", again.show());
    }
    assert_eq!(alice.app.redeem(&ALICE, &code, &[]).status, 200);
    let listed = daemon.run(&["consent", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["consents"][0]["allowed"].as_array().unwrap().len(), 1);
    assert!(goes(&alice.authorize(&[])), "what was allowed stays allowed");
    let mut bob = Visitor::new(app(&daemon, "webmcp", WEB), &BOB);
    let page = bob.authorize(&[]);
    assert_eq!(bob.decide(&page, "deny").redirected("error"), "access_denied");
    assert_eq!(bob.decide(&page, "allow").status, 400, "a refusal stands, too");
}

/// A51, RFC 9700 §4.11: nobody is led to a stranger by an error, before they have allowed it to take them there.
#[test]
fn we_are_no_redirector_for_strangers() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let broken = [
        &[("response_type", "token")][..],
        &[("code_challenge", "")],
        &[("resource", "https://unknown.test")],
        &[("prompt", "none")],
        &[("prompt", "none login")],
        &[("request", "a.b.c")],
        &[("claims", "{")],
    ];
    for changes in broken {
        let reply = alice.authorize(changes);
        assert_eq!((reply.status, reply.header("location")), (400, None), "{changes:?}: {}", reply.show());
        assert!(
            reply.text().contains("You have not allowed this application anything yet"),
            "{changes:?}: {}",
            reply.show()
        );
    }
    let text = alice.authorize(&[("prompt", "none")]).text();
    assert!(text.contains("consent_required: the person must allow this application first"), "{text}");
    // In a frame nobody sees it, and the application may learn that it must ask.
    let framed = Request::get(&format!("/authorize?{}", alice.app.query(&[("prompt", "none")])))
        .header("Sec-Fetch-Site", "cross-site")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "iframe");
    assert_eq!(alice.send(framed).redirected("error"), "consent_required");
    // A person who was never there is asked nothing and led nowhere, either.
    let nobody = Visitor::new(alice.app, &crate::support::CI).authorize(&[]);
    assert_eq!((nobody.status, nobody.header("location")), (403, None), "{}", nobody.show());
    // Once it is allowed, errors go back to it: to that host, and no other.
    assert!(goes(&alice.allow(&[])));
    for (changes, error) in broken.into_iter().zip([
        "unsupported_response_type",
        "invalid_request",
        "invalid_target",
        "",
        "invalid_request",
        "",
        "invalid_request",
    ]) {
        let reply = alice.authorize(changes);
        assert!(reply.header("location").is_some(), "{changes:?}: {}", reply.show());
        assert!(error.is_empty() || reply.redirected("error") == error, "{changes:?}: {}", reply.show());
    }
    // A program on the person's own device hears of its mistakes at once: nobody is led to anything of anybody's.
    let bobs = Visitor::new(app(&daemon, "code", LOOPBACK), &PHONE).authorize(&[("response_type", "token")]);
    assert_eq!(bobs.redirected("error"), "unsupported_response_type");
    let silent = Visitor::new(app(&daemon, "code", LOOPBACK), &PHONE).authorize(&[("prompt", "none")]);
    assert_eq!(silent.redirected("error"), "consent_required");
}

/// RFC 9126 §7.3: a pushed request waits for its page, and gives one code, however often the page is answered.
#[test]
fn a_pushed_request_waits_for_the_consent() {
    let daemon = daemon();
    let app = app(&daemon, "webmcp", WEB);
    let push = Request { body: app.query(&[]).into_bytes(), ..Request::post("/par", &[]) };
    let uri = daemon.send(&ALICE, push).member("request_uri");
    let mut alice = Visitor::new(app, &ALICE);
    let visit = crate::support::wire::form(&[("client_id", "webmcp"), ("request_uri", &uri)]);
    // Two pages of one request: one of them gets a code.
    let pages = [(); 2].map(|()| alice.send(Request::get(&format!("/authorize?{visit}"))));
    daemon.at(120);
    assert_eq!(alice.decide(&pages[0], "allow").redirected("state"), "st4te");
    let second = alice.decide(&pages[1], "allow");
    assert_eq!(
        (second.redirect("code"), second.redirected("error")),
        (None, "invalid_request_uri".to_owned())
    );
    // A page that is too old is not renewed: it could outlive the request.
    let push = Request {
        body: app.query(&[("scope", "openid groups offline_access")]).into_bytes(),
        ..Request::post("/par", &[])
    };
    let uri = daemon.send(&ALICE, push).member("request_uri");
    let visit = crate::support::wire::form(&[("client_id", "webmcp"), ("request_uri", &uri)]);
    let page = alice.send(Request::get(&format!("/authorize?{visit}")));
    daemon.at(721);
    assert_eq!(alice.decide(&page, "allow").redirected("error"), "invalid_request_uri");
}
