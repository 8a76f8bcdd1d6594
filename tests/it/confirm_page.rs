//! The page *Continue as NAME on DEVICE*: what it looks like to a browser, and who may answer it (attacks A11, A23, A46, A49).

use insta::assert_snapshot;

use crate::session::{CLIENTS, client, daemon};
use crate::support::{
    ALICE, App, BOB, Reply, Request, Setup,
    tailnet::{INTERNET, PHONE},
    visitor::{ORIGIN, Visitor, answer, form_token, sent_by},
    wire::form,
};

/// The answer without what differs from run to run.
fn shown(page: &Reply) -> String {
    let token = form_token(page);
    page.show().replace(&token, "[form]")
}

#[test]
fn the_whole_page() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    assert_snapshot!(shown(&alice.authorize(&[])), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' 'sha256-Wmsx8vH++Fvi/MpjIXS41q0HnYVu0H8QQrc23R2Pdb8='; form-action 'self' https://app.test; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign in to The vault - tsidecar</title>
    <style>[…]</style>
    <style>dl{display:grid;grid-template-columns:max-content 1fr;gap:.375rem 1rem;margin:0 0 1rem}dt{color:light-dark(#5c5e62,#a0a2a6)}dd{margin:0}.buttons{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:1.5rem}button:focus-visible{outline:3px solid light-dark(#1c1d1f,#e6e6e3);outline-offset:2px}button{font:inherit;font-weight:600;min-height:3rem;padding:.5rem 1.5rem;border:1px solid light-dark(#8d8f8b,#6b6e72);border-radius:.5rem;background:none;color:inherit;cursor:pointer;animation:arm 1s step-end}#continue{border-color:transparent;background:light-dark(#2f6f4f,#6fbf92);color:light-dark(#fff,#0f1f17)}@keyframes arm{from{pointer-events:none;opacity:.5}}@media(max-width:30rem){main{margin-top:6vh}.buttons button{flex:1 1 100%}}</style>
    </head>
    <body>
    <main>
    <h1>Continue as Alice Äxample on alice-laptop?</h1>
    <p><strong>The vault</strong> wants to sign you in. This application asks each time.</p>
    <dl>
    <dt>Account</dt><dd>alice@example.com</dd>
    <dt>Device</dt><dd>alice-laptop</dd>
    <dt>Takes you to</dt><dd>app.test</dd>
    </dl>
    <form method="post" action="/authorize/continue">
    <input type="hidden" name="form" value="[form]">
    <div class="buttons">
    <button type="submit" id="continue" name="decision" value="continue">Continue</button>
    <button type="submit" id="cancel" name="decision" value="cancel">Cancel</button>
    </div>
    </form>
    </main>
    </body>
    </html>
    "#);
}

/// A11: names are text, whatever stands in them; the policy names where the answer leads.
#[test]
fn the_page_is_for_everybody() {
    let daemon = daemon();
    let mut bob = Visitor::new(App::public(&daemon), &BOB);
    let page = bob.authorize(&[("prompt", "login"), ("state", "\"><script>alert(2)</script>")]);
    let text = page.text();
    assert!(!text.contains("<script") && text.contains("Bob &#60;script&#62;alert(1)"), "{text}");
    assert!(text.contains("The application wants to be sure that it is you."));
    assert!(text.contains("an application on this device (127.0.0.1:8123)"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("; form-action 'self' http://127.0.0.1:8123;"), "{policy}");
    bob.app.redirect_uri = "com.example.app:/callback";
    let page = bob.authorize(&[("prompt", "login")]);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("; form-action 'self' com.example.app:;"), "{policy}");
    let done = bob.press(&page, "continue");
    assert!(
        done.header("location").unwrap().starts_with("com.example.app:/callback?code="),
        "{}",
        done.show()
    );
}

#[test]
fn continue_and_cancel() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let page = alice.authorize(&[]);
    assert_snapshot!(alice.press(&page, "cancel").show(), @r"
    303
    cache-control: no-store
    location: https://app.test/callback?error=access_denied&error_description=the+person+cancelled+the+sign-in&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(alice.press(&page, "continue").show(), @r"
    303
    cache-control: no-store
    location: https://app.test/callback?code=[code]&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    // A double click: the same decision of the same person gives another code, and both are good.
    let (one, two) = (alice.press(&page, "continue"), alice.press(&page, "continue"));
    assert_ne!(one.redirected("code"), two.redirected("code"));
    alice.claims(&one);
    alice.claims(&two);
    let log = daemon.log();
    for event in ["sign_in_asked", "sign_in_confirmed", "sign_in_cancelled"] {
        assert!(log.contains(event), "{event}");
    }
    assert!(!log.contains(&form_token(&page)));
}

#[test]
fn the_answer_travels_as_the_application_wants() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let changes = [("response_mode", "form_post")];
    let done = alice.confirm(&changes);
    assert!(done.status == 200 && done.text().contains("name=\"code\""), "{}", done.show());
    let page = alice.authorize(&changes);
    assert!(alice.press(&page, "cancel").text().contains("value=\"access_denied\""));
}

/// A23, A49: only a page of ours is believed, and only in its own window's origin.
#[test]
fn nobody_answers_for_somebody_else() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let page = alice.authorize(&[]);
    let sent = answer(&form_token(&page), "continue");
    alice.is_believed_from_nowhere_else(&sent);
    let (site, origin) = ("Sec-Fetch-Site", "Origin");
    for ours in
        [&[(origin, ORIGIN)][..], &[(site, "same-origin")], &[(site, "same-origin"), (origin, ORIGIN)]]
    {
        assert!(alice.send(sent_by(&sent, ours)).redirect("code").is_some(), "{ours:?}");
    }
}

