//! A15 and A53 of the attack list, line by line, against a TLS server in memory; and the real network on loopback.

use std::sync::{Arc, Mutex};

use rcgen::CertificateParams;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::testing::{Ca, Reply, World, answer, url, with_test_host};
use super::*;

const WANT: Want = Want { accept: "application/json", most_bytes: 1024 };

/// A caller of the tailnet.
const ALICE: Requester = Requester::Caller(Origin::Address(IpAddr::V4(Ipv4Addr::new(100, 64, 0, 2))));

fn hello() -> Reply {
    Reply::document("content-type: application/json\r\ncache-control: max-age=3600\r\n", "{}")
}

async fn get(outbound: &Outbound, text: &str, trust: Trust) -> Result<Fetched, FetchError> {
    outbound.get(&url(text), new(trust, Requester::Daemon), WANT).await
}

const fn new(trust: Trust, requester: Requester) -> Errand {
    Errand { trust, standing: Standing::New, requester }
}

/// Fetches from a network on which the name has these addresses; tells what came of it and what was dialled.
async fn from(addresses: &[&str], trust: Trust) -> (Result<Fetched, FetchError>, Vec<String>) {
    let ca = Ca::new();
    let world = Arc::new(World::new(&ca, hello()).answers(&[addresses]));
    let result = get(&world.outbound(&ca), "https://app.test/x", trust).await;
    (result, world.dialled())
}

#[tokio::test]
async fn a_document_is_fetched_and_the_request_says_nothing_more_than_it_must() {
    let ca = Ca::new();
    let world = Arc::new(World::new(&ca, hello()));
    let fetched = get(&world.outbound(&ca), "https://app.test/keys?v=1", Trust::Stranger).await.unwrap();
    assert_eq!((fetched.status, &fetched.body[..]), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(fetched.content_type(), Some("application/json"));
    assert_eq!(fetched.freshness(), Duration::from_hours(1));
    assert_eq!(world.dialled(), ["93.184.215.14:443"]);
    let request = world.requests.lock().unwrap().concat().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(request.replace('\r', ""), @r"
    GET /keys?v=1 HTTP/1.1
    host: app.test
    user-agent: tsidecar/VERSION
    accept-encoding: identity
    connection: close
    accept: application/json

    ");
}

#[tokio::test]
async fn a_form_is_posted_and_only_the_status_counts() {
    let ca = Ca::new();
    let reply = Reply::Says("HTTP/1.1 400 Bad Request\r\ncontent-length: 1000000\r\n\r\n".to_owned());
    let world = Arc::new(World::new(&ca, reply));
    let fields = [("logout_token", "a.b.c"), ("x", "1&2")];
    let outbound = world.outbound(&ca);
    let status =
        outbound.post_form(&url("https://app.test:8443/logout"), Trust::Administrator, &fields).await;
    assert_eq!(status.unwrap(), StatusCode::BAD_REQUEST);
    let request = world.requests.lock().unwrap().concat();
    assert!(request.starts_with("POST /logout HTTP/1.1\r\nhost: app.test:8443\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nlogout_token=a.b.c&x=1%262"), "{request}");
}

/// A15: 127/8, `::1`, 169.254, 100.64/10, `fd7a:115c:a1e0::/48`, RFC 1918, ULA, mapped IPv4; A53: NAT64, 6to4, Teredo, 0/8, 240/4,
/// multicast.
#[tokio::test]
async fn strangers_reach_no_address_but_global_ones() {
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "100.64.0.1",
        "100.100.100.100",
        "100.127.255.255",
        "fd7a:115c:a1e0::1",
        "fd7a:115c:a1e0::53",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "fc00::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:0:7f00:1::",
        "0.0.0.0",
        "0.0.0.1",
        "::",
        "240.0.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "192.0.2.1",
        "198.18.0.1",
        "2001:db8::1",
    ] {
        let (result, dialled) = from(&[address], Trust::Stranger).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, FetchError::Forbidden { why: Forbidden::Special(_), .. }),
            "{address}: {error}"
        );
        assert_eq!(dialled, [""; 0], "{address}");
    }
    for (address, dialled) in [
        ("8.8.8.8", "8.8.8.8:443"),
        ("::ffff:8.8.8.8", "8.8.8.8:443"),
        ("2606:4700::1111", "[2606:4700::1111]:443"),
        ("64:ff9b::808:808", "[64:ff9b::808:808]:443"),
    ] {
        let (result, found) = from(&[address], Trust::Stranger).await;
        assert_eq!((result.unwrap().status, found), (StatusCode::OK, vec![dialled.to_owned()]));
    }
}

