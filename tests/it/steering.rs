//! Answers that steer clients which others wrote (reference/oauth.md 1.3, 1.4, 4.5, 4.6; reference/mcp-clients.md parts 5 and 8):
//! SDKs choose between a repetition, a new login and a new registration by status and `error` alone, and most never recover from a
//! wrong one.
//!
//! [`MACHINES`] is the one list of machine endpoints: each row gets every case here and in `cors.rs`, and a new endpoint of the
//! metadata without a row fails [`every_endpoint_of_the_metadata_has_its_row`].

use std::{fs, path::Path, process::Command};

use insta::assert_snapshot;
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::{Value, json};

use crate::support::{
    ALICE, App, BOB, Daemon, Reply, Request, Setup, Who,
    daemon::copy,
    tailnet::{INTERNET, NOBODY},
    visitor::{Visitor, answer, form_token},
    wire::form,
};
use crate::{cimd, register};

/// A machine endpoint.
pub(crate) struct Machine {
    pub(crate) path: &'static str,
    /// Its methods, OPTIONS aside.
    pub(crate) methods: &'static [&'static str],
    /// Whether scripts of other origins may use it (design section 14).
    pub(crate) scripts: bool,
    /// Whether it is a document, which is served whatever is the matter.
    document: bool,
}

const fn document(path: &'static str) -> Machine {
    Machine { path, methods: &["GET", "HEAD"], scripts: true, document: true }
}

const fn endpoint(path: &'static str, methods: &'static [&'static str]) -> Machine {
    Machine { path, methods, scripts: true, document: false }
}

pub(crate) const MACHINES: [Machine; 11] = [
    document("/.well-known/openid-configuration"),
    document("/.well-known/oauth-authorization-server"),
    document("/.well-known/jwks.json"),
    endpoint("/token", &["POST"]),
    endpoint("/userinfo", &["GET", "POST"]),
    endpoint("/introspect", &["POST"]),
    endpoint("/revoke", &["POST"]),
    endpoint("/par", &["POST"]),
    endpoint("/register", &["POST"]),
    endpoint("/register/abc", &["GET", "PUT", "DELETE"]),
    // What a device begins, no web page does.
    Machine { scripts: false, ..endpoint("/device_authorization", &["POST"]) },
];

impl Machine {
    /// A request with one of its methods, good or bad.
    fn request(&self) -> Request {
        match self.methods[0] {
            "POST" => Request::post(self.path, &[("client_id", "cli")]),
            method => Request::new(method, self.path),
        }
    }
}

/// The rows whose answer depends on somebody or something.
fn endpoints() -> impl Iterator<Item = &'static Machine> {
    MACHINES.iter().filter(|machine| !machine.document)
}

/// What every refusal of a machine endpoint is: OAuth JSON (RFC 6749 §5.2), not to be stored, and readable for scripts where they
/// may ask. Returns `error`.
#[track_caller]
fn refusal(machine: &Machine, reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}: {}", machine.path, reply.show());
    assert_eq!(
        reply.header("access-control-allow-origin"),
        machine.scripts.then_some("*"),
        "{}: {}",
        machine.path,
        reply.show()
    );
    oauth_json(reply)
}

#[track_caller]
fn oauth_json(reply: &Reply) -> String {
    let shown = reply.show();
    assert_eq!(reply.header("content-type"), Some("application/json"), "{shown}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{shown}");
    assert_eq!(reply.header("location"), None, "{shown}");
    let members = reply.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members, ["error", "error_description"], "{shown}");
    let (error, description) = (reply.error(), reply.member("error_description"));
    assert!(
        !error.is_empty() && error.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()),
        "{shown}"
    );
    assert!(!description.is_empty() && !description.contains(['"', '\\']), "{shown}");
    error
}

