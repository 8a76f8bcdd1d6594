//! Clients whose id is the URL of the document that describes them (Client ID Metadata Documents, draft-ietf-oauth-client-id-
//! metadata-document-01).
//!
//! Layer 2. What may be such an id, and what a document must say to be one. Fetching is not done here.

use std::fmt;

use serde_json::{Map, Value};
use url::Url;

use crate::client::{Client, ClientError, PkceRule};
use crate::id::{ClientId, IdError};
use crate::jose::json_object;
use crate::metadata::{ClientMetadata, MetadataError, Source};
use crate::time::UnixTime;
use crate::uri::{FetchUrl, RedirectUri, UriError};

/// The most bytes that a document may have (§6.6 of the draft recommends this number).
pub const LONGEST_DOCUMENT: usize = 5 * 1024;

/// What makes a URL unfit to be a client id (§3 of the draft).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdUrlError {
    /// Nothing that may be fetched.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// No path, or only `/`.
    #[error("has no path: a document's URL looks like https://HOST/PATH")]
    NoPath,
    /// Two parsers might read it differently, or it can be written in another way.
    #[error(
        "is not in its one usual spelling: small letters in scheme and host, no \":443\", no empty or dot segments, no encoded slash, backslash, dot or NUL in the path, no empty query"
    )]
    Spelling,
}

/// A client id that is a URL, in the one spelling that it has: ids are compared byte for byte, and two of them must never lead to
/// one document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdUrl(FetchUrl);

impl IdUrl {
    /// Checks a client id.
    ///
    /// # Errors
    /// [`IdUrlError`].
    ///
    /// ```
    /// use tsidecar_oauth::cimd::IdUrl;
    /// assert!(IdUrl::parse("https://app.test/oauth/client.json").is_ok());
    /// assert!(IdUrl::parse("https://app.test/a/%2e%2e/client.json").is_err());
    /// assert!(IdUrl::parse("https://app.test/a/..%2fb/client.json").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, IdUrlError> {
        let fetched = FetchUrl::parse(text)?;
        // The parser takes away dot segments, also percent-encoded ones, and default ports.
        let unchanged = Url::parse(text).is_ok_and(|url| url.as_str() == text);
        if !unchanged || text.ends_with('?') || !escapes_are_whole(text) {
            // `https://app.test` gets a slash from the parser, which is not what is wrong with it.
            let bare = fetched.target() == "/";
            return Err(if bare { IdUrlError::NoPath } else { IdUrlError::Spelling });
        }
        let path = fetched.target().split('?').next().unwrap_or_default();
        if path == "/" {
            return Err(IdUrlError::NoPath);
        }
        if path.contains("//") || may_lead_elsewhere(path) {
            return Err(IdUrlError::Spelling);
        }
        Ok(Self(fetched))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Where the document is.
    pub const fn url(&self) -> &FetchUrl {
        &self.0
    }
}

impl fmt::Display for IdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a server may read a path in another way than it stands there: many decode it before they look for its segments (nginx),
/// take a backslash for a slash (IIS), end it at a NUL, or cut segments at a semicolon (Tomcat).
fn may_lead_elsewhere(path: &str) -> bool {
    let decoded_early = path.split('%').skip(1).any(|rest| {
        let code = rest.get(..2).unwrap_or_default();
        ["2f", "5c", "2e", "00"].iter().any(|bad| code.eq_ignore_ascii_case(bad))
    });
    let cut = path.split('/').filter_map(|segment| segment.split_once(';'));
    decoded_early || cut.map(|(name, _)| name).any(|name| matches!(name, "" | "." | ".."))
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().iter().take(2).filter(|byte| byte.is_ascii_hexdigit());
        digits.count() == 2
    })
}

