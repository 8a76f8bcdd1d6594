//! Clients that are known by the document at their id (Client ID Metadata Documents): whole logins, every refusal, and what
//! becomes of a client whose document changes. What becomes of one whose document is taken away stands in `cimd_withdrawn.rs`.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::{ClientKey, VerifyAlgorithm};

use crate::private_key_jwt::TYPE;
use crate::support::{
    ALICE, App, Daemon, Reply, Request, Setup, browser::VERIFIER, host::Host, strangers::asks,
    tailnet::INTERNET, visitor::Visitor, wire::jwt,
};

const ISSUER: &str = "https://idp.tail.test";
pub(crate) const PATH: &str = "/oauth/client.json";
pub(crate) const LOOPBACK: &str = "http://127.0.0.1/callback";

/// A host with a document, and what the document says.
pub(crate) struct Publisher {
    pub(crate) host: Host,
}

impl Publisher {
    /// A host with the document of a public client.
    pub(crate) fn new() -> Self {
        let publisher = Self { host: Host::start() };
        publisher.publish(&json!({}));
        publisher
    }

    pub(crate) fn id(&self) -> String {
        self.host.url(PATH)
    }

    /// The document with members in place of its own; a `null` takes one away.
    pub(crate) fn document(&self, changes: &Value) -> String {
        let mut all = json!({
            "client_id": self.id(),
            "client_name": "Example MCP client",
            "redirect_uris": [LOOPBACK, self.host.url("/cb")],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        all.to_string()
    }

    pub(crate) fn publish(&self, changes: &Value) {
        self.host.answer(PATH, 200, "application/json", &self.document(changes));
    }

    /// A daemon that may reach the host and trusts everything on it.
    pub(crate) fn setup(&self) -> Setup {
        self.setup_with("")
    }

    /// The same with lines for `[clients]`.
    pub(crate) fn setup_with(&self, lines: &str) -> Setup {
        let trusted = format!("[clients]\ntrusted = [\"{}\"]\n{lines}\n", self.host.url("/"));
        Setup::default().tables(&self.host.tables()).tables(&trusted)
    }

    /// How often a path was asked for.
    pub(crate) fn fetches(&self, path: &str) -> usize {
        let line = format!("GET {path} HTTP/1.1\r\n");
        self.host.requests(0).iter().filter(|request| request.starts_with(&line)).count()
    }

    /// The client at a daemon.
    pub(crate) fn app<'d>(&self, daemon: &'d Daemon) -> App<'d> {
        App { daemon, id: self.id().leak(), secret: None, redirect_uri: "http://127.0.0.1:50123/callback" }
    }
}

/// Has the daemon look again at what it has fetched.
pub(crate) fn look_again(daemon: &Daemon) {
    let done = "the configuration was reloaded";
    let before = daemon.log().matches(done).count();
    daemon.signal("HUP");
    daemon.eventually("the configuration is reloaded", || daemon.log().matches(done).count() > before);
}

/// Signs the assertions of a client.
pub(crate) struct Signer {
    pub(crate) key: ClientKey,
    id: String,
}

impl Signer {
    fn new(publisher: &Publisher) -> Self {
        Self { key: ClientKey::generate(VerifyAlgorithm::Es256).unwrap(), id: publisher.id() }
    }

    fn jwks(&self) -> Value {
        let mut jwk = self.key.public_jwk().clone();
        jwk["kid"] = "k1".into();
        json!({ "keys": [jwk] })
    }

    /// The changes to a token request by which the client proves itself.
    fn sign(&self, jti: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 300
        });
        self.key.sign(&json!({ "alg": "ES256", "kid": "k1" }), claims.to_string().as_bytes()).unwrap()
    }
}

/// The parameters by which a code is redeemed.
fn redemption<'a>(app: &App<'_>, code: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", app.redirect_uri),
        ("code_verifier", VERIFIER),
    ]
}

#[track_caller]
fn title(reply: &Reply) -> String {
    let text = reply.text();
    let title = text.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
    title.unwrap_or_else(|| panic!("no page: {}", reply.show())).0.to_owned()
}

/// A page, and nobody is sent anywhere.
#[track_caller]
pub(crate) fn stays(reply: &Reply, status: u16, expected: &str) {
    assert_eq!((reply.status, title(reply).as_str()), (status, expected), "{}", reply.show());
    assert_eq!(reply.header("location"), None);
}

