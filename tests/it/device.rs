//! The device authorization grant (RFC 8628): `/device_authorization`, `/device`, and the poll at `/token`.

use insta::assert_snapshot;
use tsidecar_server::demo::Node;

use crate::support::{
    ALICE, App, BOB, CI, Daemon, Reply, Request, Setup, Who,
    browser::RESOURCE,
    daemon::SECRET,
    tailnet::{INTERNET, ITSELF, NOBODY, PHONE},
    wire::{jwt, shown},
};

pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ISSUER: &str = "https://idp.tail.test";

/// Clients that list the grant: a public one, a confidential one, one for nobody, and one without refresh tokens.
const CLIENTS: &str = r#"
[[client]]
id = "tv"
name = "Television <b>"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
grant_types = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
[[client]]
id = "box"
name = "Box"
secret_sha256 = "SECRET"
grant_types = ["urn:ietf:params:oauth:grant-type:device_code"]
[[client]]
id = "closed"
name = "Closed"
public = true
grant_types = ["urn:ietf:params:oauth:grant-type:device_code"]
allow = { users = ["nobody@example.com"] }
[[resource]]
uri = "https://tv.test/api"
scopes = ["watch"]
clients = ["tv"]
"#;

pub(crate) fn setup() -> Setup {
    use sha2::{Digest as _, Sha256};
    Setup::default().tables(&CLIENTS.replace("SECRET", &format!("{:x}", Sha256::digest(SECRET))))
}

pub(crate) fn tv(daemon: &Daemon) -> App<'_> {
    App { id: "tv", ..App::public(daemon) }
}

/// What a device holds after it has begun.
pub(crate) struct Begun {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
}

#[track_caller]
fn begin(daemon: &Daemon, who: &Who, pairs: &[(&str, &str)]) -> Begun {
    let reply = daemon.send(who, Request::post("/device_authorization", pairs));
    assert_eq!(reply.status, 200, "{}", reply.show());
    Begun { device_code: reply.member("device_code"), user_code: reply.member("user_code") }
}

/// As television, on bob's desk, unless told otherwise.
#[track_caller]
pub(crate) fn begin_tv(daemon: &Daemon, who: &Who) -> Begun {
    begin(daemon, who, &[("client_id", "tv"), ("scope", "openid profile offline_access")])
}

pub(crate) fn poll(daemon: &Daemon, who: &Who, code: &str) -> Reply {
    daemon.send(who, tv(daemon).token_request(&[("grant_type", GRANT), ("device_code", code)], &[]))
}

/// A form of a page of ours, as Chromium sends it.
fn own(pairs: &[(&str, &str)]) -> Request {
    Request::post("/device", pairs)
        .header("Origin", ISSUER)
        .header("Sec-Fetch-Site", "same-origin")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "document")
}

pub(crate) fn enter(daemon: &Daemon, who: &Who, code: &str) -> Reply {
    daemon.send(who, own(&[("user_code", code)]))
}

/// The sealed token in a page.
#[track_caller]
fn form_of(page: &Reply) -> String {
    let text = page.text();
    let rest = text.split_once("name=\"form\" value=\"").unwrap_or_else(|| panic!("no form: {text}")).1;
    rest.split_once('"').unwrap().0.to_owned()
}

#[track_caller]
pub(crate) fn press(daemon: &Daemon, who: &Who, code: &str, answer: &str) -> Reply {
    let page = enter(daemon, who, code);
    assert_eq!(page.status, 200, "{}", page.show());
    daemon.send(who, own(&[("form", &form_of(&page)), ("answer", answer)]))
}

