//! Whois answers in the shapes of tailscaled 1.72 to 1.102, each asserted in full.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tsidecar_localapi::{
    CapMap, Hostinfo, LoginName, Node, NodeId, Prefix, StableNodeId, UserId, UserProfile, WhoIs,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/whois")
}

fn read(name: &str) -> WhoIs {
    let text = fs::read(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn hostinfo(hostname: &str, os: &str) -> Hostinfo {
    Hostinfo { hostname: hostname.into(), os: os.into(), ..Hostinfo::default() }
}

/// A node whose addresses end in the given text and whose key is 64 times the given digit.
fn node(id: i64, stable: &str, name: &str, user: i64, addresses: [&str; 2], digit: &str) -> Node {
    let addresses: Vec<_> = addresses.iter().map(|prefix| prefix.parse().unwrap()).collect();
    let host = name.split('.').next().unwrap();
    Node {
        id: NodeId(id),
        stable_id: StableNodeId(stable.into()),
        name: name.into(),
        user: UserId(user),
        key: format!("nodekey:{}", digit.repeat(64)),
        allowed_ips: addresses.clone(),
        addresses,
        hostinfo: hostinfo(host, "linux"),
        computed_name: host.into(),
        ..Node::default()
    }
}

/// As old daemons describe every node.
fn old_node(id: i64, stable: &str, name: &str, user: i64, addresses: [&str; 2], digit: &str) -> Node {
    let mut node = node(id, stable, name, user, addresses, digit);
    node.key_expiry = Some("2025-02-11T09:12:33Z".into());
    node.hostinfo.os_version = "6.1".into();
    node
}

fn laptop(digit: &str) -> Node {
    node(
        91,
        "nAliceLaptopCNTRL",
        "laptop.tail1234.ts.net.",
        3301,
        ["100.64.0.2/32", "fd7a:115c:a1e0::2/128"],
        digit,
    )
}

fn user(id: i64, login: &str, display: &str) -> UserProfile {
    UserProfile {
        id: UserId(id),
        login_name: LoginName(login.into()),
        display_name: display.into(),
        ..UserProfile::default()
    }
}

fn alice() -> UserProfile {
    let profile_pic_url = "https://pics.example.com/alice?s=96&v=2".into();
    UserProfile { profile_pic_url, ..user(3301, "alice@example.com", "Alice Example") }
}

fn expected(name: &str) -> (Node, UserProfile) {
    match name {
        "user-1.72" => {
            let mut node = laptop("a");
            node.key_expiry = Some("2025-02-11T09:12:33Z".into());
            node.hostinfo.os_version = "6.1".into();
            (Node { machine_authorized: true, online: Some(true), ..node }, alice())
        }
        "user-1.86" => {
            let mut node = laptop("b");
            node.hostinfo.os_version = "6.1".into();
            (Node { machine_authorized: true, online: Some(false), ..node }, alice())
        }
        "user-1.98" => {
            let key_expiry = Some("2026-12-01T00:00:00Z".into());
            let node = Node { key_expiry, machine_authorized: true, online: Some(true), ..laptop("c") };
            let groups = vec!["engineering@example.com".into(), "group:eng".into()];
            (node, UserProfile { groups, ..alice() })
        }
        "user-1.102" => {
            let hostinfo = Hostinfo { os_version: "15.5".into(), ..hostinfo("laptop", "macOS") };
            let node = Node { hostinfo, machine_authorized: true, online: Some(true), ..laptop("d") };
            let groups = vec!["group:eng".into()];
            (node, UserProfile { groups, ..user(3301, "alice@example.com", "Alice Example") })
        }
        "unknown-fields-future" => (
            Node { computed_name: String::new(), ..laptop("a") },
            user(3301, "alice@example.com", "Alice Example"),
        ),
        "sparse-1.102" => (
            Node { id: NodeId(94), stable_id: StableNodeId("nSparseCNTRL".into()), ..Node::default() },
            user(3301, "", ""),
        ),
        "nulls-1.92" => (Node::default(), UserProfile::default()),
        "large-ids-1.72" => {
            let addresses = ["100.64.0.14/32", "fd7a:115c:a1e0::14/128"];
            let node = old_node(
                9_007_199_254_740_993,
                "nOldCNTRL",
                "old.tail1234.ts.net.",
                i64::MAX,
                addresses,
                "0",
            );
            (Node { sharer: UserId(9_007_199_254_740_995), ..node }, user(i64::MAX, "alice@github", "alice"))
        }
        "non-ascii-1.90" => {
            let addresses = ["100.64.0.13/32", "fd7a:115c:a1e0::13/128"];
            let node = old_node(93, "nAsaDatorCNTRL", "dator.tail1234.ts.net.", 3302, addresses, "9");
            let hostinfo = hostinfo("Åsas dator 🖥", "linux");
            (Node { hostinfo, ..node }, user(3302, "åsa@exämple.com", "Åsa 李雷 \u{202e}<admin>"))
        }
        other => expected_kind(other),
    }
}

/// The cases that identity rules tell apart.
fn expected_kind(name: &str) -> (Node, UserProfile) {
    match name {
        "tagged-1.80" => {
            let addresses = ["100.64.0.4/32", "fd7a:115c:a1e0::4/128"];
            let node = old_node(77, "nCiRunnerCNTRL", "ci.tail1234.ts.net.", 3301, addresses, "e");
            let tags = vec!["tag:ci".into(), "tag:build".into()];
            (Node { tags, key_expiry: None, ..node }, user(2_147_455_555, "tagged-devices", "Tagged Devices"))
        }
        "tagged-1.102" => {
            let addresses = ["100.64.0.4/32", "fd7a:115c:a1e0::4/128"];
            let node = node(77, "nCiRunnerCNTRL", "ci.tail1234.ts.net.", 2_147_455_555, addresses, "f");
            let (tags, computed_name) = (vec!["tag:ci".into()], String::new());
            let node = Node { tags, computed_name, online: Some(true), ..node };
            (node, user(2_147_455_555, "tagged-devices", "Tagged Devices"))
        }
        "shared-in-1.94" => {
            let addresses = ["100.101.1.9/32", "fd7a:115c:a1e0::9/128"];
            let node = old_node(120, "nPartnerBoxCNTRL", "box.partner.ts.net.", 4410, addresses, "1");
            let hostinfo = hostinfo("box", "linux");
            (Node { sharer: UserId(4411), hostinfo, ..node }, user(4410, "pat@partner.example", "Pat"))
        }
        "shared-out-1.96" => {
            let addresses = ["100.102.3.4/32", "fd7a:115c:a1e0::34/128"];
            let node = node(131, "nOutsiderCNTRL", "", 5501, addresses, "2");
            let hostinfo = Hostinfo { sharee_node: true, ..hostinfo("device-of-shared-to-user", "") };
            (Node { hostinfo, ..node }, user(5501, "guest@other.example", "Guest"))
        }
        "self-1.102" => {
            let addresses = ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"];
            let node = node(1, "nIdpCNTRL", "idp.tail1234.ts.net.", 3301, addresses, "3");
            (Node { machine_authorized: true, online: Some(true), ..node }, alice())
        }
        "router-1.88" => {
            let addresses = ["100.64.0.9/32", "fd7a:115c:a1e0::99/128"];
            let mut node = old_node(55, "nRouterCNTRL", "router.tail1234.ts.net.", 3301, addresses, "4");
            let routes = ["192.168.1.0/24", "0.0.0.0/0", "::/0"].map(|route| route.parse().unwrap());
            node.allowed_ips.extend(routes);
            node.primary_routes = vec![routes[0]];
            (node, user(3301, "alice@example.com", "Alice Example"))
        }
        other => expected_refused(other),
    }
}

/// Nodes that are no users whoever owns them.
fn expected_refused(name: &str) -> (Node, UserProfile) {
    match name {
        "expired-1.100" => {
            let addresses = ["100.64.0.12/32", "fd7a:115c:a1e0::12/128"];
            let node = node(92, "nAlicePhoneCNTRL", "phone.tail1234.ts.net.", 3301, addresses, "5");
            let (hostinfo, key_expiry) = (hostinfo("phone", "iOS"), Some("2026-05-01T00:00:00Z".into()));
            (Node { hostinfo, key_expiry, expired: true, computed_name: String::new(), ..node }, alice())
        }
        "jailed-1.102" => {
            let addresses = ["100.103.5.6/32", "fd7a:115c:a1e0::56/128"];
            let node = node(140, "nJailedCNTRL", "jailed.partner.ts.net.", 4410, addresses, "6");
            let node = Node { is_jailed: true, sharer: UserId(4411), computed_name: String::new(), ..node };
            (node, user(4410, "pat@partner.example", "Pat"))
        }
        "unsigned-1.90" => {
            let addresses = ["100.64.0.15/32", "fd7a:115c:a1e0::15/128"];
            let node = old_node(150, "nUnsignedCNTRL", "unsigned.tail1234.ts.net.", 3301, addresses, "7");
            (Node { unsigned_peer_api_only: true, ..node }, alice())
        }
        "wireguard-only-1.90" => {
            let addresses = ["100.64.0.16/32", "fd7a:115c:a1e0::16/128"];
            let mut node = old_node(160, "nExitCNTRL", "exit.mullvad.ts.net.", 6601, addresses, "8");
            node.allowed_ips.extend(["0.0.0.0/0", "::/0"].map(|route| route.parse::<Prefix>().unwrap()));
            node.hostinfo = hostinfo("exit", "");
            (Node { is_wireguard_only: true, ..node }, user(6601, "mullvad@tailscale", "Mullvad"))
        }
        other => panic!("{other} is not asserted"),
    }
}

/// Every capability of a fixture with its values, without the white space of the file.
fn capabilities(map: &CapMap) -> Vec<(String, Vec<serde_json::Value>)> {
    map.iter()
        .map(|(name, values)| (name.to_owned(), values.iter().map(|raw| value(raw.get())).collect()))
        .collect()
}

/// Compared as values: whether `serde_json` keeps the order of members depends on what else is built.
fn value(raw: &str) -> serde_json::Value {
    serde_json::from_str(raw).unwrap()
}

fn names() -> BTreeSet<String> {
    let files =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
}

#[test]
fn every_fixture_is_read_in_full() {
    assert!(names().len() >= 19, "{:?}", names());
    for name in names() {
        let WhoIs { node, user_profile, .. } = read(&name);
        assert_eq!((node, user_profile), expected(&name), "{name}");
    }
}

#[test]
fn capability_values_stay_raw() {
    let granted = [
        (
            "user-1.72",
            "tailscale.com/cap/tsidp",
            vec![r#"{"extraClaims":{"team":"a<b&c>d"},"resources":["*"],"users":["*"]}"#],
        ),
        ("user-1.86", "example.com/cap/notes", vec![r#"{"role":"editor"}"#, r#"{"role":"editor"}"#]),
        (
            "user-1.102",
            "tailscale.com/cap/tsidp",
            vec![r#"{"users":["*"]}"#, r#""text""#, "7", "null", r#"[1,{"deep":[true]}]"#],
        ),
        ("tagged-1.102", "example.com/cap/deploy", vec![r#"{"env":"prod"}"#]),
        ("non-ascii-1.90", "exämple.com/cap/ö", vec![r#"{"namn":"Åsa"}"#]),
    ];
    for (name, capability, values) in granted {
        let all = capabilities(&read(name).cap_map);
        let values: Vec<serde_json::Value> = values.into_iter().map(value).collect();
        assert!(all.contains(&(capability.to_owned(), values)), "{name}: {all:?}");
    }
}

#[test]
fn capabilities_without_values_are_granted_all_the_same() {
    let map = read("user-1.86").cap_map;
    for name in ["example.com/cap/empty", "example.com/cap/none"] {
        assert!(map.contains(name) && map.values(name).is_empty(), "{name}");
    }
    assert!(!map.contains("example.com/cap/absent"));
    assert_eq!(capabilities(&map).len(), 3);
    for name in ["user-1.98", "sparse-1.102", "nulls-1.92", "unknown-fields-future"] {
        assert!(read(name).cap_map.is_empty(), "{name}");
    }
}

#[test]
fn methods_tell_workloads_and_routers() {
    for name in names() {
        let node = read(&name).node;
        assert_eq!(node.is_tagged(), name.starts_with("tagged"), "{name}");
        let routes = name.starts_with("router") || name.starts_with("wireguard-only");
        assert_eq!(node.routes_for_others(), routes, "{name}");
    }
}

#[test]
fn answers_without_node_or_user_are_malformed() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"Node":{}}"#,
        r#"{"UserProfile":{}}"#,
        r#"{"Node":null,"UserProfile":{}}"#,
        r#"{"Node":{},"UserProfile":null}"#,
        r#"{"Node":{"ID":"91"},"UserProfile":{}}"#,
        r#"{"Node":{"ID":1e3},"UserProfile":{}}"#,
        r#"{"Node":{"ID":9223372036854775808},"UserProfile":{}}"#,
        r#"{"Node":{"Expired":"false"},"UserProfile":{}}"#,
        r#"{"Node":{"AllowedIPs":["100.64.0.2"]},"UserProfile":{}}"#,
        r#"{"Node":{"AllowedIPs":["100.64.0.2/33"]},"UserProfile":{}}"#,
        r#"{"Node":{"StableID":"a","StableID":"b"},"UserProfile":{}}"#,
        r#"{"Node":{},"UserProfile":{},"CapMap":[]}"#,
        r#"{"Node":{},"UserProfile":{},"CapMap":{"x":{}}}"#,
        r#"{"Node":{},"UserProfile":{}} trailing"#,
    ] {
        assert!(serde_json::from_str::<WhoIs>(text).is_err(), "{text}");
    }
}
