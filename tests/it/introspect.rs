//! `/introspect`: facts for the client of a token and for its audience, nothing for anybody else.

use insta::assert_snapshot;
use sha2::{Digest as _, Sha256};
use tsidecar_server::demo::{Node, Script};

use crate::support::{
    ALICE, App, BOB, CI, Daemon, Reply, Request, Setup, Who,
    browser::RESOURCE,
    daemon::SECRET,
    tailnet::{INTERNET, NOBODY},
};

/// A resource that is the client `builder` and every node with `tag:ci`.
const BUILDS: &str = "https://ci.test/builds";

fn setup() -> Setup {
    let digest = format!("{:x}", Sha256::digest(SECRET));
    Setup::default().tables(&format!(
        r#"[[resource]]
uri = "{BUILDS}"
scopes = ["build"]
clients = ["cli", "web"]
servers = ["builder", "tag:ci"]
[[client]]
id = "builder"
name = "Builder"
secret_sha256 = "{digest}"
redirect_uris = ["https://builder.test/callback"]"#
    ))
}

fn ask(token: &str) -> Request {
    Request::post("/introspect", &[("token", token)])
}

/// What a confidential client is told.
#[track_caller]
fn told_to(daemon: &Daemon, client: &str, token: &str) -> Reply {
    daemon.send(&BOB, ask(token).basic(client, SECRET))
}

#[track_caller]
fn is_active(daemon: &Daemon, client: &str, token: &str) -> bool {
    let reply = told_to(daemon, client, token);
    let json = reply.json();
    let active = json["active"].as_bool().unwrap_or_else(|| panic!("{}", reply.show()));
    assert!(active || json.as_object().unwrap().len() == 1, "nothing else: {}", reply.show());
    active
}

#[test]
fn a_client_asks_for_its_own_tokens() {
    let daemon = setup().start();
    let login = App::confidential(&daemon).login(&ALICE, &[]);
    assert_snapshot!(told_to(&daemon, "web", &login.member("access_token")).show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "active": true,
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "client_id": "web",
      "aud": "web",
      "scope": "openid profile email groups",
      "exp": "[time]",
      "iat": "[time]",
      "token_type": "Bearer",
      "username": "alice@example.com",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient"
    }
    "#);
    assert_snapshot!(told_to(&daemon, "web", &login.member("refresh_token")).show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "active": true,
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "client_id": "web",
      "scope": "openid profile email groups",
      "exp": "[time]",
      "iat": "[time]",
      "username": "alice@example.com",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient"
    }
    "#);
}

/// Design section 11: in the audience means in `servers`; a tagged node needs no secret.
#[test]
fn a_resource_server_asks_for_tokens_of_its_audience() {
    let daemon = setup().start();
    let changes = [("resource", BUILDS), ("scope", "openid build")];
    let token = App::public(&daemon).login(&ALICE, &changes).member("access_token");
    let told = told_to(&daemon, "builder", &token);
    assert_snapshot!(told.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "active": true,
      "iss": "https://idp.tail.test",
      "sub": "userid:1001",
      "client_id": "cli",
      "aud": "https://ci.test/builds",
      "scope": "build",
      "exp": "[time]",
      "iat": "[time]",
      "token_type": "Bearer",
      "jti": "[jti]",
      "username": "alice@example.com",
      "auth_time": "[time]",
      "acr": "urn:tsidecar:acr:ambient"
    }
    "#);
    assert_eq!(daemon.send(&CI, ask(&token)).body, told.body);
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let pairs = [("token", token.as_str()), ("token_type_hint", hint), ("client_id", "tag:ci")];
        assert_eq!(daemon.send(&CI, Request::post("/introspect", &pairs)).body, told.body, "{hint}");
    }
    // The claims of the token and what is said of it agree.
    let (claims, told) = (crate::support::wire::jwt(&token).1, told.json());
    for (name, value) in claims.as_object().unwrap() {
        assert_eq!(told[name], *value, "{name}");
    }
}

/// A19: whoever is neither the client nor the audience learns what he would learn of a token that does not exist.
#[test]
fn everybody_else_learns_nothing() {
    let daemon = setup().start();
    let (web, cli) = (App::confidential(&daemon), App::public(&daemon));
    let own = web.login(&ALICE, &[]);
    let builds = cli.login(&ALICE, &[("resource", BUILDS), ("scope", "openid build")]);
    let mcp = cli.login(&ALICE, &[("resource", RESOURCE), ("scope", "openid read")]);
    let (opaque, jwt) = (own.member("access_token"), builds.member("access_token"));
    assert_snapshot!(told_to(&daemon, "builder", &opaque).show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "active": false
    }
    "#);
    for (client, token) in [
        ("builder", own.member("refresh_token")),
        ("builder", mcp.member("access_token")),
        ("builder", builds.member("refresh_token")),
        ("web", jwt.clone()),
        ("web", mcp.member("access_token")),
        // No access token at all (A20).
        ("web", own.member("id_token")),
        ("builder", builds.member("id_token")),
        ("web", web.code(&ALICE, &[])),
        ("web", format!("{opaque}x")),
        ("web", opaque[..opaque.len() - 1].to_owned()),
        ("web", opaque.to_uppercase()),
        ("builder", format!("{jwt}=")),
        ("builder", jwt[..jwt.len() - 1].to_owned()),
        ("web", "nonsense".to_owned()),
    ] {
        assert!(!is_active(&daemon, client, &token), "{client} {token}");
    }
    for token in [opaque, mcp.member("access_token"), builds.member("refresh_token")] {
        assert_eq!(daemon.send(&CI, ask(&token)).json(), serde_json::json!({ "active": false }));
    }
    assert!(daemon.log().contains("neither the client of the token nor its audience"));
}

