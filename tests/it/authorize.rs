//! `/authorize`: the happy case, every error that goes to the application, every page that does not.

use insta::assert_snapshot;

use crate::support::{
    ALICE, App, BOB, CHALLENGE, Daemon, Pairs, Request,
    browser::RESOURCE,
    tailnet::{INTERNET, NOBODY},
    wire::form,
};

#[test]
fn one_request_is_enough() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    assert_snapshot!(app.authorize(&ALICE, &[]).show(), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?code=[code]&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    let posted = daemon
        .send(&ALICE, Request { body: app.query(&[]).into_bytes(), ..Request::post("/authorize", &[]) });
    assert_eq!(posted.redirected("state"), "st4te");
    assert!(posted.redirect("code").is_some());
    assert_eq!(posted.status, 303, "a browser must not post again");
    assert_eq!(app.authorize(&ALICE, &[("state", "")]).redirect("state"), None);
}

#[test]
fn the_query_of_the_redirect_uri_is_kept() {
    let daemon = Daemon::new();
    let app = App { redirect_uri: "https://app.test/other?keep=1", ..App::confidential(&daemon) };
    assert_snapshot!(app.authorize(&ALICE, &[]).show(), @r"
    302
    cache-control: no-store
    location: https://app.test/other?keep=1&code=[code]&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
}

#[test]
fn what_suites_send_besides_is_tolerated() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let cases: [&Pairs; 14] = [
        &[("extra", "foobar")],
        &[("display", "page")],
        &[("display", "popup")],
        &[("ui_locales", "se")],
        &[("claims_locales", "se")],
        &[("login_hint", "bob@github")],
        &[("acr_values", "1 2")],
        &[("claims", r#"{"userinfo":{"name":{"essential":true}}}"#)],
        &[("prompt", "none")],
        &[("prompt", "consent")],
        &[("max_age", "10000")],
        &[("response_mode", "query")],
        &[("scope", "openid offline_access address phone nonsense")],
        &[("scope", "")],
    ];
    for changes in cases {
        let reply = app.authorize(&ALICE, changes);
        assert!(reply.redirect("code").is_some(), "{changes:?}: {}", reply.show());
    }
}

/// A confidential client may leave PKCE out if it sends a nonce (OpenID suite: "ensure request without nonce succeeds" needs
/// `pkce = "optional"`, which is the administrator's choice).
#[test]
fn confidential_clients_need_a_challenge_or_a_nonce() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let bare = [("code_challenge", ""), ("code_challenge_method", "")];
    assert!(app.authorize(&ALICE, &bare).redirect("code").is_some());
    let nothing = [&bare[..], &[("nonce", "")]].concat();
    assert_eq!(app.authorize(&ALICE, &nothing).redirected("error"), "invalid_request");
}

#[test]
fn errors_go_to_the_application_with_state_and_iss() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let shown = |changes: &Pairs| app.authorize(&ALICE, changes).show();
    assert_snapshot!(shown(&[("response_type", "")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=invalid_request&error_description=response_type+is+missing&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("response_type", "token")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=unsupported_response_type&error_description=only+response_type%3Dcode+is+supported&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("prompt", "none"), ("max_age", "0")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=login_required&error_description=the+person+must+sign+in%2C+and+prompt%3Dnone+allows+no+page&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("request", "eyJ")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=invalid_request_object&error_description=request+object%3A+the+JWT+is+not+of+three+parts+in+base64url&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("request_uri", "urn:x")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=request_uri_not_supported&error_description=request+objects+by+reference+are+not+supported&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("registration", "{}")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=registration_not_supported&error_description=registration+inside+a+request+is+not+supported&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("resource", "https://unknown.test")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=invalid_target&error_description=the+resource+https%3A%2F%2Funknown.test+is+not+known+here%2C+or+not+open+to+this+client+and+person%3B+an+administrator+adds+it+as+a+%5B%5Bresource%5D%5D%2C+or+to+the+resources+of+a+rule&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    assert_snapshot!(shown(&[("code_challenge", ""), ("code_challenge_method", "")]), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=invalid_request&error_description=code_challenge+is+required+%28PKCE+with+S256%29&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
}

#[test]
fn each_error_has_its_code() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let long = "n".repeat(513);
    let cases: [(&Pairs, &str); 16] = [
        (&[("response_type", "id_token")], "unsupported_response_type"),
        (&[("response_type", "code id_token")], "unsupported_response_type"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("request_uri", "urn:ietf:params:oauth:request_uri:x")], "invalid_request_uri"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("nonce", &long)], "invalid_request"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "none"), ("max_age", "0")], "login_required"),
        (&[("claims", "{")], "invalid_request"),
        (&[("max_age", "-1")], "invalid_request"),
        (&[("max_age", "soon")], "invalid_request"),
        (&[("resource", "https://api.test")], "invalid_target"),
        (&[("resource", "https://mcp.test/mcp#fragment")], "invalid_target"),
    ];
    for (changes, error) in cases {
        let reply = app.authorize(&ALICE, changes);
        let found = (reply.status, reply.redirect("error"), reply.redirect("state"), reply.redirect("iss"));
        let expected = (302, Some(error.into()), Some("st4te".into()), Some("https://idp.tail.test".into()));
        assert_eq!(found, expected, "{changes:?}");
    }
}

