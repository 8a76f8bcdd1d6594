//! Revocation (RFC 7009): which grant a token ends. Any token of a grant ends the whole grant (design section 8).
//!
//! Layer 2.

use crate::client_auth::AuthenticatedClient;
use crate::grant::Grant;
use crate::token::TokenError;

/// Judges the revocation of a token whose seal or signature is ours, by the grant that it names.
///
/// An expired access token and a refresh token that was rotated away end the grant, too: their owner wants it ended. The kind of
/// the token and `token_type_hint` play no part (RFC 7009 §2.1: the hint only speeds up the search).
///
/// # Errors
/// [`TokenError::WrongClient`] for the token of another client: RFC 7009 §2.1 wants that refused, and the client told. Nothing is
/// revoked then. [`TokenError::WeakerAuthentication`] as at a refresh.
pub fn check(grant: &Grant, client: &AuthenticatedClient) -> Result<(), TokenError> {
    let facts = grant.facts();
    if facts.client != *client.client().id() {
        return Err(TokenError::WrongClient);
    }
    if client.method().at_least(facts.method) { Ok(()) } else { Err(TokenError::WeakerAuthentication) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{confidential, public};
    use crate::client::{AuthMethod, ClientSpec};
    use crate::client_auth::tests::authenticated;
    use crate::grant::GrantFacts;
    use crate::settle::tests::{at, grant};

    #[test]
    fn a_client_ends_its_own_grants_only() {
        let own = authenticated(public());
        assert_eq!(check(&grant(), &own), Ok(()));
        let other = authenticated(ClientSpec { id: "other".to_owned(), ..public() });
        assert_eq!(check(&grant(), &other), Err(TokenError::WrongClient));
    }

    #[test]
    fn a_stronger_grant_needs_its_proof() {
        let facts = GrantFacts { method: AuthMethod::ClientSecretBasic, ..grant().facts().clone() };
        let strong = Grant::new(grant().id(), facts, at(1_000));
        assert_eq!(check(&strong, &authenticated(public())), Err(TokenError::WeakerAuthentication));
        let own = authenticated(ClientSpec { id: "cli".to_owned(), ..confidential() });
        assert_eq!(check(&strong, &own), Ok(()));
        assert_eq!(check(&grant(), &own), Ok(()), "more than was asked for");
    }
}
