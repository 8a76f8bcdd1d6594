//! Each judgement of `doctor`, on facts as a healthy host has them and with one thing changed.

#![expect(clippy::too_many_lines, reason = "whole answers as snapshots are long")]

use serde_json::json;
use tsidecar_localapi::Daemon as Tailscaled;
use tsidecar_oauth::discovery::Registering;
use tsidecar_oauth::id::KeyId;
use tsidecar_oauth::rotation::{KeyKind, KeyRecord, Stage};
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::facts::Tailnet;
use super::*;
use crate::config::{Config, ServiceListener, TailscaleSsh};
use crate::state::{Look, Seen, StateError};

fn tailnet() -> Tailnet {
    Tailnet {
        status: serde_json::from_value(json!({
            "Version": "1.102.3", "TUN": true, "BackendState": "Running",
            "Self": {"ID": "nSELF", "DNSName": "idp.tail.test.", "Online": true},
            "CurrentTailnet": {"Name": "example.com"},
            "CertDomains": ["idp.tail.test"],
        }))
        .unwrap(),
        prefs: serde_json::from_value(json!({})).unwrap(),
        serve: serde_json::from_value(json!({
            "TCP": {"443": {"HTTPS": true}},
            "Web": {"idp.tail.test:443": {"Handlers": {"/": {"Proxy": "unix:/run/tsidecar/serve.sock"}}}},
        }))
        .unwrap(),
        daemon: Some(Tailscaled { capability: 142, version: "1.102.3-t01".into() }),
    }
}

fn key(activated_at: u64) -> KeyRecord {
    let activated_at = UnixTime::from_secs(activated_at);
    KeyRecord {
        id: KeyId::parse("00c0ffee").unwrap(),
        kind: KeyKind::Sealing,
        serial: 1,
        created_at: activated_at,
        stage: Stage::Active { activated_at },
        longest: Lifetime::from_days(180),
    }
}

fn healthy() -> Facts {
    Facts {
        file: "/etc/tsidecar/tsidecar.toml".into(),
        file_mode: Some(0o640),
        config: Config::default(),
        config_error: None,
        tailscaled: Ok(tailnet()),
        daemon: Ok(serde_json::from_value(json!({
            "version": "0.1.0", "issuer": "https://idp.tail.test", "ready": true, "clients": 2,
            "now": 1_800_000_000, "config": "/etc/tsidecar/tsidecar.toml", "state_dir": "/var/lib/tsidecar",
        }))
        .unwrap()),
        state: Look::Seen(Seen {
            owner: 990,
            known: true,
            pins: None,
            keys: vec![key(1_799_000_000)],
            newest: UnixTime::from_secs(1_800_000_000),
            problems: Vec::new(),
        }),
        sockets: vec![("/run/tsidecar/serve.sock".into(), Some(true))],
        now: UnixTime::from_secs(1_800_000_005),
        peer: None,
    }
}

/// What is told beyond a healthy host, after one change.
fn after(change: impl FnOnce(&mut Facts)) -> String {
    let usual = judge(&healthy());
    let mut facts = healthy();
    change(&mut facts);
    let told: Vec<Check> = judge(&facts).into_iter().filter(|check| !usual.contains(check)).collect();
    describe(&told)
}

fn after_in_tailnet(change: impl FnOnce(&mut Tailnet)) -> String {
    after(|facts| change(facts.tailscaled.as_mut().unwrap()))
}

