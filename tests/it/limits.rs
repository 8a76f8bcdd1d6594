//! A27: bombs are refused before they are parsed, and nobody waits for a slow one.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::support::{ALICE, App, Daemon, Request, Setup, tailnet::through_serve};

fn bomb(daemon: &Daemon, path: &str, body: Vec<u8>) -> (u16, String) {
    let request = Request { body, ..Request::post(path, &[]) };
    let reply = daemon.send(&ALICE, request);
    (reply.status, reply.error())
}

#[test]
fn parameters_are_counted() {
    let daemon = Daemon::new();
    let many = (0..10_000).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
    let refused = (400, "invalid_request".to_owned());
    assert_eq!(bomb(&daemon, "/token", many[..60_000].into()), refused);
    assert_eq!(bomb(&daemon, "/userinfo", many[..60_000].into()), refused);
    let reply = daemon.send(&ALICE, Request::get(&format!("/authorize?{}", &many[..2_000])));
    assert_eq!((reply.status, reply.header("location")), (400, None));
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
}

#[test]
fn bodies_are_bounded() {
    let daemon = Daemon::new();
    let (status, error) = bomb(&daemon, "/token", vec![b'a'; 64 * 1024 + 1]);
    assert_eq!((status, error.as_str()), (413, "invalid_request"));
    let (status, _) = bomb(&daemon, "/token", vec![b'a'; 4 << 20]);
    assert_eq!(status, 413);
    let chunked = "POST /token HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 100.64.0.2\r\nX-Forwarded-Proto: https\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let bytes = [chunked, &chunk, &chunk, "0\r\n\r\n"].concat();
    let reply = crate::support::wire::exchange(&daemon.path("serve.sock"), bytes.as_bytes()).unwrap();
    assert_eq!(reply.status, 413, "{}", reply.show());
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
}

#[test]
fn headers_are_bounded() {
    let daemon = Daemon::new();
    let big = Request::get("/userinfo").header("X-Big", &"x".repeat(1 << 20));
    let reply = daemon.try_raw("serve.sock", &through_serve(&ALICE, big));
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 431), "a header of 1 MiB");
    let mut many = Request::get("/userinfo");
    for n in 0..2_000 {
        many = many.header(&format!("X-{n}"), "1");
    }
    let reply = daemon.try_raw("serve.sock", &through_serve(&ALICE, many));
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.status == 431), "2,000 headers");
    let long = daemon
        .try_raw("serve.sock", &through_serve(&ALICE, Request::get(&format!("/{}", "x".repeat(1 << 20)))));
    assert!(
        long.is_err() || long.is_ok_and(|reply| [414, 431, 404].contains(&reply.status)),
        "a target of 1 MiB"
    );
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
}

#[test]
fn long_values_are_refused_as_what_they_are() {
    let daemon = Daemon::new();
    let app = App::public(&daemon);
    let scope = "x ".repeat(20_000);
    let reply = app.authorize(&ALICE, &[("scope", &scope[..6_000])]);
    assert!(reply.redirect("code").is_some(), "unknown scopes are dropped: {}", reply.show());
    for token in ["tsrt_".to_owned() + &"A".repeat(50_000), "tsrt_".to_owned() + &"=".repeat(5_000)] {
        assert_eq!(app.refresh(&ALICE, &token, &[]).error(), "invalid_grant");
    }
    assert_eq!(app.redeem(&ALICE, &"A".repeat(60_000), &[]).error(), "invalid_grant");
}

/// Whoever opens a request and does not go on holds up nobody, and is cut off.
#[test]
fn a_slow_body_is_cut_off() {
    let daemon = Daemon::new();
    let head = "POST /token HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 100.64.0.2\r\nX-Forwarded-Proto: https\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\ngrant_type=";
    let mut slow = UnixStream::connect(daemon.path("serve.sock")).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn a_node_that_asks_too_often_is_told_to_wait() {
    let daemon = Setup::default().limits("node_requests_per_minute = 60\nnode_burst = 20").start();
    let app = App::confidential(&daemon);
    let replies: Vec<_> = (0..60).map(|_| app.redeem(&crate::support::BOB, "nonsense", &[])).collect();
    let limited = replies.iter().find(|reply| reply.status == 429).expect("a 429");
    assert!(limited.header("retry-after").is_some(), "{}", limited.show());
    assert_eq!(app.login(&ALICE, &[]).status, 200, "others are not held up");
}

#[test]
fn http_that_is_no_http() {
    let daemon = Daemon::new();
    for bytes in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(daemon.path("serve.sock")).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        // Nothing more will come.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{bytes:?}");
    }
    assert_eq!(App::public(&daemon).login(&ALICE, &[]).status, 200);
}