pub(crate) const UNKNOWN: &str = "This application is not known here";
pub(crate) const LATER: &str = "Sign-in is not possible right now";
const WRONG: &str = "The application does not describe itself rightly";

/// The whole life of a public client, on the device of its person.
#[test]
fn a_public_client_signs_in_and_refreshes() {
    let publisher = Publisher::new();
    let daemon = publisher.setup().start();
    let app = publisher.app(&daemon);
    let answer = app.login(&ALICE, &[]);
    assert_eq!(jwt(&answer.member("id_token")).1["aud"], publisher.id());
    assert_eq!(app.userinfo(&ALICE, &answer.member("access_token")).member("email"), "alice@example.com");
    let refreshed = app.refresh(&ALICE, &answer.member("refresh_token"), &[]);
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
    app.login(&ALICE, &[("redirect_uri", "http://127.0.0.1:50123/callback")]);
    // A7: one fetch for all of it.
    assert_eq!(publisher.fetches(PATH), 1);
    let request = publisher.host.requests(1)[0].to_ascii_lowercase();
    assert!(request.contains("accept: application/json\r\n") && !request.contains("cookie"), "{request}");
}

/// The strongest method that both can do: who lists `private_key_jwt` beside `none` has a key, and must show it (A52).
#[test]
fn a_client_with_keys_proves_itself_and_its_grants_remember_that() {
    let publisher = Publisher::new();
    let signer = Signer::new(&publisher);
    publisher.host.answer("/jwks.json", 200, "application/json", &signer.jwks().to_string());
    publisher.publish(&json!({
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt", "x"],
        "jwks_uri": publisher.host.url("/jwks.json"),
    }));
    let daemon = publisher.setup().start();
    let app = publisher.app(&daemon);
    let prove = |request: &[(&str, &str)], jti: &str| {
        let assertion = signer.sign(jti);
        let proof = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, app.token_request(request, &proof))
    };
    let code = app.code(&ALICE, &[]);
    let bare = app.redeem(&ALICE, &code, &[]);
    assert_eq!((bare.status, bare.error().as_str()), (401, "invalid_client"), "{}", bare.show());
    let answer = prove(&redemption(&app, &code), "one");
    assert_eq!(answer.status, 200, "{}", answer.show());
    let token = answer.member("refresh_token");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let stolen = app.refresh(&ALICE, &token, &[]);
    assert_eq!((stolen.status, stolen.error().as_str()), (401, "invalid_client"), "{}", stolen.show());

    // The document now lists `none` alone: what was given out for a proof still wants one.
    publisher.publish(&json!({}));
    look_again(&daemon);
    let stolen = app.refresh(&ALICE, &token, &[]);
    assert_eq!((stolen.status, stolen.error().as_str()), (400, "invalid_grant"), "{}", stolen.show());
    // And no failed attempt has burned it.
    publisher.publish(&json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks(),
    }));
    look_again(&daemon);
    let refreshed = prove(&refresh, "two");
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
}

/// A16: keys are those of the document of now, a redirect URI is that of the authorization.
#[test]
fn a_document_that_changes_between_authorization_and_redemption() {
    let publisher = Publisher::new();
    let (old, new) = (Signer::new(&publisher), Signer::new(&publisher));
    let with = |signer: &Signer, redirect: &str| {
        publisher.publish(&json!({
            "token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks(), "redirect_uris": [redirect],
        }));
    };
    with(&old, LOOPBACK);
    let daemon = publisher.setup().start();
    let app = publisher.app(&daemon);
    let code = app.code(&ALICE, &[]);
    with(&new, "http://127.0.0.1/elsewhere");
    look_again(&daemon);
    let redeem = |signer: &Signer, jti: &str, changes: &[(&str, &str)]| {
        let assertion = signer.sign(jti);
        let proof = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, app.token_request(&redemption(&app, &code), &[&proof[..], changes].concat()))
    };
    let old = redeem(&old, "one", &[]);
    assert_eq!((old.status, old.error().as_str()), (401, "invalid_client"), "{}", old.show());
    let elsewhere = redeem(&new, "two", &[("redirect_uri", "http://127.0.0.1:50123/elsewhere")]);
    assert_eq!(
        (elsewhere.status, elsewhere.error().as_str()),
        (400, "invalid_grant"),
        "{}",
        elsewhere.show()
    );
    let redeemed = redeem(&new, "three", &[]);
    assert_eq!(redeemed.status, 200, "{}", redeemed.show());
    // And the next authorization knows only the new one.
    stays(&app.authorize(&ALICE, &[]), 400, "The application asked to return to an unknown address");
}

