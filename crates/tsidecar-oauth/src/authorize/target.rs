//! The proven place to redirect to, and the locations that lead there.

use url::form_urlencoded::byte_serialize;

use super::{DirectError, RedirectReason, ResponseMode};
use crate::client::Client;
use crate::error::plain;
use crate::params::Params;
use crate::secret::AuthorizationCode;
use crate::uri::{Issuer, is_web, policy_source};

/// So many characters of a redirect URI that is not registered are shown.
const SHOWN_LENGTH: usize = 200;

/// So many registered ones are shown beside it.
const SHOWN: usize = 5;

/// A proven place to redirect to: registered redirect URI, the request's `state` and `response_mode`, and our issuer.
#[derive(Clone, Debug)]
pub struct RedirectTarget {
    uri: String,
    state: Option<String>,
    mode: ResponseMode,
    issuer: Issuer,
}

impl RedirectTarget {
    /// Proves the redirect URI of a request against its client. A mode that we do not serve, or that the URI cannot take, counts
    /// as `query`: that is where its error goes.
    ///
    /// # Errors
    /// [`DirectError`] when the client is unknown or off, or the redirect URI missing or not registered.
    pub fn prove(params: &Params, client: Option<&Client>, issuer: &Issuer) -> Result<Self, DirectError> {
        let client = client.filter(|client| !client.is_disabled()).ok_or(DirectError::UnknownClient)?;
        let presented = params.get("redirect_uri").ok_or(DirectError::MissingRedirect)?;
        if !client.redirects_to(presented) {
            return Err(unregistered(presented, client));
        }
        let state = params.get("state").map(str::to_owned);
        let mode = params.get("response_mode").and_then(ResponseMode::parse).unwrap_or_default();
        let mode = if is_web(presented) { mode } else { ResponseMode::Query };
        Ok(Self { uri: presented.to_owned(), state, mode, issuer: issuer.clone() })
    }

    /// The redirect URI as it was presented.
    pub fn redirect_uri(&self) -> &str {
        &self.uri
    }

    /// The expression that lets a page of ours send the browser there: for `form-action` of its policy.
    pub fn policy_source(&self) -> Option<String> {
        policy_source(&self.uri)
    }

    /// Tells whether a form can be posted there.
    pub(super) fn takes_forms(&self) -> bool {
        is_web(&self.uri)
    }

    /// A success: `code`, `state`, `iss` (RFC 6749 §4.1.2, RFC 9207 §2).
    pub fn with_code(&self, code: &AuthorizationCode) -> AuthorizationResponse<'_> {
        self.answer(vec![("code", code.expose().to_owned())])
    }

    /// An error: `error`, `error_description`, `state`, `iss` (RFC 6749 §4.1.2.1, RFC 9207 §2).
    pub fn with_error(&self, reason: RedirectReason) -> AuthorizationResponse<'_> {
        self.with_detail(reason, &reason.to_string())
    }

    /// An error with a description of its own, for people.
    pub fn with_detail(&self, reason: RedirectReason, description: &str) -> AuthorizationResponse<'_> {
        self.answer(vec![
            ("error", reason.code().as_str().to_owned()),
            ("error_description", plain(description)),
        ])
    }

    fn answer(&self, mut fields: Vec<(&'static str, String)>) -> AuthorizationResponse<'_> {
        fields.extend(self.state.iter().map(|state| ("state", state.clone())));
        fields.push(("iss", self.issuer.as_str().to_owned()));
        AuthorizationResponse { target: self, fields }
    }
}

/// What goes back to the client, in the mode that it asked for: `iss` stands in it exactly once, whatever it says.
pub struct AuthorizationResponse<'a> {
    target: &'a RedirectTarget,
    fields: Vec<(&'static str, String)>,
}

impl AuthorizationResponse<'_> {
    /// How it travels.
    pub const fn mode(&self) -> ResponseMode {
        self.target.mode
    }

    /// Where it goes.
    pub const fn target(&self) -> &RedirectTarget {
        self.target
    }

    /// The parameters, for the fields of a form.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.fields
    }

    /// The location of a redirect: the client's own query, then the parameters.
    pub fn location(&self) -> String {
        let mut location = self.target.uri.clone();
        let mut join = match location.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        for (name, value) in &self.fields {
            location.push_str(join);
            location.push_str(name);
            location.push('=');
            byte_serialize(value.as_bytes()).for_each(|piece| location.push_str(piece));
            join = "&";
        }
        location
    }
}

