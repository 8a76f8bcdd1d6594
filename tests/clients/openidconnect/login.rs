//! openidconnect, the library that Proxmox VE logs in with: strict discovery types, nonce, RS256, PKCE, secret by Basic.
//!
//! Started by `tests/clients/run`, which puts the line of `tsidecar demo --json` into `TSIDECAR_DEMO`.

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreIdTokenClaims, CoreProviderMetadata,
    CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::http::Response;
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, TokenResponse, url::Url,
};
use serde_json::Value;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;
type TokenError = RequestTokenError<ureq::Error, openidconnect::StandardErrorResponse<CoreErrorResponseType>>;

fn demo() -> Value {
    let line = std::env::var("TSIDECAR_DEMO")
        .expect("TSIDECAR_DEMO is not set: start this test with tests/clients/run");
    serde_json::from_str(&line).expect("TSIDECAR_DEMO is JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is missing"))
}

/// One request without redirects; any status is an answer.
fn http(request: HttpRequest) -> Result<HttpResponse, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into();
    let (parts, mut body) = agent.run(request)?.into_parts();
    Ok(Response::from_parts(parts, body.read_to_vec()?))
}

/// How the client proves at /token who it is.
#[derive(Clone, Copy)]
enum Way {
    Public,
    Basic,
    Post,
}

fn client(way: Way, secret: Option<&str>) -> Client {
    static PORT: AtomicU16 = AtomicU16::new(22000);
    let demo = demo();
    let clients = demo["clients"].as_array().expect("a list of clients");
    let wants_secret = !matches!(way, Way::Public);
    let entry = clients
        .iter()
        .find(|entry| entry.get("client_secret").is_some() == wants_secret)
        .expect("such a client");
    let secret = wants_secret
        .then(|| ClientSecret::new(secret.unwrap_or_else(|| text(entry, "client_secret")).to_owned()));

    let mut redirect = Url::parse(text(entry, "redirect_uri")).expect("a redirect URI");
    redirect.set_port(Some(PORT.fetch_add(1, Ordering::Relaxed))).expect("a port");
    let issuer = IssuerUrl::new(text(&demo, "issuer").to_owned()).expect("an issuer");
    let metadata = CoreProviderMetadata::discover(&issuer, &http).expect("discovery and JWKS");
    let client = CoreClient::from_provider_metadata(
        metadata,
        ClientId::new(text(entry, "client_id").to_owned()),
        secret,
    )
    .set_redirect_uri(RedirectUrl::from_url(redirect));
    match way {
        Way::Post => client.set_auth_type(AuthType::RequestBody),
        Way::Public | Way::Basic => client.set_auth_type(AuthType::BasicAuth),
    }
}

struct Login {
    code: AuthorizationCode,
    verifier: PkceCodeVerifier,
    nonce: Nonce,
}

/// Visits /authorize: one answer, a redirect that carries code, state and issuer.
fn authorize(client: &Client) -> Login {
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(["profile", "email", "groups"].map(|scope| Scope::new(scope.to_owned())))
        .set_pkce_challenge(challenge)
        .url();
    let request = openidconnect::http::Request::get(url.as_str()).body(Vec::new()).expect("a request");
    let answer = http(request).expect("an answer of /authorize");
    assert!(
        answer.status().is_redirection(),
        "{}: {}",
        answer.status(),
        String::from_utf8_lossy(answer.body())
    );
    let location = Url::parse(answer.headers()["location"].to_str().expect("text")).expect("a URL");
    let parameter = |name: &str| {
        let found = location.query_pairs().find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("no {name} in the redirect")).1.into_owned()
    };
    assert_eq!(&parameter("state"), state.secret());
    assert_eq!(parameter("iss"), text(&demo(), "issuer"));
    Login { code: AuthorizationCode::new(parameter("code")), verifier, nonce }
}

