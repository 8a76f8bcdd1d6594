//! The people and machines of the tests, and the headers that serve sets for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::json;
use tsidecar_server::demo::{HOST, Node, Script, User};

use super::wire::Request;

/// Somebody whose requests come in through serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) address: IpAddr,
    /// `Tailscale-User-Login`, unless the node is tagged or unknown.
    pub(crate) login: Option<&'static str>,
    pub(crate) funnel: bool,
}

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, last))
}

const fn who(last: u8, login: Option<&'static str>) -> Who {
    Who { address: v4(last), login, funnel: false }
}

/// The node of the identity provider itself.
pub(crate) const ITSELF: Who = who(1, None);
pub(crate) const ALICE: Who = who(2, Some("alice@example.com"));
pub(crate) const BOB: Who = who(3, Some("bob@github"));
/// A tagged node.
pub(crate) const CI: Who = who(4, None);
/// Alice's second device.
pub(crate) const PHONE: Who = who(5, Some("alice@example.com"));
/// Somebody of another tailnet.
pub(crate) const OUTSIDER: Who = who(6, Some("eve@other.example"));
/// Carol's subnet router.
pub(crate) const ROUTER: Who = who(7, Some("carol@example.com"));
/// An address that whois does not know.
pub(crate) const NOBODY: Who = who(99, None);
/// Somebody in the internet.
pub(crate) const INTERNET: Who =
    Who { address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), login: None, funnel: true };

/// The IPv6 address of the same node.
pub(crate) const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, last))
}

/// The capability whose values are rules.
pub(crate) const RULES: &str = "tailscale.com/cap/tsidp";

pub(crate) fn tailnet(backend: &str) -> Script {
    let mut script = Script::new("example.com", "tail.test");
    let mut alice = User::new(1001, "alice@example.com", "Alice Äxample");
    "https://pics.test/alice.png".clone_into(&mut alice.picture);
    alice.groups = vec!["group:eng".to_owned()];
    let bob = User::new(1002, "bob@github", "Bob <script>alert(1)</script>");
    let carol = User::new(1003, "carol@example.com", "Carol");
    let eve = User::new(2001, "eve@other.example", "Eve");
    let mut laptop = Node::of(alice.clone(), 2, "alice-laptop", &[v4(2), v6(2)]);
    laptop.grant(HOST, RULES, json!({ "extraClaims": { "team": "eng" }, "includeInUserInfo": true }));
    laptop.grant("svc:login", RULES, json!({ "groups": ["service-only"] }));
    let outsider = Node { sharee: true, ..Node::of(eve, 6, "eve", &[v4(6)]) };
    let router = Node { routes: vec!["192.168.1.0/24".to_owned()], ..Node::of(carol, 7, "router", &[v4(7)]) };
    script.peers = vec![
        laptop,
        Node::of(bob, 3, "bob-desk", &[v4(3), v6(3)]),
        Node::tagged("tag:ci", 4, "ci", &[v4(4)]),
        Node::of(alice, 5, "alice-phone", &[v4(5)]),
        outsider,
        router,
    ];
    script.serve(backend);
    script
}

/// Adds what serve adds to a request of somebody (`reference/tailscale.md` C1).
pub(crate) fn through_serve(who: &Who, request: Request) -> Request {
    let mut request = request
        .header("Host", "localhost")
        .header("X-Forwarded-For", &who.address.to_string())
        .header("X-Forwarded-Host", "idp.tail.test")
        .header("X-Forwarded-Proto", "https");
    if who.funnel {
        request = request.header("Tailscale-Funnel-Request", "?1");
    } else if let Some(login) = who.login {
        request = request
            .header("Tailscale-User-Login", login)
            .header("Tailscale-User-Name", "=?utf-8?q?Alice_=C3=84xample?=")
            .header("Tailscale-Headers-Info", "https://tailscale.com/s/serve-headers");
    }
    request
}
