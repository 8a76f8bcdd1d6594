//! A login as a careful application makes it: discovery, PKCE, state, nonce, `iss`, then the code, userinfo and a refresh.
//!
//! The ID token's signature is not checked: it comes straight from the token endpoint (OpenID Connect Core §3.1.3.7, 6). The
//! relying parties of `tests/clients` check it.

use std::{io, net::SocketAddr};

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION},
};
use serde_json::Value;
use tsidecar_oauth::secret::ClientSecret;

use super::http::{fetch, form, member, query};
use crate::entropy;

/// An application at an issuer.
#[derive(Clone)]
pub struct Party {
    /// The issuer, as the application is told.
    pub issuer: String,
    /// Where the issuer listens.
    pub address: SocketAddr,
    /// `client_id`.
    pub client_id: String,
    /// The secret of a confidential client.
    pub client_secret: Option<String>,
    /// `redirect_uri`.
    pub redirect_uri: String,
    /// `resource`, if the application wants a token for one.
    pub resource: Option<String>,
}

/// A login under way: what the application keeps in the browser's session.
pub struct Login {
    /// Where the browser is sent.
    pub url: String,
    /// `state`.
    pub state: String,
    nonce: String,
    verifier: String,
}

/// What an application got.
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, if there is one.
    pub refresh_token: Option<String>,
    /// The claims of the ID token, if there is one.
    pub claims: Value,
    /// The granted scope.
    pub scope: String,
    /// How long the access token lives, in seconds.
    pub expires_in: u64,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The issuer could not be reached.
    #[error("{path} cannot be reached: {source}")]
    Unreachable {
        /// What was asked.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The issuer refused.
    #[error("{path} answered {status}: {said}")]
    Refused {
        /// What was asked.
        path: String,
        /// The status.
        status: StatusCode,
        /// `error` and `error_description`.
        said: String,
    },
    /// Something is not as the specifications have it.
    #[error("{0}")]
    Wrong(&'static str),
}

impl Party {
    /// Reads the provider's metadata and its keys; returns how many keys there are.
    ///
    /// # Errors
    /// [`LoginError`], also when the metadata names another issuer.
    pub async fn discover(&self) -> Result<usize, LoginError> {
        let metadata = self.get("/.well-known/openid-configuration").await?;
        expect(member(&metadata, "issuer") == self.issuer, "the metadata names another issuer")?;
        let jwks = member(&metadata, "jwks_uri").strip_prefix(&self.issuer);
        let jwks =
            self.get(jwks.ok_or(LoginError::Wrong("the metadata has no jwks_uri of the issuer"))?).await?;
        let keys = jwks.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
        expect(keys > 0, "the key set is empty")?;
        Ok(keys)
    }

    /// Begins a login.
    pub fn begin(&self) -> Login {
        let draw = || ClientSecret::generate(entropy::secret());
        let (state, nonce, verifier) = (draw(), draw(), draw());
        // A digest of a secret is SHA-256 of its text, which is what S256 asks of a verifier.
        let challenge = Base64UrlUnpadded::encode_string(verifier.digest().as_bytes());
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid profile email groups"),
            ("state", state.expose()),
            ("nonce", nonce.expose()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if let Some(resource) = &self.resource {
            pairs.push(("resource", resource));
        }
        Login {
            url: format!("{}/authorize?{}", self.issuer, form(&pairs)),
            state: state.expose().to_owned(),
            nonce: nonce.expose().to_owned(),
            verifier: verifier.expose().to_owned(),
        }
    }

    /// Visits `/authorize` as a browser would; returns the query of the redirect. Zero click: one request is enough.
    ///
    /// # Errors
    /// [`LoginError`], also when the answer is a page.
    pub async fn visit(&self, login: &Login) -> Result<String, LoginError> {
        let path = login.url.strip_prefix(&self.issuer).unwrap_or(&login.url);
        let (parts, body) = self.ask(Method::GET, path, HeaderMap::new(), String::new()).await?;
        let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        match location.and_then(|location| location.strip_prefix(&self.redirect_uri)?.strip_prefix('?')) {
            Some(query) => Ok(query.to_owned()),
            None => Err(refused(path, parts.status, &body)),
        }
    }

    /// Ends a login: checks what came back with the browser and redeems the code.
    ///
    /// # Errors
    /// [`LoginError`] with the first thing that is wrong.
    pub async fn finish(&self, login: &Login, callback: &str) -> Result<Tokens, LoginError> {
        expect(
            query(callback, "state").as_ref() == Some(&login.state),
            "the state is not the one that was sent",
        )?;
        expect(
            query(callback, "iss").as_ref() == Some(&self.issuer),
            "iss is missing or names another issuer",
        )?;
        if let Some(error) = query(callback, "error") {
            let said = query(callback, "error_description").unwrap_or_default();
            return Err(LoginError::Refused {
                path: "/authorize".to_owned(),
                status: StatusCode::FOUND,
                said: format!("{error} {said}"),
            });
        }
        let code = query(callback, "code").ok_or(LoginError::Wrong("there is no code"))?;
        let tokens = self
            .token(&[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", &self.redirect_uri),
                ("code_verifier", &login.verifier),
            ])
            .await?;
        let claims = &tokens.claims;
        expect(member(claims, "iss") == self.issuer, "the ID token names another issuer")?;
        expect(member(claims, "aud") == self.client_id, "the ID token is for another client")?;
        expect(member(claims, "nonce") == login.nonce, "the nonce is not the one that was sent")?;
        Ok(tokens)
    }

    /// Renews tokens.
    ///
    /// # Errors
    /// [`LoginError`], also when the subject changed.
    pub async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, LoginError> {
        let token = tokens.refresh_token.as_deref().ok_or(LoginError::Wrong("there is no refresh token"))?;
        let renewed = self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await?;
        expect(
            renewed.claims.get("sub") == tokens.claims.get("sub"),
            "the refreshed ID token is about somebody else",
        )?;
        Ok(renewed)
    }

    /// Asks who the access token is about.
    ///
    /// # Errors
    /// [`LoginError`], also when the subject is not that of the ID token.
    pub async fn userinfo(&self, tokens: &Tokens) -> Result<Value, LoginError> {
        let mut headers = HeaderMap::new();
        put(&mut headers, AUTHORIZATION.as_str(), &format!("Bearer {}", tokens.access_token))?;
        let claims = self.json(Method::GET, "/userinfo", headers, String::new()).await?;
        expect(claims.get("sub") == tokens.claims.get("sub"), "userinfo is about somebody else")?;
        Ok(claims)
    }

    async fn token(&self, pairs: &[(&str, &str)]) -> Result<Tokens, LoginError> {
        let mut pairs = pairs.to_vec();
        let mut headers = HeaderMap::new();
        put(&mut headers, CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")?;
        match &self.client_secret {
            Some(secret) => {
                let credentials = Base64::encode_string(format!("{}:{secret}", self.client_id).as_bytes());
                put(&mut headers, AUTHORIZATION.as_str(), &format!("Basic {credentials}"))?;
            }
            None => pairs.push(("client_id", &self.client_id)),
        }
        let answer = self.json(Method::POST, "/token", headers, form(&pairs)).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Tokens {
            access_token: text("access_token").ok_or(LoginError::Wrong("there is no access token"))?,
            refresh_token: text("refresh_token"),
            claims: text("id_token").map_or(Ok(Value::Null), |token| payload(&token))?,
            scope: text("scope").unwrap_or_default(),
            expires_in: answer.get("expires_in").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    async fn get(&self, path: &str) -> Result<Value, LoginError> {
        self.json(Method::GET, path, HeaderMap::new(), String::new()).await
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Value, LoginError> {
        let (parts, body) = self.ask(method, path, headers, body).await?;
        if parts.status != StatusCode::OK {
            return Err(refused(path, parts.status, &body));
        }
        serde_json::from_slice(&body).map_err(|_| LoginError::Wrong("the answer is not JSON"))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<(hyper::http::response::Parts, Bytes), LoginError> {
        let uri: Uri = path.parse().map_err(|_| LoginError::Wrong("a path is not a path"))?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        put(
            request.headers_mut(),
            HOST.as_str(),
            self.issuer.split_once("://").map_or("", |(_, host)| host),
        )?;
        let short = path.split('?').next().unwrap_or_default();
        fetch(self.address, request)
            .await
            .map_err(|source| LoginError::Unreachable { path: short.to_owned(), source })
    }
}

/// The claims of a JWT, unverified.
fn payload(token: &str) -> Result<Value, LoginError> {
    let part = token.split('.').nth(1).and_then(|part| Base64UrlUnpadded::decode_vec(part).ok());
    let claims = part.and_then(|json| serde_json::from_slice(&json).ok());
    claims.ok_or(LoginError::Wrong("the ID token is no JWT"))
}

fn refused(path: &str, status: StatusCode, body: &[u8]) -> LoginError {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = format!("{} {}", member(&answer, "error"), member(&answer, "error_description"));
    let path = path.split('?').next().unwrap_or_default().to_owned();
    LoginError::Refused { path, status, said }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), LoginError> {
    let name: hyper::header::HeaderName =
        name.parse().map_err(|_| LoginError::Wrong("a header name is bad"))?;
    headers.insert(name, value.parse().map_err(|_| LoginError::Wrong("a header value is bad"))?);
    Ok(())
}

fn expect(holds: bool, otherwise: &'static str) -> Result<(), LoginError> {
    if holds { Ok(()) } else { Err(LoginError::Wrong(otherwise)) }
}
