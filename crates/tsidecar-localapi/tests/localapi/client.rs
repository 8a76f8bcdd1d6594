//! Requests as they are sent, answers as they are understood, and every way to fail.

use std::{io, net::IpAddr, os::unix::net::UnixListener as StdListener, time::Duration};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tsidecar_localapi::{
    BackendState, Client, Daemon as Seen, Destination, Endpoint, Error, Limits, Place, Prefs, ServeConfig,
    Stage, TargetKind, Unreadable, UserId,
};

use crate::daemon::{Daemon, Reply, act, raw, read_head, write_answer};

pub(crate) const WHOIS: &str = r#"{"Node":{"ID":2,"StableID":"n2"},"UserProfile":{"ID":3301},"CapMap":null}"#;

pub(crate) fn peer() -> IpAddr {
    "100.64.0.2".parse().unwrap()
}

/// With a deadline that a test can wait for.
fn hasty(client: Client) -> Client {
    client.with_limits(Limits { answer: Duration::from_millis(60), ..Limits::default() })
}

/// With a bound of 1,000 bytes on everything.
fn narrow(client: Client) -> Client {
    let limits = Limits { whois_bytes: 1000, status_bytes: 1000, config_bytes: 1000, ..Limits::default() };
    client.with_limits(limits)
}

#[test]
fn client_is_shared_between_tasks() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Client>();
    shared::<tsidecar_localapi::WhoisCache>();
    shared::<Error>();
}

#[tokio::test]
async fn requests_carry_the_host_that_tailscaled_wants_and_nothing_else() {
    let daemon =
        Daemon::start(|seen| if seen.path.contains("whois") { Reply::ok(WHOIS) } else { Reply::ok("{}") });
    let client = daemon.client();
    let service = "svc:login".parse().unwrap();
    client.whois(peer(), Destination::Host).await.unwrap();
    client.whois("::ffff:100.64.0.2".parse().unwrap(), Destination::Host).await.unwrap();
    client.whois("fd7a:115c:a1e0::2".parse().unwrap(), Destination::Service(&service)).await.unwrap();
    client.whois(peer(), Destination::Address("fd7a:115c:a1e0::77".parse().unwrap())).await.unwrap();
    client.status().await.unwrap();
    client.prefs().await.unwrap();
    client.serve_config().await.unwrap();
    let paths = daemon.paths();
    let expected = [
        "/localapi/v0/whois?addr=100.64.0.2",
        "/localapi/v0/whois?addr=100.64.0.2",
        "/localapi/v0/whois?addr=fd7a:115c:a1e0::2&svc_name=svc:login",
        "/localapi/v0/whois?addr=100.64.0.2&dst_ip=fd7a:115c:a1e0::77",
        "/localapi/v0/status?peers=false",
        "/localapi/v0/prefs",
        "/localapi/v0/serve-config",
    ];
    assert_eq!(paths, expected);
    for seen in daemon.seen() {
        assert_eq!(seen.headers, [("host".to_owned(), "local-tailscaled.sock".to_owned())]);
    }
}

#[tokio::test]
async fn whois_tells_somebody_from_nobody() {
    let daemon = Daemon::start(|seen| match seen.path.as_str() {
        "/localapi/v0/whois?addr=100.64.0.2" => Reply::ok(WHOIS),
        _ => Reply::status(404, "no match for IP:port\n"),
    });
    let client = daemon.client();
    let whois = client.whois(peer(), Destination::Host).await.unwrap().unwrap();
    assert_eq!(whois.user_profile.id, UserId(3301));
    assert_eq!(client.whois("100.64.0.3".parse().unwrap(), Destination::Host).await.unwrap(), None);
}

#[tokio::test]
async fn daemon_is_known_from_its_answers() {
    let daemon = Daemon::start(|_| Reply::status(500, "x"));
    let client = daemon.client();
    assert_eq!(client.daemon(), None);
    client.status().await.unwrap_err();
    assert_eq!(client.daemon(), Some(Seen { capability: 142, version: "1.102.3-test".into() }));
    assert_eq!(client.clone().daemon(), client.daemon());
    assert_eq!(client.socket(), daemon.socket());
}

#[tokio::test]
async fn daemon_pid_is_the_process_that_answers() {
    let daemon = Daemon::start(|_| Reply::ok("{}"));
    let pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(daemon.client().daemon_pid().await.unwrap(), Some(pid));
}

