//! The page that asks whether a stranger is allowed: what it says, and who may answer it (attacks A11, A23, A33, A49).

use insta::assert_snapshot;

use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup,
    strangers::{asks, at_bobs, consent, on_laptop, registered},
    tailnet::{INTERNET, PHONE},
    visitor::{ORIGIN, Visitor, answer, form_token, sent_by},
    wire::{cut, form},
};
use tsidecar_oauth::provenance::Registrar;

const WEB: &str = "https://app.test/callback";
const LOOPBACK: &str = "http://127.0.0.1:50123/callback";

fn app<'d>(daemon: &'d Daemon, id: &'static str, redirect_uri: &'static str) -> App<'d> {
    App { daemon, id, secret: None, redirect_uri }
}

/// A daemon to which a web page has registered `web-mcp`, and a program on alice's laptop `code`.
pub(crate) fn daemon() -> Daemon {
    setup().start()
}

pub(crate) fn setup() -> Setup {
    Setup::default()
        .tables("[[resource]]\nuri = \"https://tools.test/mcp\"\nscopes = [\"tools\", \"admin\"]\nclients = [\"*\"]")
        .registered(registered("webmcp", "Web MCP", &[WEB, "https://app.test/other"], Registrar::Page))
        .registered(registered("code", "Code", &["http://127.0.0.1/callback"], on_laptop()))
}

/// The answer without what differs from run to run.
fn shown(page: &Reply) -> String {
    let mut text = page.show().replace(&form_token(page), "[form]").replace("<style>[…]</style>\n", "");
    while text.contains("<style>") {
        text = cut(&text, "<style>", "</style>").replace("<style>[…]</style>\n", "");
    }
    let before = text.find("style-src").unwrap();
    let after = text[before..].find(';').unwrap() + before;
    text.replace_range(before..after, "style-src […]");
    text
}

#[test]
fn the_whole_page() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let changes =
        [("scope", "openid profile tools offline_access unknown"), ("resource", "https://tools.test/mcp")];
    assert_snapshot!(shown(&alice.authorize(&changes)), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src […]; form-action 'self' https://app.test; base-uri 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    referrer-policy: same-origin
    x-content-type-options: nosniff
    x-frame-options: DENY

    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>Allow an application? - tsidecar</title>
    </head>
    <body>
    <main>
    <h1>Allow “<bdi>Web MCP</bdi>” to sign in as you?</h1>
    <p class="warn" id="warning"><strong>Nobody has checked this application.</strong> It chose its name itself. Allow it only if you have just started this yourself and know the place below.</p>
    <dl>
    <dt>Application</dt><dd><bdi>Web MCP</bdi> <span class="tag" id="unverified">unverified</span><br><small id="client-id">webmcp</small></dd>
    <dt>Registered</dt><dd id="origin">by a web page in somebody’s browser, 3 minutes ago</dd>
    <dt>Takes you to</dt><dd id="place"><strong>app.test</strong></dd>
    <dt>To use</dt><dd id="resources">https://tools.test/mcp</dd>
    <dt>It gets</dt><dd id="gets"><ul>
    <li>who you are</li>
    <li>your name and picture</li>
    <li>the permission “tools”</li>
    <li>to stay signed in</li>
    </ul></dd>
    <dt>You are</dt><dd id="person">Alice Äxample (alice@example.com), on alice-laptop</dd>
    </dl>
    <form method="post" action="/authorize/consent">
    <input type="hidden" name="form" value="[form]">
    <div class="buttons">
    <button type="submit" id="deny" name="decision" value="deny">Deny</button>
    <button type="submit" id="allow" name="decision" value="allow">Allow</button>
    </div>
    </form>
    </main>
    </body>
    </html>
    "#);
}

/// A11: what strangers are called is text, short, and turns nothing around.
#[test]
fn names_are_text() {
    let name = "<script>alert(1)</script>\u{202e}gnp.exe \u{200b}and a name that never ends, with sentences of its own in it";
    let daemon = Setup::default()
        .registered(registered("evil", name, &[WEB], at_bobs()))
        .registered(registered("hidden", "\u{200b}\u{2060}", &[WEB], Registrar::Outside))
        .start();
    let mut bob = Visitor::new(app(&daemon, "evil", WEB), &BOB);
    let page = bob.authorize(&[("state", "\"><script>alert(2)</script>")]);
    let text = page.text();
    assert!(
        asks(&page) && !text.contains("<script") && !text.contains('\u{202e}') && !text.contains('\u{200b}'),
        "{text}"
    );
    assert!(
        text.contains(
            "<bdi>&#60;script&#62;alert(1)&#60;/script&#62;gnp.exe and a name that never ends,\u{2026}</bdi>"
        ),
        "{text}"
    );
    assert!(text.contains("Bob &#60;script&#62;alert(1)"));
    // A name that shows nothing is no name.
    let page = Visitor::new(app(&daemon, "hidden", WEB), &ALICE).authorize(&[]).text();
    assert!(
        page.contains("Allow “<bdi>hidden</bdi>” to")
            && page.contains("by somebody on the internet, 3 minutes ago"),
        "{page}"
    );
}

