//! Clients in files: `[[client]]` of the main file and of `clients.d/*.toml`, and their secrets.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tsidecar_oauth::client::{Client, ClientError, ClientKeys, ClientSpec, LogoutSpec};
use tsidecar_oauth::policy::Access;
use tsidecar_oauth::secret::{ClientSecret, SHORTEST_CHOSEN_SECRET, SecretDigest};
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::RedirectUri;
use zeroize::Zeroizing;

use super::source::{ConfigError, Source, Step, Step::Index, Step::Key};
use super::value::Length;
use super::{Config, raw};

/// Where secrets may come from beside files: systemd's folder of credentials.
pub(super) struct Credentials {
    /// `$CREDENTIALS_DIRECTORY`.
    pub(super) folder: Option<PathBuf>,
    /// Outside the unit there are no credentials: `check-config` warns, the daemon refuses.
    pub(super) required: bool,
}

/// Adds the clients of one file.
pub(super) fn add(
    source: &Source,
    clients: Vec<raw::Client>,
    credentials: &Credentials,
    config: &mut Config,
) -> Result<(), ConfigError> {
    for (index, raw) in clients.into_iter().enumerate() {
        let reader = Reader { source, index, credentials };
        let spec = reader.spec(raw, &mut config.warnings)?;
        if let Some((_, other)) = config.clients.iter().find(|(known, _)| known.id == spec.id) {
            let message = format!("\"{}\" is a client of {} already", spec.id, other.display());
            return Err(reader.error("id", message));
        }
        config.clients.push((spec, source.path().to_owned()));
    }
    Ok(())
}

/// The files of a folder with this extension in the order of their names; none when there is no such folder.
pub(super) fn files(folder: &Path, wanted: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |error| ConfigError::Read { path: folder.to_owned(), error };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        if !hidden && path.extension().is_some_and(|extension| extension == wanted) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads one `[[client]]`.
struct Reader<'a> {
    source: &'a Source,
    index: usize,
    credentials: &'a Credentials,
}

