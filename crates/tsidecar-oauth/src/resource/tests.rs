use super::*;
use crate::client::ClientSpec;
use crate::client::tests::{confidential, public};
use crate::policy::{FileRule, tests::alice};
use crate::rule::{Rule, parse_rules};
use crate::time::UnixTime;

pub(crate) const fn asking<'a>(
    client: &'a Client,
    identity: &'a Identity,
    policy: &'a Policy,
    resources: &'a Resources,
) -> Asking<'a> {
    Asking { resources, policy, client, identity }
}

fn entry(name: &str, aliases: &[&str], scope: &str) -> Entry {
    let aliases: Vec<String> = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let scopes: Vec<ScopeToken> = Scope::parse(scope).iter().cloned().collect();
    let spec = ResourceSpec { scopes, clients: vec!["cli".into()], ..ResourceSpec::default() };
    Entry::new(name, &aliases, spec).unwrap()
}

fn registry() -> Resources {
    Resources::new(vec![
        entry("https://*.tail.test/mcp", &["https://*.tail.test"], "pattern"),
        entry("https://files.tail.test/mcp", &["https://files.tail.test/v1"], "exact"),
        entry("https://slash.test/", &["https://nas.tail.test/mcp"], "alias"),
    ])
}

fn client(spec: ClientSpec) -> Client {
    Client::new(spec, UnixTime::default()).unwrap()
}

fn with_rules(rules: &[&str]) -> Identity {
    let (rules, errors) = parse_rules(rules.iter().copied());
    assert_eq!(errors, []);
    Identity { rules, ..alice() }
}

/// What is meant by an indicator: the audience, and whose scopes.
fn meant(presented: &str) -> Option<(String, String)> {
    let resource = registry().lookup(presented)?;
    Some((resource.uri().as_str().to_owned(), resource.spec().scopes[0].as_str().to_owned()))
}

#[test]
fn an_exact_name_goes_before_an_alias_before_a_pattern() {
    let is = |presented, uri: &str, scope: &str| {
        assert_eq!(meant(presented), Some((uri.to_owned(), scope.to_owned())), "{presented}");
    };
    is("https://other.tail.test/mcp/", "https://other.tail.test/mcp", "pattern");
    is("https://other.tail.test", "https://other.tail.test/mcp", "pattern");
    is("https://files.tail.test/mcp/", "https://files.tail.test/mcp", "exact");
    is("https://FILES.tail.test:443/v1", "https://files.tail.test/mcp", "exact");
    is("https://nas.tail.test/mcp", "https://slash.test/", "alias");
    is("https://slash.test", "https://slash.test/", "alias");
    // What is said of one name holds for that name only.
    is("https://files.tail.test", "https://files.tail.test/mcp", "pattern");
    for unknown in
        ["https://slash.test/x", "https://files.tail.test/v1/x", "https://a.b.tail.test/mcp", "mcp", ""]
    {
        assert_eq!(meant(unknown), None, "{unknown}");
    }
}