#[tokio::test]
async fn status_is_read() {
    let daemon = Daemon::start(|_| {
        Reply::ok(
            r#"{"Version":"1.102.3","TUN":true,"BackendState":"Running","TailscaleIPs":["100.64.0.1","fd7a:115c:a1e0::1"],
            "Self":{"ID":"n1","NodeID":9007199254740993,"DNSName":"idp.tail1234.ts.net.","UserID":3301,"Tags":null,"Online":true,
              "KeyExpiry":"2026-12-01T00:00:00Z","HostName":"idp","CapMap":{"https":null}},
            "CurrentTailnet":{"Name":"example.com","MagicDNSSuffix":"tail1234.ts.net","MagicDNSEnabled":true},
            "CertDomains":["idp.tail1234.ts.net"],"Health":["something"],"Peer":null,"User":{"3301":{"ID":3301}}}"#,
        )
    });
    let status = daemon.client().status().await.unwrap();
    assert_eq!((status.version.as_str(), status.tun), ("1.102.3", true));
    assert_eq!(status.backend_state, BackendState::Running);
    assert_eq!(
        status.tailscale_ips,
        ["100.64.0.1", "fd7a:115c:a1e0::1"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    let self_node = &status.self_node;
    assert_eq!((self_node.id.as_str(), self_node.node_id.0), ("n1", 9_007_199_254_740_993));
    assert_eq!((self_node.dns_name.as_str(), self_node.host_name.as_str()), ("idp.tail1234.ts.net.", "idp"));
    assert_eq!((self_node.user_id, self_node.online, self_node.tags.len()), (UserId(3301), true, 0));
    assert_eq!(self_node.key_expiry.as_deref(), Some("2026-12-01T00:00:00Z"));
    let tailnet = status.current_tailnet.unwrap();
    assert_eq!(
        (tailnet.name.as_str(), tailnet.magic_dns_suffix.as_str()),
        ("example.com", "tail1234.ts.net")
    );
    assert!(tailnet.magic_dns_enabled);
    assert_eq!(
        (status.cert_domains, status.health),
        (vec!["idp.tail1234.ts.net".into()], vec!["something".into()])
    );
}

#[tokio::test]
async fn a_daemon_that_is_logged_out_is_read() {
    let daemon = Daemon::start(|seen| match seen.path.as_str() {
        "/localapi/v0/serve-config" => Reply::ok("null\n"),
        "/localapi/v0/prefs" => {
            Reply::ok(r#"{"RunSSH":null,"OperatorUser":"","WantRunning":false,"Egg":true}"#)
        }
        _ => Reply::ok(
            r#"{"BackendState":"NeedsLogin","TailscaleIPs":null,"Self":null,"CurrentTailnet":null,"Health":null}"#,
        ),
    });
    let client = daemon.client();
    let status = client.status().await.unwrap();
    assert_eq!((status.backend_state, status.current_tailnet), (BackendState::NeedsLogin, None));
    assert_eq!(client.prefs().await.unwrap(), Prefs::default());
    assert!(client.serve_config().await.unwrap().is_empty());
}

#[tokio::test]
async fn prefs_are_read() {
    let daemon = Daemon::start(|_| {
        Reply::ok(
            r#"{"ControlURL":"https://controlplane.tailscale.com","RunSSH":true,"WantRunning":true,"LoggedOut":true,
            "ShieldsUp":true,"AdvertiseTags":["tag:idp"],"Hostname":"idp","OperatorUser":"alice","AppConnector":{"Advertise":false}}"#,
        )
    });
    let expected = Prefs {
        run_ssh: true,
        operator_user: "alice".into(),
        hostname: "idp".into(),
        want_running: true,
        logged_out: true,
        shields_up: true,
        advertise_tags: vec!["tag:idp".into()],
        control_url: "https://controlplane.tailscale.com".into(),
    };
    assert_eq!(daemon.client().prefs().await.unwrap(), expected);
}

#[test]
fn every_target_of_a_serve_config_is_found() {
    let config: ServeConfig = serde_json::from_str(
        r#"{"TCP":{"22":{"TCPForward":"127.0.0.1:22"},"443":{"HTTPS":true},"80":null},
        "Web":{"idp.ts.net:443":{"Handlers":{"/":{"Proxy":"unix:/run/a.sock","AcceptAppCaps":["x/y"]},"/t":{"Text":"t"},"/n":null}},"n:1":null},
        "AllowFunnel":{"idp.ts.net:443":true},
        "Services":{"svc:login":{"TCP":{"9":{"TCPForward":"unix:/run/b.sock","TerminateTLS":"login.ts.net","ProxyProtocol":2}},
            "Web":{"login.ts.net:443":{"Handlers":{"/":{"Redirect":"https://x"}}}},"Tun":true}},
        "Foreground":{"s1":{"TCP":{"7":{"TCPForward":"127.0.0.1:7"}},"Web":null,
            "Services":{"svc:f":{"TCP":{"8":{"TCPForward":"127.0.0.1:8"}}}},
            "Foreground":{"s2":{"Web":{"h:1":{"Handlers":{"/":{"Path":"/srv"}}}}}}}},"ETag":"x"}"#,
    )
    .unwrap();
    let found: Vec<(Option<&str>, Option<&str>, String)> = config
        .targets()
        .map(|target| {
            let Place { session, service } = target.place;
            let text = match target.kind {
                TargetKind::TcpForward { port, handler } => format!("{port}>{}", handler.tcp_forward),
                TargetKind::Web { host_port, mount, handler } => format!(
                    "{host_port}{mount}>{}{}{}{}",
                    handler.proxy, handler.path, handler.text, handler.redirect
                ),
            };
            (session, service, text)
        })
        .collect();
    let expected = [
        (None, None, "22>127.0.0.1:22"),
        (None, None, "idp.ts.net:443/>unix:/run/a.sock"),
        (None, None, "idp.ts.net:443/n>"),
        (None, None, "idp.ts.net:443/t>t"),
        (None, Some("svc:login"), "9>unix:/run/b.sock"),
        (None, Some("svc:login"), "login.ts.net:443/>https://x"),
        (Some("s1"), None, "7>127.0.0.1:7"),
        (Some("s1"), Some("svc:f"), "8>127.0.0.1:8"),
        (Some("s2"), None, "h:1/>/srv"),
    ];
    assert_eq!(found, expected.map(|(session, service, text)| (session, service, text.to_owned())));
    assert!(
        config.tcp[&443].https && config.allow_funnel["idp.ts.net:443"] && config.services["svc:login"].tun
    );
    assert_eq!(config.services["svc:login"].tcp[&9].terminate_tls, "login.ts.net");
    assert!(serde_json::from_str::<ServeConfig>(r#"{"TCP":{"70000":{}}}"#).is_err());
}

#[tokio::test]
async fn nothing_on_the_socket_is_not_running() {
    let folder = TempDir::new().unwrap();
    let stale = folder.path().join("stale.sock");
    drop(StdListener::bind(&stale).unwrap());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let long = folder.path().join("x".repeat(120));
    for socket in
        [folder.path().join("absent.sock"), stale, file.clone(), file.join("below"), "".into(), long]
    {
        let client = Client::new(&socket);
        for error in [
            client.status().await.unwrap_err(),
            client.whois(peer(), Destination::Host).await.unwrap_err(),
            client.daemon_pid().await.unwrap_err(),
            client.watch(tsidecar_localapi::WatchMask::CHANGES).await.err().unwrap(),
        ] {
            assert!(
                matches!(&error, Error::NotRunning { socket: named, .. } if *named == socket),
                "{error:?}"
            );
            assert!(error.to_string().contains("start it"), "{error}");
        }
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let daemon = Daemon::start(|seen| match seen.path.as_str() {
        "/localapi/v0/prefs" => Reply::status(403, "access denied\n"),
        "/localapi/v0/serve-config" => Reply::status(404, "404 page not found"),
        "/localapi/v0/status?peers=false" => Reply::status(503, "backend\nnot ready\u{1b}[31m"),
        _ => Reply::status(401, &"x".repeat(9000)),
    });
    let client = daemon.client();
    let error = client.prefs().await.unwrap_err();
    assert!(
        matches!(&error, Error::Denied { endpoint: Endpoint::Prefs, message } if message == "access denied"),
        "{error:?}"
    );
    let error = client.serve_config().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { endpoint: Endpoint::ServeConfig }), "{error:?}");
    let error = client.status().await.unwrap_err();
    assert!(
        matches!(&error, Error::Status { code: 503, message, .. } if message == "backend not ready [31m"),
        "{error:?}"
    );
    let error = client.whois(peer(), Destination::Host).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { message, .. } if message.len() <= 200), "{error:?}");
}

