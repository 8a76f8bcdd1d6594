//! The trust boundary of design section 4: each rule, and a test that tries to break it.

use std::{process::Command, time::Duration};

use insta::assert_snapshot;
use serde_json::json;
use tsidecar_server::demo::{Fault, Script};

use crate::register;
use crate::support::{
    ALICE, App, BOB, CI, Daemon, Request, Setup, Who,
    tailnet::{INTERNET, ITSELF, NOBODY, through_serve, v6},
    wire::exchange,
};

fn authorize(daemon: &Daemon) -> Request {
    Request::get(&format!("/authorize?{}", App::public(daemon).query(&[])))
}

// --- who opened the socket ---

/// Runs in a process of its own: sends the bytes in a file to a socket and prints the status of the answer.
#[test]
#[ignore = "the other end of tests below"]
fn another_process() {
    let Ok(socket) = std::env::var("TSIDECAR_IT_SOCKET") else { return };
    let bytes = std::env::var("TSIDECAR_IT_REQUEST").unwrap();
    match exchange(socket.as_ref(), bytes.as_bytes()) {
        Ok(reply) => println!("answer {}", reply.status),
        Err(error) => println!("refused {error}"),
    }
}

fn from_another_process(daemon: &Daemon, socket: &str, request: &Request) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "trust::another_process"])
        .env("TSIDECAR_IT_SOCKET", daemon.path(socket))
        .env("TSIDECAR_IT_REQUEST", String::from_utf8(request.bytes()).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.split_once("answer ").or(line.split_once("refused ")));
    line.map_or(said.clone(), |(_, rest)| rest.to_owned())
}

/// A12: the same uid is not enough, it must be the process that answers on tailscaled's socket.
#[test]
fn only_tailscaled_may_open_the_socket() {
    let daemon = Daemon::new();
    let request = through_serve(&ALICE, authorize(&daemon));
    assert_eq!(daemon.raw(&request).status, 302);
    let said = from_another_process(&daemon, "serve.sock", &request);
    assert!(!said.starts_with('2') && !said.starts_with('3'), "{said}");
}

/// A36: serve may be pointed at it by mistake; it is closed to tailscaled and to everything forwarded.
#[test]
fn the_admin_socket_is_closed_to_tailscaled() {
    let daemon = Daemon::new();
    for socket in ["admin.sock", "ops.sock"] {
        for request in [
            Request::get("/clients"),
            Request::get("/readyz"),
            through_serve(&ALICE, Request::get("/clients")),
        ] {
            assert!(daemon.try_raw(socket, &request.header("Host", "x")).is_err(), "{socket}");
        }
    }
    let plain = |path: &str| Request::get(path).header("Host", "localhost");
    let doors = [("admin.sock", plain("/clients/")), ("ops.sock", plain("/readyz"))];
    for (socket, request) in &doors {
        assert_eq!(from_another_process(&daemon, socket, request), "200", "{socket}");
    }
    for (name, value) in [
        ("X-Forwarded-For", "100.64.0.2"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=1.2.3.4"),
        ("Tailscale-User-Login", "alice@example.com"),
        ("Tailscale-Anything", "1"),
    ] {
        for (socket, request) in &doors {
            let said = from_another_process(&daemon, socket, &request.clone().header(name, value));
            assert!(!said.starts_with('2'), "{socket} {name}: {said}");
        }
    }
}

#[test]
fn sockets_in_folders_of_others_are_refused() {
    let daemon = Setup::default().unready().start();
    let path = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("allow_unsafe_path = true", "");
    let text = text
        .replace("/state\"", "/state2\"")
        .replace("/serve.sock", "/serve2.sock")
        .replace("/ops.sock", "/ops2.sock");
    std::fs::write(&path, text.replace("/admin.sock", "/admin2.sock")).unwrap();
    let output = daemon.run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("allow_unsafe_path"), "{said}");
}

// --- what the headers say ---