#[test]
fn a_healthy_host() {
    insta::assert_snapshot!(describe(&judge(&healthy())), @"
    ok    configuration  /etc/tsidecar/tsidecar.toml is valid; it has 0 clients
    ok    state          /var/lib/tsidecar is whole, and open to uid 990 only
    ok    keys           in use: sealing for 11 days
    ok    daemon         tsidecar 0.1.0 is ready, with 2 clients
    ok    sockets        /run/tsidecar/serve.sock
    ok    clock          plausible, and not behind anything that was written
    ok    tailscaled     version 1.102.3-t01
    ok    tailnet        up, in example.com
    ok    network        kernel interface
    ok    issuer         https://idp.tail.test is the name of this node
    ok    certificate    the tailnet gives one for idp.tail.test
    ok    serve          idp.tail.test:443 leads to unix:/run/tsidecar/serve.sock
    ok    exposure       no TCP forward leads to tsidecar, and nothing shares its origin
    ok    funnel         off: only applications in the tailnet can use this provider
    ok    ssh            Tailscale SSH is off
    skip  capability     name a peer to see which rules arrive for it: --peer ADDR
    ");
}

#[test]
fn what_is_wrong_with_serve() {
    let serve = |value: serde_json::Value| {
        after_in_tailnet(|tailnet| tailnet.serve = serde_json::from_value(value).unwrap())
    };
    let told = [
        serve(json!({})),
        serve(json!({"Web": {"idp.tail.test:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:3000"}}}}})),
        serve(
            json!({"Foreground": {"s": {"Web": {"idp.tail.test:443": {"Handlers": {"/": {"Proxy": "unix:/run/tsidecar/serve.sock"}}}}}}}),
        ),
        serve(json!({"Web": {"idp.tail.test:443": {"Handlers": {
            "/": {"Proxy": "unix:/run/tsidecar/serve.sock"}, "/app": {"Proxy": "http://127.0.0.1:3000"}}}}})),
        serve(json!({"TCP": {"9000": {"TCPForward": "unix:/run/tsidecar/serve.sock"}},
            "Web": {"idp.tail.test:443": {"Handlers": {"/": {"Proxy": "unix:/run/tsidecar/serve.sock"}}}}})),
        serve(json!({"AllowFunnel": {"idp.tail.test:443": true},
            "Web": {"idp.tail.test:443": {"Handlers": {"/": {"Proxy": "unix:/run/tsidecar/serve.sock"}}}}})),
        after(|facts| {
            let status = facts.daemon.as_mut().unwrap();
            status.issuer = "https://idp.tail.test:8443".into();
        }),
    ];
    insta::assert_snapshot!(told.join("\n--\n"), @"
    fail  serve          nothing answers on idp.tail.test:443
                         → run: tailscale serve --bg --https=443 unix:/run/tsidecar/serve.sock
    --
    fail  serve          idp.tail.test:443 leads to http://127.0.0.1:3000, not to tsidecar
                         → run: tailscale serve --bg --https=443 unix:/run/tsidecar/serve.sock
    --
    warn  serve          idp.tail.test:443 leads to tsidecar only as long as `tailscale serve` runs in a terminal
                         → run: tailscale serve --bg --https=443 unix:/run/tsidecar/serve.sock
    --
    fail  exposure       `tailscale serve` mounts /app on idp.tail.test:443, the origin of this login server: what it answers there acts as the login server; mount it on another port or host
                         → look at: tailscale serve status
    --
    fail  exposure       a TCP forward of `tailscale serve` (port 9000) leads to /run/tsidecar/serve.sock: its callers could claim to be anybody; remove it (`tailscale serve status` shows it), tsidecar needs --https
                         → look at: tailscale serve status
    --
    ok    funnel         on: the internet reaches discovery, /token and /userinfo; people sign in from the tailnet only
    --
    ok    issuer         https://idp.tail.test:8443 is the name of this node
    fail  serve          nothing answers on idp.tail.test:8443
                         → run: tailscale serve --bg --https=8443 unix:/run/tsidecar/serve.sock
    ");
}

#[test]
fn what_funnel_leads_to_when_applications_may_register_there() {
    let told = after(|facts| {
        facts.config.registration.from = Registering::Anywhere;
        facts.tailscaled.as_mut().unwrap().serve =
            serde_json::from_value(json!({"AllowFunnel": {"idp.tail.test:443": true},
                "Web": {"idp.tail.test:443": {"Handlers": {"/": {"Proxy": "unix:/run/tsidecar/serve.sock"}}}}}))
            .unwrap();
    });
    insta::assert_snapshot!(told, @"ok    funnel         on: the internet reaches discovery, /token and /userinfo, and may register applications; people sign in from the tailnet only");
}