fn unregistered(presented: &str, client: &Client) -> DirectError {
    let shown: Vec<_> = client.redirect_uris().iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if client.redirect_uris().len() > SHOWN { ", …" } else { "" };
    let registered = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") + more };
    DirectError::UnregisteredRedirect { asked: presented.chars().take(SHOWN_LENGTH).collect(), registered }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientSpec;
    use crate::client::tests::confidential;
    use crate::time::UnixTime;

    fn target(uri: &str, state: &str) -> RedirectTarget {
        let spec = ClientSpec { redirect_uris: vec![uri.to_owned()], ..confidential() };
        let client = Client::new(spec, UnixTime::default()).unwrap();
        let encoded: String = byte_serialize(uri.as_bytes()).collect();
        let params = Params::parse(format!("redirect_uri={encoded}&state={state}").as_bytes()).unwrap();
        RedirectTarget::prove(&params, Some(&client), &Issuer::parse("https://idp.tail.test").unwrap())
            .unwrap()
    }

    #[test]
    fn the_clients_own_query_is_kept() {
        let code = AuthorizationCode::new("abc".to_owned());
        for (uri, location) in [
            ("https://a.test/cb", "https://a.test/cb?code=abc&state=s&iss=https%3A%2F%2Fidp.tail.test"),
            (
                "https://a.test/cb?t=1",
                "https://a.test/cb?t=1&code=abc&state=s&iss=https%3A%2F%2Fidp.tail.test",
            ),
            ("https://a.test/cb?", "https://a.test/cb?code=abc&state=s&iss=https%3A%2F%2Fidp.tail.test"),
            ("app.x:///cb", "app.x:///cb?code=abc&state=s&iss=https%3A%2F%2Fidp.tail.test"),
        ] {
            assert_eq!(target(uri, "s").with_code(&code).location(), location);
        }
    }

    #[test]
    fn state_travels_whole_and_cannot_break_out() {
        let location = target("https://a.test/cb", "a%26code%3Devil%23%0d%0a")
            .with_error(RedirectReason::Prompt)
            .location();
        assert_eq!(
            location,
            "https://a.test/cb?error=invalid_request&error_description=prompt%3Dnone+cannot+be+combined+with+other+values\
             &state=a%26code%3Devil%23%0D%0A&iss=https%3A%2F%2Fidp.tail.test"
        );
        let long = "x".repeat(2_000);
        assert!(
            target("https://a.test/cb", &long).with_error(RedirectReason::Nonce).location().contains(&long)
        );
    }

    /// OAuth 2.0 Form Post Response Mode §2, RFC 9207 §2: the same parameters, `iss` once, in success and in error.
    #[test]
    fn a_form_has_the_same_fields() {
        let code = AuthorizationCode::new("abc".to_owned());
        let target = target("https://a.test:8443/cb?t=1", "s&response_mode=form_post");
        let success = target.with_code(&code);
        assert_eq!(success.mode(), ResponseMode::FormPost);
        assert_eq!(success.target().redirect_uri(), "https://a.test:8443/cb?t=1");
        assert_eq!(success.target().policy_source().unwrap(), "https://a.test:8443");
        let fields = |answer: &AuthorizationResponse<'_>| {
            answer.fields().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(fields(&success), ["code=abc", "state=s", "iss=https://idp.tail.test"]);
        assert_eq!(
            fields(&target.with_error(RedirectReason::MaxAge)),
            [
                "error=invalid_request",
                "error_description=max_age must be a number of seconds",
                "state=s",
                "iss=https://idp.tail.test"
            ]
        );
    }

    #[test]
    fn what_takes_no_form_gets_a_query() {
        for (uri, mode, expected) in [
            ("https://a.test/cb", "query", ResponseMode::Query),
            ("https://a.test/cb", "fragment", ResponseMode::Query),
            ("https://a.test/cb", "", ResponseMode::Query),
            ("http://127.0.0.1/cb", "form_post", ResponseMode::FormPost),
            ("app.x:///cb", "form_post", ResponseMode::Query),
        ] {
            let target = target(uri, &format!("s&response_mode={mode}"));
            assert_eq!(target.with_error(RedirectReason::Broken).mode(), expected, "{uri} {mode}");
        }
    }

    #[test]
    fn nothing_is_proven_without_a_registered_redirect() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let client = Client::new(confidential(), UnixTime::default()).unwrap();
        let prove = |query: &str, client| {
            RedirectTarget::prove(&Params::parse(query.as_bytes()).unwrap(), client, &issuer).err()
        };
        assert_eq!(prove("redirect_uri=https://grafana.test/cb", None), Some(DirectError::UnknownClient));
        assert_eq!(prove("", Some(&client)), Some(DirectError::MissingRedirect));
        assert_eq!(
            prove("redirect_uri=https://evil.test/cb", Some(&client)),
            Some(DirectError::UnregisteredRedirect {
                asked: "https://evil.test/cb".into(),
                registered: "https://grafana.test/cb".into()
            })
        );
        let disabled =
            Client::new(ClientSpec { disabled: true, ..confidential() }, UnixTime::default()).unwrap();
        assert_eq!(
            prove("redirect_uri=https://grafana.test/cb", Some(&disabled)),
            Some(DirectError::UnknownClient)
        );
    }
}