/// A page without what differs from run to run.
fn page(reply: &Reply, begun: &Begun) -> String {
    let mut shown = reply.show().replace(&begun.user_code, "XXXX-XXXX");
    while let Some((before, rest)) = shown.split_once("name=\"form\" value=\"") {
        let after = rest.split_once('"').unwrap().1;
        shown = format!("{before}name=\"form\" [sealed]{after}");
    }
    // The second style and its hash; the first ones are cut by `show`.
    for (from, until) in [("<style>form", "</style>"), ("'sha256-", "'")] {
        if let Some((before, rest)) = shown.rsplit_once(from) {
            let after = rest.split_once(until).unwrap().1;
            shown = format!("{before}[…]{after}");
        }
    }
    shown
}

#[test]
#[expect(clippy::too_many_lines, reason = "whole answers as snapshots")]
fn a_device_is_signed_in_by_a_person_elsewhere() {
    let daemon = setup().start();
    let reply = daemon.send(
        &ALICE,
        Request::post("/device_authorization", &[("client_id", "tv"), ("scope", "openid profile nonsense")]),
    );
    let (code, user) = (reply.member("device_code"), reply.member("user_code"));
    assert_eq!((code.len(), &code[..5]), (59, "tsdc_"));
    assert_eq!(user.len(), 9);
    assert!(user.replace('-', "").chars().all(|c| "BCDFGHJKLMNPQRSTVWXZ".contains(c)), "{user}");
    assert_snapshot!(reply.show().replace(&code, "[device code]").replace(&user, "XXXX-XXXX"), @r#"
    200
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "device_code": "[device code]",
      "user_code": "XXXX-XXXX",
      "verification_uri": "https://idp.tail.test/device",
      "verification_uri_complete": "https://idp.tail.test/device?user_code=XXXX-XXXX",
      "expires_in": 600,
      "interval": 5
    }
    "#);
    assert_eq!(poll(&daemon, &ALICE, &code).error(), "authorization_pending");
    let done = press(&daemon, &PHONE, &user, "allow");
    let begun = Begun { device_code: code, user_code: user };
    assert_snapshot!(page(&done, &begun), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src […]; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Continue on the other device - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>Continue on the other device</h1>
    <p>Television &#60;b&#62; will be signed in on alice-laptop.tail.test as alice@example.com.</p>
    <p class="cure">You can close this page. The other device notices within a few seconds.</p>

    </main>
    </body>
    </html>
    "#);
    let tokens = poll(&daemon, &ALICE, &begun.device_code);
    assert_snapshot!(tokens.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[opaque]",
      "token_type": "Bearer",
      "expires_in": 600,
      "refresh_token": "[refresh]",
      "id_token": "[JWT]",
      "scope": "openid profile"
    }
    "#);
    let (_, claims) = jwt(&tokens.member("id_token"));
    assert_snapshot!(shown(&claims), @r#"
    {
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "aud": "tv",
      "exp": "[time]",
      "iat": "[time]",
      "nbf": "[time]",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:confirmed",
      "at_hash": "[at_hash]",
      "name": "Alice Äxample",
      "preferred_username": "alice",
      "picture": "https://pics.test/alice.png"
    }
    "#);
    let app = tv(&daemon);
    assert_eq!(app.userinfo(&ALICE, &tokens.member("access_token")).status, 200);
    assert_eq!(app.refresh(&ALICE, &tokens.member("refresh_token"), &[]).status, 200);
}

#[test]
#[expect(clippy::too_many_lines, reason = "whole answers as snapshots")]
fn the_pages() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    let empty = daemon.send(&ALICE, Request::get("/device"));
    assert_snapshot!(page(&empty, &begun), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' […]; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign in on another device - tsidecar</title>
    <style>[…]</style>
    […]
    </head>
    <body>
    <main>
    <h1>Sign in on another device</h1>
    <p>You are alice@example.com. Enter the code that the other device shows.</p>
    <form method="post" action="/device">
    <label for="user_code">Code</label>
    <input id="user_code" name="user_code" required maxlength="20" autocomplete="off" autocapitalize="characters" spellcheck="false" placeholder="XXXX-XXXX">
    <button id="continue" class="main">Continue</button>
    </form>
    <p class="cure">Enter only a code of a device on which you started to sign in yourself. If somebody sent you a code, close this page.</p>
    </main>
    </body>
    </html>
    "#);
    // A link brings the code; it must be compared, and sent all the same.
    let link = format!("/device?user_code={}", begun.user_code);
    assert_snapshot!(page(&daemon.send(&ALICE, Request::get(&link)), &begun), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' […]; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign in on another device - tsidecar</title>
    <style>[…]</style>
    […]
    </head>
    <body>
    <main>
    <h1>Sign in on another device</h1>
    <p>Does the device that you want to sign in on show this very code?</p>
    <p class="code" id="code">XXXX-XXXX</p>
    <p class="cure">Go on only if it does, and if you started this yourself. If somebody sent you here, close this page.</p>
    <form method="post" action="/device">
    <input type="hidden" name="user_code" value="XXXX-XXXX">
    <button id="continue" class="main">The codes are the same</button>
    </form>
    </main>
    </body>
    </html>
    "#);
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "authorization_pending");
    let question = enter(&daemon, &ALICE, &begun.user_code);
    assert_snapshot!(page(&question, &begun), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' […]; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign in on another device? - tsidecar</title>
    <style>[…]</style>
    […]
    </head>
    <body>
    <main>
    <h1>Sign in to Television &#60;b&#62; on another device?</h1>
    <dl>
    <dt>Device</dt>
    <dd>alice-laptop.tail.test <small>(this device)</small></dd>
    <dt>Started</dt>
    <dd>less than a minute ago, with the code XXXX-XXXX</dd>
    <dt>Application</dt>
    <dd>Television &#60;b&#62; <small>(tv)</small></dd>
    <dt>You</dt>
    <dd>alice@example.com</dd>
    <dt>What it gets</dt>
    <dd><ul>
    <li>who you are</li>
    <li>your name and picture</li>
    <li>to stay signed in</li>
    </ul></dd>
    </dl>
    <p class="cure">Allow this only if you started it yourself and the device shows the code XXXX-XXXX.</p>
    <form method="post" action="/device">
    <input type="hidden" name="form" [sealed]>
    <button id="deny" name="answer" value="deny">Deny</button>
    <button id="allow" class="main" name="answer" value="allow">Allow</button>
    </form>
    </main>
    </body>
    </html>
    "#);
    let pressed = daemon.send(&ALICE, own(&[("form", &form_of(&question)), ("answer", "deny")]));
    assert_snapshot!(page(&pressed, &begun), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src […]; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Nobody was signed in - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>Nobody was signed in</h1>
    <p>You denied the request. The other device gets nothing.</p>
    <p class="cure">If you did not start this yourself, tell the person who runs this service: somebody may have tried to sign in as you.</p>

    </main>
    </body>
    </html>
    "#);
    assert_snapshot!(page(&enter(&daemon, &ALICE, &begun.user_code), &begun), @r#"
    400
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]' […]; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Sign in on another device - tsidecar</title>
    <style>[…]</style>
    […]
    </head>
    <body>
    <main>
    <h1>Sign in on another device</h1>
    <p class="warn" role="alert">This code is not waiting for an answer. Compare it with the one on the device, or start again there: a code works once, for ten minutes.</p>
    <p>You are alice@example.com. Enter the code that the other device shows.</p>
    <form method="post" action="/device">
    <label for="user_code">Code</label>
    <input id="user_code" name="user_code" required maxlength="20" autocomplete="off" autocapitalize="characters" spellcheck="false" placeholder="XXXX-XXXX">
    <button id="continue" class="main">Continue</button>
    </form>
    <p class="cure">Enter only a code of a device on which you started to sign in yourself. If somebody sent you a code, close this page.</p>
    </main>
    </body>
    </html>
    "#);
}

/// A26: remote phishing. Whoever began it, the person sees whose device that is.
#[test]
fn a_device_of_somebody_else_is_called_that() {
    let daemon = setup().start();
    let warning = |begun: &Begun, who: &Who| {
        let text = enter(&daemon, who, &begun.user_code).text();
        let warning =
            text.split_once("id=\"warning\" role=\"alert\">").map(|(_, rest)| rest.split_once("</p>"));
        (warning.flatten().map(|(warning, _)| warning.to_owned()), text)
    };
    for mine in [&ALICE, &PHONE] {
        assert_eq!(warning(&begin_tv(&daemon, mine), &ALICE).0, None);
    }
    let (of_bob, text) = warning(&begin_tv(&daemon, &BOB), &ALICE);
    assert_snapshot!(of_bob.unwrap(), @"<strong>Be careful.</strong> This was started on bob-desk.tail.test, which belongs to bob@github, not to you. If you allow it, bob@github can use Television &#60;b&#62; as you. Somebody who sends you a link or a code may want exactly that.");
    assert!(text.contains("bob-desk.tail.test <small>(belongs to bob@github)</small>"), "{text}");
    assert_snapshot!(warning(&begin_tv(&daemon, &CI), &ALICE).0.unwrap(), @"<strong>Be careful.</strong> This was started on ci.tail.test, a machine that belongs to nobody. If you allow it, everybody who can use that machine can use Television &#60;b&#62; as you.");
    assert_snapshot!(warning(&begin_tv(&daemon, &ITSELF), &ALICE).0.unwrap(), @"<strong>Be careful.</strong> The tailnet cannot tell on which device this was started. If you allow it, whoever started it can use Television &#60;b&#62; as you. Somebody who sends you a link or a code may want exactly that.");
    // A page in alice's own browser is not alice.
    let request =
        Request::post("/device_authorization", &[("client_id", "tv")]).header("Origin", "https://evil.test");
    let reply = daemon.send(&ALICE, request);
    let begun = Begun { device_code: reply.member("device_code"), user_code: reply.member("user_code") };
    assert!(warning(&begun, &ALICE).0.unwrap().contains("cannot tell on which device"));
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "authorization_pending");
    // What is allowed all the same is allowed.
    let begun = begin_tv(&daemon, &BOB);
    assert_eq!(press(&daemon, &ALICE, &begun.user_code, "allow").status, 200);
    assert_eq!(jwt(&poll(&daemon, &BOB, &begun.device_code).member("id_token")).1["sub"], "userid:1001");
}

#[test]
fn names_of_devices_and_clients_are_text() {
    let daemon = setup()
        .tailnet(|script| {
            let owner = script.peers[1].user.clone();
            script.peers.push(Node::of(
                owner,
                8,
                "<img src=x onerror=alert(1)>",
                &["100.64.0.8".parse().unwrap()],
            ));
        })
        .start();
    let eighth = Who { address: "100.64.0.8".parse().unwrap(), login: Some("bob@github"), funnel: false };
    let begun = begin_tv(&daemon, &eighth);
    let text = enter(&daemon, &ALICE, &begun.user_code).text();
    assert!(!text.contains("<img") && !text.contains("Television <b>"), "{text}");
    assert!(text.contains("onerror"), "{text}");
}

#[test]
fn codes_are_typed_as_people_type() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    for typed in [
        begun.user_code.to_lowercase(),
        begun.user_code.replace('-', ""),
        format!(" {} ", begun.user_code.replace('-', " ")),
    ] {
        assert_eq!(enter(&daemon, &ALICE, &typed).status, 200, "{typed:?}");
    }
}

#[test]
fn the_errors_of_the_device_authorization_endpoint() {
    let daemon = setup().start();
    let ask =
        |pairs: &[(&str, &str)]| daemon.send(&ALICE, Request::post("/device_authorization", pairs)).show();
    assert_snapshot!(ask(&[("scope", "openid")]), @r#"
    401
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "the client did not say who it is: no client_id and no HTTP Basic credentials"
    }
    "#);
    assert_snapshot!(ask(&[("client_id", "cli")]), @r#"
    400
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "unauthorized_client",
      "error_description": "this client may not use the device authorization grant"
    }
    "#);
    assert_snapshot!(ask(&[("client_id", "box"), ("client_secret", "wrong-wrong-wrong-wrong-wrong-wrong")]), @r#"
    401
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "client authentication failed"
    }
    "#);
    assert_snapshot!(ask(&[("client_id", "tv"), ("resource", "https://unknown.test")]), @r#"
    400
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_target",
      "error_description": "the resource https://unknown.test is not known here, or not open to this client and person; an administrator adds it as a [[resource]], or to the resources of a rule"
    }
    "#);
    let basic = Request::post("/device_authorization", &[]).basic("box", "wrong");
    assert_eq!(daemon.send(&ALICE, basic).status, 401);
    let basic = Request::post("/device_authorization", &[("scope", "openid")]).basic("box", SECRET);
    assert_eq!(daemon.send(&ALICE, basic).status, 200);
    let get = daemon.send(&ALICE, Request::get("/device_authorization"));
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    // No script of another origin reads what a device begins.
    let preflight = Request::new("OPTIONS", "/device_authorization").header("Origin", "https://app.test");
    let reply = daemon.send(&ALICE, preflight);
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (405, None));
    let query = Request::post("/device_authorization?client_id=tv", &[("client_id", "tv")]);
    assert_eq!(daemon.send(&ALICE, query).error(), "invalid_request");
}

#[test]
fn never_from_outside() {
    let daemon = setup().start();
    let before = daemon.tailscaled.asked_about(INTERNET.address);
    for outside in [&INTERNET, &NOBODY] {
        let reply = daemon.send(outside, Request::post("/device_authorization", &[("client_id", "tv")]));
        assert_eq!((reply.status, reply.error()), (403, "access_denied".to_owned()), "{}", reply.show());
        for request in [Request::get("/device"), own(&[("user_code", "BCDF-GHJK")])] {
            let reply = daemon.send(outside, request);
            assert_eq!(reply.status, 403);
            assert!(reply.text().contains("Open this from your tailnet"), "{}", reply.show());
        }
    }
    let begun = begin_tv(&daemon, &ALICE);
    press(&daemon, &ALICE, &begun.user_code, "allow");
    assert_snapshot!(poll(&daemon, &INTERNET, &begun.device_code).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "unauthorized_client",
      "error_description": "device authorization works only from inside the tailnet"
    }
    "#);
    assert_eq!(daemon.tailscaled.asked_about(INTERNET.address), before);
    // A public client's code works where it was given only.
    assert_eq!(poll(&daemon, &BOB, &begun.device_code).error(), "invalid_grant");
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).status, 200);
}