/// Why a document does not describe the client at its URL (§4 of the draft).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than 5 KiB.
    #[error("the document is longer than {LONGEST_DOCUMENT} bytes")]
    TooLong,
    /// Its URL is too long for a client id.
    #[error("the URL of the document, as a client_id, {0}")]
    Id(#[from] IdError),
    /// No `client_id`.
    #[error("the document has no client_id, which must be its own URL")]
    NoId,
    /// `client_id` is not the URL, byte for byte (attack A16).
    #[error("the client_id in the document is not its own URL, letter for letter")]
    OtherId,
    /// No `client_name`.
    #[error("the document has no client_name")]
    NoName,
    /// A secret, which everybody could read.
    #[error("the document has a client_secret, which everybody can read")]
    Secret,
    /// Its metadata cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What its metadata describe is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Judges a document: what it says of the client whose id is its URL. Everything issued before `not_before` is void.
///
/// A client lists what it needs elsewhere, too: what is no text in a list is left out, as unknown grant types are, and redirect
/// URIs that strangers may not have, so long as one remains.
///
/// # Errors
/// [`DocumentError`] with the first thing that is wrong.
pub fn judge(url: &IdUrl, document: &[u8], not_before: UnixTime) -> Result<Client, DocumentError> {
    if document.len() > LONGEST_DOCUMENT {
        return Err(DocumentError::TooLong);
    }
    let id = ClientId::parse(url.as_str())?;
    let mut members = json_object(document).map_err(MetadataError::from)?;
    match members.get("client_id").and_then(Value::as_str) {
        None => return Err(DocumentError::NoId),
        Some(named) if named != url.as_str() => return Err(DocumentError::OtherId),
        Some(_) => (),
    }
    if members.get("client_secret").is_some_and(|secret| !secret.is_null()) {
        return Err(DocumentError::Secret);
    }
    let name = members.get("client_name").and_then(Value::as_str).unwrap_or_default();
    if name.trim().is_empty() {
        return Err(DocumentError::NoName);
    }
    leave_out(&mut members);
    let metadata = ClientMetadata::parse(Value::Object(members).to_string().as_bytes(), Source::Document)?;
    let spec = metadata.into_spec(&id, Vec::new(), PkceRule::Required);
    Ok(Client::of_document(spec, not_before)?)
}

fn leave_out(members: &mut Map<String, Value>) {
    let lists = ["grant_types", "response_types", "token_endpoint_auth_methods_supported"];
    let uris = ["redirect_uris", "post_logout_redirect_uris"];
    for name in lists.into_iter().chain(uris) {
        let Some(Value::Array(list)) = members.get_mut(name) else { continue };
        list.retain(Value::is_string);
        let may_have =
            |uri: &Value| uri.as_str().is_some_and(|uri| RedirectUri::parse_of_stranger(uri).is_ok());
        if uris.contains(&name) && list.iter().any(may_have) {
            list.retain(may_have);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::client::{AuthMethod, GrantType};

    const URL: &str = "https://app.test/oauth/client.json";

    #[test]
    fn an_id_has_one_spelling() {
        for good in [
            URL,
            "https://claude.ai/oauth/claude-code-client-metadata",
            "https://app.test:8443/c",
            "https://app.test/c/",
            "https://app.test/c?tenant=1",
            "https://app.test/%41",
            "https://app.test/c;v=1",
            "https://app.test/c?next=a%2fb..;",
            "https://93.184.215.14/c",
            "https://[2600::1]/c",
        ] {
            assert_eq!(IdUrl::parse(good).map(|url| url.as_str().to_owned()).as_deref(), Ok(good));
        }
        for (bad, error) in [
            ("http://app.test/c", IdUrlError::Uri(UriError::NotHttps)),
            ("https://app.test", IdUrlError::NoPath),
            ("https://app.test/", IdUrlError::NoPath),
            ("https://app.test/?c", IdUrlError::NoPath),
            ("https://app.test?c", IdUrlError::Spelling),
            ("HTTPS://app.test/c", IdUrlError::Spelling),
            ("https://App.test/c", IdUrlError::Spelling),
            ("https://app.test:443/c", IdUrlError::Spelling),
            ("https://app.test:08443/c", IdUrlError::Spelling),
            ("https://app.test:/c", IdUrlError::Spelling),
            ("https://app.test//c", IdUrlError::Spelling),
            ("https://app.test/c//", IdUrlError::Spelling),
            ("https://app.test/c?", IdUrlError::Spelling),
            ("https://app.test/%4", IdUrlError::Spelling),
            ("https://app.test/%zz/c", IdUrlError::Spelling),
            ("https://app.test/a/../c", IdUrlError::Uri(UriError::Path)),
            ("https://app.test/./c", IdUrlError::Uri(UriError::Path)),
            ("https://app.test/a/%2e%2E/c", IdUrlError::Spelling),
            ("https://app.test/%2e/c", IdUrlError::Spelling),
            ("https://app.test/.%2e/c", IdUrlError::Spelling),
            ("https://app.test/a/..%2fb/c.json", IdUrlError::Spelling),
            ("https://app.test/a/..%2Fb/c.json", IdUrlError::Spelling),
            ("https://app.test/a/..%5cb/c.json", IdUrlError::Spelling),
            ("https://app.test/a/..%5Cb/c.json", IdUrlError::Spelling),
            ("https://app.test/a/..;/b/c.json", IdUrlError::Spelling),
            ("https://app.test/a/.;v=1/c.json", IdUrlError::Spelling),
            ("https://app.test/a/;/c.json", IdUrlError::Spelling),
            ("https://app.test/c%2ejson", IdUrlError::Spelling),
            ("https://app.test/c%00.json", IdUrlError::Spelling),
            ("https://app.test/a/..\\b/c.json", IdUrlError::Uri(UriError::Malformed)),
            ("https://app.test/c#", IdUrlError::Uri(UriError::Fragment)),
            ("https://u@app.test/c", IdUrlError::Uri(UriError::UserInfo)),
            ("https://@app.test/c", IdUrlError::Uri(UriError::Host)),
            ("https://app.test./c", IdUrlError::Uri(UriError::Host)),
            ("https://0x7f.1/c", IdUrlError::Uri(UriError::Host)),
            ("https://%61pp.test/c", IdUrlError::Uri(UriError::Host)),
            ("https://app.test\\c", IdUrlError::Uri(UriError::Malformed)),
            ("https:///c", IdUrlError::Uri(UriError::Host)),
        ] {
            assert_eq!(IdUrl::parse(bad), Err(error), "{bad}");
        }
    }

    /// The document of a public client, with members in place of its own; a `null` takes one away.
    fn document(changes: &Value) -> String {
        let mut all = json!({
            "client_id": URL, "client_name": "App", "redirect_uris": ["http://127.0.0.1/cb", "https://app.test/cb"]
        });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        all.to_string()
    }

    fn judged(changes: &Value) -> Result<Client, DocumentError> {
        judge(&IdUrl::parse(URL).unwrap(), document(changes).as_bytes(), UnixTime::from_secs(7))
    }

    #[test]
    fn a_document_describes_a_client() {
        let client = judged(&json!({
            "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "x:y"],
            "response_types": ["code", "code token"], "scope": "mcp", "logo_uri": "https://app.test/logo.png",
            "application_type": "native", "whatever": [{}],
            "redirect_uris": ["http://127.0.0.1/cb", 5, null], "token_endpoint_auth_methods_supported": ["none", {}],
        }))
        .unwrap();
        assert_eq!((client.id().as_str(), client.name()), (URL, "App"));
        assert!(client.is_public() && client.redirects_to("http://127.0.0.1:5000/cb"));
        assert_eq!(client.pkce(), PkceRule::Required);
        assert_eq!(client.not_before().as_secs(), 7);
        let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::DeviceCode];
        assert_eq!(client.spec().grant_types, grants);
    }

    #[test]
    fn what_is_no_document_of_its_url() {
        for (changes, error) in [
            (json!({ "client_id": null }), DocumentError::NoId),
            (json!({ "client_id": 5 }), DocumentError::NoId),
            (json!({ "client_id": "https://app.test/oauth/client.json?" }), DocumentError::OtherId),
            (json!({ "client_id": "https://APP.test/oauth/client.json" }), DocumentError::OtherId),
            (json!({ "client_id": "https://claude.ai/oauth/client.json" }), DocumentError::OtherId),
            (json!({ "client_name": null }), DocumentError::NoName),
            (json!({ "client_name": " " }), DocumentError::NoName),
            (json!({ "client_name": ["App"] }), DocumentError::NoName),
            (json!({ "client_secret": "x" }), DocumentError::Secret),
            (json!({ "client_secret": "" }), DocumentError::Secret),
            (json!({ "redirect_uris": null }), DocumentError::Metadata(MetadataError::NoRedirect)),
            (json!({ "redirect_uris": [] }), DocumentError::Metadata(MetadataError::NoRedirect)),
            (json!({ "x": "x".repeat(LONGEST_DOCUMENT) }), DocumentError::TooLong),
        ] {
            assert_eq!(judged(&changes).err(), Some(error), "{changes}");
        }
        for method in ["client_secret_basic", "client_secret_post", "client_secret_jwt", "tls_client_auth"] {
            let error = judged(&json!({ "token_endpoint_auth_method": method })).unwrap_err();
            assert!(error.to_string().starts_with("token_endpoint_auth_method "), "{error}");
        }
        for text in ["", "[]", "<html>", "null", r#"{"client_id":"a","client_id":"b"}"#] {
            let judged = judge(&IdUrl::parse(URL).unwrap(), text.as_bytes(), UnixTime::default());
            assert!(matches!(judged, Err(DocumentError::Metadata(MetadataError::Json(_)))), "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        assert!(judge(&IdUrl::parse(URL).unwrap(), deep.as_bytes(), UnixTime::default()).is_err());
    }

    /// A51: what strangers may never have is nobody's redirect URI; what else the client lists works.
    #[test]
    fn redirect_uris_that_strangers_may_not_have_are_left_out() {
        let bad =
            ["intent:x", "ms-msdt:/id", "javascript:alert(1)", "http://app.test/cb", "https://a.test/#x"];
        let mut all = bad.to_vec();
        all.push("https://app.test/cb");
        let client = judged(&json!({ "redirect_uris": all })).unwrap();
        assert_eq!(client.spec().redirect_uris, ["https://app.test/cb"]);
        let error = judged(&json!({ "redirect_uris": bad })).unwrap_err();
        assert!(error.to_string().starts_with("redirect_uri \"intent:x\""), "{error}");
    }

    /// The strongest method that both can do; `none` only of a document that offers it.
    #[test]
    fn the_method_is_the_strongest_of_both() {
        let keys = "https://app.test/jwks.json";
        let both = json!(["none", "private_key_jwt"]);
        for (changes, method) in [
            (json!({}), AuthMethod::None),
            (json!({ "token_endpoint_auth_method": "none" }), AuthMethod::None),
            (
                json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": keys }),
                AuthMethod::PrivateKeyJwt,
            ),
            (
                json!({ "token_endpoint_auth_methods_supported": both, "jwks_uri": keys }),
                AuthMethod::PrivateKeyJwt,
            ),
            (json!({ "token_endpoint_auth_methods_supported": both }), AuthMethod::None),
        ] {
            let client = judged(&changes).unwrap();
            let accepted: Vec<_> = AuthMethod::ALL.into_iter().filter(|m| client.accepts(*m)).collect();
            assert_eq!(accepted, [method], "{changes}");
        }
        let keyless = json!({ "token_endpoint_auth_method": "private_key_jwt" });
        assert_eq!(judged(&keyless).unwrap_err(), MetadataError::NoKeys.into());
    }

    proptest! {
        /// What is an id is what the parser of URLs makes of it, so no other spelling leads to the same document; and it leads to the
        /// host that stands in it. Nor do the readings of servers lead elsewhere: those that decode the path before they look for
        /// its segments, take a backslash for a slash, or cut segments at a semicolon.
        #[test]
        fn no_two_ids_are_one_url(
            text in r"https://(app\.test|a\.test:8443|[a-zA-Z0-9.%:@-]{1,12}|\[::1\])(/([?#.;%2eE:aA@/-]|\.\.|%2[eEfF]|%5[cC]|%00|%41){0,12})?"
        ) {
            let Ok(id) = IdUrl::parse(&text) else { return Ok(()) };
            let url = Url::parse(&text).unwrap();
            prop_assert_eq!(url.as_str(), &text);
            let (host, target) = (id.url().host(), id.url().target());
            let port = text["https://".len()..].strip_prefix(host).and_then(|rest| rest.strip_suffix(target));
            prop_assert!(port.is_some_and(|port| port.is_empty() || (port.starts_with(':') && port != ":443")));
            let path = target.split('?').next().unwrap();
            let dots = ["/../", "/./", "//"].iter().any(|dots| path.contains(dots));
            prop_assert!(path.len() > 1 && !dots);
            // The alphabet has none of `=&+`, so the decoder of forms decodes the path and nothing else.
            let (decoded, _) = url::form_urlencoded::parse(path.as_bytes()).next().unwrap();
            let decoded = decoded.replace('\\', "/");
            let segments: Vec<_> = decoded.split('/').map(|segment| segment.split(';').next().unwrap()).collect();
            prop_assert_eq!(segments.len(), path.split('/').count());
            let bad = |segment: &&str| matches!(*segment, "." | "..") || segment.contains('\0');
            prop_assert!(!segments.iter().any(bad) && !segments[1..segments.len() - 1].contains(&""));
        }

        /// Whatever a document says, it makes a client of its own URL without a secret, or none.
        #[test]
        fn no_member_makes_more_of_a_document(
            name in "(redirect_uris|grant_types|client_secret|client_id|jwks|jwks_uri|token_endpoint_auth_methods?(_supported)?|response_types|scope)",
            value in "(\"[ -~&&[^\"\\\\]]{0,20}\"|\\[(\"(none|private_key_jwt|client_secret_post|intent:x|javascript:x|https://app.test/cb)\",)?[0-9]\\]|null|[0-9]|\\{\\})",
        ) {
            let Ok(value) = serde_json::from_str::<Value>(&value) else { return Ok(()) };
            let Ok(client) = judged(&json!({ name: value })) else { return Ok(()) };
            prop_assert_eq!(client.id().as_str(), URL);
            let secret = [AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost];
            prop_assert!(client.backchannel().is_none() && !secret.iter().any(|method| client.accepts(*method)));
            for uri in client.redirect_uris() {
                prop_assert!(RedirectUri::parse_of_stranger(uri.as_str()).is_ok());
            }
        }
    }
}