#[tokio::test]
async fn an_administrator_reaches_tailnet_and_lan_but_neither_loopback_nor_link_local() {
    for address in
        ["100.64.0.1", "fd7a:115c:a1e0::1", "10.0.0.1", "192.168.1.1", "172.31.0.1", "fd00::1", "8.8.8.8"]
    {
        let (result, dialled) = from(&[address], Trust::Administrator).await;
        assert!(result.is_ok() && dialled.len() == 1, "{address}: {result:?}");
    }
    for address in [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::1",
        "100.100.100.100",
    ] {
        let (result, dialled) = from(&[address], Trust::Administrator).await;
        assert!(
            matches!(result, Err(FetchError::Forbidden { .. })) && dialled.is_empty(),
            "{address}: {result:?}"
        );
    }
}

/// A53: the host's own public address, and its own address of the tailnet. An administrator's application may stand beside the
/// daemon, and is reached there.
#[tokio::test]
async fn no_stranger_reaches_this_host() {
    let ca = Ca::new();
    let own = ["8.8.8.8".parse().unwrap(), "100.64.0.9".parse().unwrap(), "2606:4700::9".parse().unwrap()];
    for address in ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::9", "100.64.0.9"] {
        let world = || Arc::new(World::new(&ca, hello()).own(&own).answers(&[&[address]]));
        let stranger = world();
        let error = get(&stranger.outbound(&ca), "https://app.test/x", Trust::Stranger).await.unwrap_err();
        let tailnet = address == "100.64.0.9";
        let own = matches!(error, FetchError::Forbidden { why: Forbidden::Own, .. });
        assert!((own || tailnet) && stranger.dialled().is_empty(), "{address}: {error}");
        let administrator = world();
        // What answers there has no certificate for it, or has: it is dialled.
        let _ = get(&administrator.outbound(&ca), "https://app.test/x", Trust::Administrator).await;
        assert!(!administrator.dialled().is_empty(), "{address}");
    }
}

/// The same with the address in the URL: there is no name to resolve.
#[tokio::test]
async fn an_address_in_the_url_is_judged_too() {
    let ca = Ca::new();
    let world = Arc::new(World::new(&ca, hello()));
    let outbound = world.outbound(&ca);
    for text in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
    ] {
        let error = get(&outbound, text, Trust::Stranger).await.unwrap_err();
        assert!(matches!(error, FetchError::Forbidden { .. }), "{text}: {error}");
    }
    assert!(world.dialled().is_empty() && world.asked.lock().unwrap().is_empty());
}