/// RFC 8628 §3.5, each code as it travels.
#[test]
#[expect(clippy::too_many_lines, reason = "whole answers as snapshots")]
fn what_a_poll_is_answered() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    assert_snapshot!(poll(&daemon, &ALICE, &begun.device_code).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "authorization_pending",
      "error_description": "nobody has answered yet"
    }
    "#);
    daemon.at(2);
    assert_snapshot!(poll(&daemon, &ALICE, &begun.device_code).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "slow_down",
      "error_description": "nobody has answered yet; wait five seconds longer between two requests from now on"
    }
    "#);
    // Five seconds more from now on.
    daemon.at(9);
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "slow_down");
    daemon.at(26);
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "authorization_pending");
    daemon.at(601);
    assert_snapshot!(poll(&daemon, &ALICE, &begun.device_code).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "expired_token",
      "error_description": "the device code has expired"
    }
    "#);
    assert_eq!(enter(&daemon, &ALICE, &begun.user_code).status, 400, "too late to answer");
    let denied = begin_tv(&daemon, &ALICE);
    assert!(press(&daemon, &ALICE, &denied.user_code, "deny").text().contains("Nobody was signed in"));
    assert_snapshot!(poll(&daemon, &ALICE, &denied.device_code).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "access_denied",
      "error_description": "the request was refused"
    }
    "#);
    assert_snapshot!(poll(&daemon, &ALICE, "nonsense").show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_grant",
      "error_description": "the device code is not valid"
    }
    "#);
    let bare = daemon.send(&ALICE, tv(&daemon).token_request(&[("grant_type", GRANT)], &[]));
    assert_eq!(bare.error(), "invalid_request");
    let other = daemon.send(
        &ALICE,
        App::public(&daemon)
            .token_request(&[("grant_type", GRANT), ("device_code", &denied.device_code)], &[]),
    );
    assert_eq!(other.error(), "unauthorized_client");
}