impl Reader<'_> {
    fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.source.error_in(&self.at(key), message)
    }

    fn at<'k>(&self, key: &'k str) -> [Step<'k>; 3] {
        [Key("client"), Index(self.index), Key(key)]
    }

    fn spec(&self, raw: raw::Client, warnings: &mut Vec<String>) -> Result<ClientSpec, ConfigError> {
        let secrets = self.secrets(&raw, warnings)?;
        let keys = self.keys(&raw)?;
        let mut spec = ClientSpec {
            name: raw.name.unwrap_or_else(|| raw.id.clone()),
            id: raw.id,
            public: raw.public,
            secrets,
            keys,
            redirect_uris: raw.redirect_uris,
            strict_auth_method: raw.token_endpoint_auth_method,
            login: raw.login,
            require_par: raw.require_pushed_authorization_requests,
            require_dpop: raw.dpop_bound_access_tokens,
            userinfo_alg: raw.userinfo_signed_response_alg,
            logout: LogoutSpec {
                post_logout_redirect_uris: raw.post_logout_redirect_uris,
                backchannel_uri: raw.backchannel_logout_uri,
                backchannel_session_required: raw.backchannel_logout_session_required,
            },
            allow: raw.allow.map(access),
            disabled: raw.disabled,
            ..ClientSpec::default()
        };
        spec.signed.token_endpoint_audience = raw.token_endpoint_audience;
        spec.signed.request_object_alg = raw.request_object_signing_alg;
        spec.signed.require_request_object = raw.require_signed_request_object;
        set(&mut spec.signed.assertion_algs, raw.assertion_algs);
        set(&mut spec.grant_types, raw.grant_types);
        set(&mut spec.pkce, raw.pkce);
        set(&mut spec.id_token_claims, raw.claims_in_id_token);
        set(&mut spec.id_token_alg, raw.id_token_signed_response_alg);
        let lives = &mut spec.lives;
        for (life, from_file) in [
            (&mut lives.id_token, raw.id_token_lifetime),
            (&mut lives.access_token, raw.access_token_lifetime),
            (&mut lives.refresh_idle, raw.refresh_idle_lifetime),
            (&mut lives.refresh_absolute, raw.refresh_absolute_lifetime),
        ] {
            set(life, from_file.map(|Length(length)| length));
        }
        self.check(&spec, warnings)?;
        Ok(spec)
    }

    fn check(&self, spec: &ClientSpec, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
        let client = Client::new(spec.clone(), UnixTime::default())
            .map_err(|error| self.error(key_of(&error), in_keys(&error)))?;
        if let Some(uri) = client.redirect_uris().iter().find(|uri| RedirectUri::is_plain_http(uri)) {
            let message = format!("\"{uri}\": codes travel in clear text over the network; https is better");
            warnings.push(self.source.warning_in(&self.at("redirect_uris"), &message));
        }
        if spec.allow.as_ref().is_some_and(|allow| *allow == Access::default()) {
            let message = "names nobody, so nobody may sign in";
            warnings.push(self.source.warning_in(&self.at("allow"), message));
        }
        Ok(())
    }

    /// The keys of the client: a JWK set in a file, or where it is.
    fn keys(&self, raw: &raw::Client) -> Result<ClientKeys, ConfigError> {
        match (&raw.jwks_file, &raw.jwks_uri) {
            (None, None) => Ok(ClientKeys::None),
            (Some(path), None) => {
                let failed = |error| self.error("jwks_file", format!("{path}: cannot be read: {error}"));
                std::fs::read_to_string(path).map(ClientKeys::Inline).map_err(failed)
            }
            (None, Some(uri)) => Ok(ClientKeys::Uri(uri.clone())),
            (Some(_), Some(_)) => {
                Err(self.error("jwks_uri", "a client has its keys in one place: jwks_file or jwks_uri"))
            }
        }
    }

    fn secrets(
        &self,
        raw: &raw::Client,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<SecretDigest>, ConfigError> {
        match (&raw.secret_file, &raw.secret_sha256, raw.public) {
            (Some(place), None, false) => Ok(vec![self.secret_from(place, warnings)?]),
            (None, Some(hex), false) => {
                let digest = SecretDigest::parse_hex(hex);
                let wrong = "must be the SHA-256 of the secret in 64 hexadecimal digits, as `printf %s SECRET | sha256sum` prints it";
                Ok(vec![digest.ok_or_else(|| self.error("secret_sha256", wrong))?])
            }
            (None, None, true) => Ok(Vec::new()),
            (None, None, false) if raw.jwks_file.is_some() || raw.jwks_uri.is_some() => Ok(Vec::new()),
            (_, _, public) => {
                let key = if public { "public" } else { "id" };
                Err(self
                    .error(key, "a client needs exactly one of secret_file, secret_sha256, public = true and keys of its own (jwks_file, jwks_uri)"))
            }
        }
    }

    fn secret_from(&self, place: &str, warnings: &mut Vec<String>) -> Result<SecretDigest, ConfigError> {
        let fail = |message: String| Err(self.error("secret_file", message));
        let path = match (place.strip_prefix("credential:"), &self.credentials.folder) {
            (Some(name), _) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
                return fail(format!("{place:?} is no credential; allowed: \"credential:NAME\""));
            }
            (Some(name), Some(folder)) => folder.join(name),
            (Some(_), None) if !self.credentials.required => {
                let message = format!("\"{place}\" was not checked: only the unit has its credentials");
                warnings.push(self.source.warning_in(&self.at("secret_file"), &message));
                return Ok(SecretDigest::from_bytes([0; 32]));
            }
            (Some(name), None) => {
                return fail(format!(
                    "there are no systemd credentials here ($CREDENTIALS_DIRECTORY is not set); add LoadCredential={name}:FILE to the unit"
                ));
            }
            (None, _) => PathBuf::from(place),
        };
        if !path.is_absolute() {
            return fail(format!("{place:?} must be an absolute path, or \"credential:NAME\""));
        }
        let text = read_secret(&path).map_err(|message| self.error("secret_file", message))?;
        let secret = text.trim();
        let length = secret.chars().count();
        if length < SHORTEST_CHOSEN_SECRET {
            return fail(format!(
                "{}: the secret has {length} characters, at least {SHORTEST_CHOSEN_SECRET} are needed; `openssl rand -hex 32` makes one",
                path.display()
            ));
        }
        Ok(ClientSecret::new(secret.to_owned()).digest())
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let readable = |error| format!("{shown}: cannot be read: {error}");
    let mode = std::fs::metadata(path).map_err(readable)?.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(format!(
            "{shown}: everybody on this host may open it (mode {mode:04o}); run: chmod 0640 {shown}"
        ));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(readable)
}