/// A token says the audience as registered, so nothing else is one.
#[test]
fn an_audience_is_spelt_as_registered() {
    let of = |audience: &str| registry().of_audience(audience).map(|resource| resource.source());
    assert_eq!(of("https://slash.test/"), Some(Source::Entry));
    assert_eq!(of("https://a.tail.test/mcp"), Some(Source::Pattern));
    for other in [
        "https://slash.test",
        "https://a.tail.test/mcp/",
        "https://A.tail.test/mcp",
        "https://a.tail.test",
        "https://nas.tail.test/mcp",
        "https://*.tail.test/mcp",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

#[test]
fn entries_clash_where_nobody_could_choose() {
    let clash = |one: &Entry, other: &Entry| {
        let found = one.clash(other);
        found.map(|(ours, theirs)| (ours.as_str().to_owned(), theirs.as_str().to_owned()))
    };
    let pair = |one: &str, other: &str| Some((one.to_owned(), other.to_owned()));
    let mcp = entry("https://a.test/mcp", &["https://a.test"], "x");
    assert_eq!(
        clash(&mcp, &entry("https://A.test/mcp/", &[], "x")),
        pair("https://a.test/mcp", "https://A.test/mcp/")
    );
    assert_eq!(clash(&mcp, &entry("https://a.test/", &[], "x")), pair("https://a.test", "https://a.test/"));
    assert_eq!(clash(&mcp, &entry("https://*.test.lan.test/mcp", &[], "x")), None);
    assert_eq!(
        clash(&mcp, &entry("https://a.test/*", &[], "x")),
        None,
        "an exact name goes before a pattern"
    );
    let all = entry("https://*.tail.test/*", &[], "x");
    assert_eq!(
        clash(&all, &registry().iter().next().unwrap().clone()),
        pair("https://*.tail.test/*", "https://*.tail.test/mcp")
    );
    let refused =
        |name: &str, alias: &str| Entry::new(name, &[alias.to_owned()], ResourceSpec::default()).unwrap_err();
    assert_eq!(refused("https://a.test", "https://*.a.test"), EntryError::Stars(0));
    assert_eq!(refused("https://*.tail.test/*", "https://*.tail.test"), EntryError::Stars(0));
    assert_eq!(refused("https://*.tail.test/x", "https://a.tail.test/x"), EntryError::Stars(0));
    assert_eq!(refused("https://a.test", "HTTPS://a.test/"), EntryError::Repeated(0));
    assert_eq!(refused("https://a.test", "https://*/"), EntryError::Alias(0, PatternError::Shared));
}

/// A rule's resources count for its users, for its clients, and outside the registry only.
#[test]
fn rules_admit_resources_for_people() {
    const TOOL: &str = "https://tool.test/mcp/";
    let (resources, policy) = (registry(), Policy::default());
    let (cli, web) = (client(public()), client(confidential()));
    let found = |rules: &[&str], client: &Client, presented: &str| {
        let identity = with_rules(rules);
        let resource = asking(client, &identity, &policy, &resources).find(presented).ok()?;
        let scopes: Vec<_> = resource.spec().scopes.iter().map(ScopeToken::as_str).collect();
        Some((resource.uri().as_str().to_owned(), scopes.join(" ")))
    };
    let is = |uri: &str, scope: &str| Some((uri.to_owned(), scope.to_owned()));
    let exact = r#"{"users":["alice@example.com"],"resources":["https://tool.test/mcp"],"scopes":["use"]}"#;
    assert_eq!(found(&[exact], &cli, TOOL), is("https://tool.test/mcp", "use"), "spelt as in the rule");
    assert_eq!(found(&[exact], &cli, "https://tool.test/other"), None);
    assert_eq!(found(&[], &cli, TOOL), None);
    for nobodys in [
        r#"{"resources":["*"]}"#,
        r#"{"users":["bob@example.com"],"resources":["*"]}"#,
        r#"{"users":["*"],"resources":[]}"#,
        r#"{"users":["*"],"resources":["*"],"clients":["web"]}"#,
    ] {
        assert_eq!(found(&[nobodys], &cli, TOOL), None, "{nobodys}");
    }
    // tsidp's rule: any resource, as it is named, without scopes.
    let any = r#"{"users":["*"],"resources":["*"]}"#;
    assert_eq!(found(&[any], &cli, "HTTPS://Tool.test:443/mcp/"), is("https://tool.test/mcp/", ""));
    assert_eq!(found(&[any], &web, "https://tool.test"), is("https://tool.test", ""));
    assert_eq!(found(&[any], &web, "urn:example:tool"), is("urn:example:tool", ""));
    for none in ["tool", "https://tool.test/#x", "https://u@tool.test/", ""] {
        assert_eq!(found(&[any], &cli, none), None, "{none}");
    }
    let more = r#"{"users":["*"],"resources":["*"],"scopes":["look","use"]}"#;
    assert_eq!(found(&[any, more, exact], &cli, TOOL), is("https://tool.test/mcp", "look use"), "rules add");
    // The registry has the last word on what stands in it.
    assert_eq!(found(&[any], &web, "https://files.tail.test/mcp"), None);
    assert_eq!(
        found(&[more], &cli, "https://files.tail.test/mcp"),
        is("https://files.tail.test/mcp", "exact")
    );
}

#[test]
fn rules_of_the_file_admit_resources_too() {
    let rule = Rule { users: vec!["*".into()], resources: vec!["*".into()], ..Rule::default() };
    let of = |groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let policy = Policy {
            rules: vec![FileRule { groups, rule: rule.clone(), ..FileRule::default() }],
            ..Policy::default()
        };
        let (cli, alice, resources) = (client(public()), alice(), registry());
        asking(&cli, &alice, &policy, &resources).find("https://tool.test").is_ok()
    };
    assert!(of(&[]) && of(&["group:eng"]) && !of(&["group:ops"]));
}

/// What was granted is found again only as it was granted.
#[test]
fn a_granted_resource_is_judged_anew() {
    let (resources, policy, cli) = (registry(), Policy::default(), client(public()));
    let exact = |rules: &[&str], uri: &str| {
        let identity = with_rules(rules);
        asking(&cli, &identity, &policy, &resources).exact(&ResourceIndicator::parse(uri).unwrap()).is_ok()
    };
    assert!(exact(&[], "https://files.tail.test/mcp") && exact(&[], "https://a.tail.test/mcp"));
    // By now an alias, spelt otherwise, or gone.
    assert!(!exact(&[], "https://files.tail.test/v1"));
    assert!(!exact(&[], "https://slash.test"));
    assert!(!exact(&[], "https://gone.test"));
    assert!(exact(&[r#"{"users":["*"],"resources":["*"]}"#], "https://gone.test"));
    assert!(!exact(&[r#"{"users":["*"],"resources":["https://gone.test/"]}"#], "https://gone.test"));
}

#[test]
fn bad_resources_of_a_rule_are_left_out() {
    let text = r#"{"users":["*"],"resources":["tool","https://*.tail.test","*","https://a.test/#x"],"scopes":["a b","openid","use"]}"#;
    let (rules, errors) = parse_rules([text]);
    assert_eq!(
        (rules[0].resources.as_slice(), rules[0].scopes.as_slice()),
        (&["*".to_owned()][..], &["use".to_owned()][..])
    );
    assert_eq!(errors.len(), 5, "{errors:?}");
}