#[test]
fn every_endpoint_of_the_metadata_has_its_row() {
    let daemon = Daemon::new();
    for path in [MACHINES[0].path, MACHINES[1].path] {
        let metadata: Value = daemon.send(&ALICE, Request::get(path)).json();
        for (name, value) in metadata.as_object().unwrap() {
            let is_page = ["authorization_endpoint", "end_session_endpoint"].contains(&name.as_str());
            if is_page || !(name.ends_with("_endpoint") || name.ends_with("_uri")) {
                continue;
            }
            let path = value.as_str().unwrap().strip_prefix("https://idp.tail.test").unwrap();
            assert!(MACHINES.iter().any(|machine| machine.path == path), "{name} has no row in MACHINES");
        }
    }
}

#[test]
fn another_method_is_405() {
    let daemon = Daemon::new();
    for machine in &MACHINES {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
            if machine.methods.contains(&method) {
                continue;
            }
            let reply = daemon.send(&ALICE, Request::new(method, machine.path));
            assert_eq!(refusal(machine, &reply, 405), "invalid_request");
            let allowed: Vec<_> = reply.header("allow").unwrap().split(", ").collect();
            assert!(machine.methods.iter().all(|method| allowed.contains(method)), "{}", reply.show());
        }
    }
}

#[test]
fn a_large_body_is_413_and_another_type_is_told_which() {
    let daemon = register::open();
    // What is registered is JSON; to change something, a client shows its token first (`register_manage.rs`).
    let is_json = |machine: &Machine| machine.path.starts_with("/register");
    let posts = || endpoints().filter(|machine| machine.methods.contains(&"POST"));
    for machine in posts() {
        let large = Request { body: vec![b'a'; 64 * 1024 + 1], ..Request::post(machine.path, &[]) };
        let large = if is_json(machine) {
            large.without("Content-Type").header("Content-Type", "application/json")
        } else {
            large
        };
        assert_eq!(refusal(machine, &daemon.send(&ALICE, large), 413), "invalid_request");
    }
    let registration = MACHINES.iter().find(|machine| machine.path == "/register").unwrap();
    let form = Request::post(registration.path, &[("client_name", "x")]);
    assert_eq!(refusal(registration, &daemon.send(&ALICE, form), 400), "invalid_request");
    for machine in posts().filter(|machine| machine.path != "/userinfo" && !is_json(machine)) {
        let typed = Request::post(machine.path, &[("client_id", "cli")]).without("Content-Type");
        for request in [typed.clone(), typed.header("Content-Type", "text/xml")] {
            let reply = daemon.send(&ALICE, request);
            assert_eq!(refusal(machine, &reply, 400), "invalid_request");
            assert!(
                reply.text().contains("Content-Type must be application/x-www-form-urlencoded"),
                "{}",
                reply.show()
            );
        }
    }
}

#[test]
fn too_often_is_429_with_the_time_to_wait() {
    let daemon = Setup::default().limits("node_requests_per_minute = 1\nnode_burst = 200").start();
    while daemon.send(&BOB, MACHINES[3].request()).status != 429 {}
    for machine in &MACHINES {
        let reply = daemon.send(&BOB, machine.request());
        if machine.document {
            assert_eq!(reply.status, 200, "{}", reply.show());
            continue;
        }
        assert_eq!(refusal(machine, &reply, 429), "temporarily_unavailable");
        let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{}", reply.show());
    }
}

/// On `server_error`, and on what is no JSON, the TypeScript SDKs throw their tokens away and sign in anew; on
/// `temporarily_unavailable` all but Python keep them.
#[test]
fn while_tailscaled_is_away_it_is_503() {
    let daemon = Daemon::new();
    daemon.tailscaled.stop();
    daemon.eventually("503 while tailscaled is away", || {
        daemon.send(&ALICE, MACHINES[3].request()).status == 503
    });
    for machine in &MACHINES {
        let reply = daemon.send(&ALICE, machine.request());
        if machine.document {
            assert_eq!(reply.status, 200, "{}", reply.show());
            continue;
        }
        assert_eq!(refusal(machine, &reply, 503), "temporarily_unavailable");
        assert_eq!(reply.header("retry-after"), Some("5"), "{}", reply.show());
    }
}