#[test]
fn what_is_wrong_with_tailscaled() {
    let version = |capability, version: &str| {
        after_in_tailnet(|tailnet| tailnet.daemon = Some(Tailscaled { capability, version: version.into() }))
    };
    let status = |name: &str, value: serde_json::Value| {
        after_in_tailnet(|tailnet| {
            let mut all = json!({
                "TUN": true, "BackendState": "Running", "CurrentTailnet": {"Name": "example.com"},
                "Self": {"DNSName": "idp.tail.test.", "Online": true}, "CertDomains": ["idp.tail.test"],
            });
            all[name] = value;
            tailnet.status = serde_json::from_value(all).unwrap();
        })
    };
    let told = [
        after(|facts| facts.tailscaled = Err("tailscaled is not running".into())),
        version(131, "1.92.5"),
        version(138, "1.98.2-t01"),
        version(138, "1.98.9-t01"),
        status("BackendState", json!("NeedsLogin")),
        status("TUN", json!(false)),
        status("CertDomains", json!(null)),
        status("Self", json!({"DNSName": "idp.tail.test.", "Online": false})),
        status("Self", json!({"DNSName": "idp.tail.test.", "Online": true, "Expired": true})),
        after_in_tailnet(|tailnet| tailnet.prefs = serde_json::from_value(json!({"RunSSH": true})).unwrap()),
        after(|facts| {
            facts.config.listen.tailscale_ssh = TailscaleSsh::Trusted;
            facts.tailscaled.as_mut().unwrap().prefs =
                serde_json::from_value(json!({"RunSSH": true})).unwrap();
        }),
    ];
    insta::assert_snapshot!(told.join("\n--\n"), @r#"
    fail  tailscaled     tailscaled is not running
                         → its socket is named in [tailscale] socket
    --
    fail  tailscaled     tailscaled 1.92.5 is too old: 1.94 is needed at least, 1.102 is recommended; upgrade Tailscale
                         → upgrade Tailscale to 1.102 or newer
    --
    warn  tailscaled     version 1.98.2-t01 works, but a malformed path, by Funnel too, can make its serve spin
                         → upgrade Tailscale to 1.102 or newer
    --
    ok    tailscaled     version 1.98.9-t01
    --
    fail  tailnet        tailscaled is in the state NeedsLogin
                         → tailscale up
    --
    warn  network        userspace networking: peers reach every loopback port of this host
                         → let no program on this host trust connections from loopback
    --
    fail  certificate    the tailnet gives no certificate for idp.tail.test
                         → turn on HTTPS certificates (admin console, DNS)
    --
    warn  tailnet        up, but cut off from the control server: changes in the tailnet do not arrive
                         → look at the network of this host, and at `tailscale status`
    --
    fail  tailnet        the key of this node has expired
                         → tailscale up --force-reauth
    --
    fail  ssh            Tailscale SSH is on: whoever may forward through this host may be anybody
                         → run: tailscale set --ssh=false; or, if you trust all its users, set [listen] tailscale_ssh = "trusted"
    --
    warn  ssh            Tailscale SSH is on, and its users are trusted: each of them may sign in as anybody
                         → turn it off on this host if you can: tailscale set --ssh=false
    "#);
}

#[test]
fn what_is_wrong_with_names() {
    let renamed = |facts: &mut Facts| {
        let tailnet = facts.tailscaled.as_mut().unwrap();
        tailnet.status.self_node.dns_name = "idp-1.tail.test.".into();
        tailnet.status.cert_domains = vec!["idp-1.tail.test".into()];
    };
    let service =
        || ServiceListener { name: "svc:idp".parse().unwrap(), socket: "/run/tsidecar/svc.sock".into() };
    let told = [
        after(renamed),
        after(|facts| {
            renamed(facts);
            facts.config.issuer = Some(tsidecar_oauth::uri::Issuer::parse("https://idp.tail.test").unwrap());
        }),
        after(|facts| {
            renamed(facts);
            facts.config.listen.services.push(service());
        }),
        after(|facts| {
            renamed(facts);
            let socket = "/run/tsidecar/proxy.sock".into();
            facts.config.listen.proxies.push(crate::config::ProxyListener { socket, uid: 998 });
        }),
        after(|facts| {
            facts.daemon.as_mut().unwrap().issuer = "http://127.0.0.1:8411".into();
        }),
        after(|facts| {
            facts.daemon = Err(CommandError::Timeout);
            facts.tailscaled.as_mut().unwrap().status.self_node.dns_name = String::new();
        }),
    ];
    insta::assert_snapshot!(told.join("\n--\n"), @r#"
    fail  issuer         the issuer stays https://idp.tail.test, but this node is called idp-1.tail.test now
                         → give the node its name back; or set issuer = "https://idp-1.tail.test" and tell every application
    fail  certificate    the tailnet gives no certificate for idp.tail.test
                         → turn on HTTPS certificates (admin console, DNS)
    --
    fail  issuer         the issuer is https://idp.tail.test, but this node is called idp-1.tail.test: nobody gets here by that name
                         → set issuer = "https://idp-1.tail.test", or add the [[listen.proxy]] that serves idp.tail.test
    fail  certificate    the tailnet gives no certificate for idp.tail.test
                         → turn on HTTPS certificates (admin console, DNS)
    --
    ok    issuer         https://idp.tail.test is the name of the Tailscale Service svc:idp
    skip  certificate    idp.tail.test is not served by this node itself
    skip  serve          idp.tail.test is not served by this node itself
    fail  service        svc:idp does not lead to unix:/run/tsidecar/svc.sock
                         → run: tailscale serve --bg --service=svc:idp --https=443 unix:/run/tsidecar/svc.sock
    --
    ok    issuer         https://idp.tail.test, served by your own reverse proxy
    skip  certificate    idp.tail.test is not served by this node itself
    skip  serve          idp.tail.test is not served by this node itself
    --
    ok    issuer         http://127.0.0.1:8411 is for this machine alone, as in demonstrations and tests
    skip  certificate    127.0.0.1 is not served by this node itself
    skip  serve          127.0.0.1 is not served by this node itself
    --
    fail  daemon         tsidecar did not answer within 40 s
                         → look at: journalctl -u tsidecar
    fail  issuer         this node has no DNS name, so there is no issuer
                         → turn on MagicDNS (admin console, DNS), or set issuer in the configuration
    "#);
}

fn unreadable(kind: std::io::ErrorKind) -> crate::config::ConfigError {
    crate::config::ConfigError::Read { path: "/etc/tsidecar/tsidecar.toml".into(), error: kind.into() }
}

#[test]
fn what_is_wrong_on_this_host() {
    let seen = |change: fn(&mut Seen)| {
        after(|facts| {
            if let Look::Seen(seen) = &mut facts.state {
                change(seen);
            }
        })
    };
    let told = [
        after(|facts| facts.config_error = Some(unreadable(std::io::ErrorKind::NotFound))),
        after(|facts| facts.config_error = Some(unreadable(std::io::ErrorKind::PermissionDenied))),
        after(|facts| facts.file_mode = Some(0o666)),
        after(|facts| facts.config.warnings = vec!["one".into(), "two".into()]),
        after(|facts| facts.state = Look::Absent),
        after(|facts| facts.state = Look::Denied),
        seen(|seen| {
            seen.problems = vec![StateError::Missing { what: "db", dir: "/var/lib/tsidecar".into() }];
        }),
        seen(|seen| seen.newest = UnixTime::from_secs(1_800_009_000)),
        seen(|seen| seen.keys = vec![key(1_792_000_000)]),
        after(|facts| facts.now = UnixTime::from_secs(1_000_000_000)),
        after(|facts| facts.daemon = Err(CommandError::Denied { socket: "/run/tsidecar/admin.sock".into() })),
        after(|facts| facts.daemon = Err(CommandError::Timeout)),
        after(|facts| {
            let status = facts.daemon.as_mut().unwrap();
            (status.ready, status.reason) = (false, Some("going down".into()));
        }),
        after(|facts| facts.sockets = vec![("/run/tsidecar/serve.sock".into(), Some(false))]),
        after(|facts| facts.sockets = vec![("/run/tsidecar/serve.sock".into(), None)]),
    ];
    insta::assert_snapshot!(told.join("\n--\n"), @"
    fail  configuration  /etc/tsidecar/tsidecar.toml: cannot be read: entity not found
                         → correct it; `tsidecar check-config` says the same without the rest
    --
    skip  configuration  /etc/tsidecar/tsidecar.toml is not yours to read, so defaults are assumed; run this as root
    --
    fail  configuration  /etc/tsidecar/tsidecar.toml can be changed by everybody on this host
                         → chmod o-w /etc/tsidecar/tsidecar.toml
    --
    warn  configuration  one (and 1 more: `tsidecar check-config`)
                         → look at it; it works as it is
    --
    ok    state          /var/lib/tsidecar is not there yet; the first start makes it
    skip  keys           there are none to look at
    --
    skip  state          /var/lib/tsidecar is not yours to look at; run this as root
    skip  keys           there are none to look at
    --
    fail  state          db is missing in /var/lib/tsidecar, which was in use before; nothing is replaced silently: restore it from a backup, or move the whole folder away to start anew (all logins and tokens end, and relying parties must fetch new keys)
                         → the daemon does not start before this is done
    --
    fail  clock          the clock is 8995 s behind the newest file of the state folder
                         → set the clock, and keep it right (`timedatectl set-ntp true`); tokens carry times that others check
    --
    warn  keys           the sealing key 00c0ffee is in use for 92 days: it is not rotated
                         → the running daemon rotates keys; look at: journalctl -u tsidecar
    --
    warn  keys           the sealing key 00c0ffee came into use at a time that is yet to come
                         → if the clock is right now: tsidecar keys rotate
    fail  clock          the clock shows a time before 2026
                         → set the clock, and keep it right (`timedatectl set-ntp true`); tokens carry times that others check
    --
    skip  daemon         only root may ask the daemon; run this as root
    --
    fail  daemon         tsidecar did not answer within 40 s
                         → look at: journalctl -u tsidecar
    --
    fail  daemon         tsidecar is running, but not ready: going down
                         → see the checks below
    --
    fail  sockets        /run/tsidecar/serve.sock is not there, or is no socket
                         → start tsidecar; if it runs, restart it
    --
    skip  sockets        they are not yours to look at; run this as root
    ");
}

#[test]
fn which_rules_arrive_for_a_peer() {
    let peer = |cap_map: serde_json::Value| {
        after(|facts| {
            let whois = json!({
                "Node": {"ID": 5, "StableID": "nA", "Name": "laptop.tail.test."},
                "UserProfile": {"ID": 7, "LoginName": "alice@example.com"},
                "CapMap": cap_map,
            });
            facts.peer = Some(([100, 64, 0, 2].into(), Ok(Some(serde_json::from_value(whois).unwrap()))));
        })
    };
    let told = [
        peer(json!({"tailscale.com/cap/tsidp": [{"groups": ["ops"]}, {}]})),
        peer(json!({"tailscale.com/cap/tsidp": [{"extraClaims": {"sub": "x"}}]})),
        peer(json!(null)),
        after(|facts| facts.peer = Some(([100, 64, 0, 9].into(), Ok(None)))),
        after(|facts| facts.peer = Some(([100, 64, 0, 9].into(), Err("tailscaled is not running".into())))),
    ];
    insta::assert_snapshot!(told.join("\n--\n"), @r#"
    ok    capability     2 rules of tailscale.com/cap/tsidp for alice@example.com
    --
    warn  capability     for alice@example.com a part of the rules is left out: claim "sub" cannot be set by a rule
                         → correct the grant of tailscale.com/cap/tsidp in the tailnet policy file
    --
    ok    capability     no rule of tailscale.com/cap/tsidp arrives for alice@example.com; fine, unless you expect groups or claims of it
    --
    fail  capability     nobody in the tailnet has the address 100.64.0.9
                         → take one from `tailscale status`
    --
    fail  capability     tailscaled is not running
                         → look at `tailscale status`
    "#);
}

#[tokio::test]
async fn a_host_with_nothing_is_told_everything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tsidecar.toml");
    let dir = folder.path().display();
    let text = format!(
        "[tailscale]\nsocket = \"{dir}/ts.sock\"\n[listen]\nsocket = \"{dir}/s\"\nadmin_socket = \"{dir}/a\"\nops_socket = \"{dir}/o\"\n[state]\ndir = \"{dir}/state\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = run(&file, &Options { peer: None }).await.unwrap();
    assert_eq!(output.exit, Exit::Failed);
    assert_eq!(output.json["ok"], false);
    insta::assert_snapshot!(output.text.replace(&dir.to_string(), "/x"), @"
    ok    configuration  /x/tsidecar.toml is valid; it has 0 clients
    ok    state          /x/state is not there yet; the first start makes it
    skip  keys           there are none to look at
    fail  daemon         tsidecar does not answer on /x/a: No such file or directory (os error 2); is it running? (`systemctl status tsidecar`)
                         → systemctl start tsidecar
    fail  sockets        /x/s is not there, or is no socket
                         → start tsidecar; if it runs, restart it
    ok    clock          plausible, and not behind anything that was written
    fail  tailscaled     tailscaled does not run: nothing answers on /x/ts.sock (No such file or directory (os error 2)); start it (`systemctl start tailscaled`) or correct the socket path
                         → its socket is named in [tailscale] socket

    3 checks failed.
    ");
}