#[test]
fn an_approval_that_comes_too_late_gives_nothing() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    let question = enter(&daemon, &ALICE, &begun.user_code);
    daemon.at(601);
    let late = daemon.send(&ALICE, own(&[("form", &form_of(&question)), ("answer", "allow")]));
    assert_eq!(late.status, 400, "{}", late.show());
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "expired_token");
    let begun = begin_tv(&daemon, &ALICE);
    press(&daemon, &ALICE, &begun.user_code, "allow");
    daemon.at(1_202);
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "expired_token");
}

/// As with a code: the second redemption ends what the first one gave.
#[test]
fn a_device_code_works_once_also_after_a_restart() {
    let mut daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    daemon.kill();
    daemon.relaunch();
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "authorization_pending");
    press(&daemon, &ALICE, &begun.user_code, "allow");
    daemon.kill();
    daemon.relaunch();
    let tokens = poll(&daemon, &ALICE, &begun.device_code);
    assert_eq!(tokens.status, 200, "{}", tokens.show());
    daemon.kill();
    daemon.relaunch();
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "invalid_grant");
    let app = tv(&daemon);
    assert_eq!(app.refresh(&ALICE, &tokens.member("refresh_token"), &[]).error(), "invalid_grant");
    assert_eq!(app.userinfo(&ALICE, &tokens.member("access_token")).error(), "invalid_token");
}

