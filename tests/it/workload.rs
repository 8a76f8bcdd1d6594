//! Workloads: a tagged node is its own credential (design section 11), and everything that must not be taken for one.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_server::demo::{HOST, Node, Script};

use crate::support::{
    ALICE, App, CI, Daemon, Pairs, Reply, Request, Setup, Who,
    daemon::{SECRET, secret_digest},
    proof::Prover,
    tailnet::{INTERNET, ITSELF, NOBODY, RULES},
    wire::jwt,
};

const BUILDS: &str = "https://ci.test/builds";

/// `tag:ci` may ask for builds, `tag:hub` though it routes for others, `tag:pinned` on one node only.
const RULE: &str = r#"[[workload]]
tag = "tag:ci"
scopes = ["read", "build"]
[[workload]]
tag = "tag:hub"
routes = true
[[workload]]
tag = "tag:pinned"
nodes = ["nPINNEDCNTRL"]
[[workload]]
tag = "tag:mcp"
"#;

fn setup() -> Setup {
    let digest = secret_digest();
    let resources = format!(
        r#"[[client]]
id = "builder"
name = "Builder"
secret_sha256 = "{digest}"
redirect_uris = ["https://builder.test/callback"]
[[resource]]
uri = "{BUILDS}"
scopes = ["read", "build", "admin"]
clients = ["web", "tag:ci", "tag:hub", "tag:pinned"]
servers = ["builder", "tag:mcp"]
[[resource]]
uri = "https://upstream.test"
scopes = ["read"]
clients = ["tag:mcp"]
[[resource]]
uri = "https://open.test"
scopes = ["read"]
clients = ["*"]"#
    );
    Setup::default().tables(RULE).tables(&resources).tailnet(add_nodes)
}

const fn at(last: u8) -> Who {
    Who { address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, last)), ..CI }
}

const MCP: Who = at(40);
const HUB: Who = at(41);
const ROUTER: Who = at(42);
const SHARED: Who = at(43);
const SHAREE: Who = at(44);
const PINNED: Who = at(45);
const UNPINNED: Who = at(46);
const BOTH: Who = at(47);
const KIOSK: Who = at(48);

fn add_nodes(script: &mut Script) {
    let tagged = |who: Who, tag: &str, name: &str| {
        let std::net::IpAddr::V4(address) = who.address else { panic!("{who:?}") };
        Node::tagged(tag, i64::from(address.octets()[3]), name, &[who.address])
    };
    let routes = || vec!["10.0.0.0/8".to_owned()];
    let mut both = tagged(BOTH, "tag:ci", "both");
    both.tags.push("tag:hub".to_owned());
    let mut kiosk = tagged(KIOSK, "tag:ci", "kiosk");
    kiosk.grant(HOST, RULES, json!({ "taggedIdentity": { "subject": "kiosk" } }));
    script.peers.extend([
        tagged(MCP, "tag:mcp", "mcp"),
        Node { routes: routes(), ..tagged(HUB, "tag:hub", "hub") },
        Node { routes: routes(), ..tagged(ROUTER, "tag:ci", "router-ci") },
        Node { sharer: 7, ..tagged(SHARED, "tag:ci", "shared") },
        Node { sharee: true, ..tagged(SHAREE, "tag:ci", "sharee") },
        tagged(PINNED, "tag:pinned", "pinned"),
        tagged(UNPINNED, "tag:pinned", "unpinned"),
        both,
        kiosk,
    ]);
}

/// What a node sends: no secret, no header.
fn request(more: &Pairs) -> Request {
    let base = [("grant_type", "client_credentials"), ("resource", BUILDS)];
    Request::post("/token", &[&base, more].concat())
}

fn named(tag: &str) -> Request {
    request(&[("client_id", tag)])
}

#[track_caller]
fn token(daemon: &Daemon, who: &Who, tag: &str) -> String {
    let reply = daemon.send(who, named(tag));
    assert_eq!(reply.status, 200, "{}", reply.show());
    reply.member("access_token")
}

fn told(daemon: &Daemon, token: &str) -> Value {
    daemon.send(&ALICE, Request::post("/introspect", &[("token", token)]).basic("builder", SECRET)).json()
}

#[track_caller]
fn refused(reply: &Reply) {
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{}", reply.show());
}

