//! `response_mode=form_post` (OAuth 2.0 Form Post Response Mode): success and every error in a form that posts itself, with `iss`
//! and `state` once (RFC 9207).

use insta::assert_snapshot;

use crate::support::{ALICE, App, Daemon, Pairs, Reply, Request, Setup, tailnet::CI};

const FORM: (&str, &str) = ("response_mode", "form_post");

/// The fields of the form of a page.
#[track_caller]
pub(crate) fn fields(page: &Reply) -> Vec<(String, String)> {
    assert_eq!(page.status, 200, "{}", page.show());
    let text = page.text();
    let fields = text.split("<input type=\"hidden\" name=\"").skip(1).map(|rest| {
        let (name, rest) = rest.split_once("\" value=\"").unwrap();
        let value = rest.split_once('"').unwrap().0;
        let value = value.replace("&#34;", "\"").replace("&#39;", "'").replace("&#60;", "<");
        (name.to_owned(), value.replace("&#62;", ">").replace("&#38;", "&"))
    });
    fields.collect()
}

/// A field of the form of a page.
#[track_caller]
pub(crate) fn field(page: &Reply, name: &str) -> String {
    let mut values = fields(page).into_iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    let value = values.next().unwrap_or_else(|| panic!("no {name}: {}", page.show()));
    assert_eq!(values.next(), None, "{name} twice: {}", page.show());
    value
}

#[test]
fn a_code_comes_in_a_form() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let page = app.authorize(&ALICE, &[FORM]);
    assert_snapshot!(page.show(), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]'; script-src 'sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE='; form-action https://app.test; base-uri 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    referrer-policy: strict-origin
    x-content-type-options: nosniff
    x-frame-options: DENY

    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>Back to the application - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>Back to the application</h1>
    <form method="post" action="https://app.test/callback">
    <input type="hidden" name="code" value="[…]">
    <input type="hidden" name="state" value="st4te">
    <input type="hidden" name="iss" value="https://idp.tail.test">
    <p>If nothing happens in a moment, go on by yourself.</p>
    <p><button type="submit" id="continue">Continue</button></p>
    </form>
    </main>
    <script>document.forms[0].submit()</script>
    </body>
    </html>
    "#);
    let code = field(&page, "code");
    assert!(code.len() <= 1_500, "{}", code.len());
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
    let posted = daemon
        .send(&ALICE, Request { body: app.query(&[FORM]).into_bytes(), ..Request::post("/authorize", &[]) });
    assert_eq!(field(&posted, "iss"), "https://idp.tail.test");
    let silent = app.authorize(&ALICE, &[FORM, ("state", "")]);
    assert!(fields(&silent).iter().all(|(name, _)| name != "state"));
}

#[test]
fn errors_come_in_a_form_too() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    assert_snapshot!(app.authorize(&ALICE, &[FORM, ("response_type", "token")]).show(), @r#"
    200
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'sha256-[…]'; script-src 'sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE='; form-action https://app.test; base-uri 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    referrer-policy: strict-origin
    x-content-type-options: nosniff
    x-frame-options: DENY

    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>Back to the application - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>Back to the application</h1>
    <form method="post" action="https://app.test/callback">
    <input type="hidden" name="error" value="unsupported_response_type">
    <input type="hidden" name="error_description" value="only response_type=code is supported">
    <input type="hidden" name="state" value="st4te">
    <input type="hidden" name="iss" value="https://idp.tail.test">
    <p>If nothing happens in a moment, go on by yourself.</p>
    <p><button type="submit" id="continue">Continue</button></p>
    </form>
    </main>
    <script>document.forms[0].submit()</script>
    </body>
    </html>
    "#);
    let long = "n".repeat(513);
    let cases: [(&Pairs, &str); 5] = [
        (&[("response_type", "")], "invalid_request"),
        (&[("nonce", &long)], "invalid_request"),
        (&[("resource", "https://unknown.test")], "invalid_target"),
        (&[("request", "eyJ")], "invalid_request_object"),
        (&[("request_uri", "urn:x")], "request_uri_not_supported"),
    ];
    for (changes, error) in cases {
        let page = app.authorize(&ALICE, &[changes, &[FORM]].concat());
        let found = ["error", "state", "iss"].map(|name| field(&page, name));
        assert_eq!(found, [error, "st4te", "https://idp.tail.test"], "{changes:?}");
    }
    // Who may not sign in is told in the same way.
    assert_eq!(field(&app.authorize(&CI, &[FORM]), "error"), "access_denied");
}

/// A state is the application's text, not ours.
#[test]
fn a_state_cannot_break_out() {
    let daemon = Daemon::new();
    let state = "\"><script>alert(1)</script>'&amp;\u{e4}";
    let page = App::confidential(&daemon).authorize(&ALICE, &[FORM, ("state", state)]);
    assert_eq!(field(&page, "state"), state);
    assert_eq!(page.text().matches("<script").count(), 1, "{}", page.text());
}

#[test]
fn where_no_form_can_go_the_error_goes_by_redirect() {
    let daemon = Daemon::new();
    let native = App { redirect_uri: "com.example.app:/callback", ..App::public(&daemon) };
    assert_snapshot!(native.authorize(&ALICE, &[FORM]).show(), @r"
    302
    cache-control: no-store
    location: com.example.app:/callback?error=invalid_request&error_description=response_mode%3Dform_post+needs+a+redirect_uri+with+https+or+http&state=st4te&iss=https%3A%2F%2Fidp.tail.test
    referrer-policy: no-referrer
    ");
    let loopback = App::public(&daemon).authorize(&ALICE, &[FORM]);
    assert!(field(&loopback, "code").len() > 100);
    assert!(
        loopback.header("content-security-policy").unwrap().contains("form-action http://127.0.0.1:8123;"),
        "{}",
        loopback.show()
    );
    let unknown = App::public(&daemon).authorize(&ALICE, &[("response_mode", "form_post.jwt")]);
    assert_eq!((unknown.status, unknown.redirected("error").as_str()), (302, "invalid_request"));
}

/// RFC 9207 §2.4: `iss` stands in a response once, so no redirect URI brings one of its own.
#[test]
fn no_registered_uri_has_parameters_of_the_answer() {
    let daemon = Setup::default().start();
    let entry = "[[client]]\nid = \"bad\"\npublic = true\nredirect_uris = [\"https://app.test/cb?iss=https://evil.test\"]\n";
    std::fs::create_dir(daemon.path("clients.d")).unwrap();
    std::fs::write(daemon.path("clients.d/bad.toml"), entry).unwrap();
    let checked = daemon.run(&["check-config"]);
    assert!(!checked.status.success());
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("has a query parameter that the answer adds itself"), "{said}");
    for mode in ["query", "form_post"] {
        let reply = App::confidential(&daemon).authorize(&ALICE, &[("response_mode", mode)]);
        let whole = format!("{}{}", reply.header("location").unwrap_or_default(), reply.text());
        assert_eq!(whole.matches("iss=").count() + whole.matches("name=\"iss\"").count(), 1, "{whole}");
    }
}
