//! `tsidecar doctor`: looks at everything that a login needs, with or without the daemon, as root or not.
//!
//! `facts` gathers, `host` and `checks` judge what was gathered (pure, so each judgement has its test), here it is told.

mod checks;
mod facts;
mod host;

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use self::checks::judge;
use self::facts::Facts;
use super::ask::CommandError;
use super::exit::Exit;
use super::output::{Output, plain};

/// What `tsidecar doctor` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Also look which rules arrive for this address of the tailnet.
    #[arg(long, value_name = "ADDR")]
    peer: Option<IpAddr>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// It works, but deserves a look.
    Warn,
    /// People cannot sign in, or the wrong ones can.
    Fail,
    /// It could not be looked at.
    Skip,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One check: what was looked at, how it came out, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    result: Outcome,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, result: Outcome::Ok, text: text.into(), cure: None }
    }

    fn warn(name: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, result: Outcome::Warn, text: text.into(), cure: Some(cure.into()) }
    }

    fn fail(name: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, result: Outcome::Fail, text: text.into(), cure: Some(cure.into()) }
    }

    fn skip(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, result: Outcome::Skip, text: text.into(), cure: None }
    }
}

/// Runs the command. It fails when a check does.
pub async fn run(config: &Path, options: &Options) -> Result<Output, CommandError> {
    let checks = judge(&Facts::gather(config, options.peer).await);
    let count = |outcome| checks.iter().filter(|check| check.result == outcome).count();
    let (failed, warned) = (count(Outcome::Fail), count(Outcome::Warn));
    let text = format!("{}\n\n{}", describe(&checks), summary(failed, warned));
    let exit = if failed == 0 { Exit::Ok } else { Exit::Failed };
    Ok(Output { text, notes: String::new(), json: json!({ "ok": failed == 0, "checks": checks }), exit })
}

fn describe(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:4}  {:13}  {}", check.result.as_str(), check.name, plain(&check.text)));
        lines.extend(check.cure.as_ref().map(|cure| format!("{:21}→ {}", "", plain(cure))));
    }
    lines.join("\n")
}

fn summary(failed: usize, warned: usize) -> String {
    match (failed, warned) {
        (0, 0) => "Everything is as it should be.".to_owned(),
        (0, 1) => "It works; one thing deserves a look.".to_owned(),
        (0, warned) => format!("It works; {warned} things deserve a look."),
        (1, _) => "One check failed.".to_owned(),
        (failed, _) => format!("{failed} checks failed."),
    }
}

#[cfg(test)]
mod tests;