/// A hosted client: its browser is in the tailnet, its back channel comes through Funnel.
#[test]
fn a_hosted_client_redeems_through_funnel() {
    let publisher = Publisher::new();
    let daemon = publisher.setup().start();
    let app = App { redirect_uri: publisher.host.url("/cb").leak(), ..publisher.app(&daemon) };
    let answer = app.redeem(&INTERNET, &app.code(&ALICE, &[]), &[]);
    assert_eq!(answer.status, 200, "{}", answer.show());
    let refreshed = app.refresh(&INTERNET, &answer.member("refresh_token"), &[]);
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
    // What leads to a program on the device of the person is of no use to anybody in the internet (attack A38).
    let local = publisher.app(&daemon);
    let stolen = local.redeem(&INTERNET, &local.code(&ALICE, &[]), &[]);
    assert_eq!((stolen.status, stolen.error().as_str()), (400, "invalid_grant"), "{}", stolen.show());
}

/// What is fetched and describes no client: a page that says what is wrong, and for machines a passing state, since their tokens are
/// lost by any other answer. Nobody is sent anywhere.
#[test]
fn a_document_that_describes_no_client() {
    let publisher = Publisher::new();
    let other = publisher.host.url("/other.json");
    let cases: Vec<(&str, String, String)> = [
        (
            json!({ "client_id": other }),
            "the client_id in the document is not its own URL, letter for letter",
        ),
        (json!({ "client_id": null }), "the document has no client_id, which must be its own URL"),
        (json!({ "client_name": null }), "the document has no client_name"),
        (json!({ "client_secret": "s" }), "the document has a client_secret, which everybody can read"),
        (json!({ "redirect_uris": [] }), "redirect_uris is missing or empty"),
        (json!({ "redirect_uris": ["intent:x"] }), "has a scheme that is not known"),
        (json!({ "token_endpoint_auth_method": "client_secret_basic" }), "supported: none, private_key_jwt"),
        (json!({ "token_endpoint_auth_method": "private_key_jwt" }), "private_key_jwt needs the keys"),
        (json!({ "grant_types": ["implicit"] }), "grant_types has none"),
    ]
    .into_iter()
    .map(|(changes, reason)| ("application/json", publisher.document(&changes), reason.to_owned()))
    .chain([
        ("text/html", publisher.document(&json!({})), "it is not application/json".to_owned()),
        ("application/json", "[]".to_owned(), "the client metadata is not a JSON object".to_owned()),
    ])
    .collect();
    for (media_type, body, reason) in cases {
        // Another daemon each time: a host is left alone for half a minute after a failure.
        let daemon = publisher.setup().start();
        let app = publisher.app(&daemon);
        publisher.host.answer(PATH, 200, media_type, &body);
        for _ in 0..2 {
            let page = app.authorize(&ALICE, &[]);
            stays(&page, 400, WRONG);
            assert!(page.text().contains(&reason.replace('\'', "&#39;")), "{reason}: {}", page.text());
        }
        let machine = app.redeem(&ALICE, "code", &[]);
        assert_eq!((machine.status, machine.error().as_str()), (503, "temporarily_unavailable"));
        assert_eq!(machine.header("retry-after"), Some("30"));
    }
}