#[tokio::test]
async fn answers_have_a_bound() {
    let at_most =
        |extra: usize| move |_: &_| Reply::ok(format!("{WHOIS}{}", " ".repeat(1000 - WHOIS.len() + extra)));
    let daemon = Daemon::start(at_most(0));
    assert!(narrow(daemon.client()).whois(peer(), Destination::Host).await.unwrap().is_some());
    let daemon = Daemon::start(at_most(1));
    let client = narrow(daemon.client());
    for error in [
        client.whois(peer(), Destination::Host).await.unwrap_err(),
        client.status().await.unwrap_err(),
        client.prefs().await.unwrap_err(),
        client.serve_config().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::TooLarge { limit: 1000, .. }), "{error:?}");
    }
    assert!(daemon.client().whois(peer(), Destination::Host).await.unwrap().is_some());
}

#[tokio::test]
async fn answers_without_a_length_have_a_bound_too() {
    let folder = TempDir::new().unwrap();
    let endless = act(async |mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        while stream
            .write_all(
                b"64\r\n".iter().chain(&[b' '; 100]).chain(b"\r\n").copied().collect::<Vec<_>>().as_slice(),
            )
            .await
            .is_ok()
        {}
    });
    let client = Client::new(raw(folder.path(), vec![endless]));
    let error = client.whois(peer(), Destination::Host).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { endpoint: Endpoint::WhoIs, limit: 262_144 }), "{error:?}");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_malformed() {
    for body in ["", "{", "null", "[]", r#"{"Node":null,"UserProfile":{}}"#, "<html>"] {
        let daemon = Daemon::start(move |_| Reply::ok(body));
        let error = daemon.client().whois(peer(), Destination::Host).await.unwrap_err();
        let json = Endpoint::WhoIs;
        assert!(
            matches!(&error, Error::Malformed { endpoint, source: Unreadable::Json(_) } if *endpoint == json),
            "{body}: {error:?}"
        );
    }
    let folder = TempDir::new().unwrap();
    let banner = act(async |mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        read_head(&mut stream).await;
    });
    let client = Client::new(raw(folder.path(), vec![banner]));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, Error::Malformed { source: Unreadable::Http(_), .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let daemon = Daemon::start_closed(|_| Reply::ok(WHOIS));
    let client = hasty(daemon.client());
    for error in [
        client.whois(peer(), Destination::Host).await.unwrap_err(),
        client.status().await.unwrap_err(),
        client.watch(tsidecar_localapi::WatchMask::CHANGES).await.err().unwrap(),
    ] {
        let limit = Duration::from_millis(60);
        assert!(
            matches!(&error, Error::Timeout { stage: Stage::Answer, limit: l, .. } if *l == limit),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_a_timeout() {
    let folder = TempDir::new().unwrap();
    let stall = act(async |mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{").await.unwrap();
        read_head(&mut stream).await;
    });
    let client = hasty(Client::new(raw(folder.path(), vec![stall])));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { stage: Stage::Answer, .. }), "{error:?}");
}

/// A listener that accepts nobody and whose queue is full.
fn full_queue(folder: &TempDir) -> (std::path::PathBuf, StdListener, Vec<rustix::fd::OwnedFd>) {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };
    let socket =
        || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let path = folder.path().join("full.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    let listener = socket();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let next = socket();
        match connect(&next, &address) {
            Ok(()) => waiting.push(next),
            Err(error) if error == rustix::io::Errno::AGAIN => {
                return (path, StdListener::from(listener), waiting);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_full_queue_is_a_timeout_of_its_own() {
    let folder = TempDir::new().unwrap();
    let (path, _listener, _waiting) = full_queue(&folder);
    let limits =
        Limits { connect: Duration::from_millis(20), answer: Duration::from_mins(1), ..Limits::default() };
    let client = Client::new(path).with_limits(limits);
    for error in [client.status().await.unwrap_err(), client.daemon_pid().await.unwrap_err()] {
        assert!(matches!(error, Error::Timeout { stage: Stage::Connect, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_queue_that_drains_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let (path, listener, waiting) = full_queue(&folder);
    let client = Client::new(path);
    let mut asked = Box::pin(client.status());
    std::future::poll_fn(|context| {
        assert!(asked.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    let drain = async {
        for _ in &waiting {
            listener.accept().unwrap();
        }
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        write_answer(&mut stream, r#"{"Version":"late"}"#).await;
        stream
    };
    let (status, _stream) = tokio::join!(asked, drain);
    assert_eq!(status.unwrap().version, "late");
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_told() {
    let folder = TempDir::new().unwrap();
    let cut = act(async |mut stream| {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{").await.unwrap();
    });
    let client = Client::new(raw(folder.path(), vec![cut]));
    let error = client.status().await.unwrap_err();
    assert!(matches!(&error, Error::Io { endpoint: Endpoint::Status, .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_dies_before_the_answer_is_replaced_once() {
    let folder = TempDir::new().unwrap();
    let once = act(async |mut stream| {
        read_head(&mut stream).await;
        write_answer(&mut stream, r#"{"Version":"first"}"#).await;
        // Kept alive until the second request is there, and then closed under it.
        assert!(read_head(&mut stream).await);
    });
    let again = act(async |mut stream| {
        assert!(read_head(&mut stream).await);
        write_answer(&mut stream, r#"{"Version":"second"}"#).await;
        read_head(&mut stream).await;
    });
    let client = Client::new(raw(folder.path(), vec![once, again]));
    assert_eq!(client.status().await.unwrap().version, "first");
    assert_eq!(client.status().await.unwrap().version, "second");
}

#[tokio::test]
async fn a_daemon_that_never_answers_is_asked_twice_at_most() {
    let folder = TempDir::new().unwrap();
    let (count, mut counted) = tokio::sync::mpsc::unbounded_channel();
    let hang_up = || {
        let count = count.clone();
        act(async move |mut stream| {
            assert!(read_head(&mut stream).await);
            count.send(()).unwrap();
        })
    };
    let client = Client::new(raw(folder.path(), vec![hang_up(), hang_up(), hang_up()]));
    let error = client.status().await.unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() != io::ErrorKind::WouldBlock),
        "{error:?}"
    );
    assert!(counted.try_recv().is_ok() && counted.try_recv().is_ok() && counted.try_recv().is_err());
}

#[tokio::test]
async fn connections_are_kept_and_a_restart_is_survived() {
    let mut daemon = Daemon::start(|_| Reply::ok(WHOIS));
    let client = daemon.client();
    for _ in 0..3 {
        client.whois(peer(), Destination::Host).await.unwrap().unwrap();
        daemon.kill().await;
        let error = client.whois(peer(), Destination::Host).await.unwrap_err();
        assert!(matches!(error, Error::NotRunning { .. }), "{error:?}");
        daemon.restart();
        client.whois(peer(), Destination::Host).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn destinations_are_asked_only_of_daemons_that_know_them() {
    let service = "svc:login".parse().unwrap();
    let address = Destination::Address("100.100.7.7".parse().unwrap());
    for (capability, found) in
        [(Some("138"), Some(138)), (Some("140"), Some(140)), (Some("x"), None), (None, None)]
    {
        let daemon = Daemon::start(move |_| Reply::ok("{}").capability(capability));
        let client = daemon.client();
        for destination in [Destination::Service(&service), address] {
            let error = client.whois(peer(), destination).await.unwrap_err();
            assert!(matches!(error, Error::TooOld { needed: 141, found: f } if f == found), "{error:?}");
        }
        assert_eq!(daemon.paths(), ["/localapi/v0/status?peers=false"; 2]);
    }
    let daemon = Daemon::start(|seen| {
        Reply::ok(if seen.path.contains("whois") { WHOIS } else { "{}" }).capability(Some("141"))
    });
    let client = daemon.client();
    for destination in [Destination::Service(&service), address] {
        client.whois(peer(), destination).await.unwrap().unwrap();
    }
    let expected = [
        "/localapi/v0/status?peers=false",
        "/localapi/v0/whois?addr=100.64.0.2&svc_name=svc:login",
        "/localapi/v0/whois?addr=100.64.0.2&dst_ip=100.100.7.7",
    ];
    assert_eq!(daemon.paths(), expected);
}

#[tokio::test]
async fn an_upgrade_is_noticed_and_a_downgrade_is_not_believed() {
    let number = std::sync::Arc::new(std::sync::Mutex::new("138"));
    let told = std::sync::Arc::clone(&number);
    let daemon = Daemon::start(move |seen| {
        Reply::ok(if seen.path.contains("whois") { WHOIS } else { "{}" })
            .capability(Some(*told.lock().unwrap()))
    });
    let client = daemon.client();
    let service = "svc:login".parse().unwrap();
    let destination = Destination::Service(&service);
    let error = client.whois(peer(), destination).await.unwrap_err();
    assert!(matches!(error, Error::TooOld { found: Some(138), .. }), "{error:?}");
    *number.lock().unwrap() = "142";
    assert!(client.whois(peer(), destination).await.unwrap().is_some());
    *number.lock().unwrap() = "138";
    let error = client.whois(peer(), destination).await.unwrap_err();
    assert!(matches!(error, Error::TooOld { found: Some(138), .. }), "{error:?}");
    assert!(client.whois(peer(), Destination::Host).await.unwrap().is_some());
}
