//! How Go's JSON is read: `null` and absence both mean the zero value, as fields moved between the two over the years.

use serde::{Deserialize, Deserializer};

/// Reads a value for which `null` means its default. Absence is covered by `#[serde(default)]` on the container.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads whether a value is there at all, without keeping it.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<serde::de::IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

/// Reads a time as text; Go's zero time, which older daemons write for "unset", is absent.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let time = Option::<String>::deserialize(deserializer)?;
    Ok(time.filter(|text| !text.is_empty() && text != ZERO_TIME))
}

/// How Go writes a `time.Time` that was never set.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
