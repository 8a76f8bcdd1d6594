//! Strangers that are known by a document: the page about them, what a change of the document means, and that we lead nobody to them
//! (reference A9, 1.5; attacks A38, A51).

use insta::assert_snapshot;
use serde_json::json;

use crate::cimd::{Publisher, look_again};
use crate::support::{
    ALICE, App, BOB, Daemon, Request, Setup,
    strangers::asks,
    tailnet::PHONE,
    visitor::{Visitor, form_token},
};

/// A daemon that reaches the host, and trusts nothing on it.
fn daemon(publisher: &Publisher) -> Daemon {
    Setup::default().tables(&publisher.host.tables()).start()
}

fn web<'d>(publisher: &Publisher, daemon: &'d Daemon) -> App<'d> {
    App { redirect_uri: publisher.host.url("/cb").leak(), ..publisher.app(daemon) }
}

/// A9: the host of the document, the host to return to, and a warning where that is a program.
#[test]
fn the_page_names_the_hosts() {
    let publisher = Publisher::new();
    let daemon = daemon(&publisher);
    let page = Visitor::new(publisher.app(&daemon), &ALICE).authorize(&[]);
    assert!(asks(&page), "{}", page.show());
    let text = page.text();
    let body = text.split_once("<h1>").unwrap().1.split_once("<form").unwrap().0;
    let host = publisher.host.url("").replace("https://", "");
    assert_snapshot!(body.replace(&host, "HOST"), @r#"
    Allow “<bdi>Example MCP client</bdi>” to sign in as you?</h1>
    <p class="warn" id="warning"><strong>Nobody has checked this application.</strong> It chose its name itself. Any program on alice-laptop can pretend to be this application. Allow it only if you have just started this yourself and know the place below.</p>
    <dl>
    <dt>Application</dt><dd><bdi>Example MCP client</bdi> <span class="tag" id="unverified">unverified</span><br><small id="client-id">https://HOST/oauth/client.json</small></dd>
    <dt>Published at</dt><dd id="origin"><strong>HOST</strong></dd>
    <dt>Takes you to</dt><dd id="place">a program on this device, <strong>alice-laptop</strong> <small>(127.0.0.1)</small></dd>
    <dt>It gets</dt><dd id="gets"><ul>
    <li>who you are</li>
    <li>your name and picture</li>
    <li>your e-mail address</li>
    <li>your groups</li>
    </ul></dd>
    <dt>You are</dt><dd id="person">Alice Äxample (alice@example.com), on alice-laptop</dd>
    </dl>
    "#);
    let text = Visitor::new(web(&publisher, &daemon), &ALICE).authorize(&[]).text();
    assert!(text.contains(&format!("<dd id=\"place\"><strong>{host}</strong></dd>")), "{text}");
    assert!(!text.contains("Any program"), "{text}");
}

/// Once per person and place; of a program once per device. Any change of the document asks again, a page of before included.
#[test]
fn a_document_is_allowed_until_it_changes() {
    let publisher = Publisher::new();
    let daemon = daemon(&publisher);
    let goes = |app, who| Visitor::new(app, who).authorize(&[]).redirect("code").is_some();
    let (app, web) = (publisher.app(&daemon), web(&publisher, &daemon));
    let mut alice = Visitor::new(app, &ALICE);
    let before = alice.authorize(&[]);
    let code = alice.decide(&before, "allow").redirected("code");
    let tokens = app.redeem(&ALICE, &code, &[]);
    assert_eq!(tokens.status, 200, "{}", tokens.show());
    assert!(goes(app, &ALICE) && !goes(app, &PHONE) && !goes(app, &BOB) && !goes(web, &ALICE));
    assert!(Visitor::new(web, &ALICE).allow(&[]).redirect("code").is_some());
    assert!(goes(web, &ALICE) && goes(web, &PHONE));
    // What no page shows may change; the name may not.
    publisher.publish(&json!({ "tos_uri": "https://app.test/tos" }));
    look_again(&daemon);
    assert!(goes(app, &ALICE));
    publisher.publish(&json!({ "client_name": "Another name" }));
    look_again(&daemon);
    assert!(!goes(app, &ALICE) && !goes(web, &ALICE));
    let stale = alice.decide(&before, "allow");
    assert!(asks(&stale) && stale.text().contains("Something has changed since"), "{}", stale.show());
    let again = alice.authorize(&[]);
    assert!(asks(&again) && again.text().contains("Another name"), "{}", again.show());
    assert!(alice.decide(&again, "allow").redirect("code").is_some() && goes(app, &ALICE));
    assert!(!goes(web, &ALICE), "what another client was allowed is gone");
}

/// A51, RFC 9700 §4.11: a link to us does not end at a page of a stranger's, whatever is wrong with it.
#[test]
fn errors_of_a_document_stay_here() {
    let publisher = Publisher::new();
    let daemon = daemon(&publisher);
    for app in [publisher.app(&daemon), web(&publisher, &daemon)] {
        let mut alice = Visitor::new(app, &ALICE);
        for changes in [
            &[("response_type", "token")][..],
            &[("code_challenge", "")],
            &[("resource", "https://unknown.test")],
            &[("prompt", "none")],
            &[("scope", "openid"), ("prompt", "none login")],
            &[("request_uri", "https://evil.test/request")],
        ] {
            let reply = alice.authorize(changes);
            assert_eq!(
                (reply.status, reply.header("location")),
                (400, None),
                "{changes:?}: {}",
                reply.show()
            );
            assert!(
                reply.text().contains("You have not allowed this application anything yet"),
                "{}",
                reply.show()
            );
        }
        let framed = Request::get(&format!("/authorize?{}", app.query(&[("prompt", "none")])))
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "iframe");
        assert_eq!(alice.send(framed).redirected("error"), "consent_required");
        // The answer of a person goes back, and so does everything once they have allowed it.
        let page = alice.authorize(&[]);
        assert_eq!(alice.decide(&page, "deny").redirected("error"), "access_denied");
        assert!(alice.allow(&[]).redirect("code").is_some());
        let told = alice.authorize(&[("response_type", "token")]);
        assert_eq!(told.redirected("error"), "unsupported_response_type");
    }
}

/// A38: a tenant of a trusted host whose redirect leads elsewhere is a stranger all the same, and so is every other host.
#[test]
fn trust_in_a_host_ends_where_it_leads_away() {
    let publisher = Publisher::new();
    publisher.publish(&json!({
        "redirect_uris": ["http://127.0.0.1/callback", publisher.host.url("/cb"), "https://elsewhere.test/cb"]
    }));
    let daemon = publisher.setup().start();
    let elsewhere = App { redirect_uri: "https://elsewhere.test/cb", ..publisher.app(&daemon) };
    let page = Visitor::new(elsewhere, &ALICE).authorize(&[]);
    assert!(asks(&page) && page.text().contains("<strong>elsewhere.test</strong>"), "{}", page.show());
    let own = Visitor::new(web(&publisher, &daemon), &ALICE).authorize(&[("prompt", "consent")]);
    assert!(own.redirect("code").is_some(), "{}", own.show());
    let mut alice = Visitor::new(publisher.app(&daemon), &ALICE);
    let here = alice.authorize(&[("prompt", "consent")]).redirected("code");
    assert_eq!(
        alice.app.redeem(&PHONE, &here, &[]).error(),
        "invalid_grant",
        "its code is good on this device alone"
    );
    let stranger = alice.authorize(&[("prompt", "login")]);
    assert!(!asks(&stranger) && form_token(&stranger).len() > 100);
}
