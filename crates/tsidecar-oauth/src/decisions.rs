//! Why things are as they are: one heading per choice that is not obvious. Documentation only.
//!
//! # A code is sealed, not stored
//! Nothing is written at authorization: it costs microseconds, a flood of authorization requests fills nothing, and any
//! replica can redeem. The price is a mark per redeemed code, which is the grant itself.
//!
//! # A device authorization is stored, its redemption is not
//! It must outlive a restart and be found by what a person types. Its record says what the person said; that it was redeemed says
//! the grant, whose id the approval fixes, as with a code: one verb writes one key, and a second redemption revokes. The device
//! code carries the user code, so one key serves both ways of asking, and no index is needed.
//!
//! # The mutable fields of a grant are judged by the committer
//! An endpoint that reads a generation and decides on it decides on the past: two parallel refreshes would both rotate.
//! See [`settle`](crate::settle).
//!
//! # `prompt=none` succeeds
//! The network is the session: whois is asked at each authorization, so there is always one. What asks for a person
//! (`prompt=login`, `max_age=0`, `prompt=select_account`) shows a page in every mode, and with `prompt=none` gets the
//! specification's error: a silent success would give false assurance.
//!
//! # `prompt=consent` asks nobody
//! Every client of a file or a command was approved by an administrator, whose approval stands for the person's (OpenID Connect
//! Core §3.1.2.4 leaves open how consent is obtained, §11 allows other conditions). SDKs send it whenever `offline_access` is in
//! the scope; a page for each of their sign-ins would teach people to click without reading.
//!
//! # A session lives for thirty days, and lets nobody in
//! Whois is asked at every use of it, and a cookie of another person or from another device is dropped. So a short life
//! would protect nothing; it would only move `auth_time` and break `prompt=none`. An application that wants a recent sign-in
//! says so by `max_age`, and one that wants a person by `prompt=login` or `acr_values`.
//!
//! # A form may be sent twice
//! The token of a form repeats the decision of the same person, on the same device, about the same request, for ten minutes. A
//! double click or a reload after *Continue* therefore gives another code to the same client instead of an error page; whoever
//! could send the token a second time could as well send the request itself. Nothing is stored for it.
//!
//! # A logout ends refresh tokens of its session, but for `offline_access`
//! OpenID Connect Back-Channel Logout §2.7. What other browsers, devices and people have stays: an old ID token ends nobody's
//! session, and only a hint of this very session ends it unasked (a hint of no session only what has none, in a browser that has
//! none). A code from before the logout gives nothing after it. Without a hint of theirs nobody is sent anywhere afterwards, not even
//! to a registered address: whoever wrote the link is not known.
//!
//! # A device that is gone ends grants after half a minute
//! Each grant dies at its next use at once. Telling applications waits until the device is still gone, or the person still not
//! admitted, thirty seconds later with a tailscaled that was ready all the while: a restart must not log a tailnet out.
//!
//! # Who registers and names no method is public where a secret could not be kept
//! RFC 7591 §2 says `client_secret_basic`. The official SDKs send nothing and obey the answer, and a program on somebody's device
//! has its secret in a file that every copy of it has; PKCE and the binding of its tokens to the device do more.
//!
//! # What a registration asks for is in effect, or it is refused, or it is not echoed
//! Encrypted answers, pairwise subjects, algorithms that we do not sign with: refused, with the reason, before anybody signs in. What
//! has no effect here is left out of the echo: `backchannel_logout_uri` (a stranger would make us post to it for ever), `request_uris`
//! (nothing is fetched at an authorization), `default_max_age`, `client_credentials` (a client that nobody vouches for acts for people
//! only). `sector_identifier_uri` is verified, though every subject here is public: who names it wants to know that it was looked at.
//!
//! # Registered clients are kept by their last use, not by their number
//! A client that finds itself unknown is stuck, as most are written. So one that was never used goes after a week, and a used one
//! later than the refresh token that it may still hold; a flood is stopped at its source, by node and hour.
//!
//! # A client's registered scope is no ceiling, an unknown scope no error
//! MCP clients register few scopes and ask for more, and ordinary clients ask for scopes that only other providers know.
//! What we do not grant is dropped, and the answer says what was granted (RFC 6749 §3.3).
//!
//! # A refresh that asks for more is `invalid_scope`
//! What nobody here knows is dropped as at authorization, since clients repeat what they asked for then. For the rest:
//! silently answering with the old scope makes clients loop on `insufficient_scope`.
//!
//! # A workload is a client
//! A tag with a `[[workload]]` has a client of its own, made of the rule, so that resources, exchange, introspection and revocation ask
//! it what they ask every client, and there is one place that decides which nodes it is. It authenticates by nothing that a request
//! could carry. `*` among the clients of a resource leaves workloads out: whoever wrote it thought of programs that people approve.
//!
//! # What a client gets for itself is a grant
//! A sealed token without a record would be cheaper, and could not be revoked, listed, or ended with its node. The record lives an hour
//! longer than the token. There is no cap per client: replicas of a service share its subject, and each would end the others' tokens.
//!
//! # One resource per token
//! A token for two resources lets each of them act at the other with the scopes of both (RFC 8707 §3).
//!
//! # A pattern stands for one label and one segment
//! `https://*.tail1234.ts.net/mcp` names one server of the tailnet each, and nothing deeper: a star over several labels or segments would
//! be a prefix, which RFC 8707 leaves to nobody's judgement. What follows the star must be somebody's own name; a list of names below
//! which strangers get names is a seatbelt for administrators, not a boundary. The audience is spelt as the pattern, so that a token for
//! a server has one spelling whatever its clients send. Two patterns that one URI could match are refused in the configuration.
//!
//! # A rule admits resources outside the registry only
//! What an administrator wrote down as a `[[resource]]` says itself who may ask. A rule (tsidp's `users` and `resources`) opens what nobody
//! wrote down: its tokens carry the scopes that rules give it (`scopes`, ours), none without, and nobody is in its audience by our word, so
//! nobody introspects or exchanges them. Under `"*"` the audience is what was named: servers compare bytes, and clients send what the
//! server publishes. A device authorization begins before anybody is known, so only the registry counts there.
//!
//! # A second authorization adds, and only for one resource
//! A client that is told `insufficient_scope` asks for the missing scope alone (MCP authorization, step-up), and must not lose the others.
//! Only scopes of the resource are kept, and only when exactly one is named: of a grant for two nobody can say for which one a scope
//! was given. It is no boundary: whoever may ask for a resource may ask for all of its scopes.
//!
//! # The order of checks at redemption
//! Expiry comes before everything, so a dead code writes nothing. Then the client: a code shown by another client that
//! authenticated has leaked and dies. A wrong redirect URI or verifier does not kill it: only a holder of the code and of
//! the client's credentials gets that far, and the rightful one may still come.
//!
//! # Audience, issuer and spelling
//! The issuer is one constant string without path or slash, resources are minted as registered whatever spelling the
//! client sent: relying parties compare bytes.
