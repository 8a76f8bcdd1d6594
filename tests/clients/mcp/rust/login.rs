//! rmcp, the official SDK of Rust and the strictest of the four, against servers of FastMCP and of the Python SDK.
//!
//! Started by `tests/clients/run`, which puts the line of `mcp/python/stage.py` into `TSIDECAR_MCP`.

use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthorizationManager, AuthorizationRequest, ClientCredentialsConfig, InMemoryCredentialStore,
    JwtSigningAlgorithm, OAuthState,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ServiceExt, transport::auth::AuthError};
use serde_json::{Value, json};

const REDIRECT: &str = "http://127.0.0.1:33044/callback";

fn stage() -> Value {
    let line = std::env::var("TSIDECAR_MCP")
        .expect("TSIDECAR_MCP is not set: start this test with tests/clients/run");
    serde_json::from_str(&line).expect("TSIDECAR_MCP is JSON")
}

fn server(name: &str) -> String {
    stage()["servers"][name].as_str().expect("such a server").to_owned()
}

fn secret() -> String {
    stage()["secret"].as_str().expect("a secret").to_owned()
}

/// A client that an administrator wrote down.
fn known(client_id: &str) -> AuthorizationRequest {
    AuthorizationRequest::new(REDIRECT).with_preregistered_client(client_id)
}

/// Goes where the client sends the browser: one request, and the callback is there.
async fn visit(url: &str) -> String {
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    let answer = browser.expect("a browser").get(url).send().await.expect("an answer of /authorize");
    assert!(answer.status().is_redirection(), "{}", answer.text().await.unwrap_or_default());
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    assert!(location.starts_with(REDIRECT), "{location}");
    location
}

/// A whole login of alice's.
async fn sign_in(server_url: &str, request: AuthorizationRequest) -> Result<OAuthState, AuthError> {
    let mut state = OAuthState::new(server_url, None).await?;
    state.start_authorization(request).await?;
    let callback = visit(&state.get_authorization_url().await?).await;
    state.handle_callback_url(&callback).await?;
    Ok(state)
}

fn manager(state: OAuthState) -> AuthorizationManager {
    state.into_authorization_manager().expect("signed in")
}

type Connected = (RunningService<RoleClient, ()>, AuthClient<reqwest::Client>);

