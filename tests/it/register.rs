//! `/register` (RFC 7591): who may, what comes back, and each refusal; what a registered client is worth is judged at its sign-ins.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{
    ALICE, BOB, CI, Daemon, Reply, Request, Setup, Who,
    host::Host,
    tailnet::{INTERNET, ITSELF, NOBODY, OUTSIDER, PHONE, RULES},
};
use tsidecar_server::demo::HOST;

/// Everybody in the tailnet may register.
pub(crate) const OPEN: &str = "[[rule]]\nallow_dcr = true\n";

pub(crate) fn open() -> Daemon {
    Setup::default().tables(OPEN).start()
}

/// A registration request.
pub(crate) fn registration(metadata: &Value) -> Request {
    let mut request = Request::new("POST", "/register").header("Content-Type", "application/json");
    request.body = metadata.to_string().into_bytes();
    request
}

/// What the MCP SDK of Python sends.
pub(crate) fn native() -> Value {
    json!({
        "client_name": "Probe",
        "redirect_uris": ["http://localhost:3030/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "application_type": "native",
        "scope": "openid read",
    })
}

pub(crate) fn web() -> Value {
    json!({ "client_name": "App", "redirect_uris": ["https://app.test/cb"] })
}

/// Registers and returns the answer.
#[track_caller]
pub(crate) fn register(daemon: &Daemon, who: &Who, metadata: &Value) -> Reply {
    let reply = daemon.send(who, registration(metadata));
    assert_eq!(reply.status, 201, "{}", reply.show());
    reply
}

/// The answer without what is made anew each time.
fn shown(reply: &Reply) -> String {
    let mut json = reply.json();
    let id = json["client_id"].as_str().unwrap_or_default().to_owned();
    assert!(id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    for (name, length) in [("client_secret", 43), ("registration_access_token", 43)] {
        if let Some(secret) = json.get_mut(name) {
            let text = secret.as_str().unwrap();
            assert!(text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
            *secret = format!("[{name}]").into();
        }
    }
    assert!(json["client_id_issued_at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{json}");
    json["client_id_issued_at"] = "[time]".into();
    let body = json.to_string().replace(&id, "[id]").into_bytes();
    Reply { body, ..reply.clone() }.show()
}

/// No secret where it could not be kept, and everything that was sent comes back.
#[test]
fn a_native_client_becomes_public() {
    let daemon = open();
    assert_snapshot!(shown(&register(&daemon, &ALICE, &native())), @r#"
    201
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "application_type": "native",
      "scope": "openid read",
      "token_endpoint_auth_method": "none",
      "client_name": "Probe",
      "redirect_uris": [
        "http://localhost:3030/callback"
      ],
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "response_types": [
        "code"
      ],
      "id_token_signed_response_alg": "RS256",
      "client_id": "[id]",
      "client_id_issued_at": "[time]",
      "registration_access_token": "[registration_access_token]",
      "registration_client_uri": "https://idp.tail.test/register/[id]"
    }
    "#);
    let log = daemon.log();
    assert!(log.contains("event=\"registered\"") && log.contains("registrar=\"application\""), "{log}");
}

#[test]
fn a_web_application_gets_a_secret_that_does_not_expire() {
    let daemon = open();
    let reply = register(&daemon, &ALICE, &web());
    // The log is at its most talkative.
    let log = daemon.log();
    for secret in ["client_secret", "registration_access_token"] {
        assert!(!log.contains(&reply.member(secret)), "{secret}");
    }
    assert_snapshot!(shown(&reply), @r#"
    201
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "token_endpoint_auth_method": "client_secret_basic",
      "client_name": "App",
      "redirect_uris": [
        "https://app.test/cb"
      ],
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "response_types": [
        "code"
      ],
      "id_token_signed_response_alg": "RS256",
      "client_id": "[id]",
      "client_id_issued_at": "[time]",
      "client_secret": "[client_secret]",
      "client_secret_expires_at": 0,
      "registration_access_token": "[registration_access_token]",
      "registration_client_uri": "https://idp.tail.test/register/[id]"
    }
    "#);
}

/// Without a rule nobody may; the internet and whoever whois does not know never, unless it is switched on.
#[test]
fn who_may_register() {
    let daemon = Daemon::new();
    assert_snapshot!(daemon.send(&ALICE, registration(&native())).show(), @r#"
    403
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "access_denied",
      "error_description": "you may not register clients: ask an administrator for allow_dcr, in a rule of the tailnet policy or as [[rule]] allow_dcr = true, or to add the client with 'tsidecar client add'"
    }
    "#);
    let open = open();
    for who in [INTERNET, NOBODY] {
        let reply = open.send(&who, registration(&native()));
        assert_eq!((reply.status, reply.error().as_str()), (403, "access_denied"), "{}", reply.show());
        let said = reply.member("error_description");
        assert_eq!(said, "clients register from inside the tailnet only");
    }
    // A shared node needs a rule that admits it, and nobody can say who is on this machine.
    for who in [OUTSIDER, ITSELF] {
        let reply = open.send(&who, registration(&native()));
        assert_eq!((reply.status, reply.error().as_str()), (403, "access_denied"), "{}", reply.show());
    }
    register(&open, &CI, &native());
}

/// By the capability of the device, as at tsidp, and by rules for people and tags.
#[test]
fn a_rule_names_who_may_register() {
    let tables = "[[rule]]\nusers = [\"bob@github\"]\nallow_dcr = true\n[[rule]]\ntags = [\"tag:ci\"]\nallow_dcr = true\n";
    let daemon = Setup::default()
        .tables(tables)
        .tailnet(|script| {
            let phone = script.peer_mut(PHONE.address).unwrap();
            phone.grant(HOST, RULES, json!({ "allow_dcr": true }));
        })
        .start();
    for who in [BOB, CI, PHONE] {
        register(&daemon, &who, &native());
    }
    assert_eq!(daemon.send(&ALICE, registration(&native())).error(), "access_denied");
}

#[test]
fn every_refusal_says_why() {
    let daemon = open();
    let refused = |metadata: Value| {
        let reply = daemon.send(&ALICE, registration(&metadata));
        assert_eq!(reply.status, 400, "{}", reply.show());
        format!("{}: {}", reply.error(), reply.member("error_description"))
    };
    assert_snapshot!(
        refused(json!({ "redirect_uris": ["https://app.test/cb", "javascript:alert(1)"] })),
        @"invalid_redirect_uri: redirect_uri 'javascript:alert(1)' has a scheme that is never a redirect target (javascript:, data:, file: and the like)"
    );
    assert_snapshot!(
        refused(json!({ "redirect_uris": ["http://app.test/cb"] })),
        @"invalid_redirect_uri: redirect_uri 'http://app.test/cb' must be https; http is for 127.0.0.1, [::1] and localhost"
    );
    assert_snapshot!(
        refused(json!({ "client_name": "x" })),
        @"invalid_client_metadata: redirect_uris is missing or empty; a client that signs people in needs one"
    );
    assert_snapshot!(
        refused(json!({ "redirect_uris": ["https://a.test/"], "token_endpoint_auth_method": "tls_client_auth" })),
        @"invalid_client_metadata: token_endpoint_auth_method 'tls_client_auth' is not supported; supported: none, client_secret_basic, client_secret_post, private_key_jwt"
    );
    // What does not fit in a record (design section 13).
    let many: Vec<_> = (0..32).map(|n| format!("https://app.test/{n}/{}", "x".repeat(400))).collect();
    assert_snapshot!(
        refused(json!({ "redirect_uris": many })),
        @"invalid_client_metadata: the client metadata takes more room than one client has (7 KiB)"
    );
    let body = |media_type: &str, body: &str| {
        let mut request = Request::new("POST", "/register").header("Content-Type", media_type);
        request.body = body.as_bytes().to_vec();
        let reply = daemon.send(&ALICE, request);
        format!("{} {}: {}", reply.status, reply.error(), reply.member("error_description"))
    };
    assert_snapshot!(body("application/json", "{"), @"400 invalid_client_metadata: the client metadata is not a JSON object, or one with a member that stands twice");
    // A form of another site's page is none.
    assert_snapshot!(body("text/plain", &native().to_string()), @"400 invalid_request: the Content-Type must be application/json");
    // A27.
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    assert!(body("application/json", &deep).starts_with("400 invalid_client_metadata: "));
    let long = json!({ "x": "x".repeat(20_000) }).to_string();
    assert!(
        body("application/json", &long)
            .starts_with("400 invalid_client_metadata: the client metadata is longer")
    );
    let longer = json!({ "x": "x".repeat(70_000) }).to_string();
    assert!(body("application/json", &longer).starts_with("413 invalid_request: "));
}

/// An algorithm that nobody has asked for yet gets its key before the client is there, and a restart knows that it is needed.
#[test]
fn a_key_is_made_for_the_algorithm_of_a_client() {
    let mut daemon = open();
    let metadata =
        json!({ "redirect_uris": ["https://app.test/cb"], "id_token_signed_response_alg": "EdDSA" });
    register(&daemon, &ALICE, &metadata);
    let has_key = |daemon: &Daemon| {
        daemon.send(&ALICE, Request::get("/.well-known/jwks.json")).text().contains("Ed25519")
    };
    assert!(has_key(&daemon));
    daemon.kill();
    daemon.relaunch();
    assert!(has_key(&daemon));
}

/// One node is stopped, others are not.
#[test]
fn a_flood_of_registrations_is_stopped_by_node() {
    let daemon = Setup::default().tables(&format!("[registration]\nnode_per_hour = 2\n{OPEN}")).start();
    register(&daemon, &ALICE, &native());
    register(&daemon, &ALICE, &native());
    let reply = daemon.send(&ALICE, registration(&native()));
    assert_eq!((reply.status, reply.error().as_str()), (429, "temporarily_unavailable"), "{}", reply.show());
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1_801).contains(&wait), "{wait}");
    register(&daemon, &BOB, &native());
}

/// A web page has its visitor's browser send what it likes, without asking first (text/plain) and with CORS: the visitor's own programs
/// register all the same, and so do pages that send what makes a client.
#[test]
fn a_web_page_uses_up_no_registrations_of_its_visitor() {
    let daemon = open();
    let of_page = |media_type: &str| {
        let mut request = Request::new("POST", "/register").header("Content-Type", media_type);
        request.body = native().to_string().into_bytes();
        daemon.send(&ALICE, request.header("Origin", "https://evil.test"))
    };
    for _ in 0..200 {
        let reply = of_page("text/plain");
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"), "{}", reply.show());
    }
    for _ in 0..20 {
        assert_eq!(of_page("application/json").status, 201);
    }
    assert_eq!(of_page("application/json").status, 429);
    register(&daemon, &ALICE, &native());
}

/// Switched on, the internet has one throttle for all of its addresses, and the metadata says so.
#[test]
fn the_internet_registers_where_it_may() {
    let daemon = Setup::default().tables("[registration]\nfunnel = true\nfunnel_per_hour = 1").start();
    let metadata = daemon.send(&INTERNET, Request::get("/.well-known/oauth-authorization-server"));
    assert_eq!(metadata.member("registration_endpoint"), "https://idp.tail.test/register");
    let first = register(&daemon, &INTERNET, &native());
    let other = Who { address: "203.0.113.8".parse().unwrap(), ..INTERNET };
    assert_eq!(daemon.send(&other, registration(&native())).status, 429);
    // In the tailnet, the policy counts as ever.
    assert_eq!(daemon.send(&ALICE, registration(&native())).error(), "access_denied");
    let id = first.member("client_id");
    let token = first.member("registration_access_token");
    let own = Request::get(&format!("/register/{id}")).bearer(&token);
    assert_eq!(daemon.send(&other, own).status, 200);
}

/// The list behind `sector_identifier_uri` must name every redirect URI (OpenID Connect Dynamic Client Registration §5).
#[test]
fn a_sector_is_looked_at() {
    let host = Host::start();
    let daemon = Setup::default().tables(&format!("{}{OPEN}", host.tables())).start();
    let sector = host.url("/sector.json");
    let metadata = json!({ "redirect_uris": ["https://app.test/cb"], "sector_identifier_uri": sector });
    for document in [r#"["https://other.test/cb"]"#, "{}", "not json"] {
        host.answer("/sector.json", 200, "application/json", document);
        let reply = daemon.send(&ALICE, registration(&metadata));
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_client_metadata"), "{document}");
    }
    host.answer("/sector.json", 200, "application/json", r#"["https://app.test/cb"]"#);
    assert_eq!(register(&daemon, &ALICE, &metadata).member("sector_identifier_uri"), sector);
}
