//! `[registration]`: clients that register themselves (RFC 7591).

use std::num::NonZeroU32;

use tsidecar_oauth::client::{ClientSpec, Lives, Login, PkceRule};
use tsidecar_oauth::discovery::Registering;
use tsidecar_oauth::time::Lifetime;

use super::source::{ConfigError, Source, Step::Key};
use super::value::Length;
use super::{raw, spell};

/// `[registration]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationConfig {
    /// From where clients may register.
    pub from: Registering,
    /// When confidential clients need PKCE; public ones always do.
    pub pkce: PkceRule,
    /// How they sign people in.
    pub login: Login,
    /// Whether identity claims also stand in their ID tokens.
    pub id_token_claims: bool,
    /// How long a client is kept after its last use.
    pub expires: Lifetime,
    /// How long one is kept that was never used.
    pub expires_unused: Lifetime,
    /// Bounds of how many come.
    pub limits: RegistrationLimits,
}

/// How many registrations are taken, in an hour and at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrationLimits {
    /// Of one node.
    pub node: NonZeroU32,
    /// By Funnel, from all callers together.
    pub funnel: NonZeroU32,
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            from: Registering::Tailnet,
            pkce: PkceRule::Required,
            login: Login::Ambient,
            id_token_claims: true,
            expires: Lifetime::from_days(90),
            expires_unused: Lifetime::from_days(7),
            limits: RegistrationLimits {
                node: NonZeroU32::MIN.saturating_add(119),
                funnel: NonZeroU32::MIN.saturating_add(19),
            },
        }
    }
}

impl RegistrationConfig {
    /// A client with what the configuration of now says of all that registered themselves.
    pub fn over(&self, spec: ClientSpec) -> ClientSpec {
        let pkce = if spec.public { PkceRule::Required } else { self.pkce };
        ClientSpec { pkce, login: self.login, id_token_claims: self.id_token_claims, ..spec }
    }
}

/// Overlays what the file says on the defaults.
pub(super) fn overlay(
    source: &Source,
    file: &raw::Registration,
    config: &mut RegistrationConfig,
) -> Result<(), ConfigError> {
    let fail = |key, message: String| Err(source.error_in(&[Key("registration"), Key(key)], message));
    match file.funnel {
        Some(true) => config.from = Registering::Anywhere,
        Some(false) => config.from = Registering::Tailnet,
        None => (),
    }
    match file.require_pkce {
        Some(true) => config.pkce = PkceRule::Required,
        Some(false) => config.pkce = PkceRule::Optional,
        None => (),
    }
    config.login = file.login.unwrap_or(config.login);
    config.id_token_claims = file.claims_in_id_token.unwrap_or(config.id_token_claims);
    if let Some(Length(expires)) = file.expires {
        // The last use is known to a day, and a refresh token that is still good must not outlive its client.
        let least = Lives::default().refresh_idle.as_secs() + 2 * DAY;
        if !(least..=3_650 * DAY).contains(&expires.as_secs()) {
            let message = format!(
                "\"{}\" is out of range; allowed: \"{}\" (refresh tokens live 30 days unused) to \"3650d\"",
                spell(expires),
                spell(Lifetime::from_secs(least))
            );
            return fail("expires", message);
        }
        config.expires = expires;
    }
    if let Some(Length(unused)) = file.expires_unused {
        if !(Lifetime::from_minutes(60)..=config.expires).contains(&unused) {
            let message = format!(
                "\"{}\" is out of range; allowed: \"1h\" to expires, which is \"{}\"",
                spell(unused),
                spell(config.expires)
            );
            return fail("expires_unused", message);
        }
        config.expires_unused = unused;
    }
    let limits = &mut config.limits;
    for (key, number, limit) in [
        ("node_per_hour", file.node_per_hour, &mut limits.node),
        ("funnel_per_hour", file.funnel_per_hour, &mut limits.funnel),
    ] {
        let Some(number) = number else { continue };
        match NonZeroU32::new(number) {
            Some(number) => *limit = number,
            None => return fail(key, "0 lets nobody register; allowed: 1 or more".to_owned()),
        }
    }
    Ok(())
}

const DAY: u64 = 86_400;
