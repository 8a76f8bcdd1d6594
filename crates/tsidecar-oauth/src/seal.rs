//! Sealing: codes and opaque access tokens as authenticated encryption of their facts, refresh tokens as a MAC.
//!
//! Layer 1. XChaCha20-Poly1305 with nonces drawn outside; one HKDF subkey for each purpose; issuer, purpose, version and
//! key id are associated data, so nothing sealed for one purpose opens under another (attack A43).

mod facts;

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

pub use self::facts::{
    CodeResource, RedirectDigest, ResourceDigest, SealedAccess, SealedCode, SealedConsent, SealedForm,
};
use crate::consent::WithdrawalForm;
use crate::device::AnswerForm;
use crate::fresh::{FreshNonce, FreshSecret};
use crate::grant::Generation;
use crate::id::GrantId;
use crate::key::KeyState;
use crate::logout::LogoutForm;
use crate::secret::{AuthorizationCode, TokenText};
use crate::session::SessionCookie;
use crate::uri::Issuer;

/// The longest code that is ever sent, so that a redirect fits every browser, proxy and relying party.
pub const LONGEST_CODE: usize = 1_500;

/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 4_096;

/// The longest form token: with what else stands in the form it fits in a body (64 KiB).
pub const LONGEST_FORM: usize = 60 * 1024;

const ACCESS_PREFIX: &str = "tsat_";
const REFRESH_PREFIX: &str = "tsrt_";

/// The version of all sealed forms; part of the associated data.
const VERSION: u8 = 1;

/// Bytes before the ciphertext: key id and nonce.
const KEY_ID: usize = 4;
const NONCE: usize = 24;
const MAC: usize = 32;

/// What a sealed text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Code,
    Access,
    Refresh,
    Device,
    Logout,
    ProofNonce,
    Session,
    Form,
    Consent,
    Withdrawal,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Access => "access",
            Self::Refresh => "refresh",
            Self::Device => "device form",
            Self::Logout => "logout form",
            Self::ProofNonce => "proof nonce",
            Self::Session => "session",
            Self::Form => "form",
            Self::Consent => "consent form",
            Self::Withdrawal => "withdrawal form",
        }
    }
}

/// Why something sealed does not open. Callers answer the same to all of them; the log tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of the form of such a token at all.
    #[error("not a token of this kind")]
    Form,
    /// Sealed under a key that is not there (any more).
    #[error("sealed under an unknown key")]
    UnknownKey,
    /// Forged, altered, or sealed for another purpose or issuer.
    #[error("seal is broken")]
    Broken,
    /// The facts would make a code longer than 1,500 characters.
    #[error("the request is too large for a code")]
    TooLong,
    /// No sealing key is active.
    #[error("there is no active sealing key")]
    NoKey,
}

/// What a refresh token says once its MAC is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    grant: GrantId,
    generation: Generation,
}

impl RefreshToken {
    /// The refresh token of a generation of a grant.
    pub const fn new(grant: GrantId, generation: Generation) -> Self {
        Self { grant, generation }
    }

    /// The grant.
    pub const fn grant(self) -> GrantId {
        self.grant
    }

    /// The generation.
    pub const fn generation(self) -> Generation {
        self.generation
    }
}

/// Names a sealing key inside tokens: 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealingKeyId([u8; KEY_ID]);

impl SealingKeyId {
    /// The id from its bytes.
    pub const fn from_bytes(bytes: [u8; KEY_ID]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; KEY_ID] {
        &self.0
    }
}

/// Prints the id as commands and logs name it: 8 hexadecimal digits.
impl fmt::Display for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One sealing key, as its subkeys: one per purpose. The secret itself is not kept.
pub struct SealingKey {
    id: SealingKeyId,
    code: Subkey,
    access: Subkey,
    device: Subkey,
    logout: Subkey,
    session: Subkey,
    form: Subkey,
    consent: Subkey,
    withdrawal: Subkey,
    refresh: Hmac<Sha256>,
    refresh_context: Vec<u8>,
    proof_nonce: Hmac<Sha256>,
}