#[test]
fn exactly_one_bare_address() {
    let daemon = Daemon::new();
    let base = through_serve(&ALICE, authorize(&daemon)).without("X-Forwarded-For");
    assert_snapshot!(daemon.raw(&base).show(), @r#"
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
    <title>This request cannot be trusted - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>This request cannot be trusted</h1>
    <p>Something between you and this service changed the request on its way.</p>
    <p class="cure">Open the application again from a device on the tailnet, without a proxy in between.</p>
    <p class="detail">For an administrator: the request does not say where it comes from (no X-Forwarded-For); only `tailscale serve` or a configured proxy may stand in front</p>
    </main>
    </body>
    </html>
    "#);
    for value in [
        "",
        "100.64.0.2, 100.64.0.3",
        "100.64.0.2,",
        "100.64.0.2:443",
        "[fd7a:115c:a1e0::2]",
        "fd7a:115c:a1e0::2%eth0",
        "alice",
        "100.64.0.02",
        "0x64400002",
        "100.64.2",
        "unknown",
    ] {
        let reply = daemon.raw(&base.clone().header("X-Forwarded-For", value));
        assert_eq!((reply.status, reply.header("location")), (400, None), "{value:?}");
    }
    let twice = base.clone().header("X-Forwarded-For", "100.64.0.2").header("x-forwarded-for", "100.64.0.2");
    assert_eq!(daemon.raw(&twice).status, 400);
    let machine = Request::get("/userinfo").header("Host", "localhost").header("X-Forwarded-Proto", "https");
    assert_snapshot!(daemon.raw(&machine).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "the request does not say where it comes from (no X-Forwarded-For); only 'tailscale serve' or a configured proxy may stand in front"
    }
    "#);
}

#[test]
fn an_address_of_either_family_is_the_same_person() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let by_six = Who { address: v6(2), ..ALICE };
    let token = app.login(&by_six, &[]).member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200, "the same device");
}

#[test]
fn https_is_asked_for() {
    let daemon = Daemon::new();
    let base = through_serve(&ALICE, authorize(&daemon)).without("X-Forwarded-Proto");
    assert_eq!(daemon.raw(&base).status, 400);
    assert_eq!(daemon.raw(&base.clone().header("X-Forwarded-Proto", "http")).status, 400);
    let both = base.header("X-Forwarded-Proto", "https").header("X-Forwarded-Proto", "http");
    assert_eq!(daemon.raw(&both).status, 400);
}

/// A13: the marker with any value, and no whois.
#[test]
fn funnel_reaches_public_endpoints_only() {
    let daemon = Daemon::new();
    let before = daemon.tailscaled.asked("whois");
    for value in ["?1", "?0", "", "no"] {
        let request = through_serve(&ALICE, authorize(&daemon)).header("Tailscale-Funnel-Request", value);
        let reply = daemon.raw(&request);
        assert_eq!(reply.header("location"), None, "{value:?}: {}", reply.show());
    }
    assert_eq!(daemon.tailscaled.asked("whois"), before);
    for path in ["/admin", "/clients", "/clients/", "/readyz", "/healthz", "/metrics"] {
        assert_eq!(daemon.send(&INTERNET, Request::get(path)).status, 404, "{path}");
    }
    for path in ["/consents", "/device", "/logout"] {
        assert_eq!(daemon.send(&INTERNET, Request::get(path)).status, 403, "{path}");
    }
    let registration = register::registration(&register::native());
    assert_eq!(daemon.send(&INTERNET, registration).error(), "access_denied", "off by default");
    let app = App::confidential(&daemon);
    let code = app.code(&ALICE, &[]);
    let login = app.redeem(&INTERNET, &code, &[]);
    assert_eq!(app.userinfo(&INTERNET, &login.member("access_token")).status, 200);
    assert_eq!(daemon.tailscaled.asked_about(INTERNET.address), 0, "whois is never asked about the internet");
    assert_eq!(app.refresh(&INTERNET, &login.member("refresh_token"), &[]).status, 200);
}

