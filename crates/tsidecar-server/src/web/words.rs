//! Words of pages that ask a person: names that strangers chose, times, and what a scope means.

use tsidecar_oauth::client::Client;
use tsidecar_oauth::time::UnixTime;

/// The longest name of a stranger that is shown, in characters: a name is no place for sentences.
const LONGEST_NAME: usize = 60;

/// Marks that one letter may carry; more of them write over the lines around.
const MOST_MARKS: usize = 2;

/// A name that a stranger chose, as a page may show it: one line of bounded length, without characters that are invisible or turn
/// the direction of what follows (attack A11). Escaping is the template's.
pub fn name(text: &str) -> String {
    let (mut shown, mut marks, mut letters) = (String::new(), 0, 0);
    for letter in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if letter.is_control() || is_invisible(letter) {
            continue;
        }
        marks = if is_mark(letter) { marks + 1 } else { 0 };
        if marks > MOST_MARKS {
            continue;
        }
        if letters == LONGEST_NAME {
            shown.push('\u{2026}');
            break;
        }
        letters += 1;
        // Our own quotation marks stand around it.
        shown.push(if matches!(letter, '\u{201c}' | '\u{201d}') { '"' } else { letter });
    }
    shown
}

/// What a page calls an application: an administrator's by the name that it was given, another one by the [`name`] that it chose, or by
/// its id where that shows nothing.
pub fn client(client: &Client) -> String {
    if client.is_by_administrator() {
        return client.name().to_owned();
    }
    let name = name(client.name());
    if name.is_empty() { client.id().to_string() } else { name }
}

/// Zero-width characters, marks and overrides of direction, fillers, tags, variation selectors, private use.
const fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}'
    )
}

/// Marks that stand above, below or around the letter before them.
const fn is_mark(letter: char) -> bool {
    matches!(letter, '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// The first label of a device's name: what its owner calls it.
pub fn device(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// How long ago something was.
pub fn ago(then: UnixTime, now: UnixTime) -> String {
    let minutes = then.until(now).as_secs() / 60;
    match (minutes, minutes / 60, minutes / (24 * 60)) {
        (0, ..) => "less than a minute ago".to_owned(),
        (1, ..) => "a minute ago".to_owned(),
        (minutes, 0, _) => format!("{minutes} minutes ago"),
        (_, 1, _) => "an hour ago".to_owned(),
        (_, hours, 0) => format!("{hours} hours ago"),
        (_, _, 1) => "a day ago".to_owned(),
        (_, _, days) => format!("{days} days ago"),
    }
}

/// What a scope means to a person; a resource's own scopes are shown as they are called.
pub fn meaning(scope: &str) -> String {
    match scope {
        "openid" => "who you are".to_owned(),
        "profile" => "your name and picture".to_owned(),
        "email" => "your e-mail address".to_owned(),
        "groups" => "your groups".to_owned(),
        "offline_access" => "to stay signed in".to_owned(),
        other => format!("the permission \u{201c}{other}\u{201d}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let ago = |seconds: u64| ago(UnixTime::from_secs(1_000), UnixTime::from_secs(1_000 + seconds));
        for (seconds, expected) in [
            (0, "less than a minute ago"),
            (59, "less than a minute ago"),
            (60, "a minute ago"),
            (599, "9 minutes ago"),
            (3_599, "59 minutes ago"),
            (3_600, "an hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "a day ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(seconds), expected);
        }
        assert_eq!(super::ago(UnixTime::from_secs(5), UnixTime::from_secs(1)), "less than a minute ago");
    }

    /// A11: nothing that hides, turns around or covers what stands beside it.
    #[test]
    fn a_name_is_one_short_line() {
        for (given, shown) in [
            ("Claude Code", "Claude Code"),
            ("  two\n lines\t here ", "two lines here"),
            ("Bank\u{202e}live", "Banklive"),
            ("a\u{2066}b\u{2069}\u{200f}\u{061c}c", "abc"),
            ("G\u{200b}oo\u{feff}gle\u{2060}\u{00ad}", "Google"),
            ("\u{e0041}\u{fe0f}x\u{1}", "x"),
            ("Z\u{300}\u{301}\u{302}\u{303}y", "Z\u{300}\u{301}y"),
            ("\u{5e9}\u{5dc}\u{5d5}\u{5dd} <b>", "\u{5e9}\u{5dc}\u{5d5}\u{5dd} <b>"),
            ("\u{200b}\u{3164}", ""),
            ("App\u{201d} is safe, \u{201c}", "App\" is safe, \""),
        ] {
            assert_eq!(name(given), shown, "{given:?}");
        }
        assert_eq!(name(&"ab".repeat(50)), format!("{}\u{2026}", "ab".repeat(30)));
        assert_eq!(name(&"x".repeat(60)), "x".repeat(60));
    }
}
