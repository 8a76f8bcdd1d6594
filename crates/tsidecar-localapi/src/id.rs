//! Names of nodes, users and services: one type for each, none of them interchangeable.

use std::{fmt, str::FromStr, sync::Arc};

use serde::Deserialize;

/// Names a node by the integer of the control server; it exceeds 2^53 for old nodes and changes with registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub i64);

/// Names a node by its stable text, such as `nABC123CNTRL`: the right key for a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct StableNodeId(pub String);

/// Names a user by the integer of the control server: the stable subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i64);

/// Holds a user's login name, such as `alice@example.com` or `alice@github`. It can be renamed and proves no mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct LoginName(pub String);

/// Names a Tailscale Service: `svc:` and a DNS label. Cloning it allocates nothing.
///
/// ```
/// use tsidecar_localapi::ServiceName;
///
/// let name: ServiceName = "svc:login".parse().unwrap();
/// assert_eq!(name.label(), "login");
/// assert!("login".parse::<ServiceName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

/// Tells that a text is not the name of a Tailscale Service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a service name is `svc:` followed by a DNS label (letters, digits and inner hyphens, at most 63), such as `svc:login`"
)]
pub struct InvalidServiceName;

impl StableNodeId {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LoginName {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServiceName {
    /// The whole name, `svc:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without `svc:`: the first label of the service's DNS name.
    pub fn label(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or(&self.0)
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    /// Checks the name by the rule of tailscaled, which answers 400 to any other.
    fn from_str(text: &str) -> Result<Self, InvalidServiceName> {
        let label = text.strip_prefix(PREFIX).ok_or(InvalidServiceName)?;
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let length = (1..=63).contains(&label.len());
        if letters && length && !label.starts_with('-') && !label.ends_with('-') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidServiceName)
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StableNodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What every service name begins with.
const PREFIX: &str = "svc:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_follow_tailscaled() {
        for good in ["svc:a", "svc:login", "svc:a-1", "svc:Login", &format!("svc:{}", "a".repeat(63))] {
            assert_eq!(good.parse::<ServiceName>().unwrap().as_str(), good);
        }
        let long = format!("svc:{}", "a".repeat(64));
        for bad in [
            "",
            "svc:",
            "login",
            "SVC:a",
            "svc:-a",
            "svc:a-",
            "svc:a.b",
            "svc:a b",
            "svc:ä",
            "svc:a&dst_ip=1",
            &long,
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
