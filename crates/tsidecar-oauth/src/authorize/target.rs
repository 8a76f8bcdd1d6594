//! The proven place to redirect to, and the locations that lead there.

use url::form_urlencoded::byte_serialize;

use super::{DirectError, RedirectReason};
use crate::client::Client;
use crate::error::plain;
use crate::params::Params;
use crate::secret::AuthorizationCode;
use crate::uri::Issuer;

/// A proven place to redirect to: registered redirect URI, the request's `state`, and our issuer.
#[derive(Clone, Debug)]
pub struct RedirectTarget {
    uri: String,
    state: Option<String>,
    issuer: Issuer,
}

impl RedirectTarget {
    /// Proves the redirect URI of a request against its client.
    ///
    /// # Errors
    /// [`DirectError`] when the client is unknown or off, or the redirect URI missing or not registered.
    pub fn prove(params: &Params, client: Option<&Client>, issuer: &Issuer) -> Result<Self, DirectError> {
        let client = client.filter(|client| !client.is_disabled()).ok_or(DirectError::UnknownClient)?;
        let presented = params.get("redirect_uri").ok_or(DirectError::MissingRedirect)?;
        if !client.redirects_to(presented) {
            return Err(DirectError::UnregisteredRedirect);
        }
        let state = params.get("state").map(str::to_owned);
        Ok(Self { uri: presented.to_owned(), state, issuer: issuer.clone() })
    }

    /// The redirect URI as it was presented.
    pub fn redirect_uri(&self) -> &str {
        &self.uri
    }

    /// The location of a success: the client's own query, then `code`, `state`, `iss` (RFC 6749 §4.1.2, RFC 9207 §2).
    pub fn with_code(&self, code: &AuthorizationCode) -> String {
        self.location(&[("code", code.expose())])
    }

    /// The location of an error: `error`, `error_description`, `state`, `iss` (RFC 6749 §4.1.2.1, RFC 9207 §2).
    pub fn with_error(&self, reason: RedirectReason) -> String {
        self.with_detail(reason, &reason.to_string())
    }

    /// The location of an error with a description of its own, for people.
    pub fn with_detail(&self, reason: RedirectReason, description: &str) -> String {
        self.location(&[("error", reason.code().as_str()), ("error_description", &plain(description))])
    }

    fn location(&self, first: &[(&str, &str)]) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let all = first.iter().copied().chain(state).chain([("iss", self.issuer.as_str())]);
        let mut location = self.uri.clone();
        let mut join = match location.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        for (name, value) in all {
            location.push_str(join);
            location.push_str(name);
            location.push('=');
            byte_serialize(value.as_bytes()).for_each(|piece| location.push_str(piece));
            join = "&";
        }
        location
    }
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
            assert_eq!(target(uri, "s").with_code(&code), location);
        }
    }

    #[test]
    fn state_travels_whole_and_cannot_break_out() {
        let location =
            target("https://a.test/cb", "a%26code%3Devil%23%0d%0a").with_error(RedirectReason::Prompt);
        assert_eq!(
            location,
            "https://a.test/cb?error=invalid_request&error_description=prompt%3Dnone+cannot+be+combined+with+other+values\
             &state=a%26code%3Devil%23%0D%0A&iss=https%3A%2F%2Fidp.tail.test"
        );
        let long = "x".repeat(2_000);
        assert!(target("https://a.test/cb", &long).with_error(RedirectReason::Nonce).contains(&long));
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
            Some(DirectError::UnregisteredRedirect)
        );
        let disabled =
            Client::new(ClientSpec { disabled: true, ..confidential() }, UnixTime::default()).unwrap();
        assert_eq!(
            prove("redirect_uri=https://grafana.test/cb", Some(&disabled)),
            Some(DirectError::UnknownClient)
        );
    }
}