async fn connect(server_url: &str, manager: AuthorizationManager) -> Connected {
    let http = AuthClient::new(reqwest::Client::new(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(server_url);
    let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
    (().serve(transport).await.expect("a connection"), http)
}

async fn call(connected: &Connected, tool: &'static str) -> Result<CallToolResult, ServiceError> {
    let arguments: JsonObject = if tool == "write" {
        [("text".to_owned(), json!("hello"))].into_iter().collect()
    } else {
        JsonObject::new()
    };
    connected.0.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await
}

/// What the server knows of whoever calls it.
async fn whoami(connected: &Connected) -> Value {
    call(connected, "whoami").await.expect("an answer").structured_content.expect("facts")
}

/// A person was seen by this server, through this client.
fn assert_seen(facts: &Value, server_url: &str, client_id: &str, scopes: &[&str]) {
    let subject = facts["sub"].as_str().expect("a subject");
    assert!(subject.starts_with("userid:"), "{subject}");
    let found = json!([facts["iss"], facts["aud"], facts["client_id"], facts["scopes"]]);
    assert_eq!(found, json!([stage()["issuer"], server_url, client_id, scopes]));
}

#[tokio::test]
async fn known_client_at_every_kind_of_server() {
    for name in ["jwt", "introspection", "tag", "sdk"] {
        let url = server(name);
        let state = sign_in(&url, known("static")).await.expect("a login");
        let connected = connect(&url, manager(state)).await;
        assert_seen(&whoami(&connected).await, &url, "static", &["read"]);
    }
}

#[tokio::test]
async fn known_client_with_a_secret() {
    let url = server("introspection");
    let state = sign_in(&url, known("static-secret").with_client_secret(secret())).await.expect("a login");
    let connected = connect(&url, manager(state)).await;
    assert_seen(&whoami(&connected).await, &url, "static-secret", &["read"]);
}

#[tokio::test]
async fn wrong_secret() {
    let request = known("static-secret").with_client_secret("x".repeat(64));
    let refused = sign_in(&server("jwt"), request).await.err().expect("a refusal");
    assert!(refused.to_string().contains("invalid_client"), "{refused}");
}

#[tokio::test]
async fn refresh_rotates_and_narrows_nothing() {
    let url = server("introspection");
    let state = sign_in(&url, known("static")).await.expect("a login");
    let first = state.get_credentials().await.expect("credentials").1.expect("tokens");
    state.refresh_token().await.expect("a refresh");
    let second = state.get_credentials().await.expect("credentials").1.expect("tokens");
    let refresh = |tokens: &Value| tokens["refresh_token"].as_str().expect("a refresh token").to_owned();
    let (first, second) = (json!(first), json!(second));
    assert_ne!(refresh(&first), refresh(&second));
    assert_eq!(first["scope"], second["scope"]);
    let connected = connect(&url, manager(state)).await;
    assert_seen(&whoami(&connected).await, &url, "static", &["read"]);
}

/// A program that starts again with what it stored: no login, and a refresh works, for this client knows the metadata again.
#[tokio::test]
async fn restart_with_stored_credentials() {
    let url = server("introspection");
    let store = InMemoryCredentialStore::new();
    let mut first = AuthorizationManager::new(&url).await.expect("a manager");
    first.set_credential_store(store.clone());
    let mut state = OAuthState::Unauthorized(first);
    state.start_authorization(known("static")).await.expect("a request");
    let callback = visit(&state.get_authorization_url().await.expect("a URL")).await;
    state.handle_callback_url(&callback).await.expect("a login");
    drop(state);

    let mut again = AuthorizationManager::new(&url).await.expect("a manager");
    again.set_credential_store(store);
    assert!(again.initialize_from_store().await.expect("stored credentials"));
    again.refresh_token().await.expect("a refresh");
    let connected = connect(&url, again).await;
    assert_seen(&whoami(&connected).await, &url, "static", &["read"]);
}

#[tokio::test]
async fn step_up_asks_for_the_union_and_keeps_it() {
    let url = server("jwt");
    let state = sign_in(&url, known("climber-rust")).await.expect("a login");
    let connected = connect(&url, manager(state)).await;
    let refused = format!("{:?}", call(&connected, "write").await.expect_err("a challenge"));
    assert!(refused.contains("insufficient_scope"), "{refused}");

    let manager = connected.1.auth_manager.lock().await;
    let wanted = manager.request_scope_upgrade("write").await.expect("a request for more");
    let callback = visit(&wanted).await;
    let parameters = reqwest::Url::parse(&callback).expect("a URL");
    let parameter =
        |name: &str| parameters.query_pairs().find(|(key, _)| key == name).expect(name).1.into_owned();
    let (code, state, issuer) = (parameter("code"), parameter("state"), parameter("iss"));
    manager.exchange_code_for_token_with_issuer(&code, &state, Some(&issuer)).await.expect("tokens");
    drop(manager);

    call(&connected, "write").await.expect("what was refused before");
    connected.1.auth_manager.lock().await.refresh_token().await.expect("a refresh");
    assert_seen(&whoami(&connected).await, &url, "climber-rust", &["read", "write"]);
}

/// A client that comes with nothing. It is alice's own, and so is the browser: no page, no click.
#[tokio::test]
async fn registration_at_every_kind_of_server() {
    for name in ["jwt", "introspection", "tag", "sdk"] {
        let url = server(name);
        let request = AuthorizationRequest::new(REDIRECT).with_client_name("Tests of rmcp");
        let state = sign_in(&url, request).await.expect("a login");
        let (client_id, _) = state.get_credentials().await.expect("credentials");
        state.refresh_token().await.expect("a refresh");
        let connected = connect(&url, manager(state)).await;
        assert_seen(&whoami(&connected).await, &url, &client_id, &["read"]);
    }
}

/// A client whose id is the address of its document, on a host that the administrator trusts.
#[tokio::test]
async fn client_document_at_every_kind_of_server() {
    let document = format!("{}/rust.json", stage()["documents"].as_str().expect("a host of documents"));
    for name in ["jwt", "introspection", "tag", "sdk"] {
        let url = server(name);
        let request = AuthorizationRequest::new(REDIRECT).with_client_metadata_url(&document);
        let state = sign_in(&url, request).await.expect("a login");
        state.refresh_token().await.expect("a refresh");
        let connected = connect(&url, manager(state)).await;
        assert_seen(&whoami(&connected).await, &url, &document, &["read"]);
    }
}

/// A program that acts for itself.
async fn robot(config: ClientCredentialsConfig, server_url: &str) -> Result<Value, AuthError> {
    let mut state = OAuthState::new(server_url, None).await?;
    state.authenticate_client_credentials(config).await?;
    let tokens = json!(state.get_credentials().await?.1);
    assert_eq!((&tokens["refresh_token"], &tokens["id_token"]), (&Value::Null, &Value::Null));
    Ok(whoami(&connect(server_url, manager(state)).await).await)
}

fn with_secret(secret: String, server_url: &str) -> ClientCredentialsConfig {
    ClientCredentialsConfig::ClientSecret {
        client_id: "robot".to_owned(),
        client_secret: secret,
        scopes: vec!["read".to_owned()],
        resource: Some(server_url.to_owned()),
    }
}

fn assert_robot_seen(facts: &Value, server_url: &str, client_id: &str) {
    let found = json!([facts["iss"], facts["sub"], facts["aud"], facts["client_id"], facts["scopes"]]);
    assert_eq!(found, json!([stage()["issuer"], client_id, server_url, client_id, ["read"]]));
}

#[tokio::test]
async fn client_credentials_with_a_secret() {
    for name in ["jwt", "introspection", "tag", "sdk"] {
        let url = server(name);
        let facts = robot(with_secret(secret(), &url), &url).await.expect("a token");
        assert_robot_seen(&facts, &url, "robot");
    }
    let url = server("jwt");
    let refused = robot(with_secret("x".repeat(64), &url), &url).await.expect_err("a refusal");
    assert!(refused.to_string().contains("invalid_client"), "{refused}");
}

/// Its assertions have a type of their own, and no client id stands beside them.
#[tokio::test]
async fn client_credentials_with_a_signed_assertion() {
    let url = server("jwt");
    for (name, algorithm) in [("ES256", JwtSigningAlgorithm::ES256), ("RS256", JwtSigningAlgorithm::RS256)] {
        let file = stage()["keys"][name].as_str().expect("a key").to_owned();
        let config = ClientCredentialsConfig::PrivateKeyJwt {
            client_id: "robot-keys".to_owned(),
            signing_key: std::fs::read(file).expect("a key"),
            signing_algorithm: algorithm,
            token_endpoint_audience: None,
            scopes: vec!["read".to_owned()],
            resource: Some(url.clone()),
        };
        assert_robot_seen(&robot(config, &url).await.expect("a token"), &url, "robot-keys");
    }
}

/// rmcp forgives a server of FastMCP the slash that it adds to the issuer; tokens and callback name the issuer without.
#[tokio::test]
async fn issuer_with_a_slash() {
    let url = server("slash");
    let state = sign_in(&url, known("static")).await.expect("a login");
    let connected = connect(&url, manager(state)).await;
    assert_seen(&whoami(&connected).await, &url, "static", &["read"]);
}

#[tokio::test]
async fn issuer_of_the_callback() {
    let issuer = stage()["issuer"].as_str().expect("an issuer").to_owned();
    let encoded: String = reqwest::Url::parse_with_params("http://x", [("iss", &issuer)])
        .expect("a URL")
        .query()
        .expect("iss")
        .to_owned();
    for changed in ["iss=https%3A%2F%2Fother.test", ""] {
        let mut state = OAuthState::new(server("jwt"), None).await.expect("a state");
        state.start_authorization(known("static")).await.expect("a request");
        let callback = visit(&state.get_authorization_url().await.expect("a URL")).await;
        assert!(callback.contains(&encoded), "{callback}");
        let refused = state.handle_callback_url(&callback.replace(&encoded, changed)).await;
        let refused = refused.expect_err("a refusal").to_string();
        assert!(refused.contains("ssuer"), "{refused}");
    }
}
