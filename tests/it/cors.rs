//! CORS: `*` without credentials at machine endpoints, never where a person is signed in.

use insta::assert_snapshot;

use crate::steering::MACHINES;
use crate::support::{ALICE, App, BOB, Daemon, Request, tailnet::INTERNET};

fn preflight(path: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("Origin", "https://app.test")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,content-type,mcp-protocol-version")
}

#[test]
fn preflight_at_machine_endpoints() {
    let daemon = Daemon::new();
    assert_snapshot!(daemon.send(&ALICE, preflight("/token")).show(), @r"
    204
    access-control-allow-headers: Authorization, Content-Type, DPoP, MCP-Protocol-Version
    access-control-allow-methods: POST, OPTIONS
    access-control-allow-origin: *
    access-control-max-age: 7200
    ");
    for machine in &MACHINES {
        let (reply, path) = (daemon.send(&ALICE, preflight(machine.path)), machine.path);
        let header = |name: &str| reply.header(&format!("access-control-{name}"));
        assert_eq!(header("allow-credentials"), None, "{path}");
        if !machine.scripts {
            assert_eq!((reply.status, header("allow-origin")), (405, None), "{path}");
            continue;
        }
        assert_eq!((reply.status, header("allow-origin")), (204, Some("*")), "{path}");
        assert_eq!(
            header("allow-headers"),
            Some("Authorization, Content-Type, DPoP, MCP-Protocol-Version"),
            "{path}"
        );
        let methods = [machine.methods, &["OPTIONS"]].concat().join(", ");
        assert_eq!(header("allow-methods"), Some(methods.as_str()), "{path}");
    }
}

#[test]
fn answers_are_readable_for_pages_errors_too() {
    let daemon = Daemon::new();
    for machine in &MACHINES {
        for request in [Request::get(machine.path), Request::post(machine.path, &[("client_id", "cli")])] {
            let reply = daemon.send(&ALICE, request.header("Origin", "https://app.test"));
            let header = |name: &str| reply.header(&format!("access-control-{name}"));
            assert_eq!(header("allow-origin"), machine.scripts.then_some("*"), "{}", reply.show());
            let exposed = header("expose-headers").unwrap_or_default();
            for name in ["WWW-Authenticate", "DPoP-Nonce"] {
                assert_eq!(
                    exposed.split(", ").any(|header| header == name),
                    machine.scripts,
                    "{}",
                    reply.show()
                );
            }
        }
    }
}

#[test]
fn nothing_at_the_authorization_endpoint() {
    let daemon = Daemon::new();
    let query = App::public(&daemon).query(&[]);
    let pages =
        ["/authorize", "/authorize/continue", "/authorize/consent", "/consents", "/device", "/logout"];
    for path in pages.map(str::to_owned).into_iter().chain([format!("/authorize?{query}")]) {
        for request in [preflight(&path), Request::get(&path), Request::post(&path, &[])] {
            let request = request.without("Origin").header("Origin", "https://app.test");
            let reply = daemon.send(&ALICE, request.header("Accept", "text/html"));
            assert_ne!(reply.status, 404, "{path} is a page: {}", reply.show());
            assert_eq!(reply.header("access-control-allow-origin"), None, "{path}: {}", reply.show());
        }
    }
}

/// A single-page application redeems and refreshes from the browser of its user. Its tokens are bound to that device, which
/// only restricts: from elsewhere they do not work.
#[test]
fn a_single_page_application_signs_in() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let from_page = |who, request: Request| {
        daemon.send(who, request.header("Origin", "https://app.test").header("Sec-Fetch-Site", "cross-site"))
    };
    let code = app.code(&ALICE, &[]);
    let login = from_page(&ALICE, app.redemption(&code, &[]));
    assert_eq!(login.status, 200, "{}", login.show());
    let renewed = from_page(&ALICE, app.renewal(&login.member("refresh_token"), &[]));
    assert_eq!(renewed.status, 200, "{}", renewed.show());
    let token = renewed.member("refresh_token");
    for elsewhere in [&BOB, &INTERNET] {
        assert_eq!(from_page(elsewhere, app.renewal(&token, &[])).error(), "invalid_grant");
    }
    assert_eq!(from_page(&ALICE, app.renewal(&token, &[])).status, 200);
}

/// A23, A49: what is no navigation of the person's own window signs nobody in.
#[test]
fn pages_cannot_sign_people_in_behind_their_back() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let visit = |changes: &crate::support::Pairs, site: &str, mode: &str, target: &str| {
        let request = Request::get(&format!("/authorize?{}", app.query(changes)))
            .header("Sec-Fetch-Site", site)
            .header("Sec-Fetch-Mode", mode)
            .header("Sec-Fetch-Dest", target);
        daemon.send(&ALICE, request).redirect("code").is_some()
    };
    assert!(visit(&[], "cross-site", "navigate", "document"));
    assert!(visit(&[], "none", "navigate", "document"));
    assert!(visit(&[("prompt", "none")], "cross-site", "navigate", "iframe"));
    for (mode, target) in
        [("no-cors", "image"), ("cors", "empty"), ("no-cors", "script"), ("navigate", "iframe")]
    {
        assert!(!visit(&[], "cross-site", mode, target), "{mode} {target}");
    }
    assert!(!visit(&[("prompt", "none")], "cross-site", "cors", "empty"));
}