#[test]
fn a_device_code_of_another_client_is_dead() {
    let daemon = setup().start();
    let thief = |code: &str| {
        let pairs = [("grant_type", GRANT), ("device_code", code)];
        daemon.send(&ALICE, Request::post("/token", &pairs).basic("box", SECRET))
    };
    let begun = begin_tv(&daemon, &ALICE);
    assert_eq!(thief(&begun.device_code).error(), "invalid_grant");
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "access_denied");
    assert_eq!(enter(&daemon, &ALICE, &begun.user_code).status, 400);
    let begun = begin_tv(&daemon, &ALICE);
    press(&daemon, &ALICE, &begun.user_code, "allow");
    let tokens = poll(&daemon, &ALICE, &begun.device_code);
    assert_eq!(thief(&begun.device_code).error(), "invalid_grant");
    let app = tv(&daemon);
    assert_eq!(app.refresh(&ALICE, &tokens.member("refresh_token"), &[]).error(), "invalid_grant");
    assert!(daemon.log().contains("another client"), "{}", daemon.log());
}

#[test]
fn a_confidential_client_polls_from_anywhere_and_gets_what_it_asked() {
    let daemon = setup().start();
    let reply = daemon.send(
        &BOB,
        Request::post("/device_authorization", &[("scope", "openid offline_access")]).basic("box", SECRET),
    );
    press(&daemon, &ALICE, &reply.member("user_code"), "allow");
    let code = reply.member("device_code");
    let pairs = [("grant_type", GRANT), ("device_code", code.as_str())];
    let tokens = daemon.send(&CI, Request::post("/token", &pairs).basic("box", SECRET));
    assert_eq!((tokens.status, tokens.member("scope")), (200, "openid".to_owned()), "{}", tokens.show());
    assert!(tokens.json().get("refresh_token").is_none());
    // A resource of its own.
    let begun = begin(
        &daemon,
        &ALICE,
        &[("client_id", "tv"), ("resource", "https://tv.test/api/"), ("scope", "watch")],
    );
    let question = enter(&daemon, &ALICE, &begun.user_code).text();
    assert!(question.contains("access to https://tv.test/api") && question.contains("watch"), "{question}");
    press(&daemon, &ALICE, &begun.user_code, "allow");
    let other = tv(&daemon).token_request(
        &[("grant_type", GRANT), ("device_code", &begun.device_code), ("resource", RESOURCE)],
        &[],
    );
    assert_eq!(daemon.send(&ALICE, other).error(), "invalid_target");
    let tokens = poll(&daemon, &ALICE, &begun.device_code);
    assert_eq!(jwt(&tokens.member("access_token")).1["aud"], "https://tv.test/api");
}