fn set<T>(value: &mut T, from_file: Option<T>) {
    if let Some(from_file) = from_file {
        *value = from_file;
    }
}

fn access(raw: raw::Allow) -> Access {
    Access { users: raw.users, groups: raw.groups, tags: raw.tags, capability: raw.capability }
}

/// The key at which an error of the core points.
const fn key_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Id(_) | ClientError::Ambiguous | ClientError::TagId | ClientError::UrlId => "id",
        ClientError::Name => "name",
        ClientError::Credentials => "public",
        ClientError::TooManySecrets => "secret_file",
        ClientError::RedirectCount | ClientError::NeedlessRedirects | ClientError::RedirectUri { .. } => {
            "redirect_uris"
        }
        ClientError::GrantTypes | ClientError::PublicCredentials => "grant_types",
        ClientError::StrictMethod => "token_endpoint_auth_method",
        ClientError::PublicPkce => "pkce",
        ClientError::Keys(_) => "jwks_file",
        ClientError::KeysUri(_) => "jwks_uri",
        ClientError::NoRequestKeys => "require_signed_request_object",
        ClientError::AssertionAlgs => "assertion_algs",
        ClientError::PostLogoutCount | ClientError::PostLogoutUri { .. } => "post_logout_redirect_uris",
        ClientError::BackchannelUri(_) => "backchannel_logout_uri",
        ClientError::Life { name, .. } => name,
    }
}

/// The text of an error of the core, where it would repeat the key.
fn in_keys(error: &ClientError) -> String {
    match error {
        ClientError::Id(reason) => reason.to_string(),
        ClientError::TagId => "starts with \"tag:\", which is kept for tagged nodes".to_owned(),
        ClientError::Name => "must have 1 to 100 characters, none of them a control character".to_owned(),
        ClientError::RedirectUri { uri, reason } | ClientError::PostLogoutUri { uri, reason } => {
            format!("{uri:?} {reason}")
        }
        ClientError::UrlId => "is an https URL, which is kept for clients that publish their description there".to_owned(),
        ClientError::GrantTypes => {
            "must contain one of \"authorization_code\", \"urn:ietf:params:oauth:grant-type:device_code\", \"client_credentials\" and \"urn:ietf:params:oauth:grant-type:token-exchange\"".to_owned()
        }
        ClientError::NeedlessRedirects => "are of no use without \"authorization_code\" in grant_types".to_owned(),
        ClientError::Life { least, most, .. } => {
            let spell = |seconds| super::spell(tsidecar_oauth::time::Lifetime::from_secs(seconds));
            format!("is out of range; allowed: \"{}\" to \"{}\"", spell(*least), spell(*most))
        }
        ClientError::StrictMethod => {
            "does not fit: a public client has \"none\", one with a secret \"client_secret_basic\" or \"client_secret_post\", one with keys \"private_key_jwt\""
                .to_owned()
        }
        ClientError::Keys(reason) => reason.to_string(),
        ClientError::NoRequestKeys => {
            "needs keys of the client to verify requests with: jwks_file or jwks_uri".to_owned()
        }
        ClientError::KeysUri(reason) | ClientError::BackchannelUri(reason) => reason.to_string(),
        ClientError::AssertionAlgs => {
            "is empty; allowed: \"RS256\", \"PS256\", \"ES256\", \"EdDSA\"".to_owned()
        }
        ClientError::Ambiguous
        | ClientError::RedirectCount
        | ClientError::PostLogoutCount
        | ClientError::Credentials
        | ClientError::TooManySecrets
        | ClientError::PublicCredentials
        | ClientError::PublicPkce => error.to_string(),
    }
}