/// A12: serve's own opinion must agree with ours, or something is between us.
#[test]
fn a_login_header_that_differs_from_whois_is_an_alert() {
    let daemon = Daemon::new();
    let base = through_serve(&ALICE, authorize(&daemon)).without("Tailscale-User-Login");
    assert_eq!(daemon.raw(&base).status, 302, "serve leaves it out when its whois failed");
    for value in ["bob@github", "ALICE@example.com", "=?utf-8?q?bob?="] {
        let reply = daemon.raw(&base.clone().header("Tailscale-User-Login", value));
        assert_eq!((reply.status, reply.header("location")), (400, None), "{value:?}");
    }
    let tagged = through_serve(&CI, authorize(&daemon)).header("Tailscale-User-Login", "alice@example.com");
    assert_eq!(daemon.raw(&tagged).header("location"), None);
    let encoded = base.header("Tailscale-User-Login", "=?utf-8?q?alice=40example.com?=");
    assert_eq!(daemon.raw(&encoded).status, 302);
    // Where the name is of no use to the request it is looked at as well.
    let app = App::confidential(&daemon);
    let tokens = app.login(&ALICE, &[]);
    let renewal = through_serve(&ALICE, app.renewal(&tokens.member("refresh_token"), &[]));
    let bearer = format!("Bearer {}", tokens.member("access_token"));
    let userinfo = through_serve(&ALICE, Request::get("/userinfo").header("Authorization", &bearer));
    for request in [renewal, userinfo] {
        let wrong =
            request.clone().without("Tailscale-User-Login").header("Tailscale-User-Login", "bob@github");
        let reply = daemon.raw(&wrong);
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")));
        assert_eq!(daemon.raw(&request).status, 200);
    }
    assert!(daemon.log().contains("contradicted"));
}