/// A15: DNS rebinding. A name is resolved once, and the checked address is the dialled one.
#[tokio::test]
async fn a_name_cannot_change_between_the_check_and_the_dialling() {
    let ca = Ca::new();
    let world = Arc::new(World::new(&ca, hello()).answers(&[&["8.8.8.8"], &["127.0.0.1"], &["8.8.4.4"]]));
    let outbound = world.outbound(&ca);
    assert!(get(&outbound, "https://app.test/x", Trust::Stranger).await.is_ok());
    assert_eq!(world.dialled(), ["8.8.8.8:443"], "the second answer was never asked for");
    let second = get(&outbound, "https://app.test/x", Trust::Stranger).await.unwrap_err();
    assert!(matches!(second, FetchError::Forbidden { .. }), "{second}");
    assert!(get(&outbound, "https://app.test/x", Trust::Stranger).await.is_ok());
    assert_eq!(world.dialled(), ["8.8.8.8:443", "8.8.4.4:443"]);
    assert_eq!(world.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_permitted_addresses_are_dialled() {
    let (result, dialled) = from(&["127.0.0.1", "10.0.0.1", "8.8.8.8", "::1"], Trust::Stranger).await;
    assert!(result.is_ok());
    assert_eq!(dialled, ["8.8.8.8:443"]);
}

#[tokio::test]
async fn the_next_address_is_tried_but_not_all_of_a_hundred() {
    let ca = Ca::new();
    let many: Vec<String> = (1..=100).map(|last| format!("8.8.8.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let world = World::new(&ca, hello()).answers(&[&many]).replies([Reply::Refuses, hello()]);
    let world = Arc::new(world);
    assert!(get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await.is_ok());
    assert_eq!(world.dialled(), ["8.8.8.1:443", "8.8.8.2:443"]);
    let world = Arc::new(World::new(&ca, Reply::Refuses).answers(&[&many]));
    let error = get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    assert_eq!(world.dialled().len(), MOST_ADDRESSES);
}

/// A15: redirects, and a chain of 30 of them.
#[tokio::test]
async fn no_redirect_is_followed() {
    let ca = Ca::new();
    for location in
        ["https://app.test/next", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"]
    {
        for status in ["301", "302", "303", "307", "308"] {
            let says =
                format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 5\r\n\r\nhello");
            let world = Arc::new(World::new(&ca, Reply::Says(says)));
            let fetched = get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await.unwrap();
            assert_eq!((fetched.status.as_str(), fetched.body.len()), (status, 0));
            assert_eq!((world.dialled().len(), world.asked.lock().unwrap().len()), (1, 1), "{location}");
        }
    }
}

/// A15: port scans.
#[tokio::test]
async fn strangers_have_one_port() {
    let ca = Ca::new();
    let world = Arc::new(World::new(&ca, hello()));
    let outbound = world.outbound(&ca);
    for port in [1, 22, 80, 444, 6379, 8443, 65535] {
        let error = get(&outbound, &format!("https://app.test:{port}/x"), Trust::Stranger).await.unwrap_err();
        assert!(matches!(error, FetchError::Port(found) if found == port), "{error}");
    }
    assert!(world.dialled().is_empty() && world.asked.lock().unwrap().is_empty());
    assert!(get(&outbound, "https://app.test:8443/x", Trust::Administrator).await.is_ok());
    assert_eq!(world.dialled(), ["93.184.215.14:8443"]);
}

/// A15: slow body; and a slow head, a silent host, one that does not even say hello. The clock of the test jumps.
#[tokio::test(start_paused = true)]
async fn a_slow_host_is_left_after_five_seconds() {
    let ca = Ca::new();
    for reply in [
        Reply::Drips("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_owned()),
        Reply::Drips("HTTP/1.1 200 OK\r\nx: ".to_owned()),
        Reply::Drips("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx: ".to_owned()),
        Reply::Drips("HTTP/1.1 200".to_owned()),
        Reply::Silent,
    ] {
        let world = Arc::new(World::new(&ca, reply));
        let outbound = world.outbound(&ca);
        let began = Instant::now();
        let error = get(&outbound, "https://app.test/x", Trust::Stranger).await.unwrap_err();
        assert!(matches!(error, FetchError::Late(_)), "{error}");
        assert!(began.elapsed() <= TIMES.total + Duration::from_millis(2), "{:?}", began.elapsed());
    }
}

/// Strangers' hosts that hang keep only strangers waiting.
#[tokio::test(start_paused = true)]
async fn hanging_hosts_of_strangers_do_not_stand_in_the_way_of_others() {
    let ca = Ca::new();
    let world =
        Arc::new(World::new(&ca, hello()).replies(vec![Reply::Silent; AT_ONCE].into_iter().chain([hello()])));
    let outbound = Arc::new(world.outbound(&ca));
    let hanging: Vec<_> = (0..AT_ONCE + 3)
        .map(|index| {
            let outbound = Arc::clone(&outbound);
            // Each its own host and network, as somebody with a wildcard domain would do it.
            world.answers.lock().unwrap().push_front(vec![[8, 8, u8::try_from(index).unwrap(), 8].into()]);
            tokio::spawn(
                async move { get(&outbound, &format!("https://a{index}.test/x"), Trust::Stranger).await },
            )
        })
        .collect();
    while world.dialled().len() < AT_ONCE {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    assert!(get(&outbound, "https://app.test/x", Trust::Administrator).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
    for fetch in hanging {
        assert!(matches!(fetch.await.unwrap(), Err(FetchError::Late(_) | FetchError::Tls { .. })));
    }
}

/// A15: huge body, by its length or without end; a huge head.
#[tokio::test]
async fn nothing_larger_than_asked_is_read() {
    let ca = Ca::new();
    let fetch = async |reply| {
        let world = Arc::new(World::new(&ca, reply));
        get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await
    };
    assert_eq!(fetch(Reply::document("", &"x".repeat(1024))).await.unwrap().body.len(), 1024);
    for reply in [
        Reply::document("", &"x".repeat(1025)),
        Reply::Floods("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()),
        Reply::Floods("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned()),
    ] {
        let error = fetch(reply).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge(1024)), "{error}");
    }
    let many = "x: y\r\n".repeat(1000);
    for head in [format!("x: {}\r\n", "y".repeat(100_000)), many] {
        let error = fetch(Reply::document(&head, "{}")).await.unwrap_err();
        assert!(matches!(error, FetchError::Http(_)), "{error}");
    }
}

/// A15: gzip bomb.
#[tokio::test]
async fn nothing_is_unpacked() {
    let ca = Ca::new();
    for encoding in ["gzip", "deflate", "br", "identity, gzip", "x"] {
        let world =
            Arc::new(World::new(&ca, Reply::document(&format!("content-encoding: {encoding}\r\n"), "bomb")));
        let error = get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await.unwrap_err();
        assert!(matches!(error, FetchError::Compressed), "{error}");
    }
    let plain = World::new(&ca, Reply::document("content-encoding: Identity\r\n", "{}"));
    assert!(get(&Arc::new(plain).outbound(&ca), "https://app.test/x", Trust::Stranger).await.is_ok());
}

#[tokio::test]
async fn a_document_that_breaks_off_is_none() {
    let ca = Ca::new();
    for says in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
        "SSH-2.0-OpenSSH_9.9\r\n",
    ] {
        let world = Arc::new(World::new(&ca, Reply::Says(says.to_owned())));
        let error = get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await.unwrap_err();
        assert!(matches!(error, FetchError::Http(_)), "{says}: {error}");
    }
}

/// No certificate, no document, in both trusts: another's authority, another name, out of date, no TLS.
#[tokio::test]
async fn a_host_must_prove_who_it_is() {
    let ca = Ca::new();
    let mut old = CertificateParams::new(vec!["app.test".to_owned()]).unwrap();
    old.not_after = rcgen::date_time_ymd(2026, 1, 1);
    for (acceptor, why) in [
        (Ca::new().acceptor("app.test"), "UnknownIssuer"),
        (ca.acceptor("other.test"), "not valid for name \"app.test\""),
        (ca.acceptor_of(&old), "expired"),
    ] {
        for trust in [Trust::Stranger, Trust::Administrator] {
            let world = Arc::new(World::new(&ca, hello()).acceptor(acceptor.clone()));
            let error = get(&world.outbound(&ca), "https://app.test/x", trust).await.unwrap_err();
            assert!(matches!(error, FetchError::Tls { .. }) && error.to_string().contains(why), "{error}");
            assert!(world.requests.lock().unwrap().is_empty(), "nothing was said to it");
        }
    }
    let world = Arc::new(World::new(&ca, Reply::Plain));
    let error = get(&world.outbound(&ca), "https://app.test/x", Trust::Stranger).await.unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }), "{error}");
}

/// Limited per device and per host, before anything is looked up.
#[tokio::test]
async fn whoever_fetches_too_much_is_stopped_before_the_network() {
    let ca = Ca::new();
    let world = Arc::new(World::new(&ca, hello()));
    let outbound = world.outbound(&ca);
    let mut last = None;
    for _ in 0..5 {
        last = Some(outbound.get(&url("https://app.test/x"), new(Trust::Stranger, ALICE), WANT).await);
    }
    assert!(matches!(last, Some(Err(FetchError::Limited { of: Allowance::Requester, .. }))), "{last:?}");
    assert_eq!(world.asked.lock().unwrap().len(), 4);
}

/// What an outsider is told carries nothing of the reason.
#[tokio::test]
async fn one_text_for_every_reason() {
    let (result, _) = from(&["169.254.169.254"], Trust::Stranger).await;
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "169.254.169.254 must not be dialled: it is in 169.254.0.0/16 (link-local, RFC 3927)"
    );
    assert_eq!(FetchError::TEXT, "the document could not be fetched");
}

/// The real network: names, sockets, the kernel's own addresses.
mod on_this_machine {
    use super::*;

    /// A TLS server on loopback for a name; answers every connection with an empty object.
    async fn listen(ca: &Ca, name: &str) -> (u16, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (acceptor, requests) = (ca.acceptor(name), Arc::new(Mutex::default()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, hello(), &seen).await;
                }
            }
        });
        (port, requests)
    }

    fn outbound(ca: &Ca, test: Option<(&str, u16)>) -> Outbound {
        let outbound =
            Outbound::new(&OutboundConfig { authorities: Some(ca.authorities()), test: None }).unwrap();
        match test {
            Some((name, port)) => with_test_host(outbound, name, port, ca),
            None => outbound,
        }
    }

    #[tokio::test]
    async fn the_test_host_is_reached_in_both_trusts() {
        let ca = Ca::new();
        let (port, requests) = listen(&ca, "rp.test").await;
        let outbound = outbound(&ca, Some(("rp.test", port)));
        let text = format!("https://rp.test:{port}/jwks.json");
        for trust in [Trust::Stranger, Trust::Administrator] {
            assert_eq!(&get(&outbound, &text, trust).await.unwrap().body[..], b"{}");
        }
        assert_eq!(requests.lock().unwrap().len(), 2);
    }

    /// The exception is for one name and one port, and for its own authority only.
    #[tokio::test]
    async fn nothing_beside_the_test_host_is_reached() {
        let ca = Ca::new();
        let (port, requests) = listen(&ca, "localhost").await;
        for trust in [Trust::Stranger, Trust::Administrator] {
            let outbound = outbound(&ca, Some(("localhost", port)));
            for text in [
                format!("https://127.0.0.1:{port}/"),
                format!("https://[::1]:{port}/"),
                "https://localhost/".to_owned(),
            ] {
                let error = get(&outbound, &text, trust).await.unwrap_err();
                assert!(
                    matches!(error, FetchError::Forbidden { .. } | FetchError::Port(_)),
                    "{text}: {error}"
                );
            }
        }
        let (port, other) = listen(&Ca::new(), "rp.test").await;
        let error = get(
            &outbound(&ca, Some(("rp.test", port))),
            &format!("https://rp.test:{port}/"),
            Trust::Stranger,
        )
        .await;
        assert!(matches!(error, Err(FetchError::Tls { .. })), "{error:?}");
        assert!(requests.lock().unwrap().is_empty() && other.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn strangers_lead_to_no_address_of_this_host_and_nobody_to_loopback() {
        let ca = Ca::new();
        let (port, requests) = listen(&ca, "localhost").await;
        let outbound = outbound(&ca, None);
        let own = OwnAddresses::read().unwrap();
        let hosts = own.each().map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        for host in hosts.chain(["localhost".to_owned()]) {
            let url = format!("https://{host}/");
            let error = get(&outbound, &url, Trust::Stranger).await.unwrap_err();
            assert!(matches!(error, FetchError::Forbidden { .. }), "{host}: {error}");
        }
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            let url = format!("https://{host}:{port}/");
            let error = get(&outbound, &url, Trust::Administrator).await.unwrap_err();
            assert!(matches!(error, FetchError::Forbidden { .. }), "{host}: {error}");
        }
        assert!(requests.lock().unwrap().is_empty());
    }
}