/// A router and a node of another tailnet, both with the tag of the resource.
fn add_doubtful_nodes(script: &mut Script) {
    let address = |last| vec![[100, 64, 0, last].into()];
    let router =
        Node { routes: vec!["192.168.0.0/24".to_owned()], ..Node::tagged("tag:ci", 44, "hub", &address(44)) };
    let shared = Node { sharer: 7, ..Node::tagged("tag:ci", 45, "shared", &address(45)) };
    script.peers.extend([router, shared]);
}

#[test]
fn nobody_asks_without_proof() {
    let daemon = setup().tailnet(add_doubtful_nodes).start();
    let changes = [("resource", BUILDS), ("scope", "openid build")];
    let token = App::public(&daemon).login(&ALICE, &changes).member("access_token");
    assert_snapshot!(daemon.send(&ALICE, ask(&token)).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "the client did not say who it is: no client_id and no HTTP Basic credentials"
    }
    "#);
    assert_snapshot!(daemon.send(&ALICE, ask(&token).basic("web", "wrong-wrong-wrong-wrong-wrong-wrong")).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    www-authenticate: Basic realm="https://idp.tail.test", charset="UTF-8"
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "client authentication failed"
    }
    "#);
    let refused = |who: &Who, request: Request| {
        let reply = daemon.send(who, request);
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{}", reply.show());
    };
    let named = |id: &str| Request::post("/introspect", &[("token", &token), ("client_id", id)]);
    // A public client's id is no secret.
    refused(&ALICE, named("cli"));
    refused(&ALICE, named("web"));
    refused(&CI, named("cli"));
    refused(&ALICE, named("tag:ci"));
    refused(&CI, named("tag:other"));
    let funnel = Who { funnel: true, ..CI };
    for who in [BOB, NOBODY, INTERNET, funnel] {
        refused(&who, ask(&token));
    }
    // A page in a browser on the node is not the node.
    refused(&CI, ask(&token).header("Origin", "https://evil.test"));
    refused(&CI, ask(&token).header("Sec-Fetch-Site", "cross-site"));
    // Anybody behind a router could be it, and the tags of another tailnet are not ours.
    for last in [44, 45] {
        refused(&Who { address: [100, 64, 0, last].into(), ..CI }, ask(&token));
    }
    assert_eq!(daemon.send(&CI, ask(&token)).json()["active"], true);
}

#[test]
fn the_request_is_a_post_with_a_token() {
    let daemon = setup().start();
    let bare = Request::post("/introspect", &[]).basic("web", SECRET);
    assert_snapshot!(daemon.send(&ALICE, bare).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_request",
      "error_description": "token is missing"
    }
    "#);
    assert_eq!(daemon.send(&ALICE, Request::get("/introspect").basic("web", SECRET)).status, 405);
}

#[test]
fn tokens_end_with_what_they_rest_on() {
    let daemon = setup().start();
    let web = App::confidential(&daemon);
    let login = web.login(&ALICE, &[]);
    let (access, refresh) = (login.member("access_token"), login.member("refresh_token"));
    let jwt = web.login(&ALICE, &[("resource", BUILDS), ("scope", "openid build")]).member("access_token");
    daemon.at(590);
    for token in [&access, &refresh, &jwt] {
        assert!(is_active(&daemon, "web", token));
    }
    let next = web.refresh(&ALICE, &refresh, &[]).member("refresh_token");
    assert!(!is_active(&daemon, "web", &refresh), "rotated away");
    assert!(is_active(&daemon, "web", &next));
    daemon.at(601);
    assert!(!is_active(&daemon, "web", &access) && !is_active(&daemon, "web", &jwt));
    assert!(is_active(&daemon, "web", &next));
    daemon.at(40 * 86_400);
    assert!(!is_active(&daemon, "web", &next));
}