/// A disk without room is a passing state as well: nothing was burned, and when there is room again the same code and the same
/// token work.
#[test]
fn while_the_disk_is_full_it_is_503() {
    let mut daemon = register::open();
    daemon.kill();
    let Some(disk) = Disk::under(&daemon.path("state")) else { return };
    daemon.relaunch();
    let app = App::confidential(&daemon);
    let token = app.login(&ALICE, &[]).member("refresh_token");
    let code = app.code(&ALICE, &[]);
    let filler = disk.fill();
    let pushed =
        Request { target: "/par".to_owned(), body: app.query(&[]).into_bytes(), ..app.redemption("", &[]) };
    let revocation =
        Request::post("/revoke", &[("token", &token)]).basic("web", crate::support::daemon::SECRET);
    let registration = register::registration(&register::native());
    for request in [app.redemption(&code, &[]), app.renewal(&token, &[]), pushed, revocation, registration] {
        let reply = daemon.send(&ALICE, request);
        assert_eq!(
            (reply.status, oauth_json(&reply).as_str()),
            (503, "temporarily_unavailable"),
            "{}",
            reply.show()
        );
        assert_eq!(reply.header("retry-after"), Some("5"), "{}", reply.show());
    }
    assert!(app.authorize(&ALICE, &[]).redirect("code").is_some(), "a code needs no room");
    fs::remove_file(filler).unwrap();
    daemon.eventually("the code works", || app.redeem(&ALICE, &code, &[]).status == 200);
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
}

/// A small disk under a folder, which keeps what it held.
struct Disk(std::path::PathBuf);

impl Disk {
    /// `None`, with a word, where mounting is not allowed. CI is root.
    fn under(folder: &Path) -> Option<Self> {
        let kept = folder.with_extension("kept");
        fs::rename(folder, &kept).unwrap();
        fs::create_dir(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m,mode=0700", "tsidecar-test"])
            .arg(folder)
            .output()
            .is_ok_and(|ran| ran.status.success());
        if !mounted {
            eprintln!("SKIPPED: this test mounts a small disk, for which it must be root");
            assert!(
                !rustix::process::geteuid().is_root() || std::env::var_os("CI").is_none(),
                "CI can mount"
            );
            return None;
        }
        copy(&kept, folder);
        Some(Self(folder.to_owned()))
    }

    /// Leaves less room than the store wants to have.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.join("filler");
        fallocate(fs::File::create(&path).unwrap(), FallocateFlags::empty(), 0, 64 << 20).unwrap();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The daemon may still have it open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A proxy in between, or somebody who is not serve.
#[test]
fn headers_that_cannot_be_trusted_are_400() {
    let daemon = Daemon::new();
    for machine in endpoints() {
        let twice = machine.request().header("X-Forwarded-For", "100.64.0.3");
        assert_eq!(refusal(machine, &daemon.send(&ALICE, twice), 400), "invalid_request");
        let bob = Who { login: BOB.login, ..ALICE };
        assert_eq!(refusal(machine, &daemon.send(&bob, machine.request()), 400), "invalid_request");
    }
}

/// better-auth#11035: SDKs forget their registration on `invalid_client`, and only their tokens on `invalid_grant`: told the wrong
/// one, a client shows its dead id for ever. What else stands in the request makes no difference, nor from where it comes.
#[test]
fn an_unknown_client_is_invalid_client_whatever_it_shows() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let (code, refresh) = (app.code(&ALICE, &[]), app.login(&ALICE, &[]).member("refresh_token"));
    let endpoints: [(&str, &[(&str, &str)]); 8] = [
        ("/token", &[("grant_type", "authorization_code"), ("code", &code)]),
        ("/token", &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]),
        ("/token", &[("grant_type", "client_credentials")]),
        ("/token", &[("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")]),
        ("/revoke", &[("token", &refresh)]),
        ("/introspect", &[("token", &refresh)]),
        ("/par", &[("response_type", "code"), ("redirect_uri", "http://127.0.0.1/callback")]),
        ("/device_authorization", &[]),
    ];
    let assertion = assertion_of("dead");
    let long = "x".repeat(300);
    let ids = ["dead", "userid:1001", "ID of another server", "d\u{e9}ad", &long];
    for (path, parameters) in endpoints {
        let named = |id: &str, more: &[(&str, &str)]| {
            Request::post(path, &[parameters, &[("client_id", id)], more].concat())
        };
        let mut requests: Vec<_> = ids.iter().map(|id| named(id, &[])).collect();
        requests.push(named("dead", &[("client_secret", "s3cret")]));
        requests.push(named(
            "dead",
            &[
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", &assertion),
            ],
        ));
        let basic = Request::post(path, parameters).basic("dead", "s3cret");
        for request in requests.into_iter().chain([basic]) {
            let by_basic = request.headers.iter().any(|(name, _)| name == "Authorization");
            let reply = daemon.send(&ALICE, request.clone());
            let found = (reply.status, oauth_json(&reply));
            assert_eq!(found, (401, "invalid_client".to_owned()), "{request:?}: {}", reply.show());
            let challenge = by_basic.then_some("Basic realm=\"https://idp.tail.test\", charset=\"UTF-8\"");
            assert_eq!(reply.header("www-authenticate"), challenge, "{}", reply.show());
            if path != "/device_authorization" {
                assert_eq!(daemon.send(&INTERNET, request).error(), "invalid_client");
            }
        }
    }
    assert_eq!(app.refresh(&ALICE, &refresh, &[]).status, 200, "and nothing was burned");
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
}