#[test]
fn who_may_not_sign_in_may_not_allow() {
    let daemon = setup().start();
    let begun = begin(&daemon, &ALICE, &[("client_id", "closed")]);
    let reply = enter(&daemon, &ALICE, &begun.user_code);
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("you may not sign in to this application"), "{}", reply.show());
    for nobody in [&CI, &ITSELF] {
        assert_eq!(enter(&daemon, nobody, &begun.user_code).status, 403);
    }
    // Whoever left before the device came back leaves nothing.
    let begun = begin_tv(&daemon, &BOB);
    press(&daemon, &PHONE, &begun.user_code, "allow");
    daemon.change(&PHONE, |script| script.peers.retain(|node| node.id != 5));
    assert_eq!(poll(&daemon, &BOB, &begun.device_code).error(), "invalid_grant");
}

/// A23 and A49: nobody but a page of ours, and nobody but the person who was shown it, answers.
#[test]
fn forged_answers() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &BOB);
    let question = enter(&daemon, &ALICE, &begun.user_code);
    let form = form_of(&question);
    let pairs = [("form", form.as_str()), ("answer", "allow")];
    let bare = || Request::post("/device", &pairs);
    for forged in [
        bare(),
        bare().header("Origin", "null"),
        bare().header("Origin", "https://app.tail.test"),
        bare()
            .header("Origin", "null")
            .header("Sec-Fetch-Site", "same-origin")
            .header("Sec-Fetch-Mode", "navigate"),
        bare()
            .header("Origin", ISSUER)
            .header("Sec-Fetch-Site", "same-site")
            .header("Sec-Fetch-Mode", "navigate"),
        bare().header("Sec-Fetch-Site", "none").header("Sec-Fetch-Mode", "navigate"),
        bare()
            .header("Origin", ISSUER)
            .header("Sec-Fetch-Site", "same-origin")
            .header("Sec-Fetch-Mode", "cors"),
        own(&pairs).without("Sec-Fetch-Dest").header("Sec-Fetch-Dest", "iframe"),
        Request::post("/device", &[("user_code", &begun.user_code)]),
    ] {
        let reply = daemon.send(&ALICE, forged);
        assert_eq!(reply.status, 403, "{}", reply.show());
    }
    let framed =
        Request::get("/device").header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "navigate");
    assert_eq!(daemon.send(&ALICE, framed.header("Sec-Fetch-Dest", "iframe")).status, 403);
    // The form of alice, sent by bob or from alice's other device; no form of ours at all.
    for other in [&BOB, &PHONE] {
        let reply = daemon.send(other, own(&pairs));
        assert_eq!(reply.status, 400, "{}", reply.show());
    }
    for forged in ["", "x", &form[1..], &format!("{form}A")] {
        let reply = daemon.send(&ALICE, own(&[("form", forged), ("answer", "allow")]));
        assert_eq!(reply.status, 400, "{forged}");
    }
    assert_eq!(poll(&daemon, &BOB, &begun.device_code).error(), "authorization_pending");
    assert_eq!(daemon.send(&ALICE, own(&[("form", &form)])).status, 400, "no button");
    // It works once.
    assert_eq!(daemon.send(&ALICE, own(&pairs)).status, 200);
    assert_eq!(daemon.send(&ALICE, own(&pairs)).status, 400);
    assert_eq!(poll(&daemon, &BOB, &begun.device_code).status, 200);
}