/// Reference A9, 4.2: where one returns to, who registered it, and on which device a program is asked for.
#[test]
fn the_page_says_where_it_leads_and_who_is_behind_it() {
    let daemon = Setup::default()
        .registered(registered(
            "bobs",
            "Bobs",
            &["http://127.0.0.1/callback", "com.example.app:/cb"],
            at_bobs(),
        ))
        .registered(registered("ci", "CI", &[WEB], Registrar::Workload { node: "ci.tail.test".into() }))
        .registered(registered("code", "Code", &["http://127.0.0.1/callback"], on_laptop()))
        .start();
    let page = |id, redirect, who| Visitor::new(app(&daemon, id, redirect), who).authorize(&[]).text();
    let text = page("bobs", LOOPBACK, &ALICE);
    assert!(
        text.contains("a program on this device, <strong>alice-laptop</strong> <small>(127.0.0.1)</small>"),
        "{text}"
    );
    assert!(text.contains("by bob@github, on bob-desk, 3 minutes ago"), "{text}");
    assert!(
        text.contains(
            "bob@github registered it, not you. Any program on alice-laptop can pretend to be this application."
        ),
        "{text}"
    );
    let text = page("bobs", "com.example.app:/cb", &PHONE);
    assert!(
        text.contains("<strong>alice-phone</strong>, that opens <strong>com.example.app:</strong> links"),
        "{text}"
    );
    let text = page("ci", WEB, &ALICE);
    assert!(text.contains("by ci, a machine without an owner, 3 minutes ago"), "{text}");
    assert!(
        text.contains("<dd id=\"place\"><strong>app.test</strong></dd>") && !text.contains("Any program"),
        "{text}"
    );
    let text = page("code", LOOPBACK, &PHONE);
    assert!(text.contains("by you, on alice-laptop, 3 minutes ago"), "{text}");
    assert!(text.contains("It was registered on alice-laptop, another device of yours."), "{text}");
}

/// A23, A49: only a page of ours is believed, and only in its own window's origin.
#[test]
fn nobody_answers_for_somebody_else() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    let sent = consent(&form_token(&page), "allow");
    alice.is_believed_from_nowhere_else(&sent);
    let (site, origin) = ("Sec-Fetch-Site", "Origin");
    assert!(asks(&alice.authorize(&[])), "nothing was remembered");
    assert!(
        alice.send(sent_by(&sent, &[(site, "same-origin"), (origin, ORIGIN)])).redirect("code").is_some()
    );
    assert!(alice.authorize(&[]).redirect("code").is_some());
}

#[test]
fn a_form_is_for_one_person_device_and_request() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    let token = form_token(&page);
    // Somebody else, or another device: they are asked for themselves, and nothing is remembered for anybody.
    for (who, name) in [(&BOB, "Bob &#60;script&#62;"), (&PHONE, "on alice-phone")] {
        let mut other = Visitor::new(app(&daemon, "webmcp", WEB), who);
        let again = other.send(consent(&token, "allow"));
        assert!(asks(&again) && again.text().contains(name), "{}", again.show());
        assert!(again.text().contains("The page before was too old, or it was shown to somebody else."));
        assert!(asks(&other.authorize(&[])));
    }
    // Not a byte of it may change, and no other sealed text will do: above all no form that asks to continue.
    let continued = form_token(&Visitor::new(App::public(&daemon), &ALICE).authorize(&[("prompt", "login")]));
    let altered = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'Q' } else { 'A' });
    for bad in ["", "x", &token[1..], &altered, &continued] {
        let reply = alice.send(consent(bad, "allow"));
        assert_eq!(reply.status, 400, "{bad}");
        assert!(reply.text().contains("This answer cannot be read"), "{bad}");
    }
    for decision in ["", "continue", "perhaps"] {
        assert_eq!(alice.send(consent(&token, decision)).status, 400, "{decision}");
    }
    let as_continue = alice.send(answer(&token, "continue"));
    assert_eq!((as_continue.status, as_continue.header("location")), (400, None));
    assert_eq!(alice.decide(&page, "allow").redirected("state"), "st4te");
}

#[test]
fn a_page_grows_too_old() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    daemon.at(601);
    let again = alice.decide(&page, "allow");
    assert!(asks(&again) && again.text().contains("The page before was too old"), "{}", again.show());
    assert!(alice.decide(&again, "allow").redirect("code").is_some());
}

#[test]
fn only_a_post_answers_and_only_from_the_tailnet() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    let page = alice.authorize(&[]);
    let get = alice.send(Request::get("/authorize/consent"));
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let token = form_token(&page);
    let query = form(&[("form", &token), ("decision", "allow")]);
    let request =
        Request { target: format!("/authorize/consent?{query}"), body: Vec::new(), ..consent("", "") };
    assert_eq!(alice.send(request).status, 400);
    let outside = daemon.send(&INTERNET, consent(&token, "allow"));
    assert_eq!((outside.status, outside.header("location")), (403, None));
    assert!(outside.text().contains("Open this from your tailnet"));
}

/// A49: nothing is asked in a frame, in the background, or for an image.
#[test]
fn nothing_is_asked_in_a_frame() {
    let daemon = daemon();
    let mut alice = Visitor::new(app(&daemon, "webmcp", WEB), &ALICE);
    for (mode, dest) in [("navigate", "iframe"), ("no-cors", "image"), ("cors", "empty")] {
        let request = Request::get(&format!("/authorize?{}", alice.app.query(&[])))
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", mode)
            .header("Sec-Fetch-Dest", dest);
        let reply = alice.send(request);
        assert_eq!((reply.status, reply.header("location")), (403, None), "{dest}: {}", reply.show());
    }
}