#[test]
fn a_tagged_node_needs_no_secret() {
    let daemon = setup().start();
    let reply = daemon.send(&CI, request(&[("client_id", "tag:ci"), ("scope", "openid build admin")]));
    assert_snapshot!(reply.show(), @r#"
    200
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    pragma: no-cache
    x-content-type-options: nosniff

    {
      "access_token": "[JWT]",
      "token_type": "Bearer",
      "expires_in": 600,
      "scope": "build"
    }
    "#);
    let token = reply.member("access_token");
    let claims = jwt(&token).1;
    let known = |name: &str| claims[name].clone();
    assert_eq!(
        claims,
        json!({"iss": "https://idp.tail.test", "sub": "tag:ci", "client_id": "tag:ci", "aud": BUILDS, "scope": "build",
            "exp": known("exp"), "iat": known("iat"), "jti": known("jti")})
    );
    assert_eq!(
        told(&daemon, &token),
        json!({"active": true, "iss": "https://idp.tail.test", "sub": "tag:ci", "client_id": "tag:ci", "aud": BUILDS,
            "scope": "build", "token_type": "Bearer", "exp": known("exp"), "iat": known("iat"), "jti": known("jti")})
    );
    let list = String::from_utf8(daemon.run(&["grant", "list", "--client", "tag:ci"]).stdout).unwrap();
    assert!(list.contains("nCICNTRL") && list.contains("tag:ci"), "{list}");
    // It is nobody's.
    let userinfo = daemon.send(&CI, Request::get("/userinfo").bearer(&token));
    assert_eq!((userinfo.status, userinfo.error().as_str()), (401, "invalid_token"));
    // The node with one such tag need not name it; all scopes of its rule and the resource's default.
    let reply = daemon.send(&CI, request(&[]));
    assert_eq!((reply.status, reply.member("scope").as_str()), (200, "read build"), "{}", reply.show());
    assert!(daemon.log().contains("tag:ci"));
}

/// A32, A33, A37, A47: what is no workload, whatever it says.
#[test]
fn nobody_else_is_a_workload() {
    let daemon = setup().start();
    assert_snapshot!(daemon.send(&ALICE, named("tag:ci")).show(), @r#"
    401
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_client",
      "error_description": "the caller is not a node with this tag that a [[workload]] names and that came here directly: no web page, proxy, Funnel or router"
    }
    "#);
    let funnel = Who { funnel: true, ..CI };
    // A person, the internet, the machine itself, a router, nodes of other tailnets, one that signs in as a person.
    for who in [ALICE, INTERNET, funnel, NOBODY, ITSELF, ROUTER, SHARED, SHAREE, KIOSK] {
        refused(&daemon.send(&who, named("tag:ci")));
        refused(&daemon.send(&who, request(&[])));
    }
    // Another workload is none but its own, which this resource does not name.
    refused(&daemon.send(&MCP, named("tag:ci")));
    assert_eq!(daemon.send(&MCP, request(&[])).error(), "invalid_target");
    // A page in a browser on the node is not the node.
    for (name, value) in [
        ("Origin", "https://evil.test"),
        ("Origin", "null"),
        ("Origin", "https://idp.tail.test"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "none"),
    ] {
        refused(&daemon.send(&CI, named("tag:ci").header(name, value)));
        refused(&daemon.send(&CI, request(&[]).header(name, value)));
    }
    // Node's fetch says this much, and is a program.
    assert_eq!(daemon.send(&CI, named("tag:ci").header("Sec-Fetch-Mode", "cors")).status, 200);
    // Another tag, something like it, and what a tag cannot prove.
    for tag in ["tag:mcp", "tag:other", "tag:", "tag:CI", "tag:ci ", "userid:1001", "ci"] {
        refused(&daemon.send(&CI, named(tag)));
    }
    refused(&daemon.send(&CI, request(&[("client_id", "tag:ci"), ("client_secret", "s3cret")])));
    refused(&daemon.send(&CI, request(&[]).basic("tag:ci", "")));
    refused(&daemon.send(&CI, request(&[]).basic("tag:ci", SECRET)));
    assert!(daemon.log().contains("event=\"client_refused\""));
}

/// The rule says which nodes, and whether a router may be one; a node that is several says which it means.
#[test]
fn the_rule_names_the_nodes() {
    let daemon = setup().start();
    assert_eq!(jwt(&token(&daemon, &HUB, "tag:hub")).1["sub"], "tag:hub");
    assert_eq!(jwt(&token(&daemon, &PINNED, "tag:pinned")).1["sub"], "tag:pinned");
    refused(&daemon.send(&UNPINNED, named("tag:pinned")));
    let unnamed = daemon.send(&BOTH, request(&[]));
    refused(&unnamed);
    assert!(unnamed.member("error_description").contains("name one by client_id"), "{}", unnamed.show());
    assert_eq!(jwt(&token(&daemon, &BOTH, "tag:hub")).1["client_id"], "tag:hub");
    assert_eq!(jwt(&token(&daemon, &BOTH, "tag:ci")).1["client_id"], "tag:ci");
}

/// An administrator sees whether a node is a workload, and why it is not.
#[test]
fn whois_says_which_nodes_are_workloads() {
    let daemon = setup().start();
    let clients = |who: &Who| {
        let output = daemon.run(&["whois", &who.address.to_string(), "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["kind"], "workload", "{answer}");
        answer["clients"].clone()
    };
    assert_eq!(clients(&BOTH), json!({ "tag:ci": "allowed", "tag:hub": "allowed" }));
    assert_eq!(clients(&PINNED), json!({ "tag:pinned": "allowed" }));
    for (who, tag, reason) in [
        (&ROUTER, "tag:ci", "routes = true"),
        (&UNPINNED, "tag:pinned", "not among the nodes"),
        (&SHARED, "tag:ci", "of another tailnet"),
        (&SHAREE, "tag:ci", "of another tailnet"),
    ] {
        let told = clients(who);
        assert!(told[tag].as_str().unwrap().contains(reason), "{told}");
    }
}

/// Default deny: a resource names the tag, `*` does not, and a workload says for which resource its token is.
#[test]
fn the_resource_names_the_tag() {
    let daemon = setup().start();
    let ask = |more: &Pairs| {
        let base = [("grant_type", "client_credentials"), ("client_id", "tag:ci")];
        daemon.send(&CI, Request::post("/token", &[&base, more].concat()))
    };
    assert_snapshot!(ask(&[]).show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_target",
      "error_description": "resource is missing: a workload names the one that its token is for"
    }
    "#);
    for uri in ["https://open.test", "https://mcp.test/mcp", "https://unknown.test"] {
        assert_eq!(ask(&[("resource", uri)]).error(), "invalid_target", "{uri}");
    }
    // It is a client for itself and nothing more.
    let other = |path: &str, fields: &Pairs| {
        daemon.send(&CI, Request::post(path, &[&[("client_id", "tag:ci")], fields].concat()))
    };
    let code = other("/token", &[("grant_type", "authorization_code"), ("code", "x")]);
    assert_eq!(code.error(), "unauthorized_client");
    let refresh = other("/token", &[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    assert_eq!(refresh.error(), "unauthorized_client");
    assert_eq!(other("/device_authorization", &[]).error(), "unauthorized_client");
    let push = other("/par", &[("response_type", "code"), ("redirect_uri", "https://a.test/cb")]);
    assert_eq!(push.status, 400, "{}", push.show());
    let query = "/authorize?response_type=code&client_id=tag:ci&redirect_uri=https://a.test/cb";
    let page = daemon.send(&ALICE, Request::get(query));
    assert_eq!((page.status, page.header("location")), (400, None));
}

/// RFC 9449 without a secret: what is stolen from the node is of no use elsewhere.
#[test]
fn its_token_may_be_bound_to_a_key() {
    let daemon = setup().start();
    let key = Prover::new();
    let reply = daemon.send(&CI, key.prove(named("tag:ci"), &json!({})));
    assert_eq!((reply.status, reply.member("token_type").as_str()), (200, "DPoP"));
    assert_eq!(jwt(&reply.member("access_token")).1["cnf"], json!({ "jkt": key.jkt() }));
}

/// Introspection by tag: of a resource that names it among its `servers`, and of the workload's own tokens.
#[test]
fn tags_introspect_and_revoke() {
    let daemon = setup().start();
    let (own, hub) = (token(&daemon, &CI, "tag:ci"), token(&daemon, &HUB, "tag:hub"));
    let person = App::confidential(&daemon).login(&ALICE, &[("resource", BUILDS), ("scope", "openid read")]);
    let person = person.member("access_token");
    let ask = |who: &Who, token: &str, tag: &str| {
        let reply = daemon.send(who, Request::post("/introspect", &[("token", token), ("client_id", tag)]));
        assert_eq!(reply.status, 200, "{}", reply.show());
        reply.json()
    };
    for token in [&own, &hub, &person] {
        assert_eq!(ask(&MCP, token, "tag:mcp")["active"], true, "its server");
    }
    assert_eq!(ask(&MCP, &person, "tag:mcp")["username"], "alice@example.com");
    assert_eq!(ask(&CI, &own, "tag:ci")["active"], true, "its own");
    assert_eq!(ask(&CI, &hub, "tag:ci"), json!({ "active": false }));
    assert_eq!(ask(&CI, &person, "tag:ci"), json!({ "active": false }));
    // The rule holds here, too.
    assert_eq!(ask(&HUB, &hub, "tag:hub")["active"], true);
    refused(
        &daemon
            .send(&UNPINNED, Request::post("/introspect", &[("token", &own), ("client_id", "tag:pinned")])),
    );
    refused(&daemon.send(&ROUTER, Request::post("/introspect", &[("token", &own), ("client_id", "tag:ci")])));
    let revoke = |who: &Who, tag: &str| {
        daemon.send(who, Request::post("/revoke", &[("token", &own), ("client_id", tag)]))
    };
    assert_eq!(revoke(&HUB, "tag:hub").error(), "invalid_grant");
    refused(&revoke(&ALICE, "tag:ci"));
    assert_eq!(told(&daemon, &own)["active"], true);
    assert_eq!(revoke(&CI, "tag:ci").status, 200);
    assert_eq!(told(&daemon, &own), json!({ "active": false }));
    assert_eq!(told(&daemon, &hub)["active"], true);
}

/// A change to a node.
type Edit<'a> = &'a dyn Fn(&mut Node);

/// RFC 8693: a gateway on a tagged node turns the token that it was called with into one for the next service, with no secret at all.
#[test]
fn a_gateway_exchanges_by_its_tag() {
    let daemon = setup().start();
    let person = App::confidential(&daemon).login(&ALICE, &[("resource", BUILDS), ("scope", "openid read")]);
    let exchange = |who: &Who, tag: &str, subject: &str| {
        let access = "urn:ietf:params:oauth:token-type:access_token";
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("client_id", tag),
            ("subject_token", subject),
            ("subject_token_type", access),
            ("resource", "https://upstream.test"),
        ];
        daemon.send(who, Request::post("/token", &fields))
    };
    let person = person.member("access_token");
    let reply = exchange(&MCP, "tag:mcp", &person);
    assert_eq!(reply.status, 200, "{}", reply.show());
    let claims = jwt(&reply.member("access_token")).1;
    let told = ["sub", "client_id", "aud", "scope"].map(|name| claims[name].as_str().unwrap().to_owned());
    assert_eq!(told, ["userid:1001", "tag:mcp", "https://upstream.test", "read"]);
    // The tag of another node, a page on this one, and a workload that is not the token's server.
    refused(&exchange(&CI, "tag:mcp", &person));
    refused(&exchange(&ALICE, "tag:mcp", &person));
    assert_eq!(exchange(&CI, "tag:ci", &person).status, 400);
    // What a workload got for itself is no person's token.
    let own = token(&daemon, &CI, "tag:ci");
    assert_eq!(exchange(&MCP, "tag:mcp", &own).error(), "invalid_request");
}

/// The node is asked for at every introspection: gone, without its tag, a router now, or somebody's, and the token is worth nothing.
#[test]
fn a_token_lives_with_its_node() {
    let daemon = setup().start();
    let access = token(&daemon, &CI, "tag:ci");
    let active = || told(&daemon, &access)["active"] == true;
    let edit = |edit: Edit<'_>| {
        daemon.tailscaled.change(|script| {
            edit(script.peers.iter_mut().find(|node| node.addresses[0] == CI.address).unwrap());
        });
    };
    let original = daemon.tailscaled.script().peers.iter().find(|node| node.name == "ci").unwrap().clone();
    let back = |node: &mut Node| *node = original.clone();
    let changes: [(&str, Edit<'_>); 5] = [
        ("another tag", &|node| node.tags = vec!["tag:hub".to_owned()]),
        ("a router", &|node| node.routes = vec!["10.0.0.0/8".to_owned()]),
        ("expired", &|node| node.expired = true),
        ("shared", &|node| node.sharer = 7),
        ("another node", &|node| node.stable_id = "nOTHERCNTRL".to_owned()),
    ];
    for (what, change) in changes {
        assert!(active(), "before: {what}");
        edit(change);
        daemon.eventually(what, || !active());
        edit(&back);
        daemon.eventually("back again", active);
    }
    daemon.tailscaled.change(|script| script.peers.retain(|node| node.addresses[0] != CI.address));
    daemon.eventually("gone", || !active());
    daemon.tailscaled.change(|script| script.peers.push(original.clone()));
    daemon.eventually("it is back", active);
    // The administrator takes the rule away.
    let path = daemon.path("tsidecar.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let without = text.replace("tag = \"tag:ci\"", "tag = \"tag:former\"").replace("\"tag:ci\", ", "");
    assert_ne!(text, without);
    std::fs::write(&path, without).unwrap();
    daemon.signal("HUP");
    daemon.eventually("the rule is gone", || !active());
    refused(&daemon.send(&CI, named("tag:ci")));
}

#[test]
fn while_tailscaled_is_away_there_is_no_workload() {
    let daemon = setup().start();
    token(&daemon, &CI, "tag:ci");
    daemon.tailscaled.stop();
    daemon.eventually("503 while tailscaled is away", || daemon.send(&CI, named("tag:ci")).status == 503);
    daemon.tailscaled.restart().unwrap();
    daemon.wait_until_ready();
    token(&daemon, &CI, "tag:ci");
}
