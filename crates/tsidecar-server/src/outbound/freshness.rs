//! How long a fetched document counts as fresh (RFC 9111 §4.2.1, RFC 9111 §5.2.2), within our own bounds.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AGE, CACHE_CONTROL};

/// Whatever a host says, it is not asked more often for the same document…
pub(super) const SHORTEST: Duration = Duration::from_mins(5);
/// …and not less often: a key that was taken back must stop to count some day.
pub(super) const LONGEST: Duration = Duration::from_hours(24);
/// Without a word of the host.
const USUAL: Duration = Duration::from_mins(15);

/// Reads `Cache-Control` and `Age` of an answer. The first `max-age` counts; one that is no number counts as 0, as the
/// specification wants it.
pub(super) fn freshness(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let mut max_age = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return SHORTEST;
        }
        if name.eq_ignore_ascii_case("max-age") {
            max_age.get_or_insert_with(|| argument.trim().trim_matches('"').parse::<u64>().unwrap_or(0));
        }
    }
    let Some(max_age) = max_age else { return USUAL };
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse::<u64>().ok()).unwrap_or(0);
    Duration::from_secs(max_age.saturating_sub(age)).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_decide_within_our_bounds() {
        for (values, minutes) in [
            (&[][..], 15),
            (&["public"], 15),
            (&["max-age=3600"], 60),
            (&["public, MAX-AGE=\"3600\", immutable"], 60),
            (&["public", "max-age=3600"], 60),
            (&["max-age=600, max-age=3600"], 10),
            (&["max-age=0"], 5),
            (&["max-age=-1"], 5),
            (&["max-age"], 5),
            (&["max-age=soon"], 5),
            (&["max-age=99999999999999999999999"], 5),
            (&["max-age=31536000"], 24 * 60),
            (&["max-age=3600, no-cache"], 5),
            (&["no-store"], 5),
            (&["s-maxage=3600"], 15),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(freshness(&headers), Duration::from_mins(minutes), "{values:?}");
        }
    }

    #[test]
    fn time_in_other_caches_counts() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, "max-age=3600".parse().unwrap());
        headers.insert(AGE, "1800".parse().unwrap());
        assert_eq!(freshness(&headers), Duration::from_mins(30));
        headers.insert(AGE, "4000".parse().unwrap());
        assert_eq!(freshness(&headers), SHORTEST);
    }
}