fn redeem(
    client: &Client,
    code: AuthorizationCode,
    verifier: PkceCodeVerifier,
) -> Result<CoreTokenResponse, TokenError> {
    client.exchange_code(code).expect("a token endpoint").set_pkce_verifier(verifier).request(&http)
}

fn refresh(client: &Client, token: &RefreshToken) -> Result<CoreTokenResponse, TokenError> {
    client.exchange_refresh_token(token).expect("a token endpoint").request(&http)
}

fn claims<'a>(client: &Client, tokens: &'a CoreTokenResponse, nonce: &Nonce) -> &'a CoreIdTokenClaims {
    let token = tokens.id_token().expect("an ID token");
    token.claims(&client.id_token_verifier(), nonce).expect("a valid ID token")
}

fn userinfo(client: &Client, tokens: &CoreTokenResponse, claims: &CoreIdTokenClaims) -> CoreUserInfoClaims {
    let request = client.user_info(tokens.access_token().clone(), Some(claims.subject().clone()));
    request.expect("a userinfo endpoint").request(&http).expect("userinfo about the same subject")
}

fn error_of(refused: Result<CoreTokenResponse, TokenError>) -> CoreErrorResponseType {
    match refused {
        Err(RequestTokenError::ServerResponse(answer)) => answer.error().clone(),
        other => panic!("not refused with OAuth JSON: {other:?}"),
    }
}

fn whole_login(way: Way) {
    let client = client(way, None);
    let login = authorize(&client);
    let tokens = redeem(&client, login.code, login.verifier).expect("tokens");
    let first = claims(&client, &tokens, &login.nonce);
    assert!(first.subject().starts_with("userid:"), "{:?}", first.subject());
    let person = userinfo(&client, &tokens, first);
    assert!(person.email().is_some() && person.preferred_username().is_some());

    let token = tokens.refresh_token().expect("a refresh token");
    let renewed = refresh(&client, token).expect("a refresh");
    assert_ne!(renewed.refresh_token().expect("its successor").secret(), token.secret());
    let verifier = client.id_token_verifier();
    let again = renewed
        .id_token()
        .expect("an ID token")
        .claims(&verifier, |_: Option<&Nonce>| Ok(()))
        .expect("a valid one");
    assert_eq!(again.subject(), first.subject());
    assert_eq!(again.auth_time(), first.auth_time());
    assert_eq!(userinfo(&client, &renewed, again).email(), person.email());
}

#[test]
fn public() {
    whole_login(Way::Public);
}

#[test]
fn client_secret_basic() {
    whole_login(Way::Basic);
}

#[test]
fn client_secret_post() {
    whole_login(Way::Post);
}

#[test]
fn wrong_verifier() {
    let client = client(Way::Public, None);
    let login = authorize(&client);
    let (_, another) = PkceCodeChallenge::new_random_sha256();
    assert_eq!(error_of(redeem(&client, login.code, another)), CoreErrorResponseType::InvalidGrant);
}

#[test]
fn wrong_secret() {
    for way in [Way::Basic, Way::Post] {
        let impostor = client(way, Some("wrongwrongwrongwrongwrongwrongwrongwrongwro"));
        let login = authorize(&impostor);
        assert_eq!(
            error_of(redeem(&impostor, login.code, login.verifier)),
            CoreErrorResponseType::InvalidClient
        );
    }
}

#[test]
fn nonce_of_another_login() {
    let client = client(Way::Public, None);
    let login = authorize(&client);
    let tokens = redeem(&client, login.code, login.verifier).expect("tokens");
    let token = tokens.id_token().expect("an ID token");
    let judged = token.claims(&client.id_token_verifier(), &Nonce::new_random());
    assert!(matches!(judged, Err(ClaimsVerificationError::InvalidNonce(_))), "{judged:?}");
}

#[test]
fn code_of_another_client() {
    let login = authorize(&client(Way::Public, None));
    let other = client(Way::Basic, None);
    assert_eq!(error_of(redeem(&other, login.code, login.verifier)), CoreErrorResponseType::InvalidGrant);
}
