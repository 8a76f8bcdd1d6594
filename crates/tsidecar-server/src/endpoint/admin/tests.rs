//! The routes under `/clients/` against a store in memory, as whole answers.

use arc_swap::ArcSwap;
use http_body_util::{BodyExt, Full};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::jose::{ClientKey, VerifyAlgorithm};
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::UnixTime;

use super::*;
use crate::snapshot::Snapshot;
use crate::snapshot::tests::{config, pins, ring, spec};
use crate::store::{MemoryStore, Store};

struct Office {
    snapshot: ArcSwap<Snapshot>,
    store: MemoryStore,
}

impl Office {
    /// With the client `filed` in a file.
    fn open() -> Self {
        let snapshot = Snapshot::build(&config(vec![spec("filed", "F")]), pins(), ring(), &[]).unwrap();
        Self { snapshot: ArcSwap::from_pointee(snapshot), store: MemoryStore::new() }
    }

    /// Status, a space, and the body, with secrets replaced.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let (status, body) = self.raw(method, path, body).await;
        let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&body) else {
            return format!("{status} {body}");
        };
        if let Some(secret) = value.get_mut("client_secret") {
            assert_eq!(secret.as_str().unwrap().len(), 43);
            *secret = "SECRET".into();
        }
        format!("{status} {value}")
    }

    async fn raw(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let desk =
            Desk { snapshot: &self.snapshot, store: &self.store, now: UnixTime::from_secs(1_800_000_000) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answered = clients_route(&desk, request).await.unwrap_or_else(|error| error.answer());
        let status = answered.status().as_u16();
        let body = answered.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn secret(&self, method: &str, path: &str, body: &str) -> ClientSecret {
        let (_, body) = self.raw(method, path, body).await;
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        ClientSecret::new(value["client_secret"].as_str().unwrap().to_owned())
    }

    fn knows(&self, id: &str, secret: &ClientSecret) -> bool {
        self.snapshot.load().client(id).is_some_and(|client| client.knows(secret))
    }
}

const NEW: &str = r#"{"client_id":"gitea","client_name":"Gitea","redirect_uris":["https://git.test/cb"],"id_token_signed_response_alg":"ES256"}"#;

#[tokio::test]
async fn a_client_is_made_told_and_removed() {
    let office = Office::open();
    insta::assert_snapshot!(office.ask("POST", "/clients/new", NEW).await, @r#"201 {"client_id":"gitea","client_name":"Gitea","redirect_uris":["https://git.test/cb"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"pkce":"or-nonce","id_token_signed_response_alg":"ES256","claims_in_id_token":true,"id_token_lifetime":"5m","access_token_lifetime":"10m","refresh_idle_lifetime":"30d","refresh_absolute_lifetime":"180d","login":"ambient","assertion_algs":["RS256","PS256","ES256","EdDSA"],"token_endpoint_audience":false,"require_signed_request_object":false,"require_pushed_authorization_requests":false,"dpop_bound_access_tokens":false,"post_logout_redirect_uris":[],"backchannel_logout_session_required":false,"disabled":false,"secrets":1,"source":"store","client_secret":"SECRET"}"#);
    assert_eq!(
        office.ask("POST", "/clients/new", NEW).await,
        r#"409 {"error":"conflict","error_description":"there is a client \"gitea\" already"}"#
    );
    let shown = office.ask("GET", "/clients/gitea", "").await;
    assert!(shown.starts_with("200 ") && !shown.contains("client_secret\":"), "{shown}");
    let list = office.ask("GET", "/clients/", "").await;
    assert!(list.contains(r#""client_id":"filed""#) && list.contains(r#""client_id":"gitea""#), "{list}");
    assert_eq!(list, office.ask("GET", "/clients", "").await);
    assert_eq!(office.ask("DELETE", "/clients/gitea", "").await, "204 ");
    assert_eq!(
        office.ask("DELETE", "/clients/gitea", "").await,
        r#"404 {"error":"not_found","error_description":"there is no client \"gitea\""}"#
    );
    assert!(office.snapshot.load().client("gitea").is_none());
    // The id may be used again, but what was issued before stays void.
    office.ask("POST", "/clients/new", NEW).await;
    assert_eq!(office.snapshot.load().client("gitea").unwrap().not_before().as_secs(), 1_800_000_000);
}

#[tokio::test]
async fn an_id_is_made_when_none_is_named() {
    let office = Office::open();
    let body = r#"{"client_name":"A","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none","id_token_signed_response_alg":"ES256"}"#;
    let (status, body) = office.raw("POST", "/clients/new", body).await;
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    let id = value["client_id"].as_str().unwrap();
    assert!(status == 201 && id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{body}");
    assert_eq!(value.get("client_secret"), None);
    assert!(office.snapshot.load().client(id).unwrap().is_public());
}

#[tokio::test]
async fn put_is_idempotent_and_takes_what_get_told() {
    let office = Office::open();
    let made = office.secret("PUT", "/clients/gitea", NEW).await;
    let (_, told) = office.raw("GET", "/clients/gitea", "").await;
    assert_eq!(office.raw("PUT", "/clients/gitea", &told).await, (200, told.clone()));
    let changed = told.replace("\"Gitea\"", "\"Git\"");
    assert_eq!(office.raw("PUT", "/clients/gitea", &changed).await, (200, changed));
    assert!(office.knows("gitea", &made));
    let wrong = office.ask("PUT", "/clients/other", NEW).await;
    assert_eq!(
        wrong,
        r#"400 {"error":"invalid_request","error_description":"client_id is another one than in the path"}"#
    );
    // An id with characters that a path must encode.
    let odd = NEW.replace("gitea", "a/b;c d");
    assert!(office.ask("PUT", "/clients/a%2Fb;c%20d", &odd).await.starts_with("201 "));
    assert!(office.ask("GET", "/clients/a%2Fb%3Bc%20d", "").await.contains(r#""client_id":"a/b;c d""#));
    // One that clients would spell in two ways in HTTP Basic.
    let ambiguous = office.ask("PUT", "/clients/a%2Bb", &NEW.replace("gitea", "a+b")).await;
    assert!(ambiguous.starts_with("400 ") && ambiguous.contains("HTTP Basic"), "{ambiguous}");
    assert!(office.ask("PUT", "/clients/new", &NEW.replace("gitea", "new")).await.starts_with("201 "));
    assert!(office.ask("GET", "/clients/new", "").await.starts_with("200 "));
}

/// A PUT of what GET told loses no setting of a client, whatever is set.
#[tokio::test]
async fn every_setting_is_told_and_taken_back() {
    let office = Office::open();
    let key = ClientKey::generate(VerifyAlgorithm::Es256).unwrap();
    let jwks = serde_json::json!({ "keys": [key.public_jwk()] });
    let body = |keys: &str, value: &serde_json::Value| {
        let mut body: serde_json::Value = serde_json::from_str(NEW).unwrap();
        let more = serde_json::json!({
            keys: value,
            "login": "confirm",
            "assertion_algs": ["PS256", "ES256"],
            "token_endpoint_audience": true,
            "request_object_signing_alg": "ES256",
            "require_signed_request_object": true,
            "require_pushed_authorization_requests": true,
            "dpop_bound_access_tokens": true,
            "post_logout_redirect_uris": ["https://git.test/bye"],
            "backchannel_logout_uri": "https://git.test/logout",
            "backchannel_logout_session_required": true,
            "userinfo_signed_response_alg": "ES256",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (keys, value) in [("jwks_uri", "https://git.test/jwks".into()), ("jwks", jwks.clone())] {
        let asked = body(keys, &value);
        let (status, made) = office.raw("PUT", "/clients/gitea", &asked.to_string()).await;
        assert!([200, 201].contains(&status), "{made}");
        let told: serde_json::Value = serde_json::from_str(&made).unwrap();
        for (name, value) in asked.as_object().unwrap() {
            assert_eq!(&told[name], value, "{name}");
        }
        assert_eq!(
            (&told["token_endpoint_auth_method"], &told["secrets"]),
            (&"private_key_jwt".into(), &0.into())
        );
        let spec = || format!("{:?}", Client::spec(office.snapshot.load().client("gitea").unwrap()));
        office.raw("PUT", "/clients/gitea", &made).await;
        let before = spec();
        let (_, told) = office.raw("GET", "/clients/gitea", "").await;
        assert_eq!((office.raw("PUT", "/clients/gitea", &told).await, spec()), ((200, told), before));
    }
    let refused = office.ask("POST", "/clients/gitea/rotate-secret", "").await;
    assert!(refused.starts_with("409 ") && refused.contains("has no secret"), "{refused}");
    let mut both = body("jwks", &jwks);
    both["jwks_uri"] = "https://git.test/jwks".into();
    let refused = office.ask("PUT", "/clients/gitea", &both.to_string()).await;
    assert!(refused.starts_with("400 ") && refused.contains("in one place"), "{refused}");
}

#[tokio::test]
async fn switching_a_client_off_ends_its_grants() {
    let office = Office::open();
    office.ask("PUT", "/clients/gitea", NEW).await;
    assert_eq!(office.snapshot.load().client("gitea").unwrap().not_before().as_secs(), 0);
    let off = NEW.replace("\"gitea\",", "\"gitea\",\"disabled\":true,");
    office.ask("PUT", "/clients/gitea", &off).await;
    office.ask("PUT", "/clients/gitea", NEW).await;
    let client = Arc::clone(office.snapshot.load().client("gitea").unwrap());
    assert!(!client.is_disabled());
    assert_eq!(client.not_before().as_secs(), 1_800_000_000);
}

#[tokio::test]
async fn secrets_overlap_while_one_is_rotated() {
    let office = Office::open();
    let path = "/clients/gitea/rotate-secret";
    let first = office.secret("POST", "/clients/new", NEW).await;
    let second = office.secret("POST", path, "").await;
    assert!(office.knows("gitea", &first) && office.knows("gitea", &second));
    let third = office.secret("POST", path, r#"{"mode":"overlap"}"#).await;
    assert!(
        !office.knows("gitea", &first) && office.knows("gitea", &second) && office.knows("gitea", &third)
    );
    assert!(office.ask("POST", path, r#"{"mode":"finish"}"#).await.contains(r#""secrets":1"#));
    assert!(!office.knows("gitea", &second) && office.knows("gitea", &third));
    let fourth = office.secret("POST", path, r#"{"mode":"now"}"#).await;
    assert!(!office.knows("gitea", &third) && office.knows("gitea", &fourth));
    // It is in the store, not only in memory.
    let record = office.store.clients().unwrap().remove(0);
    assert!(record.spec.unwrap().secrets[0].matches(&fourth));
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let office = Office::open();
    let mut all = Vec::new();
    for (method, path, body) in [
        ("DELETE", "/clients/filed", ""),
        ("PUT", "/clients/filed", NEW),
        ("POST", "/clients/filed/rotate-secret", ""),
        ("POST", "/clients/new", r#"{"client_id":"filed"}"#),
        ("POST", "/clients/new", "not json"),
        ("POST", "/clients/new", r#"{"client_nam":"x"}"#),
        ("POST", "/clients/new", r#"{"client_id":"userid:5"}"#),
        ("POST", "/clients/new", r#"{"client_id":"x"}"#),
        ("POST", "/clients/new", r#"{"client_id":"x","redirect_uris":["javascript:alert(1)"]}"#),
        (
            "POST",
            "/clients/new",
            r#"{"client_id":"x","redirect_uris":["https://a.test"],"id_token_lifetime":"1 year"}"#,
        ),
        ("POST", "/clients/new", r#"{"client_id":"x","redirect_uris":["https://a.test"]}"#),
        ("GET", "/clients/nobody", ""),
        ("POST", "/clients/nobody/rotate-secret", ""),
        ("POST", "/clients/nobody/rotate-secret", r#"{"mode":"later"}"#),
        ("PATCH", "/clients/filed", ""),
        ("POST", "/clients/", ""),
        ("GET", "/clients/filed/rotate-secret", ""),
        ("GET", "/clients/filed/other", ""),
        ("GET", "/clientsfiled", ""),
        ("GET", "/", ""),
    ] {
        all.push(format!("{method} {path}: {}", office.ask(method, path, body).await));
    }
    all.push(office.ask("POST", "/clients/new", &format!("\"{}\"", "x".repeat(70_000))).await);
    insta::assert_snapshot!(all.join("\n"), @r#"
    DELETE /clients/filed: 409 {"error":"conflict","error_description":"client \"filed\" stands in /etc/tsidecar/tsidecar.toml: change it there, then `systemctl reload tsidecar`"}
    PUT /clients/filed: 400 {"error":"invalid_request","error_description":"client_id is another one than in the path"}
    POST /clients/filed/rotate-secret: 409 {"error":"conflict","error_description":"client \"filed\" stands in /etc/tsidecar/tsidecar.toml: change it there, then `systemctl reload tsidecar`"}
    POST /clients/new: 409 {"error":"conflict","error_description":"client \"filed\" stands in /etc/tsidecar/tsidecar.toml: change it there, then `systemctl reload tsidecar`"}
    POST /clients/new: 400 {"error":"invalid_request","error_description":"the body is not as expected: expected ident at line 1 column 2"}
    POST /clients/new: 400 {"error":"invalid_request","error_description":"the body is not as expected: unknown field `client_nam`, expected one of `client_id`, `client_name`, `redirect_uris`, `token_endpoint_auth_method`, `grant_types`, `pkce`, `allow`, `id_token_signed_response_alg`, `userinfo_signed_response_alg`, `claims_in_id_token`, `id_token_lifetime`, `access_token_lifetime`, `refresh_idle_lifetime`, `refresh_absolute_lifetime`, `login`, `jwks`, `jwks_uri`, `assertion_algs`, `token_endpoint_audience`, `request_object_signing_alg`, `require_signed_request_object`, `require_pushed_authorization_requests`, `dpop_bound_access_tokens`, `post_logout_redirect_uris`, `backchannel_logout_uri`, `backchannel_logout_session_required`, `disabled`, `response_types`, `secrets`, `source` at line 1 column 13"}
    POST /clients/new: 400 {"error":"invalid_client_metadata","error_description":"client_id starts with \"userid:\" or \"tag:\", which are kept for people and workloads"}
    POST /clients/new: 400 {"error":"invalid_client_metadata","error_description":"needs 1 to 32 redirect_uris"}
    POST /clients/new: 400 {"error":"invalid_client_metadata","error_description":"redirect_uri \"javascript:alert(1)\" has a scheme that is never a redirect target (javascript:, data:, file: and the like)"}
    POST /clients/new: 400 {"error":"invalid_request","error_description":"the body is not as expected: \"1 year\" is no length of time; allowed: a whole number and a unit, as in \"90s\", \"10m\", \"12h\", \"30d\" at line 1 column 81"}
    POST /clients/new: 400 {"error":"invalid_client_metadata","error_description":"there is no active RS256 signing key"}
    GET /clients/nobody: 404 {"error":"not_found","error_description":"there is no client \"nobody\""}
    POST /clients/nobody/rotate-secret: 404 {"error":"not_found","error_description":"there is no client \"nobody\""}
    POST /clients/nobody/rotate-secret: 400 {"error":"invalid_request","error_description":"the body is not as expected: unknown variant `later`, expected one of `overlap`, `now`, `finish` at line 1 column 15"}
    PATCH /clients/filed: 405 {"error":"invalid_request","error_description":"the method is not allowed here; allowed: GET, PUT, DELETE"}
    POST /clients/: 405 {"error":"invalid_request","error_description":"the method is not allowed here; allowed: GET"}
    GET /clients/filed/rotate-secret: 405 {"error":"invalid_request","error_description":"the method is not allowed here; allowed: POST"}
    GET /clients/filed/other: 404 {"error":"not_found","error_description":"there is nothing at this path"}
    GET /clientsfiled: 404 {"error":"not_found","error_description":"there is nothing at this path"}
    GET /: 404 {"error":"not_found","error_description":"there is nothing at this path"}
    413 {"error":"invalid_request","error_description":"the body is larger than 64 KiB"}
    "#);
    assert!(office.store.clients().unwrap().is_empty());
}

#[tokio::test]
async fn two_changes_at_once_lose_nothing() {
    let office = Office::open();
    let bodies: Vec<_> = (0..16).map(|n| NEW.replace("gitea", &format!("c{n}"))).collect();
    let asked = bodies.iter().map(|body| office.ask("POST", "/clients/new", body));
    for answer in join_all(asked).await {
        assert!(answer.starts_with("201 "), "{answer}");
    }
    assert_eq!(office.snapshot.load().clients.len(), 17);
}

/// Asks for what follows `/admin/grants`, and gives the answer as text.
async fn grants(store: &MemoryStore, method: &str, rest: &str) -> String {
    let uri = format!("/admin/grants{rest}");
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let rest = request.uri().path().strip_prefix(grants::PATH).unwrap().to_owned();
    let answered = grants::route(store, UnixTime::from_secs(1_100), &rest, &request).await;
    let answered = answered.unwrap_or_else(|error| error.answer());
    let status = answered.status().as_u16();
    let body = answered.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn grants_are_listed_in_pages_and_end() {
    let store = MemoryStore::new();
    let ids: Vec<String> = (1..=3).map(|number| put_grant(&store, number)).collect();
    let (one, two, three) = (&ids[0], &ids[1], &ids[2]);
    let all = grants(&store, "GET", "").await;
    assert!(ids.iter().all(|id| all.contains(id)) && !all.contains("next"), "{all}");
    let page = grants(&store, "GET", "?user=userid:1001&client=cli&device=nALICE&limit=2").await;
    assert!(page.contains(&format!(r#""next":"{two}""#)) && !page.contains(three), "{page}");
    let page = grants(&store, "GET", &format!("?after={two}")).await;
    insta::assert_snapshot!(page.replace(three, "THREE"), @r#"200 {"grants":[{"id":"THREE","client_id":"cli","subject":"userid:1001","holder":"person","device":"nALICE","scope":"openid profile","resources":[],"issued_at":990,"last_used":1000,"ends_at":1500,"revoked":false}],"unreadable":[]}"#);
    for filter in ["user=userid:1", "client=cl", "device=nBOB", "user="] {
        let none = grants(&store, "GET", &format!("?{filter}")).await;
        assert_eq!(none, r#"200 {"grants":[],"unreadable":[]}"#, "{filter}");
    }

    let revoke = format!("/{one}/revoke");
    assert_eq!(grants(&store, "POST", &revoke).await, r#"200 {"revoked":true}"#);
    assert_eq!(grants(&store, "POST", &revoke).await, r#"200 {"revoked":false}"#);
    let page = grants(&store, "GET", "?limit=1").await;
    assert!(page.contains(one) && page.contains(r#""revoked":true"#), "{page}");
    assert!(grants(&store, "GET", &format!("?after={one}")).await.matches(r#""revoked":false"#).count() == 2);

    let mut refused = Vec::new();
    for (method, rest) in [
        ("POST", "/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/revoke"),
        ("POST", "/nothing/revoke"),
        ("GET", "/nothing/revoke"),
        ("POST", "//revoke"),
        ("POST", "/nothing"),
        ("POST", ""),
        ("GET", "s"),
        ("GET", "?usr=userid:1"),
        ("GET", "?user=a&user=b"),
        ("GET", "?limit=0"),
        ("GET", "?after=x"),
    ] {
        refused.push(format!("{method} {rest}: {}", grants(&store, method, rest).await));
    }
    insta::assert_snapshot!(refused.join("\n"), @r#"
    POST /AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/revoke: 404 {"error":"not_found","error_description":"there is no grant \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""}
    POST /nothing/revoke: 404 {"error":"not_found","error_description":"there is no grant \"nothing\""}
    GET /nothing/revoke: 405 {"error":"invalid_request","error_description":"the method is not allowed here; allowed: POST"}
    POST //revoke: 404 {"error":"not_found","error_description":"there is nothing at this path"}
    POST /nothing: 404 {"error":"not_found","error_description":"there is nothing at this path"}
    POST : 405 {"error":"invalid_request","error_description":"the method is not allowed here; allowed: GET"}
    GET s: 404 {"error":"not_found","error_description":"there is nothing at this path"}
    GET ?usr=userid:1: 400 {"error":"invalid_request","error_description":"there is no parameter \"usr\"; allowed: user, client, device, after, limit"}
    GET ?user=a&user=b: 400 {"error":"invalid_request","error_description":"user stands there twice"}
    GET ?limit=0: 400 {"error":"invalid_request","error_description":"limit must be a number from 1 to 1000, not \"0\""}
    GET ?after=x: 400 {"error":"invalid_request","error_description":"after must be the id of a grant, not \"x\""}
    "#);
}

/// Stores a grant of alice, and gives its id.
fn put_grant(store: &MemoryStore, number: u8) -> String {
    let grant = crate::store::conformance::grant(number);
    drop(store.redeem(grant.clone(), grant.state().last_used));
    assert!(store.grant(grant.id()).unwrap().is_some());
    grant.id().to_string()
}

/// Polls all futures until each is done.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (future, done) in &mut waiting {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

/// Asks for what follows `/admin/consents`, and gives the answer as text.
async fn consents(store: &MemoryStore, method: &str, rest: &str, body: &str) -> String {
    let uri = format!("/admin/consents{rest}");
    let body = Full::new(Bytes::from(body.to_owned()));
    let request = Request::builder().method(method).uri(&uri).body(body).unwrap();
    let rest = request.uri().path().strip_prefix(consents::PATH).unwrap().to_owned();
    let answered = consents::route(store, UnixTime::from_secs(1_100), &rest, request).await;
    let answered = answered.unwrap_or_else(|error| error.answer());
    let status = answered.status().as_u16();
    let body = answered.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn consents_are_listed_and_withdrawn() {
    use tsidecar_oauth::assurance::MetadataDigest;
    use tsidecar_oauth::consent::Wish;
    use tsidecar_oauth::id::{ClientId, Subject};
    use tsidecar_oauth::scope::Scope;
    let store = MemoryStore::new();
    let (alice, client) = (Subject::user(7), ClientId::parse("https://a.test/c").unwrap());
    let wish = Wish::new(MetadataDigest::from_bytes([1; 32]), "a.test", &[], &Scope::parse("openid"));
    let now = UnixTime::from_secs(1_000);
    store.remember_consent(&alice, &client, wish, now, now).await.unwrap();
    let one = r#"200 {"consents":[{"subject":"userid:7","client_id":"https://a.test/c","allowed":[{"redirect_host":"a.test","resources":[],"scope":"openid","at":1000}],"used_at":1000}]}"#;
    let none = r#"200 {"consents":[]}"#;
    for (rest, expected) in [
        ("", one),
        ("?user=userid:7&client=https://a.test/c", one),
        ("?user=userid:8", none),
        ("?client=other", none),
        ("?after_user=userid:7&after_client=https://a.test/c", none),
    ] {
        assert_eq!(consents(&store, "GET", rest, "").await, expected, "{rest}");
    }
    for (method, rest, body, status) in [
        ("GET", "?person=x", "", "400"),
        ("GET", "?user=a&user=b", "", "400"),
        ("GET", "?after_user=userid:1", "", "400"),
        ("GET", "?after_user=userid:x&after_client=cli", "", "400"),
        ("POST", "", "", "405"),
        ("GET", "/revoke", "", "405"),
        ("POST", "/else", "", "404"),
        ("POST", "/revoke", "{}", "400"),
        ("POST", "/revoke", r#"{"subject":"userid:x","client_id":"cli"}"#, "400"),
        ("POST", "/revoke", r#"{"subject":"userid:7","client_id":"cli","all":true}"#, "400"),
    ] {
        let answer = consents(&store, method, rest, body).await;
        assert!(answer.starts_with(status), "{method} {rest} {body}: {answer}");
    }
    let key = r#"{"subject":"userid:7","client_id":"https://a.test/c"}"#;
    for withdrawn in [true, false] {
        let expected = format!(r#"200 {{"withdrawn":{withdrawn},"ended_grants":0}}"#);
        assert_eq!(consents(&store, "POST", "/revoke", key).await, expected);
    }
    assert_eq!(consents(&store, "GET", "", "").await, none);
}