#[test]
fn a_form_is_for_one_person_device_and_request() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let page = alice.authorize(&[]);
    let token = form_token(&page);
    // Somebody else, or another device: they are shown the page, for themselves.
    for (who, name) in [(&BOB, "Continue as Bob"), (&PHONE, "on alice-phone?")] {
        let mut other = Visitor::new(client(&daemon, "vault"), who);
        let again = other.send(answer(&token, "continue"));
        assert!(again.text().contains(name), "{}", again.show());
        assert!(again.text().contains("The page before was too old, or it was shown to somebody else."));
        assert!(other.press(&again, "continue").redirect("code").is_some());
    }
    // Not a byte of it may change, and no other sealed text will do.
    let other_page = alice.authorize(&[("state", "other")]);
    let cookie = {
        let mut visitor = Visitor::new(client(&daemon, "cookie"), &ALICE);
        visitor.authorize(&[]);
        visitor.cookie.unwrap()
    };
    let code = alice.press(&page, "continue").redirected("code");
    let half = form_token(&other_page)[..token.len() / 2].to_owned() + &token[token.len() / 2..];
    let altered = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'Q' } else { 'A' });
    for bad in ["", "x", &token[1..], &altered, &half, &cookie, &code] {
        let reply = alice.send(answer(bad, "continue"));
        assert_eq!(reply.status, 400, "{bad}");
        assert!(reply.text().contains("This answer cannot be read"), "{bad}");
    }
    assert_eq!(alice.send(answer(&token, "perhaps")).status, 400);
    assert_eq!(alice.press(&other_page, "continue").redirected("state"), "other");
}

#[test]
fn a_page_grows_too_old() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let page = alice.authorize(&[]);
    daemon.at(599);
    assert!(alice.press(&page, "continue").redirect("code").is_some());
    daemon.at(601);
    let again = alice.press(&page, "continue");
    assert!(again.text().contains("The page before was too old"), "{}", again.show());
    assert!(alice.press(&again, "continue").redirect("code").is_some());
}

/// Whois and the policy are asked again when the page is answered.
#[test]
fn what_changed_meanwhile_counts() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let page = alice.authorize(&[]);
    daemon.change(&ALICE, |script| {
        script.peers.retain(|peer| !peer.addresses.contains(&ALICE.address));
    });
    // serve names nobody for an address that is nobody's.
    alice.who.login = None;
    let gone = alice.press(&page, "continue");
    assert_eq!((gone.status, gone.header("location")), (403, None), "{}", gone.show());
}

#[test]
fn only_a_post_answers_and_only_from_the_tailnet() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let page = alice.authorize(&[]);
    let get = alice.send(Request::get("/authorize/continue"));
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let token = form_token(&page);
    let query = form(&[("form", &token), ("decision", "continue")]);
    let request =
        Request { target: format!("/authorize/continue?{query}"), body: Vec::new(), ..answer("", "") };
    assert_eq!(alice.send(request).status, 400);
    let outside = daemon.send(&INTERNET, answer(&token, "continue"));
    assert_eq!(outside.status, 403);
    assert!(outside.text().contains("Open this from your tailnet"));
    assert_eq!(outside.header("location"), None);
}

/// In a frame only `prompt=none` goes on, and that shows nothing.
#[test]
fn nothing_is_asked_in_a_frame() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let framed = |query: String| {
        Request::get(&format!("/authorize?{query}"))
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "iframe")
    };
    let reply = alice.send(framed(alice.app.query(&[])));
    assert_eq!((reply.status, reply.header("location")), (403, None));
    let silent = alice.send(framed(alice.app.query(&[("prompt", "none")])));
    assert_eq!(silent.redirected("error"), "interaction_required");
}

#[test]
fn a_large_request_is_carried_or_refused() {
    let daemon = daemon();
    let mut alice = Visitor::new(client(&daemon, "vault"), &ALICE);
    let post = |alice: &mut Visitor<'_>, length: usize| {
        let state = "s".repeat(length);
        let body = alice.app.query(&[("state", &state)]).into_bytes();
        alice.send(Request { body, ..Request::post("/authorize", &[]) })
    };
    let page = post(&mut alice, 20_000);
    assert_eq!(alice.press(&page, "cancel").redirected("state").len(), 20_000);
    assert_eq!(post(&mut alice, 60_000).redirected("error"), "invalid_request");
}

/// OpenID suite: the first visit stops at the page and uses nothing up; one answer of all its pages gets the code.
#[test]
fn a_pushed_request_waits_for_its_page() {
    let tables = format!(
        "{CLIENTS}\n[[client]]\nid = \"pushing\"\nname = \"Pushing\"\nsecret_sha256 = \"{}\"\nlogin = \"confirm\"\nredirect_uris = [\"https://app.test/callback\"]\n",
        crate::support::daemon::secret_digest()
    );
    let daemon = Setup::default().tables(&tables).start();
    let app = App { secret: Some(crate::support::daemon::SECRET), ..client(&daemon, "pushing") };
    let mut push = Request::post("/par", &[]).basic("pushing", crate::support::daemon::SECRET);
    push.body = app.query(&[]).into_bytes();
    let uri = daemon.send(&ALICE, push).member("request_uri");
    let mut alice = Visitor::new(app, &ALICE);
    let visit = form(&[("client_id", "pushing"), ("request_uri", &uri)]);
    let mut visit = || alice.send(Request::get(&format!("/authorize?{visit}")));
    let (one, two) = (visit(), visit());
    daemon.at(120);
    assert_eq!(alice.press(&one, "continue").redirected("state"), "st4te");
    let second = alice.press(&two, "continue");
    assert_eq!(second.redirect("code"), None, "{}", second.show());
}