/// A26: guesses are counted, and told nothing.
#[test]
fn guesses_are_throttled() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    for _ in 0..20 {
        assert_eq!(enter(&daemon, &BOB, &begun.user_code).status, 200, "right codes do not count");
    }
    for guess in 0..10 {
        assert_eq!(enter(&daemon, &BOB, "BCDF-GHJK").status, 400, "{guess}");
    }
    let stopped = enter(&daemon, &BOB, &begun.user_code);
    assert_eq!(stopped.status, 429, "{}", stopped.show());
    assert!(stopped.header("retry-after").is_some());
    assert_eq!(enter(&daemon, &ALICE, &begun.user_code).status, 200, "others are not held up");
    let second = Who { address: crate::support::tailnet::v6(3), ..BOB };
    assert_eq!(enter(&daemon, &second, &begun.user_code).status, 429, "the device counts, not its address");
    daemon.at(601);
    assert_eq!(enter(&daemon, &BOB, "BCDF-GHJK").status, 400);
    let log = daemon.log();
    assert!(log.contains("device_codes_guessed"), "{log}");
}

#[test]
fn only_so_many_wait_at_a_time() {
    let daemon = setup().start();
    for _ in 0..16 {
        begin_tv(&daemon, &ALICE);
    }
    let reply = daemon.send(&ALICE, Request::post("/device_authorization", &[("client_id", "tv")]));
    assert_eq!((reply.status, reply.error()), (429, "temporarily_unavailable".to_owned()));
    assert!(reply.header("retry-after").is_some());
    begin_tv(&daemon, &BOB);
    daemon.at(601);
    begin_tv(&daemon, &ALICE);
}