#[test]
fn the_page_of_a_wrong_document() {
    let publisher = Publisher::new();
    let daemon = publisher.setup().start();
    publisher.publish(&json!({ "client_secret": "s" }));
    assert_snapshot!(publisher.app(&daemon).authorize(&ALICE, &[]).show(), @r#"
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
    <title>The application does not describe itself rightly - tsidecar</title>
    <style>[…]</style>
    </head>
    <body>
    <main>
    <h1>The application does not describe itself rightly</h1>
    <p>It is known by a document on the web, at the address that it gives as its name, and that cannot be used. Nobody is sent to an address that such a document names.</p>
    <p class="cure">Tell the people who make the application what stands below.</p>
    <p class="detail">For an administrator: the document has a client_secret, which everybody can read</p>
    </main>
    </body>
    </html>
    "#);
}

/// What the host does wrong is told to nobody in detail: a stranger chose the URL, and may want to know what lies there.
#[test]
fn a_host_that_does_not_give_the_document() {
    let publisher = Publisher::new();
    let large = publisher.document(&json!({ "x": "x".repeat(5 * 1024) }));
    for (status, body) in [(500, ""), (302, ""), (204, ""), (403, ""), (206, ""), (200, large.as_str())] {
        let daemon = publisher.setup().start();
        let app = publisher.app(&daemon);
        publisher.host.answer(PATH, status, "application/json", body);
        let page = app.authorize(&ALICE, &[]);
        stays(&page, 503, LATER);
        assert!(!page.text().contains("host") && !page.text().contains(" bytes"), "{}", page.text());
        let machine = app.redeem(&ALICE, "code", &[]);
        assert_eq!((machine.status, machine.error().as_str()), (503, "temporarily_unavailable"));
        assert!(machine.member("error_description").ends_with("the document could not be fetched"));
    }
    // 404 and 410 of what never was there: there is no such client.
    for status in [404, 410] {
        let daemon = publisher.setup().start();
        let app = publisher.app(&daemon);
        publisher.host.answer(PATH, status, "application/json", "");
        stays(&app.authorize(&ALICE, &[]), 400, UNKNOWN);
        let machine = app.redeem(&ALICE, "code", &[]);
        assert_eq!((machine.status, machine.error().as_str()), (401, "invalid_client"));
    }
}

/// A15, A53: where no stranger's URL leads, by whatever spelling, and in whose name it is asked.
#[test]
fn nothing_is_fetched_from_where_strangers_have_no_business() {
    let publisher = Publisher::new();
    let daemon = publisher.setup().start();
    let port = publisher.host.url("").rsplit(':').next().unwrap().to_owned();
    let app = |id: &str| App { id: id.to_owned().leak(), ..publisher.app(&daemon) };
    let (block, port_only) = ("must not be dialled: it is in ", "have port 443 only");
    for (id, why) in [
        ("https://127.0.0.1/c", block),
        ("https://[::1]/c", block),
        ("https://10.0.0.1/c", block),
        ("https://192.168.1.1/c", block),
        ("https://169.254.169.254/c", block),
        ("https://100.64.0.1/c", block),
        ("https://[fd7a:115c:a1e0::1]/c", block),
        ("https://[64:ff9b::a9fe:a9fe]/c", block),
        ("https://[2002:7f00:1::]/c", block),
        ("https://[2001::1]/c", block),
        ("https://[::ffff:7f00:1]/c", block),
        ("https://0.0.0.0/c", block),
        ("https://240.0.0.1/c", block),
        ("https://224.0.0.1/c", block),
        (&format!("https://127.0.0.1:{port}{PATH}"), port_only),
        ("https://93.184.215.14:8443/c", port_only),
    ] {
        // From the internet first: each device has so many fetches in a minute, and nothing may look refused because of that.
        let machine = app(id).redeem(&INTERNET, "code", &[]);
        assert_eq!((machine.status, machine.error().as_str()), (503, "temporarily_unavailable"), "{id}");
        // The guard refused it: no connection was tried and failed.
        let told = |line: &str| line.contains(id) && line.contains(why);
        assert!(daemon.log().lines().any(told), "{id}: {}", daemon.log());
        stays(&app(id).authorize(&ALICE, &[]), 503, LATER);
    }
    for (id, why) in [
        ("https://[::ffff:127.0.0.1]/c".to_owned(), "spelling"),
        (publisher.host.url(""), "has no path"),
        (publisher.host.url("/"), "has no path"),
        (publisher.host.url("//c"), "spelling"),
        (publisher.host.url("/a/%2e%2e/oauth/client.json"), "spelling"),
        (publisher.host.url("/a/../oauth/client.json"), "segments"),
        (publisher.host.url("/oauth/client.json?"), "spelling"),
        (publisher.id().replace("rp.test", "RP.test"), "spelling"),
        (publisher.id().replace("rp.test", "u@rp.test"), "user name"),
        (publisher.id() + "#x", "fragment"),
    ] {
        let page = app(&id).authorize(&ALICE, &[]);
        stays(&page, 400, WRONG);
        assert!(page.text().contains(why), "{id}: {}", page.text());
        let machine = app(&id).redeem(&ALICE, "code", &[]);
        assert_eq!((machine.status, machine.error().as_str()), (401, "invalid_client"), "{id}");
    }
    stays(&app(&publisher.id().replace("https", "http")).authorize(&ALICE, &[]), 400, UNKNOWN);
    assert_eq!(publisher.host.requests(0), [""; 0]);
}

/// A51: the document's own redirect URIs and no others, byte for byte but for the port of loopback.
#[test]
fn redirect_uris_are_those_of_the_document() {
    let publisher = Publisher::new();
    let daemon = publisher.setup().start();
    let app = publisher.app(&daemon);
    for bad in [
        "http://127.0.0.1:50123/other",
        "http://localhost:50123/callback",
        "https://127.0.0.1/callback",
        &publisher.host.url("/cb/"),
        "https://evil.test/cb",
        "",
    ] {
        let page = app.authorize(&ALICE, &[("redirect_uri", bad)]);
        stays(&page, 400, "The application asked to return to an unknown address");
    }
    // PKCE is not optional for anybody whom nobody registered.
    let reply = app.authorize(&ALICE, &[("code_challenge", ""), ("code_challenge_method", "")]);
    assert_eq!(reply.redirected("error"), "invalid_request");
}

/// Pinned counts before fetched, and is never fetched.
#[test]
fn a_pinned_document_is_not_fetched() {
    let publisher = Publisher::new();
    let pinned = publisher.document(&json!({ "redirect_uris": ["http://127.0.0.1/pinned"] }));
    let daemon = publisher.setup().file("documents.d/client.json", &pinned).start();
    let app = App { redirect_uri: "http://127.0.0.1:5/pinned", ..publisher.app(&daemon) };
    app.login(&ALICE, &[]);
    assert_eq!(publisher.fetches(PATH), 0);
    // Without its file it is known by what its host says.
    std::fs::remove_file(daemon.path("documents.d/client.json")).unwrap();
    look_again(&daemon);
    publisher.app(&daemon).login(&ALICE, &[]);
    // A file that cannot be used changes nothing.
    std::fs::write(daemon.path("documents.d/broken.json"), "{}").unwrap();
    daemon.signal("HUP");
    daemon.eventually("the reload is refused", || daemon.log().contains("documents.d/broken.json"));
    publisher.app(&daemon).login(&ALICE, &[]);
}

/// A tailnet without internet: what is brought along works at once, everything else is unknown.
#[test]
fn without_fetching_there_is_what_we_bring_along() {
    let publisher = Publisher::new();
    let tables = "[clients]\nfetch_documents = false\ntrusted = [\"https://claude.ai/oauth/\"]\n";
    let daemon = Setup::default().tables(&publisher.host.tables()).tables(tables).start();
    let claude = App {
        daemon: &daemon,
        id: "https://claude.ai/oauth/claude-code-client-metadata",
        secret: None,
        redirect_uri: "http://localhost:54545/callback",
    };
    let answer = claude.login(&ALICE, &[]);
    let refreshed = claude.refresh(&ALICE, &answer.member("refresh_token"), &[]);
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
    let app = publisher.app(&daemon);
    stays(&app.authorize(&ALICE, &[]), 400, UNKNOWN);
    assert_eq!(publisher.fetches(PATH), 0);
}

#[test]
fn it_can_be_switched_off() {
    let publisher = Publisher::new();
    let tables = "[clients]\ncimd = false\n";
    let pinned = publisher.document(&json!({}));
    let setup = Setup::default().tables(&publisher.host.tables()).tables(tables);
    let daemon = setup.file("documents.d/client.json", &pinned).start();
    let metadata = |daemon: &Daemon, path: &str| daemon.send(&ALICE, Request::get(path)).json();
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        assert_eq!(metadata(&daemon, path)["client_id_metadata_document_supported"], false);
    }
    stays(&publisher.app(&daemon).authorize(&ALICE, &[]), 400, UNKNOWN);
    assert_eq!(publisher.fetches(PATH), 0);
}