/// A client that is known by a document: while its host cannot say what it is, it is told to come back and keeps what it has; when
/// there is no such document, it is as unknown as any other.
#[test]
fn a_client_whose_document_cannot_be_had_is_told_to_come_back() {
    for (status, expected) in [(500, (503, "temporarily_unavailable")), (404, (401, "invalid_client"))] {
        let publisher = cimd::Publisher::new();
        let daemon = publisher.setup().start();
        publisher.host.answer(cimd::PATH, status, "application/json", "");
        let id = publisher.id();
        for path in ["/token", "/revoke", "/introspect", "/par", "/device_authorization"] {
            let machine = MACHINES.iter().find(|machine| machine.path == path).unwrap();
            let pairs = [("client_id", id.as_str()), ("grant_type", "refresh_token"), ("token", "x")];
            let reply = daemon.send(&ALICE, Request::post(path, &pairs));
            assert_eq!(refusal(machine, &reply, expected.0), expected.1, "{path}: {}", reply.show());
            assert_eq!(reply.header("retry-after").is_some(), expected.0 == 503, "{path}: {}", reply.show());
        }
        let page = daemon.send(&ALICE, Request::get(&format!("/authorize?{}", form(&[("client_id", &id)]))));
        assert_eq!(page.status, if status == 404 { 400 } else { 503 }, "{}", page.show());
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{}", page.show());
    }
}

/// An assertion of a client, signed by nobody.
fn assertion_of(client: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let claims = json!({ "iss": client, "sub": client, "aud": "https://idp.tail.test", "exp": 4_000_000_000_u64, "jti": "j" });
    let parts = [json!({ "alg": "ES256" }).to_string(), claims.to_string(), "x".repeat(64)];
    parts.map(|part| Base64UrlUnpadded::encode_string(part.as_bytes())).join(".")
}

