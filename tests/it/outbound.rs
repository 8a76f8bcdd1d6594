//! The way out, from the configuration to the host: the exception for tests leads to one host, and everybody hears of it.

use tsidecar_oauth::uri::FetchUrl;
use tsidecar_server::{
    config::Config,
    outbound::{Errand, FetchError, Outbound, Requester, Standing, Trust, Want},
};

use crate::support::{ALICE, App, Setup, host::Host};

const WANT: Want = Want { accept: "application/json", most_bytes: 1024 };

fn config(host: &Host) -> Config {
    Config::from_text("tsidecar.toml", &host.tables()).unwrap()
}

const fn new(trust: Trust) -> Errand {
    Errand { trust, standing: Standing::New, requester: Requester::Daemon }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_the_configuration_is_fetched_from_and_posted_to() {
    let host = Host::start();
    host.answer("/jwks.json", 200, "application/json", "{\"keys\":[]}");
    host.answer("/logout", 204, "text/plain", "");
    let outbound = Outbound::new(&config(&host).outbound).unwrap();
    let url = |path| FetchUrl::parse(&host.url(path)).unwrap();
    for trust in [Trust::Stranger, Trust::Administrator] {
        let fetched = outbound.get(&url("/jwks.json?x=1"), new(trust), WANT).await.unwrap();
        assert_eq!((fetched.status.as_u16(), &fetched.body[..]), (200, &b"{\"keys\":[]}"[..]));
        let missing = outbound.get(&url("/none"), new(trust), WANT).await.unwrap();
        assert_eq!(missing.status.as_u16(), 404);
        let status = outbound.post_form(&url("/logout"), trust, &[("logout_token", "x")]).await.unwrap();
        assert_eq!(status.as_u16(), 204);
    }
    let requests = host.requests(6);
    assert!(requests[0].starts_with("GET /jwks.json?x=1 HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[2].ends_with("\r\n\r\nlogout_token=x"), "{}", requests[2]);
}

/// Another port of the same machine is none that anybody may have fetched, by whatever name.
#[tokio::test(flavor = "multi_thread")]
async fn the_exception_is_for_one_host() {
    let (host, other) = (Host::start(), Host::start());
    other.answer("/", 200, "text/plain", "not for you");
    let outbound = Outbound::new(&config(&host).outbound).unwrap();
    let port = other.url("").rsplit(':').next().unwrap().to_owned();
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        let url = FetchUrl::parse(&format!("https://{name}:{port}/")).unwrap();
        let error = outbound.get(&url, new(Trust::Administrator), WANT).await.unwrap_err();
        assert!(matches!(error, FetchError::Forbidden { .. }), "{name}: {error}");
    }
    assert_eq!(other.requests(0), [""; 0]);
}

#[test]
fn everybody_hears_of_the_exception() {
    let host = Host::start();
    let daemon = Setup::default().tables(&host.tables()).start();
    let port = host.url("").rsplit(':').next().unwrap().to_owned();
    let warning = format!(
        "[outbound] test_host: \"rp.test:{port}\" is contacted on this host itself; this is for tests only"
    );
    assert!(daemon.log().contains(&warning), "{}", daemon.log());
    let checked = daemon.run(&["check-config"]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains(&warning), "{checked:?}");
}

/// A15: what a request names is fetched by nobody; not even where the guard would let us.
#[test]
fn a_request_makes_nobody_fetch() {
    let host = Host::start();
    let daemon = Setup::default().tables(&host.tables()).start();
    let app = App::public(&daemon);
    let url = host.url("/x");
    for name in [
        "request_uri",
        "jwks_uri",
        "logo_uri",
        "sector_identifier_uri",
        "client_uri",
        "policy_uri",
        "tos_uri",
    ] {
        let reply = app.authorize(&ALICE, &[(name, &url)]);
        assert!(reply.status < 500, "{name}: {}", reply.show());
        app.redeem(&ALICE, "no-code", &[(name, &url)]);
    }
    // A login afterwards, so that whatever was begun has had its time.
    app.login(&ALICE, &[]);
    assert_eq!(host.requests(0), [""; 0]);
}