/// A38: on a host that is trusted anybody may have a document, and returns nobody elsewhere unasked. A51: nor does an error.
#[test]
fn a_tenant_of_a_trusted_host_is_a_stranger() {
    let publisher = Publisher::new();
    publisher.publish(&json!({ "redirect_uris": ["https://evil.test/cb", LOOPBACK] }));
    let daemon = publisher.setup().start();
    let app = App { redirect_uri: "https://evil.test/cb", ..publisher.app(&daemon) };
    let mut alice = Visitor::new(app, &ALICE);
    let page = alice.authorize(&[]);
    assert!(asks(&page) && page.header("location").is_none(), "{}", page.show());
    // Who is asked sees both hosts.
    let host = publisher.host.url("").replace("https://", "");
    assert!(page.text().contains(&host) && page.text().contains("evil.test"), "{}", page.text());
    let broken = alice.authorize(&[("scope", "openid"), ("response_type", "token")]);
    assert_eq!((broken.status, broken.header("location")), (400, None), "{}", broken.show());
    assert_eq!(alice.authorize(&[("prompt", "none")]).header("location"), None);
    let done = alice.decide(&page, "allow");
    assert_eq!(alice.app.redeem(&ALICE, &done.redirected("code"), &[]).status, 200);
    // The program on her own device is trusted as ever.
    publisher.app(&daemon).login(&ALICE, &[]);
}

