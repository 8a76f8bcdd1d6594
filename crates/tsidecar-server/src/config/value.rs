//! Values with a spelling of their own: lengths of time, accounts.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use tsidecar_oauth::time::Lifetime;

/// A length of time with its unit, as in `"90s"`, `"10m"`, `"12h"`, `"30d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Lifetime);

/// A length of time, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LengthOrOff(pub(super) Option<Lifetime>);

/// A local account, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Number(u32),
    Name(String),
}

fn length(text: &str) -> Option<Lifetime> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Lifetime::from_secs)
}

/// Writes a length of time as the file does, in the largest unit that fits.
pub(crate) fn spell(length: Lifetime) -> String {
    let seconds = length.as_secs();
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

fn no_length(text: &str, also: &str) -> String {
    format!(
        "\"{text}\" is no length of time; allowed: a whole number and a unit, as in \"90s\", \"10m\", \"12h\", \"30d\"{also}"
    )
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        length(&text).map(Self).ok_or_else(|| de::Error::custom(no_length(&text, "")))
    }
}

impl<'de> Deserialize<'de> for LengthOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let parsed = length(&text).map(|length| Self(Some(length)));
        parsed.ok_or_else(|| de::Error::custom(no_length(&text, ", or \"off\"")))
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Account;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a uid or the name of an account")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Account, E> {
                let uid = u32::try_from(number);
                uid.map(Account::Number).map_err(|_| E::custom(format!("{number} is no uid")))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Account, E> {
                Ok(Account::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Account {
    /// The uid of the account; a name is looked up in the text of `/etc/passwd`.
    pub(super) fn uid(&self, passwd: &str) -> Option<u32> {
        match self {
            Self::Number(uid) => Some(*uid),
            Self::Name(name) => passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let found = fields.next() == Some(name.as_str());
                fields.nth(1).filter(|_| found)?.parse().ok()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("12h", 43_200), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(length(text), Some(Lifetime::from_secs(seconds)), "{text}");
        }
        for bad in ["", "10", "m", "1.5h", "-1s", "10 m", "10M", "10min", "99999999999999999999d", "é"] {
            assert_eq!(length(bad), None, "{bad}");
        }
        for text in ["90s", "10m", "12h", "30d"] {
            assert_eq!(length(text).map(spell).as_deref(), Some(text));
        }
    }

    #[test]
    fn accounts_are_found_in_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\ncaddy:x:998:998::/var/lib/caddy:/usr/sbin/nologin\n";
        assert_eq!(Account::Name("caddy".into()).uid(passwd), Some(998));
        assert_eq!(Account::Name("cad".into()).uid(passwd), None);
        assert_eq!(Account::Number(33).uid(passwd), Some(33));
    }
}