/// On exactly 400, `FastMCP`'s client registers anew by itself; the person in front of any other client must learn how to make it
/// forget its dead id (reference/oauth.md 4.5; claude-code#84614).
#[test]
fn a_dead_client_at_authorize_is_a_page_with_400() {
    let daemon = Daemon::new();
    let app = App { id: "dead", ..App::public(&daemon) };
    let page = app.authorize(&ALICE, &[]);
    assert_snapshot!(page.show(), @r#"
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
    <p class="detail">For an administrator: this application is not registered here</p>
    </main>
    </body>
    </html>
    "#);
    let long = "x".repeat(300);
    let probe = Request::get(&format!("/authorize?{}", app.query(&[]))).header("Accept", "*/*");
    let posted = Request::post("/authorize", &[("client_id", "dead"), ("response_type", "code")]);
    let odd = ["userid:1001", "ID of another server", &long]
        .map(|id| Request::get(&format!("/authorize?{}", form(&[("client_id", id)]))));
    let silent = Request::get(&format!("/authorize?{}", app.query(&[("prompt", "none")])));
    for request in odd.into_iter().chain([probe, posted, silent]) {
        let reply = daemon.send(&ALICE, request);
        assert_eq!((reply.status, reply.header("location")), (400, None), "{}", reply.show());
        assert!(reply.text().contains("Clear authentication"), "{}", reply.show());
    }
}

/// opencode#50510: an application whose path is another one than it registered. Its page names both, and nothing that stands in them
/// is more than text (A11).
#[test]
fn a_redirect_uri_that_differs_is_shown_beside_the_registered_ones() {
    let daemon = Daemon::new();
    let reply =
        App { redirect_uri: "http://127.0.0.1:8123/oauth", ..App::public(&daemon) }.authorize(&ALICE, &[]);
    assert_eq!((reply.status, reply.header("location")), (400, None), "{}", reply.show());
    let says = "redirect_uri) http://127.0.0.1:8123/oauth is not one of those registered for this application: \
                http://127.0.0.1/callback, com.example.app:/callback";
    assert!(reply.text().contains(says), "{}", reply.show());
    let long = format!("https://evil.test/<script>{}", "x".repeat(1_000));
    let reply = App::public(&daemon).authorize(&ALICE, &[("redirect_uri", &long)]);
    assert!(!reply.text().contains("<script>") && reply.text().contains("evil.test"), "{}", reply.show());
    assert!(!reply.text().contains(&"x".repeat(200)), "{}", reply.show());
}

/// `FastMCP`'s client asks once by itself and once more in the browser, with the same `state` and challenge: no replay, and whichever
/// of the codes is used leaves the other alone.
#[test]
fn a_client_that_asks_first_gets_two_codes() {
    let daemon = Daemon::new();
    for app in [App::public(&daemon), App::confidential(&daemon)] {
        for use_first in [true, false] {
            let probe = Request::get(&format!("/authorize?{}", app.query(&[]))).header("Accept", "*/*");
            let visit = Request::get(&format!("/authorize?{}", app.query(&[])))
                .header("Sec-Fetch-Site", "none")
                .header("Sec-Fetch-Mode", "navigate");
            let [first, second] =
                [probe, visit].map(|request| daemon.send(&ALICE, request).redirected("code"));
            assert_ne!(first, second);
            let (used, other) = if use_first { (&first, &second) } else { (&second, &first) };
            let token = app.redeem(&ALICE, used, &[]).member("refresh_token");
            let of_other = app.redeem(&ALICE, other, &[]).member("refresh_token");
            for token in [token, of_other] {
                assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
            }
        }
    }
}

/// The same where a page asks: the page of the first request is never answered, that of the second gives the code.
#[test]
fn a_client_that_asks_first_may_get_a_page_each_time() {
    let daemon = Setup::default()
        .tables(
            r#"[[client]]
id = "careful"
name = "Careful"
public = true
login = "confirm"
redirect_uris = ["http://127.0.0.1/callback"]"#,
        )
        .start();
    let app = App { id: "careful", ..App::public(&daemon) };
    let (mut client, mut browser) = (Visitor::new(app, &ALICE), Visitor::new(app, &ALICE));
    let unanswered = client.authorize(&[]);
    assert_eq!(unanswered.status, 200, "the probe takes it for good: {}", unanswered.show());
    let code = browser.confirm(&[]).redirected("code");
    let token = app.redeem(&ALICE, &code, &[]).member("refresh_token");
    let late = client.press(&unanswered, "continue").redirected("code");
    assert_eq!(app.redeem(&ALICE, &late, &[]).status, 200);
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
}

/// The same for a stranger that registered itself: two pages, and what is allowed on the second counts.
#[test]
fn a_stranger_that_asks_first_is_allowed_on_its_second_page() {
    let daemon = register::open();
    let metadata = json!({ "client_name": "FastMCP", "redirect_uris": ["http://localhost:7001/callback"],
        "token_endpoint_auth_method": "none" });
    // By bob, so that it is a stranger to alice.
    let id: &'static str = register::register(&daemon, &BOB, &metadata).member("client_id").leak();
    let app = App { id, redirect_uri: "http://localhost:7002/callback", ..App::public(&daemon) };
    let probe = Request::get(&format!("/authorize?{}", app.query(&[]))).header("Accept", "*/*");
    let unanswered = daemon.send(&ALICE, probe);
    assert_eq!(unanswered.status, 200, "{}", unanswered.show());
    let page = app.authorize(&ALICE, &[]);
    let allow = |page: &Reply| Request {
        target: "/authorize/consent".to_owned(),
        ..answer(&form_token(page), "allow")
    };
    let code = daemon.send(&ALICE, allow(&page)).redirected("code");
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
    // From now on nobody is asked, so both requests give a code.
    let codes = [(); 2].map(|()| app.code(&ALICE, &[]));
    for code in &codes {
        assert_eq!(app.redeem(&ALICE, code, &[]).status, 200);
    }
}

/// Clients try every well-known path that some specification ever had, and go on after a 404; a redirect to another origin ends
/// rmcp, a 5xx ends most, and a browser needs to be allowed to read the answer.
#[test]
fn unknown_well_known_paths_are_404_in_json() {
    let daemon = Daemon::new();
    let paths = [
        "/.well-known",
        "/.well-known/",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server/",
        "/.well-known/oauth-authorization-server/x",
        "/.well-known/openid-configuration/",
        "/.well-known/openid-configuration/x",
        "/.well-known/jwks.json/",
        "/.well-known/webfinger?resource=acct:alice@example.com",
        "/.well-known//openid-configuration",
        "/x/.well-known/openid-configuration",
        "/x/.well-known/oauth-authorization-server",
        "/mcp/.well-known/oauth-protected-resource",
        "/token/",
        "/register/",
        "/nothing",
    ];
    for path in paths {
        for who in [&ALICE, &NOBODY, &INTERNET] {
            let is_well_known = path.contains("/.well-known");
            for accept in ["application/json", "*/*", "text/html,application/xhtml+xml"] {
                let request =
                    Request::get(path).header("Accept", accept).header("MCP-Protocol-Version", "2025-11-25");
                let reply = daemon.send(who, request);
                if accept.starts_with("text/html") && !is_well_known {
                    continue;
                }
                assert_eq!(
                    (reply.status, oauth_json(&reply).as_str()),
                    (404, "not_found"),
                    "{path} {accept}"
                );
                assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path} {accept}");
            }
            let posted = daemon.send(who, Request::post(path, &[("a", "b")]).header("Accept", "text/html"));
            assert_eq!((posted.status, oauth_json(&posted).as_str()), (404, "not_found"), "{path}");
            let asked = Request::new("OPTIONS", path)
                .header("Origin", "https://app.test")
                .header("Access-Control-Request-Method", "GET")
                .header("Access-Control-Request-Headers", "mcp-protocol-version");
            let reply = daemon.send(who, asked);
            // Otherwise a script would see a network error in place of the 404, and might give up.
            let expected = if is_well_known { (204, Some("*")) } else { (404, Some("*")) };
            assert_eq!((reply.status, reply.header("access-control-allow-origin")), expected, "{path}");
        }
    }
}