struct Subkey {
    cipher: XChaCha20Poly1305,
    associated: Vec<u8>,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

/// Counts the code keys of one sealing key: a clock that went back starts a new one, and outstanding codes die.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeEpoch(pub u32);

impl SealingKey {
    /// Derives the subkeys of a sealing key for one issuer.
    pub fn derive(id: SealingKeyId, secret: FreshSecret, issuer: &Issuer, epoch: CodeEpoch) -> Self {
        let mut secret = secret.into_bytes();
        let extract = Hkdf::<Sha256>::new(Some(b"tsidecar sealing key"), &secret);
        secret.zeroize();
        let cipher = |purpose, epoch| {
            let key = subkey::<32>(&extract, purpose, epoch);
            Subkey {
                cipher: XChaCha20Poly1305::new((&*key).into()),
                associated: associated(issuer, purpose, id),
            }
        };
        let hash = |purpose| {
            let key = subkey::<64>(&extract, purpose, CodeEpoch(0));
            <Hmac<Sha256> as KeyInit>::new((&*key).into())
        };
        Self {
            id,
            code: cipher(Purpose::Code, epoch),
            access: cipher(Purpose::Access, CodeEpoch(0)),
            device: cipher(Purpose::Device, CodeEpoch(0)),
            logout: cipher(Purpose::Logout, CodeEpoch(0)),
            session: cipher(Purpose::Session, CodeEpoch(0)),
            form: cipher(Purpose::Form, CodeEpoch(0)),
            consent: cipher(Purpose::Consent, CodeEpoch(0)),
            withdrawal: cipher(Purpose::Withdrawal, CodeEpoch(0)),
            refresh: hash(Purpose::Refresh),
            refresh_context: associated(issuer, Purpose::Refresh, id),
            proof_nonce: hash(Purpose::ProofNonce).chain_update(associated(issuer, Purpose::ProofNonce, id)),
        }
    }

    /// The id that stands in everything this key made.
    pub const fn id(&self) -> SealingKeyId {
        self.id
    }

    fn cipher(&self, purpose: Purpose) -> Result<&Subkey, SealError> {
        match purpose {
            Purpose::Code => Ok(&self.code),
            Purpose::Access => Ok(&self.access),
            Purpose::Device => Ok(&self.device),
            Purpose::Logout => Ok(&self.logout),
            Purpose::Session => Ok(&self.session),
            Purpose::Form => Ok(&self.form),
            Purpose::Consent => Ok(&self.consent),
            Purpose::Withdrawal => Ok(&self.withdrawal),
            Purpose::Refresh | Purpose::ProofNonce => Err(SealError::Form),
        }
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        self.refresh.clone().chain_update(&self.refresh_context).chain_update(body)
    }
}

#[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives up to 8,160 bytes; 32 and 64 always fit")]
fn subkey<const N: usize>(extract: &Hkdf<Sha256>, purpose: Purpose, epoch: CodeEpoch) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0u8; N]);
    let info = [purpose.as_str().as_bytes(), &epoch.0.to_be_bytes()];
    extract.expand_multi_info(&info, &mut *key).expect("a subkey is short");
    key
}

/// Issuer, purpose, version and key id, each with its length, so that no two combinations read alike.
fn associated(issuer: &Issuer, purpose: Purpose, id: SealingKeyId) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for part in [issuer.as_str().as_bytes(), purpose.as_str().as_bytes(), id.as_bytes()] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// All sealing keys with their states: the active one seals, every one opens.
#[derive(Debug, Default)]
pub struct SealingKeys(Vec<(SealingKey, KeyState)>);

impl SealingKeys {
    /// Collects keys; one should be active, the last one counts.
    pub fn new(keys: Vec<(SealingKey, KeyState)>) -> Self {
        Self(keys)
    }

    /// Every key and its state.
    pub fn iter(&self) -> impl Iterator<Item = (&SealingKey, KeyState)> {
        self.0.iter().map(|(key, state)| (key, *state))
    }

