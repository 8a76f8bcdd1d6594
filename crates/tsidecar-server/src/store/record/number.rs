//! Enums of the core as numbers of our own: reordering one there changes nothing in a record.

use tsidecar_oauth::acr::Acr;
use tsidecar_oauth::algorithm::VerifyAlgorithm;
use tsidecar_oauth::client::{AuthMethod, GrantType, Login, PkceRule};
use tsidecar_oauth::jose::Algorithm;
use tsidecar_oauth::requested::{ClaimSet, RequestedClaims};

use super::DecodeError;

pub(super) const fn method_number(method: AuthMethod) -> u8 {
    match method {
        AuthMethod::None => 0,
        AuthMethod::ClientSecretBasic => 1,
        AuthMethod::ClientSecretPost => 2,
        AuthMethod::PrivateKeyJwt => 3,
        AuthMethod::Tailnet => 4,
    }
}

pub(super) const fn method(number: u8) -> Result<AuthMethod, DecodeError> {
    match number {
        0 => Ok(AuthMethod::None),
        1 => Ok(AuthMethod::ClientSecretBasic),
        2 => Ok(AuthMethod::ClientSecretPost),
        3 => Ok(AuthMethod::PrivateKeyJwt),
        4 => Ok(AuthMethod::Tailnet),
        _ => Err(DecodeError::Value("authentication method")),
    }
}

pub(super) const fn grant_type_number(grant_type: GrantType) -> u8 {
    match grant_type {
        GrantType::AuthorizationCode => 0,
        GrantType::RefreshToken => 1,
        GrantType::DeviceCode => 2,
        GrantType::ClientCredentials => 3,
        GrantType::TokenExchange => 4,
    }
}

pub(super) const fn grant_type(number: u8) -> Result<GrantType, DecodeError> {
    match number {
        0 => Ok(GrantType::AuthorizationCode),
        1 => Ok(GrantType::RefreshToken),
        2 => Ok(GrantType::DeviceCode),
        3 => Ok(GrantType::ClientCredentials),
        4 => Ok(GrantType::TokenExchange),
        _ => Err(DecodeError::Value("grant type")),
    }
}

pub(super) const fn pkce_number(rule: PkceRule) -> u8 {
    match rule {
        PkceRule::Required => 0,
        PkceRule::OrNonce => 1,
        PkceRule::Optional => 2,
    }
}

pub(super) const fn pkce(number: u8) -> Result<PkceRule, DecodeError> {
    match number {
        0 => Ok(PkceRule::Required),
        1 => Ok(PkceRule::OrNonce),
        2 => Ok(PkceRule::Optional),
        _ => Err(DecodeError::Value("PKCE rule")),
    }
}

pub(super) const fn acr_number(acr: Acr) -> u8 {
    match acr {
        Acr::Ambient => 0,
        Acr::Confirmed => 1,
    }
}

pub(super) const fn acr(number: u8) -> Result<Acr, DecodeError> {
    match number {
        0 => Ok(Acr::Ambient),
        1 => Ok(Acr::Confirmed),
        _ => Err(DecodeError::Value("authentication class")),
    }
}

pub(super) const fn requested([id_token, userinfo]: [u16; 2]) -> RequestedClaims {
    RequestedClaims { id_token: ClaimSet::from_bits(id_token), userinfo: ClaimSet::from_bits(userinfo) }
}

pub(super) const fn login_number(login: Login) -> u8 {
    match login {
        Login::Ambient => 0,
        Login::Session => 1,
        Login::Confirm => 2,
    }
}

pub(super) const fn login(number: u8) -> Result<Login, DecodeError> {
    match number {
        0 => Ok(Login::Ambient),
        1 => Ok(Login::Session),
        2 => Ok(Login::Confirm),
        _ => Err(DecodeError::Value("kind of login")),
    }
}

pub(super) const fn verify_number(algorithm: VerifyAlgorithm) -> u8 {
    match algorithm {
        VerifyAlgorithm::Rs256 => 0,
        VerifyAlgorithm::Ps256 => 1,
        VerifyAlgorithm::Es256 => 2,
        VerifyAlgorithm::EdDsa => 3,
    }
}

pub(super) const fn verify(number: u8) -> Result<VerifyAlgorithm, DecodeError> {
    match number {
        0 => Ok(VerifyAlgorithm::Rs256),
        1 => Ok(VerifyAlgorithm::Ps256),
        2 => Ok(VerifyAlgorithm::Es256),
        3 => Ok(VerifyAlgorithm::EdDsa),
        _ => Err(DecodeError::Value("verification algorithm")),
    }
}

pub(in crate::store) const fn algorithm_number(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Rs256 => 0,
        Algorithm::Es256 => 1,
        Algorithm::EdDsa => 2,
    }
}

pub(in crate::store) const fn algorithm(number: u8) -> Result<Algorithm, DecodeError> {
    match number {
        0 => Ok(Algorithm::Rs256),
        1 => Ok(Algorithm::Es256),
        2 => Ok(Algorithm::EdDsa),
        _ => Err(DecodeError::Value("signature algorithm")),
    }
}
