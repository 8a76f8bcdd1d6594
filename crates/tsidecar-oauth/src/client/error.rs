//! What can be wrong with the description of a client.

use crate::id::IdError;
use crate::jose::JwkError;
use crate::uri::UriError;

/// What is wrong with the description of a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The id is no client id.
    #[error("id {0}")]
    Id(#[from] IdError),
    /// HTTP Basic reads these in two ways, depending on whether a client encodes what it sends (RFC 6749 §2.3.1).
    #[error(
        "id has a '+' or '%', which clients spell in two ways in HTTP Basic; use letters, digits, '-', '_' and '.'"
    )]
    Ambiguous,
    /// Ids that are URLs are kept for clients with a document there.
    #[error("id is an https URL, which is kept for clients that publish their description there")]
    UrlId,
    /// `tag:…` is kept for workloads.
    #[error("id starts with \"tag:\", which is kept for tagged nodes")]
    TagId,
    /// The name is empty, too long or has control characters.
    #[error("name must have 1 to 100 characters, none of them a control character")]
    Name,
    /// A confidential client without secret and keys, or a public one with a secret.
    #[error("needs a secret, or keys of its own (jwks, jwks_uri), or public = true")]
    Credentials,
    /// `client_credentials` for a client that proves nothing.
    #[error(
        "a public client has no credentials of its own: leave \"client_credentials\" out of grant_types, or give it a secret or keys (jwks, jwks_uri)"
    )]
    PublicCredentials,
    /// More than two secrets.
    #[error("has more than two secrets")]
    TooManySecrets,
    /// No redirect URI, or more than 32.
    #[error("needs 1 to 32 redirect_uris")]
    RedirectCount,
    /// A redirect URI that cannot be used.
    #[error("redirect_uri {uri:?} {reason}")]
    RedirectUri {
        /// The URI as it was written.
        uri: String,
        /// What is wrong with it.
        reason: UriError,
    },
    /// `grant_types` without a grant that begins with something.
    #[error(
        "grant_types must contain one of \"authorization_code\", \"urn:ietf:params:oauth:grant-type:device_code\", \"client_credentials\" and \"urn:ietf:params:oauth:grant-type:token-exchange\""
    )]
    GrantTypes,
    /// `redirect_uris` of a client that never redirects.
    #[error("redirect_uris are of no use without \"authorization_code\" in grant_types")]
    NeedlessRedirects,
    /// A strict method that the client cannot use.
    #[error(
        "token_endpoint_auth_method does not fit: a public client has \"none\", a confidential one a secret, or keys and \"private_key_jwt\""
    )]
    StrictMethod,
    /// `pkce` weaker than a public client may have.
    #[error("a public client always needs PKCE: leave out pkce, or write pkce = \"required\"")]
    PublicPkce,
    /// A JWK set that cannot be used.
    #[error("jwks: {0}")]
    Keys(JwkError),
    /// A `jwks_uri` that cannot be fetched.
    #[error("jwks_uri {0}")]
    KeysUri(UriError),
    /// Requests that must be signed, and no key to verify them with.
    #[error("require_signed_request_object needs keys of the client (jwks, jwks_uri)")]
    NoRequestKeys,
    /// More than 32 URIs to return to after a logout.
    #[error("has more than 32 post_logout_redirect_uris")]
    PostLogoutCount,
    /// A URI to return to after a logout that cannot be used.
    #[error("post_logout_redirect_uri {uri:?} {reason}")]
    PostLogoutUri {
        /// The URI as it was written.
        uri: String,
        /// What is wrong with it.
        reason: UriError,
    },
    /// A `backchannel_logout_uri` to which nothing can be posted.
    #[error("backchannel_logout_uri {0}")]
    BackchannelUri(UriError),
    /// No algorithm at all for assertions.
    #[error("assertion_algs must name at least one of RS256, PS256, ES256 and EdDSA")]
    AssertionAlgs,
    /// A life out of range.
    #[error("{name} must be between {least} and {most} seconds")]
    Life {
        /// The key of the life.
        name: &'static str,
        /// Shortest, in seconds.
        least: u64,
        /// Longest, in seconds.
        most: u64,
    },
}