    fn active(&self) -> Result<&SealingKey, SealError> {
        let active = self.0.iter().rev().find(|(_, state)| *state == KeyState::Active);
        active.map(|(key, _)| key).ok_or(SealError::NoKey)
    }

    fn find(&self, id: &[u8]) -> Result<&SealingKey, SealError> {
        self.0.iter().map(|(key, _)| key).find(|key| key.id.0 == id).ok_or(SealError::UnknownKey)
    }

    /// Seals a code.
    ///
    /// # Errors
    /// [`SealError::TooLong`] when the code would be longer than [`LONGEST_CODE`], [`SealError::NoKey`].
    pub fn seal_code(&self, code: &SealedCode, nonce: FreshNonce) -> Result<AuthorizationCode, SealError> {
        let text = self.seal(Purpose::Code, code, nonce, "")?;
        if text.len() > LONGEST_CODE { Err(SealError::TooLong) } else { Ok(AuthorizationCode::new(text)) }
    }

    /// Opens a code. Whether it has expired is for the caller to judge.
    ///
    /// # Errors
    /// [`SealError`] when it is no code of ours.
    pub fn open_code(&self, code: &AuthorizationCode) -> Result<SealedCode, SealError> {
        if code.expose().len() > LONGEST_CODE {
            Err(SealError::Form)
        } else {
            self.open(Purpose::Code, code.expose())
        }
    }