/// A6, A42: reuse of a refresh token and of a code revoke, and introspection says so at once.
#[test]
fn revoked_families_are_inactive() {
    let daemon = setup().start();
    let web = App::confidential(&daemon);
    let code = web.code(&ALICE, &[("resource", BUILDS), ("scope", "openid build")]);
    let jwt = web.redeem(&ALICE, &code, &[]).member("access_token");
    assert!(is_active(&daemon, "builder", &jwt));
    assert_eq!(web.redeem(&ALICE, &code, &[]).error(), "invalid_grant");
    assert!(!is_active(&daemon, "builder", &jwt) && !is_active(&daemon, "web", &jwt));
    let login = web.login(&ALICE, &[]);
    let first = login.member("refresh_token");
    let second = web.refresh(&ALICE, &first, &[]).member("refresh_token");
    web.refresh(&ALICE, &second, &[]);
    assert_eq!(web.refresh(&ALICE, &first, &[]).error(), "invalid_grant");
    assert!(!is_active(&daemon, "web", &login.member("access_token")));
}

/// Design section 8: introspection knows what the bus last said, without asking whois each time.
#[test]
fn a_removed_device_ends_them_and_its_return_does_not_hurt() {
    let daemon = setup().start();
    let token = App::confidential(&daemon).login(&ALICE, &[]).member("access_token");
    assert!(is_active(&daemon, "web", &token));
    let before = daemon.tailscaled.asked_about(ALICE.address);
    for _ in 0..20 {
        assert!(is_active(&daemon, "web", &token));
    }
    assert_eq!(daemon.tailscaled.asked_about(ALICE.address), before, "the bus has said nothing");
    let laptop = daemon.tailscaled.script().peers[0].clone();
    daemon.tailscaled.change(|script| script.peers.retain(|node| node.id != laptop.id));
    daemon.eventually("the token of a removed device is inactive", || !is_active(&daemon, "web", &token));
    daemon.tailscaled.change(|script| script.peers.insert(0, laptop));
    daemon.eventually("it is back", || is_active(&daemon, "web", &token));
    daemon.tailscaled.change(|script| script.peers[0].user = script.peers[1].user.clone());
    daemon.eventually("the device is somebody else's now", || !is_active(&daemon, "web", &token));
}

#[test]
fn a_client_that_is_switched_off_ends_them() {
    let daemon = Setup::default()
        .tables("[[client]]\nid = \"leaving\"\nname = \"Leaving\"\npublic = true\nredirect_uris = [\"http://127.0.0.1/callback\"]")
        .tables(&format!("[[resource]]\nuri = \"{BUILDS}\"\nscopes = [\"build\"]\nclients = [\"*\"]\nservers = [\"web\"]"))
        .start();
    let app = App { id: "leaving", ..App::public(&daemon) };
    let changes = [("resource", BUILDS), ("scope", "openid build")];
    let token = app.login(&ALICE, &changes).member("access_token");
    assert!(is_active(&daemon, "web", &token));
    let path = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("name = \"Leaving\"", "name = \"Leaving\"\ndisabled = true")).unwrap();
    daemon.signal("HUP");
    daemon.eventually("its tokens are inactive", || !is_active(&daemon, "web", &token));
}

#[test]
fn after_a_restart_they_are_what_they_were() {
    let mut daemon = setup().start();
    let web = App::confidential(&daemon);
    let changes = [("resource", BUILDS), ("scope", "openid build")];
    let live = web.login(&ALICE, &changes).member("access_token");
    let dead = web.login(&ALICE, &changes).member("access_token");
    let revocation = Request::post("/revoke", &[("token", &dead)]).basic("web", SECRET);
    assert_eq!(daemon.send(&ALICE, revocation).status, 200);
    daemon.kill();
    daemon.relaunch();
    assert!(is_active(&daemon, "builder", &live) && !is_active(&daemon, "builder", &dead));
}

/// tsidp's looser rule, announced in the log.
#[test]
fn any_client_by_switch() {
    let daemon = setup().tables("[compat]\nintrospect_any_client = true").start();
    let login = App::public(&daemon).login(&ALICE, &[]);
    assert!(is_active(&daemon, "web", &login.member("access_token")));
    assert!(!is_active(&daemon, "web", &login.member("refresh_token")));
    let public =
        Request::post("/introspect", &[("token", &login.member("access_token")), ("client_id", "cli")]);
    assert_eq!(daemon.send(&ALICE, public).error(), "invalid_client");
    assert_eq!(daemon.send(&CI, ask(&login.member("access_token"))).json()["active"], false);
    assert!(daemon.log().contains("introspect_any_client"), "{}", daemon.log());
}

#[test]
fn while_tailscaled_is_away_nothing_is_said() {
    let daemon = setup().start();
    let token = App::confidential(&daemon).login(&ALICE, &[]).member("access_token");
    daemon.tailscaled.stop();
    daemon.eventually("503 while tailscaled is away", || told_to(&daemon, "web", &token).status == 503);
    daemon.tailscaled.restart().unwrap();
    daemon.wait_until_ready();
    assert!(is_active(&daemon, "web", &token));
}