/// Nothing that answers or redeems stands in the log.
#[test]
fn codes_are_not_logged() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    let page = daemon.send(&ALICE, Request::get(&format!("/device?user_code={}", begun.user_code)));
    assert_eq!(page.status, 200);
    let question = enter(&daemon, &ALICE, &begun.user_code);
    let form = form_of(&question);
    daemon.send(&ALICE, own(&[("form", &form), ("answer", "allow")]));
    poll(&daemon, &ALICE, &begun.device_code);
    let log = daemon.log();
    for event in ["device_begun", "device_approved", "token_issued"] {
        assert!(log.contains(event), "{event}: {log}");
    }
    for secret in [&begun.device_code, &begun.user_code, &begun.user_code.replace('-', ""), &form] {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
}

#[test]
fn a_client_that_lost_the_grant_gets_nothing() {
    let daemon = setup().start();
    let begun = begin_tv(&daemon, &ALICE);
    press(&daemon, &ALICE, &begun.user_code, "allow");
    let waiting = begin_tv(&daemon, &ALICE);
    let path = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let without = format!("\"refresh_token\", \"{GRANT}\"");
    assert!(text.contains(&without));
    std::fs::write(&path, text.replacen(&without, "\"refresh_token\"", 1)).unwrap();
    daemon.signal("HUP");
    daemon.eventually("the client lost the grant", || {
        poll(&daemon, &ALICE, &waiting.device_code).error() == "unauthorized_client"
    });
    assert_eq!(poll(&daemon, &ALICE, &begun.device_code).error(), "unauthorized_client");
    assert_eq!(enter(&daemon, &ALICE, &waiting.user_code).status, 400);
}