    /// Seals the cookie of a browser.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal_session(&self, cookie: &SessionCookie, nonce: FreshNonce) -> Result<TokenText, SealError> {
        self.seal(Purpose::Session, cookie, nonce, "").map(TokenText::new)
    }

    /// Opens the cookie of a browser. What counts of it is for [`Browser`](crate::session::Browser) to judge.
    ///
    /// # Errors
    /// [`SealError`] when it is no cookie of ours.
    pub fn open_session(&self, cookie: &str) -> Result<SessionCookie, SealError> {
        self.open(Purpose::Session, cookie)
    }

    /// Seals the token of a form.
    ///
    /// # Errors
    /// [`SealError::TooLong`] when it would be longer than [`LONGEST_FORM`], [`SealError::NoKey`].
    pub fn seal_form(&self, form: &SealedForm, nonce: FreshNonce) -> Result<TokenText, SealError> {
        let text = self.seal(Purpose::Form, form, nonce, "")?;
        if text.len() > LONGEST_FORM { Err(SealError::TooLong) } else { Ok(TokenText::new(text)) }
    }

    /// Opens the token of a form. Whether it has expired, and whose it is, is for the caller to judge.
    ///
    /// # Errors
    /// [`SealError`] when it is no form of ours.
    pub fn open_form(&self, token: &str) -> Result<SealedForm, SealError> {
        self.open_within(Purpose::Form, token, LONGEST_FORM)
    }

    /// Seals the token of a form that asks for consent.
    ///
    /// # Errors
    /// [`SealError::TooLong`] when it would be longer than [`LONGEST_FORM`], [`SealError::NoKey`].
    pub fn seal_consent(&self, form: &SealedConsent, nonce: FreshNonce) -> Result<TokenText, SealError> {
        let text = self.seal(Purpose::Consent, form, nonce, "")?;
        if text.len() > LONGEST_FORM { Err(SealError::TooLong) } else { Ok(TokenText::new(text)) }
    }

    /// Opens such a token. Whether it has expired, and whose it is, is for the caller to judge.
    ///
    /// # Errors
    /// [`SealError`] when it is no form of ours.
    pub fn open_consent(&self, token: &str) -> Result<SealedConsent, SealError> {
        self.open_within(Purpose::Consent, token, LONGEST_FORM)
    }

    /// Seals the form by which a person withdraws a consent.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal_withdrawal(&self, form: &WithdrawalForm, nonce: FreshNonce) -> Result<TokenText, SealError> {
        self.seal(Purpose::Withdrawal, form, nonce, "").map(TokenText::new)
    }

    /// Opens such a form. Whether it has expired, and whose it is, is for the caller to judge ([`WithdrawalForm::check`]).
    ///
    /// # Errors
    /// [`SealError`] when it is no form of ours.
    pub fn open_withdrawal(&self, text: &str) -> Result<WithdrawalForm, SealError> {
        self.open(Purpose::Withdrawal, text)
    }

    /// Seals an opaque access token, `tsat_…`.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal_access(&self, access: &SealedAccess, nonce: FreshNonce) -> Result<TokenText, SealError> {
        self.seal(Purpose::Access, access, nonce, ACCESS_PREFIX).map(TokenText::new)
    }

    /// Opens an opaque access token. Whether it has expired is for the caller to judge.
    ///
    /// # Errors
    /// [`SealError`] when it is no access token of ours.
    pub fn open_access(&self, token: &TokenText) -> Result<SealedAccess, SealError> {
        self.open(Purpose::Access, token.expose().strip_prefix(ACCESS_PREFIX).ok_or(SealError::Form)?)
    }

    /// Seals the form by which a person answers a device authorization.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn seal_answer(&self, form: &AnswerForm, nonce: FreshNonce) -> Result<TokenText, SealError> {
        self.seal(Purpose::Device, form, nonce, "").map(TokenText::new)
    }

    /// Opens such a form. Whether it has expired, and whose it is, is for the caller to judge ([`AnswerForm::answers`]).
    ///
    /// # Errors
    /// [`SealError`] when it is no form of ours.
    pub fn open_answer(&self, text: &str) -> Result<AnswerForm, SealError> {
        self.open(Purpose::Device, text)
    }

    /// Seals the form by which a person signs out.
    ///
    /// # Errors
    /// [`SealError::TooLong`] when the form would be longer than [`LONGEST_FORM`], [`SealError::NoKey`].
    pub fn seal_logout(&self, form: &LogoutForm, nonce: FreshNonce) -> Result<TokenText, SealError> {
        let text = self.seal(Purpose::Logout, form, nonce, "")?;
        if text.len() > LONGEST_FORM { Err(SealError::TooLong) } else { Ok(TokenText::new(text)) }
    }

    /// Opens such a form. Whether it has expired, and whose it is, is for the caller to judge ([`LogoutForm::check`]).
    ///
    /// # Errors
    /// [`SealError`] when it is no form of ours.
    pub fn open_logout(&self, text: &str) -> Result<LogoutForm, SealError> {
        self.open_within(Purpose::Logout, text, LONGEST_FORM)
    }

    /// Writes a refresh token, `tsrt_…`: derived, so the same generation gives the same token again.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn write_refresh(&self, token: RefreshToken) -> Result<TokenText, SealError> {
        let key = self.active()?;
        let mut bytes = Vec::with_capacity(KEY_ID + 24 + 4 + MAC);
        bytes.extend_from_slice(&key.id.0);
        bytes.extend_from_slice(token.grant.as_bytes());
        bytes.extend_from_slice(&token.generation.number().to_be_bytes());
        let mac = key.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        Ok(TokenText::new(format!("{REFRESH_PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes))))
    }

    /// Reads a refresh token, its MAC first and in constant time.
    ///
    /// # Errors
    /// [`SealError`] when it is no refresh token of ours.
    pub fn read_refresh(&self, token: &TokenText) -> Result<RefreshToken, SealError> {
        let text = token.expose().strip_prefix(REFRESH_PREFIX).ok_or(SealError::Form)?;
        let mut buffer = [0u8; KEY_ID + 24 + 4 + MAC];
        let bytes = Base64UrlUnpadded::decode(text, &mut buffer).map_err(|_| SealError::Form)?;
        let (body, mac) = bytes.split_at_checked(KEY_ID + 24 + 4).ok_or(SealError::Form)?;
        let (id, rest) = body.split_first_chunk::<KEY_ID>().ok_or(SealError::Form)?;
        let key = self.find(id)?;
        key.mac(body).verify_slice(mac).map_err(|_| SealError::Broken)?;
        let (grant, rest) = rest.split_first_chunk::<24>().ok_or(SealError::Form)?;
        let generation = rest.first_chunk::<4>().ok_or(SealError::Form)?;
        let generation = Generation::from_number(u32::from_be_bytes(*generation));
        Ok(RefreshToken::new(GrantId::from_bytes(*grant), generation))
    }

    /// What server nonces of proofs are made with (RFC 9449 §8): a keyed hash by the active key. A rotation ends the nonces of
    /// before, and clients are told to take a fresh one.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn nonce_hash(&self) -> Result<impl Fn(&[u8; 8]) -> [u8; 32], SealError> {
        let hash = self.active()?.proof_nonce.clone();
        Ok(move |step: &[u8; 8]| hash.clone().chain_update(step).finalize().into_bytes().into())
    }

    fn seal<T: Serialize>(
        &self,
        purpose: Purpose,
        facts: &T,
        nonce: FreshNonce,
        prefix: &str,
    ) -> Result<String, SealError> {
        let key = self.active()?;
        let subkey = key.cipher(purpose)?;
        let plain = Zeroizing::new(postcard::to_allocvec(facts).map_err(|_| SealError::TooLong)?);
        let nonce = nonce.into_bytes();
        let payload = Payload { msg: &plain, aad: &subkey.associated };
        let sealed = subkey.cipher.encrypt((&nonce).into(), payload).map_err(|_| SealError::TooLong)?;
        let bytes = [&key.id.0[..], &nonce, &sealed].concat();
        Ok(format!("{prefix}{}", Base64UrlUnpadded::encode_string(&bytes)))
    }

    fn open<T: DeserializeOwned>(&self, purpose: Purpose, text: &str) -> Result<T, SealError> {
        self.open_within(purpose, text, LONGEST_TOKEN)
    }

    fn open_within<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        text: &str,
        longest: usize,
    ) -> Result<T, SealError> {
        if text.len() > longest {
            return Err(SealError::Form);
        }
        let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| SealError::Form)?;
        let (id, rest) = bytes.split_at_checked(KEY_ID).ok_or(SealError::Form)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(SealError::Form)?;
        let subkey = self.find(id)?.cipher(purpose)?;
        let payload = Payload { msg: sealed, aad: &subkey.associated };
        let plain = subkey.cipher.decrypt(nonce.into(), payload).map_err(|_| SealError::Broken)?;
        let plain = Zeroizing::new(plain);
        match postcard::take_from_bytes(&plain) {
            Ok((facts, [])) => Ok(facts),
            Ok(_) | Err(_) => Err(SealError::Broken),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acr::Acr;
    use crate::assurance::Terms;
    use crate::consent::Wish;
    use crate::fresh::FreshId;
    use crate::id::{ClientId, DeviceId, Listener, SessionId, Subject, Thumbprint};
    use crate::pkce::CodeChallenge;
    use crate::requested::ClaimSet;
    use crate::requested::RequestedClaims;
    use crate::scope::Scope;
    use crate::time::UnixTime;
    use crate::uri::ResourceIndicator;

    pub(crate) fn keys(issuer: &str, secret: u8, epoch: u32) -> SealingKeys {
        let issuer = Issuer::parse(issuer).unwrap();
        let id = SealingKeyId::from_bytes([1, 2, 3, 4]);
        let key = SealingKey::derive(id, FreshSecret::from_bytes([secret; 32]), &issuer, CodeEpoch(epoch));
        SealingKeys::new(vec![(key, KeyState::Active)])
    }

    fn ours() -> SealingKeys {
        keys("https://idp.tail.test", 9, 0)
    }

    fn nonce(byte: u8) -> FreshNonce {
        FreshNonce::from_bytes([byte; 24])
    }

    fn some_digest() -> ResourceDigest {
        ResourceDigest::of(&ResourceIndicator::parse("https://mcp.test/").unwrap())
    }

    pub(crate) fn code() -> SealedCode {
        let subject = Subject::user(1001);
        SealedCode {
            grant: GrantId::new(&subject, FreshId::from_bytes([3; 16])),
            client: ClientId::parse("grafana").unwrap(),
            redirect_uri: RedirectDigest::of("https://grafana.test/cb"),
            challenge: CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            nonce: Some("n".to_owned()),
            scope: Scope::parse("openid"),
            resources: Vec::new(),
            subject,
            device: DeviceId::parse("nALICE").unwrap(),
            address: "100.64.0.2".parse().unwrap(),
            listener: Listener::host(),
            auth_time: UnixTime::from_secs(1_000),
            acr: Acr::Ambient,
            session: None,
            requested: RequestedClaims::default(),
            key: None,
            terms: Terms::default(),
            issued_at: UnixTime::from_secs(1_000),
            expires_at: UnixTime::from_secs(1_060),
        }
    }

    fn access() -> SealedAccess {
        SealedAccess {
            grant: code().grant,
            scope: Scope::parse("openid email"),
            key: None,
            issued_at: UnixTime::from_secs(1),
            expires_at: UnixTime::from_secs(2),
        }
    }

    #[test]
    fn what_is_sealed_opens() {
        let keys = ours();
        let sealed = keys.seal_code(&code(), nonce(1)).unwrap();
        assert_eq!(keys.open_code(&sealed).unwrap(), code());
        let token = keys.seal_access(&access(), nonce(2)).unwrap();
        assert!(token.expose().starts_with("tsat_"));
        assert_eq!(keys.open_access(&token).unwrap(), access());
        let refresh = RefreshToken::new(code().grant, Generation::from_number(7));
        let token = keys.write_refresh(refresh).unwrap();
        assert!(token.expose().starts_with("tsrt_"));
        assert_eq!(keys.read_refresh(&token).unwrap(), refresh);
        assert_eq!(keys.write_refresh(refresh).unwrap().expose(), token.expose());
    }

    /// A43: a sealed text of one purpose never opens under another, nor under another issuer, key or code epoch.
    #[test]
    fn purposes_issuers_and_epochs_are_apart() {
        let keys = ours();
        let code_text = keys.seal_code(&code(), nonce(1)).unwrap();
        let access_text = keys.seal_access(&access(), nonce(1)).unwrap();
        let as_access = TokenText::new(format!("tsat_{}", code_text.expose()));
        assert_eq!(keys.open_access(&as_access), Err(SealError::Broken));
        let as_code = AuthorizationCode::new(access_text.expose().trim_start_matches("tsat_").to_owned());
        assert_eq!(keys.open_code(&as_code), Err(SealError::Broken));
        let as_refresh = TokenText::new(format!("tsrt_{}", code_text.expose()));
        assert_eq!(keys.read_refresh(&as_refresh), Err(SealError::Form));
        assert_eq!(self::keys("https://other.tail.test", 9, 0).open_code(&code_text), Err(SealError::Broken));
        assert_eq!(self::keys("https://idp.tail.test", 8, 0).open_code(&code_text), Err(SealError::Broken));
        let after_clock_jump = self::keys("https://idp.tail.test", 9, 1);
        assert_eq!(after_clock_jump.open_code(&code_text), Err(SealError::Broken));
        assert!(after_clock_jump.open_access(&access_text).is_ok());
    }

    #[test]
    fn cookies_and_forms_are_apart_from_each_other_and_from_tokens() {
        let keys = ours();
        let cookie = SessionCookie::SignedOut { at: UnixTime::from_secs(5) };
        let form = SealedForm {
            subject: Subject::user(1001),
            device: DeviceId::parse("nALICE").unwrap(),
            client: code().client,
            request: vec![("state".into(), "s".into())],
            pushed: Some([1; 32]),
            key: None,
            expires_at: UnixTime::from_secs(9),
        };
        let (cookie_text, form_text) =
            (keys.seal_session(&cookie, nonce(1)).unwrap(), keys.seal_form(&form, nonce(1)).unwrap());
        assert_eq!(keys.open_session(cookie_text.expose()).unwrap(), cookie);
        assert_eq!(keys.open_form(form_text.expose()).unwrap(), form);
        assert_eq!(keys.open_form(cookie_text.expose()).unwrap_err(), SealError::Broken);
        assert_eq!(keys.open_session(form_text.expose()).unwrap_err(), SealError::Broken);
        let code_text = keys.seal_code(&code(), nonce(1)).unwrap();
        assert_eq!(keys.open_session(code_text.expose()).unwrap_err(), SealError::Broken);
        assert_eq!(keys.open_form(code_text.expose()).unwrap_err(), SealError::Broken);
        let large = |length| SealedForm { request: vec![("x".into(), "y".repeat(length))], ..form.clone() };
        let fits = keys.seal_form(&large(44 * 1024), nonce(1)).unwrap();
        assert!(keys.open_form(fits.expose()).is_ok());
        assert_eq!(keys.seal_form(&large(46 * 1024), nonce(1)).err(), Some(SealError::TooLong));
        assert!(!format!("{form:?}").contains("state"));
        let digest = crate::assurance::MetadataDigest::from_bytes([1; 32]);
        let wish = Wish::new(digest, "app.test", &[], &Scope::parse("openid"));
        let consent = SealedConsent { form, wish, shown_at: UnixTime::from_secs(7) };
        let consent_text = keys.seal_consent(&consent, nonce(1)).unwrap();
        assert_eq!(keys.open_consent(consent_text.expose()).unwrap(), consent);
        assert_eq!(keys.open_consent(form_text.expose()).unwrap_err(), SealError::Broken);
        assert_eq!(keys.open_form(consent_text.expose()).unwrap_err(), SealError::Broken);
        assert_eq!(keys.open_withdrawal(consent_text.expose()).unwrap_err(), SealError::Broken);
        assert!(!format!("{consent:?}").contains("state"));
    }

    #[test]
    fn keys_open_in_every_state_and_seal_in_one() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let key = |byte: u8| {
            let id = SealingKeyId::from_bytes([byte; 4]);
            SealingKey::derive(id, FreshSecret::from_bytes([byte; 32]), &issuer, CodeEpoch(0))
        };
        let before = SealingKeys::new(vec![(key(1), KeyState::Active)]);
        let token = before.seal_access(&access(), nonce(1)).unwrap();
        let after = SealingKeys::new(vec![
            (key(1), KeyState::Retired),
            (key(2), KeyState::Active),
            (key(3), KeyState::Next),
        ]);
        assert!(after.open_access(&token).is_ok());
        let gone = SealingKeys::new(vec![(key(2), KeyState::Active)]);
        assert_eq!(gone.open_access(&token), Err(SealError::UnknownKey));
        let none = SealingKeys::new(vec![(key(1), KeyState::Retired)]);
        assert_eq!(none.seal_access(&access(), nonce(1)).err(), Some(SealError::NoKey));
        assert_eq!(format!("{after:?}").matches("SealingKey(").count(), 3);
    }

    #[test]
    fn a_code_never_exceeds_its_limit() {
        let keys = ours();
        let uri = format!("https://mcp.tail1234.ts.net/{}", "p".repeat(72));
        let longest_uri = ResourceIndicator::parse(&uri).unwrap();
        let largest = SealedCode {
            client: ClientId::parse(&"c".repeat(128)).unwrap(),
            nonce: Some("n".repeat(512)),
            scope: Scope::parse("openid profile email groups offline_access read write"),
            resources: vec![CodeResource::Entry(some_digest()), CodeResource::Named(longest_uri)],
            subject: Subject::user(i64::MAX),
            device: DeviceId::parse(&"d".repeat(24)).unwrap(),
            address: "fd7a:115c:a1e0::1".parse().unwrap(),
            listener: Listener::parse("svc:a-rather-long-service-name").unwrap(),
            session: Some(SessionId::from_bytes([9; 16])),
            requested: RequestedClaims {
                id_token: ClaimSet::from_bits(u16::MAX),
                userinfo: ClaimSet::from_bits(u16::MAX),
            },
            key: Some(Thumbprint::from_bytes([9; 32])),
            terms: Terms { only_here: true, consented: true },
            ..code()
        };
        let text = keys.seal_code(&largest, nonce(1)).unwrap();
        assert!(text.expose().len() <= LONGEST_CODE, "{}", text.expose().len());
        let huge = SealedCode {
            scope: Scope::parse(&"x".repeat(120)),
            client: ClientId::parse(&"c".repeat(256)).unwrap(),
            resources: vec![CodeResource::Entry(some_digest()); 8],
            ..largest
        };
        assert_eq!(keys.seal_code(&huge, nonce(1)).err(), Some(SealError::TooLong));
    }

    /// A resource that only a pattern or a rule knows stands in the code as it is: at most 1,500 characters all the same.
    #[test]
    fn resources_of_patterns_and_rules_fit_or_are_refused() {
        let keys = ours();
        let named = |length: usize, count: usize| {
            let uri = format!("https://a.tail.test/{}", "p".repeat(length - 20));
            let uri = ResourceIndicator::parse(&uri).unwrap();
            keys.seal_code(
                &SealedCode { resources: vec![CodeResource::Named(uri); count], ..code() },
                nonce(1),
            )
        };
        assert!(named(512, 1).unwrap().expose().len() <= LONGEST_CODE);
        let sealed = named(60, 8).unwrap();
        assert!(sealed.expose().len() <= LONGEST_CODE);
        assert_eq!(keys.open_code(&sealed).unwrap().resources.len(), 8);
        assert_eq!(named(512, 2).err(), Some(SealError::TooLong));
    }

    #[test]
    fn nonces_of_proofs_have_a_key_of_their_own() {
        let hash = |keys: SealingKeys| keys.nonce_hash().unwrap()(&[0; 8]);
        let one = hash(ours());
        assert_eq!(one, hash(keys("https://idp.tail.test", 9, 1)));
        assert_ne!(one, hash(keys("https://idp.tail.test", 8, 0)));
        assert_ne!(one, hash(keys("https://other.tail.test", 9, 0)));
        assert_ne!(one, ours().nonce_hash().unwrap()(&[1; 8]));
        assert!(SealingKeys::default().nonce_hash().is_err());
    }

    proptest! {
        /// Truncated, padded, changed in one character (attack A19): never opens, never panics.
        #[test]
        fn altered_texts_do_not_open(place in 0usize..400, with in "[A-Za-z0-9_=-]", cut in 0usize..400) {
            let keys = ours();
            let code_text = keys.seal_code(&code(), nonce(5)).unwrap();
            let refresh = keys.write_refresh(RefreshToken::new(code().grant, Generation::default())).unwrap();
            for text in [code_text.expose(), refresh.expose()] {
                let mut altered = text.to_owned();
                let place = place % altered.len();
                altered.replace_range(place..=place, &with);
                if altered != text {
                    prop_assert!(keys.open_code(&AuthorizationCode::new(altered.clone())).is_err());
                    prop_assert!(keys.read_refresh(&TokenText::new(altered)).is_err());
                }
                let cut = text[..cut % text.len()].to_owned();
                prop_assert!(keys.open_code(&AuthorizationCode::new(cut.clone())).is_err());
                prop_assert!(keys.read_refresh(&TokenText::new(cut)).is_err());
                let padded = TokenText::new(format!("{text}="));
                prop_assert!(keys.read_refresh(&padded).is_err());
            }
        }

        #[test]
        fn random_texts_do_not_panic(text in "\\PC{0,200}") {
            let keys = ours();
            prop_assert!(keys.open_code(&AuthorizationCode::new(text.clone())).is_err());
            let (access, refresh) = (format!("tsat_{text}"), format!("tsrt_{text}"));
            prop_assert!(keys.open_access(&TokenText::new(access)).is_err());
            prop_assert!(keys.read_refresh(&TokenText::new(refresh)).is_err());
        }
    }
}