#[test]
fn whom_the_client_does_not_admit_goes_back_with_access_denied() {
    let daemon = Daemon::new();
    let app = App { id: "nobodys", ..App::public(&daemon) };
    assert_snapshot!(app.authorize(&ALICE, &[]).show(), @r"
    302
    cache-control: no-store
    location: http://127.0.0.1:8123/callback?error=access_denied&error_description=you+may+not+sign+in+to+this+application&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
}

#[test]
fn pages_for_people_where_a_redirect_would_be_unsafe() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    assert_snapshot!(app.authorize(&ALICE, &[("client_id", "")]).show(), @r#"
    400
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>This application is not known here - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>This application is not known here</h1>
    <p>The application that sent you is not registered with this sign-in service, or no longer.</p>
    <p class="cure">If it worked before, let the application forget its old registration and connect again: in Claude Code by /mcp and “Clear authentication”, in VS Code by the command “Authentication: Remove Dynamic Authentication Providers”, with mcp-remote by deleting the folder ~/.mcp-auth, elsewhere by removing the server and adding it again. If it never worked, ask the person who runs this service to add it.</p>
    <p class="detail">For an administrator: the request names no application (client_id is missing)</p>
    </main>
    </body>
    </html>
    "#);
    let cases: [(&Pairs, &str); 5] = [
        (&[("client_id", "unknown")], "not registered"),
        (&[("client_id", "userid:5")], "client_id"),
        (&[("redirect_uri", "")], "redirect_uri"),
        (&[("redirect_uri", "https://evil.test/")], "redirect_uri"),
        (&[("redirect_uri", "http://127.0.0.1/callback/")], "redirect_uri"),
    ];
    for (changes, says) in cases {
        let reply = app.authorize(&ALICE, changes);
        assert_eq!((reply.status, reply.header("location")), (400, None), "{changes:?}");
        assert!(reply.header("content-type").unwrap().starts_with("text/html"), "{changes:?}");
        assert!(reply.text().contains(says), "{changes:?}: {}", reply.text());
    }
}

#[test]
fn pages_are_readable_on_a_phone_and_fenced() {
    let daemon = Daemon::new();
    let reply = App::public(&daemon).authorize(&ALICE, &[("client_id", "unknown")]);
    let html = reply.text();
    for wanted in ["<meta name=\"viewport\"", "color-scheme", "<title>"] {
        assert!(html.contains(wanted), "{wanted}: {html}");
    }
    assert!(!html.contains("<script"));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-inline' script"));
    assert_eq!(reply.header("referrer-policy"), Some("same-origin"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn parameters_of_a_post_stand_in_the_body_only() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let request = Request {
        target: "/authorize?scope=openid".to_owned(),
        body: app.query(&[]).into_bytes(),
        ..Request::post("/authorize", &[])
    };
    let reply = daemon.send(&ALICE, request);
    assert_eq!((reply.status, reply.header("location")), (400, None));
    let typeless = Request { body: app.query(&[]).into_bytes(), ..Request::new("POST", "/authorize") };
    assert_eq!(daemon.send(&ALICE, typeless).header("location"), None);
}

#[test]
fn loopback_redirects_have_a_free_port() {
    let daemon = Daemon::new();
    for redirect_uri in
        ["http://127.0.0.1/callback", "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback"]
    {
        let app = App { redirect_uri, ..App::public(&daemon) };
        let code = app.code(&ALICE, &[]);
        assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
    }
    let app = App { redirect_uri: "com.example.app:/callback", ..App::public(&daemon) };
    let reply = app.authorize(&ALICE, &[]);
    assert!(reply.header("location").unwrap().starts_with("com.example.app:/callback?code="));
}

#[test]
fn strangers_get_a_page_that_says_what_to_do() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    assert_snapshot!(app.authorize(&INTERNET, &[]).show(), @r#"
    403
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
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
    <title>Open this from your tailnet - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>Open this from your tailnet</h1>
    <p>Signing in works only from a device that is connected to the tailnet, and this one is not.</p>
    <p class="cure">Connect Tailscale on this device, then go back to the application and sign in again.</p>

    </main>
    </body>
    </html>
    "#);
    let unknown = app.authorize(&NOBODY, &[]);
    assert!(unknown.header("location").is_none() && unknown.status >= 400, "{}", unknown.show());
}

#[test]
fn granted_scope_and_resource_travel_in_the_code() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let login = app.login(&ALICE, &[("scope", "openid read nonsense"), ("resource", RESOURCE)]);
    assert_eq!(login.member("scope"), "openid read");
    let bob = app.login(&BOB, &[("scope", "nonsense")]);
    assert_eq!(bob.member("scope"), "openid");
}

#[test]
fn codes_are_short_enough_and_differ() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let nonce = "n".repeat(512);
    let state = "s".repeat(128);
    let changes = [
        ("nonce", nonce.as_str()),
        ("state", &state),
        ("scope", "openid profile email groups offline_access"),
    ];
    let (one, two) = (app.code(&ALICE, &changes), app.code(&ALICE, &changes));
    assert!(one != two && one.len() <= 1_500 && one.len() >= 128, "{}", one.len());
    assert_eq!(app.authorize(&ALICE, &changes).redirected("state"), state);
}

#[test]
fn other_methods_are_refused() {
    let daemon = Daemon::new();
    let query = form(&[("client_id", "cli"), ("code_challenge", CHALLENGE)]);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = daemon.send(&ALICE, Request::new(method, &format!("/authorize?{query}")));
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}