/// Whoever is not trusted is asked once, and again when the document changes (A34).
#[test]
fn a_document_that_nobody_trusts_is_a_strangers() {
    let publisher = Publisher::new();
    let daemon = Setup::default().tables(&publisher.host.tables()).start();
    let mut alice = Visitor::new(publisher.app(&daemon), &ALICE);
    let page = alice.authorize(&[]);
    let done = alice.decide(&page, "allow");
    let answer = alice.app.redeem(&ALICE, &done.redirected("code"), &[]);
    let token = answer.member("refresh_token");
    assert!(alice.authorize(&[]).redirect("code").is_some());
    publisher.publish(&json!({ "client_name": "Another name" }));
    look_again(&daemon);
    assert!(asks(&alice.authorize(&[])));
    // An administrator may vouch for what it is now, and for no more than that.
    let id = publisher.id();
    let shown = daemon.run(&["client", "show", &id, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["source"], &shown["approved"]), (&"document".into(), &false.into()), "{shown}");
    let digest = shown["metadata"].as_str().unwrap();
    let stale = daemon.run(&["client", "approve", &id, &"0".repeat(32)]);
    assert!(!stale.status.success() && asks(&alice.authorize(&[])));
    assert!(daemon.run(&["client", "approve", &id, digest]).status.success());
    assert!(alice.authorize(&[]).redirect("code").is_some());
    publisher.publish(&json!({}));
    look_again(&daemon);
    let refreshed = alice.app.refresh(&ALICE, &token, &[]);
    assert_eq!(refreshed.status, 200, "{}", refreshed.show());
}

/// `tsidecar client documents`: what counts for each client, and where it comes from.
#[test]
fn an_administrator_sees_where_documents_come_from() {
    let publisher = Publisher::new();
    let pinned = r#"{"client_id":"https://pinned.test/c","client_name":"Pinned","redirect_uris":["http://127.0.0.1/cb"]}"#;
    let daemon = publisher.setup().file("documents.d/pinned.json", pinned).start();
    let shown = || {
        let output = daemon.run(&["client", "documents"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = text.replace(&publisher.host.url(""), "https://rp.test");
        let text = text.replace(&daemon.path("").display().to_string(), "/etc/tsidecar/");
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
            .collect::<String>()
    };
    publisher.app(&daemon).login(&ALICE, &[]);
    assert_snapshot!(shown(), @"
    ID NAME FROM TRUSTED RETURNS TO
    https://claude.ai/oauth/claude-code-client-metadata Claude Code tsidecar no http://localhost/callback http://127.0.0.1/callback
    https://opencode.ai/oauth/opencode/client.json opencode tsidecar no http://127.0.0.1/callback http://localhost/callback
    https://pinned.test/c Pinned /etc/tsidecar/documents.d/pinned.json no http://127.0.0.1/cb
    https://rp.test/oauth/client.json Example MCP client the web yes http://127.0.0.1/callback https://rp.test/cb
    https://vscode.dev/oauth/client-metadata.json Visual Studio Code tsidecar no http://127.0.0.1:33418/
    ");
    look_again(&daemon);
    assert!(
        shown()
            .contains("https://rp.test/oauth/client.json Example MCP client the web, to be fetched anew yes")
    );
    let output = daemon.run(&["client", "documents", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["documents"].as_array().unwrap().len(), 5);
}