/// A33, A39: a web page in alice's browser is not alice's application, nor the reverse.
#[test]
fn a_web_page_is_a_place_of_its_own() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let page = |request: Request| {
        request.header("Origin", "https://spa.test").header("Sec-Fetch-Site", "cross-site")
    };
    let native = app.login(&ALICE, &[]).member("refresh_token");
    let stolen = daemon.send(&ALICE, page(app.renewal(&native, &[])));
    assert_eq!((stolen.status, stolen.json()["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(app.refresh(&ALICE, &native, &[]).status, 200, "nothing was rotated");
    let code = app.code(&ALICE, &[]);
    let of_page = daemon.send(&ALICE, page(app.redemption(&code, &[]))).member("refresh_token");
    assert_eq!(app.refresh(&ALICE, &of_page, &[]).status, 400);
    assert_eq!(daemon.send(&ALICE, page(app.renewal(&of_page, &[]))).status, 200);
}

/// A12: what serve passes on as it is decides nothing.
#[test]
fn other_headers_decide_nothing() {
    let daemon = Daemon::new();
    for (name, value) in [
        ("X-Real-IP", "100.64.0.3"),
        ("True-Client-IP", "100.64.0.3"),
        ("X-Forwarded-Port", "80"),
        ("X_Forwarded_For", "100.64.0.3"),
        ("Tailscale_User_Login", "bob@github"),
        ("Tailscale-App-Capabilities", r#"{"tailscale.com/cap/tsidp":[{"groups":["x"]}]}"#),
        ("X-Forwarded-Host", "evil.test"),
    ] {
        let request = through_serve(&ALICE, authorize(&daemon)).without(name).header(name, value);
        let code = daemon.raw(&request).redirected("code");
        let reply = App::public(&daemon).redeem(&ALICE, &code, &[]);
        let claims = crate::support::wire::jwt(&reply.member("id_token")).1;
        assert_eq!(
            (&claims["sub"], &claims["groups"]),
            (&json!("userid:1001"), &json!(["group:eng"])),
            "{name}"
        );
        assert_eq!(claims["iss"], "https://idp.tail.test");
    }
}

// --- which nodes are people ---

fn refused(edit: impl FnOnce(&mut Script) + 'static, who: &Who) {
    let daemon = Setup::default().tailnet(edit).unready().start();
    daemon.eventually("somebody is known", || {
        let bob = App::public(&daemon).authorize(&BOB, &[]);
        bob.redirect("code").is_some() || who.address == BOB.address
    });
    let reply = App::public(&daemon).authorize(who, &[]);
    assert!(reply.redirect("code").is_none(), "{}", reply.show());
    assert_ne!(reply.status, 503, "{}", reply.show());
}

#[test]
fn this_node_itself() {
    refused(|_| (), &ITSELF);
    refused(
        |script| {
            let alice = script.peers[0].user.clone();
            script.this_node.tags.clear();
            script.this_node.user = alice;
        },
        &Who { login: Some("alice@example.com"), ..ITSELF },
    );
}

#[test]
fn expired_jailed_unsigned_and_plain_wireguard_nodes() {
    refused(|script| script.peers[0].expired = true, &ALICE);
    refused(|script| script.peers[0].jailed = true, &ALICE);
    refused(|script| script.peers[0].unsigned = true, &ALICE);
    refused(|script| script.peers[0].wireguard_only = true, &ALICE);
    refused(|script| script.peers[0].no_profile = true, &ALICE);
}

#[test]
fn tagged_nodes() {
    refused(|_| (), &CI);
    refused(|script| script.peers[0].tags = vec!["tag:kiosk".to_owned()], &Who { login: None, ..ALICE });
}

#[test]
fn unknown_addresses() {
    refused(|_| (), &NOBODY);
}

/// A14: the address went to another node, the node to another user.
#[test]
fn nothing_is_remembered_of_an_address() {
    let daemon = Daemon::new();
    let app = App::confidential(&daemon);
    let token = app.login(&ALICE, &[]).member("refresh_token");
    daemon.change(&ALICE, |script| {
        let mut laptop = script.peers.remove(0);
        script.peers[0].addresses.clone_from(&laptop.addresses);
        laptop.addresses = vec!["100.64.0.88".parse().unwrap()];
        script.peers.push(laptop);
    });
    let now_bob = Who { login: Some("bob@github"), ..ALICE };
    let claims = crate::support::wire::jwt(&app.login(&now_bob, &[]).member("id_token")).1;
    assert_eq!(claims["sub"], "userid:1002");
    assert_eq!(app.refresh(&now_bob, &token, &[]).error(), "invalid_grant");
}

#[test]
fn one_whois_serves_many_requests() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    daemon.settle(&BOB);
    let before = daemon.tailscaled.asked_about(BOB.address);
    for _ in 0..50 {
        app.authorize(&BOB, &[]);
    }
    let asked = daemon.tailscaled.asked_about(BOB.address) - before;
    assert!(asked <= 5, "{asked} questions about one person");
}

// --- when we do not serve ---

fn not_ready(edit: impl FnOnce(&mut Script) + 'static, says: &str) -> Daemon {
    let daemon = Setup::default().tailnet(edit).unready().start();
    let app = App::public(&daemon);
    let mut last = None;
    daemon.eventually("not ready", || {
        let reply = app.authorize(&ALICE, &[]);
        let done = reply.text().contains(says)
            || reply.header("location").is_some_and(|to| to.contains("temporarily"));
        last = Some(reply);
        done
    });
    let reply = last.unwrap();
    assert!(reply.redirect("code").is_none(), "{}", reply.show());
    let token = app.redeem(&ALICE, "nonsense", &[]);
    assert_eq!(token.status, 503, "{}", token.show());
    assert!(token.header("retry-after").is_some());
    assert!(daemon.log().contains(says), "the log names {says:?}:\n{}", daemon.log());
    daemon
}

/// A35: headers of a forwarded connection are a stranger's own.
#[test]
fn not_while_a_tcp_forward_leads_to_our_socket() {
    let forward = |script: &mut Script| {
        let backend = script.serve_config["Web"]["idp.tail.test:443"]["Handlers"]["/"]["Proxy"].clone();
        script.serve_config["TCP"]["8443"] =
            json!({ "TCPForward": backend, "TerminateTLS": "idp.tail.test" });
    };
    let daemon = not_ready(forward, "serve.sock");
    daemon
        .tailscaled
        .change(|script| script.serve_config["TCP"]["8443"] = json!({ "TCPForward": "127.0.0.1:22" }));
    daemon.tailscaled.notify(&json!({ "Prefs": { "RunSSH": false } }));
    daemon.wait_until_ready();
}

/// A35: a foreground session counts as well.
#[test]
fn not_while_a_foreground_session_forwards_to_our_socket() {
    not_ready(
        |script| {
            let backend = script.serve_config["Web"]["idp.tail.test:443"]["Handlers"]["/"]["Proxy"].clone();
            script.serve_config["Foreground"] =
                json!({ "0001": { "TCP": { "10000": { "TCPForward": backend } } } });
        },
        "serve.sock",
    );
}

/// A35: what is mounted beside us has our origin.
#[test]
fn not_while_somebody_shares_our_origin() {
    not_ready(
        |script| {
            script.serve_config["Web"]["idp.tail.test:443"]["Handlers"]["/wiki"] =
                json!({ "Proxy": "http://127.0.0.1:3000" });
        },
        "/wiki",
    );
}

/// A35: Tailscale SSH forwards to sockets from inside tailscaled.
#[test]
fn not_while_tailscale_ssh_is_on() {
    let daemon = not_ready(|script| script.run_ssh = true, "SSH");
    daemon.tailscaled.change(|script| script.run_ssh = false);
    daemon.wait_until_ready();
    daemon.tailscaled.change(|script| script.run_ssh = true);
    daemon.eventually("not ready again", || {
        App::public(&daemon).authorize(&ALICE, &[]).redirect("code").is_none()
    });
}

#[test]
fn tailscale_ssh_may_be_trusted() {
    let daemon = Setup::default()
        .listen("tailscale_ssh = \"trusted\"")
        .tailnet(|script| script.run_ssh = true)
        .start();
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
}

/// A31 and A48: between a start of tailscaled and its first map nobody is known, which proves nothing.
#[test]
fn a_404_before_the_first_map_burns_nothing() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let (code, token) = (app.code(&ALICE, &[]), app.login(&ALICE, &[]).member("refresh_token"));
    daemon.tailscaled.stop();
    daemon.tailscaled.change(|script| script.state = "Starting".to_owned());
    daemon.tailscaled.restart().unwrap();
    daemon.eventually("the bus is followed again", || daemon.tailscaled.watchers() > 0);
    for request in [app.renewal(&token, &[]), app.redemption(&code, &[])] {
        let reply = daemon.send(&ALICE, request);
        assert_eq!(reply.status, 503, "{}", reply.show());
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(app.authorize(&ALICE, &[]).status, 503);
    daemon.tailscaled.change(|script| script.state = "Running".to_owned());
    daemon.wait_until_ready();
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200);
    assert_eq!(app.redeem(&ALICE, &code, &[]).status, 200);
}

/// A31: every way in which LocalAPI can fail is 503, never an anonymous success, and it heals without a restart.
#[test]
fn a_failing_tailscaled_is_503() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let token = app.login(&ALICE, &[]).member("refresh_token");
    let faults = [
        Fault::Hang,
        Fault::Refuse(403, "access denied".to_owned()),
        Fault::Refuse(500, "boom".to_owned()),
        Fault::Say("not json".to_owned()),
        Fault::Say(format!("\"{}\"", "x".repeat(300_000))),
    ];
    for fault in faults {
        daemon.tailscaled.fault("whois", Some(fault.clone()));
        let mut last = None;
        daemon.eventually("the cached answer is forgotten", || {
            let reply = app.authorize(&ALICE, &[]);
            let refused = reply.redirect("code").is_none();
            last = Some(reply);
            refused
        });
        assert_eq!(last.unwrap().redirected("error"), "temporarily_unavailable", "{fault:?}");
        assert_eq!(app.refresh(&ALICE, &token, &[]).status, 503, "{fault:?}");
        daemon.tailscaled.fault("whois", None);
        daemon.wait_until_ready();
    }
    assert_eq!(app.refresh(&ALICE, &token, &[]).status, 200, "nothing was burned");
}

#[test]
fn a_slow_whois_is_waited_for_up_to_its_deadline() {
    let daemon = Daemon::new();
    daemon.tailscaled.fault("whois", Some(Fault::Delay(Duration::from_millis(300))));
    assert!(App::public(&daemon).authorize(&BOB, &[]).redirect("code").is_some());
}

#[test]
fn a_tailnet_that_is_down_is_503() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    daemon.tailscaled.change(|script| script.state = "Stopped".to_owned());
    daemon.eventually("not ready", || app.redeem(&ALICE, "nonsense", &[]).status == 503);
    daemon.tailscaled.change(|script| script.state = "Running".to_owned());
    daemon.wait_until_ready();
}

/// A31: the issuer is what it was at the first start; a new name of the node is reported.
#[test]
fn a_renamed_node_changes_no_issuer() {
    let mut daemon = Setup::default().pinned_issuer().start();
    let issuer = |daemon: &Daemon| {
        let metadata = daemon.send(&ALICE, Request::get("/.well-known/openid-configuration")).json();
        metadata["issuer"].as_str().unwrap().to_owned()
    };
    assert_eq!(issuer(&daemon), "https://idp.tail.test");
    daemon.tailscaled.change(|script| script.this_node.name = "renamed".to_owned());
    daemon.kill();
    daemon.relaunch();
    assert_eq!(issuer(&daemon), "https://idp.tail.test");
    daemon.eventually("it is reported", || daemon.log().contains("renamed.tail.test"));
}
